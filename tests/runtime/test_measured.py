"""The form of convolutions by measurement: measured once, kept, and obeyed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kiso import ops
from kiso.compiler import trace
from kiso.compiler.contract.steps import Step
from kiso.runtime import Executable, compile_graph, measured

GIVEN: dict[str, Any] = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1),
                         "groups": 1}
X, W, GY = (2, 16, 9, 9), (24, 16, 3, 3), (2, 24, 9, 9)
OPS = {"forward": (ops.Conv(**GIVEN), X, W),
       "input gradient": (ops.ConvInputGrad(spatial=(9, 9), **GIVEN), GY, W),
       "weight gradient": (ops.ConvWeightGrad(kernel=(3, 3), **GIVEN), X, GY)}


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KISO_CACHE", str(tmp_path))


def compiled(direction: str, conv: str, *, kept: bool = False) -> tuple[Executable, list[Any]]:
    """An op as machine code, and operands."""
    op, *shapes = OPS[direction]
    rng = np.random.default_rng(0)
    given = [rng.standard_normal(shape, np.float32) for shape in shapes]
    graph = trace(lambda a, b: op(a, b), *given).graph
    code = compile_graph(graph, 2, state={1: None} if kept else None, conv=conv)
    return code, [code.place(k, array) for k, array in enumerate(given)]


def form(code: Executable) -> str:
    """The form of its convolution."""
    return next(k.form for k in code.program.kernels if isinstance(k, Step) and k.operations)


@pytest.mark.parametrize("direction", OPS)
@pytest.mark.parametrize("faster", ["direct", "winograd"])
def test_what_was_measured_is_taken(direction: str, faster: str,
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "faster", lambda *_: faster)
    code, _ = compiled(direction, "measured")
    assert bool(form(code)) == (faster == "winograd")


@pytest.mark.parametrize("direction", OPS)
def test_measuring_and_its_result(direction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both forms run, one is chosen, and the second time nothing is measured."""
    asked: list[str] = []
    really = measured.faster

    def faster(*given: Any) -> str:
        asked.append(really(*given))
        return asked[-1]
    monkeypatch.setattr(measured, "faster", faster)
    kept = direction != "weight gradient"
    code, operands = compiled(direction, "measured", kept=kept)
    again, _ = compiled(direction, "measured", kept=kept)
    assert len(asked) == 1
    assert asked[0] == ("winograd" if form(code) else "direct")
    assert form(again) == form(code)
    direct, same = compiled(direction, "direct", kept=kept)
    np.testing.assert_allclose(code(*operands)[0], direct(*same)[0], rtol=0, atol=1e-4)


def test_filters_that_are_kept_are_another_question(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def faster(_: Any, kept: bool, *__: Any) -> str:
        asked.append(kept)
        return "direct"
    monkeypatch.setattr(measured, "faster", faster)
    compiled("forward", "measured")
    compiled("forward", "measured", kept=True)
    assert asked == [False, True]
