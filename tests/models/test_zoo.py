"""The zoo: sizes as published, names with options both ways, runs that know their model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kiso
from kiso import models, nn
from kiso.autograd import no_grad
from kiso.errors import ConfigError, DescriptionError, KisoError, ShapeError
from kiso.models.base import SMALL_BELOW
from kiso.models.structure import structure

# As published, or as counted by torchvision; with 1000 classes, those for 32 x 32 with 10.
PARAMETERS = {
    "vgg11": 132_863_336, "vgg13": 133_047_848, "vgg16": 138_357_544, "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840, "vgg13_bn": 133_053_736, "vgg16_bn": 138_365_992,
    "vgg19_bn": 143_678_248,
    "resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032,
    "resnet101": 44_549_160, "resnet152": 60_192_808,
    "resnet20": 269_722, "resnet32": 464_154, "resnet44": 658_586, "resnet56": 853_018,
    "resnet110": 1_727_962,
    "plain20": 269_722, "plain32": 464_154, "plain44": 658_586, "plain56": 853_018,
    "plain110": 1_727_962,
    "wide_resnet": 36_479_194, "wide_resnet(depth=16, k=4)": 2_748_890,
    "wide_resnet(depth=40, k=4)": 8_949_210,
    "mobilenet_v1": 4_231_976,
    "lenet1989_1": 2570, "lenet1989_2": 3214, "lenet1989_3": 1226, "lenet1989_4": 1132,
    "lenet1989_5": 1060, "lenet5": 60_850,
    "alexnet": 60_965_224, "alexnet(lrn=false)": 60_965_224, "alexnet(one_tower)": 61_100_840,
    "zfnet": 62_357_608,
    "googlenet(aux=false)": 6_998_552, "googlenet": 13_378_280,
    "googlenet(torchvision, aux=false)": 6_624_904, "googlenet(torchvision)": 13_004_888,
    "unet": 31_030_658,
    "densenet121": 7_978_856, "densenet169": 14_149_480, "densenet201": 20_013_928,
}
# Millions, rounded as the papers round: ResNet table 1 and 6, pre-activation table 4.
MULTIPLY_ADDS = {"resnet18": 1.8e9, "resnet34": 3.6e9, "resnet50": 3.8e9, "resnet101": 7.6e9,
                 "resnet152": 11.3e9, "mobilenet_v1": 569e6, "vgg16": 15.5e9, "alexnet": 724e6,
                 "googlenet": 1.58e9}
MAPS = [name for name, entry in models.MODELS.items() if entry.maps]
ZOO = [name for name in models.MODELS
       if isinstance(models.build(name, (1, 28, 28)), models.Net) and name not in MAPS]
# Connections, as the papers count them: LeCun 1989, LeCun et al. 1998 without the output.
LINKS = {"lenet1989_1": 2570, "lenet1989_2": 3214, "lenet1989_3": 1226, "lenet1989_4": 2266,
         "lenet1989_5": 5194, "lenet5": 340_068 + 850}


@pytest.mark.parametrize("text", PARAMETERS)
def test_numbers_of_parameters(text: str) -> None:
    assert models.build(text).parameter_count() == PARAMETERS[text]


@pytest.mark.parametrize("name", MULTIPLY_ADDS)
def test_multiply_adds(name: str) -> None:
    net = models.build(name)
    found = net.summary(models.MODELS[name].shape).multiply_adds
    assert found == pytest.approx(MULTIPLY_ADDS[name], rel=0.02)


def links(net: nn.Module, shape: tuple[int, ...]) -> int:
    """Uses of weights and biases, counted from what layers do: products, and a bias for each
    unit; places beyond the border count."""
    found = 0
    for row in net.summary(shape).rows:
        layer: Any = dict(net.named_modules())[row.name]
        if not list(layer.parameters()):
            continue
        units = int(np.prod(row.output_shape[1:]))
        each = {nn.Linear: lambda m: m.in_features, nn.Subsampling2d: lambda m: 4,
                nn.SparseConv2d: lambda m: 25 * 60 / 16,
                nn.LocallyConnected2d: lambda m: m.weight.shape[2]}.get(
                    type(layer), lambda m: np.prod(m.weight.shape[1:]))
        found += round(units * (each(layer) + 1))
    return found


@pytest.mark.parametrize("name", LINKS)
def test_numbers_of_links(name: str) -> None:
    entry = models.MODELS[name]
    assert entry.card(name).links == LINKS[name] == links(models.build(name), entry.shape)


def test_lenet5_has_60000_parameters_before_its_output() -> None:
    net = models.lenet5()
    assert net.parameter_count() - net.output.parameter_count() == 60_000
    assert {n: p.size for n, p in net.named_parameters() if n.endswith("weight")} == {
        "c1.weight": 150, "s2.weight": 6, "c3.weight": 1500, "s4.weight": 16, "c5.weight": 48_000,
        "f6.weight": 10_080, "output.weight": 840}


def test_first_weights_of_1989() -> None:
    net: Any = models.lenet1989_5()
    conv1, conv2, last = (net.layers[i].weight.data for i in (0, 2, 5))
    for values, fan_in in ((conv1, 9), (conv2, 50), (last, 64)):
        assert 0.8 < np.abs(values).max() * fan_in / 2.4 <= 1


@pytest.mark.parametrize("text", ["googlenet(width=0.125)", "googlenet(width=0.125, aux=false)"])
def test_auxiliary_heads_answer_in_training_only(text: str) -> None:
    net = models.create(text, (3, 32, 32), 10)
    x = np.zeros((2, 3, 32, 32), np.float32)
    with no_grad():
        trained, used = net.train()(x), net.eval()(x)
    assert used.shape == (2, 10)
    outputs = nn.outputs_of(trained)
    assert [y.shape for y in outputs.auxiliary] == ([] if "aux" in text else [(2, 10), (2, 10)])
    assert "aux" in text or outputs.weight == 0.3


@pytest.mark.parametrize("name", MAPS)
def test_nets_that_put_out_pictures(name: str) -> None:
    entry = models.MODELS[name]
    net = models.build(name)
    assert repr(getattr(models, name)()) == repr(net)
    assert nn.output_shape(net, entry.shape) == (entry.classes, *entry.shape[1:])
    for shape in [(1, 28, 28), (3, 33, 47)]:
        found = nn.output_shape(models.build(name, shape, shape[0]), shape)
        assert found == shape
        assert nn.output_shape(models.create(name, shape, shape), shape) == shape
    with pytest.raises(ConfigError, match="puts out pictures, and 10 values are needed"):
        models.create(name, (1, 28, 28), 10)
    with pytest.raises(ConfigError, match="pictures of 1x28x28 are to be given back"):
        models.create("cnn", (1, 28, 28), (1, 28, 28))


def test_unet_of_the_paper_shrinks() -> None:
    net = models.unet(input_size=572, padded=False)
    assert nn.output_shape(net, (1, 572, 572)) == (2, 388, 388)
    with pytest.raises(ConfigError, match="at least 188 x 188"):
        models.unet(padded=False)


def test_counting_draws_no_weights() -> None:
    net = models.build("vgg19")
    net.summary((3, 224, 224))
    assert all(p.start is not None and p._value is None for p in net.parameters() if p.ndim > 1)


@pytest.mark.parametrize("name", ZOO)
def test_every_name_is_a_function(name: str) -> None:
    entry = models.MODELS[name]
    function = getattr(models, name)
    assert repr(function()) == repr(models.build(name)) and function.__doc__
    # With other data than it was made for: as `kiso train` calls it.
    for shape in [(1, 28, 28), (3, 32, 32), (3, 48, 80)]:
        net = models.build(name, shape, 7)
        assert nn.output_shape(net, shape) == (7,)
        assert net.small == ("small" in entry.options())
    assert nn.output_shape(models.build(name), entry.shape) == (entry.classes,)
    with pytest.raises(ConfigError, match=f"the model {name} takes images"):
        models.build(name, (13,), 1)


@pytest.mark.parametrize("name", ZOO)
def test_no_name_is_a_description(name: str) -> None:
    for text in (name, f"{name}(relu)"):
        with pytest.raises(DescriptionError):
            nn.from_text(text, (3, 32, 32), 10)


def test_linear_in_brackets_is_a_description() -> None:
    assert nn.to_text(models.build("linear(relu)", (4,))) == "linear100 relu"
    assert nn.to_text(models.build("linear", (4,), 3)) == "linear3"


@pytest.mark.parametrize(("text", "found"), [
    ("resnet20", "resnet20"),
    (" ResNet20 ( ) ", "resnet20"),
    ("resnet18", "resnet18(small)"),
    ("resnet18(small=false)", "resnet18(small=false)"),
    ("resnet18( Width = 0.5 ,small=TRUE)", "resnet18(width=0.5, small)"),
    ("resnet50(version=1.5, shortcut=A, zero_gamma)",
     "resnet50(version=1.5, shortcut=A, zero_gamma, small)"),
    ("wide_resnet(depth=10,k=2,dropout=3e-1)", "wide_resnet(depth=10, k=2, dropout=0.3)"),
    ("mobilenet_v1(width=1)", "mobilenet_v1(width=1, small)"),
    ("mobilenet_v1(width=0.3333333333333333)", "mobilenet_v1(width=0.3333333333333333, small)"),
])
def test_text_both_ways(text: str, found: str) -> None:
    net = models.create(text, (3, 32, 32), 10)
    assert models.text_of(net) == found
    again = models.create(found, (3, 32, 32), 10)
    assert models.text_of(again) == found and repr(again) == repr(net)
    assert [(n, p.shape) for n, p in again.named_parameters()] == [
        (n, p.shape) for n, p in net.named_parameters()]


@pytest.mark.parametrize(("text", "message", "under"), [
    ("resnet18(widht=0.5)", "widht is no option of resnet18. resnet18 takes ", "widht=0.5"),
    ("vgg11(widht=0.5)", "vgg11 takes width, small. Did you mean width?", "widht=0.5"),
    ("resnet18(width)", "width: expected = and a number", "width"),
    ("resnet18(small, width=wide)", "width: expected = and a number", "width=wide"),
    ("resnet18(small=3)", "small: expected the word alone, or =true or =false", "small=3"),
    ("resnet18(shortcut)", "shortcut: expected = and a word", "shortcut"),
    ("wide_resnet(k=2.5)", "k: expected = and a whole number", "k=2.5"),
    ("resnet18(small, small)", "small is given twice", "small)"),
    ("resnet18(num_classes=3)", "num_classes follows from the data", "num_classes=3"),
    ("resnet18(width==2)", "expected option=value", "width==2"),
    ("resnet20(small)", "small is no option of resnet20", "small"),
    ("cnn(small)", "cnn takes no options", "small"),
])
def test_wrong_options_are_pointed_at(text: str, message: str, under: str) -> None:
    with pytest.raises(DescriptionError) as caught:
        models.create(text, (3, 32, 32), 10)
    said, line, pointer = str(caught.value).rsplit("\n", 2)
    assert message in said and line == f"  {text}"
    where = text.rindex(under)
    assert pointer.rstrip() == " " * (2 + where) + "^" * len(under.rstrip(")"))


@pytest.mark.parametrize(("text", "message"), [
    ("resnet18(,)", "expected option=value"),
    ("resnet18(small", "resnet18 is a whole net: it stands alone"),
    ("resnet18 relu", "resnet18 is a whole net: it stands alone"),
    ("resnt18", "Did you mean resnet18,"),
    ("resnt18(small)", "Did you mean resnet18,"),
    ("resnet18(width=-1)", "width is -1.0; expected a number above 0"),
    ("resnet18(shortcut=C)", "shortcut is 'C'"),
    ("resnet50(version=2)", "version is 2.0; expected 1 (as in the paper) or 1.5"),
    ("wide_resnet(depth=17)", "depth is 17; expected 6 n + 4"),
    ("wide_resnet(depth=4)", "depth is 4; expected 6 n + 4"),
    ("wide_resnet(dropout=2)", "dropout is 2.0"),
])
def test_wrong_texts(text: str, message: str) -> None:
    with pytest.raises(KisoError) as caught:
        models.create(text, (3, 32, 32), 10)
    assert message in str(caught.value)
    with pytest.raises(KisoError):
        models.build(text)


def test_small_pictures_get_the_small_variant() -> None:
    for size, small in [(SMALL_BELOW - 1, True), (SMALL_BELOW, False)]:
        assert models.resnet18(input_size=size).small == small
        assert models.vgg11(input_size=(size, 224)).small == small
    with pytest.raises(ShapeError):  # made for 224 x 224
        nn.output_shape(models.vgg11(width=0.1), (3, 64, 64))


def test_version_moves_the_stride() -> None:
    for version, strides in ((1, (2, 1)), (1.5, (1, 2))):
        block: Any = dict(models.resnet50(version=version).named_modules())["layer2.0"]
        assert (block.conv1.stride, block.conv2.stride) == strides
    assert models.build("resnet50(version=1.5)").summary((3, 224, 224)).multiply_adds == (
        pytest.approx(4.09e9, rel=0.005))  # as torchvision states


def test_zero_gamma_starts_with_the_shortcuts_alone() -> None:
    net = models.resnet20(width=0.25, zero_gamma=True)
    block = dict(net.named_modules())["layer1.1"]
    x = np.random.default_rng(0).random((2, 4, 5, 5), np.float32)
    with no_grad():
        np.testing.assert_array_equal(block(x).data, x)


def test_first_weights_keep_the_size_of_gradients() -> None:
    """He et al. 2015 by fan_out: variance 2 / (3 * 3 * 64)."""
    net: Any = models.resnet18(num_classes=10, input_size=32)
    values = dict(net.named_parameters())["layer1.0.conv1.weight"].data
    assert np.var(values) == pytest.approx(2 / 576, rel=0.02)
    values = dict(net.named_parameters())["layer2.0.conv1.weight"].data
    assert np.var(values) == pytest.approx(2 / 1152, rel=0.02)


def test_the_structure_of_a_net_fits_on_a_page() -> None:
    rows = {s.name: (s.count, s.layers, s.output_shape) for s in structure(
        models.build("resnet50"), (3, 224, 224))}
    assert rows == {
        "conv1": (1, "Conv2d 7x7 /2 + BatchNorm2d + ReLU", (64, 112, 112)),
        "maxpool": (1, "MaxPool2d 3x3 /2", (64, 56, 56)),
        "layer1.0-2": (3, "Bottleneck", (256, 56, 56)),
        "layer2.0-3": (4, "Bottleneck", (512, 28, 28)),
        "layer3.0-5": (6, "Bottleneck", (1024, 14, 14)),
        "layer4.0-2": (3, "Bottleneck", (2048, 7, 7)),
        "avgpool": (1, "GlobalAvgPool", (2048,)), "fc": (1, "Linear", (1000,))}


@pytest.mark.parametrize("name", models.MODELS)
def test_the_structure_counts_everything(name: str) -> None:
    net, shape = models.build(name), models.MODELS[name].shape
    stages, whole = structure(net, shape), net.summary(shape)
    assert sum(s.parameters for s in stages) == whole.parameters
    assert sum(s.multiply_adds for s in stages) == whole.multiply_adds
    assert len(stages) < 30


# A member of each family, thin, on small pictures: a step changes all parameters.
TRAINED = ["vgg11(width=0.05)", "vgg11_bn(width=0.05)", "resnet18(width=0.05)",
           "resnet50(width=0.05)", "plain20(width=0.25)", "preact_resnet20(width=0.25)",
           "wide_resnet(depth=10, k=1, dropout=0.1)", "mobilenet_v1(width=0.1)",
           "densenet121(width=0.1)", "lenet1989_1", "lenet1989_2", "lenet1989_3", "lenet1989_4",
           "lenet1989_5", "lenet5", "alexnet(width=0.05)", "zfnet(width=0.05)",
           "googlenet(width=0.1)", "googlenet(width=0.1, torchvision)", "fastnet(width=0.1)"]


def samples(n: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of three classes, and their classes."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 3
    return rng.random((n, 3, 16, 16), np.float32) + y[:, None, None, None] / 3, y


@pytest.mark.parametrize("text", TRAINED)
def test_a_step_of_training(text: str, tmp_path: Path) -> None:
    with nn.seeded(1):  # whatever ran before: in a thin net all units of a layer may be dead
        net = models.create(text, (3, 16, 16), 3)
        before = {n: p.data.copy() for n, p in net.named_parameters()}
    result = kiso.fit(net, samples(), epochs=1, batch_size=8, optimizer="momentum", lr=0.01,
                      split=(0.5, 0.25, 0.25), engine="eager", out=tmp_path / "run")
    assert np.isfinite(result.metrics["val_loss"])
    after = {n: p.data for n, p in net.named_parameters()}
    still = [n for n, value in after.items() if np.array_equal(value, before[n])]
    assert still == [n for n, p in net.named_parameters() if not p.requires_grad]
    assert len(still) < len(after) / 2  # the scales of fastnet's norms
