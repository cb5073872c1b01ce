"""Twin of ops/shape.py: index arithmetic only.

Pad, SliceGrad and Concat choose between loads; they are no `moves`, so that a reader that comes
back often (a convolution) gets them stored instead of testing for borders each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from kiso import ops
from kiso.compiler.loops import Expr, Fn, Program, binary, const, maximum, minimum, select
from kiso.compiler.lower.rules import lowers
from kiso.ops.op import Shape

__all__ = ["concat", "flip", "pad", "regrouped", "reshape", "slice_", "slice_grad", "transpose",
           "when"]


def _blocks(old: Shape, new: Shape) -> list[tuple[list[int], list[int]]]:
    """Axes (longer than 1) of both shapes in the smallest groups of equal size, in order."""
    a, b = ([k for k, n in enumerate(shape) if n != 1] for shape in (old, new))
    blocks: list[tuple[list[int], list[int]]] = []
    while a:
        left, right = [a.pop(0)], [b.pop(0)]
        while (sizes := (prod(old[k] for k in left), prod(new[k] for k in right)))[0] != sizes[1]:
            if sizes[0] < sizes[1]:
                left.append(a.pop(0))
            else:
                right.append(b.pop(0))
        blocks.append((left, right))
    return blocks


def regrouped(old: Shape, new: Shape, i: Sequence[Expr]) -> list[Expr]:
    """Indices into `old` of the element that stands at i in `new`, both row-major."""
    own: list[Expr] = [const(0)] * len(old)
    for left, right in _blocks(old, new):
        place = i[right[0]]
        for k in right[1:]:
            place = place * new[k] + i[k]
        for k in reversed(left[1:]):
            own[k] = place % old[k]
            place = place // old[k]
        own[left[0]] = place
    return own


def when(conditions: Sequence[Expr], a: Expr, b: Expr) -> Expr:
    """a where all conditions hold, else b."""
    if not conditions:
        return a
    both, *rest = conditions
    for condition in rest:
        both = binary("and", both, condition)
    return select(both, a, b)


@lowers(ops.Reshape)
def reshape(p: Program, op: ops.Reshape, x: Fn) -> Fn:
    """Row-major place in groups of axes: those that stay need no division."""
    if prod(op.to) == 0:
        return Fn(op.to, x.dtype, lambda *i: const(0, x.dtype), moves=True)
    return Fn(op.to, x.dtype, lambda *i: x.at(*regrouped(x.shape, op.to, i)), moves=True)


@lowers(ops.Transpose)
def transpose(p: Program, op: ops.Transpose, x: Fn) -> Fn:
    """y[i_axes[0], i_axes[1], ...] = x[i_0, i_1, ...]."""
    return Fn(op.shape(x.shape), x.dtype,
              lambda *i: x.at(*(i[op.axes.index(k)] for k in range(len(i)))), moves=True)


@lowers(ops.Slice)
def slice_(p: Program, op: ops.Slice, x: Fn) -> Fn:
    """y[i, ..] = x[start + step i, ..]."""
    return Fn(op.shape(x.shape), x.dtype, lambda *i: x.at(
        *(k * step + start for k, (start, _, step) in zip(i, op.spans, strict=True))), moves=True)


@lowers(ops.SliceGrad)
def slice_grad(p: Program, op: ops.SliceGrad, gy: Fn) -> Fn:
    """gx[j, ..] = gy[(j - start) / step, ..] where that is a place of gy, else 0."""
    zero = const(0, gy.dtype)
    if prod(gy.shape) == 0:
        return Fn(op.to, gy.dtype, lambda *j: zero, moves=True)

    def at(*j: Expr) -> Expr:
        own: list[Expr] = []
        conditions: list[Expr] = []
        for k, size, n, (start, _, step) in zip(j, op.to, gy.shape, op.spans, strict=True):
            place = (k - start) // step
            if step > 1:
                conditions.append(((k - start) % step).eq(0))
            place = _border(place, n, start > 0, (size - 1 - start) // step >= n,
                            conditions)
            own.append(place)
        return when(conditions, gy.at(*own), zero)
    return Fn(op.to, gy.dtype, at)


def _border(place: Expr, n: int, below: bool, above: bool, conditions: list[Expr]) -> Expr:
    """The place limited to 0 ... n - 1; notes what holds inside. `below`, `above`: may be out."""
    inside = place
    if below:
        conditions.append(place >= 0)
        inside = maximum(inside, 0)
    if above:
        conditions.append(place < n)
        inside = minimum(inside, n - 1)
    return inside


@lowers(ops.Flip)
def flip(p: Program, op: ops.Flip, x: Fn) -> Fn:
    """y[i] = x[n - 1 - i] on the named axes."""
    return Fn(x.shape, x.dtype, lambda *i: x.at(
        *(x.shape[a] - 1 - k if a in op.axes else k for a, k in enumerate(i))), moves=True)


@lowers(ops.Pad)
def pad(p: Program, op: ops.Pad, x: Fn) -> Fn:
    """y[i] = x[i - before] inside, the value in the border."""
    shape, value = op.shape(x.shape), const(op.value, x.dtype)
    if prod(x.shape) == 0:
        return Fn(shape, x.dtype, lambda *i: value, moves=True)

    def at(*i: Expr) -> Expr:
        conditions: list[Expr] = []
        own = [_border(k - before, n, before > 0, after > 0, conditions)
               for k, n, (before, after) in zip(i, x.shape, op.widths, strict=True)]
        return when(conditions, x.at(*own), value)
    return Fn(shape, x.dtype, at)


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
            own = _border(i[axis] - (end - n), n, end > n, end < ends[-1], [])
            part = x.at(*i[:axis], own, *i[axis + 1:]).cast(dtype)
            value = part if end == ends[-1] else select(i[axis] < end, part, value)
        return value
    return Fn(op.shape(*(x.shape for x in xs)), dtype, at, moves=len(full) == 1)
