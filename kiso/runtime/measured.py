"""Which form of a convolution takes less time: measured once for each shape, kept in the cache.

The compiler's own choice ("auto") is an estimate from shapes alone: the same on every day, so that
results keep their bits. `--conv measured` lets this machine decide instead. Both forms of each
convolution (with the work after it, as many threads as will run it) take turns; the faster one is
written down beside the compiled kernels. As long as that folder is kept, the choice, and with it
every bit, stays. Without it two forms that are equally fast may change places.
"""

from __future__ import annotations

import time

import numpy as np

from kiso import config
from kiso.compiler.contract.steps import Choose, version
from kiso.compiler.loops import Contract, Program
from kiso.compiler.plan import Plan
from kiso.runtime.cache import fetch, key
from kiso.runtime.target import Target

__all__ = ["form"]

FORMS = "direct", "winograd"
ROUNDS = 5
SECONDS = 0.01  # of a turn, at least


def form(conv: str | None, to: Target, threads: int) -> str | Choose:
    """The form of convolutions (see `config.conv`), or who chooses by measurement."""
    def winograd(contract: Contract, kept: bool) -> bool:
        arrays = [(b.shape, b.order) for b in (*contract.inputs, contract.buffer)]
        depends = contract.op, arrays, contract.after, kept, to, threads
        return fetch(key("form", version(), repr(depends)),
                     lambda: faster(contract, kept, to, threads).encode()) == b"winograd"
    named = config.conv(conv)
    return winograd if named == "measured" else named


def faster(contract: Contract, kept: bool, to: Target, threads: int) -> str:
    """The form whose best turn took less time. kept: filters are packed beforehand."""
    from kiso.runtime.engine import Executable

    rng, y = np.random.default_rng(0), contract.buffer
    inputs = tuple(dict.fromkeys(contract.inputs))  # one array may be there twice
    state = {y: y} | ({contract.inputs[1]: contract.inputs[1]} if kept else {})
    # y is there from step to step, as state is, so nothing but the convolution runs.
    alone = Plan(Program([contract]), (*inputs, y), {}, (), state)
    arrays = [rng.standard_normal(b.shape, np.float32).transpose(b.order).copy()
              for b in alone.inputs]
    codes = {name: Executable(alone, to, threads, name) for name in FORMS}
    prepared = {name: code.keep([arrays[k] for k in code.fixed]) for name, code in codes.items()}
    best: dict[str, float] = {}
    for turn in range(ROUNDS + 1):  # the first one is to get warm
        for name, code in codes.items():
            steps = max(1, int(SECONDS / best[name])) if turn else 1
            started = time.perf_counter()
            code.run([arrays[k] for k in code.free], steps=steps, kept=prepared[name])
            took = (time.perf_counter() - started) / steps
            best[name] = min(best[name], took) if turn > 1 else took
    return min(FORMS, key=best.__getitem__)
