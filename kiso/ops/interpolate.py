"""Maps of another size: up-sampling by repetition or interpolation, means over adaptive windows.

Each axis is multiplied by a matrix R (O, S) of its own (`kiso.ops.banded`), one row for each output
element. With the position that output j looks at, s the input elements for each output element,

    nearest         R[j, floor(j s)] = 1
    linear          p = (j + 1/2) s - 1/2, limited to [0, S - 1]:  the two neighbours of p, weighted
                    by nearness, 1 - |p - i|
    align_corners   the same with p = j (S - 1) / (O - 1): first and last elements stay in place
    adaptive mean   1 / count at floor(j S / O) ... ceil((j + 1) S / O) - 1

On images linear along both axes is bilinear, on volumes trilinear. As in PyTorch s = S / O if a
size is given, and 1 / scale if a scale is, with O = floor(S scale).

Positions are fractions of whole numbers, so that no rounding moves one to the next element.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from kiso.errors import ConfigError, ShapeError
from kiso.ops.banded import banded
from kiso.ops.broadcast import broadcast_to
from kiso.ops.op import Array, Shape, Value, shape_of
from kiso.ops.pool import AvgPool
from kiso.ops.shape import reshape

__all__ = ["adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "interpolate"]

MODES = {"nearest": 0, "linear": 1, "bilinear": 2, "trilinear": 3}  # number of axes; 0: any
_FINEST = 1_000_000  # a scale is the nearest fraction with at most such a denominator


def _linear_matrix(S: int, positions: Sequence[Fraction]) -> Array:
    """Row j: 1 - |p - i| at the two elements i around p = positions[j], limited to the axis."""
    R = np.zeros((len(positions), S))
    for j, wanted in enumerate(positions):
        p = min(max(wanted, Fraction(0)), Fraction(S - 1))
        i = math.floor(p)
        R[j, i] = 1 - (p - i)
        if p > i:
            R[j, i + 1] = p - i
    return R


def _matrix(S: int, O: int, s: Fraction, linear: bool, align_corners: bool) -> Array:
    """R for one axis; see the top of this file."""
    if not linear:
        return np.eye(S)[[min(math.floor(j * s), S - 1) for j in range(O)]]
    if align_corners:
        s = Fraction(S - 1, O - 1) if O > 1 else Fraction(0)
        return _linear_matrix(S, [j * s for j in range(O)])
    half = Fraction(1, 2)
    return _linear_matrix(S, [(j + half) * s - half for j in range(O)])


def _repeated(x: Value, times: Shape) -> Value:
    """Every element of the spatial axes so many times over: nearest for whole scales."""
    lead, spatial = shape_of(x)[:2], shape_of(x)[2:]
    split = [n for s in spatial for n in (s, 1)]
    wide = [n for s, t in zip(spatial, times, strict=True) for n in (s, t)]
    y = broadcast_to(reshape(x, (*lead, *split)), (*lead, *wide))
    return reshape(y, (*lead, *(s * t for s, t in zip(spatial, times, strict=True))))


def _spread(name: str, value: float | Sequence[float], ndim: int) -> tuple[float, ...]:
    numbers = tuple(value) if isinstance(value, Sequence) else (value,) * ndim
    if len(numbers) != ndim or any(not n > 0 or math.isinf(n) for n in numbers):
        raise ShapeError(f"interpolate: {name} = {value}: expected a number above 0, or {ndim} of "
                         "them, one for each spatial axis.")
    return numbers


def _targets(spatial: Shape, size: int | Sequence[int] | None,
             scale_factor: float | Sequence[float] | None) -> tuple[list[int], list[Fraction]]:
    """Output length of each axis, and how many input elements one output element steps."""
    if (size is None) == (scale_factor is None):
        raise ConfigError(f"interpolate: size is {size}, scale_factor is {scale_factor}; give one "
                          "of them.")
    if size is not None:
        out = [int(n) for n in _spread("size", size, len(spatial))]
        return out, [Fraction(s, o) for s, o in zip(spatial, out, strict=True)]
    assert scale_factor is not None
    scales = [Fraction(f).limit_denominator(_FINEST)
              for f in _spread("scale_factor", scale_factor, len(spatial))]
    out = [math.floor(s * f) for s, f in zip(spatial, scales, strict=True)]
    if 0 in out:
        raise ShapeError(f"interpolate: {spatial} times {scale_factor} leaves no element; use a "
                         "larger scale.")
    return out, [1 / f for f in scales]


def interpolate(x: Value, size: int | Sequence[int] | None = None,
                scale_factor: float | Sequence[float] | None = None, mode: str = "nearest",
                align_corners: bool = False) -> Value:
    """x (N, C, *S) with other lengths of the spatial axes, given as `size` or as `scale_factor`.

    mode: "nearest", or by the number of axes "linear" (1), "bilinear" (2), "trilinear" (3).
    Errors: ConfigError for neither or both of size and scale and for an unknown mode; ShapeError
    if mode and axes do not fit, or nothing is left.
    """
    shape = shape_of(x)
    if mode not in MODES:
        listed = ", ".join(map(repr, MODES))
        raise ConfigError(f"interpolate: mode is {mode!r}; expected one of {listed}.")
    if align_corners and mode == "nearest":
        raise ConfigError("interpolate: align_corners has no meaning for mode 'nearest'.")
    if len(shape) < 3 or MODES[mode] not in (0, len(shape) - 2):
        raise ShapeError(f"interpolate: mode {mode!r} on x {shape}: x must be (N, C, *S) with "
                         f"{MODES[mode] or 'one or more'} spatial axes.")
    spatial = shape[2:]
    out, steps = _targets(spatial, size, scale_factor)
    if mode == "nearest" and all(s.numerator == 1 for s in steps):
        return _repeated(x, tuple(s.denominator for s in steps))
    for axis, (S, O, s) in enumerate(zip(spatial, out, steps, strict=True), start=2):
        x = banded(x, _matrix(S, O, s, mode != "nearest", align_corners), axis)
    return x


def _adaptive(ndim: int, x: Value, output_size: int | Sequence[int | None] | None) -> Value:
    shape = shape_of(x)
    if len(shape) != ndim + 2:
        raise ShapeError(f"adaptive_avg_pool{ndim}d: x must be (N, C, *S) with {ndim} spatial "
                         f"axes, but its shape is {shape}.")
    given = tuple(output_size) if isinstance(output_size, Sequence) else (output_size,) * ndim
    if len(given) != ndim or any(n is not None and n < 1 for n in given):
        raise ShapeError(f"adaptive_avg_pool{ndim}d: output_size = {output_size}: expected a whole "
                         f"number >= 1, or {ndim} of them; None keeps an axis as it is.")
    out = tuple(s if o is None else int(o) for s, o in zip(shape[2:], given, strict=True))
    if all(s % o == 0 for s, o in zip(shape[2:], out, strict=True)):  # equal windows, no overlap
        kernel = tuple(s // o for s, o in zip(shape[2:], out, strict=True))
        return AvgPool(kernel=kernel, stride=kernel, padding=((0, 0),) * ndim, ceil_mode=False,
                       count_include_pad=True)(x)
    for axis, (S, O) in enumerate(zip(shape[2:], out, strict=True), start=2):
        R = np.zeros((O, S))
        for j in range(O):
            start, stop = j * S // O, -(-(j + 1) * S // O)
            R[j, start:stop] = 1 / (stop - start)
        x = banded(x, R, axis)
    return x


def adaptive_avg_pool1d(x: Value, output_size: int | Sequence[int | None] | None) -> Value:
    """Means of x (N, C, S) over `output_size` windows; see `adaptive_avg_pool2d`."""
    return _adaptive(1, x, output_size)


def adaptive_avg_pool2d(x: Value, output_size: int | Sequence[int | None] | None) -> Value:
    """Means over a grid of windows, so that maps of any size come out as (N, C, *output_size).

    Window j of O reaches from floor(j S / O) to ceil((j + 1) S / O): windows cover the axis, and
    overlap where S is no multiple of O. None keeps an axis. (He et al., "Spatial Pyramid Pooling",
    2014.)   Errors: ShapeError for another number of axes or sizes below 1.
    """
    return _adaptive(2, x, output_size)


def adaptive_avg_pool3d(x: Value, output_size: int | Sequence[int | None] | None) -> Value:
    """Means of x (N, C, D, H, W) over a grid of windows; see `adaptive_avg_pool2d`."""
    return _adaptive(3, x, output_size)
