"""Pictures that are given back: what the target is, what is corrupted, and what does not fit."""

from dataclasses import replace

import numpy as np
import pytest

from kiso import data, models, nn, ops, optim
from kiso.data import Augment, Corrupt, Dataset, Normalizer
from kiso.errors import ConfigError, DataError
from kiso.ops import make_key
from kiso.train import Callback, TrainOptions, evaluate, fit, metrics, predict, resume
from kiso.train.engine import ENGINES
from kiso.train.setup import build
from kiso.train.step import Step, initial_state, raw
from kiso.tree import flatten_tree
from tests.data.pictures import noise, png

WORDS = "conv4k3p1 relu conv1k3p1"
RNG = np.random.default_rng(0)
PICTURES = Dataset(RNG.integers(0, 256, (24, 1, 8, 8)).astype("u1"), RNG.integers(0, 3, 24),
                   "classification", "image", tuple("abc"), tuple(map(str, range(24))))


class Seen(nn.Module):
    """Gives back what it sees, times 1, and notes it down."""

    def __init__(self, notes):
        self.factor = nn.Parameter(np.ones((), np.float32))
        self.note = notes.append

    def forward(self, x):
        self.note(np.asarray(raw(x)))
        return x * self.factor


def step_of(model, augment="", corrupt="", loss="mse"):
    return Step(model, optim.SGD(lr=0.1), "reconstruction", loss, Normalizer.fit(PICTURES),
                Augment.parse(augment), corrupt=Corrupt.parse(corrupt))


def batch_of(rows, epoch=0):
    return {"x": PICTURES.x[rows], "y": PICTURES.y[rows], "rows": rows,
            "lr": np.asarray(0.1, "f"), "key": make_key(3, 0), "epoch_key": make_key(3, epoch)}


@pytest.mark.parametrize("loss", ["mse", "l1", "huber"])
def test_the_target_is_the_augmented_clean_picture(loss):
    seen = []
    net = Seen(seen)
    step, rows = step_of(net, "flip shift2", loss=loss), np.arange(24)
    value, _, (losses, scores, _) = step.gradients(initial_state(net, step.optimizer),
                                                   batch_of(rows))
    scaled = step.normalizer.apply(PICTURES.x)
    changed = step.augment.apply(scaled, make_key(3, 0), rows)
    np.testing.assert_array_equal(seen[-1], changed)
    assert (changed != scaled).any()
    assert float(raw(value)) == 0 and not np.asarray(raw(losses)).any()
    np.testing.assert_allclose(scores, 100, atol=1e-3)  # both were changed alike


def test_only_the_input_is_corrupted():
    seen = []
    net = Seen(seen)
    step, rows = step_of(net, "flip", "noise0.5 drop0.2"), np.arange(24)
    state = initial_state(net, step.optimizer)
    losses = np.asarray(raw(step.gradients(state, batch_of(rows))[2][0]))
    clean = step.augment.apply(step.normalizer.apply(PICTURES.x), make_key(3, 0), rows)
    np.testing.assert_allclose(losses, ((seen[-1] - clean) ** 2).mean((1, 2, 3)), rtol=1e-5)
    first = seen[-1]
    step.gradients(state, batch_of(rows, epoch=1))
    assert (seen[-1] != first).mean() > 0.9  # new in every epoch


def test_judged_pictures_are_always_corrupted_alike():
    seen = []
    net = Seen(seen)
    step = step_of(net, "flip", "noise0.5 cutout3")
    state = initial_state(net, step.optimizer)
    rows = np.array([5, 2, 9])
    once = step.evaluate(state, {"x": PICTURES.x[rows], "y": rows})
    noisy = seen[-1]
    again = step.evaluate(state, {"x": PICTURES.x[:10], "y": np.arange(10)})
    np.testing.assert_array_equal(seen[-1][rows], noisy)
    np.testing.assert_allclose(again["loss"][rows], once["loss"], rtol=1e-6)
    np.testing.assert_allclose(step.corrupted(PICTURES.x[rows], rows), once["output"], atol=1e-3)
    expected = metrics.psnr(PICTURES.x[rows], once["output"])
    np.testing.assert_allclose(once["score"], expected, rtol=1e-4)
    step.evaluate(state, {"x": PICTURES.x[rows]})  # new pictures are judged as they are
    np.testing.assert_array_equal(seen[-1], step.normalizer.apply(PICTURES.x[rows]))


def test_psnr():
    x = RNG.integers(0, 256, (3, 1, 4, 4)).astype("u1")
    y = x.astype(float)
    y[1] += 25.5
    y[2, 0, 0, 0] += 40
    found = metrics.psnr(x, y)
    np.testing.assert_allclose(found, [100, 20, 10 * np.log10(255**2 / 100)])
    np.testing.assert_allclose(metrics.mse_of_psnr(found)[1:], [25.5**2, 100])


@pytest.mark.parametrize("text", [WORDS, "autoencoder(width=0.25)"])
def test_one_step_is_the_same_in_all_engines(text):
    found = []
    for engine in ("eager", "traced", "compiled"):
        with nn.seeded(0):
            model = models.create(text, (1, 8, 8), (1, 8, 8))
        step = step_of(model, "flip shift1", "noise0.5 drop0.2 cutout3")
        runner = ENGINES[engine](step, 1)
        runner.load(initial_state(model, step.optimizer))
        batch = batch_of(np.arange(8))
        runner.train(PICTURES, {**{k: batch[k][None] for k in ("rows", "lr", "key")},
                                "epoch_key": batch["epoch_key"]})
        judged = runner.evaluate(PICTURES.x, np.arange(24))
        found.append([np.array(a) for a in flatten_tree((runner.state()["params"], judged))[0]])
    for a, b, c in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(a, c, rtol=1e-3, atol=1e-3 * max(1, np.abs(a).max()))


@pytest.fixture(scope="module")
def denoised(tmp_path_factory):
    """A short run on the digits that removes noise."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    return fit("conv16k3p1 relu conv16k3p1 relu conv1k3p1", "digits", task="reconstruction",
               corrupt="noise1", epochs=6, lr=0.01, threads=1, out=str(folder), progress=False)


def test_a_denoiser_comes_nearer_to_the_clean_pictures(denoised):
    found = denoised.metrics
    assert found["test_psnr"] > found["test_input_psnr"] + 1
    assert found["task"] == "reconstruction" and found["test_accuracy"] is None
    assert set(denoised.history[0]) >= {"train_psnr", "val_psnr", "val_loss"}
    best = min(denoised.history, key=lambda row: row["val_loss"])
    assert found["best_epoch"] == best["epoch"]
    again = evaluate(denoised.folder, threads=1)
    assert again["psnr"] == pytest.approx(found["test_psnr"], rel=1e-6)
    assert again["rmse"] == pytest.approx(found["test_rmse"], rel=1e-6)
    assert evaluate(denoised.folder, "digits", threads=1)["samples"] == 1797
    assert "test_psnr" in repr(denoised)


def test_what_a_run_keeps_of_its_test_pictures(denoised):
    test = data.load("digits").test
    with np.load(denoised.folder / "predictions.npz") as file:
        arrays = dict(file)
    rows, worst = arrays["rows"], arrays["worst"]
    some = arrays["some"]
    assert len(worst) == 16 and set(rows) == set(some) | set(worst)
    assert len(some) == 64 and some[0] == 0 and some[-1] == len(test) - 1
    assert len(rows) <= 80 and len(arrays["psnr"]) == len(test)
    np.testing.assert_array_equal(arrays["images"], test.x[rows])
    assert arrays["losses"][worst].min() >= np.delete(arrays["losses"], worst).max()
    exact = metrics.psnr(arrays["images"], arrays["outputs"])
    np.testing.assert_allclose(exact, arrays["psnr"][rows], atol=0.1)  # but for whole numbers
    noisy = metrics.psnr(arrays["images"], arrays["inputs"])
    assert (noisy < exact).mean() > 0.9
    assert arrays["names"].tolist() == [test.names[i] for i in rows]


def test_new_pictures(denoised, tmp_path):
    from PIL import Image

    x = data.load("digits").test.x[:2]
    for i, picture in enumerate(x):
        Image.fromarray(picture[0]).save(tmp_path / f"{i}.png")
    answers = predict(denoised.folder, [tmp_path], threads=1)
    given = denoised.predict(x)
    assert given.shape == x.shape and given.min() >= 0 and given.max() <= 255
    for answer, sample, output in zip(answers, x, given, strict=True):
        np.testing.assert_array_equal(answer.picture, np.rint(output))
        assert answer.values["psnr"] == pytest.approx(metrics.psnr(sample[None], output[None])[0])


def test_resuming_gives_the_same_bits(tmp_path):
    class Stop(Callback):
        def step(self, context):
            if context.step == 20:
                raise KeyboardInterrupt

    options = {"task": "reconstruction", "corrupt": "noise0.5 drop0.2", "augment": "shift1",
               "epochs": 2, "threads": 1, "progress": False}
    whole = fit(WORDS, "digits", out=str(tmp_path / "whole"), **options)
    cut = fit(WORDS, "digits", out=str(tmp_path / "cut"), callbacks=[Stop()], **options)
    assert cut.stopped == "interrupted"
    again = resume(tmp_path / "cut", threads=1)
    assert again.metrics["weights_sha256"] == whole.metrics["weights_sha256"]
    assert again.metrics["test_psnr"] == whole.metrics["test_psnr"]


def test_an_autoencoder_is_better_than_the_mean_picture():
    splits = data.load("digits")
    result = fit("autoencoder", splits, epochs=10, threads=1, progress=False)
    scaling = Normalizer.fit(splits.train)
    mean = scaling.apply(splits.train.x).mean(0)
    constant = float(((scaling.apply(splits.test.x) - mean) ** 2).mean())
    assert result.metrics["test_loss"] < 0.8 * constant
    assert result.predict(splits.test.x[:3]).shape == (3, 1, 8, 8)


def test_the_task_follows_from_the_net():
    assert build(TrainOptions(model="autoencoder")).step.task == "reconstruction"
    assert build(TrainOptions(model="cnn")).step.task == "classification"
    setup = build(TrainOptions(task="reconstruction"))
    assert setup.model_text == "autoencoder"  # the usual one
    own = build(TrainOptions(), model=models.autoencoder(input_size=8))
    assert own.step.task == "reconstruction" and own.record()["outputs"] == [1, 8, 8]
    colours = replace(PICTURES, x=np.repeat(PICTURES.x, 3, 1).repeat(2, 2).repeat(2, 3))
    unet = build(TrainOptions(model="unet(width=0.05)", batch_size=8),
                 splits=data.Splits(colours, colours, colours))
    assert unet.step.model.summary((3, 16, 16)).output_shape == (3, 16, 16)


def test_a_net_that_can_copy_gets_a_remark():
    def said(model, **options):
        chosen = TrainOptions(model=model, task="reconstruction", **options)
        return [line for line in build(chosen).chosen.remarks if "can copy its input" in line]

    assert said(WORDS) and not said(WORDS, corrupt="noise0.5")
    assert not said("autoencoder")
    assert not said("flatten linear5 relu linear64 reshape1x8x8")


@pytest.mark.parametrize(("options", "message"), [
    ({"model": "cnn", "task": "reconstruction"}, "one value for each class.*use autoencoder, unet"),
    ({"model": "autoencoder", "task": "classification"}, "puts out pictures.*leave --task out"),
    ({"model": "unet", "task": "regression"}, "puts out pictures.*leave --task out"),
    ({"corrupt": "noise0.5"}, "--corrupt is for nets that give pictures back"),
    ({"model": "autoencoder", "tta": "flip"}, "--tta does not fit --task reconstruction"),
    ({"model": "autoencoder", "label_smoothing": 0.1}, "--label-smoothing does not fit"),
    ({"model": "autoencoder", "target": "y"}, "--target does not fit"),
    ({"model": "autoencoder", "loss": "cross_entropy"}, "does not fit reconstruction; use mse"),
    ({"model": "conv1k3", "task": "reconstruction"}, "puts out 1x6x6.*1x8x8.*conv1k3p1"),
    ({"model": "flatten linear10", "task": "reconstruction"}, "puts out 10 for one sample.*1x8x8"),
])
def test_what_does_not_fit(options, message):
    with pytest.raises(ConfigError, match=message):
        build(TrainOptions(**options))


def test_tables_are_refused(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n" + "1,2\n3,4\n" * 10)
    with pytest.raises(DataError, match="only pictures can be given back"):
        build(TrainOptions(data=str(tmp_path / "t.csv"), task="reconstruction"))
    with pytest.raises(DataError, match="only pictures can be given back"):
        fit("autoencoder", (np.zeros((9, 4)), np.arange(9) % 2), progress=False)


def test_weights_of_such_a_run_bring_their_task(denoised, tmp_path):
    options = TrainOptions(weights=str(denoised.folder), epochs=1)
    setup = build(options)
    assert setup.step.task == "reconstruction" and not setup.adopted.replaced
    for name, p in setup.step.model.named_parameters():
        np.testing.assert_array_equal(p.data, dict(denoised.model.named_parameters())[name].data)


def test_classes_of_the_data_play_no_part():
    """Rows stand in for targets, and nothing of the data's classes is in the step."""
    with nn.seeded(0):
        model = models.create(WORDS, (1, 8, 8), (1, 8, 8))
    step = step_of(model)
    state = initial_state(model, step.optimizer)
    a = step.train(state, batch_of(np.arange(4)))[1]
    b = step.train(state, {**batch_of(np.arange(4)), "y": np.zeros(4, np.int64)})[1]
    assert {k: float(ops.sum(v)) for k, v in a.items()} == {k: float(ops.sum(v))
                                                          for k, v in b.items()}


def test_pictures_need_no_class_folders(tmp_path):
    (tmp_path / "mine").mkdir()
    for i in range(12):
        (tmp_path / "mine" / f"{i}.png").write_bytes(png(noise(i)))
    run = fit(WORDS.replace("conv1k", "conv3k"), tmp_path / "mine", task="reconstruction", epochs=1,
              progress=False, out=tmp_path / "run")
    assert evaluate(run.folder)["psnr"] == pytest.approx(run.metrics["test_psnr"])
    other = evaluate(run.folder, tmp_path / "mine")
    assert other["samples"] == 12 and 0 < other["psnr"] < 40
