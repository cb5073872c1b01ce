"""Who is timed when: the contenders take turns, so that a busy moment of the machine hits all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

__all__ = ["Contender", "WrongResult", "compare", "race"]

TOLERANCE = 1e-4
LARGEST = 0.02  # rounding explains more only where it does so to the peer as well
AS_PEER = 1.5
NOISES = (1, -1, 2, -2)
SECONDS = 0.25  # what one turn of a contender lasts, about
PAUSE = 0.05  # before a turn: threads of the others that wait in a busy loop go to sleep


class Contender(Protocol):
    """A model in training."""

    def step(self) -> float:
        """One whole step; the mean loss before the update."""
        ...

    def weights(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray],
                               dict[str, np.ndarray]]:
        """Parameters, buffers and velocities by name."""
        ...


class WrongResult(Exception):
    """The two sides do not compute the same; a time would mean nothing."""


def compare(ours: Contender, peer: Contender, judge: Callable[[int], Contender],
            tolerance: float = TOLERANCE) -> float:
    """One step of both from the same weights; the largest relative difference.

    Compared are the loss, and for each tensor |a - b| / |b| (Euclidean norms): parameters after
    the step, running statistics, and velocities, which are the gradients (plus decay) in the
    first step. Usually all agree to the tolerance, and that is all.

    Where an input of a ReLU is 0 but for rounding, or the two largest numbers of a window are
    equal but for it, correct float32 programs choose differently, and gradients before that place
    jump. Then `judge(0)` takes the step in float64, and `judge(1)`, `judge(-1)`, `judge(2)`, ...
    take it with noise of the size of rounding on each layer's output, opposite noise for opposite
    numbers: what is decided by less than the noise falls the other way in one of them. How far
    they move a gradient is what rounding can do to it. Loss and statistics do not jump; they must
    be within the tolerance of float64, each gradient within the tolerance plus twice its own
    movement, and never more than 2 % off, or 1.5 times as far as the peer is from float64 with the
    same tensor (in ResNet-50 that is 2 % itself). Errors: WrongResult with the worst tensor.
    """
    ours_loss, peer_loss = ours.step(), peer.step()
    found = _differences(ours, peer) | {"loss": abs(ours_loss - peer_loss) / abs(peer_loss)}
    if max(found.values(), key=_badness) <= tolerance:
        return max(found.values())
    exact = judge(0)
    loss = exact.step()
    mine = _differences(ours, exact) | {"loss": abs(ours_loss - loss) / abs(loss)}
    theirs = _differences(peer, exact) | {"loss": abs(peer_loss - loss) / abs(loss)}
    moved = dict.fromkeys(mine, 0.0)
    for number in NOISES:
        noisy = judge(number)
        noisy.step()
        for name, by in _differences(noisy, exact).items():
            moved[name] = max(moved[name], by)
    allowed = {name: tolerance if name.startswith(("loss", "statistic"))
               else min(tolerance + 2 * by, max(LARGEST, AS_PEER * theirs[name]))
               for name, by in moved.items()}
    wrong = {name: error for name, error in mine.items() if not error <= allowed[name]}
    if wrong:
        worst = max(wrong, key=lambda n: _badness(wrong[n]) / allowed[n])
        raise WrongResult(f"{worst} differs from float64 by {wrong[worst]:.1e} where "
                          f"{allowed[worst]:.1e} is rounding, and {len(wrong) - 1} more do; "
                          f"loss {ours_loss:.6f}, peer {peer_loss:.6f}")
    return max(mine.values())


def _differences(a: Contender, b: Contender) -> dict[str, float]:
    """Relative difference of each tensor."""
    found: dict[str, float] = {}
    for kind, mine, other in zip(("weight", "statistic", "gradient"), a.weights(), b.weights(),
                                 strict=True):
        if mine.keys() != other.keys():
            raise WrongResult(f"names differ: {sorted(mine.keys() ^ other.keys())}")
        for name, value in mine.items():
            norm = float(np.linalg.norm(other[name].ravel())) + 1e-12
            found[f"{kind} {name}"] = float(np.linalg.norm((value - other[name]).ravel())) / norm
    return found


def _badness(error: float) -> float:
    """NaN is no number to be compared: it is the worst."""
    return np.inf if np.isnan(error) else error


def race(contenders: Mapping[str, Contender], rounds: int,
         seconds: float = SECONDS) -> dict[str, float]:
    """Milliseconds a step: for each contender the median over rounds of its turn's mean.

    In each round every contender in turn waits a moment (threads of the others may still spin on
    its cores), does one step that is not timed (what the others left in the caches) and then some
    that are, as its users would: in a loop, or in one call if it has `steps(count)`.
    """
    turns = {name: _count(c, seconds) for name, c in contenders.items()}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for i in range(rounds):
        for name in names[i % len(names):] + names[:i % len(names)]:  # nobody is always first
            time.sleep(PAUSE)
            contenders[name].step()
            times[name].append(_timed(contenders[name], turns[name]) / turns[name])
    return {name: 1e3 * statistics.median(found) for name, found in times.items()}


def _timed(contender: Contender, count: int) -> float:
    steps = getattr(contender, "steps", None)
    started = time.perf_counter()
    if steps is not None:
        steps(count)
    else:
        for _ in range(count):
            contender.step()
    return time.perf_counter() - started


def _count(contender: Contender, seconds: float) -> int:
    """Warm up, and find how many steps fill a turn: 1 to 1000."""
    for _ in range(2):
        contender.step()
    return max(1, min(1000, int(seconds / _timed(contender, 1))))
