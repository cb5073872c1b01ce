"""Executables: memory, inputs, threads, targets."""

from __future__ import annotations

import gc
import resource
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kiso import config, ops
from kiso.compiler import trace
from kiso.compiler.plan import plan
from kiso.errors import ConfigError, GraphError
from kiso.runtime import compile_graph, target, work
from kiso.runtime.memory import ALIGNMENT, aligned, arrange


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KISO_CACHE", str(tmp_path))


def chain(x: np.ndarray) -> np.ndarray:
    """Ten stored values, two alive at a time."""
    for _ in range(10):
        x = x - x.sum(axis=0, keepdims=True) / 3
        x = ops.softmax(x, axis=1) * 2
    return x


def test_inputs_of_any_layout() -> None:
    x = np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32)
    run = compile_graph(trace(lambda x: x * 2, x).graph)
    for given in (np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2], x[::-1][::-1]):
        np.testing.assert_array_equal(run(given)[0], x * 2)


def test_results_are_fresh() -> None:
    x = np.ones((2, 3), np.float32)
    run = compile_graph(trace(lambda x: (x + 1, x), x).graph)
    first, second = run(x), run(x)
    first[0][:] = 0
    np.testing.assert_array_equal(second[0], 2)
    first[1][:] = 5
    np.testing.assert_array_equal(x, 1)


def test_wrong_inputs_are_refused() -> None:
    x = np.ones((2, 3), np.float32)
    run = compile_graph(trace(lambda x: x + 1, x).graph)
    with pytest.raises(GraphError, match="takes 1"):
        run(x, x)
    with pytest.raises(GraphError, match="input 0"):
        run(x.astype(np.float64))
    with pytest.raises(GraphError, match="input 0"):
        run(x[:1])


def test_memory_is_used_again() -> None:
    x = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    graph = trace(chain, x).graph
    run = compile_graph(graph)
    np.testing.assert_allclose(run(x)[0], chain(x), rtol=1e-4)
    sizes = [prod(k.buffer.shape) * 4 for k in run.plan.program.kernels]
    assert run.arena_bytes < sum(sizes) / 3


def test_values_that_are_alive_do_not_share_memory() -> None:
    x = np.ones((16, 16), np.float32)
    found = plan(trace(chain, x).graph)
    place, length = arrange(found.program, range(len(found.program.kernels)),
                            {*found.inputs, *found.constants, *found.outputs})
    kernels = found.program.kernels
    for i, writer in enumerate(kernels):
        mine = writer.buffer
        if mine not in place:
            continue
        reach = range(place[mine], place[mine] + prod(mine.shape) * 4)
        assert reach.stop <= length and reach.start % ALIGNMENT == 0
        from kiso.compiler.loops import reads
        last = max((k for k in range(i, len(kernels)) if mine in reads(kernels[k])), default=i)
        for k in range(i + 1, last + 1):
            other = kernels[k].buffer
            if other in place:
                begin = place[other]
                assert begin >= reach.stop or begin + prod(other.shape) * 4 <= reach.start


def test_blocks_are_aligned() -> None:
    assert all(aligned(n).ctypes.data % ALIGNMENT == 0 for n in (1, 63, 1000))


def test_calls_from_many_threads() -> None:
    xs = [np.full((50, 60), k, np.float32) for k in range(16)]
    run = compile_graph(trace(chain, xs[0]).graph)
    expected = [run(x)[0] for x in xs]
    with ThreadPoolExecutor(8) as pool:
        for y, z in zip(expected, pool.map(lambda x: run(x)[0], xs * 1), strict=True):
            np.testing.assert_array_equal(y, z)


def test_compiling_in_many_threads() -> None:
    x = np.ones((4, 4), np.float32)

    def make(n: int) -> float:
        return float(compile_graph(trace(lambda x: ops.exp(x) * n, x).graph)(x)[0][0, 0])

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(make, range(12)))
    np.testing.assert_allclose(found, np.e * np.arange(12), rtol=1e-6)


def test_freed_code_is_freed() -> None:
    x = np.ones((4, 4), np.float32)
    graph = trace(lambda x: ops.exp(x) + x.sum(), x).graph
    compile_graph(graph)(x)

    def cycles(n: int) -> int:
        for _ in range(n):
            compile_graph(graph)(x)
        gc.collect()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = cycles(100)
    assert cycles(200) - before < 20_000  # kilobytes


def test_unknown_targets_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KISO_TARGET", "pentium")
    with pytest.raises(ConfigError, match="pentium"):
        target()
    monkeypatch.setenv("KISO_TARGET", "neon")
    x = np.ones(3, np.float32)
    graph = trace(lambda x: x + 1, x).graph
    if target().native:
        np.testing.assert_array_equal(compile_graph(graph)(x)[0], 2)
    else:
        with pytest.raises(ConfigError, match="does not run here"):
            compile_graph(graph)


def test_forms_of_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KISO_CONV", raising=False)
    assert config.conv() == "auto"
    for value, form in (("", "auto"), ("Auto", "auto"), ("direct", "direct"),
                        ("WINOGRAD", "winograd")):
        monkeypatch.setenv("KISO_CONV", value)
        assert config.conv() == form
    monkeypatch.setenv("KISO_CONV", "fft")
    assert config.conv("direct") == "direct"
    graph = trace(lambda x: x + 1, np.ones(3, np.float32)).graph
    with pytest.raises(ConfigError, match="KISO_CONV is 'fft'; expected one of auto, direct, win"):
        compile_graph(graph)
    with pytest.raises(ConfigError, match="conv is 'dct'; expected one of auto, direct, winograd"):
        compile_graph(graph, conv="dct")


@pytest.mark.parametrize("padding", [0, 1])
def test_long_sums_of_a_convolution_are_as_exact_as_short_ones(padding: int) -> None:
    """4,608 terms in one chain of additions would be off by 4.5e-7 of their root mean square."""
    rng = np.random.default_rng(0)
    x = np.maximum(rng.standard_normal((4, 512, 7, 7)), 0).astype("f")
    W = (rng.standard_normal((64, 512, 3, 3)) / 68).astype("f")
    b = rng.standard_normal((64, 1, 1)).astype("f")

    def f(x: Any, W: Any, b: Any) -> Any:
        return ops.relu(ops.conv2d(x, W, padding=padding) + b)
    (y,) = compile_graph(trace(f, x, W, b).graph)(x, W, b)
    exact = f(*(a.astype("d") for a in (x, W, b)))
    assert np.sqrt(np.mean((y - exact) ** 2) / np.mean(exact ** 2)) < 3.7e-7


def test_little_work_is_left_to_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is little depends on the shapes alone; in training as in inference."""
    monkeypatch.undo()
    few, many = np.ones((4, 64), np.float32), np.ones((4096, 1024), np.float32)

    def threads(x: np.ndarray) -> tuple[int, int]:
        code = compile_graph(trace(lambda x: ops.exp(x) * 2, x).graph, threads=2)
        np.testing.assert_allclose(code(x)[0], 2 * np.e, rtol=1e-6)
        return code.threads, len(code._space().tables)
    assert threads(few) == (1, 1) and threads(many) == (2, 2)
    monkeypatch.setattr(work, "ALONE", 0)
    assert threads(np.ones((100, 64), np.float32)) == (2, 2)
