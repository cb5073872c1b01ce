"""From a graph to kernels: which values are stored, which are computed on the way (fusion).

A node's result stays a `Fn` when nothing would be computed twice: it only moves data, or it has a
single reader that reads each element once. Everything else is stored. Outputs always are.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from kiso.compiler.graph import Graph, Spec
from kiso.compiler.loops import Buffer, Fn, Program, const
from kiso.compiler.lower import RULES
from kiso.compiler.meaning import evaluate
from kiso.errors import GraphError
from kiso.ops.op import Array

__all__ = ["Plan", "plan", "run_plan"]


@dataclass(frozen=True, eq=False)
class Plan:
    """Kernels with the buffers of inputs, constants and outputs."""

    program: Program
    inputs: tuple[Buffer, ...]
    constants: dict[Buffer, Array]
    outputs: tuple[Buffer, ...]


def _buffer(spec: Spec, name: str) -> Buffer:
    return Buffer(spec.shape, spec.dtype, tuple(range(len(spec.shape))), name)


def _number(value: Array) -> Fn:
    """A constant of one element: part of the expressions, not an array in memory."""
    return Fn(value.shape, value.dtype, lambda *i: const(value.item(), value.dtype), moves=True)


def plan(graph: Graph) -> Plan:
    """Lower every node. Errors: GraphError for an op without a rule."""
    program = Program()
    inputs = tuple(_buffer(graph.specs[n], f"%{n}") for n in graph.inputs)
    numbers = {n: value for n, value in graph.constants.items() if value.size == 1}
    arrays = {n: value for n, value in graph.constants.items() if value.size != 1}
    constants = {_buffer(graph.specs[n], f"%{n}"): value for n, value in arrays.items()}
    values: dict[int, Fn] = {n: Fn.of(b) for n, b in zip(graph.inputs, inputs, strict=True)}
    values |= {n: Fn.of(b) for n, b in zip(arrays, constants, strict=True)}
    values |= {n: _number(value) for n, value in numbers.items()}
    uses = Counter(n for node in graph.nodes for n in node.inputs)
    uses.update(graph.outputs)
    stored: dict[int, Buffer] = {}

    def store(n: int) -> None:
        buffer = _buffer(graph.specs[n], f"%{n}")
        values[n] = program.store(values[n], buffer.name, buffer)
        stored[n] = buffer

    pending: set[int] = set()  # computed on the way: not stored, and more than a move
    for node in graph.nodes:
        rule = RULES.get(type(node.op))
        if rule is None:
            raise GraphError(f"{type(node.op).__name__} has no lowering rule in compiler/lower/.")
        size = max((prod(graph.specs[n].shape) for n in node.outputs), default=0)
        for n in dict.fromkeys(node.inputs):
            grows = prod(graph.specs[n].shape) < size  # broadcast: elements are read again
            if n in pending and (not rule.reads_once or grows):
                store(n)
                pending.discard(n)
        result: Any = rule.apply(program, node.op, *(values[n] for n in node.inputs))
        results: tuple[Any, ...] = result if node.op.outputs > 1 else (result,)
        for n, fn in zip(node.outputs, results, strict=True):
            spec = graph.specs[n]
            if fn.shape != spec.shape or fn.dtype != spec.dtype:
                raise GraphError(f"the lowering of {node.op} gives {Spec(fn.shape, fn.dtype)}; "
                                 f"the graph says {spec}.")
            values[n] = fn
            if fn.moves and not pending.intersection(node.inputs):
                continue
            if uses[n] == 1:
                pending.add(n)
            elif uses[n]:
                store(n)
    for n in graph.outputs:
        if n not in stored:
            store(n)
    return Plan(program, inputs, constants, tuple(stored[n] for n in graph.outputs))


def run_plan(found: Plan, *arrays: Array) -> list[Array]:
    """The plan's meaning in NumPy, for tests and for reading."""
    values = dict(found.constants) | {
        b: np.asarray(a) for b, a in zip(found.inputs, arrays, strict=True)}
    done = evaluate(found.program, values)
    return [done[b] for b in found.outputs]
