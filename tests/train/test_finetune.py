"""Fine-tuning: what begins anew, what stays, how fast the rest learns, going on after a stop."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kiso import nn
from kiso.errors import CheckpointError, ConfigError
from kiso.train import Callback, RunResult, TrainOptions, fit, load_checkpoint, resume, train
from kiso.train.setup import build

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (60, 3, 12, 12), np.uint8)
TWO, THREE = np.arange(60) % 2, np.arange(60) % 3
NET = "conv4k3 bn relu pool2 flatten linear8 relu linear2"
QUICK: dict[str, Any] = {"batch_size": 14, "progress": False, "augment": None}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on two classes."""
    out = tmp_path_factory.mktemp("runs") / "first"
    fit(NET, (X, TWO), epochs=2, out=str(out), **QUICK)
    return out


@pytest.fixture(scope="module")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a net of the zoo."""
    out = tmp_path_factory.mktemp("runs") / "vgg"
    fit("vgg11_bn(width=0.0625)", (X, TWO), epochs=1, out=str(out), **QUICK)
    return out


def best(run: Path) -> dict[str, np.ndarray]:
    state = load_checkpoint(run / "checkpoint-best.safetensors").state
    return {**state["params"], **state["buffers"]}


def changed(before: dict[str, np.ndarray], result: RunResult) -> set[str]:
    after = result.model.state_dict()
    return {n for n in before if not np.array_equal(before[n], after[n])}


def test_a_run_brings_its_net_and_its_weights(first: Path) -> None:
    setup = build(TrainOptions(data="arrays", weights=str(first), epochs=1), splits=splits(TWO))
    assert setup.model_text == NET and setup.adopted is not None
    assert len(setup.adopted.loaded) == 10 and setup.adopted.replaced == ()
    for name, value in setup.step.model.state_dict().items():
        np.testing.assert_array_equal(value, best(first)[name])


def splits(y: Any) -> Any:
    from kiso.train import as_splits
    return as_splits((X, y), TrainOptions())


@pytest.mark.parametrize("kind", ["words", "zoo"])
def test_the_head_follows_the_classes_of_the_data(first: Path, vgg: Path, kind: str) -> None:
    run = first if kind == "words" else vgg
    setup = build(TrainOptions(data="arrays", weights=str(run), epochs=1), splits=splits(THREE))
    assert setup.adopted is not None
    assert nn.output_shape(setup.step.model, (3, 12, 12)) == (3,)
    head = ("7.weight", "7.bias") if kind == "words" else ("classifier.6.weight",
                                                          "classifier.6.bias")
    assert setup.adopted.replaced == head
    state = setup.step.model.state_dict()
    for name in setup.adopted.loaded:
        np.testing.assert_array_equal(state[name], best(run)[name])


@pytest.mark.parametrize("engine", ["eager", "traced", "compiled"])
def test_frozen_layers_and_their_statistics_stay(vgg: Path, engine: str) -> None:
    result = fit(None, (X, THREE), weights=vgg, freeze="features.*", thaw="features.2[0-9].*",
                 epochs=1, engine=engine, **QUICK)
    moved = changed(best(vgg), result) - {"classifier.6.weight", "classifier.6.bias"}
    deep = {n for n in best(vgg) if n.startswith(("features.2", "classifier.0", "classifier.3"))}
    assert moved == {n for n in deep if not n.startswith("features.2.")}


def test_batch_norm_that_is_frozen_uses_its_running_statistics() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2))
    model[0].running_mean = np.array([3.0, -1.0], np.float32)
    params = {n: p.data for n, p in model.named_parameters()}
    buffers = {n: b.data for n, b in model.named_buffers()}
    x = RNG.normal(size=(5, 2)).astype(np.float32)
    rested, kept = nn.functional_call(model, params, buffers, x, training=True,
                                      frozen={"0.weight", "0.bias"})
    half, moved = nn.functional_call(model, params, buffers, x, training=True, frozen={"0.weight"})
    np.testing.assert_array_equal(rested.data, model.eval()(x).data)
    np.testing.assert_array_equal(kept["0.running_mean"], [3, -1])
    assert not np.allclose(half.data, rested.data) and moved["0.running_mean"][0] != 3


class Watch(Callback):
    """Weights and learning rate after each epoch."""

    def __init__(self) -> None:
        self.lrs: list[float] = []
        self.seen: list[dict[str, np.ndarray]] = []

    def fit_start(self, context: Any) -> None:
        self.seen.append(context.setup.step.model.state_dict())

    def step(self, context: Any) -> None:
        self.lrs.append(context.lr)

    def epoch_end(self, context: Any, row: dict[str, Any]) -> None:
        self.seen.append(context.setup.step.model.state_dict())


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_two_stages(first: Path, engine: str) -> None:
    watch = Watch()
    fit(None, (X, THREE), weights=first, head_epochs=2, epochs=4, lr=0.01, callbacks=[watch],
        schedule="cosine", engine=engine, **QUICK)
    moves = [{n for n in a if not np.array_equal(a[n], b[n])}
             for a, b in zip(watch.seen, watch.seen[1:], strict=False)]
    assert moves[0] == moves[1] == {"7.weight", "7.bias"}
    assert moves[2] == moves[3] == set(watch.seen[0])
    assert watch.lrs[0] == pytest.approx(0.01) and watch.lrs[6] == pytest.approx(0.001)
    np.testing.assert_allclose(np.array(watch.lrs[6:]) * 10, watch.lrs[:6], rtol=1e-5)


def test_the_second_stage_is_a_new_start_of_the_rule(first: Path) -> None:
    """Two stages give the weights of two runs, one after the other, from the same weights."""
    watch = Watch()
    common: dict[str, Any] = {"weights": first, "lr": 0.01, "schedule": "constant", **QUICK}
    fit(None, (X, THREE), head_epochs=1, epochs=2, lr_backbone=0.002, callbacks=[watch], **common)
    alone = Watch()
    fit(None, (X, THREE), epochs=1, freeze=["0.*", "1.*", "5.*"], callbacks=[alone], **common)
    for name, value in alone.seen[-1].items():
        np.testing.assert_array_equal(watch.seen[1][name], value)


def test_learning_rates_of_their_own(first: Path) -> None:
    options = TrainOptions(data="arrays", weights=str(first), lr=0.01, lr_backbone=0.001,
                           lr_of=("5.*=0.02",), epochs=1)
    setup = build(options, splits=splits(THREE))
    rule = setup.step.optimizer
    rates = {n: rule.lr * np.prod([g.lr_scale for g in rule.groups if g.matches(n, 2)])
             for n, _ in setup.step.model.named_parameters()}
    assert rates == pytest.approx({"0.weight": 0.001, "0.bias": 0.001, "1.weight": 0.001,
                                   "1.bias": 0.001, "5.weight": 0.02, "5.bias": 0.02,
                                   "7.weight": 0.01, "7.bias": 0.01})
    assert TrainOptions(lr_of={"a.*": 0.5}).lr_of == ("a.*=0.5",)  # pyright: ignore


@pytest.mark.parametrize("stop", [2, 3, 4, 5, 7])
def test_a_stopped_run_goes_on_to_the_same_weights(first: Path, tmp_path: Path, stop: int) -> None:
    """Also without the file that it began with; in the first stage, between them, and after."""
    class Stop(Callback):
        def step(self, context: Any) -> None:
            if context.step == stop:
                raise KeyboardInterrupt

    origin = tmp_path / "origin"
    shutil.copytree(first, origin)
    options: dict[str, Any] = {"weights": origin, "freeze": "0.*", "head_epochs": 1, "epochs": 3,
                               "lr_of": {"5.*": 0.003}, **QUICK}
    whole = fit(None, (X, THREE), out=str(tmp_path / "whole"), **options)
    stopped = fit(None, (X, THREE), out=str(tmp_path / "run"), callbacks=[Stop()], **options)
    assert stopped.stopped == "interrupted"
    shutil.rmtree(origin)
    again = fit(None, (X, THREE), out=str(tmp_path / "run"), resume_run=True, progress=False)
    assert again.metrics["weights_sha256"] == whole.metrics["weights_sha256"]


def test_a_run_that_was_killed_before_its_first_step(first: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"weights": first, "epochs": 1, **QUICK}
    whole = fit(None, (X, THREE), out=str(tmp_path / "run"), **options)
    for path in (tmp_path / "run").glob("checkpoint-*"):
        path.unlink()
    again = resume(tmp_path / "run", splits=splits(THREE))
    assert again.metrics["weights_sha256"] == whole.metrics["weights_sha256"]


def test_pictures_of_a_folder_get_the_runs_size(first: Path, tmp_path: Path) -> None:
    from PIL import Image

    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        for i in range(8):
            Image.fromarray(RNG.integers(0, 256, (20, 24, 3), np.uint8)
                            ).save(tmp_path / name / f"{i}.png")
    result = train(TrainOptions(data=str(tmp_path), weights=str(first), epochs=1), save=False)
    assert result.model(np.zeros((1, 3, 12, 12), np.float32)).shape == (1, 3)


@pytest.mark.parametrize(("options", "match"), [
    ({"freeze": "feature.*"}, r"--freeze 'feature\.\*' matches no parameter"),
    ({"freeze": "*"}, "all parameters are frozen"),
    ({"thaw": "0.*"}, "--thaw makes exceptions"),
    ({"freeze": "0.*", "thaw": "9.*"}, "--thaw '9"),
    ({"freeze": "7.*", "head_epochs": 1}, "all parameters are frozen"),
    ({"lr_of": "0.*"}, "expected pattern=rate"), ({"lr_of": "0.*=x"}, "expected pattern=rate"),
    ({"lr_of": "0.*=-1"}, "above 0"), ({"lr_of": {"0.*": 0.1, "*.bias": 0.1}}, "two patterns"),
    ({"lr_backbone": 0.0}, "--lr-backbone is 0.0"), ({"head_epochs": 0}, "--head-epochs is 0"),
    ({"head_epochs": 4, "epochs": 3}, "--head-epochs is 4, but the run has 3")])
def test_impossible_options(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        fit(NET, (X, TWO), **{"epochs": 1, **options, **QUICK})


def test_weights_that_do_not_fit_are_refused_before_anything_is_written(first: Path, vgg: Path,
                                                                      tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(CheckpointError, match="0 of its"):
        fit("vgg11_bn(width=0.0625)", (X, TWO), weights=first, out=str(out), epochs=1, **QUICK)
    np.savez(tmp_path / "w.npz", a=np.ones(1))
    with pytest.raises(CheckpointError):
        fit(NET, (X, TWO), weights=tmp_path / "w.npz", out=str(out), epochs=1, **QUICK)
    from safetensors.numpy import save_file
    save_file(best(vgg), tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match="does not say which model"):
        fit(None, (X, TWO), weights=tmp_path / "w.safetensors", out=str(out), epochs=1, **QUICK)
    assert not out.exists()
