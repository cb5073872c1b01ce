"""Run folders as `kiso train` writes them, with made-up content."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

HOSTILE = "<script>alert('x')</script> \"' & $\\frac{1}$ {{ 7*7 }}"
ENVIRONMENT = {"python": "3.11.9", "system": "Linux", "machine": "x86_64", "threads": 2,
               "kiso": "0.1.0", "numpy": "2.4.6"}


def history(epochs: int, task: str = "classification", *, overfits: bool = False) -> list[dict]:
    """Curves that look like real ones."""
    score = {"regression": "mae", "reconstruction": "psnr"}.get(task, "accuracy")
    rows: list[dict] = []
    for epoch in range(1, epochs + 1):
        train, val = 2.0 * 0.7**epoch + 0.02, 2.0 * 0.72**epoch + 0.09
        val += 0.03 * max(0, epoch - 4) if overfits else 0.0
        scores = (train * 10, val * 10) if task == "regression" else (1 - train / 4, 1 - val / 4)
        scores = (25 - train, 25 - val) if task == "reconstruction" else scores
        row = {"epoch": epoch, "step": 20 * epoch, "lr": 0.001, "train_loss": train,
               f"train_{score}": scores[0], "gradient_norm": 0.5, "seconds": 4.1,
               "images_per_second": 3120.0, "val_loss": val, f"val_{score}": scores[1]}
        rows.append(row | ({"val_r2": 0.9} if task == "regression" else {}))
    return rows


def answers(classes: list[str], n: int, *, pictures: tuple[int, int, int] | None,
            seed: int = 0, hit: float = 0.9) -> dict[str, Any]:
    """Arrays of predictions.npz: a share `hit` of the answers is right."""
    rng = np.random.default_rng(seed)
    k = len(classes)
    y = np.concatenate([np.arange(k), rng.integers(0, k, max(0, n - k))])[:n]
    said = np.where(rng.random(n) < hit, y, (y + rng.choice([1, 1, 2, 5], n)) % k)
    scores = rng.random((n, k)) + 4.0 * rng.random((n, 1)) * (said[:, None] == np.arange(k))
    scores[np.arange(n), said] += 1.0
    output = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    arrays: dict[str, Any] = {
        "y": y.astype(np.int64), "output": output.astype(np.float32),
        "names": np.array([f"folder/sample-{i:04d}.png" for i in range(n)]),
        "classes": np.array(classes),
    }
    if pictures:
        wrong = np.flatnonzero(output.argmax(1) != y)
        worst = wrong[np.argsort(output[wrong, y[wrong]])][:24]
        shades = rng.integers(0, 256, (len(worst), *pictures), dtype=np.uint8)
        arrays |= {"wrong_rows": worst.astype(np.int64), "wrong_images": shades}
    return arrays


def numbers(n: int, targets: int = 1, seed: int = 0) -> dict[str, Any]:
    """The same for regression."""
    rng = np.random.default_rng(seed)
    y = rng.gamma(2.0, 45.0, (n, targets)).astype(np.float32)
    return {"y": y, "output": (0.85 * y + rng.normal(10, 18, y.shape)).astype(np.float32),
            "names": np.array([f"row {i + 2}" for i in range(n)]), "classes": np.array([], str)}


def given_back(n: int, *, corrupted: bool = True, classes: int = 3, seed: int = 0
               ) -> dict[str, Any]:
    """The same for pictures that are given back."""
    rng = np.random.default_rng(seed)
    losses = rng.random(n).astype(np.float32)
    worst = np.argsort(-losses)[:16]
    some = np.arange(0, n, max(1, n // 16))
    rows = np.union1d(some, worst)
    shades = rng.integers(0, 256, (3, len(rows), 1, 8, 8), dtype=np.uint8)
    found = {"rows": rows, "some": some, "worst": worst, "losses": losses, "psnr": 25 - 5 * losses,
             "y": rng.integers(0, classes, n), "classes": np.array(list("abcdefgh")[:classes]),
             "names": np.array([f"folder/picture-{row}.png" for row in rows]),
             "images": shades[0], "outputs": shades[1]}
    return found | ({"inputs": shades[2]} if corrupted else {})


def write(folder: Path, *, task: str = "classification", rows: list[dict] | None = None,
          arrays: dict[str, Any] | None = None, finished: bool = True,
          target: str | None = None, data: str = "digits") -> Path:
    """A run folder; without `finished` it is that of a running or killed training."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = history(10, task) if rows is None else rows
    options: dict[str, Any] = {"data": data, "epochs": 10, "seed": 0, "optimizer": "adam"}
    options |= {"target": target} if target else {}
    (folder / "config.toml").write_text(tomli_w.dumps({
        "options": options,
        "hyperparameters": {"model": "conv30k5 relu pool2 flatten linear100 relu linear10",
                            "epochs": 10, "batch_size": 64, "task": task,
                            "optimizer": {"name": "adam", "lr": 0.001, "betas": [0.9, 0.999]}},
        "data": {"name": data, "counts": {"train": 1257, "val": 269, "test": 271}},
    }), "utf-8")
    if rows:
        with (folder / "history.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    (folder / "checkpoint-last.safetensors").write_bytes(b"\0" * 1_234_567)
    if not finished:
        return folder
    if arrays is not None:
        np.savez_compressed(folder / "predictions.npz", **arrays)
    (folder / "metrics.json").write_text(json.dumps(_metrics(task, rows, arrays)), "utf-8")
    return folder


def _metrics(task: str, rows: list[dict], arrays: dict[str, Any] | None) -> dict[str, Any]:
    best = min(rows, key=lambda row: row["val_loss"])
    found: dict[str, Any] = {
        "task": task, "epochs": len(rows), "best_epoch": best["epoch"], "steps": 200,
        "seconds_total": 42.0, "seconds_train": 40.8, "seconds_compile": 0.0,
        "images_per_second": 3120.4, "parameters": 89610, "peak_memory_bytes": 312_000_000,
        "weights_sha256": "ab12" * 16, "seed": 0, "engine": "eager", "threads": 2,
        "stopped": "", "environment": ENVIRONMENT, "test_loss": None, "test_accuracy": None,
        **{key: value for key, value in best.items() if key.startswith(("train_", "val_"))},
    }
    if arrays is None:
        return found
    if task == "reconstruction":
        seen = {"test_input_psnr": 12.5} if "inputs" in arrays else {}
        return found | {"test_psnr": float(arrays["psnr"].mean()), "test_rmse": 20.0, **seen}
    y, output = arrays["y"], arrays["output"]
    if task == "classification":
        return found | {"test_loss": 0.1, "test_accuracy": float((output.argmax(1) == y).mean())}
    error = output - y
    return found | {"test_mae": float(np.abs(error).mean()), "test_r2": 0.91,
                    "test_rmse": float(np.sqrt((error**2).mean()))}
