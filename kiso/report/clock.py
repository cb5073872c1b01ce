"""Times of the kernels of a compiled function while it runs as it always does.

The same loop over the kernels is compiled a second time (see runtime/work.py), with a function
around each kernel that reads the processor's clock before and after it. So the threads share each
kernel as they do in training, and the caches hold what the kernels before left in them. Steps with
and without these readings take turns; the difference is what the readings cost.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import numpy as np

from kiso.ops.op import Array
from kiso.runtime import Executable, Library
from kiso.runtime.engine import merged
from kiso.runtime.memory import aligned
from kiso.runtime.target import flush_text
from kiso.runtime.work import HELPERS, work_text

__all__ = ["Times", "measure", "pinned"]

LEAST = 5  # steps of each kind


@dataclass(frozen=True)
class Times:
    """Medians in seconds: of each kernel on the thread that needed longest, of a whole step, and of
    a whole step with the clock readings. Kernels that run once for many steps (see
    `Executable.keep`) are no part of a step."""

    kernels: list[float]
    step: float
    step_read: float
    steps: int  # of each kind


@contextmanager
def pinned(threads: int) -> Generator[None]:
    """Inside, each of the threads that compute has a core of its own, where the system lets us say
    so (Linux); it may leave two on one core for seconds, and that would be all that is measured."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = sorted(os.sched_getaffinity(0))
    names = {f"kiso-{k}": k for k in range(1, threads)} | {threading.current_thread().name: 0}
    own = {t.native_id: names[t.name] for t in threading.enumerate()
           if t.name in names and t.native_id is not None and 1 < threads <= len(cores)}
    try:
        for thread, k in own.items():
            os.sched_setaffinity(thread, {cores[k]})
        yield
    finally:
        for thread in own:
            with suppress(OSError):  # it has ended
                os.sched_setaffinity(thread, cores)


def measure(code: Executable, arrays: Sequence[Array], seconds: float) -> Times:
    """Run the code for about so long. `arrays` are its inputs; those that are state are changed."""
    kernels = code.module.kernels
    first = len(code.module.slots)  # in the table of pointers, behind those of the arrays
    codes, n = [replace(k, name=f"timed{i}") for i, k in enumerate(kernels)], code.once
    text = merged(work_text(codes[n:], code.times[n:]),
                  work_text(codes[:n], code.times[:n], name="prepare"), HELPERS,
                  flush_text(code.target), *(_timed(i, first) for i in range(len(kernels))),
                  "declare i64 @llvm.readcyclecounter()")
    library = Library(text, code.target, ["work", "prepare"])
    work, prepare = library.address["work"], library.address["prepare"]
    space, results, _, given = code.bind(arrays)
    between = aligned(code.once_bytes)
    space.point((slot, between.ctypes.data + at) for slot, at in code.once_places)
    ticks = [aligned(16 * len(kernels)).view(np.int64) for _ in range(code.threads)]
    longer = ctypes.c_void_p * (first + 1 + len(kernels))
    addresses = [code.lib.address[k.name] for k in kernels]
    space.tables = [longer(*table[:first], own.ctypes.data, *addresses)
                    for table, own in zip(space.tables, ticks, strict=True)]
    space.jobs[:, 1] = [ctypes.addressof(table) for table in space.tables]
    for own in ticks:
        own[:] = 0
    steps: list[tuple[float, float]] = []
    seen: list[Array] = []
    at: list[float] = []
    for _ in range(2):  # memory is touched, threads are awake
        space.run(work, [], 1, None)
    started = time.perf_counter()
    while len(at) < LEAST or time.perf_counter() < started + seconds:
        if n:
            space.run(prepare, [], 1, None)
        a = time.perf_counter()
        space.run(code.work, [], 1, None)
        b = time.perf_counter()
        space.run(work, [], 1, None)
        steps.append((b - a, time.perf_counter() - b))
        at.append(b)
        seen.append(np.stack(ticks).reshape(code.threads, len(kernels), 2))
    del given, results
    plain, with_clock = np.median(steps, 0)
    found = np.stack(seen)
    begin = found[:, 0, n:, 0].min(1, where=found[:, 0, n:, 0] > 0,
                                   initial=np.iinfo(np.int64).max)
    rate = (begin[-1] - begin[0]) / (at[-1] - at[0])  # ticks a second
    spans = (found[..., 1] - found[..., 0]).max(1)
    return Times((np.median(spans, 0) / rate).tolist(), float(plain), float(with_clock), len(at))


def _timed(i: int, first: int) -> str:
    """Kernel i between two readings of the clock, which go to places 2 i and 2 i + 1."""
    return f"""
define internal void @timed{i}(ptr %table, i64 %begin, i64 %end) nounwind {{
  %place = getelementptr ptr, ptr %table, i64 {first}
  %own = load ptr, ptr %place
  %start = getelementptr i64, ptr %own, i64 {2 * i}
  %stop = getelementptr i64, ptr %own, i64 {2 * i + 1}
  %which = getelementptr ptr, ptr %table, i64 {first + 1 + i}
  %kernel = load ptr, ptr %which
  %from = call i64 @llvm.readcyclecounter()
  store i64 %from, ptr %start
  call void %kernel(ptr %table, i64 %begin, i64 %end)
  %to = call i64 @llvm.readcyclecounter()
  store i64 %to, ptr %stop
  ret void
}}"""
