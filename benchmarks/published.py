"""What pictures cost a recipe: Jordan's 94 % on CIFAR-10 (2024) in PyTorch, on pictures at hand.

    python -m benchmarks.published [--data cifar10] [--data-dir FOLDER] [--epochs 9.9] [--threads 2]

The paper reports 94.01 % on the lossless pictures. Copies of them in JPEG hold less, and what the
same recipe reaches there tells how much less, apart from Kiso: net, first weights, rule, schedule
and augmentation are written here from the paper. Products are computed in bfloat16 (the paper: 16
bits too) unless --float32 is given.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from kiso import data

t: Any = torch
nn: Any = torch.nn
F: Any = torch.nn.functional

__all__ = ["Net", "main", "train"]

WIDTHS = (64, 256, 256)
BATCH, MOMENTUM, PEAK, RATE, DECAY, FAST = 1024, 0.85, 0.23, 11.5, 0.0153, 64
SUMMED = BATCH * (1 + 1 / (1 - MOMENTUM))  # rates are for a mean over a batch and for no momentum
SMOOTHING, EVERY, BIAS_EPOCHS = 0.2, 5, 3
EPS, PATCHES = 5e-4, 5000  # in whitening
AT_ONCE = 500  # judged together


class Norm(nn.BatchNorm2d):
    """Batch norm with a shift alone."""

    def __init__(self, n: int):
        super().__init__(n, eps=1e-12, momentum=0.4)
        self.weight.requires_grad = False


class Conv(nn.Conv2d):
    """3x3 whose first filters pass their input on."""

    def __init__(self, c: int, n: int):
        super().__init__(c, n, 3, padding=1, bias=False)
        nn.init.dirac_(self.weight.data[:c])


class Net(nn.Module):
    """Whitened 2x2 patches, three blocks, the largest value of each map, one dense layer."""

    def __init__(self, x: Any, classes: int):
        super().__init__()
        self.whiten = nn.Conv2d(3, 24, 2)
        self.whiten.weight.requires_grad = False
        p = x[:PATCHES].unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 12)
        variance, axes = t.linalg.eigh(p.T @ p / len(p))
        filters = (axes.T / t.sqrt(variance + EPS)[:, None]).flip(0).reshape(12, 3, 2, 2)
        self.whiten.weight.data = t.cat([filters, -filters])
        nn.init.zeros_(self.whiten.bias)
        layers: list[Any] = []
        for c, n in zip((24, *WIDTHS), WIDTHS, strict=False):
            layers += [Conv(c, n), nn.MaxPool2d(2), Norm(n), nn.GELU(), Conv(n, n), Norm(n),
                       nn.GELU()]
        self.blocks = nn.Sequential(*layers)
        self.fc = nn.Linear(WIDTHS[-1], classes, bias=False)

    def forward(self, x: Any) -> Any:
        """(N, 3, 32, 32) -> (N, classes)"""
        h = self.blocks(F.gelu(self.whiten(x)))
        return self.fc(F.max_pool2d(h, 3).flatten(1)) / 9


class Averaged:
    """Lookahead: slow weights that the fast ones are set back to in every fifth step."""

    def __init__(self, net: Any):
        self.net = net
        self.slow = {name: value.clone() for name, value in net.state_dict().items()}

    def meet(self, keep: float) -> None:
        """The slow ones keep this share of themselves."""
        with t.no_grad():
            for name, value in self.net.state_dict().items():
                if value.is_floating_point():
                    value.copy_(self.slow[name].lerp_(value, 1 - keep))


def moved(x: Any, most: int) -> Any:
    """Each picture by up to so many pixels each way, edges mirrored."""
    padded, out = F.pad(x, (most,) * 4, "reflect"), t.empty_like(x)
    side, span = x.shape[-1], 2 * most + 1
    dy, dx = t.randint(0, span, (2, len(x)))
    for i in range(span):
        for j in range(span):
            these = (dy == i) & (dx == j)
            out[these] = padded[these][:, :, i:i + side, j:j + side]
    return out


def judged(net: Any, x: Any, y: Any, views: int) -> float:
    """Share of right answers, by the picture alone or by six views of it."""
    def scores(x: Any) -> Any:
        def both(x: Any) -> Any:
            return (net(x) + net(x.flip(3))) / 2
        if views == 1:
            return net(x)
        p, side = F.pad(x, (1,) * 4, "reflect"), x.shape[-1]
        return both(x) / 2 + both(p[:, :, :side, :side]) / 4 + both(p[:, :, 2:, 2:]) / 4

    net.eval()
    with t.no_grad():
        right = sum(int((scores(x[k:k + AT_ONCE]).argmax(1) == y[k:k + AT_ONCE]).sum())
                    for k in range(0, len(x), AT_ONCE))
    net.train()
    return right / len(x)


def rule(net: Any, steps: int) -> tuple[Any, Any]:
    """Nesterov's momentum, shifts of norms learnt fast, and the rate's course."""
    rate, decay = RATE / SUMMED, DECAY * BATCH / SUMMED
    shifts = [p for p in net.blocks.parameters() if p.ndim == 1 and p.requires_grad]
    known = {id(p) for p in shifts}
    others = [p for p in net.parameters() if p.requires_grad and id(p) not in known]
    groups = [{"params": some, "lr": lr, "weight_decay": decay / lr}
              for some, lr in ((shifts, FAST * rate), (others, rate))]
    optimizer = t.optim.SGD(groups, lr=rate, momentum=MOMENTUM, nesterov=True)
    course = t.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: float(np.interp(k, [0, int(PEAK * steps), steps], [0.2, 1, 0.07])))
    return optimizer, course


def train(x: Any, y: Any, test: tuple[Any, Any], epochs: float, exact: bool = False) -> Any:
    """A net after so many epochs; prints a line for each."""
    net = Net(x, int(y.max()) + 1).to(memory_format=t.channels_last)
    size = min(BATCH, len(x))
    each = len(x) // size
    steps = math.ceil(each * epochs)
    optimizer, course = rule(net, steps)
    slow, first = Averaged(net), t.rand(len(x)) < 0.5
    step, epoch, started = 0, 0, time.perf_counter()
    while step < steps:
        seen = moved(x, 2)
        mirrored = first ^ (epoch % 2 == 1)
        seen[mirrored] = seen[mirrored].flip(3)
        order, right = t.randperm(len(x)), 0
        batches = order[:each * size].split(size)[:steps - step]
        for rows in batches:
            with t.autocast("cpu", t.bfloat16, enabled=not exact):
                scores = net(seen[rows].contiguous(memory_format=t.channels_last))
            loss = F.cross_entropy(scores.float(), y[rows], label_smoothing=SMOOTHING,
                                   reduction="sum")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            course.step()
            step += 1
            if step == BIAS_EPOCHS * each:
                net.whiten.bias.requires_grad, net.whiten.bias.grad = False, None
            if step % EVERY == 0:
                slow.meet(0.95**EVERY * (step / steps)**3)
            right += int((scores.argmax(1) == y[rows]).sum())
        epoch += 1
        if step == steps:
            slow.meet(1.0)
        print(f"epoch {epoch:3}  {time.perf_counter() - started:6.0f} s  training "
              f"{right / (len(batches) * size):.4f}  test {judged(net, *test, 1):.4f}", flush=True)
    return net


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the pictures, train, judge."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--data-dir")
    parser.add_argument("--epochs", type=float, default=9.9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--float32", action="store_true")
    chosen = parser.parse_args(arguments)
    t.manual_seed(chosen.seed)
    t.set_num_threads(chosen.threads)
    splits = data.load(chosen.data, data_dir=chosen.data_dir, size=32)
    parts = [splits.train, splits.val]  # the recipe validates nothing
    pixels = np.concatenate([part.x for part in parts]).astype(np.float32)
    mean, std = (statistic(pixels, axis=(0, 2, 3), keepdims=True, dtype=np.float64)
                 for statistic in (np.mean, np.std))

    def scaled(x: Any) -> Any:
        return t.tensor(((x - mean) / std).astype(np.float32))

    y = t.tensor(np.concatenate([part.y for part in parts]))
    test = scaled(splits.test.x), t.tensor(splits.test.y)
    net = train(scaled(pixels), y, test, chosen.epochs, chosen.float32)
    print(f"{len(y)} pictures, {chosen.epochs:g} epochs: {100 * judged(net, *test, 1):.2f} % of "
          f"the test part right; by six views {100 * judged(net, *test, 6):.2f} %")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
