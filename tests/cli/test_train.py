"""`kiso train` and `kiso resume` for real, on small data: what is said, written and returned."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kiso import train as training
from kiso.train import RunResult
from tests.cli.conftest import Done, Kiso

QUICK = ("--model", "linear16 relu linear10", "--epochs", "2")
KEYS = {"task", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "test_loss", "seed",
        "test_accuracy", "epochs", "steps", "seconds_total", "seconds_train", "seconds_compile",
        "images_per_second", "parameters", "peak_memory_bytes", "weights_sha256", "engine",
        "threads", "conv"}


def pictures(folder: Path, count: int = 20) -> Path:
    """Three classes of coloured noise, and files that are no pictures."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for channel, name in enumerate(("cat", "dog", "human")):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 120, (12, 10, 3), dtype=np.uint8)
            pixels[..., channel] += 120
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    for i in range(12):
        (folder / "cat" / f"broken{i:02}.jpg").write_bytes(b"")
    return folder


def table(path: Path, rows: int = 120) -> Path:
    """A number, a category and a price that follows from them; two rows without a price."""
    lines = [f"{30 + i % 97},{('north', 'south')[i % 2]},{3 * (30 + i % 97) + 50 * (i % 2)}"
             for i in range(rows)]
    path.write_text("\n".join(["area,side,price", *lines, "50,north,", "60,south,"]) + "\n")
    return path


def fields(text: str) -> dict[str, str]:
    """The lines `  name  value` of a block; lines without a name continue the one before."""
    found: dict[str, str] = {}
    last = ""
    for line in text.splitlines():
        match = re.fullmatch(r"  (\S.*?)(?:  +(.*))?", line)
        if match:
            last = match[1]
            found[last] = match[2] or ""
        elif line.startswith("   ") and last:
            found[last] += "\n" + line.strip()
    return found


def test_a_run(kiso: Kiso, tmp_path: Path) -> None:
    done = kiso("train", *QUICK, "--out", "r", "--batch-size", "100")
    assert (done.code, done.err) == (0, "")
    said = fields(done.out)
    metrics = json.loads((tmp_path / "r" / "metrics.json").read_text())
    assert "digits: pictures 1x8x8\n10 classes: 0, 1" in said["data"]
    assert "1,258 for training, 270 for validation, 269 for the test" in said["data"]
    assert said["model"] == "flatten linear16 relu linear10\n1,210 parameters"
    assert said["training"] == ("adam (lr 0.001), schedule cosine\n"
                                "epochs 2, steps in each 13, samples in a step 100")
    assert said["folder"] == "r"
    assert len(re.findall(r"^Epoch [12]/2  train: loss ", done.out, re.MULTILINE)) == 2
    assert f"accuracy {100 * metrics['test_accuracy']:.2f} %" in said["test"]
    assert f"loss {metrics['val_loss']:.4g}" in said["validation"]
    assert said["report"] == str(Path("r/report.html")) and (tmp_path / "r/report.html").is_file()
    assert "\x1b" not in done.out


def test_json(kiso: Kiso, tmp_path: Path) -> None:
    done = kiso("train", *QUICK, "--seed", "3", "--out", "r", "--json")
    assert (done.code, done.err) == (0, "")
    found = done.json
    assert set(found) >= KEYS
    stored = json.loads((tmp_path / "r" / "metrics.json").read_text())
    assert found == {"folder": "r", "report": str(Path("r/report.html")), "left_out": [], **stored}
    assert (found["seed"], found["epochs"], found["task"]) == (3, 2, "classification")


def test_quiet(kiso: Kiso, tmp_path: Path) -> None:
    done = kiso("train", *QUICK, "--out", "r", "-q")
    assert done == Done(0, "", "")
    assert (tmp_path / "r/report.html").is_file()


def test_japanese(kiso: Kiso, tmp_path: Path) -> None:
    done = kiso("train", *QUICK, "--out", "r", "--lang", "ja")
    said = fields(done.out)
    assert done.code == 0
    assert "学習 1,258 件" in said["データ"] and "正解率" in said["テスト"]
    assert "レポート" in said
    assert 'lang="ja"' in (tmp_path / "r/report.html").read_text("utf-8")


def test_new_folders_below_runs(kiso: Kiso, tmp_path: Path) -> None:
    for _ in range(2):
        assert kiso("train", *QUICK, "-q").code == 0
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["digits-1", "digits-2"]


def test_an_earlier_run_is_not_overwritten_by_chance(kiso: Kiso, tmp_path: Path) -> None:
    assert kiso("train", *QUICK, "--out", "r", "-q").code == 0
    before = (tmp_path / "r/metrics.json").read_bytes()
    refused = kiso("train", *QUICK, "--out", "r", "--seed", "5")
    assert refused.code == 2 and "--overwrite" in refused.err
    assert (tmp_path / "r/metrics.json").read_bytes() == before
    assert kiso("train", *QUICK, "--out", "r", "--seed", "5", "--overwrite", "-q").code == 0
    assert json.loads((tmp_path / "r/metrics.json").read_text())["seed"] == 5


def test_pictures_with_broken_files(kiso: Kiso, tmp_path: Path) -> None:
    pictures(tmp_path / "photos")
    words = ("train", "photos", "--size", "8", "--epochs", "1", "--model", "linear3")
    done = kiso(*words, "--out", "r")
    assert done.code == 0
    data = fields(done.out)["data"]
    assert "photos: pictures 3x8x8" in data and "3 classes: cat, dog, human" in data
    assert "left out: 12" in data and "broken00.jpg: " in data and "broken09.jpg: " in data
    assert all(f"cat/broken{i:02d}.jpg: " in data for i in range(12))
    config = tomllib.loads((tmp_path / "r/config.toml").read_text("utf-8"))["data"]
    assert [name for name, _ in config["problems"]] == [f"cat/broken{i:02d}.jpg" for i in range(12)]
    page = (tmp_path / "r/report.html").read_text("utf-8")
    assert "Left out: 12" in page and all(f"broken{i:02d}.jpg" in page for i in range(12))
    document = kiso(*words, "--out", "r2", "--json").json
    assert len(document["left_out"]) == 12
    assert {"name", "reason"} == set(document["left_out"][0])
    refused = kiso(*words, "--out", "r3", "--on-broken", "fail")
    assert refused.code == 2 and "broken00.jpg" in refused.err and not (tmp_path / "r3").exists()


def test_a_table(kiso: Kiso, tmp_path: Path) -> None:
    table(tmp_path / "houses.csv")
    done = kiso("train", "houses.csv", "--target", "price", "--epochs", "3", "--out", "r")
    said = fields(done.out)
    assert done.code == 0
    assert "target: price" in said["data"] and "2 of 122 rows dropped" in said["data"]
    assert re.match(r"MAE [\d.,]+, RMSE [\d.,]+, R² ", said["test"])
    assert "rows/s" in done.out and "images/s" not in done.out


def test_options_arrive(kiso: Kiso, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every option reaches TrainOptions, with its type; nothing else does."""
    seen: list[Any] = []

    def fake(options: Any, callbacks: Any) -> RunResult:
        seen.append(options)
        metrics = {"images_per_second": 1.0, "best_epoch": 1, "epochs": 1, "seconds_total": 1.0,
                   "seconds_train": 1.0, "test_accuracy": 1.0}
        return RunResult(None, metrics, [], None)  # type: ignore

    monkeypatch.setattr(training, "train", fake)
    assert kiso("train").code == 0
    done = kiso(
        "train", "d.csv", "--data-dir=dd", "--size=3x4", "--grey", "--fit=pad",
        "--max-pixels=99", "--classes=c,d", "--target=t", "--columns=a, b",
        "--task=regression", "--split=0.5,0.3,0.2", "--on-broken=fail", "--download", "-m", "net",
        "-e", "3", "-b", "7", "--optimizer=sgd", "--lr=0.5", "--momentum=0.25",
        "--weight-decay=1e-3", "--schedule=cosine", "--augment=flip", "--clip-norm=2",
        "--patience=4", "--loss=l1",
        "--label-smoothing=0.125", "--tta=flip", "--recipe=vgg", "--init=alexnet", "--seed=9",
        "--engine=traced", "--threads=2", "--conv=direct",
        "-o", "o", "--overwrite")
    wanted = training.TrainOptions(
        data="d.csv", data_dir="dd", size=(3, 4), grey=True, fit="pad",
        max_pixels=99, classes=("c", "d"), target="t", columns=("a", "b"),
        task="regression", split=(0.5, 0.3, 0.2), on_broken="fail", download=True, model="net",
        epochs=3, batch_size=7, optimizer="sgd", lr=0.5, momentum=0.25, weight_decay=1e-3,
        schedule="cosine", augment="flip", clip_norm=2.0, patience=4, loss="l1",
        label_smoothing=0.125, tta="flip", recipe="vgg", init="alexnet", seed=9,
        engine="traced", threads=2, conv="direct",
        out="o", overwrite=True)
    assert done.code == 0
    assert seen == [training.TrainOptions(), wanted]
    assert "test" in fields(done.out) and "report" not in fields(done.out)


def test_a_recipe_is_told(kiso: Kiso, tmp_path: Path) -> None:
    words = ("train", "--model", "flatten linear10", "--recipe", "resnet_cifar", "-e", "1",
             "--engine", "eager")

    def training(*more: str) -> str:
        done = kiso(*words, *more)
        assert (done.code, done.err) == (0, "")
        return " ".join(fields(done.out)["training"].split())  # wherever lines break

    assert training("--batch-size", "64", "--out", "r", "--augment", "") == (
        "recipe resnet_cifar (He, Zhang, Ren, Sun 2016) "
        "momentum (lr 0.05, weight decay 0.0001, momentum 0.9), schedule multistep:1,1:0.1 "
        "epochs 1, steps in each 20, samples in a step 64 "
        "learning rate 0.05 = 0.1 x 64 / 128: in proportion to the batch")
    assert training("--out", "s", "--label-smoothing", "0.1", "--init", "normal:0.01").endswith(
        "samples in a step 64 augmentation: crop1 label smoothing 0.1 "
        "first weights: normal:0.01 batch size 64 instead of 128: few samples "
        "learning rate 0.05 = 0.1 x 64 / 128: in proportion to the batch")
    done = kiso("train", "--recipe", "resnett")
    assert done.code == 2 and "Did you mean resnet" in done.err


def test_resume(kiso: Kiso, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was interrupted in its second epoch ends where an uninterrupted one does."""
    from kiso.train.progress import Progress

    whole = kiso("train", *QUICK, "--out", "whole", "--json").json
    real = Progress.step

    def interrupt(self: Progress, context: Any) -> None:
        if context.step == 25:
            raise KeyboardInterrupt
        real(self, context)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "step", interrupt)
        patch.setattr(Progress, "every_step", True)
        stopped = kiso("train", *QUICK, "--out", "a b")
        again = kiso("train", *QUICK, "--out", "c", "--json")
    assert stopped.code == again.code == 130
    assert stopped.err.endswith("\n  kiso resume 'a b'\n") and stopped.err.startswith("stopped: ")
    assert again.json["stopped"] == "interrupted"
    assert not (tmp_path / "a b/metrics.json").exists()
    done = kiso("resume", "a b")
    assert (done.code, done.err) == (0, "")
    assert fields(done.out)["model"].startswith("flatten linear16")
    assert "Epoch 2/2" in done.out and "Epoch 1/2" not in done.out
    ended = json.loads((tmp_path / "a b/metrics.json").read_text())
    assert ended["weights_sha256"] == whole["weights_sha256"]
    assert len((tmp_path / "a b/history.csv").read_text().splitlines()) == 3
    assert kiso("resume", "c", "--json").json["weights_sha256"] == whole["weights_sha256"]


def test_results_are_shown_even_if_the_report_fails(kiso: Kiso,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    from kiso import report

    def broken(folder: Path) -> Path:
        raise RuntimeError("no font")

    monkeypatch.setattr(report, "build", broken)
    done = kiso("train", *QUICK)
    assert done.code == 1 and "no font" in done.err and "test" in fields(done.out)
    done = kiso("train", *QUICK, "--json")
    assert done.code == 1 and done.json["report"] is None and done.json["test_accuracy"] > 0


def test_interrupted_while_the_report_is_made(kiso: Kiso, monkeypatch: pytest.MonkeyPatch) -> None:
    from kiso import report

    def interrupted(folder: Path) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(report, "build", interrupted)
        done = kiso("train", *QUICK, "--out", "r")
        assert kiso("train", *QUICK, "--out", "r2", "--json").json["stopped"] == "interrupted"
    assert done.code == 130 and "kiso resume r" in done.err and "test" in fields(done.out)
    assert fields(kiso("resume", "r").out)["report"] == str(Path("r/report.html"))
