"""Hooks into the training loop: subclass `Callback` and override what you need.

Order: prepare_start and prepare_end around compiling the step, fit_start, then for every epoch
epoch_start, step..., epoch_end, at last fit_end. A callback that sets `context.stop = "reason"`
ends training after the current step (or epoch).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Callback", "Context", "EarlyStopping"]


@dataclass
class Context:
    """What the loop tells its callbacks; they may read all of it and set `stop`."""

    epochs: int  # planned epochs
    steps_per_epoch: int
    samples: int  # training samples in an epoch
    task: str  # "classification", "regression" or "reconstruction"
    folder: Path | None  # where the run is stored
    parameters: int  # trainable numbers
    setup: Any = None  # the Setup: splits, model text, optimizer, schedule, ...
    epoch: int = 0  # epochs finished
    step: int = 0  # steps finished since the start of the run
    step_in_epoch: int = 0
    samples_in_epoch: int = 0
    loss: float = float("nan")  # running means of the current epoch
    score: float = float("nan")  # accuracy, mean absolute error or PSNR
    lr: float = float("nan")
    gradient_norm: float = float("nan")  # of the last step
    images_per_second: float = float("nan")  # in the current epoch
    seconds_left: float = float("nan")  # estimate until the last epoch ends
    best_epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    stop: str = ""  # reason to stop early; "" goes on


class Callback:
    """Base class: hooks that do nothing.

    every_step: whether `step` is to be called after each single step. Without it the engine may
    do as many steps in one call as fit in about 0.15 s, which is faster for small nets.
    """

    every_step = True

    def prepare_start(self) -> None:
        """Data and model are ready; the step is made ready next, which may take seconds."""

    def prepare_end(self) -> None:
        """The step is ready, or cannot be carried out."""

    def fit_start(self, context: Context) -> None:
        """Before the first step (of a new or a resumed run)."""

    def epoch_start(self, context: Context) -> None:
        """Before the first step of an epoch."""

    def step(self, context: Context) -> None:
        """After every update; see `every_step`."""

    def epoch_end(self, context: Context, row: dict[str, Any]) -> None:
        """After validation; `row` is the epoch's line of the history."""

    def fit_end(self, context: Context, metrics: dict[str, Any]) -> None:
        """After the last epoch and the final evaluation."""


class EarlyStopping(Callback):
    """Stop when the validation loss has not improved for `patience` epochs.

    The weights of the best epoch are what `fit` keeps in any case. `min_delta` is the smallest
    change that counts. It looks at the whole history, so a resumed run stops where an
    uninterrupted one would.
    """

    def __init__(self, patience: int = 5, min_delta: float = 0.0):
        self.patience = patience
        self.min_delta = min_delta

    def epoch_end(self, context: Context, row: dict[str, Any]) -> None:
        best, best_epoch = float("inf"), 0
        for line in context.history:
            value = line.get("val_loss", line["train_loss"])
            if value < best - self.min_delta:
                best, best_epoch = value, int(line["epoch"])
        waited = context.epoch - best_epoch
        if waited >= self.patience:
            context.stop = f"no improvement for {waited} epochs"
