"""Where the values between kernels live: one block, places reused when a value is dead."""

from __future__ import annotations

from collections.abc import Container, Sequence
from math import prod

import numpy as np

from kiso.compiler.codegen.convert import reads
from kiso.compiler.loops import Buffer, Program
from kiso.ops.op import Array

__all__ = ["ALIGNMENT", "aligned", "arrange"]

ALIGNMENT = 64  # a cache line, and the widest vector


def size(buffer: Buffer) -> int:
    """Bytes, rounded up to the alignment."""
    return -(-prod(buffer.shape) * buffer.dtype.itemsize // ALIGNMENT) * ALIGNMENT


def aligned(length: int) -> Array:
    """A block of bytes that begins at a multiple of ALIGNMENT."""
    raw = np.empty(length + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start:start + length]


def arrange(program: Program, phases: Sequence[int],
            outside: Container[Buffer]) -> tuple[dict[Buffer, int], int]:
    """Offset of each buffer in the block, and the block's length.

    A buffer lives from the phase in which it is written to the last one in which it is read (within
    a phase threads are not in step). Each new buffer takes the lowest gap that is large enough
    among those that are alive.
    """
    last: dict[Buffer, int] = {}
    for phase, kernel in zip(phases, program.kernels, strict=True):
        for b in (*reads(kernel), *kernel.buffers):
            last[b] = phase
    place: dict[Buffer, int] = {}
    alive: list[Buffer] = []
    length = 0
    for phase, kernel in zip(phases, program.kernels, strict=True):
        alive = [b for b in alive if last[b] >= phase]
        for new in kernel.buffers:
            if new in outside or new in place:
                continue
            start = 0
            for b in sorted(alive, key=lambda b: place[b]):
                if place[b] - start >= size(new):
                    break
                start = max(start, place[b] + size(b))
            place[new] = start
            alive.append(new)
            length = max(length, start + size(new))
    return place, length
