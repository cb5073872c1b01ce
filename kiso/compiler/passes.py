"""Passes: Graph -> Graph, each with its reason. The graph is verified after each of them.

    fold       what depends on constants alone is computed now, not in every step
    common     equal ops on equal inputs are computed once (ops are pure, random ones too)
    turns      a product is turned rather than its result: of y = x W^T the backward pass makes
               gW = (x^T gy)^T, a copy of the largest arrays of a step; gW = gy^T x needs none
    moves      moves that undo each other go: gx = gy (W^T)^T would be a copy of W as well
    pooled     the gradient through max(relu(x)) over windows is masked before it is spread: what
               the windows were cut from, four times larger, need not be kept for that
    normed     batch norm of inference behind a convolution is a factor and a shift for each of its
               channels: the factor goes into the filters, which last, as the work on them does
    dead       what no output depends on is left out, such as the gradient of the input pictures,
               which the backward pass of the first layer gives and nobody asks for
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from kiso import ops
from kiso.compiler.graph import Graph, Node, Spec, output_specs, several, verify
from kiso.ops import Cast, MatMul, MaxPool, MaxPoolGrad, Mul, Reshape, Step, Transpose

__all__ = ["PASSES", "common", "dead", "fold", "moves", "normed", "optimise", "pooled", "turns"]

LARGEST_FOLDED = 1 << 16  # elements: a larger constant costs more to keep than to compute


def fold(graph: Graph) -> Graph:
    """Compute nodes whose inputs are all constants."""
    constants = dict(graph.constants)
    nodes: list[Node] = []
    for node in graph.nodes:
        small = all(prod(graph.specs[n].shape) <= LARGEST_FOLDED for n in node.outputs)
        if small and constants.keys() >= set(node.inputs):
            y = node.op(*(constants[n] for n in node.inputs))
            constants.update(zip(node.outputs, several(node.op, y), strict=True))
        else:
            nodes.append(node)
    return replace(graph, constants=constants, nodes=tuple(nodes))


def _read(values: tuple[int, ...], same: dict[int, int]) -> tuple[int, ...]:
    """The values, or those that came before and are equal to them."""
    return tuple(same.get(n, n) for n in values)


def common(graph: Graph) -> Graph:
    """Compute equal ops on equal inputs once."""
    same: dict[int, int] = {}  # value -> equal value that came before
    known: dict[Any, Node] = {}
    for node in graph.nodes:
        inputs = _read(node.inputs, same)
        first = known.setdefault((node.op, inputs), replace(node, inputs=inputs))
        if first.outputs != node.outputs:
            same.update(zip(node.outputs, first.outputs, strict=True))
    return replace(graph, nodes=tuple(known.values()), outputs=_read(graph.outputs, same))


def turns(graph: Graph) -> Graph:
    """Compute Transpose(A B) of matrices as Transpose(B) Transpose(A) if nobody else reads A B."""
    specs, nodes = list(graph.specs), list[Node]()

    def turned(n: int, into: int | None = None) -> int:
        if into is None:
            specs.append(Spec(specs[n].shape[::-1], specs[n].dtype))
            into = len(specs) - 1
        product = graph.made_by(n, MatMul)
        if product and graph.uses[n] == 1:
            a, b = product.inputs
            nodes.append(Node(MatMul(), (turned(b), turned(a)), (into,)))
        else:
            nodes.append(Node(Transpose(axes=(1, 0)), (n,), (into,)))
        return into

    for node in graph.nodes:
        if node.op == Transpose(axes=(1, 0)):
            turned(*node.inputs, *node.outputs)
        else:
            nodes.append(node)
    return replace(graph, specs=tuple(specs), nodes=tuple(nodes))


def moves(graph: Graph) -> Graph:
    """One Transpose or Reshape for two; none (nor Cast) where nothing changes."""
    same: dict[int, int] = {}  # value -> equal value that came before
    made: dict[int, Node] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        op, inputs = node.op, _read(node.inputs, same)
        before = made.get(inputs[0]) if inputs else None
        if before and isinstance(op, Reshape) and isinstance(before.op, Reshape):
            inputs = before.inputs
        elif before and isinstance(op, Transpose) and isinstance(before.op, Transpose):
            op, inputs = Transpose(axes=tuple(before.op.axes[k] for k in op.axes)), before.inputs
        still = op.axes == tuple(range(len(op.axes))) if isinstance(op, Transpose) else \
            isinstance(op, Reshape | Cast)
        if still and graph.specs[inputs[0]] == graph.specs[node.outputs[0]]:
            same[node.outputs[0]] = inputs[0]
        else:
            nodes.append(Node(op, inputs, node.outputs))
            made.update(dict.fromkeys(node.outputs, nodes[-1]))
    return replace(graph, nodes=tuple(nodes), outputs=_read(graph.outputs, same))


def pooled(graph: Graph) -> Graph:
    """MaxPoolGrad(x, g) * Step(x) as MaxPoolGrad(x, g * Step(MaxPool(x))): the gradient goes to
    elements that are the maximum."""
    specs = list(graph.specs)
    value = {(node.op, node.inputs): node.outputs[0] for node in graph.nodes}
    instead: dict[int, list[Node]] = {}
    for node in graph.nodes:
        if not isinstance(node.op, MaxPoolGrad):
            continue
        (x, g), (y,) = node.inputs, node.outputs
        top, mask = value.get((MaxPool(**node.op.settings()), (x,))), value.get((Step(), (x,)))
        if top is None or mask is None or graph.uses[y] > 1:
            continue
        product = value.get((Mul(), (y, mask)), value.get((Mul(), (mask, y))))
        if product is not None and specs[product] == specs[y]:
            step, masked = len(specs), len(specs) + 1
            specs += [specs[top], specs[g]]
            instead[product] = [Node(Step(), (top,), (step,)), Node(Mul(), (g, step), (masked,)),
                                Node(node.op, (x, masked), (product,))]
    nodes = [new for node in graph.nodes for new in instead.get(node.outputs[0], [node])]
    return replace(graph, specs=tuple(specs), nodes=tuple(nodes))


def normed(graph: Graph) -> Graph:
    """BatchNormInference(Conv(x, W) + b) as Conv(x, W s) + t, with s = gamma / sqrt(var + eps) and
    t = beta - (mean - b) s, where all but x lasts and nobody else reads what is between."""
    specs, constants, nodes = list(graph.specs), dict(graph.constants), list[Node]()
    lasting = {*graph.lasting, *constants}

    def made(op: ops.Op, *inputs: int, into: int | None = None) -> int:
        if into is None:
            into = len(specs)
            specs.extend(output_specs(op, [specs[n] for n in inputs]))
        nodes.append(Node(op, inputs, (into,)))
        return into

    for node in graph.nodes:
        lasting.update(node.outputs if lasting.issuperset(node.inputs) else ())
        if not isinstance(node.op, ops.BatchNormInference):
            nodes.append(node)
            continue
        x, *numbers = node.inputs
        added = graph.made_by(x, ops.Add)
        conv = graph.made_by(added.inputs[0] if added else x, ops.Conv)
        column = (specs[x].shape[1], *[1] * (len(specs[x].shape) - 2)) if conv else ()
        if not (conv and lasting.issuperset((conv.inputs[1], *numbers))
                and graph.uses[x] == graph.uses[conv.outputs[0]] == 1
                and {specs[n].dtype for n in (*conv.inputs, *node.inputs)} == {specs[x].dtype}
                and (not added or (added.inputs[1] in lasting
                                   and specs[added.inputs[1]].shape == column))):
            nodes.append(node)
            continue
        (image, W), (gamma, beta, mean, var) = conv.inputs, numbers
        eps = len(specs)
        constants[eps] = np.array(node.op.eps, specs[x].dtype)
        specs.append(Spec.of(constants[eps]))
        s = made(ops.Div(), gamma, made(ops.Sqrt(), made(ops.Add(), var, eps)))
        if added:
            mean = made(ops.Sub(), mean, made(Reshape(to=column[:1]), added.inputs[1]))
        t = made(ops.Sub(), beta, made(Mul(), mean, s))
        wide = Reshape(to=(*column[:1], *[1] * (len(specs[W].shape) - 1)))
        y = made(conv.op, image, made(Mul(), W, made(wide, s)))
        made(ops.Add(), y, made(Reshape(to=column), t), into=node.outputs[0])
    return replace(graph, specs=tuple(specs), constants=constants, nodes=tuple(nodes))


def dead(graph: Graph) -> Graph:
    """Leave out nodes and constants that no output depends on; inputs stay."""
    needed = set(graph.outputs)
    nodes: list[Node] = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            nodes.append(node)
            needed.update(node.inputs)
    constants = {n: value for n, value in graph.constants.items() if n in needed}
    return replace(graph, constants=constants, nodes=tuple(reversed(nodes)))


PASSES: tuple[tuple[str, Callable[[Graph], Graph]], ...] = (
    ("fold", fold), ("common", common), ("turns", turns), ("moves", moves),
    ("pooled", pooled), ("normed", normed), ("dead", dead))


def optimise(graph: Graph, *, exact: bool = False) -> Graph:
    """All passes in order. With `exact` the graph gives the same bits in NumPy: without `turns`,
    since a product and the one turned may be rounded differently there, without `normed` for the
    same reason, and without `pooled`, which gives 0 where a negative gradient times 0 was -0."""
    for _, change in PASSES:
        if not (exact and change in (turns, pooled, normed)):
            graph = verify(change(graph))
    return graph
