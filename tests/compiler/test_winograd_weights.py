"""Winograd's form of the gradient of weights, against NumPy in float64 and the direct kernel."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from kiso import ops
from kiso.compiler import trace
from kiso.compiler.contract import AVX2, AVX512, NEON, Conv, Library, conv_weight_gradient
from kiso.compiler.contract.steps import Step
from kiso.compiler.contract.winograd_weights import WinogradWeights, shared_parts, weights_worth
from kiso.runtime import compile_graph
from kiso.runtime.jit import compile_object
from tests.compiler.test_contract import MACHINES, compiled, in_turn
from tests.compiler.test_conv_weights import gradient, values
from tests.runtime.test_arm import ARM

SIDES = [(1, 2, 2), (2, 7, 9), (3, 4, 5), (0, 4, 4), (0, 6, 11), (1, 8, 8), (2, 2, 5), (1, 13, 4)]
CHANNELS = [(4, 6), (4, 20), (16, 32), (17, 5), (40, 70), (64, 48), (70, 130)]
SMALL = [Conv(1 + i % 4, *size, *channels, (3, 3), padding=(p, p - i % min(p, 2) if p else 0))
         for i, ((p, *size), channels) in enumerate(product(SIDES, CHANNELS))]
LARGE = [Conv(5, 30, 33, 24, 20, (3, 3), padding=(1, 1)),  # several blocks of tiles
         Conv(40, 7, 9, 150, 33, (3, 3), padding=(1, 0)),  # and of channels
         Conv(2, 40, 31, 9, 40, (3, 3), padding=(2, 2))]
MORE = [Conv(64, 2, 2, 24, 20, (3, 3), padding=(2, 2)),    # 2 x 2 and 4 x 4 results in a tile
        Conv(32, 4, 4, 24, 20, (3, 3), padding=(2, 2))]
GROUPS = [Conv(batch, *size, *channels, (3, 3), padding=(1, 1), groups=groups)
          for batch, size, channels, groups in (
              (3, (7, 9), (32, 48), 2), (40, (5, 11), (12, 15), 3), (5, (13, 30), (64, 16), 4),
              (20, (13, 13), (400, 140), 2), (2, (9, 4), (51, 150), 3))]
LEAST = 7e-8  # one rounding: a direct sum of a few products has no more


def rms(gw: np.ndarray, expected: np.ndarray) -> float:
    """Relative error."""
    return float(np.sqrt(((gw - expected) ** 2).mean() / (expected ** 2).mean()))


def direct(conv: Conv, x: np.ndarray, gy: np.ndarray) -> np.ndarray:
    library = Library(AVX512)
    main = conv_weight_gradient(library, conv, 1)
    shape = *conv.kernel, conv.channels // conv.groups, conv.outputs
    gw = np.full(shape, np.nan, np.float32)
    compiled(library).run(main, {"x": x, "gy": gy, "gw": gw}, (0, 1))
    return gw


@pytest.mark.parametrize(("conv", "machine", "parts"), [
    *in_turn(SMALL[::5] + SMALL[3::5], MACHINES[:1], choices=[0, 3]),
    *in_turn(SMALL[1::5] + LARGE, MACHINES[1:2], choices=[0, 2, 4]),
    *in_turn(SMALL[2::5] + LARGE[1:], MACHINES[2:], choices=[0, 3]),
    *in_turn(LARGE + MORE, MACHINES[:1], choices=[4, 0, 0]),
    *in_turn(GROUPS, MACHINES, choices=[0, 3]), *in_turn(GROUPS, MACHINES[:2], choices=[4, 0])],
    ids=str)
def test_values_and_bits(conv, machine, parts):
    """Whatever ranges of units the threads take, in whatever order gw lies."""
    x, gy = values(conv)
    expected = gradient(conv, x, gy)
    order = ((3, 2, 0, 1), (0, 1, 2, 3))[conv.channels % 2]  # of gw's axes k, l, c, o in memory
    gw = np.empty([expected.shape[i] for i in order], np.float32)
    seen = gw.transpose(np.argsort(order))
    library = Library(machine)
    k, l, c, o = (stride // 4 for stride in seen.strides)
    made = WinogradWeights(library, conv, parts, (k, l, c, o))
    drivers = [made.main, *([made.total()] if parts else [])]
    code = compiled(library)
    results: list[np.ndarray] = []
    for threads in (1, 2, 3):
        gw[:] = np.nan
        sums = np.full(made.sums_size, np.nan, np.float32)
        for driver in drivers:
            ends = [driver.units * i // threads for i in range(threads + 1)]
            for i in range(threads):
                code.run(driver, {"x": x, "gy": gy, "gw": gw, "sums": sums},
                         (ends[i], ends[i + 1]))
        results.append(seen.astype(np.float64))
        np.testing.assert_array_equal(results[-1], results[0])
    bound = 3 * max(rms(direct(conv, x, gy), expected), LEAST)
    assert rms(results[0], expected) <= bound


@pytest.mark.parametrize(("kind", "batch", "side", "channels", "parts"), [
    ("avx512", 40, 15, 24, 4), ("avx2", 40, 15, 24, 4), ("avx512", 21, 5, 140, 0),
    ("avx2", 21, 5, 140, 0)])
def test_threads_do_not_change_bits(monkeypatch, kind, batch, side, channels, parts):
    """Through the whole compiler, in this form because it is asked for."""
    conv = Conv(batch, side, side, channels, 33, (3, 3), padding=(1, 1))
    assert shared_parts(conv) == parts
    op = ops.ConvWeightGrad(kernel=(3, 3), stride=(1, 1), padding=((1, 1), (1, 1)),
                            dilation=(1, 1), groups=1)
    x, gy = values(conv)
    given = x.transpose(0, 3, 1, 2), gy.transpose(0, 3, 1, 2)
    graph = trace(op, *given).graph
    monkeypatch.setenv("KISO_TARGET", kind)
    monkeypatch.setenv("KISO_CONV", "winograd")
    code = compile_graph(graph, threads=1)
    steps = [kernel for kernel in code.program.kernels if isinstance(kernel, Step)]
    assert steps[0].form == ("F(4x4, 3x3)" if parts else "F(2x2, 3x3)")
    first = code(*given)[0]
    for threads in (1, 2, 2, 3):
        np.testing.assert_array_equal(compile_graph(graph, threads=threads)(*given)[0], first)
    expected = gradient(conv, x, gy)
    assert rms(first.transpose(2, 3, 1, 0), expected) <= 3 * rms(direct(conv, x, gy), expected)


@pytest.mark.parametrize("parts", [0, 3])
def test_code_for_arm_is_assembled(parts):
    library = Library(NEON)
    WinogradWeights(library, LARGE[0], parts, (60, 20, 180, 1)).total()
    found = compile_object(library.text(), ARM)
    assert found[:4] == b"\x7fELF" and found[18] == 183  # EM_AARCH64


def test_where_the_form_is_taken():
    """As measured: not for few channels, nor for images that fill their tiles badly."""
    def worth(batch: int, channels: int, outputs: int, side: int) -> bool:
        conv = Conv(batch, side, side, channels, outputs, (3, 3), padding=(1, 1))
        return weights_worth(AVX512, conv) and weights_worth(AVX2, conv)
    assert worth(64, 64, 64, 32) and worth(8, 64, 64, 224) and worth(64, 512, 512, 4)
    assert worth(64, 16, 16, 32) and worth(64, 64, 3, 32) and worth(64, 512, 512, 7)
    assert not worth(64, 3, 64, 32) and not worth(64, 512, 512, 2) and not worth(1, 512, 512, 7)
