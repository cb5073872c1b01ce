"""Twin of ops/im2col.py, conv.py and pool.py: windows in index notation.

Forward, element k of window i is x[i T + k D - P]. Backward, gradients are gathered: position s
is read by the windows i with i T + k D = s + P for some k. Along an axis there are at most
R = ceil(E / T) of them (E = D (K - 1) + 1, the span of the kernel); with t = s + P they are

    i_r = t // T - r,   k_r = (r T + t mod T) / D,   r = 0 .. R-1

as far as the division by D has no remainder, k_r < K and 0 <= i_r < O. Which of these tests can
fail at all is known from the sizes; only those are made.

Convolutions are plain sums here, which is their meaning in the loop language; the code generator
may know a better kernel for them.

A maximum needs no value for the padding: a place outside is moved to the nearest element, which
lies in the same window, and an element that comes twice does not change the maximum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from kiso import ops
from kiso.compiler.loops import Const, Expr, Fn, Program, bounded, const, maximum, minimum
from kiso.compiler.lower.rules import Indices, digits, element, lowers, number, over, product, where
from kiso.ops.im2col import out_sizes
from kiso.ops.op import Shape

__all__: list[str] = []


@dataclass(frozen=True)
class Line:
    """Windows along one axis: O of them, with K elements each, over an axis of this size."""

    size: int
    K: int
    O: int
    T: int  # stride
    P: int  # padding before
    D: int  # dilation

    @property
    def covers(self) -> int:
        """R: how many windows at most hold a position."""
        return -(-(self.D * (self.K - 1) + 1) // self.T)

    def place(self, i: Expr, k: Expr) -> tuple[Expr, list[Expr]]:
        """Where element k of window i lies, clamped into the array; tests for being inside."""
        high = (self.O - 1) * self.T + (self.K - 1) * self.D - self.P
        return bounded(i * self.T + k * self.D - self.P, -self.P, high, self.size)

    def covering(self, s: Expr, r: Expr) -> tuple[Expr, Expr, list[Expr]]:
        """Window i_r on position s and the place k_r in it, clamped; tests for being true."""
        T, P, D, R = self.T, self.P, self.D, self.covers
        t = s + P
        offset = r if T == 1 else r * T + t % T  # k D
        i, tests = bounded(t // T - r, P // T - (R - 1), (self.size - 1 + P) // T, self.O)
        k, more = bounded(offset // D, 0, (R * T - 1) // D, self.K)
        return i, k, [*tests, *more, *([] if D == 1 else [(offset % D).eq(0)])]


def _windows(op: Any, size: Shape, kernel: Shape, out: Shape | None = None) -> list[Line]:
    """The windows of an op along each axis of an array."""
    dilation = getattr(op, "dilation", (1,) * len(kernel))
    out = out or out_sizes(str(op), size, kernel, op.stride, op.padding, dilation)
    before = [before for before, _ in op.padding]
    return [Line(*line) for line in zip(size, kernel, out, op.stride, before, dilation,
                                        strict=True)]


def _places(w: Sequence[Line], i: Indices, k: Indices) -> tuple[list[Expr], list[Expr]]:
    """Where element k of window i lies, clamped into the array; tests for being inside."""
    found = [a.place(*ik) for a, *ik in zip(w, i, k, strict=True)]
    return [s for s, _ in found], [test for _, tests in found for test in tests]


def _read(x: Fn, lead: Indices, w: Sequence[Line], i: Indices, k: Indices) -> Expr:
    """x[*lead, i T + k D - P], 0 in the padding."""
    if 0 in x.shape:
        return const(0, x.dtype)
    place, tests = _places(w, i, k)
    return where(tests, x.at(*lead, *place))


def _gathered(w: Sequence[Line], s: Indices, part: Callable[[Indices, Indices, Indices], Expr],
              test: Callable[[Indices, Indices], Expr] | None = None, also: Shape = ()) -> Expr:
    """Sum of part(i, k, more) over the windows i that hold position s, at place k, and for which
    test(i, k) holds; `more` are indices of further axes, of the extents `also`."""
    def term(*index: Expr) -> Expr:
        more, r = index[:len(also)], index[len(also):]
        found = [a.covering(*sr) for a, *sr in zip(w, s, r, strict=True)]
        i, k = [i for i, _, _ in found], [k for _, k, _ in found]
        tests = [test for *_, tests in found for test in tests]
        return where([*tests, test(i, k)] if test else tests, part(i, k, more))
    return over("sum", (*also, *(a.covers for a in w)), term)


@element(ops.Im2Col, reads="often")
def im2col(op: ops.Im2Col, x: Fn, n: Expr, row: Expr, column: Expr) -> Expr:
    """y[n, (c, *k), (*i)] = x[n, c, *(i T + k D - P)]."""
    w = _windows(op, x.shape[2:], op.kernel)
    c, *k = digits(row, (x.shape[1], *op.kernel))
    return _read(x, (n, c), w, digits(column, [a.O for a in w]), k)


@element(ops.Col2Im, reads="often")
def col2im(op: ops.Col2Im, x: Fn, n: Expr, c: Expr, *s: Expr) -> Expr:
    """y[n, c, *s] = sum over the windows i that hold s, at place k, of x[n, (c, *k), (*i)]."""
    w, channels = _windows(op, op.spatial, op.kernel), op.shape(x.shape)[1]
    return _gathered(w, s, lambda i, k, _: x.at(
        n, number((c, *k), (channels, *op.kernel)), number(i, [a.O for a in w])))


def _joined(index: Expr, size: int, part: Expr, other: int, groups: int) -> Expr:
    """Number `part` among the `other` channels of the group that `index` of `size` lies in.

    Channel c and filter o meet if they are in one group, g = c // (C/G) = o // (O/G).
    """
    return part if groups == 1 else index // max(1, size // groups) * (other // groups) + part


@element(ops.Conv, reads="often")
def conv(op: ops.Conv, x: Fn, W: Fn, n: Expr, o: Expr, *i: Expr) -> Expr:
    """y[n, o, *i] = sum over c, *k of W[o, c, *k] x[n, g C/G + c, *(i T + k D - P)]."""
    C, (O, each, *kernel) = x.shape[1], W.shape
    w = _windows(op, x.shape[2:], W.shape[2:])

    def term(c: Expr, *k: Expr) -> Expr:
        channel = _joined(o, O, c, C, op.groups)
        return product(W.at(o, c, *k), _read(x, (n, channel), w, i, k))
    return over("sum", (each, *kernel), term)


@element(ops.ConvInputGrad, reads="often")
def conv_input_grad(op: ops.ConvInputGrad, gy: Fn, W: Fn, n: Expr, c: Expr, *s: Expr) -> Expr:
    """gx[n, c, *s] = sum over o, and windows i with s at place k, of W[o, c, *k] gy[n, o, *i]."""
    C, (O, each, *_) = op.shape(gy.shape, W.shape)[1], W.shape
    own = c if op.groups == 1 else c % max(1, each)
    w = _windows(op, op.spatial, W.shape[2:], gy.shape[2:])

    def term(i: Indices, k: Indices, o: Indices) -> Expr:
        q = _joined(c, C, o[0], O, op.groups)
        return product(W.at(q, own, *k), gy.at(n, q, *i))
    return _gathered(w, s, term, also=(O // op.groups,))


@element(ops.ConvWeightGrad, reads="often")
def conv_weight_grad(op: ops.ConvWeightGrad, x: Fn, gy: Fn, o: Expr, c: Expr, *k: Expr) -> Expr:
    """gW[o, c, *k] = sum over n, *i of gy[n, o, *i] x[n, g C/G + c, *(i T + k D - P)]."""
    w = _windows(op, x.shape[2:], op.kernel, gy.shape[2:])
    channel = _joined(o, gy.shape[1], c, x.shape[1], op.groups)

    def term(n: Expr, *i: Expr) -> Expr:
        return product(gy.at(n, o, *i), _read(x, (n, channel), w, i, k))
    return over("sum", (x.shape[0], *gy.shape[2:]), term)


def _pooled(op: Any, x: Shape) -> list[Line]:
    return _windows(op, x[2:], op.kernel, op.pooled(x)[2:])


@element(ops.MaxPool, reads="often")
def max_pool(op: Any, x: Fn, n: Expr, c: Expr, *i: Expr) -> Expr:
    """y[n, c, *i] = max over *k of x[n, c, *(i T + k - P)]."""
    w = _pooled(op, x.shape)
    return over("max", op.kernel, lambda *k: x.at(n, c, *_places(w, i, k)[0]))


def _winners(p: Program, op: Any, x: Fn) -> Fn:
    """Place of the first maximum of each window, as its number in the kernel: the smallest number
    of an element that equals the maximum, or the last one if none does (NaN), as in the op."""
    w, count = _pooled(op, x.shape), prod(op.kernel)
    dtype = np.min_scalar_type(count)

    def at(n: Expr, c: Expr, *i: Expr) -> Expr:
        most = max_pool(op, x, n, c, *i)

        def place(*k: Expr) -> Expr:
            s, tests = _places(w, i, k)
            own = number(k, op.kernel).cast(np.int32)
            return where([*tests, x.at(n, c, *s).eq(most)], own, count - 1)
        return over("min", op.kernel, place).cast(dtype)
    return p.store(Fn(op.pooled(x.shape), dtype, at), "winner")


@lowers(ops.MaxPoolGrad, reads="often")
def max_pool_grad(p: Program, op: ops.MaxPoolGrad, x: Fn, gy: Fn) -> Fn:
    """gx[n, c, *s] = sum of gy[n, c, *i] over the windows i that have their maximum at s."""
    w, winner = _pooled(op, x.shape), _winners(p, op, x)

    def at(n: Expr, c: Expr, *s: Expr) -> Expr:
        return _gathered(w, s, lambda i, k, _: gy.at(n, c, *i), lambda i, k: winner.at(
            n, c, *i).eq(number(k, op.kernel).cast(winner.dtype)))
    return Fn(x.shape, gy.dtype, at)


@lowers(ops.MaxPoolPick, reads="often")
def max_pool_pick(p: Program, op: ops.MaxPoolPick, x: Fn, g: Fn) -> Fn:
    """y[n, c, *i] = g where x has the maximum of window i."""
    w, winner = _pooled(op, x.shape), _winners(p, op, x)
    return Fn(winner.shape, g.dtype, lambda *i: _read(
        g, i[:2], w, i[2:], digits(winner.at(*i).cast(np.int64), op.kernel)))


def _count(op: Any, w: Sequence[Line], i: Indices, dtype: np.dtype[Any]) -> Expr:
    """Elements of window i: a product over the axes; see ops/pool.py for what counts."""
    total: Expr = const(1)
    for a, i_a, (before, after) in zip(w, i, op.padding, strict=True):
        low, high = (-before, a.size + after) if op.count_include_pad else (0, a.size)
        first, last = -before, (a.O - 1) * a.T - before  # starts of windows
        if first >= low and last + a.K <= high:
            total = total * a.K
        else:
            start = i_a * a.T - before
            total = total * (minimum(start + a.K, high) - maximum(start, low))
    return const(total.value, dtype) if isinstance(total, Const) else total.cast(dtype)


@element(ops.AvgPool, reads="often")
def avg_pool(op: ops.AvgPool, x: Fn, n: Expr, c: Expr, *i: Expr) -> Expr:
    """y[n, c, *i] = sum over *k of x[n, c, *(i T + k - P)] / count_i."""
    w = _pooled(op, x.shape)
    return over("sum", op.kernel, lambda *k: _read(x, (n, c), w, i, k)) / _count(op, w, i, x.dtype)


@element(ops.AvgPoolGrad, reads="often")
def avg_pool_grad(op: ops.AvgPoolGrad, gy: Fn, n: Expr, c: Expr, *s: Expr) -> Expr:
    """gx[n, c, *s] = sum of gy[n, c, *i] / count_i over the windows i that hold s."""
    w = _pooled(op, op.shape(gy.shape))
    return _gathered(w, s, lambda i, k, _: gy.at(n, c, *i) / _count(op, w, i, gy.dtype))
