"""The nets of the zoo once more as PyTorch modules, written from the papers and torchvision's
attribute names, not from Kiso's files: the same weights must give the same numbers.

ReLU writes over its input, as in torchvision. Only what needs PyTorch imports this file.
"""

from __future__ import annotations

from typing import Any

import torch

t: Any = torch.nn

__all__ = ["densenet", "mobilenet", "preact", "relu", "resnet", "vgg"]


def relu() -> Any:
    """A ReLU that writes over its input."""
    return t.ReLU(inplace=True)


class Block(t.Module):
    """Basic block or bottleneck of torchvision's form; `early`: stride in the first 1x1."""

    def __init__(self, c: int, width: int, stride: int, kernels: tuple[int, ...], early: bool,
                 shortcut: str):
        super().__init__()
        out = width * (4 if len(kernels) == 3 else 1)
        places = {2: 0, 3: 0 if early else 1}
        strides = [stride if i == places[len(kernels)] else 1 for i in range(len(kernels))]
        sizes = [c, *[width] * (len(kernels) - 1), out]
        for i, (k, s) in enumerate(zip(kernels, strides, strict=True), 1):
            setattr(self, f"conv{i}", t.Conv2d(sizes[i - 1], sizes[i], k, s, k // 2, bias=False))
            setattr(self, f"bn{i}", t.BatchNorm2d(sizes[i]))
        self.kernels, self.shortcut, self.out, self.stride = kernels, shortcut, out, stride
        if shortcut == "B" and (c != out or stride != 1):
            self.downsample = t.Sequential(t.Conv2d(c, out, 1, stride, bias=False),
                                           t.BatchNorm2d(out))

    def forward(self, x: Any) -> Any:
        y = x
        for i in range(1, len(self.kernels) + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = y if i == len(self.kernels) else torch.relu_(y)
        if self.shortcut == "B":
            x = self.downsample(x) if hasattr(self, "downsample") else x
        elif self.shortcut == "A":
            x = torch.nn.functional.avg_pool2d(x, 1, self.stride)
            zeros = torch.zeros(x.shape[0], self.out - x.shape[1], *x.shape[2:], dtype=x.dtype)
            x = torch.cat([x, zeros], 1)
        return torch.relu_(y if self.shortcut == "none" else y + x)


class ResNet(t.Module):
    def __init__(self, counts: tuple[int, ...], first: int, classes: int, kernels: tuple[int, ...],
                 large: bool, early: bool, shortcut: str):
        super().__init__()
        self.conv1 = (t.Conv2d(3, first, 7, 2, 3, bias=False) if large else
                      t.Conv2d(3, first, 3, 1, 1, bias=False))
        self.bn1 = t.BatchNorm2d(first)
        self.pool = t.MaxPool2d(3, 2, 1) if large else t.Identity()
        c, self.stages = first, len(counts)
        for i, count in enumerate(counts):
            blocks = []
            for k in range(count):
                stride = 2 if i and not k else 1
                blocks.append(Block(c, first * 2**i, stride, kernels, early, shortcut))
                c = blocks[-1].out
            setattr(self, f"layer{i + 1}", t.Sequential(*blocks))
        self.fc = t.Linear(c, classes)

    def forward(self, x: Any) -> Any:
        x = self.pool(torch.relu_(self.bn1(self.conv1(x))))
        for i in range(self.stages):
            x = getattr(self, f"layer{i + 1}")(x)
        return self.fc(x.mean((2, 3)))


def resnet(counts: tuple[int, ...], first: int, classes: int, *, bottleneck: bool = False,
           large: bool = False, early: bool = True, shortcut: str = "B") -> Any:
    """ResNet or plain net (shortcut "none")."""
    kernels = (1, 3, 1) if bottleneck else (3, 3)
    return ResNet(counts, first, classes, kernels, large, early, shortcut)


class VGG(t.Module):
    def __init__(self, plan: list[int | str], size: int, units: int, classes: int, norm: bool):
        super().__init__()
        layers, c = [], 3
        for word in plan:
            if isinstance(word, str):
                layers.append(t.MaxPool2d(2) if size > 1 else t.Identity())
                size = max(1, size // 2)
                continue
            layers += [t.Conv2d(c, word, 3, padding=1), *[t.BatchNorm2d(word)] * norm, relu()]
            c = word
        self.features = t.Sequential(*layers)
        self.classifier = t.Sequential(
            t.Linear(c * size * size, units), relu(), t.Dropout(), t.Linear(units, units),
            relu(), t.Dropout(), t.Linear(units, classes))

    def forward(self, x: Any) -> Any:
        return self.classifier(self.features(x).flatten(1))


def vgg(plan: list[int | str], size: int, units: int, classes: int, norm: bool = False) -> Any:
    """VGG; `plan` as in torchvision: channels, and "M" for a pooling."""
    return VGG(plan, size, units, classes, norm)


class PreActUnit(t.Module):
    def __init__(self, c: int, width: int, stride: int, kernels: tuple[int, ...], first: bool,
                 shortcut: str):
        super().__init__()
        out = width * (4 if len(kernels) == 3 else 1)
        sizes = [c, *[width] * (len(kernels) - 1), out]
        for i, k in enumerate(kernels, 1):
            if i > 1 or not first:
                setattr(self, f"bn{i}", t.BatchNorm2d(sizes[i - 1]))
            setattr(self, f"conv{i}", t.Conv2d(sizes[i - 1], sizes[i], k, stride if i == 1 else 1,
                                               k // 2, bias=False))
        if shortcut == "B" and (c != out or stride != 1):
            self.downsample = t.Conv2d(c, out, 1, stride, bias=False)
        self.first, self.depth, self.out, self.stride = first, len(kernels), out, stride

    def forward(self, x: Any) -> Any:
        active = x if self.first else torch.relu_(self.bn1(x))
        y = self.conv1(active)
        for i in range(2, self.depth + 1):
            y = getattr(self, f"conv{i}")(torch.relu_(getattr(self, f"bn{i}")(y)))
        if hasattr(self, "downsample"):
            return y + self.downsample(active)
        if self.out == x.shape[1]:
            return y + x
        x = active[:, :, ::self.stride, ::self.stride]
        zeros = torch.zeros(x.shape[0], self.out - x.shape[1], *x.shape[2:], dtype=x.dtype)
        return y + torch.cat([x, zeros], 1)


class PreAct(t.Module):
    def __init__(self, count: tuple[int, ...], stem: int, widths: tuple[int, ...], classes: int,
                 kernels: tuple[int, ...], large: bool, shortcut: str):
        super().__init__()
        self.conv1 = (t.Conv2d(3, stem, 7, 2, 3, bias=False) if large else
                      t.Conv2d(3, stem, 3, 1, 1, bias=False))
        self.bn1 = t.BatchNorm2d(stem)
        self.pool = t.MaxPool2d(3, 2, 1) if large else t.Identity()
        c, self.stages = stem, len(count)
        for i, width in enumerate(widths):
            units = []
            for k in range(count[i]):
                units.append(PreActUnit(c, width, 2 if i and not k else 1, kernels,
                                        not i and not k, shortcut))
                c = units[-1].out
            setattr(self, f"layer{i + 1}", t.Sequential(*units))
        self.bn2 = t.BatchNorm2d(c)
        self.fc = t.Linear(c, classes)

    def forward(self, x: Any) -> Any:
        x = self.pool(torch.relu_(self.bn1(self.conv1(x))))
        for i in range(self.stages):
            x = getattr(self, f"layer{i + 1}")(x)
        return self.fc(torch.relu_(self.bn2(x)).mean((2, 3)))


def preact(counts: tuple[int, ...], stem: int, widths: tuple[int, ...], classes: int, *,
           bottleneck: bool = False, large: bool = False, shortcut: str = "B") -> Any:
    """Pre-activation and wide ResNets."""
    kernels = (1, 3, 1) if bottleneck else (3, 3)
    return PreAct(counts, stem, widths, classes, kernels, large, shortcut)


class Separable(t.Module):
    def __init__(self, c: int, out: int, stride: int):
        super().__init__()
        self.depthwise = t.Conv2d(c, c, 3, stride, 1, groups=c, bias=False)
        self.bn1 = t.BatchNorm2d(c)
        self.pointwise = t.Conv2d(c, out, 1, bias=False)
        self.bn2 = t.BatchNorm2d(out)

    def forward(self, x: Any) -> Any:
        x = torch.relu_(self.bn1(self.depthwise(x)))
        return torch.relu_(self.bn2(self.pointwise(x)))


class MobileNet(t.Module):
    def __init__(self, first: int, classes: int, stride: int):
        super().__init__()
        self.conv1 = t.Conv2d(3, first, 3, stride, 1, bias=False)
        self.bn1 = t.BatchNorm2d(first)
        blocks, c = [], first
        for factor, s in zip([2, 4, 4, 8, 8, 16, 16, 16, 16, 16, 16, 32, 32],
                             [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1], strict=True):
            blocks.append(Separable(c, first * factor, s))
            c = first * factor
        self.blocks = t.Sequential(*blocks)
        self.fc = t.Linear(c, classes)

    def forward(self, x: Any) -> Any:
        x = self.blocks(torch.relu_(self.bn1(self.conv1(x))))
        return self.fc(x.mean((2, 3)))


def mobilenet(first: int, classes: int, stride: int = 2) -> Any:
    """MobileNet with so many channels at the beginning (32 in the paper)."""
    return MobileNet(first, classes, stride)


class DenseLayer(t.Module):
    def __init__(self, c: int, growth: int):
        super().__init__()
        self.norm1 = t.BatchNorm2d(c)
        self.conv1 = t.Conv2d(c, 4 * growth, 1, bias=False)
        self.norm2 = t.BatchNorm2d(4 * growth)
        self.conv2 = t.Conv2d(4 * growth, growth, 3, 1, 1, bias=False)

    def forward(self, before: list[Any]) -> Any:
        y = self.conv1(torch.relu_(self.norm1(torch.cat(before, 1))))
        return self.conv2(torch.relu_(self.norm2(y)))


class DenseBlock(t.ModuleDict):
    def forward(self, x: Any) -> Any:
        found = [x]
        for layer in self.values():
            found.append(layer(found))
        return torch.cat(found, 1)


class DenseNet(t.Module):
    def __init__(self, counts: tuple[int, ...], growth: int, classes: int, large: bool):
        super().__init__()
        c = 2 * growth
        parts = {"conv0": t.Conv2d(3, c, 7 if large else 3, 2 if large else 1, 3 if large else 1,
                                   bias=False), "norm0": t.BatchNorm2d(c), "relu0": relu()}
        if large:
            parts["pool0"] = t.MaxPool2d(3, 2, 1)
        for i, count in enumerate(counts, 1):
            parts[f"denseblock{i}"] = DenseBlock({
                f"denselayer{k + 1}": DenseLayer(c + k * growth, growth) for k in range(count)})
            c += count * growth
            if i < len(counts):
                transition = t.Sequential()
                for name, layer in (("norm", t.BatchNorm2d(c)), ("relu", relu()),
                                    ("conv", t.Conv2d(c, c // 2, 1, bias=False)),
                                    ("pool", t.AvgPool2d(2))):
                    transition.add_module(name, layer)
                parts[f"transition{i}"] = transition
                c //= 2
        parts["norm5"] = t.BatchNorm2d(c)
        self.features = t.Sequential()
        for name, part in parts.items():
            self.features.add_module(name, part)
        self.classifier = t.Linear(c, classes)

    def forward(self, x: Any) -> Any:
        return self.classifier(torch.relu_(self.features(x)).mean((2, 3)))


def densenet(counts: tuple[int, ...], growth: int, classes: int, large: bool = False) -> Any:
    """DenseNet-BC with torchvision's names."""
    return DenseNet(counts, growth, classes, large)
