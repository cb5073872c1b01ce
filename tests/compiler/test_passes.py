"""Passes: each does what it says, and all of them keep the bits of a whole training step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kiso import nn, ops
from kiso.compiler import flatten_tree, run, trace
from kiso.compiler.passes import PASSES, common, dead, fold, optimise
from kiso.optim import Adam
from tests.train.test_step import whole_step

X = np.random.default_rng(0).normal(size=(4, 3)).astype("f")


def ops_of(graph: Any) -> list[str]:
    return [type(node.op).__name__ for node in graph.nodes]


def test_fold_computes_constants() -> None:
    def f(x: Any) -> Any:
        zero = x * 0.0  # not constant: x may be NaN
        return x + ops.exp(ops.BroadcastTo(to=(3,))(np.float32(1.0))) + zero

    graph = trace(f, X).graph
    assert np.allclose(run(fold(graph), X)[0], X + np.e)
    # The tracer computes on arrays at once, so a constant node has to be made by hand.
    from kiso.compiler.graph import Graph, Node

    n = next(iter(graph.constants))
    made = Graph((*graph.specs, graph.specs[n]), graph.inputs, graph.constants,
                 (*graph.nodes, Node(ops.Neg(), (n,), (len(graph.specs),))),
                 (*graph.outputs, len(graph.specs)))
    folded = fold(made)
    assert "Neg" in ops_of(made) and "Neg" not in ops_of(folded)
    np.testing.assert_array_equal(run(folded, X)[1], run(made, X)[1])


def test_common_computes_equal_things_once() -> None:
    graph = trace(lambda x: (ops.exp(x + 1.0) * ops.exp(x + 1.0), ops.exp(x + 1.0)), X).graph
    assert ops_of(graph).count("Exp") == 3
    assert sorted(ops_of(dead(common(graph)))) == ["Add", "Exp", "Mul"]
    assert ops_of(common(trace(lambda x: ops.sum(x, 0) + ops.sum(x, 1)[:3], X).graph)).count(
        "Sum") == 2  # other attributes


def test_dead_drops_what_nobody_reads() -> None:
    def f(x: Any) -> Any:
        ops.exp(x)
        return x + 1.0

    graph = trace(f, X).graph
    assert "Exp" in ops_of(graph) and ops_of(dead(graph)) == ["Add"]
    assert dead(graph).inputs == graph.inputs


@pytest.mark.parametrize("name", [name for name, _ in PASSES] + ["all"])
def test_a_whole_step_keeps_its_bits(name: str) -> None:
    step, state, batches = whole_step("adam")
    traced = trace(step.train, state, batches[0])
    change = optimise if name == "all" else dict(PASSES)[name]
    changed = change(traced.graph)
    inputs = [np.asarray(v) for v in flatten_tree((state, batches[0]))[0]]
    for a, b in zip(run(traced.graph, *inputs), run(changed, *inputs), strict=True):
        np.testing.assert_array_equal(a, b)
    if name == "all":
        assert len(changed.nodes) < len(traced.graph.nodes)


def test_the_gradient_of_the_pictures_is_left_out() -> None:
    net = nn.from_text("conv4k3 relu flatten linear3", (1, 6, 6))
    x, y = np.zeros((2, 1, 6, 6), "f"), np.zeros(2, np.int64)
    params = {n: p.data for n, p in net.named_parameters()}
    slots = Adam().init_slots(params)

    def step(params: Any, slots: Any) -> Any:
        from kiso.autograd import value_and_grad

        loss, grads, _ = value_and_grad(
            lambda p: (ops.cross_entropy(nn.functional_call(net, p, {}, x)[0], y), None), params)
        return loss, Adam().apply(params, grads, slots, lr=np.float32(1), t=np.float32(1))

    graph = trace(step, params, slots).graph
    assert "ConvInputGrad" in ops_of(graph) and "ConvInputGrad" not in ops_of(optimise(graph))
