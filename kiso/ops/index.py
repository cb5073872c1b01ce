"""Picking by position: rows of a table (gather), one element of each row, one-hot coding."""

from __future__ import annotations

from typing import Any

import numpy as np

from kiso.errors import DataError, DTypeError, ShapeError
from kiso.ops.op import Array, Op, Shape, Value, as_array, shape_of
from kiso.ops.sample import Draw, Sample

__all__ = ["OneHot", "Take", "TakeAlong", "TakeAlongGrad", "TakeGrad", "one_hot", "take",
           "take_along"]


def _need_integers(name: str, index: np.dtype) -> None:
    if index.kind not in "iu":
        raise DTypeError(f"{name}: indices must be integers, but they are {index}; a mask of bools "
                         "would make the shape depend on values: use where instead.")


def _need_classes(name: str, index: Array, classes: int) -> None:
    """Numbers outside would be a class of their own in silence, or count from the end."""
    if index.size and (index.min() < 0 or index.max() >= classes):
        raise DataError(f"{name}: class numbers must be from 0 to {classes - 1}, one for each of "
                        f"the {classes} scores, but they go from {index.min()} to {index.max()}.")


class Take(Op):
    """y = x[..., i, ...] along an axis for every i of an integer array (gather)."""

    axis: int
    samples = (
        Sample((4, 3), Draw(5, low=0, high=4, dtype="int"), axis=0),
        Sample((2, 4, 3), Draw(2, 2, low=0, high=4, dtype="int"), axis=1),
        Sample((6,), Draw(low=0, high=6, dtype="int"), axis=0),
    )

    def shape(self, x: Shape, index: Shape) -> Shape:
        return x[:self.axis] + index + x[self.axis + 1:]

    def dtype(self, x: np.dtype, index: np.dtype) -> np.dtype:
        _need_integers("take", index)
        return x

    def forward(self, x: Array, index: Array) -> Array:
        return np.take(x, index, axis=self.axis)

    def backward(self, gy: Value, y: Value, x: Value, index: Value) -> tuple[Value, None]:
        return TakeGrad(axis=self.axis, size=shape_of(x)[self.axis])(gy, index), None


class TakeGrad(Op):
    """gx[..., i, ...] += gy for every i: rows picked twice collect twice. Gradient of `Take`."""

    axis: int
    size: int
    samples = (
        Sample((5, 3), Draw(5, low=0, high=4, dtype="int"), axis=0, size=4),
        Sample((2, 2, 2, 3), Draw(2, 2, low=0, high=4, dtype="int"), axis=1, size=4),
    )

    def shape(self, gy: Shape, index: Shape) -> Shape:
        return (*gy[:self.axis], self.size, *gy[self.axis + len(index):])

    def dtype(self, gy: np.dtype, index: np.dtype) -> np.dtype:
        return gy

    def forward(self, gy: Array, index: Array) -> Array:
        gx = np.zeros(self.shape(gy.shape, index.shape), gy.dtype)
        where: Any = (*[slice(None)] * self.axis, index)
        np.add.at(gx, where, gy)
        return gx

    def backward(self, gy: Value, y: Value, x: Value, index: Value) -> tuple[Value, None]:
        return Take(axis=self.axis)(gy, index), None


class TakeAlong(Op):
    """y[n, ...] = x[n, index[n], ...]: one element of every row along axis 1 (x (N, K, ...))."""

    samples = (
        Sample((4, 3), Draw(4, low=0, high=3, dtype="int")),
        Sample((2, 3, 2), Draw(2, 2, low=0, high=3, dtype="int")),
    )

    def shape(self, x: Shape, index: Shape) -> Shape:
        if len(x) < 2 or x[:1] + x[2:] != index:
            raise ShapeError(f"take_along: values {x} need indices of shape {x[:1] + x[2:]} "
                             f"(one for each row), but these have shape {index}.")
        return index

    def dtype(self, x: np.dtype, index: np.dtype) -> np.dtype:
        _need_integers("take_along", index)
        return x

    def forward(self, x: Array, index: Array) -> Array:
        _need_classes("take_along", index, x.shape[1])
        return np.take_along_axis(x, index[:, None], axis=1)[:, 0]

    def backward(self, gy: Value, y: Value, x: Value, index: Value) -> tuple[Value, None]:
        return TakeAlongGrad(size=shape_of(x)[1])(gy, index), None


class TakeAlongGrad(Op):
    """Zeros (N, K, ...) with gy[n] at index[n]: gradient of `TakeAlong`."""

    size: int
    samples = (
        Sample((4,), Draw(4, low=0, high=3, dtype="int"), size=3),
        Sample((2, 2), Draw(2, 2, low=0, high=3, dtype="int"), size=3),
    )

    def shape(self, gy: Shape, index: Shape) -> Shape:
        return (gy[0], self.size, *gy[1:])

    def dtype(self, gy: np.dtype, index: np.dtype) -> np.dtype:
        return gy

    def forward(self, gy: Array, index: Array) -> Array:
        gx = np.zeros(self.shape(gy.shape, index.shape), gy.dtype)
        np.put_along_axis(gx, index[:, None], gy[:, None], axis=1)
        return gx

    def backward(self, gy: Value, y: Value, x: Value, index: Value) -> tuple[Value, None]:
        return TakeAlong()(gy, index), None


class OneHot(Op):
    """y[..., k] = 1 where k is the index, else 0: (...) class numbers -> (..., K).

    Errors: DataError for numbers outside of 0 ... K - 1.
    """

    classes: int
    to: str = "float32"
    samples = (
        Sample(Draw(4, low=0, high=3, dtype="int"), classes=3),
        Sample(Draw(2, 2, low=0, high=5, dtype="uint8"), classes=5, to="float64"),
        Sample(Draw(0, dtype="int"), classes=2),
    )

    def shape(self, index: Shape) -> Shape:
        return (*index, self.classes)

    def dtype(self, index: np.dtype) -> np.dtype:
        _need_integers("one_hot", index)
        return np.dtype(self.to)

    def forward(self, index: Array) -> Array:
        _need_classes("one_hot", index, self.classes)
        return (index[..., None] == np.arange(self.classes)).astype(self.to)

    def backward(self, gy: Value, y: Value, index: Value) -> None:
        return None


def take(x: Value, index: Value, axis: int = 0) -> Value:
    """x[index] along an axis, `index` an integer array: how a mini-batch is gathered."""
    return Take(axis=axis % len(shape_of(x)))(x, index if hasattr(index, "dtype")
                                             else as_array(index))


def take_along(x: Value, index: Value) -> Value:
    """x[n, index[n]] for every row n: the score of the right class."""
    return TakeAlong()(x, index)


def one_hot(index: Value, classes: int, dtype: str = "float32") -> Value:
    """(N,) class numbers -> (N, K) rows with a 1 at the class (one-hot coding)."""
    return OneHot(classes=classes, to=dtype)(index)
