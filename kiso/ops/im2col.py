"""im2col: every window of an array laid out as a column, so that sums over windows become
one matrix product (Affine).

Along one spatial axis with S elements, kernel K, stride T, dilation D and padding P on each side

    span of a kernel   E = D (K - 1) + 1
    output size        O = floor((S + P_before + P_after - E) / T) + 1

Convolution and pooling share the helpers of this file. Op attributes are in *normal form*:
`kernel`, `stride`, `dilation` hold one int and `padding` one (before, after) pair for each axis.

Source: Chellapilla, Puri, Simard, "High Performance Convolutional Neural Networks for Document
Processing", 2006.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import as_strided

from kiso.errors import ShapeError
from kiso.ops.op import Array, Op, Shape, Value, shape_of
from kiso.ops.sample import Sample
from kiso.text import tr

__all__ = ["Col2Im", "Im2Col", "Padding", "Pads", "add_windows", "col2im", "cropped", "im2col",
           "out_size", "out_sizes", "padded", "padding_pairs", "per_axis", "windows"]

Pads: TypeAlias = tuple[tuple[int, int], ...]  # (before, after) for each spatial axis
Padding: TypeAlias = int | str | Sequence[int] | Sequence[tuple[int, int]]  # what users may write


# Sizes and normal forms

def _spread(value: Any, times: int) -> tuple[Any, ...]:
    return tuple(value) if hasattr(value, "__iter__") else (value,) * times


def per_axis(name: str, value: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    """One whole number >= 1 for each of `ndim` spatial axes; a single number counts for all."""
    numbers = _spread(value, ndim)
    if len(numbers) != ndim or any(n != int(n) or n < 1 for n in numbers):
        raise ShapeError(f"{name} = {value}: expected a whole number >= 1, or {ndim} of them, one "
                         "for each spatial axis.")
    return tuple(int(n) for n in numbers)


def padding_pairs(padding: Padding, spatial: Shape, kernel: Shape, stride: Shape,
                  dilation: Shape) -> Pads:
    """Normal form of padding: a number, one for each axis, pairs, "valid" (none) or "same".

    "same" makes O = ceil(S / T), max((O - 1) T + E - S, 0) elements in all; if they are odd, the
    one left over goes to the end (as in TensorFlow; for stride 1 as in PyTorch).
    """
    ndim = len(spatial)
    if padding == "valid":
        return ((0, 0),) * ndim
    if padding == "same":
        totals = [max((math.ceil(s / t) - 1) * t + d * (k - 1) + 1 - s, 0)
                  for s, k, t, d in zip(spatial, kernel, stride, dilation, strict=True)]
        return tuple((n // 2, n - n // 2) for n in totals)
    given: Any = () if isinstance(padding, str) else _spread(padding, ndim)
    listed: list[tuple[int, ...]] = [_spread(p, 2) for p in given]
    if len(listed) != ndim or any(len(p) != 2 for p in listed) or any(
            n != int(n) or n < 0 for p in listed for n in p):
        raise ShapeError(f"padding = {padding!r}: expected a number >= 0, {ndim} of them (one for "
                         f"each spatial axis), {ndim} pairs (before, after), 'same' or 'valid'.")
    return tuple((int(before), int(after)) for before, after in listed)


def out_size(size: int, kernel: int, stride: int = 1, padding: tuple[int, int] = (0, 0),
             dilation: int = 1, ceil_mode: bool = False) -> int:
    """Number of windows along one axis, O = floor((S + P_before + P_after - E) / T) + 1.

    With `ceil_mode` the quotient is rounded up, so that a window may reach over the end; but one
    that would start behind the input and the padding before it is dropped (PyTorch's rule).
    Errors: ShapeError with the formula filled in if no window fits.
    """
    before, after = padding
    span = dilation * (kernel - 1) + 1
    room = size + before + after - span
    out = (-(-room // stride) if ceil_mode else room // stride) + 1
    if ceil_mode and (out - 1) * stride >= size + before:
        out -= 1
    if out < 1:
        pads = f"2*{before}" if before == after else f"{before} + {after}"
        why = ""
        if dilation > 1:
            why = tr(" ({kernel} elements at dilation {dilation} cover {span})", kernel=kernel,
                     dilation=dilation, span=span)
        formula = f"({size} + {pads} - {span})/{stride} + 1 = {out}"
        raise ShapeError(tr("{formula}: no output{why}; use padding >= {padding} or a smaller "
                            "kernel", formula=formula, why=why,
                            padding=math.ceil((span - size) / 2)))
    return out


def out_sizes(name: str, spatial: Shape, kernel: Shape, stride: Shape, padding: Pads,
              dilation: Shape | None = None, ceil_mode: bool = False) -> Shape:
    """`out_size` for every spatial axis; errors name the op and the axis."""
    sizes: list[int] = []
    settings = zip(spatial, kernel, stride, padding, dilation or (1,) * len(kernel), strict=True)
    for axis, (s, k, t, p, d) in enumerate(settings, start=2):
        try:
            sizes.append(out_size(s, k, t, p, d, ceil_mode))
        except ShapeError as error:
            raise ShapeError(f"{name}, axis {axis}: {error}") from None
    return tuple(sizes)


# Arrays (N, C, *S) and their windows

def padded(x: Array, padding: Pads, value: float = 0) -> Array:
    """x with a border of `value` around the spatial axes; x itself if there is none."""
    if not any(map(any, padding)):
        return x
    y = np.full((*x.shape[:2], *(n + sum(p) for n, p in zip(x.shape[2:], padding, strict=True))),
                value, x.dtype)
    cropped(y, padding)[...] = x
    return y


def cropped(y: Array, padding: Pads) -> Array:
    """The view of y inside of its border: undoes `padded`."""
    inside = (slice(before, n - after)
              for n, (before, after) in zip(y.shape[2:], padding, strict=True))
    return y[:, :, *inside]


def windows(x: Array, kernel: Shape, stride: Shape, dilation: Shape, out: Shape) -> Array:
    """A view, no copy: w[n, c, *k, *o] = x[n, c, *(o T + k D)].    (N, C, *K, *O)

    Elements that lie in several windows appear several times, but exist once: w[:, :, *k], one
    place of the kernel in all windows, is safe to write to, the whole w is not.
    """
    outer, inner = x.strides[:2], x.strides[2:]
    steps = (s * d for s, d in zip(inner, dilation, strict=True))
    jumps = (s * t for s, t in zip(inner, stride, strict=True))
    return as_strided(x, (*x.shape[:2], *kernel, *out), (*outer, *steps, *jumps))


def add_windows(w: Array, columns: Array, kernel: Shape) -> None:
    """w += columns for a view `w` of `windows`: what falls on the same element sums up."""
    for k in np.ndindex(*kernel):
        w[:, :, *k] += columns[:, :, *k]


# The ops

class Im2Col(Op):
    """y[n, (c, *k), (*o)] = x[n, c, *(o T + k D - P_before)]; 0 outside of x.

    (N, C, *S) -> (N, C*prod(K), L), L = prod(O) windows. The gradient is `Col2Im`.
    """

    kernel: Shape
    stride: Shape
    padding: Pads
    dilation: Shape
    samples = (
        Sample((2, 3, 7), kernel=(3,), stride=(2,), padding=((1, 0),), dilation=(1,)),
        Sample((1, 2, 4, 5), kernel=(2, 3), stride=(1, 1), padding=((0, 0), (0, 0)),
               dilation=(1, 1)),
        Sample((2, 2, 5, 6), kernel=(3, 2), stride=(2, 3), padding=((1, 1), (0, 2)),
               dilation=(1, 2)),
        Sample((1, 2, 3, 4, 3), kernel=(2, 2, 1), stride=(1, 2, 2),
               padding=((1, 0), (0, 0), (1, 1)), dilation=(2, 1, 1)),
    )

    def shape(self, x: Shape) -> Shape:
        if len(x) != len(self.kernel) + 2:
            raise ShapeError(f"im2col: a kernel {self.kernel} needs (N, C) and {len(self.kernel)} "
                             f"spatial axes, but the shape is {x}.")
        out = out_sizes("im2col", x[2:], self.kernel, self.stride, self.padding, self.dilation)
        return x[0], x[1] * math.prod(self.kernel), math.prod(out)

    def forward(self, x: Array) -> Array:
        out = out_sizes("im2col", x.shape[2:], self.kernel, self.stride, self.padding,
                        self.dilation)
        w = windows(padded(x, self.padding), self.kernel, self.stride, self.dilation, out)
        return w.reshape(self.shape(x.shape))  # a copy, unless K = 1

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return Col2Im(spatial=shape_of(x)[2:], kernel=self.kernel, stride=self.stride,
                      padding=self.padding, dilation=self.dilation)(gy)


class Col2Im(Op):
    """y[n, c, *s] = sum of x[n, (c, *k), (*o)] over all o, k with o T + k D - P_before = s.

    (N, C*prod(K), L) -> (N, C, *spatial): columns go back where im2col took them from, and sum up
    where windows overlap. It is im2col's gradient (adjoint), not its inverse:
    col2im(im2col(x)) is x times the number of windows over each element.
    """

    spatial: Shape
    kernel: Shape
    stride: Shape
    padding: Pads
    dilation: Shape
    samples = (
        Sample((2, 9, 3), spatial=(7,), kernel=(3,), stride=(2,), padding=((1, 0),),
               dilation=(1,)),
        Sample((1, 12, 9), spatial=(4, 5), kernel=(2, 3), stride=(1, 1),
               padding=((0, 0), (0, 0)), dilation=(1, 1)),
        Sample((2, 6, 6), spatial=(5, 6), kernel=(3, 2), stride=(2, 3),
               padding=((1, 1), (0, 2)), dilation=(1, 2)),
        Sample((1, 8, 12), spatial=(3, 4, 3), kernel=(2, 2, 1), stride=(1, 2, 2),
               padding=((1, 0), (0, 0), (1, 1)), dilation=(2, 1, 1)),
    )

    def _out(self) -> Shape:
        return out_sizes("col2im", self.spatial, self.kernel, self.stride, self.padding,
                         self.dilation)

    def shape(self, x: Shape) -> Shape:
        places, out = math.prod(self.kernel), self._out()
        if len(x) != 3 or x[1] % places or x[2] != math.prod(out):
            raise ShapeError(
                f"col2im: for spatial axes {self.spatial} and a kernel {self.kernel} the shape "
                f"must be (N, C*{places}, {math.prod(out)}), but it is {x}.")
        return x[0], x[1] // places, *self.spatial

    def forward(self, x: Array) -> Array:
        n, c, *_ = self.shape(x.shape)
        sizes = (s + sum(p) for s, p in zip(self.spatial, self.padding, strict=True))
        y = np.zeros((n, c, *sizes), x.dtype)
        out = self._out()
        w = windows(y, self.kernel, self.stride, self.dilation, out)
        add_windows(w, x.reshape(n, c, *self.kernel, *out), self.kernel)
        return np.ascontiguousarray(cropped(y, self.padding))

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return Im2Col(kernel=self.kernel, stride=self.stride, padding=self.padding,
                      dilation=self.dilation)(gy)


def _normal(spatial: Shape, kernel_size: int | Sequence[int], stride: int | Sequence[int],
            padding: Padding, dilation: int | Sequence[int]) -> tuple[Shape, Shape, Pads, Shape]:
    ndim = len(spatial)
    kernel, step = per_axis("kernel_size", kernel_size, ndim), per_axis("stride", stride, ndim)
    spread = per_axis("dilation", dilation, ndim)
    return kernel, step, padding_pairs(padding, spatial, kernel, step, spread), spread


def im2col(x: Value, kernel_size: int | Sequence[int], *, stride: int | Sequence[int] = 1,
           padding: Padding = 0, dilation: int | Sequence[int] = 1) -> Value:
    """Windows of x (N, C, *S) as columns (N, C*prod(K), L)."""
    kernel, step, pads, spread = _normal(shape_of(x)[2:], kernel_size, stride, padding, dilation)
    return Im2Col(kernel=kernel, stride=step, padding=pads, dilation=spread)(x)


def col2im(columns: Value, spatial: Sequence[int], kernel_size: int | Sequence[int], *,
           stride: int | Sequence[int] = 1, padding: Padding = 0,
           dilation: int | Sequence[int] = 1) -> Value:
    """Sum columns (N, C*prod(K), L) back into an array (N, C, *spatial)."""
    size = tuple(int(n) for n in spatial)
    kernel, step, pads, spread = _normal(size, kernel_size, stride, padding, dilation)
    return Col2Im(spatial=size, kernel=kernel, stride=step, padding=pads,
                  dilation=spread)(columns)
