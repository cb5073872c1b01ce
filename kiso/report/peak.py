"""What this machine can do at best, measured: the roof that kernels are compared with.

    fma_peak(2)     float32 operations a second of two threads that do nothing but multiply and add
    bandwidth(2)    bytes a second between memory and two threads: a = b + s c (McCalpin's triad)

The best of many rounds counts: the system may leave two fresh threads on one core for a while.
"""

from __future__ import annotations

import time

import numpy as np

from kiso import config
from kiso.runtime.jit import Library
from kiso.runtime.target import target
from kiso.runtime.threads import launch
from kiso.runtime.work import PARAMETERS

__all__ = ["bandwidth", "fma_peak"]

FLOATS = 1 << 24  # of each array of a triad: 64 MiB, beyond any cache that a core has for itself
ROUND = 0.03  # seconds
HEAD = PARAMETERS.replace("%table", "%p").replace("%count", "%n")  # as threads call it


def fma_peak(threads: int | None = None, seconds: float = 0.5) -> float:
    """Float32 operations a second, a multiply-add counted as two, of all threads together."""
    to = target()
    lanes, chains = to.vector_bytes // 4, 3 * to.registers // 4  # enough to hide the latency
    v = f"<{lanes} x float>"
    chain = range(chains)
    text = [f"define void @roof({HEAD}) {{\nenter:\n  %v = load {v}, ptr %p, align 4",
            "  br label %loop\nloop:\n  %i = phi i64 [0, %enter], [%next, %loop]",
            *(f"  %a{k} = phi {v} [%v, %enter], [%b{k}, %loop]" for k in chain),
            *(f"  %b{k} = call {v} @llvm.fmuladd.v{lanes}f32({v} %a{k}, {v} %v, {v} %v)"
              for k in chain),
            "  %next = add i64 %i, 1\n  %more = icmp slt i64 %next, %n",
            "  br i1 %more, label %loop, label %done\ndone:",
            *(f"  %c{k} = fadd {v} {f'%c{k - 1}' if k else '%v'}, %b{k}" for k in chain),
            f"  store {v} %c{chains - 1}, ptr %p, align 4\n  ret void\n}}",
            f"declare {v} @llvm.fmuladd.v{lanes}f32({v}, {v}, {v})"]
    arrays = np.zeros((threads or config.num_threads(), 256), np.float32)  # 256: lines apart
    return 2 * lanes * chains * _best("\n".join(text), arrays, 1 << 14, 1 << 30, seconds)


def bandwidth(threads: int | None = None, seconds: float = 0.5) -> float:
    """Bytes a second of all threads together: two floats read and one written for each element."""
    n = FLOATS // (threads or config.num_threads())
    text = f"""
define void @roof({HEAD}) {{
  %q = getelementptr float, ptr %p, i64 {n}
  %r = getelementptr float, ptr %p, i64 {2 * n}
  br label %loop
loop:
  %i = phi i64 [0, %0], [%next, %loop]
  %a = getelementptr float, ptr %p, i64 %i
  %b = getelementptr float, ptr %q, i64 %i
  %c = getelementptr float, ptr %r, i64 %i
  %x = load float, ptr %b, align 4
  %y = load float, ptr %c, align 4
  %m = fmul float %y, 3.0
  %z = fadd float %x, %m
  store float %z, ptr %a, align 4
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %n
  br i1 %more, label %loop, label %done
done:
  ret void
}}
"""
    # Ones: pages of zeros that nobody wrote are one page.
    arrays = np.ones((threads or config.num_threads(), 3 * n), np.float32)
    return 12 * _best(text, arrays, n, n, seconds)


def _best(text: str, arrays: np.ndarray, turns: int, most: int, seconds: float) -> float:
    """Turns of the loop a second, all threads together, in the best round; the first round has so
    many turns, none has more than `most`."""
    lib = Library(text, target(), ["roof"])
    roof, threads = lib.address["roof"], len(arrays)
    best, started = 0.0, time.perf_counter()
    while (at := time.perf_counter()) < started + seconds:
        jobs = np.array([(roof, row.ctypes.data, 0, 0, 0, turns, k, threads)
                         for k, row in enumerate(arrays)], np.int64)
        launch(jobs.ctypes.data, threads)
        took = time.perf_counter() - at
        best = max(best, turns * threads / took)
        turns = min(most, max(turns, int(turns * min(ROUND / took, 100))))
    return best
