"""Loading a checkpoint's arrays into a model: everything fits, or nothing changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kiso.autograd import Tensor
from kiso.errors import CheckpointError
from kiso.text import tr

if TYPE_CHECKING:
    from kiso.nn.module import Module

__all__ = ["COUNTERS", "Mismatch", "load"]

# PyTorch's norms count batches beside their statistics; nothing here depends on it.
COUNTERS = ".num_batches_tracked"


class Mismatch(NamedTuple):
    """Names that the model has and the state lacks, and the other way round."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]


def _array(value: Any) -> np.ndarray:
    return np.asarray(value.data if isinstance(value, Tensor) else value)


def load(model: Module, values: Mapping[str, Any], strict: bool) -> Mismatch:
    """See `Module.load_state_dict`."""
    slots = {slot.name: slot for slot in model.slots()}
    arrays = {name: _array(value) for name, value in values.items()}
    given = {id(slots[n].value) for n in arrays if n in slots}  # a shared one needs one name only
    missing = [n for n, slot in slots.items() if id(slot.value) not in given]
    unexpected = [n for n in arrays if n not in slots and not n.endswith(COUNTERS)]
    both = [n for n in slots if n in arrays]
    wrong = [n for n in both if slots[n].value.shape != arrays[n].shape]
    kinds = [n for n in both if not np.can_cast(arrays[n].dtype, slots[n].value.dtype, "same_kind")]
    if wrong or kinds or (strict and (missing or unexpected)):
        lines = [tr("the saved values do not fit this model ({model}):",
                    model=type(model).__name__)]
        if strict:
            lines += [tr("missing: {name} {shape}", name=n, shape=slots[n].value.shape)
                      for n in missing]
            lines += [tr("unexpected: {name} {shape}", name=n, shape=arrays[n].shape)
                      for n in unexpected]
        lines += [tr("wrong shape: {name}: the model has {expected}, the file {found}", name=n,
                     expected=slots[n].value.shape, found=arrays[n].shape) for n in wrong]
        lines += [tr("wrong type: {name}: the model has {expected}, the file {found}", name=n,
                     expected=slots[n].value.dtype, found=arrays[n].dtype) for n in kinds]
        lines.append(tr("Build the model with the same description and options as when it was "
                        "saved."))
        raise CheckpointError("\n  ".join(lines))
    for n in both:
        slots[n].value.data = arrays[n].astype(slots[n].value.dtype)
    return Mismatch(tuple(missing), tuple(unexpected))
