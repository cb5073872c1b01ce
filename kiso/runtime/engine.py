"""Compiled graphs as callables: NumPy arrays in, NumPy arrays out."""

from __future__ import annotations

import ctypes

import numpy as np

from kiso.compiler.codegen import Module, generate, split_reductions
from kiso.compiler.graph import Graph, Spec
from kiso.compiler.loops import Buffer
from kiso.compiler.plan import Plan, plan
from kiso.errors import GraphError
from kiso.ops.op import Array
from kiso.runtime.jit import Library
from kiso.runtime.memory import aligned, arrange
from kiso.runtime.target import Target, target

__all__ = ["Executable", "compile_graph"]

_Main = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_Part = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


class Executable:
    """A plan as machine code.

    Calls from several threads at once are safe: each has its own memory.
    """

    def __init__(self, found: Plan, to: Target | None = None):
        self.plan = found
        self.target = to or target()
        program = split_reductions(found.program, self.target.vector_bytes)
        self.module: Module = generate(program, self.target.vector_bytes)
        names = [code.name for code in self.module.kernels]
        self.library = Library(self.module.text, self.target, ["main", *names])
        self._main = _Main(self.library.address["main"])
        self.parts = [_Part(self.library.address[name]) for name in names]
        self._constants = {b: np.array(value, b.dtype, order="C")
                           for b, value in found.constants.items()}
        outside = {*found.inputs, *found.constants, *found.outputs}
        self._place, self.arena_bytes = arrange(program, outside)
        self._places = [(self.module.slots[b], offset) for b, offset in self._place.items()
                        if b in self.module.slots]

    def table(self, arrays: tuple[Array, ...]) -> tuple[ctypes.Array[ctypes.c_void_p],
                                                        list[Array], list[Array]]:
        """Pointers for one call: the table, the outputs, and what must stay alive meanwhile."""
        if len(arrays) != len(self.plan.inputs):
            raise GraphError(f"the compiled function takes {len(self.plan.inputs)} arrays, but "
                             f"{len(arrays)} came.")
        slots = self.module.slots
        pointers = (ctypes.c_void_p * max(len(slots), 1))()
        keep: list[Array] = []

        def bind(buffer: Buffer, array: Array) -> None:
            keep.append(array)
            if buffer in slots:
                pointers[slots[buffer]] = array.ctypes.data
        for k, (buffer, array) in enumerate(zip(self.plan.inputs, arrays, strict=True)):
            x = np.asarray(array)
            if x.shape != buffer.shape or x.dtype != buffer.dtype:
                raise GraphError(f"input {k} is {Spec(x.shape, x.dtype)}, but the function was "
                                 f"compiled for {Spec(buffer.shape, buffer.dtype)}.")
            bind(buffer, _in_order(x, buffer))
        for buffer, array in self._constants.items():
            bind(buffer, _in_order(array, buffer))
        arena = aligned(self.arena_bytes)
        keep.append(arena)
        for slot, offset in self._places:
            pointers[slot] = arena.ctypes.data + offset
        outputs: dict[Buffer, Array] = {}
        for buffer in self.plan.outputs:
            if buffer not in outputs:
                memory = np.empty(tuple(buffer.shape[k] for k in buffer.order), buffer.dtype)
                outputs[buffer] = memory.transpose(np.argsort(buffer.order))
                bind(buffer, memory)
        return pointers, [outputs[b] for b in self.plan.outputs], keep

    def __call__(self, *arrays: Array) -> list[Array]:
        """Run all kernels in order."""
        pointers, outputs, keep = self.table(arrays)
        self._main(ctypes.addressof(pointers))
        del keep
        return outputs


def _in_order(x: Array, buffer: Buffer) -> Array:
    """The array in the buffer's memory order, itself if it lies so."""
    return np.ascontiguousarray(x.transpose(buffer.order)) if x.ndim else np.ascontiguousarray(x)


def compile_graph(graph: Graph) -> Executable:
    """Lower, generate and load a graph. Errors: GraphError for an op without a lowering rule."""
    return Executable(plan(graph))
