"""Functions of one element at a time: exp, log, roots, absolute value, clipping, choosing."""

from __future__ import annotations

import numpy as np

from kiso.errors import DTypeError
from kiso.ops.arithmetic import mul
from kiso.ops.broadcast import broadcast_shapes, sum_to
from kiso.ops.compare import greater_equal, less_equal
from kiso.ops.op import Array, Op, Shape, Value, shape_of
from kiso.ops.sample import Draw, Sample

__all__ = ["Abs", "Cast", "Clip", "Cos", "Exp", "Expm1", "Floor", "Log", "Log1p", "Maximum",
           "Minimum", "Sign", "Sin", "Sqrt", "Where", "abs", "cast", "clip", "cos", "exp", "expm1",
           "floor", "log", "log1p", "maximum", "minimum", "sign", "sin", "sqrt", "where"]

_ANY = (Sample((2, 3)), Sample(()), Sample((2, 0, 3)))
_POSITIVE = (Sample(Draw(2, 3, low=0.3)), Sample(Draw(low=0.3)))


class Unary(Op, abstract=True):
    """One array in, one of the same shape and type out."""

    samples = _ANY

    def shape(self, x: Shape) -> Shape:
        return x


class FloatUnary(Unary, abstract=True):
    """A function of real numbers: float in, float out."""

    floats = True


class Exp(FloatUnary):
    """y = e^x;  dy/dx = y."""

    def forward(self, x: Array) -> Array:
        return np.exp(x)

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return gy * y


class Expm1(FloatUnary):
    """y = e^x - 1, exact for small x;  dy/dx = e^x = y + 1."""

    def forward(self, x: Array) -> Array:
        return np.expm1(x)

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return gy * (y + 1)


class Log(FloatUnary):
    """y = ln x, x > 0;  dy/dx = 1 / x."""

    samples = _POSITIVE

    def forward(self, x: Array) -> Array:
        return np.log(x)

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return gy / x


class Log1p(FloatUnary):
    """y = ln(1 + x), exact for small x;  dy/dx = 1 / (1 + x)."""

    samples = (Sample(Draw(2, 3, low=-0.7)),)

    def forward(self, x: Array) -> Array:
        return np.log1p(x)

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return gy / (1 + x)


class Sqrt(FloatUnary):
    """y = x^(1/2), x >= 0;  dy/dx = 1 / (2 y)."""

    samples = _POSITIVE

    def forward(self, x: Array) -> Array:
        return np.sqrt(x)

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return gy / (2 * y)


class Sin(FloatUnary):
    """y = sin x;  dy/dx = cos x."""

    def forward(self, x: Array) -> Array:
        return np.sin(x)

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return gy * cos(x)


class Cos(FloatUnary):
    """y = cos x;  dy/dx = -sin x."""

    def forward(self, x: Array) -> Array:
        return np.cos(x)

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return -gy * sin(x)


class Abs(Unary):
    """y = |x|;  dy/dx = sign x (0 at 0)."""

    def forward(self, x: Array) -> Array:
        return np.abs(x)

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return gy * sign(x)


class Sign(Unary):
    """y = -1, 0 or 1;  dy/dx = 0."""

    def forward(self, x: Array) -> Array:
        return np.sign(x)

    def backward(self, gy: Value, y: Value, x: Value) -> None:
        return None


class Floor(Unary):
    """y = the largest whole number <= x;  dy/dx = 0."""

    def forward(self, x: Array) -> Array:
        return np.floor(x)

    def backward(self, gy: Value, y: Value, x: Value) -> None:
        return None


class Clip(Unary):
    """y = min(max(x, low), high);  dy/dx = 1 inside, 0 outside."""

    low: float
    high: float
    samples = (Sample((3, 4), low=-1.01, high=0.52),)

    def dtype(self, x: np.dtype) -> np.dtype:
        return np.result_type(x, self.low, self.high)

    def forward(self, x: Array) -> Array:
        return np.clip(x, self.low, self.high)

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        inside = mul(greater_equal(x, self.low), less_equal(x, self.high))
        return where(inside, gy, 0.0)


class Cast(Unary):
    """The same numbers in another type. Float to float carries the gradient, others none."""

    to: str
    samples = (
        Sample((2, 3), to="float64"),
        Sample(Draw(2, 3, low=0, high=9, dtype="int"), to="float64"),
        Sample(Draw(4, low=0, high=255, dtype="uint8"), to="float32"),
        Sample(Draw(5, dtype="bool"), to="float32"),
    )

    def dtype(self, x: np.dtype) -> np.dtype:
        return np.dtype(self.to)

    def forward(self, x: Array) -> Array:
        return x.astype(self.to)

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return cast(gy, x.dtype) if x.dtype.kind == "f" else None


class Maximum(Op):
    """y = max(a, b) elementwise; the larger input takes the gradient (a where they are equal)."""

    samples = (Sample((2, 3), Draw(2, 3, low=-1.7, high=1.8)), Sample((2, 1, 3), (4, 1)))

    def shape(self, a: Shape, b: Shape) -> Shape:
        return broadcast_shapes("maximum", a, b)

    def forward(self, a: Array, b: Array) -> Array:
        return np.maximum(a, b)

    def backward(self, gy: Value, y: Value, a: Value, b: Value) -> tuple[Value, Value]:
        first = greater_equal(a, b)
        return (sum_to(where(first, gy, 0.0), shape_of(a)),
                sum_to(where(first, 0.0, gy), shape_of(b)))


class Minimum(Op):
    """y = min(a, b) elementwise; the smaller input takes the gradient (a where they are equal)."""

    samples = (Sample((2, 3), Draw(2, 3, low=-1.7, high=1.8)), Sample((2, 1, 3), (4, 1)))

    def shape(self, a: Shape, b: Shape) -> Shape:
        return broadcast_shapes("minimum", a, b)

    def forward(self, a: Array, b: Array) -> Array:
        return np.minimum(a, b)

    def backward(self, gy: Value, y: Value, a: Value, b: Value) -> tuple[Value, Value]:
        first = less_equal(a, b)
        return (sum_to(where(first, gy, 0.0), shape_of(a)),
                sum_to(where(first, 0.0, gy), shape_of(b)))


class Where(Op):
    """y = a where the condition holds, else b; each gets the gradient of its own places."""

    samples = (
        Sample(Draw(2, 3, dtype="bool"), (2, 3), (2, 3)),
        Sample(Draw(2, 3, dtype="bool"), (3,), ()),
        Sample(Draw(3, dtype="bool"), (2, 1), (2, 3)),
    )

    def shape(self, condition: Shape, a: Shape, b: Shape) -> Shape:
        return broadcast_shapes("where", condition, a, b)

    def dtype(self, condition: np.dtype, a: np.dtype, b: np.dtype) -> np.dtype:
        if condition.kind != "b":
            raise DTypeError(f"where: the condition must be bool, but it is {condition}; compare "
                             "first, for example where(x > 0, a, b).")
        return np.result_type(a, b)

    def forward(self, condition: Array, a: Array, b: Array) -> Array:
        return np.where(condition, a, b)

    def backward(self, gy: Value, y: Value, condition: Value, a: Value, b: Value) -> tuple[
            None, Value, Value]:
        return (None, sum_to(where(condition, gy, 0.0), shape_of(a)),
                sum_to(where(condition, 0.0, gy), shape_of(b)))


def exp(x: Value) -> Value:
    """e^x."""
    return Exp()(x)


def expm1(x: Value) -> Value:
    """e^x - 1 without cancellation near 0."""
    return Expm1()(x)


def log(x: Value) -> Value:
    """Natural logarithm."""
    return Log()(x)


def log1p(x: Value) -> Value:
    """ln(1 + x) without cancellation near 0."""
    return Log1p()(x)


def sqrt(x: Value) -> Value:
    """Square root."""
    return Sqrt()(x)


def sin(x: Value) -> Value:
    """Sine, x in radians."""
    return Sin()(x)


def cos(x: Value) -> Value:
    """Cosine, x in radians."""
    return Cos()(x)


def abs(x: Value) -> Value:
    """|x|."""
    return Abs()(x)


def sign(x: Value) -> Value:
    """-1, 0 or 1."""
    return Sign()(x)


def floor(x: Value) -> Value:
    """Largest whole number that is not above x."""
    return Floor()(x)


def clip(x: Value, low: float, high: float) -> Value:
    """x limited to [low, high]."""
    return Clip(low=low, high=high)(x)


def cast(x: Value, dtype: str | np.dtype | type) -> Value:
    """x in another type; `x` itself where the type is that already."""
    kind = np.dtype(dtype)
    return x if x.dtype == kind else Cast(to=kind.name)(x)


def maximum(a: Value, b: Value) -> Value:
    """The larger of a and b, elementwise."""
    return Maximum()(a, b)


def minimum(a: Value, b: Value) -> Value:
    """The smaller of a and b, elementwise."""
    return Minimum()(a, b)


def where(condition: Value, a: Value, b: Value) -> Value:
    """a where `condition` (bool) holds, else b."""
    return Where()(condition, a, b)
