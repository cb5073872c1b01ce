"""Batch normalisation: mean 0 and variance 1 over the batch, then a learned scale and shift."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from kiso import ops
from kiso.errors import ShapeError
from kiso.nn.checks import count, number
from kiso.nn.parameter import Buffer, Parameter
from kiso.nn.reshaping import PassOn
from kiso.ops import Value

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "BatchNormNd"]


class BatchNormNd(PassOn):
    """y = gamma (x - mean) / sqrt(variance + eps) + beta for each channel.

    In training mean and variance are those of the batch, over all axes but the channel axis 1, and
    the running statistics move towards them: r <- (1 - momentum) r + momentum * batch (with the
    unbiased variance). In inference the running statistics are used. gamma is `weight`, beta is
    `bias`, as in PyTorch. Source: Ioffe and Szegedy 2015.

    Errors: ConfigError for num_features < 1, eps <= 0, momentum outside [0, 1]; ShapeError for an
    input with another number of axes or channels.
    """

    axes: ClassVar[tuple[int, ...]]  # how many axes an input may have
    num_features: int
    eps: float
    momentum: float
    affine: bool
    weight: Parameter | None
    bias: Parameter | None
    running_mean: Buffer
    running_var: Buffer

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1,
                 affine: bool = True):
        name = type(self).__name__
        n = count(name, "num_features", num_features)
        self.num_features = n
        self.eps = number(name, "eps", eps, 0, open_low=True)
        self.momentum = number(name, "momentum", momentum, 0, 1)
        self.affine = bool(affine)
        self.weight = Parameter(np.ones(n, np.float32)) if affine else None
        self.bias = Parameter(np.zeros(n, np.float32)) if affine else None
        self.running_mean = Buffer(np.zeros(n, np.float32))
        self.running_var = Buffer(np.ones(n, np.float32))

    def forward(self, x: Value) -> Value:
        """(N, C, *S), the same shape out"""
        shape = ops.shape_of(x)
        if len(shape) not in self.axes or shape[1] != self.num_features:
            wanted = " or ".join(f"(N, {self.num_features}{', ...' * (n > 2)})" if n < 4 else
                                 f"(N, {self.num_features}, {'D, ' * (n > 4)}H, W)"
                                 for n in self.axes)
            raise ShapeError(f"the layer takes {wanted}, but the input is {shape}.")
        kind = self.running_mean.dtype
        gamma = np.ones(self.num_features, kind) if self.weight is None else self.weight
        beta = np.zeros(self.num_features, kind) if self.bias is None else self.bias
        y, mean, var = ops.batch_norm(x, gamma, beta, self.running_mean, self.running_var,
                                      training=self.training, momentum=self.momentum, eps=self.eps)
        if self.training:
            # In their own type, whatever that of x: the state of a step keeps its types.
            self.running_mean, self.running_var = ops.cast(mean, kind), ops.cast(var, kind)
        return y

    def extra_repr(self) -> str:
        plain = {"eps": 1e-5, "momentum": 0.1, "affine": True}
        return ", ".join([str(self.num_features), *(
            f"{n}={getattr(self, n)}" for n, v in plain.items() if getattr(self, n) != v)])


class BatchNorm1d(BatchNormNd):
    """Batch norm of tables (N, C) and sequences (N, C, L), see `BatchNormNd`."""

    axes = (2, 3)


class BatchNorm2d(BatchNormNd):
    """Batch norm of images (N, C, H, W), see `BatchNormNd`."""

    axes = (4,)


class BatchNorm3d(BatchNormNd):
    """Batch norm of volumes (N, C, D, H, W), see `BatchNormNd`."""

    axes = (5,)
