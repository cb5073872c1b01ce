"""Philox 4x32-10 in plain Python integers, and what the random ops make of its words."""

import math

import numpy as np

MASK = 2**32 - 1


def philox(counter, key):
    """Four counter words and two key words (ints) -> four random words (Salmon et al. 2011)."""
    c, k = list(counter), list(key)
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c[0], 2**32)
        high1, low1 = divmod(0xCD9E8D57 * c[2], 2**32)
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


def number(word):
    return (word // 256) / 2**24


def uniform(key, size, stream):
    k = [int(w) for w in key]
    return np.array([number(philox([i // 4, stream, k[2], k[3]], k[:2])[i % 4])
                     for i in range(size)])


def uniform_rows(op, arrays):
    key, rows = arrays
    k = [int(w) for w in key]
    y = np.zeros((len(rows), op.count))
    for n, row in enumerate(rows.tolist()):
        for i in range(op.count):
            word = 2**31 + i // 4 * 2**16 + op.stream
            y[n, i] = number(philox([row & MASK, word, k[2], k[3]], k[:2])[i % 4])
    return y


def dropout(op, arrays):
    x, key = arrays
    u = uniform(key, x.size, op.stream)
    y = [v / (1 - op.p) if ui >= op.p else 0.0 for v, ui in zip(x.ravel(), u, strict=True)]
    return np.array(y).reshape(x.shape)


REFERENCES = {
    "Uniform": lambda op, arrays: uniform(arrays[0], math.prod(op.dims), op.stream)
    .reshape(op.dims),
    "UniformRows": uniform_rows,
    "Dropout": dropout,
}
