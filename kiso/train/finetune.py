"""Fine-tuning: a net that has learnt one task begins with these weights on another.

    weights        a run or a file to begin with; the head, whose shape follows from the number of
                   classes, begins anew where that number differs
    freeze, thaw   shell patterns of parameters that stay as they are, and exceptions from them
    lr_of          "pattern=rate": parameters with a learning rate of their own
    lr_backbone    learning rate of all but the head
    head_epochs    two stages: so many epochs the head alone at `lr`, then all at `lr_backbone`
                   (by default a tenth), with a new start of rule and schedule

A frozen parameter costs no backward pass where nothing below it is trained. A batch norm that is
frozen whole (scale and shift) uses and keeps its running statistics, as in inference: a part of a
net that is not trained must not drift. Source of the two stages: Howard and Ruder 2018.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from kiso import models, nn
from kiso.data import Dataset
from kiso.errors import ConfigError, KisoError
from kiso.interop import Adopted, Weights, load_weights, read_weights
from kiso.optim import Group
from kiso.optim.checks import suggestion
from kiso.text import tr
from kiso.train.step import Step
from kiso.train.tasks import RECONSTRUCTION

if TYPE_CHECKING:
    from kiso.train.options import TrainOptions

__all__ = ["adopt", "after_run", "check", "for_outputs", "head_of", "open_weights", "stages"]

AFTER_HEAD = 0.1  # of the head's rate, for everything after the head epochs
LAST_LINEAR = re.compile(r"\blinear(\d+)(?=\s*(?:softmax\s*)?$)")


def check(options: TrainOptions) -> None:
    """Refuse impossible values; one pattern may stand for a tuple of them, a dict for `lr_of`."""
    for name in ("freeze", "thaw", "lr_of"):
        value: Any = getattr(options, name)
        if isinstance(value, str):
            value = (value,)
        elif isinstance(value, Mapping):
            rates = cast("Mapping[str, float]", value)
            value = tuple(f"{pattern}={rate!r}" for pattern, rate in rates.items())
        elif value is not None:
            value = tuple(value)
        object.__setattr__(options, name, value)
    if options.weights is not None:
        object.__setattr__(options, "weights", str(options.weights))
    if options.thaw and not options.freeze:
        raise ConfigError(tr("--thaw makes exceptions from --freeze, which is not given."))
    rates = [("--lr-backbone", options.lr_backbone), *_rates(options).items()]
    for name, rate in rates:
        if rate is not None and not (math.isfinite(rate) and rate > 0):
            raise ConfigError(tr("{name} is {value}; expected {expected}.", name=name, value=rate,
                                 expected=tr("a number above 0, for example 0.001")))
    if options.epochs is not None and (options.head_epochs or 0) > options.epochs:
        raise ConfigError(tr("--head-epochs is {head}, but the run has {epochs} epochs in all; "
                             "give more --epochs.", head=options.head_epochs,
                             epochs=options.epochs))


def _rates(options: TrainOptions) -> dict[str, float]:
    """Pattern -> learning rate."""
    found: dict[str, float] = {}
    for text in options.lr_of or ():
        pattern, equals, rate = text.rpartition("=")
        try:
            found[pattern.strip()] = float(rate)
        except ValueError:
            equals = ""
        if not equals or not pattern.strip():
            raise ConfigError(tr("--lr-of is {value!r}; expected pattern=rate, for example "
                                 "'classifier.*=0.01'.", value=text))
    return found


# Weights ------------------------------------------------------------------------------------------


def open_weights(options: TrainOptions) -> Weights | None:
    """What the file of the options holds."""
    return read_weights(options.weights) if options.weights else None


def after_run(options: TrainOptions, weights: Weights | None, own_model: bool) -> TrainOptions:
    """The options with the net of the run that the weights come from, and for pictures of a folder
    their size, as far as they name none.

    Errors: ConfigError when the file does not say which net it is for.
    """
    if weights is None:
        return options
    text = str(weights.record.get("model", ""))
    if not (text or options.model or own_model):
        raise ConfigError(tr("{path} does not say which model its weights belong to; name it with "
                             "--model.", path=weights.source))
    if not (options.model or own_model):
        given_back = weights.record.get("task") == RECONSTRUCTION
        task = options.task or (RECONSTRUCTION if given_back else None)
        options = replace(options, model=text, task=task)
    shape = list(weights.record.get("input_shape", ()))
    if len(shape) != 3 or options.size is not None or not Path(options.data).is_dir():
        return options
    return replace(options, size=(shape[1], shape[2]), grey=options.grey or shape[0] == 1)


def for_outputs(options: TrainOptions, weights: Weights | None, outputs: int) -> TrainOptions:
    """A run's description in words ends in a layer for as many outputs as that run had; here it
    gets as many as are needed now. A name is for any number."""
    text = options.model
    if weights is None or not text or text != weights.record.get("model") or models.find(text):
        return options
    return replace(options, model=LAST_LINEAR.sub(f"linear{outputs}", text))


def head_of(model: nn.Module, text: str, train: Dataset, options: TrainOptions
            ) -> frozenset[str]:
    """What may begin anew, and is trained alone in head epochs; nothing for a plain run.

    That is: parameters whose shape follows from the number of classes; where the model cannot be
    built for another number, those of its last layer that has any."""
    if not (options.weights or options.lr_backbone or options.head_epochs):
        return frozenset()
    named = {n: p.shape for n, p in model.named_parameters()}
    if text and models.find(text) is not None:
        try:
            with nn.seeded(0):  # only looked at
                other = models.create(text, train.input_shape, train.outputs + 1)
            shapes = {n: p.shape for n, p in other.named_parameters()}
            found = frozenset(n for n in named if shapes.get(n) != named[n])
        except KisoError:
            found = frozenset[str]()
        if found:
            return found
    last = list(named)[-1].rpartition(".")[0]
    return frozenset(n for n in named if n.rpartition(".")[0] == last)


def adopt(options: TrainOptions, weights: Weights | None, model: nn.Module,
          head: frozenset[str]) -> Adopted | None:
    """Give the model the weights. Errors: CheckpointError if they do not fit."""
    if weights is None:
        return None
    return load_weights(model, weights, head=head, allow_unmatched=options.allow_unmatched)


# What is trained, and how fast --------------------------------------------------------------------


def stages(options: TrainOptions, step: Step, head: frozenset[str]) -> tuple[Step, Step | None]:
    """The step that trains everything (but what is frozen), and that of the head epochs, if any.

    Errors: ConfigError for a pattern that matches no parameter, or when nothing is left to train.
    """
    names = [n for n, _ in step.model.named_parameters()]
    still = _matching("--freeze", options.freeze, names)
    still -= _matching("--thaw", options.thaw, names)
    rates = _rates(options)
    own = {pattern: _matching("--lr-of", [pattern], names) for pattern in rates}
    if sum(map(len, own.values())) > len(frozenset[str]().union(*own.values())):
        raise ConfigError(tr("two patterns of --lr-of match the same parameter; each may have one "
                             "learning rate only."))
    if options.lr_backbone is not None and head == frozenset(names):
        raise ConfigError(tr("--lr-backbone is for the layers before the head, but the model has "
                             "none."))
    lr = step.optimizer.lr
    two = bool(options.head_epochs)
    base = options.lr_backbone or (lr * AFTER_HEAD if two else lr)
    after = dict(rates)
    if base != lr and not two:
        taken = frozenset[str]().union(*own.values())
        after |= dict.fromkeys(sorted(head - taken), lr)
    whole = _still(replace(step, optimizer=_with_rates(step, base, after)), still)
    if not two:
        return whole, None
    alone = replace(step, optimizer=_with_rates(step, lr, rates))
    return whole, _still(alone, still | (frozenset(names) - head))


def _with_rates(step: Step, base: float, rates: Mapping[str, float]) -> Any:
    """The rule with this learning rate, and others for some patterns."""
    groups = [Group(pattern, lr_scale=rate / base) for pattern, rate in rates.items()]
    return replace(step.optimizer, lr=base, groups=(*groups, *step.optimizer.groups))


def _still(step: Step, still: frozenset[str]) -> Step:
    """The step with these parameters at rest."""
    step = replace(step, still=still)
    if not any(p.size for n, p in step.model.named_parameters() if n not in step.frozen):
        raise ConfigError(tr("all parameters are frozen: there is nothing to train."))
    return step


def _matching(option: str, patterns: Iterable[str] | None, names: list[str]) -> frozenset[str]:
    """Names that one of the patterns matches. Errors: ConfigError for a pattern without any."""
    found: set[str] = set()
    for pattern in patterns or ():
        matched = [n for n in names if fnmatchcase(n, pattern)]
        if not matched:
            raise ConfigError(tr("{option} {pattern} matches no parameter; the parameters are: "
                                 "{names}.{hint}", option=option, pattern=repr(pattern),
                                 names=", ".join(names), hint=suggestion(pattern, names)))
        found.update(matched)
    return frozenset(found)
