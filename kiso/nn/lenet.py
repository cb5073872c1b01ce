"""Layers of LeNet-5 that later nets left out: sub-sampling that is learnt, and sparse tables.

    net = nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.Subsampling2d(6), nn.ScaledTanh(),               C1, S2
        nn.SparseConv2d(LENET5_C3, 5), nn.Subsampling2d(16), nn.ScaledTanh(),   C3, S4
        nn.Conv2d(16, 120, 5), nn.ScaledTanh(), nn.Flatten(),                   C5
        nn.Linear(120, 84), nn.ScaledTanh(), nn.Linear(84, 10))                 F6, output

On images of 32x32 the layers before the output have 60,000 parameters: 156, 12, 1,516, 32, 48,120
and 10,164. (In the paper the output is 10 radial basis functions, with fixed centres.)

Source: LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document
Recognition", 1998.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kiso import ops
from kiso.errors import ConfigError, ShapeError
from kiso.nn.checks import count, sizes, spread
from kiso.nn.init import Rule, new_start
from kiso.nn.linear import Weighted
from kiso.nn.parameter import Parameter
from kiso.nn.reshaping import PassOn
from kiso.ops import Value

__all__ = ["LENET5_C3", "SparseConv2d", "Subsampling2d"]

# Table I of the paper: which of the 6 maps of S2 each of the 16 maps of C3 sees.
LENET5_C3: tuple[tuple[int, ...], ...] = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5),
)


class Subsampling2d(PassOn):
    """y[n, c] = w[c] * (sum of each window of x[n, c]) + b[c]: pooling with two numbers to learn.

    x (N, channels, H, W) -> (N, channels, H / K, W / K) for windows K x K that do not overlap. A
    small w makes the following sigmoid nearly linear, a large one makes it a noisy OR or AND. w
    starts at 1 / K^2, as a mean, b at 0.
    Errors: ConfigError for impossible numbers, ShapeError if no window fits or channels differ.
    """

    channels: int
    kernel_size: int | tuple[int, ...]
    weight: Parameter
    bias: Parameter

    def __init__(self, channels: int, kernel_size: int | Sequence[int] = 2):
        self.channels = count("Subsampling2d", "channels", channels)
        self.kernel_size = sizes("Subsampling2d", "kernel_size", kernel_size, 2)
        self.weight = Parameter(np.full(self.channels, 1 / self.window(), np.float32))
        self.bias = Parameter(np.zeros(self.channels, np.float32))

    def window(self) -> int:
        """Elements of a window."""
        return math.prod(spread(self.kernel_size, 2))

    def forward(self, x: Value) -> Value:
        """(N, C, H, W) -> (N, C, OH, OW)"""
        shape, column = ops.shape_of(x), (self.channels, 1, 1)
        if len(shape) != 4 or shape[1] != self.channels:
            raise ShapeError(f"the layer takes (N, {self.channels}, H, W), but the input is "
                             f"{shape}.")
        total = ops.avg_pool2d(x, self.kernel_size) * float(self.window())
        return total * ops.reshape(self.weight, column) + ops.reshape(self.bias, column)


class SparseConv2d(Weighted):
    """A convolution in which each filter sees the input maps of its row in a table, no others.

    `table`: for each output map the numbers of its input maps, as `LENET5_C3`; which kinds of
    features may be combined is thus decided beforehand, and different maps must learn different
    features as they see different things. Only existing connections have weights: W is
    (connections, KH, KW), in the order of the table, the bias one number for each map. Stride 1.

    x (N, in_channels, H, W) -> (N, len(table), H - KH + 1, W - KW + 1) without padding. in_channels
    is the largest number in the table + 1. fan_in is that of the average map.
    Errors: ConfigError for an empty row, or a number that is negative or comes twice in its row.
    """

    table: tuple[tuple[int, ...], ...]
    kernel_size: int | tuple[int, ...]
    padding: int | tuple[int, ...]
    in_channels: int
    out_channels: int

    def __init__(self, table: Sequence[Sequence[int]], kernel_size: int | Sequence[int],
                 padding: int | Sequence[int] = 0, *, init: str | Rule | None = None):
        self.table = tuple(tuple(count("SparseConv2d", "table", n, 0) for n in row)
                           for row in table)
        if not self.table or any(not row or len(set(row)) < len(row) for row in self.table):
            raise ConfigError(f"SparseConv2d: table is {self.table!r}; expected for each "
                              "filter the numbers of the input maps that it sees, each once.")
        self.kernel_size = sizes("SparseConv2d", "kernel_size", kernel_size, 2)
        self.padding = sizes("SparseConv2d", "padding", padding, 2, low=0)
        self.out_channels = len(self.table)
        self.in_channels = 1 + max(max(row) for row in self.table)
        shape = (sum(map(len, self.table)), *self.kernel())
        self.weight = Parameter(new_start(shape, init, fan=self.fan))
        self.bias = Parameter(np.zeros(self.out_channels, np.float32))

    def kernel(self) -> tuple[int, ...]:
        """(KH, KW)"""
        return spread(self.kernel_size, 2)

    @property
    def fan(self) -> tuple[float, float]:
        """(fan_in, fan_out) of the average map"""
        connections, taps = sum(map(len, self.table)), math.prod(self.kernel())
        return connections * taps / self.out_channels, connections * taps / self.in_channels

    @property
    def density(self) -> float:
        """Share of all pairs of input and output maps that are connected."""
        return sum(map(len, self.table)) / (self.in_channels * self.out_channels)

    def filters(self) -> Value:
        """The weights as usual filters (O, C, KH, KW), zeros where there is no connection."""
        C, O, connections = self.in_channels, self.out_channels, sum(map(len, self.table))
        place = np.full((O, C), connections, np.int64)  # where there is none: the row of zeros
        place[np.repeat(np.arange(O), [len(row) for row in self.table]),
              np.concatenate(self.table)] = np.arange(connections)
        rows = ops.pad(self.weight, ((0, 1), (0, 0), (0, 0)))
        return ops.reshape(ops.take(rows, place.reshape(-1)), (O, C, *self.kernel()))

    def forward(self, x: Value) -> Value:
        """(N, C, H, W) -> (N, O, OH, OW)"""
        return ops.conv2d(x, self.filters(), self.bias, padding=self.padding)

    def extra_repr(self) -> str:
        connections = sum(map(len, self.table))
        words = [f"{self.in_channels}, {self.out_channels}, connections={connections}",
                 f"kernel_size={self.kernel_size}"]
        return ", ".join(words + [f"padding={self.padding}"] * (self.padding != 0))
