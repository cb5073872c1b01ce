"""A module as a pure function: parameters and buffers in, result and new buffers out."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any

from kiso.autograd import Tensor
from kiso.errors import ConfigError
from kiso.nn.module import Module, Slot
from kiso.nn.norm import BatchNormNd
from kiso.nn.parameter import Buffer
from kiso.nn.rng import random_key
from kiso.ops import Value

__all__ = ["functional_call"]


def functional_call(model: Module, params: Mapping[str, Value], buffers: Mapping[str, Value],
                    *xs: Value, key: Value | None = None, training: bool = False,
                    frozen: Collection[str] = (), **options: Any) -> tuple[Any, dict[str, Value]]:
    """Call a model with these values in place of its own: (y, new buffers).

    `params` and `buffers` map dotted names to arrays, Tensors or Vars; names that are left out
    keep the model's own values. `xs` are arrays, Tensors or Vars. `key` feeds dropout (see
    `random_key`) and is needed only if the model draws. y is what `forward` returns, a Tensor as a
    rule; the new buffers are bare values (arrays or Vars), ready for the next step. `frozen` names
    parameters that are not trained: a batch norm that has no others rests, that is, it uses and
    keeps its running statistics as in inference.

    From outside nothing changes: attributes of all modules and their mode are put back, also after
    an error. Two threads must not call the same model object at once.

    Errors: ConfigError for names that the model does not have.
    """
    slots = list(model.slots())
    _check_names("parameters", params, [s.name for s in slots if s.kind == "parameter"])
    _check_names("buffers", buffers, [s.name for s in slots if s.kind == "buffer"])
    kept = [name for name, _ in model.named_buffers()]  # a shared one once, under its first name
    saved = [(vars(m), dict(vars(m), _kinds=dict(vars(m)["_kinds"]))) for m in model.modules()]
    try:
        _put(slots, params, buffers)
        model.train(training)
        _rest(slots, frozen)
        with random_key(key):
            y = model(*(x if isinstance(x, Tensor) else Tensor(x) for x in xs), **options)
        new_buffers = {s.name: vars(s.owner)[s.attribute].data for s in slots if s.name in kept}
        return y, new_buffers
    finally:
        for attributes, before in saved:
            attributes.clear()
            attributes.update(before)


def _put(slots: list[Slot], params: Mapping[str, Value], buffers: Mapping[str, Value]) -> None:
    """Write the values into their places; a tensor shared by several places into all of them."""
    new: dict[int, Tensor] = {}
    for slot in slots:
        if slot.kind == "parameter" and slot.name in params:
            value = params[slot.name]
            new[id(slot.value)] = value if isinstance(value, Tensor) else Tensor(value)
        elif slot.kind == "buffer" and slot.name in buffers:
            new[id(slot.value)] = Buffer(buffers[slot.name])
    for slot in slots:
        if id(slot.value) in new:
            vars(slot.owner)[slot.attribute] = new[id(slot.value)]


def _rest(slots: list[Slot], frozen: Collection[str]) -> None:
    """Batch norms whose parameters are all frozen, to inference."""
    norms = [s for s in slots if s.kind == "parameter" and isinstance(s.owner, BatchNormNd)]
    trained = {id(s.owner) for s in norms if s.name not in frozen}
    for slot in norms:
        if id(slot.owner) not in trained:
            slot.owner.train(False)


def _check_names(kind: str, given: Mapping[str, Value], known: list[str]) -> None:
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"Known: {', '.join(known) or 'none'}."
            raise ConfigError(f"the model has no {name!r} among its {kind}; {hint}")
