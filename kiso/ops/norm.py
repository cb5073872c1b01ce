"""Batch normalisation: every channel gets mean 0 and variance 1 over the batch.

    m_c = mean of x over n and *s             v_c = mean of (x - m_c)^2        (n, *s: M elements)
    y = gamma_c (x - m_c) / sqrt(v_c + eps) + beta_c

x (N, C, *S); gamma, beta, m, v (C,). In training m and v come from the mini-batch; a running mean
of them, kept by the layer, replaces them in inference, so that one sample's result does not depend
on the others. gamma and beta are learnt.

Source: Ioffe, Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing
Internal Covariate Shift", 2015.
"""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

import numpy as np

from kiso.errors import ShapeError
from kiso.ops.arithmetic import add
from kiso.ops.broadcast import broadcast_to
from kiso.ops.elementwise import sqrt
from kiso.ops.op import Array, Op, Shape, Value, shape_of
from kiso.ops.reduce import sum
from kiso.ops.sample import Draw, Sample
from kiso.ops.shape import reshape

__all__ = ["BatchNorm", "BatchNormInference", "batch_norm"]


def _check(x: Shape, *rest: Shape) -> None:
    """x must have a channel axis, all other inputs one number for each channel."""
    if len(x) < 2 or any(p != x[1:2] for p in rest):
        listed = ", ".join(map(str, rest))
        raise ShapeError(f"batch_norm: x {x} must be (N, C, *S), and gamma, beta and statistics "
                         f"must be {x[1:2]}, one number for each channel; they are {listed}.")


def _axes(x: Shape) -> tuple[int, ...]:
    """All axes but the channels'."""
    return (0, *range(2, len(x)))


def _column(x: Shape) -> Shape:
    """Shape that lines (C,) up with (N, C, *S): (C, 1, ..., 1)."""
    return (x[1], *(1,) * (len(x) - 2))


class BatchNorm(Op):
    """y = gamma (x - m) / sqrt(v + eps) + beta -> (y, m, v), with m, v of the batch; v biased.

    With M elements for each channel, r = 1 / sqrt(v + eps) and xhat = (x - m) r

        dL/dgamma = sum of gy xhat,    dL/dbeta = sum of gy
        dL/dx = gamma r (gy - dL/dbeta / M - xhat dL/dgamma / M)  +  gm / M  +  gv 2 (x - m) / M

    The two subtracted terms are there because every x moves the mean and the variance of all.
    """

    eps: float
    floats = True
    outputs = 3
    samples = (
        Sample((4, 3), (3,), (3,), eps=1e-5),
        Sample((2, 3, 4, 5), (3,), (3,), eps=1e-3),
        Sample((3, 2, 5), (2,), (2,), eps=1e-5),
        Sample((1, 2, 2, 3, 2), (2,), (2,), eps=1e-5),
    )

    def shape(self, x: Shape, gamma: Shape, beta: Shape) -> tuple[Shape, Shape, Shape]:
        _check(x, gamma, beta)
        if math.prod(x[:1] + x[2:]) < 2:
            raise ShapeError(f"batch_norm: training on x {x} has {math.prod(x[:1] + x[2:])} "
                             "element for each channel, but a variance needs 2; use a larger "
                             "batch, or inference.")
        return x, gamma, gamma

    def forward(self, x: Array, gamma: Array, beta: Array) -> tuple[Array, Array, Array]:
        axes, column = _axes(x.shape), _column(x.shape)
        m: Array = x.mean(axes)
        centred = x - m.reshape(column)
        v: Array = (centred * centred).mean(axes)
        scale = gamma / np.sqrt(v + self.eps)
        centred *= scale.reshape(column)  # a new array of this function: nobody else sees it
        centred += beta.reshape(column)
        return centred, m, v

    def backward(self, gy: Any, y: Any, x: Value, gamma: Value, beta: Value
                 ) -> tuple[Value, Value, Value]:
        gy, gm, gv = gy
        _, m, v = y
        shape = shape_of(x)
        axes, column = _axes(shape), _column(shape)
        count = math.prod(shape) // shape[1]
        centred = x - reshape(m, column)
        # gx = a gy + b (x - m) + c with three numbers a, b, c for each channel
        ggamma = gbeta = None
        terms: list[Value] = []
        b: list[Value] = []
        c: list[Value] = []
        if gy is not None:
            r = 1 / sqrt(v + self.eps)
            gbeta, ggamma = sum(gy, axes), sum(gy * centred, axes) * r
            a = gamma * r
            terms.append(reshape(a, column) * gy)
            b.append(-a * r * ggamma / count)
            c.append(-a * gbeta / count)
        if gm is not None:
            c.append(gm / count)
        if gv is not None:
            b.append(gv * (2 / count))
        if b:
            terms.append(reshape(reduce(add, b), column) * centred)
        if c:
            terms.append(reshape(reduce(add, c), column))
        gx = broadcast_to(reduce(add, terms), shape)
        return gx, ggamma, gbeta


class BatchNormInference(Op):
    """y = gamma (x - m) / sqrt(v + eps) + beta with given m and v.

    With r = 1 / sqrt(v + eps):  dL/dx = gamma r gy,  dL/dbeta = sum of gy,
    dL/dgamma = r sum of gy (x - m),  dL/dm = -gamma r dL/dbeta,  dL/dv = -gamma r^2 dL/dgamma / 2.
    """

    eps: float
    floats = True
    samples = (
        Sample((4, 3), (3,), (3,), (3,), Draw(3, low=0.5), eps=1e-5),
        Sample((2, 3, 4, 5), (3,), (3,), (3,), Draw(3, low=0.5), eps=1e-3),
        Sample((1, 2, 5), (2,), (2,), (2,), Draw(2, low=0.5), eps=1e-5),
        Sample((1, 2, 2, 1, 3), (2,), (2,), (2,), Draw(2, low=0.5), eps=1e-5),
    )

    def shape(self, x: Shape, gamma: Shape, beta: Shape, mean: Shape, var: Shape) -> Shape:
        _check(x, gamma, beta, mean, var)
        return x

    def forward(self, x: Array, gamma: Array, beta: Array, mean: Array, var: Array) -> Array:
        scale = gamma / np.sqrt(var + self.eps)
        column = _column(x.shape)
        return x * scale.reshape(column) + (beta - mean * scale).reshape(column)

    def backward(self, gy: Value, y: Value, x: Value, gamma: Value, beta: Value, mean: Value,
                 var: Value) -> tuple[Value, ...]:
        shape = shape_of(x)
        axes, column = _axes(shape), _column(shape)
        r = 1 / sqrt(var + self.eps)
        a = gamma * r
        gbeta = sum(gy, axes)
        ggamma = sum(gy * (x - reshape(mean, column)), axes) * r
        return reshape(a, column) * gy, ggamma, gbeta, -a * gbeta, a * r * ggamma / -2


def _without_history(x: Value) -> Value:
    """The value alone where an interpreter (the tape) keeps how it was computed."""
    return x.detach() if hasattr(x, "detach") else x


def batch_norm(x: Value, gamma: Value, beta: Value, running_mean: Value, running_var: Value, *,
               training: bool, momentum: float = 0.1, eps: float = 1e-5
               ) -> tuple[Value, Value, Value]:
    """Batch normalisation of x (N, C, *S) -> (y, new running mean, new running variance).

    In training the statistics of the batch are used, and the new running statistics are
    (1 - momentum) old + momentum batch, the variance corrected to v M / (M - 1) as in PyTorch.
    They are returned, not stored, and carry no gradient. In inference the running statistics are
    used and returned as they are.
    Errors: ShapeError for wrong shapes, or fewer than two elements for each channel in training.
    """
    if not training:
        y = BatchNormInference(eps=eps)(x, gamma, beta, running_mean, running_var)
        return y, running_mean, running_var
    _check(shape_of(x), shape_of(gamma), shape_of(beta), shape_of(running_mean),
           shape_of(running_var))
    y, m, v = BatchNorm(eps=eps)(x, gamma, beta)
    m, v, old_m, old_v = (_without_history(s) for s in (m, v, running_mean, running_var))
    count = math.prod(shape_of(x)) // shape_of(x)[1]
    new_m = old_m * (1 - momentum) + m * momentum
    new_v = old_v * (1 - momentum) + v * (momentum * count / (count - 1))
    return y, new_m, new_v
