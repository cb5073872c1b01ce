"""Watching a model work: callbacks before and after every layer that is called.

This is how summaries, activation histograms and the search for the first NaN look inside any
model, user-written ones included, without changing it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

__all__ = ["Watcher", "active", "watch"]


def _nothing(*_: Any) -> None:
    """Default callback."""


@dataclass(frozen=True)
class Watcher:
    """`before(module, inputs)` and `after(module, inputs, output)`."""

    before: Callable[..., None] = _nothing
    after: Callable[..., None] = _nothing


_watchers: ContextVar[tuple[Watcher, ...]] = ContextVar("kiso_watchers", default=())


def active() -> tuple[Watcher, ...]:
    """Those that watch now, outermost first."""
    return _watchers.get()


@contextmanager
def watch(*, before: Callable[..., None] = _nothing,
          after: Callable[..., None] = _nothing) -> Generator[None]:
    """Inside, every call of a module calls `before(module, inputs)`, `after(module, inputs, y)`.

        means = {}
        with nn.watch(after=lambda layer, xs, y: means.update({layer: float(y.mean())})):
            model(x)
    """
    token = _watchers.set((*_watchers.get(), Watcher(before, after)))
    try:
        yield
    finally:
        _watchers.reset(token)
