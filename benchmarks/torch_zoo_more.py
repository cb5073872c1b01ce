"""More nets as PyTorch modules, written from the papers: LeNets, AlexNet, ZFNet, GoogLeNet, nets
whose output is a picture, the fast one. `drop(p)` makes their dropout layers.
"""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.torch_zoo import relu

t: Any = torch.nn
F: Any = torch.nn.functional

__all__ = ["AUXILIARY", "alexnet", "autoencoder", "fastnet", "googlenet", "lenet5", "lenet1989",
           "unet", "zfnet"]

AUXILIARY = 0.3  # of the loss of each auxiliary output of GoogLeNet


class Fn(t.Module):
    """A function as a layer."""

    def __init__(self, function: Any):
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


def response(x: Any) -> Any:
    """LRN with summed alpha, term by term: PyTorch's own layer takes half as long again."""
    squares = F.pad(x * x, (0, 0, 0, 0, 2, 2))
    total = sum(squares[:, i:i + x.shape[1]] for i in range(5))
    return x / (2 + 1e-4 * total) ** 0.75


def curve(x: Any) -> Any:
    return 1.7159 * torch.tanh(2 / 3 * x)


class Tower(t.Module):
    """Features and dense layers; the numbers of torchvision's, but dropout as in the papers."""

    def __init__(self, features: list[Any], inputs: int, units: int, classes: int, drop: Any):
        super().__init__()
        self.features = t.Sequential(*features)
        self.classifier = t.Sequential(
            t.Identity(), t.Linear(inputs, units), relu(), drop(0.5), t.Linear(units, units),
            t.Sequential(relu(), drop(0.5)), t.Linear(units, classes))

    def forward(self, x: Any) -> Any:
        return self.classifier(self.features(x).flatten(1))


def alexnet(channels: tuple[int, ...], inputs: int, units: int, classes: int, *, groups: int = 2,
            small: bool = False, lrn: bool = True, drop: Any = t.Dropout) -> Any:
    c1, c2, c3, c4, c5 = channels
    norm = Fn(lambda x: F.max_pool2d(response(x) if lrn else x, 3, 2))
    return Tower([
        t.Conv2d(3, c1, 5, 1, 2) if small else t.Conv2d(3, c1, 11, 4, 2), relu(), norm,
        t.Conv2d(c1, c2, 5, 1, 2, groups=groups), relu(), norm,
        t.Conv2d(c2, c3, 3, 1, 1), relu(), t.Conv2d(c3, c4, 3, 1, 1, groups=groups), relu(),
        t.Conv2d(c4, c5, 3, 1, 1, groups=groups), relu(), t.MaxPool2d(3, 2)],
        inputs, units, classes, drop)


def zfnet(channels: tuple[int, ...], inputs: int, units: int, classes: int, *,
          small: bool = False, drop: Any = t.Dropout) -> Any:
    c1, c2, c3, c4, c5 = channels
    return Tower([
        t.Conv2d(3, c1, 7, 1, 3) if small else t.Conv2d(3, c1, 7, 2, 1), relu(),
        t.MaxPool2d(3, 2, ceil_mode=True), Fn(response),
        t.Conv2d(c1, c2, 5, 1, 2) if small else t.Conv2d(c1, c2, 5, 2), relu(),
        t.MaxPool2d(3, 2, ceil_mode=True), Fn(response),
        t.Conv2d(c2, c3, 3, 1, 1), relu(), t.Conv2d(c3, c4, 3, 1, 1), relu(),
        t.Conv2d(c4, c5, 3, 1, 1), relu(), t.MaxPool2d(3, 2, ceil_mode=True)],
        inputs, units, classes, drop)


class Unit(t.Module):
    def __init__(self, c: int, out: int, kernel: int, norm: bool, stride: int = 1):
        super().__init__()
        self.conv = t.Conv2d(c, out, kernel, stride, kernel // 2, bias=not norm)
        if norm:
            self.bn = t.BatchNorm2d(out, eps=0.001)
        self.norm = norm

    def forward(self, x: Any) -> Any:
        return torch.relu_(self.bn(self.conv(x)) if self.norm else self.conv(x))


class Inception(t.Module):
    def __init__(self, c: int, n: list[int], norm: bool):
        super().__init__()
        self.branch1 = Unit(c, n[0], 1, norm)
        self.branch2 = t.Sequential(Unit(c, n[1], 1, norm), Unit(n[1], n[2], 3, norm))
        self.branch3 = t.Sequential(Unit(c, n[3], 1, norm), Unit(n[3], n[4], 3 if norm else 5,
                                                                 norm))
        self.branch4 = t.Sequential(t.MaxPool2d(3, 1, 1), Unit(c, n[5], 1, norm))

    def forward(self, x: Any) -> Any:
        return torch.cat([b(x) for b in (self.branch1, self.branch2, self.branch3, self.branch4)],
                         1)


class Head(t.Module):
    def __init__(self, c: int, width: int, classes: int, norm: bool, drop: Any):
        super().__init__()
        self.conv = Unit(c, 128 // width, 1, norm)
        self.dropout = drop(0.7)
        self.fc1 = t.Linear(16 * 128 // width, 1024 // width)
        self.fc2 = t.Linear(1024 // width, classes)

    def forward(self, x: Any) -> Any:
        x = F.avg_pool2d(x, 5, 3) if x.shape[-1] == 14 else F.adaptive_avg_pool2d(x, 4)
        x = torch.relu_(self.fc1(self.conv(x).flatten(1)))
        return self.fc2(self.dropout(x))


TABLE = {"3a": [64, 96, 128, 16, 32, 32], "3b": [128, 128, 192, 32, 96, 64],
         "4a": [192, 96, 208, 16, 48, 64], "4b": [160, 112, 224, 24, 64, 64],
         "4c": [128, 128, 256, 24, 64, 64], "4d": [112, 144, 288, 32, 64, 64],
         "4e": [256, 160, 320, 32, 128, 128], "5a": [256, 160, 320, 32, 128, 128],
         "5b": [384, 192, 384, 48, 128, 128]}


class GoogLeNet(t.Module):
    """In training with auxiliary outputs a tuple: the main one, the early one, the late one."""

    def __init__(self, width: int, classes: int, small: bool, norm: bool, aux: bool, drop: Any):
        super().__init__()
        self.conv1 = Unit(3, 64 // width, 3 if small else 7, norm, 1 if small else 2)
        self.conv2 = Unit(64 // width, 64 // width, 1, norm)
        self.conv3 = Unit(64 // width, 192 // width, 3, norm)
        c = 192 // width
        for name, sizes in TABLE.items():
            thin = [n // width for n in sizes]
            setattr(self, f"inception{name}", Inception(c, thin, norm))
            c = thin[0] + thin[2] + thin[4] + thin[5]
            if aux and name in ("4a", "4d"):
                head = Head(c, width, classes, norm, drop)
                setattr(self, "aux1" if name == "4a" else "aux2", head)
        self.dropout = drop(0.4)
        self.fc = t.Linear(c, classes)
        self.small, self.normed, self.aux = small, norm, aux

    def forward(self, x: Any) -> Any:
        def pool(x: Any) -> Any:
            return x if self.small else F.max_pool2d(x, 3, 2, ceil_mode=True)

        def lrn(x: Any) -> Any:
            return x if self.normed else response(x)

        x = lrn(pool(self.conv1(x)))
        x = pool(lrn(self.conv3(self.conv2(x))))
        x = F.max_pool2d(self.inception3b(self.inception3a(x)), 3, 2, ceil_mode=True)
        early = self.inception4a(x)
        late = self.inception4d(self.inception4c(self.inception4b(early)))
        x = F.max_pool2d(self.inception4e(late), *((2, 2) if self.normed else (3, 2)),
                         ceil_mode=True)
        x = self.fc(self.dropout(self.inception5b(self.inception5a(x)).mean((2, 3))))
        return (x, self.aux1(early), self.aux2(late)) if self.training and self.aux else x


def googlenet(width: int, classes: int, *, small: bool = False, norm: bool = False,
              aux: bool = True, drop: Any = t.Dropout) -> Any:
    return GoogLeNet(width, classes, small, norm, aux, drop)


class Unshared(t.Module):
    """Every place has its own filters: windows cut out, then one product for each place."""

    def __init__(self, c: int, out: int, size: int, kernel: int):
        super().__init__()
        places = (size + 1) // 2
        self.weight = t.Parameter(torch.zeros(places**2, out, c * kernel**2))
        self.bias = t.Parameter(torch.zeros(out, places, places))
        self.kernel = kernel

    def forward(self, x: Any) -> Any:
        windows = F.unfold(x, self.kernel, padding=self.kernel // 2, stride=2)
        y = torch.einsum("ncl,loc->nol", windows, self.weight)
        return y.reshape(len(x), *self.bias.shape) + self.bias


class Shared(t.Module):
    """Shared filters, a bias for each unit."""

    def __init__(self, c: int, out: int, size: int, kernel: int):
        super().__init__()
        places = (size + 1) // 2
        self.weight = t.Parameter(torch.zeros(out, c, kernel, kernel))
        self.bias = t.Parameter(torch.zeros(out, places, places))

    def forward(self, x: Any) -> Any:
        k = self.weight.shape[-1]
        return F.conv2d(x, self.weight, padding=k // 2, stride=2) + self.bias


def lenet1989(number: int, c: int, size: int, classes: int) -> Any:
    half, quarter = (size + 1) // 2, (size + 3) // 4
    act = Fn(curve)
    layers = {
        1: [t.Flatten(), t.Linear(c * size**2, classes)],
        2: [t.Flatten(), t.Linear(c * size**2, 12), act, t.Linear(12, classes)],
        3: [Unshared(c, 1, size, 3), act, Unshared(1, 1, half, 5), act, t.Flatten(),
            t.Linear(quarter**2, classes)],
        4: [Shared(c, 2, size, 3), act, Unshared(2, 1, half, 5), act, t.Flatten(),
            t.Linear(quarter**2, classes)],
        5: [Shared(c, 2, size, 3), act, Shared(2, 4, half, 5), act, t.Flatten(),
            t.Linear(4 * quarter**2, classes)],
    }[number]
    net = t.Module()
    net.layers = t.Sequential(*layers, act)
    net.forward = net.layers.forward
    return net


SEEN = ["012", "123", "234", "345", "045", "015", "0123", "1234", "2345", "0345", "0145", "0125",
        "0134", "1245", "0235", "012345"]


class Sparse(t.Module):
    """Map o is the sum over the maps that it sees; weights in the order of connections."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = t.Parameter(torch.zeros(60, 5, 5))
        self.bias = t.Parameter(torch.zeros(16))

    def forward(self, x: Any) -> Any:
        found, start = [], 0
        for seen in SEEN:
            filters = self.weight[None, start:start + len(seen)]
            found.append(F.conv2d(x[:, [int(i) for i in seen]], filters))
            start += len(seen)
        return torch.cat(found, 1) + self.bias[:, None, None]


class Sub(t.Module):
    def __init__(self, c: int):
        super().__init__()
        self.weight, self.bias = t.Parameter(torch.ones(c)), t.Parameter(torch.zeros(c))

    def forward(self, x: Any) -> Any:
        total = sum(x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1))
        return total * self.weight[:, None, None] + self.bias[:, None, None]


class LeNet5(t.Module):
    def __init__(self, c: int, classes: int, border: int, left: int):
        super().__init__()
        self.c1, self.s2 = t.Conv2d(c, 6, 5, padding=border), Sub(6)
        self.c3, self.s4 = Sparse(), Sub(16)
        self.c5 = t.Conv2d(16, 120, left)
        self.f6, self.output = t.Linear(120, 84), t.Linear(84, classes)

    def forward(self, x: Any) -> Any:
        x = curve(self.s4(self.c3(curve(self.s2(self.c1(x))))))
        return self.output(curve(self.f6(curve(self.c5(x)).flatten(1))))


def lenet5(c: int, classes: int, *, border: int, left: int) -> Any:
    """`left`: the size of the maps of S4."""
    return LeNet5(c, classes, border, left)


def autoencoder(channels: tuple[int, ...], size: int, code: int) -> Any:
    a, b, c = channels
    sizes = [size, (size + 1) // 2, (size + 3) // 4, (size + 7) // 8]
    more = [1 - n % 2 for n in sizes]
    net = t.Module()
    net.encoder = t.Sequential(
        t.Conv2d(3, a, 3, 2, 1), relu(), t.Conv2d(a, b, 3, 2, 1), relu(),
        t.Conv2d(b, c, 3, 2, 1), relu(), t.Flatten(), t.Linear(c * sizes[3]**2, code))
    net.decoder = t.Sequential(
        t.Linear(code, c * sizes[3]**2), t.Unflatten(1, (c, sizes[3], sizes[3])),
        relu(), t.ConvTranspose2d(c, b, 3, 2, 1, more[2]),
        relu(), t.ConvTranspose2d(b, a, 3, 2, 1, more[1]),
        relu(), t.ConvTranspose2d(a, 3, 3, 2, 1, more[0]))
    net.forward = lambda x: net.decoder(net.encoder(x))
    return net


class Double(t.Module):
    def __init__(self, c: int, out: int, padding: int, norm: bool):
        super().__init__()
        self.conv1 = t.Conv2d(c, out, 3, 1, padding, bias=not norm)
        self.conv2 = t.Conv2d(out, out, 3, 1, padding, bias=not norm)
        self.bn1 = t.BatchNorm2d(out) if norm else t.Identity()
        self.bn2 = t.BatchNorm2d(out) if norm else t.Identity()

    def forward(self, x: Any) -> Any:
        return torch.relu_(self.bn2(self.conv2(torch.relu_(self.bn1(self.conv1(x))))))


class UNet(t.Module):
    def __init__(self, first: int, classes: int, padding: int, norm: bool):
        super().__init__()
        n = [first * 2**i for i in range(5)]
        self.down = t.ModuleList([Double(c, out, padding, norm)
                                  for c, out in zip([3, *n], n, strict=False)])
        self.up = t.ModuleList([t.ConvTranspose2d(n[i + 1], n[i], 2, 2) for i in (3, 2, 1, 0)])
        self.join = t.ModuleList([Double(2 * n[i], n[i], padding, norm) for i in (3, 2, 1, 0)])
        self.head = t.Conv2d(first, classes, 1)

    def forward(self, x: Any) -> Any:
        kept = []
        for i, part in enumerate(self.down):
            x = part(F.max_pool2d(x, 2) if i else x)
            kept.append(x)
        for up, join, level in zip(self.up, self.join, kept[-2::-1], strict=True):
            x = up(x)
            over = level.shape[-1] - x.shape[-1]
            if over == 1:
                x = F.pad(x, (0, 1, 0, 1))
            elif over:
                level = level[:, :, over // 2:over // 2 + x.shape[-1],
                              over // 2:over // 2 + x.shape[-1]]
            x = join(torch.cat([level, x], 1))
        return self.head(x)


def unet(first: int, classes: int, *, padding: int = 1, norm: bool = False) -> Any:
    return UNet(first, classes, padding, norm)


class FastBlock(t.Module):
    def __init__(self, c: int, out: int):
        super().__init__()
        self.conv1 = t.Conv2d(c, out, 3, 1, 1, bias=False)
        self.bn1 = t.BatchNorm2d(out, momentum=0.4)
        self.conv2 = t.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = t.BatchNorm2d(out, momentum=0.4)

    def forward(self, x: Any) -> Any:
        h = F.gelu(self.bn1(F.max_pool2d(self.conv1(x), 2, ceil_mode=True)))
        return h + F.gelu(self.bn2(self.conv2(h)))


class Whiten(t.Module):
    def __init__(self, c: int, kernel: int):
        super().__init__()
        self.register_buffer("weight", torch.zeros(2 * c * kernel**2, c, kernel, kernel))

    def forward(self, x: Any) -> Any:
        return F.conv2d(x, self.weight)


class FastNet(t.Module):
    def __init__(self, channels: tuple[int, ...], classes: int):
        super().__init__()
        self.whiten = Whiten(3, 2)
        self.blocks = t.Sequential(*[FastBlock(c, out) for c, out
                                     in zip((24, *channels), channels, strict=False)])
        self.fc = t.Linear(channels[-1], classes, bias=False)

    def forward(self, x: Any) -> Any:
        x = self.blocks(F.gelu(self.whiten(x)))
        return self.fc(x.amax((2, 3))) / 9


def fastnet(channels: tuple[int, ...], classes: int) -> Any:
    return FastNet(channels, classes)
