"""Compiled code in programs that live long: nothing leaks; forks, threads and interrupts."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kiso import ops
from kiso.compiler import trace
from kiso.runtime import Executable, compile_graph
from tests.architecture.source import ROOT

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KISO_CACHE", str(tmp_path))


def f(x: Any, n: float) -> Any:
    """Some kernels with a constant of its own, so that no two share code or cache."""
    return ops.exp(x - x.sum(axis=0, keepdims=True)) * n @ x.transpose(1, 0)


def compiled(shape: tuple[int, int], n: float, threads: int = 2) -> Executable:
    x = np.zeros(shape, np.float32)
    return compile_graph(trace(lambda x: f(x, n), x).graph, threads=threads)


def check(run: Executable, shape: tuple[int, int], n: float, seed: int = 0) -> None:
    x = np.random.default_rng(seed).uniform(-0.1, 0.1, shape).astype(np.float32)
    np.testing.assert_allclose(run(x)[0], f(x, n), rtol=1e-3, atol=1e-5 * abs(n))


def holdings() -> dict[str, int]:
    """What this process holds of the system."""
    gc.collect()
    page = os.sysconf("SC_PAGESIZE")
    return {"kilobytes": int(Path("/proc/self/statm").read_text().split()[1]) * page // 1024,
            "files": len(os.listdir("/proc/self/fd")),
            "threads": len(os.listdir("/proc/self/task")),
            "mappings": len(Path("/proc/self/maps").read_text().splitlines())}


@LINUX
@pytest.mark.parametrize("cycles", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_code_that_is_freed_leaves_nothing(cycles: int) -> None:
    """Compiling, running and dropping; none of it from the cache."""
    def cycle(n: float) -> None:
        check(compiled((4, 4), n), (4, 4), n)

    for n in range(30):
        cycle(1 + n / 64)
    before = holdings()
    for n in range(cycles):
        cycle(2 + n / 64)
    after = holdings()
    assert after["files"] == before["files"] and after["threads"] == before["threads"]
    assert after["mappings"] <= before["mappings"] + 5
    # LLVM's pass manager alone, which nobody freed, was 94 kB a cycle.
    assert after["kilobytes"] - before["kilobytes"] < 4000 + 4 * cycles


@LINUX
def test_calls_leave_nothing() -> None:
    run = compiled((32, 16), 1)
    for _ in range(50):
        check(run, (32, 16), 1)
    before = holdings()
    for seed in range(500):
        check(run, (32, 16), 1, seed)
    after = holdings()
    assert after["files"] == before["files"] and after["threads"] == before["threads"]
    assert after["kilobytes"] - before["kilobytes"] < 4000


@pytest.fixture
def forked() -> Iterator[Any]:
    """Run a function in a forked child; it must come back with success."""
    def start(work: Any) -> None:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(20)  # a child that waits for threads it has not got would stay
                work()
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    yield start


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_fork_after_calls(forked: Any, threads: int) -> None:
    """The child has the code and the memory, but none of the threads."""
    run = compiled((40, 30), 2, threads)
    check(run, (40, 30), 2)

    def child() -> None:
        for seed in range(5):
            check(run, (40, 30), 2, seed)
        check(compiled((20, 10), 3, threads), (20, 10), 3)

    for _ in range(3):
        forked(child)
        check(run, (40, 30), 2)
    forked(lambda: forked(child))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_while_another_thread_computes(forked: Any) -> None:
    """Compiled code alone: NumPy's matrix library does not survive such a fork."""
    x = np.random.default_rng(0).uniform(-0.1, 0.1, (400, 300)).astype(np.float32)
    run = compiled((400, 300), 2)
    expected = run(x)[0]
    stop = threading.Event()

    def repeat() -> None:
        assert (run(x)[0] == expected).all()

    def keep_on() -> int:
        turns = 0
        while not stop.is_set():
            repeat()
            turns += 1
        return turns

    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(keep_on)
        try:
            for _ in range(20):
                forked(repeat)
        finally:
            stop.set()
        assert job.result(timeout=60) > 0


def in_another_process(n: float) -> bool:
    check(compiled((20, 30), n), (20, 30), n)
    return True


def test_processes_of_their_own() -> None:
    check(compiled((20, 30), 0), (20, 30), 0)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(in_another_process, [1, 2, 1]) == [True] * 3


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_of_the_user(threads: int) -> None:
    """Two executables, each in two threads at once, while the main thread runs both."""
    kinds = [((30, 40), 2.0), ((200, 100), 3.0)]
    runs = [compiled(shape, n, threads) for shape, n in kinds]
    ready = threading.Barrier(5)

    def work(k: int) -> None:
        ready.wait(timeout=60)
        for seed in range(20):
            check(runs[k], *kinds[k], seed)

    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(work, k) for k in (0, 1, 0, 1)]
        ready.wait(timeout=60)
        for seed in range(20):
            for run, kind in zip(runs, kinds, strict=True):
                check(run, *kind, seed)
        for job in jobs:
            job.result(timeout=60)


def test_threads_that_compile_while_others_run() -> None:
    run = compiled((100, 100), 2)

    def make(n: int) -> None:
        check(compiled((8, 8), n), (8, 8), n)

    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(make, n) for n in range(8)]
        while not all(job.done() for job in jobs):
            check(run, (100, 100), 2)
        for job in jobs:
            job.result()


INTERRUPTED = """
import signal, sys
import numpy as np
from tests.runtime.test_lasting import compiled

calling, caught, wrong = False, 0, 0

def interrupt(*_):
    global calling, caught
    if calling:  # not twice for one call: the second would be raised outside of the try
        calling = False
        caught += 1
        raise KeyboardInterrupt

run = compiled((300, 200), 2.0, THREADS)
x = np.random.default_rng(0).uniform(-0.1, 0.1, (300, 200)).astype(np.float32)
expected = run(x)[0]
signal.signal(signal.SIGINT, interrupt)
print("ready", flush=True)
while caught < 100:
    try:
        calling = True
        while True:
            wrong += not np.array_equal(run(x)[0], expected)
    except KeyboardInterrupt:
        pass
signal.signal(signal.SIGINT, signal.SIG_IGN)
print("wrong", wrong, flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
@pytest.mark.parametrize("threads", [1, 2])
def test_interrupts_at_any_moment(threads: int) -> None:
    """Ctrl-C a hundred times in the middle of calls, or beside them: they go on to be right."""
    code = INTERRUPTED.replace("THREADS", str(threads))
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, text=True,
                             stdout=subprocess.PIPE)
    timer = threading.Timer(30, child.kill)  # instead of waiting for one that hangs
    timer.start()
    try:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        for n in range(30_000):
            if child.poll() is not None:
                break
            child.send_signal(signal.SIGINT)
            time.sleep(0.001 + n % 10 * 0.0007)
        assert child.stdout.read() == "wrong 0\n" and child.wait() == 0
    finally:
        timer.cancel()
        child.kill()
        child.communicate()
