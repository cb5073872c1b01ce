"""Softmax: scores to probabilities, and its logarithm."""

from __future__ import annotations

import numpy as np

from kiso.ops.elementwise import exp
from kiso.ops.op import Array, Op, Shape, Value
from kiso.ops.reduce import normal_axes, sum
from kiso.ops.sample import Draw, Sample

__all__ = ["LogSoftmax", "Softmax", "log_softmax", "softmax"]

_SAMPLES = (
    Sample((3, 4), axis=-1),
    Sample((2, 3, 4), axis=1),
    Sample(Draw(2, 3, low=800, high=900), axis=1),
)


class Softmax(Op):
    """y_k = e^(x_k) / sum_j e^(x_j); the maximum is subtracted first, so nothing overflows.

    dL/dx_k = y_k (g_k - sum_j g_j y_j).
    """

    axis: int
    floats = True
    samples = _SAMPLES

    def shape(self, x: Shape) -> Shape:
        normal_axes(self.axis, len(x))
        return x

    def forward(self, x: Array) -> Array:
        e = np.exp(x - np.max(x, axis=self.axis, keepdims=True))
        return e / np.sum(e, axis=self.axis, keepdims=True)

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return y * (gy - sum(gy * y, self.axis, keepdims=True))


class LogSoftmax(Op):
    """y_k = x_k - ln sum_j e^(x_j).   dL/dx_k = g_k - e^(y_k) sum_j g_j."""

    axis: int
    floats = True
    samples = _SAMPLES

    def shape(self, x: Shape) -> Shape:
        normal_axes(self.axis, len(x))
        return x

    def forward(self, x: Array) -> Array:
        z = x - np.max(x, axis=self.axis, keepdims=True)
        return z - np.log(np.sum(np.exp(z), axis=self.axis, keepdims=True))

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return gy - exp(y) * sum(gy, self.axis, keepdims=True)


def softmax(x: Value, axis: int = -1, *, temperature: float = 1.0) -> Value:
    """Probabilities along an axis; a temperature above 1 flattens them, below 1 sharpens them."""
    return Softmax(axis=axis)(x if temperature == 1.0 else x / temperature)


def log_softmax(x: Value, axis: int = -1) -> Value:
    """Logarithm of softmax, exact where softmax itself would round to 0."""
    return LogSoftmax(axis=axis)(x)
