"""Subnormal numbers: zero inside of compiled code, on every thread; as they were outside of it."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kiso import ops
from kiso.compiler import trace
from kiso.runtime import assembly, compile_graph
from kiso.runtime.jit import Library
from kiso.runtime.target import Target, flush_text, target

TINY = {"float32": 2e-39, "float64": 3e-310}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KISO_CACHE", str(tmp_path))


def numpy_keeps_them() -> None:
    for kind, tiny in TINY.items():
        x = np.full(100, tiny, kind)
        assert np.all(x * np.asarray(0.5, kind) > 0) and np.all(x + x == 2 * x)
        assert np.all(np.full(100, 1e-30 if kind == "float32" else 1e-300, kind)
                      * np.asarray(1e-10, kind) > 0)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("kind", TINY)
def test_zero_inside_and_kept_outside(kind: str, threads: int) -> None:
    """As results and as operands, in every thread's share."""
    small = 1e-30 if kind == "float32" else 1e-300
    x = np.full(50_000, small, kind)
    run = compile_graph(trace(lambda x: x * 1e-10, x).graph, threads=threads)
    numpy_keeps_them()
    assert not run(x)[0].any()
    numpy_keeps_them()
    grow = compile_graph(trace(lambda x: x * 1e30, x).graph, threads=threads)
    assert not grow(np.full(50_000, TINY[kind], kind))[0].any()
    assert grow(x)[0].all()
    numpy_keeps_them()


def test_products_of_matrices_flush_too() -> None:
    a, b = np.full((40, 30), 1e-20, np.float32), np.full((30, 50), 1e-20, np.float32)
    run = compile_graph(trace(lambda a, b: a @ b, a, b).graph, threads=2)
    assert (a @ b).all() and not run(a, b)[0].any()


def test_moving_data_keeps_every_bit() -> None:
    x = np.array([[TINY["float32"], 1], [-TINY["float32"], 0]], np.float32)
    run = compile_graph(trace(lambda x: x.transpose(1, 0), x).graph)
    np.testing.assert_array_equal(run(x)[0].view(np.uint32), x.T.copy().view(np.uint32))


def test_the_mode_belongs_to_the_call_not_to_the_thread() -> None:
    """Threads of the user that call compiled code compute as before it, during it and after it."""
    x = np.full(300_000, 1e-30, np.float32)
    run = compile_graph(trace(lambda x: ops.exp(x) * 1e-42, x).graph, threads=2)
    stop = threading.Event()

    def until_stopped(f: Callable[[], Any]) -> int:
        turns = 0
        while not stop.is_set():
            f()
            turns += 1
        return turns

    def both() -> None:
        assert not run(x)[0].any()
        numpy_keeps_them()

    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(until_stopped, f) for f in (both, both, numpy_keeps_them)]
        threading.Timer(0.3, stop.set).start()
        assert all(job.result(timeout=60) > 2 for job in jobs)


def test_an_odd_mode_comes_back_as_it_was() -> None:
    """The code gives back what it found, not what is usual: a user may have flushing on."""
    text = flush_text(target()) + """
define i64 @on() {
  %old = call i64 @flush()
  ret i64 %old
}
define void @off(i64 %old) {
  call void @restore(i64 %old)
  ret void
}
"""
    lib = Library(text, target(), ["on", "off"])
    on = ctypes.CFUNCTYPE(ctypes.c_int64)(lib.address["on"])
    off = ctypes.CFUNCTYPE(None, ctypes.c_int64)(lib.address["off"])
    x = np.full(100, 2e-39, np.float32)
    run = compile_graph(trace(lambda x: x * 0.5, x).graph, threads=2)
    before = on()
    try:
        flushed = not (x * np.float32(0.5)).any()
        run(x)
        still = not (x * np.float32(0.5)).any()
    finally:
        off(before)
    assert flushed and still
    numpy_keeps_them()


@pytest.mark.parametrize("name, words", [("neon", ["mrs", "msr", "FPCR"]), ("sse2", ["ldmxcsr"])])
def test_the_instructions(name: str, words: list[str]) -> None:
    triple = "aarch64-unknown-linux-gnu" if name == "neon" else "x86_64-unknown-linux-gnu"
    cpu = "generic" if name == "neon" else "x86-64"
    to = Target(name, triple, cpu, "", 16, 16)
    text = flush_text(to) + """
define void @f() {
  %mode = call i64 @flush()
  call void @restore(i64 %mode)
  ret void
}
"""
    found = assembly(text, to)
    assert all(word.lower() in found.lower() for word in words)
