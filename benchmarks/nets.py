"""The nets of the benchmarks, as descriptions that both sides are built from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kiso import models, nn
from kiso.models.base import IMAGENET

__all__ = ["NETS", "Net", "samples"]


@dataclass(frozen=True)
class Net:
    """A net, the shape of one sample, and how many samples a step takes."""

    text: str  # its layers, or the name of a net of kiso.models, with options if need be
    shape: tuple[int, ...]
    batch: int
    classes: int = 10
    pixels: bool = False  # a class for each pixel, not for each sample

    def build(self, seed: int = 0) -> nn.Module:
        """The Kiso model; the same weights for the same seed."""
        nn.manual_seed(seed)
        if models.registry.find(self.text):
            return models.build(self.text, self.shape, self.classes)
        return nn.from_text(self.text, self.shape)

    def step_operations(self) -> int:
        """Floating-point operations of a training step in products and convolutions.

        Each layer multiplies and adds for its output, for the gradient of its weights and for the
        gradient of its input, which the first layer does not need. Auxiliary heads are not
        counted (GoogLeNet's have half a percent).
        """
        counts = [row.multiply_adds for row in self.build().summary(self.shape).rows
                  if row.multiply_adds]
        return 2 * self.batch * (3 * sum(counts) - counts[0])


def _block(channels: int, stride: int = 1, shortcut: bool = False) -> str:
    """Two 3x3 convolutions around which the input is added (He et al. 2016)."""
    body = (f"conv{channels}k3s{stride}p1nobias bn relu "
            f"conv{channels}k3p1nobias bn")
    way = f" | seq(conv{channels}k1s{stride}p0nobias bn)" if shortcut else ""
    return f"res({body}{way}) relu"


def _stages(widths: tuple[int, ...], blocks: int) -> str:
    """Stages of residual blocks; each but the first halves the map at its beginning."""
    words: list[str] = []
    for i, width in enumerate(widths):
        words += [_block(width, 2, True) if i else _block(width)]
        words += [_block(width)] * (blocks - 1)
    return " ".join(words)


def _vgg16(classes: int) -> str:
    """Thirteen 3x3 convolutions and a dense head (Simonyan and Zisserman 2015)."""
    convolutions = [" ".join([f"conv{width}k3p1 relu"] * count) + " pool2"
                    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))]
    head = "linear4096 relu dropout0.5 " * 2 + f"linear{classes}"
    return f"{' '.join(convolutions)} flatten {head}"


_PAIRS = " ".join(f"conv{a}k3p1 relu conv{b}k3p{p} relu pool2"
                  for a, b, p in ((16, 16, 1), (32, 32, 2), (64, 64, 1)))

NETS: dict[str, Net] = {
    "mlp": Net("flatten linear100 relu linear10", (1, 28, 28), 100),
    "lenet5": Net("conv6k5p2 sigmoid avgpool2 conv16k5p0 sigmoid avgpool2 flatten "
                  "linear120 sigmoid linear84 sigmoid linear10", (1, 28, 28), 100),
    "simpleconv": Net("conv30k5p0 relu pool2 flatten linear100 relu linear10", (1, 28, 28), 100),
    "deepconv": Net(f"{_PAIRS} flatten linear50 relu dropout0.5 linear10", (1, 28, 28), 100),
    "resnet20": Net(f"conv16k3p1nobias bn relu {_stages((16, 32, 64), 3)} gap linear10",
                    (3, 32, 32), 128),
    "vgg16_32": Net(_vgg16(10), (3, 32, 32), 64),
    "resnet18_224": Net("conv64k7s2p3nobias bn relu pool3s2p1 "
                        f"{_stages((64, 128, 256, 512), 2)} gap linear10", (3, 224, 224), 16),
    "mobilenet_v1_224": Net("mobilenet_v1", IMAGENET, 16, 1000),
    "vgg16_224": Net(_vgg16(2), (3, 224, 224), 8, 2),
    "alexnet_224": Net("alexnet", IMAGENET, 16, 1000),
    "googlenet_224": Net("googlenet", IMAGENET, 16, 1000),
    "resnet50_224": Net("resnet50", IMAGENET, 8, 1000),
    "unet_128": Net("unet", (3, 128, 128), 8, 2, pixels=True),
}


def samples(net: Net, seed: int = 0) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """A batch of normalised inputs (N, ...) float32 and classes (N,) int64, or (N, H, W)."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((net.batch, *net.shape), np.float32)
    return x, rng.integers(0, net.classes, (net.batch, *net.shape[1:] * net.pixels))
