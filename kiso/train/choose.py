"""What the options leave open is chosen here: by the recipe, the data and the model.

A value that is given holds. Else the recipe's, made to fit the data:

- Batch size: halved while an epoch has fewer than 10 steps and a batch more than 16 samples.
- Learning rate: a smaller batch than the recipe's, chosen or given, lowers it in proportion
  (Goyal et al. 2017: as many samples move the weights as far). A larger one does not raise it: that
  would need a warm-up.
- Epochs: as many as in the paper; where they have fewer than 2000 steps (the recipe's `updates`),
  as many as have them, at most 4 times the paper's. Schedules are spread over the epochs of the
  run, however many.
- Learning rate, momentum, penalty and limit of the gradient belong to a rule: with another
  optimizer they are that one's own. The peak of a one-cycle belongs to it: with another schedule
  the rate is the optimizer's own.
- Pictures without colour are not mirrored: most of them are writing.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any

from kiso import optim
from kiso.data import Augment, Corrupt, Dataset, Views
from kiso.errors import ConfigError
from kiso.text import tr
from kiso.train.options import TrainOptions
from kiso.train.recipes import DEFAULT, NONE, RECIPES, Recipe, recipe_of_model
from kiso.train.starts import OWN
from kiso.train.step import AS_IT_IS
from kiso.train.tasks import RECONSTRUCTION

__all__ = ["Chosen", "check_given", "choose", "recipe_name"]

STEPS, SAMPLES = 10, 16  # an epoch has so many steps, or a batch so few samples
LONGER = 4  # times the paper's epochs, at most


@dataclass(frozen=True)
class Chosen:
    """The choices of one run, given or not. remarks: where they had to differ from the recipe."""

    recipe: str
    rule: str  # name of the optimizer
    optimizer: optim.Optimizer
    schedule_text: str
    schedule: optim.Schedule
    epochs: int
    batch_size: int
    augment: Augment | None
    label_smoothing: float
    init: str
    views: Views
    remarks: tuple[str, ...] = ()
    corrupt: Corrupt = AS_IT_IS


def recipe_name(options: TrainOptions, own_model: bool) -> str:
    """The recipe that is asked for, or the model's."""
    if options.recipe is not None:
        return options.recipe
    if own_model:
        return NONE
    return DEFAULT if options.model is None else recipe_of_model(options.model)


def check_given(options: TrainOptions, name: str) -> None:
    """Refuse what cannot be used before any data are read.  Errors: ConfigError."""
    make_rule(options, RECIPES[name])
    if options.schedule:
        optim.parse_schedule(options.schedule)
    if options.augment:
        Augment.parse(options.augment)
    if options.corrupt:
        Corrupt.parse(options.corrupt)
    if options.tta:
        Views.parse(options.tta)


def choose(options: TrainOptions, name: str, train: Dataset) -> Chosen:
    """All choices of a run for its training samples.

    Errors: ConfigError for what does not fit the samples.
    """
    recipe = RECIPES[name]
    if options.task == RECONSTRUCTION:  # neither is for pictures
        recipe = replace(recipe, tta="", label_smoothing=0.0)
    batch_size = options.batch_size or _batch_size(recipe, len(train))
    if batch_size > len(train):
        raise ConfigError(tr("the batch size {size} is larger than the {n} training samples; use "
                             "--batch-size {n} or less.", size=batch_size, n=len(train)))
    steps = math.ceil(len(train) / batch_size)
    epochs = options.epochs or _epochs(recipe, train, steps)
    optimizer = make_rule(options, recipe)
    remarks = _scaled(options, recipe, batch_size, epochs)
    if recipe.batch_size and batch_size < recipe.batch_size and _keeps_lr(options, recipe):
        lr = optimizer.lr * batch_size / recipe.batch_size
        remarks.append(tr("learning rate {lr:g} = {base:g} x {size} / {paper}: in proportion to "
                          "the batch", lr=lr, base=optimizer.lr, size=batch_size,
                          paper=recipe.batch_size))
        optimizer = replace(optimizer, lr=lr)
    schedule = options.schedule or _spread(recipe.schedule, epochs, epochs * steps)
    smoothing = options.label_smoothing
    return Chosen(
        name, options.optimizer or recipe.optimizer, optimizer, schedule,
        optim.parse_schedule(schedule), epochs, batch_size, _augment(options, recipe, train),
        recipe.label_smoothing if smoothing is None else smoothing, options.init or recipe.init
        or OWN, _views(options, recipe, train), tuple(remarks),
        Corrupt.parse(options.corrupt or ""))


def _same_rule(options: TrainOptions, recipe: Recipe) -> bool:
    return (options.optimizer or recipe.optimizer).strip().lower() == recipe.optimizer


def _keeps_lr(options: TrainOptions, recipe: Recipe) -> bool:
    """Whether the recipe's learning rate holds."""
    peak = recipe.schedule.startswith("onecycle") and options.schedule is not None
    return options.lr is None and _same_rule(options, recipe) and not peak


def make_rule(options: TrainOptions, recipe: Recipe) -> optim.Optimizer:
    """The update rule, for a batch of the recipe's size."""
    values: dict[str, Any] = {}
    if _same_rule(options, recipe):
        values = {"momentum": recipe.momentum, "weight_decay": recipe.weight_decay,
                  "clip_norm": recipe.clip_norm, **recipe.extra}
    if _keeps_lr(options, recipe):
        values["lr"] = recipe.lr
    given = {key: getattr(options, key) for key in ("lr", "momentum", "weight_decay", "clip_norm")}
    values |= {key: value for key, value in given.items() if value is not None}
    groups = [optim.Group(pattern, weight_decay=0.0, required=False)
              for pattern in recipe.undecayed]
    if _same_rule(options, recipe):  # they belong to it, as its learning rate does
        decay = values["weight_decay"] or 0.0
        groups += [optim.Group(pattern, lr_scale=by, weight_decay=decay / by, required=False)
                   for pattern, by in recipe.factors.items()]
    return optim.parse_optimizer(options.optimizer or recipe.optimizer, **values,
                                 groups=(*optim.no_decay_on_bias_and_norm(), *groups))


def _scaled(options: TrainOptions, recipe: Recipe, batch_size: int, epochs: int) -> list[str]:
    """What of batch and epochs is not the recipe's, though nobody asked for it."""
    remarks: list[str] = []
    if options.batch_size is None and recipe.batch_size not in (None, batch_size):
        remarks.append(tr("batch size {size} instead of {paper}: few samples", size=batch_size,
                          paper=recipe.batch_size))
    if options.epochs is None and recipe.epochs not in (None, epochs):
        remarks.append(tr("epochs {epochs} instead of {paper}: few samples", epochs=epochs,
                          paper=recipe.epochs))
    return remarks


def _batch_size(recipe: Recipe, samples: int) -> int:
    """The recipe's batch size, halved for few samples."""
    size = recipe.batch_size
    if size is None:
        return default_batch_size(samples)
    while size > SAMPLES and samples < STEPS * size:
        size = max(size // 2, SAMPLES)
    return min(size, samples)


def _epochs(recipe: Recipe, train: Dataset, steps: int) -> int:
    """The recipe's epochs, more of them for few samples."""
    if recipe.epochs is None:
        return default_epochs(len(train), train.kind)
    return min(max(recipe.epochs, math.ceil(recipe.updates / steps)), LONGER * recipe.epochs)


def _spread(text: str, epochs: int, steps: int) -> str:
    """A recipe's schedule for a run of so many epochs and steps, as `--schedule` takes it."""
    def share(found: re.Match[str], whole: int) -> str:
        return str(max(1, math.floor(whole * int(found[1]) / int(found[2]) + 0.5)))

    def every_epoch(found: re.Match[str]) -> str:
        return f"{float(found[1]) ** (1 / epochs):.6g}"

    warmup, plus, rest = text.rpartition("+")
    return (re.sub(r"(\d+)/(\d+)", lambda found: share(found, steps), warmup) + plus
            + re.sub(r"end([\d.]+)", every_epoch,
                     re.sub(r"(\d+)/(\d+)", lambda found: share(found, epochs), rest)))


def _augment(options: TrainOptions, recipe: Recipe, train: Dataset) -> Augment | None:
    """What is asked for, else the recipe's for pictures of this size; None for tables."""
    if options.augment is not None:
        if options.augment and train.kind != "image":
            raise ConfigError(tr("--augment changes pictures, but the data are a table; leave it "
                                 "out."))
        return Augment.parse(options.augment) if options.augment else None
    if train.kind != "image" or min(train.input_shape[1:]) < 4:
        return None
    if recipe.augment == "automatic":
        return default_augment(train)
    size = min(train.input_shape[1:])
    text = re.sub(r"/(\d+)", lambda found: str(max(1, size // int(found[1]))), recipe.augment)
    augment = Augment.parse(text)
    if train.input_shape[0] == 1:
        augment = replace(augment, flip=False, altflip=False)
    return augment or None


def _views(options: TrainOptions, recipe: Recipe, train: Dataset) -> Views:
    """What is asked for, else the recipe's; mirrored pictures without colour are no views."""
    if options.tta is not None:
        views = Views.parse(options.tta)
        if views and train.kind != "image":
            raise ConfigError(tr("--tta is for pictures, but the data are a table; leave it out."))
        return views
    if train.kind != "image":
        return Views()
    views = Views.parse(recipe.tta)
    return replace(views, flip=False) if train.input_shape[0] == 1 else views


def default_batch_size(samples: int) -> int:
    """About 64, so that all batches of an epoch are of one size if possible: a smaller last one
    would be compiled for itself."""
    divisors = [size for size in range(48, 81) if samples % size == 0]
    return min(divisors or [64], key=lambda size: abs(size - 64)) if samples > 64 else samples


def default_epochs(samples: int, kind: str) -> int:
    """Enough passes for small data, few for large ones; rows of a table are seen in no time."""
    total, most = (1_000_000, 50) if kind == "table" else (150_000, 30)
    return min(most, max(5, total // max(samples, 1)))


def default_augment(train: Dataset) -> Augment:
    """A little turned and stretched; larger pictures are moved, photographs mirrored too."""
    shift = min(train.input_shape[1:]) // 16
    coloured = train.input_shape[0] == 3
    words = ["rotate8 scale0.1", f"shift{shift}" * (shift > 0), "flip" * coloured]
    return Augment.parse(" ".join(words))
