"""What depends on nothing that changes is computed once for many calls: its values, its memory."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest

from kiso import ops
from kiso.compiler import trace
from kiso.compiler.contract.steps import Step
from kiso.compiler.loops import reads
from kiso.errors import GraphError
from kiso.report.clock import measure
from kiso.runtime import Executable, compile_graph
from kiso.runtime.memory import size
from kiso.tree import flatten_tree
from tests.train.test_step import whole_step


def numbers(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def net(W: Any, gamma: Any, V: Any, x: Any) -> Any:
    """A convolution, factors that depend on gamma alone, a product with weights turned by hand."""
    scale = ops.reshape(ops.sqrt(ops.exp(gamma) + 1), (6, 1, 1))
    y = ops.relu(ops.conv2d(x, W, padding=1) * scale)
    return ops.matmul(ops.reshape(y, (ops.shape_of(x)[0], -1)), ops.tanh(V)), ops.sum(V)


def inputs(batch: int = 3) -> list[Any]:
    return [numbers(6, 5, 3, 3), numbers(6, seed=1), numbers(6 * 64, 7, seed=2),
            numbers(batch, 5, 8, 8, seed=3)]


def compiled(arrays: list[Any], threads: int = 2, **more: Any) -> Executable:
    graph = trace(net, *arrays).graph
    return compile_graph(graph, threads, state={0: None, 1: None, 2: None}, **more)


def placed(code: Executable, arrays: list[Any]) -> list[Any]:
    return [code.place(k, x) for k, x in enumerate(arrays)]


@pytest.mark.parametrize("conv", ["direct", "winograd"])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_values_with_and_without_are_the_same_bits(threads: int, conv: str) -> None:
    arrays = inputs()
    code = compiled(arrays, threads, conv=conv)
    weights = placed(code, arrays[:3])
    kept = code.keep(weights)
    for seed in (3, 4):
        x = numbers(3, 5, 8, 8, seed=seed)
        alone = code.run([*weights, x]).outputs
        for _ in range(2):
            for y, z in zip(code.run([x], kept=kept).outputs, alone, strict=True):
                np.testing.assert_array_equal(y, z)
        for y, expected in zip(alone, net(*arrays[:3], x), strict=True):
            np.testing.assert_allclose(y[0], expected, rtol=1e-4, atol=1e-4)


def test_many_steps_with_inputs_that_move() -> None:
    arrays = inputs()
    code = compiled(arrays)
    kept = code.keep(placed(code, arrays[:3]))
    xs = np.stack([numbers(3, 5, 8, 8, seed=k) for k in range(4)])
    found = code.run([xs], moving={3}, steps=4, kept=kept).outputs[0]
    for x, y in zip(xs, found, strict=True):
        np.testing.assert_array_equal(y, code.run([x], kept=kept).outputs[0][0])


def test_what_runs_once() -> None:
    arrays = inputs()
    code = compiled(arrays, conv="winograd")
    first, rest = code.program.kernels[:code.once], code.program.kernels[code.once:]
    assert [k.buffer.name for k in first if isinstance(k, Step)] == ["packed"]
    assert sum(k.buffer.shape == (6 * 64, 7) for k in first) == 1  # tanh of V, stored for a product
    same = {*code.plan.inputs[:3], code.scratch, *(b for k in first for b in k.buffers)}
    assert all(same.issuperset(reads(k)) for k in first)
    results = set(code.plan.results)
    assert all(not same.issuperset(reads(k)) or results.intersection(k.buffers) for k in rest)
    kept = {b for k in first for b in k.buffers} & {b for k in rest for b in reads(k)}
    assert code.kept_bytes == sum(map(size, kept)) > 4 * 36 * 5 * 6


def test_a_training_step_has_no_such_kernels() -> None:
    step, state, batches = whole_step("adam")
    n = len(flatten_tree(state)[0])
    code = compile_graph(trace(step.train, state, batches[0]).graph, 2,
                         state={k: k for k in range(n)})
    assert code.once == 0 and code.kept_bytes == 0 and "prepare" not in code.lib.text


def test_other_weights_need_another_call_of_keep() -> None:
    arrays = inputs()
    code = compiled(arrays)
    x = arrays[3]
    before = code.keep(placed(code, arrays[:3]))
    other = [-2 * a for a in arrays[:3]]
    after = code.keep(placed(code, other))
    for kept, weights in ((before, arrays[:3]), (after, other), (before, arrays[:3])):
        for y, expected in zip(code.run([x], kept=kept).outputs, net(*weights, x), strict=True):
            np.testing.assert_allclose(y[0], expected, rtol=1e-4, atol=1e-4)


def test_state_that_a_step_leaves_alone_is_read_anew_in_every_call() -> None:
    """A frozen filter and a number beside a weight that is trained."""
    def step(W: Any, p: Any, c: Any, x: Any) -> Any:
        return W, p - c * ops.sum(ops.conv2d(x, W, padding=1)), c, p

    W, p, c, x = numbers(4, 4, 3, 3), np.float32(0), np.float32(0.1), numbers(1, 4, 6, 6)
    code = compile_graph(trace(step, W, p, c, x).graph, 2, state={0: 0, 1: 1, 2: 2})
    assert code.fixed == [0, 2] and code.once
    state = [code.place(k, value) for k, value in enumerate((W, p, c))]
    for scale in (1, -3):
        state[0][:] = scale * code.place(0, W)
        expected = float(state[1]) - 3 * 0.1 * float(np.sum(ops.conv2d(x, scale * W, padding=1)))
        code.run([*state, x], steps=3)
        assert float(state[1]) == pytest.approx(expected, rel=1e-4)


def test_constants_need_no_keeping_and_are_given_back() -> None:
    W, x = numbers(8, 8, 3, 3), numbers(2, 8, 20, 15)
    code = compile_graph(trace(lambda x: ops.conv2d(x, W, padding=1), x).graph, 2)
    expected = ops.conv2d(x, W, padding=1)
    assert code.once == 1 and code.kept_bytes >= W.nbytes
    np.testing.assert_allclose(code(x)[0], expected, rtol=1e-4, atol=1e-4)
    kept = code.keep([])
    assert code.keep([]) is kept
    gone = weakref.ref(kept)
    del kept
    code.release()
    gc.collect()
    assert gone() is None
    np.testing.assert_allclose(code(x)[0], expected, rtol=1e-4, atol=1e-4)


def test_several_threads_at_once() -> None:
    arrays = inputs()
    code = compiled(arrays)
    sets = [[np.float32(k + 1) * a for a in arrays[:3]] for k in range(4)]
    expected = [net(*weights, arrays[3]) for weights in sets]
    wrong: list[int] = []

    def work(k: int) -> None:
        for _ in range(20):
            kept = code.keep(placed(code, sets[k]))
            found = code.run([arrays[3]], kept=kept).outputs
            wrong.extend(k for y, z in zip(found, expected[k], strict=True)
                         if not np.allclose(y[0], z, rtol=1e-4, atol=1e-4))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_wrong_arrays_are_refused() -> None:
    arrays = inputs()
    code = compiled(arrays)
    with pytest.raises(GraphError, match="takes 3 arrays, but 2 came"):
        code.keep(placed(code, arrays[:2]))
    kept = code.keep(placed(code, arrays[:3]))
    with pytest.raises(GraphError, match="takes 1 arrays, but 4 came"):
        code.run([*placed(code, arrays[:3]), arrays[3]], kept=kept)
    with pytest.raises(GraphError, match="input 3 is"):
        code.run([arrays[3][:1]], kept=kept)


def test_their_time_is_no_part_of_a_step() -> None:
    arrays = inputs()
    code = compiled(arrays)
    times = measure(code, [*placed(code, arrays[:3]), arrays[3]], 0.01)
    assert len(times.kernels) == len(code.program.kernels) > code.once > 0
    assert all(t > 0 for t in times.kernels) and times.step > 0
