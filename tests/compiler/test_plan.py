"""Plans of whole training steps mean what the graph means, with and without contract kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kiso import ops
from kiso.cli.listing import program_text
from kiso.compiler import optimise, run, trace
from kiso.compiler.loops import Contract
from kiso.compiler.plan import plan
from kiso.runtime import compile_graph
from kiso.tree import flatten_tree
from tests.compiler.meaning import run_plan
from tests.train.test_step import whole_step


@pytest.mark.parametrize("contracts", [False, True])
def test_a_whole_step(contracts: bool) -> None:
    step, state, batches = whole_step("momentum")
    graph = optimise(trace(step.train, state, batches[0]).graph)
    found = plan(graph, contracts=contracts)
    inputs = [np.asarray(v) for v in flatten_tree((state, batches[0]))[0]]
    for a, b in zip(run(graph, *inputs), run_plan(found, *inputs), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)
    count = sum(isinstance(k, Contract) for k in found.program.kernels)
    assert count == (11 if contracts else 0)  # 2 convolutions, 2 dense layers, their gradients
    assert len(program_text(found.program).splitlines()) == len(found.program.kernels)


def test_images_lie_with_channels_last_and_outputs_do_not() -> None:
    x, W = np.ones((2, 3, 5, 5), "f"), np.ones((4, 3, 3, 3), "f")
    graph = trace(lambda x, W: ops.relu(ops.conv2d(x * 2.0, W)), x, W).graph
    found = plan(graph, contracts=True)
    orders = {k.buffer.order for k in found.program.kernels}
    assert orders == {(0, 2, 3, 1), (0, 1, 2, 3)} and found.outputs[0].order == (0, 1, 2, 3)


@pytest.mark.parametrize("contracts", [False, True])
def test_outputs_may_be_inputs_constants_or_equal(contracts: bool) -> None:
    def f(x: Any) -> Any:
        y = x + 1.0
        return x, y, y, np.arange(3.0, dtype="f"), ops.transpose(x)

    x = np.arange(6.0, dtype="f").reshape(2, 3)
    found = plan(trace(f, x).graph, contracts=contracts)
    assert len(set(found.outputs)) == 5 and not set(found.outputs) & set(found.inputs)
    for a, b in zip(run_plan(found, x), f(x), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_shallow_wide_product_is_computed_where_it_is_read() -> None:
    """The gradient of a dense layer's weights for few samples, but not for many."""
    def kernels(samples: int) -> list[str]:
        shapes = [(2048, 2048), (samples, 2048), (samples, 2048)]
        arrays = [np.broadcast_to(np.float32(1), s) for s in shapes]
        graph = trace(lambda p, gy, x: p - 0.1 * ops.matmul(ops.transpose(gy), x), *arrays).graph
        return [type(k).__name__ for k in plan(graph, contracts=True, state={0: 0}).program.kernels]

    assert kernels(8) == ["Kernel"]
    assert kernels(9) == ["Contract", "Kernel"]


def test_a_shallow_product_whose_norm_is_wanted_is_not_kept_for_the_update() -> None:
    """Its squares are in memory for a moment; what the update needs is computed again."""
    rng = np.random.default_rng(0)
    p, gy, x = (rng.standard_normal(s).astype("f") for s in ((2048, 2048), (8, 2048), (8, 2048)))

    def step(p: Any, gy: Any, x: Any) -> Any:
        g = ops.matmul(ops.transpose(gy), x)
        return p - 0.1 * g, ops.sum(g * g)

    code = compile_graph(trace(step, p, gy, x).graph, state={0: 0})
    assert not any(isinstance(k, Contract) for k in code.program.kernels)
    placed = code.place(0, p)
    (square,) = code.run([placed, gy, x]).outputs
    g = gy.T.astype(np.float64) @ x
    assert square[0] == pytest.approx(float((g * g).sum()), rel=1e-5)
    np.testing.assert_allclose(code.natural(0, placed), p - 0.1 * g, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "int8", "bool", "float64"])
def test_a_bias_of_any_type_is_added(dtype: str) -> None:
    rng = np.random.default_rng(0)
    x, W = (rng.standard_normal(s).astype("f") for s in ((4, 5), (5, 6)))
    b = np.arange(6).astype(dtype)
    (y,) = compile_graph(trace(lambda x, W, b: x @ W + b, x, W, b).graph)(x, W, b)
    np.testing.assert_allclose(y, x @ W + b, rtol=1e-5)
