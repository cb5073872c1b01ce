"""How a step's time grows with the batch and with threads: is there a cliff?

    python -m benchmarks.scaling --nets simpleconv,resnet20 --threads 1,2

For each net, batch and number of threads the least time of a training step (mean over the steps of
a round, least of some rounds: a curve is of use only without the noise of others), and images a
second. All numbers of threads take turns within a batch, each for about `--seconds` after a
warm-up, each thread on a core of its own.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.nets import NETS
from benchmarks.ours import Kiso
from kiso.report.clock import pinned

__all__ = ["main", "seconds_a_step"]

ROUNDS = 5


def seconds_a_step(side: Kiso, budget: float) -> float:
    """Time of a step, many of which run in one call that takes about so many seconds."""
    started = time.perf_counter()
    side.step()
    count = max(1, min(1000, int(budget / (time.perf_counter() - started))))
    with pinned(side.code.threads):
        started = time.perf_counter()
        side.steps(count)
        return (time.perf_counter() - started) / count


def row(name: str, batch: int, threads: Sequence[int], budget: float) -> list[float]:
    """Least seconds of a step for each number of threads."""
    sides = [Kiso(replace(NETS[name], batch=batch), n) for n in threads]
    for side in sides:
        seconds_a_step(side, budget / ROUNDS)
    rounds = [[seconds_a_step(side, budget / ROUNDS) for side in sides] for _ in range(ROUNDS)]
    return [min(times) for times in zip(*rounds, strict=True)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one table for each net."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default="simpleconv,resnet20")
    parser.add_argument("--batches", default="1,2,4,8,16,32,64,128,256,512")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--seconds", type=float, default=0.5)
    given = parser.parse_args(arguments)
    threads = [int(n) for n in given.threads.split(",")]
    for name in given.nets.split(","):
        heads = [f"{unit}, {n} thread{'s' * (n > 1)}" for n in threads
                 for unit in ("ms", "images/s")]
        print(f"{name}:\n\n| batch | {' | '.join(heads)} |\n|---|{'---|' * len(heads)}")
        for batch in map(int, given.batches.split(",")):
            times = row(name, batch, threads, given.seconds)
            cells = [cell for t in times for cell in (f"{1e3 * t:.3g}", f"{batch / t:,.0f}")]
            print(f"| {batch} | {' | '.join(cells)} |", flush=True)
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
