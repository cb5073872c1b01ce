"""Winograd's minimal filtering: convolution with 3x3 filters in a quarter of the multiplications.

A filter g of r = 3 numbers over data d of n = m + r - 1 numbers has m results

    y[i] = sum over k of g[k] d[i + k],    directly m r products.

`n` products are enough. Begin with the product of two polynomials, s(x) = g(x) u(x), where g has
r coefficients and u has m. It has n coefficients, so n values of it tell it: those at n - 1
numbers a_j, s(a_j) = g(a_j) u(a_j), one product each, and as the last one "the value at infinity",
the highest coefficient, g[r-1] u[m-1]. Lagrange's formula leads back from values to coefficients:

    s(x) = sum over j of  s(a_j) / N_j  prod over l != j of (x - a_l)
           + s(infinity)  prod over l of (x - a_l),        N_j = prod over l != j of (a_j - a_l)

With the values as matrices, A u and G g (G takes in the division by N_j), and the coefficients of
the polynomials on the right as the columns of B, this is  s = B [(G g) * (A u)].

For a fixed g that is a matrix times u, B diag(G g) A: its element at [i + k, i] is g[k]. Filtering
is the transposed matrix, y[i] = sum over k of g[k] d[i + k], so transposing both sides gives

    y = A^T [(G g) * (B^T d)]          A (n, m),  G (n, r),  B (n, n)
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from kiso.errors import ShapeError
from kiso.ops.op import Array

__all__ = ["winograd_matrices"]

# The finite points for m results of r = 3 taps; infinity is the last one. A pair a, -a stands
# together: even powers are the same for both, odd ones differ in sign, so work can be shared.
# For m = 4 numbers around 1 with 1/a beside a have powers that differ least, and rounding errors
# 3 to 6 times smaller than with 0, 1, -1, 2, -2.
_POINTS = {2: (0.0, 1.0, -1.0),
           4: (0.0, math.sqrt(1 / 2), -math.sqrt(1 / 2), math.sqrt(2), -math.sqrt(2))}


@lru_cache
def winograd_matrices(m: int, r: int = 3) -> tuple[Array, Array, Array]:
    """A (n, m), G (n, r), B (n, n) for m results of a filter of r taps, n = m + r - 1; float64.

    A^T [(G g) * (B^T d)] = [sum over k of g[k] d[i + k] for i < m]. They cannot be written to.
    Errors: ShapeError unless m is 2 or 4 and r is 3.
    """
    if m not in _POINTS or r != 3:
        raise ShapeError(f"winograd: m = {m}, r = {r}; there are points for m = 2 and m = 4 "
                         "results of r = 3 taps.")
    return _matrices(_POINTS[m], m, r)


def _matrices(points: tuple[float, ...], m: int, r: int) -> tuple[Array, Array, Array]:
    """The matrices for any n - 1 different points."""
    n = m + r - 1
    A, G, B = np.zeros((n, m)), np.zeros((n, r)), np.zeros((n, n))
    A[:-1], A[-1, -1] = np.vander(points, m, increasing=True), 1  # 1, a, a^2, ...
    G[:-1], G[-1, -1] = np.vander(points, r, increasing=True), 1
    B[:, -1] = np.poly(points)[::-1]  # coefficients of prod (x - a), lowest first
    for j, a in enumerate(points):
        # Whole pairs first: they give x^2 - b^2, so a and -a have the same numbers to the last bit.
        others = sorted((b for b in points if b != a), key=lambda b: b in (0, -a))
        G[j] /= math.prod(a - b for b in others)
        B[:-1, j] = np.poly(others)[::-1]
    for matrix in (A, G, B):
        matrix.flags.writeable = False
    return A, G, B
