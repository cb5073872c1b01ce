"""Small blocks that nets are made of: squeeze-and-excitation, separable convolution."""

from __future__ import annotations

from collections.abc import Sequence

from kiso import ops
from kiso.errors import ShapeError
from kiso.nn.checks import count
from kiso.nn.conv import Conv2d
from kiso.nn.init import Rule
from kiso.nn.module import Module
from kiso.nn.reshaping import PassOn
from kiso.ops import Value

__all__ = ["SeparableConv2d", "SqueezeExcitation"]

Sizes = int | Sequence[int]


class SqueezeExcitation(PassOn):
    """y[n, c] = s[n, c] x[n, c],  s = sigmoid(W2 relu(W1 mean(x) + b1) + b2).

    Every channel is weighted by a number between 0 and 1 that depends on what all channels hold on
    the average. x (N, input_channels, H, W). W1 squeezes to `squeeze_channels`, W2 goes back; both
    are 1x1 convolutions named fc1 and fc2, as in torchvision.
    Source: Hu, Shen and Sun 2018, who squeeze to 1/16 of the channels.
    Errors: ConfigError for numbers below 1, ShapeError for other inputs.
    """

    fc1: Conv2d
    fc2: Conv2d

    def __init__(self, input_channels: int, squeeze_channels: int, *,
                 init: str | Rule | None = None):
        self.input_channels = count("SqueezeExcitation", "input_channels", input_channels)
        self.squeeze_channels = count("SqueezeExcitation", "squeeze_channels", squeeze_channels)
        self.fc1 = Conv2d(input_channels, squeeze_channels, 1, init=init)
        self.fc2 = Conv2d(squeeze_channels, input_channels, 1, init=init)
        self.fc1.followed_by("relu")
        self.fc2.followed_by("sigmoid")

    def forward(self, x: Value) -> Value:
        """(N, C, H, W), the same shape out"""
        if len(ops.shape_of(x)) != 4:
            raise ShapeError(f"the layer takes (N, C, H, W), but the input is {ops.shape_of(x)}.")
        squeezed = ops.relu(self.fc1(ops.mean(x, (2, 3), keepdims=True)))
        return x * ops.sigmoid(self.fc2(squeezed))

    def extra_repr(self) -> str:
        return f"{self.input_channels}, {self.squeeze_channels}"


class SeparableConv2d(Module):
    """A convolution in two: each channel by a filter of its own, then a 1x1 over the channels.

    `depthwise` is Conv2d(C, C, K, groups=C) with stride, padding and dilation, without bias;
    `pointwise` is Conv2d(C, O, 1). C K^2 + C O weights do the work of C O K^2; nothing stands
    between them (MobileNet puts batch norm and ReLU there: write two Conv2d).
    Source: Sifre 2014; Chollet 2017 (Xception). Errors: as Conv2d.
    """

    depthwise: Conv2d
    pointwise: Conv2d

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Sizes, stride: Sizes = 1,
                 padding: Sizes | str = 0, dilation: Sizes = 1, bias: bool = True, *,
                 init: str | Rule | None = None):
        channels = count("SeparableConv2d", "in_channels", in_channels)
        self.depthwise = Conv2d(channels, channels, kernel_size, stride, padding, dilation,
                                channels, False, init=init)
        self.pointwise = Conv2d(channels, out_channels, 1, bias=bias, init=init)

    def followed_by(self, activation: str | None) -> str | None:
        """The scale of the last weights is chosen by the activation that comes next."""
        return self.pointwise.followed_by(activation)

    def forward(self, x: Value) -> Value:
        """(N, C, H, W) -> (N, O, OH, OW)"""
        return self.pointwise(self.depthwise(x))
