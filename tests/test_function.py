"""kiso.compile: values, shapes, nesting, weights that change, several threads, errors."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest

import kiso
from kiso import nn, ops, optim
from kiso.autograd import Tensor, value_and_grad
from kiso.errors import GraphError
from kiso.nn.parameter import Changes
from tests.architecture.source import ROOT

RNG = np.random.default_rng(0)


def numbers(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype("f")


def test_one_code_for_each_combination_of_shapes_and_types() -> None:
    calls: list[int] = []

    @kiso.compile
    def f(x: Any, y: Any) -> Any:
        """Add."""
        calls.append(1)
        return ops.exp(x) + y

    a, b = numbers(3, 4), numbers(4)
    for _ in range(3):
        np.testing.assert_allclose(f(a, b), np.exp(a) + b, rtol=1e-5)
    assert len(calls) == 1 and f.__name__ == "f" and f.__doc__ == "Add."
    np.testing.assert_allclose(f(a, 2.0), np.exp(a) + 2, rtol=1e-5)
    np.testing.assert_allclose(f(a, 3.0), np.exp(a) + 3, rtol=1e-5)  # no constant of the code
    np.testing.assert_allclose(f(a[:2], y=b), np.exp(a[:2]) + b, rtol=1e-5)
    assert len(calls) == 3 and "3 combinations" in repr(f)


def test_nesting_and_tensors_come_back_as_they_went() -> None:
    @kiso.compile
    def f(tree: Any, scale: Any) -> Any:
        a, (b, c) = tree["a"], tree["more"]
        return {"sum": a + b, "list": [c * scale, (a,)], "nothing": None}

    a, b, c = Tensor(numbers(2)), numbers(2), numbers(3)
    found = f({"a": a, "more": (b, c)}, 2)
    assert list(found) == ["sum", "list", "nothing"] and found["nothing"] is None
    assert isinstance(found["sum"], Tensor) and isinstance(found["list"][1][0], Tensor)
    np.testing.assert_allclose(found["sum"].data, a.data + b, rtol=1e-6)
    assert isinstance(found["list"][0], np.ndarray)
    np.testing.assert_allclose(found["list"][0], 2 * c)
    found["list"][1][0].data[:] = 7  # a result is new memory, also where it is an argument
    assert (a.data != 7).all()


def test_a_model_with_weights_that_change() -> None:
    nn.manual_seed(0)
    model = nn.from_text("conv4k3 bn relu pool2 flatten dropout0.5 linear8 relu linear3",
                         (2, 8, 8))
    x = numbers(5, 2, 8, 8)
    fast = kiso.compile(model)

    def expected() -> Any:
        return model.eval()(Tensor(x)).data

    for _ in range(2):
        np.testing.assert_allclose(fast(x).data, expected(), rtol=1e-4, atol=1e-5)
    for p in (*model.parameters(), *model.buffers()):
        p.data = p.data * np.float32(1.5) + np.float32(0.1)
    np.testing.assert_allclose(fast(Tensor(x)).data, expected(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(fast(x[:1]).data, expected()[:1], rtol=1e-4, atol=1e-4)
    model.train()
    fast(x)
    assert model.training  # nothing changes for the model


def test_a_training_loop_of_ones_own() -> None:
    rule = optim.Adam()
    x, w = numbers(40, 3), np.array([[1.0], [-2.0], [0.5]], "f")

    def step(params: Any, slots: Any, t: Any) -> Any:
        def loss_of(p: Any) -> Any:
            return ops.mean((ops.matmul(Tensor(x), p["w"]) - x @ w) ** 2), None
        loss, grads, _ = value_and_grad(loss_of, params)
        params, slots = rule.apply(params, grads, slots, lr=0.05, t=t, loss=loss)
        return params, slots, loss

    fast = kiso.compile(step)
    first = {"w": np.zeros((3, 1), "f")}
    a, b = (first, rule.init_slots(first)), (first, rule.init_slots(first))
    for t in range(1, 201):
        *a, loss = fast(*a, np.float32(t))
        *b, other = step(*b, np.float32(t))
        assert float(loss) == pytest.approx(float(other), rel=1e-3, abs=1e-6)
    np.testing.assert_allclose(a[0]["w"], w, atol=0.01)


def test_several_threads_at_once() -> None:
    model = nn.Sequential(nn.Linear(30, 40), nn.ReLU(), nn.Linear(40, 5))
    fast, xs = kiso.compile(model, threads=2), [numbers(n, 30) for n in (3, 7, 3, 7)]
    expected = [model(Tensor(x)).data for x in xs]
    wrong: list[int] = []

    def work(k: int) -> None:
        wrong.extend(k for _ in range(50) if not np.allclose(
            fast(xs[k]).data, expected[k], rtol=1e-4, atol=1e-5))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and len(fast.plans) == 2


def test_weights_are_packed_once_and_again_when_they_change() -> None:
    nn.manual_seed(0)
    model = nn.from_text("conv8k3p1 relu conv8k3p1 bn relu flatten linear3", (4, 8, 8))
    fast, x = kiso.compile(model, threads=2), numbers(6, 4, 8, 8)

    def check(n: int) -> Any:
        np.testing.assert_allclose(fast(x[:n]).data, model.eval()(Tensor(x[:n])).data,
                                   rtol=1e-4, atol=1e-4)
        return [plan.kept for plan in fast.plans.values()]

    check(6)
    one, two = check(2)
    assert one is not None and check(6) == [one, two]
    for a, b in zip(one.arrays, two.arrays, strict=True):
        assert a is b  # the weights lie in memory once for all shapes
    first = model[0].weight
    first.data = first.data * np.float32(-2)
    new, none = check(6)
    assert new is not one and none is None  # what was made of old weights is given back
    assert all(a is b for a, b in zip(one.arrays, new.arrays, strict=True))
    assert not any(x.ndim == 4 for x in new.arrays)  # packed filters are given back themselves
    assert {k for k, _ in fast.placed} < set(range(len(fast.state)))
    bias = model[-1].bias
    bias.data = bias.data + 1
    again, _ = check(6)
    same = [a is b for a, b in zip(new.arrays, again.arrays, strict=True)]
    assert same.count(False) == 1
    assert None not in check(2)
    for p in (*model.parameters(), *model.buffers()):
        p.data = p.data * np.float32(0.5)
        check(2)
        check(6)


def test_layers_and_parameters_that_are_replaced_are_seen() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            self.layers = [nn.Linear(4, 4), nn.ReLU()]
            self.last = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 4))
            self.more = {"a": nn.Linear(4, 4)}

        def forward(self, x: Any) -> Any:
            for layer in (*self.layers, self.last, self.more["a"]):
                x = layer(x)
            return x

    model, x = Two(), numbers(3, 4)
    fast = kiso.compile(model)

    def new() -> Any:
        return nn.Linear(4, 4)

    first, second = new(), new()  # made before: nothing else is assigned when they come in
    changes = [
        lambda: setattr(model.last[1], "weight", nn.Parameter(numbers(4, 4))),
        lambda: setattr(model.layers[0].weight, "data", numbers(4, 4)),
        lambda: setattr(model.last[0], "running_mean", numbers(4)),
        lambda: model.layers.__setitem__(0, first),
        lambda: model.more.update(a=second),
        lambda: setattr(model, "last", nn.Sequential(nn.BatchNorm1d(4), new())),
        lambda: model.load_state_dict({n: v + 1 for n, v in model.state_dict().items()})]
    before = fast(x).data
    for change in changes:
        for _ in range(2):
            np.testing.assert_array_equal(fast(x).data, before)
        assert fast.tensors is not None and fast.tensors.seen is Changes.latest
        change()
        found = fast(x).data
        assert np.abs(found - before).max() > 1e-4
        np.testing.assert_allclose(found, model.eval()(Tensor(x)).data, rtol=1e-4, atol=1e-4)
        before = found


def test_weights_that_change_while_threads_compute() -> None:
    """Every answer is that of one set of weights, and the last ones that of the last."""
    model = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU())
    fast, xs = kiso.compile(model, threads=1), [numbers(n, 4, 8, 8) for n in (1, 2)]
    base, factors = model[0].weight.data, [np.float32(k) for k in (1, -2, 3)]
    model[0].bias.data = model[0].bias.data * 0
    right = [[np.maximum(ops.conv2d(x, base * f, padding=1), 0) for f in factors] for x in xs]
    done, wrong = threading.Event(), list[int]()

    def work(k: int) -> None:
        while not done.is_set():
            y = fast(xs[k]).data
            wrong.extend([k] * (not any(np.allclose(y, z, rtol=1e-3, atol=1e-3)
                                        for z in right[k])))

    threads = [threading.Thread(target=work, args=(k % 2,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for i in range(60):
        model[0].weight.data = base * factors[i % 3]
        y = fast(xs[i % 2]).data
        np.testing.assert_allclose(y, right[i % 2][i % 3], rtol=1e-3, atol=1e-3)
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_what_cannot_be_compiled_is_said() -> None:
    x = numbers(3)
    with pytest.raises(GraphError, match="branch on values"):
        kiso.compile(lambda x: x if x[0] > 0 else -x)(x)
    with pytest.raises(GraphError, match="returned a str"):
        kiso.compile(lambda x: "text")(x)
    with pytest.raises(GraphError, match="expected numbers"):
        kiso.compile(lambda x: x)("text")
    with pytest.raises(GraphError, match="needs a function"):
        kiso.compile(3)  # type: ignore[arg-type]


def test_the_example_learns() -> None:
    path = ROOT / "examples" / "own_loop.py"
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    lines = done.stdout.splitlines()
    assert len(lines) == 11 and float(lines[-1].rsplit(" ", 1)[1]) > 0.95
