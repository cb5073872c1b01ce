"""Everything that can be wrong: a message that says what to do, the exit code, nothing written."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kiso import train as training
from kiso.errors import DivergedError
from tests.cli.conftest import Kiso, listing

MLP = "linear16 relu linear10"


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """Folders and files that are wrong in one way each."""
    from PIL import Image

    for folder in ("empty", "none/cat", "none/dog", "one/cat"):
        (tmp_path / folder).mkdir(parents=True)
    for i in range(9):
        noise = np.random.default_rng(i).integers(0, 255, (8, 8, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "one" / "cat" / f"{i}.png")
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{i},{i * i}\n" for i in range(40)))
    (tmp_path / "file").write_text("no folder")
    return tmp_path


# Words of the command -> what the message must contain.
BAD: list[tuple[list[str], list[str]]] = [
    (["train", "mnst"], ["mnst", "Did you mean mnist", "digits, mnist"]),
    (["train", "mnist"], ["not found", "--download", "--data-dir"]),
    (["train", "empty"], ["empty", "a folder for each class"]),
    (["train", "none"], ["none", "a folder for each class"]),
    (["train", "one"], ["one class", "cat", "at least two"]),
    (["train", "file"], ["file", "expected"]),
    (["train", "t.csv"], ["--target", "a, b"]),
    (["train", "t.csv", "--target", "c"], ["'c'", "a, b"]),
    (["train", "--target", "c"], ["--target", "CSV"]),
    (["train", "t.csv", "--target", "b", "--augment", "flip"], ["--augment", "table"]),
    (["train", "--model", "conv30k50 linear10"], ["(8 + 2*0 - 50)/1 + 1 = -41", "^^^^^^^^^"]),
    (["train", "--model", "linear5 rulu"], ["rulu", "relu", "        ^^^^"]),
    (["train", "--model", "cnm"], ["cnm", "cnn"]),
    (["train", "--model", "linear5"], ["5", "linear10"]),
    (["train", "--batch-size", "5000"], ["5000", "1258", "--batch-size"]),
    (["train", "--batch-size", "0"], ["--batch-size is 0", "at least 1"]),
    (["train", "--epochs", "0"], ["--epochs is 0", "at least 1"]),
    (["train", "--epochs", "many"], ["--epochs is 'many'", "whole number"]),
    (["train", "--lr", "-0.1"], ["--lr is -0.1", "above 0"]),
    (["train", "--lr=nan"], ["--lr is nan", "above 0"]),
    (["train", "--lr", "fast"], ["--lr is 'fast'", "0.01"]),
    (["train", "--split", "1.5"], ["--split is '1.5'", "0.7,0.15,0.15"]),
    (["train", "--split", "0"], ["--split is '0'", "0.7"]),
    (["train", "--split", "0.5,0.5"], ["--split", "three"]),
    (["train", "--split", "0.5,0.4,0.3"], ["0.5, 0.4, 0.3", "add up to 1"]),
    (["train", "--optimizer", "adm"], ["'adm'", "Did you mean adam"]),
    (["train", "--schedule", "cosin"], ["'cosin'", "Did you mean cosine"]),
    (["train", "--engine", "eagr"], ["'eagr'", "eager"]),
    (["train", "--augment", "shft2"], ["shft2", "shift2"]),
    (["train", "--momentum", "0.5"], ["adam", "momentum"]),
    (["train", "--weight-decay", "-1"], ["--weight-decay is -1", "at least 0"]),
    (["train", "--clip-norm", "0"], ["--clip-norm", "above 0"]),
    (["train", "--patience", "0"], ["--patience is 0"]),
    (["train", "--threads", "0"], ["--threads is 0", "at least 1"]),
    (["train", "--seed", "-1"], ["-1", "0 to 2^64"]),
    (["train", "--task", "guess"], ["'guess'", "classification, regression"]),
    (["train", "--on-broken", "mend"], ["'mend'", "skip, fail"]),
    (["train", "--loss", "mse"], ["mse", "cross_entropy"]),
    (["train", "--size", "5x"], ["--size is '5x'", "32x48"]),
    (["train", "--columns", "a,,b"], ["--columns is 'a,,b'", "commas"]),
    (["train", "--model", MLP, "--out", "file"], ["file", "--out"]),
    (["train", "--model", MLP, "--out", "file/run"], ["file/run", "--out"]),
    (["resume", "empty"], ["empty", "kiso train"]),
    (["evaluate", "empty"], ["empty", "kiso train"]),
    (["predict", "empty", "x.png"], ["empty", "kiso train"]),
    (["report", "empty"], ["empty", "kiso train"]),
    (["predict", "empty", "x.png", "--csv", "--json"], ["--csv", "--json"]),
    (["predict", "empty", "x.png", "--out", "empty"], ["empty", "folder"]),
    (["predict", "empty", "x.png", "--out", "no/such/file.csv"], ["no/such"]),
    (["summary", "conv30k50", "--input", "1x28x28"], ["(28 + 2*0 - 50)/1 + 1", "padding"]),
    (["summary", "linear10", "--input", "28by28"], ["--input is '28by28'", "1x28x28"]),
    (["summary", "linear10", "--input", "8", "--outputs", "0"], ["--outputs is 0"]),
    # Usage: the parser's own errors.
    (["summary", "linear10"], ["--input", "kiso models"]),
    (["summary"], ["MODEL", "kiso summary --help"]),
    (["trian"], ["trian", "did you mean train", "kiso --help"]),
    (["dance"], ["dance", "train, resume, evaluate"]),
    (["train", "--epoch", "3"], ["--epoch", "did you mean --epochs", "kiso train --help"]),
    (["train", "--zzz"], ["--zzz", "kiso train --help"]),
    (["train", "--epochs"], ["--epochs needs a value"]),
    (["train", "digits", "more"], ["more", "quotes"]),
    (["train", "--lang", "fr"], ["'fr'", "en, ja"]),
]


@pytest.mark.parametrize(("words", "parts"), BAD, ids=lambda v: " ".join(v)[:50])
def test_bad_input(kiso: Kiso, desk: Path, words: list[str], parts: list[str]) -> None:
    before = listing(desk)
    done = kiso(*words)
    assert done.code == 2, done
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert [part for part in parts if part not in done.err] == [], done.err
    assert "Traceback" not in done.err
    assert "\x1b" not in done.err
    assert listing(desk) == before


@pytest.mark.parametrize("words", [words for words, _ in BAD if words[-1] != "fr"],
                         ids=lambda v: " ".join(v)[:50])
def test_bad_input_in_japanese(kiso: Kiso, desk: Path, words: list[str]) -> None:
    done = kiso(*words, "--lang=ja") if words[-1] != "--epochs" else kiso("--lang=ja", *words)
    assert done.code == 2
    assert done.err.startswith("エラー: ")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(kiso: Kiso, desk: Path) -> None:
    (desk / "empty").chmod(0o500)
    done = kiso("train", "--model", MLP, "--out", "empty/run")
    assert (done.code, "--out" in done.err) == (2, True)


def test_a_full_disk(kiso: Kiso, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    before = listing(desk)
    done = kiso("train", "--model", MLP, "--out", "new/run")
    assert done.code == 2
    assert "free some space" in done.err
    assert listing(desk) == before


@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_disk_that_fills_up_during_a_run(kiso: Kiso, desk: Path, language: str,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    from kiso.errors import OutputError
    from kiso.train.store import Store

    save = Store.save_last

    def full(self: Store, state: Any, position: Any, setup: Any) -> None:
        if position.epoch == 2:
            raise OutputError("cannot write it: the disk is full.")
        save(self, state, position, setup)

    words = ("train", "--model", MLP, "--epochs", "3", "--lang", language, "--out")
    with monkeypatch.context() as patch:
        patch.setattr(Store, "save_last", full)
        done = kiso(*words, "my run")
    assert done.code == 2 and "the disk is full" in done.err
    assert done.err.endswith("\n  kiso resume 'my run'\n")
    assert kiso("resume", "my run", "-q").code == kiso(*words, "other", "-q").code == 0
    hashes = {json.loads((desk / run / "metrics.json").read_text())["weights_sha256"]
              for run in ("my run", "other")}
    assert len(hashes) == 1


def test_the_formula_in_japanese(kiso: Kiso) -> None:
    done = kiso("train", "--model", "conv8k11 linear10", "--lang", "ja")
    assert "(8 + 2*0 - 11)/1 + 1 = -2: 出力がありません" in done.err


def fail_with(error: BaseException) -> Callable[..., None]:
    """A function that raises."""
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_divergence_has_its_own_code(kiso: Kiso, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "train", fail_with(DivergedError("NaN in conv1; lower --lr")))
    done = kiso("train")
    assert (done.code, done.err) == (3, "error: NaN in conv1; lower --lr\n")


def test_a_bug_is_a_short_message(kiso: Kiso, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "train", fail_with(ZeroDivisionError("oh")))
    done = kiso("train")
    assert done.code == 1
    assert done.err.startswith("error: unexpected ZeroDivisionError: oh\n")
    assert "--debug" in done.err and "KISO_DEBUG=1" in done.err and "Traceback" not in done.err


def test_debug_shows_where(kiso: Kiso, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "train", fail_with(ZeroDivisionError("oh")))
    with pytest.raises(ZeroDivisionError):
        kiso("train", "--debug")
    monkeypatch.setenv("KISO_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        kiso("train")


def test_memory(kiso: Kiso, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "train", fail_with(MemoryError()))
    done = kiso("train")
    assert (done.code, "--batch-size" in done.err) == (1, True)


def test_interrupted_before_there_is_anything_to_resume(
        kiso: Kiso, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "train", fail_with(KeyboardInterrupt()))
    done = kiso("train")
    assert (done.code, done.err) == (130, "stopped: the command was interrupted.\n")


def start(*words: str, **options: object) -> subprocess.Popen[str]:
    """`python -m kiso WORDS` as a process of its own."""
    return subprocess.Popen([sys.executable, "-m", "kiso", *words], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, **options)  # type: ignore


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "my run"
    with start("train", "--model", MLP, "--epochs", "100000", "--out", str(folder)) as process:
        deadline = time.monotonic() + 60
        while not (folder / "history.csv").is_file() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert f"kiso resume '{folder}'" in err
    assert str(folder) in out and "\x1b" not in out


@pytest.mark.skipif(os.name != "posix", reason="pipes")
@pytest.mark.parametrize("words", [["info"], ["info", "--json"], ["train", "--help"]], ids=str)
def test_a_reader_that_leaves_is_no_error(words: list[str]) -> None:
    with start(*words) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()  # long before the first line
        assert process.stderr.read() == ""
        assert process.wait(60) == 141


@pytest.mark.parametrize("language, what", [
    ("en", r"batch 1200 needs .* Use --batch-size (\d+) or less"),
    ("ja", r"バッチ 1200 .*--batch-size を (\d+) 以下")])
def test_a_batch_that_does_not_fit_in_memory(kiso: Kiso, tmp_path: Path, language: str, what: str,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused before anything is written, with a number that does fit."""
    monkeypatch.setattr("kiso.config.available_memory", lambda: 1_500_000)
    words = ("train", "--model", "linear128 relu linear10", "--lang", language, "--epochs", "1",
             "--out", "r", "--batch-size")
    done = kiso(*words, "1200")
    found = re.search(what, " ".join(done.err.split()))
    assert done.code == 2 and found, done.err
    assert not (tmp_path / "r").exists()
    assert kiso(*words, found[1]).code == 0
