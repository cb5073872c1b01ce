"""Pooling layers: one number for each window; no parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from kiso import ops
from kiso.errors import ConfigError
from kiso.nn.checks import count, sizes
from kiso.nn.reshaping import PassOn
from kiso.ops import Value

__all__ = ["AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveAvgPoolNd",
           "AvgPool1d", "AvgPool2d", "AvgPool3d", "AvgPoolNd", "GlobalAvgPool", "GlobalMaxPool",
           "MaxPool1d", "MaxPool2d", "MaxPool3d", "PoolNd"]

Sizes = int | Sequence[int]


class PoolNd(PassOn):
    """Base of the pooling layers: x (N, C, *S) -> (N, C, *OUT).

    OUT = (S + 2P - K) / T + 1, rounded down, or up with `ceil_mode`; the stride T is the kernel
    size K if it is not given. Errors: ConfigError for impossible numbers, ShapeError if no window
    fits.
    """

    ndim: ClassVar[int]
    function: ClassVar[Callable[..., Any]]
    kernel_size: int | tuple[int, ...]
    stride: int | tuple[int, ...]
    padding: int | tuple[int, ...]
    ceil_mode: bool

    def __init__(self, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, *,
                 ceil_mode: bool = False):
        name, n = type(self).__name__, self.ndim
        self.kernel_size = sizes(name, "kernel_size", kernel_size, n)
        self.stride = self.kernel_size if stride is None else sizes(name, "stride", stride, n)
        self.padding = sizes(name, "padding", padding, n, low=0)
        self.ceil_mode = bool(ceil_mode)

    def forward(self, x: Value) -> Value:
        """(N, C, *S) -> (N, C, *OUT)"""
        return type(self).function(x, self.kernel_size, stride=self.stride, padding=self.padding,
                                   ceil_mode=self.ceil_mode)

    def extra_repr(self) -> str:
        words = [f"kernel_size={self.kernel_size}"]
        words += [f"stride={self.stride}"] * (self.stride != self.kernel_size)
        words += [f"padding={self.padding}"] * (self.padding != 0)
        return ", ".join(words + ["ceil_mode=True"] * self.ceil_mode)


class MaxPool1d(PoolNd):
    """The largest value of each window of (N, C, L)."""

    ndim = 1
    function = staticmethod(ops.max_pool1d)


class MaxPool2d(PoolNd):
    """The largest value of each window of (N, C, H, W)."""

    ndim = 2
    function = staticmethod(ops.max_pool2d)


class MaxPool3d(PoolNd):
    """The largest value of each window of (N, C, D, H, W)."""

    ndim = 3
    function = staticmethod(ops.max_pool3d)


class AvgPoolNd(PoolNd):
    """Base of the average pooling layers; zeros of the padding count unless told otherwise."""

    count_include_pad: bool

    def __init__(self, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0,
                 ceil_mode: bool = False, count_include_pad: bool = True):
        super().__init__(kernel_size, stride, padding, ceil_mode=ceil_mode)
        self.count_include_pad = bool(count_include_pad)

    def forward(self, x: Value) -> Value:
        """(N, C, *S) -> (N, C, *OUT)"""
        return type(self).function(x, self.kernel_size, stride=self.stride, padding=self.padding,
                                   ceil_mode=self.ceil_mode,
                                   count_include_pad=self.count_include_pad)

    def extra_repr(self) -> str:
        words = super().extra_repr()
        return words if self.count_include_pad else f"{words}, count_include_pad=False"


class AvgPool1d(AvgPoolNd):
    """The mean of each window of (N, C, L)."""

    ndim = 1
    function = staticmethod(ops.avg_pool1d)


class AvgPool2d(AvgPoolNd):
    """The mean of each window of (N, C, H, W)."""

    ndim = 2
    function = staticmethod(ops.avg_pool2d)


class AvgPool3d(AvgPoolNd):
    """The mean of each window of (N, C, D, H, W)."""

    ndim = 3
    function = staticmethod(ops.avg_pool3d)


class GlobalAvgPool(PassOn):
    """The mean of each channel's whole map: (N, C, *S) -> (N, C).  Lin, Chen and Yan 2014."""

    def forward(self, x: Value) -> Value:
        """(N, C, *S) -> (N, C)"""
        return ops.global_avg_pool(x)


class GlobalMaxPool(PassOn):
    """The largest value of each channel's whole map: (N, C, *S) -> (N, C)."""

    def forward(self, x: Value) -> Value:
        """(N, C, *S) -> (N, C)"""
        return ops.global_max_pool(x)


class AdaptiveAvgPoolNd(PassOn):
    """Means over a grid of windows, so that maps of any size come out as (N, C, *output_size).

    Window j of O along an axis of S elements reaches from floor(j S / O) to ceil((j + 1) S / O).
    `output_size` is a number, or one for each axis; None keeps an axis as it is. Base of the 1d, 2d
    and 3d layers. Source: He et al. 2014 (spatial pyramid pooling).
    Errors: ConfigError for sizes below 1, ShapeError for another number of axes.
    """

    ndim: ClassVar[int]
    function: ClassVar[Callable[..., Any]]
    output_size: int | tuple[int | None, ...] | None

    def __init__(self, output_size: int | Sequence[int | None] | None):
        name = type(self).__name__
        if isinstance(output_size, Sequence):
            if len(output_size) != self.ndim:
                raise ConfigError(f"{name}: output_size is {output_size!r}; expected {self.ndim} "
                                  "numbers, one for each spatial axis.")
            self.output_size = tuple(n if n is None else count(name, "output_size", n)
                                     for n in output_size)
        else:
            self.output_size = (None if output_size is None
                                else count(name, "output_size", output_size))

    def forward(self, x: Value) -> Value:
        """(N, C, *S) -> (N, C, *output_size)"""
        return type(self).function(x, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(AdaptiveAvgPoolNd):
    """Means over windows of (N, C, L), as many as wanted."""

    ndim = 1
    function = staticmethod(ops.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(AdaptiveAvgPoolNd):
    """Means over a grid of windows of (N, C, H, W), as many as wanted."""

    ndim = 2
    function = staticmethod(ops.adaptive_avg_pool2d)


class AdaptiveAvgPool3d(AdaptiveAvgPoolNd):
    """Means over a grid of windows of (N, C, D, H, W), as many as wanted."""

    ndim = 3
    function = staticmethod(ops.adaptive_avg_pool3d)
