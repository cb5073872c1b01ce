"""Kiso's side of the inference race: the model in inference mode as one compiled function."""

from __future__ import annotations

import numpy as np

import kiso
from kiso import nn

__all__ = ["KisoAnswers"]


class KisoAnswers:
    """`step()` is one forward pass of the batch; the outputs (N, K) before any softmax."""

    def __init__(self, model: nn.Module, x: np.ndarray, threads: int):
        self.fast, self.x = kiso.compile(model, threads), x

    def step(self) -> np.ndarray:
        """The outputs for the batch."""
        return self.fast(self.x).data
