"""Transposed convolution: every input element writes a whole filter into the output.

    y[n, o, *j] = b[o] + sum over c, *i, *k with  i T + k D - P = j  of  W[c, o, *k] x[n, c, *i]

x (N, C, *S), W (C, O/groups, *K) -> y (N, O, *OUT). It is the input gradient of a convolution that
goes the other way (`ConvInputGrad`), used forward: with stride T the maps become T times as large,
and the net learns how. Along one axis with H elements

    OUT = (H - 1) T - 2P + D (K - 1) + OP + 1

Several sizes lead to the same H through a convolution with stride; OP (`output_padding`) picks one,
by rows added at the end. It is also called fractionally strided convolution and, wrongly,
deconvolution.

Source: Zeiler, Krishnan, Taylor, Fergus, "Deconvolutional Networks", 2010; Dumoulin, Visin, "A
Guide to Convolution Arithmetic for Deep Learning", 2016.
"""

from __future__ import annotations

from collections.abc import Sequence

from kiso.errors import ShapeError
from kiso.ops.arithmetic import add
from kiso.ops.conv import ConvInputGrad
from kiso.ops.im2col import Pads, per_axis
from kiso.ops.op import Shape, Value, shape_of
from kiso.ops.shape import pad, reshape

__all__ = ["conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "transposed_sizes"]

Sizes = int | Sequence[int]


def _from_zero(name: str, value: Sizes, ndim: int) -> Shape:
    """One whole number >= 0 for each axis; a single number counts for all."""
    numbers = (value,) * ndim if isinstance(value, int) else tuple(value)
    if len(numbers) != ndim or any(n != int(n) or n < 0 for n in numbers):
        raise ShapeError(f"{name} = {value}: expected a whole number >= 0, or {ndim} of them, one "
                         "for each spatial axis.")
    return tuple(map(int, numbers))


def transposed_sizes(name: str, spatial: Shape, kernel: Shape, stride: Shape, padding: Shape,
                     output_padding: Shape, dilation: Shape) -> Shape:
    """OUT = (H - 1) T - 2P + D (K - 1) + OP + 1 for every spatial axis.

    Errors: ShapeError with the formula filled in if nothing is left, or if OP is not below the
    stride or the dilation (it would only add empty rows).
    """
    sizes: list[int] = []
    settings = zip(spatial, kernel, stride, padding, output_padding, dilation, strict=True)
    for axis, (h, k, t, p, op, d) in enumerate(settings, start=2):
        if op >= max(t, d):
            raise ShapeError(f"{name}, axis {axis}: output_padding {op} must be smaller than the "
                             f"stride {t} or the dilation {d}.")
        out = (h - 1) * t - 2 * p + d * (k - 1) + op + 1
        if out < 1:
            raise ShapeError(f"{name}, axis {axis}: ({h} - 1)*{t} - 2*{p} + {d}*({k} - 1) + {op} + "
                             f"1 = {out}: no output; use less padding or a larger kernel")
        sizes.append(out)
    return tuple(sizes)


def _rows_at_the_end(stride: Shape, padding: Shape, output_padding: Shape) -> tuple[Pads, Shape]:
    """Output padding as (padding of the convolution, rows of zeros behind its input).

    Up to T - 1 rows are the remainder that a stride loses. Where a dilation allows more, they are
    rows that the padding would cut off, and behind those nothing was ever written.
    """
    pads: list[tuple[int, int]] = []
    zeros: list[int] = []
    for t, p, op in zip(stride, padding, output_padding, strict=True):
        kept = 0 if op < t else min(op, p)
        pads.append((p, p - kept))
        zeros.append(0 if op < t else op - kept)
    return tuple(pads), tuple(zeros)


def _conv_transpose(ndim: int, x: Value, W: Value, b: Value | None, stride: Sizes, padding: Sizes,
                    output_padding: Sizes, groups: int, dilation: Sizes) -> Value:
    name, xs, Ws = f"conv_transpose{ndim}d", shape_of(x), shape_of(W)
    if len(xs) != ndim + 2 or len(Ws) != ndim + 2:
        raise ShapeError(f"{name}: x {xs} and W {Ws}: both need {ndim + 2} axes, x (N, C, *S) and "
                         "W (C, O/groups, *K); a single sample needs a batch axis: x[None].")
    if groups < 1 or xs[1] != Ws[0] or xs[1] % groups:
        raise ShapeError(f"{name}: x {xs} and W {Ws} with groups = {groups}: W (C, O/groups, *K) "
                         f"must begin with the {xs[1]} channels of x, a multiple of groups.")
    T, D = per_axis("stride", stride, ndim), per_axis("dilation", dilation, ndim)
    P, OP = _from_zero("padding", padding, ndim), _from_zero("output_padding", output_padding, ndim)
    out = transposed_sizes(name, xs[2:], Ws[2:], T, P, OP, D)
    pads, zeros = _rows_at_the_end(T, P, OP)
    written = tuple(o - z for o, z in zip(out, zeros, strict=True))
    y = ConvInputGrad(spatial=written, stride=T, padding=pads, dilation=D, groups=groups)(x, W)
    if any(zeros):
        y = pad(y, ((0, 0), (0, 0), *((0, z) for z in zeros)))
    if b is None:
        return y
    filters = Ws[1] * groups
    if shape_of(b) != (filters,):
        raise ShapeError(f"{name}: the bias has shape {shape_of(b)}, but W {Ws} with groups = "
                         f"{groups} makes {filters} maps; one number for each is needed: "
                         f"{(filters,)}.")
    return add(y, reshape(b, (filters, *(1,) * ndim)))


def conv_transpose1d(x: Value, W: Value, b: Value | None = None, *, stride: Sizes = 1,
                     padding: Sizes = 0, output_padding: Sizes = 0, groups: int = 1,
                     dilation: Sizes = 1) -> Value:
    """Transposed convolution of x (N, C, S) with W (C, O/groups, K); see `conv_transpose2d`."""
    return _conv_transpose(1, x, W, b, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(x: Value, W: Value, b: Value | None = None, *, stride: Sizes = 1,
                     padding: Sizes = 0, output_padding: Sizes = 0, groups: int = 1,
                     dilation: Sizes = 1) -> Value:
    """Transposed convolution of x (N, C, H, W) with W (C, O/groups, KH, KW), plus b (O,).

    OH = (H - 1) T - 2P + D (KH - 1) + OP + 1.
    Errors: ShapeError if channels and groups do not fit, nothing is left, or OP is too large.
    """
    return _conv_transpose(2, x, W, b, stride, padding, output_padding, groups, dilation)


def conv_transpose3d(x: Value, W: Value, b: Value | None = None, *, stride: Sizes = 1,
                     padding: Sizes = 0, output_padding: Sizes = 0, groups: int = 1,
                     dilation: Sizes = 1) -> Value:
    """Transposed convolution of x (N, C, D, H, W) with W (C, O/groups, KD, KH, KW)."""
    return _conv_transpose(3, x, W, b, stride, padding, output_padding, groups, dilation)
