"""Reading a run folder, as much of it as is there."""

from __future__ import annotations

import csv
import json
import tomllib
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kiso.errors import DataError
from kiso.text import tr
from kiso.train.tasks import RECONSTRUCTION, TASKS

__all__ = ["Pictures", "Predictions", "Run", "read_run"]

Row = dict[str, float]


@dataclass(frozen=True, eq=False)
class Predictions:
    """Answers for the test split with the best weights."""

    y: npt.NDArray[Any]  # (N,) classes or (N, K) targets
    output: npt.NDArray[Any]  # (N, classes) probabilities or (N, K) predicted targets
    names: list[str]  # (N,) file or row of each sample, "" allowed
    classes: list[str]
    wrong_rows: list[int]  # samples with pictures, the most wrong ones first
    wrong_images: npt.NDArray[np.uint8]  # (k, C, H, W)


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures of the test split that were given back with the best weights; uint8 (k, C, H, W)."""

    psnr: npt.NDArray[Any]  # (N,) dB, of all pictures
    y: npt.NDArray[Any]  # (N,) their classes
    classes: list[str]
    rows: list[int]  # (k,) which ones follow
    some: list[int]  # those that are spread evenly over the part
    worst: list[int]  # those with the highest loss, the worst first
    names: list[str]  # (k,)
    images: npt.NDArray[np.uint8]
    outputs: npt.NDArray[np.uint8]
    inputs: npt.NDArray[np.uint8] | None  # what the net saw, where that was corrupted


@dataclass(frozen=True, eq=False)
class Run:
    """What a run folder holds; empty parts are named in `missing` or `damaged`."""

    folder: Path
    config: dict[str, Any] = field(default_factory=dict[str, Any])
    history: list[Row] = field(default_factory=list[Row])
    metrics: dict[str, Any] = field(default_factory=dict[str, Any])
    predictions: Predictions | Pictures | None = None
    missing: list[str] = field(default_factory=list[str])  # file names
    damaged: dict[str, str] = field(default_factory=dict[str, str])  # file name -> reason
    files: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])  # name, bytes

    @property
    def finished(self) -> bool:
        """Whether the training came to its end (metrics.json is written then)."""
        return bool(self.metrics)

    @property
    def task(self) -> str:
        """A name of TASKS, from whatever file tells."""
        chosen: Any = self.config.get("hyperparameters", {})
        named: Any = chosen.get("task") if isinstance(chosen, dict) else None  # pyright: ignore
        stated = str(self.metrics.get("task") or named)  # pyright: ignore
        if stated in TASKS:
            return stated
        if isinstance(self.predictions, Pictures):
            return RECONSTRUCTION
        if self.predictions is not None:
            integers = np.issubdtype(self.predictions.y.dtype, np.integer)
            return "classification" if integers else "regression"
        return next((name for name, task in TASKS.items()
                     if any(f"train_{task.score}" in row for row in self.history)),
                    "classification")

    @property
    def score(self) -> str:
        """Name of the second column of the history: "accuracy", "mae" or "psnr"."""
        return TASKS[self.task].score

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights were kept; 0 before the first one."""
        stated = self.metrics.get("best_epoch")
        if isinstance(stated, int) and stated > 0:
            return stated
        if not self.history:
            return 0
        return int(min(self.history, key=_goodness(self.task))["epoch"])

    def number(self, key: str) -> float | None:
        """A number of metrics.json; None where it is absent."""
        value: Any = self.metrics.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value)

    def setting(self, name: str) -> Any:
        """A value of config.toml, from whichever of its tables has it; None without."""
        tables: list[Any] = [self.config.get("hyperparameters"), self.config.get("options"),
                             self.config.get("data"), self.config]
        for table in tables:
            if isinstance(table, dict) and name in table:
                return table[name]  # pyright: ignore[reportUnknownVariableType]
        return None


def _goodness(task: str) -> Callable[[Row], tuple[float, float]]:
    """Sort key of epochs, the best first: by accuracy, then by loss, as the training chooses."""
    def key(row: Row) -> tuple[float, float]:
        loss = row.get("val_loss", row.get("train_loss", float("inf")))
        score = row.get("val_accuracy", row.get("train_accuracy", 0.0))
        return (-score, loss) if TASKS[task].by_score else (loss, 0.0)
    return key


def read_run(folder: Path) -> Run:
    """Read a run folder. Errors: DataError when it is none (it has no file of a run)."""
    if not folder.is_dir():
        raise DataError(tr("{folder} is no folder; give the folder of a run, as 'kiso train' "
                           "printed it.", folder=folder))
    readers: dict[str, Callable[[Path], Any]] = {
        "config.toml": _config, "history.csv": _history, "metrics.json": _metrics,
        "predictions.npz": _predictions,
    }
    found: dict[str, Any] = {}
    missing: list[str] = []
    damaged: dict[str, str] = {}
    for name, read in readers.items():
        path = folder / name
        if not path.is_file():
            missing.append(name)
            continue
        try:
            found[name.split(".")[0]] = read(path)
        except (OSError, ValueError, KeyError, IndexError, EOFError, csv.Error,
                zipfile.BadZipFile, zlib.error) as error:
            damaged[name] = f"{type(error).__name__}: {error}"
    if len(missing) == len(readers):
        raise DataError(tr("{folder} is no run: it has none of {files}; give the folder of a run, "
                           "as 'kiso train' printed it.", folder=folder,
                           files=", ".join(readers)))
    files = [(p.name, p.stat().st_size) for p in sorted(folder.iterdir())
             if p.is_file() and not p.name.startswith(".") and p.name != "report.html"]
    return Run(folder, missing=missing, damaged=damaged, files=files, **found)


def _config(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text("utf-8"))


def _metrics(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_text("utf-8"))
    if not isinstance(value, dict):
        raise ValueError("expected a JSON object")
    return dict(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def _history(path: Path) -> list[Row]:
    """Lines with an epoch; cells that are no numbers are left out."""
    rows: list[Row] = []
    with path.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            row: Row = {}
            for name, cell in line.items():
                try:
                    row[str(name)] = float(cell)
                except (TypeError, ValueError):
                    continue
            if row.get("epoch", 0) >= 1:
                rows.append(row)
    return rows


def _predictions(path: Path) -> Predictions | Pictures:
    # Opened here: of a damaged file np.load itself would leave the handle open.
    with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
        arrays: dict[str, Any] = {name: file[name] for name in file.files}
    if "outputs" in arrays:
        return _pictures(arrays)
    y, output = arrays["y"], arrays["output"]
    if output.ndim != 2 or len(y) != len(output) or len(y) == 0:
        raise ValueError(f"y {y.shape} and output {output.shape} do not belong together")
    classes = [str(name) for name in arrays.get("classes", [])]
    if y.ndim == 1 and np.issubdtype(y.dtype, np.integer):
        if not classes:
            classes = [str(i) for i in range(output.shape[1])]
        if output.shape[1] != len(classes) or y.min() < 0 or y.max() >= len(classes):
            raise ValueError(f"y and output do not fit {len(classes)} classes")
    else:
        y = y.reshape(len(y), -1)
        if y.shape != output.shape:
            raise ValueError(f"y {y.shape} and output {output.shape} do not belong together")
    names = [str(name) for name in arrays.get("names", [])]
    if len(names) != len(y):
        names = [""] * len(y)
    rows = [int(i) for i in arrays.get("wrong_rows", [])]
    images = np.asarray(arrays.get("wrong_images", np.zeros((0, 1, 1, 1), np.uint8)))
    if images.ndim != 4 or len(images) != len(rows) or any(not 0 <= i < len(y) for i in rows):
        raise ValueError("the pictures do not belong to the samples")
    return Predictions(y, output, names, classes, rows, images.astype(np.uint8))


def _pictures(arrays: dict[str, Any]) -> Pictures:
    rows, some, worst = ([int(i) for i in arrays[name]] for name in ("rows", "some", "worst"))
    images, outputs, inputs = arrays["images"], arrays["outputs"], arrays.get("inputs")
    psnr, y, names = arrays["psnr"], arrays["y"], [str(name) for name in arrays["names"]]
    if images.ndim != 4 or outputs.shape != images.shape or \
            (inputs is not None and inputs.shape != images.shape):
        raise ValueError("the pictures do not belong together")
    if not len(rows) == len(names) == len(images) or not {*some, *worst} <= set(rows) or \
            any(not 0 <= i < len(psnr) for i in rows) or len(y) != len(psnr):
        raise ValueError("the pictures do not belong to the samples")
    classes = [str(name) for name in arrays.get("classes", [])]
    return Pictures(psnr, y, classes, rows, some, worst, names, images, outputs, inputs)
