"""Winograd's filtering: exact matrices, agreement with convolution, rounding errors."""

import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kiso.errors import ShapeError
from kiso.ops import winograd
from kiso.ops.conv import Conv, ConvInputGrad, ConvWeightGrad
from kiso.ops.winograd import (
    toom_cook_matrices,
    winograd_conv,
    winograd_conv_input_grad,
    winograd_conv_weight_grad,
    winograd_matrices,
)


@st.composite
def cases(draw):
    """x, W, a gradient gy of the result, padding and m; sides from 1 to 11."""
    N, C, O = (draw(st.integers(1, 3)) for _ in range(3))
    H, W = (draw(st.integers(1, 11)) for _ in range(2))
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    out = H + 2 * padding[0] - 2, W + 2 * padding[1] - 2
    assume(min(out) >= 1)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    shapes = (N, C, H, W), (O, C, 3, 3), (N, O, *out)
    return *(rng.normal(size=shape) for shape in shapes), padding, draw(st.sampled_from([2, 4]))


def attributes(padding):
    """Of the ops that say what is right."""
    return {"stride": (1, 1), "padding": tuple((p, p) for p in padding), "dilation": (1, 1),
            "groups": 1}


def all_three(x, W, gy, padding, m):
    """The convolution, its input gradient and its weight gradient."""
    return (winograd_conv(x, W, padding, m), winograd_conv_input_grad(gy, W, padding, m),
            winograd_conv_weight_grad(x, gy, padding, m))


# The matrices

def filtering(matrices):
    """t[i, k, l], the factor of g[k] d[l] in result i of A^T [(G g) * (B^T d)]."""
    A, G, B = matrices
    return sum(A[j][:, None, None] * G[j][:, None] * B[:, j] for j in range(len(A)))


def correlation(m, r):
    """What it must be: 1 at l = i + k, else 0."""
    i, k, l = np.indices((m, r, m + r - 1))
    return (l == i + k).astype(int)


def test_for_two_results_the_matrices_are_exact():
    exact = [np.vectorize(Fraction, otypes=[object])(a) for a in winograd_matrices(2)]
    assert np.all(filtering(exact) == correlation(2, 3))


@pytest.mark.parametrize("matrices, m, r", [
    (winograd_matrices(2), 2, 3), (winograd_matrices(4), 4, 3),
    (toom_cook_matrices((0, 1, -1, 2, -2)), 4, 3), (toom_cook_matrices((0, 1, -1, 3), r=2), 4, 2),
    (toom_cook_matrices((0.5, -0.5, 1), r=4), 1, 4)])
def test_the_matrices_filter(matrices, m, r):
    n = m + r - 1
    assert [a.shape for a in matrices] == [(n, m), (n, r), (n, n)]
    # Numbers are at most 3^4, so rounding alone gives less than 1e-13, a wrong point 1e-2 or more.
    np.testing.assert_allclose(filtering(matrices), correlation(m, r), rtol=0, atol=1e-13)


@pytest.mark.parametrize("m", [2, 4])
def test_the_matrices_are_made_once_for_reading(m):
    matrices = winograd_matrices(m)
    assert matrices is winograd_matrices(m)
    assert all(a.dtype == np.float64 and not a.flags.writeable for a in matrices)


@pytest.mark.parametrize("m", [2, 4])
def test_points_of_a_pair_differ_in_the_sign_of_odd_powers_only(m):
    A, G, B = winograd_matrices(m)
    for j in range(1, m + 1, 2):  # a, then -a
        assert A[j, 1] > 0
        for plus, minus in ((A[j], A[j + 1]), (G[j], G[j + 1]), (B[:, j], B[:, j + 1])):
            signs = (-1.0) ** np.arange(len(plus))  # to the last bit, so that both share work
            np.testing.assert_array_equal(plus, signs * minus)


def test_what_cancels_is_zero_and_not_a_rounding_error():
    assert [np.count_nonzero(a) for a in winograd_matrices(4)] == [18, 14, 22]
    assert not any(np.any(np.signbit(a) & (a == 0)) for a in winograd_matrices(2))


# Convolution

@given(cases())
def test_it_is_the_convolution_and_its_gradients(case):
    x, W, gy, padding, _ = case
    a = attributes(padding)
    expected = (Conv(**a)(x, W), ConvInputGrad(spatial=x.shape[2:], **a)(gy, W),
                ConvWeightGrad(kernel=(3, 3), **a)(x, gy))
    for ours, right in zip(all_three(*case), expected, strict=True):
        assert ours.shape == right.shape and ours.flags.c_contiguous
        # Numbers are about 1 and up to 3 * 121 of them are summed: rounding makes about 1e-13,
        # a wrong tile or border makes 1e-2 or more.
        np.testing.assert_allclose(ours, right, rtol=0, atol=1e-10)


@given(cases())
def test_in_float32_errors_stay_within_the_bound_of_rounding(case):
    """Every product and sum in turn may be wrong by 2^-24 of its size. So the error is at most
    2^-24 times the number of roundings on the way of one term, times the result for absolute
    values all over, the matrices' too.
    """
    x, W, gy, padding, m = case
    single = [a.astype("float32") for a in (x, W, gy)]
    double = [a.astype("float64") for a in single]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "winograd_matrices",
                      lambda m: [abs(a) for a in winograd_matrices(m)])
        sizes = all_three(*map(abs, double), padding, m)
    (N, C, *_), (O, *out) = x.shape, gy.shape[1:]
    # Two sums of at most 6 numbers each, their matrix rounded before, for the filter, the tile
    # and the result; then the product and the sum over channels, filters or tiles.
    tiles = N * np.prod([-(-n // m) for n in out])
    steps = [6 * (6 + 1) + 1 + terms for terms in (C, O, tiles)]
    results = zip(all_three(*single, padding, m), all_three(*double, padding, m), sizes, steps,
                  strict=True)
    for ours, right, size, count in results:
        assert ours.dtype == np.float32
        assert np.all(abs(ours - right) <= count * 2**-24 * size)


def errors(points):
    """Errors in float32 of 500 tiles, 64 channels and 16 filters: (all tiles, n, m, m)."""
    rng = np.random.default_rng(0)
    x, W = rng.normal(size=(500, 64, 6, 6)), rng.normal(size=(16, 64, 3, 3))
    x, W = x.astype("float32"), W.astype("float32")
    right = Conv(**attributes((0, 0)))(x.astype("float64"), W)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "winograd_matrices", lambda m: toom_cook_matrices(points))
        return winograd_conv(x, W) - right


def rms(a, axis=None):
    """Root of the mean square."""
    return np.sqrt(np.mean(a * a, axis=axis))


def test_the_points_halve_the_errors():
    better, usual = (errors(points) for points in (winograd._POINTS[4], (0, 1, -1, 2, -2)))
    assert rms(usual) >= 2 * rms(better)
    # The least exact place of the tile has even more from it.
    assert rms(usual, (0, 1)).max() >= 3 * rms(better, (0, 1)).max()


def test_an_empty_batch_is_fine():
    x, W, gy = np.ones((0, 2, 5, 5)), np.ones((3, 2, 3, 3)), np.ones((0, 3, 3, 3))
    assert winograd_conv(x, W).shape == (0, 3, 3, 3)
    assert winograd_conv_input_grad(gy, W).shape == (0, 2, 5, 5)
    assert not winograd_conv_weight_grad(x, gy).any()


@pytest.mark.parametrize("call, text", [
    (lambda: winograd_matrices(3), "m = 3, r = 3; there are points for m = 2 and m = 4"),
    (lambda: winograd_matrices(4, 5), "m = 4, r = 5"),
    (lambda: toom_cook_matrices((1, 1, 2)), "the points (1, 1, 2): a filter of 3 taps needs 2"),
    (lambda: toom_cook_matrices((1,)), "all different"),
    (lambda: winograd_conv(np.ones((1, 1, 6, 6)), np.ones((1, 1, 3, 3)), m=6), "m = 6"),
    (lambda: winograd_conv_input_grad(np.ones((1, 1, 6, 6)), np.ones((1, 1, 3, 3)), m=6), "m = 6"),
    (lambda: winograd_conv(np.ones((1, 1, 6, 6)), np.ones((1, 1, 5, 5))), "must be 3x3"),
    (lambda: winograd_conv(np.ones((1, 2, 6, 6)), np.ones((1, 3, 3, 3))), "x has 2 channels"),
    (lambda: winograd_conv(np.ones((1, 1, 2, 6)), np.ones((1, 1, 3, 3))), "no output"),
    (lambda: winograd_conv_input_grad(np.ones((1, 1, 9, 9)), np.ones((1, 1, 3, 3)), (3, 0)),
     "padding = (3, 0); the input gradient needs 2 at most"),
    (lambda: winograd_conv_weight_grad(np.ones((1, 1, 6, 6)), np.ones((1, 1, 6, 6))),
     "does not fit to the gradient gy (1, 1, 6, 6)"),
])
def test_errors_say_what_does_not_fit(call, text):
    with pytest.raises(ShapeError, match=re.escape(text)):
        call()
