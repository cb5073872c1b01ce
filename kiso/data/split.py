"""Who is in which split, and in which order the samples are visited.

Everything here is a function of (seed, epoch) alone: no generator is kept, so a run that is resumed
in epoch 7 sees the batches that the uninterrupted run saw. A shuffle is the stable argsort of raw
Philox draws (Salmon et al. 2011), which are fixed by definition and do not change with NumPy.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kiso.errors import ConfigError
from kiso.text import tr

__all__ = ["DEFAULT_FRACTIONS", "Rows", "batches", "fractions", "order", "partition"]

Rows = npt.NDArray[np.int64]  # row numbers (n,)

DEFAULT_FRACTIONS = (0.7, 0.15, 0.15)  # train, validation, test

_FOR_SPLIT, _FOR_ORDER = 1, 2  # second half of the key: keeps the two uses of a seed apart


def fractions(split: float | Sequence[float] | None) -> tuple[float, float, float]:
    """Train, validation and test fractions from `--split`.

    None is (0.7, 0.15, 0.15); one number f is the training part, the rest is halved; three numbers
    must add up to 1. Each part must be greater than 0, since each is needed to judge a model.
    """
    if split is None:
        return DEFAULT_FRACTIONS
    if isinstance(split, int | float):
        parts = (float(split), (1 - split) / 2, (1 - split) / 2)
    else:
        try:
            parts = tuple(float(part) for part in split)
        except (TypeError, ValueError):  # a text, for example
            parts = ()
    if len(parts) != 3 or min(parts) <= 0 or not math.isclose(sum(parts), 1, abs_tol=1e-6):
        raise ConfigError(tr(
            "the split {split} cannot be used; give the training fraction (such as 0.7) or three "
            "fractions above 0 that add up to 1 (train, validation, test: 0.7,0.15,0.15).",
            split=split))
    return parts


def _draws(n: int, seed: int, purpose: int, epoch: int = 0) -> npt.NDArray[np.uint64]:
    """n raw 64-bit draws, a pure function of its arguments."""
    if not 0 <= seed < 2**64 or not 0 <= epoch < 2**64:
        raise ConfigError(tr("the seed is {seed}; expected a whole number from 0 to 2^64 - 1.",
                             seed=seed))
    key = np.array([seed, purpose], np.uint64)
    counter = np.array([0, 0, epoch, 0], np.uint64)
    return np.asarray(np.random.Philox(key=key, counter=counter).random_raw(n), np.uint64)


def order(n: int, *, seed: int, epoch: int) -> Rows:
    """Permutation of 0 ... n - 1 for one epoch."""
    return np.argsort(_draws(n, seed, _FOR_ORDER, epoch), kind="stable").astype(np.int64)


def batches(n: int, batch_size: int, *, seed: int, epoch: int, shuffle: bool = True) -> list[Rows]:
    """Rows of each batch of one epoch: ceil(n / batch_size) arrays, the last one may be shorter.

    Every row occurs exactly once. With `shuffle=False` the rows come in their own order.
    """
    if batch_size < 1:
        raise ConfigError(tr("the batch size is {size}; expected at least 1.", size=batch_size))
    rows = order(n, seed=seed, epoch=epoch) if shuffle else np.arange(n, dtype=np.int64)
    return [rows[start:start + batch_size] for start in range(0, n, batch_size)]


def counts(n: int, parts: Sequence[float], owed: list[float]) -> list[int]:
    """Split n things by fractions: largest remainders, and at least one each where n allows.

    owed: what rounding has withheld from each part so far, class after class; it is brought up to
    date in place, so that the totals over all classes come out right too.
    """
    total = sum(parts)
    exact = [n * part / total + debt for part, debt in zip(parts, owed, strict=True)]
    result = [max(0, math.floor(round(value, 9))) for value in exact]
    while sum(result) != n:
        gaps = [value - given for value, given in zip(exact, result, strict=True)]
        if sum(result) < n:
            result[gaps.index(max(gaps))] += 1
        else:
            most = min(gap for gap, given in zip(gaps, result, strict=True) if given)
            result[gaps.index(most)] -= 1
    owed[:] = [value - given for value, given in zip(exact, result, strict=True)]
    while n >= len(parts) and min(result) == 0:
        k = result.index(0)
        result[result.index(max(result))] -= 1
        result[k] += 1
    return result


def _fill(units: list[Rows], wanted: list[int]) -> list[list[Rows]]:
    """Deal shuffled units (samples that stay together) to the parts, in order."""
    dealt: list[list[Rows]] = [[] for _ in wanted]
    k, filled = 0, 0
    for i, unit in enumerate(units):
        left, after = len(units) - i, len(wanted) - 1 - k
        full = filled >= wanted[k] or (left <= after and filled > 0 and len(units) >= len(wanted))
        if full and after:
            k, filled = k + 1, 0
        while k < len(wanted) - 1 and wanted[k] == 0:
            k += 1
        dealt[k].append(unit)
        filled += len(unit)
    return dealt


def partition(n: int, parts: Sequence[float], *, seed: int, labels: npt.ArrayLike | None = None,
              groups: npt.ArrayLike | None = None) -> list[Rows]:
    """Deal the rows 0 ... n - 1 into parts; each part's rows come in ascending order.

    `labels` (n,) makes it stratified: every class is dealt by the same fractions, and a class of at
    least as many samples as there are parts is in every part. `groups` (n,) keeps rows of one group
    number together (identical pictures), in the class of the group's first row.

    A class is dealt by its own samples alone, up to a sample by rounding: another class more or
    fewer moves none of them. So a net that is fine-tuned to a further class is not tested with what
    it has learnt from.
    """
    strata = np.zeros(n, np.int64) if labels is None else np.asarray(labels)
    group = np.arange(n) if groups is None else np.asarray(groups)
    by_group = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[by_group], prepend=-1)) if n else np.zeros(0, np.int64)
    edges: list[int] = [*starts.tolist(), n]
    units: list[Rows] = [by_group[a:b] for a, b in itertools.pairwise(edges)]
    draws = _draws(n, seed, _FOR_SPLIT)
    first = by_group[starts]  # a group's first row stands for it
    dealt: list[list[Rows]] = [[] for _ in parts]
    owed = [0.0 for _ in parts]
    for stratum in np.unique(strata[first]):
        members = np.flatnonzero(strata[first] == stratum)
        members = members[np.argsort(draws[:len(members)], kind="stable")]
        its = [units[int(i)] for i in members]
        wanted = counts(sum(map(len, its)), parts, owed)
        for part, more in zip(dealt, _fill(its, wanted), strict=True):
            part.extend(more)
    empty = np.zeros(0, np.int64)
    return [np.sort(np.concatenate([empty, *part])).astype(np.int64) for part in dealt]
