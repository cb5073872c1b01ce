"""Rules called inside each other (fusion), empty arrays, odd types, indices from the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kiso import ops
from kiso.compiler import trace
from kiso.compiler.loops import Index, Reduce, subexpressions
from kiso.compiler.plan import plan
from tests.compiler.meaning import run_plan

RNG = np.random.default_rng(0)
X = RNG.standard_normal((4, 6))


def check(f: Callable[..., Any], *arrays: Any) -> None:
    """Compiled meaning equals NumPy; no reduction holds one of its own axes."""
    arrays = tuple(np.asarray(a) for a in arrays)
    with np.errstate(all="ignore"):
        expected = np.asarray(f(*arrays))
    found = plan(trace(f, *arrays).graph)
    for kernel in found.program.kernels:
        for e in subexpressions(kernel.expr):
            if isinstance(e, Reduce):
                inside = [x.body for x in subexpressions(e.body) if isinstance(x, Reduce)]
                assert not any(isinstance(i, Index) and i.axis in e.axes
                               for i in subexpressions(*inside))
    (y,) = run_plan(found, *arrays)
    assert y.dtype == expected.dtype and y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=1e-9, atol=1e-9)


# Every step keeps an array of two axes, or gives one from which reshaping makes two again.
STEPS: dict[str, Callable[[Any], Any]] = {
    "exp": lambda x: ops.exp(ops.clip(x, -3, 3)),
    "gelu": ops.gelu,
    "sum": lambda x: x.sum(1, keepdims=True) + x * 0.5,
    "sum_all": lambda x: x * 0.1 + x.sum(),
    "only_sum": lambda x: x.sum(0, keepdims=True),
    "max": lambda x: x - x.max(0),
    "var": lambda x: x / (1 + ops.var(x, 1, keepdims=True)),
    "softmax": ops.softmax,
    "log_softmax": lambda x: ops.log_softmax(x, 0),
    "logsumexp": lambda x: ops.reshape(ops.logsumexp(x, 1), (-1, 1)) * 0.1 + x,
    "transpose": lambda x: x.transpose(),
    "reshape": lambda x: ops.reshape(x, (-1, 2)) if x.shape[0] % 2 == 0 else x,
    "merge": lambda x: ops.reshape(ops.reshape(x, (-1,)), x.shape[::-1]),
    "flip": lambda x: ops.flip(x, 1),
    "slice": lambda x: x[1:] if x.shape[0] > 1 else x,
    "step": lambda x: x[:, ::2],
    "back": lambda x: ops.SliceGrad(to=(2 * x.shape[0] + 3, x.shape[1]),
                                    spans=((1, 2 * x.shape[0], 2), (0, x.shape[1], 1)))(x),
    "pad": lambda x: ops.pad(x, ((1, 0), (0, 2)), 0.7),
    "concat": lambda x: ops.concat([x, x * 2, x[:0]], 0)[:9],
    "take": lambda x: ops.take(x, np.array([0, -1, 0])),
    "matmul": lambda x: x @ x.transpose() * 0.1,
    "broadcast": lambda x: ops.sum_to(ops.broadcast_to(x, (3, *x.shape)), (1, x.shape[1])),
    "scores": lambda x: ops.reshape(ops.SoftmaxCrossEntropy()(x, ops.sigmoid(x)), (-1, 1)),
    "nearest": lambda x: x * ops.cast(ops.argmin(x, 0), "float64"),
}


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=6))
def test_chains(names: list[str]) -> None:
    def f(x: Any) -> Any:
        for name in names:
            x = STEPS[name](x)
        return x
    check(f, X)


@pytest.mark.parametrize("name, cls", sorted(ops.REGISTRY.items()))
def test_every_op_takes_results_of_reductions(name: str, cls: Any) -> None:
    for sample in cls.samples:
        op, arrays = cls(**sample.attributes), sample.arrays()
        floats = [a.dtype.kind == "f" for a in arrays]

        def f(*xs: Any, op: Any = op, floats: Any = floats) -> Any:
            y = op(*(ops.max(x, 0) if real else x for x, real in zip(xs, floats, strict=True)))
            return y[-1] if op.outputs > 1 else y
        check(f, *(np.stack([a, a - 1]) if real else a
                   for a, real in zip(arrays, floats, strict=True)))


def test_reduction_of_a_reduction() -> None:
    check(lambda x: ops.cross_entropy(x, np.array([0, 1, 2, 1])), X)
    check(lambda x: x.sum(1).mean(), X)
    check(lambda x: ops.argmax(x.sum(1), 0), X)
    check(lambda x: ops.sum_to(ops.exp(x.max(1, keepdims=True)), (1,)), X)
    check(lambda x: ops.reshape(x.max(1), (2, 2)).min(), X)


@pytest.mark.parametrize("f", [
    lambda x: ops.sum(x, 1), lambda x: ops.sum(x, 0), ops.softmax, ops.relu,
    lambda x: ops.matmul(x, np.ones((3, 2))), lambda x: ops.matmul(ops.transpose(x), x),
    lambda x: ops.pad(x, ((1, 1), (0, 2))),
    lambda x: ops.concat([x, np.ones((2, 3)), x]), lambda x: ops.max(x, 1),
    lambda x: ops.argmax(x, 1), lambda x: ops.reshape(x, (3, 0, 5)),
    lambda x: ops.logsumexp(x, 1), ops.log_softmax,
    lambda x: ops.SliceGrad(to=(2, 3), spans=((1, 1, 1), (0, 3, 1)))(x), lambda x: ops.flip(x, 0),
    lambda x: ops.take(np.ones((3, 2)), ops.cast(x, "int64")), lambda x: ops.var(x, 1),
    lambda x: ops.sum_to(x, (1, 3)), lambda x: ops.SoftmaxCrossEntropy()(x, x),
    lambda x: ops.TakeGrad(axis=0, size=4)(x, np.zeros(0, np.int64))])
def test_empty(f: Callable[..., Any]) -> None:
    check(f, np.ones((0, 3)))


KINDS = ("bool", "uint8", "uint32", "int32", "int64", "float32", "float64")


@pytest.mark.parametrize("to", KINDS)
@pytest.mark.parametrize("kind", KINDS)
def test_types(kind: str, to: str) -> None:
    x = np.array([[0, 1, 5], [200, 3, 0]]).astype(kind)
    y = np.array([[2, 1, 0], [1, 30, 0]]).astype(to)
    check(lambda a: ops.cast(a, to), x)
    check(lambda a, b: ops.cast(ops.less(a, b), "int64"), x, y)
    check(lambda a, b: ops.where(a > b, a, b), x, y)
    check(ops.maximum, x, y)
    check(lambda a: ops.argmin(a, 1), x)
    check(ops.sum, x)
    check(lambda a: ops.mean(a, 0), x)
    check(lambda a: ops.max(a, 1), x)
    check(lambda a, b: ops.concat([a, b]), x, y)


def test_cast_of_signs_and_fractions() -> None:
    x = np.array([-2.7, -0.5, -0.0, 0.4, 2.7])
    for to in ("bool", "int32", "int64", "float32"):
        check(lambda a, to=to: ops.cast(a, to), x)
    check(lambda a: ops.sign(a), x)
    check(lambda a: ops.argmin(a, 0), np.array([3, -2**63, 2**63 - 1]))


def test_stable() -> None:
    x = np.array([[-1000.0, 1000.0, 0.0], [-np.inf, 3.0, 4.0]])
    t = np.array([[0.0, 1.0, 0.0], [0.0, 0.5, 0.5]])
    for f in (ops.sigmoid, ops.softplus, ops.softmax, ops.log_softmax, ops.hardtanh,
              lambda x: ops.logsumexp(x, 1), lambda x: ops.SoftmaxCrossEntropy()(x, t)):
        check(f, x)
    check(lambda x: ops.logsumexp(x, 0), np.full((2, 1), -np.inf))


def test_reshapes_divide_only_where_they_must() -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    for to in ((6, 4), (2, 12), (2, 3, 2, 2), (1, 2, 1, 12), (4, 6), (24,), (3, 8), (2, 2, 6)):
        check(lambda a, to=to: ops.reshape(a, to), x)
