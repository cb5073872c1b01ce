"""The graph: what a traced function computes, on one page.

    graph  = "graph(" %n: type, ... ")" "{" line* "return" %n, ... "}"
    line   = %n: type "= constant" [value]
           | %n: type [, %m: type] "=" Op[attributes] "(" %n, ... ")"
    type   = f32[100,784]         element type and shape

Values are numbered; each is defined once, before its uses (SSA). A node applies one op of the
textbook. Nothing else exists: no control flow, no state. `verify` holds these rules, `run` is
the meaning of a graph in NumPy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kiso.errors import GraphError
from kiso.ops.op import Array, Op, Shape

__all__ = ["Graph", "Node", "Spec", "run", "verify"]


@dataclass(frozen=True)
class Spec:
    """Shape and element type of a value."""

    shape: Shape
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        kind = {"f": "f", "i": "i", "u": "u", "b": "bool"}[self.dtype.kind]
        bits = "" if kind == "bool" else str(8 * self.dtype.itemsize)
        return f"{kind}{bits}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Node:
    """`outputs = op(inputs)`, all by number."""

    op: Op
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Graph:
    """A pure function of arrays: `specs[n]` describes value n."""

    specs: tuple[Spec, ...]
    inputs: tuple[int, ...]
    constants: dict[int, Array]
    nodes: tuple[Node, ...]
    outputs: tuple[int, ...]

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def _lines(graph: Graph) -> Iterator[str]:
    def typed(n: int) -> str:
        return f"%{n}: {graph.specs[n]}"

    yield f"graph({', '.join(map(typed, graph.inputs))}) {{"
    for n, value in graph.constants.items():
        shown = f" {value.item():g}" if value.size == 1 else ""
        yield f"  {typed(n)} = constant{shown}"
    for node in graph.nodes:
        arguments = ", ".join(f"%{n}" for n in node.inputs)
        yield f"  {', '.join(map(typed, node.outputs))} = {node.op}({arguments})"
    yield f"  return {', '.join(f'%{n}' for n in graph.outputs)}"
    yield "}"


def output_specs(op: Op, inputs: Sequence[Spec]) -> tuple[Spec, ...]:
    """Shapes and types that an op gives for its inputs."""
    shapes = op.shape(*(s.shape for s in inputs))
    dtypes = op.dtype(*(s.dtype for s in inputs))
    if op.outputs == 1:
        shapes, dtypes = (shapes,), (dtypes,)
    return tuple(Spec(tuple(s), np.dtype(d)) for s, d in zip(shapes, dtypes, strict=True))


def verify(graph: Graph) -> Graph:
    """Check the rules above and return the graph; GraphError names the first broken one."""
    defined: set[int] = set()

    def define(n: int, where: str) -> None:
        if not 0 <= n < len(graph.specs):
            raise GraphError(f"{where}: value %{n} has no type; there are {len(graph.specs)}.")
        if n in defined:
            raise GraphError(f"{where}: value %{n} is defined twice.")
        defined.add(n)

    def use(n: int, where: str) -> None:
        if n not in defined:
            raise GraphError(f"{where}: value %{n} is used before it is defined.")

    for n in graph.inputs:
        define(n, "inputs")
    for n, value in graph.constants.items():
        define(n, "constants")
        if Spec(value.shape, value.dtype) != graph.specs[n]:
            raise GraphError(f"constant %{n} is {Spec(value.shape, value.dtype)}, its type says "
                             f"{graph.specs[n]}.")
    for node in graph.nodes:
        where = str(node.op)
        for n in node.inputs:
            use(n, where)
        expected = output_specs(node.op, [graph.specs[n] for n in node.inputs])
        for n in node.outputs:
            define(n, where)
        found = tuple(graph.specs[n] for n in node.outputs)
        if found != expected:
            raise GraphError(f"{where} gives {', '.join(map(str, expected))}, but its outputs are "
                             f"{', '.join(map(str, found))}.")
    for n in graph.outputs:
        use(n, "outputs")
    return graph


def run(graph: Graph, *inputs: Array) -> list[Array]:
    """Compute the graph with NumPy, node by node: the same bits as the traced function."""
    if len(inputs) != len(graph.inputs):
        raise GraphError(f"the graph takes {len(graph.inputs)} arrays, but {len(inputs)} came.")
    values: dict[int, Array] = dict(graph.constants)
    for n, array in zip(graph.inputs, inputs, strict=True):
        if Spec(array.shape, array.dtype) != graph.specs[n]:
            raise GraphError(f"input %{n} is {Spec(array.shape, array.dtype)}, but the graph was "
                             f"traced for {graph.specs[n]}; trace again for this shape.")
        values[n] = array
    last_use = {n: i for i, node in enumerate(graph.nodes) for n in node.inputs}
    keep = {*graph.outputs, *graph.constants}
    for i, node in enumerate(graph.nodes):
        y = node.op(*(values[n] for n in node.inputs))
        values.update(zip(node.outputs, y if node.op.outputs > 1 else (y,), strict=True))
        for n in {*node.inputs, *node.outputs}:
            if last_use.get(n, i) <= i and n not in keep:
                del values[n]
    return [values[n] for n in graph.outputs]
