"""Passes: each does what it says, and all of them keep the bits of a whole training step."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from kiso import nn, ops
from kiso.compiler import run, trace
from kiso.compiler.loops import Contract
from kiso.compiler.passes import (
    PASSES,
    common,
    dead,
    fold,
    moves,
    normed,
    optimise,
    pooled,
    turns,
)
from kiso.compiler.plan import plan
from kiso.optim import SGD, Adam
from kiso.runtime import compile_graph
from kiso.tree import flatten_tree
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


def test_a_product_is_turned_rather_than_its_result() -> None:
    W = np.random.default_rng(1).normal(size=(5, 3)).astype("f")
    A = np.random.default_rng(2).normal(size=(5, 5)).astype("f")

    def f(x: Any, W: Any, A: Any) -> Any:
        twice = ops.transpose(ops.transpose(x) @ x)
        return ops.transpose((x @ ops.transpose(W)) @ A), twice

    graph = trace(f, X, W, A).graph
    changed = dead(moves(turns(graph)))
    # Both products of the chain; the second, too, may be turned, its transpose undoes itself.
    assert ops_of(changed).count("MatMul") == 3
    assert {n for node in changed.nodes if node.op == ops.Transpose(axes=(1, 0))
            for n in node.inputs} <= set(graph.inputs)
    for a, b in zip(run(changed, X, W, A), f(X, W, A), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)

    def shared(x: Any) -> Any:
        y = ops.transpose(x) @ x
        return ops.transpose(y), ops.exp(y)

    again = trace(shared, X).graph
    assert ops_of(dead(turns(again))) == ops_of(again)  # two products would cost more


def test_moves_that_change_nothing_go() -> None:
    def f(x: Any) -> Any:
        y = ops.transpose(ops.transpose(ops.reshape(x, (2, 2, 3)), (1, 2, 0)), (2, 0, 1))
        z = ops.Cast(to="float32")(ops.reshape(ops.reshape(x, (12,)), (4, 3)))
        square = ops.transpose(ops.reshape(x, (2, 2, 3)), (1, 0, 2))
        return y + 1.0, z, square, ops.reshape(ops.reshape(x, (12,)), (6, 2))

    graph = trace(f, X).graph
    changed = dead(moves(graph))
    assert sorted(ops_of(changed)) == ["Add", *["Reshape"] * 3, "Transpose"]
    assert changed.outputs[1] == graph.inputs[0]
    for a, b in zip(run(changed, X), run(graph, X), strict=True):
        np.testing.assert_array_equal(a, b)


def test_no_copy_of_a_weight_or_its_gradient_is_turned() -> None:
    net = nn.from_text("linear20 relu linear30 relu linear3", (12,))
    x, y = np.zeros((6, 12), "f"), np.zeros(6, np.int64)
    params = {n: p.data for n, p in net.named_parameters()}
    rule = SGD(momentum=0.9, weight_decay=1e-3)
    slots = rule.init_slots(params)

    def step(params: Any, slots: Any, x: Any) -> Any:
        from kiso.autograd import value_and_grad

        loss, grads, _ = value_and_grad(
            lambda p: (ops.cross_entropy(nn.functional_call(net, p, {}, x)[0], y), None), params)
        return loss, rule.apply(params, grads, slots, lr=np.float32(1), t=np.float32(1))

    found = plan(optimise(trace(step, params, slots, x).graph), contracts=True)
    weights = {p.shape for p in params.values() if p.ndim == 2}
    assert len(weights) == 3
    turned = {shape[::-1] for shape in weights}
    products = [k for k in found.program.kernels if isinstance(k, Contract)]
    others = [k for k in found.program.kernels if k not in products]
    assert len(products) == 8  # 3 forward, 3 for the weights, 2 for the inputs of layers
    assert not {k.buffer.shape for k in found.program.kernels} & turned
    # The other kernels of this shape are the update: they give what the step returns.
    assert {k.buffer for k in others if k.buffer.shape in weights} <= set(found.outputs)


@pytest.mark.parametrize("name", [name for name, _ in PASSES if name != "turns"] + ["all"])
def test_a_whole_step_keeps_its_bits(name: str) -> None:
    step, state, batches = whole_step("adam")
    traced = trace(step.train, state, batches[0])
    change: Any = partial(optimise, exact=True) if name == "all" else dict(PASSES)[name]
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


def test_pooled_masks_before_it_spreads() -> None:
    """Windows that overlap, too: y is not read by a mask any more."""
    x, g = np.random.default_rng(1).normal(size=(2, 2, 3, 9, 9)).astype("f")[:, :, :, :, :]
    g = np.ascontiguousarray(g[:, :, :4, :4])

    def f(x: Any, g: Any) -> tuple[Any, Any]:
        y = ops.relu(x)
        pool: Any = ops.MaxPool(kernel=(3, 3), stride=(2, 2), padding=((0, 0), (0, 0)),
                                ceil_mode=False)
        return pool(y), ops.MaxPoolGrad(**pool.settings())(y, g) * ops.Step()(y)

    graph = trace(f, x, g).graph
    after = dead(pooled(graph))
    step = next(node for node in after.nodes if isinstance(node.op, ops.Step))
    assert after.specs[step.inputs[0]].shape == (2, 3, 4, 4)
    for a, b in zip(run(graph, x, g), run(after, x, g), strict=True):
        np.testing.assert_array_equal(a, b)
    both = trace(lambda x, g: (*f(x, g), ops.MaxPoolGrad(
        kernel=(3, 3), stride=(2, 2), padding=((0, 0), (0, 0)), ceil_mode=False)(ops.relu(x), g)),
        x, g).graph
    assert pooled(common(both)).nodes == common(both).nodes  # somebody else reads it spread


BLOCK = "conv6k3p1nobias bn relu conv6k3p1nobias bn"
NORMED = (f"conv6k3p1 bn relu res({BLOCK}) relu res({BLOCK} | seq(conv6k1p0 bn)) relu gap linear3")


def inference(net: nn.Module, x: Any) -> tuple[Any, list[Any]]:
    """The graph of inference, with all weights as inputs that last, and these weights."""
    state = ({n: p.data for n, p in net.named_parameters()},
             {n: b.data for n, b in net.named_buffers()})
    graph = trace(lambda state, x: nn.functional_call(net, *state, x)[0].data, state, x).graph
    weights = flatten_tree(state)[0]
    return replace(graph, lasting=frozenset(graph.inputs[:len(weights)])), weights


def with_statistics(text: str, shape: tuple[int, ...]) -> nn.Module:
    nn.manual_seed(3)
    net, rng = nn.from_text(text, shape).eval(), np.random.default_rng(1)
    for name, p in (*net.named_buffers(), *net.named_parameters()):
        low, high = (0.5, 2.0) if name.endswith("var") else (-0.5, 0.5)
        p.data = rng.uniform(low, high, p.shape).astype("f")
    return net


@pytest.mark.parametrize("conv", ["direct", "winograd"])
def test_normed_folds_batch_norm_into_filters(conv: str) -> None:
    net, x = with_statistics(NORMED, (4, 9, 8)), np.random.default_rng(0).normal(
        size=(2, 4, 9, 8)).astype("f")
    graph, weights = inference(net, x)
    changed = optimise(graph)
    assert ops_of(graph).count("BatchNormInference") == 6
    assert "BatchNormInference" not in ops_of(changed)
    assert ops_of(optimise(graph, exact=True)).count("BatchNormInference") == 6
    exact = net.astype("float64")(x.astype("float64")).data
    code = compile_graph(graph, 2, state=dict.fromkeys(range(len(weights))), conv=conv)
    placed = [code.place(k, w) for k, w in enumerate(weights)]
    for found in (run(changed, *weights, x)[0], code.run([*placed, x]).outputs[0][0]):
        assert np.abs(found - exact).max() < 1e-5 * np.abs(exact).max()
    contracts = [k for k in code.plan.program.kernels if isinstance(k, Contract)]
    assert {" ".join(k.after) for k in contracts} == {"bias", "bias relu", "bias add relu"}
    assert len(code.program.kernels) - code.once <= len(contracts) + 2  # nothing in between


@pytest.mark.parametrize(("text", "left"), [
    ("conv6k3p1 bn relu", 0), ("conv6k3p1nobias relu bn", 1), ("bn conv6k3p1", 1),
    ("res(conv4k3p1 bn)", 0), ("flatten linear5 bn", 1), ("conv8k3p1g4 bn", 0)])
def test_normed_where_nothing_is_between(text: str, left: int) -> None:
    net, x = with_statistics(text, (4, 6, 6)), np.random.default_rng(0).normal(
        size=(3, 4, 6, 6)).astype("f")
    graph, weights = inference(net, x)
    changed = dead(normed(graph))
    assert ops_of(changed).count("BatchNormInference") == left
    expected = run(graph, *weights, x)[0]
    np.testing.assert_allclose(run(changed, *weights, x)[0], expected, rtol=1e-4, atol=1e-5)


def test_normed_needs_what_lasts_and_a_single_reader() -> None:
    net, x = with_statistics("conv6k3p1 bn", (4, 6, 6)), np.ones((3, 4, 6, 6), "f")
    graph, _ = inference(net, x)
    assert dead(normed(graph)) != dead(graph)
    for n in graph.lasting:
        less = replace(graph, lasting=graph.lasting - {n})
        assert normed(less) == less
    between = graph.made_by(graph.outputs[0], ops.BatchNormInference)
    assert between
    read = replace(graph, outputs=(*graph.outputs, between.inputs[0]))
    assert normed(read) == read
