"""What the tests of this folder share: all rules, small problems, a training loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kiso.optim import (
    SGD,
    AdaDelta,
    AdaGrad,
    Adam,
    AdamW,
    Eve,
    Lion,
    NAdam,
    Optimizer,
    RAdam,
    RMSProp,
)

RULES: dict[str, Optimizer] = {
    "sgd": SGD(),
    "momentum": SGD(momentum=0.9),
    "dampening": SGD(momentum=0.9, dampening=0.3),
    "nesterov": SGD(momentum=0.9, nesterov=True),
    "adagrad": AdaGrad(lr_decay=0.01),
    "rmsprop": RMSProp(),
    "rmsprop-centred": RMSProp(centered=True, momentum=0.9),
    "adadelta": AdaDelta(),
    "adam": Adam(),
    "adamw": AdamW(),
    "nadam": NAdam(),
    "radam": RAdam(),
    "eve": Eve(),
    "lion": Lion(),
}

SHAPES = {"conv.weight": (3, 2, 2, 2), "conv.bias": (3,), "scale": ()}


def draw(rng: np.random.Generator, dtype: str = "float32") -> dict[str, np.ndarray]:
    """Random values for parameters of several shapes."""
    return {n: np.asarray(rng.normal(size=s), dtype) for n, s in SHAPES.items()}


def copies(tree: Any) -> Any:
    """The same nested dicts with copied arrays."""
    if isinstance(tree, dict):
        return {k: copies(v) for k, v in tree.items()}
    return np.array(tree)


def run(rule: Optimizer, p: np.ndarray, gradient: Callable[[int, np.ndarray], np.ndarray],
        steps: int, loss: Callable[[np.ndarray], float] | None = None) -> list[np.ndarray]:
    """All values of one parameter that follows a gradient for some steps."""
    params = {"w": p}
    slots = rule.init_slots(params)
    path: list[np.ndarray] = []
    for t in range(1, steps + 1):
        w = params["w"]
        value = None if loss is None else np.asarray(loss(w), p.dtype)
        params, slots = rule.apply(params, {"w": gradient(t, w)}, slots, loss=value,
                                   lr=np.asarray(rule.lr, p.dtype), t=np.asarray(t, p.dtype))
        path.append(params["w"])
    return path
