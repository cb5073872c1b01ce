"""Twin of ops/conv.py: convolution and its two gradients as plain sums.

This is their meaning in the loop language; the code generator may know a better kernel for it.
Channel c and filter o meet if they are in one group, g = c // (C/G) = o // (O/G).
"""

from __future__ import annotations

from kiso import ops
from kiso.compiler.loops import Expr, Fn, Program
from kiso.compiler.lower.im2col import Windows, over, where_all
from kiso.compiler.lower.rules import lowers
from kiso.ops.op import Shape

__all__ = ["conv", "conv_input_grad", "conv_weight_grad"]


def _joined(index: Expr, size: int, part: Expr, other: int, groups: int) -> Expr:
    """Number `part` among the `other` channels of the group that `index` of `size` lies in."""
    return part if groups == 1 else index // max(1, size // groups) * (other // groups) + part


@lowers(ops.Conv, reads="often")
def conv(p: Program, op: ops.Conv, x: Fn, W: Fn) -> Fn:
    """y[n, o, *i] = sum over c, *k of W[o, c, *k] x[n, g C/G + c, *(i T + k D - P)]."""
    shape, dtype = op.shape(x.shape, W.shape), op.dtype(x.dtype, W.dtype)
    C, (O, each, *_) = x.shape[1], W.shape
    w = Windows.of(op, x.shape[2:], W.shape[2:], shape[2:])

    def at(n: Expr, o: Expr, *i: Expr) -> Expr:
        def product(c: Expr, *k: Expr) -> Expr:
            channel = _joined(o, O, c, C, op.groups)
            return W.at(o, c, *k).cast(dtype) * w.read(x, (n, channel), i, k).cast(dtype)
        return over("sum", (each, *w.kernel), product)
    return Fn(shape, dtype, at)


@lowers(ops.ConvInputGrad, reads="often")
def conv_input_grad(p: Program, op: ops.ConvInputGrad, gy: Fn, W: Fn) -> Fn:
    """gx[n, c, *s] = sum over o, and windows i with s at place k, of W[o, c, *k] gy[n, o, *i]."""
    shape, dtype = op.shape(gy.shape, W.shape), op.dtype(gy.dtype, W.dtype)
    C, O, each = shape[1], W.shape[0], W.shape[1]
    w = Windows.of(op, op.spatial, W.shape[2:], gy.shape[2:])

    def at(n: Expr, c: Expr, *s: Expr) -> Expr:
        def product(o: Expr, *r: Expr) -> Expr:
            i, k, tests = w.covering(s, r)
            q = _joined(c, C, o, O, op.groups)
            own = c if op.groups == 1 else c % max(1, each)
            part = W.at(q, own, *k).cast(dtype) * gy.at(n, q, *i).cast(dtype)
            return where_all(tests, part)
        return over("sum", (O // op.groups, *w.covers), product)
    return Fn(shape, dtype, at)


@lowers(ops.ConvWeightGrad, reads="often")
def conv_weight_grad(p: Program, op: ops.ConvWeightGrad, x: Fn, gy: Fn) -> Fn:
    """gW[o, c, *k] = sum over n, *i of gy[n, o, *i] x[n, g C/G + c, *(i T + k D - P)]."""
    shape: Shape = op.shape(x.shape, gy.shape)
    dtype = op.dtype(x.dtype, gy.dtype)
    (N, C), O, out = x.shape[:2], gy.shape[1], gy.shape[2:]
    w = Windows.of(op, x.shape[2:], op.kernel, out)

    def at(o: Expr, c: Expr, *k: Expr) -> Expr:
        def product(n: Expr, *i: Expr) -> Expr:
            channel = _joined(o, O, c, C, op.groups)
            return gy.at(n, o, *i).cast(dtype) * w.read(x, (n, channel), i, k).cast(dtype)
        return over("sum", (N, *out), product)
    return Fn(shape, dtype, at)
