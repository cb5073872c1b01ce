"""Activation functions f and their derivatives f', one op each.

Every op takes one float array of any shape and keeps its shape and type. `backward` shows f' as a
formula of x or of y = f(x), and is itself differentiable wherever f' is. At a kink (ReLU at 0)
the derivative of the flat side is taken.
"""

from __future__ import annotations

import math

import numpy as np

from kiso.ops.compare import greater, less
from kiso.ops.elementwise import FloatUnary, exp, mul, where
from kiso.ops.op import Array, Value
from kiso.ops.sample import Draw, Sample
from kiso.ops.special import erf, erf_array

__all__ = ["Elu", "Gelu", "GeluTanh", "HardSigmoid", "HardSwish", "HardTanh", "LeakyRelu", "Relu",
           "Sigmoid", "Silu", "Softplus", "Step", "Tanh", "elu", "gelu", "hardsigmoid",
           "hardswish", "hardtanh", "identity", "leaky_relu", "relu", "relu6", "scaled_tanh",
           "sigmoid", "silu", "softplus", "step", "tanh"]

_SMOOTH = (
    Sample((2, 3)),
    Sample(()),
    Sample((2, 0, 3)),
    Sample(Draw(4, 5, low=-30, high=30)),
)


class Step(FloatUnary):
    """y = 1 where x > 0, else 0: the neuron that fires or not.  dy/dx = 0, so it cannot learn.

    Source: McCulloch and Pitts 1943; Rosenblatt 1958 (perceptron).
    """

    samples = _SMOOTH

    def forward(self, x: Array) -> Array:
        return (x > 0).astype(x.dtype)

    def backward(self, gy: Value, y: Value, x: Value) -> None:
        return None


class Sigmoid(FloatUnary):
    """y = 1 / (1 + e^-x);  dy/dx = y (1 - y), at most 0.25 (at x = 0, where y = 0.5).

    For x < 0 the equal form e^x / (1 + e^x) is taken: no exponential of a large number.
    """

    samples = _SMOOTH

    def forward(self, x: Array) -> Array:
        e = np.exp(-np.abs(x))
        return np.where(x >= 0, 1, e) / (1 + e)

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return gy * y * (1 - y)


class Tanh(FloatUnary):
    """y = (e^x - e^-x) / (e^x + e^-x);  dy/dx = 1 - y^2, at most 1 (at x = 0)."""

    samples = _SMOOTH

    def forward(self, x: Array) -> Array:
        return np.tanh(x)

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return gy * (1 - y * y)


class Relu(FloatUnary):
    """y = max(x, 0);  dy/dx = 1 where x > 0 (there y > 0 as well), else 0: the step function.

    Source: Nair and Hinton 2010; Glorot, Bordes and Bengio 2011.
    """

    samples = _SMOOTH

    def forward(self, x: Array) -> Array:
        return np.maximum(x, 0)

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return gy * step(y)


class LeakyRelu(FloatUnary):
    """y = x where x > 0, else a x;  dy/dx = 1 or a (`slope`): no unit dies.

    Source: Maas, Hannun and Ng 2013.
    """

    slope: float = 0.01
    samples = (Sample((2, 3)), Sample((4, 5), slope=0.3), Sample((2, 0, 3)), Sample((), slope=-0.5))

    def forward(self, x: Array) -> Array:
        return np.where(x > 0, x, self.slope * x)

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return where(greater(x, 0), gy, gy * self.slope)


class Elu(FloatUnary):
    """y = x where x > 0, else a (e^x - 1);  dy/dx = 1 or a e^x (`alpha`).

    Source: Clevert, Unterthiner and Hochreiter 2016.
    """

    alpha: float = 1.0
    samples = (
        Sample((2, 3)),
        Sample((), alpha=0.5),
        Sample((2, 0, 3)),
        Sample(Draw(4, 5, low=-20, high=20), alpha=1.7),
    )

    def forward(self, x: Array) -> Array:
        return np.where(x > 0, x, self.alpha * np.expm1(np.minimum(x, 0)))

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        slope = self.alpha * exp(where(greater(x, 0), 0.0, x))
        return where(greater(x, 0), gy, gy * slope)


class Gelu(FloatUnary):
    """y = x P(x), P(x) = (1 + erf(x / sqrt 2)) / 2: the chance that N(0, 1) is below x.

    dy/dx = P(x) + x p(x) with the bell curve p(x) = e^(-x^2 / 2) / sqrt(2 pi).
    Source: Hendrycks and Gimpel 2016.
    """

    samples = _SMOOTH

    def forward(self, x: Array) -> Array:
        return x * (0.5 * (1 + erf_array(x * math.sqrt(0.5))))

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        chance = 0.5 * (1 + erf(x * math.sqrt(0.5)))
        bell = exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))
        return gy * (chance + x * bell)


class GeluTanh(FloatUnary):
    """y = x (1 + tanh u) / 2 with u = sqrt(2 / pi) (x + c x^3), c = 0.044715: near to GELU.

    dy/dx = (1 + t) / 2 + x (1 - t^2) / 2 * du/dx with t = tanh u; largest error of y: 0.0005.
    Source: Hendrycks and Gimpel 2016, section 2.
    """

    samples = _SMOOTH

    def forward(self, x: Array) -> Array:
        u = math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)
        return 0.5 * x * (1 + np.tanh(u))

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        t = tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))
        slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)
        return gy * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * slope)


class Silu(FloatUnary):
    """y = x s(x), s the sigmoid;  dy/dx = s + y (1 - s). Also called swish.

    Source: Elfwing, Uchibe and Doya 2018; Ramachandran, Zoph and Le 2017.
    """

    samples = _SMOOTH

    def forward(self, x: Array) -> Array:
        return x * Sigmoid().forward(x)

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        s = sigmoid(x)
        return gy * (s + y * (1 - s))


class Softplus(FloatUnary):
    """y = ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|), a smooth ReLU;  dy/dx = sigmoid(x).

    Source: Dugas et al. 2001.
    """

    samples = _SMOOTH

    def forward(self, x: Array) -> Array:
        return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return gy * sigmoid(x)


class HardTanh(FloatUnary):
    """y = x limited to [low, high];  dy/dx = 1 inside, 0 outside and at the two limits.

    Differs from `Clip` only at the limits: as for ReLU, the flat side counts there.
    """

    low: float = -1.0
    high: float = 1.0
    samples = (
        Sample((2, 3)),
        Sample((), low=-0.5),
        Sample((2, 0, 3)),
        Sample(Draw(4, 5, low=-9.0, high=9.5), low=0.0, high=6.0),
    )

    def forward(self, x: Array) -> Array:
        return np.clip(x, self.low, self.high)

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return where(mul(greater(x, self.low), less(x, self.high)), gy, 0.0)


class HardSigmoid(FloatUnary):
    """y = (x + 3) / 6 limited to [0, 1];  dy/dx = 1/6 for -3 < x < 3, else 0.

    Source: Howard et al. 2019 (MobileNetV3).
    """

    samples = (Sample((2, 3)), Sample(()), Sample((2, 0, 3)), Sample(Draw(4, 5, low=-5, high=6)))

    def forward(self, x: Array) -> Array:
        return np.clip(x + 3, 0, 6) / 6

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return where(mul(greater(x, -3), less(x, 3)), gy / 6, 0.0)


class HardSwish(FloatUnary):
    """y = x h(x), h the hard sigmoid;  dy/dx = 0 up to -3, (2 x + 3) / 6 inside, 1 from 3 on.

    Source: Howard et al. 2019 (MobileNetV3).
    """

    samples = (Sample((2, 3)), Sample(()), Sample((2, 0, 3)), Sample(Draw(4, 5, low=-5, high=6)))

    def forward(self, x: Array) -> Array:
        return x * (np.clip(x + 3, 0, 6) / 6)

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        rising = where(less(x, 3), gy * (2 * x + 3) / 6, gy)
        return where(greater(x, -3), rising, 0.0)


def identity(x: Value) -> Value:
    """f(x) = x, f'(x) = 1: the output of a regression."""
    return x


def step(x: Value) -> Value:
    """1 where x > 0, else 0; its gradient is zero."""
    return Step()(x)


def sigmoid(x: Value) -> Value:
    """1 / (1 + e^-x), from 0 to 1; f' peaks at 0.25 at x = 0."""
    return Sigmoid()(x)


def tanh(x: Value) -> Value:
    """Hyperbolic tangent, from -1 to 1; f' peaks at 1 at x = 0."""
    return Tanh()(x)


def scaled_tanh(x: Value, scale: float = 1.7159, slope: float = 2 / 3) -> Value:
    """scale * tanh(slope * x): f(1) = 1 and f(-1) = -1, where it bends most (LeCun et al. 1998)."""
    return scale * tanh(slope * x)


def relu(x: Value) -> Value:
    """max(x, 0)."""
    return Relu()(x)


def leaky_relu(x: Value, slope: float = 0.01) -> Value:
    """x where x > 0, else slope * x."""
    return LeakyRelu(slope=slope)(x)


def elu(x: Value, alpha: float = 1.0) -> Value:
    """x where x > 0, else alpha * (e^x - 1)."""
    return Elu(alpha=alpha)(x)


def gelu(x: Value, *, approximate: bool = False) -> Value:
    """x times the normal distribution function; `approximate` takes the formula with tanh."""
    return GeluTanh()(x) if approximate else Gelu()(x)


def silu(x: Value) -> Value:
    """x * sigmoid(x), also called swish."""
    return Silu()(x)


def softplus(x: Value) -> Value:
    """ln(1 + e^x), a smooth ReLU."""
    return Softplus()(x)


def relu6(x: Value) -> Value:
    """x limited to [0, 6] (Krizhevsky 2010)."""
    return HardTanh(low=0.0, high=6.0)(x)


def hardtanh(x: Value, low: float = -1.0, high: float = 1.0) -> Value:
    """x limited to [low, high]."""
    return HardTanh(low=low, high=high)(x)


def hardsigmoid(x: Value) -> Value:
    """(x + 3) / 6 limited to [0, 1]."""
    return HardSigmoid()(x)


def hardswish(x: Value) -> Value:
    """x * hardsigmoid(x)."""
    return HardSwish()(x)
