"""Schedules: how the learning rate changes during training.

A schedule gives a factor; the step's learning rate is lr times the factor (and times the scale of
a parameter's group). It is a pure function of the step, in Python's double precision:

    CosineAnnealingLR()(step, total_steps, steps_per_epoch)   # step = 0, 1, ..., total_steps - 1

Schedules that speak of epochs change between epochs; cosine, one-cycle and warm-up change with
every step. Only the plateau needs to know how training goes: it has a state, a dict of plain
numbers (JSON), that starts as `start()` and moves on once an epoch by `advance(state, value)`.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from kiso.errors import ConfigError
from kiso.optim.checks import (
    check_options,
    count,
    encode_fields,
    number,
    option_names,
    refuse_unknown,
    suggestion,
)
from kiso.text import tr

__all__ = ["Constant", "CosineAnnealingLR", "ExponentialLR", "LinearWarmup", "MultiStepLR",
           "OneCycleLR", "ReduceLROnPlateau", "Schedule", "State", "StepLR"]

State: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Schedule:
    """Base of all schedules."""

    name: ClassVar[str] = ""
    per_epoch: ClassVar[bool] = False  # constant within an epoch
    known: ClassVar[dict[str, type[Schedule]]] = {}

    def __init_subclass__(cls) -> None:
        Schedule.known[cls.name] = cls

    def __post_init__(self) -> None:
        check_options(self)

    def __call__(self, step: int, total_steps: int, steps_per_epoch: int = 1,
                 state: State | None = None) -> float:
        """The factor of the learning rate for a step (counted from 0).

        total_steps      steps of the whole training
        steps_per_epoch  ceil(samples / batch size)
        state            of a schedule that watches a value; None is its beginning
        """
        if step < 0 or total_steps < 1 or steps_per_epoch < 1:
            raise ConfigError(tr(
                "a schedule needs step >= 0, total_steps >= 1 and steps_per_epoch >= 1; it got "
                "{step}, {total} and {epoch}.", step=step, total=total_steps,
                epoch=steps_per_epoch))
        return self.factor(step, total_steps, steps_per_epoch, state or self.start())

    def factor(self, step: int, total_steps: int, steps_per_epoch: int, state: State) -> float:
        """What a schedule defines; called with checked arguments."""
        raise NotImplementedError(f"{type(self).__name__} has no factor")

    @property
    def watches(self) -> bool:
        """Whether `advance` needs a value (the validation loss) after each epoch."""
        return False

    def start(self) -> State:
        """State before the first epoch."""
        return {}

    def advance(self, state: State, value: float) -> State:
        """State after an epoch that ended with this value; `state` itself is left as it is."""
        return state

    def to_dict(self) -> dict[str, Any]:
        """Name and options as plain values (for TOML and JSON)."""
        return {"name": self.name, **encode_fields(self)}

    @staticmethod
    def from_dict(options: dict[str, Any]) -> Schedule:
        """The inverse of `to_dict`. Errors: ConfigError for unknown names or options."""
        values = dict(options)
        name = str(values.pop("name", None))
        kind = Schedule.known.get(name)
        if kind is None:
            raise ConfigError(tr("unknown schedule {name}; known are: {known}.{hint}",
                                 name=repr(name), known=", ".join(Schedule.known),
                                 hint=suggestion(name, Schedule.known)))
        refuse_unknown(name, values, option_names(kind))
        if isinstance(values.get("then"), dict):
            values["then"] = Schedule.from_dict(values["then"])
        return kind(**values)


@dataclass(frozen=True)
class Constant(Schedule):
    """The same learning rate from beginning to end: factor 1."""

    name: ClassVar[str] = "constant"
    per_epoch: ClassVar[bool] = True

    def factor(self, step: int, total_steps: int, steps_per_epoch: int, state: State) -> float:
        return 1.0


@dataclass(frozen=True)
class StepLR(Schedule):
    """gamma^(epoch // step_size): a step down every `step_size` epochs."""

    name: ClassVar[str] = "step"
    per_epoch: ClassVar[bool] = True
    step_size: int = count()
    gamma: float = number(0.1, above=0)

    def factor(self, step: int, total_steps: int, steps_per_epoch: int, state: State) -> float:
        return self.gamma ** (step // steps_per_epoch // self.step_size)


@dataclass(frozen=True)
class MultiStepLR(Schedule):
    """gamma^n, n the number of milestones (in epochs) that are reached."""

    name: ClassVar[str] = "multistep"
    per_epoch: ClassVar[bool] = True
    milestones: tuple[int, ...] = count()
    gamma: float = number(0.1, above=0)

    def factor(self, step: int, total_steps: int, steps_per_epoch: int, state: State) -> float:
        return self.gamma ** bisect_right(sorted(self.milestones), step // steps_per_epoch)


@dataclass(frozen=True)
class ExponentialLR(Schedule):
    """gamma^epoch."""

    name: ClassVar[str] = "exp"
    per_epoch: ClassVar[bool] = True
    gamma: float = number(0.95, above=0)

    def factor(self, step: int, total_steps: int, steps_per_epoch: int, state: State) -> float:
        return self.gamma ** (step // steps_per_epoch)


@dataclass(frozen=True)
class CosineAnnealingLR(Schedule):
    """eta_min + (1 - eta_min) (1 + cos(pi step / T)) / 2: from 1 down to eta_min.

    eta_min  factor at the end (a share of lr; PyTorch's eta_min is a learning rate)
    T_max    length T in epochs; None: the whole training. Beyond T the cosine rises again.

    Loshchilov & Hutter 2017, "SGDR: Stochastic Gradient Descent with Warm Restarts".
    """

    name: ClassVar[str] = "cosine"
    eta_min: float = number(0.0, high=1)
    T_max: int | None = count(None)

    def factor(self, step: int, total_steps: int, steps_per_epoch: int, state: State) -> float:
        if self.T_max is None:
            step, length = min(step, total_steps), total_steps
        else:
            length = self.T_max * steps_per_epoch
        return self.eta_min + (1 - self.eta_min) * (1 + math.cos(math.pi * step / length)) / 2


@dataclass(frozen=True)
class OneCycleLR(Schedule):
    """Up from 1 / div_factor to 1, then down to 1 / (div_factor final_div_factor), by cosines.

    The peak is reached after the share pct_start of all steps. lr is PyTorch's max_lr; momentum
    is left alone (PyTorch: cycle_momentum=False). Smith & Topin 2018, "Super-Convergence".
    """

    name: ClassVar[str] = "onecycle"
    pct_start: float = number(0.3, above=0, below=1)
    div_factor: float = number(25.0, above=0)
    final_div_factor: float = number(1e4, above=0)

    def factor(self, step: int, total_steps: int, steps_per_epoch: int, state: State) -> float:
        first, last = 1 / self.div_factor, 1 / (self.div_factor * self.final_div_factor)
        step = min(step, total_steps - 1)
        peak = max(self.pct_start * total_steps - 1, 0.0)  # not always a whole step
        if step <= peak:
            return _cosine(first, 1.0, step / peak if peak else 1.0)
        return _cosine(1.0, last, (step - peak) / (total_steps - 1 - peak))


def _cosine(start: float, end: float, share: float) -> float:
    """From start (share 0) to end (share 1) along half a cosine."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


@dataclass(frozen=True)
class LinearWarmup(Schedule):
    """(step + 1) / steps during the first `steps` steps, times the schedule that follows.

    A following schedule that counts epochs counts them from the beginning of training; one that
    changes with every step begins after the warm-up and spreads over the rest.
    Goyal et al. 2017, "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour".
    """

    name: ClassVar[str] = "warmup"
    steps: int = count()
    then: Schedule = Constant()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.then, Schedule):
            raise ConfigError(tr("LinearWarmup: expected a schedule to follow, such as "
                                 "CosineAnnealingLR(), but {value} came.", value=repr(self.then)))

    def factor(self, step: int, total_steps: int, steps_per_epoch: int, state: State) -> float:
        ramp = min((step + 1) / self.steps, 1.0)
        if not self.then.per_epoch:
            step, total_steps = max(step - self.steps, 0), max(total_steps - self.steps, 1)
        return ramp * self.then.factor(step, total_steps, steps_per_epoch, state)

    @property
    def watches(self) -> bool:
        return self.then.watches

    def start(self) -> State:
        return self.then.start()

    def advance(self, state: State, value: float) -> State:
        return self.then.advance(state, value)


@dataclass(frozen=True)
class ReduceLROnPlateau(Schedule):
    """Multiply by gamma once the watched value has not improved for `patience` epochs.

    patience    epochs without improvement that are waited for
    gamma       what the learning rate is multiplied by (PyTorch's `factor`)
    threshold   an improvement is a change by this share of the best value
    cooldown    epochs after a reduction in which nothing is counted
    min_factor  the factor never falls below it (PyTorch's min_lr / lr)
    mode        "min": smaller values are better (a loss); "max": larger ones (an accuracy)

    NaN and infinity never count as an improvement.
    """

    name: ClassVar[str] = "plateau"
    per_epoch: ClassVar[bool] = True
    patience: int = count(10, low=0)
    gamma: float = number(0.1, above=0, below=1)
    threshold: float = number(1e-4, below=1)
    cooldown: int = count(0, low=0)
    min_factor: float = number(0.0, high=1)
    mode: str = "min"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in ("min", "max"):
            raise ConfigError(tr("ReduceLROnPlateau: mode = {mode} cannot be used; expected "
                                 "'min' or 'max'.", mode=repr(self.mode)))

    @property
    def watches(self) -> bool:
        return True

    def start(self) -> State:
        return {"factor": 1.0, "best": None, "bad_epochs": 0, "cooldown": 0}

    def better(self, value: float, best: float | None) -> bool:
        """Whether a value improves on the best one."""
        if best is None or not math.isfinite(value):
            return math.isfinite(value)
        margin = self.threshold * abs(best)
        return value < best - margin if self.mode == "min" else value > best + margin

    def advance(self, state: State, value: float) -> State:
        factor, best = state["factor"], state["best"]
        bad, cooldown = state["bad_epochs"] + 1, state["cooldown"]
        if self.better(value, best):
            best, bad = float(value), 0
        if cooldown > 0:
            cooldown, bad = cooldown - 1, 0
        if bad > self.patience:
            factor = max(factor * self.gamma, self.min_factor)
            cooldown, bad = self.cooldown, 0
        return {"factor": factor, "best": best, "bad_epochs": bad, "cooldown": cooldown}

    def factor(self, step: int, total_steps: int, steps_per_epoch: int, state: State) -> float:
        return float(state["factor"])
