"""Eve: Adam whose step also listens to the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kiso import ops
from kiso.errors import ConfigError
from kiso.ops import Value
from kiso.optim.adam import Adam
from kiso.optim.checks import number
from kiso.optim.rule import Slots, bias_correction
from kiso.text import tr

__all__ = ["Eve"]


@dataclass(frozen=True, kw_only=True)
class Eve(Adam):
    """Adam divided by d, a running mean of the relative change of the loss.

    Where the loss f jumps up and down, d grows and the steps get shorter; on a plateau d falls and
    they get longer. With m^ and v^ as in Adam, and a smoothed loss F:

        t = 1:  F = f,  d = 1
        t > 1:  low, high = (k + 1, K + 1)          if f >= F
                            (1/(K + 1), 1/(k + 1))  else
                F' = F min(max(f / F, low), high)
                d <- beta3 d + (1 - beta3) |F' - F| / min(F', F),   F <- F'
        p <- p - lr m^ / (d sqrt(v^) + eps)

    Koushik & Hayashi 2016, "Improving Stochastic Gradient Descent with Feedback" (the first
    version of arXiv:1611.01505), Algorithm 1. The loss must be positive; values below 1e-12 count
    as 1e-12. Default lr 0.001. Slots: m, v and the scalars d and F (`loss`).
    """

    name: ClassVar[str] = "eve"
    needs_loss: ClassVar[bool] = True

    beta3: float = number(0.999, below=1)
    k: float = number(0.1, above=0)
    K: float = number(10.0, above=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k > self.K:
            raise ConfigError(tr("Eve's lower threshold k = {k} is above its upper threshold "
                                 "K = {K}.", k=self.k, K=self.K))

    def init(self, p: Value) -> Slots:
        one = np.ones((), p.dtype)
        return {**super().init(p), "d": one, "loss": one.copy()}

    def feedback(self, s: Slots, t: Value, loss: Value) -> tuple[Value, Value]:
        """New d and new F."""
        f, old = ops.maximum(loss, 1e-12), s["loss"]
        up = f >= old
        k, K = np.asarray(self.k, old.dtype), np.asarray(self.K, old.dtype)
        low = ops.where(up, k + 1, 1 / (K + 1))
        high = ops.where(up, K + 1, 1 / (k + 1))
        new = old * ops.minimum(ops.maximum(f / old, low), high)
        change = ops.abs(new - old) / ops.minimum(new, old)
        d = self.beta3 * s["d"] + (1 - self.beta3) * change
        first = t <= 1
        return ops.where(first, s["d"], d), ops.where(first, f, new)

    def update(self, p: Value, g: Value, s: Slots, *, lr: Value, t: Value,
               loss: Value | None = None) -> tuple[Value, Slots]:
        m, v = self.moments(g, s)
        d, smoothed = self.feedback(s, t, loss)
        m_hat = m / bias_correction(self.betas[0], t)
        v_hat = v / bias_correction(self.betas[1], t)
        return (p - lr * m_hat / (d * ops.sqrt(v_hat) + self.eps),
                {"m": m, "v": v, "d": d, "loss": smoothed})
