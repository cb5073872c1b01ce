"""`kiso train --weights`: what is said of the weights, the stages, and of files that do not fit."""

from __future__ import annotations

import json
import pickle
import tomllib
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Kiso
from tests.cli.test_train import fields, pictures

NET = "flatten linear6 relu linear8 relu linear10"
TINY = ("--batch-size", "100", "--epochs", "2")


@pytest.fixture
def digits(kiso: Kiso, tmp_path: Path) -> Path:
    """A run on ten classes."""
    assert kiso("train", "--model", NET, *TINY, "--out", "digits", "-q").code == 0
    return tmp_path / "digits"


def test_a_run_as_a_beginning(kiso: Kiso, digits: Path) -> None:
    done = kiso("train", "--weights", "digits", *TINY, "--head-epochs", "1", "--freeze", "1.bias",
                "--lr", "0.01", "--lr-of", "1.weight=0.003", "--out", "r")
    assert (done.code, done.err) == (0, "")
    said = fields(done.out)
    assert said["model"] == f"{NET}\n536 parameters"
    assert said["weights"].startswith("6 arrays from digits")
    assert said["training"].endswith("frozen: 6 of 536 parameters\n"
                                     "first 1 epochs: the head alone, lr 0.01\n"
                                     "1.weight: lr 0.003")
    config = tomllib.loads(Path("r/config.toml").read_text("utf-8"))
    assert config["options"]["model"] == NET and config["options"]["head_epochs"] == 1
    assert config["options"]["weights"] == str(digits)
    assert config["options"]["freeze"] == ["1.bias"]
    assert config["hyperparameters"]["weights"]["loaded"] == 6
    assert kiso("resume", "r", "--json").json["epochs"] == 2


def test_a_new_head_is_said_in_both_languages(kiso: Kiso, digits: Path, tmp_path: Path) -> None:
    pictures(tmp_path / "photos")
    command = ("train", "photos", "--weights", "digits", "--epochs", "1", "--on-broken", "skip")
    done = kiso(*command, "--out", "r")
    assert done.code == 0, done.err
    assert "the head begins anew: 5.weight, 5.bias" in fields(done.out)["weights"]
    assert "grey" not in done.err and "1x8x8" in fields(done.out)["data"]
    assert "出力層は初期値から: 5.weight" in kiso(*command, "--out", "j", "--lang", "ja").out


def test_files_that_do_not_fit_write_nothing(kiso: Kiso, digits: Path, tmp_path: Path) -> None:
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"W1": np.ones((64, 7)), "b1": np.ones(7)}))
    done = kiso("train", "--weights", "w.pkl", "--model", NET, "--out", "r")
    assert done.code == 2 and "cannot be matched by order" in done.err
    other = "linear6 relu linear9 relu linear10"
    done = kiso("train", "--weights", "digits", "--model", other, "--out", "r")
    assert done.code == 2 and "match: 1.weight, 1.bias" in done.err
    assert "3.weight ((8, 6) in the file, (9, 6) in the model)" in done.err
    assert "of the head, which may differ: 5.weight, 5.bias" in done.err
    assert not (tmp_path / "r").exists()
    done = kiso("train", "--weights", "digits", "--model", other, *TINY, "--out", "r",
                "--allow-unmatched")
    assert done.code == 0
    assert "of another shape, they begin anew: 3.weight, 3.bias" in fields(done.out)["weights"]
    done = kiso("train", "--weights", "missing", "--json")
    assert done.code == 2 and "no such file" in (done.err or json.dumps(done.json))
