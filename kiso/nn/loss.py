"""Losses as modules, `loss(prediction, target)`. Formulas stand in `kiso.ops.loss`.

`reduction` is "mean" (default), "sum", or "none" for one loss per sample or element.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kiso import ops
from kiso.errors import ConfigError
from kiso.nn.checks import choice, number
from kiso.nn.module import Module
from kiso.nn.parameter import Buffer
from kiso.ops import Value

__all__ = ["BCEWithLogitsLoss", "CrossEntropyLoss", "HuberLoss", "KLDivLoss", "L1Loss", "Loss",
           "MSELoss", "NLLLoss"]


class Loss(Module):
    """Base: holds the reduction."""

    reduction: str

    def __init__(self, reduction: str = "mean"):
        self.reduction = choice(type(self).__name__, "reduction", reduction,
                                ("mean", "sum", "none"))


def _class_weights(layer: str, weight: Any) -> Buffer | None:
    if weight is None:
        return None
    values = np.asarray(weight, np.float32)
    if values.ndim != 1 or not np.all(np.isfinite(values)) or np.any(values < 0):
        raise ConfigError(f"{layer}: weight must hold one number of at least 0 for each class.")
    return Buffer(values)


class CrossEntropyLoss(Loss):
    """Softmax with cross entropy of scores (N, K) and class indices (N,) or distributions (N, K).

    `weight` (K,) counts some classes more; label_smoothing e mixes the target with e / K of the
    uniform distribution (Szegedy et al. 2016). With indices and weights the mean is weighted.
    """

    label_smoothing: float
    weight: Buffer | None

    def __init__(self, weight: Any = None, *, reduction: str = "mean",
                 label_smoothing: float = 0.0):
        super().__init__(reduction)
        self.label_smoothing = number("CrossEntropyLoss", "label_smoothing", label_smoothing, 0, 1)
        self.weight = _class_weights("CrossEntropyLoss", weight)

    def forward(self, x: Value, t: Value) -> Value:
        """(N, K), (N,) or (N, K) -> number, or (N,) without reduction"""
        return ops.cross_entropy(x, t, weight=self.weight, label_smoothing=self.label_smoothing,
                                 reduction=self.reduction)


class NLLLoss(Loss):
    """-log p[n, t_n] of log-probabilities (N, K) (from `LogSoftmax`) and class indices (N,)."""

    weight: Buffer | None

    def __init__(self, weight: Any = None, *, reduction: str = "mean"):
        super().__init__(reduction)
        self.weight = _class_weights("NLLLoss", weight)

    def forward(self, log_p: Value, t: Value) -> Value:
        """(N, K), (N,) -> number, or (N,) without reduction"""
        return ops.nll_loss(log_p, t, weight=self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(Loss):
    """Binary cross entropy of P(label = 1) = sigmoid(x) with targets in [0, 1]."""

    def forward(self, x: Value, t: Value) -> Value:
        """Two of one shape -> number, or that shape without reduction"""
        return ops.binary_cross_entropy_with_logits(x, t, reduction=self.reduction)


class MSELoss(Loss):
    """(x - t)^2."""

    def forward(self, x: Value, t: Value) -> Value:
        """Two of one shape -> number, or that shape without reduction"""
        return ops.mse_loss(x, t, reduction=self.reduction)


class L1Loss(Loss):
    """|x - t|."""

    def forward(self, x: Value, t: Value) -> Value:
        """Two of one shape -> number, or that shape without reduction"""
        return ops.l1_loss(x, t, reduction=self.reduction)


class HuberLoss(Loss):
    """Square near 0, straight beyond `delta`: outliers count less. Huber 1964."""

    delta: float

    def __init__(self, reduction: str = "mean", delta: float = 1.0):
        super().__init__(reduction)
        self.delta = number("HuberLoss", "delta", delta, 0, open_low=True)

    def forward(self, x: Value, t: Value) -> Value:
        """Two of one shape -> number, or that shape without reduction"""
        return ops.huber_loss(x, t, delta=self.delta, reduction=self.reduction)


class KLDivLoss(Loss):
    """sum_k p_k (ln p_k - log_q_k) of log-probabilities log_q and probabilities p, both (N, K).

    "mean" is the mean over the samples, the definition (PyTorch calls that "batchmean").
    """

    def forward(self, log_q: Value, p: Value) -> Value:
        """(N, K), (N, K) -> number, or (N,) without reduction"""
        return ops.kl_div(log_q, p, reduction=self.reduction)
