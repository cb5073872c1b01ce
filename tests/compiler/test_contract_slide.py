"""Convolution and its input gradient against NumPy in float64: small images, few channels, wide
padding, with every epilogue, shared by three threads."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from kiso.compiler.contract import Conv, Library, Machine, SlidingDriver
from kiso.compiler.contract.shape import Axis, pieces
from tests.compiler.test_contract import (
    FULL,
    MACHINES,
    close,
    compiled,
    elements,
    in_turn,
    normal,
)

Pair = tuple[int, int]


def taps(conv: Conv):
    """For every tap k, l: the parts of y and of padded x that meet there."""
    (h, w), (s, t), (d, e) = conv.out, conv.stride, conv.dilation
    for k, l in product(*map(range, conv.kernel)):
        yield k, l, (slice(k * d, k * d + (h - 1) * s + 1, s),
                     slice(l * e, l * e + (w - 1) * t + 1, t))


def expected(conv: Conv, W: np.ndarray, given: np.ndarray, backward: bool) -> np.ndarray:
    """y from x, or gx from gy, in float64."""
    (p, q), g = conv.padding, conv.groups
    x = np.zeros((conv.batch, conv.height + 2 * p, conv.width + 2 * q, g, conv.channels // g))
    y = np.zeros((conv.batch, *conv.out, g, conv.outputs // g))
    inner = x[:, p:p + conv.height, q:q + conv.width]
    target, source = (inner, y) if backward else (y, inner)
    source[:] = given.reshape(source.shape)
    W = W.reshape(*W.shape[:3], g, -1).astype(np.float64)
    for k, l, (rows, columns) in taps(conv):
        if backward:
            x[:, rows, columns] += np.einsum("nhwgo,cgo->nhwgc", y, W[k, l])
        else:
            y += np.einsum("nhwgc,cgo->nhwgo", x[:, rows, columns], W[k, l])
    return target.reshape(*target.shape[:3], -1)


SIZES: list[Pair] = [(1, 1), (2, 2), (4, 4), (8, 8), (3, 7), (14, 14)]
BATCHES = [1, 3, 17]
CHANNELS: list[Pair] = [(1, 6), (16, 16), (6, 3), (17, 64), (64, 17), (3, 1), (64, 96)]
WINDOWS = [  # kernel, stride, padding, dilation, groups
    ((3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((3, 3), (2, 2), (1, 1), (1, 1), 1),
    ((5, 5), (1, 1), (4, 4), (1, 1), 1),
    ((1, 1), (2, 2), (0, 0), (1, 1), 1),
    ((3, 2), (1, 2), (3, 2), (2, 1), 1),
    ((3, 3), (1, 1), (1, 1), (1, 1), 2),
    ((2, 3), (3, 1), (2, 5), (1, 1), 1),
]


def cases() -> list[tuple[Conv, int]]:
    """A different batch, number of channels and machine for every image and window."""
    result: list[tuple[Conv, int]] = []
    for i, (size, window) in enumerate(product(SIZES, WINDOWS)):
        c, o = CHANNELS[(i + i // len(WINDOWS)) % len(CHANNELS)]
        *numbers, groups = window
        result.append((Conv(BATCHES[i % 3], *size, c * groups, o * groups, *numbers, groups), i))
    return result + [(conv, i) for i, conv in enumerate((
        Conv(17, 4, 4, 64, 64, (3, 3), (1, 1), (1, 1), groups=64),
        Conv(3, 7, 7, 20, 20, (3, 3), (2, 2), (1, 1), groups=20),
        Conv(2, 5, 6, 3, 3, (3, 3), (1, 1), (2, 2), (2, 1), groups=3)))]


@pytest.mark.parametrize(("case", "backward"), in_turn(cases(), choices=[False, True]) +
                         in_turn(cases(), choices=[True, False]), ids=str)
def test_padding_of_small_images(case, backward):
    conv, i = case
    full = i // 2 % 2 == 0
    library = Library([*MACHINES, Machine(4, 16)][i % 4])  # the last as SSE2
    found = SlidingDriver(library, conv, backward, FULL if full else ("mask",))
    W = normal(2, *conv.kernel, conv.channels // conv.groups, conv.outputs)
    k, l, c, o = elements(W)
    packer = found.packer((k, l, c, o))
    code = compiled(library)
    packed = np.full(found.packed_size, np.nan, np.float32)
    code.run(packer, {"w": W, "packed": packed})
    shapes = (conv.batch, *conv.size, conv.channels), (conv.batch, *conv.out, conv.outputs)
    source, target = shapes[::-1] if backward else shapes
    x, other = normal(3, *source), normal(4, *target)
    arrays = {"x": x, "w": packed, "y": np.full(target, np.nan, np.float32),
              "bias": normal(5, target[-1]), "add": other, "mask": other}
    ends = [found.main.units * t // 3 for t in range(4)]
    for t in (2, 0, 1):
        code.run(found.main, arrays, ends[t:t + 2])
    result = expected(conv, W, x, backward)
    result = np.maximum(result + other + arrays["bias"], 0) if full else result * (other > 0)
    close(arrays["y"], result, W.size // W.shape[-1 if not backward else -2])


def test_pieces_have_the_taps_inside_of_the_image():
    for count, n, step, start, apart in product((1, 2, 9), (1, 3, 8), (1, 2), (-4, -1, 0), (1, 2)):
        axis = Axis(count, 3, start, step, apart, 5, 2, 0, 1)
        seen = [(i, t) for i in range(count) for t in range(3)
                if 0 <= start + i * step + t * apart < n]
        found: list[Pair] = []
        for piece in pieces(axis, n):
            a = piece.axis
            for i in range(a.count):
                assert a.out_start + i * 2 == 5 + (piece.first + i) * 2
                for t in range(a.taps):
                    assert (a.in_start + i * step + t * apart ==
                            start + (piece.first + i) * step + (piece.skipped + t) * apart)
                    found.append((piece.first + i, piece.skipped + t))
        assert found == seen and sum(p.axis.count for p in pieces(axis, n)) == count
