"""Which kernels run between two barriers, and which are too small to share.

A kernel with little work is done by the first thread alone: handing over costs more. Kernels wait
for one another only where one reads what another wrote (or writes what it read) on another
thread; the rest follow one another without a barrier. A stretch between two barriers is a phase.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from kiso.compiler.codegen.convert import reads
from kiso.compiler.contract.steps import Step
from kiso.compiler.loops import HEAVY, Buffer, Contract, Kernel, Reduce, subexpressions

__all__ = ["Slot", "schedule", "seconds"]

SMALL = 3e-6  # seconds; a barrier takes about 1e-6
BANDWIDTH = 2e10  # bytes a second of one thread, about
RATE = 1.5e11  # operations a second of one thread, about
FUNCTIONS = 1e9  # exponentials and the like a second of one thread, about


@dataclass(frozen=True)
class Slot:
    """When a kernel runs, and whether threads share it."""

    phase: int
    shared: bool


def seconds(kernel: Kernel | Contract) -> float:
    """Estimated time on one thread."""
    if isinstance(kernel, Step):
        moved = sum(b.nbytes for b in {*kernel.inputs, kernel.buffer} if b is not kernel.scratch)
        return moved / BANDWIDTH + kernel.operations / RATE
    assert isinstance(kernel, Kernel)
    parts = subexpressions(*(e for _, e in kernel.results))
    terms = max((prod(a.extent for a in e.axes) for e in parts if isinstance(e, Reduce)),
                default=1)
    count = prod(kernel.buffer.shape) * terms
    heavy = sum(getattr(e, "name", "") in HEAVY for e in parts)
    return 4 * count * (1 + len(parts) / 50) / BANDWIDTH + count * heavy / FUNCTIONS


def schedule(kernels: Sequence[Kernel | Contract], breaks: Sequence[int] = ()) -> list[Slot]:
    """Phase and sharing of each kernel; a new phase begins at the kernels numbered in `breaks`."""
    found: list[Slot] = []
    phase = 0
    wrote: dict[Buffer, bool] = {}  # in this phase -> whether by several threads
    read: dict[Buffer, bool] = {}
    for i, kernel in enumerate(kernels):
        shared = seconds(kernel) > SMALL
        inputs = reads(kernel)
        # Two kernels of the first thread need no barrier between them.
        clash = any(b in wrote and (shared or wrote[b]) for b in (*inputs, *kernel.buffers)) or \
            any(b in read and (shared or read[b]) for b in kernel.buffers)
        if clash or i in breaks:
            phase += 1
            wrote, read = {}, {}
        for b in kernel.buffers:
            wrote[b] = shared or wrote.get(b, False)
        for b in inputs:
            read[b] = shared or read.get(b, False)
        found.append(Slot(phase, shared))
    return found
