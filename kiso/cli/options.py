"""One option or argument of a command, and the readers that turn its text into a value.

Readers are functions (flag, text) -> value. They raise ConfigError in the user's language, where
the argument parser would answer in English only.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from kiso.config import FORMS
from kiso.errors import ConfigError
from kiso.text import tr

__all__ = [
    "NAMED",
    "Option",
    "count",
    "dimensions",
    "form",
    "fractions",
    "number",
    "parameter",
    "picture_size",
    "text",
    "whole",
    "words",
]

Reader = Callable[[str, str], Any]

NAMED = ("option", "flag")  # kinds that begin with --


def text(flag: str, value: str) -> str:
    """The text itself."""
    return value


def whole(flag: str, value: str) -> int:
    """A whole number."""
    try:
        return int(value)
    except ValueError:
        raise ConfigError(tr("{flag} is {value!r}; expected a whole number.", flag=flag,
                             value=value)) from None


def count(flag: str, value: str) -> int:
    """A whole number of at least 1."""
    result = whole(flag, value)
    if result < 1:
        raise ConfigError(tr("{flag} is {value}; expected a whole number of at least 1.", flag=flag,
                             value=result))
    return result


def number(flag: str, value: str) -> float:
    """A number such as 0.01 or 1e-3."""
    try:
        return float(value)
    except ValueError:
        raise ConfigError(tr("{flag} is {value!r}; expected a number, for example 0.01 or 1e-3.",
                             flag=flag, value=value)) from None


def form(flag: str, value: str) -> str:
    """Form of convolutions: auto, direct or winograd."""
    if value not in FORMS:
        raise ConfigError(tr("{flag} is {value!r}; expected one of {choices}.", flag=flag,
                             value=value, choices=", ".join(FORMS)))
    return value


def words(flag: str, value: str) -> tuple[str, ...]:
    """`a,b,c` -> ("a", "b", "c")."""
    found = tuple(part.strip() for part in value.split(","))
    if not all(found):
        raise ConfigError(tr("{flag} is {value!r}; expected names with commas between them.",
                             flag=flag, value=value))
    return found


def fractions(flag: str, value: str) -> float | tuple[float, ...]:
    """`0.7` or `0.7,0.15,0.15`; whether the fractions make sense is for the data to say."""
    try:
        found = [float(part) for part in value.split(",")]
    except ValueError:
        found = []
    if len(found) not in (1, 3) or not all(0 <= part < 1 for part in found) or not found[0]:
        raise ConfigError(tr("{flag} is {value!r}; expected the fraction for training, for example "
                             "0.7, or three that make 1, for example 0.7,0.15,0.15.", flag=flag,
                             value=value))
    return found[0] if len(found) == 1 else tuple(found)


def dimensions(flag: str, value: str) -> tuple[int, ...]:
    """`1x28x28` -> (1, 28, 28)."""
    if not re.fullmatch(r"[1-9][0-9]*([x×,][1-9][0-9]*)*", value):
        raise ConfigError(tr("{flag} is {value!r}; expected sizes joined by x, for example 1x28x28 "
                             "(channels, height, width).", flag=flag, value=value))
    return tuple(int(part) for part in re.split(r"[x×,]", value))


def picture_size(flag: str, value: str) -> int | tuple[int, int]:
    """`32` or `32x48` (height x width)."""
    if not re.fullmatch(r"[1-9][0-9]*([x×,][1-9][0-9]*)?", value):
        raise ConfigError(tr("{flag} is {value!r}; expected pixels, for example 32, or height and "
                             "width, for example 32x48.", flag=flag, value=value))
    sides = dimensions(flag, value)
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


@dataclass(frozen=True, kw_only=True)
class Option:
    """An option (`--name TEXT`), a flag (`--name`) or an argument (`NAME`) of a command.

    The help text is in the user's language already, so these objects are made anew for each call
    of the program. `default` is only shown: an option that is not given is not passed on, so that
    defaults stand in one place, with the function that uses them.
    """

    name: str  # of the Python argument
    help: str
    panel: str  # heading in the help
    metavar: str = ""
    read: Reader = text
    default: str = ""
    kind: str = "option"  # or "flag", "argument", "required", "many"
    short: str = ""
    decls: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        long = "--" + self.name.replace("_", "-")
        object.__setattr__(self, "decls", (long, self.short) if self.short else (long,))

    @property
    def label(self) -> str:
        """How messages call it: `--batch-size`, or `RUN`."""
        return self.decls[0] if self.kind in NAMED else self.metavar

    @property
    def title(self) -> str:
        """How the help calls it: `-b, --batch-size N`, or `RUN`."""
        if self.kind not in NAMED:
            return self.metavar
        return " ".join([", ".join(reversed(self.decls)), self.metavar]).rstrip()

    def value(self, given: Any) -> Any:
        """The text from the command line as a value."""
        return self.read(self.label, given) if isinstance(given, str) else given


def parameter(option: Option) -> inspect.Parameter:
    """The option as a parameter of a function, in the form that typer reads."""
    import typer

    missing = inspect.Parameter.empty
    kinds: dict[str, tuple[Any, Any]] = {
        "flag": (bool, False), "option": (str | None, None),
        "argument": (str | None, None), "required": (str, missing), "many": (list[str], missing)}
    kind, default = kinds[option.kind]
    info: Any = typer.Argument(metavar=option.metavar)
    if option.kind in NAMED:
        info = typer.Option(*option.decls, metavar=option.metavar)
    return inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=default,
                             annotation=Annotated[kind, info])
