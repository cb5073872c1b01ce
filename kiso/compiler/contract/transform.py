"""Winograd's transforms of tiles, over the lanes of vectors: a small constant matrix on both sides.

    V = B^T d B     U = G g G^T     y = A^T M A     of each channel (see ops/winograd.py)

Interpolation points come in pairs a, -a: two rows (or columns) of a matrix then differ only in the
signs of every second number, and share half of their work.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kiso.compiler.contract.emit import Code, Val
from kiso.ops.op import Array

__all__ = ["both_sides"]


def both_sides(code: Code, matrix: Array, rows: Sequence[Sequence[Val]]) -> list[list[Val]]:
    """matrix X matrix^T for a square X of vectors."""
    matrix = matrix.round(12)  # 1 that came out as 1 + 2e-16
    before = _pairs(matrix.T)
    for k in before:  # c x + c y or c x - c y in each row
        matrix[1::2, k + 1] = matrix[1::2, k]
        matrix[1::2, k], matrix[0::2, k + 1] = 0, 0
    after = _pairs(matrix)

    def times(xs: Sequence[Val]) -> list[Val]:
        xs, ys = list(xs), list[Val]()
        for k in before:
            xs[k], xs[k + 1] = xs[k] + xs[k + 1], xs[k] - xs[k + 1]
        for k, row in enumerate(matrix):
            if k in after:
                even, odd = _sum(code, row[0::2], xs[0::2]), _sum(code, row[1::2], xs[1::2])
                ys += [even + odd, even - odd]
            elif k - 1 not in after:
                ys.append(_sum(code, row, xs))
        return ys
    columns = [times(column) for column in zip(*rows, strict=True)]
    return [times(row) for row in zip(*columns, strict=True)]


def _pairs(matrix: Array) -> set[int]:
    """Rows k of which the next one is the same but for the signs of every second number."""
    turned: Array = matrix * np.resize((1, -1), matrix.shape[1])
    return {k for k in range(len(matrix) - 1) if np.any(matrix[k] != turned[k])
            and np.array_equal(matrix[k + 1], turned[k])}


def _sum(code: Code, factors: Sequence[float], xs: Sequence[Val]) -> Val:
    """Sum of factor * x; terms of factor 1 first, since they need no multiplication."""
    terms = sorted(((float(c), x) for c, x in zip(factors, xs, strict=True) if c),
                   key=lambda term: (term[0] != 1, abs(term[0]) != 1))
    first, x = terms[0]
    total = x if first == 1 else x * first
    for c, x in terms[1:]:
        total = total + x if c == 1 else total - x if c == -1 else code.fma(x, c, total)
    return total
