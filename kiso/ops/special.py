"""The error function: NumPy has none, GELU and the normal distribution need it."""

from __future__ import annotations

import math

import numpy as np

from kiso.ops.elementwise import FloatUnary, exp
from kiso.ops.op import Array, Value
from kiso.ops.sample import Draw, Sample

__all__ = ["Erf", "erf", "erf_array"]

# Coefficients of the rational approximations, highest power first.
# W. J. Cody, "Rational Chebyshev approximations for the error function",
# Mathematics of Computation 23 (1969), 631-637.
_NEAR = (
    (1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2,
     3.77485237685302021e2, 3.20937758913846947e3),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2,
     1.28261652607737228e3, 2.84423683343917062e3),
)
_MIDDLE = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0,
     6.61191906371416295e1, 2.98635138197400131e2, 8.81952221241769090e2,
     1.71204761263407058e3, 2.05107837782607147e3, 1.23033935479799725e3),
    (1.0, 1.57449261107098347e1, 1.17693950891312499e2,
     5.37181101862009858e2, 1.62138957456669019e3, 3.29079923573345963e3,
     4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3),
)
_FAR = (
    (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1,
     1.25781726111229246e-1, 1.60837851487422766e-2, 6.58749161529837803e-4),
    (1.0, 2.56852019228982242e0, 1.87295284992346725e0,
     5.27905102951428412e-1, 6.05183413124413191e-2, 2.33520497626869185e-3),
)


def _ratio(coefficients: tuple[tuple[float, ...], tuple[float, ...]], t: Array) -> Array:
    """P(t) / Q(t), both by Horner's rule."""
    above, below = coefficients
    p, q = np.full_like(t, above[0]), np.full_like(t, below[0])
    for a, b in zip(above[1:], below[1:], strict=True):
        p, q = p * t + a, q * t + b
    return p / q


def _near(x: Array) -> Array:
    return x * _ratio(_NEAR, x * x)


def _middle(x: Array) -> Array:
    size = np.abs(x)
    return np.sign(x) * (1 - np.exp(-x * x) * _ratio(_MIDDLE, size))


def _far(x: Array) -> Array:
    size = np.minimum(np.abs(x), 10)  # erf(10) is 1 to the last bit; keeps the square in range
    t = 1 / (size * size)
    tail = np.exp(-size * size) / size * (1 / math.sqrt(math.pi) - t * _ratio(_FAR, t))
    return np.sign(x) * (1 - tail)


def erf_array(x: Array) -> Array:
    """erf of a NumPy array in its own float type; the error is a few units of the last place."""
    size = np.abs(x)
    return np.piecewise(x, [size <= 0.46875, size > 4], [_near, _far, _middle])


class Erf(FloatUnary):
    """y = 2 / sqrt(pi) * (integral of e^(-t^2) from 0 to x);  dy/dx = 2 / sqrt(pi) * e^(-x^2).

    Computed by ratios of polynomials, others near 0, in the middle and from |x| = 4 on (Cody 1969).
    """

    samples = (
        Sample((2, 3)),
        Sample(()),
        Sample((2, 0, 3)),
        Sample(Draw(40, low=-6, high=6)),
        Sample(Draw(3, 4, low=-0.5, high=0.5)),
    )

    def forward(self, x: Array) -> Array:
        return erf_array(x)

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return gy * (2 / math.sqrt(math.pi)) * exp(-x * x)


def erf(x: Value) -> Value:
    """Error function: the chance that |N(0, 1/2)| <= x."""
    return Erf()(x)
