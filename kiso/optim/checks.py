"""Options of rules and schedules: their allowed ranges, and clear errors for the rest.

    @dataclass(frozen=True, kw_only=True)
    class Rule:
        momentum: float = number(0.0, below=1)   # 0 <= momentum < 1

        def __post_init__(self) -> None:
            check_options(self)
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable
from typing import Any, cast

import numpy as np

from kiso.errors import ConfigError
from kiso.text import tr

__all__ = ["Limits", "check_options", "count", "encode", "number", "option_names",
           "refuse_unknown", "suggestion"]


@dataclasses.dataclass(frozen=True)
class Limits:
    """A range of numbers; `above` and `below` are excluded, `low` and `high` are included."""

    low: float | None = None
    above: float | None = None
    below: float | None = None
    high: float | None = None
    whole: bool = False

    def allow(self, value: Any) -> bool:
        """Whether a number (no bool, NaN or infinity) lies inside."""
        kinds = (int, np.integer) if self.whole else (int, float, np.integer, np.floating)
        if isinstance(value, bool) or not isinstance(value, kinds):
            return False
        value = float(cast(Any, value))
        if not math.isfinite(value):
            return False
        return ((self.low is None or value >= self.low)
                and (self.above is None or value > self.above)
                and (self.below is None or value < self.below)
                and (self.high is None or value <= self.high))

    def text(self, name: str) -> str:
        """The range as it is written in mathematics: `0 <= momentum < 1`."""
        if self.whole:
            low = int(self.low or 0)
            return f"{name} = {low}, {low + 1}, {low + 2}, ..."
        left = (f"{self.low} <= " if self.low is not None
                else f"{self.above} < " if self.above is not None else "")
        right = (f" < {self.below}" if self.below is not None
                 else f" <= {self.high}" if self.high is not None else "")
        return f"{left}{name}{right}"


def number(default: Any = dataclasses.MISSING, *, low: float | None = 0,
           above: float | None = None, below: float | None = None,
           high: float | None = None) -> Any:
    """A dataclass field for a number (or a tuple of numbers, or None) inside a range."""
    limits = Limits(low if above is None else None, above, below, high)
    return dataclasses.field(default=default, metadata={"limits": limits})


def count(default: Any = dataclasses.MISSING, *, low: int = 1) -> Any:
    """A dataclass field for a whole number (or a tuple of them, or None)."""
    return dataclasses.field(default=default, metadata={"limits": Limits(low, whole=True)})


def check_options(owner: Any) -> None:
    """Check every option of a frozen dataclass; lists become tuples, ints for floats floats.

    Errors: ConfigError with the option, its value and its range.
    """
    for field in dataclasses.fields(owner):
        value: Any = getattr(owner, field.name)
        limits: Limits | None = field.metadata.get("limits")
        if limits is None:
            if field.type == "bool" and not isinstance(value, bool):
                raise ConfigError(tr("{owner}: {option} = {value} cannot be used; expected true "
                                     "or false.", owner=type(owner).__name__, option=field.name,
                                     value=repr(value)))
            continue
        if value is None and "None" in str(field.type):
            continue
        if not _fits(value, limits, str(field.type)):
            raise ConfigError(tr("{owner}: {option} = {value} cannot be used; expected {range}.",
                                 owner=type(owner).__name__, option=field.name, value=repr(value),
                                 range=limits.text(field.name)))
        object.__setattr__(owner, field.name, _converted(value, int if limits.whole else float))


def _fits(value: Any, limits: Limits, kind: str) -> bool:
    """Whether a value has a field's type, a tuple's length included, and lies in its range."""
    if "tuple" not in kind:
        return limits.allow(value)
    if not isinstance(value, tuple | list):
        return False
    items = list(cast("list[Any]", value))
    length = len(items) > 0 if "..." in kind else len(items) == kind.count(",") + 1
    return length and all(limits.allow(item) for item in items)


def _converted(value: Any, kind: type) -> Any:
    """Each number as a plain int or float, so that the options can be written as JSON."""
    if isinstance(value, tuple | list):
        return tuple(kind(v) for v in cast("list[Any]", value))
    return kind(value)


def suggestion(word: str, choices: Iterable[str]) -> str:
    """The known name that is most like `word`, as a question; empty if none is near."""
    near = difflib.get_close_matches(word.lower(), list(choices), n=1, cutoff=0.6)
    return " " + tr("Did you mean {name}?", name=near[0]) if near else ""


def option_names(kind: type) -> list[str]:
    """Names of the options that a rule or schedule class has."""
    return [f.name for f in dataclasses.fields(kind) if f.init]


def refuse_unknown(owner: str, given: Iterable[str], known: list[str]) -> None:
    """Raise ConfigError for the first given option that is not known."""
    for option in given:
        if option not in known:
            raise ConfigError(tr("{owner} has no option {option}; it has: {known}.{hint}",
                                 owner=owner, option=option, known=", ".join(known),
                                 hint=suggestion(option, known)))


def encode(value: Any) -> Any:
    """A value of an option for JSON or TOML: tuples become lists, parts become dicts."""
    if isinstance(value, tuple):
        return [encode(v) for v in cast("tuple[Any, ...]", value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        to_dict = getattr(value, "to_dict", None)
        return to_dict() if to_dict else encode_fields(value)
    return value


def encode_fields(owner: Any) -> dict[str, Any]:
    """All options by name, without those that are None (TOML has no word for nothing)."""
    pairs = ((f.name, getattr(owner, f.name)) for f in dataclasses.fields(owner) if f.init)
    return {name: encode(value) for name, value in pairs if value is not None}
