"""One training step as a pure function (state, batch) -> (state, metrics).

Everything that happens between two batches is here: preparing the pictures (cast, normalise,
augment, corrupt), forward, loss, backward, update, batch-norm statistics, metrics. What loss and
score are is the task's business (tasks.py). The function is made of ops only and keeps nothing for
itself, so it runs line by line in a debugger, and it can be traced as one graph.

    state = {"params": {name: array}, "buffers": {name: array},
             "slots": {name: {slot: array}}, "t": float32 step count}
    batch = {"x": samples, "y": targets, "rows": sample numbers (N,), "lr": float32,
             "key": uint32 (4,) for dropout (seed, step),
             "epoch_key": the same for augmentation (seed, epoch),
             "scale": the normalizer's arrays; as arguments of a graph they are not part of the
             code, which then serves every seed and every data set of these shapes}
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from kiso import nn, ops
from kiso.autograd import Tensor, no_grad, value_and_grad
from kiso.data import Augment, Corrupt, Normalizer, Views
from kiso.data.corrupt import JUDGED
from kiso.optim import Optimizer, global_norm
from kiso.train.tasks import TASKS, Task

__all__ = ["AS_IT_IS", "State", "Step", "afresh", "initial_state"]

NO_VIEWS = Views()  # the picture itself
AS_IT_IS = Corrupt()
State = dict[str, Any]
Batch = dict[str, Any]


def raw(value: Any) -> Any:
    """The array (or traced value) behind a Tensor."""
    return value.data if isinstance(value, Tensor) else value


def initial_state(model: nn.Module, optimizer: Optimizer) -> State:
    """State before the first step, from the model's present parameters and buffers."""
    params = {name: raw(p) for name, p in model.named_parameters()}
    return {
        "params": params,
        "buffers": {name: raw(b) for name, b in model.named_buffers()},
        "slots": optimizer.init_slots(params),
        "t": np.zeros((), np.float32),
    }


def afresh(state: State, optimizer: Optimizer) -> State:
    """The state with weights and statistics as they are, and a rule that has made no step."""
    return {**state, "slots": optimizer.init_slots(state["params"]),
            "t": np.zeros((), np.float32)}


@dataclass(frozen=True, eq=False)
class Step:
    """The step's fixed parts: what is not an array."""

    model: nn.Module
    optimizer: Optimizer
    task: str
    loss: str
    normalizer: Normalizer
    augment: Augment | None = None
    label_smoothing: float = 0.0
    views: Views = NO_VIEWS
    still: frozenset[str] = frozenset()  # parameters that this step leaves as they are
    corrupt: Corrupt = AS_IT_IS

    @property
    def aim(self) -> Task:
        """What is learnt."""
        return TASKS[self.task]

    @cached_property
    def scores_net(self) -> nn.Module:
        """The model without a softmax at its end: the loss of classes contains it."""
        return self.aim.net(self.model)

    @cached_property
    def frozen(self) -> frozenset[str]:
        """Parameters that are still or have requires_grad=False: used, but neither changed nor
        decayed. A batch norm that has no others keeps its running statistics too."""
        return self.still | {n for n, p in self.model.named_parameters() if not p.requires_grad}

    def scaling(self, batch: Batch) -> Normalizer:
        """The normalizer, with the arrays of the batch if it has any."""
        return self.normalizer.scaled_by(batch.get("scale", {}))

    def losses(self, output: Any, batch: Batch) -> Any:
        """Loss of each sample (N,)."""
        return self.aim.loss(self.loss, output, batch["y"], self.scaling(batch),
                             self.label_smoothing)

    def scores(self, output: Any, batch: Batch) -> Any:
        """Score of each sample (N,)."""
        return self.aim.scored(output, batch["y"], self.scaling(batch))

    def gradients(self, state: State, batch: Batch) -> tuple[Any, dict[str, Any], Any]:
        """Mean loss (with those of auxiliary outputs), its gradients, and (loss and score of each
        sample, new buffers)."""
        x = self.scaling(batch).apply(batch["x"])
        if self.augment is not None:
            x = self.augment.apply(x, batch["epoch_key"], batch["rows"])
        batch = {**batch, "y": self.aim.truth(batch["y"], x)}
        x = self.corrupt.apply(x, batch["epoch_key"], batch["rows"]) if self.corrupt else x

        def forward(trained: dict[str, Any]) -> tuple[Any, Any]:
            output, buffers = nn.functional_call(
                self.scores_net, {**state["params"], **trained}, state["buffers"], x,
                key=batch["key"], training=True, frozen=self.frozen)
            output, auxiliary, weight = nn.outputs_of(output)
            losses = self.losses(output, batch)
            loss = ops.mean(losses)
            for other in auxiliary:  # what training reports is the loss of the main output
                loss = loss + weight * ops.mean(self.losses(other, batch))
            return loss, (losses, self.scores(raw(output), batch), buffers)

        return value_and_grad(forward, self.trained(state["params"]))

    def trained(self, named: dict[str, Any]) -> dict[str, Any]:
        """What belongs to parameters that are not frozen."""
        return {name: value for name, value in named.items() if name not in self.frozen}

    def train(self, state: State, batch: Batch) -> tuple[State, dict[str, Any]]:
        """Forward, backward and update; metrics are sums over the batch."""
        loss, grads, (losses, scores, buffers) = self.gradients(state, batch)
        t = state["t"] + 1
        params, slots = self.optimizer.apply(
            self.trained(state["params"]), grads, self.trained(state["slots"]), lr=batch["lr"],
            t=t, loss=loss)
        metrics = {
            "loss": ops.sum(raw(losses)),
            "score": ops.sum(raw(scores)),
            "gradient_norm": global_norm(grads),
        }
        # Laid over the old ones, so that frozen parameters and the order of the names stay.
        return {"params": {**state["params"], **params}, "buffers": buffers,
                "slots": {**state["slots"], **slots}, "t": t}, metrics

    def train_rows(self, state: State, x: Any, y: Any, batch: Batch
                   ) -> tuple[State, dict[str, Any]]:
        """`train` on some rows of a data set x, y: the batch is gathered within the step."""
        rows = batch["rows"]
        return self.train(state, {"x": ops.take(x, rows), "y": ops.take(y, rows), **batch})

    def evaluate(self, state: State, batch: Batch) -> dict[str, Any]:
        """Inference: loss and score of each sample, and its probabilities, values or picture.

        Where pictures are given back, y are row numbers; without them nothing is corrupted."""
        scaling = self.scaling(batch)
        with no_grad():
            x = scaling.apply(batch["x"])
            if "y" in batch:
                rows, batch = batch["y"], {**batch, "y": self.aim.truth(batch["y"], x)}
                x = self.corrupt.apply(x, JUDGED, rows)
            x = self.views.apply(x)
            output, _ = nn.functional_call(self.scores_net, state["params"], state["buffers"], x,
                                           key=None, training=False)
            output = self.views.mean(raw(output))
            result = {"output": self.aim.answer(output, scaling)}
            if "y" in batch:
                result["loss"] = raw(self.losses(output, batch))
                result["score"] = raw(self.scores(output, batch))
            return result

    def corrupted(self, x: Any, rows: Any) -> Any:
        """Pictures as the net sees them in judgement, in 0 ... 255."""
        seen = self.corrupt.apply(self.normalizer.apply(x), JUDGED, rows)
        return ops.clip(self.normalizer.restore(seen), 0.0, 255.0)
