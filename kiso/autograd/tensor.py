"""Tensor: an array that remembers how it was computed, and the backward pass over that memory.

The *tape* is the interpreter of level 2. Applying an op to Tensors computes the value with the
next lower interpreter (NumPy, or the tracer) and notes op, inputs and outputs in a `Node`. The
backward pass walks the nodes from last to first and asks each op for its gradients. Because ops
write their gradients in ops again, the same pass gives gradients of gradients (`create_graph`)
and, under the tracer, the gradient part of a graph.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

import numpy as np

from kiso.errors import DTypeError, GradientError, ShapeError
from kiso.ops.op import Op, Shape, Value, as_array
from kiso.ops.operators import Operators

__all__ = ["Tensor", "backpropagate", "grad", "no_grad", "value_and_grad"]

_recording: ContextVar[bool] = ContextVar("kiso_recording", default=True)


@contextmanager
def no_grad() -> Generator[None]:
    """Inside, nothing is recorded: for evaluation and for updates of parameters."""
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


class Node:
    """One applied op on the tape: what went in, what came out."""

    def __init__(self, op: Op, inputs: tuple[Value, ...], outputs: tuple[Value, ...]):
        self.op = op
        self.inputs = inputs
        self.outputs = outputs


class Tensor(Operators):
    """An array with a gradient.

    Numbers become float32 (float64 arrays stay float64, for checks; integers stay integers).
    `requires_grad=True` marks what gradients are wanted for; after `y.backward()` each marked
    tensor that y depends on holds dy/dx in `.grad`, added to what was there.

        >>> x = Tensor([1.0, 2.0], requires_grad=True)
        >>> (x * x).sum().backward()
        >>> x.grad
        Tensor([2., 4.], float32)
    """

    def __init__(self, data: Any, requires_grad: bool = False, *, dtype: Any = None):
        value = data.data if isinstance(data, Tensor) else data
        if not hasattr(value, "kiso_interpreter"):
            value = as_array(value) if dtype is None else np.asarray(value, dtype)
        if requires_grad and value.dtype.kind != "f":
            raise DTypeError(f"gradients need floating-point numbers, but the data are "
                             f"{value.dtype}; convert them first: Tensor(x, dtype='float32').")
        self.data: Value = value
        self.requires_grad = requires_grad
        self.grad: Tensor | None = None
        self.node: Node | None = None  # how it was computed; None for a leaf
        self.position = 0  # which of the node's outputs it is

    @property
    def shape(self) -> Shape:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Lengths of the axes."""
        return tuple(self.data.shape)

    @property
    def dtype(self) -> np.dtype[Any]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Type of the elements."""
        return self.data.dtype

    def numpy(self) -> np.ndarray:
        """The value as a NumPy array (no copy)."""
        return self.data

    def item(self) -> float | int | bool:
        """The only element as a Python number."""
        if self.size != 1:
            raise ShapeError(f"item(): the tensor has {self.size} elements (shape {self.shape}); "
                             "expected one.")
        return self.data.reshape(()).item()

    def detach(self) -> Tensor:
        """The same value without its history."""
        return Tensor(self.data)

    def backward(self, gy: Any = None, *, create_graph: bool = False) -> None:
        """Add d(self)/d(leaf), weighted by `gy`, to `.grad` of every leaf that requires it.

        `gy` may be left out for a single number (then it is 1). With `create_graph` the gradients
        are recorded too and can be differentiated again.
        """
        grads = backpropagate(self, gy, create_graph)
        for leaf, g in grads.leaves():
            total = g if leaf.grad is None else leaf.grad + g
            leaf.grad = total if create_graph else total.detach()

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a tensor without axes has no length")
        return self.shape[0]

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def __bool__(self) -> bool:
        return bool(self.item())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.data, dtype, copy=copy)

    def __repr__(self) -> str:
        if hasattr(self.data, "kiso_interpreter"):
            return f"Tensor({self.data!r})"
        name = type(self).__name__
        body = np.array2string(self.data, precision=4, threshold=50, edgeitems=3, separator=", ",
                               prefix=f"{name}(")
        notes = [str(self.dtype)]
        if self.size > 50:
            notes.insert(0, f"shape={self.shape}")
        if self.node is not None:
            notes.append(f"from={type(self.node.op).__name__}")
        elif self.requires_grad:
            notes.append("requires_grad=True")
        return f"{name}({body}, {', '.join(notes)})"


class Tape:
    """The interpreter of level 2: compute one level below, and take a note."""

    level = 2

    @staticmethod
    def apply(op: Op, *xs: Any) -> Any:
        """Apply an op to Tensors (and plain values beside them)."""
        ys = op(*(x.data if isinstance(x, Tensor) else x for x in xs))
        many = ys if op.outputs > 1 else (ys,)
        node = None
        if _recording.get() and any(isinstance(x, Tensor) and x.requires_grad for x in xs):
            node = Node(op, xs, many)
        tensors = tuple(_output(node, i, y) for i, y in enumerate(many))
        return tensors if op.outputs > 1 else tensors[0]


Tensor.kiso_interpreter = Tape  # pyright: ignore[reportAttributeAccessIssue]


def _output(node: Node | None, position: int, value: Value) -> Tensor:
    y = Tensor(value)
    if node is not None and value.dtype.kind == "f":
        y.requires_grad, y.node, y.position = True, node, position
    return y


class Gradients:
    """Gradients met so far: by leaf, and by output of a node."""

    def __init__(self) -> None:
        self.of_leaf: dict[int, tuple[Tensor, Value]] = {}
        self.of_output: dict[tuple[int, int], Value] = {}

    def add(self, x: Tensor, g: Value) -> None:
        """Add a contribution; contributions of several uses of x sum up."""
        if x.node is None:
            old = self.of_leaf.get(id(x))
            self.of_leaf[id(x)] = (x, g if old is None else old[1] + g)
        else:
            key = (id(x.node), x.position)
            old_g = self.of_output.get(key)
            self.of_output[key] = g if old_g is None else old_g + g

    def leaves(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Every leaf with its gradient, as Tensors."""
        for x, g in self.of_leaf.values():
            yield x, g if isinstance(g, Tensor) else Tensor(g)

    def of(self, x: Tensor) -> Value | None:
        """Gradient of one tensor, or None if y does not depend on it."""
        if x.node is None:
            return self.of_leaf[id(x)][1] if id(x) in self.of_leaf else None
        return self.of_output.get((id(x.node), x.position))


def _sorted_nodes(y: Tensor) -> list[Node]:
    """All nodes that y depends on, each after those that it uses (depth first, no recursion)."""
    done: set[int] = set()
    order: list[Node] = []
    stack: list[tuple[Node, bool]] = [(y.node, False)] if y.node is not None else []
    while stack:
        node, inputs_done = stack.pop()
        if inputs_done:
            order.append(node)
        elif id(node) not in done:
            done.add(id(node))
            stack.append((node, True))
            stack += [(x.node, False) for x in reversed(node.inputs)
                      if isinstance(x, Tensor) and x.node is not None]
    return order


def backpropagate(y: Tensor, gy: Any = None, create_graph: bool = False) -> Gradients:
    """Gradients of y (weighted by gy) with respect to everything that it was computed from."""
    if not y.requires_grad:
        raise GradientError("backward(): this tensor does not depend on any tensor with "
                            "requires_grad=True (or it was computed under no_grad).")
    if gy is None and y.size != 1:
        raise GradientError(f"backward() without a gradient needs a single number, but the shape "
                            f"is {y.shape}; take a sum or mean first, or pass the gradient.")
    raw = np.ones(y.shape, y.dtype) if gy is None else gy.data if isinstance(gy, Tensor) else gy
    if tuple(raw.shape) != y.shape:
        raise ShapeError(f"backward(): the gradient has shape {tuple(raw.shape)}, the tensor "
                         f"{y.shape}; they must be equal.")
    grads = Gradients()
    grads.add(y, (gy if isinstance(gy, Tensor) else Tensor(raw)) if create_graph else raw)
    for node in reversed(_sorted_nodes(y)):
        gys = tuple(grads.of_output.get((id(node), i)) for i in range(len(node.outputs)))
        if all(g is None for g in gys):
            continue
        for x, g in zip(node.inputs, _input_gradients(node, gys, create_graph), strict=True):
            if g is not None and isinstance(x, Tensor) and x.requires_grad:
                grads.add(x, g)
    return grads


def _input_gradients(node: Node, gys: tuple[Any, ...], create_graph: bool) -> Sequence[Value]:
    """Ask the op; with Tensors if the result shall be differentiable, else with bare values."""
    if create_graph:
        xs = node.inputs
        ys: tuple[Any, ...] = tuple(_output(node, i, y) for i, y in enumerate(node.outputs))
    else:
        xs = tuple(x.data if isinstance(x, Tensor) else x for x in node.inputs)
        ys = node.outputs
    single = node.op.outputs == 1
    gxs = node.op.backward(gys[0] if single else gys, ys[0] if single else ys, *xs)
    return cast("tuple[Value, ...]", gxs) if isinstance(gxs, tuple) else (gxs,)


def grad(y: Tensor, xs: Sequence[Tensor], gy: Any = None, *,
         create_graph: bool = False) -> list[Tensor]:
    """dy/dx for each x, without touching `.grad`; zeros where y does not depend on x."""
    found = backpropagate(y, gy, create_graph)
    result: list[Tensor] = []
    for x in xs:
        g = found.of(x)
        if g is None:
            g = np.zeros(x.shape, x.dtype)
        result.append(g if isinstance(g, Tensor) else Tensor(g))
    return result


def value_and_grad(f: Any, params: dict[str, Value]) -> tuple[Value, dict[str, Value], Any]:
    """Loss, its gradient for every named parameter, and what else f returns.

    `f(tensors) -> (loss, other)` is called with a Tensor for each value of `params`. Values in and
    out are plain (arrays or Vars), so the whole is a pure function that can be traced.
    """
    tensors = {name: Tensor(value, requires_grad=True) for name, value in params.items()}
    loss, other = f(tensors)
    gradients = grad(loss, list(tensors.values()))
    return loss.data, {n: g.data for n, g in zip(tensors, gradients, strict=True)}, other
