"""When numbers stop being numbers: find the first layer where it happened, and say what to try."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np

from kiso import nn
from kiso.errors import DivergedError
from kiso.text import tr
from kiso.train.engine import Found
from kiso.train.setup import Setup
from kiso.train.step import raw

__all__ = ["diverged"]


def _finite(value: Any) -> bool:
    return bool(np.isfinite(raw(value)).all())


def first_bad_layer(model: nn.Module, run: Callable[[], None]) -> str:
    """Name of the first layer whose output holds NaN or infinity while `run()` calls the model."""
    names = {id(layer): name for name, layer in model.named_modules()}
    found: list[str] = []

    def after(layer: nn.Module, inputs: tuple[Any, ...], y: Any) -> None:
        parts = cast("tuple[Any, ...]", y) if isinstance(y, tuple) else (y,)
        if not found and not all(_finite(part) for part in parts):
            found.append(f"{names.get(id(layer), '')} {type(layer).__name__}".strip())

    with nn.watch(after=after):
        run()
    return found[0] if found else ""


def diverged(setup: Setup, state: dict[str, Any], batches: dict[str, Any], first: int,
             found: Found) -> DivergedError:
    """Repeat the step that went wrong, eagerly, and describe where it did.

    state: from before that step. batches, found: of all steps of the call (see Engine.train), the
    first of which had the number `first`.
    """
    k, train = found.done, setup.splits.train
    rows = batches["rows"][k]
    batch = {"x": train.x[rows], "y": train.y[rows], "rows": rows, "lr": batches["lr"][k],
             "key": batches["key"][k], "epoch_key": batches["epoch_key"]}
    epoch = first // setup.steps_per_epoch
    step, loss = first + k, float(found.loss[k]) / len(rows)
    gradients: dict[str, Any] = {}

    def run() -> None:
        with np.errstate(all="ignore"):
            gradients.update(setup.step_at(epoch).gradients(state, batch)[1])

    bad_weights = [name for name, value in state["params"].items() if not _finite(value)]
    layer = first_bad_layer(setup.step.scores_net, run)
    bad_gradients = [name for name, g in gradients.items() if not _finite(g)]
    if bad_weights:
        where = tr("the weights {name} are no numbers any more", name=bad_weights[0])
    elif layer:
        where = tr("the first layer with NaN or infinity in its output is {layer}", layer=layer)
    elif bad_gradients:
        where = tr("the gradient of {name} is not finite", name=bad_gradients[-1])
    elif math.isfinite(loss):
        where = tr("the gradients are so large that their norm overflows")
    else:
        where = tr("the loss itself is not finite")
    return DivergedError(tr(
        "training diverged at step {step} (loss {loss:.3g}, learning rate {lr:.3g}): {where}. Try "
        "a learning rate ten times smaller (--lr {less:.2g}), --clip-norm 1, or batch "
        "normalisation; the last good checkpoint is kept.", step=step + 1, loss=loss,
        lr=float(batch["lr"]), where=where, less=float(batch["lr"]) / 10))
