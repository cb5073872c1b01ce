"""State in place, many steps in one call, stopping, giving a step up."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest

from kiso import ops
from kiso.compiler import trace
from kiso.compiler.inplace import settle
from kiso.compiler.loops import Program, reads
from kiso.compiler.plan import plan
from kiso.runtime import Executable, compile_graph
from kiso.runtime.work import schedule
from kiso.tree import flatten_tree, unflatten_tree
from tests.train.test_step import whole_step


def numbers(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def momentum(p: Any, v: Any, x: Any) -> Any:
    """p and v are updated by what x says; the loss is a result."""
    g = ops.transpose(ops.matmul(ops.transpose(x), ops.matmul(x, p)))
    v = 0.9 * v + ops.transpose(g)
    return p - 0.001 * v, v, ops.sum(ops.matmul(x, p))


def compiled(threads: int = 2, **more: Any) -> tuple[Executable, list[Any]]:
    arrays = [numbers(40, 30), numbers(40, 30, seed=1), numbers(20, 40, seed=2)]
    graph = trace(momentum, *arrays).graph
    return compile_graph(graph, threads, state={0: 0, 1: 1}, **more), arrays


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_many_steps_in_one_call(threads: int) -> None:
    code, (p, v, x) = compiled(threads)
    xs = np.stack([x * k for k in (1, 2, -1, 0.5, 3)])
    state = [code.place(0, p), code.place(1, v)]
    found = code.run([*state, xs], moving={2}, steps=5)
    assert found.steps == 5 and not found.given_up and found.outputs[0].shape == (5,)
    for k in range(5):
        p, v, loss = momentum(p, v, xs[k])
        assert found.outputs[0][k] == pytest.approx(float(loss), rel=1e-4, abs=1e-4)
    np.testing.assert_allclose(code.natural(0, state[0]), p, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(code.natural(1, state[1]), v, rtol=1e-4, atol=1e-3)


def test_one_call_or_many_give_the_same_bits() -> None:
    code, (p, v, x) = compiled()
    one, many = [code.place(0, p), code.place(1, v)], [code.place(0, p), code.place(1, v)]
    code.run([*one, x], steps=6)
    for _ in range(6):
        code.run([*many, x])
    for a, b in zip(one, many, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_update_is_in_place() -> None:
    """No kernel but the last ones writes to state, and no copy is needed for momentum."""
    code, _ = compiled()
    state = set(code.plan.carried)
    writers = [i for i, k in enumerate(code.program.kernels) if state.intersection(k.buffers)]
    assert writers == list(range(len(code.program.kernels)))[-len(writers):]
    assert {b for i in writers for b in code.program.kernels[i].buffers} == state
    assert not any(b in code.module.slots for b in code.plan.carried.values() if b not in state)


def test_state_that_others_read_is_copied_at_the_end() -> None:
    def rotate(a: Any, b: Any, c: Any) -> Any:
        return b, c + a, ops.transpose(c)  # every new value needs an old one of another

    a, b, c = (numbers(4, 4, seed=k) for k in range(3))
    code = compile_graph(trace(rotate, a, b, c).graph, 2, state={0: 0, 1: 1, 2: 2})
    state = [code.place(k, x) for k, x in enumerate((a, b, c))]
    code.run(state, steps=3)
    for _ in range(3):
        a, b, c = rotate(a, b, c)
    for k, expected in enumerate((a, b, c)):
        np.testing.assert_allclose(code.natural(k, state[k]), expected, rtol=1e-6)


def test_state_that_nothing_replaces_stays() -> None:
    x, w = numbers(3, 2, 6, 6), numbers(5, 2, 3, 3, seed=1)
    code = compile_graph(trace(lambda w, x: ops.conv2d(x, w), w, x).graph, state={0: None})
    state = code.place(0, w)
    assert state.shape == (3, 3, 2, 5)  # filters lie with their outputs last
    for _ in range(2):
        y = code.run([state, x]).outputs[0][0]
    np.testing.assert_allclose(y, ops.conv2d(x, w), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(code.natural(0, state), w)


def test_a_step_without_a_number_is_given_up_before_it_changes_state() -> None:
    code, (p, v, x) = compiled(watched=(2,))
    xs = np.stack([x, x, x * np.nan, x])
    state = [code.place(0, p), code.place(1, v)]
    found = code.run([*state, xs], moving={2}, steps=4)
    assert found.steps == 2 and found.given_up and np.isnan(found.outputs[0][2])
    other = [code.place(0, p), code.place(1, v)]
    code.run([*other, x], steps=2)
    for a, b in zip(state, other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_steps_stop_when_asked() -> None:
    code, (p, v, x) = compiled()
    stop = np.zeros(1, np.int64)
    state = [code.place(0, p * 0), code.place(1, v * 0)]
    timer = threading.Timer(0.1, lambda: stop.fill(1))
    timer.start()
    began = time.perf_counter()
    found = code.run([*state, x], steps=2_000_000, stop=stop)
    assert 0 < found.steps < 2_000_000 and not found.given_up
    assert time.perf_counter() - began < 20
    timer.join()


def test_a_whole_training_step_as_state() -> None:
    step, state, batches = whole_step("adam")
    traced = trace(step.train, state, batches[0])
    leaves, structure = flatten_tree(state)
    code = compile_graph(traced.graph, 2, state={k: k for k in range(len(leaves))})
    placed = [code.place(k, leaf) for k, leaf in enumerate(leaves)]
    for batch in batches[:2]:
        code.run([*placed, *flatten_tree(batch)[0]])
        state, _ = step.train(state, batch)
    found = unflatten_tree(structure, [code.natural(k, x) for k, x in enumerate(placed)])
    assert float(found["t"]) == 2
    for name, value in state["params"].items():
        if name not in ("0.bias", "4.bias"):  # their gradients are rounding only
            np.testing.assert_allclose(found["params"][name], value, rtol=2e-3, atol=2e-3)


def test_kernels_that_depend_on_each_other_are_in_different_phases() -> None:
    """Unless both are the first thread's."""
    step, state, batches = whole_step("momentum")
    graph = trace(step.train, state, batches[0]).graph
    found = plan(graph, contracts=False, state={k: k for k in range(len(flatten_tree(state)[0]))})
    program: Program = settle(found.program, found.carried)
    slots = schedule(program.kernels)
    assert {s.shared for s in slots} == {True, False} and slots[-1].phase > 3
    for i, late in enumerate(program.kernels):
        for j, early in enumerate(program.kernels[:i]):
            needs = early.buffer in (*reads(late), late.buffer) or late.buffer in reads(early)
            if needs and (slots[i].shared or slots[j].shared):
                assert slots[i].phase > slots[j].phase
