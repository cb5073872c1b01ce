"""Options and the table that the benchmarks have in common."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.nets import NETS

__all__ = ["add_common", "milliseconds", "names", "positive", "write_json"]


def names(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """The reader of a comma-separated list of these names."""
    def read(text: str) -> tuple[str, ...]:
        found = tuple(part.strip() for part in text.split(",") if part.strip())
        wrong = [name for name in found if name not in known]
        if wrong or not found:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(wrong) or repr(text)}; known "
                                             f"are: {', '.join(known)}")
        return found
    return read


def positive(text: str) -> int:
    """The reader of a whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def add_common(p: argparse.ArgumentParser, nets: Sequence[str], peers: Sequence[str],
               default: Sequence[str]) -> None:
    """Nets, peers, file, rounds, threads, torch.compile or not."""
    p.add_argument("--nets", type=names(tuple(NETS)), default=tuple(nets),
                   help=f"comma-separated, of: {', '.join(NETS)} (default: {','.join(nets)})")
    p.add_argument("--peers", type=names(peers), default=tuple(default),
                   help=f"comma-separated, of: {', '.join(peers)} (default: {','.join(default)})")
    p.add_argument("--json", type=Path, help="write the results to this file")
    p.add_argument("--rounds", type=positive, default=7, help="turns of each side (default 7)")
    p.add_argument("--threads", type=positive, default=2, help="of each side (default 2)")
    p.add_argument("--no-compile", dest="compile", action="store_false",
                   help="leave out torch.compile (it is slow to start)")
    p.add_argument("--compile-seconds", type=positive, default=300,
                   help="give up on torch.compile after so many seconds a net (default 300)")


def milliseconds(row: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    """Cells of a table; "-" for what was not measured."""
    return ["-" if row.get(key) is None else f"{row[key]:.3g}" if row[key] < 100
            else f"{row[key]:.0f}" for key in keys]


def write_json(path: Path | None, rows: Sequence[Mapping[str, Any]]) -> None:
    """After each net: a long run that is stopped leaves something."""
    if path is not None:
        path.write_text(json.dumps(list(rows), indent=1) + "\n", "utf-8")
