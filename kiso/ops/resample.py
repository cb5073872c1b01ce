"""Moving, turning and stretching pictures: bilinear resampling by one matrix for each sample."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from kiso.errors import ShapeError
from kiso.ops.op import Array, Op, Shape, Value
from kiso.ops.sample import Draw, Sample

__all__ = ["AffineSample", "AffineSampleGrad", "affine_sample"]

_THETA = Draw(2, 2, 3, low=-1.3, high=1.2)


def _check(name: str, x: Shape, theta: Shape) -> Shape:
    if len(x) != 4 or theta != (x[0], 2, 3):
        raise ShapeError(f"{name}: pictures (N, C, H, W) need matrices (N, 2, 3), one for each, "
                         f"but the shapes are {x} and {theta}.")
    return x


def _neighbours(at: Array, size: int, edge: bool) -> list[tuple[Array, Array]]:
    """The two whole positions on either side of `at` on one axis: (index, weight) each.

    Those outside of 0 .. size - 1 get weight 0; with `edge` positions are pushed inside first.
    """
    # From one pixel outside on nothing of the picture is seen: the clip keeps the indices small.
    at = np.clip(at, 0, size - 1) if edge else np.clip(at, -1, size)
    base = np.floor(at)
    part = at - base  # 0 <= part < 1, the way to the next pixel
    pairs: list[tuple[Array, Array]] = []
    for index, weight in ((base, 1 - part), (base + 1, part)):
        inside = (index >= 0) & (index < size)
        pairs.append((np.clip(index, 0, size - 1).astype(np.int64), weight * inside))
    return pairs


def _corners(theta: Array, x: Shape, edge: bool) -> Iterator[tuple[Array, Array]]:
    """The four input pixels around every position that is read.

    Each as index into the flat pictures (N, C, H*W) and weight (N, 1, H*W).
    """
    N, C, H, W = x
    centre = np.array([(H - 1) / 2, (W - 1) / 2], theta.dtype)
    grid = np.indices((H, W), theta.dtype).reshape(2, H * W) - centre[:, None]
    turned = (theta[:, :, :2, None] * grid).sum(axis=2)  # A (i - ci, j - cj)
    at = turned + theta[:, :, 2:] + centre[:, None]  # (N, 2, H*W), where to read
    planes: Array = np.arange(N * C).reshape(N, C, 1) * (H * W)  # where each picture begins
    for i, wi in _neighbours(at[:, 0], H, edge):
        for j, wj in _neighbours(at[:, 1], W, edge):
            yield planes + (i * W + j)[:, None], (wi * wj)[:, None]


class AffineSample(Op):
    """y[n, c, i, j] = x[n, c] read between its pixels at A (i - ci, j - cj) + t + (ci, cj).

    x (N, C, H, W); theta (N, 2, 3) = [A | t] in pixels, rows first; the centre (ci, cj) is
    ((H-1)/2, (W-1)/2). A position between four pixels is their mean, weighted by nearness
    (bilinear). Outside, pixels have the value `fill`; None repeats those of the edge. A = 1, t = 0
    gives x itself, and whole shifts move pixels unchanged.

    dL/dx is `AffineSampleGrad`; theta is drawn, not learned: it has no gradient.
    Source: Jaderberg et al., "Spatial Transformer Networks" (2015), equation 5.
    """

    fixed: ClassVar[tuple[int, ...]] = (1,)  # float inputs that are given, not learned
    fill: float | None = 0.0
    samples = (
        Sample((2, 3, 5, 4), _THETA),
        Sample((2, 1, 4, 5), _THETA, fill=None),
        Sample((2, 2, 3, 3), _THETA, fill=-1.5),
        Sample((1, 1, 1, 6), Draw(1, 2, 3), fill=None),
        Sample((0, 3, 4, 4), Draw(0, 2, 3)),
    )

    def shape(self, x: Shape, theta: Shape) -> Shape:
        return _check("affine_sample", x, theta)

    def dtype(self, x: np.dtype, theta: np.dtype) -> np.dtype:
        return x

    def forward(self, x: Array, theta: Array) -> Array:
        y, seen = np.zeros_like(x), np.zeros_like(x[:, :1])  # value; weight of pixels inside
        for index, weight in _corners(theta, x.shape, self.fill is None):
            weight = weight.astype(x.dtype).reshape(len(x), 1, *x.shape[2:])
            y += weight * np.take(x, index, mode="clip").reshape(x.shape)
            seen += weight
        return y + self.fill * (1 - seen) if self.fill else y

    def backward(self, gy: Value, y: Value, x: Value, theta: Value) -> tuple[Value, None]:
        return AffineSampleGrad(edge=self.fill is None)(gy, theta), None


class AffineSampleGrad(Op):
    """Each gy[n, c, i, j] goes back to the pixels that it was read from, by the same weights.

    gx = R^T gy where y = R x is `AffineSample`; hence its own gradient is R, `AffineSample` again.
    `edge`: positions outside were read from the edge.
    """

    fixed: ClassVar[tuple[int, ...]] = (1,)  # float inputs that are given, not learned
    edge: bool = False
    samples = (
        Sample((2, 3, 5, 4), _THETA),
        Sample((2, 1, 4, 5), _THETA, edge=True),
        Sample((0, 3, 4, 4), Draw(0, 2, 3)),
    )

    def shape(self, gy: Shape, theta: Shape) -> Shape:
        return _check("affine_sample_grad", gy, theta)

    def dtype(self, gy: np.dtype, theta: np.dtype) -> np.dtype:
        return gy

    def forward(self, gy: Array, theta: Array) -> Array:
        gx = np.zeros(gy.shape, gy.dtype)
        for index, weight in _corners(theta, gy.shape, self.edge):
            weight = weight.astype(gy.dtype).reshape(len(gy), 1, *gy.shape[2:])
            np.add.at(gx.reshape(-1), index.reshape(gy.shape), weight * gy)
        return gx

    def backward(self, gy: Value, y: Value, x: Value, theta: Value) -> tuple[Value, None]:
        return AffineSample(fill=None if self.edge else 0.0)(gy, theta), None


def affine_sample(x: Value, theta: Value, *, fill: float | None = 0.0) -> Value:
    """Pictures (N, C, H, W) read through matrices (N, 2, 3) = [A | t] about their centres.

    `fill` is the value outside; None repeats the edge. theta gets no gradient.
    """
    return AffineSample(fill=fill)(x, theta)
