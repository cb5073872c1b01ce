"""All choices of a training run, checked before anything is read or written."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from kiso.config import FORMS
from kiso.errors import ConfigError
from kiso.text import tr
from kiso.train import finetune
from kiso.train.recipes import check_recipe
from kiso.train.starts import check_start
from kiso.train.tasks import TASKS

__all__ = ["LOSSES", "TrainOptions", "check_choice"]

LOSSES = {name: task.losses for name, task in TASKS.items()}


def check_choice(what: str, value: str, choices: Iterable[str]) -> str:
    """The value if it is one of the choices; else ConfigError with the nearest one."""
    listed = list(choices)
    if value in listed:
        return value
    near = difflib.get_close_matches(value, listed, 1)
    if near:
        raise ConfigError(tr("unknown {what} {value!r}; did you mean {near!r}? The choices are "
                             "{choices}.", what=what, value=value, near=near[0],
                             choices=", ".join(listed)))
    raise ConfigError(tr("unknown {what} {value!r}; the choices are {choices}.", what=what,
                         value=value, choices=", ".join(listed)))


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return (_whole(value) or isinstance(value, float)) and math.isfinite(value)


@dataclass(frozen=True)
class TrainOptions:
    """What `kiso train` can be told; None means: chosen by the recipe, the data and
    the model (choose.py).

    Data: data (a name or path), data_dir, size (pixels), grey, fit (crop, pad or stretch),
    max_pixels, classes (only these), target and columns (CSV), task, split (training fraction, or
    three fractions), on_broken, download.
    Model: model (text description or name), init (first weights). Training: recipe, epochs,
    batch_size, optimizer, lr, momentum, weight_decay, schedule, augment, corrupt (what is done to
    pictures that are given back), clip_norm, patience (early stopping), loss, label_smoothing, tta
    (views in validation and test).
    Fine-tuning (see finetune.py): weights, allow_unmatched, freeze, thaw, lr_of, lr_backbone,
    head_epochs.
    Run: seed, engine, threads, conv (form of convolutions), out (folder), overwrite.
    """

    data: str = "digits"
    data_dir: str | None = None
    size: int | tuple[int, int] | None = None
    grey: bool = False
    fit: str = "crop"
    max_pixels: int = 50_000_000
    classes: tuple[str, ...] | None = None
    target: str | None = None
    columns: tuple[str, ...] | None = None
    task: str | None = None
    split: float | tuple[float, float, float] | None = None
    on_broken: str = "skip"
    download: bool = False
    model: str | None = None
    recipe: str | None = None
    init: str | None = None
    weights: str | None = None
    allow_unmatched: bool = False
    freeze: tuple[str, ...] | None = None
    thaw: tuple[str, ...] | None = None
    lr_of: tuple[str, ...] | None = None
    lr_backbone: float | None = None
    head_epochs: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    optimizer: str | None = None
    lr: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    schedule: str | None = None
    augment: str | None = None
    corrupt: str | None = None
    clip_norm: float | None = None
    patience: int | None = None
    loss: str | None = None
    label_smoothing: float | None = None
    tta: str | None = None
    seed: int = 0
    engine: str = "compiled"
    threads: int | None = None
    conv: str | None = None
    out: str | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.generic):  # of a search over np.logspace, for example
                object.__setattr__(self, field.name, value.item())
        self._check_counts()
        self._check_numbers()
        finetune.check(self)
        check_choice(tr("engine"), self.engine, ("eager", "traced", "compiled"))
        check_choice("--fit", self.fit, ("crop", "pad", "stretch"))
        check_choice("--on-broken", self.on_broken, ("skip", "fail"))
        if self.recipe is not None:
            check_recipe(self.recipe)
        if self.init is not None:
            check_start(self.init)
        if self.conv is not None:
            check_choice("--conv", self.conv, FORMS)
        if self.task is not None:
            check_choice(tr("task"), self.task, TASKS)
        if self.loss is not None:
            check_choice(tr("loss"), self.loss, dict.fromkeys(
                n for names in LOSSES.values() for n in names))

    def _check_counts(self) -> None:
        for name in ("epochs", "batch_size", "threads", "patience", "head_epochs"):
            value = getattr(self, name)
            if value is not None and not (_whole(value) and value >= 1):
                raise ConfigError(tr("{name} is {value}; expected a whole number of at least 1.",
                                     name=f"--{name.replace('_', '-')}", value=value))
        if not (_whole(self.seed) and 0 <= self.seed < 2**64):
            raise ConfigError(tr("the seed is {seed}; expected a whole number from 0 to 2^64 - 1.",
                                 seed=self.seed))

    def _check_numbers(self) -> None:
        below_1 = tr("a number from 0 up to (not including) 1")
        rules: list[tuple[str, str, Callable[[float], bool]]] = [
            ("lr", tr("a number above 0, for example 0.001"), lambda v: v > 0),
            ("momentum", below_1, lambda v: 0 <= v < 1),
            ("weight_decay", tr("a number of at least 0"), lambda v: v >= 0),
            ("clip_norm", tr("a number above 0"), lambda v: v > 0),
            ("label_smoothing", below_1, lambda v: 0 <= v < 1),
        ]
        for name, expected, holds in rules:
            value = getattr(self, name)
            if value is not None and not (_number(value) and holds(value)):
                raise ConfigError(tr("{name} is {value}; expected {expected}.",
                                     name=f"--{name.replace('_', '-')}", value=value,
                                     expected=expected))
