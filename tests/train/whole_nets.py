"""Whole steps of the benchmarks' nets: compiled in float32, and eager in float64 beside it.

A ReLU whose input is 0 but for rounding, and a window whose two largest numbers are equal but for
it, are decided differently by correct programs, and gradients before that place jump: of the
millions of decisions in a step of a convolutional net some always are. So the float64 step is done
with the decisions of the compiled one, which gives its ReLU outputs and pooled maps as results, and
`moved` tells how far from a tie float64 was where it would have decided otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.nets import NETS, Net, samples
from benchmarks.ours import AsIs
from kiso import nn, ops, optim
from kiso.compiler import trace
from kiso.ops import make_key
from kiso.runtime import compile_graph
from kiso.train.step import Step, initial_state, raw
from kiso.tree import flatten_tree, unflatten_tree

__all__ = ["Compiled", "Done", "differences", "exact", "net_of", "step_of"]

MOMENTUM, WEIGHT_DECAY, LR = 0.9, 5e-4, 0.01
DECIDING = (nn.ReLU, nn.MaxPool2d)


def net_of(name: str, batch: int | None = None) -> Net:
    """A net of the benchmarks, perhaps with fewer samples."""
    return replace(NETS[name], batch=batch) if batch else NETS[name]


def step_of(net: Net) -> tuple[Step, dict[str, Any], dict[str, Any]]:
    """The trainer's step, the state before the first one, and a batch."""
    rule = optim.SGD(lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    one = np.ones((), np.float32)
    model = net.build()
    step = Step(model, rule, "classification", "cross_entropy", AsIs(0 * one, one))
    x, y = samples(net)
    batch = {"x": x, "y": y, "lr": np.asarray(LR, np.float32), "key": make_key(0, 0)}
    return step, initial_state(model, rule), batch


@dataclass
class Done:
    """A step: the loss, the state after it, the gradients, and all that decisions were made by."""

    loss: float
    state: dict[str, Any]
    gradients: dict[str, Any]
    guides: list[np.ndarray]


class Compiled:
    """The compiled step of a net; with `guides` it gives what its decisions are made by."""

    def __init__(self, net: Net, threads: int, guides: bool = False):
        self.step, self.state, self.batch = step_of(net)

        def f(state: Any, batch: Any) -> Any:
            seen: list[Any] = []

            def after(layer: nn.Module, xs: tuple[Any, ...], y: Any) -> None:
                if guides and isinstance(layer, DECIDING):
                    seen.append(raw(y if isinstance(layer, nn.ReLU) else xs[0]))

            with nn.watch(after=after):
                new, metrics = self.step.train(state, batch)
            return new, metrics["loss"] / net.batch, seen

        self.leaves, self.structure = flatten_tree(self.state)
        self.code = compile_graph(trace(f, self.state, self.batch).graph, threads,
                                  state={k: k for k in range(len(self.leaves))})

    def run(self, steps: int = 1, lr: float = LR) -> Done:
        """Some steps from the beginning, each with dropout masks of its own."""
        placed = [self.code.place(k, leaf) for k, leaf in enumerate(self.leaves)]
        batch = {**self.batch, "lr": np.asarray(lr, np.float32)}
        given = flatten_tree(batch)[0][:-1]
        keys = np.stack([make_key(0, t) for t in range(steps)])
        loss, *guides = self.code.run([*placed, *given, keys], steps=steps,
                                      moving={len(placed) + len(given)}).outputs
        state = unflatten_tree(self.structure, [self.code.natural(k, leaf)
                                                for k, leaf in enumerate(placed)])
        return Done(float(loss[-1]), state, gradients_of(self.state, state),
                    [g[-1] for g in guides])


def gradients_of(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """From the velocities of the first step: v = g + decay * p."""
    return {name: after["slots"][name]["v"] - WEIGHT_DECAY * np.asarray(p, np.float64)
            for name, p in before["params"].items()}


@contextmanager
def decided(guides: list[np.ndarray], moved: list[float]) -> Iterator[None]:
    """Inside, ReLU and max pooling decide as these arrays say, in turn. `moved`: for each, how far
    from a tie what is decided otherwise was, at most, in root mean squares of the input."""
    queue = list(guides)
    known: list[tuple[Any, np.ndarray]] = []

    def guide_of(x: Any) -> np.ndarray:
        return next(guide for other, guide in known if other is x)

    def relu(self: Any, x: np.ndarray) -> np.ndarray:
        on = queue.pop(0) > 0
        known.append((x, on))
        other = np.abs(x[on != (x > 0)])
        moved.append(float(other.max(initial=0)) / float(np.sqrt(np.mean(x * x))))
        return x * on

    def pool(self: Any, x: np.ndarray) -> np.ndarray:
        if any(x is guide for guide in guides):  # its maxima are looked for
            return kept[1](self, x)
        guide = queue.pop(0)
        known.append((x, guide))
        y = ops.MaxPoolPick(**self.settings()).forward(guide, x)
        lost = float(np.max(kept[1](self, x) - y, initial=0))
        moved.append(lost / float(np.sqrt(np.mean(x * x))))
        return y

    def relu_back(self: Any, gy: Any, y: Any, x: Any) -> Any:
        return gy * guide_of(x)

    def pool_back(self: Any, gy: Any, y: Any, x: Any) -> Any:
        return ops.MaxPoolGrad(**self.settings())(guide_of(x), gy)

    kept = (ops.Relu.forward, ops.MaxPool.forward, ops.Relu.backward, ops.MaxPool.backward)
    new: tuple[Any, ...] = (relu, pool, relu_back, pool_back)
    try:
        ops.Relu.forward, ops.MaxPool.forward, ops.Relu.backward, ops.MaxPool.backward = new
        yield
    finally:
        ops.Relu.forward, ops.MaxPool.forward, ops.Relu.backward, ops.MaxPool.backward = kept
    assert not queue


def exact(net: Net, guides: list[np.ndarray]) -> tuple[Done, list[float]]:
    """The step in eager float64 with these decisions, and how far they are from its own."""
    step, state, batch = step_of(net)
    leaves, structure = flatten_tree((state, batch))
    state, batch = unflatten_tree(structure, [
        leaf.astype(np.float64) if leaf.dtype == np.float32 else leaf for leaf in leaves])
    moved: list[float] = []
    with decided(guides, moved):
        after, metrics = step.train(state, batch)
    assert all(leaf.dtype == np.float64 for leaf in flatten_tree(after)[0])
    return Done(float(metrics["loss"]) / net.batch, after, gradients_of(state, after), []), moved


def differences(found: Done, wanted: Done) -> dict[str, float]:
    """Largest differences, relative to the largest number of each tensor; of updated weights to
    their largest change."""
    result = {"loss": abs(found.loss - wanted.loss) / abs(wanted.loss)}

    def add(kind: str, a: dict[str, Any], b: dict[str, Any]) -> None:
        assert a.keys() == b.keys()
        for name, value in b.items():
            largest = np.abs(value).max()
            result[f"{kind} {name}"] = float(np.abs(a[name] - value).max() / max(largest, 1e-30))
    add("gradient", found.gradients, wanted.gradients)
    for part in ("params", "buffers"):
        add(part, found.state[part], wanted.state[part])
    return result
