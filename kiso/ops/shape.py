"""Moving data without computing: reshape, transpose, slice, pad, concatenate, stack."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from kiso.errors import ShapeError
from kiso.ops.op import Array, Op, Shape, Value, shape_of
from kiso.ops.sample import Sample

__all__ = ["Concat", "Flip", "Pad", "Reshape", "Slice", "SliceGrad", "Transpose", "concat",
           "expand_dims", "flatten", "flip", "getitem", "pad", "reshape", "slice_", "stack",
           "transpose"]

Span = tuple[int, int, int]  # start, stop, step with 0 <= start <= stop, step >= 1


class Reshape(Op):
    """The same elements in row-major order under another shape."""

    to: Shape
    samples = (Sample((2, 6), to=(3, 4)), Sample((4,), to=(2, 1, 2)), Sample((1, 1), to=()))

    def shape(self, x: Shape) -> Shape:
        if math.prod(x) != math.prod(self.to):
            raise ShapeError(f"reshape: shape {x} has {math.prod(x)} elements, {self.to} has "
                             f"{math.prod(self.to)}; both must have the same number.")
        return self.to

    def forward(self, x: Array) -> Array:
        return x.reshape(self.to)

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return reshape(gy, shape_of(x))


class Transpose(Op):
    """y[i_axes[0], i_axes[1], ...] = x[i_0, i_1, ...]: axes in another order."""

    axes: tuple[int, ...]
    samples = (Sample((2, 3), axes=(1, 0)), Sample((2, 3, 4, 5), axes=(2, 0, 3, 1)))

    def shape(self, x: Shape) -> Shape:
        if sorted(self.axes) != list(range(len(x))):
            raise ShapeError(f"transpose: axes {self.axes} do not name each of the {len(x)} axes "
                             f"of shape {x} once.")
        return tuple(x[a] for a in self.axes)

    def forward(self, x: Array) -> Array:
        return np.ascontiguousarray(x.transpose(self.axes))

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        back = sorted(range(len(self.axes)), key=self.axes.__getitem__)
        return transpose(gy, tuple(back))


class Slice(Op):
    """y = x[start:stop:step, ...], one span for each axis."""

    spans: tuple[Span, ...]
    samples = (
        Sample((5, 6), spans=((1, 4, 1), (0, 6, 2))),
        Sample((4, 3), spans=((2, 2, 1), (0, 3, 1))),
        Sample((7,), spans=((1, 7, 3),)),
    )

    def shape(self, x: Shape) -> Shape:
        return tuple(len(range(*span)) for span in self.spans)

    def forward(self, x: Array) -> Array:
        return x[_slices(self.spans)].copy()

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return SliceGrad(to=shape_of(x), spans=self.spans)(gy)


class SliceGrad(Op):
    """Zeros of shape `to` with gy written into x[start:stop:step, ...]: gradient of `Slice`."""

    to: Shape
    spans: tuple[Span, ...]
    samples = (
        Sample((3, 3), to=(5, 6), spans=((1, 4, 1), (0, 6, 2))),
        Sample((2,), to=(7,), spans=((1, 7, 3),)),
    )

    def shape(self, gy: Shape) -> Shape:
        return self.to

    def forward(self, gy: Array) -> Array:
        gx = np.zeros(self.to, gy.dtype)
        gx[_slices(self.spans)] = gy
        return gx

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return Slice(spans=self.spans)(gy)


class Flip(Op):
    """The elements of some axes in reverse order; its own gradient."""

    axes: tuple[int, ...]
    samples = (Sample((2, 3), axes=(1,)), Sample((2, 3, 4), axes=(0, 2)))

    def shape(self, x: Shape) -> Shape:
        return x

    def forward(self, x: Array) -> Array:
        return np.flip(x, self.axes).copy()

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return flip(gy, self.axes)


class Pad(Op):
    """A border of `value` around x: (before, after) for each axis."""

    widths: tuple[tuple[int, int], ...]
    value: float = 0.0
    samples = (
        Sample((2, 3), widths=((1, 0), (2, 1))),
        Sample((3,), widths=((0, 2),), value=-1.5),
    )

    def shape(self, x: Shape) -> Shape:
        if len(self.widths) != len(x):
            raise ShapeError(f"pad: {len(self.widths)} pairs of widths for {len(x)} axes of shape "
                             f"{x}; give one (before, after) pair for each axis.")
        return tuple(n + before + after for n, (before, after) in zip(x, self.widths, strict=True))

    def forward(self, x: Array) -> Array:
        return np.pad(x, self.widths, constant_values=self.value)

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        spans = tuple((before, before + n, 1)
                      for n, (before, _) in zip(shape_of(x), self.widths, strict=True))
        return Slice(spans=spans)(gy)


class Concat(Op):
    """Arrays one after the other along an axis; each gets its part of the gradient."""

    axis: int
    samples = (
        Sample((2, 3), (4, 3), axis=0),
        Sample((2, 3), (2, 1), (2, 2), axis=1),
        Sample((3,), axis=0),
    )

    def shape(self, *xs: Shape) -> Shape:
        first, axis = xs[0], self.axis
        for x in xs[1:]:
            if x[:axis] + x[axis + 1:] != first[:axis] + first[axis + 1:] or len(x) != len(first):
                raise ShapeError(f"concat: shapes {first} and {x} must agree in all axes but "
                                 f"axis {axis}.")
        return (*first[:axis], sum(x[axis] for x in xs), *first[axis + 1:])

    def forward(self, *xs: Array) -> Array:
        return np.concatenate(xs, axis=self.axis)

    def backward(self, gy: Value, y: Value, *xs: Value) -> tuple[Value, ...]:
        grads: list[Value] = []
        start = 0
        for x in xs:
            spans = [(0, n, 1) for n in shape_of(x)]
            spans[self.axis] = (start, start + shape_of(x)[self.axis], 1)
            start = spans[self.axis][1]
            grads.append(Slice(spans=tuple(spans))(gy))
        return tuple(grads)


def _slices(spans: tuple[Span, ...]) -> tuple[slice, ...]:
    return tuple(slice(start, stop, step) for start, stop, step in spans)


def reshape(x: Value, shape: Sequence[int]) -> Value:
    """x under another shape; one entry may be -1 and is computed. `x` itself if nothing changes."""
    old, to = shape_of(x), list(shape)
    if to.count(-1) > 1 or any(n < -1 for n in to):
        raise ShapeError(f"reshape: {tuple(shape)} may hold one -1 and no other negative number.")
    if -1 in to:
        rest = -math.prod(to)
        if rest == 0 or math.prod(old) % rest:
            raise ShapeError(f"reshape: the {math.prod(old)} elements of shape {old} cannot be "
                             f"spread over {tuple(shape)}.")
        to[to.index(-1)] = math.prod(old) // rest
    return x if old == tuple(to) else Reshape(to=tuple(to))(x)


def flatten(x: Value, start_axis: int = 1) -> Value:
    """All axes from `start_axis` on as one: (N, C, H, W) -> (N, C*H*W)."""
    shape = shape_of(x)
    return reshape(x, (*shape[:start_axis], math.prod(shape[start_axis:])))


def expand_dims(x: Value, axis: int) -> Value:
    """A new axis of length 1 at position `axis`."""
    shape = list(shape_of(x))
    shape.insert(axis if axis >= 0 else len(shape) + 1 + axis, 1)
    return reshape(x, shape)


def transpose(x: Value, axes: Sequence[int] | None = None) -> Value:
    """Axes in the order `axes`; reversed by default."""
    ndim = len(shape_of(x))
    order = tuple(range(ndim))[::-1] if axes is None else tuple(a % ndim for a in axes)
    return x if order == tuple(range(ndim)) else Transpose(axes=order)(x)


def flip(x: Value, axes: Sequence[int] | int) -> Value:
    """x with the given axes reversed."""
    ndim = len(shape_of(x))
    listed = (axes,) if isinstance(axes, int) else tuple(axes)
    return Flip(axes=tuple(a % ndim for a in listed))(x)


def pad(x: Value, widths: Sequence[tuple[int, int]], value: float = 0.0) -> Value:
    """A border of (before, after) elements around each axis."""
    return Pad(widths=tuple((int(b), int(a)) for b, a in widths), value=value)(x)


def concat(xs: Sequence[Value], axis: int = 0) -> Value:
    """Arrays joined along an axis that exists."""
    ndim = len(shape_of(xs[0]))
    return Concat(axis=axis % ndim)(*xs)


def stack(xs: Sequence[Value], axis: int = 0) -> Value:
    """Arrays of one shape joined along a new axis."""
    shapes = sorted({shape_of(x) for x in xs})
    if len(shapes) > 1:
        raise ShapeError(f"stack: all arrays need one shape, but there are {shapes}.")
    return concat([expand_dims(x, axis) for x in xs], axis)


def slice_(x: Value, spans: Sequence[Span]) -> Value:
    """x[start:stop:step, ...] with one span for each axis."""
    return Slice(spans=tuple(spans))(x)


def _span(item: Any, n: int, axis: int) -> tuple[Span, bool, bool]:
    """One index as (span, reversed?, keeps its axis?)."""
    if isinstance(item, slice):
        start, stop, step = item.indices(n)  # pyright: ignore[reportUnknownMemberType]
        count = len(range(start, stop, step))
        if count == 0:
            return (0, 0, 1), False, True
        last = start + (count - 1) * step
        return (min(start, last), max(start, last) + 1, abs(step)), step < 0, True
    if isinstance(item, int | np.integer):
        at = int(cast("int", item))
        if not -n <= at < n:
            raise ShapeError(f"index {at} is outside of axis {axis} of length {n}.")
        return (at % n, at % n + 1, 1), False, False
    raise ShapeError(f"index: {type(item).__name__} cannot be used here; use ints, slices, None, "
                     "..., or one integer array (see take and take_along).")


def getitem(x: Value, index: Any) -> Value:
    """NumPy indexing with ints, slices, None, Ellipsis, or one integer array (rows).

    Errors: ShapeError where the shape of the result would depend on values (boolean masks).
    """
    from kiso.ops.index import take

    items: list[Any] = list(index) if type(index) is tuple else [index]  # pyright: ignore
    if len(items) == 1 and (hasattr(items[0], "dtype") or isinstance(items[0], list)):
        return take(x, items[0], axis=0)
    shape = shape_of(x)
    used = sum(item is not None and item is not Ellipsis for item in items)
    if used > len(shape):
        raise ShapeError(f"index: {used} indices for shape {shape}, which has {len(shape)} axes.")
    dots = [i for i, item in enumerate(items) if item is Ellipsis]
    at = dots[0] if dots else len(items)
    items[at:at + 1] = [slice(None)] * (len(shape) - used)
    spans: list[Span] = []
    flips: list[int] = []
    result: list[int] = []
    for item in items:
        if item is None:
            result.append(1)
            continue
        span, backwards, kept = _span(item, shape[len(spans)], len(spans))
        if backwards:
            flips.append(len(spans))
        if kept:
            result.append(len(range(*span)))
        spans.append(span)
    y = x if all(s == (0, n, 1) for s, n in zip(spans, shape, strict=True)) else slice_(x, spans)
    return reshape(flip(y, flips) if flips else y, result)
