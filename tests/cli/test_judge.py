"""`kiso evaluate`, `predict`, `report`, `summary`, `info` on real runs."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from pathlib import Path

import pytest

from kiso.cli.app import main
from tests.cli.conftest import Kiso, listing
from tests.cli.test_train import QUICK, fields, pictures, table


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs on digits, photos and houses, with the data they came from."""
    folder = tmp_path_factory.mktemp("runs")
    pictures(folder / "photos")
    table(folder / "houses.csv")
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert main(["train", *QUICK, "--out", "digits", "-q"]) == 0
        assert main(["train", "photos", "--size", "8", "--epochs", "30", "--lr", "0.01", "--model",
                     "linear3", "--out", "pets", "-q"]) == 0
        assert main(["train", "houses.csv", "--target", "price", "--epochs", "3", "--out",
                     "prices", "-q"]) == 0
    finally:
        os.chdir(before)
    return folder


def test_evaluate_repeats_the_run(kiso: Kiso, runs: Path) -> None:
    stored = json.loads((runs / "digits/metrics.json").read_text())
    done = kiso("evaluate", runs / "digits")
    assert (done.code, done.err) == (0, "")
    said = fields(done.out)
    assert said["accuracy"] == f"{100 * stored['test_accuracy']:.2f} %"
    assert "test samples, 269" in said["data"]
    assert "precision" in done.out and "mean" in done.out
    found = kiso("evaluate", runs / "digits", "--json").json
    assert found["accuracy"] == stored["test_accuracy"] and found["samples"] == 269
    last = kiso("evaluate", runs / "digits", "--checkpoint", "last", "--json").json
    assert last["loss"] == pytest.approx(stored["test_loss"], rel=0.5)


def test_evaluate_other_data(kiso: Kiso, runs: Path, tmp_path: Path) -> None:
    pictures(tmp_path / "more", 10)
    done = kiso("evaluate", runs / "pets", "more")
    assert done.code == 0
    assert "more: all samples, 30" in fields(done.out)["data"]
    assert done.err.count("warning: left out:") == 12
    found = kiso("evaluate", runs / "pets", "more", "--json").json
    assert found["samples"] == 30 and found["accuracy"] > 0.9
    assert len(found["problems"]) == 12
    refused = kiso("evaluate", runs / "pets", "more", "--on-broken", "fail")
    assert refused.code == 2 and "broken00" in refused.err


def test_evaluate_without_samples_of_a_class(kiso: Kiso, runs: Path, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        shutil.copytree(runs / "photos" / name, tmp_path / "two" / name)
    done = kiso("evaluate", runs / "pets", "two")
    row = next(line for line in done.out.splitlines() if line.split()[:1] == ["human"])
    assert row.split() == ["human", "-", "-", "-", "0"]
    mean = kiso("evaluate", runs / "pets", "two", "--json").json["report"]["macro"]["recall"]
    assert mean > 0.8  # of two classes, not of three


@pytest.mark.parametrize("language", ["en", "ja"])
def test_evaluate_on_data_of_another_kind(kiso: Kiso, runs: Path, language: str) -> None:
    for run, data in (("pets", "houses.csv"), ("prices", "photos"), ("digits", "houses.csv"),
                      ("prices", "digits")):
        done = kiso("evaluate", runs / run, data if data == "digits" else runs / data,
                    "--lang", language)
        assert done.code == 2
        assert ("trained on" in done.err and "same kind" in done.err) == (language == "en")
        assert "--target" not in done.err  # evaluate has no such option


def test_a_regression(kiso: Kiso, runs: Path) -> None:
    said = fields(kiso("evaluate", runs / "prices").out)
    assert "mean absolute error (MAE)" in said and "accuracy" not in said


def test_predict_pictures(kiso: Kiso, runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "photos" / "dog", tmp_path / "new")
    (tmp_path / "new" / "torn.png").write_bytes(b"x")
    done = kiso("predict", runs / "pets", "new", "missing.jpg")
    assert done.code == 0
    assert done.err.count("warning:") == 2 and "torn.png" in done.err and "missing.jpg" in done.err
    rows = [line for line in done.out.splitlines() if ".png" in line]
    assert len(rows) == 20
    assert sum("dog" in line.split() for line in rows) >= 18
    answers = kiso("predict", runs / "pets", "new/0.png", "missing.jpg", "--json").json
    assert answers[0]["label"] == "dog" and answers[1]["problem"]
    assert sum(answers[0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_predict_as_csv(kiso: Kiso, runs: Path, tmp_path: Path) -> None:
    shutil.copy(runs / "photos/cat/0.png", tmp_path / "a, b.png")
    printed = kiso("predict", runs / "pets", "a, b.png", "no.png", "--csv")
    rows = list(csv.DictReader(io.StringIO(printed.out)))
    assert list(rows[0]) == ["name", "class", "p(cat)", "p(dog)", "p(human)", "problem"]
    assert rows[0]["name"] == "a, b.png" and rows[0]["class"] == "cat"
    assert rows[1]["class"] == "" and "no.png" in rows[1]["problem"]
    saved = kiso("predict", runs / "pets", "a, b.png", "no.png", "--out", "x.csv")
    assert (saved.code, saved.out) == (0, "") and "x.csv" in saved.err
    assert (tmp_path / "x.csv").read_text() == printed.out


def test_predict_rows(kiso: Kiso, runs: Path, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("side,area\nnorth,80\nsouth,120\n")
    rows = list(csv.DictReader(io.StringIO(kiso("predict", runs / "prices", "new.csv",
                                                "--csv").out)))
    assert len(rows) == 2 and list(rows[0]) == ["name", "price"]
    assert all(float(row["price"]) for row in rows)
    assert "price" in kiso("predict", runs / "prices", "new.csv").out


def test_predict_says_what_it_filled_in(kiso: Kiso, runs: Path, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("side,area\nnorth,80\n,120\nup,\n")
    done = kiso("predict", runs / "prices", "new.csv")
    assert done.code == 0 and len(done.err.splitlines()) == 3
    assert "line 3: side is missing: all zeros" in done.err
    assert "line 4: side is 'up', unknown from training" in done.err
    assert "line 4: area is missing: filled with the training median" in done.err
    answers = kiso("predict", runs / "prices", "new.csv", "--json").json
    assert [len(answer["notes"]) for answer in answers] == [0, 1, 2]
    lost = kiso("predict", runs / "prices", "lost.csv")
    assert lost.err.count("lost.csv") == 1


@pytest.mark.parametrize("words", [("evaluate",), ("predict", "x.png"), ("resume",)])
def test_forms_of_convolutions(kiso: Kiso, runs: Path, words: tuple[str, ...]) -> None:
    command, *files = words
    done = kiso(command, runs / "digits", *files, "--conv", "fft")
    assert (done.code, done.out) == (2, "") and "--conv is 'fft'" in done.err
    done = kiso(command, "none", *files, "--conv", "fft", "--lang", "ja")
    assert done.code == 2
    assert "--conv が 'fft' です。auto, direct, winograd, measured の" in done.err


def test_the_form_of_convolutions_arrives(kiso: Kiso, runs: Path,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    from kiso import config
    seen: list[str | None] = []

    def conv(given: str | None = None) -> str:
        seen.append(given)
        return given or "auto"

    monkeypatch.setattr(config, "conv", conv)
    assert kiso("evaluate", runs / "digits", "--conv", "direct").code == 0
    assert set(seen) == {"direct"}


def test_nothing_usable(kiso: Kiso, runs: Path) -> None:
    done = kiso("predict", runs / "pets", "a.png", "b.png")
    assert done.code == 2 and done.out == ""
    assert "a.png" in done.err and "nothing could be judged" in done.err


def test_a_damaged_or_foreign_checkpoint(kiso: Kiso, runs: Path, tmp_path: Path) -> None:
    for name in ("cut", "swapped"):
        shutil.copytree(runs / "digits", tmp_path / name)
    best = "checkpoint-best.safetensors"
    last = "checkpoint-last.safetensors"
    (tmp_path / "cut" / best).write_bytes((runs / "digits" / best).read_bytes()[:-100])
    shutil.copy(runs / "pets" / last, tmp_path / "swapped" / last)
    before = listing(tmp_path)
    damaged = kiso("evaluate", "cut")
    assert damaged.code == 2 and best in damaged.err and "Traceback" not in damaged.err
    foreign = kiso("resume", "swapped")
    assert foreign.code == 2 and "another model" in foreign.err and "shape" in foreign.err
    assert listing(tmp_path) == before


def test_report_in_another_language(kiso: Kiso, runs: Path) -> None:
    page = runs / "digits" / "report.html"
    done = kiso("report", runs / "digits", "--lang", "ja")
    assert done.code == 0 and fields(done.out)["レポート"].endswith("report.html")
    assert 'lang="ja"' in page.read_text("utf-8")
    assert kiso("report", runs / "digits", "--json").json["report"] == str(page)
    assert 'lang="en"' in page.read_text("utf-8")


def test_summary(kiso: Kiso) -> None:
    words = ("summary", "conv30k5 relu pool2 linear100 relu linear10", "--input", "1x28x28")
    done = kiso(*words)
    assert (done.code, done.err) == (0, "")
    assert "433,890" in done.out and "30x24x24" in done.out and "865,000" in done.out
    found = kiso(*words, "--json").json
    assert found["parameters"] == 30 * 26 + 100 * (30 * 144 + 1) + 10 * 101
    assert found["multiply_adds"] == 30 * 24 * 24 * 25 + 30 * 144 * 100 + 1000
    assert kiso("summary", "cnn", "-i", "3x32x32", "--outputs", "7", "--json").json["rows"][-1][
        "output_shape"] == [1, 7]
    assert kiso(*words, "-q").out == ""


def test_info(kiso: Kiso, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KISO_NUM_THREADS", "3")
    monkeypatch.setenv("KISO_DATA", str(tmp_path))
    done = kiso("info")
    assert done.code == 0
    said = fields(done.out)
    assert "3 threads are used" in said["cores"] and "numpy" in said["packages"]
    assert said["KISO_DATA"] == str(tmp_path) and "--download" in said["mnist"]
    found = kiso("info", "--json").json
    assert found["threads"] == 3 and found["memory_bytes"] > 1e8 and found["processor"]
    assert found["data_sets"]["mnist"] is None


def test_info_finds_data(kiso: Kiso, shared_data: Path) -> None:
    found = kiso("info", "--data-dir", shared_data.resolve(), "--json").json["data_sets"]
    assert found["mnist"].endswith("mnist")
