"""Schedules: shapes, warm-up, plateau, and their words on the command line."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiso import optim
from kiso.errors import ConfigError
from kiso.optim import (
    OPTIMIZERS,
    SCHEDULES,
    SGD,
    Constant,
    CosineAnnealingLR,
    LinearWarmup,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    Schedule,
    StepLR,
    parse_optimizer,
    parse_schedule,
)
from kiso.text import set_language

TEXTS = ["constant", "step:30", "step:3:0.5", "multistep:30,60:0.1", "multistep:4", "exp",
         "exp:0.9", "cosine", "cosine:0.1", "cosine:0:7", "onecycle", "onecycle:0.2:10:100",
         "warmup:5", "warmup:5+cosine", "warmup:7+step:2:0.1", "plateau", "plateau:5:0.5",
         "warmup:3+plateau:2"]


@pytest.mark.parametrize("text", TEXTS)
@given(total=st.integers(1, 300), epoch=st.integers(1, 50))
def test_factors_are_sane(text: str, total: int, epoch: int) -> None:
    schedule = parse_schedule(text)
    factors = [schedule(i, total, epoch) for i in range(total)]
    assert all(math.isfinite(f) and 0 <= f <= 1 + 1e-12 for f in factors)
    assert factors[0] > 0
    if schedule.per_epoch:
        assert all(factors[i] == factors[i - i % epoch] for i in range(total))


@pytest.mark.parametrize("text", TEXTS)
def test_schedules_survive_json(text: str) -> None:
    schedule = parse_schedule(text)
    saved = json.dumps(schedule.to_dict())
    assert Schedule.from_dict(json.loads(saved)) == schedule
    assert "null" not in saved


def test_ends() -> None:
    cosine = CosineAnnealingLR(eta_min=0.1)
    assert cosine(0, 100) == 1 and cosine(50, 100) == pytest.approx(0.55)
    assert cosine(99, 100) == pytest.approx(0.1, abs=1e-3) and cosine(500, 100) == 0.1
    cycle = OneCycleLR()
    assert cycle(0, 100) == pytest.approx(0.04) and cycle(29, 100) == 1
    assert cycle(99, 100) == cycle(999, 100) == pytest.approx(4e-6)
    assert [OneCycleLR()(i, 2) for i in range(2)] == pytest.approx([1, 4e-6])
    assert OneCycleLR()(0, 1) == 1


def test_warmup_then() -> None:
    plain = LinearWarmup(4)
    assert [plain(i, 9) for i in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    cosine = LinearWarmup(4, CosineAnnealingLR())
    assert [cosine(i, 14) for i in range(4)] == [0.25, 0.5, 0.75, 1]
    for i in range(10):  # the cosine spreads over the steps after the warm-up
        assert cosine(4 + i, 14) == CosineAnnealingLR()(i, 10)
    steps = LinearWarmup(4, StepLR(1, 0.5))  # epochs of 3 steps count from the beginning
    assert [steps(i, 9, 3) for i in range(9)] == [0.25, 0.5, 0.75, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]
    assert LinearWarmup(9, CosineAnnealingLR())(3, 5) == pytest.approx(4 / 9)


def test_plateau_step_by_step() -> None:
    schedule = ReduceLROnPlateau(patience=1, gamma=0.5, min_factor=0.2)
    state = schedule.start()
    seen: list[float] = []
    for value in [1.0, 0.9, 0.9, 0.9, float("nan"), float("nan"), 0.5, 0.6, 0.6, float("inf")]:
        before = json.dumps(state)
        new = schedule.advance(state, value)
        assert json.dumps(state) == before  # the old state is left as it was
        state = json.loads(json.dumps(new, allow_nan=False))
        seen.append(schedule(0, 1, 1, state))
    assert seen == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.2, 0.2]
    assert state["best"] == 0.5


@given(st.lists(st.floats(-10, 10), max_size=60), st.integers(0, 5),
       st.sampled_from(["min", "max"]))
def test_plateau_never_raises_the_rate(values: list[float], patience: int, mode: str) -> None:
    schedule = ReduceLROnPlateau(patience, 0.5, mode=mode)
    state, drops, last = schedule.start(), 0, 1.0
    for value in values:
        state = schedule.advance(state, value)
        drops += state["factor"] < last
        assert state["factor"] <= last
        last = state["factor"]
    assert drops <= len(values) // (patience + 1)


def test_warmup_passes_the_plateaus_state_on() -> None:
    schedule = LinearWarmup(2, ReduceLROnPlateau(0, 0.5))
    assert schedule.watches and not LinearWarmup(2).watches
    state = schedule.start()
    for value in (1.0, 1.0):
        state = schedule.advance(state, value)
    assert [schedule(i, 9, 3, state) for i in range(3)] == [0.25, 0.5, 0.5]
    assert Constant().advance(Constant().start(), 1.0) == {}


def test_words() -> None:
    assert parse_schedule(" Warmup:500 + cosine ") == LinearWarmup(500, CosineAnnealingLR())
    assert parse_schedule("multistep:30,60:0.2") == MultiStepLR((30, 60), 0.2)
    assert parse_schedule("plateau:5:0.5") == ReduceLROnPlateau(5, 0.5)
    for entry in SCHEDULES.values():
        assert isinstance(parse_schedule(entry.example), entry.kind)


@pytest.mark.parametrize(("text", "message"), [
    ("cosin", "unknown schedule 'cosin'.*mean cosine"),
    ("", "unknown schedule ''"),
    ("step", r"'step': expected step:step_size:gamma, for example step:30:0\.1"),
    ("step:1:2:3", "expected step:step_size:gamma"),
    ("step:half", "'half' is not a number"),
    ("step:1.5", r"'1\.5' is not a number of the kind expected here \(int\)"),
    ("step:0", r"StepLR: step_size = 0 cannot be used; expected step_size = 1, 2, 3, \.\.\."),
    ("step:3:-1", "0 < gamma"),
    ("exp:nan", "gamma = nan"),
    ("multistep:", "'' is not a number"),
    ("multistep:3,,4", "'' is not a number"),
    ("multistep:0,4", "milestones = "),
    ("warmup", "expected warmup:steps"),
    ("warmup:0", "steps = 0"),
    ("cosine+warmup:5", "only one warm-up"),
    ("cosine+step:5", "only one warm-up"),
    ("warmup:5+warmup:5", "only one warm-up"),
    ("warmup:5+", "unknown schedule ''"),
    ("onecycle:1", "0 < pct_start < 1"),
    ("plateau:5:1", "0 < gamma < 1"),
])
def test_bad_words(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_schedule(text)


@pytest.mark.parametrize("make", [
    lambda: LinearWarmup(5, "cosine"), lambda: ReduceLROnPlateau(mode="lower"),
    lambda: MultiStepLR(()), lambda: MultiStepLR(3), lambda: Constant()(-1, 5),
    lambda: Constant()(0, 0), lambda: Constant()(0, 1, 0), lambda: Schedule.from_dict({}),
    lambda: Schedule.from_dict({"name": "step", "size": 3}),
])
def test_bad_schedules(make: Any) -> None:
    with pytest.raises(ConfigError):
        make()


def test_optimizers_by_name() -> None:
    assert parse_optimizer("sgd", lr=0.5, momentum=None) == SGD(lr=0.5)
    assert parse_optimizer("momentum", lr=0.5) == SGD(lr=0.5, momentum=0.9)
    assert parse_optimizer(" Nesterov ", momentum=0.5).to_dict()["nesterov"] is True
    for name, entry in OPTIMIZERS.items():
        assert parse_optimizer(name) == entry.rule
        assert parse_optimizer(name, weight_decay=0.1, clip_norm=1).weight_decay == 0.1
    kinds = {type(entry.rule) for entry in OPTIMIZERS.values()}
    assert kinds == set(optim.Optimizer.known.values())
    assert {entry.kind for entry in SCHEDULES.values()} == set(Schedule.known.values())


@pytest.mark.parametrize(("name", "options", "message"), [
    ("adaam", {}, "unknown optimizer 'adaam'.*Did you mean adam"),
    ("quantum", {}, "known are: sgd, momentum"),
    ("adam", {"momentum": 0.9}, "adam has no option momentum; it has: lr"),
    ("adam", {"lr": -1.0}, "Adam: lr = -1.0"),
    ("momentum", {"momentum": 1.5}, "momentum = 1.5"),
    ("nesterov", {"momentum": 0.0}, "momentum above 0"),
])
def test_bad_optimizers(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_optimizer(name, **options)


def test_help_speaks_the_chosen_language() -> None:
    entries = [*OPTIMIZERS.values(), *SCHEDULES.values()]
    english = [entry.about() for entry in entries]
    set_language("ja")
    try:
        japanese = [entry.about() for entry in entries]
    finally:
        set_language(None)
    assert all(a != b for a, b in zip(english, japanese, strict=True))
    assert len(set(english)) == len(english)
