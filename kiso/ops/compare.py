"""Comparisons: bool out, no gradient."""

from __future__ import annotations

import numpy as np

from kiso.ops.broadcast import broadcast_shapes
from kiso.ops.op import Array, Op, Shape, Value
from kiso.ops.sample import Draw, Sample

__all__ = ["Equal", "Greater", "GreaterEqual", "Less", "LessEqual", "NotEqual", "equal", "greater",
           "greater_equal", "less", "less_equal", "not_equal"]



class Comparison(Op, abstract=True):
    """Two arrays in (broadcast), bool out."""

    samples = (
        Sample((2, 3), (2, 3)),
        Sample(Draw(4, 5, low=0, high=3, dtype="int"), Draw(5, low=0, high=3, dtype="int")),
        Sample((2, 1), ()),
    )

    def shape(self, a: Shape, b: Shape) -> Shape:
        return broadcast_shapes(type(self).__name__.lower(), a, b)

    def dtype(self, a: np.dtype, b: np.dtype) -> np.dtype:
        return np.dtype(bool)

    def backward(self, gy: Value, y: Value, a: Value, b: Value) -> tuple[None, None]:
        return None, None


class Equal(Comparison):
    """y = (a == b)."""

    def forward(self, a: Array, b: Array) -> Array:
        return a == b


class NotEqual(Comparison):
    """y = (a != b)."""

    def forward(self, a: Array, b: Array) -> Array:
        return a != b


class Less(Comparison):
    """y = (a < b)."""

    def forward(self, a: Array, b: Array) -> Array:
        return a < b


class LessEqual(Comparison):
    """y = (a <= b)."""

    def forward(self, a: Array, b: Array) -> Array:
        return a <= b


class Greater(Comparison):
    """y = (a > b)."""

    def forward(self, a: Array, b: Array) -> Array:
        return a > b


class GreaterEqual(Comparison):
    """y = (a >= b)."""

    def forward(self, a: Array, b: Array) -> Array:
        return a >= b


def equal(a: Value, b: Value) -> Value:
    """a == b, elementwise."""
    return Equal()(a, b)


def not_equal(a: Value, b: Value) -> Value:
    """a != b, elementwise."""
    return NotEqual()(a, b)


def less(a: Value, b: Value) -> Value:
    """a < b, elementwise."""
    return Less()(a, b)


def less_equal(a: Value, b: Value) -> Value:
    """a <= b, elementwise."""
    return LessEqual()(a, b)


def greater(a: Value, b: Value) -> Value:
    """a > b, elementwise."""
    return Greater()(a, b)


def greater_equal(a: Value, b: Value) -> Value:
    """a >= b, elementwise."""
    return GreaterEqual()(a, b)
