"""Recipes: the papers' numbers, what overrides them, how they fit small data, what a run keeps."""

import tomllib

import numpy as np
import pytest

from kiso import models, nn, optim
from kiso.data import Augment, Dataset, Splits
from kiso.errors import ConfigError
from kiso.train import Callback, TrainOptions, fit, resume
from kiso.train.choose import choose, recipe_name
from kiso.train.recipes import RECIPES, recipe_of_model
from kiso.train.setup import build, options_from_config
from kiso.train.starts import WORDS, check_start, draw_again


def pictures(count, size=8, channels=3):
    """So many pictures in two classes, bright above or below; only their number matters mostly."""
    rng = np.random.default_rng(count)
    x = rng.integers(0, 60, (count, channels, size, size), np.uint8)
    y = np.arange(count) % 2
    for k in (0, 1):
        x[y == k, :, k * size // 2:(k + 1) * size // 2] += 150
    return Dataset(x, y, "classification", "image", ("a", "b"), tuple(map(str, range(count))))


LARGE = Dataset(np.zeros((45_000, 3, 32, 32), np.uint8), np.zeros(45_000, int), "classification",
                "image", ("a", "b"), ("",) * 45_000)
TABLE = Dataset(np.zeros((640, 3), np.float32), np.zeros(640, int), "classification", "table",
                ("a", "b"), ("",) * 640)


def chosen(recipe, train=LARGE, **given):
    return choose(TrainOptions(recipe=recipe, **given), recipe, train)


# name: optimizer, lr, momentum, weight decay, batch, epochs, schedule, augmentation at 32 pixels
PAPERS = {
    "vgg": ("sgd", 0.01, 0.9, 5e-4, 64, 74, "multistep:59,69:0.1", "shift2 flip colour0.1"),
    "alexnet": ("sgd", 0.01, 0.9, 5e-4, 128, 90, "multistep:23,45,68:0.1",
                "shift2 flip colour0.1"),
    "zfnet": ("sgd", 0.01, 0.9, 5e-4, 128, 70, "multistep:18,35,53:0.1", "shift2 flip"),
    "googlenet": ("sgd", 0.01, 0.9, 2e-4, 32, 60, "exp:0.926119",
                  "shift4 flip scale0.2 colour0.1"),
    "resnet": ("sgd", 0.1, 0.9, 1e-4, 256, 90, "multistep:30,60,80:0.1",
               "shift4 flip scale0.2 colour0.1"),
    "resnet_cifar": ("sgd", 0.1, 0.9, 1e-4, 128, 164, "multistep:82,123:0.1", "crop4 flip"),
    "resnet_cifar_deep": ("sgd", 0.1, 0.9, 1e-4, 128, 164, "warmup:361+multistep:82,123:0.1",
                          "crop4 flip"),
    "preact_resnet": ("sgd", 0.1, 0.9, 1e-4, 128, 164, "warmup:361+multistep:82,123:0.1",
                      "crop4 flip"),
    "wide_resnet": ("sgd", 0.1, 0.9, 5e-4, 128, 200, "multistep:60,120,160:0.2", "crop4 flip"),
    "densenet": ("sgd", 0.1, 0.9, 1e-4, 256, 90, "multistep:30,60:0.1",
                 "shift4 flip scale0.2 colour0.1"),
    "densenet_cifar": ("sgd", 0.1, 0.9, 1e-4, 64, 300, "multistep:150,225:0.1", "crop4 flip"),
    "mobilenet": ("rmsprop", 0.045, 0.9, 4e-5, 96, 90, "exp:0.950119", "shift4 flip"),
    "lenet5": ("sgd", 0.01, 0.9, 0, 32, 20, "multistep:2,5,8,12:0.4", ""),
    "lenet1989": ("sgd", 0.01, 0, 0, 1, 30, "constant", ""),
    "fastnet": ("sgd", 0.75, 0.85, 1.33e-3, 512, 12, "onecycle:0.23", "shift2 altflip"),
    "autoencoder": ("adam", 5e-3, None, 0, 128, 10, "onecycle", ""),
    "unet": ("adam", 2e-3, None, 0, 32, 20, "onecycle", "flip"),
    "default": ("adam", 5e-3, None, 0, 60, 5, "onecycle", "shift2 flip rotate8 scale0.1"),
    "none": ("adam", 1e-3, None, 0, 60, 5, "cosine", ""),
}


@pytest.mark.parametrize("name", RECIPES)
def test_the_numbers_are_the_papers(name):
    rule, lr, momentum, decay, batch, epochs, schedule, augment = PAPERS[name]
    found = chosen(name)
    assert found.optimizer.name == rule and found.optimizer.lr == lr
    assert getattr(found.optimizer, "momentum", None) == momentum
    assert found.optimizer.weight_decay == decay
    assert (found.batch_size, found.epochs, found.schedule_text) == (batch, epochs, schedule)
    assert found.augment == (Augment.parse(augment) if augment else None)
    assert found.remarks == ()
    check_start(found.init)
    nesterov = name in ("fastnet", "wide_resnet", "densenet", "densenet_cifar")
    assert getattr(found.optimizer, "nesterov", False) == nesterov
    assert found.label_smoothing == (0.2 if name == "fastnet" else 0)
    assert str(found.views) == ("flip shift1" if name == "fastnet" else "")
    assert found.optimizer.clip_norm == (2 if name == "vgg" else None)


def test_further_numbers_of_a_rule():
    rule = chosen("mobilenet").optimizer
    assert isinstance(rule, optim.RMSProp) and (rule.alpha, rule.eps) == (0.9, 1.0)
    net = models.create("mobilenet_v1(width=0.1)", (3, 32, 32), 2)
    decays = {name: optim.groups.setting_of(
        rule.groups, name, p.data, optim.groups.Setting(1, rule.weight_decay, 0)).weight_decay
        for name, p in net.named_parameters()}
    assert decays["blocks.0.depthwise.weight"] == 0 and decays["fc.bias"] == 0
    assert decays["blocks.0.pointwise.weight"] == decays["fc.weight"] == 4e-5


def test_factors_of_the_learning_rate():
    rule = chosen("fastnet").optimizer
    net = models.create("fastnet(width=0.1)", (3, 32, 32), 2)
    start = optim.groups.Setting(1, rule.weight_decay, 0)
    found = {name: optim.groups.setting_of(rule.groups, name, p.data, start)
             for name, p in net.named_parameters()}
    shift, filters = found["blocks.1.bn2.bias"], found["blocks.1.conv2.weight"]
    assert (shift.lr_scale, filters.lr_scale, filters.weight_decay) == (64, 1, 1.33e-3)
    assert shift.lr_scale * shift.weight_decay == pytest.approx(1.33e-3)  # as much in a step
    other = chosen("fastnet", optimizer="adam").optimizer  # they belong to the rule
    assert all(group.lr_scale == 1 for group in other.groups)


def test_grey_pictures_are_not_mirrored_in_training_or_judgement():
    found = chosen("fastnet", pictures(100, channels=1, size=32))
    assert not found.augment.altflip and str(found.views) == "shift1"


def test_views_of_a_table_are_refused():
    assert not chosen("fastnet", TABLE).views
    assert not chosen("none", TABLE, tta="none").views
    with pytest.raises(ConfigError, match="--tta is for pictures"):
        chosen("none", TABLE, tta="flip")
    with pytest.raises(ConfigError, match="--tta is 'flop'"):
        build(TrainOptions(tta="flop"))


@pytest.mark.parametrize("option, value", [
    ("epochs", 3), ("batch_size", 50), ("lr", 0.3), ("momentum", 0.5), ("weight_decay", 0.01),
    ("schedule", "constant"), ("augment", "shift1"), ("label_smoothing", 0.25),
    ("init", "xavier_normal"), ("clip_norm", 2.0), ("tta", "flip")])
def test_what_is_given_overrides_the_recipe_alone(option, value):
    def values(found):
        return {"epochs": found.epochs, "batch_size": found.batch_size, "lr": found.optimizer.lr,
                "momentum": found.optimizer.momentum, "init": found.init,
                "clip_norm": found.optimizer.clip_norm, "tta": str(found.views),
                "weight_decay": found.optimizer.weight_decay, "augment": str(found.augment),
                "schedule": found.schedule_text, "label_smoothing": found.label_smoothing}

    before = values(chosen("resnet_cifar"))
    after = values(chosen("resnet_cifar", **{option: value}))
    assert after[option] == value != before[option]
    follows = {"epochs": {"schedule"}, "batch_size": {"lr"}}.get(option, set())
    assert {key for key in before if before[key] != after[key]} == {option} | follows


def test_schedules_are_spread_over_the_run():
    assert chosen("resnet_cifar", epochs=10).schedule_text == "multistep:5,8:0.1"
    assert chosen("resnet_cifar", epochs=1).schedule_text == "multistep:1,1:0.1"
    rate = chosen("googlenet", epochs=10).schedule
    assert rate(10 * 7, 10 * 7, 7) == pytest.approx(0.01, rel=1e-4)


def test_numbers_of_a_rule_go_with_it():
    other = chosen("resnet", optimizer="adam").optimizer
    assert (other.lr, other.weight_decay) == (1e-3, 0)
    assert chosen("resnet", optimizer=" Momentum").optimizer.lr == 0.1
    assert chosen("default", schedule="onecycle").optimizer.lr == 1e-3  # a peak is of its schedule
    assert chosen("resnet", schedule="cosine").optimizer.lr == 0.1


def test_a_smaller_batch_lowers_the_rate_in_proportion():
    found = chosen("resnet", batch_size=64)
    assert found.optimizer.lr == pytest.approx(0.025)
    assert len(found.remarks) == 1 and "0.025 = 0.1 x 64 / 256" in found.remarks[0]
    assert chosen("resnet", batch_size=512).optimizer.lr == 0.1
    assert chosen("resnet", batch_size=64, lr=0.3).optimizer.lr == 0.3
    assert chosen("resnet", batch_size=64, optimizer="adam").optimizer.lr == 1e-3
    assert chosen("none", batch_size=8).optimizer.lr == 1e-3


@pytest.mark.parametrize("samples, batch, epochs", [
    (840, 64, 143), (200, 16, 154), (100, 16, 286), (9, 9, 296), (30_000, 64, 74)])
def test_small_data_get_small_batches_and_more_epochs(samples, batch, epochs):
    found = chosen("vgg", LARGE.subset(np.arange(samples)))
    assert (found.batch_size, found.epochs) == (batch, epochs)
    assert found.optimizer.lr == pytest.approx(0.01 * batch / 64)
    assert len(found.remarks) == (batch != 64) * 2 + (epochs != 74)
    assert epochs in (74, 4 * 74, -(-RECIPES["vgg"].updates // -(-samples // batch)))


def test_pictures_decide_what_is_done_to_them():
    grey = pictures(300, channels=1)
    assert str(chosen("resnet_cifar", grey).augment) == "crop1"  # writing is not mirrored
    assert str(chosen("default", grey).augment) == "rotate8 scale0.1"
    assert chosen("resnet_cifar", TABLE).augment is None
    assert chosen("resnet_cifar", augment="").augment is None
    with pytest.raises(ConfigError, match="table"):
        chosen("none", TABLE, augment="flip")


@pytest.mark.parametrize("model, recipe", [
    (None, "default"), ("conv4 relu linear2", "none"), ("cnn", "none"), ("vgg11_bn", "vgg"),
    ("resnet50(version=1.5)", "resnet"), ("plain20", "resnet_cifar"), ("resnet20", "resnet_cifar"),
    ("resnet110", "resnet_cifar_deep"), ("preact_resnet20", "preact_resnet"),
    ("preact_resnet18", "resnet"), ("wide_resnet", "wide_resnet"), ("densenet121", "densenet"),
    ("mobilenet_v1", "mobilenet")])
def test_a_net_has_its_recipe(model, recipe):
    assert recipe_name(TrainOptions(model=model), own_model=False) == recipe
    assert recipe_name(TrainOptions(model=model, recipe="vgg"), own_model=False) == "vgg"


def test_cards_name_recipes_that_exist():
    assert {recipe_of_model(name) for name in models.MODELS} <= set(RECIPES)
    assert recipe_name(TrainOptions(), own_model=True) == "none"


@pytest.mark.parametrize("option, match", [
    ({"recipe": "resnet_cifer"}, "unknown recipe 'resnet_cifer'. Did you mean resnet_cifar"),
    ({"recipe": "zzz"}, "unknown recipe 'zzz'. `kiso models --recipes`"),
    ({"init": "alexnot"}, "unknown first weights 'alexnot'"), ({"init": "normal:-1"}, "normal:-1"),
    ({"init": "normal:x"}, "normal:x"), ({"init": "alexnet:3"}, "alexnet:3")])
def test_unknown_names_are_refused(option, match):
    with pytest.raises(ConfigError, match=match):
        TrainOptions(**option)


TEXT = "conv4 conv4 conv4 relu conv6 conv6 relu flatten linear9 relu linear8 relu linear2"


def test_alexnets_first_weights():
    def drawn(text):
        with nn.seeded(3):
            model = nn.from_text(TEXT, (3, 8, 8))
            draw_again(model, text)
        return model

    layers = [m for m in drawn("alexnet").modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    biases = [float(m.bias.data[0]) for m in layers]
    assert biases == [0, 1, 0, 1, 1, 1, 1, 0]
    assert all(np.ptp(m.bias.data) == 0 for m in layers)
    stds = [float(m.weight.data.std()) for m in layers]
    np.testing.assert_allclose(stds, 0.01, rtol=0.35)
    assert np.std(np.concatenate([m.weight.data.ravel() for m in layers])) == pytest.approx(
        0.01, rel=0.05)
    again = drawn("alexnet")
    np.testing.assert_array_equal(again[0].weight.data, drawn("alexnet")[0].weight.data)
    own = drawn("own")
    assert not np.array_equal(own[0].weight.data, again[0].weight.data)
    a = 2.4 / 27
    low, high = np.ptp(drawn("lenet_uniform")[0].weight.data), 2 * a
    assert 0.9 * high < low <= high
    assert drawn("normal:0.5")[-1].weight.data.std() == pytest.approx(0.5, rel=0.6)
    for word in WORDS:
        drawn(word)


SMALL = Splits(pictures(48), pictures(12), pictures(12))


def test_first_weights_are_those_of_the_run():
    setup = build(TrainOptions(model="vgg11(width=0.05)", recipe="alexnet"), splits=SMALL)
    first = setup.step.model.features[0].weight.data
    assert first.std() == pytest.approx(0.01, rel=0.4) and setup.chosen.init == "alexnet"
    own = nn.from_text("flatten linear2", (3, 8, 8))
    before = own[1].weight.data.copy()
    build(TrainOptions(recipe="alexnet"), splits=SMALL, model=own)
    np.testing.assert_array_equal(own[1].weight.data, before)  # it may have been trained
    build(TrainOptions(init="normal:0.001"), splits=SMALL, model=own)
    assert own[1].weight.data.std() == pytest.approx(0.001, rel=0.2)


class Interrupt(Callback):
    """Ctrl-C in the third epoch."""

    def step(self, context):
        if context.step == 7:
            raise KeyboardInterrupt


def test_a_run_keeps_its_recipe(tmp_path):
    out = tmp_path / "r"
    wanted = {"model": "flatten linear8 relu linear2", "recipe": "wide_resnet", "augment": "",
              "engine": "eager"}
    whole = fit(data=SMALL, progress=False, epochs=4, out=str(tmp_path / "w"), **wanted)
    part = fit(data=SMALL, progress=False, epochs=4, out=str(out), callbacks=[Interrupt()],
               **wanted)
    assert part.stopped == "interrupted"
    config = tomllib.loads((out / "config.toml").read_text("utf-8"))
    made = config["hyperparameters"]
    assert config["options"]["recipe"] == made["recipe"] == "wide_resnet"
    assert "optimizer" not in config["options"] and made["optimizer"]["nesterov"] is True
    assert made["optimizer"]["lr"] == pytest.approx(0.1 * 16 / 128) and made["batch_size"] == 16
    assert made["schedule"] == {"name": "multistep", "milestones": [1, 2, 3], "gamma": 0.2}
    assert made["label_smoothing"] == 0 and made["init"] == "own" and made["augment"] == ""
    assert options_from_config(config).recipe == "wide_resnet"
    resumed = resume(out, splits=SMALL)
    assert resumed.metrics["weights_sha256"] == whole.metrics["weights_sha256"]


def test_a_run_from_before_there_were_recipes_goes_on_as_it_began():
    old = {"options": {"model": "resnet20", "optimizer": "adam", "label_smoothing": 0.0}}
    assert options_from_config(old).recipe == "none"
    assert options_from_config({"options": {"data": "digits"}}).recipe is None
