"""The example of a layer of one's own learns, and its layer takes ten lines."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "own_layer.py"


def test_it_learns_digits(capsys: pytest.CaptureFixture[str]) -> None:
    names = runpy.run_path(str(EXAMPLE))
    assert names["main"](epochs=6) > 0.94
    printed = capsys.readouterr().out
    assert "Swish()" in printed
    assert "and is now from" in printed


def test_the_layer_takes_ten_lines() -> None:
    text = EXAMPLE.read_text("utf-8")
    body = text[text.index("class Swish"):text.index("def main")]
    assert sum(bool(line.strip()) for line in body.splitlines()) <= 10
