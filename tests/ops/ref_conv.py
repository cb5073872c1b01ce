"""Convolution by SciPy's correlation; its gradients and im2col element by element from the sums."""

import itertools

import numpy as np
import scipy.signal


def positions(op, spatial, kernel):
    """Every (window i, place k, element s of x) with s = i T + k D - P_before inside x."""
    axes = []
    for S, K, T, D, (before, after) in zip(spatial, kernel, op.stride, op.dilation, op.padding,
                                           strict=True):
        starts = range(-before, S + after - D * (K - 1), T)
        axes.append([(i, k, start + k * D) for i, start in enumerate(starts) for k in range(K)
                     if 0 <= start + k * D < S])
    for taps in itertools.product(*axes):
        yield tuple(zip(*taps, strict=True))


def counts(op, spatial, kernel):
    """Number of windows on every axis."""
    return tuple(len(range(-before, S + after - D * (K - 1), T))
                 for S, K, T, D, (before, after) in zip(spatial, kernel, op.stride, op.dilation,
                                                        op.padding, strict=True))


def im2col(op, arrays):
    (x,) = arrays
    n, c, *spatial = x.shape
    out = counts(op, spatial, op.kernel)
    y = np.zeros((n, c, *op.kernel, *out))
    for i, k, s in positions(op, spatial, op.kernel):
        y[(..., *k, *i)] = x[(..., *s)]
    return y.reshape(n, c * int(np.prod(op.kernel)), int(np.prod(out)))


def col2im(op, arrays):
    (x,) = arrays
    columns = x.reshape(x.shape[0], -1, *op.kernel, *counts(op, op.spatial, op.kernel))
    y = np.zeros((*columns.shape[:2], *op.spatial))
    for i, k, s in positions(op, op.spatial, op.kernel):
        y[(..., *s)] += columns[(..., *k, *i)]
    return y


def conv(op, arrays):
    """Filters spread out with zeros between their elements, correlated, every T-th result kept."""
    x, W = arrays
    x = np.pad(x, [(0, 0), (0, 0), *op.padding])
    spread = np.zeros((*W.shape[:2], *(d * (k - 1) + 1 for d, k in
                                       zip(op.dilation, W.shape[2:], strict=True))))
    spread[(..., *(slice(None, None, d) for d in op.dilation))] = W
    filters, channels = len(W) // op.groups, W.shape[1]
    steps = tuple(slice(None, None, t) for t in op.stride)
    return np.array([[sum(
        scipy.signal.correlate(sample[o // filters * channels + c], spread[o, c], "valid")[steps]
        for c in range(channels)) for o in range(len(W))] for sample in x])


def links(op, O, channels):
    """Every filter o, its channel c inside of the group, and that channel's number in x."""
    for o, c in itertools.product(range(O), range(channels)):
        yield o, c, o // (O // op.groups) * channels + c


def conv_input_grad(op, arrays):
    gy, W = arrays
    gx = np.zeros((len(gy), W.shape[1] * op.groups, *op.spatial))
    for i, k, s in positions(op, op.spatial, W.shape[2:]):
        for o, c, channel in links(op, *W.shape[:2]):
            gx[(slice(None), channel, *s)] += gy[(slice(None), o, *i)] * W[(o, c, *k)]
    return gx


def conv_weight_grad(op, arrays):
    x, gy = arrays
    gW = np.zeros((gy.shape[1], x.shape[1] // op.groups, *op.kernel))
    for i, k, s in positions(op, x.shape[2:], op.kernel):
        for o, c, channel in links(op, *gW.shape[:2]):
            gW[(o, c, *k)] += gy[(slice(None), o, *i)] @ x[(slice(None), channel, *s)]
    return gW


REFERENCES = {
    "Im2Col": im2col,
    "Col2Im": col2im,
    "Conv": conv,
    "ConvInputGrad": conv_input_grad,
    "ConvWeightGrad": conv_weight_grad,
}
