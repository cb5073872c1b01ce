"""What all rules share: clipping, penalties, groups, options and their errors."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiso import optim
from kiso.errors import ConfigError, KisoError, ShapeError
from kiso.optim import (
    SGD,
    AdamW,
    Group,
    Optimizer,
    clip_by_norm,
    clip_by_value,
    global_norm,
    no_decay_on_bias_and_norm,
)
from tests.optim.helpers import RULES, draw


def step(rule: Optimizer, params: Any, grads: Any) -> Any:
    return rule.apply(params, grads, rule.init_slots(params), lr=np.float32(rule.lr),
                      t=np.float32(1), loss=np.float32(1))[0]


@given(seed=st.integers(0, 999), size=st.floats(1e-3, 1e3), limit=st.floats(1e-2, 100))
def test_clipping_by_norm(seed: int, size: float, limit: float) -> None:
    grads = {n: g * size for n, g in draw(np.random.default_rng(seed), "float64").items()}
    norm = np.sqrt(sum(float((g**2).sum()) for g in grads.values()))
    assert float(global_norm(grads)) == pytest.approx(norm)
    clipped = clip_by_norm(grads, limit)
    assert float(global_norm(clipped)) == pytest.approx(min(norm, limit))
    for name, g in grads.items():  # one scale for all; nothing at all below the limit
        np.testing.assert_allclose(clipped[name], g * min(1, limit / norm), rtol=1e-12)
        if norm <= limit:
            np.testing.assert_array_equal(clipped[name], g)


def test_the_norm_does_not_depend_on_the_dicts_order() -> None:
    grads = {f"p{i}": np.random.default_rng(i).normal(size=99).astype("float32") for i in range(9)}
    reverse = dict(reversed(grads.items()))
    assert global_norm(grads) == global_norm(reverse)
    assert clip_by_norm({}, 1.0) == {}


def test_clipping_agrees_with_pytorch() -> None:
    torch = pytest.importorskip("torch")
    grads = draw(np.random.default_rng(0), "float64")
    parameters = [torch.nn.Parameter(torch.zeros(g.shape, dtype=torch.float64))
                  for g in grads.values()]
    for p, g in zip(parameters, grads.values(), strict=True):
        p.grad = torch.tensor(g)
    torch.nn.utils.clip_grad_norm_(parameters, 0.7)
    for p, g in zip(parameters, clip_by_norm(grads, 0.7).values(), strict=True):
        np.testing.assert_allclose(g, p.grad.numpy(), rtol=1e-5)  # PyTorch adds 1e-6 to the norm


@given(seed=st.integers(0, 999), limit=st.floats(1e-2, 3))
def test_clipping_by_value(seed: int, limit: float) -> None:
    grads = draw(np.random.default_rng(seed))
    for name, g in clip_by_value(grads, limit).items():
        np.testing.assert_array_equal(g, np.clip(grads[name], -limit, limit))
        assert g.dtype == np.float32


def test_value_is_clipped_before_norm_and_penalties_come_after() -> None:
    p, g = np.array([2.0, -4.0, 0.0]), np.array([30.0, 0.4, 0.0])
    rule = SGD(lr=1.0, clip_value=0.3, clip_norm=0.1, weight_decay=0.5, l1=0.25)
    clipped = np.array([0.3, 0.3, 0.0])
    clipped = clipped * 0.1 / np.linalg.norm(clipped)
    new = step(rule, {"w": p}, {"w": g})["w"]
    np.testing.assert_allclose(new, p - (clipped + 0.5 * p + 0.25 * np.sign(p)), rtol=1e-12)


def test_l1_makes_weights_vanish_and_l2_only_shrinks_them() -> None:
    p = {"w": np.array([0.1, -0.1])}
    zero = {"w": np.zeros(2)}
    np.testing.assert_array_equal(step(SGD(lr=0.5, l1=0.2), p, zero)["w"], [0, 0])
    np.testing.assert_allclose(step(SGD(lr=0.5, weight_decay=0.2), p, zero)["w"], [0.09, -0.09])


def test_decoupled_decay_passes_the_adaptive_scale_by() -> None:
    p, zero = {"w": np.array([3.0, -7.0])}, {"w": np.zeros(2)}
    rule = AdamW(lr=0.1, weight_decay=0.2)
    np.testing.assert_allclose(step(rule, p, zero)["w"], p["w"] * (1 - 0.02), rtol=1e-6)
    coupled = AdamW(lr=0.1, weight_decay=0.2, decoupled_weight_decay=False)
    np.testing.assert_allclose(step(coupled, p, zero)["w"], [2.9, -6.9], rtol=1e-6)


def test_groups_apply_in_order() -> None:
    params = {n: np.ones(s) for n, s in [("head.weight", (2, 2)), ("head.bias", (2,)),
                                        ("norm.scale", (2,)), ("odd.bias", (2, 1)),
                                        ("body.weight", (2, 2))]}
    rule = SGD(lr=0.1, weight_decay=0.5, groups=(
        Group("head.*", lr_scale=3.0, weight_decay=0.25), Group("*.weight", lr_scale=2.0),
        *no_decay_on_bias_and_norm()))
    new = step(rule, params, {n: np.zeros_like(p) for n, p in params.items()})
    lost = {n: float(1 - p.ravel()[0]) for n, p in new.items()}
    assert lost == pytest.approx({"head.weight": 0.1 * 6 * 0.25, "head.bias": 0, "norm.scale": 0,
                                  "odd.bias": 0, "body.weight": 0.1 * 2 * 0.5}, abs=1e-7)


def test_a_group_that_matches_nothing_is_refused() -> None:
    params = {"head.weight": np.ones(2)}
    with pytest.raises(ConfigError, match=r"'haed\.weight' matches no parameter.*mean head\.weig"):
        SGD(groups=(Group("haed.weight"),)).init_slots(params)
    with pytest.raises(ConfigError, match="matches no parameter"):
        SGD(groups=(Group("*", max_ndim=0),)).init_slots(params)
    SGD(groups=no_decay_on_bias_and_norm()).init_slots({"w": np.ones((2, 2))})
    SGD(groups=(Group("HEAD*", required=False),)).init_slots(params)


@pytest.mark.parametrize("name", sorted(RULES))
def test_rules_survive_json(name: str) -> None:
    rule = Optimizer.from_dict({**RULES[name].to_dict(), "clip_norm": 3, "lr": 0.5})
    rule = Optimizer.from_dict(json.loads(json.dumps(rule.to_dict())))
    full = type(rule)(**{**rule.__dict__, "groups": (Group("a*", 2.0, None, 0.1, 1),)})
    text = json.dumps(full.to_dict())
    assert Optimizer.from_dict(json.loads(text)) == full
    assert "null" not in text  # TOML cannot write it
    assert full.clip_norm == 3.0 and full.lr == 0.5


@pytest.mark.parametrize(("make", "message"), [
    (lambda: SGD(lr=-0.1), r"SGD: lr = -0\.1 cannot be used; expected 0 <= lr\."),
    (lambda: SGD(lr=float("nan")), "lr = nan"),
    (lambda: SGD(lr=float("inf")), "lr = inf"),
    (lambda: SGD(lr="0.1"), r"lr = '0\.1'"),
    (lambda: SGD(lr=True), "lr = True"),
    (lambda: SGD(lr=None), "lr = None"),
    (lambda: SGD(momentum=1.0), "expected 0 <= momentum < 1"),
    (lambda: SGD(momentum=-0.1), "0 <= momentum < 1"),
    (lambda: SGD(nesterov=True), "momentum above 0"),
    (lambda: SGD(nesterov=True, momentum=0.9, dampening=0.1), "dampening of 0"),
    (lambda: SGD(nesterov="yes", momentum=0.9), "nesterov = 'yes'"),
    (lambda: SGD(weight_decay=-1), "weight_decay = -1"),
    (lambda: SGD(clip_norm=0), "0 < clip_norm"),
    (lambda: SGD(clip_value=-1), "0 < clip_value"),
    (lambda: SGD(groups=("*bias",)), "sequence of Group"),
    (lambda: Group("*", lr_scale=-1), "Group: lr_scale = -1"),
    (lambda: Group("*", max_ndim=1.5), r"max_ndim = 0, 1, 2, \.\.\."),
    (lambda: optim.Adam(betas=(0.9, 1.0)), "expected 0 <= betas < 1"),
    (lambda: optim.Adam(betas=(0.9,)), "betas = "),
    (lambda: optim.Adam(betas=0.9), r"betas = 0\.9"),
    (lambda: optim.Adam(eps=0), "0 < eps"),
    (lambda: optim.Eve(k=3, K=2), "threshold"),
    (lambda: Optimizer.from_dict({"name": "adm"}), "unknown optimizer 'adm'.*mean adam"),
    (lambda: Optimizer.from_dict({"name": "sgd", "mometum": 1}), "mometum.*mean momentum"),
    (lambda: Optimizer.from_dict({"name": "sgd", "groups": [{"patern": "*"}]}), "mean pattern"),
])
def test_bad_options(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        make()
    assert isinstance(caught.value, KisoError) and caught.value.exit_code == 2


def test_bad_arguments() -> None:
    p, g, lr, t = {"w": np.ones(2)}, {"w": np.ones(2)}, np.float32(1), np.float32(1)
    with pytest.raises(ConfigError, match=r"missing: w; unexpected: v\."):
        SGD().apply(p, {"v": np.ones(2)}, {"w": {}}, lr=lr, t=t)
    with pytest.raises(ConfigError, match="missing: w"):
        SGD().apply(p, g, {}, lr=lr, t=t)
    with pytest.raises(ShapeError, match=r"gradient of w has shape \(1,\), the parameter \(2,\)"):
        SGD().apply(p, {"w": np.ones(1)}, {"w": {}}, lr=lr, t=t)
    rule = optim.Eve()
    with pytest.raises(ConfigError, match="Eve uses the value of the loss"):
        rule.apply(p, g, rule.init_slots(p), lr=lr, t=t)


def test_python_numbers_are_taken_too() -> None:
    params = {"w": np.array([1.0, 2.0])}
    rule = optim.Adam()
    arrays = rule.apply(params, params, rule.init_slots(params), lr=np.float64(0.1),
                        t=np.float64(3))[0]
    numbers = rule.apply(params, params, rule.init_slots(params), lr=0.1, t=3)[0]
    np.testing.assert_array_equal(arrays["w"], numbers["w"])
