"""Resampling by SciPy; its gradient by the matrix of the (linear) map, one column a pixel."""

import numpy as np
import scipy.ndimage


def affine(x, theta, fill):
    """scipy.ndimage.affine_transform of each picture; it counts from the corner, not the centre."""
    y = np.zeros_like(x)
    centre = (np.array(x.shape[2:]) - 1) / 2
    for n, c in np.ndindex(x.shape[:2]):
        A, t = theta[n, :, :2], theta[n, :, 2]
        options = {"mode": "nearest"} if fill is None else {"mode": "grid-constant", "cval": fill}
        y[n, c] = scipy.ndimage.affine_transform(
            x[n, c], A, offset=centre + t - A @ centre, order=1, **options)
    return y


def affine_grad(op, arrays):
    gy, theta = arrays
    gx = np.zeros_like(gy)
    fill = None if op.edge else 0.0
    for at in np.ndindex(gy.shape):
        unit = np.zeros_like(gy)
        unit[at] = 1
        gx[at] = np.sum(affine(unit, theta, fill) * gy)
    return gx


REFERENCES = {
    "AffineSample": lambda op, arrays: affine(*arrays, op.fill),
    "AffineSampleGrad": affine_grad,
}
