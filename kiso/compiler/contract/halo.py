"""Rows of an image in scratch, with a border of zeros, so that no tap tests for borders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kiso.compiler.contract.emit import Code

__all__ = ["Window", "copy_rows", "zero_fill"]


@dataclass(frozen=True)
class Window:
    """Columns `left`.. (`columns` of them, some outside of the image) of rows of an image
    (height, width, channels)."""

    height: int
    width: int
    channels: int
    left: int
    columns: int

    @property
    def row(self) -> int:
        """Floats in a row of the copy."""
        return self.columns * self.channels


def copy_run(code: Code, source: Any, target: Any, count: int) -> None:
    """target[i] = source[i] for i < count; source None stands for zeros."""
    lanes = code.machine.lanes

    def move(i: Any, n: int) -> None:
        code.store(code.zero if source is None else code.load(source, i, n), target, i, n)
    whole = count // lanes
    if whole:
        def full(i: Any) -> None:
            move(code.mul(i, lanes), lanes)
        code.loop(0, whole, full)
    if count % lanes:
        move(whole * lanes, count % lanes)


def zero_fill(code: Code, target: Any, count: int) -> None:
    """target[i] = 0 for i < count."""
    if count:
        copy_run(code, None, target, count)


def copy_rows(code: Code, window: Window, image: Any, target: Any, first: Any, rows: int) -> None:
    """The rows first.. of the image, as the window sees them; rows outside are zero."""
    w = window
    before = max(0, -w.left) * w.channels
    low, high = max(0, w.left), min(w.width, w.left + w.columns)
    inside = max(0, high - low) * w.channels

    def line(i: Any) -> None:
        row = code.value(code.add(first, i))
        here = code.at(target, code.mul(i, w.row))

        def within() -> None:
            source = code.at(image, code.add(code.mul(row, w.width * w.channels),
                                             low * w.channels))
            zero_fill(code, here, before)
            copy_run(code, source, code.at(here, before), inside)
            zero_fill(code, code.at(here, before + inside), w.row - before - inside)
        # One unsigned comparison: a negative row is a huge one.
        code.branch(code.b.icmp_unsigned("<", row, code.value(w.height)), within,
                    lambda: zero_fill(code, here, w.row))
    code.loop(0, rows, line)
