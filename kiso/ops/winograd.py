"""Winograd's minimal filtering: convolution with 3x3 filters in a quarter of the multiplications.

A filter g of r numbers over data d of n = m + r - 1 numbers has m results,

    y[i] = sum over k of  g[k] d[i + k],    directly m r products.

n products are enough. Begin with a product of polynomials, s(x) = g(x) u(x), where g has r
coefficients and u has m. s has n coefficients, so n of its values tell it: those at n - 1 numbers
a_j, s(a_j) = g(a_j) u(a_j), one product each, and as the last one "the value at infinity", its
highest coefficient g[r-1] u[m-1]. Lagrange's formula leads from the values back to s:

    s(x) = sum over j of  s(a_j) / N_j  prod over l != j of (x - a_l)
           + s(infinity) prod over l of (x - a_l),         N_j = prod over l != j of (a_j - a_l)

As matrices this reads  s = B [(G g) * (A u)], where G and A take the values and B leads back:

    A[j] = (1, a_j, ..., a_j^(m-1)),    G[j] = (1, a_j, ..., a_j^(r-1)) / N_j,    the last rows, for
    infinity, (0, ..., 0, 1),    B[:, j] = the coefficients of prod (x - a_l), lowest first

For fixed g that is a matrix times u, with g[k] at [i + k, i]. Filtering is the same matrix
transposed, and B diag(G g) A transposed is

    y = A^T [(G g) * (B^T d)]                                  A (n, m),  G (n, r),  B (n, n)

An image is filtered along rows and columns. Both at once turn a tile d of n x n pixels into m x m
results,

    Y = A^T [U * V] A,    U = G g G^T,    V = B^T d B

multiplications for a tile    direct, 9 m^2    here, n^2
    m = 2, n = 4                         36           16    2.25 times fewer
    m = 4, n = 6                        144           36    4 times fewer

Not counted are A, G and B: each U serves all tiles, each V all filters, and A^T . A is needed once
for the sum over all channels, so their share falls as channels and filters grow. In return rounding
errors are larger than those of the direct sum, the more so the larger m is.

These are plain functions of arrays, the method as a text; the op is `Conv`.

Sources: Winograd, "Arithmetic Complexity of Computations", 1980; Lavin, Gray, "Fast Algorithms for
Convolutional Neural Networks", 2016 (tiles, the sum over channels before A).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from kiso.errors import ShapeError
from kiso.ops.conv import Conv
from kiso.ops.im2col import padded, windows
from kiso.ops.op import Array, Shape

__all__ = ["toom_cook_matrices", "winograd_conv", "winograd_conv_input_grad",
           "winograd_conv_weight_grad", "winograd_matrices"]

# The finite points for m results of 3 taps. A pair a, -a stands together: even powers are the same
# for both, odd ones differ in sign, so work can be shared. For m = 4, points around 1 whose powers
# stay near 1: against 0, 1, -1, 2, -2 the rms of rounding errors is half, in the least exact place
# of a tile a quarter.
_POINTS = {2: (0.0, 1.0, -1.0),
           4: (0.0, math.sqrt(1 / 2), -math.sqrt(1 / 2), math.sqrt(2), -math.sqrt(2))}


# The matrices

def toom_cook_matrices(points: tuple[float, ...], r: int = 3) -> tuple[Array, Array, Array]:
    """A (n, m), G (n, r), B (n, n) for any n - 1 different points and infinity; float64.

    Errors: ShapeError if points are equal or fewer than r - 1, too few for one result.
    """
    n = len(points) + 1
    m = n - r + 1
    if m < 1 or len(set(points)) < len(points):
        raise ShapeError(f"winograd: the points {points}: a filter of {r} taps needs {r - 1} or "
                         "more, all different.")
    A, G, B = np.zeros((n, m)), np.zeros((n, r)), np.zeros((n, n))
    A[:-1], A[-1, -1] = np.vander(points, m, increasing=True), 1  # 1, a, a^2, ...
    G[:-1], G[-1, -1] = np.vander(points, r, increasing=True), 1
    B[:, -1] = np.poly(points)[::-1]  # coefficients of prod (x - a), lowest first
    for j, a in enumerate(points):
        # Whole pairs first: they give x^2 - b^2, so a and -a have the same numbers to the last bit.
        others = sorted((b for b in points if b != a), key=lambda b: b in (0, -a))
        G[j] /= math.prod(a - b for b in others)
        B[:-1, j] = np.poly(others)[::-1]
    return A, G + 0.0, B  # 0.0: no -0


@lru_cache
def winograd_matrices(m: int, r: int = 3) -> tuple[Array, Array, Array]:
    """A (n, m), G (n, r), B (n, n) for m results of a filter of r taps, n = m + r - 1; float64.

    A^T [(G g) * (B^T d)] = [sum over k of g[k] d[i + k] for i < m]. They cannot be written to.
    Errors: ShapeError unless m is 2 or 4 and r is 3.
    """
    if m not in _POINTS or r != 3:
        raise ShapeError(f"winograd: m = {m}, r = {r}; there are points for m = 2 and m = 4 "
                         "results of r = 3 taps.")
    matrices = toom_cook_matrices(_POINTS[m], r)
    for matrix in matrices:
        matrix.flags.writeable = False
    return matrices


# Convolution and its gradients

def _checked(x: Shape, W: Shape, padding: tuple[int, int]) -> Shape:
    """Shape (N, O, OH, OW) of the result for x (N, C, H, W) and W (O, C, 3, 3).

    Errors: ShapeError if they do not fit, or the filter is not 3x3.
    """
    if W[2:] != (3, 3):
        raise ShapeError(f"winograd: W {W}: filters must be 3x3, W (O, C, 3, 3).")
    pads = tuple((p, p) for p in padding)
    return Conv(stride=(1, 1), padding=pads, dilation=(1, 1), groups=1).shape(x, W)


def _tiles(x: Array, size: int, step: int, before: tuple[int, int], out: Shape) -> Array:
    """Tiles of size x size, `step` pixels apart, with `before` zeros above and left of the image.

    As many as it takes for out = (OH, OW) results, the last ones filled with zeros.
    (N, C, H, W) -> (N, C, P, Q, size, size), P = ceil(OH / step), Q = ceil(OW / step)
    """
    count = tuple(-(-o // step) for o in out)
    after = ((k - 1) * step + size - p - s
             for k, p, s in zip(count, before, x.shape[2:], strict=True))
    full = padded(x, tuple(zip(before, after, strict=True)))
    return np.moveaxis(windows(full, (size, size), (step, step), (1, 1), count), (2, 3), (4, 5))


def _places(tiles: Array) -> Array:
    """For each place in a tile a matrix: (N, C, P, Q, n, n) -> (n, n, C, N*P*Q)."""
    N, C, P, Q, n, _ = tiles.shape
    return tiles.transpose(4, 5, 1, 0, 2, 3).reshape(n, n, C, N * P * Q)


def _cast(m: int, *arrays: Array) -> list[Array]:
    """A, G and B in the type of the arrays."""
    return [matrix.astype(np.result_type(*arrays)) for matrix in winograd_matrices(m)]


def winograd_conv(x: Array, W: Array, padding: tuple[int, int] = (0, 0), m: int = 4) -> Array:
    """Convolution with stride 1: x (N, C, H, W), W (O, C, 3, 3) -> y (N, O, OH, OW).

    OH = H + 2 padding[0] - 2, OW likewise; m x m results at a time, m = 2 or 4.
    Errors: ShapeError if x and W do not fit, no window fits, or there are no matrices for m.
    """
    N, O, OH, OW = _checked(x.shape, W.shape, padding)
    A, G, B = _cast(m, x, W)
    d = _tiles(x, m + 2, m, padding, (OH, OW))  # (N, C, P, Q, n, n)
    P, Q = d.shape[2:4]

    U = (G @ W @ G.T).transpose(2, 3, 0, 1)  # (n, n, O, C)
    V = _places(B.T @ d @ B)  # (n, n, C, N*P*Q)
    sums = U @ V  # (n, n, O, N*P*Q): at each of the n^2 places the sum over the channels

    M = sums.reshape(m + 2, m + 2, O, N, P, Q).transpose(3, 2, 4, 5, 0, 1)  # (N, O, P, Q, n, n)
    Y = A.T @ M @ A  # (N, O, P, Q, m, m)
    return Y.swapaxes(3, 4).reshape(N, O, P * m, Q * m)[:, :, :OH, :OW].copy()


def winograd_conv_input_grad(gy: Array, W: Array, padding: tuple[int, int] = (0, 0),
                             m: int = 4) -> Array:
    """dL/dx of `winograd_conv`: gy (N, O, OH, OW), W (O, C, 3, 3) -> gx (N, C, H, W).

    A convolution again: x[i + k] went to y[i] with W[k], so the filter is turned by 180 degrees,
    filters and channels change places, and the padding is 2 - padding.
    Errors: ShapeError if padding > 2, or if gy and W do not fit.
    """
    if max(padding) > 2:
        raise ShapeError(f"winograd: padding = {padding}; the input gradient needs 2 at most.")
    turned = W[:, :, ::-1, ::-1].swapaxes(0, 1)  # (C, O, 3, 3)
    return winograd_conv(gy, turned, (2 - padding[0], 2 - padding[1]), m)


def winograd_conv_weight_grad(x: Array, gy: Array, padding: tuple[int, int] = (0, 0),
                              m: int = 4) -> Array:
    """dL/dW of `winograd_conv`: x (N, C, H, W), gy (N, O, OH, OW) -> gW (O, C, 3, 3).

    The chain rule through Y = A^T [U * V] A and U = G W G^T, summed over all tiles:
    gM = A gY A^T,  gU = sum of gM * V,  gW = G^T gU G. The numbers of products are the same.
    Errors: ShapeError if x and gy do not fit, or there are no matrices for m.
    """
    if _checked(x.shape, (*gy.shape[1:2], *x.shape[1:2], 3, 3), padding) != gy.shape:
        raise ShapeError(f"winograd: x {x.shape} with padding = {padding} does not fit to the "
                         f"gradient gy {gy.shape} of a 3x3 convolution.")
    A, G, B = _cast(m, x, gy)
    d = _tiles(x, m + 2, m, padding, gy.shape[2:])  # (N, C, P, Q, n, n)
    gY = _tiles(gy, m, m, (0, 0), gy.shape[2:])  # (N, O, P, Q, m, m)

    V = _places(B.T @ d @ B)  # (n, n, C, N*P*Q)
    gM = _places(A @ gY @ A.T)  # (n, n, O, N*P*Q)
    gU = gM @ V.swapaxes(2, 3)  # (n, n, O, C): at each place the sum over all tiles
    return G.T @ gU.transpose(2, 3, 0, 1) @ G
