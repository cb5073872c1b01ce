"""Joined kernels mean what they meant apart, in NumPy and as machine code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kiso import ops
from kiso.cli.listing import program_text
from kiso.compiler import optimise, trace
from kiso.compiler.codegen import split_reductions
from kiso.compiler.loops import Kernel, Program, reads
from kiso.compiler.lower import RULES
from kiso.compiler.plan import Plan, plan
from kiso.compiler.siblings import fuse
from kiso.ops import REGISTRY
from kiso.runtime import Executable, compile_graph
from kiso.tree import flatten_tree
from tests.compiler.meaning import evaluate
from tests.train.test_step import whole_step

CASES = [pytest.param(cls, i, id=f"{name}-{sample!r}") for name, cls in sorted(REGISTRY.items())
         if cls in RULES for i, sample in enumerate(cls.samples)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KISO_CACHE", str(tmp_path_factory.getbasetemp() / "kernels"))


def parts(found: Plan) -> tuple[Program, Program]:
    """The plan's kernels apart and joined, after checking that all is written before it is read,
    once, and not in the kernel that reads it."""
    apart = split_reductions(found.program, 64)
    joined = fuse(apart, 64)
    ready = {*found.inputs, *found.constants}
    for kernel in joined.kernels:
        assert ready.issuperset(reads(kernel)) and ready.isdisjoint(kernel.buffers)
        ready.update(kernel.buffers)
    assert ready.issuperset(found.outputs)
    return apart, joined


def same_meaning(found: Plan, arrays: list[Any]) -> None:
    given = found.constants | dict(zip(found.inputs, arrays, strict=True))
    a, b = (evaluate(program, given) for program in parts(found))
    for buffer in found.outputs:
        np.testing.assert_array_equal(a[buffer], b[buffer])


@pytest.mark.parametrize("cls, i", CASES)
def test_every_op_means_the_same(cls: Any, i: int) -> None:
    sample = cls.samples[i]
    op, arrays = cls(**sample.attributes), sample.arrays(float_type="float32")
    same_meaning(plan(trace(lambda *xs: (op(*xs), op(*xs)), *arrays).graph), list(arrays))


@pytest.mark.parametrize("rule", ["momentum", "adam"])
def test_a_whole_step(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    step, state, batches = whole_step(rule)
    found = plan(optimise(trace(step.train, state, batches[0]).graph), contracts=True)
    inputs = [np.asarray(v) for v in flatten_tree((state, batches[0]))[0]]
    same_meaning(found, inputs)
    joined = Executable(found)
    monkeypatch.setattr("kiso.runtime.engine.fuse", lambda program, *rest: program)
    apart = Executable(found)
    assert 3 * len(joined.module.kernels) < 2 * len(apart.module.kernels)
    for a, b in zip(apart(*inputs), joined(*inputs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def kernels(f: Any, *xs: Any) -> list[Kernel]:
    found = plan(trace(f, *xs).graph)
    same_meaning(found, list(xs))
    for y, z in zip(Executable(found)(*xs), f(*xs), strict=True):
        np.testing.assert_allclose(y, z, rtol=1e-5, atol=1e-5)
    return [k for k in parts(found)[1].kernels if isinstance(k, Kernel)]


def test_what_an_update_gives_is_used_at_once() -> None:
    v, p, g = (np.random.default_rng(k).random((200, 300), "f") for k in range(3))

    def update(v: Any, p: Any, g: Any) -> Any:
        v = v * 0.9 + g
        return v, p - v * 0.1

    (one,) = kernels(update, v, p, g)
    assert len(one.buffers) == 2 and len(reads(one)) == 3


def test_sums_of_one_array_share_their_loops() -> None:
    x, y = (np.random.default_rng(k).random((64, 40, 32), "f") for k in range(2))
    steps = kernels(lambda x, y: (ops.sum(x, (0, 1)), ops.sum(x * y, (0, 1))), x, y)
    assert [len(k.buffers) for k in steps] == [2, 2]  # parts of both sums, both sums


def test_numbers_of_rows_are_one_kernel() -> None:
    x = np.random.default_rng(0).random((100, 10), "f")
    t = np.arange(100) % 10
    steps = kernels(lambda x, t: (ops.softmax(x, axis=1), ops.logsumexp(x, axis=1),
                                  ops.cross_entropy(x, t)), x, t)
    assert len(steps) == 3  # all that has one number for each row; the softmax; the mean


def test_other_elements_and_results_in_between_keep_kernels_apart() -> None:
    x = np.random.default_rng(0).random((50, 60), "f")

    def f(x: Any) -> Any:
        y = ops.exp(x)
        z = ops.flip(y, 0) + 1.0  # other elements of y
        return y, z, y * z, ops.sum(y) * y

    steps = kernels(f, x)
    assert [len(k.buffers) for k in steps[:2]] == [1, 2] or len(steps) >= 3
    for kernel in steps:
        assert not set(kernel.buffers).intersection(reads(kernel))


def test_large_results_are_not_made_long_before_their_use() -> None:
    x = np.random.default_rng(0).random((200, 200), "f")

    def f(x: Any) -> Any:
        y = x
        for _ in range(8):
            e = ops.exp(y * 0.1)
            y = ops.flip(e, 1) * e
        b = ops.log(x + 1.0)
        return y, ops.flip(b, 0) * b

    assert all(len(k.buffers) == 1 for k in kernels(f, x))


def test_listing_shows_every_result() -> None:
    x = np.ones((4, 5), "f")
    program = parts(plan(trace(lambda x: (x + 1.0, x * 2.0), x).graph))[1]
    text = program_text(program)
    assert len(program.kernels) == 1 and "+ 1" in text and "\n  and " in text and "* 2" in text


def update(v: Any, p: Any, g: Any) -> Any:
    v = v * 0.9 + ops.sum(g, 0)
    return v, p - v * 0.1


@pytest.mark.parametrize("n", [1, 10, 37, 64, 100, 200])
def test_state_is_updated_once_where_it_lies(n: int) -> None:
    """Tiles of a loop may overlap at its end, but not where the old value is read."""
    v, p, g = (np.random.default_rng(k).random(s, "f") for k, s in enumerate(((n,), n, (50, n))))
    code = compile_graph(trace(update, v, p, g).graph, 2, state={0: 0, 1: 1})
    assert len(code.module.kernels) == 1
    state = [code.place(0, v), code.place(1, p)]
    for _ in range(3):
        code.run([*state, g])
        v, p = update(v, p, g)
    for found, expected in zip(state, (v, p), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("m, n", [(40, 70), (32, 64), (4, 16), (33, 20)])
def test_state_is_updated_from_a_transposed_array(m: int, n: int) -> None:
    rng = np.random.default_rng(m)
    p, g = rng.random((m, n), "f"), rng.random((n, m), "f")
    code = compile_graph(trace(lambda p, g: p * 0.9 - ops.transpose(g, (1, 0)), p, g).graph, 2,
                         state={0: 0})
    state = code.place(0, p)
    code.run([state, g])
    np.testing.assert_allclose(state, p * np.float32(0.9) - g.T, rtol=1e-5, atol=1e-6)


def test_old_state_is_read_before_it_is_overwritten() -> None:
    s, x = np.arange(60.0, dtype="f").reshape(6, 10), np.ones((6, 10), "f")

    def f(s: Any, x: Any) -> Any:
        return s * 2.0 + x, ops.flip(s, 0) + x, ops.exp(s * 0.01)

    code = compile_graph(trace(f, s, x).graph, 2, state={0: 0})
    state = code.place(0, s)
    found = code.run([state, x]).outputs
    for a, b in zip((state, *(y[0] for y in found)), f(s, x), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
