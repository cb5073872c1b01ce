"""Where layers get their random numbers from: keys for dropout, generators for first values.

Inside `random_key(key)`, the training loop's way, the n-th random layer that is called takes
stream n of the given key. Outside, for hand-written loops and notebooks, a process-wide counter
gives every draw a step of its own; `manual_seed` sets its seed and starts it again. `seeded(seed)`
puts a counter of its own in its place for a while, unseen by other threads.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from kiso.errors import ConfigError
from kiso.ops import Value, make_key

__all__ = ["generator", "manual_seed", "next_draw", "next_parameter", "random_key", "seeded"]

_LIMIT = 1 << 64


class Draws:
    """A key and how many streams of it are taken; no key: drawing is refused."""

    def __init__(self, key: Value | None):
        self.key = key
        self.taken = 0

    def next(self) -> tuple[Value, int]:
        """Key and stream of the next draw."""
        if self.key is None:
            raise ConfigError("this model draws random numbers in training (Dropout), but there is "
                              "no key: pass key=ops.make_key(seed, step) to functional_call.")
        self.taken += 1
        return self.key, self.taken - 1


class Default:
    """Counters outside of `random_key`: how many draws and parameters there were so far."""

    def __init__(self, seed: int):
        self.seed = seed
        self.draws = 0
        self.parameters = 0


_default = Default(0)  # of the whole process; seed 0 until `manual_seed`
_seeded: ContextVar[Default | None] = ContextVar("kiso_seeded", default=None)
_current: ContextVar[Draws | None] = ContextVar("kiso_random_key", default=None)


def manual_seed(seed: int) -> None:
    """Start all random numbers outside of a training run again: first values and dropout.

    The seed is a whole number from 0 to 2^64 - 1. Errors: ConfigError for another.
    """
    global _default
    _default = Default(_checked(seed))


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Inside, first values and dropout are those that follow `manual_seed(seed)`.

    The process-wide counters stay as they are, and other threads go on with theirs.
    """
    token = _seeded.set(Default(_checked(seed)))
    try:
        yield
    finally:
        _seeded.reset(token)


def _checked(seed: int) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < _LIMIT:
        raise ConfigError(f"seed is {seed!r}; expected a whole number from 0 to 2^64 - 1.")
    return int(seed)


@contextmanager
def random_key(key: Value | None) -> Generator[None]:
    """Inside, random layers draw from this key (see `ops.make_key`): streams 0, 1, 2, ...

    With None they draw from the key around this one, or refuse if there is none.
    """
    around = _current.get()
    token = _current.set(around if key is None and around is not None else Draws(key))
    try:
        yield
    finally:
        _current.reset(token)


def next_draw() -> tuple[Value, int]:
    """(key, stream) for one draw: from the context, else a step of its own of the default seed."""
    draws = _current.get()
    if draws is not None:
        return draws.next()
    counters = _seeded.get() or _default
    counters.draws += 1
    return make_key(counters.seed, counters.draws - 1), 0


def next_parameter() -> tuple[int, int]:
    """(seed, number) of the next parameter that is made."""
    counters = _seeded.get() or _default
    counters.parameters += 1
    return counters.seed, counters.parameters - 1


def generator(seed: int, number: int) -> np.random.Generator:
    """NumPy's generator on Philox for the first values of parameter `number`."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, number], np.uint64)))
