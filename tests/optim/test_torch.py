"""Rules against PyTorch's over 50 steps, and schedules over whole trainings."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from kiso import optim
from kiso.optim import Optimizer, Schedule
from tests.optim.helpers import run

torch = pytest.importorskip("torch")

CASES: list[tuple[Optimizer, str, dict[str, Any]]] = [
    (optim.SGD(lr=0.05), "SGD", {}),
    (optim.SGD(lr=0.05, weight_decay=0.1), "SGD", {}),
    (optim.SGD(lr=0.05, momentum=0.9), "SGD", {}),
    (optim.SGD(lr=0.05, momentum=0.9, dampening=0.4, weight_decay=0.01), "SGD", {}),
    (optim.SGD(lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01), "SGD", {}),
    (optim.AdaGrad(), "Adagrad", {}),
    (optim.AdaGrad(lr=0.1, lr_decay=0.1, initial_accumulator_value=0.5, weight_decay=0.02),
     "Adagrad", {}),
    (optim.RMSProp(), "RMSprop", {}),
    (optim.RMSProp(momentum=0.8, weight_decay=0.01), "RMSprop", {}),
    (optim.RMSProp(lr=0.001, centered=True, alpha=0.9, eps=1e-3), "RMSprop", {}),
    (optim.AdaDelta(), "Adadelta", {}),
    (optim.AdaDelta(lr=0.7, rho=0.8, weight_decay=0.05), "Adadelta", {}),
    (optim.Adam(), "Adam", {}),
    (optim.Adam(lr=0.02, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1), "Adam", {}),
    (optim.AdamW(), "AdamW", {}),
    (optim.AdamW(lr=0.02, weight_decay=0.3), "AdamW", {}),
    (optim.NAdam(), "NAdam", {}),
    (optim.NAdam(lr=0.02, momentum_decay=0.01, weight_decay=0.1), "NAdam", {}),
    (optim.NAdam(weight_decay=0.2, decoupled_weight_decay=True), "NAdam",
     {"decoupled_weight_decay": True}),
    (optim.RAdam(), "RAdam", {}),
    (optim.RAdam(lr=0.05, betas=(0.9, 0.98), weight_decay=0.1), "RAdam", {}),
    (optim.RAdam(lr=0.01, betas=(0.9, 0.9), weight_decay=0.1, decoupled_weight_decay=True),
     "RAdam", {"decoupled_weight_decay": True}),
    (optim.RAdam(lr=0.01, betas=(0.5, 0.6)), "RAdam", {}),
]
SHARED = {"lr", "momentum", "dampening", "nesterov", "weight_decay", "lr_decay", "eps", "alpha",
          "initial_accumulator_value", "centered", "rho", "betas", "momentum_decay"}


def options(rule: Optimizer) -> dict[str, Any]:
    """The options that PyTorch has too."""
    return {k: v for k, v in rule.to_dict().items() if k in SHARED}


def problem(dtype: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Start, curvature and noise of a quadratic."""
    rng = np.random.default_rng(3)
    return (rng.normal(size=(4, 5)).astype(dtype), rng.uniform(0.1, 2, (4, 5)).astype(dtype),
            rng.normal(size=(50, 4, 5)).astype(dtype))


def torch_path(name: str, given: dict[str, Any], dtype: str) -> list[np.ndarray]:
    start, curve, noise = (torch.tensor(a) for a in problem(dtype))
    before = torch.get_default_dtype()
    torch.set_default_dtype(start.dtype)  # NAdam keeps its product in the default type
    try:
        p = torch.nn.Parameter(start.clone())
        rule = getattr(torch.optim, name)([p], foreach=False, **given)
        path: list[np.ndarray] = []
        for extra in noise:
            p.grad = curve * p.detach() + extra
            rule.step()
            path.append(p.detach().numpy().copy())
    finally:
        torch.set_default_dtype(before)
    return path


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize(("rule", "name", "extra"), CASES,
                         ids=[f"{i}-{c[1]}" for i, c in enumerate(CASES)])
def test_rules(rule: Optimizer, name: str, extra: dict[str, Any], dtype: str,
               tolerance: float) -> None:
    start, curve, noise = problem(dtype)
    ours = run(rule, start, lambda t, p: curve * p + noise[t - 1], 50)
    theirs = torch_path(name, {**options(rule), **extra}, dtype)
    assert len(ours) == len(theirs) == 50
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == dtype
        # RAdam: PyTorch's own formula of rho loses digits, see `RAdam.samples_seen`.
        scale = 100 if name == "RAdam" and dtype == "float64" else 1
        np.testing.assert_allclose(a, b, rtol=tolerance * scale, atol=tolerance * scale)
    assert np.abs(ours[-1] - start).max() > 1e-3


@pytest.mark.parametrize("kind", ["AdaGrad", "RMSProp", "AdaDelta", "Adam", "AdamW", "NAdam",
                                  "RAdam"])
def test_defaults_are_pytorchs(kind: str) -> None:
    """All but SGD's learning rate."""
    names = {"AdaGrad": "Adagrad", "RMSProp": "RMSprop", "AdaDelta": "Adadelta"}
    theirs = getattr(torch.optim, names.get(kind, kind))([torch.zeros(1)]).defaults
    ours = options(getattr(optim, kind)())
    assert {k: tuple(v) if isinstance(v, list) else v for k, v in ours.items()} == {
        k: theirs[k] for k in ours}


def torch_factors(name: str, steps: int, **given: Any) -> list[float]:
    rule = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    schedule = getattr(torch.optim.lr_scheduler, name)(rule, **given)
    factors: list[float] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "step of the scheduler before the optimizer's"
        for _ in range(steps):
            factors.append(rule.param_groups[0]["lr"])
            schedule.step()
    return factors


@pytest.mark.parametrize(("schedule", "name", "given"), [
    (optim.StepLR(7, 0.3), "StepLR", {"step_size": 7, "gamma": 0.3}),
    (optim.MultiStepLR((4, 9, 30)), "MultiStepLR", {"milestones": [4, 9, 30]}),
    (optim.ExponentialLR(0.93), "ExponentialLR", {"gamma": 0.93}),
    (optim.CosineAnnealingLR(), "CosineAnnealingLR", {"T_max": 40}),
    (optim.CosineAnnealingLR(0.02, 13), "CosineAnnealingLR", {"T_max": 13, "eta_min": 0.02}),
])
def test_schedules_by_epoch(schedule: Schedule, name: str, given: dict[str, Any]) -> None:
    theirs = torch_factors(name, 40, **given)
    np.testing.assert_allclose([schedule(i, 40) for i in range(40)], theirs, rtol=1e-10, atol=1e-14)
    if schedule.per_epoch:  # 6 steps an epoch: the same value six times
        ours = [schedule(i, 240, 6) for i in range(240)]
        np.testing.assert_allclose(ours, np.repeat(theirs, 6), rtol=1e-10)


@pytest.mark.parametrize("total", [4, 10, 57, 100])
@pytest.mark.parametrize("options", [{}, {"pct_start": 0.41, "div_factor": 4.0,
                                          "final_div_factor": 50.0}])
def test_one_cycle(total: int, options: dict[str, float]) -> None:
    rule = torch.optim.SGD([torch.zeros(1)], lr=1.0, momentum=0.9)
    schedule = torch.optim.lr_scheduler.OneCycleLR(rule, max_lr=1.0, total_steps=total,
                                                   cycle_momentum=False, **options)
    ours = optim.OneCycleLR(**options)
    for i in range(total):
        assert ours(i, total) == pytest.approx(rule.param_groups[0]["lr"], rel=1e-9, abs=1e-12)
        if i < total - 1:
            rule.step()
            schedule.step()


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("cooldown", [0, 2])
def test_plateau(mode: str, cooldown: int) -> None:
    rng = np.random.default_rng(5)
    values = rng.uniform(0.5, 1.0, 80).round(2)
    rule = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        rule, mode=mode, patience=3, factor=0.5, threshold=0.01, cooldown=cooldown, min_lr=0.01)
    ours = optim.ReduceLROnPlateau(3, 0.5, 0.01, cooldown, 0.01, mode)
    state = ours.start()
    seen: set[float] = set()
    for value in values:
        theirs.step(value)
        state = ours.advance(state, float(value))
        assert ours(0, 1, 1, state) == pytest.approx(rule.param_groups[0]["lr"])
        seen.add(state["factor"])
    assert len(seen) > 3
