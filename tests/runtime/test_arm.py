"""Code for ARM: assembled for every op, and run in an emulator where there is one.

A program for ARM holds the compiled code and the memory of one call; it reads that memory from its
standard input, calls `work`, and writes it back. It needs a linker for ARM and QEMU, in Debian:
`apt-get install qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross`.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kiso import ops
from kiso.compiler import optimise, trace
from kiso.compiler.lower import RULES
from kiso.compiler.plan import plan
from kiso.ops import REGISTRY
from kiso.runtime import Executable, engine
from kiso.runtime.jit import Objects, compile_object, merged
from kiso.runtime.target import Target
from kiso.runtime.work import LAST, STOP, SYNC_WORDS
from kiso.tree import flatten_tree, unflatten_tree
from tests.train.test_step import whole_step

ARM = Target("neon", "aarch64-unknown-linux-gnu", "generic", "+neon", 16, 32, False)
LINKER, EMULATOR = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64")
RUNS = pytest.mark.skipif(LINKER is None or EMULATOR is None, reason="no linker or emulator")

MAIN = """
@memory = internal global [{size} x i8] zeroinitializer, align 64
@table = internal global [{slots} x ptr] [{table}]
@sync = internal global [{words} x i64] zeroinitializer, align 64
declare i64 @read(i32, ptr, i64)
declare i64 @write(i32, ptr, i64)
define i32 @main() {{
start:
  br label %in
in:
  %have = phi i64 [0, %start], [%now, %in]
  %to = getelementptr i8, ptr @memory, i64 %have
  %lack = sub i64 {size}, %have
  %got = call i64 @read(i32 0, ptr %to, i64 %lack)
  %now = add i64 %have, %got
  %more = icmp slt i64 %now, {size}
  br i1 %more, label %in, label %go
go:
  %last = getelementptr i64, ptr @sync, i64 {last}
  store i64 0, ptr %last
  %stop = getelementptr i64, ptr @sync, i64 {stop}
  call void @work(ptr @table, ptr @sync, ptr %stop, ptr @sync, i64 0, i64 0, i64 1)
  br label %out
out:
  %sent = phi i64 [0, %go], [%then, %out]
  %from = getelementptr i8, ptr @memory, i64 %sent
  %left = sub i64 {size}, %sent
  %put = call i64 @write(i32 1, ptr %from, i64 %left)
  %then = add i64 %sent, %put
  %still = icmp slt i64 %then, {size}
  br i1 %still, label %out, label %done
done:
  ret i32 0
}}
"""


class Text:
    """In the place of a Library: code that cannot be loaded here."""

    from_cache = True

    def __init__(self, text: str, target: Target, names: list[str], parts: Objects):
        self.text, self.target = merged(text, *(w().text for w in parts.writers)), target
        self.address = dict.fromkeys(names, 1)


@pytest.fixture(autouse=True)
def for_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "Library", Text)


def compiled(f: Any, *xs: Any, contracts: bool = True) -> Executable:
    found = plan(optimise(trace(f, *xs).graph), contracts=contracts)
    return Executable(found, to=ARM, threads=1)


def emulated(code: Executable, arrays: Sequence[Any], folder: Path) -> list[Any]:
    """The code's results for these inputs, from the emulator."""
    space, results, _, given = code.bind(arrays)
    space.arena.view(np.uint8)[:] = 0xFF  # NaN: nobody may read what nobody wrote
    regions = [space.arena, *space.scratch, *given, *results, *code.constants.values()]
    starts, size = [], 64
    for region in regions:
        starts.append(size)
        size += -(-region.nbytes // 64) * 64 + 64
    memory = np.zeros(size, np.uint8)
    for start, region in zip(starts, regions, strict=True):
        memory[start:start + region.nbytes] = np.frombuffer(region.tobytes(), np.uint8)

    def place(address: int | None) -> str:
        for start, region in zip(starts, regions, strict=True):
            offset = (address or 0) - region.ctypes.data
            if 0 <= offset < max(region.nbytes, 1):
                return f"ptr getelementptr (i8, ptr @memory, i64 {start + offset})"
        return "ptr null"

    table = [place(address) for address in space.tables[0]]
    main = MAIN.format(size=size, slots=len(table), table=", ".join(table), words=SYNC_WORDS,
                       last=LAST, stop=STOP)
    (folder / "code.o").write_bytes(compile_object(code.lib.text + main, ARM))
    assert LINKER and EMULATOR
    subprocess.run([LINKER, "-static", "-o", "code", "code.o"], cwd=folder, check=True)
    done = subprocess.run([EMULATOR, "./code"], cwd=folder, input=memory.tobytes(), check=True,
                          stdout=subprocess.PIPE, timeout=120)
    after = np.frombuffer(done.stdout, np.uint8)
    assert after.size == size
    first = len(regions) - len(code.constants) - len(results)
    return [after[start:start + y.nbytes].view(y.dtype).reshape(y.shape)[0]
            for start, y in zip(starts[first:], results, strict=False)]


QUICK = ["ArgMax", "Conv", "MatMul", "MaxPool", "Softmax", "Uniform"]


@RUNS
@pytest.mark.parametrize("name", [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
    for name in sorted(REGISTRY) if REGISTRY[name] in RULES])
def test_every_op_in_the_emulator(name: str, tmp_path: Path) -> None:
    cls: Any = REGISTRY[name]
    for sample in cls.samples:
        op, arrays = cls(**sample.attributes), sample.arrays(float_type="float32")
        expected = op(*arrays)
        found = emulated(compiled(op, *arrays), arrays, tmp_path)
        for y, z in zip(expected if op.outputs > 1 else (expected,), found, strict=True):
            assert y.dtype == z.dtype and y.shape == z.shape
            np.testing.assert_allclose(z, y, rtol=2e-5, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_code_of_every_op_is_assembled(kind: str) -> None:
    for cls in map(REGISTRY.__getitem__, sorted(REGISTRY)):
        for sample in cls.samples:
            arrays = sample.arrays(float_type=kind)
            code = compiled(cls(**sample.attributes), *arrays)
            found = compile_object(code.lib.text, ARM)
            assert found[:4] == b"\x7fELF" and found[18] == 183  # EM_AARCH64


@RUNS
def test_a_whole_training_step_in_the_emulator(tmp_path: Path) -> None:
    """Convolutions, batch norm, dropout, augmentation, products and Adam."""
    step, state, batches = whole_step("adam")
    leaves = flatten_tree((state, batches[0]))[0]
    code = compiled(step.train, state, batches[0])
    result = step.train(state, batches[0])
    found = unflatten_tree(flatten_tree(result)[1], emulated(code, leaves, tmp_path))
    (after, metrics), (after2, metrics2) = result, found
    assert float(metrics2["loss"]) == pytest.approx(float(metrics["loss"]), rel=1e-5)
    assert float(metrics2["gradient_norm"]) == pytest.approx(float(metrics["gradient_norm"]),
                                                             rel=1e-3)
    for part in ("params", "buffers"):
        for name, value in after[part].items():
            if name not in ("0.bias", "4.bias"):  # before batch norm: their gradients are rounding
                np.testing.assert_allclose(after2[part][name], value, rtol=1e-3, atol=1e-3)


@RUNS
def test_subnormal_numbers_are_zero_there_too(tmp_path: Path) -> None:
    x = np.full(100, 1e-30, np.float32)
    found, = emulated(compiled(lambda x: x * 1e-10, x), [x], tmp_path)
    assert (x * np.float32(1e-10)).all() and not found.any()
    found, = emulated(compiled(lambda x: ops.exp(x) * 2, x), [x], tmp_path)
    np.testing.assert_allclose(found, 2)
