"""Banded products by the whole matrix."""

import numpy as np


def banded(op, arrays):
    x, first, weights = arrays[:3]
    R = np.zeros((len(first), x.shape[op.axis]))
    for j, (start, row) in enumerate(zip(first, weights, strict=True)):
        R[j, start:start + len(row)] = row
    return np.moveaxis(np.tensordot(R, x, (1, op.axis)), 0, op.axis)


REFERENCES = {"Banded": banded}
