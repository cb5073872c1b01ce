"""First values: variances of the rules, repeatability, the choice by activation."""

from __future__ import annotations

import numpy as np
import pytest

from kiso import nn
from kiso.errors import ConfigError
from kiso.nn import init

SHAPE = (120, 60, 3, 3)  # fan_in 540, fan_out 1080
VARIANCE = {"he": 2 / 540, "lecun": 1 / 540, "xavier": 2 / (540 + 1080)}


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("family", VARIANCE)
@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_variances(family: str, kind: str) -> None:
    values = init.RULES[f"{family}_{kind}"](SHAPE, rng())
    assert values.dtype == np.float32
    assert values.shape == SHAPE
    assert values.var() == pytest.approx(VARIANCE[family], rel=0.02)
    assert values.mean() == pytest.approx(0, abs=3 * (VARIANCE[family] / values.size) ** 0.5)
    if kind == "uniform":
        limit = (3 * VARIANCE[family]) ** 0.5
        assert limit * 0.99 < np.abs(values).max() <= limit * (1 + 1e-6)


def test_groups_count_in_fan_out() -> None:
    assert init.fans((8, 1, 3, 3), groups=8) == (9, 9)
    assert init.fans((8, 4), groups=1) == (4, 8)
    assert init.fans((7,)) == (7, 7)


def test_plain_rules() -> None:
    assert not init.zeros((2, 3), rng()).any()
    assert np.all(init.constant((2, 3), rng(), value=2.5) == 2.5)
    assert init.normal((400, 400), rng(), std=0.3, mean=1).std() == pytest.approx(0.3, rel=0.02)
    values = init.uniform((400, 400), rng(), low=1, high=3)
    assert 1 <= values.min() < 1.01
    assert 2.99 < values.max() <= 3
    with pytest.raises(ConfigError, match="std is -1"):
        init.normal((2, 2), rng(), std=-1)
    with pytest.raises(ConfigError, match="above high"):
        init.uniform((2, 2), rng(), low=1, high=0)


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (4, 2, 3, 3)])
def test_orthogonal_rows_or_columns(shape: tuple[int, ...]) -> None:
    m = init.orthogonal(shape, rng(), gain=2.0).reshape(shape[0], -1)
    product = m @ m.T if m.shape[0] <= m.shape[1] else m.T @ m
    assert product == pytest.approx(4 * np.eye(len(product)), abs=1e-5)
    with pytest.raises(ConfigError, match="two axes"):
        init.orthogonal((3,), rng())


def test_one_seed_gives_the_same_weights_however_late_they_are_drawn() -> None:
    def layers() -> list[nn.Linear]:
        nn.manual_seed(4)
        return [nn.Linear(3, 3) for _ in range(3)]

    a, b = layers(), layers()
    forwards = [layer.weight.data for layer in a]
    backwards = [layer.weight.data for layer in reversed(b)][::-1]
    assert all(np.array_equal(p, q) for p, q in zip(forwards, backwards, strict=True))
    assert not np.array_equal(forwards[0], forwards[1])
    nn.manual_seed(5)
    assert not np.array_equal(nn.Linear(3, 3).weight.data, forwards[0])


def std(layer: nn.Module) -> float:
    return float(layer.weight.data.std())  # type: ignore[attr-defined]


HE, XAVIER = (2 / 300) ** 0.5, (2 / 700) ** 0.5


@pytest.mark.parametrize(
    ("behind", "expected"),
    [
        ([nn.ReLU()], HE), ([nn.GELU()], HE), ([nn.LeakyReLU()], HE), ([nn.SiLU()], HE),
        ([nn.Sigmoid()], XAVIER), ([nn.Tanh()], XAVIER), ([nn.Softmax()], XAVIER), ([], XAVIER),
        ([nn.BatchNorm1d(400), nn.Dropout(), nn.ReLU()], HE),
        ([nn.Linear(400, 2), nn.ReLU()], XAVIER),
        ([nn.Sequential(nn.Identity(), nn.ReLU())], HE),
        ([nn.Residual(nn.ReLU(), nn.Linear(400, 400))], HE),
        ([nn.Module(), nn.ReLU()], XAVIER),
    ],
)
def test_the_rule_follows_the_activation(behind: list[nn.Module], expected: float) -> None:
    layer = nn.Linear(300, 400)
    nn.Sequential(layer, *behind)
    assert std(layer) == pytest.approx(expected, rel=0.02)


def test_containers_pass_the_activation_on() -> None:
    first, way, a, b = (nn.Linear(300, 400) for _ in range(4))
    nn.Sequential(nn.Residual(first, shortcut=way), nn.Parallel(a, nn.Sequential(b), merge="add"),
                  nn.BatchNorm1d(400), nn.ReLU())
    assert std(first) == pytest.approx(XAVIER, rel=0.02)
    assert std(a) == pytest.approx(HE, rel=0.02)
    assert std(b) == pytest.approx(HE, rel=0.02)
    net = nn.Sequential(nn.Linear(300, 400))
    net.append(nn.ReLU())
    assert std(net[0]) == pytest.approx(HE, rel=0.02)


def test_weights_in_use_are_not_drawn_again() -> None:
    layer = nn.Linear(300, 400)
    before = layer.weight.data
    nn.Sequential(layer, nn.ReLU())
    assert layer.weight.data is before
    trained = nn.Linear(3, 3)
    trained.load_state_dict({"weight": np.eye(3), "bias": np.ones(3)})
    nn.Sequential(trained, nn.ReLU())
    assert np.array_equal(trained.weight.data, np.eye(3))


def test_taking_a_net_apart_keeps_its_plan() -> None:
    net = nn.Sequential(nn.Linear(300, 400), nn.ReLU())
    front = nn.Sequential(*net[:1])
    assert front[0] is net[0]
    assert std(front[0]) == pytest.approx(HE, rel=0.02)


def test_choices_of_ones_own() -> None:
    assert std(nn.Linear(300, 400, init="normal")) == pytest.approx(0.01, rel=0.02)
    ones = nn.Conv2d(2, 3, 3, init=lambda shape, rng: np.ones(shape))
    assert np.all(ones.weight.data == 1)
    assert ones.weight.dtype == np.float32
    with pytest.raises(ConfigError, match=r"'he_norml'; did you mean 'he_normal'"):
        nn.Linear(2, 2, init="he_norml")
    wrong = nn.Linear(2, 2, init=lambda shape, rng: np.ones(3))
    with pytest.raises(ConfigError, match=r"gave shape \(3,\)"):
        _ = wrong.weight.data


def test_apply_changes_weights_alone() -> None:
    net = nn.Sequential(nn.Conv2d(4, 64, 3, groups=2), nn.BatchNorm2d(64), nn.Linear(300, 400))
    assert nn.init.apply(net, "normal", std=0.5) is net
    assert std(net[0]) == pytest.approx(0.5, rel=0.1)
    assert std(net[2]) == pytest.approx(0.5, rel=0.02)
    assert np.all(net[1].weight.data == 1)
    assert not net[2].bias.data.any()
    nn.init.apply(net, "xavier_normal")
    assert std(net[0]) == pytest.approx((2 / (18 + 32 * 9)) ** 0.5, rel=0.1)
    with pytest.raises(ConfigError, match=r"normal.*wide"):
        nn.init.apply(net, "normal", wide=3)


def test_shapes_are_known_without_drawing() -> None:
    layer = nn.Linear(10**5, 10**5)  # 40 GB if it were drawn
    assert layer.weight.shape == (10**5, 10**5)
    assert layer.weight.size == 10**10
    assert layer.weight.dtype == np.float32
    assert nn.Sequential(layer).summary((10**5,)).parameters == 10**10 + 10**5


def test_fans_of_layers_with_other_weights() -> None:
    """The variance of the outputs tells: with LeCun's rule it stays 1, whatever the layout."""
    nn.manual_seed(0)
    layers = [
        (nn.ConvTranspose2d(24, 10, 4, 2, init="lecun_normal"), (24 * 4, 10 * 16)),
        (nn.ConvTranspose2d(24, 12, 3, 1, groups=2, init="lecun_normal"), (12 * 9, 6 * 9)),
        (nn.LocallyConnected2d(12, 8, (9, 8), 3, 2, init="lecun_normal"), (12 * 9, 8 * 9 / 4)),
        (nn.SparseConv2d(nn.LENET5_C3, 5, init="lecun_normal"), (60 / 16 * 25, 60 / 6 * 25)),
    ]
    for layer, expected in layers:
        assert layer.fan == pytest.approx(expected)
        for again in (layer, init.apply(layer, "lecun_normal")):
            assert again.weight.data.var() == pytest.approx(1 / expected[0], rel=0.1)
    x = rng().standard_normal((8, 24, 12, 12)).astype(np.float32)
    inner = layers[0][0](x).data[:, :, 4:-4, 4:-4]
    assert inner.var() == pytest.approx(1, rel=0.15)


def test_weights_of_a_layer_with_fans_of_its_own_follow_the_activation() -> None:
    net = nn.Sequential(nn.ConvTranspose2d(32, 32, 4, 4), nn.ReLU())
    assert net[0].weight.data.var() == pytest.approx(2 / 32, rel=0.1)
