"""What an optimizer is: a pure rule from (parameter, gradient, slots) to (parameter, slots).

A rule is a frozen dataclass of hyperparameters. Its `update` is the formula of the paper for one
parameter, written with ops, so that it runs on arrays and can be traced and compiled. Whatever
the rule must remember (momentum, running squares) are *slots*, dicts of arrays that go in and
come out. Nothing is hidden and nothing is changed in place.

`apply` does one step for a whole model; around `update` it does what all rules share, in this
order:

    1. gradients are clipped, each number by value, then all together by norm
    2. penalties join the gradient:   g <- g + l1 sign(p) + weight_decay p
       (decoupled weight decay shrinks the parameter instead:  p <- (1 - lr weight_decay) p)
    3. update

Groups change learning rate and penalties of some parameters. Learning rate lr and step number
t = 1, 2, 3, ... are run-time scalars, so that a schedule needs no new trace.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, cast

import numpy as np

from kiso import ops
from kiso.errors import ConfigError, ShapeError
from kiso.ops import Value, shape_of
from kiso.optim.checks import (
    check_options,
    encode_fields,
    number,
    option_names,
    refuse_unknown,
    suggestion,
)
from kiso.optim.groups import Group, Setting, check_groups, setting_of
from kiso.text import tr

if TYPE_CHECKING:
    from kiso.optim.bound import Bound

__all__ = ["Optimizer", "Slots", "Values", "bias_correction", "clip_by_norm", "clip_by_value",
           "global_norm", "zeros_like"]

Slots: TypeAlias = dict[str, Value]  # what a rule remembers about one parameter
Values: TypeAlias = dict[str, Value]  # parameter name -> parameter or gradient


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """Base of all rules: the options that every rule has, and one step for a whole model.

    lr                      learning rate; a schedule multiplies it
    weight_decay            L2 penalty (weight_decay / 2) |p|^2
    decoupled_weight_decay  shrink p directly instead (Loshchilov & Hutter 2019)
    l1                      L1 penalty l1 |p|
    clip_value              limit every number of the gradient to [-clip_value, clip_value]
    clip_norm               limit the norm of all gradients together (Pascanu et al. 2013)
    groups                  other settings for some parameters, see `Group`

    Errors: ConfigError for an option outside its range.
    """

    name: ClassVar[str] = ""
    needs_loss: ClassVar[bool] = False
    known: ClassVar[dict[str, type[Optimizer]]] = {}

    lr: float = number(1e-3)
    weight_decay: float = number(0.0)
    decoupled_weight_decay: bool = False
    l1: float = number(0.0)
    clip_value: float | None = number(None, above=0)
    clip_norm: float | None = number(None, above=0)
    groups: tuple[Group, ...] = ()

    def __init_subclass__(cls) -> None:
        if cls.__dict__.get("name"):
            Optimizer.known[cls.name] = cls

    def __post_init__(self) -> None:
        check_options(self)
        object.__setattr__(self, "groups", tuple(self.groups))
        if not all(isinstance(group, Group) for group in self.groups):
            raise ConfigError(tr("groups must be a sequence of Group(pattern, ...)."))

    # What a rule defines.

    def init(self, p: Value) -> Slots:
        """Slots before the first step."""
        return {}

    def update(self, p: Value, g: Value, s: Slots, *, lr: Value, t: Value,
               loss: Value | None = None) -> tuple[Value, Slots]:
        """The bare rule for one parameter: new parameter and new slots.

        lr, t and loss are scalars of p's type; g already holds the penalties.
        """
        raise NotImplementedError(f"{type(self).__name__} has no update")

    # One step for a model.

    def init_slots(self, params: Values) -> dict[str, Slots]:
        """Slots of all parameters before the first step; also checks the groups."""
        check_groups(self.groups, params)
        return {name: self.init(p) for name, p in params.items()}

    def apply(self, params: Values, grads: Values, slots: dict[str, Slots], *, lr: Value,
              t: Value, loss: Value | None = None) -> tuple[Values, dict[str, Slots]]:
        """One step: clip, penalties, update. Arguments are left as they are.

        params, grads  name -> array (or Var); the same names in both
        slots          name -> slots, from `init_slots` or the step before
        lr, t          scalars: learning rate and step number 1, 2, 3, ...
        loss           scalar, for rules that use it (Eve)
        """
        _same_names(params, grads, slots)
        grads = self.clip(grads)
        new_params: Values = {}
        new_slots: dict[str, Slots] = {}
        for name, p in params.items():
            new_params[name], new_slots[name] = self.apply_one(
                name, p, grads[name], slots[name], lr=lr, t=t, loss=loss)
        return new_params, new_slots

    def clip(self, grads: Values) -> Values:
        """Gradients after clipping by value and by norm."""
        if self.clip_value is not None:
            grads = clip_by_value(grads, self.clip_value)
        if self.clip_norm is not None:
            grads = clip_by_norm(grads, self.clip_norm)
        return grads

    def apply_one(self, name: str, p: Value, g: Value, s: Slots, *, lr: Value, t: Value,
                  loss: Value | None = None) -> tuple[Value, Slots]:
        """Penalties and update of one parameter whose gradient is clipped already."""
        if shape_of(p) != shape_of(g):
            raise ShapeError(tr("the gradient of {name} has shape {g}, the parameter {p}; they "
                                "must be equal.", name=name, g=shape_of(g), p=shape_of(p)))
        if self.needs_loss and loss is None:
            raise ConfigError(tr("{rule} uses the value of the loss; pass it: step(loss=loss).",
                                 rule=type(self).__name__))
        own = setting_of(self.groups, name, p, Setting(1.0, self.weight_decay, self.l1))
        g = ops.cast(g, p.dtype)
        lr = _scalar(lr, p)
        if own.lr_scale != 1:
            lr = lr * own.lr_scale
        if own.l1:
            g = g + own.l1 * ops.sign(p)
        start = p
        if own.weight_decay and self.decoupled_weight_decay:
            start = p * (1 - lr * own.weight_decay)
        elif own.weight_decay:
            g = g + own.weight_decay * p
        p, s = self.update(start, g, s, lr=lr, t=_scalar(t, p),
                           loss=None if loss is None else _scalar(loss, p))
        # NumPy turns results without axes into scalars of another class; keep arrays.
        return _array(p), {key: _array(value) for key, value in s.items()}

    def bind(self, model: Any) -> Bound:
        """Hold the parameters of a model for a hand-written loop: step(), zero_grad().

        `model` has named_parameters(), or is a dict or sequence of (name, Tensor).
        """
        from kiso.optim.bound import Bound  # it needs this class

        return Bound(self, model)

    # To and from the configuration of a run.

    def to_dict(self) -> dict[str, Any]:
        """Name and options as plain numbers, strings, lists and dicts (for TOML and JSON)."""
        return {"name": self.name, **encode_fields(self)}

    @staticmethod
    def from_dict(options: dict[str, Any]) -> Optimizer:
        """The inverse of `to_dict`. Errors: ConfigError for unknown names or options."""
        values = dict(options)
        name = values.pop("name", None)
        kind = Optimizer.known.get(str(name))
        if kind is None:
            raise ConfigError(tr("unknown optimizer {name}; known are: {known}.{hint}",
                                 name=repr(name), known=", ".join(Optimizer.known),
                                 hint=suggestion(str(name), Optimizer.known)))
        refuse_unknown(kind.name, values, option_names(kind))
        groups: list[dict[str, Any]] = values.pop("groups", [])
        for group in groups:
            refuse_unknown("group", group, option_names(Group))
        return kind(**values, groups=tuple(Group(**group) for group in groups))


def zeros_like(p: Value) -> Value:
    """Zeros of a parameter's shape and type."""
    return np.zeros(shape_of(p), p.dtype)


def bias_correction(beta: float, t: Value) -> Value:
    """1 - beta^t: the share of real data in a running average that began at 0.

    Computed as -expm1(t log beta). In float32, beta^t is rounded to a multiple of 6e-8; taken
    from 1 that leaves four correct digits of 1 - 0.999. expm1 keeps all of them.
    """
    return 1.0 if beta == 0 else -ops.expm1(t * math.log(beta))


def global_norm(grads: Values) -> Value:
    """Root of the sum of squares of all numbers of all gradients."""
    total: Value = None
    for name in sorted(grads):  # a fixed order: the same bits however the dict was filled
        square = ops.sum(grads[name] * grads[name])
        total = square if total is None else total + square
    return ops.sqrt(total)


def clip_by_norm(grads: Values, limit: float) -> Values:
    """g <- g limit / max(norm, limit): unchanged up to the limit, then one scale for all.

    A gradient that holds NaN or infinity makes all of them NaN, which the trainer reports.
    """
    if not grads:
        return grads
    scale = limit / ops.maximum(global_norm(grads), limit)
    return {name: g * ops.cast(scale, g.dtype) for name, g in grads.items()}


def clip_by_value(grads: Values, limit: float) -> Values:
    """g <- min(max(g, -limit), limit), number by number."""
    return {name: ops.clip(g, -limit, limit) for name, g in grads.items()}


def _scalar(value: Value, like: Value) -> Value:
    """lr, t or loss in a parameter's type."""
    if isinstance(value, int | float):
        return np.asarray(value, like.dtype)
    return ops.cast(value, like.dtype)


def _array(value: Value) -> Value:
    scalar = isinstance(value, np.generic)
    return np.asarray(cast(Any, value)) if scalar else value


def _same_names(params: Values, *others: dict[str, Any]) -> None:
    for other in others:
        if params.keys() != other.keys():
            missing, unexpected = params.keys() - other.keys(), other.keys() - params.keys()
            raise ConfigError(tr(
                "parameters, gradients and slots must have the same names; missing: {missing}; "
                "unexpected: {unexpected}.", missing=", ".join(sorted(missing)) or "-",
                unexpected=", ".join(sorted(unexpected)) or "-"))
