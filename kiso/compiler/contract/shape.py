"""The numbers of a convolution, and the two sums over taps that it leads to.

    y[n, i, j, o] = sum over k, l, c of x[n, i s - p + k d, j s - p + l d, c] W[k, l, c, o]

for the forward direction. The gradient of x is such a sum as well: the pixels of gx with the same
remainder of division by the stride s (a phase) see the same taps of W, in a regular pattern, so
that each phase is a convolution of gy with stride 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import groupby
from math import gcd, prod

__all__ = ["Axis", "Conv", "Phase", "Piece", "Sliding", "joined", "pieces", "side_by_side",
           "sliding"]

Pair = tuple[int, int]


@dataclass(frozen=True)
class Conv:
    """A convolution of x (N, H, W, C) to y (N, OH, OW, O)."""

    batch: int
    height: int
    width: int
    channels: int
    outputs: int
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        assert self.channels % self.groups == 0 and self.outputs % self.groups == 0, self
        assert min(self.out) > 0, self

    @property
    def size(self) -> Pair:
        """Height and width of x."""
        return self.height, self.width

    @property
    def out(self) -> Pair:
        """Height and width of y: (H + 2 p - d (K - 1) - 1) // s + 1."""
        def along(n: int, k: int, s: int, p: int, d: int) -> int:
            return (n + 2 * p - d * (k - 1) - 1) // s + 1
        height, width = (along(*numbers) for numbers in zip(
            self.size, self.kernel, self.stride, self.padding, self.dilation, strict=True))
        return height, width


def side_by_side(conv: Conv, lanes: int) -> Conv:
    """For the gradient of few weights: the convolution whose outputs are those of so many pixels
    side by side as fill a vector (gy is the same in memory). Pixel e sees tap l as l + e s."""
    (kh, kw), (s, t) = conv.kernel, conv.stride
    few = conv.channels < 8 and conv.groups == 1 and conv.dilation == (1, 1)
    count = max(n for n in range(1, lanes + 1) if n == 1 or (
        few and n * conv.outputs <= lanes and conv.out[1] % n == 0))
    return replace(conv, outputs=count * conv.outputs, stride=(s, count * t),
                   kernel=(kh, kw + (count - 1) * t))


@dataclass(frozen=True)
class Axis:
    """One direction of a phase: result i (of `count`) is at out_start + i out_step, and its tap t
    (of `taps`) reads position in_start + i in_step + t tap_step with the weight
    k_start + t k_step."""

    count: int
    taps: int
    in_start: int
    in_step: int
    tap_step: int
    out_start: int
    out_step: int
    k_start: int
    k_step: int


Phase = tuple[Axis, Axis]


def forward_phases(conv: Conv) -> tuple[Phase, ...]:
    """One phase: all of y."""
    def along(i: int) -> Axis:
        return Axis(conv.out[i], conv.kernel[i], -conv.padding[i], conv.stride[i],
                    conv.dilation[i], 0, 1, 0, 1)
    return ((along(0), along(1)),)


def backward_phases(conv: Conv) -> tuple[Phase, ...]:
    """The phases of gx: for pixels h = r + s i, the taps k with (h + p - k d) divisible by s, from
    the last to the first, read gy[(h + p - k d) / s]."""
    def along(i: int) -> list[Axis]:
        s, p, d, k = conv.stride[i], conv.padding[i], conv.dilation[i], conv.kernel[i]
        step = s // gcd(s, d)
        result: list[Axis] = []
        for r in range(min(s, conv.size[i])):
            seen = [t for t in range(k) if (r + p - t * d) % s == 0]
            last = seen[-1] if seen else 0
            start = (r + p - last * d) // s if seen else 0
            result.append(Axis(-(-(conv.size[i] - r) // s), len(seen), start, 1, step * d // s,
                               r, s, last, -step))
        return result
    return tuple((h, w) for h in along(0) for w in along(1))


@dataclass(frozen=True)
class Piece:
    """Results first.. of an axis (`axis` describes them alone), without its first taps; in each
    result `joint` neighbours."""

    axis: Axis
    first: int = 0
    skipped: int = 0
    joint: int = 1


def joined(axis: Axis, count: int, first: int = 0) -> Axis:
    """The axis from a result on, with `count` neighbours in each: they have enough taps for all,
    neighbour e the taps from e in_step / tap_step on. A rest of fewer neighbours is left out."""
    if count == 1:
        return axis
    assert axis.in_step % axis.tap_step == 0
    more = (count - 1) * axis.in_step // axis.tap_step if axis.taps else 0
    return replace(axis, count=(axis.count - first) // count, taps=axis.taps + more,
                   in_start=axis.in_start + first * axis.in_step, in_step=count * axis.in_step,
                   out_start=axis.out_start + first * axis.out_step, out_step=count * axis.out_step)


@lru_cache(maxsize=1024)
def pieces(axis: Axis, size: int) -> tuple[Piece, ...]:
    """The axis in runs of results with the same taps inside of an image of `size`: where taps fall
    on the padding, they are left out. 8 results of 3 taps, padding 1: 1 + 6 + 1 results."""
    def inside(i: int) -> tuple[int, int]:
        place = axis.in_start + i * axis.in_step
        seen = [t for t in range(axis.taps) if 0 <= place + t * axis.tap_step < size]
        return (seen[0], len(seen)) if seen else (0, 0)
    result: list[Piece] = []
    for (skipped, taps), run in groupby(range(axis.count), inside):
        first, *rest = run
        start = axis.in_start + first * axis.in_step + skipped * axis.tap_step
        result.append(Piece(replace(
            axis, count=1 + len(rest), taps=taps, in_start=start,
            out_start=axis.out_start + first * axis.out_step), first, skipped))
    return tuple(result)


@dataclass(frozen=True)
class Sliding:
    """A sum over taps: input (N, H, W, C), output (N, OH, OW, O), phases. `beside`: column o
    reads channel o alone; then `groups` is 1."""

    batch: int
    size: tuple[int, int]
    channels: int
    out: tuple[int, int]
    outputs: int
    groups: int
    phases: tuple[Phase, ...]
    beside: bool = False

    @cached_property
    def inner(self) -> int:
        """Input channels of a group."""
        return 1 if self.beside else self.channels // self.groups

    @cached_property
    def outer(self) -> int:
        """Output channels of a group."""
        return self.outputs // self.groups

    @cached_property
    def image(self) -> int:
        """Floats of a sample of the input."""
        return prod(self.size) * self.channels

    def reach(self, axis: int, parts: list[Piece]) -> tuple[int, int]:
        """First and last input position that these pieces read, the image's if none."""
        seen = [p.axis for p in parts if p.axis.taps]
        if not seen:
            return 0, self.size[axis] - 1
        return min(a.in_start for a in seen), max(
            a.in_start + (a.count - 1) * a.in_step + (a.taps - 1) * a.tap_step for a in seen)


def sliding(conv: Conv, backward: bool = False) -> Sliding:
    """The sum that gives y from x, or the gradient of x from that of y."""
    beside = conv.groups == conv.channels == conv.outputs > 1
    groups = 1 if beside else conv.groups
    x, y = (conv.size, conv.channels), (conv.out, conv.outputs)
    if backward:
        return Sliding(conv.batch, *y, *x, groups, backward_phases(conv), beside)
    return Sliding(conv.batch, *x, *y, groups, forward_phases(conv), beside)
