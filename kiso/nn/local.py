"""Layers of local connections: filters, or biases, that are not shared between places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kiso import ops
from kiso.errors import ShapeError
from kiso.nn.checks import count, sizes, spread
from kiso.nn.conv import Conv2d
from kiso.nn.init import Rule, new_start
from kiso.nn.linear import Weighted
from kiso.nn.parameter import Parameter
from kiso.ops import Shape, Value

__all__ = ["LocallyConnected1d", "LocallyConnected2d", "LocallyConnectedNd", "UntiedConv2d"]

Sizes = int | Sequence[int]


class LocallyConnectedNd(Weighted):
    """A convolution with a filter bank of its own at every place; base of the 1d and 2d layers.

    x (N, in_channels, *S) -> (N, out_channels, *OUT), OUT = (S + 2P - K) / T + 1, rounded down. As
    every place has weights of its own, S must be known: `input_size`. W is (L, out, in * prod(K)),
    L = prod(OUT) places in row-major order; the bias (out, *OUT) has one number for each unit.
    fan_in = in * prod(K), as in a convolution; an input reaches about out * prod(K / T) outputs.

    Source: LeCun 1989, "Generalization and Network Design Strategies" (net-3).
    Errors: ConfigError for impossible numbers; ShapeError if no window fits or x has another size.
    """

    ndim: ClassVar[int]
    in_channels: int
    out_channels: int
    input_size: tuple[int, ...]
    kernel_size: int | tuple[int, ...]
    stride: int | tuple[int, ...]
    padding: int | tuple[int, ...]

    def __init__(self, in_channels: int, out_channels: int, input_size: Sizes, kernel_size: Sizes,
                 stride: Sizes = 1, padding: Sizes = 0, bias: bool = True, *,
                 init: str | Rule | None = None):
        name, n = type(self).__name__, self.ndim
        self.in_channels = count(name, "in_channels", in_channels)
        self.out_channels = count(name, "out_channels", out_channels)
        self.input_size = spread(sizes(name, "input_size", input_size, n), n)
        self.kernel_size = sizes(name, "kernel_size", kernel_size, n)
        self.stride = sizes(name, "stride", stride, n)
        self.padding = sizes(name, "padding", padding, n, low=0)
        out, inputs = self.output_size(), self.in_channels * math.prod(spread(self.kernel_size, n))
        shape = (math.prod(out), self.out_channels, inputs)
        self.weight = Parameter(new_start(shape, init, fan=self.fan))
        self.bias = Parameter(np.zeros((self.out_channels, *out), np.float32)) if bias else None

    def output_size(self) -> Shape:
        """OUT of every axis."""
        K, T, P = (spread(v, self.ndim) for v in (self.kernel_size, self.stride, self.padding))
        return ops.out_sizes(type(self).__name__, self.input_size, K, T, tuple((p, p) for p in P))

    @property
    def fan(self) -> tuple[float, float]:
        """(fan_in, fan_out)"""
        taps, steps = (math.prod(spread(v, self.ndim)) for v in (self.kernel_size, self.stride))
        return self.in_channels * taps, self.out_channels * taps / steps

    def forward(self, x: Value) -> Value:
        """(N, C, *S) -> (N, O, *OUT)"""
        shape = ops.shape_of(x)
        if shape[1:] != (self.in_channels, *self.input_size):
            raise ShapeError(f"the layer takes (N, {self.in_channels}, "
                             f"{', '.join(map(str, self.input_size))}), the size that it was made "
                             f"for, but the input is {shape}.")
        return ops.locally_connected(x, self.weight, self.bias, kernel_size=self.kernel_size,
                                     stride=self.stride, padding=self.padding)

    def extra_repr(self) -> str:
        words = [f"{self.in_channels}, {self.out_channels}, input_size={self.input_size}",
                 f"kernel_size={self.kernel_size}"]
        words += [f"stride={self.stride}"] * (self.stride != 1)
        words += [f"padding={self.padding}"] * (self.padding != 0)
        return ", ".join(words + ["bias=False"] * (self.bias is None))


class LocallyConnected1d(LocallyConnectedNd):
    """Unshared filters over sequences (N, C, L), see `LocallyConnectedNd`."""

    ndim = 1


class LocallyConnected2d(LocallyConnectedNd):
    """Unshared filters over images (N, C, H, W), see `LocallyConnectedNd`."""

    ndim = 2


class UntiedConv2d(Conv2d):
    """A convolution whose filters are shared between places, while each unit has its own bias.

    y[n, o, i, j] = b[o, i, j] + (W * x)[n, o, i, j]; arguments as in Conv2d, and `input_size`, H
    and W, as the bias (out, OH, OW) depends on it. So were the first convolutions that learnt by
    back-propagation: H1 of the zip code reader has 12 * 25 weights and 12 * 64 biases.

    Source: LeCun 1989 (net-4); LeCun et al., "Backpropagation Applied to Handwritten Zip Code
    Recognition", 1989. Errors: as Conv2d; ShapeError for an input of another size.
    """

    input_size: tuple[int, ...]
    bias: Parameter

    def __init__(self, in_channels: int, out_channels: int, input_size: Sizes, kernel_size: Sizes,
                 stride: Sizes = 1, padding: Sizes | str = 0, dilation: Sizes = 1, groups: int = 1,
                 *, init: str | Rule | None = None):
        self.input_size = spread(sizes("UntiedConv2d", "input_size", input_size, 2), 2)
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups,
                         False, init=init)
        K, T, D = (spread(v, 2) for v in (self.kernel_size, self.stride, self.dilation))
        pads = ops.padding_pairs(self.padding, self.input_size, K, T, D)
        out = ops.out_sizes("UntiedConv2d", self.input_size, K, T, pads, D)
        self.bias = Parameter(np.zeros((self.out_channels, *out), np.float32))

    def forward(self, x: Value) -> Value:
        """(N, C, H, W) -> (N, O, OH, OW)"""
        if ops.shape_of(x)[2:] != self.input_size:
            raise ShapeError(f"the layer takes maps of {self.input_size}, the size that it was "
                             f"made for, but the input is {ops.shape_of(x)}.")
        y = ops.conv2d(x, self.weight, stride=self.stride, padding=self.padding,
                       dilation=self.dilation, groups=self.groups)
        return y + self.bias

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, input_size={self.input_size}"
