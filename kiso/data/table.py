"""Tables of text cells -> numbers: CSV, kinds of columns, features fitted on training rows."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from kiso.data.dates import date_format, date_number
from kiso.errors import DataError
from kiso.text import tr

__all__ = ["ColumnKind", "Feature", "Row", "Table", "column_kind", "fit_feature", "from_rows",
           "is_missing", "numbers", "read_csv"]

Row = Mapping[str, object]
ColumnKind = Literal["number", "category", "date", "empty"]

_MISSING = frozenset({"", "?", "na", "n/a", "nan", "null"})
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+", re.ASCII)
_MOSTLY = 0.9  # a column with this share of numbers is numeric; its other cells count as missing


@dataclass
class Table:
    """Columns of stripped text cells, a name for each row, and what was noticed."""

    columns: dict[str, list[str]]
    names: list[str]
    problems: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    notes: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    options: dict[str, Any] = field(default_factory=dict[str, Any])  # delimiter, encoding, header

    def __len__(self) -> int:
        return len(self.names)


@lru_cache(1 << 16)  # cells repeat: so each different text is judged once
def is_missing(cell: str) -> bool:
    """Empty, ?, NA, N/A, NaN or null, in any case."""
    return cell.lower() in _MISSING


@lru_cache(1 << 16)
def number(cell: str) -> float | None:
    """The number of a cell (1.5, -2e3), None when it is none or not finite."""
    if not _NUMBER.fullmatch(cell):
        return None
    value = float(cell)
    return value if abs(value) < 1e30 else None  # beyond it, float32 arithmetic overflows


def numbers(cells: Sequence[str]) -> tuple[npt.NDArray[np.float64], list[int]]:
    """Values (n,), NaN where missing or unreadable, and the rows of the unreadable ones."""
    values = np.full(len(cells), np.nan)
    unreadable: list[int] = []
    for row, cell in enumerate(cells):
        value = number(cell)
        if value is not None:
            values[row] = value
        elif not is_missing(cell):
            unreadable.append(row)
    return values, unreadable


def column_kind(cells: Sequence[str]) -> ColumnKind:
    """What a column holds, judged by all of its cells."""
    present = [cell for cell in cells if not is_missing(cell)]
    if not present:
        return "empty"
    numeric = sum(number(cell) is not None for cell in present)
    if numeric >= _MOSTLY * len(present):
        return "number"
    return "date" if date_format(present) else "category"


@dataclass(frozen=True)
class Feature:
    """How one column becomes numbers. `fill` and `categories` come from the training rows."""

    name: str
    kind: ColumnKind
    fill: float = 0.0  # the median, for missing numbers and dates
    categories: tuple[str, ...] = ()  # sorted; one column of 0 and 1 each
    form: str = ""  # of dates

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the encoded columns."""
        if self.kind == "category":
            return tuple(f"{self.name}={category}" for category in self.categories)
        return (self.name,)

    def encode(self, cells: Sequence[str]) -> tuple[npt.NDArray[np.float32], list[tuple[int, str]]]:
        """float32 (n, columns), and remarks (row, text) on unreadable or unseen cells."""
        if self.kind == "category":
            return self._one_hot(cells)
        values, unreadable = numbers(cells) if self.kind == "number" else _dates(cells, self.form)
        remarks = [(row, tr("{column} is {cell!r}, not a number: counted as missing",
                            column=self.name, cell=cells[row])) for row in unreadable]
        filled = np.where(np.isnan(values), self.fill, values)
        return filled.astype(np.float32)[:, None], remarks

    def _one_hot(self, cells: Sequence[str],
                 ) -> tuple[npt.NDArray[np.float32], list[tuple[int, str]]]:
        place = {category: k for k, category in enumerate(self.categories)}
        x = np.zeros((len(cells), len(place)), np.float32)
        remarks: list[tuple[int, str]] = []
        for row, cell in enumerate(cells):
            k = place.get(cell)
            if k is not None:
                x[row, k] = 1
            elif not is_missing(cell):
                remarks.append((row, tr("{column} is {cell!r}, unknown from training: all zeros",
                                        column=self.name, cell=cell)))
        return x, remarks

    def to_json(self) -> dict[str, Any]:
        """A record that `from_json` reads back."""
        return asdict(self) | {"categories": list(self.categories)}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Feature:
        """The feature of a record."""
        return cls(str(record["name"]), record["kind"], float(record["fill"]),
                   tuple(map(str, record["categories"])), str(record["form"]))


def _dates(cells: Sequence[str], form: str) -> tuple[npt.NDArray[np.float64], list[int]]:
    values = np.full(len(cells), np.nan)
    unreadable: list[int] = []
    for row, cell in enumerate(cells):
        if not is_missing(cell):
            try:
                values[row] = date_number(cell, form)
            except ValueError:
                unreadable.append(row)
    return values, unreadable


def fit_feature(name: str, kind: ColumnKind, cells: Sequence[str],
                train: npt.NDArray[np.int64]) -> Feature:
    """Learn median or categories of a column from its training rows."""
    rows: list[int] = train.tolist()
    known = [cells[row] for row in rows if not is_missing(cells[row])]
    if kind == "category":
        return Feature(name, kind, categories=tuple(sorted(set(known))))
    form = ""
    if kind == "date":
        form = date_format([cell for cell in cells if not is_missing(cell)]) or ""
    values = numbers(known)[0] if kind == "number" else _dates(known, form)[0]
    values = values[~np.isnan(values)]
    return Feature(name, kind, fill=float(np.median(values)) if len(values) else 0.0, form=form)


def from_rows(rows: Sequence[Row]) -> Table:
    """Rows given as mappings -> Table; None and absent keys are missing."""
    keys = dict.fromkeys(str(key) for row in rows for key in row)
    cells = {key: ["" if row.get(key) is None else str(row[key]).strip() for row in rows]
             for key in keys}
    return Table(cells, [f"row {i + 1}" for i in range(len(rows))])


def _text(path: Path) -> tuple[str, str]:
    """Content and encoding: UTF-8 (or UTF-16 with a mark), else Japanese, else Latin-1."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(tr("cannot read {path}: {reason}.", path=path,
                           reason=error.strerror or str(error))) from error
    utf16 = raw[:2] in (b"\xff\xfe", b"\xfe\xff")
    for encoding in ("utf-16",) if utf16 else ("utf-8-sig", "cp932"):
        try:
            return raw.decode(encoding), encoding
        except UnicodeDecodeError:
            continue
    return raw.decode("latin-1"), "latin-1"


def _delimiter(text: str) -> str:
    """Tab, semicolon or comma: the first that cuts the first lines into equally many cells.

    Commas come last, since they also stand in numbers (1,5;2,5) and in texts.
    """
    head = "\n".join(text.splitlines()[:20])
    for candidate in ("\t", ";", ","):
        widths = [len(row) for row in csv.reader(io.StringIO(head), delimiter=candidate) if row]
        if widths and widths[0] > 1 and widths.count(widths[0]) >= 0.8 * len(widths):
            return candidate
    return ","


def _has_header(rows: list[list[str]]) -> bool:
    """Is the first row names? It is if all of it is text, or if text stands above numbers."""
    first, rest = rows[0], rows[1:21]
    if all(number(cell) is None for cell in first):
        return True
    below = [[row[k] for row in rest if k < len(row) and not is_missing(row[k])]
             for k in range(len(first))]
    return any(number(cell) is None and cells and all(number(c) is not None for c in cells)
               for cell, cells in zip(first, below, strict=True))


def _unique(header: list[str]) -> list[str]:
    """Column names: empty ones are numbered, repeated ones get a suffix."""
    names: list[str] = []
    for k, cell in enumerate(header):
        base = name = cell or f"column{k + 1}"
        repeat = 1
        while name in names:
            repeat += 1
            name = f"{base}_{repeat}"
        names.append(name)
    return names


def _point(cell: str, delimiter: str) -> str:
    """1,5 -> 1.5 where the cells are not cut at commas; elsewhere 1,500 could mean thousands."""
    return cell.replace(",", ".") if delimiter != "," and _DECIMAL_COMMA.fullmatch(cell) else cell


def read_csv(path: Path) -> Table:
    """Read a CSV file: delimiter (, ; tab), encoding and header are found out.

    Blank lines are passed over; rows with another number of cells than the header become
    problems. Rows are named by their line in the file. Errors: DataError for files without rows
    or with NUL bytes.
    """
    text, encoding = _text(path)
    if "\0" in text:
        raise DataError(tr("{path} is not a text table (it holds NUL bytes).", path=path))
    delimiter = _delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append([_point(cell.strip(), delimiter) for cell in cells])
                lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(tr("{path}, line {line}: {reason}.", path=path, line=reader.line_num,
                           reason=error)) from error
    has_header = bool(rows) and _has_header(rows)
    if len(rows) < 1 + has_header:
        raise DataError(tr("{path} has no rows of data.", path=path))
    width = len(rows[0])
    header = rows[0] if has_header else [""] * width
    body = list(zip(lines, rows, strict=True))[has_header:]
    problems = [(f"line {line}",
                 tr("{got} cells; expected {expected}", got=len(row), expected=width))
                for line, row in body if len(row) != width]
    good = [(line, row) for line, row in body if len(row) == width]
    columns = {name: [row[k] for _, row in good] for k, name in enumerate(_unique(header))}
    return Table(columns, [f"line {line}" for line, _ in good], problems,
                 options={"delimiter": delimiter, "encoding": encoding, "header": has_header})
