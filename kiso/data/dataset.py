"""What every source of data becomes: arrays in memory, with their names and their history."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from kiso.data.duplicates import Copy
from kiso.data.encoders import Encoder
from kiso.errors import ShapeError
from kiso.text import tr

__all__ = ["Dataset", "Kind", "Remark", "Splits", "Task"]

Task = Literal["classification", "regression"]
Kind = Literal["image", "table"]
Remark = tuple[str, str]  # file or row, what is to be said about it


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples of one split.

    x: uint8 (N, C, H, W) for images, 0 ... 255; float32 (N, D) for tables.
    y: int64 (N,) class numbers, or float32 (N, K) for regression.
    classes: the name of each class number (classification only).
    names: a name for each sample (its file or row).
    columns: the name of each of the D table columns; target: what is predicted.
    source: JSON-able record of where the data come from (path, counts, checksums, options).
    encoder: reads new files or rows exactly as these were read (None when there is no file form).
    """

    x: npt.NDArray[Any]
    y: npt.NDArray[Any]
    task: Task
    kind: Kind
    classes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    target: str | None = None
    source: dict[str, Any] = field(default_factory=dict[str, Any])
    encoder: Encoder | None = None

    def __post_init__(self) -> None:
        if not len(self.x) == len(self.y) == len(self.names):
            raise ShapeError(f"x has {len(self.x)} samples, y {len(self.y)} and names "
                             f"{len(self.names)}; expected the same number of each.")

    def __len__(self) -> int:
        return len(self.x)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample: (C, H, W) or (D,)."""
        return tuple(self.x.shape[1:])

    @property
    def outputs(self) -> int:
        """How many numbers a model must put out: classes, or regression targets."""
        return len(self.classes) if self.task == "classification" else int(self.y.shape[1])

    def subset(self, rows: npt.ArrayLike) -> Dataset:
        """The samples of these rows, in this order."""
        index = np.asarray(rows, np.int64)
        return replace(self, x=self.x[index], y=self.y[index],
                       names=tuple(self.names[int(i)] for i in index))

    def class_counts(self) -> dict[str, int]:
        """Samples of each class; empty for regression."""
        if self.task != "classification":
            return {}
        found = np.bincount(self.y, minlength=len(self.classes))
        return {name: int(count) for name, count in zip(self.classes, found, strict=True)}

    def __repr__(self) -> str:
        what = f"{len(self.classes)} classes" if self.classes else f"target={self.target!r}"
        return f"Dataset({len(self)} x {self.input_shape} {self.x.dtype}, {self.task}, {what})"


@dataclass(frozen=True, eq=False)
class Splits:
    """Training, validation and test samples, and what was noticed while reading them.

    problems: files or rows that were left out, with the reason.
    notes: remarks on data that were used (turned upright, missing values filled, ...).
    duplicates: groups of identical pictures that lie in more than one split.
    """

    train: Dataset
    val: Dataset
    test: Dataset
    problems: tuple[Remark, ...] = ()
    notes: tuple[Remark, ...] = ()
    duplicates: tuple[tuple[Copy, ...], ...] = ()

    def parts(self) -> dict[str, Dataset]:
        """The three splits by name."""
        return {"train": self.train, "val": self.val, "test": self.test}

    def counts(self) -> dict[str, int]:
        """Samples of each split."""
        return {name: len(part) for name, part in self.parts().items()}

    def describe(self) -> list[str]:
        """Lines for a person: sizes, then every problem, note and duplicate."""
        lines = [tr("{train} training, {val} validation and {test} test samples", **self.counts())]
        lines += [tr("left out: {name}: {reason}", name=name, reason=reason)
                  for name, reason in self.problems]
        lines += [f"{name}: {text}" if name else text for name, text in self.notes]
        lines += [tr("the same picture in several splits: {places}",
                     places=", ".join(f"{part} {name}" for part, name in copies))
                  for copies in self.duplicates]
        return lines
