"""Transposed convolution: sizes for all settings, its meaning element by element, errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kiso import ops
from kiso.errors import ShapeError


def by_hand(x: np.ndarray, W: np.ndarray, t: int, p: int, op: int, d: int) -> np.ndarray:
    """Every element writes a filter; 1-D, one group."""
    n, h, (o, k) = x.shape[0], x.shape[2], W.shape[1:]
    y = np.zeros((n, o, (h - 1) * t - 2 * p + d * (k - 1) + op + 1))
    for i in range(h):
        for j in range(k):
            place = i * t + j * d - p
            if 0 <= place < y.shape[2]:
                y[:, :, place] += x[:, :, i] @ W[:, :, j]
    return y


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.integers(0, 3),
       st.integers(0, 3), st.integers(1, 4))
def test_every_setting(h: int, k: int, t: int, p: int, op: int, d: int) -> None:
    rng = np.random.default_rng(0)
    x, W = rng.standard_normal((2, 3, h)), rng.standard_normal((3, 2, k))
    size = (h - 1) * t - 2 * p + d * (k - 1) + op + 1
    options = {"stride": t, "padding": p, "output_padding": op, "dilation": d}
    if op >= max(t, d) or size < 1:
        with pytest.raises(ShapeError, match=r"output_padding|no output"):
            ops.conv_transpose1d(x, W, **options)
        return
    y = ops.conv_transpose1d(x, W, **options)
    assert y == pytest.approx(by_hand(x, W, t, p, op, d), abs=1e-12)


def test_it_is_the_input_gradient_of_a_convolution() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 4, 9, 8)), rng.standard_normal((2, 6, 5, 4))
    W = rng.standard_normal((6, 2, 3, 2))
    options = {"stride": 2, "groups": 2}
    there = ops.conv2d(x, W, padding=(1, 0), **options)
    back = ops.conv_transpose2d(y, W, padding=(1, 0), **options)
    assert there.shape == y.shape and back.shape == x.shape
    assert (there * y).sum() == pytest.approx((x * back).sum())


def test_what_does_not_fit() -> None:
    x, W = np.zeros((1, 4, 3, 3)), np.zeros((4, 2, 2, 2))
    formula = r"axis 2: \(3 - 1\)\*1 - 2\*3 \+ 1\*\(2 - 1\) \+ 0 \+ 1 = -2: no output"
    with pytest.raises(ShapeError, match=formula):
        ops.conv_transpose2d(x, W, padding=3)
    with pytest.raises(ShapeError, match="output_padding 2 must be smaller than the stride 2"):
        ops.conv_transpose2d(x, W, stride=2, output_padding=2)
    with pytest.raises(ShapeError, match="must begin with the 4 channels"):
        ops.conv_transpose2d(x, np.zeros((3, 2, 2, 2)))
    with pytest.raises(ShapeError, match="a multiple of groups"):
        ops.conv_transpose2d(x, W, groups=3)
    with pytest.raises(ShapeError, match=r"makes 4 maps; .* \(4,\)"):
        ops.conv_transpose2d(x, W, np.zeros(2), groups=2)
    with pytest.raises(ShapeError, match="both need 4 axes"):
        ops.conv_transpose2d(x[0], W)
    with pytest.raises(ShapeError, match="padding = -1"):
        ops.conv_transpose2d(x, W, padding=-1)
