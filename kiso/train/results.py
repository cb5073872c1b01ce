"""Figures of a finished run: metrics.json."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from kiso.data import Dataset

if TYPE_CHECKING:
    from kiso.train.engine import Engine
    from kiso.train.loop import Position
    from kiso.train.setup import Setup

__all__ = ["environment", "final_metrics", "test_metrics"]


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


def test_metrics(engine: Engine, part: Dataset, result: dict[str, Any], prefix: str = "test_"
                 ) -> dict[str, Any]:
    """Loss and all scores of an evaluated data set, JSON-able."""
    found = {"loss": result["loss"], **engine.step.aim.figures(engine, part, result)}
    return {f"{prefix}{name}": value for name, value in found.items()}


def final_metrics(setup: Setup, engine: Engine, at: Position, results: dict[str, dict[str, Any]],
                  sha256: str, threads: int, seconds_total: float) -> dict[str, Any]:
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
        "seconds_compile": engine.seconds_compile,
        "images_per_second": seen / max(at.train_seconds, 1e-9),
        "parameters": sum(int(p.size) for p in setup.step.model.parameters()),
        "peak_memory_bytes": peak_memory_bytes(), "weights_sha256": sha256,
        "seed": setup.options.seed, "engine": setup.options.engine, "threads": threads,
        "conv": setup.options.conv,
        "stopped": at.stopped, "samples": setup.splits.counts(),
        "environment": environment(threads),
    }
    for name, result in results.items():
        found |= test_metrics(engine, getattr(setup.splits, name), result, f"{name}_")
    return found
