"""Compiled equals eager for whole steps of every net of the benchmarks: 1e-5 of float64 with direct
convolutions, three times as much with Winograd's form, and the same bits from run to run.

Batches are those of the benchmarks where float64 takes a second or two, smaller for the others.
Batch norm makes rounding larger the fewer numbers it has, so its nets keep more samples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kiso.tree import flatten_tree
from tests.train.whole_nets import Compiled, differences, exact, net_of

BATCHES = {"mlp": 100, "lenet5": 100, "simpleconv": 100, "deepconv": 100, "resnet20": 32,
           "vgg16_32": 8, "resnet18_224": 16, "vgg16_224": 2}
QUICK = ("mlp", "lenet5", "simpleconv")
HEAVY = ("resnet18_224", "vgg16_224")
SOME = (("host", 2), ("host", 3), ("avx2", 1))  # of these: each case takes a minute or more
TIE = 1e-5  # root mean squares of a layer's numbers by which rounding can decide otherwise
pytestmark = pytest.mark.timeout(1200)


def slow_unless(quick: bool, *values: Any) -> Any:
    return pytest.param(*values, marks=() if quick else pytest.mark.slow)


MATRIX = [(name, target, threads) for name in BATCHES for target in ("host", "avx2")
          for threads in (1, 2, 3) if name not in HEAVY or (target, threads) in SOME]
CASES = [slow_unless(name in QUICK and (target == "host" or threads == 2), name, target, threads)
         for name, target, threads in MATRIX]


# With convolutions in Winograd's form, for the nets that have 3x3 ones of stride 1.
WINOGRAD = [slow_unless(name == "deepconv" and (target, threads) == ("host", 2),
                        name, target, threads) for name, target, threads in MATRIX
            if name not in ("mlp", "lenet5", "simpleconv") and (target, threads) in SOME]


@pytest.fixture(autouse=True, scope="module")
def one_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One cache for all: most kernels serve several numbers of threads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KISO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def target(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("KISO_TARGET", request.param)
    return request.param


def compare(name: str, threads: int, limit: float) -> None:
    """Loss, gradients, updated weights and statistics, each relative to its largest number."""
    net = net_of(name, BATCHES[name])
    guides = Compiled(net, threads, guides=True).run().guides
    wanted, moved = exact(net, guides)
    assert len(moved) == len(guides) and max(moved, default=0) < TIE * limit / 1e-5
    found = differences(Compiled(net, threads).run(), wanted)
    worst = max(found, key=lambda n: found[n] if found[n] == found[n] else np.inf)
    assert found[worst] <= limit, f"{worst} differs by {found[worst]:.1e}"


@pytest.mark.parametrize("name, target, threads", CASES, indirect=["target"])
def test_a_step_is_that_of_float64(name: str, target: str, threads: int,
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KISO_CONV", "direct")
    compare(name, threads, 1e-5)


@pytest.mark.parametrize("name, target, threads", WINOGRAD, indirect=["target"])
def test_a_step_in_winograds_form_is_near_float64(name: str, target: str, threads: int,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KISO_CONV", "auto")
    compare(name, threads, 3e-5)


@pytest.mark.parametrize("name, target, threads", CASES, indirect=["target"])
def test_a_hundred_steps_have_the_same_bits(name: str, target: str, threads: int) -> None:
    """Compiled anew for the second run; small batches for the pictures of 224 x 224, and a rate
    with which two of them do not diverge."""
    net, lr = (net_of(name, 2), 1e-5) if name in HEAVY else (net_of(name, BATCHES[name]), 0.01)
    first, second = (flatten_tree(Compiled(net, threads).run(100, lr).state)[0] for _ in range(2))
    assert all(np.isfinite(leaf).all() for leaf in first)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_decisions_are_taken_as_told() -> None:
    """One ReLU that decides otherwise moves the gradient by far more than rounding."""
    net = net_of("simpleconv", 4)
    guides = Compiled(net, 1, guides=True).run().guides
    wanted, moved = exact(net, guides)
    assert max(moved) < TIE
    guides[0].flat[np.argmax(guides[0])] = 0
    other, moved = exact(net, guides)
    assert max(moved) > 1 and max(differences(other, wanted).values()) > 1e-3
