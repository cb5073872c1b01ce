"""Whitening of patches: a first layer that is computed from the pictures, not learnt."""

from __future__ import annotations

import numpy as np

from kiso import ops
from kiso.errors import ShapeError
from kiso.nn.checks import count, number
from kiso.nn.module import Module
from kiso.nn.parameter import Buffer
from kiso.ops import Array, Value

__all__ = ["Whiten2d"]


class Whiten2d(Module):
    """Patches of k x k pixels along the main axes of all patches, each of variance 1, and mirrored.

    With C = E[p p^T] over the patches p (channels k k numbers each) of some pictures, and C v_i =
    l_i v_i:

        W_i = v_i / sqrt(l_i + eps),   y = (W_1 * x, W_2 * x, ..., -W_1 * x, -W_2 * x, ...)

    Neighbouring pixels are nearly alike, so that plain filters see the same thing many times; what
    comes out here is uncorrelated. The negative twins let a ReLU behind the layer lose nothing:
    relu(y) - relu(-y) = y. `eps` keeps axes with hardly any signal from becoming noise.

    x (N, in_channels, H, W) -> (N, 2 in_channels k k, H - k + 1, W - k + 1). The filters are a
    buffer: `fit` computes them, training does so before its first step (train/starts.py). Until
    then each filter is one pixel of the patch.

    Source: Page, "How to train your ResNet", part 8, 2019 (patch whitening); Jordan 2024.
    Errors: ConfigError for sizes below 1 and eps <= 0; ShapeError for other inputs.
    """

    in_channels: int
    kernel_size: int
    eps: float
    weight: Buffer

    def __init__(self, in_channels: int, kernel_size: int = 2, eps: float = 1e-2):
        self.in_channels = count("Whiten2d", "in_channels", in_channels)
        self.kernel_size = count("Whiten2d", "kernel_size", kernel_size)
        self.eps = number("Whiten2d", "eps", eps, 0, open_low=True)
        self.weight = Buffer(self._filters(np.eye(self.numbers, dtype=np.float32)))

    @property
    def numbers(self) -> int:
        """Numbers in a patch, k k channels."""
        return self.in_channels * self.kernel_size**2

    @property
    def fitted(self) -> bool:
        """Whether the filters have been computed from pictures."""
        return not np.array_equal(self.weight.data[:self.numbers].reshape(self.numbers, -1),
                                  np.eye(self.numbers))

    def fit(self, x: Array) -> None:
        """Compute the filters from pictures (N, in_channels, H, W), scaled as the net gets them.

        Errors: ShapeError for other shapes.
        """
        k = self.kernel_size
        if x.ndim != 4 or x.shape[1] != self.in_channels or min(x.shape[2:]) < k:
            raise ShapeError(f"the layer takes (N, {self.in_channels}, H, W) with at least {k} x "
                             f"{k} pixels, but the pictures are {x.shape}.")
        windows = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(2, 3))
        p = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, self.numbers).astype(np.float64)
        variances, axes = np.linalg.eigh(p.T @ p / len(p))  # ascending; the axes are columns
        rows = (axes / np.sqrt(np.maximum(variances, 0) + self.eps)).T[::-1]
        self.weight = Buffer(self._filters(rows.astype(np.float32)))

    def _filters(self, rows: Array) -> Array:
        """The rows and their negatives as filters (2 in_channels k k, in_channels, k, k)."""
        return np.concatenate([rows, -rows]).reshape(
            -1, self.in_channels, self.kernel_size, self.kernel_size)

    def forward(self, x: Value) -> Value:
        """(N, C, H, W) -> (N, 2 C k k, H - k + 1, W - k + 1)"""
        return ops.conv2d(x, self.weight)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, kernel_size={self.kernel_size}, eps={self.eps:g}"
