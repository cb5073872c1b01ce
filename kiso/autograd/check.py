"""Gradient check: the backward pass against numeric differences (curriculum D6, D7).

The central difference (f(x + h) - f(x - h)) / 2h has an error of order h^2; in float64 with
h = 1e-6 about ten digits remain for well-scaled functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kiso.autograd.tensor import Tensor, grad
from kiso.errors import GradientError

__all__ = ["GradientReport", "gradcheck", "numeric_gradient"]


@dataclass(frozen=True)
class GradientReport:
    """Result for one input: both gradients and the largest relative error."""

    position: int
    analytic: np.ndarray
    numeric: np.ndarray
    error: float


def numeric_gradient(f: Callable[[], float], x: np.ndarray, h: float = 1e-6) -> np.ndarray:
    """(f(x + h) - f(x - h)) / 2h for every element of x, which is changed and put back."""
    g = np.zeros(x.shape, np.float64)
    flat, out = x.reshape(-1), g.reshape(-1)
    if flat.base is None and x.ndim != 1:
        raise GradientError("numeric_gradient: x must be contiguous, so that it can be varied.")
    for i in range(x.size):
        old = flat[i]
        flat[i] = old + h
        above = f()
        flat[i] = old - h
        below = f()
        flat[i] = old
        out[i] = (above - below) / (2 * h)
    return g


def _outputs(y: Any) -> list[Tensor]:
    parts: list[Any] = list(y) if isinstance(y, tuple | list) else [y]  # pyright: ignore
    return [p for p in parts if p.dtype.kind == "f"]


def gradcheck(f: Callable[..., Any], *inputs: Any, h: float = 1e-6, tolerance: float = 1e-6,
              seed: int = 0) -> list[GradientReport]:
    """Compare the gradients of f (one Tensor or several) with numeric differences, in float64.

    Float inputs are checked, others are passed as they are. Outputs are weighted by random
    numbers, so that errors cannot cancel. Relative error: |a - n| / max(1, |a|, |n|), the largest.

    Errors: GradientError with the worst element if an error is above `tolerance`.
    """
    arrays = [np.array(x.data if isinstance(x, Tensor) else x, order="C") for x in inputs]
    arrays = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays]
    checked = [i for i, a in enumerate(arrays) if a.dtype.kind == "f"]
    tensors = [Tensor(a, requires_grad=i in checked) for i, a in enumerate(arrays)]
    ys = _outputs(f(*tensors))
    rng = np.random.default_rng(seed)
    weights = [rng.uniform(0.5, 1.5, y.shape) * rng.choice([-1, 1], y.shape) for y in ys]

    def weighted() -> float:
        parts = _outputs(f(*(Tensor(a) for a in arrays)))
        return float(sum(np.sum(p.data * w) for p, w in zip(parts, weights, strict=True)))

    total: Any = 0
    for y, w in zip(ys, weights, strict=True):
        total = total + (y * w).sum()
    analytic = grad(total, [tensors[i] for i in checked])
    reports: list[GradientReport] = []
    for i, a in zip(checked, analytic, strict=True):
        if a.shape != arrays[i].shape:
            raise GradientError(f"gradient of input {i} has shape {a.shape}, the input "
                                f"{arrays[i].shape}; they must be equal.")
        n = numeric_gradient(weighted, arrays[i], h)
        scale = np.maximum(1, np.maximum(np.abs(a.data), np.abs(n)))
        errors = np.abs(a.data - n) / scale
        worst = float(errors.max()) if errors.size else 0.0
        if not worst <= tolerance:
            at = tuple(int(k) for k in np.unravel_index(int(np.argmax(errors)), errors.shape))
            raise GradientError(
                f"gradient of input {i} at {at}: backward gives {a.data[at]:.9g}, numeric "
                f"differences give {n[at]:.9g}; relative error {worst:.2g} > {tolerance:g}.")
        reports.append(GradientReport(i, a.data, n, worst))
    return reports
