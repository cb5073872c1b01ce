"""Windows of every geometry, empty arrays and random bits: lowered forms against the ops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kiso import ops
from kiso.compiler import trace
from kiso.compiler.plan import plan
from kiso.errors import ShapeError
from tests.compiler.meaning import run_plan

KEY = np.array([0xFFFFFFFF, 7, 0x9E3779B9, 1], np.uint32)


def lowered(op: Any, *arrays: Any) -> Any:
    """The op's value through its rule; `evaluate` refuses a load outside of its buffer."""
    found = run_plan(plan(trace(op, *arrays).graph), *arrays)
    return found if op.outputs > 1 else found[0]


def same(op: Any, *arrays: Any) -> None:
    """Equal to rounding; float64."""
    np.testing.assert_allclose(lowered(op, *arrays), op(*arrays), rtol=1e-10, atol=1e-10)


def ramp(rng: np.random.Generator, *shape: int) -> Any:
    return rng.permutation(int(np.prod(shape))).reshape(shape) * 0.25 - 3.0


axis = st.fixed_dictionaries({"size": st.integers(1, 7), "k": st.integers(1, 4),
                              "t": st.integers(1, 5), "d": st.integers(1, 3),
                              "before": st.integers(0, 4), "after": st.integers(0, 4)})


def geometry(axes: Any) -> dict[str, Any]:
    return {"stride": tuple(a["t"] for a in axes),
            "padding": tuple((a["before"], a["after"]) for a in axes)}


@settings(max_examples=60, deadline=None)
@given(st.lists(axis, min_size=1, max_size=2), st.integers(1, 2), st.integers(0, 2))
def test_convolution(axes: Any, groups: int, batch: int) -> None:
    rng = np.random.default_rng(0)
    size, kernel = tuple(a["size"] for a in axes), tuple(a["k"] for a in axes)
    x, W = ramp(rng, batch, 2 * groups, *size), ramp(rng, 3 * groups, 2, *kernel)
    how = geometry(axes) | {"dilation": tuple(a["d"] for a in axes)}
    conv = ops.Conv(groups=groups, **how)
    try:
        gy = ramp(rng, *conv.shape(x.shape, W.shape))
    except ShapeError:
        assume(False)
        return
    same(conv, x, W)
    same(ops.ConvInputGrad(spatial=size, groups=groups, **how), gy, W)
    same(ops.ConvWeightGrad(kernel=kernel, groups=groups, **how), x, gy)
    im2col = ops.Im2Col(kernel=kernel, **how)
    same(im2col, x)
    same(ops.Col2Im(spatial=size, kernel=kernel, **how), im2col(x))


@settings(max_examples=60, deadline=None)
@given(st.lists(axis, min_size=1, max_size=2), st.booleans(), st.booleans(), st.integers(0, 2))
def test_pooling(axes: Any, ceil_mode: bool, include: bool, batch: int) -> None:
    rng = np.random.default_rng(1)
    size, kernel = tuple(a["size"] for a in axes), tuple(a["k"] for a in axes)
    x, other = ramp(rng, batch, 2, *size), ramp(rng, batch, 2, *size)
    how = geometry(axes) | {"kernel": kernel, "ceil_mode": ceil_mode}
    try:
        y = ops.MaxPool(**how).shape(x.shape)
    except ShapeError:
        assume(False)
        return
    gy = ramp(rng, *y)
    for values in (x, np.floor(x), np.full_like(x, -np.inf)):  # ties; padding must not win
        same(ops.MaxPool(**how), values)
        same(ops.MaxPoolGrad(**how), values, gy)
        same(ops.MaxPoolPick(**how), values, other)
    same(ops.AvgPool(count_include_pad=include, **how), x)
    same(ops.AvgPoolGrad(spatial=size, count_include_pad=include, **how), gy)


@pytest.mark.parametrize("dims", [(), (1,), (4,), (5,), (3, 0), (2, 3, 7)])
def test_random_bits(dims: tuple[int, ...]) -> None:
    op = ops.Uniform(dims=dims, stream=2**31 - 1)
    np.testing.assert_array_equal(lowered(op, KEY), op(KEY))
    x = np.ones(dims, np.float32) * 3
    drop = ops.Dropout(p=0.3, stream=4)
    np.testing.assert_array_equal(lowered(drop, x, KEY), drop(x, KEY))


@pytest.mark.parametrize("count", [1, 4, 7])
@pytest.mark.parametrize("rows", [[], [0, 5, 2**40 + 3, -1]])
def test_random_bits_of_rows(rows: list[int], count: int) -> None:
    op, ids = ops.UniformRows(count=count, stream=2**16 - 1), np.array(rows, np.int64)
    np.testing.assert_array_equal(lowered(op, KEY, ids), op(KEY, ids))


@pytest.mark.parametrize("edge", [False, True])
def test_pictures_far_outside(edge: bool) -> None:
    rng = np.random.default_rng(2)
    x = ramp(rng, 3, 2, 3, 4)
    theta = np.array([[[1, 0, 1e30], [0, 1, -1e30]], [[1, 0, -1], [0, 1, 2]],
                      [[-1, 0.3, 0.2], [3, -1, 0.9]]], np.float64)
    same(ops.AffineSample(fill=None if edge else 0.5), x, theta)
    same(ops.AffineSampleGrad(edge=edge), x, theta)


@pytest.mark.parametrize("shape", [(0, 2, 3, 3), (2, 0, 3, 3)])
def test_empty_arrays(shape: tuple[int, ...]) -> None:
    x, c = np.zeros(shape), np.zeros(shape[1])
    same(ops.BatchNormInference(eps=1e-5), x, c, c, c, c + 1)
    same(ops.AffineSample(), x, np.zeros((shape[0], 2, 3)))
    if shape[0]:
        for y, z in zip(lowered(ops.BatchNorm(eps=1e-5), x, c, c),
                        ops.BatchNorm(eps=1e-5)(x, c, c), strict=True):
            np.testing.assert_array_equal(y, z)
