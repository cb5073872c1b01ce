"""Several threads for one call: the code of the loop over kernels, and the threads that run it.

    work(table, barrier, thread, threads)    kernel after kernel: this thread's share, then wait

Every thread takes the same share of items in every call, so a result has the same bits from run to
run with one number of threads. (With another number a share may begin elsewhere, and what was the
middle of a vector loop becomes its scalar end, which may round differently.) The barrier is a
counter that each thread raises once per kernel; who waits spins a little, then gives the processor
away.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache

from kiso.compiler.codegen import Code

__all__ = ["run", "work_text"]

SPINS = 2000
YIELD = "SwitchToThread" if os.name == "nt" else "sched_yield"  # of the operating system
_order = threading.Lock()

BARRIER = f"""
define internal void @barrier(ptr %counter, i64 %goal) noinline nounwind {{
enter:
  %before = atomicrmw add ptr %counter, i64 1 acq_rel
  br label %spin
spin:
  %turns = phi i64 [0, %enter], [%next, %again], [0, %yield]
  %now = load atomic i64, ptr %counter acquire, align 8
  %done = icmp sge i64 %now, %goal
  br i1 %done, label %leave, label %wait
wait:
  %next = add i64 %turns, 1
  %many = icmp sgt i64 %next, {SPINS}
  br i1 %many, label %yield, label %again
again:
  br label %spin
yield:
  %ignored = call i32 @{YIELD}()
  br label %spin
leave:
  ret void
}}
declare i32 @{YIELD}()
"""


def work_text(codes: Sequence[Code]) -> str:
    """IR of `work` for these kernels. A kernel of one item is done by the first thread."""
    lines = ["define void @work(ptr %table, ptr %counter, i64 %thread, i64 %threads) nounwind {",
             "  %mode = call i64 @flush()",
             "  %after = add i64 %thread, 1", "  %first = icmp eq i64 %thread, 0"]
    for i, code in enumerate(c for c in codes if c.items):
        lines += [
            f"  %a{i} = mul i64 %thread, {code.items}", f"  %b{i} = udiv i64 %a{i}, %threads",
            f"  %c{i} = mul i64 %after, {code.items}", f"  %e{i} = udiv i64 %c{i}, %threads",
            f"  call void @{code.name}(ptr %table, i64 %b{i}, i64 %e{i})",
            f"  %g{i} = mul i64 %threads, {i + 1}",
            f"  call void @barrier(ptr %counter, i64 %g{i})"]
    return "\n".join([*lines, "  call void @restore(i64 %mode)", "  ret void", "}", BARRIER])


@cache
def _pool(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, "kiso")


if hasattr(os, "register_at_fork"):  # a forked process has the pool, but not its threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
    os.register_at_fork(before=_order.acquire, after_in_child=_order.release,
                        after_in_parent=_order.release)


def run(part: Callable[[int], None], threads: int) -> None:
    """part(0) here and part(1), ... on other threads, all at the same time."""
    helpers: list[Future[None]] = []
    if threads > 1:
        # All parts of a call enter the queue together: two calls never wait for each other's.
        with _order:
            helpers = [_pool(threads - 1).submit(part, k) for k in range(1, threads)]
    part(0)
    for helper in helpers:
        helper.result()
