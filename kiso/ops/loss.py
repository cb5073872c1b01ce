"""Losses: how wrong a prediction is, as one number to make small.

Each takes `reduction`: "mean" (default), "sum", or "none" for one loss per sample or element.
"""

from __future__ import annotations

import numpy as np

from kiso.errors import ConfigError, DTypeError, ShapeError
from kiso.ops import reduce
from kiso.ops.activation import sigmoid
from kiso.ops.broadcast import broadcast_shapes, sum_to
from kiso.ops.elementwise import abs, cast, log, maximum, where
from kiso.ops.index import one_hot, take, take_along
from kiso.ops.op import Array, Op, Shape, Value, shape_of
from kiso.ops.sample import Draw, Sample
from kiso.ops.shape import expand_dims
from kiso.ops.softmax import log_softmax, softmax

__all__ = ["BinaryCrossEntropy", "SoftmaxCrossEntropy", "binary_cross_entropy_with_logits",
           "cross_entropy", "huber_loss", "kl_div", "l1_loss", "mse_loss", "nll_loss"]

_PROBABILITIES = Draw(3, 4, low=0.05, high=0.95)


class SoftmaxCrossEntropy(Op):
    """L_n = -sum_k t_nk ln softmax(x_n)_k for scores x (N, K) and targets t (N, K); 0 ln 0 = 0.

    With sum_k t_nk = 1 the gradient is softmax(x) - t ("y - t"); in general the first term is
    weighted by s_n = sum_k t_nk. The book's SoftmaxWithLoss layer.
    """

    floats = True
    samples = (Sample((3, 4), _PROBABILITIES), Sample(Draw(3, 4, low=-90, high=90), _PROBABILITIES))

    def shape(self, x: Shape, t: Shape) -> Shape:
        if len(x) != 2 or x != t:
            raise ShapeError(f"cross entropy: scores {x} and target distributions {t} must both be "
                             "(samples, classes).")
        return x[:1]

    def forward(self, x: Array, t: Array) -> Array:
        z = x - np.max(x, axis=1, keepdims=True)
        log_y = z - np.log(np.sum(np.exp(z), axis=1, keepdims=True))
        # A score of -infinity rules a class out: 0 times its logarithm is 0, not NaN.
        return -np.sum(t * np.where(t == 0, 0, log_y), axis=1)

    def backward(self, gy: Value, y: Value, x: Value, t: Value) -> tuple[Value, Value]:
        g = expand_dims(gy, 1)
        total = reduce.sum(t, 1, keepdims=True)
        return g * (softmax(x, 1) * total - t), -g * log_softmax(x, 1)


class BinaryCrossEntropy(Op):
    """L = -t ln s - (1 - t) ln(1 - s) with s = sigmoid(x).

    Computed as max(x, 0) - x t + ln(1 + e^-|x|), which neither overflows nor cancels.

    dL/dx = sigmoid(x) - t,  dL/dt = -x.
    """

    floats = True
    samples = (Sample((3, 4), _PROBABILITIES), Sample(Draw(3, 4, low=-90, high=90), _PROBABILITIES))

    def shape(self, x: Shape, t: Shape) -> Shape:
        return broadcast_shapes("binary_cross_entropy", x, t)

    def forward(self, x: Array, t: Array) -> Array:
        return np.maximum(x, 0) - x * t + np.log1p(np.exp(-np.abs(x)))

    def backward(self, gy: Value, y: Value, x: Value, t: Value) -> tuple[Value, Value]:
        return sum_to(gy * (sigmoid(x) - t), shape_of(x)), sum_to(-gy * x, shape_of(t))


def _reduced(loss: Value, reduction: str) -> Value:
    if reduction == "mean":
        return reduce.mean(loss)
    if reduction == "sum":
        return reduce.sum(loss)
    if reduction == "none":
        return loss
    raise ConfigError(f"reduction is {reduction!r}; expected 'mean', 'sum' or 'none'.")


def _same_shape(name: str, x: Value, t: Value) -> None:
    if shape_of(x) != shape_of(t):
        raise ShapeError(f"{name}: prediction {shape_of(x)} and target {shape_of(t)} must have the "
                         "same shape; reshape one of them.")


def mse_loss(x: Value, t: Value, *, reduction: str = "mean") -> Value:
    """Mean squared error (x - t)^2; squares, so that errors of both signs do not cancel."""
    _same_shape("mse_loss", x, t)
    d = x - t
    return _reduced(d * d, reduction)


def l1_loss(x: Value, t: Value, *, reduction: str = "mean") -> Value:
    """Mean absolute error |x - t|."""
    _same_shape("l1_loss", x, t)
    return _reduced(abs(x - t), reduction)


def huber_loss(x: Value, t: Value, *, delta: float = 1.0, reduction: str = "mean") -> Value:
    """Huber: d^2 / 2 for |d| <= delta, delta (|d| - delta / 2) beyond, d = x - t (Huber 1964)."""
    _same_shape("huber_loss", x, t)
    if delta <= 0:
        raise ConfigError(f"huber_loss: delta is {delta}; expected a number above 0.")
    d = abs(x - t)
    return _reduced(where(d <= delta, 0.5 * d * d, delta * (d - 0.5 * delta)), reduction)


def cross_entropy(x: Value, t: Value, *, weight: Value | None = None, label_smoothing: float = 0.0,
                  reduction: str = "mean") -> Value:
    """Softmax cross entropy of scores x (N, K) with class indices (N,) or distributions (N, K).

    label_smoothing e mixes the target with the uniform distribution: (1 - e) t + e / K (Szegedy et
    al. 2016). `weight` (K,) counts some classes more; with indices the mean is then the weighted
    mean, as in PyTorch.
    """
    if not 0.0 <= label_smoothing <= 1.0:
        raise ConfigError(f"label_smoothing is {label_smoothing}; expected a number from 0 to 1.")
    if len(shape_of(x)) != 2:
        raise ShapeError(f"cross_entropy: scores must be (samples, classes), not {shape_of(x)}.")
    classes = shape_of(x)[1]
    indices = t.dtype.kind in "iu"
    if indices and shape_of(t) != shape_of(x)[:1]:
        raise ShapeError(f"cross_entropy: scores {shape_of(x)} need class indices of shape "
                         f"{shape_of(x)[:1]}, but these have shape {shape_of(t)}.")
    target = one_hot(t, classes, x.dtype.name) if indices else t
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / classes
    if weight is not None:
        target = target * weight
    loss = SoftmaxCrossEntropy()(x, target)
    if reduction == "mean" and weight is not None and indices:
        return reduce.sum(loss) / reduce.sum(take(weight, t))
    return _reduced(loss, reduction)


def nll_loss(log_p: Value, t: Value, *, weight: Value | None = None,
             reduction: str = "mean") -> Value:
    """Negative log-likelihood -log p[n, t_n] of log-probabilities (N, K) and indices (N,)."""
    if t.dtype.kind not in "iu":
        raise DTypeError(f"nll_loss: targets must be class indices (integers), not {t.dtype}.")
    loss = -take_along(log_p, t)
    if weight is None:
        return _reduced(loss, reduction)
    w = take(weight, t)
    return (reduce.sum(loss * w) / reduce.sum(w) if reduction == "mean"
            else _reduced(loss * w, reduction))


def binary_cross_entropy_with_logits(x: Value, t: Value, *, reduction: str = "mean") -> Value:
    """Cross entropy of P(label = 1) = sigmoid(x) with targets in [0, 1], stable for large |x|."""
    _same_shape("binary_cross_entropy_with_logits", x, t)
    return _reduced(BinaryCrossEntropy()(x, cast(t, x.dtype)), reduction)


def kl_div(log_q: Value, p: Value, *, reduction: str = "mean") -> Value:
    """Kullback-Leibler divergence sum_k p_k (ln p_k - log_q_k) per sample (0 ln 0 = 0).

    "mean" is over the samples (PyTorch's "batchmean").
    """
    _same_shape("kl_div", log_q, p)
    log_p = log(maximum(p, 1e-37))
    return _reduced(reduce.sum(where(p > 0, p * (log_p - log_q), 0.0), -1), reduction)
