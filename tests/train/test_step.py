"""The step: one pure function, whatever it holds, and what it leaves alone."""

import threading

import numpy as np
import pytest

from kiso import nn, ops, optim
from kiso.compiler import trace
from kiso.data import Augment, Dataset, Normalizer, Splits, Views
from kiso.errors import CheckpointError, ConfigError, DataError, DivergedError
from kiso.ops import make_key
from kiso.train import Callback, TrainOptions, find_lr, fit
from kiso.train.choose import Chosen
from kiso.train.diagnose import diverged
from kiso.train.engine import Found
from kiso.train.setup import Setup
from kiso.train.step import Step, initial_state
from kiso.tree import flatten_tree

RNG = np.random.default_rng(0)
PICTURES = Dataset(RNG.integers(0, 256, (24, 3, 12, 12)).astype("u1"), RNG.integers(0, 5, 24),
                   "classification", "image", tuple("abcde"), tuple(map(str, range(24))))
NET = ("conv8k3p1 bn relu pool2 conv8k3 bn gelu avgpool2 flatten dropout0.3 linear16 elu "
       "dropout0.2 linear5 softmax")
X = RNG.normal(size=(60, 6)).astype("f")
Y = (X[:, 0] > 0).astype(int)
CHOSEN = Chosen("none", "sgd", optim.SGD(), "constant", optim.Constant(), 1, 1, None, 0.0,
                "own", Views())


def whole_step(optimizer):
    """A step with everything in it, its first state, and three batches."""
    nn.manual_seed(1)
    model = nn.from_text(NET, (3, 12, 12))
    rule = optim.parse_optimizer(optimizer, clip_norm=1.0, clip_value=0.5, weight_decay=1e-3,
                                 l1=1e-4, groups=optim.no_decay_on_bias_and_norm())
    augment = Augment.parse("shift2 flip rotate10 scale0.1 crop2 colour0.2 cutout4")
    step = Step(model, rule, "classification", "cross_entropy", Normalizer.fit(PICTURES), augment,
                label_smoothing=0.1)
    batches = [{"x": PICTURES.x[rows], "y": PICTURES.y[rows], "rows": rows,
                "lr": np.asarray(0.01, "f"), "key": make_key(3, i), "epoch_key": make_key(3, 0)}
               for i, rows in enumerate(np.split(np.arange(24), 3))]
    return step, initial_state(model, rule), batches


@pytest.mark.parametrize("optimizer", sorted(optim.OPTIMIZERS))
def test_the_whole_step_is_one_graph_with_the_same_bits(optimizer):
    step, eager, batches = whole_step(optimizer)
    graph, traced = eager, trace(step.train, eager, batches[0])
    for batch in batches:
        eager, m1 = step.train(eager, batch)
        graph, m2 = traced(graph, batch)
        for a, b in zip(flatten_tree((eager, m1))[0], flatten_tree((graph, m2))[0], strict=True):
            assert np.asarray(a).dtype == np.asarray(b).dtype
            np.testing.assert_array_equal(a, b)
    found = traced.graph
    assert not [s for s in found.specs if s.dtype in (np.float64, np.float16)]
    # All that is large (weights, slots, data) comes in as an input.
    assert max(c.size for c in found.constants.values()) <= 12


class Shared(nn.Module):
    """One batch norm at two places."""

    def __init__(self):
        self.first, self.norm, self.last = nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 2)
        self.again = self.norm

    def forward(self, x):
        return self.last(ops.relu(self.again(ops.relu(self.norm(self.first(x))))))


@pytest.mark.parametrize("engine", ["eager", "traced", "compiled"])
def test_a_shared_layer_can_be_trained_and_resumed(tmp_path, engine):
    class Interrupt(Callback):
        def step(self, context):
            if context.step == 3:
                raise KeyboardInterrupt

    def run(name, *callbacks, **more):
        nn.manual_seed(0)
        return fit(Shared(), (X, Y), epochs=2, batch_size=21, progress=False, engine=engine,
                   out=str(tmp_path / name), callbacks=callbacks, **more)

    whole = run("whole")
    assert run("part", Interrupt()).stopped == "interrupted"
    done = run("part", resume_run=True)
    assert done.metrics["weights_sha256"] == whole.metrics["weights_sha256"]
    assert list(done.model.state_dict()) == list(whole.model.state_dict())


@pytest.mark.parametrize("engine", ["eager", "traced", "compiled"])
def test_frozen_parameters_stay_as_they_are(engine):
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    for p in model[0].parameters():
        p.requires_grad = False
    before = model.state_dict()
    fit(model, (X, Y), epochs=2, optimizer="adamw", clip_norm=1.0, progress=False, engine=engine)
    after = model.state_dict()
    assert [n for n in before if not np.array_equal(before[n], after[n])] == ["2.weight", "2.bias"]
    for p in model.parameters():
        p.requires_grad = False
    with pytest.raises(ConfigError, match="nothing to train"):
        fit(model, (X, Y), epochs=1, progress=False)


def test_a_run_neither_uses_nor_moves_the_seed_of_the_process():
    def run():
        return fit("linear4 relu linear2", (X, Y), epochs=1, seed=5, progress=False)

    nn.manual_seed(1)
    expected = nn.Linear(3, 3).weight.data
    first = run().metrics["weights_sha256"]
    nn.manual_seed(1)
    assert run().metrics["weights_sha256"] == first
    np.testing.assert_array_equal(nn.Linear(3, 3).weight.data, expected)


def test_two_threads_make_the_weights_of_their_own_seeds():
    def weights(seed, turn=None):
        with nn.seeded(seed):
            layers = [nn.Linear(3, 3)]
            if turn:
                turn.wait()  # both stand here, each with one layer made
            return np.stack([layer.weight.data for layer in [*layers, nn.Linear(3, 3)]])

    alone, found, turn = {s: weights(s) for s in (1, 2)}, {}, threading.Barrier(2)
    threads = [threading.Thread(target=lambda s=s: found.update({s: weights(s, turn)}))
               for s in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for s in (1, 2):
        np.testing.assert_array_equal(found[s], alone[s])


def test_an_interruption_at_the_end_of_an_epoch_keeps_its_line(tmp_path):
    class Interrupt(Callback):
        def step(self, context):
            if context.step == context.steps_per_epoch:  # before validation
                raise KeyboardInterrupt

    def rates(name, *callbacks, **more):
        result = fit("linear2", (X, Y), epochs=3, lr=0.1, progress=False, callbacks=callbacks,
                     out=str(tmp_path / name), **more)
        return [row["lr"] for row in result.history]

    whole = rates("whole")
    assert rates("part", Interrupt()) == []
    assert rates("part", resume_run=True) == whole


def test_another_optimizer_cannot_take_up_the_state(tmp_path):
    fit("linear2", (X, Y), epochs=1, optimizer="adam", progress=False, out=str(tmp_path / "r"))
    config = tmp_path / "r" / "config.toml"
    config.write_text(config.read_text("utf-8").replace('optimizer = "adam"',
                                                        'optimizer = "momentum"'), "utf-8")
    with pytest.raises(CheckpointError, match="optimizer adam"):
        fit("linear2", (X, Y), progress=False, out=str(tmp_path / "r"), resume_run=True)


@pytest.mark.parametrize("x, y, message", [
    (np.where(np.arange(360).reshape(60, 6) == 20, np.nan, X), Y, "x holds 1 .*sample 3"),
    (X, np.where(np.arange(60) > 57, np.inf, X[:, 0]), "y holds 2 .*sample 58"),
])
def test_numbers_that_are_none_are_refused_before(x, y, message):
    with pytest.raises(DataError, match=message):
        fit("linear", (x, y), epochs=1, progress=False)


def test_the_finder_says_when_the_first_loss_is_no_number():
    model = nn.Sequential(nn.Linear(6, 2))
    model[0].weight.data = np.full((2, 6), np.nan, "f")
    with pytest.raises(DivergedError, match="very first step"):
        find_lr(model, (X, Y), steps=10)


def test_a_validation_loss_that_is_no_number_is_never_the_best():
    step = Step(nn.Linear(6, 1), optim.SGD(), "regression", "mse", Normalizer.fit(PICTURES))
    setup = Setup(None, None, step, "", CHOSEN)  # type: ignore[arg-type]

    def row(loss):
        return {"val_loss": loss, "train_loss": 1.0, "train_mae": 1.0, "val_mae": 1.0}

    nan = {"loss": float("nan"), "score": 1.0}
    assert setup.better(row(3.0), nan) and not setup.better(row(float("nan")), nan)
    assert not setup.better(row(3.0), {"loss": 2.0, "score": 9.0})


def test_gradients_that_only_overflow_together_are_named():
    step, state, batches = whole_step("sgd")
    splits = Splits(PICTURES, PICTURES, PICTURES)
    setup = Setup(None, splits, step, "", CHOSEN)  # type: ignore[arg-type]
    batch = {name: value if name == "epoch_key" else np.stack([value])
             for name, value in batches[0].items() if name not in "xy"}
    found = Found(np.array([1.5]), np.array([0]), np.array([np.inf]), 0)
    assert "norm overflows" in str(diverged(setup, state, batch, 4, found))


def test_filters_are_prepared_again_only_for_new_weights():
    x = np.random.default_rng(1).standard_normal((40, 2, 6, 6)).astype("f")
    result = fit("conv4k3 relu flatten linear2", (x, np.arange(40) % 2), epochs=1, progress=False)
    first = result.predict(x)
    kept = dict(result.engine.kept)
    np.testing.assert_array_equal(result.predict(x), first)
    assert kept and result.engine.kept == kept
    bias = result.model[-1].bias
    bias.data = bias.data + np.array([9, 0], "f")
    assert (result.predict(x)[:, 0] > first[:, 0]).all()
    again = result.engine.kept
    assert again and all(again[code] is not kept[code] for code in again)


def test_the_result_answers_for_raw_samples():
    """In inference mode, scaled as in training: the figures of the run come out again."""
    rng = np.random.default_rng(1)
    x = rng.integers(0, 156, (600, 1, 6, 6))
    x[300:] += 100
    y = np.repeat([0, 1], 300)
    result = fit("conv4k3 bn relu flatten dropout0.5 linear2", (x.astype("u1"), y), epochs=5,
                 lr=0.01, progress=False)
    assert not result.model.training
    answers = result.predict(x.astype("u1"))
    np.testing.assert_allclose(answers.sum(1), 1, rtol=1e-5)
    assert (answers.argmax(1) == y).mean() > 0.95
    np.testing.assert_allclose(answers[:1], result.predict(x[:1].astype("u1")), rtol=1e-5)
    assert result.predict(x[:0]).shape == (0, 2)
    target = X @ np.arange(6, dtype="f") * 100 + 7
    line = fit("linear1", (X, target), epochs=200, lr=0.1, progress=False)
    np.testing.assert_allclose(line.predict(X)[:, 0], target, atol=30)


def test_a_run_goes_on_with_its_own_data_only(tmp_path):
    class Interrupt(Callback):
        def step(self, context):
            raise KeyboardInterrupt

    fit("linear2", (X, Y), epochs=1, progress=False, out=str(tmp_path / "r"),
        callbacks=[Interrupt()])
    with pytest.raises(CheckpointError, match="not those that"):
        fit("linear2", (X + 1, Y), out=str(tmp_path / "r"), resume_run=True, progress=False)
    done = fit("linear2", (X, Y), out=str(tmp_path / "r"), resume_run=True, progress=False)
    assert done.metrics["epochs"] == 1
    (tmp_path / "r" / "metrics.json").write_text("{")
    with pytest.raises(CheckpointError, match="delete it and resume"):
        fit("linear2", (X, Y), out=str(tmp_path / "r"), resume_run=True, progress=False)


@pytest.mark.parametrize("model, size, other", [
    ("linear4 bn relu linear2", 1, 2), ("linear4 bn relu linear2", 41, 40),
    ("reshape1x2x3 conv4k2x3 bn relu flatten linear2", 41, 40),  # maps of one pixel
])
def test_a_last_batch_without_variance_is_refused_before(model, size, other):
    with pytest.raises(ConfigError, match=f"--batch-size {other}\\b"):
        fit(model, (X, Y), batch_size=size, epochs=1, progress=False)
    fit(model, (X, Y), batch_size=other, epochs=1, progress=False)


def test_maps_of_several_pixels_may_come_alone():
    fit("reshape2x3 conv4k2 bn relu flatten linear2", (X, Y), batch_size=41, epochs=1,
        progress=False)


@pytest.mark.parametrize("options", [{"epochs": 1.5}, {"epochs": "1"}, {"lr": "0.1"},
                                     {"seed": 0.5}, {"batch_size": True}, {"lr": float("inf")}])
def test_options_of_a_wrong_type_are_refused(options):
    with pytest.raises(ConfigError, match="expected a"):
        TrainOptions(**options)


def test_options_may_be_numbers_of_numpy(tmp_path):
    fit("linear2", (X, Y), lr=np.float64(0.1), epochs=np.int64(1), out=str(tmp_path / "r"),
        progress=False)
    assert "lr = 0.1\n" in (tmp_path / "r" / "config.toml").read_text("utf-8")


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    out = tmp_path / "r"
    fit("linear2", (X, Y), epochs=1, progress=False, out=str(out))
    for options in ({"resume_run": True}, {"overwrite": True, "epochs": 1}):
        left, own = out / ".checkpoint-last.safetensors.ab12.tmp", out / ".notes.tmp"
        left.write_bytes(b"half")
        own.write_bytes(b"mine")
        fit("linear2", (X, Y), out=str(out), progress=False, **options)
        assert not left.exists() and own.exists()


class TwoHeads(nn.Module):
    """A net with an auxiliary output, and the same with its weight 0 or without."""

    def __init__(self, weight):
        self.weight = weight
        with nn.seeded(0):
            self.middle, self.main, self.early = (nn.Linear(6, 5), nn.Linear(5, 2),
                                                  nn.Linear(5, 2))

    def forward(self, x):
        h = ops.tanh(self.middle(x))
        y = self.main(h)
        if not self.training or self.weight is None:
            return y
        return nn.Outputs(y, (self.early(h), self.early(h * 2.0)), self.weight)


def auxiliary_step(weight):
    """Loss of each sample, gradients, metrics of a step, and what inference says."""
    net = TwoHeads(weight)
    train = Dataset(X, Y, "classification", "table", ("no", "yes"),
                    tuple(map(str, range(60))))
    step = Step(net, optim.SGD(), "classification", "cross_entropy", Normalizer.fit(train))
    batch = {"x": X, "y": Y, "key": make_key(0, 0), "lr": np.float32(0.1)}
    state = initial_state(net, step.optimizer)
    loss, grads, _ = step.gradients(state, batch)
    metrics = step.train(state, batch)[1]
    return net, float(loss), grads, metrics, step.evaluate(state, batch)["loss"], step.normalizer


def test_auxiliary_losses_are_added_with_their_weight():
    plain, none, third = (auxiliary_step(weight) for weight in (None, 0.0, 0.3))
    net, x = third[0], third[5].apply(X)
    h = ops.tanh(net.middle(x))
    extra = [float(ops.cross_entropy(net.early(part), Y).data) for part in (h, h * 2.0)]
    assert third[1] == pytest.approx(plain[1] + 0.3 * sum(extra), rel=1e-5)
    assert none[1] == pytest.approx(plain[1], rel=1e-6)
    # What training reports is the loss of the main output, as in validation.
    for found in (none, third):
        assert float(found[3]["loss"]) == pytest.approx(float(plain[3]["loss"]), rel=1e-6)
        np.testing.assert_array_equal(found[4], plain[4])
    assert np.any(np.asarray(third[2]["early.weight"]) != 0)
    assert not np.allclose(third[2]["middle.weight"], plain[2]["middle.weight"])
    with nn.seeded(0):
        assert nn.weighted_loss(np.ones(2), np.sum) == 2
