"""Checks of constructor arguments, with one wording for all layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from kiso.errors import ConfigError

__all__ = ["check_groups", "choice", "count", "number", "sizes", "spread"]


def _whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def count(layer: str, name: str, value: Any, low: int = 1) -> int:
    """A whole number of at least `low`.  Errors: ConfigError."""
    if not _whole(value) or value < low:
        raise ConfigError(f"{layer}: {name} is {value!r}; expected a whole number of at least "
                          f"{low}.")
    return int(value)


def sizes(layer: str, name: str, value: Any, ndim: int, low: int = 1) -> int | tuple[int, ...]:
    """A whole number of at least `low`, or `ndim` of them, one for each spatial axis."""
    if _whole(value):
        return count(layer, name, value, low)
    given = list(cast("Sequence[Any]", value)) if isinstance(value, list | tuple) else []
    if len(given) != ndim or not all(_whole(n) and n >= low for n in given):
        raise ConfigError(f"{layer}: {name} is {value!r}; expected a whole number of at least "
                          f"{low}, or {ndim} of them, one for each spatial axis.")
    return tuple(int(n) for n in given)


def spread(value: int | tuple[int, ...], ndim: int) -> tuple[int, ...]:
    """One number for each of `ndim` axes; a single one counts for all."""
    return (value,) * ndim if isinstance(value, int) else value


def number(layer: str, name: str, value: Any, low: float = -math.inf, high: float = math.inf, *,
           open_low: bool = False) -> float:
    """A finite number from `low` (or above it, with `open_low`) to `high`."""
    real = isinstance(value, int | float | np.integer | np.floating)
    x = float(cast("float", value)) if real and not isinstance(value, bool) else math.nan
    if not math.isfinite(x) or not low <= x <= high or (open_low and x == low):
        span = f"above {low:g}" if open_low else f"of at least {low:g}"
        span = "" if low == -math.inf else f" {span}"
        limit = "" if high == math.inf else f" and at most {high:g}"
        raise ConfigError(f"{layer}: {name} is {value!r}; expected a number{span}{limit}.")
    return x


def choice(layer: str, name: str, value: Any, choices: Sequence[str]) -> str:
    """One of some words."""
    if value not in choices:
        listed = ", ".join(map(repr, choices))
        raise ConfigError(f"{layer}: {name} is {value!r}; expected one of {listed}.")
    return value


def check_groups(name: str, in_channels: int, out_channels: int, groups: int) -> None:
    """Refuse channels that cannot be shared out evenly."""
    for what, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
        if channels % groups:
            raise ConfigError(f"{name}: {what} is {channels}, which cannot be shared out "
                              f"evenly to {groups} groups; use a multiple of it.")
