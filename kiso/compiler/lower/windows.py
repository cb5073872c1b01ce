"""Twin of ops/im2col.py and conv.py: windows in index notation. Pooling uses them too.

Forward, element k of window i is x[i T + k D - P]. Backward, gradients are gathered: position s
is read by the windows i with i T + k D = s + P for some k. Along an axis there are at most
R = ceil(E / T) of them (E = D (K - 1) + 1, the span of the kernel); with t = s + P they are

    i_r = t // T - r,   k_r = (r T + t mod T) / D,   r = 0 .. R-1

as far as the division by D has no remainder, k_r < K and 0 <= i_r < O. Which of these tests can
fail at all is known from the sizes; only those are made.

Convolutions are plain sums here, which is their meaning in the loop language; the code generator
may know a better kernel for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kiso import ops
from kiso.compiler.loops import Expr, Fn, const, maximum, minimum
from kiso.compiler.lower.rules import digits, element, number, over, product, where_all
from kiso.ops.im2col import out_sizes
from kiso.ops.op import Shape

__all__ = ["Windows"]


def _bounded(e: Expr, low: int, high: int, size: int) -> tuple[Expr, list[Expr]]:
    """e, which lies in low .. high, clamped to 0 .. size - 1, and the tests whether it was there.

    Without need there is neither.
    """
    inside, tests = e, list[Expr]()
    if high >= size:
        inside, tests = minimum(inside, size - 1), [e < size]
    if low < 0:
        inside, tests = maximum(inside, 0), [*tests, e >= 0]
    return inside, tests


@dataclass(frozen=True)
class Line:
    """Windows along one axis: O of them, with K elements each, over an axis of this size."""

    size: int
    K: int
    O: int  # noqa: E741
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
        return _bounded(i * self.T + k * self.D - self.P, -self.P, high, self.size)

    def covering(self, s: Expr, r: Expr) -> tuple[Expr, Expr, list[Expr]]:
        """Window i_r on position s and the place k_r in it, clamped; tests for being true."""
        T, P, D, R = self.T, self.P, self.D, self.covers
        t = s + P
        offset = r if T == 1 else r * T + t % T  # k D
        i, tests = _bounded(t // T - r, P // T - (R - 1), (self.size - 1 + P) // T, self.O)
        k, more = _bounded(offset // D, 0, (R * T - 1) // D, self.K)
        return i, k, [*tests, *more, *([] if D == 1 else [(offset % D).eq(0)])]


@dataclass(frozen=True)
class Windows:
    """Windows over all spatial axes."""

    axes: tuple[Line, ...]

    @staticmethod
    def of(op: Any, size: Shape, kernel: Shape, out: Shape) -> Windows:
        """The windows of an op with attributes stride, padding and, perhaps, dilation."""
        return Windows(tuple(Line(*line) for line in zip(
            size, kernel, out, op.stride, (before for before, _ in op.padding),
            getattr(op, "dilation", (1,) * len(kernel)), strict=True)))

    @property
    def kernel(self) -> Shape:
        """Elements of a window along each axis."""
        return tuple(a.K for a in self.axes)

    @property
    def out(self) -> Shape:
        """How many windows there are along each axis."""
        return tuple(a.O for a in self.axes)

    @property
    def covers(self) -> Shape:
        """How many windows at most hold a position, along each axis."""
        return tuple(a.covers for a in self.axes)

    def places(self, i: Sequence[Expr], k: Sequence[Expr]) -> tuple[list[Expr], list[Expr]]:
        """Where element k of window i lies, clamped into the array; tests for being inside."""
        found = [a.place(*ik) for a, *ik in zip(self.axes, i, k, strict=True)]
        return [s for s, _ in found], [test for _, tests in found for test in tests]

    def covering(self, s: Sequence[Expr], r: Sequence[Expr]
                 ) -> tuple[list[Expr], list[Expr], list[Expr]]:
        """Windows i and places k in them that lie on position s, clamped; tests for being true."""
        found = [a.covering(*sr) for a, *sr in zip(self.axes, s, r, strict=True)]
        return ([i for i, _, _ in found], [k for _, k, _ in found],
                [test for *_, tests in found for test in tests])

    def read(self, x: Fn, lead: Sequence[Expr], i: Sequence[Expr], k: Sequence[Expr]) -> Expr:
        """x[*lead, i T + k D - P], 0 in the padding."""
        if 0 in x.shape:
            return const(0, x.dtype)
        place, tests = self.places(i, k)
        return where_all(tests, x.at(*lead, *place))

    def gathered(self, s: Sequence[Expr], part: Callable[..., Expr], channels: Shape = ()) -> Expr:
        """Sum of part(*channel, i, k) over the windows i that hold position s, at place k."""
        def term(*index: Expr) -> Expr:
            i, k, tests = self.covering(s, index[len(channels):])
            return where_all(tests, part(*index[:len(channels)], i, k))
        return over("sum", (*channels, *self.covers), term)


def _of_kernel(op: Any, size: Shape) -> Windows:
    out = out_sizes("im2col", size, op.kernel, op.stride, op.padding, op.dilation)
    return Windows.of(op, size, op.kernel, out)


@element(ops.Im2Col, reads="often")
def im2col(op: ops.Im2Col, x: Fn, n: Expr, row: Expr, column: Expr) -> Expr:
    """y[n, (c, *k), (*i)] = x[n, c, *(i T + k D - P)]."""
    w = _of_kernel(op, x.shape[2:])
    c, *k = digits(row, (x.shape[1], *w.kernel))
    return w.read(x, (n, c), digits(column, w.out), k)


@element(ops.Col2Im, reads="often")
def col2im(op: ops.Col2Im, x: Fn, n: Expr, c: Expr, *s: Expr) -> Expr:
    """y[n, c, *s] = sum over the windows i that hold s, at place k, of x[n, (c, *k), (*i)]."""
    w, channels = _of_kernel(op, op.spatial), op.shape(x.shape)[1]
    return w.gathered(s, lambda i, k: x.at(
        n, number((c, *k), (channels, *w.kernel)), number(i, w.out)))


def _joined(index: Expr, size: int, part: Expr, other: int, groups: int) -> Expr:
    """Number `part` among the `other` channels of the group that `index` of `size` lies in.

    Channel c and filter o meet if they are in one group, g = c // (C/G) = o // (O/G).
    """
    return part if groups == 1 else index // max(1, size // groups) * (other // groups) + part


@element(ops.Conv, reads="often")
def conv(op: ops.Conv, x: Fn, W: Fn, n: Expr, o: Expr, *i: Expr) -> Expr:
    """y[n, o, *i] = sum over c, *k of W[o, c, *k] x[n, g C/G + c, *(i T + k D - P)]."""
    C, (O, each, *kernel) = x.shape[1], W.shape
    w = Windows.of(op, x.shape[2:], W.shape[2:], op.shape(x.shape, W.shape)[2:])

    def term(c: Expr, *k: Expr) -> Expr:
        channel = _joined(o, O, c, C, op.groups)
        return product(W.at(o, c, *k), w.read(x, (n, channel), i, k))
    return over("sum", (each, *kernel), term)


@element(ops.ConvInputGrad, reads="often")
def conv_input_grad(op: ops.ConvInputGrad, gy: Fn, W: Fn, n: Expr, c: Expr, *s: Expr) -> Expr:
    """gx[n, c, *s] = sum over o, and windows i with s at place k, of W[o, c, *k] gy[n, o, *i]."""
    C, (O, each, *_) = op.shape(gy.shape, W.shape)[1], W.shape
    own = c if op.groups == 1 else c % max(1, each)

    def term(o: Expr, i: Sequence[Expr], k: Sequence[Expr]) -> Expr:
        q = _joined(c, C, o, O, op.groups)
        return product(W.at(q, own, *k), gy.at(n, q, *i))
    return Windows.of(op, op.spatial, W.shape[2:], gy.shape[2:]).gathered(
        s, term, (O // op.groups,))


@element(ops.ConvWeightGrad, reads="often")
def conv_weight_grad(op: ops.ConvWeightGrad, x: Fn, gy: Fn, o: Expr, c: Expr, *k: Expr) -> Expr:
    """gW[o, c, *k] = sum over n, *i of gy[n, o, *i] x[n, g C/G + c, *(i T + k D - P)]."""
    w = Windows.of(op, x.shape[2:], op.kernel, gy.shape[2:])
    channel = _joined(o, gy.shape[1], c, x.shape[1], op.groups)
    return over("sum", (x.shape[0], *w.out), lambda n, *i: product(
        gy.at(n, o, *i), w.read(x, (n, channel), i, k)))
