"""Compiled kernels give what their NumPy meaning gives, on every target of this machine."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kiso import ops
from kiso.compiler import trace
from kiso.compiler.codegen import generate
from kiso.compiler.codegen.convert import convert
from kiso.compiler.loops import (
    Axis,
    Buffer,
    Fn,
    Index,
    Kernel,
    Load,
    Program,
    const,
    maximum,
    minimum,
    select,
)
from kiso.compiler.lower import RULES
from kiso.compiler.lower.rules import over
from kiso.compiler.plan import Plan, plan
from kiso.errors import GraphError
from kiso.ops import REGISTRY
from kiso.runtime import Executable, assembly, target
from kiso.runtime.target import Target

CASES = [pytest.param(cls, i, id=f"{name}-{sample!r}") for name, cls in sorted(REGISTRY.items())
         if cls in RULES for i, sample in enumerate(cls.samples)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KISO_CACHE", str(tmp_path_factory.getbasetemp() / "kernels"))


@pytest.fixture(params=["host", "avx2", "sse2"])
def on(request: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param not in ("host", *reachable()):
        pytest.skip(f"this processor has no {request.param}")
    monkeypatch.setenv("KISO_TARGET", request.param)
    return request.param


def reachable() -> tuple[str, ...]:
    ranks = ("sse2", "avx2", "avx512")
    own = target().name
    return ranks[:ranks.index(own) + 1] if own in ranks else (own,)


def modes(f: Any, *xs: Any) -> list[str]:
    return [code.mode for code in compiled(f, *xs).module.kernels]


def compiled(f: Any, *xs: Any) -> Executable:
    """Without contract kernels, which have tests of their own."""
    return Executable(plan(trace(f, *xs).graph))


def check(f: Any, *xs: Any, rtol: float = 2e-5) -> None:
    expected = f(*xs)
    found = compiled(f, *xs)(*xs)
    expected = expected if isinstance(expected, tuple | list) else (expected,)
    for y, z in zip(expected, found, strict=True):
        assert (y.dtype, y.shape) == (z.dtype, z.shape)
        np.testing.assert_allclose(z, y, rtol=rtol, atol=rtol)


def normal(*shape: int, seed: int = 0, dtype: str = "float32") -> Any:
    rng = np.random.default_rng([seed, zlib.crc32(repr(shape).encode())])
    return rng.standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("float_type, on", [
    *(("float32", name) for name in ("host", "avx2", "sse2")), ("float64", "host"),
    *(pytest.param("float64", name, marks=pytest.mark.slow) for name in ("avx2", "sse2"))],
    indirect=["on"])
@pytest.mark.parametrize("cls, i", CASES)
def test_compiled_equals_eager(cls: Any, i: int, float_type: str, on: str) -> None:
    sample = cls.samples[i]
    op, arrays = cls(**sample.attributes), sample.arrays(float_type=float_type)
    expected = op(*arrays)
    found = Executable(plan(trace(op, *arrays).graph))(*arrays)
    tolerance = 2e-5 if float_type == "float32" else 1e-9
    for y, z in zip(expected if op.outputs > 1 else (expected,), found, strict=True):
        assert y.dtype == z.dtype and y.shape == z.shape
        np.testing.assert_allclose(z, y, rtol=tolerance, atol=tolerance)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), st.integers(0, 15),
       st.sampled_from(["sum", "max", "min", "mean"]), st.booleans())
def test_reductions_over_any_axes(shape: list[int], mask: int, kind: str, keep: bool) -> None:
    x = normal(*shape)
    axes = tuple(k for k in range(len(shape)) if mask >> k & 1) or None
    (y,) = compiled(lambda x: getattr(ops, kind)(x, axis=axes, keepdims=keep), x)(x)
    exact = getattr(np, kind)(x.astype(np.float64), axis=axes, keepdims=keep)
    assert y.shape == exact.shape and y.dtype == x.dtype
    # Terms of both signs may cancel: a sum's rounding is measured by the sum of their sizes.
    size = getattr(np, kind)(np.abs(x.astype(np.float64)), axis=axes, keepdims=keep)
    bound = 1e-6 * size if kind in ("sum", "mean") else 0
    assert np.all(np.abs(y - exact) <= bound)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 1), st.booleans())
def test_argmax_takes_the_first_of_equals(m: int, n: int, axis: int, ties: bool) -> None:
    x = normal(m, n)
    check(lambda x: ops.argmax(x, axis=axis), np.round(x) if ties else x)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 150), st.booleans(), st.booleans())
def test_matrix_products(m: int, k: int, n: int, left: bool, right: bool) -> None:
    a, b = normal(*((k, m) if left else (m, k))), normal(*((n, k) if right else (k, n)), seed=1)
    check(lambda a, b: (a.transpose(1, 0) if left else a) @ (b.transpose(1, 0) if right else b),
          a, b, rtol=1e-4)


def test_reductions_run_where_memory_is_contiguous() -> None:
    x = normal(300, 200)
    assert modes(lambda x: x.sum(axis=1), x) == ["loop"]
    assert modes(lambda x: x.sum(axis=0), x)[0].startswith("tile")
    assert modes(lambda a, b: a @ b, x, normal(200, 64))[0].startswith("tile")
    assert modes(lambda a, b: a @ b.transpose(1, 0), x, normal(64, 200)) == ["loop"]


@settings(max_examples=30, deadline=None)
@given(st.permutations([0, 1, 2, 3]), st.integers(0, 2))
def test_memory_order_of_the_result(order: list[int], other: int) -> None:
    """Channels last is an order of a buffer, not of a rule."""
    x = normal(3, 5, 6, 7)
    program = Program()
    source, into = program.buffer(x.shape, x.dtype), program.buffer(x.shape, x.dtype)
    last = Buffer(x.shape, x.dtype, (0, 2, 3, 1) if other else (0, 1, 2, 3))
    middle = Buffer(x.shape, x.dtype, tuple(order))
    value = Fn.of(source)
    for buffer in (last, middle, into):
        value = program.store(Fn(x.shape, x.dtype, lambda *i, v=value: v.at(*i) * 2.0), into=buffer)
    y, = Executable(Plan(program, (source,), {}, (into,)))(x)
    np.testing.assert_array_equal(y, x * 8)


def test_empty_arrays() -> None:
    check(lambda x: ops.exp(x) + 1, normal(0, 3))
    check(lambda x: x.sum(axis=0), normal(0, 3))
    check(lambda x: (x.sum(), x * 2), normal(2, 0))
    check(lambda a, b: a @ b, normal(3, 0), normal(0, 4))


def test_reshapes_leave_no_division() -> None:
    x = normal(32, 48)
    program = plan(trace(lambda x: ops.relu(x.reshape(16, 8, 12)).transpose(2, 0, 1), x).graph)
    text = generate(program.program, 64).text
    body = text[:text.index("define void @k0(")]
    inner = body[body.rindex("loop"):]
    assert "udiv" not in inner and "urem" not in inner
    check(lambda x: ops.relu(x.reshape(16, 8, 12)).transpose(2, 0, 1), x)
    check(lambda x: x.reshape(12, 128).transpose(1, 0).reshape(6, 256), x)


def test_neighbouring_axes_become_one_loop() -> None:
    x = normal(6, 7, 8)
    found = plan(trace(lambda x, y: x * y + 1, x, x).graph)
    kernel = found.program.kernels[0]
    assert isinstance(kernel, Kernel)
    nest = convert(kernel)
    assert sorted(nest.extent[a] for a in nest.axes) == [1, 1, 336]


def test_division_of_indices_rounds_down() -> None:
    a = np.array([7, -7, 8, -8, 0, 2**40, -2**40 - 1, np.iinfo(np.int64).min], np.int64)
    program = Program()
    x = program.buffer(a.shape, a.dtype)
    i = Index(axis := Axis(len(a)))
    outs: list[Buffer] = []
    expected: list[Any] = []
    for divisor in (1, 2, 3, 7, 2**33):
        near, far = np.arange(len(a)) * 5 + 1, np.arange(len(a)) * (2**33 + 1)
        for e, y in ((Load(x, (i,)), a), (i * 5 + 1, near), (i * (2**33 + 1), far)):
            for part, z in ((e // divisor, y // divisor), (e % divisor, y % divisor)):
                outs.append(program.buffer(a.shape, a.dtype))
                program.kernels.append(Kernel(outs[-1], (axis,), part))
                expected.append(z)
    for found, z in zip(Executable(Plan(program, (x,), {}, tuple(outs)))(a), expected, strict=True):
        np.testing.assert_array_equal(found, z)


def test_only_numbers_divide_integers() -> None:
    program = Program()
    x, y = program.buffer((7,), "int64"), program.buffer((7,), "int64")
    i = Index(axis := Axis(7))
    program.kernels.append(Kernel(y, (axis,), Load(x, (i,)) // Load(x, (i,))))
    with pytest.raises(GraphError, match="divisors"):
        generate(program, 64)


def test_padding_and_windows_by_select() -> None:
    program = Program()
    x = program.buffer((9,), "float32")
    i = Index(axis := Axis(13))
    inside = (i >= 2) & (i < 11)
    near = Load(x, (minimum(maximum(i - 2, 0), 8),))
    y = program.buffer((13,), "float32")
    program.kernels.append(Kernel(y, (axis,), select(inside, near, const(0, "float32"))))
    z = program.buffer((), "float32")
    program.kernels.append(Kernel(z, (), over("max", (13,), lambda k: Load(y, (k,)))))
    a = normal(9)
    found, largest = Executable(Plan(program, (x,), {}, (y, z)))(a)
    np.testing.assert_array_equal(found, np.pad(a, 2))
    assert largest == np.pad(a, 2).max()


def test_nan_is_not_lost() -> None:
    x = normal(100)
    x[17] = np.nan
    for f in (ops.relu, ops.exp, ops.tanh, ops.log, lambda x: x.sum(), lambda x: x.max()):
        y, = compiled(f, x)(x)
        assert np.isnan(y).any()


def test_kernels_may_be_run_in_parts() -> None:
    import ctypes

    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    for f, x in ((ops.exp, normal(1000)), (lambda x: x.sum(axis=0), normal(50, 1001)),
                 (lambda x: ops.softmax(x, axis=1), normal(37, 53))):
        run = compiled(f, x)
        space, (y,), _, keep = run.bind((x,))
        table = ctypes.addressof(space.tables[0])
        for code in run.module.kernels:
            part = function(run.lib.address[code.name])
            middle = code.items // 3
            part(table, middle, code.items)
            part(table, 0, middle)
        del keep
        np.testing.assert_array_equal(y[0], run(x)[0])


def test_elementwise_loops_are_vectors() -> None:
    x = normal(1000)
    vector = {"avx512": "zmm", "avx2": "ymm", "sse2": "ps\t", "neon": ".4s"}[target().name]
    for f in (lambda x: x * x + 1, ops.exp, ops.tanh, ops.log, ops.erf):
        text = compiled(f, x).module.text
        assert vector in assembly(text, target())


def test_code_for_arm_is_assembled() -> None:
    text = compiled(lambda x: ops.softmax(x, axis=1), normal(8, 64)).module.text
    arm = Target("neon", "aarch64-unknown-linux-gnu", "generic", "+neon", 16, 32, False)
    assert "fmla" in assembly(text, arm)


def test_padding_of_images() -> None:
    x = normal(3, 4, 20, 20)
    pads = ((0, 0), (0, 0), (1, 2), (3, 0))
    check(lambda x: ops.pad(x, pads) * 2 + 1, x)
    check(lambda x: ops.pad(x, ((0, 0), (1, 1), (0, 0), (2, 2))), x)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 40), st.integers(0, 5), st.integers(0, 5))
def test_padding_of_any_width(rows: int, n: int, before: int, after: int) -> None:
    check(lambda x: ops.pad(x, ((0, 0), (before, after))), normal(rows, n))
    check(lambda x: ops.pad(x, ((1, 0), (before, after), (2, 2))), normal(rows, n, 17))


def test_large_sums_are_precise_and_shared_out() -> None:
    x = np.random.default_rng(0).random((64, 5000, 3)).astype(np.float32)
    for axis in (None, (0, 1), 1):
        run = compiled(lambda x, axis=axis: x.sum(axis=axis), x)
        np.testing.assert_allclose(run(x)[0], x.astype(np.float64).sum(axis=axis), rtol=1e-6)
        assert run.module.kernels[0].items >= 8


def test_only_the_sum_is_regrouped() -> None:
    """Rounding inside of exp must survive: (x + big) - big is not x."""
    text = compiled(lambda x: ops.exp(x).sum(axis=1), normal(4, 100)).module.text
    lines = [line for line in text.splitlines() if "reassoc" in line]
    assert lines and all("fadd" in line for line in lines) and len(lines) <= 2


def test_rows_out_of_range_are_clamped() -> None:
    """Compiled code cannot raise; it reads the nearest row, and a class that is none is no row."""
    x = normal(5, 3)
    inside, outside = np.array([0, 4, -1, -5]), np.array([5, 99, -6, -2**40])
    code = compiled(lambda x, i: (ops.Take(axis=0)(x, i), ops.one_hot(i, 5)), x, inside)
    np.testing.assert_array_equal(code(x, inside)[0], x[inside])
    rows, classes = code(x, outside)
    np.testing.assert_array_equal(rows, x[[4, 4, 0, 0]])
    assert not classes.any()
