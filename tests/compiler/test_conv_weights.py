"""The gradient of convolution weights: both ways to share it, against NumPy in float64."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from kiso import ops
from kiso.compiler import trace
from kiso.compiler.contract import Conv, Library, conv_weight_gradient, conv_weight_sum
from kiso.compiler.contract.conv_weights import by_columns
from kiso.compiler.contract.shape import side_by_side
from kiso.runtime import compile_graph
from tests.compiler.test_contract import MACHINES, close, compiled, in_turn, normal


def gradient(conv: Conv, x: np.ndarray, gy: np.ndarray) -> np.ndarray:
    """gw (KH, KW, C / groups, O) in float64."""
    (ph, pw), (sh, sw), (oh, ow) = conv.padding, conv.stride, conv.out
    image = np.pad(x.astype(np.float64), ((0, 0), (ph, ph), (pw, pw), (0, 0)))
    inner, outer = conv.channels // conv.groups, conv.outputs // conv.groups
    gw = np.empty((*conv.kernel, inner, conv.outputs))
    for k, l in product(*map(range, conv.kernel)):
        top, left = k * conv.dilation[0], l * conv.dilation[1]
        seen = image[:, top:top + (oh - 1) * sh + 1:sh, left:left + (ow - 1) * sw + 1:sw]
        for g in range(conv.groups):
            own = slice(g * outer, (g + 1) * outer)
            gw[k, l, :, own] = np.einsum(
                "nijc,nijo->co", seen[..., g * inner:(g + 1) * inner], gy[..., own], optimize=True)
    return gw


def values(conv: Conv) -> tuple[np.ndarray, np.ndarray]:
    return (normal(1, conv.batch, *conv.size, conv.channels),
            normal(2, conv.batch, *conv.out, conv.outputs))


IMAGES = [(1, (3, 3), (1, 1)), (2, (3, 3), (1, 1)), (4, (3, 3), (2, 2)), (4, (5, 3), (2, 1)),
          (5, (1, 1), (0, 0)), (6, (2, 4), (0, 3))]
SMALL = [Conv(batch, size, size, channels, outputs, kernel, padding=padding)
         for (size, kernel, padding), (batch, (channels, outputs)) in zip(
             IMAGES * 6, product((1, 3, 17), ((1, 6), (3, 64), (6, 17), (17, 130), (64, 33),
                                              (130, 16))), strict=False)]
OTHERS = [
    Conv(17, 9, 7, 16, 48, (3, 3), (2, 3), (1, 2)),
    Conv(3, 8, 8, 64, 40, (1, 1), (2, 2)),
    Conv(2, 4, 4, 130, 20, (3, 3), (2, 1), (3, 5), (2, 3)),   # taps that see no pixel
    Conv(3, 6, 5, 34, 34, (3, 3), (1, 1), (1, 1), groups=2),
    Conv(2, 5, 6, 12, 24, (3, 3), (2, 2), (1, 1), groups=12),
    Conv(3, 9, 7, 37, 37, (3, 3), (1, 1), (1, 1), groups=37),            # depthwise
    Conv(4, 13, 11, 20, 20, (3, 3), (2, 2), (1, 1), groups=20),
    Conv(2, 14, 15, 16, 16, (3, 3), (1, 2), (2, 3), (2, 3), groups=16),
    Conv(1, 4, 5, 3, 3, (3, 3), (2, 1), (4, 4), (3, 2), groups=3),       # rows without a tap
    Conv(2, 12, 9, 18, 18, (5, 5), (1, 1), (2, 2), groups=18),           # taps of several kernels
    Conv(2, 40, 70, 5, 5, (3, 2), (1, 1), (1, 0), groups=5),             # several blocks of rows
    Conv(2, 8, 7, 6, 18, (3, 3), (2, 2), (1, 1), groups=6),              # three filters a channel
    Conv(1, 40, 33, 40, 20, (3, 3), (1, 2), (1, 1)),          # rows of a sample
    Conv(50, 14, 14, 24, 20, (3, 3), padding=(1, 1)),         # several blocks of all pixels
    Conv(3, 12, 12, 6, 70, (5, 5)),
    Conv(1, 50, 43, 20, 36, (3, 3)),                          # rows, x as it is
    Conv(2, 45, 40, 70, 20, (1, 1), (2, 1)),
]


@pytest.mark.parametrize(("conv", "machine", "parts"), in_turn(
    SMALL[::2] + OTHERS, MACHINES, choices=[0, 3, 0, 2]), ids=str)
def test_values_and_bits(conv, machine, parts):
    """Whatever ranges of units the threads take, in one array or one for each part."""
    if parts == 0 and conv.channels // conv.groups < 8:
        parts = 2
    x, gy = values(conv)
    library = Library(machine)
    main = conv_weight_gradient(library, conv, parts)
    code = compiled(library)
    expected = gradient(conv, x, gy)
    results: list[np.ndarray] = []
    for threads in (1, 2, 3):
        ends = [main.units * i // threads for i in range(threads + 1)]
        gw = np.full((max(1, parts), *expected.shape), np.nan, np.float32)
        for i in range(threads):
            code.run(main, {"x": x, "gy": gy, "gw": gw}, (ends[i], ends[i + 1]))
        results.append(gw.astype(np.float64).sum(0))
        np.testing.assert_array_equal(results[-1], results[0])
    close(results[0], expected, conv.batch * conv.out[0] * conv.out[1])


@pytest.mark.parametrize("machine", MACHINES, ids=str)
@pytest.mark.parametrize(("conv", "count"), [
    (Conv(7, 12, 12, 1, 6, (5, 5), padding=(2, 2)), 2),
    (Conv(5, 9, 10, 3, 3, (3, 3), (2, 1), (1, 1)), 5),
    (Conv(4, 8, 19, 2, 1, (3, 2), (1, 3)), 6),
    (Conv(3, 7, 7, 1, 6, (3, 3), padding=(1, 1)), 1),    # a pixel would be left over
    (Conv(3, 8, 8, 16, 4, (3, 3), padding=(1, 1)), 1),   # channels enough for rows
    (Conv(3, 8, 8, 2, 4, (3, 3), padding=(2, 2), dilation=(2, 2)), 1)], ids=str)
def test_pixels_side_by_side(conv, count, machine):
    library, strides = Library(machine), (9000, 1600, 100, 3)
    wide = side_by_side(conv, 16)  # of one vector, or of several
    assert wide.outputs == count * conv.outputs
    main = conv_weight_gradient(library, wide, 2)
    total = conv_weight_sum(library, conv, 2, strides, wide)
    code = compiled(library)
    x, gy = values(conv)
    parts = np.full((2, *wide.kernel, conv.channels, wide.outputs), np.nan, np.float32)
    expected = gradient(conv, x, gy)
    gw = np.full(50000, np.nan, np.float32)
    code.run(main, {"x": x, "gy": gy, "gw": parts})
    code.run(total, {"parts": parts, "gw": gw})
    places = sum(i * s for i, s in zip(np.indices(expected.shape), strides, strict=True))
    close(gw[places], expected, conv.batch * conv.out[0] * conv.out[1])


@pytest.mark.parametrize(("channels", "outputs", "size", "columns"), [
    (3, 20, 12, False), (16, 16, 20, False), (64, 96, 4, True), (40, 16, 5, True)])
def test_threads_do_not_change_bits(channels, outputs, size, columns):
    conv = Conv(7, size, size, channels, outputs, (3, 3), padding=(1, 1))
    assert by_columns(conv) == columns
    op = ops.ConvWeightGrad(kernel=(3, 3), stride=(1, 1), padding=((1, 1), (1, 1)),
                            dilation=(1, 1), groups=1)
    x, gy = values(conv)
    expected = gradient(conv, x, gy).transpose(3, 2, 0, 1)
    given = x.transpose(0, 3, 1, 2), gy.transpose(0, 3, 1, 2)
    graph = trace(op, *given).graph
    first, *more = (compile_graph(graph, threads=n)(*given)[0] for n in (1, 2, 3))
    close(first, expected, conv.batch * size * size)
    for other in more:
        np.testing.assert_array_equal(other, first)


@pytest.mark.parametrize("target", ["avx512", "avx2"])
@pytest.mark.parametrize("conv", [
    Conv(13, 15, 14, 40, 40, (3, 3), (1, 1), (1, 1), groups=40),   # in 12 parts
    Conv(3, 16, 15, 520, 520, (3, 3), (2, 2), (1, 1), groups=520),
    Conv(2, 9, 11, 24, 24, (3, 3), (1, 1), (2, 2), (2, 2), groups=24),
    Conv(2, 9, 11, 7, 14, (3, 3), (1, 2), (1, 1), groups=7)], ids=str)
def test_depthwise_through_the_whole_compiler(conv, target, monkeypatch):
    """Forward and both gradients, the same bits for every number of threads."""
    monkeypatch.setenv("KISO_TARGET", target)
    kind = {"stride": conv.stride, "padding": tuple((p, p) for p in conv.padding),
            "dilation": conv.dilation, "groups": conv.groups}
    x, gy = (a.transpose(0, 3, 1, 2) for a in values(conv))
    W = normal(3, conv.outputs, 1, *conv.kernel)
    for op, given in ((ops.ConvWeightGrad(**kind, kernel=conv.kernel), (x, gy)),
                      (ops.ConvInputGrad(**kind, spatial=conv.size), (gy, W)),
                      (ops.Conv(**kind), (x, W))):
        graph = trace(op, *given).graph
        first, *others = (compile_graph(graph, threads=n)(*given)[0] for n in (1, 2, 3))
        for other in others:
            np.testing.assert_array_equal(other, first)
        exact = op(*(a.astype(np.float64) for a in given))
        np.testing.assert_allclose(first, exact, rtol=1e-5, atol=1e-5 * np.abs(exact).max())
