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

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from kiso.errors import GraphError
from kiso.ops.op import Array, Op, Shape

__all__ = ["Graph", "Node", "Spec", "output_specs", "run", "several", "verify"]


@dataclass(frozen=True)
class Spec:
    """Shape and element type of a value."""

    shape: Shape
    dtype: np.dtype[Any]

    @staticmethod
    def of(x: Any) -> Spec:
        """Those of whatever has both."""
        return Spec(x.shape, x.dtype)

    def __str__(self) -> str:
        kind = self.dtype.kind
        name = "bool" if kind == "b" else f"{kind}{8 * self.dtype.itemsize}"
        return f"{name}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Node:
    """`outputs = op(inputs)`, all by number."""

    op: Op
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Graph:
    """A pure function of arrays: `specs[n]` describes value n. `lasting`: inputs that are the same
    in many calls, such as weights in inference."""

    specs: tuple[Spec, ...]
    inputs: tuple[int, ...]
    constants: dict[int, Array]
    nodes: tuple[Node, ...]
    outputs: tuple[int, ...]
    lasting: frozenset[int] = frozenset()

    @cached_property
    def maker(self) -> dict[int, Node]:
        """The node that gives each value; inputs and constants have none."""
        return {n: node for node in self.nodes for n in node.outputs}

    def made_by(self, n: int, kind: type[Op]) -> Node | None:
        """The node that gives value n, if it applies an op of this kind."""
        node = self.maker.get(n)
        return node if node and isinstance(node.op, kind) else None

    @cached_property
    def uses(self) -> Counter[int]:
        """How often each value is read, by nodes or as an output."""
        return Counter([*(n for node in self.nodes for n in node.inputs), *self.outputs])

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


def several(op: Op, result: Any) -> tuple[Any, ...]:
    """What an op gives as a tuple, be it one value or more."""
    return result if op.outputs > 1 else (result,)


def output_specs(op: Op, inputs: Sequence[Spec]) -> tuple[Spec, ...]:
    """Shapes and types that an op gives for its inputs."""
    shapes = several(op, op.shape(*(s.shape for s in inputs)))
    dtypes = several(op, op.dtype(*(s.dtype for s in inputs)))
    return tuple(Spec(tuple(s), np.dtype(d)) for s, d in zip(shapes, dtypes, strict=True))


def verify(graph: Graph) -> Graph:
    """Check the rules above and return the graph; GraphError names the first broken one."""
    defined: set[int] = set()
    steps = [("inputs", (), graph.inputs), ("constants", (), tuple(graph.constants)),
             *((str(node.op), node.inputs, node.outputs) for node in graph.nodes),
             ("outputs", graph.outputs, ())]
    for where, used, made in steps:
        for n in used:
            if n not in defined:
                raise GraphError(f"{where}: value %{n} is used before it is defined.")
        for n in made:
            if not 0 <= n < len(graph.specs):
                raise GraphError(f"{where}: value %{n} has no type; there are {len(graph.specs)}.")
            if n in defined:
                raise GraphError(f"{where}: value %{n} is defined twice.")
            defined.add(n)
    for n, value in graph.constants.items():
        if Spec.of(value) != graph.specs[n]:
            raise GraphError(f"constant %{n} is {Spec.of(value)}, its type says {graph.specs[n]}.")
    for node in graph.nodes:
        given = output_specs(node.op, [graph.specs[n] for n in node.inputs])
        found = tuple(graph.specs[n] for n in node.outputs)
        if found != given:
            raise GraphError(f"{node.op} gives {', '.join(map(str, given))}, but its outputs are "
                             f"{', '.join(map(str, found))}.")
    return graph


def run(graph: Graph, *inputs: Array) -> list[Array]:
    """Compute the graph with NumPy, node by node: the same bits as the traced function."""
    if len(inputs) != len(graph.inputs):
        raise GraphError(f"the graph takes {len(graph.inputs)} arrays, but {len(inputs)} came.")
    for n, array in zip(graph.inputs, inputs, strict=True):
        if Spec.of(array) != graph.specs[n]:
            raise GraphError(f"input %{n} is {Spec.of(array)}, but the graph was traced for "
                             f"{graph.specs[n]}; trace again for this shape.")
    values = graph.constants | dict(zip(graph.inputs, inputs, strict=True))
    left = graph.uses.copy()  # how often a value will still be read: at 0 its memory is given back
    for node in graph.nodes:
        y = node.op(*(values[n] for n in node.inputs))
        values.update(zip(node.outputs, several(node.op, y), strict=True))
        left.subtract(node.inputs)
        for n in {*node.inputs, *node.outputs}:
            if left[n] == 0:
                del values[n]
    return [values[n] for n in graph.outputs]
