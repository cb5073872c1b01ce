"""Rules with a step size of its own for every weight: AdaGrad, RMSProp, AdaDelta.

All divide the gradient by a root of its past squares: weights with large gradients take smaller
steps. They differ in how they remember: AdaGrad sums, RMSProp forgets, AdaDelta also restores the
unit of the step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kiso import ops
from kiso.ops import Value, shape_of
from kiso.optim.checks import number
from kiso.optim.rule import Optimizer, Slots, zeros_like

__all__ = ["AdaDelta", "AdaGrad", "RMSProp"]


@dataclass(frozen=True, kw_only=True)
class AdaGrad(Optimizer):
    """Divide by the root of the sum of all past squares.

        h <- h + g^2                                     (h starts at initial_accumulator_value)
        p <- p - lr / (1 + (t - 1) lr_decay) * g / (sqrt(h) + eps)

    Duchi, Hazan & Singer 2011, "Adaptive Subgradient Methods". Steps only ever get shorter.
    Default lr 0.01. Slots: h.
    """

    name: ClassVar[str] = "adagrad"

    lr: float = number(0.01)
    lr_decay: float = number(0.0)
    initial_accumulator_value: float = number(0.0)
    eps: float = number(1e-10, above=0)

    def init(self, p: Value) -> Slots:
        return {"h": np.full(shape_of(p), self.initial_accumulator_value, p.dtype)}

    def update(self, p: Value, g: Value, s: Slots, *, lr: Value, t: Value,
               loss: Value | None = None) -> tuple[Value, Slots]:
        h = s["h"] + g * g
        if self.lr_decay:
            lr = lr / (1 + (t - 1) * self.lr_decay)
        return p - lr * g / (ops.sqrt(h) + self.eps), {"h": h}


@dataclass(frozen=True, kw_only=True)
class RMSProp(Optimizer):
    """Divide by the root of a running mean of squares.

        h <- alpha h + (1 - alpha) g^2
        r = sqrt(h) + eps;  centred: r = sqrt(h - m^2) + eps,  m <- alpha m + (1 - alpha) g
        p <- p - lr g / r;  with momentum: v <- momentum v + g / r,  p <- p - lr v

    Tieleman & Hinton 2012, lecture 6.5 of "Neural Networks for Machine Learning"; centred: Graves
    2013. Default lr 0.01. Slots: h; m if centred; v with momentum.
    """

    name: ClassVar[str] = "rmsprop"

    lr: float = number(0.01)
    alpha: float = number(0.99, below=1)
    eps: float = number(1e-8, above=0)
    momentum: float = number(0.0, below=1)
    centered: bool = False

    def init(self, p: Value) -> Slots:
        names = ["h", *(["m"] if self.centered else []), *(["v"] if self.momentum else [])]
        return {name: zeros_like(p) for name in names}

    def update(self, p: Value, g: Value, s: Slots, *, lr: Value, t: Value,
               loss: Value | None = None) -> tuple[Value, Slots]:
        h = self.alpha * s["h"] + (1 - self.alpha) * (g * g)
        new: Slots = {"h": h}
        if self.centered:
            new["m"] = m = self.alpha * s["m"] + (1 - self.alpha) * g
            h = ops.maximum(h - m * m, 0.0)  # a variance; rounding can push it below 0
        step = g / (ops.sqrt(h) + self.eps)
        if self.momentum:
            new["v"] = step = self.momentum * s["v"] + step
        return p - lr * step, new


@dataclass(frozen=True, kw_only=True)
class AdaDelta(Optimizer):
    """RMSProp whose numerator is the running size of its own steps, so that units agree.

        h <- rho h + (1 - rho) g^2
        d = g sqrt(r + eps) / sqrt(h + eps)
        r <- rho r + (1 - rho) d^2
        p <- p - lr d

    Zeiler 2012, "ADADELTA: An Adaptive Learning Rate Method"; the paper has no learning rate,
    hence the default lr 1. Slots: h, r.
    """

    name: ClassVar[str] = "adadelta"

    lr: float = number(1.0)
    rho: float = number(0.9, below=1)
    eps: float = number(1e-6, above=0)

    def init(self, p: Value) -> Slots:
        return {"h": zeros_like(p), "r": zeros_like(p)}

    def update(self, p: Value, g: Value, s: Slots, *, lr: Value, t: Value,
               loss: Value | None = None) -> tuple[Value, Slots]:
        h = self.rho * s["h"] + (1 - self.rho) * (g * g)
        d = g * (ops.sqrt(s["r"] + self.eps) / ops.sqrt(h + self.eps))
        r = self.rho * s["r"] + (1 - self.rho) * (d * d)
        return p - lr * d, {"h": h, "r": r}
