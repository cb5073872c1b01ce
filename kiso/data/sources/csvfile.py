"""CSV tables with a target column -> splits of float32 features.

Numbers stay numbers, those in columns such as year and month too; missing ones become the training
rows' median. Categories become one column of 0 and 1 each; missing ones and those that no training
row has are all zeros. Dates and running numbers (No, id) are left out unless `columns` names
them. Rows without a target are dropped and counted. All that is learned from data (medians,
categories) is learned from the training rows alone.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kiso.data.dataset import Dataset, Splits, Task
from kiso.data.encoders import TableEncoder
from kiso.data.pictures import refuse_broken
from kiso.data.sources.parts import Request, need_two_classes
from kiso.data.sources.targets import guess_task
from kiso.data.split import fractions, partition
from kiso.data.table import (
    ColumnKind,
    Feature,
    Table,
    column_kind,
    fit_feature,
    is_missing,
    numbers,
    read_csv,
)
from kiso.errors import DataError
from kiso.text import tr

__all__ = ["read"]

_USUAL_TARGETS = ("target", "label", "class", "y")
_SHOWN = 8  # categories that a note lists
_MOST_CATEGORIES = 100  # text columns with more (names, comments) are left out unless asked for


def _no_column(name: str, table: Table, path: Path) -> DataError:
    names = [column.lower() for column in table.columns]
    near = difflib.get_close_matches(name.lower(), names, 3, 0.5)
    close = [column for column in table.columns if column.lower() in near]
    hint = tr(" Did you mean {names}?", names=", ".join(close)) if close else ""
    return DataError(tr("{path} has no column {name!r}; its columns are: {columns}.{hint}",
                        path=path, name=name, columns=", ".join(table.columns), hint=hint))


def _find_target(table: Table, target: str | None, path: Path) -> str:
    """The target column: the one asked for, or the only one with a usual name."""
    if target is not None:
        if target not in table.columns:
            raise _no_column(target, table, path)
        return target
    usual = [column for column in table.columns if column.lower() in _USUAL_TARGETS]
    if len(usual) != 1:
        raise DataError(tr("which column of {path} is to be predicted? Name it with --target; the "
                           "columns are: {columns}.", path=path,
                           columns=", ".join(table.columns)))
    return usual[0]


def _running_number(cells: Sequence[str]) -> bool:
    """Does the column only count the rows (each one more than the one before)?"""
    if len(cells) < 3:
        return False
    values, bad = numbers(cells)
    return not bad and bool((np.diff(values) == 1).all()) and values[0] == np.rint(values[0])


def _choose(table: Table, target: str, asked: Sequence[str] | None,
            path: Path) -> dict[str, ColumnKind]:
    """The input columns and their kinds; what is left out is noted."""
    for name in asked or ():
        if name not in table.columns:
            raise _no_column(name, table, path)
    chosen: dict[str, ColumnKind] = {}
    running: list[str] = []
    for name, cells in table.columns.items():
        if name == target or (asked is not None and name not in asked):
            continue
        kind = column_kind(cells)
        reason = ""
        if kind == "empty":
            reason = tr("column left out: it has no values")
        elif asked is None and kind == "date":
            reason = tr("column left out: dates are used only when named with --columns")
        elif asked is None and kind == "category" and len(set(cells)) > _MOST_CATEGORIES:
            reason = tr("column left out: {count} different texts; name it with --columns to use "
                        "it", count=len(set(cells)))
        elif asked is None and kind == "number" and _running_number(cells):
            running.append(name)
            continue
        if reason:
            table.notes.append((name, reason))
        else:
            chosen[name] = kind
    for name in running:
        if chosen:
            table.notes.append((name, tr("column left out: it only numbers the rows; name it "
                                         "with --columns to use it")))
        else:
            chosen[name] = "number"  # x = 1, 2, 3 ... is all there is
    if not chosen:
        raise DataError(tr("{path} has no column to predict {target} from.", path=path,
                           target=target))
    return {name: chosen[name] for name in table.columns if name in chosen}


def _rows_with_target(table: Table, target: str, path: Path) -> tuple[Table, int]:
    """The table without the rows that have no target, and how many those were."""
    keep = [i for i, cell in enumerate(table.columns[target]) if not is_missing(cell)]
    if not keep:
        raise DataError(tr("{path}: the target {target} is missing in every row.", path=path,
                           target=target))
    dropped = len(table) - len(keep)
    if dropped:
        table.notes.append((target, tr("{dropped} of {total} rows dropped: the target is missing",
                                       dropped=dropped, total=len(table))))
    columns = {name: [cells[i] for i in keep] for name, cells in table.columns.items()}
    names = [table.names[i] for i in keep]
    return Table(columns, names, table.problems, table.notes, table.options), dropped


def _target_values(cells: Sequence[str], target: str, task: Task | None,
                   ) -> tuple[npt.NDArray[Any], Task, tuple[str, ...]]:
    """y, the task and the classes; class numbers follow the order of numbers or texts."""
    values, unreadable = numbers(cells)
    if task == "regression" and unreadable:
        raise DataError(tr("the target {name} is not a number in {count} rows (such as {cell!r}); "
                           "regression needs numbers.", name=target, count=len(unreadable),
                           cell=cells[unreadable[0]]))
    task = guess_task(np.array(cells) if unreadable else values, task, target)
    if task == "regression":
        return values.astype(np.float32)[:, None], task, ()
    if not unreadable:  # 1 and 1.0 are one class
        distinct, y = np.unique(values, return_inverse=True)
        return y.astype(np.int64), task, tuple(map(_plain, distinct.tolist()))
    names, y = np.unique(np.array(cells), return_inverse=True)
    return y.astype(np.int64), task, tuple(map(str, names))


def _plain(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def _remark_on_cells(table: Table, features: Sequence[Feature]) -> None:
    """Notes for each category, and for missing, unreadable or (outside of training) unseen cells.
    """
    for feature in features:
        cells = table.columns[feature.name]
        if feature.kind == "category":
            shown = ", ".join(feature.categories[:_SHOWN])
            more = len(feature.categories) - _SHOWN
            table.notes.append((feature.name, tr(
                "category, encoded as {count} columns of 0 and 1: {names}",
                count=len(feature.categories), names=shown + (", ..." if more > 0 else ""))))
        missing = sum(map(is_missing, cells))
        if missing and feature.kind == "category":
            table.notes.append((feature.name, tr("{count} missing values: all zeros",
                                                 count=missing)))
        elif missing:
            table.notes.append((feature.name, tr(
                "{count} missing values filled with the training median {fill:g}", count=missing,
                fill=feature.fill)))
        _, remarks = feature.encode(cells)
        if remarks:
            row, text = remarks[0]
            table.notes.append((feature.name, tr("{count} odd values; the first, in {row}: {text}",
                                                 count=len(remarks), row=table.names[row],
                                                 text=text)))


def read(path: Path, request: Request) -> Splits:
    """Read a table and deal its rows: stratified by class, or at random for regression."""
    table = read_csv(path)
    refuse_broken(table.problems, request.on_broken)
    target = _find_target(table, request.target, path)
    kinds = _choose(table, target, request.columns, path)
    table, dropped = _rows_with_target(table, target, path)
    y, task, classes = _target_values(table.columns[target], target, request.task)
    if task == "classification":
        need_two_classes(classes, tr("the target {name}", name=target))
    parts = fractions(request.split)
    rows = partition(len(table), parts, seed=request.seed, labels=y if classes else None)
    if min(map(len, rows)) == 0:
        raise DataError(tr("{path} has {count} usable rows: too few for training, validation and "
                           "test.", path=path, count=len(table)))
    features = [fit_feature(name, kind, table.columns[name], rows[0])
                for name, kind in kinds.items()]
    _remark_on_cells(table, features)
    encoder = TableEncoder(tuple(features))
    encoded = encoder.encode_table(table)
    source: dict[str, Any] = {
        "name": path.stem, "format": "csv", "path": str(path), **table.options,
        "rows": len(table), "missing_target": dropped,
        "file_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "split": dict(zip(("train", "val", "test"), parts, strict=True)), "seed": request.seed}
    whole = Dataset(encoded.x, y, task, "table", classes, encoded.names, encoder.columns, target,
                    source, encoder)
    train, val, test = (whole.subset(part) for part in rows)
    return Splits(train, val, test, tuple(table.problems), tuple(table.notes))
