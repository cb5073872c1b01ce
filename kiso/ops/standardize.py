"""Normalising each sample for itself: layer, instance and group normalisation, local response.

    m = mean of x        v = mean of (x - m)^2        y = gamma (x - m) / sqrt(v + eps) + beta

are those of batch normalisation (`kiso.ops.norm`); what differs is over what m and v are taken:

    batch norm      each channel, over the batch and its map     statistics of the batch
    layer norm      each sample, over its last axes              Ba, Kiros, Hinton 2016
    instance norm   each sample's channel, over its map          Ulyanov, Vedaldi, Lempitsky 2016
    group norm      each sample's group of channels and maps     Wu, He 2018

The last three need no batch and no running statistics: training and inference compute the same.

Local response normalisation is older and divides by what neighbouring channels hold, as nerve cells
inhibit their neighbours (Krizhevsky, Sutskever, Hinton 2012).
"""

from __future__ import annotations

import math

from kiso.errors import ShapeError
from kiso.ops.elementwise import sqrt
from kiso.ops.op import Shape, Value, shape_of
from kiso.ops.pool import AvgPool
from kiso.ops.reduce import mean
from kiso.ops.shape import expand_dims, reshape

__all__ = ["group_norm", "instance_norm", "layer_norm", "local_response_norm"]


def _standardized(x: Value, axes: tuple[int, ...], eps: float) -> Value:
    """(x - m) / sqrt(v + eps), with m and v over these axes."""
    centred = x - mean(x, axes, keepdims=True)
    return centred / sqrt(mean(centred * centred, axes, keepdims=True) + eps)


def _scaled(y: Value, gamma: Value | None, beta: Value | None, shape: Shape) -> Value:
    """gamma y + beta, both in this shape, as far as they are there."""
    y = y if gamma is None else y * reshape(gamma, shape)
    return y if beta is None else y + reshape(beta, shape)


def _per_channel(name: str, x: Shape, *rest: Value | None) -> Shape:
    """(C, 1, ..., 1), after checking that x is (N, C, *S) and all others are (C,)."""
    if len(x) < 2 or any(p is not None and shape_of(p) != x[1:2] for p in rest):
        listed = ", ".join(str(shape_of(p)) for p in rest if p is not None)
        raise ShapeError(f"{name}: x {x} must be (N, C, *S), and gamma and beta {x[1:2]}, one "
                         f"number for each channel; they are {listed or 'left out'}.")
    return (x[1], *(1,) * (len(x) - 2))


def layer_norm(x: Value, normalized_shape: Shape, gamma: Value | None = None,
               beta: Value | None = None, *, eps: float = 1e-5) -> Value:
    """Mean 0 and variance 1 over the last axes, of lengths `normalized_shape`; then gamma, beta.

    Errors: ShapeError if the last axes of x, gamma and beta are not of these lengths.
    """
    shape, n = shape_of(x), len(normalized_shape)
    if not n or shape[-n:] != normalized_shape or any(
            p is not None and shape_of(p) != normalized_shape for p in (gamma, beta)):
        raise ShapeError(f"layer_norm: x {shape}, gamma and beta must end in the axes "
                         f"{normalized_shape} that are normalised.")
    axes = tuple(range(len(shape) - n, len(shape)))
    return _scaled(_standardized(x, axes, eps), gamma, beta, normalized_shape)


def group_norm(x: Value, num_groups: int, gamma: Value | None = None, beta: Value | None = None, *,
               eps: float = 1e-5) -> Value:
    """Mean 0 and variance 1 over each of `num_groups` groups of channels of each sample.

    x (N, C, *S), gamma and beta (C,).  Errors: ShapeError if C is no multiple of num_groups.
    """
    shape = shape_of(x)
    column = _per_channel("group_norm", shape, gamma, beta)
    if num_groups < 1 or shape[1] % num_groups:
        raise ShapeError(f"group_norm: the {shape[1]} channels of x {shape} cannot be shared out "
                         f"evenly to {num_groups} groups.")
    grouped = reshape(x, (shape[0], num_groups, shape[1] // num_groups, *shape[2:]))
    axes = tuple(range(2, len(shape) + 1))
    return _scaled(reshape(_standardized(grouped, axes, eps), shape), gamma, beta, column)


def instance_norm(x: Value, gamma: Value | None = None, beta: Value | None = None, *,
                  eps: float = 1e-5) -> Value:
    """Mean 0 and variance 1 over each map of each sample.  x (N, C, *S), gamma and beta (C,).

    Errors: ShapeError if a map has fewer than two elements, so that nothing would be left of it.
    """
    shape = shape_of(x)
    column = _per_channel("instance_norm", shape, gamma, beta)
    if math.prod(shape[2:]) < 2:
        raise ShapeError(f"instance_norm: each map of x {shape} has {math.prod(shape[2:])} "
                         "element, which minus its own mean is 0; at least 2 are needed.")
    return _scaled(_standardized(x, tuple(range(2, len(shape))), eps), gamma, beta, column)


def local_response_norm(x: Value, size: int, alpha: float = 1e-4, beta: float = 0.75,
                        k: float = 1.0, *, average: bool = True) -> Value:
    """y_c = x_c / (k + a sum of x_i^2)^beta over the `size` channels i around c; x (N, C, *S).

    a = alpha / size with `average`, as PyTorch and ONNX do; a = alpha without, as in the paper
    (Krizhevsky 2012: size 5, alpha 1e-4, beta 0.75, k 2). Of the channels size // 2 lie before c
    and (size - 1) // 2 behind it; those that do not exist count as 0.
    Errors: ShapeError for size < 1 or without a channel axis.
    """
    ndim = len(shape_of(x)) - 2
    if ndim < 0 or size < 1:
        raise ShapeError(f"local_response_norm: x {shape_of(x)} must be (N, C, *S) and size {size} "
                         "at least 1.")
    ones, none = (1,) * ndim, ((0, 0),) * ndim
    around = AvgPool(kernel=(size, *ones), stride=(1, *ones), ceil_mode=False,
                     padding=((size // 2, (size - 1) // 2), *none), count_include_pad=True)
    near = reshape(around(expand_dims(x * x, 1)), shape_of(x))  # channels as the first map axis
    return x * (k + (alpha if average else alpha * size) * near) ** -beta
