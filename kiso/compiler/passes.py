"""Passes: Graph -> Graph, each with its reason. The graph is verified after each of them.

    fold       what depends on constants alone is computed now, not in every step
    common     equal ops on equal inputs are computed once (ops are pure, random ones too)
    dead       what no output depends on is left out, such as the gradient of the input pictures,
               which the backward pass of the first layer gives and nobody asks for
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from kiso.compiler.graph import Graph, Node, verify
from kiso.ops.op import Array

__all__ = ["PASSES", "common", "dead", "fold", "optimise"]

LARGEST_FOLDED = 1 << 16  # elements: a larger constant costs more to keep than to compute


def fold(graph: Graph) -> Graph:
    """Compute nodes whose inputs are all constants."""
    constants: dict[int, Array] = dict(graph.constants)
    nodes: list[Node] = []
    for node in graph.nodes:
        small = all(prod(graph.specs[n].shape) <= LARGEST_FOLDED for n in node.outputs)
        if small and all(n in constants for n in node.inputs):
            y = node.op(*(constants[n] for n in node.inputs))
            constants.update(zip(node.outputs, y if node.op.outputs > 1 else (y,), strict=True))
        else:
            nodes.append(node)
    return Graph(graph.specs, graph.inputs, constants, tuple(nodes), graph.outputs)


def common(graph: Graph) -> Graph:
    """Compute equal ops on equal inputs once."""
    same: dict[int, int] = {}  # value -> equal value that came before
    known: dict[Any, tuple[int, ...]] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        inputs = tuple(same.get(n, n) for n in node.inputs)
        first = known.setdefault((node.op, inputs), node.outputs)
        if first is node.outputs:
            nodes.append(Node(node.op, inputs, node.outputs))
        else:
            same.update(zip(node.outputs, first, strict=True))
    outputs = tuple(same.get(n, n) for n in graph.outputs)
    return Graph(graph.specs, graph.inputs, graph.constants, tuple(nodes), outputs)


def dead(graph: Graph) -> Graph:
    """Leave out nodes and constants that no output depends on; inputs stay."""
    needed = set(graph.outputs)
    nodes: list[Node] = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            nodes.append(node)
            needed.update(node.inputs)
    constants = {n: value for n, value in graph.constants.items() if n in needed}
    return Graph(graph.specs, graph.inputs, constants, tuple(reversed(nodes)), graph.outputs)


PASSES: tuple[tuple[str, Callable[[Graph], Graph]], ...] = (
    ("fold", fold), ("common", common), ("dead", dead))


def optimise(graph: Graph) -> Graph:
    """All passes in order; the result gives the same bits."""
    for _, change in PASSES:
        graph = verify(change(graph))
    return graph
