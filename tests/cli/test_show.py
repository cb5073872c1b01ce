"""`kiso show`: the graph and what becomes of it."""

from __future__ import annotations

import re

import pytest

from tests.cli.conftest import Kiso

NET = ("linear4 relu linear2", "--input", "3")


def test_the_traced_graph(kiso: Kiso) -> None:
    done = kiso("show", *NET)
    assert done.code == 0 and done.out.startswith("graph(")
    assert "MatMul" in done.out and "Relu" in done.out


def test_passes_leave_out_what_nobody_reads(kiso: Kiso) -> None:
    traced = kiso("show", *NET, "--gradients", "--json").json
    passed = kiso("show", *NET, "--gradients", "--stage", "passes", "--json").json
    assert passed["nodes"] < traced["nodes"]


def test_kernels_are_formulas(kiso: Kiso) -> None:
    done = kiso("show", *NET, "--stage", "kernels", "--batch", "5")
    assert "f32[5,2] = " in done.out and "sum(" in done.out


def test_forms_of_convolutions(kiso: Kiso, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("show", "conv4 relu conv4k5 linear10", "--input", "4x8x8", "--stage", "kernels")
    formulas = kiso(*words, "--conv", "direct").out
    assert "sum(" in formulas and "Conv" not in formulas and " by " not in formulas
    listed = kiso(*words, "--conv", "winograd").out
    assert listed.startswith(formulas)
    (line,) = listed.removeprefix(formulas).strip().splitlines()
    assert " = Conv[" in line and re.search(r" bias\(%1\) relu by F\((2x2|4x4), 3x3\)$", line)
    monkeypatch.setenv("KISO_CONV", "direct")
    assert kiso(*words).out == formulas
    assert kiso(*words, "--conv", "winograd").out == listed  # an option beats the variable


def test_the_form_is_that_of_the_code(kiso: Kiso) -> None:
    words = ("show", "conv4 relu linear10", "--input", "4x8x8", "--stage", "llvm")
    direct, winograd = (kiso(*words, "--conv", form).out for form in ("direct", "winograd"))
    assert direct != winograd


@pytest.mark.parametrize("stage, words", [("llvm", ["define void @k0", "@work"]),
                                          ("asm", ["work:", "ret"])])
def test_machine_code(kiso: Kiso, stage: str, words: list[str]) -> None:
    done = kiso("show", *NET, "--stage", stage)
    assert done.code == 0 and all(word in done.out for word in words)


@pytest.mark.parametrize("words, message", [
    (("--stage", "asn"), "--stage"),
    (("--batch", "0"), "--batch"),
    (("--conv", "Direct"), "--conv is 'Direct'; expected one of auto, direct, winograd, measured."),
])
def test_bad_input(kiso: Kiso, words: tuple[str, ...], message: str) -> None:
    done = kiso("show", *NET, *words)
    assert done.code == 2 and message in done.err


def test_gradients_need_scores(kiso: Kiso) -> None:
    done = kiso("show", "conv4k3", "--input", "1x8x8", "--gradients")
    assert done.code == 2 and "linear10" in done.err
