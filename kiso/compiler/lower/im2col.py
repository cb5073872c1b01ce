"""Twin of ops/im2col.py: windows in index notation, shared by convolution and pooling.

Forward, element k of window i is x[i T + k D - P]. Backward, gradients are gathered: position s
is read by the windows i with i T + k D = s + P for some k. Along an axis there are at most
R = ceil(E / T) of them (E = D (K - 1) + 1, the span of the kernel); with t = s + P they are

    i_r = t // T - r,   k_r = (r T + t mod T) / D,   r = 0 .. R-1

as far as the division by D has no remainder, k_r < K and 0 <= i_r < O. Which of these tests can
fail at all is known from the sizes; only those are made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from kiso import ops
from kiso.compiler.loops import Expr, Fn, Program, const, maximum, minimum, reduce, select
from kiso.compiler.lower.rules import lowers
from kiso.ops.im2col import Pads, out_sizes
from kiso.ops.op import Shape

__all__ = ["Windows", "digits", "number", "over", "where_all"]


def number(index: Sequence[Expr], shape: Shape) -> Expr:
    """Row-major number of an element: (i, j) -> i * shape[1] + j."""
    n: Expr = const(0)
    for i, size in zip(index, shape, strict=True):
        n = n * size + i
    return n


def digits(n: Expr, shape: Shape) -> list[Expr]:
    """Indices of the element with this row-major number, the inverse of `number`."""
    index: list[Expr] = []
    for axis, size in enumerate(shape):
        place = n // max(1, prod(shape[axis + 1:]))
        index.append(const(0) if size == 1 else place if axis == 0 else place % size)
    return index


def over(kind: str, extents: Shape, body: Callable[..., Expr]) -> Expr:
    """`reduce` that leaves out axes of extent 1; no reduction at all where none is left."""
    long = [n for n in extents if n != 1]

    def full(*index: Expr) -> Expr:
        rest = iter(index)
        return body(*(const(0) if n == 1 else next(rest) for n in extents))
    return reduce(kind, long, full) if long else full()


def where_all(tests: Sequence[Expr], value: Expr, otherwise: Any = 0) -> Expr:
    """The value if all tests hold."""
    if not tests:
        return value
    every = tests[0]
    for test in tests[1:]:
        every = every & test
    return select(every, value, otherwise)


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


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Windows over spatial axes of these sizes: O = `out` of them along each axis."""

    size: Shape
    kernel: Shape
    stride: Shape
    before: Shape
    dilation: Shape
    out: Shape

    @staticmethod
    def of(op: Any, size: Shape, kernel: Shape, out: Shape) -> Windows:
        """The windows of an op with attributes stride, padding and, perhaps, dilation."""
        return Windows(size=size, kernel=kernel, stride=op.stride, out=out,
                       before=tuple(before for before, _ in op.padding),
                       dilation=getattr(op, "dilation", (1,) * len(kernel)))

    def places(self, i: Sequence[Expr], k: Sequence[Expr]) -> tuple[list[Expr], list[Expr]]:
        """Where element k of window i lies, clamped into the array; tests for being inside."""
        clamped: list[Expr] = []
        tests: list[Expr] = []
        for a, (i_a, k_a) in enumerate(zip(i, k, strict=True)):
            high = ((self.out[a] - 1) * self.stride[a] + (self.kernel[a] - 1) * self.dilation[a]
                    - self.before[a])
            s = i_a * self.stride[a] + k_a * self.dilation[a] - self.before[a]
            s, more = _bounded(s, -self.before[a], high, self.size[a])
            clamped.append(s)
            tests += more
        return clamped, tests

    def read(self, x: Fn, lead: Sequence[Expr], i: Sequence[Expr], k: Sequence[Expr]) -> Expr:
        """x[*lead, i T + k D - P], 0 in the padding."""
        if 0 in x.shape:
            return const(0, x.dtype)
        place, tests = self.places(i, k)
        return where_all(tests, x.at(*lead, *place))

    @property
    def covers(self) -> Shape:
        """R: how many windows at most hold a position, along each axis."""
        return tuple(-(-(d * (k - 1) + 1) // t)
                     for k, t, d in zip(self.kernel, self.stride, self.dilation, strict=True))

    def covering(self, s: Sequence[Expr], r: Sequence[Expr]
                 ) -> tuple[list[Expr], list[Expr], list[Expr]]:
        """Windows i and places k in them that lie on position s, clamped; tests for being true."""
        windows: list[Expr] = []
        kernel: list[Expr] = []
        tests: list[Expr] = []
        for a, (s_a, r_a) in enumerate(zip(s, r, strict=True)):
            K, T, P, D, R = (self.kernel[a], self.stride[a], self.before[a], self.dilation[a],
                             self.covers[a])
            t = s_a + P
            offset = r_a if T == 1 else r_a * T + t % T  # k D
            i, found = _bounded(t // T - r_a, P // T - (R - 1), (self.size[a] - 1 + P) // T,
                                self.out[a])
            k, more = _bounded(offset // D, 0, (R * T - 1) // D, K)
            windows.append(i)
            kernel.append(k)
            tests += [*found, *more, *([] if D == 1 else [(offset % D).eq(0)])]
        return windows, kernel, tests


def _windows(op: Any, spatial: Shape) -> Windows:
    pads: Pads = op.padding
    out = out_sizes("im2col", spatial, op.kernel, op.stride, pads, op.dilation)
    return Windows.of(op, spatial, op.kernel, out)


@lowers(ops.Im2Col, reads="often")
def im2col(p: Program, op: ops.Im2Col, x: Fn) -> Fn:
    """y[n, (c, *k), (*i)] = x[n, c, *(i T + k D - P)]."""
    w = _windows(op, x.shape[2:])

    def at(n: Expr, row: Expr, column: Expr) -> Expr:
        c, *k = digits(row, (x.shape[1], *w.kernel))
        return w.read(x, (n, c), digits(column, w.out), k)
    return Fn(op.shape(x.shape), x.dtype, at)


@lowers(ops.Col2Im, reads="often")
def col2im(p: Program, op: ops.Col2Im, x: Fn) -> Fn:
    """y[n, c, *s] = sum over the windows i that hold s, at place k, of x[n, (c, *k), (*i)]."""
    w = _windows(op, op.spatial)
    shape: Shape = op.shape(x.shape)

    def at(n: Expr, c: Expr, *s: Expr) -> Expr:
        def part(*r: Expr) -> Expr:
            i, k, tests = w.covering(s, r)
            row = number((c, *k), (shape[1], *w.kernel))
            return where_all(tests, x.at(n, row, number(i, w.out)))
        return over("sum", w.covers, part)
    return Fn(shape, x.dtype, at)
