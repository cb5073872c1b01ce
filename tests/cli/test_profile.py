"""`kiso profile`: tables in two languages, JSON, messages."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.cli.conftest import Kiso

NET = ("conv4 relu pool2 linear3", "--input", "1x8x8", "--batch", "4", "--seconds", "0.01",
       "--threads", "2")
BUSY = (*NET, "--batch", "2000")  # enough work for two threads: little is done by one


def test_the_tables(kiso: Kiso, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    done = kiso("profile", *BUSY, "--kernels", "--out", "numbers.json")
    assert (done.code, done.err) == (0, "")
    for words in ("0 Conv2d", "1 ReLU", "2 MaxPool2d", "Linear", "forward", "backward", "update",
                  "GFLOP/s", "of FMA", "in 0", "all layers", "barriers", "compiled anew",
                  "with 2 threads", "Conv gW", "CrossEnt"):
        assert words in done.out, words
    assert max(map(cell_len, done.out.splitlines())) <= 100
    found = json.loads((tmp_path / "numbers.json").read_text("utf-8"))
    first = done.out.partition("limit")[0].splitlines()  # the table of kernels
    numbers = [line.split()[0] for line in first if line[:3].strip().isdigit()]
    assert numbers == [str(k["number"]) for k in found["kernels"]]


def test_json(kiso: Kiso) -> None:
    found = kiso("profile", *BUSY, "--json").json
    assert {"model", "input", "optimizer", "machine", "batch", "threads", "layers", "kernels",
            "step", "step_read", "steps", "kernels_seconds", "fma_peak", "bandwidth",
            "arena_bytes", "scratch_bytes", "parameter_bytes", "state_bytes", "phases",
            "trace_seconds", "compile_seconds", "from_cache", "multiply_adds"} == set(found)
    for kernel in found["kernels"]:
        assert {"number", "work", "form", "shape", "origin", "serves", "phase", "shared", "once",
                "seconds", "operations", "useful", "bytes", "peak_share",
                "bandwidth_share"} == set(kernel)
    assert found["input"] == [1, 8, 8] and found["batch"] == 2000 and found["threads"] == 2


def test_forms_of_convolutions(kiso: Kiso) -> None:
    """Conv, and the gradient of the second one's input."""
    words = ("profile", "conv4 relu conv4k5 relu conv4 linear3", *NET[1:], "--kernels")
    done = kiso(*words, "--conv", "winograd")
    assert re.search(r"Conv F\(.x.\) ", done.out) and re.search(r"Conv gx F\(.x.\) ", done.out)
    assert re.search(r"F\(.x.\): Winograd's form", done.out) and "Conv  " in done.out  # 5x5: direct
    forms = {(k["work"].split()[0], k["origin"]["layer"]): k["form"]
             for k in kiso(*words, "--conv", "winograd", "--json").json["kernels"]
             if k["operations"]}
    for key in (("Conv", "4"), ("ConvInputGrad", "4")):
        assert re.fullmatch(r"F\((2x2|4x4), 3x3\)", forms[key])
    assert forms["Conv", "0"] == forms["Conv", "2"] == ""  # of one channel; 5x5
    done = kiso(*words, "--conv", "direct")
    assert done.code == 0 and "F(" not in done.out
    found = kiso(*words, "--conv", "direct", "--json").json
    assert {k["form"] for k in found["kernels"]} == {""}


def test_japanese(kiso: Kiso) -> None:
    done = kiso("profile", *NET, "--lang", "ja")
    assert done.code == 0
    for words in ("順伝播", "逆伝播", "更新", "全層", "中央値", "バリア", "(損失)"):
        assert words in done.out
    assert "forward" not in done.out


@pytest.mark.parametrize("words, message", [
    (("--batch", "0"), "--batch"),
    (("--seconds", "0"), "--seconds"),
    (("--seconds", "nan"), "--seconds"),
    (("--threads", "none"), "--threads"),
    (("--conv", "fft"), "--conv"),
    (("--optimizer", "adan"), "adam"),
    (("--input", "8by8"), "--input"),
])
def test_bad_input(kiso: Kiso, words: tuple[str, ...], message: str) -> None:
    done = kiso("profile", *NET, *words)
    assert (done.code, done.out) == (2, "") and message in done.err


@pytest.mark.parametrize("model, message", [
    ("conv4 relu", "linear10"), ("conv4 rellu", "rellu"), ("lenet6", "lenet")])
def test_bad_models(kiso: Kiso, model: str, message: str) -> None:
    done = kiso("profile", model, "--input", "1x8x8")
    assert done.code == 2 and message in done.err


def test_a_file_that_cannot_be_written(kiso: Kiso, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    done = kiso("profile", *NET, "--out", "folder")
    assert done.code == 2 and "folder" in done.err
