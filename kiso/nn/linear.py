"""The dense layer: every output sees every input. Books also call it Affine or fully connected."""

from __future__ import annotations

import numpy as np

from kiso import ops
from kiso.errors import ShapeError
from kiso.nn.checks import count
from kiso.nn.init import Rule, new_start
from kiso.nn.module import Module
from kiso.nn.parameter import Parameter
from kiso.ops import Value

__all__ = ["Linear", "Weighted"]


class Weighted(Module):
    """What layers with a weight matrix or filters share: a first scale that fits what follows."""

    weight: Parameter
    bias: Parameter | None

    def followed_by(self, activation: str | None) -> str | None:
        """Choose the scale of the weights by the activation that comes next."""
        self.weight.followed_by(activation)
        return None


class Linear(Weighted):
    """y = x W^T + b for x (..., in), W (out, in), b (out,).

    Applied to the last axis. The weight is stored as (out_features, in_features), as in PyTorch, so
    that checkpoints carry over; each row of W holds the weights of one unit.

    `init` is a rule of `nn.init` by name or a function (shape, rng) -> array; by default it is
    chosen by the activation that follows. The bias starts at 0.
    Errors: ConfigError for numbers below 1, ShapeError if the last axis of x is not in_features.
    """

    in_features: int
    out_features: int

    def __init__(self, in_features: int, out_features: int, bias: bool = True, *,
                 init: str | Rule | None = None):
        self.in_features = count("Linear", "in_features", in_features)
        self.out_features = count("Linear", "out_features", out_features)
        self.weight = Parameter(new_start((self.out_features, self.in_features), init))
        self.bias = Parameter(np.zeros(self.out_features, np.float32)) if bias else None

    def forward(self, x: Value) -> Value:
        """(..., in) -> (..., out)"""
        shape = ops.shape_of(x)
        if shape[-1:] != (self.in_features,):
            found = shape[-1] if shape else 0
            hint = "put Flatten() before it" if (
                len(shape) > 2 and np.prod(shape[1:]) == self.in_features
            ) else f"use Linear({found}, {self.out_features}) or change what comes before"
            raise ShapeError(f"the layer takes {self.in_features} features (weight "
                             f"{self.weight.shape}), but the last axis of {shape} has {found}; "
                             f"{hint}.")
        y = ops.matmul(x, ops.transpose(self.weight))
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        return (f"in_features={self.in_features}, out_features={self.out_features}"
                + ("" if self.bias is not None else ", bias=False"))
