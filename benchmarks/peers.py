"""Other frameworks are optional: which are there, and how long one of them may take to start."""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["brief", "missing", "time_limit"]

NEEDS = {"torch": ("torch",), "onnxruntime": ("onnxruntime", "onnx"), "jax": ("jax",),
         "tensorflow": ("tensorflow",)}


def missing(peers: Sequence[str]) -> str:
    """What to say if one of these peers is not installed; "" if all are."""
    lacking = [module for peer in peers for module in NEEDS[peer]
               if importlib.util.find_spec(module) is None]
    return (f"not installed: {', '.join(lacking)}. Peers are optional; install the versions that "
            "requirements-peers.txt and requirements-benchmarks.txt pin, or name others."
            if lacking else "")


@contextmanager
def time_limit(seconds: int | None) -> Generator[None]:
    """TimeoutError inside once this many seconds are over, where the system has such a clock."""
    if seconds is None or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: Any) -> None:
        raise TimeoutError(f"not ready after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def brief(error: Exception) -> str:
    """An error of a peer in one line."""
    return f"{type(error).__name__}: {error}".strip().splitlines()[0][:160]
