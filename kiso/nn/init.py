"""First values of weights: how large random numbers have to be so that signals keep their size.

Every rule is a pure function (shape, rng) -> array, and the generator is keyed by (seed, number of
the parameter): the same `manual_seed` and the same order of layers give the same weights.

For a weight (out, in, *kernel), fan_in = in * kernel size is the number of products that are summed
into one output, fan_out = out * kernel size / groups the number of outputs that one input reaches.
A layer whose weight is laid out otherwise says its fans itself (`new_start`): in a transposed
convolution with stride only every T-th tap of a kernel meets an output.

| rule | variance | keeps | source |
|---|---|---|---|
| Xavier | 2 / (fan_in + fan_out) | forward and backward signal | Glorot, Bengio 2010 |
| He | 2 / fan_in | forward signal, half of it cut off by ReLU | He et al. 2015 |
| LeCun | 1 / fan_in | forward signal | LeCun et al. 1998 |
| LeNet | 1.92 / fan_in^2 | sums in a sigmoid's straight part | LeCun 1989 |
| orthogonal | orthonormal rows or columns | lengths | Saxe et al. 2014 |

A uniform rule draws from [-a, a] with a = sqrt(3 variance), which has the same variance. Biases
start at 0. Without a choice of one's own a layer takes He before the ReLU family, else Xavier;
`Sequential` tells its layers what follows them.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kiso.errors import ConfigError
from kiso.nn import rng as numbers
from kiso.ops import Array, Shape

if TYPE_CHECKING:
    from kiso.nn.module import Module

__all__ = ["RULES", "Rule", "Start", "apply", "constant", "fans", "he_normal", "he_uniform",
           "lecun_normal", "lecun_uniform", "lenet_uniform", "new_start", "normal", "orthogonal",
           "rule_for", "uniform", "xavier_normal", "xavier_uniform", "zeros"]

Rule = Callable[..., Array]
Fan = tuple[float, float]  # (fan_in, fan_out)

# Activations that cut (nearly) one half of their input off; all others count as symmetric.
RECTIFIERS = {"elu", "gelu", "hardswish", "leaky_relu", "relu", "relu6", "silu", "softplus"}


def fans(shape: Shape, groups: int = 1) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight (out, in / groups, *kernel); a vector counts as one row."""
    if len(shape) < 2:
        size = math.prod(shape)
        return size, size
    kernel = math.prod(shape[2:])
    return shape[1] * kernel, shape[0] // groups * kernel


def zeros(shape: Shape, rng: np.random.Generator) -> Array:
    """All 0: right for biases; in a weight all units stay identical for ever (curriculum F5)."""
    return np.zeros(shape, np.float32)


def constant(shape: Shape, rng: np.random.Generator, *, value: float = 1.0) -> Array:
    """All the same value."""
    return np.full(shape, value, np.float32)


def normal(shape: Shape, rng: np.random.Generator, *, std: float = 0.01,
           mean: float = 0.0) -> Array:
    """N(mean, std^2), the same for every layer whatever its width."""
    if std < 0:
        raise ConfigError(f"normal: std is {std}; expected a number of at least 0.")
    return (rng.standard_normal(shape, np.float32) * np.float32(std) + np.float32(mean))


def uniform(shape: Shape, rng: np.random.Generator, *, low: float = -0.05,
            high: float = 0.05) -> Array:
    """Uniform from low to high."""
    if low > high:
        raise ConfigError(f"uniform: low {low} is above high {high}.")
    return (rng.random(shape, np.float32) * np.float32(high - low) + np.float32(low))


def _spread(shape: Shape, rng: np.random.Generator, variance: float, flat: bool) -> Array:
    if flat:
        a = math.sqrt(3 * variance)
        return uniform(shape, rng, low=-a, high=a)
    return normal(shape, rng, std=math.sqrt(variance))


def xavier_normal(shape: Shape, rng: np.random.Generator, *, groups: int = 1,
                  fan: Fan | None = None) -> Array:
    """N(0, 2 / (fan_in + fan_out)). Glorot and Bengio 2010."""
    return _spread(shape, rng, 2 / max(1, sum(fan or fans(shape, groups))), flat=False)


def xavier_uniform(shape: Shape, rng: np.random.Generator, *, groups: int = 1,
                   fan: Fan | None = None) -> Array:
    """U(-a, a), a = sqrt(6 / (fan_in + fan_out)). Glorot and Bengio 2010."""
    return _spread(shape, rng, 2 / max(1, sum(fan or fans(shape, groups))), flat=True)


def he_normal(shape: Shape, rng: np.random.Generator, *, groups: int = 1,
              fan: Fan | None = None) -> Array:
    """N(0, 2 / fan_in). He, Zhang, Ren and Sun 2015."""
    return _spread(shape, rng, 2 / max(1, (fan or fans(shape, groups))[0]), flat=False)


def he_uniform(shape: Shape, rng: np.random.Generator, *, groups: int = 1,
               fan: Fan | None = None) -> Array:
    """U(-a, a), a = sqrt(6 / fan_in). He, Zhang, Ren and Sun 2015."""
    return _spread(shape, rng, 2 / max(1, (fan or fans(shape, groups))[0]), flat=True)


def lecun_normal(shape: Shape, rng: np.random.Generator, *, groups: int = 1,
                 fan: Fan | None = None) -> Array:
    """N(0, 1 / fan_in). LeCun, Bottou, Orr and Mueller 1998."""
    return _spread(shape, rng, 1 / max(1, (fan or fans(shape, groups))[0]), flat=False)


def lecun_uniform(shape: Shape, rng: np.random.Generator, *, groups: int = 1,
                  fan: Fan | None = None) -> Array:
    """U(-a, a), a = sqrt(3 / fan_in). LeCun, Bottou, Orr and Mueller 1998."""
    return _spread(shape, rng, 1 / max(1, (fan or fans(shape, groups))[0]), flat=True)


def lenet_uniform(shape: Shape, rng: np.random.Generator, *, groups: int = 1,
                  fan: Fan | None = None) -> Array:
    """U(-a, a), a = 2.4 / fan_in, for sums that a scaled tanh does not flatten. LeCun 1989."""
    a = 2.4 / max(1, (fan or fans(shape, groups))[0])
    return uniform(shape, rng, low=-a, high=a)


def orthogonal(shape: Shape, rng: np.random.Generator, *, gain: float = 1.0) -> Array:
    """Rows (or columns, whichever are fewer) of the (out, rest) matrix orthonormal, times `gain`.

    From the QR decomposition of normal numbers; multiplying by the signs of R's diagonal makes
    every orthogonal matrix equally likely (Mezzadri 2007). Source: Saxe et al. 2014.
    """
    if len(shape) < 2:
        raise ConfigError(f"orthogonal: a weight needs two axes or more, but its shape is {shape}.")
    rows, columns = shape[0], math.prod(shape[1:])
    tall = rng.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(tall)
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    matrix = q if rows >= columns else q.T
    return (gain * matrix).reshape(shape).astype(np.float32)


RULES: dict[str, Rule] = {f.__name__: f for f in (
    constant, he_normal, he_uniform, lecun_normal, lecun_uniform, lenet_uniform, normal,
    orthogonal, uniform, xavier_normal, xavier_uniform, zeros)}


def rule_for(activation: str | None) -> Rule:
    """The rule that fits the activation behind a layer: He before rectifiers, else Xavier."""
    return he_normal if activation in RECTIFIERS else xavier_normal


def find_rule(rule: str | Rule | None) -> Rule | None:
    """A rule by name; None stays None (chosen by the activation).  Errors: ConfigError."""
    if rule is None or callable(rule):
        return rule
    if rule not in RULES:
        near = difflib.get_close_matches(rule, RULES, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(f"there is no initialiser {rule!r}; {hint}Known: {', '.join(RULES)}.")
    return RULES[rule]


@dataclass(frozen=True)
class Start:
    """The plan of a parameter's first values: rule and place in the random numbers."""

    shape: Shape
    rule: Rule | None  # None: by the activation
    seed: int
    number: int
    groups: int = 1
    activation: str | None = None
    fan: Fan | None = None  # None: as the shape says

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return np.dtype(np.float32)

    def draw(self) -> Array:
        """The values, float32; the same at every call."""
        rule = self.rule or rule_for(self.activation)
        options = {"groups": self.groups, "fan": self.fan} if rule in _BY_FAN else {}
        values = np.asarray(rule(self.shape, numbers.generator(self.seed, self.number), **options))
        if values.shape != self.shape:
            raise ConfigError(f"the initialiser gave shape {values.shape}, but the parameter has "
                              f"{self.shape}.")
        return values.astype(np.float32, copy=False)


_BY_FAN = {he_normal, he_uniform, lecun_normal, lecun_uniform, lenet_uniform, xavier_normal,
           xavier_uniform}


def new_start(shape: Shape, rule: str | Rule | None, groups: int = 1,
              fan: Fan | None = None) -> Start:
    """The plan for the next parameter after `manual_seed`; `fan`: if the shape does not tell it."""
    return Start(shape, find_rule(rule), *numbers.next_parameter(), groups=groups, fan=fan)


def apply(model: Module, rule: str | Rule, **options: Any) -> Module:
    """Draw all weights of a model again by one rule; biases, scales and buffers stay.

        nn.init.apply(model, "normal", std=0.01)

    A weight is a parameter with two axes or more that is no bias. Returns the model.
    Errors: ConfigError for an unknown rule or option.
    """
    function = find_rule(rule)
    assert function is not None
    for module in model.modules():
        for name, parameter in module.own_parameters().items():
            if parameter.ndim < 2 or name.startswith("bias"):
                continue
            grouped: dict[str, Any] = {} if function not in _BY_FAN else {
                "groups": getattr(module, "groups", 1), "fan": parameter.fan}
            random = numbers.generator(*numbers.next_parameter())
            try:
                values = function(parameter.shape, random, **grouped, **options)
            except TypeError as error:
                raise ConfigError(f"initialiser {rule!r} with {options}: {error}.") from None
            parameter.data = np.asarray(values).astype(parameter.dtype, copy=False)
    return model
