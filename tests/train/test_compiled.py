"""The compiled engine in real runs: eager's numbers to rounding, the same bits from run to run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kiso import optim
from kiso.errors import ConfigError
from kiso.train import Callback, RunResult, TrainOptions, resume, train
from kiso.train.engine import ENGINES, Compiled, Engine
from kiso.tree import flatten_tree
from tests.train.test_step import PICTURES, whole_step

NET = "conv6k3p1 bn relu pool2 conv8k3 gelu avgpool2 flatten dropout0.2 linear16 tanh linear10"


def run(folder: Path | None = None, callbacks: Any = (), **changes: Any) -> RunResult:
    options: dict[str, Any] = {"model": NET, "epochs": 2, "batch_size": 200, "augment": "shift1",
                               "engine": "compiled", **changes}
    if folder is not None:
        options["out"] = str(folder)
    return train(TrainOptions(**options), callbacks, save=folder is not None)


@pytest.mark.parametrize("optimizer, threads", [
    pytest.param(name, threads, marks=() if threads == 2 or name == "adam" else pytest.mark.slow)
    for name in sorted(optim.OPTIMIZERS) for threads in (1, 2, 3)])
def test_steps_equal_eager_to_rounding(optimizer: str, threads: int) -> None:
    """Three steps, each from eager's state, so that only the step's own rounding shows."""
    step, state, batches = whole_step(optimizer)
    compiled = ENGINES["compiled"](step, threads)
    for batch in batches:
        compiled.load(state)
        m1 = compiled.train(PICTURES, several([batch]))
        found = compiled.state()
        state, m2 = step.train(state, batch)
        assert float(m1.loss[0]) == pytest.approx(float(m2["loss"]), rel=1e-5)
        assert float(m1.gradient_norm[0]) == pytest.approx(float(m2["gradient_norm"]), rel=1e-3)
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


@pytest.mark.parametrize("data", ["digits", "table"])
def test_another_seed_is_the_same_code(data: str, tmp_path: Path,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeds deal the samples anew, so mean and standard deviation differ, but not the code."""
    monkeypatch.setenv("KISO_CACHE", str(tmp_path / "cache"))
    table = tmp_path / "table.csv"
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 3)) * [1, 5, 0.1]
    table.write_text("a,b,y\n" + "".join(f"{a},{b},{a + b + c}\n" for a, b, c in rows))
    found: list[RunResult] = []
    for seed in (0, 1):
        monkeypatch.setattr("kiso.train.engine._codes", {})  # another process
        if data == "digits":
            result = run(seed=seed, epochs=1)
        else:
            result = run(data=str(table), model="linear5 tanh linear1", augment=None,
                         batch_size=30, seed=seed, epochs=1)
        assert isinstance(result.engine, Compiled) and len(result.engine.codes) > 1
        assert all(code.lib.from_cache == (seed == 1) for code in result.engine.codes.values())
        found.append(result)
    scales = [flatten_tree(r.engine.step.normalizer.arrays())[0] for r in found if r.engine]
    assert len(scales[0]) == (2 if data == "digits" else 4)
    assert all((a != b).any() for a, b in zip(*scales, strict=True))


def test_inputs_are_left_alone() -> None:
    step, state, batches = whole_step("adam")
    leaves = [np.array(v) for v in flatten_tree((state, PICTURES.x, PICTURES.y))[0]]
    engine = made("compiled", step, state)
    engine.train(PICTURES, several(batches))
    first = engine.state()
    kept = [np.array(v) for v in flatten_tree(first)[0]]
    engine.train(PICTURES, several(batches))
    for before, after in zip([*leaves, *kept], flatten_tree(
            (state, PICTURES.x, PICTURES.y, first))[0], strict=True):
        np.testing.assert_array_equal(before, after)


def several(batches: list[dict[str, Any]]) -> dict[str, Any]:
    """Batches of a step as an engine takes them."""
    return {name: np.stack([b[name] for b in batches]) for name in ("rows", "lr", "key")} | {
        "epoch_key": batches[0]["epoch_key"]}


def made(name: str, step: Any, state: Any) -> Engine:
    engine = ENGINES[name](step, 2)
    engine.load(state)
    return engine


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_many_steps_in_one_call_are_as_many_calls(name: str) -> None:
    """The same bits in the state and in what the steps give, whatever is looked at in between."""
    step, state, batches = whole_step("momentum")
    batches[1] = {**batches[1], "rows": batches[1]["rows"][::-1]}
    many, single = made(name, step, state), made(name, step, state)
    found = many.train(PICTURES, several(batches))
    assert found.done == 3
    for k, batch in enumerate(batches):
        one = single.train(PICTURES, several([batch]))
        assert [one.loss[0], one.score[0], one.gradient_norm[0]] == [
            found.loss[k], found.score[k], found.gradient_norm[k]]
        single.evaluate(PICTURES.x, PICTURES.y)
        if k == 1:
            single.load(single.state())
    for a, b in zip(flatten_tree(many.state())[0], flatten_tree(single.state())[0], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("count", [0, 1, 5, 24])
def test_engines_judge_alike(count: int) -> None:
    step, state, batches = whole_step("sgd")
    x, y = PICTURES.x[:count], PICTURES.y[:count]
    eager = made("eager", step, state)
    for name in ("traced", "compiled"):
        other = made(name, step, state)
        for targets in (None, y):
            found, expected = other.evaluate(x, targets), eager.evaluate(x, targets)
            assert list(found) == list(expected) == ["output", "loss", "score"][:3 if targets
                                                                               is not None else 1]
            for key, value in expected.items():
                assert found[key].dtype == value.dtype
                np.testing.assert_allclose(found[key], value, rtol=1e-4, atol=1e-5)
    # After a step the state lies in memory as that code wants it; inference takes it from there.
    compiled = made("compiled", step, state)
    compiled.train(PICTURES, several(batches))
    eager.load(compiled.state())
    np.testing.assert_allclose(compiled.evaluate(x)["output"], eager.evaluate(x)["output"],
                               rtol=1e-4, atol=1e-5)


def test_what_inference_keeps_is_of_the_present_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between evaluations of several sizes the state is trained or loaded."""
    step, state, batches = whole_step("momentum")
    engine = made("compiled", step, state)
    assert isinstance(engine, Compiled)

    def check() -> None:
        fresh = made("compiled", step, engine.state())
        for n in (24, 3, 1, 24):
            np.testing.assert_array_equal(engine.evaluate(PICTURES.x[:n])["output"],
                                          fresh.evaluate(PICTURES.x[:n])["output"])

    check()
    kept = dict(engine.kept)
    assert len(kept) == 3 and all(code.once for code in kept)
    check()
    assert kept == engine.kept
    first = engine.evaluate(PICTURES.x)["output"]
    for batch in batches:
        engine.train(PICTURES, several([batch]))
        assert not engine.kept  # its memory is there for the step
        check()
    assert np.abs(engine.evaluate(PICTURES.x)["output"] - first).max() > 1e-3
    engine.load(state)
    np.testing.assert_array_equal(engine.evaluate(PICTURES.x)["output"], first)
    check()
    monkeypatch.setattr("kiso.train.engine.REUSED_BYTES", 0)
    engine.evaluate(PICTURES.x[:3])
    assert len(engine.kept) == 1  # the others gave their memory up
    check()


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_a_step_without_a_number_changes_nothing(name: str) -> None:
    step, state, batches = whole_step("sgd")
    batches[2]["lr"] = np.asarray(np.inf, "f")  # the steps behind it have no numbers
    batches.append(batches[0])
    engine = made(name, step, state)
    with np.errstate(all="ignore"):
        found = engine.train(PICTURES, several(batches))
    assert found.done == 3 and len(found.loss) == 4 and np.isfinite(found.loss[:3]).all()
    assert not np.isfinite(found.loss[3]) or not np.isfinite(found.gradient_norm[3])
    assert float(engine.state()["t"]) == 3


def test_callbacks_that_do_not_mind_get_several_steps_at_once() -> None:
    """And those that do see each one; the weights are the same."""
    class Count(Callback):
        def __init__(self, each: bool):
            self.every_step, self.seen = each, list[int]()

        def step(self, context: Any) -> None:
            self.seen.append(context.step)

    each, some = Count(True), Count(False)
    first = run(callbacks=[each, some], model="linear10", batch_size=10, augment=None)
    assert each.seen == some.seen == list(range(1, 2 * 126 + 1))
    some.seen = []
    second = run(callbacks=[some], model="linear10", batch_size=10, augment=None)
    assert 4 <= len(some.seen) < 126 and some.seen[-1] == 252 and 126 in some.seen
    assert first.metrics["weights_sha256"] == second.metrics["weights_sha256"]
    for a, b in zip(first.history, second.history, strict=True):
        assert a["train_loss"] == b["train_loss"] and a["gradient_norm"] == b["gradient_norm"]


def test_a_batch_that_does_not_fit_is_refused_before_anything_is_written(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kiso.config.available_memory", lambda: 600_000)
    with pytest.raises(ConfigError, match=r"batch 200 needs .* Use --batch-size \d+ or less"):
        run(tmp_path / "r")
    assert not (tmp_path / "r").exists()
    run(tmp_path / "r", batch_size=10, epochs=1)
