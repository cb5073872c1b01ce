"""Normalizer: statistics against NumPy, round trips, the same result for arrays and JSON copies."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiso.data import Dataset, Normalizer, load
from kiso.errors import DataError


def pictures(n: int = 50, channels: int = 3) -> Dataset:
    x = np.random.default_rng(n).integers(0, 256, (n, channels, 6, 5), np.uint8)
    return Dataset(x, np.zeros(n, np.int64), "classification", "image", ("a", "b"), ("",) * n)


def table(x: np.ndarray, y: np.ndarray) -> Dataset:
    return Dataset(x.astype(np.float32), y.astype(np.float32), "regression", "table",
                   names=("",) * len(x))


@given(st.integers(1, 60), st.sampled_from([1, 3]))
def test_image_statistics(n, channels):
    data = pictures(n, channels)
    norm = Normalizer.fit(data)
    wide = data.x.astype(np.float64)
    assert norm.mean.shape == norm.std.shape == (1, channels, 1, 1)
    assert norm.mean.ravel() == pytest.approx(wide.mean((0, 2, 3)), rel=1e-6)
    assert norm.std.ravel() == pytest.approx(wide.std((0, 2, 3)), rel=1e-6)


def test_images_are_scaled():
    data = pictures()
    scaled = Normalizer.fit(data).apply(data.x)
    assert scaled.dtype == np.float32
    assert scaled.mean((0, 2, 3)) == pytest.approx(0, abs=1e-5)
    assert scaled.std((0, 2, 3)) == pytest.approx(1, abs=1e-5)


def test_tables_and_targets():
    rng = np.random.default_rng(1)
    data = table(rng.normal(5, 3, (200, 4)), rng.normal(100, 20, (200, 1)))
    norm = Normalizer.fit(data)
    assert norm.apply(data.x).std(0) == pytest.approx(1, abs=1e-5)
    scaled = norm.apply_target(data.y)
    assert scaled.mean() == pytest.approx(0, abs=1e-5)
    assert norm.restore_target(scaled) == pytest.approx(data.y, rel=1e-5)


def test_constant_columns_and_pictures_are_not_divided_by_zero():
    x = np.full((10, 2), 0.1)
    x[:, 1] = 3e7
    norm = Normalizer.fit(table(x, np.ones((10, 1))))
    assert norm.std.tolist() == [[1, 1]]
    assert np.isfinite(norm.apply(x)).all()
    black = Dataset(np.zeros((4, 1, 3, 3), np.uint8), np.zeros(4, np.int64), "classification",
                    "image", ("a", "b"), ("",) * 4)
    assert (Normalizer.fit(black).apply(black.x) == 0).all()


def test_class_numbers_are_left_alone():
    norm = Normalizer.fit(pictures())
    y = np.arange(3)
    assert norm.apply_target(y) is y
    assert norm.restore_target(y) is y


def test_json_gives_the_same_bits():
    for data in (pictures(), table(np.random.rand(20, 3), np.random.rand(20, 2))):
        norm = Normalizer.fit(data)
        copy = Normalizer.from_json(json.loads(json.dumps(norm.to_json())))
        assert (copy.apply(data.x) == norm.apply(data.x)).all()
        assert (copy.apply_target(data.y) == norm.apply_target(data.y)).all()


def test_nothing_to_fit_on():
    with pytest.raises(DataError, match="empty"):
        Normalizer.fit(pictures(0))


def test_statistics_come_from_training_only():
    splits = load("digits")
    norm = Normalizer.fit(splits.train)
    assert norm.mean.item() == pytest.approx(splits.train.x.mean(), rel=1e-6)
    assert norm.mean.item() != pytest.approx(splits.test.x.mean(), rel=1e-6)
