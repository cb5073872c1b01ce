"""Convolution layers: filters that slide over sequences, images and volumes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from kiso import ops
from kiso.nn.checks import check_groups, choice, count, sizes
from kiso.nn.init import Rule, new_start
from kiso.nn.linear import Weighted
from kiso.nn.parameter import Parameter
from kiso.ops import Value

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvNd", "settings"]

Sizes = int | Sequence[int]


class ConvNd(Weighted):
    """y[n, o] = b[o] + sum over c of W[o, c] * x[n, c]; base of Conv1d, Conv2d and Conv3d.

    x (N, in_channels, *S) -> (N, out_channels, *OUT), OUT = (S + 2P - D (K - 1) - 1) / T + 1,
    rounded down, for kernel K, stride T, padding P, dilation D. Padding is a number, one for each
    axis, "same" (OUT = ceil(S / T)) or "valid" (none). With `groups` each part of the filters
    sees only its part of the channels. W is (out, in / groups, *K). First weights as in `Linear`.

    Errors: ConfigError for impossible numbers; ShapeError with the formula if no window fits.
    """

    ndim: ClassVar[int]
    function: ClassVar[Callable[..., Any]]
    in_channels: int
    out_channels: int
    kernel_size: int | tuple[int, ...]
    stride: int | tuple[int, ...]
    padding: int | tuple[int, ...] | str
    dilation: int | tuple[int, ...]
    groups: int

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Sizes, stride: Sizes = 1,
                 padding: Sizes | str = 0, dilation: Sizes = 1, groups: int = 1,
                 bias: bool = True, *, init: str | Rule | None = None):
        name, n = type(self).__name__, self.ndim
        self.in_channels = count(name, "in_channels", in_channels)
        self.out_channels = count(name, "out_channels", out_channels)
        self.kernel_size = sizes(name, "kernel_size", kernel_size, n)
        self.stride = sizes(name, "stride", stride, n)
        self.padding = (choice(name, "padding", padding, ("same", "valid"))
                        if isinstance(padding, str) else sizes(name, "padding", padding, n, low=0))
        self.dilation = sizes(name, "dilation", dilation, n)
        self.groups = count(name, "groups", groups)
        check_groups(name, in_channels, out_channels, self.groups)
        k = self.kernel_size
        kernel = (k,) * n if isinstance(k, int) else k
        shape = (self.out_channels, self.in_channels // self.groups, *kernel)
        self.weight = Parameter(new_start(shape, init, self.groups))
        self.bias = Parameter(np.zeros(self.out_channels, np.float32)) if bias else None

    def forward(self, x: Value) -> Value:
        """(N, C, *S) -> (N, O, *OUT)"""
        return type(self).function(x, self.weight, self.bias, stride=self.stride,
                                   padding=self.padding, dilation=self.dilation,
                                   groups=self.groups)

    def extra_repr(self) -> str:
        return settings(self, "stride", "padding", "dilation", "groups")


def settings(layer: Any, *names: str) -> str:
    """Channels and kernel of a convolution, and those of its settings that are not the usual."""
    usual = {"stride": 1, "dilation": 1, "groups": 1}
    words = [f"{layer.in_channels}, {layer.out_channels}, kernel_size={layer.kernel_size}"]
    words += [f"{n}={getattr(layer, n)!r}" for n in names if getattr(layer, n) != usual.get(n, 0)]
    return ", ".join(words + (["bias=False"] if layer.bias is None else []))


class Conv1d(ConvNd):
    """Convolution over sequences (N, C, L), see `ConvNd`."""

    ndim = 1
    function = staticmethod(ops.conv1d)


class Conv2d(ConvNd):
    """Convolution over images (N, C, H, W), see `ConvNd`.  LeCun et al. 1998."""

    ndim = 2
    function = staticmethod(ops.conv2d)


class Conv3d(ConvNd):
    """Convolution over volumes or films (N, C, D, H, W), see `ConvNd`."""

    ndim = 3
    function = staticmethod(ops.conv3d)
