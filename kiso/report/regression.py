"""What the report says about predicted numbers: errors, the two figures, the largest misses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kiso.report.run import Predictions, Run
from kiso.text import tr
from kiso.train import metrics

__all__ = ["Miss", "Target", "targets_of"]

TARGETS, MISSES = 6, 15  # most that are shown


@dataclass(frozen=True)
class Miss:
    """A sample with a large error."""

    name: str
    true: float
    predicted: float

    @property
    def difference(self) -> float:
        """Prediction minus true value."""
        return self.predicted - self.true


@dataclass(frozen=True)
class Target:
    """One predicted quantity."""

    name: str
    mae: float
    rmse: float
    r2: float
    spread: float  # standard deviation of the true values: the error of always saying the mean
    scatter: str  # inline SVG
    residuals: str
    misses: list[Miss]


def targets_of(run: Run, answers: Predictions) -> list[Target]:
    """Each predicted quantity, from the answers for the test split."""
    from kiso.report import figures
    from kiso.report.svg import inline_svg

    count = answers.y.shape[1]
    stated = run.setting("target")
    found: list[Target] = []
    for k in range(min(count, TARGETS)):
        name: str = str(stated) if stated else "y"
        name = name if count == 1 else f"{name}{k}"
        y, p = answers.y[:, k].astype(np.float64), answers.output[:, k].astype(np.float64)
        order: list[int] = np.argsort(-np.abs(p - y), kind="stable")[:MISSES].tolist()
        found.append(Target(
            name, metrics.mae(y, p), metrics.rmse(y, p), metrics.r2(y, p), float(y.std()),
            inline_svg(figures.scatter(y, p), f"scatter{k}",
                       tr("Predicted against true values of {target}", target=name)),
            inline_svg(figures.residuals(y, p), f"residuals{k}",
                       tr("Histogram of the residuals of {target}", target=name)),
            [Miss(answers.names[i] or tr("test sample {row}", row=i), float(y[i]), float(p[i]))
             for i in order],
        ))
    return found
