"""Metrics as lines and tables for people; shared by the commands that judge a model."""

from __future__ import annotations

from typing import Any

from kiso.cli.output import Output, in_thousands
from kiso.text import tr

__all__ = ["class_table", "per_cent", "score_rows", "significant"]


def per_cent(value: float) -> str:
    """0.98276 -> 98.28 %."""
    return f"{100 * value:.2f} %"


def decibels(value: float) -> str:
    """23.4567 -> 23.46 dB."""
    return f"{value:.2f} dB"


def significant(value: float) -> str:
    """A number with four significant digits: 0.06543, 12.34, 4321."""
    return f"{value:.4g}" if abs(value) < 10_000 else in_thousands(round(value))


def score_rows(metrics: dict[str, Any], prefix: str,
               brief: bool = False) -> list[tuple[str, str]]:
    """Names (brief: MAE instead of its full name) and values of the scores that are there."""
    names = [("accuracy", tr("accuracy"), per_cent),
             ("top5_accuracy", tr("among the best five"), per_cent),
             ("psnr", tr("PSNR"), decibels), ("input_psnr", tr("PSNR of the input"), decibels),
             ("mae", "MAE" if brief else tr("mean absolute error (MAE)"), significant),
             ("rmse", "RMSE" if brief else tr("root mean squared error (RMSE)"), significant),
             ("r2", "R²" if brief else tr("explained share of the variance (R²)"), significant),
             ("loss", tr("loss"), significant)]
    return [(label, show(metrics[prefix + name])) for name, label, show in names
            if metrics.get(prefix + name) is not None]


def class_table(output: Output, report: dict[str, Any], limit: int = 20) -> None:
    """Precision, recall and F of each class and their mean; only the worst of very many classes.

    A class without samples has no figures.
    """
    rows = list(report["classes"])
    if len(rows) > limit:
        rows = sorted(rows, key=lambda row: row["f1"])[:limit]
        output.show(tr("The {limit} classes with the lowest F1:", limit=limit))
    names = ("precision", "recall", "f1")
    mean = report["macro"]
    output.table(
        [tr("class"), tr("precision"), tr("recall"), "F1", tr("samples")],
        [[str(row["name"]), *(per_cent(row[name]) if row["support"] else "-" for name in names),
          in_thousands(row["support"])] for row in rows],
        numbers=(1, 2, 3, 4),
        footer=[tr("mean"), *(per_cent(mean[name]) for name in names), ""])
