"""The nets of the benchmarks, as descriptions that both sides are built from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kiso import nn

__all__ = ["NETS", "Net", "samples"]


@dataclass(frozen=True)
class Net:
    """A net, the shape of one sample, and how many samples a step takes."""

    text: str
    shape: tuple[int, ...]
    batch: int
    classes: int = 10

    def build(self, seed: int = 0) -> nn.Sequential:
        """The Kiso model; the same weights for the same seed."""
        nn.manual_seed(seed)
        return nn.from_text(self.text, self.shape)

    def step_operations(self) -> int:
        """Floating-point operations of a training step in products and convolutions.

        Each layer multiplies and adds for its output, for the gradient of its weights and for the
        gradient of its input, which the first layer does not need.
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


def _mobilenet(classes: int) -> str:
    """Separable convolutions: one filter for each channel, then 1x1 (Howard et al. 2017)."""
    blocks = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5,
              (1024, 2), (1024, 1))
    words, c = ["conv32k3s2p1nobias bn relu"], 32
    for channels, stride in blocks:
        words.append(f"conv{c}k3s{stride}p1g{c}nobias bn relu "
                     f"conv{channels}k1p0nobias bn relu")
        c = channels
    return f"{' '.join(words)} gap linear{classes}"


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
    "mobilenet_v1_224": Net(_mobilenet(1000), (3, 224, 224), 16, 1000),
    "vgg16_224": Net(_vgg16(2), (3, 224, 224), 8, 2),
}


def samples(net: Net, seed: int = 0) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """A batch of normalised inputs (N, ...) float32 and classes (N,) int64."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((net.batch, *net.shape), np.float32)
    return x, rng.integers(0, net.classes, net.batch)
