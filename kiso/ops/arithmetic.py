"""The four operations of arithmetic, negation and powers, with broadcasting.

The add node passes its gradient on, the multiply node swaps its inputs (curriculum E3).
"""

from __future__ import annotations

import numpy as np

from kiso.ops.broadcast import broadcast_shapes, sum_to
from kiso.ops.op import Array, Op, Shape, Value, shape_of
from kiso.ops.sample import Draw, Sample

__all__ = [
    "Add",
    "Div",
    "Mul",
    "Neg",
    "Pow",
    "Power",
    "Sub",
    "add",
    "div",
    "mul",
    "neg",
    "pow",
    "sub",
]

_PAIRS = (
    Sample((2, 3), (2, 3)),
    Sample((2, 3), (3,)),
    Sample((2, 1, 3), (4, 1)),
    Sample((), (2, 2)),
)


class Add(Op):
    """y = a + b;  dy/da = 1, dy/db = 1: the gradient is passed on."""

    samples = _PAIRS

    def shape(self, a: Shape, b: Shape) -> Shape:
        return broadcast_shapes("add", a, b)

    def forward(self, a: Array, b: Array) -> Array:
        return a + b

    def backward(self, gy: Value, y: Value, a: Value, b: Value) -> tuple[Value, Value]:
        return sum_to(gy, shape_of(a)), sum_to(gy, shape_of(b))


class Sub(Op):
    """y = a - b;  dy/da = 1, dy/db = -1."""

    samples = _PAIRS

    def shape(self, a: Shape, b: Shape) -> Shape:
        return broadcast_shapes("sub", a, b)

    def forward(self, a: Array, b: Array) -> Array:
        return a - b

    def backward(self, gy: Value, y: Value, a: Value, b: Value) -> tuple[Value, Value]:
        return sum_to(gy, shape_of(a)), sum_to(-gy, shape_of(b))


class Mul(Op):
    """y = a b;  dy/da = b, dy/db = a: the inputs change places."""

    samples = _PAIRS

    def shape(self, a: Shape, b: Shape) -> Shape:
        return broadcast_shapes("mul", a, b)

    def forward(self, a: Array, b: Array) -> Array:
        return a * b

    def backward(self, gy: Value, y: Value, a: Value, b: Value) -> tuple[Value, Value]:
        return sum_to(gy * b, shape_of(a)), sum_to(gy * a, shape_of(b))


class Div(Op):
    """y = a / b;  dy/da = 1 / b, dy/db = -a / b^2 = -y / b."""

    samples = (
        Sample((2, 3), Draw(2, 3, low=0.5)),
        Sample((2, 3), Draw(3, low=-2.0, high=-0.5)),
        Sample((2, 1, 3), Draw(4, 1, low=0.5)),
        Sample((), Draw(2, 2, low=0.5)),
    )

    def shape(self, a: Shape, b: Shape) -> Shape:
        return broadcast_shapes("div", a, b)

    def dtype(self, a: np.dtype, b: np.dtype) -> np.dtype:
        return np.result_type(a, b) if "f" in (a.kind, b.kind) else np.dtype(np.float64)

    def forward(self, a: Array, b: Array) -> Array:
        return a / b

    def backward(self, gy: Value, y: Value, a: Value, b: Value) -> tuple[Value, Value]:
        ga = gy / b
        return sum_to(ga, shape_of(a)), sum_to(-ga * y, shape_of(b))


class Neg(Op):
    """y = -x;  dy/dx = -1."""

    samples = (Sample((2, 3)), Sample(()))

    def shape(self, x: Shape) -> Shape:
        return x

    def forward(self, x: Array) -> Array:
        return -x

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return -gy


class Power(Op):
    """y = x^n for a fixed number n;  dy/dx = n x^(n-1)."""

    exponent: float
    samples = (
        Sample((2, 3), exponent=2),
        Sample((2, 3), exponent=3),
        Sample((2, 3), exponent=1),
        Sample((2, 3), exponent=0),
        Sample(Draw(2, 3, low=0.5), exponent=-1.5),
    )

    def shape(self, x: Shape) -> Shape:
        return x

    def dtype(self, x: np.dtype) -> np.dtype:
        return np.result_type(x, self.exponent)

    def forward(self, x: Array) -> Array:
        return x**self.exponent

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        if self.exponent == 0:
            return None  # not 0 x^-1, which is NaN at 0
        if self.exponent == 1:
            return gy
        return gy * (self.exponent * pow(x, self.exponent - 1))


class Pow(Op):
    """y = a^b for two arrays, a > 0;  dy/da = b a^(b-1), dy/db = y log a."""

    samples = (
        Sample(Draw(2, 3, low=0.5), (2, 3)),
        Sample(Draw(low=0.5), (2, 3)),
        Sample(Draw(2, 3, low=0.5), (3,)),
    )

    def shape(self, a: Shape, b: Shape) -> Shape:
        return broadcast_shapes("pow", a, b)

    def forward(self, a: Array, b: Array) -> Array:
        return np.power(a, b)

    def backward(self, gy: Value, y: Value, a: Value, b: Value) -> tuple[Value, Value]:
        from kiso.ops.elementwise import log

        return sum_to(gy * b * pow(a, b - 1), shape_of(a)), sum_to(gy * y * log(a), shape_of(b))


def add(a: Value, b: Value) -> Value:
    """a + b, elementwise with broadcasting."""
    return Add()(a, b)


def sub(a: Value, b: Value) -> Value:
    """a - b, elementwise with broadcasting."""
    return Sub()(a, b)


def mul(a: Value, b: Value) -> Value:
    """a * b, elementwise with broadcasting."""
    return Mul()(a, b)


def div(a: Value, b: Value) -> Value:
    """a / b, elementwise with broadcasting."""
    return Div()(a, b)


def neg(x: Value) -> Value:
    """-x."""
    return Neg()(x)


def pow(a: Value, b: Value) -> Value:
    """a ** b; a Python number as exponent is part of the op, an array is a second input."""
    if isinstance(b, int | float) and not isinstance(b, np.generic):
        return Power(exponent=b)(a)
    return Pow()(a, b)
