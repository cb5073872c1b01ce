"""Reading new files or rows exactly as the training data were read (`kiso predict`).

An encoder is a small JSON-able record that travels with a run. `encode` returns the samples,
their names,
and the problems: files that gave no sample, or remarks on rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import numpy.typing as npt

from kiso.data import images
from kiso.data.images import Fit, Size
from kiso.data.pictures import File, ImageOptions, read_pictures, stack
from kiso.data.table import Feature, Row, Table, from_rows, is_missing, read_csv
from kiso.errors import CheckpointError, DataError
from kiso.text import tr

__all__ = ["Encoded", "Encoder", "ImageEncoder", "TableEncoder", "encoder_from_json"]


class Encoded(NamedTuple):
    """x: samples (N, C, H, W) or (N, D); names: one each; problems: (file or row, reason)."""

    x: npt.NDArray[Any]
    names: tuple[str, ...]
    problems: tuple[tuple[str, str], ...]


class Encoder(Protocol):
    """What ImageEncoder and TableEncoder have in common."""

    def encode(self, inputs: Any) -> Encoded: ...

    def to_json(self) -> dict[str, Any]: ...


def _picture_files(inputs: Iterable[str | Path]) -> list[File]:
    """Files as they are; folders stand for the pictures in them, in order of name."""
    files: list[File] = []
    for item in inputs:
        path = Path(item)
        if not path.exists():
            raise DataError(tr("there is no file {path}.", path=path))
        inside = [path] if path.is_file() else sorted(
            p for p in path.rglob("*") if p.is_file() and not p.name.startswith(".")
            and p.suffix.lower() in (*images.SUFFIXES, *images.UNREADABLE))
        files += [File(str(p), p) for p in inside]
    return files


@dataclass(frozen=True)
class ImageEncoder:
    """Pictures -> uint8 (N, channels, *size)."""

    size: Size
    channels: int = 3
    fit: Fit = "crop"
    max_pixels: int = images.MAX_PIXELS

    def encode(self, inputs: str | Path | Iterable[str | Path]) -> Encoded:
        """Read picture files (and the pictures in folders); unreadable ones become problems."""
        paths = [inputs] if isinstance(inputs, str | Path) else inputs
        options = ImageOptions(self.size, self.fit, self.channels == 1, self.max_pixels)
        read = read_pictures(_picture_files(paths), options)
        x = np.zeros((0, self.channels, *self.size), np.uint8)
        if read.pixels:
            x = stack(read.pixels, options)
            if x.shape[1] < self.channels:  # grey files for a colour net
                x = np.repeat(x, self.channels, axis=1)
        return Encoded(x, tuple(read.names), tuple(read.problems))

    def to_json(self) -> dict[str, Any]:
        """A record that `encoder_from_json` reads back."""
        return {"kind": "image", "size": list(self.size), "channels": self.channels,
                "fit": self.fit, "max_pixels": self.max_pixels}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> ImageEncoder:
        """The encoder of a record."""
        height, width = record["size"]
        return cls((int(height), int(width)), int(record["channels"]), record["fit"],
                   int(record["max_pixels"]))


@dataclass(frozen=True)
class TableEncoder:
    """Rows of a table -> float32 (N, D), by the features fitted on the training split."""

    features: tuple[Feature, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the D columns; a category column gives one for each category."""
        return tuple(name for feature in self.features for name in feature.columns)

    def encode(self, inputs: str | Path | Row | Sequence[Row]) -> Encoded:
        """Encode a CSV file, one row (a mapping of column name to value) or several.

        Missing and unreadable numbers become the training median; missing and unseen categories
        become all zeros; the problems name each of them. Other columns are ignored.
        """
        if isinstance(inputs, str | Path):
            table = read_csv(Path(inputs))
        elif isinstance(inputs, Sequence):
            table = from_rows(inputs)
        else:
            table = from_rows([inputs])
        encoded = self.encode_table(table)
        return encoded._replace(problems=(*encoded.problems, *self._missing(table)))

    def _missing(self, table: Table) -> list[tuple[str, str]]:
        """Remarks on empty cells: who asks about few rows wants to know of each."""
        remarks: list[tuple[str, str]] = []
        for feature in self.features:
            text = (tr("{column} is missing: all zeros", column=feature.name)
                    if feature.kind == "category" else
                    tr("{column} is missing: filled with the training median {fill:g}",
                       column=feature.name, fill=feature.fill))
            cells = table.columns[feature.name]
            remarks += [(table.names[row], text) for row, cell in enumerate(cells)
                        if is_missing(cell)]
        return remarks

    def encode_table(self, table: Table) -> Encoded:
        """Encode a table that was read already."""
        absent = [f.name for f in self.features if f.name not in table.columns]
        if absent:
            raise DataError(tr("the columns {absent} are missing; the model was trained on {all}.",
                               absent=", ".join(absent),
                               all=", ".join(f.name for f in self.features)))
        parts = [np.zeros((len(table), 0), np.float32)]
        problems = list(table.problems)
        for feature in self.features:
            values, remarks = feature.encode(table.columns[feature.name])
            parts.append(values)
            problems += [(table.names[row], text) for row, text in remarks]
        return Encoded(np.concatenate(parts, axis=1), tuple(table.names), tuple(problems))

    def to_json(self) -> dict[str, Any]:
        """A record that `encoder_from_json` reads back."""
        return {"kind": "table", "features": [feature.to_json() for feature in self.features]}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> TableEncoder:
        """The encoder of a record."""
        features = cast("list[dict[str, Any]]", record["features"])
        return cls(tuple(Feature.from_json(feature) for feature in features))


def encoder_from_json(record: dict[str, Any]) -> ImageEncoder | TableEncoder:
    """The encoder that wrote the record with `to_json`."""
    kinds = {"image": ImageEncoder, "table": TableEncoder}
    try:
        return kinds[record["kind"]].from_json(record)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(tr("the record of how to read new data is damaged: {reason}.",
                                 reason=f"{type(error).__name__} {error}")) from error
