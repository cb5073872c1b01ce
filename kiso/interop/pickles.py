"""Pickles of NumPy arrays in dicts and lists, as textbook programs write them: `params.pkl`.

Only the names that an array needs are known to the reader; a pickle that asks for another one ends
the reading, and nothing in it is run.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np

from kiso.data.sources.pickles import (
    ARRAY_NAMES,
    ArrayRecord,
    Named,
    RefusedPickle,
    load,
    to_array,
)
from kiso.errors import CheckpointError
from kiso.text import tr

__all__ = ["ORDERED", "OrderedRecord", "read", "refused"]

NUMBERS = "f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8"
DEPTH, COUNT = 16, 100_000  # of what lies within each other, and of all parts


class OrderedRecord(dict[Any, Any]):
    """Stands for collections.OrderedDict; attributes that a pickle gives it are dropped."""

    def __setstate__(self, state: Any) -> None:
        """PyTorch keeps versions of its layers here."""


def _ordered(*pairs: Any) -> OrderedRecord:
    return OrderedRecord(*pairs)


ORDERED: dict[tuple[str, str], Any] = {("collections", "OrderedDict"): Named(_ordered)}


def refused(path: Path, error: Exception) -> CheckpointError:
    """What to say of a pickle that could not be read."""
    return CheckpointError(tr(
        "{path} cannot be read as weights ({reason}); nothing in it was run. It may be damaged or "
        "hold whole Python objects: save its arrays by name, as a state dict or safetensors.",
        path=path, reason=error if str(error) else type(error).__name__))


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a pickle by name; those of dicts and lists within it as "outer.inner".

    Errors: CheckpointError when it is damaged, or holds or asks for anything else.
    """
    try:
        with path.open("rb") as file:
            value = load(file, ARRAY_NAMES | ORDERED, "latin1")
        found: dict[str, np.ndarray] = {}
        _collect(value, (), found, [0])
    except OSError:
        raise
    except Exception as error:  # a broken pickle raises whatever its opcodes stumble over
        raise refused(path, error) from error
    if not found:
        raise CheckpointError(tr("{path} holds no arrays.", path=path))
    return found


def _collect(value: Any, path: tuple[str, ...], found: dict[str, np.ndarray], seen: list[int]
             ) -> None:
    """Into `found`. Counted, because a few bytes can describe lists of lists without end."""
    seen[0] += 1
    if len(path) > DEPTH or seen[0] > COUNT:
        raise RefusedPickle("nested too deeply")
    if isinstance(value, ArrayRecord):
        found[".".join(path)] = to_array(value, NUMBERS)
        return
    if isinstance(value, dict):
        parts: Iterable[Any] = cast("dict[Any, Any]", value).items()
    elif isinstance(value, list | tuple):
        parts = enumerate(cast("list[Any]", value))
    else:
        raise RefusedPickle(type(value).__name__)
    for key, part in parts:
        if not isinstance(key, str | int):
            raise RefusedPickle(f"key {type(key).__name__}")
        _collect(part, (*path, str(key)), found, seen)
