"""Learning-rate range test: raise the rate from step to step and watch the loss (Smith 2017).

The state of a step is a value, so the test throws its weights away and the model stays as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kiso import data as kiso_data
from kiso import nn
from kiso.errors import ConfigError, DivergedError
from kiso.ops import make_key
from kiso.text import tr
from kiso.train.engine import ENGINES
from kiso.train.fit import as_splits
from kiso.train.options import TrainOptions
from kiso.train.setup import build
from kiso.train.step import initial_state

__all__ = ["LearningRates", "find_lr"]


@dataclass(frozen=True)
class LearningRates:
    """Rates tried, the smoothed loss at each, and the suggestion: where the loss falls most
    steeply on the way to its lowest value.
    """

    rates: list[float]
    losses: list[float]
    suggestion: float

    def __repr__(self) -> str:
        return (f"LearningRates(suggestion={self.suggestion:.3g}, {len(self.rates)} rates from "
                f"{self.rates[0]:.3g} to {self.rates[-1]:.3g})")

    def figure(self) -> Any:
        """Loss against learning rate, the suggestion marked: a matplotlib Figure."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        axes.plot(self.rates, self.losses)
        axes.axvline(self.suggestion, color="tab:red", linestyle="--",
                     label=tr("suggestion {lr:.2g}", lr=self.suggestion))
        axes.set(xscale="log", xlabel=tr("learning rate"), ylabel=tr("training loss (smoothed)"))
        axes.legend()
        return figure


def find_lr(model: nn.Module | str | None = None, data: Any = "digits", *, lowest: float = 1e-6,
            highest: float = 10.0, steps: int = 100, smoothing: float = 0.9,
            **options: Any) -> LearningRates:
    """Train `steps` steps with rates from `lowest` to `highest` (geometric); see the module.

    It ends early when the loss exceeds four times its best value. `options` as in `kiso.fit`.
    """
    if not 0 < lowest < highest or steps < 10:
        raise ConfigError(tr("the range test needs 0 < lowest < highest and at least 10 steps."))
    named = isinstance(data, str | Path)
    chosen = TrainOptions(**options, model=model if isinstance(model, str) else None,
                          data=str(data) if named else "arrays")
    splits = None if named else as_splits(data, chosen)
    setup = build(chosen, splits=splits, model=model if isinstance(model, nn.Module) else None)
    engine = ENGINES[chosen.engine](setup.step, chosen.threads, chosen.conv)
    engine.load(initial_state(setup.step.model, setup.step.optimizer))
    train = setup.splits.train
    rates: list[float] = []
    losses: list[float] = []
    mean = 0.0
    for i, (epoch, rows) in zip(range(steps), _endless(len(train), setup.batch_size, chosen.seed),
                                strict=False):
        lr = lowest * (highest / lowest) ** (i / (steps - 1))
        batch = {"rows": rows[None], "lr": np.array([lr], np.float32),
                 "key": make_key(chosen.seed, i)[None],
                 "epoch_key": make_key(chosen.seed, epoch)}
        with np.errstate(all="ignore"):
            found = engine.train(train, batch)
        loss = float(found.loss[0]) / len(rows)
        if not found.done:
            if not losses:
                raise DivergedError(tr("the loss of the very first step is {loss}: check the data "
                                       "for NaN and infinity, and the model's first weights.",
                                       loss=loss))
            break
        mean = smoothing * mean + (1 - smoothing) * loss
        rates.append(lr)
        losses.append(mean / (1 - smoothing ** (i + 1)))
        if losses[-1] > 4 * min(losses):
            break
    return LearningRates(rates, losses, steepest(rates, losses))


def steepest(rates: list[float], losses: list[float]) -> float:
    """The rate at which the loss falls most steeply, on a logarithmic scale of rates.

    Looked for before the lowest loss only: behind it the training is unstable, and the loss may
    fall from a height as well. The first tenth is left out: a mean of few losses is noise.
    """
    if len(losses) < 3:
        return rates[0]
    slopes = np.gradient(losses, np.log(rates))
    start = len(losses) // 10
    end = start + int(np.argmin(losses[start:])) + 1
    return rates[start + int(np.argmin(slopes[start:end]))]


def _endless(n: int, batch_size: int, seed: int) -> Any:
    epoch = 0
    while True:
        for rows in kiso_data.batches(n, batch_size, seed=seed, epoch=epoch):
            yield epoch, rows
        epoch += 1
