"""Convolution and im2col: sizes, adjointness, layouts, error texts, agreement with PyTorch."""

import re

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kiso.autograd import Tensor, grad
from kiso.errors import ShapeError
from kiso.ops import conv as conv_file
from kiso.ops.conv import Conv, ConvInputGrad, ConvWeightGrad, conv1d, conv2d, conv3d
from kiso.ops.im2col import col2im, im2col, out_size, padding_pairs

FUNCTIONS = {1: conv1d, 2: conv2d, 3: conv3d}


@st.composite
def settings_of_conv(draw, symmetric=False):
    """Random arrays x, W and attributes of a convolution that has an output."""
    ndim = draw(st.integers(1, 3))
    small = [st.integers(1, 3)] * ndim
    kernel, stride, dilation = (draw(st.tuples(*small)) for _ in range(3))
    pad = st.integers(0, 2)
    pair = pad.map(lambda p: (p, p)) if symmetric else st.tuples(pad, pad)
    padding = draw(st.tuples(*[pair] * ndim))
    spatial = draw(st.tuples(*[st.integers(1, 7 if ndim < 3 else 4)] * ndim))
    assume(all(s + sum(p) > d * (k - 1) for s, k, d, p in
               zip(spatial, kernel, dilation, padding, strict=True)))
    groups, channels, filters, n = (draw(st.integers(1, 3)) for _ in range(4))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x = rng.normal(size=(n, groups * channels, *spatial))
    W = rng.normal(size=(groups * filters, channels, *kernel))
    return x, W, {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


@given(settings_of_conv())
def test_the_two_gradients_are_adjoint_to_the_convolution(case):
    x, W, attributes = case
    y = Conv(**attributes)(x, W)
    g = np.random.default_rng(1).normal(size=y.shape)
    product = np.vdot(y, g)
    gx = ConvInputGrad(spatial=x.shape[2:], **attributes)(g, W)
    gW = ConvWeightGrad(kernel=W.shape[2:], **attributes)(x, g)
    assert gx.shape == x.shape and gW.shape == W.shape
    np.testing.assert_allclose(np.vdot(x, gx), product, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(np.vdot(W, gW), product, rtol=1e-9, atol=1e-9)


@given(settings_of_conv())
def test_convolution_is_im2col_and_a_matrix_product(case):
    x, W, attributes = case
    groups = attributes.pop("groups")
    columns = im2col(x, W.shape[2:], **attributes)
    parts = zip(np.split(columns, groups, axis=1), np.split(W, groups), strict=True)
    y = np.concatenate([w.reshape(len(w), -1) @ part for part, w in parts], axis=1)
    expected = FUNCTIONS[x.ndim - 2](x, W, groups=groups, **attributes)
    np.testing.assert_allclose(y.reshape(expected.shape), expected, rtol=1e-9, atol=1e-9)


@given(settings_of_conv())
def test_col2im_of_im2col_is_x_times_the_overlap(case):
    x, W, attributes = case
    del attributes["groups"]
    kernel, spatial = W.shape[2:], x.shape[2:]
    back = col2im(im2col(x, kernel, **attributes), spatial, kernel, **attributes)
    overlap = col2im(im2col(np.ones_like(x), kernel, **attributes), spatial, kernel, **attributes)
    assert np.all(overlap == np.round(overlap))
    np.testing.assert_allclose(back, x * overlap, rtol=1e-9, atol=1e-12)


@given(settings_of_conv())
def test_blocks_of_the_batch_make_no_difference(case):
    x, W, attributes = case
    op = Conv(**attributes)
    y = op(x, W)
    wgrad = ConvWeightGrad(kernel=W.shape[2:], **attributes)
    igrad = ConvInputGrad(spatial=x.shape[2:], **attributes)
    whole = y, wgrad(x, y), igrad(y, W)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conv_file, "_BLOCK_BYTES", 1)
        for a, b in zip(whole, (op(x, W), wgrad(x, y), igrad(y, W)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_size_of_the_book_6x6_filter_2_padding_1_gives_7x7():
    x, W = np.ones((1, 1, 6, 6)), np.ones((1, 1, 2, 2))
    y = conv2d(x, W, padding=1)
    assert y.shape == (1, 1, 7, 7)
    assert y[0, 0, 0, 0] == 1 and y[0, 0, 0, 1] == 2 and y[0, 0, 3, 3] == 4


@given(S=st.integers(1, 12), K=st.integers(1, 5), T=st.integers(1, 4), D=st.integers(1, 3))
def test_same_gives_ceil_of_size_over_stride_and_valid_pads_nothing(S, K, T, D):
    ((before, after),) = padding_pairs("same", (S,), (K,), (T,), (D,))
    assert after - before in (0, 1)
    assert out_size(S, K, T, (before, after), D) == -(-S // T)
    assert padding_pairs("valid", (S,), (K,), (T,), (D,)) == ((0, 0),)
    x, W = np.ones((1, 1, S)), np.ones((1, 1, K))
    assert conv1d(x, W, stride=T, padding="same", dilation=D).shape == (1, 1, -(-S // T))


@given(S=st.integers(1, 12), K=st.integers(1, 5), T=st.integers(1, 4), P=st.integers(0, 4))
def test_size_counts_the_places_where_a_window_fits(S, K, T, P):
    places = [start for start in range(0, S + 2 * P, T) if start + K <= S + 2 * P]
    if places:
        assert out_size(S, K, T, (P, P)) == len(places)
    else:
        with pytest.raises(ShapeError, match="no output"):
            out_size(S, K, T, (P, P))


@pytest.mark.parametrize("padding, pairs", [
    (1, ((1, 1), (1, 1))), ((0, 2), ((0, 0), (2, 2))), (((0, 1), (2, 0)), ((0, 1), (2, 0)))])
def test_padding_may_be_a_number_one_for_each_axis_or_pairs(padding, pairs):
    assert padding_pairs(padding, (5, 5), (2, 2), (1, 1), (1, 1)) == pairs


def test_a_bias_is_added_to_every_pixel_of_its_map():
    rng = np.random.default_rng(0)
    x, W, b = rng.normal(size=(2, 3, 5, 5)), rng.normal(size=(4, 3, 3, 3)), rng.normal(size=4)
    difference = conv2d(x, W, b) - conv2d(x, W)
    np.testing.assert_allclose(difference, np.broadcast_to(b[:, None, None], difference.shape))


def test_types_stay_and_results_repeat():
    rng = np.random.default_rng(0)
    x, W = (rng.normal(size=s).astype("float32") for s in ((9, 8, 30, 30), (16, 8, 5, 5)))
    a = {"stride": (1, 1), "padding": ((2, 2), (2, 2)), "dilation": (1, 1), "groups": 1}
    y = Conv(**a)(x, W)
    results = [lambda: Conv(**a)(x, W), lambda: ConvInputGrad(spatial=(30, 30), **a)(y, W),
               lambda: ConvWeightGrad(kernel=(5, 5), **a)(x, y)]
    for result in results:
        first = result()
        assert first.dtype == np.float32
        np.testing.assert_array_equal(first, result())
    assert Conv(**a)(x, W.astype("float64")).dtype == np.float64


def test_an_empty_batch_is_fine():
    x, W = np.ones((0, 2, 5, 5), "float32"), np.ones((3, 2, 3, 3), "float32")
    assert conv2d(x, W).shape == (0, 3, 3, 3)
    a = {"stride": (1, 1), "padding": ((0, 0),) * 2, "dilation": (1, 1), "groups": 1}
    assert not ConvWeightGrad(kernel=(3, 3), **a)(x, np.ones((0, 3, 3, 3), "float32")).any()


def test_input_gradient_is_the_convolution_with_the_turned_filter():
    """For stride 1: padding K - 1 - P, filter turned by 180 degrees, channels exchanged."""
    rng = np.random.default_rng(0)
    gy, W = rng.normal(size=(2, 4, 6, 6)), rng.normal(size=(4, 3, 3, 3))
    a = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}
    turned = W[:, :, ::-1, ::-1].swapaxes(0, 1)
    np.testing.assert_allclose(ConvInputGrad(spatial=(6, 6), **a)(gy, W),
                               conv2d(gy, turned, padding=1), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("call, text", [
    (lambda: conv2d(np.ones((1, 1, 4, 4)), np.ones((1, 1, 7, 7))),
     "conv2d, axis 2: (4 + 2*0 - 7)/1 + 1 = -2: no output; use padding >= 2 or a smaller kernel"),
    (lambda: conv2d(np.ones((1, 1, 9, 3)), np.ones((1, 1, 3, 3)), stride=2, dilation=2),
     "conv2d, axis 3: (3 + 2*0 - 5)/2 + 1 = 0: no output (3 elements at dilation 2 cover 5); use"),
    (lambda: conv1d(np.ones((1, 1, 2)), np.ones((1, 1, 5)), padding=[(0, 1)]),
     "(2 + 0 + 1 - 5)/1 + 1 = -1: no output; use padding >= 2"),
    (lambda: conv2d(np.ones((1, 3, 4, 4)), np.ones((4, 2, 3, 3))),
     "x (1, 3, 4, 4) and W (4, 2, 3, 3) with groups = 1: x has 3 channels, but W works on 2"),
    (lambda: conv2d(np.ones((1, 4, 4, 4)), np.ones((3, 2, 3, 3)), groups=2),
     "the 3 filters cannot be shared out evenly to 2 groups"),
    (lambda: conv2d(np.ones((3, 4, 4)), np.ones((4, 3, 3, 3))), "needs a batch axis: x[None]"),
    (lambda: conv2d(np.ones((1, 3, 4, 4)), np.ones((4, 3, 3, 3)), np.ones(3)),
     "the bias has shape (3,), but W (4, 3, 3, 3) has 4 filters"),
    (lambda: conv2d(np.ones((1, 1, 4, 4)), np.ones((1, 1, 3, 3)), stride=0), "stride = 0"),
    (lambda: conv2d(np.ones((1, 1, 4, 4)), np.ones((1, 1, 3, 3)), stride=(1, 1, 1)),
     "stride = (1, 1, 1): expected a whole number >= 1, or 2 of them"),
    (lambda: conv2d(np.ones((1, 1, 4, 4)), np.ones((1, 1, 3, 3)), stride=1.5), "stride = 1.5"),
    (lambda: conv2d(np.ones((1, 1, 4, 4)), np.ones((1, 1, 3, 3)), padding="full"),
     "padding = 'full'"),
    (lambda: conv2d(np.ones((1, 1, 4, 4)), np.ones((1, 1, 3, 3)), padding=-1), "padding = -1"),
    (lambda: conv2d(np.ones((1, 1, 4, 4)), np.ones((1, 1, 3, 3)), groups=0), "groups = 0"),
    (lambda: im2col(np.ones((1, 1, 2, 2)), 3), "im2col, axis 2: (2 + 2*0 - 3)/1 + 1 = 0"),
    (lambda: col2im(np.ones((1, 8, 5)), (3, 3), 2), "the shape must be (N, C*4, 4)"),
    (lambda: ConvInputGrad(spatial=(4, 4), stride=(1, 1), padding=((0, 0),) * 2, dilation=(1, 1),
                           groups=1)(np.ones((1, 2, 3, 3)), np.ones((2, 1, 3, 3))),
     "the gradient's shape is (1, 2, 3, 3), but the convolution's output has (1, 2, 2, 2)"),
])
def test_errors_say_what_does_not_fit(call, text):
    with pytest.raises(ShapeError, match=re.escape(text)):
        call()


@given(settings_of_conv(symmetric=True))
def test_values_and_gradients_agree_with_pytorch(case):
    torch = pytest.importorskip("torch")
    x, W, attributes = case
    ndim, padding = x.ndim - 2, [before for before, _ in attributes["padding"]]
    b = np.random.default_rng(1).normal(size=len(W))
    ours = [Tensor(a, requires_grad=True) for a in (x, W, b)]
    theirs = [torch.tensor(a, requires_grad=True) for a in (x, W, b)]
    y = FUNCTIONS[ndim](*ours, **attributes)
    function = getattr(torch.nn.functional, f"conv{ndim}d")
    expected = function(*theirs, **attributes | {"padding": padding})
    np.testing.assert_allclose(y.data, expected.detach(), rtol=1e-9, atol=1e-9)
    gs = grad((y * y * y).sum(), ours)
    for g, e in zip(gs, torch.autograd.grad((expected**3).sum(), theirs), strict=True):
        np.testing.assert_allclose(g.data, e, rtol=1e-8, atol=1e-8)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@given(settings_of_conv())
def test_same_agrees_with_pytorch_for_stride_1(case):
    torch = pytest.importorskip("torch")
    x, W, a = case
    y = FUNCTIONS[x.ndim - 2](x, W, padding="same", dilation=a["dilation"], groups=a["groups"])
    function = getattr(torch.nn.functional, f"conv{x.ndim - 2}d")
    expected = function(torch.tensor(x), torch.tensor(W), padding="same", dilation=a["dilation"],
                        groups=a["groups"])
    np.testing.assert_allclose(y, expected, rtol=1e-9, atol=1e-9)


@given(settings_of_conv(symmetric=True))
def test_im2col_agrees_with_pytorch_unfold(case):
    torch = pytest.importorskip("torch")
    x, W, attributes = case
    assume(x.ndim == 4)
    kernel = W.shape[2:]
    pads = [before for before, _ in attributes["padding"]]
    options = {"stride": attributes["stride"], "padding": pads, "dilation": attributes["dilation"]}
    columns = im2col(x, kernel, **options)
    expected = torch.nn.functional.unfold(torch.tensor(x), kernel, **options)
    np.testing.assert_array_equal(columns, expected)
    np.testing.assert_allclose(
        col2im(columns, x.shape[2:], kernel, **options),
        torch.nn.functional.fold(expected, x.shape[2:], kernel, **options), rtol=1e-12, atol=1e-12)
