"""Twin of ops/shape.py, broadcast.py, index.py and resample.py: where an element is loaded from.

Pad, SliceGrad and Concat choose; they are no `moves`, so that a reader that comes back often (a
convolution) gets them stored instead of testing for borders each time.

Compiled code cannot raise an error at a wrong index as NumPy does; the index is clamped, so that
it never reads foreign memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from kiso import ops
from kiso.compiler.loops import Expr, Fn, Program, bounded, const, maximum, minimum, select, unary
from kiso.compiler.lower.rules import Indices, element, lowers, number, over, spread, where
from kiso.ops.op import Shape

__all__ = ["regrouped"]


def regrouped(old: Shape, new: Shape, i: Indices) -> list[Expr]:
    """Indices into `old` of the element that stands at i in `new`, both row-major.

    Axes are taken in the smallest groups that hold equally many elements in both shapes, so that
    those that stay need no division.
    """
    left, right = ([(k, prod(n or 2 for n in shape[:k + 1])) for k, n in enumerate(shape) if n != 1]
                   for shape in (old, new))  # "or 2": an empty axis is an axis too
    own: list[Expr] = [const(0)] * len(old)
    start = 1
    for end in sorted({p for _, p in left} & {p for _, p in right}):
        inner, outer = ([k for k, p in side if start < p <= end] for side in (left, right))
        place = number([i[k] for k in outer], tuple(new[k] for k in outer))
        for k in reversed(inner[1:]):
            own[k], place = place % old[k], place // old[k]
        own[inner[0]], start = place, end
    return own


@element(ops.BroadcastTo, moves=True)
def broadcast_to(op: ops.BroadcastTo, x: Fn, *i: Expr) -> Expr:
    """y[.., i, j] = x[0, j] where x has an axis of length 1."""
    return spread(x, op.to, i)


@element(ops.Reshape, moves=True)
def reshape(op: ops.Reshape, x: Fn, *i: Expr) -> Expr:
    """The element of the same row-major number."""
    return x.at(*regrouped(x.shape, op.to, i)) if prod(op.to) else const(0, x.dtype)


@element(ops.Transpose, moves=True)
def transpose(op: ops.Transpose, x: Fn, *i: Expr) -> Expr:
    """y[i_axes[0], i_axes[1], ...] = x[i_0, i_1, ...]."""
    return x.at(*(i[op.axes.index(k)] for k in range(len(i))))


@element(ops.Slice, moves=True)
def slice_(op: ops.Slice, x: Fn, *i: Expr) -> Expr:
    """y[i, ..] = x[start + step i, ..]."""
    return x.at(*(k * step + start for k, (start, _, step) in zip(i, op.spans, strict=True)))


@element(ops.Flip, moves=True)
def flip(op: ops.Flip, x: Fn, *i: Expr) -> Expr:
    """y[i] = x[n - 1 - i] on the named axes."""
    return x.at(*(x.shape[a] - 1 - k if a in op.axes else k for a, k in enumerate(i)))


def _inlay(x: Fn, shape: Shape, spans: Sequence[tuple[int, int]], i: Indices, rest: float) -> Expr:
    """x[(i - start) / step, ..] where that is a place of x, else `rest`; spans: (start, step)."""
    if 0 in x.shape:
        return const(rest, x.dtype)
    own, tests = list[Expr](), list[Expr]()
    for k, size, n, (start, step) in zip(i, shape, x.shape, spans, strict=True):
        place, more = bounded((k - start) // step, -start, (size - 1 - start) // step, n)
        own.append(place)
        tests += [*([((k - start) % step).eq(0)] if step > 1 else []), *more]
    return where(tests, x.at(*own), rest)


@element(ops.Pad)
def pad(op: ops.Pad, x: Fn, *i: Expr) -> Expr:
    """y[i] = x[i - before] inside, the value in the border."""
    return _inlay(x, op.shape(x.shape), [(before, 1) for before, _ in op.widths], i, op.value)


@element(ops.SliceGrad)
def slice_grad(op: ops.SliceGrad, gy: Fn, *i: Expr) -> Expr:
    """gx[i, ..] = gy[(i - start) / step, ..] where that is a place of gy, else 0."""
    return _inlay(gy, op.to, [(start, step) for start, _, step in op.spans], i, 0)


@lowers(ops.Concat)
def concat(p: Program, op: ops.Concat, *xs: Fn) -> Fn:
    """x_1 below its end, else x_2 below its end, ..., each at its own distance from its start."""
    axis, dtype = op.axis, op.dtype(*(x.dtype for x in xs))
    full = [x for x in xs if x.shape[axis]]
    ends = [sum(x.shape[axis] for x in full[:k + 1]) for k in range(len(full))]

    def at(*i: Expr) -> Expr:
        value = const(0, dtype)
        for x, end in zip(reversed(full), reversed(ends), strict=True):
            n = x.shape[axis]
            own, _ = bounded(i[axis] - (end - n), n - end, ends[-1] - 1 - end + n, n)
            part = x.at(*i[:axis], own, *i[axis + 1:]).cast(dtype)
            value = part if end == ends[-1] else select(i[axis] < end, part, value)
        return value
    return Fn(op.shape(*(x.shape for x in xs)), dtype, at, moves=len(full) == 1)


def _row(index: Fn, i: Indices, size: int) -> Expr:
    """index[i] as an int64; negative numbers count from the end."""
    k = index.at(*i).cast(np.int64)
    return k if index.dtype.kind == "u" else select(k < 0, k + size, k)


@element(ops.Take, reads="often", moves=True)
def take(op: ops.Take, x: Fn, index: Fn, *i: Expr) -> Expr:
    """y[.., r.., j..] = x[.., index[r..], j..]."""
    size, end = x.shape[op.axis], op.axis + len(index.shape)
    k = _row(index, i[op.axis:end], size)
    return x.at(*i[:op.axis], bounded(k, -1, size, size)[0], *i[end:])


@element(ops.TakeGrad, reads="often")
def take_grad(op: ops.TakeGrad, gy: Fn, index: Fn, *i: Expr) -> Expr:
    """gx[.., k, j..] = sum over r of gy[.., r.., j..] where index[r..] = k."""
    before, k, after = i[:op.axis], i[op.axis], i[op.axis + 1:]
    return over("sum", index.shape, lambda *r: select(
        _row(index, r, op.size).eq(k), gy.at(*before, *r, *after), 0))


@element(ops.TakeAlong, moves=True)
def take_along(op: ops.TakeAlong, x: Fn, index: Fn, n: Expr, *j: Expr) -> Expr:
    """y[n, j..] = x[n, index[n, j..], j..]."""
    k = index.at(n, *j).cast(np.int64)
    return x.at(n, bounded(k, -1, x.shape[1], x.shape[1])[0], *j)


@element(ops.TakeAlongGrad, reads="often")
def take_along_grad(op: ops.TakeAlongGrad, gy: Fn, index: Fn, n: Expr, k: Expr, *j: Expr) -> Expr:
    """gx[n, k, j..] = gy[n, j..] where index[n, j..] = k, else 0."""
    return select(index.at(n, *j).cast(np.int64).eq(k), gy.at(n, *j), 0)


@element(ops.OneHot, reads="often", moves=True)
def one_hot(op: ops.OneHot, index: Fn, *i: Expr) -> Expr:
    """y[.., k] = 1 where index[..] = k, else 0: cheaper to compare again than to store."""
    return index.at(*i[:-1]).cast(np.int64).eq(i[-1]).cast(op.to)


def _position(theta: Fn, n: Expr, i: Expr, j: Expr, axis: int, size: Shape, edge: bool) -> Expr:
    """Row (axis 0) or column (1) where pixel (i, j) is read: A (i - ci, j - cj) + t + (ci, cj).

    From one pixel outside on nothing is seen: the position stays within -1 .. size; with `edge`
    within 0 .. size - 1.
    """
    kind = theta.dtype
    (ci, cj), row = ((s - 1) / 2 for s in size), const(axis)
    turned = (theta.at(n, row, const(0)) * (i.cast(kind) - ci)
              + theta.at(n, row, const(1)) * (j.cast(kind) - cj))
    at = turned + theta.at(n, row, const(2)) + (size[axis] - 1) / 2
    low, high = (0, size[axis] - 1) if edge else (-1, size[axis])
    return minimum(maximum(at, low), high)


def _neighbours(at: Expr, size: int) -> list[tuple[Expr, Expr]]:
    """The two pixels on either side of a position: (index, weight), 0 for one outside."""
    base = unary("floor", at)
    part, first = at - base, base.cast(np.int64)
    return [(maximum(minimum(index, size - 1), 0),
             select((index >= 0) & (index < size), weight, 0))
            for index, weight in ((first, 1 - part), (first + 1, part))]


@element(ops.AffineSample, reads="often")
def affine_sample(op: ops.AffineSample, x: Fn, theta: Fn, n: Expr, c: Expr, i: Expr, j: Expr
                  ) -> Expr:
    """y[n, c, i, j] = sum over the four pixels (u, v) around the position of w_u w_v x[n, c, u, v],
    + fill (1 - sum of the weights)."""
    size = x.shape[2:]
    rows, columns = (_neighbours(_position(theta, n, i, j, axis, size, op.fill is None),
                                 size[axis]) for axis in (0, 1))
    seen = [((wu * wv).cast(x.dtype), u, v) for u, wu in rows for v, wv in columns]
    zero = const(0, x.dtype)
    y = sum((w * x.at(n, c, u, v) for w, u, v in seen), zero)
    return y + (1 - sum((w for w, _, _ in seen), zero)) * op.fill if op.fill else y


@element(ops.AffineSampleGrad, reads="often")
def affine_sample_grad(op: ops.AffineSampleGrad, gy: Fn, theta: Fn, n: Expr, c: Expr, u: Expr,
                       v: Expr) -> Expr:
    """gx[n, c, u, v] = sum over all i, j of w_u w_v gy[n, c, i, j].

    Pixel u has the weight max(0, 1 - |position - u|) at a position. Every pixel looks at all
    others: right, but slow; pictures are inputs, whose gradient a training step does not need.
    """
    size = gy.shape[2:]

    def weight(i: Expr, j: Expr, axis: int, pixel: Expr) -> Expr:
        away = _position(theta, n, i, j, axis, size, op.edge) - pixel.cast(theta.dtype)
        return maximum(1 - unary("abs", away), 0)

    def term(i: Expr, j: Expr) -> Expr:
        return (weight(i, j, 0, u) * weight(i, j, 1, v)).cast(gy.dtype) * gy.at(n, c, i, j)
    return over("sum", size, term)
