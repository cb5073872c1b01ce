"""Names of rules and schedules for the command line and for configurations.

    parse_optimizer("momentum", lr=0.05, weight_decay=5e-4)
    parse_schedule("warmup:500+cosine")
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kiso.errors import ConfigError
from kiso.optim.adam import Adam, AdamW, NAdam, RAdam
from kiso.optim.adaptive import AdaDelta, AdaGrad, RMSProp
from kiso.optim.checks import option_names, refuse_unknown, suggestion
from kiso.optim.eve import Eve
from kiso.optim.lion import Lion
from kiso.optim.rule import Optimizer
from kiso.optim.schedule import (
    Constant,
    CosineAnnealingLR,
    ExponentialLR,
    LinearWarmup,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    Schedule,
    StepLR,
)
from kiso.optim.sgd import SGD
from kiso.text import tr

__all__ = ["OPTIMIZERS", "SCHEDULES", "OptimizerEntry", "ScheduleEntry", "parse_optimizer",
           "parse_schedule"]


@dataclass(frozen=True)
class OptimizerEntry:
    """One name of `--optimizer`: the rule with its defaults, and a line of help."""

    rule: Optimizer
    about: Callable[[], str]


@dataclass(frozen=True)
class ScheduleEntry:
    """One word of `--schedule`: its class, its arguments in order, an example, a line of help."""

    kind: type[Schedule]
    arguments: tuple[str, ...]
    example: str
    about: Callable[[], str]


# Help is a function, so that it speaks the language that is chosen when it is shown.
OPTIMIZERS: dict[str, OptimizerEntry] = {
    "sgd": OptimizerEntry(SGD(), lambda: tr("stochastic gradient descent")),
    "momentum": OptimizerEntry(SGD(momentum=0.9), lambda: tr("SGD with momentum 0.9")),
    "nesterov": OptimizerEntry(SGD(momentum=0.9, nesterov=True),
                               lambda: tr("SGD with Nesterov's momentum 0.9")),
    "adagrad": OptimizerEntry(AdaGrad(), lambda: tr("step sizes from the sum of squares")),
    "rmsprop": OptimizerEntry(RMSProp(), lambda: tr("step sizes from a running mean of squares")),
    "adadelta": OptimizerEntry(AdaDelta(), lambda: tr("RMSProp that keeps the unit of the step")),
    "adam": OptimizerEntry(Adam(), lambda: tr("momentum and RMSProp in one")),
    "adamw": OptimizerEntry(AdamW(), lambda: tr("Adam with decoupled weight decay 0.01")),
    "nadam": OptimizerEntry(NAdam(), lambda: tr("Adam with Nesterov's look-ahead")),
    "radam": OptimizerEntry(RAdam(), lambda: tr("Adam with a warm-up of its own")),
    "eve": OptimizerEntry(Eve(), lambda: tr("Adam that also listens to the loss")),
    "lion": OptimizerEntry(Lion(), lambda: tr("steps by the sign of a momentum")),
}

SCHEDULES: dict[str, ScheduleEntry] = {
    "constant": ScheduleEntry(Constant, (), "constant", lambda: tr("the same from start to end")),
    "step": ScheduleEntry(StepLR, ("step_size", "gamma"), "step:30:0.1",
                          lambda: tr("every 30 epochs times 0.1")),
    "multistep": ScheduleEntry(MultiStepLR, ("milestones", "gamma"), "multistep:30,60:0.1",
                               lambda: tr("after epochs 30 and 60 times 0.1")),
    "exp": ScheduleEntry(ExponentialLR, ("gamma",), "exp:0.95",
                         lambda: tr("every epoch times 0.95")),
    "cosine": ScheduleEntry(CosineAnnealingLR, ("eta_min", "T_max"), "cosine",
                            lambda: tr("down to 0 along half a cosine")),
    "onecycle": ScheduleEntry(OneCycleLR, ("pct_start", "div_factor", "final_div_factor"),
                              "onecycle:0.3", lambda: tr("up during 30 % of the steps, then down")),
    "warmup": ScheduleEntry(LinearWarmup, ("steps",), "warmup:500+cosine",
                            lambda: tr("up during 500 steps, then as the second schedule says")),
    "plateau": ScheduleEntry(ReduceLROnPlateau, ("patience", "gamma"), "plateau:5:0.5",
                             lambda: tr("times 0.5 after 5 epochs without improvement")),
}


def parse_optimizer(name: str, **options: Any) -> Optimizer:
    """The rule of this name with these options; options that are None keep their default.

    Errors: ConfigError for an unknown name, an option that the rule does not have, or a value
    outside its range.
    """
    entry = OPTIMIZERS.get(name.strip().lower())
    if entry is None:
        raise ConfigError(tr("unknown optimizer {name}; known are: {known}.{hint}",
                             name=repr(name), known=", ".join(OPTIMIZERS),
                             hint=suggestion(name, OPTIMIZERS)))
    given = {option: value for option, value in options.items() if value is not None}
    refuse_unknown(name, given, option_names(type(entry.rule)))
    return dataclasses.replace(entry.rule, **given)


def parse_schedule(text: str) -> Schedule:
    """A schedule from `word:argument:argument`; `warmup:steps+word...` puts a warm-up before.

    Errors: ConfigError that quotes the wrong part.
    """
    first, plus, rest = text.strip().partition("+")
    schedule = _parse_word(first)
    if not plus:
        return schedule
    if not isinstance(schedule, LinearWarmup) or "warmup" in rest.lower():
        raise ConfigError(tr("schedule {text}: only one warm-up can stand before one other "
                             "schedule, for example warmup:500+cosine.", text=repr(text)))
    return LinearWarmup(schedule.steps, parse_schedule(rest))


def _parse_word(word: str) -> Schedule:
    name, *arguments = (part.strip() for part in word.split(":"))
    entry = SCHEDULES.get(name.lower())
    if entry is None:
        raise ConfigError(tr("unknown schedule {name}; known are: {known}.{hint}",
                             name=repr(name), known=", ".join(SCHEDULES),
                             hint=suggestion(name, SCHEDULES)))
    required = [f.name for f in dataclasses.fields(entry.kind) if f.default is dataclasses.MISSING]
    if not len(required) <= len(arguments) <= len(entry.arguments):
        usage = ":".join([name, *entry.arguments])
        raise ConfigError(tr("schedule {word}: expected {usage}, for example {example}.",
                             word=repr(word), usage=usage, example=entry.example))
    types = {f.name: str(f.type) for f in dataclasses.fields(entry.kind)}
    values = {option: _parse_value(word, argument, types[option])
              for option, argument in zip(entry.arguments, arguments, strict=False)}
    return entry.kind(**values)


def _parse_value(word: str, text: str, kind: str) -> Any:
    """A number, or several with commas between them where the option is a tuple."""
    if kind.startswith("tuple"):
        return tuple(_parse_value(word, part, "int") for part in text.split(","))
    try:
        return int(text) if kind.startswith("int") else float(text)
    except ValueError:
        raise ConfigError(tr("schedule {word}: {text} is not a number of the kind expected "
                             "here ({kind}).", word=repr(word), text=repr(text),
                             kind=kind.split(" ")[0])) from None
