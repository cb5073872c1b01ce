"""`kiso train`, `evaluate` and `predict` with a net that gives pictures back."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kiso.cli.app import main
from kiso.data import load
from tests.cli.conftest import Kiso
from tests.cli.test_train import fields

NET = ["--task", "reconstruction", "--model", "conv2k3p1 relu conv1k3p1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on digits."""
    folder = tmp_path_factory.mktemp("runs")
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert main(["train", *NET, "--epochs", "1", "--corrupt", "noise1", "--threads", "1",
                     "--out", "digits", "-q"]) == 0
    finally:
        os.chdir(before)
    return folder / "digits"


def test_what_is_said(kiso: Kiso, run: Path) -> None:
    stored = json.loads((run / "metrics.json").read_text())
    done = kiso("evaluate", run, "--threads", "1")
    assert (done.code, done.err) == (0, "")
    said = fields(done.out)
    assert said["PSNR"] == f"{stored['test_psnr']:.2f} dB"
    assert said["PSNR of the input"] == f"{stored['test_input_psnr']:.2f} dB"
    again = kiso("resume", run, "--threads", "1")
    assert again.code == 0 and f"PSNR {stored['test_psnr']:.2f} dB" in again.out
    assert "Pictures given back" in (run / "report.html").read_text()


def test_the_start_of_a_run(kiso: Kiso) -> None:
    done = kiso("train", *NET, "--epochs", "1", "--threads", "1", "--out", "r")
    assert done.code == 0 and "target: the picture itself" in done.out
    assert "this net can copy its input" in done.out and "PSNR" in done.out


def test_predict_writes_pictures(kiso: Kiso, run: Path, tmp_path: Path) -> None:
    x = load("digits").test.x[:2]
    for folder, picture in zip("ab", x, strict=True):
        (tmp_path / folder).mkdir()
        Image.fromarray(picture[0]).save(tmp_path / folder / "one.png")
    files = [tmp_path / "a/one.png", tmp_path / "b/one.png"]
    done = kiso("predict", run, *files, "--threads", "1")
    assert done.code == 0 and "grey levels" in done.out
    made = [run / "predicted/one.png", run / "predicted/one-2.png"]
    assert all(path.is_file() for path in made)
    found = kiso("predict", run, *files, "--threads", "1", "--pictures", tmp_path / "a",
                 "--json").json
    assert [Path(a["picture"]).name for a in found] == ["one-2.png", "one-3.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(files[0])), x[0, 0])  # not written over
    for answer, path in zip(found, made, strict=True):
        given = np.asarray(Image.open(path), np.float64)
        assert Image.open(answer["picture"]).tobytes() == Image.open(path).tobytes()
        sample = x[made.index(path), 0]
        rmse = ((given - sample) ** 2).mean() ** 0.5
        assert answer["values"]["rmse"] == pytest.approx(rmse, abs=0.3)  # before rounding
    lines = kiso("predict", run, files[0], "--threads", "1", "--csv").out.splitlines()
    assert lines[0] == "name,psnr,rmse" and len(lines) == 2


def test_pictures_into_a_file(kiso: Kiso, run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = kiso("predict", run, tmp_path, "--pictures", tmp_path / "file")
    assert done.code == 2 and "--pictures" in done.err
