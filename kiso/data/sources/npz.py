"""NumPy's .npz: arrays x and y, or x_train, y_train, x_test, y_test (and x_val, y_val).

Pictures: bytes, or floats from 0 to 1, as (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3.
Tables: (N, D). y: class numbers or names (N,), one-hot rows, or regression targets (N,) or (N, K).
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kiso.data.dataset import Kind, Task
from kiso.data.sources.parts import Part, Pool, Request, need_two_classes, numbered
from kiso.data.sources.targets import guess_task
from kiso.errors import DataError
from kiso.text import tr

__all__ = ["read"]

Array = npt.NDArray[Any]


def _load(path: Path) -> dict[str, Array]:
    """All arrays; object arrays (which would be unpickled) are refused by NumPy."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {str(name).lower(): np.asarray(archive[name]) for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, AttributeError) as error:
        raise DataError(tr("{path} cannot be read as .npz without running code from it: {reason}.",
                           path=path, reason=error)) from error


def _pairs(arrays: dict[str, Array], path: Path) -> dict[str, tuple[Array, Array]]:
    """Parts by name from the names of the arrays."""
    if "x" in arrays and "y" in arrays:
        return {"all": (arrays["x"], arrays["y"])}
    pairs = {part: (arrays[f"x_{part}"], arrays[f"y_{part}"]) for part in ("train", "val", "test")
             if f"x_{part}" in arrays and f"y_{part}" in arrays}
    if "train" not in pairs:
        raise DataError(tr("{path} holds the arrays {names}; expected x and y, or x_train, "
                           "y_train, x_test and y_test.", path=path,
                           names=", ".join(sorted(arrays)) or "-"))
    return pairs


def _pictures(x: Array, path: Path) -> npt.NDArray[np.uint8]:
    """(N, H, W), (N, H, W, C) or (N, C, H, W) -> uint8 (N, C, H, W)."""
    if x.ndim == 3:
        x = x[:, None]
    elif x.shape[1] not in (1, 3) and x.shape[3] in (1, 3):
        x = x.transpose(0, 3, 1, 2)
    if x.shape[1] not in (1, 3):
        raise DataError(tr("{path}: pictures of shape {shape}; expected 1 or 3 channels.",
                           path=path, shape=x.shape))
    if x.dtype == np.uint8:
        return np.ascontiguousarray(x)
    low, high = float(x.min(initial=0)), float(x.max(initial=0))
    if low < 0 or high > 255 or not np.isfinite(high) or np.isnan(x).any():
        raise DataError(tr("{path}: pixel values from {low:g} to {high:g}; expected bytes, or "
                           "numbers from 0 to 1.", path=path, low=low, high=high))
    scale = 255 if x.dtype.kind == "f" and high <= 1 else 1
    return np.ascontiguousarray(np.rint(x * scale).astype(np.uint8))


def _inputs(x: Array, path: Path) -> tuple[Array, Kind]:
    if x.dtype.kind not in "uifb":
        raise DataError(tr("{path}: x has elements of type {kind}; expected numbers.", path=path,
                           kind=x.dtype))
    if x.ndim in (3, 4):
        return _pictures(x, path), "image"
    if x.ndim != 2:
        raise DataError(tr("{path}: x has {ndim} dimensions; expected 2 (a table), 3 or 4 "
                           "(pictures).", path=path, ndim=x.ndim))
    table = x.astype(np.float32)
    if not np.isfinite(table).all():
        raise DataError(tr("{path}: x holds NaN or infinity; fill or remove these rows.",
                           path=path))
    return table, "table"


def _targets(ys: dict[str, Array], task: Task | None, path: Path,
             ) -> tuple[dict[str, Array], Task, tuple[str, ...]]:
    """Class numbers and names, or float32 (N, K)."""
    train = ys["all"] if "all" in ys else ys["train"]
    if train.ndim == 2 and train.shape[1] == 1:
        ys = {part: y.reshape(-1) for part, y in ys.items()}
        train = train.reshape(-1)
    if train.ndim == 2 and task != "regression" and np.isin(train, (0, 1)).all() \
            and (train.sum(1) == 1).all():  # one-hot rows
        classes = tuple(map(str, range(train.shape[-1])))
        numbers = {part: y.argmax(1).astype(np.int64) for part, y in ys.items()}
        return numbers, "classification", classes
    task = "regression" if train.ndim == 2 else guess_task(train, task, str(path))
    if task == "regression":
        return {part: y.reshape(len(y), -1).astype(np.float32) for part, y in ys.items()}, task, ()
    every = np.unique(np.concatenate(list(ys.values())))
    numbers = {part: np.searchsorted(every, y).astype(np.int64) for part, y in ys.items()}
    return numbers, task, tuple(str(value) for value in every)


def read(path: Path, request: Request) -> Pool:
    """Read an .npz file of pictures or of a table."""
    pairs = _pairs(_load(path), path)
    for part, (x, y) in pairs.items():
        if len(x) != len(y) or len(x) == 0 or y.ndim not in (1, 2):
            raise DataError(tr("{path}: {part} has x of shape {x} and y of shape {y}; expected the "
                               "same number of samples, at least one.", path=path, part=part,
                               x=x.shape, y=y.shape))
    inputs = {part: _inputs(x, path) for part, (x, _) in pairs.items()}
    if len({(x.shape[1:], kind) for x, kind in inputs.values()}) > 1:
        raise DataError(tr("{path}: the parts have samples of different shapes.", path=path))
    ys, task, classes = _targets({part: y for part, (_, y) in pairs.items()}, request.task, path)
    if task == "classification":
        need_two_classes(classes, path)
    x, kind = next(iter(inputs.values()))
    columns = tuple(f"x{k}" for k in range(x.shape[1])) if kind == "table" else ()
    parts = {part: Part(x, ys[part], numbered(part, len(x))) for part, (x, _) in inputs.items()}
    return Pool(parts, task=task, kind=kind, classes=classes, columns=columns,
                target="y" if kind == "table" else None,
                source={"name": path.stem, "format": "npz", "path": str(path)})
