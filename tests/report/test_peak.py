"""kiso.report.peak: plausible figures."""

from __future__ import annotations

import time

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from kiso.report import peak


def test_the_fma_peak_is_above_what_a_product_reaches() -> None:
    a = np.ones((512, 512), np.float32)
    with threadpool_limits(limits=1):
        a @ a
        started = time.perf_counter()
        for _ in range(10):
            a @ a
        reached = 10 * 2 * 512 ** 3 / (time.perf_counter() - started)
    found = peak.fma_peak(1, 0.3)
    assert reached < 1.3 * found < 1e12


@pytest.mark.parametrize("target", ["sse2", "avx2"])
def test_narrower_vectors_do_less(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    full = peak.fma_peak(1, 0.3)
    monkeypatch.setenv("KISO_TARGET", target)
    assert 1e8 < peak.fma_peak(1, 0.3) < 1.2 * full


def test_bandwidth() -> None:
    assert 1e8 < peak.bandwidth(2, 0.2) < 1e12
