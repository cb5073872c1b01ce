"""Kiso's side of the race: the trainer's own step as machine code, its state fed back."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.nets import Net, samples
from kiso import ops, optim
from kiso.compiler import trace
from kiso.data import Normalizer
from kiso.ops import make_key
from kiso.train.step import Step, initial_state
from kiso.tree import flatten_tree, unflatten_tree

__all__ = ["LR", "MOMENTUM", "WEIGHT_DECAY", "Kiso"]

LR, MOMENTUM, WEIGHT_DECAY = 0.01, 0.9, 5e-4


@dataclass(frozen=True, eq=False)
class AsIs(Normalizer):
    """The data are normalised already, for both sides."""

    def apply(self, x: Any) -> Any:
        return x


class PixelStep(Step):
    """A step whose targets are a class for each pixel (N, H, W), for scores (N, K, H, W)."""

    def losses(self, output: Any, batch: Any) -> Any:
        """Mean cross entropy over the pixels of each sample (N,)."""
        n, k, h, w = ops.shape_of(output)
        scores = ops.reshape(ops.transpose(output, (0, 2, 3, 1)), (n * h * w, k))
        found = ops.cross_entropy(scores, ops.reshape(batch["y"], (n * h * w,)), reduction="none")
        return ops.mean(ops.reshape(found, (n, h * w)), 1)


class Kiso:
    """A model in training: `step()` is forward, loss, backward and update.

    Without the trainer's metrics, which the peers do not compute either: what nobody reads is not
    part of the compiled graph. The weights are held once, as the compiled code wants them: the
    model that they came from is given up.
    """

    def __init__(self, net: Net, threads: int):
        leaves = self.compile(net, threads)[::-1]
        self.state = [self.code.place(k, leaves.pop()) for k in range(len(leaves))]
        self.count = 0

    def compile(self, net: Net, threads: int) -> list[Any]:
        """Build the model and compile its step; the leaves of the state before the first one."""
        from kiso.runtime import compile_graph

        model = net.build()
        rule = optim.SGD(lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
        one = np.ones((), np.float32)
        kind = PixelStep if net.pixels else Step
        step = kind(model, rule, "classification", "cross_entropy", AsIs(0 * one, one))

        def f(state: Any, batch: Any) -> tuple[Any, Any]:
            state, metrics = step.train(state, batch)
            return state, metrics["loss"] / net.batch

        state = initial_state(model, rule)
        x, y = samples(net)
        self.keys = [make_key(0, t) for t in range(64)]  # other dropout masks in each step
        batch = {"x": x, "y": y, "lr": np.asarray(LR, np.float32), "key": self.keys[0]}
        leaves, self.structure = flatten_tree(state)
        started = time.perf_counter()
        traced = trace(f, state, batch)
        if traced.results != flatten_tree((state, 0.0))[1]:
            raise RuntimeError("the state that the step returns is nested differently from the "
                               "state that it takes")
        self.code = compile_graph(traced.graph, threads, state={k: k for k in range(len(leaves))})
        self.compile_seconds = time.perf_counter() - started
        self.batch = flatten_tree(batch)[0][:-1]
        return leaves

    def steps(self, count: int) -> np.ndarray:
        """So many steps in one call; the mean loss before each update."""
        keys = np.stack([self.keys[(self.count + i) % len(self.keys)] for i in range(count)])
        inputs = [*self.state, *self.batch, keys]
        self.count += count
        return self.code.run(inputs, moving={len(inputs) - 1}, steps=count).outputs[0]

    def step(self) -> float:
        """One step; the mean loss before the update."""
        return float(self.steps(1)[0])

    def weights(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Parameters, buffers and velocities by name."""
        state = unflatten_tree(self.structure, [self.code.natural(k, leaf)
                                                for k, leaf in enumerate(self.state)])
        return state["params"], state["buffers"], {n: s["v"] for n, s in state["slots"].items()}
