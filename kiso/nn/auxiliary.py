"""Auxiliary outputs: further answers from the middle of a net, which only training uses.

Each has a loss of its own, which brings gradients to layers that are far from the end:

    loss = loss(main) + weight * (loss(auxiliary_1) + loss(auxiliary_2) + ...)

Source: Szegedy et al., "Going deeper with convolutions", 2015 (weight 0.3).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from kiso.ops import Value

__all__ = ["Outputs", "outputs_of", "weighted_loss"]


class Outputs(NamedTuple):
    """What `forward` of a net with auxiliary outputs returns in training; in inference it returns
    the main output alone."""

    main: Value
    auxiliary: tuple[Value, ...] = ()
    weight: float = 1.0  # of the loss of each auxiliary output


def outputs_of(y: Any) -> Outputs:
    """The outputs of any net: most have only one."""
    return y if isinstance(y, Outputs) else Outputs(y)


def weighted_loss(y: Any, loss: Callable[[Value], Value]) -> Any:
    """The loss of all outputs, a number: `loss` takes one of them."""
    main, auxiliary, weight = outputs_of(y)
    total: Any = loss(main)
    for other in auxiliary:
        total = total + weight * loss(other)
    return total
