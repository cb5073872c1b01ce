"""Resampling and adaptive means: properties that hold for all sizes, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kiso import ops
from kiso.errors import ConfigError, DTypeError, ShapeError

LENGTHS = st.integers(1, 9)


def ramp(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


@settings(max_examples=60, deadline=None)
@given(LENGTHS, LENGTHS, LENGTHS, LENGTHS)
def test_nearest_takes_the_element_at_the_same_share(h: int, w: int, oh: int, ow: int) -> None:
    x = ramp(2, 3, h, w)
    y = ops.interpolate(x, (oh, ow))
    assert np.array_equal(y, x[:, :, np.arange(oh) * h // oh][:, :, :, np.arange(ow) * w // ow])


@settings(max_examples=60, deadline=None)
@given(LENGTHS, LENGTHS, st.booleans())
def test_linear_keeps_constants_and_stays_between(s: int, o: int, corners: bool) -> None:
    x = ramp(2, 1, s)
    y = ops.interpolate(x, o, mode="linear", align_corners=corners)
    assert y.shape == (2, 1, o)
    assert (y <= x.max(2, keepdims=True) + 1e-12).all()
    assert (y >= x.min(2, keepdims=True) - 1e-12).all()
    ones = ops.interpolate(np.ones((1, 1, s)), o, mode="linear", align_corners=corners)
    assert ones == pytest.approx(np.ones((1, 1, o)), abs=1e-15)
    if corners and o > 1:
        assert y[:, :, [0, -1]] == pytest.approx(x[:, :, [0, -1]], abs=1e-15)


@settings(max_examples=60, deadline=None)
@given(LENGTHS, LENGTHS)
def test_adaptive_means_window_by_window(s: int, o: int) -> None:
    x = ramp(2, 3, s)
    y = ops.adaptive_avg_pool1d(x, o)
    for j in range(o):
        window = x[:, :, j * s // o:-(-(j + 1) * s // o)]
        assert y[:, :, j] == pytest.approx(window.mean(2), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.sampled_from([0.0, 0.0, 0.5, 1.0, -2.0]), min_size=4, max_size=4),
                min_size=1, max_size=6))
def test_a_band_is_the_matrix(rows: list[list[float]]) -> None:
    R = np.array(rows)
    x = ramp(3, 4, 2)
    assert ops.banded(x, R, 1) == pytest.approx(np.einsum("js,nsc->njc", R, x), abs=1e-12)
    first, weights = ops.band(R)
    assert ((first >= 0) & (first + weights.shape[1] <= 4)).all()


def test_a_unit_matrix_is_no_op() -> None:
    x = ramp(2, 3, 4)
    assert ops.banded(x, np.eye(4), 2) is x
    assert ops.banded(np.arange(4), np.ones((2, 4)), 0).dtype == np.float32


def test_what_is_refused() -> None:
    x = ramp(1, 2, 4, 4)
    with pytest.raises(ConfigError, match="give one of them"):
        ops.interpolate(x)
    with pytest.raises(ConfigError, match="give one of them"):
        ops.interpolate(x, 3, 2.0)
    with pytest.raises(ConfigError, match="mode is 'cubic'"):
        ops.interpolate(x, 3, mode="cubic")
    with pytest.raises(ConfigError, match="no meaning for mode 'nearest'"):
        ops.interpolate(x, 3, align_corners=True)
    with pytest.raises(ShapeError, match="with 1 spatial axes"):
        ops.interpolate(x, 3, mode="linear")
    with pytest.raises(ShapeError, match="or 2 of them"):
        ops.interpolate(x, (3, 3, 3))
    with pytest.raises(ShapeError, match="leaves no element"):
        ops.interpolate(x, scale_factor=0.1)
    with pytest.raises(ShapeError, match="or 2 of them; None keeps"):
        ops.adaptive_avg_pool2d(x, (3, 0))
    with pytest.raises(ShapeError, match="with 3 spatial axes"):
        ops.adaptive_avg_pool3d(x, 3)
    with pytest.raises(ShapeError, match="the matrix has 3 columns"):
        ops.banded(x, np.ones((2, 3)), 3)
    with pytest.raises(DTypeError, match="floating-point"):
        ops.Banded(axis=0)(np.arange(2), *ops.band(np.ones((1, 2))), *ops.band(np.ones((2, 1))))
