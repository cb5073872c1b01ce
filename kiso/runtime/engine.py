"""Compiled graphs as callables: NumPy arrays in, NumPy arrays out.

    code = compile_graph(graph)                          code(x, y) -> results, a pure function
    code = compile_graph(graph, state={0: 0, 1: 1})      inputs 0 and 1 are state that outputs 0
                                                         and 1 replace
    state = [code.place(k, array) for k, array in ...]   as the code wants it in memory
    code.run([*state, images, rows], moving={3}, steps=50)   50 steps in one call, each with the
                                                         next part of `rows`; state is updated
    kept = code.keep(weights)                            state that no step replaces, with all that
    code.run([x], kept=kept)                             is made of it alone: computed only once
"""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress

import numpy as np

from kiso import config
from kiso.compiler.codegen import Code, Module, generate, split_reductions
from kiso.compiler.contract import Machine
from kiso.compiler.contract.steps import Step, expand
from kiso.compiler.graph import Graph, Spec
from kiso.compiler.inplace import settle
from kiso.compiler.loops import Buffer, Contract, Program, reads
from kiso.compiler.passes import optimise
from kiso.compiler.plan import Plan, plan
from kiso.compiler.siblings import fuse
from kiso.errors import GraphError
from kiso.ops.op import Array
from kiso.runtime.jit import Library, Objects, merged
from kiso.runtime.measured import form
from kiso.runtime.memory import address, aligned, arrange, tidy
from kiso.runtime.target import Target, flush_text, target
from kiso.runtime.threads import JOB_WORDS, launch
from kiso.runtime.work import (
    COUNTER,
    HELPERS,
    LAST,
    STOP,
    SYNC_WORDS,
    constant,
    crew,
    lasting,
    schedule,
    work_text,
)

__all__ = ["Executable", "Kept", "Results", "compile_graph"]

LARGE = 1_000_000  # characters of IR, after which memory is given back


@dataclass(slots=True)
class Results:
    """What steps returned: each output of all steps (steps, ...), how many were done, and whether
    the next one was given up because a watched number was not finite (its outputs are there, the
    state is from before it)."""

    outputs: list[Array]
    steps: int
    given_up: bool = False


class Executable:
    """A plan as machine code.

    Kernels that depend on constants and on state that no step replaces come first in `program`, so
    many as `once` says; they run when `keep` is called, the others in every step. Calls from
    several threads at once are safe: each has its own memory (but not if they share state that is
    replaced).
    """

    def __init__(self, found: Plan, to: Target | None = None, threads: int | None = None,
                 conv: str | None = None):
        self.plan = found
        self.target = to or target()
        machine = Machine(self.target.vector_bytes // 4, self.target.registers)
        parts = Objects(self.target)
        settled = settle(found.program, found.carried, found.results)
        kept = constant(found, settled.kernels)
        self.fixed = [k for k, b in enumerate(found.inputs) if b in kept]
        self.free = [k for k, b in enumerate(found.inputs) if b not in kept]
        most = threads or config.num_threads()
        expanded = expand(settled, machine, parts.load, form(conv, self.target, most), kept)
        self.scratch, self.scratch_bytes = expanded.scratch, 4 * expanded.floats
        width = self.target.vector_bytes
        first, rest = lasting(split_reductions(expanded.program, width).kernels,
                              {*kept, self.scratch}, {*found.carried, *found.outputs})
        first = fuse(Program(first), width)
        rest = fuse(Program(rest), width, found.carried)
        self.threads = crew(rest.kernels, most)
        self.once = len(first.kernels)
        self.program = Program([*first.kernels, *rest.kernels])
        guard = next((i for i, k in enumerate(rest.kernels)
                      if not found.carried.keys().isdisjoint(k.buffers)), None)
        self.times = [*schedule(first.kernels),
                      *schedule(rest.kernels, () if guard is None else (guard,))]
        self.module: Module = generate(self.program, width, _contract)
        self.lib = self._library(parts, guard)
        self.work = self.lib.address["work"]
        if parts.compiled > LARGE:
            tidy()
        self._arrange(first, rest)
        self.constants = {b: np.array(value, b.dtype, order="C")
                          for b, value in found.constants.items()}
        slot = self.module.slots.get
        self._changing = [*((slot(found.inputs[k], -1), k) for k in self.free),
                          *((slot(b, -1), -1) for b in found.results)]
        self._shapes = [tuple(b.shape[a] for a in b.order) for b in found.inputs]  # as placed
        self._results = [(b.shape, b.dtype) for b in found.results]
        self._free: list[Workspace] = []
        self._kept: Kept | None = None  # for good, where it depends on constants alone

    def _library(self, parts: Objects, guard: int | None) -> Library:
        """The machine code: `work`, `prepare` if some kernels run once, and each kernel."""
        codes, n = self.module.kernels, self.once
        watched = [self.module.slots[b] for b in self.plan.watched]
        both = [work_text(codes[n:], self.times[n:], watched, guard), HELPERS,
                work_text(codes[:n], self.times[:n], name="prepare")]
        text = merged(self.module.text, flush_text(self.target), *(both if n else both[:2]))
        names = ["work", *["prepare"][:n], *(code.name for code in codes)]
        return Library(text, self.target, names, parts)

    def _arrange(self, first: Program, rest: Program) -> None:
        """Places of the values between kernels, and of those that are kept."""
        slots, phases = self.module.slots, [t.phase for t in self.times]
        outside = {*self.plan.inputs, *self.plan.constants, *self.plan.results}
        read = {b for k in rest.kernels for b in reads(k)}
        made = {b for k in first.kernels for b in k.buffers}
        self._lasting = [self.plan.inputs[k] in read for k in self.fixed]
        before, self.once_bytes = arrange(first, phases[:self.once], outside | (made & read))
        between, self.arena_bytes = arrange(rest, phases[self.once:], outside)
        # All in one phase: there at the same time.
        lasts, self.kept_bytes = arrange(first, [0] * self.once, outside | (made - read))
        self.once_places, self.places, self.kept_places = (
            [(slots[b], offset) for b, offset in place.items() if b in slots]
            for place in (before, between, lasts))

    def place(self, k: int, array: Array) -> Array:
        """A copy of the array as input k lies in memory."""
        x = self._expected(k, np.shape(array), np.asarray(array))
        return np.array(x.transpose(self.plan.inputs[k].order), order="C")

    def natural(self, k: int, array: Array) -> Array:
        """A copy of such an array with its axes in their usual order."""
        order = self.plan.inputs[k].order
        return np.array(array.transpose(np.argsort(order)) if order else array, order="C")

    def _expected(self, k: int, shape: tuple[int, ...], x: Array, *, placed: bool = False) -> Array:
        """Input k, if it is of this shape and its type is right."""
        buffer = self.plan.inputs[k]
        right = self._shapes[k] if placed else buffer.shape
        if shape != right or x.dtype != buffer.dtype:
            raise GraphError(f"input {k} is {Spec(shape, x.dtype)}, but the function was "
                             f"compiled for {Spec(right, buffer.dtype)}.")
        return x

    def _given(self, which: Sequence[int], arrays: Sequence[Array], moving: Collection[int]
               ) -> list[Array]:
        """The arrays for these inputs, contiguous."""
        if len(arrays) != len(which):
            raise GraphError(f"the compiled function takes {len(which)} arrays, but "
                             f"{len(arrays)} came.")
        return [np.asarray(self._expected(k, x.shape[1:] if k in moving else x.shape, x,
                                          placed=True), order="C")
                for k, x in zip(which, map(np.asarray, arrays), strict=True)]

    def _space(self) -> Workspace:
        """Memory for a call."""
        try:
            return self._free.pop()
        except IndexError:
            return Workspace(self)

    def keep(self, arrays: Sequence[Array]) -> Kept:
        """What can be computed of the inputs that stay the same (`fixed`; these arrays, as `place`
        gives them), for many calls. It is valid as long as they do not change."""
        kept = self._kept or Kept(self, self._given(self.fixed, arrays, ()))
        if self.once and kept is not self._kept:
            space, between = self._space(), aligned(self.once_bytes)
            space.take(kept)
            space.point((slot, between.ctypes.data + at) for slot, at in self.once_places)
            space.run(self.lib.address["prepare"], [], 1, None)
            self._free.append(space)
            kept.arrays = [*compress(kept.arrays, self._lasting)]  # the others have served
            if not self.fixed:
                self._kept = kept
        return kept

    def bind(self, arrays: Sequence[Array], moving: Collection[int] = (), steps: int = 1,
             kept: Kept | None = None) -> tuple[Workspace, list[Array], list[int], list[Array]]:
        """Memory for a call with pointers to these inputs and to new results: the memory, the
        results, slot and stride of what moves from step to step, and what must stay alive."""
        if kept is None:
            every = self._given(range(len(self.plan.inputs)), arrays, moving)
            kept, arrays = self.keep([every[k] for k in self.fixed]), [every[k] for k in self.free]
            given = arrays
        else:
            every = given = self._given(self.free, arrays, moving)
        results = [np.empty((steps, *shape), dtype) for shape, dtype in self._results]
        space = self._space()
        space.take(kept)
        moves: list[int] = []
        for (slot, k), array in zip(self._changing, (*given, *results), strict=True):
            if slot >= 0:
                place = address(array)
                for table in space.tables:
                    table[slot] = place
                if steps > 1 and (k < 0 or k in moving):
                    moves += [slot, array[:1].nbytes]
        return space, results, moves, [*every, *kept.arrays, kept.block]

    def run(self, arrays: Sequence[Array], *, moving: Collection[int] = (), steps: int = 1,
            stop: Array | None = None, kept: Kept | None = None) -> Results:
        """All kernels, `steps` times. Inputs in `moving` and the results have a leading axis of
        steps. State comes as `place` gives it, and is changed. `stop`: an array of one int64 that
        another thread may set to 1; the steps end after the one that is running. With `kept` (see
        `keep`) `arrays` are the other inputs alone; without it that is done for this call."""
        space, results, moves, alive = self.bind(arrays, moving, steps, kept)
        done = space.run(self.work, moves, steps, stop)
        self._free.append(space)
        del alive
        stopped = stop is not None and bool(stop[0])
        return Results(results, done, done < steps and not stopped)

    def release(self) -> None:
        """Give up the memory that calls leave for the next one."""
        self._free.clear()
        self._kept = None

    def __call__(self, *arrays: Array) -> list[Array]:
        """Run all kernels once; the results are new arrays."""
        return [y[0] for y in self.run(arrays).outputs]


class Kept:
    """Inputs that stay the same, and what the kernels that run once made of them. By `mark` others
    know it without keeping it alive."""

    def __init__(self, code: Executable, arrays: Sequence[Array]):
        self.arrays, self.block, self.mark = arrays, aligned(code.kept_bytes), object()
        slots, inputs = code.module.slots, code.plan.inputs
        self.pointers = [(slots[inputs[k]], x.ctypes.data)
                         for k, x in zip(code.fixed, arrays, strict=True) if inputs[k] in slots]
        self.pointers += [(slot, self.block.ctypes.data + at) for slot, at in code.kept_places]


class Workspace:
    """What a call needs besides inputs and outputs, kept for the next one: the arena of values
    between kernels, every thread's scratch memory and table of pointers, the words that threads
    share."""

    def __init__(self, code: Executable):
        slots = code.module.slots
        self.arena = aligned(code.arena_bytes)
        self.scratch = [aligned(code.scratch_bytes) for _ in range(code.threads)]
        self.sync = aligned(8 * SYNC_WORDS).view(np.int64)
        self.mark = object()  # of what it points to
        self.jobs = np.zeros((code.threads, JOB_WORDS), np.int64)
        self.jobs[:, 4] = self.sync.ctypes.data
        self.jobs[:, 6], self.jobs[:, 7] = range(code.threads), code.threads
        kind = ctypes.c_void_p * max(len(slots), 1)
        self.tables = [kind() for _ in range(code.threads)]
        self.jobs[:, 1] = [ctypes.addressof(table) for table in self.tables]
        self.jobs[:, 3] = self.flag = self.sync[STOP:].ctypes.data
        self.address, self.changed = self.jobs.ctypes.data, False  # since the last call
        for table, own in zip(self.tables, self.scratch, strict=True):
            if code.scratch in slots:
                table[slots[code.scratch]] = own.ctypes.data
        self.point((slots[b], x.ctypes.data) for b, x in code.constants.items() if b in slots)
        self.point((slot, self.arena.ctypes.data + at) for slot, at in code.places)

    def take(self, kept: Kept) -> None:
        """Point to inputs that stay the same and to what was made of them."""
        if self.mark is not kept.mark:
            self.point(kept.pointers)
            self.mark = kept.mark

    def point(self, pointers: Iterable[tuple[int, int]]) -> None:
        """Set these places of all tables to these addresses."""
        for slot, place in pointers:
            for table in self.tables:
                table[slot] = place

    def run(self, work: int, moves: list[int], steps: int, stop: Array | None) -> int:
        """The work of all threads, a function at this address; how many steps were done."""
        sync, jobs = self.sync, self.jobs  # see threads.py
        sync[COUNTER] = sync[STOP] = 0
        sync[LAST] = steps - 1
        jobs[:, 0] = work
        parts = None
        if moves or stop is not None or self.changed:
            parts = (ctypes.c_int64 * max(len(moves), 1))(*moves)
            jobs[:, 2], jobs[:, 5] = ctypes.addressof(parts), len(moves) // 2
            jobs[:, 3] = self.flag if stop is None else stop.ctypes.data
            self.changed = bool(moves) or stop is not None
        launch(self.address, len(jobs))
        del parts
        return int(sync[LAST]) + 1


def _contract(name: str, step: Contract, slots: dict[Buffer, int], vector_bytes: int) -> Code:
    assert isinstance(step, Step), step
    driver = step.driver
    pointers = "ptr, " * len(driver.pointers)
    declared = {driver.name: f"declare void @{driver.name}({pointers}i64, i64)"}
    return Code(name, step.text(name, slots), "", declared, step.items, "contract")


def compile_graph(graph: Graph, threads: int | None = None, *, contracts: bool = True,
                  state: Mapping[int, int | None] | None = None,
                  watched: Sequence[int] = (), conv: str | None = None) -> Executable:
    """Optimise, lower, generate and load a graph.

    state: inputs that stay in memory from step to step, and the output (None: none) that replaces
    each. watched: outputs (float32, one number) that must be finite, or the step is given up.
    conv: form of convolutions; see `config.conv`.
    Errors: GraphError for an op without a lowering rule.
    """
    same = frozenset(graph.inputs[k] for k, out in (state or {}).items() if out is None)
    found = plan(optimise(replace(graph, lasting=same)), contracts=contracts, state=state,
                 watched=watched)
    return Executable(found, threads=threads, conv=conv)
