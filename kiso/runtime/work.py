"""When kernels run, and the code of the loop over steps and kernels, for several threads.

A kernel with little work is done by the first thread alone: handing over costs more; and so is a
whole step with little work (`crew`), for which no other thread is woken. Kernels wait
for one another only where one reads what another wrote (or writes what it read) on another
thread; the rest follow one another without a barrier. A stretch between two barriers is a phase.

    work(table, moves, stop, sync, count, thread, threads)

runs all kernels `steps` times: phase after phase, each thread its share, then all wait at a
barrier. Before each further step the pointers of inputs and outputs that move go on to their next
part. Every thread has a table of its own, and takes the same share of items in every call, so a
result has the same bits from run to run with one number of threads. (With another number a share
may begin elsewhere, and what was the middle of a vector loop becomes its scalar end, which may
round differently.)

A second function of this kind, `prepare`, runs kernels once for many calls: those that depend on
nothing that changes (`lasting`), such as the packing of weights in inference.

The barrier is a counter that each thread raises once per phase; who waits spins a little, then
gives the processor away. The last step to be done is a shared number that the first thread lowers
to stop: when it is asked to, or when a number that is watched is not finite; then the step is given
up before anything is written to state.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import prod

from kiso.compiler.codegen import Code
from kiso.compiler.contract.steps import Step
from kiso.compiler.loops import HEAVY, Buffer, Contract, Kernel, Reduce, reads, subexpressions
from kiso.compiler.plan import Plan

__all__ = ["COUNTER", "HELPERS", "LAST", "PARAMETERS", "STOP", "SYNC_WORDS", "YIELD", "Slot",
           "constant", "crew", "lasting", "schedule", "work_text"]

Kernels = list[Kernel | Contract]
SMALL = 3e-6  # seconds; a barrier takes about 1e-6
# Seconds. A second thread pays from 4e-5 on where its core is idle (1e-5 of 4e-5 at 8e-5, a third
# at 1.5e-4); where another program has that core, it costs 4e-4 and more in each call.
ALONE = 1e-4
BANDWIDTH = 2e10  # bytes a second of one thread, about
RATE = 1.5e11  # operations a second of one thread, about
FUNCTIONS = 1e9  # exponentials and the like a second of one thread, about

# Words of `sync`, a cache line apart.
COUNTER, STOP, LAST, SYNC_WORDS = 0, 8, 16, 24
PARAMETERS = "ptr %table, ptr %moves, ptr %stop, ptr %sync, i64 %count, i64 %thread, i64 %threads"
SPINS = 4000
YIELD = "SwitchToThread" if os.name == "nt" else "sched_yield"  # of the operating system

HELPERS = f"""
define internal void @barrier(ptr %counter, ptr %passed, i64 %threads) noinline nounwind {{
enter:
  %alone = icmp eq i64 %threads, 1
  br i1 %alone, label %leave, label %arrive
arrive:
  %old = load i64, ptr %passed
  %goal = add i64 %old, %threads
  store i64 %goal, ptr %passed
  %before = atomicrmw add ptr %counter, i64 1 acq_rel
  br label %spin
spin:
  %turns = phi i64 [0, %arrive], [%next, %again], [0, %yield]
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
declare i1 @llvm.is.fpclass.f32(float, i32 immarg)

define internal void @advance(ptr %table, ptr %moves, i64 %count) noinline nounwind {{
enter:
  br label %test
test:
  %i = phi i64 [0, %enter], [%next, %move]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %move, label %leave
move:
  %next = add i64 %i, 1
  %pair = getelementptr {{i64, i64}}, ptr %moves, i64 %i
  %slot = load i64, ptr %pair
  %second = getelementptr i64, ptr %pair, i64 1
  %stride = load i64, ptr %second
  %place = getelementptr ptr, ptr %table, i64 %slot
  %old = load ptr, ptr %place
  %new = getelementptr i8, ptr %old, i64 %stride
  store ptr %new, ptr %place
  br label %test
leave:
  ret void
}}
"""
FINITE = 0x1F8  # classes of floating-point numbers: all but NaN and infinity


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
    terms = max((prod(a.extent for a in e.axes) for e in parts if isinstance(e, Reduce)), default=1)
    count = prod(kernel.buffer.shape) * terms
    heavy = sum(e.name in HEAVY for e in parts)
    return 4 * count * (1 + len(parts) / 50) / BANDWIDTH + count * heavy / FUNCTIONS


def crew(kernels: Sequence[Kernel | Contract], threads: int) -> int:
    """How many of the threads run these kernels: one, where all that can be shared is little."""
    return threads if sum(t for t in map(seconds, kernels) if t > SMALL) > ALONE else 1


def lasting(kernels: Sequence[Kernel | Contract], same: Collection[Buffer],
            outside: Collection[Buffer]) -> tuple[Kernels, Kernels]:
    """The kernels that read only what stays the `same` from step to step (among them what others of
    these make) and write nothing that is for `outside`; and the rest."""
    known, first, rest = set(same), Kernels(), Kernels()
    for kernel in kernels:
        inputs = reads(kernel)
        once = inputs and known.issuperset(inputs) and not any(b in outside for b in kernel.buffers)
        known.update(kernel.buffers if once else ())
        (first if once else rest).append(kernel)
    return first, rest


def constant(found: Plan, kernels: Sequence[Kernel | Contract]) -> set[Buffer]:
    """What is the same in many calls: constants, state that no step replaces, and what is made of
    them alone on the way."""
    same = {*found.constants, *(b for b, new in found.carried.items() if b is new)}
    first, _ = lasting(kernels, same, {*found.carried, *found.outputs})
    return same.union(*(k.buffers for k in first))


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


def work_text(codes: Sequence[Code], slots: Sequence[Slot], watched: Sequence[int] = (),
              guard: int | None = None, name: str = "work") -> str:
    """IR of `work` (or another `name`) for these kernels; it calls HELPERS. `watched`: places in
    the table of float32 numbers that must be finite before kernel number `guard`."""
    body: list[str] = []
    barrier = "  call void @barrier(ptr %counter, ptr %passed, i64 %threads)"
    block = 0
    alone = False  # inside a block of the first thread only
    for i, (code, slot) in enumerate(zip(codes, slots, strict=True)):
        begins, guards = i and slot.phase != slots[i - 1].phase, i == guard and watched
        if alone and (begins or guards or (code.items and slot.shared)):
            body += [f"  br label %all{block}", f"all{block}:"]
            alone = False
        body += [*([barrier] if begins else []), *(_watch(watched) if guards else [])]
        if code.items and slot.shared:
            body += [
                f"  %a{i} = mul i64 %thread, {code.items}", f"  %b{i} = udiv i64 %a{i}, %threads",
                f"  %c{i} = mul i64 %after, {code.items}", f"  %e{i} = udiv i64 %c{i}, %threads",
                f"  call void @{code.name}(ptr %table, i64 %b{i}, i64 %e{i})"]
        elif code.items:
            if not alone:
                block += 1
                body += [f"  br i1 %first, label %one{block}, label %all{block}", f"one{block}:"]
                alone = True
            body.append(f"  call void @{code.name}(ptr %table, i64 0, i64 {code.items})")
    if alone:
        body += [f"  br label %all{block}", f"all{block}:"]
    return "\n".join([
        f"define void @{name}({PARAMETERS}) nounwind {{", "enter:",
        f"  %counter = getelementptr i64, ptr %sync, i64 {COUNTER}",
        f"  %last = getelementptr i64, ptr %sync, i64 {LAST}",
        "  %passed = alloca i64", "  store i64 0, ptr %passed", "  %mode = call i64 @flush()",
        "  %after = add i64 %thread, 1", "  %first = icmp eq i64 %thread, 0",
        "  br label %step", "step:", "  %s = phi i64 [0, %enter], [%following, %again]", *body,
        "  br i1 %first, label %ask, label %asked", "ask:",
        "  %asks = load atomic i64, ptr %stop monotonic, align 8",
        "  %stops = icmp ne i64 %asks, 0", "  br i1 %stops, label %lower, label %asked", "lower:",
        "  store i64 %s, ptr %last", "  br label %asked", "asked:", barrier,
        "  %bound = load i64, ptr %last", "  %more = icmp slt i64 %s, %bound",
        "  br i1 %more, label %again, label %leave", "again:",
        "  call void @advance(ptr %table, ptr %moves, i64 %count)",
        "  %following = add i64 %s, 1", "  br label %step",
        *(["given_up:", "  br i1 %first, label %mark, label %leave", "mark:",
           "  %done = sub i64 %s, 1", "  store i64 %done, ptr %last", "  br label %leave"]
          if watched and guard is not None else []),
        "leave:", "  call void @restore(i64 %mode)", "  ret void", "}"])


def _watch(watched: Sequence[int]) -> list[str]:
    """Give the step up unless all these numbers are finite. All threads read the same numbers and
    come to the same end."""
    lines: list[str] = []
    for k, slot in enumerate(watched):
        lines += [f"  %w{k} = getelementptr ptr, ptr %table, i64 {slot}",
                  f"  %wp{k} = load ptr, ptr %w{k}", f"  %wx{k} = load float, ptr %wp{k}",
                  f"  %wf{k} = call i1 @llvm.is.fpclass.f32(float %wx{k}, i32 {FINITE})",
                  f"  br i1 %wf{k}, label %fine{k}, label %given_up", f"fine{k}:"]
    return lines
