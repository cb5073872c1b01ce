"""From a graph to kernels: which values are stored, which are computed on the way (fusion).

A node's result stays a `Fn` when it only moves data, when it has a single reader that reads each
element once, or when a few operations make it from one stored array: then reading that array costs
no more than reading the result. Everything else is stored. Outputs always are.

With `contracts`, products and convolutions of float32 are left to the kernels of contract/,
which read and write stored arrays, images with the channels last in memory; that order is a
property of the buffer, so that every other kernel reads it as it is. State of four axes is taken
for filters, which lie in memory as (KH, KW, C, O). Work that follows is done while the result is in
the registers, as long as each node is the only reader of the one before, and what else it reads is
there already:

    y = relu(conv(x, W) + b)                             forward
    gx = (conv_input_grad(gy, W) + other) * step(y)      backward: the gradient through a ReLU
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np

from kiso import ops
from kiso.compiler.graph import Graph, Node, Spec, several
from kiso.compiler.loops import Buffer, Contract, Fn, Program, const
from kiso.compiler.lower import RULES
from kiso.errors import GraphError
from kiso.ops.op import Array

__all__ = ["Plan", "plan"]

LAST = (0, 2, 3, 1)  # an image with the channels last
FILTER = (2, 3, 1, 0)  # a filter with the output channels last
SHALLOW, WIDE = 8, 1 << 22  # terms and elements of a product that is no slower than its storing


@dataclass(frozen=True, eq=False)
class Plan:
    """Kernels with the buffers of inputs, constants and outputs. `carried` maps inputs that are
    state to what replaces them after a step (themselves, if nothing does)."""

    program: Program
    inputs: tuple[Buffer, ...]
    constants: dict[Buffer, Array]
    outputs: tuple[Buffer, ...]
    carried: dict[Buffer, Buffer] = field(default_factory=dict[Buffer, Buffer])
    watched: tuple[Buffer, ...] = ()

    @property
    def results(self) -> list[Buffer]:
        """The outputs that are no state."""
        state = set(self.carried.values())
        return [b for b in self.outputs if b not in state]


def _number(value: Array) -> Fn:
    """A constant of one element: part of the expressions, not an array in memory."""
    return Fn(value.shape, value.dtype, lambda *i: const(value.item(), value.dtype), moves=True)


def convolves(node: Node) -> bool:
    """A convolution that the contract kernels know: two axes, padded alike on both sides, not so
    far that a part of the result or the image is left over."""
    op = node.op
    return isinstance(op, ops.Conv | ops.ConvInputGrad | ops.ConvWeightGrad) and \
        len(op.stride) == 2 and all(before == after for before, after in op.padding)


def _work(graph: Graph, node: Node, n: int) -> tuple[str, int | None]:
    """What a node does with value n: its name in `Contract`, if it has one, and the value that it
    needs for it."""
    own, result = graph.specs[n], graph.specs[node.outputs[0]]
    other = next((m for m in node.inputs if m != n), n)
    if isinstance(node.op, ops.Relu):
        return "relu", None
    if isinstance(node.op, ops.Mul) and result == own:
        step = graph.made_by(other, ops.Step)
        if step and graph.specs[step.inputs[0]] == own:
            return "mask", step.inputs[0]
    if isinstance(node.op, ops.Add) and result == own:
        # A bias (C,) lies along the rows of (N, C), or as (C, 1, 1) on the pixels of (N, C, H, W).
        column = Spec(own.shape[1:2], np.dtype(np.float32))
        shaped = graph.made_by(other, ops.Reshape)
        if len(own.shape) == 2 and graph.specs[other] == column:
            return "bias", other
        if len(own.shape) == 4 and graph.specs[other] == Spec((own.shape[1], 1, 1), column.dtype):
            whole = shaped and graph.specs[shaped.inputs[0]] == column
            return "bias", shaped.inputs[0] if shaped and whole else other
        if graph.specs[other] == own:
            return "add", other
    return "", None


class Planner:
    """One walk over the nodes of a graph."""

    def __init__(self, graph: Graph, contracts: bool, state: Mapping[int, int | None]):
        self.graph = graph
        self.contracts = contracts
        self.state = state
        self.program = Program()
        specs = graph.specs
        kept = [specs[graph.inputs[k]] for k in state]
        self.filters = {s.shape for s in kept if len(s.shape) == 4 and s.dtype == np.float32}
        self.inputs = tuple(
            self.buffer(n, FILTER if k in state and specs[n].shape in self.filters else None)
            for k, n in enumerate(graph.inputs))
        large = {n: value for n, value in graph.constants.items() if value.size != 1}
        self.stored = dict(zip(graph.inputs, self.inputs, strict=True))
        self.stored |= {n: self.buffer(n) for n in large}
        self.constants = {self.stored[n]: value for n, value in large.items()}
        self.values = {n: Fn.of(b) for n, b in self.stored.items()}
        self.values |= {n: _number(v) for n, v in graph.constants.items() if n not in large}
        self.readers: dict[int, Node] = {n: node for node in graph.nodes for n in node.inputs}
        self.absorbed: set[Node] = set()  # nodes that a contract kernel does as well
        self.copies: dict[Buffer, Buffer] = {}  # with the channels last
        self.pending: set[int] = set()  # computed on the way: not stored, and more than a move
        images = [specs[n].shape for node in graph.nodes if contracts and convolves(node)
                  for n in (node.inputs if isinstance(node.op, ops.ConvWeightGrad) else
                            (node.inputs[0], *node.outputs))]
        self.images = set(images)
        self.batches = {shape[0] for shape in images}

    def buffer(self, n: int, order: tuple[int, ...] | None = None) -> Buffer:
        """A new array for value n."""
        spec = self.graph.specs[n]
        return self.program.buffer(spec.shape, spec.dtype, f"%{n}", order)

    def order(self, n: int) -> tuple[int, ...] | None:
        """Channels last for the images of convolutions, and all that has their form; as the
        filters for what has theirs."""
        spec = self.graph.specs[n]
        if len(spec.shape) != 4 or spec.dtype != np.float32:
            return None
        if spec.shape in self.filters and spec.shape not in self.images:
            return FILTER
        return LAST if spec.shape[0] in self.batches and n not in self.graph.outputs else None

    def store(self, n: int) -> Buffer:
        """Compute a value into memory, unless it is there."""
        self.pending.discard(n)
        if n not in self.stored:
            self.stored[n] = self.buffer(n, self.order(n))
            self.values[n] = self.program.store(self.values[n], f"%{n}", self.stored[n])
        return self.stored[n]

    def channels_last(self, buffer: Buffer) -> Buffer:
        """The image itself, or a copy of it with the channels last in memory."""
        if buffer.order == LAST or buffer.shape[1] == 1:
            return buffer
        if buffer not in self.copies:
            self.copies[buffer] = replace(buffer, order=LAST)
            self.program.store(Fn.of(buffer), buffer.name, self.copies[buffer])
        return self.copies[buffer]

    def contract(self, node: Node) -> bool:
        """Leave the node to a contract kernel if it is one for it."""
        out = node.outputs[0]
        specs = [self.graph.specs[n] for n in (*node.inputs, out)]
        flat = isinstance(node.op, ops.MatMul) and all(len(s.shape) == 2 for s in specs)
        if not self.contracts or not (flat or convolves(node)) or self.shallow(node) or \
                any(s.dtype != np.float32 or prod(s.shape) == 0 for s in specs):
            return False
        moved = [self.graph.made_by(n, ops.Transpose) if flat and n not in self.stored else None
                 for n in node.inputs]
        given = [self.store(m.inputs[0] if m else n)
                 for n, m in zip(node.inputs, moved, strict=True)]
        names, more, order = (), (), None
        if isinstance(node.op, ops.ConvWeightGrad):
            given, order = [self.channels_last(b) for b in given], self.order(out)
        else:
            if not flat:
                given[0], order = self.channels_last(given[0]), LAST
            names, more, out = self.follow(out, order)
        self.stored[out] = self.buffer(out, order)
        self.values[out] = Fn.of(self.stored[out])
        self.program.kernels.append(Contract(
            node.op, (*given, *more), tuple(m is not None for m in moved), self.stored[out],
            f"%{out}", names))
        return True

    def shallow(self, node: Node) -> bool:
        """A product of few terms that an update reads beside much more: computed where it is read,
        and once more for its norm, so that it need not stay in memory from one to the other."""
        if not isinstance(node.op, ops.MatMul):
            return False
        n = node.outputs[0]
        a, y = self.graph.specs[node.inputs[0]].shape, self.graph.specs[n].shape
        if a[-1] > SHALLOW or len(y) != 2 or prod(y) < WIDE:
            return False
        squared = any(other.inputs == (n, n) for other in self.graph.nodes)
        return self.graph.uses[n] == (3 if squared else 1)

    def follow(self, n: int, order: tuple[int, ...] | None
               ) -> tuple[tuple[str, ...], tuple[Buffer, ...], int]:
        """What the contract that gives value n can do as well: names (see `Contract`), the arrays
        that they need, and the value that comes out. The nodes are marked as absorbed."""
        names: list[str] = []
        arrays: list[Buffer] = []
        while self.graph.uses[n] == 1 and n in self.readers:
            reader = self.readers[n]
            name, other = _work(self.graph, reader, n)
            if other is not None:
                if other not in self.values:
                    break
                array = self.store(other)
                if name != "bias" and array.order != (order or (0, 1)):
                    break  # it does not lie in memory as the result does
                arrays.append(array)
            elif not name:
                break
            names.append(name)
            self.absorbed.add(reader)
            (n,) = reader.outputs
        return tuple(names), tuple(arrays), n

    def lower(self, node: Node) -> None:
        """Lower a node by its rule; store what must be stored before and after it."""
        rule = RULES.get(type(node.op))
        if rule is None:
            raise GraphError(f"{type(node.op).__name__} has no lowering rule in compiler/lower/.")
        self.program.making = f"%{node.outputs[0]}"
        size = max((prod(self.graph.specs[n].shape) for n in node.outputs), default=0)
        for n in dict.fromkeys(node.inputs):
            grows = prod(self.graph.specs[n].shape) < size  # broadcast: elements are read again
            if n in self.pending and (not rule.reads_once or grows):
                self.store(n)
        result: Any = rule.apply(self.program, node.op, *(self.values[n] for n in node.inputs))
        for n, fn in zip(node.outputs, several(node.op, result), strict=True):
            spec = self.graph.specs[n]
            if Spec.of(fn) != spec:
                raise GraphError(f"the lowering of {node.op} gives {Spec.of(fn)}; "
                                 f"the graph says {spec}.")
            self.values[n] = fn
            if fn.moves and not self.pending.intersection(node.inputs):
                continue
            if self.graph.uses[n] == 1 or (self.graph.uses[n] and fn.cheap()) or self.shallow(node):
                self.pending.add(n)
            elif self.graph.uses[n]:
                self.store(n)

    def plan(self, watched: Sequence[int]) -> Plan:
        """All nodes in order, then the outputs: each in an array of its own, row-major, or as the
        state that it replaces."""
        for node in self.graph.nodes:
            if node not in self.absorbed and not self.contract(node):
                self.lower(node)
        replaces = {out: self.inputs[k] for k, out in self.state.items() if out is not None}
        outputs: list[Buffer] = []
        for k, n in enumerate(self.graph.outputs):
            old = replaces.get(k)
            order = old.order if old else tuple(range(len(self.graph.specs[n].shape)))
            given = self.stored.get(n) or self.store(n)
            if given is not old and (given in self.inputs or given in self.constants or
                                     given in outputs or given.order != order):
                given = self.buffer(n, order)
                self.program.store(self.values[n], given.name, given)
            outputs.append(given)
        carried = {self.inputs[k]: self.inputs[k] if out is None else outputs[out]
                   for k, out in self.state.items()}
        return Plan(self.program, self.inputs, self.constants, tuple(outputs), carried,
                    tuple(outputs[k] for k in watched))


def plan(graph: Graph, *, contracts: bool = False, state: Mapping[int, int | None] | None = None,
         watched: Sequence[int] = ()) -> Plan:
    """Lower every node. `state`: see runtime.compile_graph. Errors: GraphError for an op without
    a rule."""
    return Planner(graph, contracts, state or {}).plan(watched)
