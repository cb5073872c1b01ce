"""3x3 convolutions of stride 1, layer by layer: Winograd's form beside the direct one.

    python -m benchmarks.layers --nets vgg16_32 --threads 2 --json layers.json

For each distinct layer of the nets with at least 64 channels on both sides and pictures of at least
8 x 8, and for each of its directions, the two forms take turns. A time is that of all that a form
does in a step: packing or transforming the filters, the sum, adding up parts. A mark stands where
the direct form takes less than BAR times Winograd's time; the exit code says nothing about it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import machine
from benchmarks.options import milliseconds, names, positive, write_json
from benchmarks.race import race
from kiso import ops
from kiso.compiler import trace
from kiso.compiler.loops import Contract, Program
from kiso.compiler.passes import optimise
from kiso.compiler.plan import Plan, plan
from kiso.report.clock import pinned
from kiso.report.peak import fma_peak
from kiso.runtime import Executable

__all__ = ["BARS", "FORMS", "LAYERS", "Layer", "Turns", "main", "measure"]

FORMS = ("direct", "winograd")
BARS = {"forward": 2.2, "input gradient": 2.2, "weight gradient": 1.8}
SECONDS = 0.1  # what one turn of a form lasts, about


@dataclass(frozen=True)
class Layer:
    """A convolution with a border of one zero: x (batch, channels, side, side) to as many pixels
    of `outputs` channels."""

    batch: int
    channels: int
    outputs: int
    side: int

    def __str__(self) -> str:
        return f"{self.batch} x {self.channels}-{self.outputs} @ {self.side}"

    @property
    def operations(self) -> int:
        """Multiplications and additions of the direct sum, those with the border's zeros too."""
        return 2 * 9 * self.batch * self.channels * self.outputs * self.side ** 2

    def arrays(self) -> dict[str, np.ndarray]:
        """x, weights W (divided by the root of 9 C) and the gradient gy, of normal numbers."""
        rng = np.random.default_rng(0)
        pixels = self.side, self.side
        return {"x": rng.standard_normal((self.batch, self.channels, *pixels), np.float32),
                "W": rng.standard_normal((self.outputs, self.channels, 3, 3), np.float32)
                / np.float32(np.sqrt(9 * self.channels)),
                "gy": rng.standard_normal((self.batch, self.outputs, *pixels), np.float32)}

    def function(self, direction: str) -> tuple[Callable[..., Any], tuple[str, str], str]:
        """The op of a direction, the names of its two operands and of what its result is like."""
        given: dict[str, Any] = {"stride": (1, 1), "padding": ((1, 1), (1, 1)),
                                 "dilation": (1, 1), "groups": 1}
        if direction == "forward":
            return ops.Conv(**given), ("x", "W"), "gy"
        if direction == "input gradient":
            return ops.ConvInputGrad(spatial=(self.side, self.side), **given), ("gy", "W"), "x"
        return ops.ConvWeightGrad(kernel=(3, 3), **given), ("x", "gy"), "W"


LAYERS = {
    "vgg16_32": tuple(Layer(64, *rest) for rest in (
        (64, 64, 32), (64, 128, 16), (128, 128, 16), (128, 256, 8), (256, 256, 8))),
    "vgg16_224": tuple(Layer(8, *rest) for rest in (
        (64, 64, 224), (64, 128, 112), (128, 128, 112), (128, 256, 56), (256, 256, 56),
        (256, 512, 28), (512, 512, 28), (512, 512, 14))),
    "resnet18_224": tuple(Layer(16, *rest) for rest in (
        (64, 64, 56), (128, 128, 28), (256, 256, 14))),
    "more": (Layer(16, 512, 512, 14),),
}


class Turns:
    """A layer in one direction and form, as often as is asked for. The result is there from step
    to step as state is, and all arrays lie as they do in training: no kernel but the form's own."""

    def __init__(self, layer: Layer, direction: str, form: str, threads: int):
        op, operands, like = layer.function(direction)
        made = layer.arrays()
        given = [*(made[name] for name in operands), np.zeros_like(made[like])]
        graph = trace(lambda *a: op(*a[:2]), *given).graph
        weights = (*operands, like).index("W")
        whole = plan(optimise(graph), contracts=True, state={weights: 0 if like == "W" else None})
        contract, = (k for k in whole.program.kernels if isinstance(k, Contract))
        y = contract.buffer
        alone = Plan(Program([contract]), (*contract.inputs, y), {}, (), {y: y}, ())
        self.code = Executable(alone, threads=threads, conv=form)
        self.state = [self.code.place(k, array) for k, array in enumerate(given)]

    def step(self) -> float:
        """One step; nothing is read from it."""
        self.steps(1)
        return 0.0

    def steps(self, count: int) -> None:
        """So many steps in one call."""
        self.code.run(self.state, steps=count)

    def result(self) -> np.ndarray:
        """What the last step computed."""
        return self.code.natural(2, self.state[2])


def measure(layer: Layer, direction: str, *, threads: int, rounds: int,
            peak: float) -> dict[str, Any]:
    """A row of the table: milliseconds of both forms (medians), how many times faster Winograd's
    is and the bar, and both rates: GFLOP/s of the direct sum, and their share of the peak."""
    sides: dict[str, Any] = {form: Turns(layer, direction, form, threads) for form in FORMS}
    for side in sides.values():
        side.step()
    with pinned(threads):
        found = race(sides, rounds, SECONDS)
    row: dict[str, Any] = {"layer": str(layer), "direction": direction,
                           **{f"{form}_ms": found[form] for form in FORMS}}
    row |= {"ratio": found["direct"] / found["winograd"], "bar": BARS[direction]}
    for form in FORMS:
        row[f"{form}_gflops"] = layer.operations / found[form] / 1e6
    return row | {"direct_share": 1e9 * row["direct_gflops"] / peak, "threads": threads}


def cells(row: dict[str, Any]) -> list[str]:
    """A row as text."""
    mark = " **below**" if row["ratio"] < row["bar"] else ""
    return [row["layer"], row["direction"], *milliseconds(row, ["direct_ms", "winograd_ms"]),
            f"{row['ratio']:.2f}{mark}", f"{row['direct_gflops']:.0f}",
            f"{row['direct_share']:.0%}", f"{row['winograd_gflops']:.0f}"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a row for each layer and direction as soon as it is there."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layers", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", type=names(tuple(LAYERS)), default=tuple(LAYERS),
                        help=f"comma-separated, of: {', '.join(LAYERS)} (default: all)")
    parser.add_argument("--directions", type=names(tuple(BARS)), default=tuple(BARS),
                        help=f"comma-separated, of: {', '.join(BARS)} (default: all)")
    parser.add_argument("--threads", type=positive, default=2, help="default 2")
    parser.add_argument("--rounds", type=positive, default=7, help="turns of a form (default 7)")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args(arguments)
    peak = fma_peak(options.threads)
    print(f"{machine()}\n{options.threads} threads, {peak / 1e9:.0f} GFLOP/s with nothing but "
          "multiply-adds\n")
    heads = ["layer", "direction", "direct ms", "winograd ms", "ratio", "direct GFLOP/s",
             "of peak", "winograd GFLOP/s"]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    rows: list[dict[str, Any]] = []
    for name in options.nets:
        for layer in LAYERS[name]:
            for direction in options.directions:
                rows.append({"net": name} | measure(layer, direction, threads=options.threads,
                                                    rounds=options.rounds, peak=peak))
                print(f"| {' | '.join(cells(rows[-1]))} |", flush=True)
                write_json(options.json, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
