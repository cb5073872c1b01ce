"""What Winograd's form of 3x3 convolutions costs in precision: `python -m benchmarks.precision`.

Errors: a convolution and its two gradients in both forms beside NumPy in float64, over a grid of
shapes; relative rms error sqrt(mean (y - e)^2 / mean e^2). The promise is that Winograd's is at
most three times that of the direct form.

Curves: small nets trained from each seed in both forms, with the same data in the same order. The
promise is that they differ within seed noise, for validation accuracy and training loss after each
epoch: over the seeds, the mean of (Winograd's - direct) is at most two standard errors from 0, and
its rms is at most the standard deviation of the direct form's figures.

The exit code is 1 if a promise is not kept.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import kiso
from benchmarks.machine import machine
from benchmarks.options import names, positive
from kiso import data, ops
from kiso.compiler import trace
from kiso.data import Dataset, Splits
from kiso.data.split import order
from kiso.ops.op import Value
from kiso.runtime import Executable, compile_graph

__all__ = ["BOUND", "GRID", "PARTS", "RECIPES", "Recipe", "broken", "curves", "errors", "main",
           "noise"]

Shape = tuple[int, int, int, int, int, int]

# Batch, input channels, output channels, height, width, padding.
GRID: tuple[Shape, ...] = (
    (2, 64, 64, 32, 32, 1), (8, 16, 16, 14, 14, 1), (1, 17, 33, 7, 9, 1), (3, 128, 64, 5, 5, 2),
    (1, 3, 64, 32, 32, 1), (16, 512, 512, 4, 4, 1), (4, 32, 32, 2, 3, 1), (1, 64, 64, 1, 1, 1),
    (8, 16, 32, 28, 28, 0), (2, 32, 32, 4, 4, 1), (1, 256, 256, 14, 14, 1))
PARTS = ("forward", "input gradient", "weight gradient", "forward, ReLU", "weight gradient, ReLU")
BOUND = 3.0  # of the error in Winograd's form, in errors of the direct form
DRAWS = 3  # of the arrays of a shape
FORMS = ("direct", "winograd")


@dataclass(frozen=True)
class Recipe:
    """A net in words, how many samples train and judge it, and for how many epochs."""

    text: str
    train: int
    val: int
    epochs: int
    batch: int = 100


RECIPES = {
    "mnist": Recipe("conv16k3p1 relu conv16k3p1 relu pool2 conv32k3p1 relu conv32k3p1 relu pool2 "
                    "flatten linear50 relu linear10", 10_000, 2_000, 2),
    "cifar10": Recipe("conv32k3p1nobias bn relu conv32k3p1nobias bn relu pool2 conv64k3p1nobias bn "
                      "relu conv64k3p1nobias bn relu gap linear10", 2_500, 2_000, 3),
}


def all_three(shape: Shape) -> Callable[..., Any]:
    """The function of (x, W, gy) that gives y and both gradients."""
    *_, height, width, pad = shape
    given: dict[str, Any] = {"stride": (1, 1), "padding": ((pad, pad), (pad, pad)),
                             "dilation": (1, 1), "groups": 1}
    x_gradient = ops.ConvInputGrad(spatial=(height, width), **given)
    w_gradient = ops.ConvWeightGrad(kernel=(3, 3), **given)

    def f(x: Value, W: Value, gy: Value) -> tuple[Value, Value, Value]:
        return ops.conv2d(x, W, padding=pad), x_gradient(gy, W), w_gradient(x, gy)

    return f


def drawn(shape: Shape, seed: int, relu: bool) -> list[np.ndarray]:
    """x (N, C, H, W), W (O, C, 3, 3), gy (N, O, ...): normal numbers, y's near 1 in size.

    With `relu` what is negative in x is 0, as behind such a layer: then sums grow, and only the
    differences that Winograd's form takes of them cancel.
    """
    n, c, o, height, width, pad = shape
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, c, height, width), np.float32)
    W = rng.standard_normal((o, c, 3, 3), np.float32) / np.float32(np.sqrt(9 * c))
    gy = rng.standard_normal((n, o, height + 2 * pad - 2, width + 2 * pad - 2), np.float32)
    return [np.maximum(x, 0) if relu else x, W, gy]


def errors(shape: Shape) -> list[dict[str, Any]]:
    """A row for each of PARTS: its relative rms error in both forms, their ratio, and whether
    Winograd's form is what `auto` takes."""
    f = all_three(shape)
    graph = trace(f, *drawn(shape, 0, False)).graph
    codes = {form: compile_graph(graph, conv=form) for form in (*FORMS, "auto")}
    rows: list[dict[str, Any]] = []
    for relu in (False, True):
        found = _relative(f, codes, shape, relu)
        first, directs, winograds = (codes[form](*drawn(shape, 0, relu))
                                     for form in ("auto", *FORMS))
        for i in (0, 2) if relu else (0, 1, 2):
            direct, winograd = (found[form][i] for form in FORMS)
            rows.append({"shape": list(shape), "part": PARTS[i // 2 + 3 if relu else i],
                         "direct": direct, "winograd": winograd, "ratio": winograd / direct,
                         "auto": np.array_equal(first[i], winograds[i])
                         and not np.array_equal(first[i], directs[i])})
    return rows


def _relative(f: Callable[..., Any], codes: dict[str, Executable], shape: Shape,
              relu: bool) -> dict[str, list[float]]:
    """Error of y, gx and gW in each form, over some draws."""
    squares = {form: np.zeros(3) for form in FORMS}
    size = np.zeros(3)
    for seed in range(DRAWS):
        arrays = drawn(shape, seed, relu)
        exact = f(*(a.astype(np.float64) for a in arrays))
        size += [np.square(e).sum() for e in exact]
        for form in FORMS:
            squares[form] += [np.square(y - e).sum()
                              for y, e in zip(codes[form](*arrays), exact, strict=True)]
    return {form: [float(r) for r in np.sqrt(found / size)] for form, found in squares.items()}


def subset(name: str, recipe: Recipe) -> Splits:
    """So many samples of a data set, dealt by a fixed seed: the same for all runs."""
    def some(part: Dataset, count: int) -> Dataset:
        return part.subset(order(len(part), seed=0, epoch=0)[:count])

    whole = data.load(name)
    return Splits(some(whole.train, recipe.train), some(whole.val, recipe.val),
                  some(whole.test, 10))


def curves(name: str, seeds: int) -> list[dict[str, Any]]:
    """A row for each quantity and epoch: see `noise`; and the figures of each seed."""
    recipe = RECIPES[name]
    splits = subset(name, recipe)
    keys = ("val_accuracy", "train_loss")
    found: dict[str, list[list[list[float]]]] = {form: [] for form in FORMS}
    for seed in range(seeds):
        for form in FORMS:
            history = kiso.fit(recipe.text, splits, epochs=recipe.epochs, batch_size=recipe.batch,
                               seed=seed, conv=form, progress=False).history
            found[form].append([[row[key] for row in history] for key in keys])
    direct, winograd = (np.array(found[form]) for form in FORMS)  # (seed, key, epoch)
    return [{"data": name, "quantity": key, "epoch": epoch + 1,
             **noise(direct[:, k, epoch], winograd[:, k, epoch])}
            for k, key in enumerate(keys) for epoch in range(recipe.epochs)]


def noise(direct: np.ndarray, winograd: np.ndarray) -> dict[str, Any]:
    """The figures of some seeds (n,) in both forms, compared.

    mean and spread (standard deviation) of the direct form's, and of the differences with their
    standard error and rms; `within`: whether the differences lie within seed noise.
    """
    difference = winograd - direct
    spread, mean = float(direct.std(ddof=1)), float(difference.mean())
    error = float(difference.std(ddof=1) / np.sqrt(len(direct)))
    rms = float(np.sqrt(np.mean(difference ** 2)))
    return {"direct": float(direct.mean()), "spread": spread, "difference": mean,
            "difference_spread": float(difference.std(ddof=1)), "standard_error": error,
            "rms": rms, "within": abs(mean) <= 2 * error and rms <= spread,
            "each": {"direct": direct.tolist(), "winograd": winograd.tolist()}}


def error_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Lines: a row for each shape; "*" where `auto` takes Winograd's form."""
    lines = ["direct / Winograd (ratio), in 1e-7; * auto takes Winograd's form", "",
             f"| N, C, O, H, W, padding | {' | '.join(PARTS)} |", "|---|" + "---|" * len(PARTS)]
    for at in range(0, len(rows), len(PARTS)):
        cells = [f"{1e7 * r['direct']:.1f} / {1e7 * r['winograd']:.1f} ({r['ratio']:.2f})"
                 + "*" * r["auto"] for r in rows[at:at + len(PARTS)]]
        lines.append(f"| {', '.join(map(str, rows[at]['shape']))} | {' | '.join(cells)} |")
    return lines


def curve_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Lines: a row for each data set, quantity and epoch."""
    columns = ("data", "quantity", "epoch", "direct", "spread", "difference", "difference_spread",
               "standard_error", "rms")
    lines = [f"| {' | '.join(c.replace('_', ' ') for c in columns)} | within seed noise |",
             "|---|" + "---|" * len(columns)]
    for row in rows:
        cells = [f"{row[c]:.2g}" if c in columns[4:] else f"{row[c]:.4g}" if c == "direct"
                 else str(row[c]) for c in columns]
        lines.append(f"| {' | '.join(cells)} | {'yes' if row['within'] else 'no'} |")
    return lines


def broken(result: dict[str, list[dict[str, Any]]]) -> list[str]:
    """A line for each promise that is not kept."""
    return [*(f"ratio {r['ratio']:.2f} > {BOUND:g}: {r['part']} of {tuple(r['shape'])}"
              for r in result["errors"] if r["ratio"] > BOUND),
            *(f"not within seed noise: {r['quantity']} of {r['data']}, epoch {r['epoch']}"
              for r in result["curves"] if not r["within"])]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print both tables and what is out of bounds; 0, or 1 if anything is."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seeds", type=positive, default=10, metavar="N",
                   help="train with the seeds 0 ... N - 1, at least 2 (default 10)")
    p.add_argument("--data", type=names(tuple(RECIPES)), default=tuple(RECIPES),
                   help=f"comma-separated, of: {', '.join(RECIPES)} (default: all)")
    p.add_argument("--json", type=Path, help="write the results to this file")
    given = p.parse_args(arguments)
    if given.seeds < 2:
        p.error("--seeds must be at least 2: a spread is needed")
    print(f"{machine()}\n")
    result: dict[str, list[dict[str, Any]]] = {
        "errors": [row for shape in GRID for row in errors(shape)], "curves": []}
    print("\n".join(error_table(result["errors"])) + "\n", flush=True)
    for name in given.data:
        result["curves"] += curves(name, given.seeds)
    print("\n".join(curve_table(result["curves"])) + "\n")
    if given.json is not None:
        given.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    found = broken(result)
    print("\n".join(["OUT OF BOUNDS:", *found]) if found else
          f"Within bounds: every ratio is at most {BOUND:g}, every curve within seed noise.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
