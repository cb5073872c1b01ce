"""The NumPy-like operators and methods of the values that stand for arrays (Var, Tensor)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from kiso.ops import arithmetic, compare, elementwise, reduce, shape
from kiso.ops.matmul import matmul
from kiso.ops.op import Shape

__all__ = ["Operators"]

# What `array * value` becomes: NumPy's function -> the method of the value on the right.
_REFLECTED = {"add": "__radd__", "subtract": "__rsub__", "multiply": "__rmul__",
              "divide": "__rtruediv__", "power": "__rpow__", "matmul": "__rmatmul__",
              "less": "__gt__", "less_equal": "__ge__", "greater": "__lt__",
              "greater_equal": "__le__", "equal": "__eq__", "not_equal": "__ne__"}


class Operators:
    """Mix-in: every operator calls the op of the same meaning. Needs `.shape` and `.dtype`."""

    __hash__ = object.__hash__
    shape: Shape
    dtype: np.dtype[Any]

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *xs: Any, **options: Any) -> Any:
        """`array * value` is value.__rmul__(array); NumPy's functions themselves know no gradients.

        Errors: TypeError that says so, for `np.exp(value)` and the like.
        """
        name = _REFLECTED.get(ufunc.__name__)
        inplace = len(options.get("out", ())) == 1 and options["out"][0] is xs[0]  # array *= value
        if name and method == "__call__" and not isinstance(xs[0], Operators) and (
                not options or (inplace and len(options) == 1)):
            return getattr(xs[1], name)(xs[0])
        kind = type(self).__name__
        raise TypeError(f"np.{ufunc.__name__} works on arrays, not on a {kind}, whose gradient it "
                        "would lose; use an operator or the function of this kind in kiso.ops "
                        "(such as ops.exp or ops.tanh), or take the array with x.data.")

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def T(self) -> Any:
        """All axes in reverse order."""
        return shape.transpose(self)

    def __add__(self, other: Any) -> Any:
        return arithmetic.add(self, other)

    def __radd__(self, other: Any) -> Any:
        return arithmetic.add(other, self)

    def __sub__(self, other: Any) -> Any:
        return arithmetic.sub(self, other)

    def __rsub__(self, other: Any) -> Any:
        return arithmetic.sub(other, self)

    def __mul__(self, other: Any) -> Any:
        return arithmetic.mul(self, other)

    def __rmul__(self, other: Any) -> Any:
        return arithmetic.mul(other, self)

    def __truediv__(self, other: Any) -> Any:
        return arithmetic.div(self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return arithmetic.div(other, self)

    def __pow__(self, other: Any) -> Any:
        return arithmetic.pow(self, other)

    def __rpow__(self, other: Any) -> Any:
        return arithmetic.Pow()(other, self)

    def __neg__(self) -> Any:
        return arithmetic.neg(self)

    def __abs__(self) -> Any:
        return elementwise.abs(self)

    def __matmul__(self, other: Any) -> Any:
        return matmul(self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return matmul(other, self)

    def __lt__(self, other: Any) -> Any:
        return compare.less(self, other)

    def __le__(self, other: Any) -> Any:
        return compare.less_equal(self, other)

    def __gt__(self, other: Any) -> Any:
        return compare.greater(self, other)

    def __ge__(self, other: Any) -> Any:
        return compare.greater_equal(self, other)

    def __eq__(self, other: Any) -> Any:
        return compare.equal(self, other)

    def __ne__(self, other: Any) -> Any:
        return compare.not_equal(self, other)

    def __getitem__(self, index: Any) -> Any:
        return shape.getitem(self, index)

    def __iter__(self) -> Iterator[Any]:
        if not self.shape:
            raise TypeError("a value without axes cannot be iterated over")
        return (self[i] for i in range(self.shape[0]))

    def sum(self, axis: reduce.Axis = None, keepdims: bool = False) -> Any:
        """Sum over the axes."""
        return reduce.sum(self, axis, keepdims)

    def mean(self, axis: reduce.Axis = None, keepdims: bool = False) -> Any:
        """Mean over the axes."""
        return reduce.mean(self, axis, keepdims)

    def var(self, axis: reduce.Axis = None, keepdims: bool = False) -> Any:
        """Variance over the axes (divided by n)."""
        return reduce.var(self, axis, keepdims)

    def max(self, axis: reduce.Axis = None, keepdims: bool = False) -> Any:
        """Largest element over the axes."""
        return reduce.max(self, axis, keepdims)

    def min(self, axis: reduce.Axis = None, keepdims: bool = False) -> Any:
        """Smallest element over the axes."""
        return reduce.min(self, axis, keepdims)

    def argmax(self, axis: int = -1) -> Any:
        """Position of the first largest element along an axis."""
        return reduce.argmax(self, axis)

    def reshape(self, *to: Any) -> Any:
        """The same elements under another shape."""
        return shape.reshape(self, to[0] if len(to) == 1 and not isinstance(to[0], int) else to)

    def transpose(self, *axes: Any) -> Any:
        """Axes in another order; reversed without arguments."""
        order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
        return shape.transpose(self, order or None)

    def astype(self, dtype: Any) -> Any:
        """The same numbers in another type."""
        return elementwise.cast(self, dtype)
