"""Answers of trained nets, side by side: `python -m benchmarks.inference --nets mlp --json OUT`.

The same net and weights on all sides, float32, inference mode (no dropout, running statistics of
batch norm), batches of 1 and of 64 that lie in memory. First the outputs must agree; then the
sides are timed in turns.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.functional import Unknown
from benchmarks.machine import machine
from benchmarks.nets import NETS, Net, samples
from benchmarks.options import add_common, milliseconds, positive, write_json
from benchmarks.ours_inference import KisoAnswers
from benchmarks.peers import brief, missing, time_limit
from benchmarks.race import WrongResult, race

__all__ = ["KEYS", "main", "measure", "parser"]

KEYS = ("net", "batch", "kiso_ms", "torch_default_ms", "torch_channels_last_ms",
        "torch_compile_ms", "onnxruntime_ms", "ratio")
PEERS = ("torch", "onnxruntime")
UNUSUAL = ("deepconv", "alexnet_224", "googlenet_224", "resnet50_224", "unet_128")
USUAL = tuple(name for name in NETS if name not in UNUSUAL)
BATCHES, LARGE_BATCHES = (1, 64), (1, 8)  # large: pictures of 224 x 224
TOLERANCE = 1e-4


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.inference", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common(p, USUAL, PEERS, PEERS)
    p.add_argument("--batches", type=lambda text: tuple(map(positive, text.split(","))),
                   help="batch sizes (default: 1,64, and 1,8 for pictures of 224 x 224)")
    return p


def trained(net: Net) -> Any:
    """A model whose running statistics are not those of the beginning, in inference mode."""
    model = net.build()
    rng = np.random.default_rng(1)
    for name, buffer in model.named_buffers():
        low, high = (0.5, 2.0) if name.endswith("var") else (-0.5, 0.5)
        buffer.data = rng.uniform(low, high, buffer.data.shape).astype(np.float32)
    return model.eval()


def measure(name: str, net: Net, peers: Sequence[str], *, rounds: int, threads: int,
            compile_seconds: int | None, note: Callable[[str], Any] = print) -> dict[str, Any]:
    """Check and time one net and batch; the row of the JSON file. What was not measured is None.

    `compile_seconds` is the limit of torch.compile, None leaves it out. Errors: WrongResult if the
    outputs do not agree.
    """
    model = trained(net)
    x = samples(net)[0]
    sides: dict[str, Any] = {"kiso": KisoAnswers(model, x, threads)}
    if "torch" in peers:
        from benchmarks.peer_torch import MODES, TorchAnswers

        for mode in MODES if compile_seconds is not None else MODES[:2]:
            try:
                with time_limit(compile_seconds if mode == "compile" else None):
                    side = TorchAnswers(model, x, mode, threads)
                    side.step()
            except Exception as error:  # whatever the compiler of a peer raises
                if mode != "compile":
                    raise
                note(f"{name}: torch.compile is left out: {brief(error)}")
                continue
            sides[f"torch_{mode}"] = side
    if "onnxruntime" in peers:
        from benchmarks.peer_onnxruntime import OnnxAnswers

        sides["onnxruntime"] = OnnxAnswers(model, x, threads)
    difference = agree({who: side.step() for who, side in sides.items()})
    note(f"{name}, batch {net.batch}: outputs agree to {difference:.0e}")
    times = race(sides, rounds)
    row: dict[str, Any] = dict.fromkeys(KEYS)
    row |= {"net": name, "batch": net.batch} | {f"{who}_ms": ms for who, ms in times.items()}
    row["ratio"] = min(ms for who, ms in times.items() if who != "kiso") / times["kiso"]
    return row


def agree(outputs: Mapping[str, np.ndarray]) -> float:
    """The largest difference from Kiso's outputs, relative to the largest output."""
    ours = outputs["kiso"]
    worst = 0.0
    for who, theirs in outputs.items():
        if theirs.shape != ours.shape:
            raise WrongResult(f"{who} answers {theirs.shape}, Kiso {ours.shape}")
        error = float(np.abs(theirs - ours).max() / np.abs(theirs).max())
        if not error <= TOLERANCE:
            raise WrongResult(f"the outputs of {who} differ from Kiso's by {error:.1e}")
        worst = max(worst, error)
    return worst


def _table(rows: Sequence[Mapping[str, Any]]) -> Any:
    from rich.table import Table

    table = Table("net", title="one forward pass, milliseconds")
    for column in ("batch", "kiso", "torch", "channels-last", "compile", "onnxruntime", "ratio"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(row["net"], str(row["batch"]), *milliseconds(row, KEYS[2:-1]),
                      f"{row['ratio']:.2f}")
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """The command; 0, or 1 if a net was not measured."""
    from rich.console import Console

    options = parser().parse_args(argv)
    if told := missing(options.peers):
        parser().error(told)
    console = Console(width=None if sys.stdout.isatty() else 120)  # files keep whole rows
    console.print(f"{machine()}; {options.threads} threads, {options.rounds} rounds")
    console.print(f"load average before: {os.getloadavg()[0]:.1f}")
    rows: list[dict[str, Any]] = []
    failed = 0
    for name in options.nets:
        usual = LARGE_BATCHES if NETS[name].shape[-1] >= 224 else BATCHES
        for batch in options.batches or usual:
            net = replace(NETS[name], batch=batch)
            try:
                rows.append(measure(name, net, options.peers, rounds=options.rounds,
                                    threads=options.threads, note=console.print,
                                    compile_seconds=options.compile_seconds
                                    if options.compile else None))
            except (WrongResult, Unknown) as error:
                failed = 1
                console.print(f"{name}, batch {batch}: NOT MEASURED: {error}")
            gc.collect()
            write_json(options.json, rows)
    if rows:
        console.print(_table(rows))
    console.print(f"load average after: {os.getloadavg()[0]:.1f}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
