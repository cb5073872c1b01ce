"""Adam and its relatives: momentum (m) and RMSProp (v) in one rule, freed of their bias.

Averages that start at 0 are too small by 1 - beta^t in the first steps; dividing by that gives
m^ and v^. AdamW, NAdam and RAdam change one line each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kiso import ops
from kiso.ops import Value
from kiso.optim.checks import number
from kiso.optim.rule import Optimizer, Slots, bias_correction, zeros_like

__all__ = ["Adam", "AdamW", "NAdam", "RAdam"]


@dataclass(frozen=True, kw_only=True)
class Adam(Optimizer):
    """Adaptive moment estimation.

        m <- beta1 m + (1 - beta1) g            m^ = m / (1 - beta1^t)
        v <- beta2 v + (1 - beta2) g^2          v^ = v / (1 - beta2^t)
        p <- p - lr m^ / (sqrt(v^) + eps)

    Kingma & Ba 2015, "Adam: A Method for Stochastic Optimization". Default lr 0.001. Slots: m, v.
    """

    name: ClassVar[str] = "adam"

    lr: float = number(1e-3)
    betas: tuple[float, float] = number((0.9, 0.999), below=1)
    eps: float = number(1e-8, above=0)

    def init(self, p: Value) -> Slots:
        return {"m": zeros_like(p), "v": zeros_like(p)}

    def moments(self, g: Value, s: Slots) -> tuple[Value, Value]:
        """Running means of the gradient and of its square."""
        beta1, beta2 = self.betas
        return (beta1 * s["m"] + (1 - beta1) * g,
                beta2 * s["v"] + (1 - beta2) * (g * g))

    def update(self, p: Value, g: Value, s: Slots, *, lr: Value, t: Value,
               loss: Value | None = None) -> tuple[Value, Slots]:
        beta1, beta2 = self.betas
        m, v = self.moments(g, s)
        m_hat = m / bias_correction(beta1, t)
        v_hat = v / bias_correction(beta2, t)
        return p - lr * m_hat / (ops.sqrt(v_hat) + self.eps), {"m": m, "v": v}


@dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    """Adam with decoupled weight decay:  p <- (1 - lr weight_decay) p, then Adam.

    As part of the gradient, a penalty would be divided by sqrt(v^) too and lose its meaning.
    Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization". Defaults lr 0.001,
    weight_decay 0.01. Slots: m, v.
    """

    name: ClassVar[str] = "adamw"

    weight_decay: float = number(0.01)
    decoupled_weight_decay: bool = True


@dataclass(frozen=True, kw_only=True)
class NAdam(Adam):
    """Adam with Nesterov's look-ahead and a momentum that grows to beta1.

        mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2),   M_t = mu_1 mu_2 ... mu_t
        p <- p - lr / (sqrt(v^) + eps) * ((1 - mu_t) / (1 - M_t) g + mu_t+1 / (1 - M_t+1) m)

    Dozat 2016, "Incorporating Nesterov Momentum into Adam". Default lr 0.002. Slots: m, v and the
    product M.
    """

    name: ClassVar[str] = "nadam"

    lr: float = number(2e-3)
    momentum_decay: float = number(4e-3)

    def init(self, p: Value) -> Slots:
        return {**super().init(p), "mu_product": np.ones((), p.dtype)}

    def momentum_at(self, t: Value) -> Value:
        """mu_t."""
        return self.betas[0] * (1 - 0.5 * ops.exp(t * (self.momentum_decay * math.log(0.96))))

    def update(self, p: Value, g: Value, s: Slots, *, lr: Value, t: Value,
               loss: Value | None = None) -> tuple[Value, Slots]:
        m, v = self.moments(g, s)
        mu, mu_next = self.momentum_at(t), self.momentum_at(t + 1)
        product = s["mu_product"] * mu
        look_ahead = (1 - mu) / (1 - product) * g + mu_next / (1 - product * mu_next) * m
        v_hat = v / bias_correction(self.betas[1], t)
        return (p - lr * look_ahead / (ops.sqrt(v_hat) + self.eps),
                {"m": m, "v": v, "mu_product": product})


@dataclass(frozen=True, kw_only=True)
class RAdam(Adam):
    """Adam that does not trust v until it has seen enough gradients.

        rho_inf = 2 / (1 - beta2) - 1,   rho = rho_inf - 2 t beta2^t / (1 - beta2^t)
        rho > 5:   p <- p - lr r m^ / (sqrt(v^) + eps),  r^2 = (rho - 4) (rho - 2) rho_inf
                                                            / ((rho_inf - 4) (rho_inf - 2) rho)
        else:      p <- p - lr m^

    rho is the number of squares that v averages, r its warm-up. Liu et al. 2020, "On the Variance
    of the Adaptive Learning Rate and Beyond". As in PyTorch, eps is added to sqrt(v) before v's
    bias is corrected. Default lr 0.001. Slots: m, v.
    """

    name: ClassVar[str] = "radam"

    def update(self, p: Value, g: Value, s: Slots, *, lr: Value, t: Value,
               loss: Value | None = None) -> tuple[Value, Slots]:
        beta1, beta2 = self.betas
        m, v = self.moments(g, s)
        m_hat = m / bias_correction(beta1, t)
        adaptive = ops.sqrt(bias_correction(beta2, t)) / (ops.sqrt(v) + self.eps)
        rho_inf, rho = self.samples_seen(t)
        if rho_inf <= 5:  # beta2 <= 2/3: v never averages enough
            return p - lr * m_hat, {"m": m, "v": v}
        safe = ops.maximum(rho, 5.0)  # so that the root exists in the branch that is not taken
        r = ops.sqrt((safe - 4) * (safe - 2) / safe
                     * (rho_inf / ((rho_inf - 4) * (rho_inf - 2))))
        return p - lr * m_hat * ops.where(rho > 5, r * adaptive, 1.0), {"m": m, "v": v}

    def samples_seen(self, t: Value) -> tuple[float, Value]:
        """rho_inf and rho.

        The formula subtracts two numbers near 2000 and would leave three digits in float32. With
        y = -t log beta2 it is  rho = rho_0 + (2 t / y) (1 - y / (e^y - 1)), rho_0 a constant
        near 0. The bracket has the series y/2 - y^2/12 + y^4/720 - ..., used for small y.
        """
        beta2 = self.betas[1]
        rho_inf = 2 / (1 - beta2) - 1
        if beta2 == 0:
            return rho_inf, t * 0 + rho_inf
        rate = -math.log(beta2)
        y = t * rate
        small = ops.minimum(y, 0.1)  # so that no power of y overflows
        y2 = small * small
        series = small / 2 - y2 / 12 * (1 - y2 / 60 * (1 - y2 / 42 * (1 - y2 / 40)))
        bracket = ops.where(y < 0.1, series, 1 + y * ops.exp(-y) / ops.expm1(-y))
        return rho_inf, bracket * (2 / rate) + (rho_inf - 2 / rate)
