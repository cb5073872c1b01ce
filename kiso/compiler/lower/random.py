"""Twin of ops/random.py: Philox 4x32-10 in 64-bit unsigned words, the same bits as the op.

A block gives four words, a, b, c, d, for the elements 4j .. 4j + 3. They are stored as two pairs,
number 2j = a + 2^32 b and 2j + 1 = c + 2^32 d, by one kernel over all pairs: element i is a half
of pair i // 2. The rounds are so computed twice for a block instead of four times, and
neighbouring pairs do the same work, as vectors like it.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from kiso import ops
from kiso.compiler.loops import Expr, Fn, Program, const, select
from kiso.compiler.lower.rules import lowers, number
from kiso.ops.op import Shape

__all__: list[str] = []

WORD = 0xFFFFFFFF
U64 = np.dtype(np.uint64)
F32 = np.dtype(np.float32)


def _philox(counter: tuple[Expr, Expr], key: Fn) -> tuple[Expr, Expr, Expr, Expr]:
    """Four random words for the counter (., ., key[2], key[3]) under the key (key[0], key[1])."""
    k0, k1, c, d = (key.at(const(w)).cast(U64) for w in range(4))
    a, b = counter
    for _ in range(10):
        p, q = a * 0xD2511F53, c * 0xCD9E8D57
        a, b, c, d = (q >> 32) ^ (b ^ k0), q & WORD, (p >> 32) ^ (d ^ k1), p & WORD
        k0, k1 = (k0 + 0x9E3779B9) & WORD, (k1 + 0xBB67AE85) & WORD
    return a, b, c, d


def _draws(p: Program, key: Fn, shape: Shape, counter: Callable[..., tuple[Expr, Expr]]) -> Fn:
    """Uniform numbers in [0, 1); block j (of row n) has the counter `counter(j, n)`."""
    def pair(*index: Expr) -> Expr:
        *n, h = index
        a, b, c, d = _philox(counter((h // 2).cast(U64), *n), key)
        return select((h % 2).eq(0), a | (b << 32), c | (d << 32))

    def at(*index: Expr) -> Expr:
        *n, i = index  # the upper 24 bits of half i % 2 of a pair: no rounding
        bits = (pairs.at(*n, i // 2) >> (i % 2 * 32 + 8).cast(U64)) & 0xFFFFFF
        return bits.cast(np.int32).cast(F32) * 2.0**-24

    pairs = p.store(Fn((*shape[:-1], 2 * -(-shape[-1] // 4)), U64, pair), "random")
    return Fn(shape, F32, at)


@lowers(ops.Uniform, reads="often")
def uniform(p: Program, op: ops.Uniform, key: Fn) -> Fn:
    """y_i = uniform number i of the stream, i row-major: block j has the counter j."""
    line = _draws(p, key, (prod(op.dims),), lambda *block: (*block, const(op.stream, U64)))
    return Fn(op.dims, F32, lambda *i: line.at(number(i, op.dims)))


@lowers(ops.UniformRows, reads="often")
def uniform_rows(p: Program, op: ops.UniformRows, key: Fn, rows: Fn) -> Fn:
    """y[n, i]: block i // 4 of row n has the counter (rows[n], 2^31 + 2^16 (i // 4) + stream)."""
    def counter(block: Expr, *n: Expr) -> tuple[Expr, Expr]:
        row = (rows.at(*n).cast(np.int64) & WORD).cast(U64)
        return row, (block << 16) + (op.stream + (1 << 31))
    return _draws(p, key, (rows.shape[0], op.count), counter)


@lowers(ops.Dropout)
def dropout(p: Program, op: ops.Dropout, x: Fn, key: Fn) -> Fn:
    """y_i = x_i / (1 - p) where uniform number i is at least p, else 0."""
    draw = uniform(p, ops.Uniform(dims=x.shape, stream=op.stream), key)
    return Fn(x.shape, x.dtype, lambda *i: select(
        draw.at(*i) >= op.p, x.at(*i) * (1 / (1 - op.p)), 0))
