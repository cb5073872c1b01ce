"""Layers that normalise each sample for itself: layer, group, instance and local response norm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kiso import ops
from kiso.errors import ConfigError, ShapeError
from kiso.nn.checks import count, number
from kiso.nn.parameter import Parameter
from kiso.nn.reshaping import PassOn
from kiso.ops import Value

__all__ = ["GroupNorm", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d", "InstanceNormNd",
           "LayerNorm", "LocalResponseNorm"]


class Affine(PassOn):
    """What they share: a learnt scale gamma (`weight`) and shift beta (`bias`), or none."""

    eps: float
    weight: Parameter | None
    bias: Parameter | None

    def scale_and_shift(self, shape: tuple[int, ...], scale: bool, shift: bool) -> None:
        """gamma = 1 and beta = 0 of this shape, as far as they are wanted."""
        self.weight = Parameter(np.ones(shape, np.float32)) if scale else None
        self.bias = Parameter(np.zeros(shape, np.float32)) if shift else None


class LayerNorm(Affine):
    """y = gamma (x - m) / sqrt(v + eps) + beta with m, v of the last axes of each sample.

    `normalized_shape`: the lengths of these axes, a number for the last one alone; gamma and beta
    have this shape too. Nothing depends on the batch. Source: Ba, Kiros and Hinton 2016.
    Errors: ConfigError for impossible numbers, ShapeError if x does not end in these axes.
    """

    normalized_shape: tuple[int, ...]
    elementwise_affine: bool

    def __init__(self, normalized_shape: int | Sequence[int], eps: float = 1e-5,
                 elementwise_affine: bool = True, bias: bool = True):
        given = (normalized_shape,) if isinstance(normalized_shape, int) else normalized_shape
        self.normalized_shape = tuple(count("LayerNorm", "normalized_shape", n) for n in given)
        if not self.normalized_shape:
            raise ConfigError("LayerNorm: normalized_shape is empty; expected at least one length.")
        self.eps = number("LayerNorm", "eps", eps, 0, open_low=True)
        self.elementwise_affine = bool(elementwise_affine)
        self.scale_and_shift(self.normalized_shape, self.elementwise_affine,
                             self.elementwise_affine and bias)

    def forward(self, x: Value) -> Value:
        """(..., *normalized_shape), the same shape out"""
        return ops.layer_norm(x, self.normalized_shape, self.weight, self.bias, eps=self.eps)

    def extra_repr(self) -> str:
        words = [f"{self.normalized_shape}"] + [f"eps={self.eps}"] * (self.eps != 1e-5)
        words += ["elementwise_affine=False"] * (self.weight is None)
        return ", ".join(words + ["bias=False"] * (self.weight is not None and self.bias is None))


class GroupNorm(Affine):
    """y = gamma (x - m) / sqrt(v + eps) + beta with m, v of a group of channels of each sample.

    x (N, num_channels, *S); gamma, beta (num_channels,). One group is layer norm over channels and
    map, num_channels groups are instance norm. Source: Wu and He 2018.
    Errors: ConfigError if the groups do not divide the channels, ShapeError for other channels.
    """

    num_groups: int
    num_channels: int
    affine: bool

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True):
        self.num_groups = count("GroupNorm", "num_groups", num_groups)
        self.num_channels = count("GroupNorm", "num_channels", num_channels)
        if num_channels % num_groups:
            raise ConfigError(f"GroupNorm: num_channels is {num_channels}, which cannot be shared "
                              f"out evenly to {num_groups} groups; use a multiple of it.")
        self.eps = number("GroupNorm", "eps", eps, 0, open_low=True)
        self.affine = bool(affine)
        self.scale_and_shift((self.num_channels,), self.affine, self.affine)

    def forward(self, x: Value) -> Value:
        """(N, C, *S), the same shape out"""
        if ops.shape_of(x)[1:2] != (self.num_channels,):
            raise ShapeError(f"the layer takes (N, {self.num_channels}, ...), but the input is "
                             f"{ops.shape_of(x)}.")
        return ops.group_norm(x, self.num_groups, self.weight, self.bias, eps=self.eps)

    def extra_repr(self) -> str:
        return ", ".join([f"{self.num_groups}, {self.num_channels}",
                          *[f"eps={self.eps}"] * (self.eps != 1e-5),
                          *["affine=False"] * (not self.affine)])


class InstanceNormNd(Affine):
    """y = gamma (x - m) / sqrt(v + eps) + beta with m, v of each map of each sample.

    x (N, num_features, *S). Without `affine`, the default, gamma and beta are left out. There are
    no running statistics: training and inference compute the same. Source: Ulyanov, Vedaldi and
    Lempitsky 2016.
    Errors: ConfigError for impossible numbers; ShapeError for another number of axes or channels,
    or maps of a single element.
    """

    ndim: ClassVar[int]
    num_features: int
    affine: bool

    def __init__(self, num_features: int, eps: float = 1e-5, *, affine: bool = False):
        name = type(self).__name__
        self.num_features = count(name, "num_features", num_features)
        self.eps = number(name, "eps", eps, 0, open_low=True)
        self.affine = bool(affine)
        self.scale_and_shift((self.num_features,), self.affine, self.affine)

    def forward(self, x: Value) -> Value:
        """(N, C, *S), the same shape out"""
        shape = ops.shape_of(x)
        if len(shape) != self.ndim + 2 or shape[1] != self.num_features:
            axes = ", ".join(["N", str(self.num_features), *("D", "H", "W")[3 - self.ndim:]])
            raise ShapeError(f"the layer takes ({axes}), but the input is {shape}.")
        return ops.instance_norm(x, self.weight, self.bias, eps=self.eps)

    def extra_repr(self) -> str:
        return ", ".join([str(self.num_features), *[f"eps={self.eps}"] * (self.eps != 1e-5),
                          *["affine=True"] * self.affine])


class InstanceNorm1d(InstanceNormNd):
    """Instance norm of sequences (N, C, L), see `InstanceNormNd`."""

    ndim = 1


class InstanceNorm2d(InstanceNormNd):
    """Instance norm of images (N, C, H, W), see `InstanceNormNd`."""

    ndim = 2


class InstanceNorm3d(InstanceNormNd):
    """Instance norm of volumes (N, C, D, H, W), see `InstanceNormNd`."""

    ndim = 3


class LocalResponseNorm(PassOn):
    """y_c = x_c / (k + a sum of x_i^2)^beta over the `size` channels i around c; x (N, C, *S).

    a = alpha / size, as in PyTorch and ONNX; with average=False a = alpha, as in the paper, whose
    net has LocalResponseNorm(5, 1e-4, 0.75, 2, average=False). Nothing is learnt.
    Source: Krizhevsky, Sutskever and Hinton 2012, section 3.3. Errors: ConfigError for size < 1 or
    negative alpha, beta, k.
    """

    size: int
    alpha: float
    beta: float
    k: float
    average: bool

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, *,
                 average: bool = True):
        self.size = count("LocalResponseNorm", "size", size)
        self.alpha = number("LocalResponseNorm", "alpha", alpha, 0)
        self.beta = number("LocalResponseNorm", "beta", beta, 0)
        self.k = number("LocalResponseNorm", "k", k, 0)
        self.average = bool(average)

    def forward(self, x: Value) -> Value:
        """(N, C, *S), the same shape out"""
        return ops.local_response_norm(x, self.size, self.alpha, self.beta, self.k,
                                       average=self.average)

    def extra_repr(self) -> str:
        plain = {"alpha": 1e-4, "beta": 0.75, "k": 1.0, "average": True}
        return ", ".join([str(self.size), *(
            f"{n}={getattr(self, n)}" for n, v in plain.items() if getattr(self, n) != v)])
