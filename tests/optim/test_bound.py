"""Rules bound to a model, for loops written by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from kiso import ops
from kiso.autograd import Tensor
from kiso.errors import CheckpointError, ConfigError, GradientError
from kiso.optim import SGD, Adam, Eve, Group, Optimizer
from tests.optim.helpers import RULES


class Line:
    """y = x W + b, with what a rule needs of a model."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.W = Tensor(rng.normal(size=(3, 2)).astype("float32"), requires_grad=True)
        self.b = Tensor(np.zeros(2, "float32"), requires_grad=True)

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        yield "W", self.W
        yield "b", self.b
        yield "tied", self.W

    def loss(self, seed: int) -> Tensor:
        x = np.random.default_rng(seed).normal(size=(8, 3)).astype("float32")
        y = x @ np.array([[1, 2], [3, -1], [0, 1]], "float32") + np.float32(0.5)
        return ops.mse_loss(ops.matmul(x, self.W) + self.b, y)


def train(model: Line, opt: Any, seeds: range) -> list[float]:
    losses: list[float] = []
    for seed in seeds:
        loss = model.loss(seed)
        opt.zero_grad()
        loss.backward()
        opt.step(loss)
        losses.append(loss.item())
    return losses


def test_a_loop_by_hand_learns() -> None:
    model = Line()
    first = model.W.data
    opt = SGD(lr=0.1, momentum=0.5).bind(model)
    assert list(opt.parameters) == ["W", "b"]  # a tied parameter is updated once
    losses = train(model, opt, range(100))
    assert losses[-1] < 1e-3 * losses[0]
    assert model.W.data is not first and model.W.requires_grad
    opt.zero_grad()
    assert model.W.grad is None and model.b.grad is None


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_saved_state_goes_on_to_the_bit(name: str) -> None:
    whole, half = Line(), Line()
    train(whole, RULES[name].bind(whole), range(10))
    opt = RULES[name].bind(half)
    train(half, opt, range(5))
    opt.lr = 0.5  # goes into the state ...
    state = opt.state_dict()
    train(half, opt, range(3))  # ... which later steps do not change
    fresh, copied = Line(), Line()
    again = RULES[name].bind(copied)
    train(copied, again, range(5))
    fresh.W.data, fresh.b.data = copied.W.data, copied.b.data
    other = Optimizer.from_dict({**RULES[name].to_dict(), "lr": 0.7}).bind(fresh)
    other.load_state_dict(state)
    assert other.lr == 0.5 and other.rule == RULES[name]
    other.lr = RULES[name].lr
    train(fresh, other, range(5, 10))
    np.testing.assert_array_equal(fresh.W.data, whole.W.data)
    np.testing.assert_array_equal(fresh.b.data, whole.b.data)


def test_parameters_without_gradient_wait() -> None:
    """Their own steps are counted, so that Adam's bias correction stays right."""
    a, b = (Tensor(np.ones(2, "float32"), requires_grad=True) for _ in range(2))
    opt = Adam(lr=0.1).bind({"a": a, "b": b})
    for _ in range(5):
        a.grad = Tensor(np.ones(2, "float32"))
        opt.step()
    np.testing.assert_array_equal(b.data, 1)
    b.grad = Tensor(np.ones(2, "float32"))
    opt.step()
    np.testing.assert_allclose(b.data, 0.9, rtol=1e-6)  # the first step of Adam has length lr
    assert opt.steps == {"a": 6, "b": 1}
    opt.zero_grad()
    with pytest.raises(GradientError, match="no parameter has a gradient"):
        opt.step()


def test_clipping_sees_all_gradients() -> None:
    a, b = (Tensor(np.zeros(1), requires_grad=True) for _ in range(2))
    a.grad, b.grad = Tensor(np.array([3.0])), Tensor(np.array([4.0]))
    SGD(lr=1.0, clip_norm=1.0).bind([("a", a), ("b", b)]).step()
    np.testing.assert_allclose([a.data[0], b.data[0]], [-0.6, -0.8])


def test_an_error_changes_nothing() -> None:
    model = Line()
    before = model.W.data
    opt = Eve().bind(model)
    model.loss(0).backward()
    with pytest.raises(ConfigError, match=r"step\(loss=loss\)"):
        opt.step()
    assert model.W.data is before and opt.steps == {"W": 0, "b": 0}


def test_bad_models_and_rates() -> None:
    with pytest.raises(ConfigError, match="no parameters"):
        SGD().bind({})
    with pytest.raises(ConfigError, match="w is a ndarray"):
        SGD().bind({"w": np.ones(2)})
    with pytest.raises(ConfigError, match="matches no parameter"):
        SGD(groups=(Group("conv.*"),)).bind(Line())
    opt = SGD().bind(Line())
    for lr in (-1.0, float("nan"), "fast", None):
        with pytest.raises(ConfigError, match="lr = "):
            opt.lr = lr  # type: ignore[assignment]
    opt.lr = np.float32(0.5)  # type: ignore[assignment]
    assert opt.lr == 0.5 and "2 parameters" in repr(opt)


def test_a_foreign_state_is_refused_with_all_differences() -> None:
    opt = SGD(momentum=0.9).bind(Line())
    state = opt.state_dict()
    with pytest.raises(CheckpointError, match="belongs to the optimizer adam, not to sgd"):
        opt.load_state_dict(Adam().bind(Line()).state_dict())
    with pytest.raises(CheckpointError, match="has no slots"):
        opt.load_state_dict({k: v for k, v in state.items() if k != "slots"})
    wrong = {**state, "slots": {"W": {"v": np.zeros((2, 2))}, "c": {"v": np.zeros(1)}}}
    with pytest.raises(CheckpointError) as caught:
        opt.load_state_dict(wrong)
    message = str(caught.value)
    for part in ("W/v has shape (2, 2), expected (3, 2)", "b/v is missing", "c/v is unexpected"):
        assert part in message
    with pytest.raises(CheckpointError, match="does not fit"):
        opt.load_state_dict({**state, "steps": {"W": 1}})
