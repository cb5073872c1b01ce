"""The loop: bits, stopping, going on, divergence, what is stored."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

import kiso
from kiso import nn, ops
from kiso.errors import CheckpointError, ConfigError, DivergedError, OutputError
from kiso.train import (
    Callback,
    TrainOptions,
    evaluate,
    fit,
    load_checkpoint,
    predict,
    resume,
    save_checkpoint,
    train,
)
from kiso.train.finder import steepest

SMALL = {"model": "conv4k3 bn relu pool2 flatten dropout0.2 linear10", "epochs": 2,
         "batch_size": 200, "augment": "shift1", "schedule": "cosine"}


def run(folder, callbacks=(), **changes):
    return train(TrainOptions(**{**SMALL, "out": str(folder), **changes}), callbacks)


def test_same_seed_same_bits_and_other_seed_others(tmp_path):
    a, b, c = (run(tmp_path / n, seed=s) for n, s in (("a", 0), ("b", 0), ("c", 1)))
    assert a.metrics["weights_sha256"] == b.metrics["weights_sha256"]
    assert a.metrics["weights_sha256"] != c.metrics["weights_sha256"]
    # Files but for times and paths are the same, too.
    pair = [(tmp_path / n / "checkpoint-best.safetensors").read_bytes() for n in "ab"]
    assert len(pair[0]) == pytest.approx(len(pair[1]), rel=0.01)


def test_traced_engine_gives_the_same_bits(tmp_path):
    eager, traced = (run(tmp_path / e, engine=e) for e in ("eager", "traced"))
    assert eager.metrics["weights_sha256"] == traced.metrics["weights_sha256"]
    assert eager.history[-1]["val_loss"] == traced.history[-1]["val_loss"]


@pytest.mark.parametrize("optimizer", ["momentum", "adam", "eve", "radam", "lion", "adadelta"])
def test_every_state_survives_an_interruption(tmp_path, optimizer):
    changes = {"optimizer": optimizer, "schedule": "plateau:1:0.5", "epochs": 3}
    whole = run(tmp_path / "whole", **changes)

    class Interrupt(Callback):
        def step(self, context):
            if context.step == 9:
                raise KeyboardInterrupt

    part = run(tmp_path / "part", [Interrupt()], **changes)
    assert part.stopped == "interrupted" and not (tmp_path / "part" / "metrics.json").exists()
    done = resume(tmp_path / "part")
    assert done.metrics["weights_sha256"] == whole.metrics["weights_sha256"]
    assert done.metrics["steps"] == whole.metrics["steps"]
    skip = ("seconds", "images_per_second")
    for x, y in zip(whole.history, done.history, strict=True):
        assert {k: v for k, v in x.items() if k not in skip} == \
            {k: v for k, v in y.items() if k not in skip}


def test_stop_from_a_callback_is_kept(tmp_path):
    class Enough(Callback):
        def step(self, context):
            if context.step == 3:
                context.stop = "enough"

    result = run(tmp_path / "r", [Enough()], epochs=1)
    assert result.stopped == "enough" and result.metrics["steps"] == 3
    assert resume(tmp_path / "r").metrics["weights_sha256"] == result.metrics["weights_sha256"]


def test_early_stopping_is_the_same_after_resume(tmp_path):
    changes = {"epochs": 12, "lr": 0.5, "patience": 2, "optimizer": "adam", "schedule": "constant"}
    whole = run(tmp_path / "whole", **changes)
    assert "no improvement" in whole.stopped and whole.metrics["epochs"] < 12

    class Interrupt(Callback):
        def epoch_start(self, context):
            if context.epoch == 2:
                raise KeyboardInterrupt

    run(tmp_path / "part", [Interrupt()], **changes)
    assert resume(tmp_path / "part").metrics["weights_sha256"] == whole.metrics["weights_sha256"]


def test_a_run_keeps_its_form_of_convolutions(tmp_path, monkeypatch):
    """KISO_CONV of the day when it is resumed does not change the weights; an option may."""
    class Interrupt(Callback):
        def epoch_start(self, context):
            if context.epoch == 1:
                raise KeyboardInterrupt

    monkeypatch.setenv("KISO_CONV", "direct")
    whole = run(tmp_path / "whole", engine="compiled")
    assert run(tmp_path / "part", [Interrupt()], engine="compiled").stopped == "interrupted"
    shutil.copytree(tmp_path / "part", tmp_path / "other")
    given = run(tmp_path / "given", [Interrupt()], engine="compiled", conv="winograd")
    monkeypatch.setenv("KISO_CONV", "winograd")
    config = (tmp_path / "part" / "config.toml").read_text("utf-8")
    assert 'conv = "direct"' in config and given.engine.conv == "winograd"
    done = resume(tmp_path / "part")
    assert done.metrics["conv"] == done.engine.conv == "direct"
    assert done.metrics["weights_sha256"] == whole.metrics["weights_sha256"]
    other = resume(tmp_path / "other", conv="auto")
    assert other.metrics["conv"] == other.engine.conv == "auto"
    with pytest.raises(ConfigError, match="'fft'"):
        evaluate(tmp_path / "part", conv="fft")
    with pytest.raises(ConfigError, match="--conv"):
        TrainOptions(conv="fft")


def test_run_folder_holds_what_is_promised(tmp_path):
    result = run(tmp_path / "r")
    metrics = json.loads((tmp_path / "r" / "metrics.json").read_text("utf-8"))
    promised = ("task, train_loss, train_accuracy, val_loss, val_accuracy, test_loss, "
                "test_accuracy, epochs, steps, seconds_total, seconds_train, seconds_compile, "
                "images_per_second, parameters, peak_memory_bytes, weights_sha256, seed, engine, "
                "threads, conv")
    for name in promised.split(", "):
        assert metrics[name] is not None, name
    assert metrics == result.metrics
    text = (tmp_path / "r" / "history.csv").read_text("utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[1]["val_loss"]) == result.history[1]["val_loss"]
    arrays = np.load(tmp_path / "r" / "predictions.npz")
    assert arrays["output"].shape == (len(arrays["y"]), 10)
    np.testing.assert_allclose(arrays["output"].sum(1), 1, rtol=1e-5)
    share = (arrays["output"].argmax(1) == arrays["y"]).mean()
    assert share == pytest.approx(metrics["test_accuracy"])
    assert metrics["steps"] == 2 * -(-metrics["samples"]["train"] // 200)
    assert not list((tmp_path / "r").glob(".*"))


def test_metrics_are_standard_json(tmp_path):
    from kiso.train.store import Store

    Store(tmp_path).save_metrics({"a": float("nan"), "b": [1.5, float("inf")], "c": {"d": 2}})
    text = (tmp_path / "metrics.json").read_text("utf-8")
    assert json.loads(text, parse_constant=pytest.fail) == {"a": None, "b": [1.5, None],
                                                           "c": {"d": 2}}


def test_evaluate_repeats_the_figures_of_the_run(tmp_path):
    result = run(tmp_path / "r")
    again = evaluate(tmp_path / "r")
    assert again["accuracy"] == result.metrics["test_accuracy"]
    assert again["loss"] == pytest.approx(result.metrics["test_loss"])


def test_the_returned_model_has_the_best_weights(tmp_path):
    result = run(tmp_path / "r")
    best = load_checkpoint(tmp_path / "r" / "checkpoint-best.safetensors")
    for name, value in result.model.state_dict().items():
        part = "params" if name in best.state["params"] else "buffers"
        np.testing.assert_array_equal(value, best.state[part][name])


def test_divergence_is_named_and_the_checkpoint_stays(tmp_path):
    with pytest.raises(DivergedError, match=r"step \d+ .*(layer|weights|gradient|loss).*--lr"):
        run(tmp_path / "r", optimizer="sgd", lr=1e18, model="linear50 relu linear10", augment=None)
    checkpoint = load_checkpoint(tmp_path / "r" / "checkpoint-last.safetensors")
    assert all(np.isfinite(v).all() for v in checkpoint.state["params"].values())


def test_first_bad_layer_is_named():
    class Explode(nn.Module):
        def forward(self, x):
            return ops.exp(x * 1e6)

    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), Explode(), nn.Linear(8, 10))
    with np.errstate(all="ignore"), pytest.raises(DivergedError, match=r"2 Explode"):
        fit(net, "digits", epochs=1, progress=False)


def test_refusals_write_nothing(tmp_path):
    cases = [
        ({"batch_size": 5000}, "batch size 5000 is larger than the 1258"),
        ({"lr": -1.0}, "--lr is -1.0"),
        ({"epochs": 0}, "--epochs is 0"),
        ({"optimizer": "adan"}, "adam"),
        ({"engine": "eagre"}, "eager"),
        ({"model": "linear7"}, "linear10"),
        ({"model": "flatten"}, "linear10"),
        ({"loss": "mse"}, "cross_entropy"),
        ({"model": "conv3k30 relu linear10"}, r"no output"),
    ]
    for changes, message in cases:
        with pytest.raises(kiso.KisoError, match=message) as caught:
            run(tmp_path / "r", **changes)
        assert caught.value.exit_code == 2
        assert list(tmp_path.iterdir()) == []


def test_existing_run_is_not_overwritten(tmp_path):
    run(tmp_path / "r", epochs=1)
    before = (tmp_path / "r" / "metrics.json").read_bytes()
    with pytest.raises(ConfigError, match="overwrite"):
        run(tmp_path / "r", epochs=1)
    assert (tmp_path / "r" / "metrics.json").read_bytes() == before
    run(tmp_path / "r", epochs=1, overwrite=True)


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="--out"):
        run(tmp_path / "file" / "run")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_full_disk_is_refused_before_training(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OutputError, match="free"):
        run(tmp_path / "deep" / "r")
    assert list(tmp_path.iterdir()) == []


def test_damaged_and_foreign_checkpoints(tmp_path):
    run(tmp_path / "r", epochs=1)
    path = tmp_path / "r" / "checkpoint-last.safetensors"
    good = path.read_bytes()
    path.write_bytes(good[:len(good) // 2])
    with pytest.raises(CheckpointError, match="damaged"):
        resume(tmp_path / "r")
    run(tmp_path / "other", epochs=1, model="linear10")
    path.write_bytes((tmp_path / "other" / "checkpoint-last.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match=r"another model.*is missing"):
        resume(tmp_path / "r")
    with pytest.raises(CheckpointError, match=r"config\.toml"):
        resume(tmp_path)


def test_checkpoint_round_trip_of_odd_arrays(tmp_path):
    state = {"params": {"b": np.arange(12, dtype="f").reshape(3, 4).T, "a": np.zeros((2, 0), "f")},
             "buffers": {"m": np.array(3.5, "f")}, "slots": {"b": {"v": np.ones(4)[::2]}, "a": {}},
             "t": np.array(7, "f")}
    save_checkpoint(tmp_path / "c.safetensors", state, {"note": "日本"})
    found = load_checkpoint(tmp_path / "c.safetensors")
    assert found.record["note"] == "日本" and list(found.state["params"]) == ["b", "a"]
    np.testing.assert_array_equal(found.state["params"]["b"], state["params"]["b"])
    np.testing.assert_array_equal(found.state["slots"]["b"]["v"], [1, 1])
    assert found.state["buffers"]["m"].shape == () and found.state["t"] == 7


def test_fit_on_arrays_and_own_module(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 5)).astype("f")
    y = (x @ rng.normal(size=(5, 2))).astype("f")
    model = nn.Sequential(nn.Linear(5, 2))
    result = fit(model, (x, y), epochs=40, lr=0.05, progress=False, out=str(tmp_path / "r"))
    assert result.metrics["test_r2"] > 0.99 and result.metrics["test_accuracy"] is None
    assert len(repr(result)) < 200 and "test_r2=" in repr(result) and "epochs=40" in repr(result)
    again = fit(model, (x, y), out=str(tmp_path / "r"), resume_run=True, progress=False)
    assert again.metrics["weights_sha256"] == result.metrics["weights_sha256"]
    with pytest.raises(ConfigError, match="no option 'epoch'"):
        fit(model, (x, y), epoch=3)
    with pytest.raises(ConfigError, match="no file form"):
        predict(tmp_path / "r", ["a.csv"])


def test_a_class_of_ones_own_is_used_in_python_only(tmp_path):
    class Own(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(64, 10)

        def forward(self, x):
            return self.layer(ops.flatten(x))

    result = fit(Own(), "digits", epochs=1, progress=False, out=str(tmp_path / "r"))
    again = fit(Own(), "digits", out=str(tmp_path / "r"), resume_run=True, progress=False)
    assert again.metrics == result.metrics
    with pytest.raises(CheckpointError, match="Python class"):
        evaluate(tmp_path / "r")


def test_learning_rate_finder_leaves_the_model_alone():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    before = model.state_dict()
    found = kiso.find_lr(model, "digits", steps=60)
    assert 1e-5 < found.suggestion < 10 and len(found.rates) == len(found.losses)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert found.figure().axes[0].get_xscale() == "log"
    assert len(repr(found)) < 100 and f"{found.suggestion:.3g}" in repr(found)


def test_learning_rate_finder_does_not_suggest_a_rate_at_which_training_falls_apart():
    """Flat, down to a valley at 0.1, up, and from there down again more steeply than before."""
    rates = np.geomspace(1e-6, 10, 71).tolist()
    losses = [1.0] * 40 + np.linspace(1, 0.3, 11).tolist() + np.linspace(0.4, 3, 15).tolist() \
        + [2.0, 1.2, 1.1, 1.1, 1.1]
    assert rates[40] <= steepest(rates, losses) <= 0.11
    assert steepest(rates, [1.0, 0.1, *losses[2:]]) >= rates[7]  # noise of the first steps
    assert steepest(rates[:2], [1.0, 0.5]) == rates[0]


SCRIPT = textwrap.dedent("""
    import sys
    from kiso.train import Callback, TrainOptions, resume, train
    from pathlib import Path

    class Tell(Callback):
        def fit_start(self, context):
            print("training", flush=True)

    out = Path(sys.argv[1])
    if (out / "config.toml").exists():
        resume(out, [Tell()])
    else:
        train(TrainOptions(model="conv4k3 bn relu pool2 flatten dropout0.2 linear10", epochs=20,
                           batch_size=50, augment="shift1", out=str(out), overwrite=True), [Tell()])
""")


def start(out, script=SCRIPT):
    """Train or resume in a process of its own; returns it when its first step is due."""
    process = subprocess.Popen([sys.executable, "-c", script, str(out)], stdout=subprocess.PIPE,
                               text=True, env={**os.environ, "KISO_NUM_THREADS": "1"})
    assert process.stdout.readline() == "training\n"
    return process


def sha256(out):
    return json.loads((out / "metrics.json").read_text("utf-8"))["weights_sha256"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_twenty_random_kills(tmp_path):
    """SIGKILL at random moments, resume until done: the weights of the uninterrupted run."""
    process = start(tmp_path / "whole")
    began = time.monotonic()
    process.communicate()
    length = time.monotonic() - began
    rng = np.random.default_rng(0)
    kills = runs = 0
    while kills < 20:
        out = tmp_path / f"killed-{runs}"
        runs += 1
        while not (out / "metrics.json").exists():
            process = start(out)
            try:
                process.communicate(timeout=rng.uniform(0, 0.7) * length)
                assert process.returncode == 0
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                kills += 1
            for name in ("last", "best"):
                path = out / f"checkpoint-{name}.safetensors"
                if path.exists():
                    load_checkpoint(path)
        assert sha256(out) == sha256(tmp_path / "whole")


@pytest.mark.slow
def test_kills_before_the_first_step(tmp_path):
    """Killed while loading and preparing: there is no run yet, or one that can be resumed."""
    process = start(tmp_path / "whole")
    process.communicate()
    for i in range(8):
        process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path / "r")],
                                   stdout=subprocess.DEVNULL)
        time.sleep(0.2 + 0.15 * i)
        process.kill()
        process.wait()
    if not (tmp_path / "r" / "metrics.json").exists():
        start(tmp_path / "r").communicate()
    assert sha256(tmp_path / "r") == sha256(tmp_path / "whole")


def test_sigterm_leaves_a_checkpoint(tmp_path):
    process = start(tmp_path / "r", SCRIPT.replace("epochs=20", "epochs=4000"))
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0
    checkpoint = load_checkpoint(tmp_path / "r" / "checkpoint-last.safetensors")
    assert checkpoint.record["position"]["step"] > 0
