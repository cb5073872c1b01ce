"""Independent pieces of one op on several threads: NumPy lets go of the interpreter while it works.

Why not leave this to NumPy's matrix library: its threads wait for each other in a busy loop at the
end of every product, thousands of times in a second. Measured with one other program on a machine
of two cores, that made a small convolutional net 11 times as slow as a single thread. Here a
thread works through whole blocks of a convolution, and waits asleep.

The pieces and the order in which their results are added never depend on the number of threads,
so neither do the bits.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import cache
from typing import TypeVar

__all__ = ["each", "threads"]

_T = TypeVar("_T")
_R = TypeVar("_R")
_threads: ContextVar[int] = ContextVar("threads", default=1)


@cache
def _pool(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, "kiso-ops")


if hasattr(os, "register_at_fork"):  # a forked process has the pool, but not its threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


@contextmanager
def threads(count: int) -> Generator[None]:
    """Let the ops that are called inside use so many threads."""
    token = _threads.set(count)
    try:
        yield
    finally:
        _threads.reset(token)


def each(work: Callable[[_T], _R], pieces: Iterable[_T]) -> Iterator[_R]:
    """work(piece) for every piece, in order, on the threads that `threads` allows.

    Only a few results exist at a time, so that many large ones can be summed up.
    """
    count = _threads.get()
    if count == 1:
        yield from map(work, pieces)
        return
    waiting: deque[Future[_R]] = deque()
    for piece in pieces:
        if len(waiting) == 2 * count:
            yield waiting.popleft().result()
        # In a copy of the context, so that np.errstate holds there too.
        waiting.append(_pool(count).submit(copy_context().run, work, piece))
    while waiting:
        yield waiting.popleft().result()
