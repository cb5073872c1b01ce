"""Stochastic gradient descent: plain, with momentum, with Nesterov's look-ahead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kiso import ops
from kiso.errors import ConfigError
from kiso.ops import Value
from kiso.optim.checks import number
from kiso.optim.rule import Optimizer, Slots, zeros_like
from kiso.text import tr

__all__ = ["SGD"]


@dataclass(frozen=True, kw_only=True)
class SGD(Optimizer):
    """Walk against the gradient (Robbins & Monro 1951).

        plain      p <- p - lr g
        momentum   v <- momentum v + (1 - dampening) g        (v = g in the first step)
                   p <- p - lr v                              (Polyak 1964)
        Nesterov   p <- p - lr (g + momentum v)               (Nesterov 1983, as reformulated by
                                                               Sutskever et al. 2013)

    The velocity v sums up past gradients: along a valley they add to 1 / (1 - momentum) times the
    step, across it they cancel. Options are PyTorch's, except that lr starts at 0.01, the usual
    value in textbooks. Slots: v, if momentum is not 0.
    """

    name: ClassVar[str] = "sgd"

    lr: float = number(0.01)
    momentum: float = number(0.0, below=1)
    dampening: float = number(0.0, high=1)
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ConfigError(tr("Nesterov's rule needs a momentum above 0 (usually 0.9) and a "
                                 "dampening of 0."))

    def init(self, p: Value) -> Slots:
        return {"v": zeros_like(p)} if self.momentum else {}

    def update(self, p: Value, g: Value, s: Slots, *, lr: Value, t: Value,
               loss: Value | None = None) -> tuple[Value, Slots]:
        if not self.momentum:
            return p - lr * g, {}
        v = self.momentum * s["v"] + (1 - self.dampening) * g
        if self.dampening:
            v = ops.where(t > 1, v, g)
        if self.nesterov:
            return p - lr * (g + self.momentum * v), {"v": v}
        return p - lr * v, {"v": v}
