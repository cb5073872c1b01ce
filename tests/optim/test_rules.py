"""Each rule by itself: independent loops, purity, tracing, types, convergence, no NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiso.compiler.trace import trace
from kiso.optim import Eve, Lion, Optimizer, RAdam, RMSProp, bias_correction
from tests.optim.helpers import RULES, copies, draw, run

NAMES = sorted(RULES)


def one_step(rule: Optimizer) -> Any:
    """A step of a whole model as a function of arrays only."""
    def step(params: Any, grads: Any, slots: Any, lr: Any, t: Any, loss: Any) -> Any:
        return rule.apply(params, grads, slots, lr=lr, t=t, loss=loss)
    return step


def scalars(lr: float, t: float, loss: float, dtype: str = "float32") -> tuple[np.ndarray, ...]:
    return tuple(np.asarray(v, dtype) for v in (lr, t, loss))


def trees_equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return list(a) == list(b) and all(trees_equal(a[k], b[k]) for k in a)
    return type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape and bool(
        np.array_equal(a.view(f"u{a.itemsize}"), b.view(f"u{b.itemsize}")))


def test_lion_is_the_papers_loop() -> None:
    rng = np.random.default_rng(0)
    start, noise = rng.normal(size=6), rng.normal(size=(50, 6))
    p, m = start.copy(), np.zeros(6)
    path = run(Lion(lr=0.01, weight_decay=0.3), start, lambda t, w: 0.5 * w + noise[t - 1], 50)
    for t in range(50):
        g = 0.5 * p + noise[t]
        p = p - 0.01 * (np.sign(0.9 * m + 0.1 * g) + 0.3 * p)
        m = 0.99 * m + 0.01 * g
        np.testing.assert_allclose(path[t], p, rtol=1e-12, atol=1e-13)


def test_eve_is_the_papers_loop() -> None:
    """With plain Python branches where the rule uses `where`; all branches are met."""
    rng = np.random.default_rng(1)
    losses = np.concatenate([rng.uniform(0.5, 2, 25), [90, 1e-4, 1e-4, 1e-4],
                             rng.uniform(0.01, 30, 21)])
    losses[1] = 1.05 * losses[0]
    start, noise = rng.normal(size=6), rng.normal(size=(50, 6))
    calls = iter(losses)
    path = run(Eve(lr=0.01, beta3=0.9), start, lambda t, w: w + noise[t - 1], 50,
               lambda w: float(next(calls)))
    p, m, v, d, old = start.copy(), np.zeros(6), np.zeros(6), 1.0, 0.0
    met: set[str] = set()
    for t in range(1, 51):
        g, f = p + noise[t - 1], losses[t - 1]
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        if t > 1:
            low, high = (1.1, 11.0) if f >= old else (1 / 11, 1 / 1.1)
            c = min(max(low, f / old), high)
            met.add(f"{f >= old} {'low' if c == low else 'high' if c == high else 'inside'}")
            new = c * old
            d = 0.9 * d + 0.1 * abs(new - old) / min(new, old)
            old = new
        else:
            old = f
        p = p - 0.01 * m / (1 - 0.9**t) / (d * np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        np.testing.assert_allclose(path[t - 1], p, rtol=1e-11, atol=1e-12)
    assert len(met) == 6


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 2**32 - 1), t=st.integers(1, 10**6))
def test_inputs_stay_as_they_are(name: str, seed: int, t: int) -> None:
    rule, rng = RULES[name], np.random.default_rng(seed)
    params, grads = draw(rng), draw(rng)
    slots = rule.init_slots(params)
    inputs = (params, grads, slots, *scalars(0.01, t, 0.7))
    before = [copies(x) for x in inputs]
    out = one_step(rule)(*inputs)
    again = one_step(rule)(*inputs)
    assert all(trees_equal(a, b) for a, b in zip(before, inputs, strict=True))
    assert trees_equal(dict(enumerate(out)), dict(enumerate(again)))
    assert not any(np.shares_memory(out[0][n], params[n]) for n in params)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_traced_is_eager_to_the_bit(name: str, dtype: str) -> None:
    """With every option on, over several steps, all slots included; types stay."""
    base = RULES[name].to_dict()
    rule = Optimizer.from_dict({**base, "weight_decay": 0.1, "l1": 0.01, "clip_value": 1.5,
                                "clip_norm": 2.0})
    rule = Optimizer.from_dict({**rule.to_dict(), "groups": [
        {"pattern": "*bias", "lr_scale": 0.5, "weight_decay": 0.0}]})
    rng = np.random.default_rng(2)
    params = draw(rng, dtype)
    slots = rule.init_slots(params)
    step = one_step(rule)
    traced = trace(step, params, draw(rng, dtype), slots, *scalars(0.01, 1, 0.7))
    for t in range(1, 12):
        grads, numbers = draw(rng, dtype), scalars(0.01, t, 1 + np.sin(t))
        eager, graph = step(params, grads, slots, *numbers), traced(params, grads, slots, *numbers)
        assert trees_equal(dict(enumerate(eager)), dict(enumerate(graph)))
        params, slots = eager
        values = [*params.values(), *(v for s in slots.values() for v in s.values())]
        assert {v.dtype for v in values} == {np.dtype(dtype)}
        assert all(isinstance(v, np.ndarray) and np.isfinite(v).all() for v in values)
    if dtype == "float32":
        kinds = {str(spec.dtype) for spec in traced.graph.specs}
        assert kinds <= {"float32", "bool"}, "a float64 slipped into a float32 step"


# Learning rates with which 3000 steps reach the minimum of the quadratic below.
SPEED = {"sgd": 0.1, "momentum": 0.02, "dampening": 0.02, "nesterov": 0.02, "adagrad": 1.0,
         "adadelta": 20.0, "rmsprop-centred": 1e-3, "rmsprop": 1e-3, "lion": 1e-3}


@pytest.mark.parametrize("name", NAMES)
def test_a_quadratic_is_solved(name: str) -> None:
    options = {**RULES[name].to_dict(), "lr": SPEED.get(name, 0.01), "weight_decay": 0.0}
    rule = Optimizer.from_dict({**options, "lr_decay": 0.0} if name == "adagrad" else options)
    target, curve = np.array([1.0, -0.5, 0.25]), np.array([1.0, 0.3, 3.0])
    start = np.zeros(3)

    def loss(w: np.ndarray) -> float:
        return float((curve * (w - target) ** 2).sum() / 2 + 0.1)

    path = run(rule, start, lambda t, w: curve * (w - target), 3000, loss)
    assert loss(path[-1]) - 0.1 < 1e-4 < loss(start) - 0.1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_zero_gradients_change_nothing(name: str, dtype: str) -> None:
    """No 0/0 in any rule: also at t = 1, for a loss of 0, and with clipping by norm."""
    rule = Optimizer.from_dict({**RULES[name].to_dict(), "weight_decay": 0.0, "clip_norm": 1.0})
    start = np.array([1.0, -2.0, 0.0], dtype)
    path = run(rule, start, lambda t, w: np.zeros_like(w), 20, lambda w: 0.0)
    for p in path:
        np.testing.assert_array_equal(p, start)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [1e-12, 1e12])
def test_extreme_gradients_stay_finite(name: str, size: float) -> None:
    start = np.array([1.0, -2.0], "float32")
    path = run(RULES[name], start, lambda t, w: np.array([size, -size], "float32"), 30,
               lambda w: size)
    assert np.isfinite(path).all()


def test_a_variance_that_rounds_below_zero_gives_no_nan() -> None:
    """Centred RMSProp under constant gradients: h - m^2 goes to 0 and past it in float32."""
    g = np.linspace(0.1, 3, 500).astype("float32")
    path = run(RMSProp(centered=True, alpha=0.9), np.zeros(500, "float32"), lambda t, w: g, 400)
    assert np.isfinite(path).all()
    h, m = np.zeros_like(g), np.zeros_like(g)
    for _ in range(400):
        h, m = 0.9 * h + (1 - 0.9) * (g * g), 0.9 * m + (1 - 0.9) * g
    assert (h - m * m).min() < 0, "the case does not test what it should"


@given(t=st.integers(1, 10**6), beta=st.sampled_from([0.0, 0.5, 0.9, 0.99, 0.999, 0.99999]))
def test_bias_correction_keeps_float32s_digits(t: int, beta: float) -> None:
    exact = 1.0 if beta == 0 else -np.expm1(t * np.log(np.float64(beta)))
    assert float(bias_correction(beta, np.float32(t))) == pytest.approx(exact, rel=3e-7)


@given(t=st.integers(1, 10**6), beta=st.sampled_from([0.0, 0.5, 0.9, 0.99, 0.999, 0.9999]))
def test_radam_counts_samples_exactly(t: int, beta: float) -> None:
    """rho in float32 against exact fractions: sum of weights squared over squared sum."""
    from fractions import Fraction

    rule = RAdam(betas=(0.9, beta))
    b, n = Fraction(beta).limit_denominator(10**6), min(t, 400)
    power = b**n
    exact = 2 / (1 - b) - 1 - 2 * n * power / (1 - power)
    rho_inf, rho = rule.samples_seen(np.float32(n))
    assert rho_inf == pytest.approx(float(2 / (1 - b) - 1))
    assert float(rho) == pytest.approx(float(exact), rel=3e-6)
    assert float(rule.samples_seen(np.float32(t))[1]) <= rho_inf * (1 + 1e-6)


@given(data=st.data())
def test_a_group_of_lr_scale_zero_freezes(data: st.DataObject) -> None:
    rule = RULES[data.draw(st.sampled_from(NAMES))]
    frozen = {"pattern": "conv.*", "lr_scale": 0.0}
    rule = Optimizer.from_dict({**rule.to_dict(), "groups": [frozen]})
    params = draw(np.random.default_rng(data.draw(st.integers(0, 99))))
    new, _ = rule.apply(params, params, rule.init_slots(params), lr=np.float32(0.1),
                        t=np.float32(1), loss=np.float32(1))
    for name, p in params.items():
        assert np.array_equal(new[name], p) == name.startswith("conv.")
