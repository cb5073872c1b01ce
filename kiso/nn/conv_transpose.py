"""Transposed convolution layers: maps that grow, with filters that are learnt."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from kiso import ops
from kiso.errors import ConfigError
from kiso.nn.checks import check_groups, count, sizes, spread
from kiso.nn.conv import settings
from kiso.nn.init import Rule, new_start
from kiso.nn.linear import Weighted
from kiso.nn.parameter import Parameter
from kiso.ops import Value

__all__ = ["ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "ConvTransposeNd"]

Sizes = int | Sequence[int]


class ConvTransposeNd(Weighted):
    """Every input element writes a filter into the output; base of ConvTranspose1d, 2d and 3d.

    x (N, in_channels, *H) -> (N, out_channels, *OUT), OUT = (H - 1) T - 2P + D (K - 1) + OP + 1 for
    kernel K, stride T, padding P, dilation D, output padding OP. It goes back over the sizes of a
    convolution with the same numbers, and is its input gradient; OP picks one of the sizes that
    convolution takes to H. W is (in, out / groups, *K), as in PyTorch.

    First weights as in `Linear`; of a kernel's taps only every T-th meets an output element, so
    fan_in = in / groups * K / T for each axis, and fan_out = out / groups * K.
    Errors: ConfigError for impossible numbers; ShapeError with the formula if nothing is left.
    Source: Zeiler et al. 2010.
    """

    ndim: ClassVar[int]
    function: ClassVar[Callable[..., Any]]
    in_channels: int
    out_channels: int
    kernel_size: int | tuple[int, ...]
    stride: int | tuple[int, ...]
    padding: int | tuple[int, ...]
    output_padding: int | tuple[int, ...]
    dilation: int | tuple[int, ...]
    groups: int

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Sizes, stride: Sizes = 1,
                 padding: Sizes = 0, output_padding: Sizes = 0, groups: int = 1,
                 bias: bool = True, dilation: Sizes = 1, *, init: str | Rule | None = None):
        name, n = type(self).__name__, self.ndim
        self.in_channels = count(name, "in_channels", in_channels)
        self.out_channels = count(name, "out_channels", out_channels)
        self.kernel_size = sizes(name, "kernel_size", kernel_size, n)
        self.stride = sizes(name, "stride", stride, n)
        self.padding = sizes(name, "padding", padding, n, low=0)
        self.output_padding = sizes(name, "output_padding", output_padding, n, low=0)
        self.dilation = sizes(name, "dilation", dilation, n)
        self.groups = count(name, "groups", groups)
        check_groups(name, in_channels, out_channels, self.groups)
        limits = (spread(v, n) for v in (self.output_padding, self.stride, self.dilation))
        if any(op >= max(t, d) for op, t, d in zip(*limits, strict=True)):
            raise ConfigError(f"{name}: output_padding is {output_padding!r}; expected less than "
                              f"the stride {stride!r} or the dilation {dilation!r}.")
        shape = (self.in_channels, self.out_channels // self.groups, *spread(self.kernel_size, n))
        self.weight = Parameter(new_start(shape, init, self.groups, self.fan))
        self.bias = Parameter(np.zeros(self.out_channels, np.float32)) if bias else None

    @property
    def fan(self) -> tuple[float, float]:
        """(fan_in, fan_out)"""
        taps, steps = (math.prod(spread(v, self.ndim)) for v in (self.kernel_size, self.stride))
        return (self.in_channels / self.groups * taps / steps,
                self.out_channels / self.groups * taps)

    def forward(self, x: Value) -> Value:
        """(N, C, *H) -> (N, O, *OUT)"""
        return type(self).function(
            x, self.weight, self.bias, stride=self.stride, padding=self.padding,
            output_padding=self.output_padding, groups=self.groups, dilation=self.dilation)

    def extra_repr(self) -> str:
        return settings(self, "stride", "padding", "output_padding", "dilation", "groups")


class ConvTranspose1d(ConvTransposeNd):
    """Transposed convolution over sequences (N, C, L), see `ConvTransposeNd`."""

    ndim = 1
    function = staticmethod(ops.conv_transpose1d)


class ConvTranspose2d(ConvTransposeNd):
    """Transposed convolution over images (N, C, H, W), see `ConvTransposeNd`."""

    ndim = 2
    function = staticmethod(ops.conv_transpose2d)


class ConvTranspose3d(ConvTransposeNd):
    """Transposed convolution over volumes (N, C, D, H, W), see `ConvTransposeNd`."""

    ndim = 3
    function = staticmethod(ops.conv_transpose3d)
