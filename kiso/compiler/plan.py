"""From a graph to kernels: which values are stored, which are computed on the way (fusion).

A node's result stays a `Fn` when it only moves data, when it has a single reader that reads each
element once, or when a few operations make it from one stored array: then reading that array costs
no more than reading the result. Everything else is stored. Outputs always are.

With `contracts`, products and convolutions of float32 are left to the kernels of contract/,
together with the work that follows on each result (see after.py). These read and write stored
arrays, images with the channels last in memory; that order is a property of the buffer, so that
every other kernel reads it as it is. State of four axes is taken for filters, which lie in memory
as (KH, KW, C, O).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from kiso import ops
from kiso.compiler.after import follow
from kiso.compiler.graph import Graph, Node, Spec
from kiso.compiler.loops import Buffer, Contract, Fn, Program, cheap, const
from kiso.compiler.lower import RULES
from kiso.compiler.meaning import evaluate
from kiso.errors import GraphError
from kiso.ops.op import Array

__all__ = ["Plan", "plan", "run_plan"]

CONVOLUTIONS = (ops.Conv, ops.ConvInputGrad, ops.ConvWeightGrad)
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


def _buffer(spec: Spec, name: str, order: tuple[int, ...] | None = None) -> Buffer:
    return Buffer(spec.shape, spec.dtype, order or tuple(range(len(spec.shape))), name)


def _number(value: Array) -> Fn:
    """A constant of one element: part of the expressions, not an array in memory."""
    return Fn(value.shape, value.dtype, lambda *i: const(value.item(), value.dtype), moves=True)


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
            _buffer(specs[n], f"%{n}", FILTER if k in state and specs[n].shape in self.filters
                    else None) for k, n in enumerate(graph.inputs))
        self.values: dict[int, Fn] = {}
        self.stored: dict[int, Buffer] = dict(zip(graph.inputs, self.inputs, strict=True))
        self.constants: dict[Buffer, Array] = {}
        for n, value in graph.constants.items():
            if value.size == 1:
                self.values[n] = _number(value)
            else:
                self.stored[n] = _buffer(specs[n], f"%{n}")
                self.constants[self.stored[n]] = value
        self.values |= {n: Fn.of(b) for n, b in self.stored.items()}
        self.uses = Counter(n for node in graph.nodes for n in node.inputs)
        self.uses.update(graph.outputs)
        self.maker = {n: node for node in graph.nodes for n in node.outputs}
        self.readers: dict[int, Node] = {n: node for node in graph.nodes for n in node.inputs}
        self.absorbed: set[Node] = set()  # nodes that a contract kernel does as well
        self.copies: dict[Buffer, Buffer] = {}
        self.pending: set[int] = set()  # computed on the way: not stored, and more than a move
        images = [n for node in graph.nodes if contracts and self.is_image(node)
                  for n in (node.inputs if isinstance(node.op, ops.ConvWeightGrad) else
                            (*node.inputs[:1], *node.outputs))]
        self.images = {specs[n].shape for n in images}
        self.batches = {specs[n].shape[0] for n in images}

    def is_image(self, node: Node) -> bool:
        """A convolution that the contract kernels know: two axes, padded alike on both sides,
        not so far that a part of the result or the image is left over."""
        op: Any = node.op
        if not isinstance(op, CONVOLUTIONS) or len(op.stride) != 2:
            return False
        return all(before == after for before, after in op.padding)

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
            buffer = _buffer(self.graph.specs[n], f"%{n}", self.order(n))
            self.values[n] = self.program.store(self.values[n], buffer.name, buffer)
            self.stored[n] = buffer
        return self.stored[n]

    def contract(self, node: Node) -> bool:
        """Leave the node to a contract kernel if it is one for it."""
        specs = [self.graph.specs[n] for n in (*node.inputs, *node.outputs)]
        flat = isinstance(node.op, ops.MatMul) and all(len(s.shape) == 2 for s in specs)
        if not self.contracts or not (flat or self.is_image(node)) or \
                any(s.dtype != np.float32 or prod(s.shape) == 0 for s in specs):
            return False
        if self.shallow(node):
            return False
        sources, turned = list(node.inputs), [False] * len(node.inputs)
        for i, n in enumerate(node.inputs if flat else ()):
            maker = self.maker.get(n)
            if maker is not None and isinstance(maker.op, ops.Transpose) and n not in self.stored:
                sources[i], turned[i] = maker.inputs[0], True
        given = [self.store(s) for s in sources]
        if not flat:
            images = given if isinstance(node.op, ops.ConvWeightGrad) else given[:1]
            given = [self.channels_last(b) for b in images] + given[len(images):]
        gives_image = not flat and not isinstance(node.op, ops.ConvWeightGrad)
        order = LAST if gives_image else None if flat else self.order(node.outputs[0])
        after, more, n = follow(self, node, order) if flat or gives_image else \
            ((), (), node.outputs[0])
        buffer = _buffer(self.graph.specs[n], f"%{n}", order)
        self.program.kernels.append(Contract(
            node.op, (*given, *more), tuple(turned), buffer, buffer.name, after))
        self.stored[n], self.values[n] = buffer, Fn.of(buffer)
        return True

    def shallow(self, node: Node) -> bool:
        """A product of few terms that an update reads beside much more: computed where it is read,
        and once more for its norm, so that it need not stay in memory from one to the other."""
        if not isinstance(node.op, ops.MatMul):
            return False
        a, y = self.graph.specs[node.inputs[0]].shape, self.graph.specs[node.outputs[0]].shape
        if a[-1] > SHALLOW or len(y) != 2 or prod(y) < WIDE:
            return False
        n = node.outputs[0]
        squared = sum(2 for other in self.graph.nodes if other.inputs == (n, n))
        return self.uses[n] - min(squared, 2) == 1

    def channels_last(self, buffer: Buffer) -> Buffer:
        """The image itself, or a copy of it with the channels last in memory."""
        if buffer.order == LAST or buffer.shape[1] == 1:
            return buffer
        if buffer not in self.copies:
            copy = Buffer(buffer.shape, buffer.dtype, LAST, buffer.name)
            self.program.store(Fn.of(buffer), buffer.name, copy)
            self.copies[buffer] = copy
        return self.copies[buffer]

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
        results: tuple[Any, ...] = result if node.op.outputs > 1 else (result,)
        for n, fn in zip(node.outputs, results, strict=True):
            spec = self.graph.specs[n]
            if fn.shape != spec.shape or fn.dtype != spec.dtype:
                raise GraphError(f"the lowering of {node.op} gives {Spec(fn.shape, fn.dtype)}; "
                                 f"the graph says {spec}.")
            self.values[n] = fn
            if fn.moves and not self.pending.intersection(node.inputs):
                continue
            if self.uses[n] == 1 or (self.uses[n] and cheap(fn)) or self.shallow(node):
                self.pending.add(n)
            elif self.uses[n]:
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
                given = _buffer(self.graph.specs[n], f"%{n}", order)
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


def run_plan(found: Plan, *arrays: Array) -> list[Array]:
    """The plan's meaning in NumPy, for tests and for reading."""
    values = dict(found.constants) | {
        b: np.asarray(a) for b, a in zip(found.inputs, arrays, strict=True)}
    done = evaluate(found.program, values)
    return [done[b] for b in found.outputs]
