"""How a convolution is cut into blocks, panels and patches: the choice by estimated time.

A block is some samples, or some rows of one sample where an image is large. Its results fall into
pieces along each axis. Cut exactly, a piece has only taps inside of the image (see `pieces`), so
that no zero of the padding is multiplied; else an axis is one piece and reads a border of zeros.
Few results see the same taps where images are small: there a patch takes them from many samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import product
from math import prod

from kiso.compiler.contract.shape import Axis, Phase, Piece, Sliding, joined, pieces
from kiso.compiler.contract.tiles import MOST_VECTORS, Group, Machine, partition, patch

__all__ = ["Cut", "choose"]

_CACHED = 136 * 1024  # floats of input in a block
_COPIED = 96 * 1024   # the same where a sample has several blocks: the copy lies beside the input
_SAMPLES = 16        # of a block, at most
_COPY = 0.25         # cycles for a float
_PANELS = 1 / 6      # cycles for a float of weights, where they come from the third-level cache
_SECOND = 192 * 1024  # floats of weights that stay in the second level
_PANEL = 160 * 1024  # the same for a panel, beside the input
_KERNELS = 0.01      # gain that kernels for a second size of panels must bring
_JOINT = 1.5         # cycles for a pixel that is taken out of a vector
_MOST_JOINT = 8
_SLOW = 1.1          # factor for larger panels


@dataclass(frozen=True)
class Cut:
    """A block is so many `samples`, or, with several `blocks` in a sample, so many `rows` of each
    phase; `panels` in vectors. `exact`: no piece has taps outside of the image (but for the rows
    where there are several blocks). With `joint` > 1, a panel is one vector and holds the columns
    of so many pixels side by side, for images of few channels."""

    work: Sliding
    samples: int
    rows: int
    blocks: int
    panels: tuple[Group, ...]
    exact: bool
    joint: int = 1

    @cached_property
    def phases(self) -> list[Phase]:
        """The phases as the micro-kernels see them."""
        return [(h, joined(w, self.joint)) for h, w in self.work.phases]

    def pieces(self, last: bool) -> list[tuple[list[Piece], list[Piece]]]:
        """The pieces of each phase, along the height of a block and along the width."""
        def along(axis: Axis, i: int) -> list[Piece]:
            return list(pieces(axis, self.work.size[i])) if self.exact else [Piece(axis)]

        def across(axis: Axis) -> list[Piece]:
            rest = axis.count % self.joint
            first = axis.count - rest
            result = along(joined(axis, self.joint), 1) if first else []
            result = [replace(p, joint=self.joint) for p in result]
            if rest:
                final = replace(joined(axis, self.joint, first), count=1)
                result += [replace(p, first=first // self.joint, joint=rest)
                           for p in along(final, 1)]
            return result

        def rows(h: Axis) -> list[Piece]:
            if self.blocks == 1:
                return along(h, 0)
            count = h.count - (self.blocks - 1) * self.rows if last else min(self.rows, h.count)
            return [Piece(replace(h, count=count))] if count > 0 else []
        return [(rows(h), across(w)) for h, w in self.work.phases]

    def reach(self, axis: int, last: bool = False) -> tuple[int, int]:
        """First and last input row (or column) of a block, relative to its first result's."""
        return self.work.reach(axis, [p for pair in self.pieces(last) for p in pair[axis]])

    def samples_of(self, last: bool) -> int:
        """Samples of a block."""
        whole = -(-self.work.batch // self.samples) - 1
        return self.work.batch - whole * self.samples if last else self.samples

    @cached_property
    def total(self) -> int:
        """Blocks in all."""
        return -(-self.work.batch // self.samples) * self.blocks

    @cached_property
    def copied(self) -> bool:
        """Is a block's input copied to scratch? For zeros around it, where taps fall on the
        padding, or because samples a large power of two apart would compete for the same places of
        the cache."""
        whole = replace(self, blocks=1, exact=self.exact and self.blocks == 1)
        ends = (whole.reach(0), self.reach(1))
        outside = any(low < 0 or high >= size for (low, high), size in zip(
            ends, self.work.size, strict=True))
        return outside or (self.samples > 4 and self.work.image % 1024 == 0)


def _height(work: Sliding, rows: int) -> int:
    """Input rows that a block of so many rows of each phase reads."""
    low, high = work.reach(0, [Piece(replace(h, count=min(rows, h.count))) for h, _ in work.phases])
    return high - low + 1


def _blocks(work: Sliding) -> Iterator[tuple[int, int, int]]:
    """Ways to cut into blocks: (samples, rows, blocks of a sample)."""
    low, high = work.reach(1, [Piece(w) for _, w in work.phases])
    line = max(high - low + 1, work.size[1]) * work.channels
    rows = max(h.count for h, _ in work.phases)
    whole = _height(work, rows) * line <= _CACHED
    if whole or work.beside:
        most = min(_SAMPLES, work.batch, max(1, _CACHED // work.image))
        for samples in sorted({-(-work.batch // -(-work.batch // n)) for n in range(1, most + 1)}):
            yield samples, rows, 1
    if whole:
        return
    step = work.phases[0][0].in_step
    most = max(1, (_COPIED // line - (_height(work, 1) - 1)) // step)
    for size in sorted({-(-rows // n) for n in range(-(-rows // most), -(-2 * rows // most))}):
        yield 1, size, -(-rows // size)


def _cycles(machine: Machine, cut: Cut) -> float:
    """Estimated time of all."""
    work, blocks, total = cut.work, cut.total, 0.0
    packed = sum(h.taps * w.taps for h, w in work.phases) * work.inner * work.outputs
    ends = work.batch if cut.blocks > 1 else 1
    for last, times in ((False, blocks - ends), (True, ends)):
        if not times:
            continue
        samples = cut.samples_of(last)
        one = packed * _PANELS if packed > _SECOND else 0
        if cut.copied:
            one += samples * _height(work, cut.rows) * work.size[1] * work.channels * _COPY
        for (hs, ws), (full, wide) in zip(cut.pieces(last), cut.phases, strict=True):
            taps = full.taps * wide.taps
            for h, w in product(hs, ws):
                steps = h.axis.taps * w.axis.taps * work.inner
                extents = (samples, h.axis.count, w.axis.count)
                for g in cut.panels:
                    slow = _SLOW if taps * work.inner * g.size * machine.lanes > _PANEL else 1
                    one += work.groups * g.count * slow * patch(
                        machine, extents, g.size, max(steps, 1))[0]
                if w.joint > 1:
                    one += work.groups * prod(extents) * w.joint * _JOINT
        total += times * one
    rows = max(h.count for h, _ in work.phases)
    each = work.groups * sum(g.count for g in cut.panels)

    def first(threads: int) -> float:
        """What the first of some threads has to do, the most as the last block may be smaller."""
        whole, rest = divmod(-(-blocks * each // threads) / each, cut.blocks)
        return (whole + min(rest * cut.rows / rows, 1)) * cut.samples * threads / work.batch
    return total * (1 + first(2) + first(4)) * (1 + _KERNELS * len(cut.panels))


@lru_cache(maxsize=1024)
def choose(machine: Machine, work: Sliding) -> Cut:
    """The cut with the least estimated time."""
    vectors = -(-work.outer // machine.lanes)
    ways = [False]
    if any(pieces(p[i], n) != (Piece(p[i]),) for p in work.phases for i, n in enumerate(work.size)):
        ways = [False, True]
    fit = not work.beside and all(w.in_step % w.tap_step == 0 for _, w in work.phases)
    most = min(_MOST_JOINT, machine.lanes // work.outer, max(w.count for _, w in work.phases))
    joint = range(1, max(most, 1) + 1 if fit else 2)
    found: list[tuple[float, int, Cut]] = []
    for samples, rows, blocks in _blocks(work):
        for limit in range(1, min(MOST_VECTORS, vectors) + 1):
            for exact in ways:
                for n in joint:
                    cut = Cut(work, samples, rows, blocks, partition(vectors, limit), exact, n)
                    found.append((_cycles(machine, cut), len(found), cut))
    return min(found)[2]
