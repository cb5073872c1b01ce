"""Convolution and its input gradient in Winograd's form against NumPy in float64 and beside the
direct kernel: odd sides, few pixels, channels that fill no vector, groups, all work after the
sum."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from kiso import ops
from kiso.compiler import trace
from kiso.compiler.contract import AVX512, Conv, Library, Machine, SlidingDriver, WinogradDriver
from kiso.compiler.contract.steps import Step
from kiso.compiler.contract.winograd import few, fits, side, worth
from kiso.runtime import compile_graph
from tests.compiler.test_contract import FULL, MACHINES, compiled, elements, in_turn, normal
from tests.compiler.test_contract_slide import expected

SIZES = [(2, 3), (4, 4), (5, 9), (8, 8), (14, 6)]
PADDINGS = [(0, 0), (1, 1), (2, 1), (3, 2)]
CHANNELS = [(16, 16), (9, 12), (33, 70), (17, 64), (250, 48), (8, 8)]
GROUPS = [((5, 7), (32, 48), 2), ((8, 8), (12, 15), 3), ((4, 4), (64, 16), 4),
          ((2, 3), (34, 10), 2), ((6, 13), (400, 140), 2), ((9, 5), (51, 210), 3)]


def cases() -> list[tuple[Conv, int]]:
    result: list[tuple[Conv, int]] = []
    for i, (size, padding) in enumerate(product(SIZES, PADDINGS)):
        if min(n + 2 * p for n, p in zip(size, padding, strict=True)) >= 4:
            c, o = CHANNELS[(i + i // 4) % len(CHANNELS)]
            result.append((Conv((1, 3, 40)[i % 3], *size, c, o, (3, 3), (1, 1), padding), i))
    return result + [(Conv((3, 40, 1)[i % 3], *size, *channels, (3, 3), (1, 1), (1, 1 + i % 2),
                           groups=groups), i) for i, (size, channels, groups) in enumerate(GROUPS)]


def computed(kind, library, conv, backward, after, arrays, m=()):
    """What a driver leaves of NaN, in three parts, out of order."""
    strides, rest = tuple(elements(arrays["W"])), (backward, after, f"own{len(library.codes)}")
    first = len(m) > 1 and m[1]
    if kind is WinogradDriver:
        found = kind(library, conv, strides, *rest, *m)
        packer = found.packer()
    else:
        found = kind(library, conv, *rest)
        packer = found.packer(strides)
    code = compiled(library)
    packed = np.full(found.packed_size, np.nan, np.float32)
    ends = [packer.units * t // 3 for t in range(4)]
    for t in (2, 0, 1):
        code.run(packer, {"w": arrays["x" if first else "W"], "packed": packed}, ends[t:t + 2])
    y = np.full_like(arrays["add"], np.nan)
    given = {**arrays, "x": packed, "w": arrays["W"]} if first else {**arrays, "w": packed}
    ends = [found.main.units * t // 3 for t in range(4)]
    for t in (2, 0, 1):
        code.run(found.main, {**given, "y": y}, ends[t:t + 2])
    return y


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x.astype(np.float64)))))


@pytest.mark.parametrize(("case", "backward"), in_turn(cases(), choices=[False, True]) +
                         in_turn(cases(), choices=[True, False]), ids=str)
def test_against_float64_and_the_direct_kernel(case, backward):
    conv, i = case
    machine = [*MACHINES, Machine(4, 16)][i % 4]
    W = normal(2, 3, 3, conv.channels // conv.groups, conv.outputs)
    shapes = (conv.batch, *conv.size, conv.channels), (conv.batch, *conv.out, conv.outputs)
    source, target = shapes[::-1] if backward else shapes
    other = normal(4, *target)
    arrays = {"W": W, "x": normal(3, *source), "bias": normal(5, target[-1]), "add": other,
              "mask": other}
    plain = expected(conv, W, arrays["x"], backward)
    best = side(conv, backward)
    errors = [rms(computed(kind, Library(machine), conv, backward, (), arrays, given) - plain)
              for kind, given in ((WinogradDriver, (best,)), (SlidingDriver, ()))]
    assert errors[0] <= 3 * errors[1]
    after = FULL if i % 2 else ("mask",)
    result = np.maximum(plain + other + arrays["bias"], 0) if i % 2 else plain * (other > 0)
    for m, first in ((2, i % 3 == 0), (4, False), (4, True)):
        y = computed(WinogradDriver, Library(machine), conv, backward, after, arrays, (m, first))
        assert rms(y - result) < 1e-6 * rms(plain)


def test_which_form_is_estimated_to_be_faster():
    def conv(batch, channels, size, outputs=0):
        return Conv(batch, size, size, channels, outputs or channels, (3, 3), (1, 1), (1, 1))
    for machine, backward in product(MACHINES, (False, True)):
        assert worth(machine, conv(64, 64, 32), backward)
        assert worth(machine, conv(8, 512, 14), backward)
        assert not worth(machine, conv(64, 512, 2), backward)  # one tile for four pixels
        assert not worth(machine, conv(1, 512, 4), backward)  # more work for the filters than here
    assert not worth(MACHINES[0], conv(64, 3, 32, 64))
    assert side(conv(1, 16, 5)) == side(conv(1, 64, 4)) == 4
    assert side(conv(1, 32, 4)) == side(conv(1, 8, 32)) == side(conv(9, 512, 3)) == 2
    assert fits(conv(1, 8, 2)) and not fits(Conv(1, 8, 8, 8, 8, (3, 3), (2, 2)))
    assert not fits(conv(1, 64, 1)) and not fits(conv(1, 3, 8, 64))
    assert not fits(Conv(1, 3, 8, 8, 8, (3, 3)))  # one row of results
    assert not fits(Conv(1, 8, 8, 8, 8, (5, 3)))
    assert not fits(Conv(1, 8, 8, 8, 8, (3, 3), dilation=(2, 2)))


def test_which_groups_have_the_form():
    """Each is a convolution of its own."""
    def conv(channels, groups, batch=16, size=13):
        return Conv(batch, size, size, channels, channels, (3, 3), (1, 1), (1, 1), groups=groups)
    assert fits(conv(16, 4)) and not fits(conv(12, 4)) and not fits(conv(64, 64))
    for backward in (False, True):
        assert worth(AVX512, conv(384, 2), backward) and worth(AVX512, conv(512, 16), backward)
        assert not worth(AVX512, conv(128, 32), backward)
        one = conv(192, 1)
        assert side(conv(384, 2)) == side(one) and not few(conv(384, 2), backward)


@pytest.mark.parametrize("target", ["avx512", "avx2"])
def test_groups_through_the_whole_compiler(monkeypatch, target):
    """Forward and both gradients, the same bits for every number of threads."""
    monkeypatch.setenv("KISO_TARGET", target)
    monkeypatch.setenv("KISO_CONV", "winograd")
    kind = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 2}
    x, W, gy = normal(1, 5, 32, 9, 7), normal(2, 40, 16, 3, 3), normal(3, 5, 40, 9, 7)
    for op, given in ((ops.Conv(**kind), (x, W)), (ops.ConvInputGrad(**kind, spatial=(9, 7)),
                      (gy, W)), (ops.ConvWeightGrad(**kind, kernel=(3, 3)), (x, gy))):
        graph = trace(op, *given).graph
        codes = [compile_graph(graph, threads=threads) for threads in (1, 2, 3)]
        assert any(isinstance(k, Step) and k.form for k in codes[0].program.kernels)
        first, *others = (code(*given)[0] for code in codes)
        for other in others:
            np.testing.assert_array_equal(other, first)
        exact = op(*(array.astype(np.float64) for array in given))
        assert rms(first - exact) < 1e-6 * rms(exact)
