"""Ops on several threads: the same bits as on one, errors and NumPy's settings come through."""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np
import pytest

from kiso import ops
from kiso.autograd import Tensor
from kiso.ops import conv
from kiso.ops.parallel import each, threads


def convolve(count: int) -> list[Any]:
    """A convolution and its gradients on so many threads."""
    rng = np.random.default_rng(0)
    x = Tensor(rng.standard_normal((24, 6, 11, 10)).astype(np.float32), requires_grad=True)
    W = Tensor(rng.standard_normal((8, 3, 3, 2)).astype(np.float32), requires_grad=True)
    with threads(count):
        y = ops.conv2d(x, W, groups=2, padding=1, stride=(1, 2))
        (y * y).sum().backward()
    return [y.data, x.grad, W.grad]


def test_bits_do_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conv, "_BLOCK_BYTES", 20_000)  # a few samples in each of many blocks
    alone = convolve(1)
    for count in (2, 3, 8):
        for one, several in zip(alone, convolve(count), strict=True):
            assert np.array_equal(np.asarray(one), np.asarray(several))


def test_order_of_results_and_threads_used() -> None:
    seen: set[int] = set()
    meet = threading.Barrier(2, timeout=20)

    def work(i: int) -> int:
        if i < 2:
            meet.wait()  # passes only when two pieces are under way at once
        seen.add(threading.get_ident())
        return i * i

    with threads(2):
        assert list(each(work, range(40))) == [i * i for i in range(40)]
    assert len(seen) == 2 and threading.get_ident() not in seen


def test_few_results_exist_at_a_time() -> None:
    started: list[int] = []
    with threads(2):
        results = each(started.append, range(100))
        next(results)
        assert len(started) <= 5
        assert len(list(results)) == 99


def test_errors_and_numpy_settings_reach_the_caller() -> None:
    big = np.array([1e300])
    with threads(2):
        with np.errstate(over="raise"), pytest.raises(FloatingPointError):
            list(each(lambda i: big * big, range(4)))
        with np.errstate(over="ignore"):
            assert [float(v[0]) for v in each(lambda i: big * big, range(3))] == [np.inf] * 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_works_in_a_forked_process() -> None:
    with threads(2):
        assert list(each(abs, [-1, -2, -3])) == [1, 2, 3]
        child = os.fork()
        if child == 0:
            os._exit(0 if list(each(abs, [-4, -5])) == [4, 5] else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
