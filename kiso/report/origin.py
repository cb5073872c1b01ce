"""Where each value of a traced training step comes from: the layer, and the part of the step.

The tracer numbers values in the order in which they arise. So it is enough to note, now and then,
"from number n on all is made by this layer, in this part":

    forward    when a layer is entered or left
    backward   before the tape asks an op for its gradients: the layer that had applied the op
    update     after it, from the numbers of each new parameter
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from kiso import nn, ops, optim
from kiso.autograd import Tensor, value_and_grad
from kiso.compiler import Graph, trace
from kiso.errors import ConfigError
from kiso.text import tr
from kiso.train.step import initial_state
from kiso.tree import flatten_tree

__all__ = ["LOSS", "OPTIMIZER", "PARTS", "Notes", "Origin", "TracedStep", "traced_step"]

PARTS = ("forward", "backward", "update")
LOSS, OPTIMIZER = "(loss)", "(optimizer)"  # what belongs to no layer; names of layers have none


@dataclass(frozen=True)
class Origin:
    """A layer's dotted name (or LOSS, OPTIMIZER) and one of PARTS."""

    layer: str
    part: str


class Notes:
    """Notes taken while a step is traced."""

    def __init__(self, x: Any):
        self.values: list[Any] = x.kiso_interpreter.specs  # of a traced value: grows with every op
        self.starts: list[int] = [0]
        self.origins: list[Origin] = [Origin(LOSS, "forward")]
        self.inside: list[str] = [LOSS]

    def note(self, layer: str, part: str, start: int | None = None) -> None:
        """From value `start` (by default the next one) on it is this layer."""
        self.starts.append(len(self.values) if start is None else start)
        self.origins.append(Origin(layer, part))

    def of(self, n: int) -> Origin:
        """Origin of value n."""
        return self.origins[bisect_right(self.starts, n) - 1]

    def enter(self, layer: str) -> None:
        """A layer is called."""
        self.inside.append(layer)
        self.note(layer, "forward")

    def leave(self) -> None:
        """A layer returns."""
        self.inside.pop()
        self.note(self.inside[-1], "forward")

    def listen(self, loss: Tensor) -> None:
        """Hear of every op on the tape when its gradients are asked for."""
        waiting, seen = [loss.node], set[int]()
        while waiting:
            node = waiting.pop()
            if node is None or id(node) in seen:
                continue
            seen.add(id(node))
            layer = self.of(node.outputs[0].number).layer
            say: Callable[[], None] = lambda layer=layer: self.note(layer, "backward")  # noqa: E731
            node.op = cast("Any", _Heard(node.op, say))
            waiting += [x.node for x in node.inputs if isinstance(x, Tensor)]


class _Heard:
    """An op that says so before it gives its gradients."""

    def __init__(self, op: ops.Op, say: Callable[[], None]):
        self.op, self.say, self.outputs = op, say, op.outputs

    def backward(self, *given: Any) -> Any:
        self.say()
        return self.op.backward(*given)


@dataclass(frozen=True)
class TracedStep:
    """A step as a graph, with the origins of its values, its state and the rest of its inputs."""

    graph: Graph
    notes: Notes
    state: list[Any]
    batch: list[Any]
    parameters: int  # bytes


def traced_step(net: nn.Module, shape: tuple[int, ...], batch: int,
                rule: optim.Optimizer) -> TracedStep:
    """Forward, loss, backward and update of a net that ends in one score for each class, for random
    inputs. The learning rate is 0: a step costs the same, and nothing can diverge.

    Errors: ConfigError for a net that ends in something else.
    """
    ends = net.summary(shape).output_shape
    if len(ends) != 1 or not isinstance(ends[0], int):
        raise ConfigError(tr("a training step needs a model that ends in one score for each class; "
                             "end it with linear10."))
    scores = nn.split_softmax(net)[0]
    names = {id(module): name for name, module in scores.named_modules()}
    state = initial_state(net, rule)
    rng = np.random.default_rng(0)
    data = {"x": rng.standard_normal((batch, *shape), np.float32),
            "y": rng.integers(0, ends[0], batch), "key": ops.make_key(0, 0),
            "lr": np.zeros((), np.float32)}
    taken: list[Notes] = []

    def step(state: Any, batch: Any) -> Any:
        notes = Notes(batch["x"])
        taken.append(notes)

        def forward(params: Any) -> tuple[Any, Any]:
            with nn.watch(before=lambda *called: notes.enter(names[id(called[0])]),
                          after=lambda *_: notes.leave()):
                output, buffers = nn.functional_call(scores, params, state["buffers"], batch["x"],
                                                     key=batch["key"], training=True)
            loss = nn.weighted_loss(output, lambda y: ops.cross_entropy(y, batch["y"]))
            notes.listen(loss)
            return loss, buffers

        loss, grads, buffers = value_and_grad(forward, state["params"])
        notes.note(OPTIMIZER, "update")
        t = state["t"] + 1
        start = len(notes.values)
        params, slots = rule.apply(state["params"], grads, state["slots"], lr=batch["lr"], t=t,
                                   loss=loss)
        for name, p in params.items():
            notes.note(name.rpartition(".")[0], "update", start)
            leaves = flatten_tree((p, slots[name]))[0]
            start = max([start, *(leaf.number + 1 for leaf in leaves if hasattr(leaf, "number"))])
        return {"params": params, "buffers": buffers, "slots": slots, "t": t}, loss

    traced = trace(step, state, data)
    leaves = flatten_tree(state)[0]
    return TracedStep(traced.graph, taken[0], leaves, flatten_tree(data)[0],
                      sum(p.nbytes for p in state["params"].values()))
