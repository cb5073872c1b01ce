"""Rows of an image in scratch, with a border of zeros, so that no tap tests for borders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kiso.compiler.contract.emit import Code, Library

__all__ = ["Window", "row_copier", "zero_fill"]


@dataclass(frozen=True)
class Window:
    """Columns `left`.. (`columns` of them, some outside of the image) of rows of an image
    (height, width, channels); of each pixel `taken` channels (0: all)."""

    height: int
    width: int
    channels: int
    left: int
    columns: int
    taken: int = 0

    @property
    def depth(self) -> int:
        """Channels of the copy."""
        return self.taken or self.channels

    @property
    def row(self) -> int:
        """Floats in a row of the copy."""
        return self.columns * self.depth


def row_copier(library: Library, window: Window, rows: int) -> Any:
    """The function (image, target, first): copies so many rows of the image, from the row `first`
    on, as the window sees them; what is outside of the image is zero."""
    key = ("halo", window, rows)
    if key not in library.made:
        code = library.function("copy_rows", ("image", "target"), ("first",), internal=True)
        image, target, first = code.fn.args
        _copy_rows(code, window, image, target, first, rows)
        library.made[key] = code.finish()
    return library.made[key]


def _copy_run(code: Code, source: Any, target: Any, count: int) -> None:
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
        _copy_run(code, None, target, count)


def _copy_rows(code: Code, w: Window, image: Any, target: Any, first: Any, rows: int) -> None:
    before = max(0, -w.left) * w.depth
    low, high = max(0, w.left), min(w.width, w.left + w.columns)
    pixels = max(0, high - low)
    after = w.row - before - pixels * w.depth

    def inside(source: Any, here: Any) -> None:
        if w.depth == w.channels:
            _copy_run(code, source, here, pixels * w.depth)
        elif pixels:
            def pixel(j: Any) -> None:
                _copy_run(code, code.at(source, code.mul(j, w.channels)),
                          code.at(here, code.mul(j, w.depth)), w.depth)
            code.loop(0, pixels, pixel)

    def line(i: Any) -> None:
        row = code.value(code.add(first, i))
        here = code.at(target, code.mul(i, w.row))

        def within() -> None:
            place = code.add(code.mul(row, w.width * w.channels), low * w.channels)
            zero_fill(code, here, before)
            inside(code.at(image, place), code.at(here, before))
            zero_fill(code, code.at(here, w.row - after), after)
        # One unsigned comparison: a negative row is a huge one.
        code.branch(code.b.icmp_unsigned("<", row, code.value(w.height)), within,
                    lambda: zero_fill(code, here, w.row))
    code.loop(0, rows, line)
