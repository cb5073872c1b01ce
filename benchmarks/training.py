"""Whole training steps, side by side: `python -m benchmarks.training --nets mlp --json OUT`.

The same net, batch, float32 and momentum SGD with weight decay on both sides; the data lie in
memory, normalised. A step is forward, loss, backward and update. First both sides must agree on
loss, gradients and update from the same weights; then they are timed in turns.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from benchmarks.nets import NETS, Net
from benchmarks.ours import Kiso
from benchmarks.peer_torch import MODES, Torch
from benchmarks.race import Contender, WrongResult, compare, race

__all__ = ["KEYS", "main", "measure", "parser"]

KEYS = ("net", "batch", "kiso_ms", "torch_default_ms", "torch_channels_last_ms",
        "torch_compile_ms", "ratio", "gflops", "peak_share", "kiso_peak_bytes",
        "torch_peak_bytes")
PEERS = ("torch",)


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--nets", type=lambda t: _names(t, tuple(NETS)), default=tuple(NETS),
                   help=f"comma-separated, of: {', '.join(NETS)} (default: all)")
    p.add_argument("--peers", type=lambda t: _names(t, PEERS), default=PEERS,
                   help=f"comma-separated, of: {', '.join(PEERS)}")
    p.add_argument("--json", type=Path, help="write the results to this file")
    p.add_argument("--rounds", type=_positive, default=7, help="turns of each side (default 7)")
    p.add_argument("--threads", type=_positive, default=2, help="of each side (default 2)")
    p.add_argument("--compile", action="store_true", help="torch.compile as well (slow to start)")
    return p


def _names(text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    wrong = [name for name in names if name not in known]
    if wrong or not names:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(wrong) or repr(text)}; known are: "
                                         f"{', '.join(known)}")
    return names


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def measure(name: str, net: Net, *, rounds: int, threads: int, compiled: bool = False,
            note: Any = print) -> tuple[dict[str, Any], float]:
    """Check and time one net; the row of the JSON file, and Kiso's seconds to compile.

    What was not measured is None. Errors: WrongResult if the two sides do not agree.
    """
    ours = Kiso(net, threads)
    difference = compare(
        ours, Torch(net, ours.model, "default", threads, key=ours.keys[0]),
        lambda: Torch(net, ours.model, "float64", threads, key=ours.keys[0]))
    note(f"{name}: loss, gradients and update agree to {difference:.0e}")
    contenders: dict[str, Contender] = {"kiso": ours}
    for mode in MODES if compiled else MODES[:2]:
        peer = Torch(net, ours.model, mode, threads)
        try:
            peer.step()
        except Exception as error:  # whatever the compiler of a peer raises
            if mode != "compile":
                raise
            note(f"{name}: torch.compile is left out: {str(error).strip().splitlines()[0][:120]}")
            continue
        contenders[f"torch_{mode}"] = peer
    times = race(contenders, rounds)
    best = min(ms for who, ms in times.items() if who != "kiso")
    row: dict[str, Any] = dict.fromkeys(KEYS)
    row |= {"net": name, "batch": net.batch} | {f"{who}_ms": ms for who, ms in times.items()}
    row["ratio"] = best / times["kiso"]
    # Forward, gradient of the inputs, gradient of the weights: each one multiplication and one
    # addition for each multiply-add of the net.
    row["gflops"] = 2 * 3 * ours.multiply_adds(net) / times["kiso"] / 1e6
    return row, ours.compile_seconds


def _table(rows: Sequence[tuple[dict[str, Any], float]]) -> Any:
    from rich.table import Table

    table = Table("net", title="one training step, milliseconds")
    for column in ("batch", "kiso", "torch", "channels-last", "compile", "ratio", "GFLOP/s",
                   "compile s"):
        table.add_column(column, justify="right")
    for row, seconds in rows:
        times = [row[f"{who}_ms"] for who in ("kiso", *(f"torch_{m}" for m in MODES))]
        table.add_row(row["net"], str(row["batch"]),
                      *("-" if ms is None else f"{ms:.3g}" if ms < 100 else f"{ms:.0f}"
                        for ms in times),
                      f"{row['ratio']:.2f}", f"{row['gflops']:.0f}", f"{seconds:.1f}")
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """The command; 0, or 1 if a net was not measured."""
    from rich.console import Console

    options = parser().parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 120)  # files keep whole rows
    console.print(f"{machine()}; {options.threads} threads, {options.rounds} rounds")
    console.print(f"load average before: {os.getloadavg()[0]:.1f}")
    rows: list[tuple[dict[str, Any], float]] = []
    failed = 0
    for name in options.nets:
        try:
            rows.append(measure(name, NETS[name], rounds=options.rounds, threads=options.threads,
                                compiled=options.compile, note=console.print))
        except WrongResult as error:
            failed = 1
            console.print(f"{name}: NOT MEASURED, the two sides disagree: {error}")
        gc.collect()
        if options.json is not None:  # after each net: a long run that is stopped leaves something
            text = json.dumps([row for row, _ in rows], indent=1) + "\n"
            options.json.write_text(text, "utf-8")
    if rows:
        console.print(_table(rows))
    console.print(f"load average after: {os.getloadavg()[0]:.1f}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
