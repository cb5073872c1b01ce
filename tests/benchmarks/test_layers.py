"""benchmarks.layers: both forms compute the op, and a row says which one is faster."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import layers
from benchmarks.layers import BARS, FORMS, LAYERS, Layer, Turns
from kiso.compiler.contract.steps import Step


@pytest.mark.parametrize("direction", BARS)
def test_both_forms_compute_the_op_and_nothing_else(direction: str) -> None:
    layer = Layer(2, 20, 24, 9)
    op, operands, _ = layer.function(direction)
    expected = np.asarray(op(*(layer.arrays()[name] for name in operands)))
    forms: list[str] = []
    for form in FORMS:
        side = Turns(layer, direction, form, 2)
        for _ in range(2):
            side.step()
        np.testing.assert_allclose(side.result(), expected, rtol=0, atol=1e-4)
        kernels = side.code.program.kernels
        assert all(isinstance(kernel, Step) for kernel in kernels)
        forms.append("".join(kernel.form for kernel in kernels if isinstance(kernel, Step)))
    assert forms[0] == "" and forms[1].startswith("F(")


def test_the_layers_are_those_of_the_bar() -> None:
    every = [layer for part in LAYERS.values() for layer in part]
    assert len(set(every)) == len(every) == 17
    assert all(min(x.channels, x.outputs) >= 64 and x.side >= 8 for x in every)


def test_a_table_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
                            tmp_path: Path) -> None:
    monkeypatch.setattr(layers, "LAYERS", {"vgg16_32": (Layer(1, 8, 8, 8),)})
    monkeypatch.setattr(layers, "BARS", {"forward": 1e9, "weight gradient": 0.0})
    monkeypatch.setattr(layers, "SECONDS", 0.001)
    path = tmp_path / "layers.json"
    assert layers.main(["--threads", "1", "--rounds", "2", "--json", str(path)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| 1 x 8")]
    assert ["**below**" in line for line in lines] == [True, False]
    rows = json.loads(path.read_text("utf-8"))
    assert [row["direction"] for row in rows] == ["forward", "weight gradient"]
    for row in rows:
        assert row["ratio"] == pytest.approx(row["direct_ms"] / row["winograd_ms"])
        assert row["direct_gflops"] == pytest.approx(2 * 9 * 64 * 64 / row["direct_ms"] / 1e6)
        assert row["winograd_ms"] > 0 and row["direct_share"] > 0
