"""Tracing whole functions: same bits as eager, rules of the graph, clear refusals."""

import collections
import dataclasses

import numpy as np
import pytest

from kiso import ops
from kiso.autograd import Tensor, value_and_grad
from kiso.compiler import Graph, Node, Spec, trace, verify
from kiso.errors import GraphError
from kiso.tree import flatten_tree, unflatten_tree

RNG = np.random.default_rng(0)
W = RNG.normal(size=(3, 2)).astype("f")
X = RNG.normal(size=(4, 3)).astype("f")


def training_step(state, x, y):
    """Forward, backward, momentum update: state in, state out."""
    def loss(p):
        z = ops.tanh(Tensor(x) @ p["W"] + p["b"])
        return ops.cross_entropy(z, y), z.data

    value, grads, z = value_and_grad(loss, state["params"])
    v = {n: 0.9 * state["v"][n] - 0.1 * g for n, g in grads.items()}
    params = {n: p + v[n] for n, p in state["params"].items()}
    return {"params": params, "v": v}, {"loss": value, "z": [z, (ops.argmax(z, 1),)]}


def state():
    params = {"W": W, "b": np.zeros(2, "f")}
    return {"params": params, "v": {n: np.zeros_like(p) for n, p in params.items()}}


def test_a_training_step_is_pure_and_gives_the_same_bits():
    y = np.array([0, 1, 1, 0])
    traced = trace(training_step, state(), X, y)
    eager, graph = state(), state()
    for _ in range(5):
        eager, m1 = training_step(eager, X, y)
        graph, m2 = traced(graph, X, y)
        for a, b in zip(flatten_tree((eager, m1))[0], flatten_tree((graph, m2))[0], strict=True):
            np.testing.assert_array_equal(a, b)
            assert np.asarray(a).dtype == np.asarray(b).dtype
    verify(traced.graph)


def test_printed_graph():
    text = str(trace(lambda x: ops.relu(x @ W) * 2, X))
    assert text.splitlines()[0] == "graph(%0: f32[4,3]) {"
    assert "%2: f32[4,2] = MatMul(%0, %1)" in text
    assert "= constant 2" in text
    assert text.endswith("}")


def test_equal_constants_are_kept_once():
    graph = trace(lambda x: x * 2.0 + 2.0 - W[0, 0] * 0 - 2.0, np.float32(1)).graph
    assert sum(float(c) == 2 for c in graph.constants.values() if c.size == 1) == 1


@pytest.mark.parametrize("f", [
    lambda x: x if x.sum() > 0 else -x,
    lambda x: float(x.sum()),
    lambda x: np.asarray(x),
    lambda x: range(x.sum()),
])
def test_branching_on_values_is_refused(f):
    with pytest.raises(GraphError, match="not known while tracing"):
        trace(f, X)


def test_values_must_not_escape():
    kept = []
    trace(lambda x: kept.append(x) or x + 1, X)
    with pytest.raises(GraphError, match="after its trace"):
        kept[0] + 1
    with pytest.raises(GraphError, match="another trace"):
        trace(lambda x: trace(lambda z: z + x, X)(X), X)
    with pytest.raises(GraphError, match="expected arrays"):
        trace(lambda x: "text", X)


def test_shapes_and_structure_are_checked_when_run():
    traced = trace(lambda d: d["a"] + 1, {"a": X})
    with pytest.raises(GraphError, match="nested differently"):
        traced({"b": X})
    with pytest.raises(GraphError, match="trace again"):
        traced({"a": X[:2]})


def good():
    return trace(lambda x: ops.exp(x + 1), X).graph


@pytest.mark.parametrize("change, message", [
    (lambda g: dataclasses.replace(g, nodes=g.nodes[::-1]), "before it is defined"),
    (lambda g: dataclasses.replace(g, nodes=(*g.nodes, g.nodes[0])), "defined twice"),
    (lambda g: dataclasses.replace(g, outputs=(0, 99)), "before it is defined"),
    (lambda g: dataclasses.replace(g, inputs=(0, 77)), "has no type"),
    (lambda g: dataclasses.replace(
        g, specs=(*g.specs[:-1], Spec((9,), np.dtype("f4")))), "its outputs are"),
    (lambda g: dataclasses.replace(
        g, constants={n: c.astype("f8") for n, c in g.constants.items()}), "its type says"),
    (lambda g: dataclasses.replace(
        g, nodes=(Node(ops.Reshape(to=(5,)), (0,), g.nodes[0].outputs), *g.nodes[1:])), "reshape"),
])
def test_verifier_names_each_broken_rule(change, message):
    verify(good())
    with pytest.raises(ValueError, match=message):
        verify(change(good()))


def test_tree_round_trip():
    tree = {"a": [1, (2, 3)], "b": None, "c": {"d": ()}}
    leaves, structure = flatten_tree(tree)
    assert leaves == [1, 2, 3] and unflatten_tree(structure, leaves) == tree


def test_integer_inputs_and_unused_inputs():
    traced = trace(lambda i, unused: ops.one_hot(i, 3), np.array([2, 0]), X)
    np.testing.assert_array_equal(traced(np.array([1, 1]), X), [[0, 1, 0], [0, 1, 0]])
    assert isinstance(traced.graph, Graph)


def test_arguments_that_are_no_numbers_are_refused():
    with pytest.raises(GraphError, match="object values"):
        trace(lambda d: d["a"], collections.OrderedDict(a=X))


def test_arrays_of_one_number_take_no_room_in_the_graph():
    def f(p):
        _, grads, _ = value_and_grad(lambda q: (q["used"].sum(), None), p)
        return {n: p[n] - 0.1 * g for n, g in grads.items()}, np.full((3, 5), -0.0, "f")

    p = {"used": W, "unused": np.ones((50, 60), "f")}
    traced = trace(f, p)
    assert max(c.size for c in traced.graph.constants.values()) == 1
    for a, b in zip(flatten_tree(traced(p))[0], flatten_tree(f(p))[0], strict=True):
        assert a.tobytes() == b.tobytes() and a.shape == b.shape
    mixed = trace(lambda x: x + np.array([0.0, -0.0], "f"), np.ones(2, "f")).graph
    assert [c.size for c in mixed.constants.values()] == [2]
