"""The contract kernel against PyTorch and NumPy in float64, for three widths of vectors."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pytest

from kiso.compiler.contract import (
    AVX2,
    AVX512,
    NEON,
    Conv,
    Driver,
    Library,
    Product,
    SlidingDriver,
    conv_weight_gradient,
    conv_weight_sum,
    matmul,
)
from kiso.compiler.contract.tiles import most_rows, partition, patch, tiling

MACHINES = [AVX512, AVX2, NEON]  # any width runs anywhere: LLVM splits what is too wide
FULL = ("bias", "add", "relu")


@dataclass
class Compiled:
    """Machine code of a library; `run` calls a driver in two ranges, as two threads would."""

    engine: Any

    def run(self, driver: Driver, arrays: dict[str, np.ndarray],
            cut: Sequence[int] | None = None) -> None:
        kinds = [ctypes.c_void_p] * len(driver.pointers) + [ctypes.c_int64] * 2
        call = ctypes.CFUNCTYPE(None, *kinds)(self.engine.get_function_address(driver.name))
        scratch = np.full(driver.scratch + 16, np.nan, np.float32)
        every = arrays | {"scratch": scratch}
        pointers = [every[p].ctypes.data for p in driver.pointers]
        if cut:
            call(*pointers, *cut)
            return
        half = driver.units // 2
        for ends in ((half, driver.units), (0, half)):
            call(*pointers, *ends)


def compiled(library: Library) -> Compiled:
    llvm = pytest.importorskip("llvmlite.binding")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=1)
    module = llvm.parse_assembly(library.text())
    module.verify()
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    return Compiled(engine)


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def close(y: np.ndarray, expected: np.ndarray, terms: int) -> None:
    """Equal to the rounding of a sum of so many products."""
    assert np.isfinite(y).all()
    assert np.abs(y - expected).max() <= 3e-7 * (terms + 10) ** 0.5 * (1 + np.abs(expected).max())


SHAPES = [(1, 1, 1), (5, 10, 7), (100, 100, 784), (33, 64, 1000), (17, 530, 40), (64, 600, 500),
          (300, 260, 400), (2000, 10, 65), (3, 37, 150)]
TURNED = [(False, False), (False, True), (True, False), (True, True)]


def in_turn(*lists: list[Any], choices: list[Any]) -> list[Any]:
    """All combinations of the lists, with the choices in turn: each meets each before long."""
    return [(*case, choices[i % len(choices)]) for i, case in enumerate(product(*lists))]


@pytest.mark.parametrize(("shape", "turned", "machine"),
                         list(product(SHAPES, TURNED, MACHINES)), ids=str)
def test_matmul(shape, turned, machine):
    m, n, k = shape
    plain = turned[0] != turned[1]
    library = Library(machine)
    driver = matmul(library, Product(m, n, k, *turned), () if plain else FULL)
    a, b = normal(1, m, k), normal(2, k, n)
    c = np.full((m, n), np.nan, np.float32)
    arrays = {"a": np.ascontiguousarray(a.T) if turned[0] else a,
              "b": np.ascontiguousarray(b.T) if turned[1] else b, "c": c,
              "bias": normal(4, n), "add": normal(5, m, n)}
    compiled(library).run(driver, arrays)
    expected = a.astype(np.float64) @ b
    if not plain:
        expected = np.maximum(expected + arrays["bias"] + arrays["add"], 0)
    close(c, expected, k)


@pytest.mark.parametrize(("shape", "turned"), [
    ((100, 100, 300), (False, True)), ((90, 300, 300), (True, False)), ((2, 80, 50), (False, True)),
], ids=str)
def test_ranges_do_not_change_the_bits(shape, turned):
    m, n, k = shape
    library = Library(AVX512)
    driver = matmul(library, Product(m, n, k, *turned))
    code, results = compiled(library), [np.empty((m, n), np.float32) for _ in range(2)]
    for c, cut in zip(results, [None, (0, driver.units)], strict=True):
        code.run(driver, {"a": normal(1, m * k), "b": normal(2, k * n), "c": c}, cut)
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("shape", [(64, 48, 25088), (2, 48, 25088)], ids=str)
def test_a_long_sum_is_as_exact_as_numpys(shape):
    m, n, k = shape
    library = Library(AVX512)
    driver = matmul(library, Product(m, n, k, False, True))
    a, b = np.random.default_rng(0).random((2, 64, k), np.float32)
    a, b, c = a[:m], b[:n], np.empty((m, n), np.float32)
    compiled(library).run(driver, {"a": a, "b": b, "c": c})
    expected = a.astype(np.float64) @ b.T.astype(np.float64)

    def error(y: np.ndarray) -> float:
        return float(np.sqrt(np.mean((y / expected - 1) ** 2)))
    assert error(c) < 2 * max(error(a @ b.T), 1e-7)


CONVS = [
    Conv(2, 7, 9, 3, 10, (3, 3)),
    Conv(1, 28, 28, 1, 30, (5, 5)),
    Conv(2, 8, 8, 16, 16, (3, 3), padding=(1, 1)),
    Conv(2, 9, 10, 30, 64, (3, 3), (2, 2), (1, 1)),
    Conv(2, 11, 7, 6, 20, (3, 2), (2, 3), (2, 1), (2, 1), groups=2),
    Conv(1, 5, 5, 64, 100, (1, 1), (2, 2)),
    Conv(3, 6, 6, 8, 8, (3, 3), groups=8),
    Conv(1, 100, 60, 64, 32, (3, 3), padding=(1, 1)),  # several blocks of rows
    Conv(1, 90, 60, 32, 16, (5, 5), (2, 2), (2, 2)),
    Conv(1, 16, 16, 17, 33, (3, 3), (3, 3), (0, 0), (3, 3)),
    Conv(2, 4, 5, 4, 16, (4, 5)),  # one pixel
    Conv(5, 6, 7, 3, 64, (3, 3), padding=(2, 2)),
]


def peer(conv: Conv) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """x, W (KH, KW, C, O), gy, and PyTorch's y, gx, gw in float64, channels last."""
    torch = pytest.importorskip("torch")
    x = normal(1, conv.batch, *conv.size, conv.channels)
    W = normal(2, *conv.kernel, conv.channels // conv.groups, conv.outputs)
    tx = torch.tensor(x.transpose(0, 3, 1, 2).astype(np.float64), requires_grad=True)
    tw = torch.tensor(W.transpose(3, 2, 0, 1).astype(np.float64), requires_grad=True)
    ty = torch.nn.functional.conv2d(tx, tw, stride=conv.stride, padding=conv.padding,
                                    dilation=conv.dilation, groups=conv.groups)
    gy = normal(3, conv.batch, *conv.out, conv.outputs)
    ty.backward(torch.tensor(gy.transpose(0, 3, 1, 2).astype(np.float64)))
    return x, W, gy, {"y": ty.detach().numpy().transpose(0, 2, 3, 1),
                      "gx": tx.grad.numpy().transpose(0, 2, 3, 1),
                      "gw": tw.grad.numpy().transpose(2, 3, 1, 0)}


def elements(x: np.ndarray) -> list[int]:
    """Strides in floats."""
    return [s // 4 for s in x.strides]


def test_code_for_arm_assembles():
    llvm = pytest.importorskip("llvmlite.binding")
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    library = Library(NEON)
    conv = Conv(2, 12, 12, 1, 30, (5, 5), padding=(2, 2))
    for driver in (matmul(library, Product(64, 600, 500, False, True)),
                   SlidingDriver(library, conv, after=FULL).main,
                   conv_weight_gradient(library, conv, 2)):
        assert driver.units > 0
    machine = llvm.Target.from_triple("aarch64-unknown-linux-gnu").create_target_machine(
        cpu="neoverse-n1", opt=2)
    module = llvm.parse_assembly(library.text())
    module.triple = "aarch64-unknown-linux-gnu"
    text = machine.emit_assembly(module)
    assert "fmla\tv" in text and machine.emit_object(module)


ORDERS = [(0, 1, 2, 3), (3, 0, 1, 2), (3, 2, 0, 1), (0, 1, 2, 3), (3, 2, 0, 1)]


@pytest.mark.parametrize(("conv", "machine", "backward", "order"), in_turn(
    CONVS, MACHINES, [False, True], choices=ORDERS), ids=str)
def test_convolution_and_its_input_gradient(conv, machine, backward, order):
    x, W, gy, expected = peer(conv)
    library = Library(machine)
    plain = order != (0, 1, 2, 3)
    found = SlidingDriver(library, conv, backward, () if plain else FULL)
    stored = np.ascontiguousarray(W.transpose(order))  # as the parameter lies in memory
    steps = elements(stored)
    packer = found.packer((*(steps[order.index(i)] for i in range(4)),))
    code = compiled(library)
    packed = np.full(found.packed_size, np.nan, np.float32)
    code.run(packer, {"w": stored, "packed": packed})
    result = expected["gx" if backward else "y"]
    arrays = {"x": gy if backward else x, "w": packed,
              "y": np.full(result.shape, np.nan, np.float32),
              "bias": normal(4, result.shape[-1]), "add": normal(5, *result.shape)}
    code.run(found.main, arrays)
    if not plain:
        result = np.maximum(result + arrays["bias"] + arrays["add"], 0)
    close(arrays["y"], result, 9 * conv.channels)


@pytest.mark.parametrize(("conv", "machine", "order"), in_turn(
    CONVS, MACHINES, choices=ORDERS[:2] + ORDERS[2:3] * 2), ids=str)
def test_weight_gradient(conv, machine, order):
    x, W, gy, expected = peer(conv)
    library = Library(machine)
    main = conv_weight_gradient(library, conv, parts=3)
    gw = np.full([W.shape[i] for i in order], np.nan, np.float32)
    steps = elements(gw)
    total = conv_weight_sum(library, conv, 3, (*(steps[order.index(i)] for i in range(4)),), conv)
    code = compiled(library)
    parts = np.full((3, *W.shape), np.nan, np.float32)
    code.run(main, {"x": x, "gy": gy, "gw": parts})
    code.run(total, {"parts": parts, "gw": gw})
    close(gw, expected["gw"].transpose(order), conv.batch * conv.out[0] * conv.out[1])


def test_a_partition_is_even_and_complete():
    for extent in range(1, 60):
        for limit in range(1, 20):
            groups = partition(extent, limit)
            ends = [(g.start + i * g.size, g.size) for g in groups for i in range(g.count)]
            place = 0
            for start, size in ends:
                assert start == place and size <= limit
                place += size
            sizes = {size for _, size in ends}
            assert place == extent and max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: f"{m.lanes}")
@pytest.mark.parametrize("columns", [1, 10, 16, 30, 64, 100, 512])
def test_tiles_fit_the_registers(machine, columns):
    for extents in ((1,), (7,), (100,), (4, 4), (28, 28), (1, 13)):
        for vectors in range(1, 5):
            _, found = patch(machine, extents, vectors, 100)
            assert np.prod(found) <= most_rows(machine, vectors)
            assert np.prod(found) * vectors + vectors + 1 <= machine.registers
        groups, most = tiling(machine, extents[0], columns, 100)
        assert set(most) == {g.size for g in groups}
