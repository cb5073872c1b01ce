"""Compiled graphs as callables: NumPy arrays in, NumPy arrays out.

    code = compile_graph(graph)                          code(x, y) -> results, a pure function
    code = compile_graph(graph, state={0: 0, 1: 1})      inputs 0 and 1 are state that outputs 0
                                                         and 1 replace
    state = [code.place(k, array) for k, array in ...]   as the code wants it in memory
    code.run([*state, images, rows], moving={3}, steps=50)   50 steps in one call, each with the
                                                         next part of `rows`; state is updated
"""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kiso import config
from kiso.compiler.codegen import Code, Module, generate, split_reductions
from kiso.compiler.contract import Machine
from kiso.compiler.contract.steps import Step, expand
from kiso.compiler.graph import Graph, Spec
from kiso.compiler.inplace import settle
from kiso.compiler.loops import Buffer, Contract
from kiso.compiler.passes import optimise
from kiso.compiler.plan import Plan, plan
from kiso.compiler.siblings import fuse
from kiso.errors import GraphError
from kiso.ops.op import Array
from kiso.runtime.jit import Library, Objects, merged
from kiso.runtime.memory import aligned, arrange, tidy
from kiso.runtime.target import Target, flush_text, target
from kiso.runtime.threads import launch
from kiso.runtime.work import LAST, STOP, SYNC_WORDS, schedule, work_text

__all__ = ["Executable", "Results", "compile_graph"]

LARGE = 1_000_000  # characters of IR, after which memory is given back


@dataclass(frozen=True)
class Results:
    """What steps returned: each output of all steps (steps, ...), how many were done, and whether
    the next one was given up because a watched number was not finite (its outputs are there, the
    state is from before it)."""

    outputs: list[Array]
    steps: int
    given_up: bool = False


class Executable:
    """A plan as machine code.

    Calls from several threads at once are safe: each has its own memory (but not if they share
    state).
    """

    def __init__(self, found: Plan, to: Target | None = None, threads: int | None = None,
                 conv: str | None = None):
        self.plan = found
        self.target = to or target()
        self.threads = threads or config.num_threads()
        machine = Machine(self.target.vector_bytes // 4, self.target.registers)
        parts = Objects(self.target)
        settled = settle(found.program, found.carried, found.results)
        expanded = expand(settled, machine, parts.load, config.conv(conv))
        width = self.target.vector_bytes
        program = fuse(split_reductions(expanded.program, width), width, found.carried)
        self.module: Module = generate(program, width, _contract)
        slots = self.module.slots
        self.scratch, self.scratch_bytes = expanded.scratch, 4 * expanded.floats
        guard = next((i for i, k in enumerate(program.kernels)
                      if not found.carried.keys().isdisjoint(k.buffers)), None)
        times = schedule(program.kernels, () if guard is None else (guard,))
        codes = self.module.kernels
        text = merged(self.module.text, flush_text(self.target), work_text(
            codes, times, [slots[b] for b in found.watched], guard))
        self.lib = Library(text, self.target, ["work", *(code.name for code in codes)], parts)
        self.work: int = self.lib.address["work"]
        if parts.compiled > LARGE:
            tidy()
        self.program, self.times = program, times
        self.constants = {b: np.array(value, b.dtype, order="C")
                          for b, value in found.constants.items()}
        self._free: list[Workspace] = []
        place, self.arena_bytes = arrange(program, [t.phase for t in times],
                                          {*found.inputs, *found.constants, *found.results})
        self.places = [(slots[b], offset) for b, offset in place.items() if b in slots]

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
        right = tuple(buffer.shape[a] for a in buffer.order) if placed else buffer.shape
        if shape != right or x.dtype != buffer.dtype:
            raise GraphError(f"input {k} is {Spec(shape, x.dtype)}, but the function was "
                             f"compiled for {Spec(right, buffer.dtype)}.")
        return x

    def bind(self, arrays: Sequence[Array], moving: Collection[int] = (), steps: int = 1
             ) -> tuple[Workspace, list[Array], list[int], list[Array]]:
        """Memory for a call with pointers to these inputs and to new results: the memory, the
        results, slot and stride of what moves from step to step, and what must stay alive."""
        if len(arrays) != len(self.plan.inputs):
            raise GraphError(f"the compiled function takes {len(self.plan.inputs)} arrays, but "
                             f"{len(arrays)} came.")
        given: list[Array] = []
        for k, array in enumerate(arrays):
            x = np.asarray(array)
            shape = x.shape[1:] if k in moving else x.shape
            given.append(np.ascontiguousarray(self._expected(k, shape, x, placed=True)))
        results = [np.empty((steps, *b.shape), b.dtype) for b in self.plan.results]
        try:
            space = self._free.pop()
        except IndexError:
            space = Workspace(self)
        slots = self.module.slots
        moves: list[int] = []
        for k, (b, array) in enumerate(zip((*self.plan.inputs, *self.plan.results),
                                           (*given, *results), strict=True)):
            if b in slots:
                for table in space.tables:
                    table[slots[b]] = array.ctypes.data
                if k in moving or k >= len(given):
                    moves += [slots[b], array[:1].nbytes]
        return space, results, moves, given

    def run(self, arrays: Sequence[Array], *, moving: Collection[int] = (), steps: int = 1,
            stop: Array | None = None) -> Results:
        """All kernels, `steps` times. Inputs in `moving` and the results have a leading axis of
        steps. State comes as `place` gives it, and is changed. `stop`: an array of one int64 that
        another thread may set to 1; the steps end after the one that is running."""
        space, results, moves, keep = self.bind(arrays, moving, steps)
        done = space.run(self, moves, steps, stop)
        self._free.append(space)
        del keep
        stopped = stop is not None and bool(stop[0])
        return Results(results, done, done < steps and not stopped)

    def release(self) -> None:
        """Give up the memory that calls leave for the next one."""
        self._free.clear()

    def __call__(self, *arrays: Array) -> list[Array]:
        """Run all kernels once; the results are new arrays."""
        return [y[0] for y in self.run(arrays).outputs]


class Workspace:
    """What a call needs besides inputs and outputs, kept for the next one: the arena of values
    between kernels, every thread's scratch memory and table of pointers, the words that threads
    share."""

    def __init__(self, code: Executable):
        slots = code.module.slots
        self.arena = aligned(code.arena_bytes)
        self.scratch = [aligned(code.scratch_bytes) for _ in range(code.threads)]
        self.sync = aligned(8 * SYNC_WORDS).view(np.int64)
        kind = ctypes.c_void_p * max(len(slots), 1)
        self.tables = [kind() for _ in range(code.threads)]
        for table, own in zip(self.tables, self.scratch, strict=True):
            for buffer, array in code.constants.items():
                if buffer in slots:
                    table[slots[buffer]] = array.ctypes.data
            for slot, offset in code.places:
                table[slot] = self.arena.ctypes.data + offset
            if code.scratch in slots:
                table[slots[code.scratch]] = own.ctypes.data

    def run(self, code: Executable, moves: list[int], steps: int, stop: Array | None) -> int:
        """The work of all threads; how many steps were done."""
        self.sync[:] = 0
        self.sync[LAST] = steps - 1
        parts = (ctypes.c_int64 * max(len(moves), 1))(*moves)
        flag = self.sync[STOP:] if stop is None else stop
        shared = (ctypes.addressof(parts), flag.ctypes.data, self.sync.ctypes.data,
                  len(moves) // 2)
        launch(np.array([(code.work, ctypes.addressof(table), *shared, k, code.threads)
                         for k, table in enumerate(self.tables)], np.int64))
        return int(self.sync[LAST]) + 1


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
    found = plan(optimise(graph), contracts=contracts, state=state, watched=watched)
    return Executable(found, threads=threads, conv=conv)
