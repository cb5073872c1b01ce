"""Pooling window by window, with plain Python lists of the elements of each window."""

import itertools
import math

import numpy as np


def axis_windows(op, axis, S):
    """For one axis: the elements of x in each window, and its length with the padding it holds."""
    K, T, (before, after) = op.kernel[axis], op.stride[axis], op.padding[axis]
    end = S + after
    if op.ceil_mode:  # go on until a window has reached the end, if there is something of x left
        starts = itertools.takewhile(
            lambda s: s < S and (s == -before or s - T + K < end), itertools.count(-before, T))
    else:
        starts = itertools.takewhile(lambda s: s + K <= end, itertools.count(-before, T))
    for start in starts:
        inside = [s for s in range(start, start + K) if 0 <= s < S]
        yield inside, sum(s < end for s in range(start, start + K))


def all_windows(op, x_shape):
    """(out shape, [(position in y, positions in x in row-major order, length with padding)])."""
    axes = [list(axis_windows(op, a, S)) for a, S in enumerate(x_shape[2:])]
    found = []
    for n, c in np.ndindex(*x_shape[:2]):
        for i in np.ndindex(*(len(a) for a in axes)):
            chosen = [axes[a][j] for a, j in enumerate(i)]
            cells = [(n, c, *s) for s in itertools.product(*(inside for inside, _ in chosen))]
            found.append(((n, c, *i), cells, math.prod(length for _, length in chosen)))
    return (*x_shape[:2], *(len(a) for a in axes)), found


def first_largest(x, cells):
    return max(cells, key=lambda s: (x[s], [-i for i in s]))


def max_pool(op, arrays):
    (x,) = arrays
    shape, found = all_windows(op, x.shape)
    y = np.zeros(shape)
    for i, cells, _ in found:
        y[i] = max(x[s] for s in cells)
    return y


def max_pool_grad(op, arrays):
    x, gy = arrays
    gx = np.zeros(x.shape)
    for i, cells, _ in all_windows(op, x.shape)[1]:
        gx[first_largest(x, cells)] += gy[i]
    return gx


def max_pool_pick(op, arrays):
    x, g = arrays
    shape, found = all_windows(op, x.shape)
    y = np.zeros(shape)
    for i, cells, _ in found:
        y[i] = g[first_largest(x, cells)]
    return y


def avg_pool(op, arrays):
    (x,) = arrays
    shape, found = all_windows(op, x.shape)
    y = np.zeros(shape)
    for i, cells, length in found:
        y[i] = math.fsum(x[s] for s in cells) / (length if op.count_include_pad else len(cells))
    return y


def avg_pool_grad(op, arrays):
    (gy,) = arrays
    gx = np.zeros((*gy.shape[:2], *op.spatial))
    for i, cells, length in all_windows(op, gx.shape)[1]:
        for s in cells:
            gx[s] += gy[i] / (length if op.count_include_pad else len(cells))
    return gx


REFERENCES = {
    "MaxPool": max_pool,
    "MaxPoolGrad": max_pool_grad,
    "MaxPoolPick": max_pool_pick,
    "AvgPool": avg_pool,
    "AvgPoolGrad": avg_pool_grad,
}
