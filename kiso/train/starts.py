"""First weights by name, for nets whose paper draws them otherwise than the net here does.

    own             as the net draws them
    RULE            all weights by a rule of nn/init.py: he_normal, xavier_normal, lenet_uniform ...
    normal:STD      all weights N(0, STD^2)
    alexnet         N(0, 0.01^2), and 1 for the biases of the second, fourth and fifth convolution
                    and of all dense layers but the last: so ReLUs are open in the beginning
                    (Krizhevsky et al. 2012)

Only `alexnet` changes biases; elsewhere they are 0 as everywhere in Kiso. Whitening layers, whose
filters follow from the pictures, are computed by `look`.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import numpy as np

from kiso import nn
from kiso.autograd import no_grad
from kiso.data import Dataset, Normalizer
from kiso.errors import ConfigError
from kiso.nn.init import RULES
from kiso.text import tr

__all__ = ["OWN", "check_start", "draw_again", "look"]

OWN = "own"
LOOKED_AT = 2000  # samples for what is computed from them before training
WORDS = (OWN, "alexnet", "normal:0.01", *(name for name in RULES if name != "normal"))


def check_start(text: str) -> str:
    """The text, if it can be drawn by.  Errors: ConfigError with what is possible."""
    if text in WORDS or _std(text) is not None:
        return text
    raise ConfigError(tr("unknown first weights {text!r}; the choices are {choices}.", text=text,
                         choices=", ".join(WORDS)))


def _std(text: str) -> float | None:
    """The number of `normal:STD`; None for another text."""
    word, _, number = text.partition(":")
    try:
        std = float(number) if word == "normal" else math.nan
    except ValueError:
        return None
    return std if 0 <= std < math.inf else None


def draw_again(model: nn.Module, text: str) -> None:
    """Draw a model's first weights anew; the random numbers go on where the model's ended."""
    std = _std(text)
    if text == "alexnet":
        nn.init.apply(model, "normal", std=0.01)
        _open(model)
    elif std is not None:
        nn.init.apply(model, "normal", std=std)
    elif text != OWN:
        nn.init.apply(model, text)


class _Seen(Exception):
    """All whitening layers have their filters."""


def look(model: nn.Module, normalizer: Normalizer, train: Dataset) -> None:
    """Show a model some training samples, so that its whitening layers compute their filters; those
    that have some keep them. Layers behind the last of them compute nothing."""
    waiting = {m for m in model.modules() if isinstance(m, nn.Whiten2d) and not m.fitted}

    def fit(layer: nn.Module, xs: tuple[Any, ...]) -> None:
        if not waiting:
            raise _Seen
        if isinstance(layer, nn.Whiten2d) and layer in waiting:
            waiting.remove(layer)
            layer.fit(np.asarray(xs[0].data))

    if not waiting:
        return
    rows = np.linspace(0, len(train) - 1, min(LOOKED_AT, len(train))).astype(np.int64)
    model.eval()
    with no_grad(), nn.watch(before=fit), suppress(_Seen):
        model(normalizer.apply(train.x[rows]))
    model.train()


def _open(model: nn.Module) -> None:
    """Biases of 1 where AlexNet has them."""
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    dense = [m for m in model.modules() if isinstance(m, nn.Linear)]
    layers: list[Any] = [*convolutions[1:2], *convolutions[3:5], *dense[:-1]]
    for layer in layers:
        if layer.bias is not None:
            layer.bias.data = np.ones(layer.bias.shape, np.float32)
