"""The compiled engine in real runs: eager's numbers to rounding, the same bits from run to run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kiso import optim
from kiso.compiler import flatten_tree
from kiso.train import Callback, RunResult, TrainOptions, resume, train
from kiso.train.step import Runner
from tests.train.test_step import whole_step

NET = "conv6k3p1 bn relu pool2 conv8k3 gelu avgpool2 flatten dropout0.2 linear16 tanh linear10"


def run(folder: Path | None = None, callbacks: Any = (), **changes: Any) -> RunResult:
    options: dict[str, Any] = {"model": NET, "epochs": 2, "batch_size": 200, "augment": "shift1",
                               "engine": "compiled", **changes}
    if folder is not None:
        options["out"] = str(folder)
    return train(TrainOptions(**options), callbacks, save=folder is not None)


@pytest.mark.parametrize("optimizer", sorted(optim.OPTIMIZERS))
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_steps_equal_eager_to_rounding(optimizer: str, threads: int) -> None:
    """Three steps, each from eager's state, so that only the step's own rounding shows."""
    step, state, batches = whole_step(optimizer)
    compiled = Runner(step.train, "compiled", threads)
    for batch in batches:
        found, m1 = compiled(state, batch)
        state, m2 = step.train(state, batch)
        assert float(m1["loss"]) == pytest.approx(float(m2["loss"]), rel=1e-5)
        assert float(m1["gradient_norm"]) == pytest.approx(float(m2["gradient_norm"]), rel=1e-3)
        for part in ("params", "buffers"):
            for name, value in state[part].items():
                if name in ("0.bias", "4.bias"):  # before batch norm: their gradients are only
                    continue  # rounding, which rules like Adam turn into whole steps
                other = found[part][name]
                assert other.dtype == value.dtype and other.shape == value.shape
                np.testing.assert_allclose(other, value, rtol=1e-3, atol=1e-3)


def test_a_run_learns_as_eager_does() -> None:
    compiled, eager = run(epochs=6), run(epochs=6, engine="eager")
    for a, b in zip(compiled.history, eager.history, strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=0.02)
    assert compiled.metrics["seconds_compile"] > 0 and compiled.metrics["engine"] == "compiled"


@pytest.mark.parametrize("threads", [1, 2])
def test_same_bits_from_run_to_run(threads: int) -> None:
    first, second = run(threads=threads), run(threads=threads)
    assert first.metrics["weights_sha256"] == second.metrics["weights_sha256"]


def test_an_interrupted_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    class Interrupt(Callback):
        def step(self, context: Any) -> None:
            if context.step == 9:
                raise KeyboardInterrupt

    whole = run(tmp_path / "whole")
    assert run(tmp_path / "part", [Interrupt()]).stopped == "interrupted"
    assert resume(tmp_path / "part").metrics["weights_sha256"] == whole.metrics["weights_sha256"]


def test_inputs_are_left_alone() -> None:
    step, state, batches = whole_step("adam")
    leaves = [np.array(v) for v in flatten_tree((state, batches[0]))[0]]
    Runner(step.train, "compiled", 2)(state, batches[0])
    for before, after in zip(leaves, flatten_tree((state, batches[0]))[0], strict=True):
        np.testing.assert_array_equal(before, after)
