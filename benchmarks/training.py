"""Whole training steps, side by side: `python -m benchmarks.training --nets mlp --json OUT`.

The same net, batch, float32 and momentum SGD with weight decay on all sides; the data lie in
memory, normalised. A step is forward, loss, backward and update. First the sides must agree on
loss, gradients and update from the same weights; then they are timed in turns.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.functional import Unknown
from benchmarks.machine import machine
from benchmarks.memory import peak_bytes
from benchmarks.nets import NETS, Net
from benchmarks.options import add_common, milliseconds, write_json
from benchmarks.ours import Kiso
from benchmarks.peers import brief, missing, time_limit
from benchmarks.race import Contender, WrongResult, compare, race
from kiso import nn
from kiso.report.peak import fma_peak

__all__ = ["KEYS", "main", "measure", "parser"]

KEYS = ("net", "batch", "kiso_ms", "torch_default_ms", "torch_channels_last_ms",
        "torch_compile_ms", "ratio", "gflops", "peak_share", "kiso_peak_bytes",
        "torch_peak_bytes")
PEERS = ("torch", "tensorflow", "jax")


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common(p, tuple(NETS), PEERS, ("torch",))
    p.add_argument("--no-memory", dest="memory", action="store_false",
                   help="do not measure memory (a process more for each side)")
    return p


def makers(net: Net, model: nn.Module, peers: Sequence[str],
           threads: int) -> dict[str, Callable[..., Contender]]:
    """What makes the contenders of these peers, by name."""
    made: dict[str, Callable[..., Contender]] = {}
    if "torch" in peers:
        from benchmarks.peer_torch import MODES, Torch

        for mode in MODES:
            made[f"torch_{mode}"] = lambda mode=mode, **more: Torch(net, model, mode, threads,
                                                                    **more)
    if "tensorflow" in peers:
        from benchmarks.peer_tensorflow import TensorFlow

        made["tensorflow"] = lambda **more: TensorFlow(net, model, threads, **more)
    if "jax" in peers:
        from benchmarks.peer_jax import Jax

        made["jax"] = lambda **more: Jax(net, model, threads, **more)
    return made


def check(name: str, net: Net, ours: Kiso, peers: Sequence[str], threads: int,
          note: Callable[[str], Any]) -> None:
    """One step of each peer against one of Kiso. Errors: WrongResult."""
    key, model = ours.keys[0], net.build()

    def judge(noise: int) -> Contender:
        if told := missing(("torch",)):
            raise WrongResult(f"float32 does not settle it, and the judge is PyTorch: {told}")
        from benchmarks.peer_torch import Torch

        return Torch(net, model, "default" if noise else "float64", threads, key=key,
                     noise=noise)

    made = makers(net, model, peers, threads)
    for i, who in enumerate(who for who in ("torch_default", "tensorflow", "jax") if who in made):
        mine = Kiso(net, threads) if i else ours
        difference = compare(mine, made[who](key=key), judge)
        note(f"{name}: loss, gradients and update of Kiso and {who.split('_')[0]} agree to "
             f"{difference:.0e}")


def contenders(name: str, net: Net, ours: Kiso, peers: Sequence[str], threads: int,
               compile_seconds: int | None, note: Callable[[str], Any]) -> dict[str, Contender]:
    """Everybody who takes part; torch.compile if it gets ready in that time."""
    found: dict[str, Contender] = {"kiso": ours}
    for who, make in makers(net, net.build(), peers, threads).items():
        late = who == "torch_compile"
        if late and compile_seconds is None:
            continue
        try:
            with time_limit(compile_seconds if late else None):
                peer = make()
                peer.step()
        except Exception as error:  # whatever the compiler of a peer raises
            if not late:
                raise
            note(f"{name}: torch.compile is left out: {brief(error)}")
            continue
        found[who] = peer
    return found


def measure(name: str, net: Net, peers: Sequence[str] = ("torch",), *, rounds: int, threads: int,
            compile_seconds: int | None = None, memory: bool = False,
            note: Callable[[str], Any] = print) -> tuple[dict[str, Any], float]:
    """Check and time one net; the row of the JSON file, and Kiso's seconds to compile.

    What was not measured is None. `compile_seconds` is the limit of torch.compile; None leaves it
    out. Errors: WrongResult if the sides do not agree.
    """
    ours = Kiso(net, threads)
    check(name, net, ours, peers, threads, note)
    taking_part = contenders(name, net, ours, peers, threads, compile_seconds, note)
    peak = fma_peak(threads)
    times = race(taking_part, rounds)
    peak = max(peak, fma_peak(threads))
    row: dict[str, Any] = dict.fromkeys(KEYS)
    row |= {"net": name, "batch": net.batch} | {f"{who}_ms": ms for who, ms in times.items()}
    row["ratio"] = min(ms for who, ms in times.items() if who != "kiso") / times["kiso"]
    row["gflops"] = net.step_operations() / times["kiso"] / 1e6
    row["peak_share"] = row["gflops"] * 1e9 / peak
    if memory:
        del taking_part  # room for the processes that measure
        gc.collect()
        row["kiso_peak_bytes"] = peak_bytes("kiso", net, threads)
        if "torch" in peers:
            found = [peak_bytes(mode, net, threads) for mode in ("default", "channels_last")]
            row["torch_peak_bytes"] = min((b for b in found if b is not None), default=None)
    return row, ours.compile_seconds


def _table(rows: Sequence[tuple[Mapping[str, Any], float]], peers: Sequence[str]) -> Any:
    from rich.table import Table

    others = [peer for peer in peers if peer != "torch"]
    table = Table("net", title="one training step, milliseconds; peak memory, MB")
    for column in ("batch", "kiso", "torch", "channels- last", "compile", *others, "ratio",
                   "GFLOP/s", "of peak", "MB", "torch MB", "compile s"):
        table.add_column(column, justify="right")
    for row, seconds in rows:
        share = f"{100 * row['peak_share']:.0f} %"
        sizes = ["-" if row[key] is None else f"{row[key] / 1e6:.0f}" for key in KEYS[-2:]]
        table.add_row(row["net"], str(row["batch"]),
                      *milliseconds(row, (*KEYS[2:6], *(f"{peer}_ms" for peer in others))),
                      f"{row['ratio']:.2f}", f"{row['gflops']:.0f}", share, *sizes,
                      f"{seconds:.1f}")
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """The command; 0, or 1 if a net was not measured."""
    from rich.console import Console

    options = parser().parse_args(argv)
    if told := missing(options.peers):
        parser().error(told)
    console = Console(width=None if sys.stdout.isatty() else 140)  # files keep whole rows
    console.print(f"{machine()}; {options.threads} threads, {options.rounds} rounds")
    console.print(f"load average before: {os.getloadavg()[0]:.1f}")
    rows: list[tuple[dict[str, Any], float]] = []
    failed = 0
    for name in options.nets:
        try:
            rows.append(measure(name, NETS[name], options.peers, rounds=options.rounds,
                                threads=options.threads, memory=options.memory,
                                compile_seconds=options.compile_seconds if options.compile
                                else None, note=console.print))
        except WrongResult as error:
            failed = 1
            console.print(f"{name}: NOT MEASURED, the sides disagree: {error}")
        except Unknown as error:
            failed = 1
            console.print(f"{name}: NOT MEASURED, a peer cannot build it: {error}")
        gc.collect()
        write_json(options.json, [row for row, _ in rows])
    if rows:
        console.print(_table(rows, options.peers))
    console.print(f"load average after: {os.getloadavg()[0]:.1f}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
