"""How words of model descriptions are spelt: names, numbers, options; for all vocabularies.

A word is a name with numbers and options attached: conv30k5s2, upsample2linear, lrn5a0.001.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, cast

from kiso.nn.module import Module
from kiso.ops import Shape
from kiso.text import tr

__all__ = ["Context", "Unknown", "Wrong", "dimensions", "joined", "number", "option", "real",
           "same", "size", "split", "unlike"]

_LARGEST = 10**7
_SIZES = r"\d+(?:x\d+)*"
_FLAGS = ("nobias", "untied", "ceil", "nopad", "affine", "linear", "corners", "sum")
_OPTIONS = re.compile(rf"{'|'.join(_FLAGS)}|psame|pvalid|[kspdgo]{_SIZES}", re.I)
_FLOAT = r"-?\d+(?:\.\d*)?(?:e-?\d+)?|-?\.\d+"


class Wrong(Exception):
    """A word cannot be used like this; the message says why."""

    unknown = False


class Unknown(Wrong):
    """There is no such word."""

    unknown = True


@dataclass
class Context:
    """What a word may depend on."""

    shape: Shape  # of one sample in front of the layer
    pools: int = 0  # pooling layers so far
    last_units: int | None = None  # for a bare linear at the end


def real(word: str, rest: str, default: float) -> float:
    """The number at the end of a word, or the default for none.  Errors: Wrong."""
    if not rest:
        return default
    if not re.fullmatch(_FLOAT, rest):
        raise Wrong(tr("{word}: {rest} is no number.", word=word, rest=rest))
    return float(rest)


def size(text: str) -> int | tuple[int, ...]:
    """3 of "3", (3, 5) of "3x5".  Errors: Wrong for numbers beyond all reason."""
    numbers = [int(n) for n in text.split("x")]
    if max(numbers) > _LARGEST:
        raise Wrong(tr("{number} is too large; the limit is {limit}.", number=max(numbers),
                       limit=_LARGEST))
    return numbers[0] if len(numbers) == 1 else tuple(numbers)


def split(word: str, rest: str, allowed: str) -> tuple[Any, dict[str, Any]]:
    """("30", {"k": 5}) of "30k5": the leading number, if any, and the options."""
    head = re.match(_SIZES, rest)
    number = size(head[0]) if head else None
    at, options = head.end() if head else 0, dict[str, Any]()
    while at < len(rest):
        found = _OPTIONS.match(rest, at)
        key = "" if found is None else next(
            (k for k in _FLAGS if found[0].lower() == k), found[0][0])
        if found is None or f" {key} " not in f" {allowed} ":
            raise Wrong(tr("{word}: {rest} is no option here; it takes {options}.", word=word,
                           rest=rest[at:], options=allowed))
        if key in options:
            raise Wrong(tr("{word}: {option} is given twice.", word=word, option=key))
        value = found[0][len(key):]
        options[key] = True if not value else (
            value if value in ("same", "valid") else size(value))
        at = found.end()
    return number, options


def dimensions(word: str, context: Context) -> int:
    """Number of spatial axes in front of the layer, 1 to 3."""
    ndim = len(context.shape) - 1
    if ndim not in (1, 2, 3):
        raise Wrong(tr("{word} needs maps (channels, height, width), but here each sample has the "
                       "shape {shape}.", word=word, shape=context.shape))
    return ndim


def same(layer: Module, other: Module) -> bool:
    """Whether two layers are the same but for their weights."""
    return type(layer) is type(other) and layer.extra_repr() == other.extra_repr()


def joined(value: Any) -> str:
    """A number, or several with x between them."""
    if isinstance(value, tuple):
        return "x".join(map(str, cast("tuple[int, ...]", value)))
    return str(value)


def option(letter: str, value: Any, default: Any) -> str:
    """An option as it is written, nothing for the default."""
    return "" if value == default else letter + joined(value)


def number(value: float) -> str:
    """A number as short as it is exact."""
    text = f"{value:.17g}" if float(f"{value:.6g}") != value else f"{value:.6g}"
    return text.replace("e+", "e")


def unlike(word: str) -> Unknown:
    """The error for a word with something at its end that it does not take."""
    return Unknown(tr("{word} is no word of a model description.", word=word))
