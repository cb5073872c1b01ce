"""Lion: only the sign of a momentum, found by a search over programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kiso import ops
from kiso.ops import Value
from kiso.optim.checks import number
from kiso.optim.rule import Optimizer, Slots, zeros_like

__all__ = ["Lion"]


@dataclass(frozen=True, kw_only=True)
class Lion(Optimizer):
    """Every weight moves by the same distance; only the direction is learned.

        p <- p - lr sign(beta1 m + (1 - beta1) g)
        m <- beta2 m + (1 - beta2) g

    Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms". Weight decay is decoupled.
    The paper uses a learning rate 3 to 10 times smaller, and a weight decay as much larger, than
    AdamW's. Default lr 0.0001. Slots: m.
    """

    name: ClassVar[str] = "lion"

    lr: float = number(1e-4)
    decoupled_weight_decay: bool = True
    betas: tuple[float, float] = number((0.9, 0.99), below=1)

    def init(self, p: Value) -> Slots:
        return {"m": zeros_like(p)}

    def update(self, p: Value, g: Value, s: Slots, *, lr: Value, t: Value,
               loss: Value | None = None) -> tuple[Value, Slots]:
        beta1, beta2 = self.betas
        direction = ops.sign(beta1 * s["m"] + (1 - beta1) * g)
        return p - lr * direction, {"m": beta2 * s["m"] + (1 - beta2) * g}
