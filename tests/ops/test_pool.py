"""Pooling: usual sizes, ties, ceil mode, padding, gradients, agreement with PyTorch."""

import re

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kiso.autograd import Tensor, grad
from kiso.errors import ShapeError
from kiso.ops import pool
from kiso.ops.pool import (
    AvgPool,
    AvgPoolGrad,
    MaxPool,
    MaxPoolGrad,
    MaxPoolPick,
    avg_pool2d,
    global_avg_pool,
    global_max_pool,
    max_pool1d,
    max_pool2d,
)

X = np.arange(16.0).reshape(1, 1, 4, 4)


@st.composite
def settings_of_pool(draw, symmetric=False):
    """A random array and attributes of a pooling that has an output."""
    ndim = draw(st.integers(1, 3))
    kernel = draw(st.tuples(*[st.integers(1, 4 if ndim < 3 else 2)] * ndim))
    stride = draw(st.tuples(*[st.integers(1, 4)] * ndim))
    pads = []
    for k in kernel:  # PyTorch allows up to half of the kernel, the same on both sides
        p = draw(st.integers(0, k // 2 if symmetric else k - 1))
        pads.append((p, p if symmetric else draw(st.integers(0, k - 1))))
    spatial = draw(st.tuples(*[st.integers(1, 8 if ndim < 3 else 4)] * ndim))
    assume(all(s + sum(p) >= k for s, k, p in zip(spatial, kernel, pads, strict=True)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x = rng.integers(-3, 4, (*draw(st.tuples(*[st.integers(1, 2)] * 2)), *spatial)) / 2.0  # ties
    return x, {"kernel": kernel, "stride": stride, "padding": tuple(pads),
               "ceil_mode": draw(st.booleans())}


def test_usual_pooling_takes_the_largest_or_the_mean_of_2x2():
    np.testing.assert_array_equal(max_pool2d(X, 2)[0, 0], [[5, 7], [13, 15]])
    np.testing.assert_array_equal(avg_pool2d(X, 2)[0, 0], [[2.5, 4.5], [10.5, 12.5]])
    np.testing.assert_array_equal(global_avg_pool(X), [[7.5]])
    np.testing.assert_array_equal(global_max_pool(X), [[15.0]])


def test_gradient_of_equal_elements_goes_to_the_first():
    x = Tensor(np.zeros((1, 1, 4, 4)), requires_grad=True)
    (gx,) = grad(max_pool2d(x, 2).sum(), [x])
    np.testing.assert_array_equal(gx.data[0, 0, :2, :2], [[1, 0], [0, 0]])
    assert gx.data.sum() == 4


def test_padding_never_wins_even_against_minus_infinity():
    x = np.full((1, 1, 2, 2), -np.inf)
    x[0, 0, 1, 1] = -5
    y = max_pool2d(x, 2, 2, padding=1)
    np.testing.assert_array_equal(y[0, 0], [[-np.inf, -np.inf], [-np.inf, -5]])
    op = MaxPoolGrad(kernel=(2, 2), stride=(2, 2), padding=((1, 1), (1, 1)), ceil_mode=False)
    np.testing.assert_array_equal(op(x, np.ones((1, 1, 2, 2))), np.ones((1, 1, 2, 2)))


def test_nan_is_not_hidden_by_larger_numbers():
    x = X.copy()
    x[0, 0, 0, 0] = np.nan
    y = max_pool2d(x, 2)
    assert np.isnan(y[0, 0, 0, 0]) and np.isfinite(y).sum() == 3


def test_integer_pictures_can_be_pooled():
    x = np.arange(25, dtype="uint8").reshape(1, 1, 5, 5)
    assert max_pool2d(x, 3, 2, padding=1).dtype == np.uint8
    np.testing.assert_array_equal(max_pool2d(x, 3, 2, padding=1)[0, 0, 0], [6, 8, 9])
    assert avg_pool2d(x, 5).dtype == np.float32
    assert avg_pool2d(np.full((1, 1, 2, 2), 255, "uint8"), 2).item() == 255


def test_small_shifts_leave_the_maximum_alone():
    x = np.zeros((1, 1, 6, 6))
    x[0, 0, 2, 2] = 1
    shifted = np.roll(x, (1, 1), (2, 3))
    np.testing.assert_array_equal(max_pool2d(x, 2), max_pool2d(shifted, 2))


def test_windows_of_ceil_mode_and_what_an_average_divides_by():
    x = np.ones((1, 1, 5))
    assert max_pool1d(x, 2).shape == (1, 1, 2)
    assert max_pool1d(x, 2, ceil_mode=True).shape == (1, 1, 3)
    # the third window of 6 elements, kernel 2, stride 3, padding 1 would start behind all of x
    assert max_pool1d(np.ones((1, 1, 5)), 2, 3, 1, ceil_mode=True).shape == (1, 1, 2)
    with_zeros = pool.avg_pool1d(x, 3, 2, 1)
    np.testing.assert_allclose(with_zeros[0, 0], [2 / 3, 1, 2 / 3])
    without = pool.avg_pool1d(x, 3, 2, 1, count_include_pad=False)
    np.testing.assert_allclose(without[0, 0], 1)


def test_same_and_pairs_are_understood():
    assert max_pool2d(np.ones((1, 1, 5, 6)), 3, 2, padding="same").shape == (1, 1, 3, 3)
    assert max_pool2d(np.ones((1, 1, 5, 6)), 3, 1, padding=((0, 1), (2, 0))).shape == (1, 1, 4, 6)


@given(settings_of_pool())
def test_picking_and_averaging_are_adjoint_to_their_gradients(case):
    x, a = case
    rng = np.random.default_rng(1)
    y = MaxPool(**a)(x)
    u, g = rng.normal(size=x.shape), rng.normal(size=y.shape)
    np.testing.assert_array_equal(MaxPoolPick(**a)(x, x), y)
    np.testing.assert_allclose(np.vdot(MaxPoolPick(**a)(x, u), g),
                               np.vdot(u, MaxPoolGrad(**a)(x, g)), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(MaxPoolGrad(**a)(x, g).sum(), g.sum(), rtol=1e-9, atol=1e-9)
    for include in (True, False):
        mean = AvgPool(count_include_pad=include, **a)
        back = AvgPoolGrad(spatial=x.shape[2:], count_include_pad=include, **a)
        np.testing.assert_allclose(np.vdot(mean(u), g), np.vdot(u, back(g)), rtol=1e-9, atol=1e-9)


@given(settings_of_pool())
def test_the_mean_of_a_constant_is_that_constant(case):
    x, a = case
    y = AvgPool(count_include_pad=False, **a)(np.full_like(x, 3.0))
    np.testing.assert_allclose(y, 3.0)
    assert np.all(MaxPool(**a)(x) >= AvgPool(count_include_pad=False, **a)(x) - 1e-12)


@pytest.mark.parametrize("call, text", [
    (lambda: max_pool2d(X, 7), "pool2d, axis 2: (4 + 2*0 - 7)/7 + 1 = 0: no output; use padding"),
    (lambda: max_pool2d(X, 2, padding=2), "must be smaller than the kernel (2, 2)"),
    (lambda: max_pool2d(X[0], 2), "needs a batch axis: x[None]"),
    (lambda: avg_pool2d(X, (2, 2, 2)), "kernel_size = (2, 2, 2): expected a whole number"),
    (lambda: max_pool1d(X, 2), "pool1d: x must be (N, C, *S) with 1 spatial axes"),
    (lambda: MaxPoolGrad(kernel=(2, 2), stride=(2, 2), padding=((0, 0),) * 2,
                         ceil_mode=False)(X, X), "but pooling (1, 1, 4, 4) gives (1, 1, 2, 2)"),
])
def test_errors_say_what_does_not_fit(call, text):
    with pytest.raises(ShapeError, match=re.escape(text)):
        call()


@given(settings_of_pool(symmetric=True), st.booleans())
def test_values_and_gradients_agree_with_pytorch(case, include):
    torch = pytest.importorskip("torch")
    x, a = case
    # its 3-D average refuses kernels larger than the input, whatever the padding
    assume(x.ndim < 5 or all(k <= s for k, s in zip(a["kernel"], x.shape[2:], strict=True)))
    ndim, pads = x.ndim - 2, [before for before, _ in a["padding"]]
    options = (a["kernel"], a["stride"], pads)
    for kind, more in (("max", {}), ("avg", {"count_include_pad": include})):
        ours = Tensor(x, requires_grad=True)
        y = getattr(pool, f"{kind}_pool{ndim}d")(ours, *options, a["ceil_mode"], **more)
        theirs = torch.tensor(x, requires_grad=True)
        function = getattr(torch.nn.functional, f"{kind}_pool{ndim}d")
        expected = function(theirs, *options, ceil_mode=a["ceil_mode"], **more)
        np.testing.assert_allclose(y.data, expected.detach(), rtol=1e-12, atol=1e-12)
        weights = np.random.default_rng(1).normal(size=y.shape)
        (g,) = grad((y * weights).sum(), [ours])
        (e,) = torch.autograd.grad((expected * torch.tensor(weights)).sum(), theirs)
        np.testing.assert_allclose(g.data, e, rtol=1e-10, atol=1e-12)
