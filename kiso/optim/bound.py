"""A rule that holds the parameters of a model, for training loops written by hand.

    opt = Adam(lr=0.001).bind(model)
    for x, y in batches:
        loss = ops.cross_entropy(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kiso.autograd import Tensor
from kiso.errors import CheckpointError, ConfigError, GradientError
from kiso.optim.checks import Limits
from kiso.text import tr

if TYPE_CHECKING:
    from kiso.optim.rule import Optimizer, Slots

__all__ = ["Bound"]


class Bound:
    """The rule, the parameters, their slots, and how many steps each parameter has made.

    A parameter without a gradient (frozen, or not used for this loss) is left alone and its step
    is not counted, as in PyTorch.
    """

    def __init__(self, rule: Optimizer, model: Any):
        self.rule = rule
        self.parameters = named_tensors(model)
        self.slots: dict[str, Slots] = rule.init_slots(
            {name: p.data for name, p in self.parameters.items()})
        self.steps = dict.fromkeys(self.parameters, 0)
        self.lr = rule.lr

    @property
    def lr(self) -> float:
        """Learning rate of the next step; assign it to follow a schedule."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        limits = Limits(low=0)
        if not limits.allow(value):
            raise ConfigError(tr("{owner}: {option} = {value} cannot be used; expected {range}.",
                                 owner=type(self.rule).__name__, option="lr", value=repr(value),
                                 range=limits.text("lr")))
        self._lr = float(value)

    def step(self, loss: Any = None) -> None:
        """Update all parameters that have a gradient; `loss` is needed by Eve only.

        Errors: GradientError if no parameter has a gradient.
        """
        grads = {name: p.grad.data for name, p in self.parameters.items() if p.grad is not None}
        if not grads:
            raise GradientError(tr("step(): no parameter has a gradient; call loss.backward() "
                                   "before it."))
        value = loss.data if isinstance(loss, Tensor) else loss
        rate = np.asarray(self.lr)  # rounded once, to each parameter's type
        new: dict[str, tuple[Any, Slots]] = {}
        for name, g in self.rule.clip(grads).items():
            t = np.asarray(self.steps[name] + 1)
            new[name] = self.rule.apply_one(name, self.parameters[name].data, g, self.slots[name],
                                            lr=rate, t=t, loss=value)
        for name, (p, slots) in new.items():  # only now, so that an error changes nothing
            self.parameters[name].data, self.slots[name] = p, slots
            self.steps[name] += 1

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for p in self.parameters.values():
            p.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on later: rule, lr, steps and slots (copies)."""
        slots = {name: {key: np.array(value) for key, value in s.items()}
                 for name, s in self.slots.items()}
        return {"rule": self.rule.to_dict(), "lr": self.lr, "steps": dict(self.steps),
                "slots": slots}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state, hyperparameters included.

        Errors: CheckpointError, with all differences, if it belongs to another rule or model.
        """
        missing = [key for key in ("rule", "lr", "steps", "slots") if key not in state]
        if missing:
            raise CheckpointError(tr("the optimizer's state has no {names}; expected what "
                                     "state_dict() gave.", names=", ".join(missing)))
        rule = self.rule.from_dict(state["rule"])
        if type(rule) is not type(self.rule):
            raise CheckpointError(tr("the state belongs to the optimizer {saved}, not to {own}.",
                                     saved=rule.name, own=self.rule.name))
        own = rule.init_slots({name: p.data for name, p in self.parameters.items()})
        problems = _differences(own, state["slots"])
        if problems or state["steps"].keys() != own.keys():
            raise CheckpointError(tr("the optimizer's state does not fit the model: {problems}.",
                                     problems="; ".join(problems) or "steps"))
        self.rule, self.lr = rule, state["lr"]
        self.steps = {name: int(state["steps"][name]) for name in own}
        self.slots = {name: {key: np.array(state["slots"][name][key], value.dtype)
                             for key, value in s.items()} for name, s in own.items()}

    def __repr__(self) -> str:
        return f"Bound({self.rule!r}, {len(self.parameters)} parameters, lr={self.lr:g})"


def named_tensors(model: Any) -> dict[str, Tensor]:
    """Name -> Tensor of a model or of (name, Tensor) pairs; a tensor with two names once."""
    source: Any = model.named_parameters() if hasattr(model, "named_parameters") else model
    pairs: Iterable[tuple[str, Any]] = dict(source).items()
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, p in pairs:
        if not isinstance(p, Tensor):
            raise ConfigError(tr("bind(): expected a model, or pairs of name and Tensor; {name} "
                                 "is a {kind}.", name=name, kind=type(p).__name__))
        if id(p) not in seen:
            found[name] = p
            seen.add(id(p))
    if not found:
        raise ConfigError(tr("bind(): the model has no parameters."))
    return found


def _differences(own: Mapping[str, Slots], saved: Mapping[str, Any]) -> list[str]:
    """What of the slots is missing, unexpected or of another shape."""
    mine = {f"{n}/{k}": v.shape for n, s in own.items() for k, v in s.items()}
    theirs = {f"{n}/{k}": np.shape(v) for n, s in saved.items() for k, v in s.items()}
    problems = [tr("{name} is missing", name=n) for n in mine.keys() - theirs.keys()]
    problems += [tr("{name} is unexpected", name=n) for n in theirs.keys() - mine.keys()]
    problems += [tr("{name} has shape {came}, expected {expected}", name=n, came=theirs[n],
                    expected=mine[n])
                 for n in mine.keys() & theirs.keys() if mine[n] != theirs[n]]
    return sorted(problems)
