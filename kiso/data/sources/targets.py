"""Regression or classification? One rule for all tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kiso.data.dataset import Task
from kiso.errors import DataError
from kiso.text import tr

__all__ = ["FEW", "guess_task"]

FEW = 20  # at most this many different whole numbers are class numbers


def guess_task(y: npt.NDArray[Any], task: Task | None, name: str) -> Task:
    """The task that the target values ask for, unless `task` says it.

    Text, and whole numbers of at most 20 different values, are classes; other numbers are
    a quantity. Errors: DataError when text is to be regressed.
    """
    numeric = y.dtype.kind in "uifb"
    if task == "regression" and not numeric:
        raise DataError(tr("the target {name} is text; regression needs numbers.", name=name))
    if task is not None:
        return task
    if not numeric:
        return "classification"
    values = np.unique(y)
    whole = bool((values == np.rint(values)).all())
    return "classification" if whole and len(values) <= FEW else "regression"
