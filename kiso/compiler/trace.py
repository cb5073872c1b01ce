"""Tracing: run a Python function once on stand-ins for its arrays and note every op.

The stand-in is `Var`, the value of interpreter level 1: it knows shape and type but no numbers.
Whatever Python code composed the ops (branches on shapes, loops over layers, the autograd tape,
an optimizer) has run once and is gone; what remains is a `Graph`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from kiso.compiler.graph import Graph, Node, Spec, output_specs, run, verify
from kiso.errors import GraphError
from kiso.ops.broadcast import BroadcastTo
from kiso.ops.op import Array, Op, as_array
from kiso.ops.operators import Operators
from kiso.tree import flatten_tree, unflatten_tree

__all__ = ["Traced", "Var", "trace"]


class Tracer:
    """A graph under construction: the interpreter of level 1, which notes an op instead of
    computing it."""

    level = 1

    def __init__(self) -> None:
        self.specs: list[Spec] = []
        self.inputs: list[int] = []
        self.constants: dict[int, Array] = {}
        self.nodes: list[Node] = []
        self.known: dict[tuple[Any, ...], int] = {}  # constants by type and bytes
        self.open = True

    def new(self, spec: Spec) -> Var:
        """A new numbered value."""
        self.specs.append(spec)
        return Var(self, len(self.specs) - 1, spec)

    def apply(self, op: Op, *xs: Any) -> Any:
        """Append a node; returns Vars of the shapes that the op's shape rule gives."""
        if not self.open:
            raise GraphError("a traced value was used after its trace had ended; return it from "
                             "the traced function instead of storing it elsewhere.")
        numbers = tuple(map(self.number, xs))
        ys = tuple(map(self.new, output_specs(op, [self.specs[n] for n in numbers])))
        self.nodes.append(Node(op, numbers, tuple(y.number for y in ys)))
        return ys if op.outputs > 1 else ys[0]

    def number(self, x: Any) -> int:
        """Number of an input of a node; arrays become constants of the graph.

        Equal elements are stored once and stretched: a parameter that the loss does not depend on
        has a gradient of zeros as large as itself.
        """
        if isinstance(x, Var):
            if x.kiso_interpreter is not self:
                raise GraphError("a value of another trace was used here; a traced function must "
                                 "get all its inputs as arguments.")
            return x.number
        array = as_array(x)
        bits = array.tobytes()
        key = (array.dtype.str, array.shape, bits)
        if key not in self.known:
            if array.size > 1 and bits == bits[:array.itemsize] * array.size:
                one = Var(self, self.number(array.reshape(-1)[0]), Spec((), array.dtype))
                self.known[key] = BroadcastTo(to=array.shape)(one).number
            else:
                self.known[key] = self.new(Spec.of(array)).number
                self.constants[self.known[key]] = array
        return self.known[key]


class Var(Operators):
    """Stand-in for an array during tracing: shape and type, no numbers."""

    def __init__(self, tracer: Tracer, number: int, spec: Spec):
        self.kiso_interpreter = tracer
        self.number = number
        self.spec = spec
        self.shape = spec.shape
        self.dtype = spec.dtype

    def _no_value(self, *options: Any, **more: Any) -> NoReturn:
        raise GraphError(f"the value of {self!r} is not known while tracing; a branch on values "
                         "cannot be traced: use ops.where, or branch on shapes and options.")

    __bool__ = __float__ = __int__ = __index__ = __array__ = _no_value

    def __repr__(self) -> str:
        return f"%{self.number}: {self.spec}"


@dataclass(frozen=True)
class Traced:
    """A graph together with the shapes of the Python trees that go in and come out."""

    graph: Graph
    arguments: Any
    results: Any

    def __call__(self, *args: Any) -> Any:
        """Run the graph in the NumPy interpreter on arguments of the traced structure."""
        leaves, structure = flatten_tree(args)
        if structure != self.arguments:
            raise GraphError("the arguments are nested differently from those that were traced.")
        return unflatten_tree(self.results, run(self.graph, *map(as_array, leaves)))

    def __str__(self) -> str:
        return str(self.graph)


def trace(f: Callable[..., Any], *args: Any) -> Traced:
    """Record f as a graph for arguments of these shapes and types.

    Arguments and results are arrays, or dicts, lists and tuples of them, nested at will.

    Errors: GraphError if f branches on values, or returns something that is no array.
    """
    leaves, arguments = flatten_tree(args)
    tracer = Tracer()
    stand_ins: list[Any] = []
    for leaf in map(as_array, leaves):
        if leaf.dtype.kind not in "fiub":
            raise GraphError(f"an argument holds {leaf.dtype} values; expected numbers, in arrays "
                             "or in plain dicts, lists and tuples of them.")
        stand_ins.append(tracer.new(Spec.of(leaf)))
        tracer.inputs.append(stand_ins[-1].number)
    try:
        ys, results = flatten_tree(f(*unflatten_tree(arguments, stand_ins)))
        for y in ys:
            if not isinstance(y, Var | np.ndarray | np.generic | int | float):
                raise GraphError(f"the traced function returned a {type(y).__name__}; expected "
                                 "arrays (for a Tensor return its .data).")
        outputs = tuple(map(tracer.number, ys))
        graph = Graph(tuple(tracer.specs), tuple(tracer.inputs), tracer.constants,
                      tuple(tracer.nodes), outputs)
        return Traced(verify(graph), arguments, results)
    finally:
        tracer.open = False
