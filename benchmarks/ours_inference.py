"""Kiso's side of the inference race: the model in inference mode as one compiled function."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from kiso import nn
from kiso.autograd import no_grad
from kiso.compiler import trace

__all__ = ["KisoAnswers"]


class KisoAnswers:
    """`step()` is one forward pass of the batch; the outputs (N, K) before any softmax.

    The weights are constants of the compiled function, as they are of the peers' models.
    """

    def __init__(self, model: nn.Sequential, x: np.ndarray, threads: int):
        from kiso.runtime import compile_graph

        params = {n: p.data for n, p in model.named_parameters()}
        buffers = {n: b.data for n, b in model.named_buffers()}

        def f(x: Any) -> Any:
            with no_grad():
                return nn.functional_call(model, params, buffers, x, training=False)[0].data

        started = time.perf_counter()
        self.code = compile_graph(trace(f, x).graph, threads)
        self.compile_seconds = time.perf_counter() - started
        self.x = x

    def step(self) -> np.ndarray:
        """The outputs for the batch."""
        return self.code(self.x)[0]
