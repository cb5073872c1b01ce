"""`kiso.fit`: train any model on any data with one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kiso import nn
from kiso.data import Dataset, Splits
from kiso.data.split import fractions, partition
from kiso.errors import ConfigError, DataError
from kiso.text import tr
from kiso.train.callbacks import Callback
from kiso.train.options import TrainOptions
from kiso.train.progress import Progress
from kiso.train.session import RunResult, resume, train

__all__ = ["as_splits", "fit"]


def fit(model: nn.Module | str | None = None, data: Any = "digits", *,
        callbacks: Sequence[Callback] = (), progress: bool = True, resume_run: bool = False,
        **options: Any) -> RunResult:
    """Train a model and return it with its history and figures.

    model: a Module, a text such as "conv30k5 relu pool2 linear100 relu linear10", a name, or None
        for a good default.
    data: a name or path (see `kiso.data.load`), Splits, a Dataset, or arrays (x, y).
    callbacks: hooks, see `Callback`. progress: show it while training.
    out: a run folder to write (checkpoints, history, metrics); nothing is written without it.
    resume_run: go on with the run in `out` (with the same model and data).
    Other options: those of `TrainOptions` (recipe, epochs, batch_size, optimizer, lr, ...).

        result = kiso.fit("linear100 relu linear10", (x, y), epochs=5)
        result.predict(x_new); result.history; result.metrics["test_accuracy"]

    `predict` scales new samples as those for training; `result.model` takes scaled ones.

    Errors: ConfigError, DataError for what cannot be used; DivergedError when training diverges.
    """
    known = [f.name for f in fields(TrainOptions)]
    for name in options:
        if name not in known:
            raise ConfigError(tr("fit() has no option {name!r}; it has {known}.", name=name,
                                 known=", ".join(known)))
    chosen = TrainOptions(**options)
    if isinstance(model, str):
        chosen = replace(chosen, model=model)
    module = model if isinstance(model, nn.Module) else None
    splits = None
    if isinstance(data, str | Path):
        chosen = replace(chosen, data=str(data))
    else:
        splits = as_splits(data, chosen)
        chosen = replace(chosen, data="arrays")
    if resume_run and chosen.out is None:
        raise ConfigError(tr("fit(resume_run=True) needs out=: the folder of the run."))
    with Progress(quiet=not progress) as shown:
        hooks = [*callbacks, shown]
        if resume_run:
            return resume(str(chosen.out), hooks, threads=chosen.threads, conv=chosen.conv,
                          splits=splits, model=module)
        return train(chosen, hooks, splits=splits, model=module, save=chosen.out is not None)


def as_splits(data: Any, options: TrainOptions) -> Splits:
    """Splits from a Dataset or from arrays (x, y).

    x: uint8 pictures (N, C, H, W) or numbers (N, ...). y: integers (N,) are classes; floats (N,)
    or (N, K) are regression targets. `options.split` deals the samples, stratified by class.
    """
    if isinstance(data, Splits):
        return data
    every = data if isinstance(data, Dataset) else _dataset(data)
    labels = every.y if every.task == "classification" else None
    parts = partition(len(every), fractions(options.split), seed=options.seed, labels=labels)
    train, val, test = (every.subset(rows) for rows in parts)
    return Splits(train, val, test)


def _dataset(data: Any) -> Dataset:
    if type(data) not in (tuple, list) or len(data) != 2:
        raise DataError(tr("data must be a name, a path, Splits, a Dataset or a pair of arrays "
                           "(x, y), not {kind}.", kind=type(data).__name__))
    x: npt.NDArray[Any] = np.asarray(data[0])
    y: npt.NDArray[Any] = np.asarray(data[1])
    if len(x) != len(y) or x.ndim < 2 or not len(x):
        raise DataError(tr("x {x} and y {y} must have the same number of samples along the first "
                           "axis, and x at least two axes.", x=x.shape, y=y.shape))
    names = tuple(map(str, range(len(x))))
    kind = "image" if x.dtype == np.uint8 and x.ndim == 4 else "table"
    if kind == "table":
        x = x.astype(np.float32)
        if (bad := _not_finite(x)):
            raise DataError(tr("x holds {count} values that are NaN or infinite, the first in "
                               "sample {row}; fill them in or leave the samples out.", **bad))
    if y.dtype.kind in "iub" and y.ndim == 1:
        if y.min() < 0 or len(np.unique(y)) < 2:
            raise DataError(tr("classes must be whole numbers from 0 on, at least two of them."))
        classes = tuple(map(str, range(int(y.max()) + 1)))
        return Dataset(x, y.astype(np.int64), "classification", kind, classes, names)
    if y.dtype.kind != "f" or y.ndim > 2:
        raise DataError(tr("y must be integers (N,) for classes or floats (N,) or (N, K) for "
                           "regression, not {dtype} {shape}.", dtype=y.dtype, shape=y.shape))
    targets = y.reshape(len(y), -1).astype(np.float32)
    if (bad := _not_finite(targets)):
        raise DataError(tr("y holds {count} values that are NaN or infinite, the first in "
                           "sample {row}; fill them in or leave the samples out.", **bad))
    return Dataset(x, targets, "regression", kind, names=names, target="y")


def _not_finite(values: npt.NDArray[Any]) -> dict[str, int]:
    """How many values are no numbers, and the first sample that has one; empty if all are."""
    bad = ~np.isfinite(values)
    samples = np.flatnonzero(bad.reshape(len(values), -1).any(1))
    return {"count": int(bad.sum()), "row": int(samples[0])} if len(samples) else {}
