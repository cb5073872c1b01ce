"""Figures of a finished run: metrics.json and the arrays that the report shows."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np

from kiso.data import Dataset
from kiso.train import metrics

if TYPE_CHECKING:
    from kiso.train.loop import Position
    from kiso.train.setup import Setup

__all__ = ["environment", "final_metrics", "prediction_arrays", "test_metrics"]

SHOWN = 24  # most wrong images in a report


def peak_memory_bytes() -> int | None:
    """Largest memory of this process so far; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def environment(threads: int) -> dict[str, Any]:
    """Versions and machine, as far as they may change a result."""
    packages: dict[str, str] = {}
    for name in ("kiso", "numpy", "safetensors", "pillow", "scikit-learn", "matplotlib"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "unknown"
    return {"python": platform.python_version(), "system": platform.system(),
            "machine": platform.machine(), "threads": threads, **packages}


def test_metrics(part: Dataset, result: dict[str, Any], prefix: str = "test_") -> dict[str, Any]:
    """Loss and all scores of an evaluated data set, JSON-able."""
    found: dict[str, Any] = {f"{prefix}loss": result["loss"]}
    if part.task == "regression":
        y, p = part.y, result["output"]
        found |= {f"{prefix}mae": metrics.mae(y, p), f"{prefix}mse": metrics.mse(y, p),
                  f"{prefix}rmse": metrics.rmse(y, p), f"{prefix}r2": metrics.r2(y, p)}
        return found
    matrix = metrics.confusion_matrix(part.y, result["output"].argmax(1), len(part.classes))
    report = metrics.class_report(matrix)
    found[f"{prefix}accuracy"] = metrics.accuracy(part.y, result["output"].argmax(1))
    if len(part.classes) > 5:
        found[f"{prefix}top5_accuracy"] = metrics.top_k_accuracy(result["output"], part.y, 5)
    found[f"{prefix}report"] = report.as_dict(list(part.classes))
    found[f"{prefix}confusion_matrix"] = matrix.tolist()
    return found


def final_metrics(setup: Setup, at: Position, results: dict[str, dict[str, Any]], sha256: str,
                  threads: int, seconds_total: float, seconds_compile: float) -> dict[str, Any]:
    """metrics.json. Training figures are the running means of the best epoch, whose weights are
    kept; validation and test figures are those of these weights."""
    best = next(row for row in at.history if row["epoch"] == at.best["epoch"])
    score = setup.score_name
    seen = len(setup.splits.train) * at.epoch
    found: dict[str, Any] = {
        "task": setup.step.task,
        "train_loss": best["train_loss"], "train_accuracy": None,
        "val_loss": None, "val_accuracy": None, "test_loss": None, "test_accuracy": None,
        f"train_{score}": best[f"train_{score}"],
        "epochs": at.epoch, "best_epoch": at.best["epoch"], "steps": at.step,
        "seconds_total": seconds_total, "seconds_train": at.train_seconds,
        "seconds_compile": seconds_compile,
        "images_per_second": seen / max(at.train_seconds, 1e-9),
        "parameters": sum(int(p.size) for p in setup.step.model.parameters()),
        "peak_memory_bytes": peak_memory_bytes(), "weights_sha256": sha256,
        "seed": setup.options.seed, "engine": setup.options.engine, "threads": threads,
        "conv": setup.options.conv,
        "stopped": at.stopped, "samples": setup.splits.counts(),
        "environment": environment(threads),
    }
    for name, result in results.items():
        found |= test_metrics(getattr(setup.splits, name), result, f"{name}_")
    return found


def prediction_arrays(part: Dataset, result: dict[str, Any]) -> dict[str, np.ndarray]:
    """Answers for the test split, and the pictures with the highest loss among the wrong ones."""
    arrays = {"y": part.y, "output": result["output"], "names": np.array(part.names, str),
              "classes": np.array(part.classes, str)}
    if part.kind == "image" and part.task == "classification":
        wrong = np.flatnonzero(result["output"].argmax(1) != part.y)
        worst = wrong[np.argsort(-result["losses"][wrong], kind="stable")][:SHOWN]
        arrays |= {"wrong_rows": worst.astype(np.int64), "wrong_images": part.x[worst]}
    return arrays
