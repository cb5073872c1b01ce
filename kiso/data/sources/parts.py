"""What a source has read, before the splits are dealt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from kiso.data.dataset import Kind, Task
from kiso.data.pictures import ImageOptions
from kiso.errors import DataError
from kiso.text import tr

__all__ = ["Part", "Pool", "Request", "need_two_classes"]


@dataclass(frozen=True)
class Request:
    """The options of `load` that sources need, checked."""

    image: ImageOptions = field(default_factory=ImageOptions)
    split: float | Sequence[float] | None = None
    seed: int = 0
    on_broken: str = "skip"
    target: str | None = None
    task: Task | None = None
    columns: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None  # only these
    labelled: bool = True  # False: classes are not needed


@dataclass
class Part:
    """Samples that belong together: everything, or one given part."""

    x: npt.NDArray[Any]
    y: npt.NDArray[Any]
    names: list[str]
    digests: list[bytes] = field(default_factory=list[bytes])  # of pictures, once they are uniform


@dataclass
class Pool:
    """Parts by name: {"all"}, or given ones: "train" and any of "val" and "test"."""

    parts: dict[str, Part]
    task: Task = "classification"
    kind: Kind = "image"
    classes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    target: str | None = None
    problems: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    notes: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    source: dict[str, Any] = field(default_factory=dict[str, Any])


def need_two_classes(classes: Sequence[str], where: object) -> None:
    """A classifier needs something to tell apart."""
    if len(classes) < 2:
        raise DataError(tr(
            "{where} has only one class ({name}); at least two are needed to learn to tell them "
            "apart.", where=where, name=", ".join(classes) or "-"))


def numbered(part: str, n: int) -> list[str]:
    """Names for samples that have none: train/00000, ..."""
    return [f"{part}/{i:05d}" for i in range(n)]


def class_numbers(y: npt.NDArray[Any], classes: Sequence[str],
                  where: object) -> npt.NDArray[np.int64]:
    """Labels as int64; DataError when one lies outside of the classes."""
    if len(y) and not 0 <= int(y.min()) <= int(y.max()) < len(classes):
        raise DataError(tr("{where}: labels from {low} to {high}; expected 0 to {most}.",
                           where=where, low=int(y.min()), high=int(y.max()),
                           most=len(classes) - 1))
    return y.astype(np.int64)
