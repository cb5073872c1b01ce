"""Activation functions as layers. Formulas and derivatives stand in `kiso.ops.activation`."""

from __future__ import annotations

from typing import ClassVar

from kiso import ops
from kiso.errors import ConfigError
from kiso.nn.checks import choice, number
from kiso.nn.module import Module
from kiso.ops import Value

__all__ = ["ELU", "GELU", "Activation", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU",
           "LogSoftmax", "ReLU", "ReLU6", "ScaledTanh", "SiLU", "Sigmoid", "Softmax", "Softplus",
           "Step", "Tanh"]


class Activation(Module):
    """Base: tells the layer before it what follows, so that its first weights fit (`nn.init`)."""

    activation: ClassVar[str]

    def followed_by(self, activation: str | None) -> str | None:
        """The layer before this one is followed by this function."""
        return self.activation


class Step(Activation):
    """y = 1 where x > 0, else 0: the perceptron's unit. Its gradient is 0, so nothing learns."""

    activation = "step"

    def forward(self, x: Value) -> Value:
        """Any shape."""
        return ops.step(x)


class Sigmoid(Activation):
    """y = 1 / (1 + e^-x), between 0 and 1."""

    activation = "sigmoid"

    def forward(self, x: Value) -> Value:
        """Any shape."""
        return ops.sigmoid(x)


class Tanh(Activation):
    """y = tanh x, between -1 and 1."""

    activation = "tanh"

    def forward(self, x: Value) -> Value:
        """Any shape."""
        return ops.tanh(x)


class ScaledTanh(Activation):
    """y = scale * tanh(slope * x): with 1.7159 and 2/3 it passes through (1, 1) and (-1, -1).

    Inputs of variance 1 stay so, and targets of 1 and -1 lie where the function bends, not at its
    ends. Source: LeCun, Bottou, Bengio and Haffner 1998 (LeNet-5), appendix A.
    """

    activation = "scaled_tanh"
    scale: float
    slope: float

    def __init__(self, scale: float = 1.7159, slope: float = 2 / 3):
        self.scale = number("ScaledTanh", "scale", scale, 0, open_low=True)
        self.slope = number("ScaledTanh", "slope", slope, 0, open_low=True)

    def forward(self, x: Value) -> Value:
        """Any shape."""
        return ops.scaled_tanh(x, self.scale, self.slope)

    def extra_repr(self) -> str:
        plain = (self.scale, self.slope) == (1.7159, 2 / 3)
        return "" if plain else f"scale={self.scale}, slope={self.slope}"


class ReLU(Activation):
    """y = max(x, 0)."""

    activation = "relu"

    def forward(self, x: Value) -> Value:
        """Any shape."""
        return ops.relu(x)


class LeakyReLU(Activation):
    """y = x where x > 0, else negative_slope * x."""

    activation = "leaky_relu"
    negative_slope: float

    def __init__(self, negative_slope: float = 0.01):
        self.negative_slope = number("LeakyReLU", "negative_slope", negative_slope)

    def forward(self, x: Value) -> Value:
        """Any shape."""
        return ops.leaky_relu(x, self.negative_slope)


class ELU(Activation):
    """y = x where x > 0, else alpha (e^x - 1)."""

    activation = "elu"
    alpha: float

    def __init__(self, alpha: float = 1.0):
        self.alpha = number("ELU", "alpha", alpha)

    def forward(self, x: Value) -> Value:
        """Any shape."""
        return ops.elu(x, self.alpha)


class GELU(Activation):
    """y = x P(x), P the normal distribution function; approximate="tanh" takes a formula for it."""

    activation = "gelu"
    approximate: str

    def __init__(self, approximate: str = "none"):
        self.approximate = choice("GELU", "approximate", approximate, ("none", "tanh"))

    def forward(self, x: Value) -> Value:
        """Any shape."""
        return ops.gelu(x, approximate=self.approximate == "tanh")

    def extra_repr(self) -> str:
        return "" if self.approximate == "none" else f"approximate={self.approximate!r}"


class SiLU(Activation):
    """y = x sigmoid(x), also called swish."""

    activation = "silu"

    def forward(self, x: Value) -> Value:
        """Any shape."""
        return ops.silu(x)


class Softplus(Activation):
    """y = ln(1 + e^x), a smooth ReLU."""

    activation = "softplus"

    def forward(self, x: Value) -> Value:
        """Any shape."""
        return ops.softplus(x)


class ReLU6(Activation):
    """y = x limited to [0, 6]."""

    activation = "relu6"

    def forward(self, x: Value) -> Value:
        """Any shape."""
        return ops.relu6(x)


class Hardtanh(Activation):
    """y = x limited to [min_val, max_val]."""

    activation = "hardtanh"
    min_val: float
    max_val: float

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0):
        self.min_val = number("Hardtanh", "min_val", min_val)
        self.max_val = number("Hardtanh", "max_val", max_val)
        if min_val >= max_val:
            raise ConfigError(f"Hardtanh: min_val {min_val} must be below max_val {max_val}.")

    def forward(self, x: Value) -> Value:
        """Any shape."""
        return ops.hardtanh(x, self.min_val, self.max_val)


class Hardsigmoid(Activation):
    """y = (x + 3) / 6 limited to [0, 1]."""

    activation = "hardsigmoid"

    def forward(self, x: Value) -> Value:
        """Any shape."""
        return ops.hardsigmoid(x)


class Hardswish(Activation):
    """y = x hardsigmoid(x)."""

    activation = "hardswish"

    def forward(self, x: Value) -> Value:
        """Any shape."""
        return ops.hardswish(x)


class Softmax(Activation):
    """y_k = e^(x_k) / sum_j e^(x_j) along the axis `dim`: scores to probabilities.

    Losses here take the scores: leave Softmax out while training (see `nn.split_softmax`).
    """

    activation = "softmax"
    dim: int

    def __init__(self, dim: int = -1):
        self.dim = dim

    def forward(self, x: Value) -> Value:
        """Any shape."""
        return ops.softmax(x, self.dim)


class LogSoftmax(Activation):
    """y_k = x_k - ln sum_j e^(x_j) along the axis `dim`: what `NLLLoss` takes."""

    activation = "log_softmax"
    dim: int

    def __init__(self, dim: int = -1):
        self.dim = dim

    def forward(self, x: Value) -> Value:
        """Any shape."""
        return ops.log_softmax(x, self.dim)
