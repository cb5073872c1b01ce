"""Local connections without shared weights: a convolution with a filter of its own at every place.

    y[n, o, l] = sum over c, *k of  W[l, o, (c, *k)] x[n, c, *(i_l T + k - P)]

x (N, C, *S), W (L, O, C prod(K)) -> y (N, O, *OUT), L = prod(OUT) places. Each unit still sees a
window only, but what is learnt at one place is not used at another: L times the weights of a
convolution. With the windows as columns (im2col) every place is a small dense layer, and all places
together are a 1x1 convolution in which each is a group of its own.

Source: LeCun, "Generalization and Network Design Strategies", 1989 (net-3).
"""

from __future__ import annotations

from collections.abc import Sequence

from kiso.errors import ShapeError
from kiso.ops.conv import conv2d
from kiso.ops.im2col import im2col, out_sizes, padding_pairs, per_axis
from kiso.ops.op import Value, shape_of
from kiso.ops.shape import reshape, transpose

__all__ = ["locally_connected"]

Sizes = int | Sequence[int]


def locally_connected(x: Value, W: Value, b: Value | None = None, *, kernel_size: Sizes,
                      stride: Sizes = 1, padding: Sizes = 0) -> Value:
    """y for x (N, C, *S), W (L, O, C prod(K)) and a bias (O, *OUT), one number for each unit.

    OUT = (S + 2P - K) / T + 1, rounded down. Errors: ShapeError if W has not one filter bank for
    each of the L places, or no window fits.
    """
    shape = shape_of(x)
    ndim = len(shape) - 2
    K, T = per_axis("kernel_size", kernel_size, ndim), per_axis("stride", stride, ndim)
    P = padding_pairs(padding, shape[2:], K, T, (1,) * ndim)
    out = out_sizes("locally_connected", shape[2:], K, T, P)
    columns = transpose(im2col(x, K, stride=T, padding=P), (0, 2, 1))  # (N, L, C prod(K))
    N, L, inputs = shape_of(columns)
    if len(shape_of(W)) != 3 or shape_of(W)[0] != L or shape_of(W)[2] != inputs:
        raise ShapeError(f"locally_connected: x {shape} has {L} windows of {inputs} elements, so W "
                         f"must be ({L}, O, {inputs}), but it is {shape_of(W)}; the layer is made "
                         "for one size of input.")
    O = shape_of(W)[1]
    y = conv2d(reshape(columns, (N, L * inputs, 1, 1)), reshape(W, (L * O, inputs, 1, 1)), groups=L)
    y = reshape(transpose(reshape(y, (N, L, O)), (0, 2, 1)), (N, O, *out))
    return y if b is None else y + b
