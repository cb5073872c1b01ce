"""Batch normalisation with the statistics module, one channel after the other."""

import math
import statistics

import numpy as np


def batch_norm(op, arrays):
    x, gamma, beta = arrays
    y, means, variances = np.zeros(x.shape), [], []
    for c, (scale, shift) in enumerate(zip(gamma, beta, strict=True)):
        values = x[:, c].ravel().tolist()
        means.append(statistics.fmean(values))
        variances.append(statistics.pvariance(values))
        deviation = math.sqrt(variances[-1] + op.eps)
        y[:, c] = scale * ((x[:, c] - means[-1]) / deviation) + shift
    return y, np.array(means), np.array(variances)


def batch_norm_inference(op, arrays):
    x, gamma, beta, mean, var = arrays
    y = np.zeros(x.shape)
    for n, c in np.ndindex(*x.shape[:2]):
        y[n, c] = gamma[c] * (x[n, c] - mean[c]) / math.sqrt(var[c] + op.eps) + beta[c]
    return y


REFERENCES = {"BatchNorm": batch_norm, "BatchNormInference": batch_norm_inference}
