"""Where the values between kernels live: one block, places reused when a value is dead."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Container, Sequence
from typing import Any

import numpy as np

from kiso.compiler.loops import Buffer, Program, reads
from kiso.ops.op import Array

__all__ = ["ALIGNMENT", "address", "aligned", "arrange", "tidy"]

ALIGNMENT = 64  # a cache line, and the widest vector
NOTHING = ctypes.c_char * 0


def size(buffer: Buffer) -> int:
    """Bytes, rounded up to the alignment."""
    return -(-buffer.nbytes // ALIGNMENT) * ALIGNMENT


def address(array: Any) -> int:
    """Where a contiguous array begins. (Its own `ctypes.data` takes four times as long.)"""
    return ctypes.addressof(NOTHING.from_buffer(array)) if array.flags.writeable else \
        array.ctypes.data


def aligned(length: int) -> Array:
    """A block of bytes that begins at a multiple of ALIGNMENT."""
    raw = np.empty(length + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start:start + length]


def tidy() -> None:
    """Give back to the system what compiling needed: its tables hold each other, and glibc keeps
    what was freed."""
    gc.collect()
    if os.name == "posix" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def arrange(program: Program, phases: Sequence[int],
            outside: Container[Buffer]) -> tuple[dict[Buffer, int], int]:
    """Offset of each buffer in the block, and the block's length.

    A buffer lives from the phase in which it is written to the last one in which it is read (within
    a phase threads are not in step). One after the other takes the lowest gap among those that
    live with it: in the order of the program, or the largest first, whichever needs less.
    """
    lives: dict[Buffer, tuple[int, int]] = {}  # in the order of the program
    for phase, kernel in zip(phases, program.kernels, strict=True):
        for b in (*reads(kernel), *kernel.buffers):
            if b in lives or (b in kernel.buffers and b not in outside):
                lives[b] = (lives.get(b, (phase, phase))[0], phase)
    found: list[tuple[int, dict[Buffer, int]]] = []
    for order in (list(lives), sorted(lives, key=lambda b: -size(b))):
        place: dict[Buffer, int] = {}
        for new in order:
            begin, end = lives[new]
            start = 0
            for b in sorted((b for b in place if lives[b][0] <= end and begin <= lives[b][1]),
                            key=lambda b: place[b]):
                if place[b] - start >= size(new):
                    break
                start = max(start, place[b] + size(b))
            place[new] = start
        found.append((max((place[b] + size(b) for b in place), default=0), place))
    length, place = min(found, key=lambda f: f[0])
    return place, length
