"""Dropout: in training, units are switched off by chance, so that none can rely on another."""

from __future__ import annotations

from kiso import ops
from kiso.errors import ConfigError
from kiso.nn.checks import number
from kiso.nn.reshaping import PassOn
from kiso.nn.rng import next_draw
from kiso.ops import Value

__all__ = ["Dropout"]


class Dropout(PassOn):
    """Training: each element is 0 with chance p, else x / (1 - p). Inference: y = x.

    The mask is a function of the key and the order of the calls alone (see `nn.random_key`).
    Source: Srivastava et al. 2014. Errors: ConfigError unless 0 <= p < 1.
    """

    p: float

    def __init__(self, p: float = 0.5):
        self.p = number("Dropout", "p", p, 0, 1)
        if p == 1:
            raise ConfigError("Dropout: p is 1, which would switch off every unit; expected a "
                              "number of at least 0 and below 1.")

    def forward(self, x: Value) -> Value:
        """Any shape, the same out."""
        if not self.training or self.p == 0:
            return x
        key, stream = next_draw()
        return ops.dropout(x, key, p=self.p, stream=stream)
