"""Compiled graphs as callables: NumPy arrays in, NumPy arrays out."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from kiso import config
from kiso.compiler.codegen import Code, Module, generate, split_reductions
from kiso.compiler.contract import Machine
from kiso.compiler.contract.steps import Step, expand
from kiso.compiler.graph import Graph, Spec
from kiso.compiler.loops import Buffer, Contract
from kiso.compiler.passes import optimise
from kiso.compiler.plan import Plan, plan
from kiso.errors import GraphError
from kiso.ops.op import Array
from kiso.runtime.jit import Library
from kiso.runtime.memory import aligned, arrange
from kiso.runtime.target import Target, flush_text, target
from kiso.runtime.threads import run, work_text

__all__ = ["Executable", "compile_graph"]

_Work = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
_Part = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


class Executable:
    """A plan as machine code.

    Calls from several threads at once are safe: each has its own memory.
    """

    def __init__(self, found: Plan, to: Target | None = None, threads: int | None = None):
        self.plan = found
        self.target = to or target()
        self.threads = threads or config.num_threads()
        expanded = expand(found.program, Machine(self.target.vector_bytes // 4,
                                                 self.target.registers))
        program = split_reductions(expanded.program, self.target.vector_bytes)
        self.module: Module = generate(program, self.target.vector_bytes, _contract)
        self.scratch, self.scratch_bytes = expanded.scratch, 4 * expanded.floats
        names = [code.name for code in self.module.kernels]
        text = merged(self.module.text, str(expanded.lib.module),
                      work_text(self.module.kernels), flush_text(self.target))
        self.lib = Library(text, self.target, ["work", *names])
        self._work = _Work(self.lib.address["work"])
        self.parts = [_Part(self.lib.address[name]) for name in names]
        self.constants = {b: np.array(value, b.dtype, order="C")
                          for b, value in found.constants.items()}
        self._free: list[Workspace] = []
        outside = {*found.inputs, *found.constants, *found.outputs}
        place, self.arena_bytes = arrange(program, outside)
        self.places = [(self.module.slots[b], offset) for b, offset in place.items()
                       if b in self.module.slots]

    def _workspace(self) -> Workspace:
        """Memory for one call: one that is free, or a new one."""
        try:
            return self._free.pop()
        except IndexError:
            return Workspace(self)

    def bind(self, arrays: tuple[Array, ...]) -> tuple[Workspace, list[Array], Any]:
        """Tables that point to these inputs and to new outputs: the memory of the call, the
        outputs, and what must stay alive until the code has run."""
        if len(arrays) != len(self.plan.inputs):
            raise GraphError(f"the compiled function takes {len(self.plan.inputs)} arrays, but "
                             f"{len(arrays)} came.")
        slots = self.module.slots
        keep: dict[Buffer, Array] = {}
        for k, (buffer, array) in enumerate(zip(self.plan.inputs, arrays, strict=True)):
            x = np.asarray(array)
            if x.shape != buffer.shape or x.dtype != buffer.dtype:
                raise GraphError(f"input {k} is {Spec(x.shape, x.dtype)}, but the function was "
                                 f"compiled for {Spec(buffer.shape, buffer.dtype)}.")
            keep[buffer] = np.ascontiguousarray(x.transpose(buffer.order)) if x.ndim else x
        memory = {b: np.empty(tuple(b.shape[k] for k in b.order), b.dtype)
                  for b in self.plan.outputs}
        keep |= memory
        space = self._workspace()
        for buffer, array in keep.items():
            if buffer in slots:
                for table in space.tables:
                    table[slots[buffer]] = array.ctypes.data
        outputs = [memory[b].transpose(np.argsort(b.order)) for b in self.plan.outputs]
        return space, outputs, keep

    def __call__(self, *arrays: Array) -> list[Array]:
        """Run all kernels in order; the results are new arrays."""
        space, outputs, keep = self.bind(arrays)
        space.counter[0] = 0
        run(lambda k: self._work(ctypes.addressof(space.tables[k]),
                                 ctypes.addressof(space.counter), k, self.threads), self.threads)
        self._free.append(space)
        del keep
        return outputs


class Workspace:
    """What a call needs besides inputs and outputs, kept for the next one: the arena of values
    between kernels, every thread's scratch memory and table of pointers, the barrier's counter."""

    def __init__(self, code: Executable):
        slots = code.module.slots
        self.counter = (ctypes.c_int64 * 1)()
        self.arena = aligned(code.arena_bytes)
        self.scratch = [aligned(code.scratch_bytes) for _ in range(code.threads)]
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


def _contract(name: str, step: Contract, slots: dict[Buffer, int], vector_bytes: int) -> Code:
    assert isinstance(step, Step), step
    return Code(name, step.text(name, slots), "", {}, step.items, "contract")


def merged(*modules: str) -> str:
    """Several modules as one: headers of their own left out, every declaration kept once."""
    lines: dict[str, None] = {}
    bodies: list[str] = []
    for line in "\n".join(modules).splitlines():
        if line.startswith(("source_filename", "target ", "; ModuleID")):
            continue
        if line.startswith("declare"):
            name = line[line.index("@"):line.index("(")]
            if not any(name == known[known.index("@"):known.index("(")] for known in lines):
                lines[line] = None
            continue
        bodies.append(line)
    return "\n".join([*bodies, *lines, ""])


def compile_graph(graph: Graph, threads: int | None = None, *,
                  contracts: bool = True) -> Executable:
    """Optimise, lower, generate and load a graph.

    Errors: GraphError for an op without a lowering rule.
    """
    return Executable(plan(optimise(graph), contracts=contracts), threads=threads)
