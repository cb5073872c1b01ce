"""Whitening of patches: what comes out is uncorrelated, and nothing is lost."""

from __future__ import annotations

import numpy as np
import pytest

from kiso import nn
from kiso.data import Dataset, Normalizer
from kiso.errors import ConfigError, ShapeError
from kiso.train.starts import look


def pictures(n: int = 40, size: int = 9, seed: int = 0) -> np.ndarray:
    """Neighbouring pixels are alike, as in photographs."""
    x = np.random.default_rng(seed).standard_normal((n, 3, size, size)).cumsum(2).cumsum(3)
    return (x / x.std()).astype(np.float32)


@pytest.mark.parametrize("kernel", [1, 2, 3])
def test_outputs_are_uncorrelated_and_of_variance_1(kernel: int) -> None:
    layer, x = nn.Whiten2d(3, kernel, eps=1e-6), pictures()
    layer.fit(x)
    y = np.asarray(layer(x).data, np.float64)
    n = 3 * kernel**2
    assert y.shape == (40, 2 * n, 10 - kernel, 10 - kernel)
    np.testing.assert_allclose(y[:, n:], -y[:, :n], atol=1e-4)
    rows = y[:, :n].transpose(0, 2, 3, 1).reshape(-1, n)
    np.testing.assert_allclose(rows.T @ rows / len(rows), np.eye(n), atol=0.02)
    # Plain pixels are not: the test would notice a layer that does nothing.
    plain = np.asarray(nn.Whiten2d(3, kernel)(x).data)[:, :n].transpose(0, 2, 3, 1).reshape(-1, n)
    assert kernel == 1 or np.abs(plain.T @ plain / len(plain) - np.eye(n)).max() > 0.3


def test_axes_come_in_the_order_of_their_variance_and_eps_damps_the_last() -> None:
    x = pictures()
    sharp, soft = nn.Whiten2d(3, eps=1e-6), nn.Whiten2d(3, eps=0.1)
    sharp.fit(x)
    soft.fit(x)
    lengths = [np.linalg.norm(layer.weight.data[:12].reshape(12, -1), axis=1)
               for layer in (sharp, soft)]
    assert (np.diff(lengths[0]) >= -1e-4).all()  # 1 / sqrt(variance + eps)
    np.testing.assert_allclose(lengths[1] ** -2, lengths[0] ** -2 + 0.1, rtol=1e-3)


def test_filters_are_kept_not_learnt_and_part_of_the_state() -> None:
    layer = nn.Whiten2d(3)
    assert not layer.fitted
    layer.fit(pictures())
    assert layer.fitted and list(layer.parameters()) == []
    again = nn.Whiten2d(3)
    again.load_state_dict(layer.state_dict())
    assert again.fitted
    np.testing.assert_array_equal(again.weight.data, layer.weight.data)


def test_before_training_a_layer_looks_at_what_reaches_it() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (30, 3, 8, 8)).astype(np.uint8)
    train = Dataset(x, np.arange(30) % 2, "classification", "image", ("a", "b"), ("",) * 30)
    net = nn.Sequential(nn.MaxPool2d(2), nn.Whiten2d(3), nn.Dropout(0.5), nn.Flatten(),
                        nn.Linear(24 * 9, 2))
    scaling = Normalizer.fit(train)
    look(net, scaling, train)
    alone = nn.Whiten2d(3)
    alone.fit(np.asarray(nn.MaxPool2d(2)(scaling.apply(x)).data))
    np.testing.assert_allclose(net[1].weight.data, alone.weight.data, rtol=1e-5, atol=1e-6)
    assert net.training
    before = net[1].weight.data.copy()
    look(net, scaling, Dataset(255 - x // 2, train.y, train.task, train.kind, train.classes,
                               train.names))
    np.testing.assert_array_equal(net[1].weight.data, before)  # a layer that has filters keeps them


def test_looking_ends_behind_the_last_whitening_layer() -> None:
    class Never(nn.Module):
        def forward(self, x: object) -> object:
            raise AssertionError("computed for nothing")

    x = np.random.default_rng(0).integers(0, 256, (6, 3, 8, 8)).astype(np.uint8)
    train = Dataset(x, np.arange(6) % 2, "classification", "image", ("a", "b"), ("",) * 6)
    net = nn.Sequential(nn.Whiten2d(3), nn.Whiten2d(24, 1), Never())
    look(net, Normalizer.fit(train), train)
    assert net[0].fitted and net[1].fitted
    with pytest.raises(AssertionError, match="for nothing"):
        net(x.astype(np.float32))


def test_pictures_without_anything_on_them_give_finite_filters() -> None:
    layer = nn.Whiten2d(1)
    layer.fit(np.zeros((2, 1, 5, 5), np.float32))
    assert np.isfinite(layer.weight.data).all()


def test_wrong_numbers_and_shapes() -> None:
    with pytest.raises(ConfigError, match="kernel_size"):
        nn.Whiten2d(3, 0)
    with pytest.raises(ConfigError, match="eps"):
        nn.Whiten2d(3, eps=0.0)
    with pytest.raises(ShapeError, match=r"takes \(N, 3, H, W\).*\(2, 1, 8, 8\)"):
        nn.Whiten2d(3).fit(np.zeros((2, 1, 8, 8), np.float32))
    with pytest.raises(ShapeError):
        nn.Whiten2d(3)(np.zeros((2, 1, 8, 8), np.float32))
