"""Broadcasting and its gradient: stretching an axis of length 1 is undone by summing over it.

`broadcast_to` and `sum_to` are each other's gradient. Every op that broadcasts its inputs ends
its `backward` in `sum_to`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kiso.errors import ShapeError
from kiso.ops.op import Array, Op, Shape, Value, shape_of
from kiso.ops.sample import Sample

__all__ = ["BroadcastTo", "SumTo", "broadcast_shapes", "broadcast_to", "sum_to"]


def broadcast_shapes(name: str, *shapes: Shape) -> Shape:
    """The common shape: from the right, axes must agree or be 1."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        listed = " and ".join(map(str, shapes))
        raise ShapeError(
            f"{name}: shapes {listed} do not fit together; compared from the right, two axes must "
            f"be equal or one of them 1. Reshape one of them (for example x[:, None])."
        ) from None


class BroadcastTo(Op):
    """Repeat axes of length 1 (and missing leading axes) until the shape is `to`."""

    to: Shape
    samples = (
        Sample((3,), to=(2, 3)),
        Sample((2, 1, 3), to=(4, 2, 5, 3)),
        Sample((), to=(2, 2)),
    )

    def shape(self, x: Shape) -> Shape:
        if broadcast_shapes("broadcast_to", x, self.to) != self.to:
            raise ShapeError(f"broadcast_to: shape {x} cannot be stretched to {self.to}; only axes "
                             "of length 1 and missing leading axes can.")
        return self.to

    def forward(self, x: Array) -> Array:
        return np.broadcast_to(x, self.to).copy()

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return sum_to(gy, shape_of(x))


class SumTo(Op):
    """Sum over the axes that broadcasting from `to` would stretch."""

    to: Shape
    samples = (
        Sample((2, 3), to=(3,)),
        Sample((4, 2, 5, 3), to=(2, 1, 3)),
        Sample((2, 2), to=()),
    )

    def shape(self, x: Shape) -> Shape:
        if broadcast_shapes("sum_to", x, self.to) != x:
            raise ShapeError(f"sum_to: shape {x} is not a broadcast form of {self.to}.")
        return self.to

    def forward(self, x: Array) -> Array:
        lead = x.ndim - len(self.to)
        stretched = [i + lead for i, n in enumerate(self.to) if n == 1 and x.shape[i + lead] != 1]
        y: Any = x.sum(axis=(*range(lead), *stretched), keepdims=True, dtype=x.dtype)
        return y.reshape(self.to)

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return broadcast_to(gy, shape_of(x))


def broadcast_to(x: Value, shape: Shape) -> Value:
    """Stretch `x` to `shape`; returns `x` itself where nothing changes."""
    return x if shape_of(x) == tuple(shape) else BroadcastTo(to=tuple(shape))(x)


def sum_to(x: Value, shape: Shape) -> Value:
    """Sum `x` down to `shape`, the gradient of broadcasting; `x` itself where nothing changes."""
    return x if shape_of(x) == tuple(shape) else SumTo(to=tuple(shape))(x)
