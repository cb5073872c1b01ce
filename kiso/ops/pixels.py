"""Pixel shuffle: channels become pixels of a larger map, and back, without computing anything.

    y[n, c, h r + i, w r + j] = x[n, c r^2 + i r + j, h, w]

x (N, C r^2, H, W) -> y (N, C, H r, W r). A convolution before it makes r^2 small maps, which
together are one large map: up-sampling that costs no more than the small maps do.

Source: Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
Convolutional Neural Network", 2016.
"""

from __future__ import annotations

from kiso.errors import ShapeError
from kiso.ops.op import Value, shape_of
from kiso.ops.shape import reshape, transpose

__all__ = ["pixel_shuffle", "pixel_unshuffle"]


def pixel_shuffle(x: Value, upscale_factor: int) -> Value:
    """(N, C r^2, H, W) -> (N, C, H r, W r).  Errors: ShapeError if r^2 does not divide channels."""
    shape, r = shape_of(x), upscale_factor
    if len(shape) != 4 or r < 1 or shape[1] % (r * r):
        raise ShapeError(f"pixel_shuffle: x {shape} must be (N, C, H, W) with a multiple of {r}^2 "
                         f"= {r * r} channels.")
    n, c, h, w = shape[0], shape[1] // (r * r), shape[2], shape[3]
    parts = transpose(reshape(x, (n, c, r, r, h, w)), (0, 1, 4, 2, 5, 3))
    return reshape(parts, (n, c, h * r, w * r))


def pixel_unshuffle(x: Value, downscale_factor: int) -> Value:
    """(N, C, H r, W r) -> (N, C r^2, H, W), the inverse.  Errors: ShapeError for other H, W."""
    shape, r = shape_of(x), downscale_factor
    if len(shape) != 4 or r < 1 or shape[2] % r or shape[3] % r:
        raise ShapeError(f"pixel_unshuffle: x {shape} must be (N, C, H, W) with H and W multiples "
                         f"of {r}.")
    n, c, h, w = shape[0], shape[1], shape[2] // r, shape[3] // r
    parts = transpose(reshape(x, (n, c, h, r, w, r)), (0, 1, 3, 5, 2, 4))
    return reshape(parts, (n, c * r * r, h, w))
