"""Who holds the weights in training: the engine alone, and everybody sees the present ones."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from typing import Any

import numpy as np
import pytest

import kiso
from benchmarks.memory import peak_bytes
from benchmarks.nets import NETS
from kiso import nn
from kiso.errors import ConfigError
from kiso.train import Callback
from kiso.train.engine import ENGINES, Compiled
from kiso.tree import flatten_tree
from tests.train.test_compiled import several
from tests.train.test_step import PICTURES, whole_step

NET = "conv4k3p1 bn relu pool2 flatten dropout0.2 linear10"


class Look(Callback):
    """Notes what the model holds after each step; fails after some of them."""

    def __init__(self, model: nn.Module, error: BaseException | None = None, after: int = 3):
        self.model, self.error, self.after = model, error, after
        self.seen: list[dict[str, np.ndarray]] = []

    def step(self, context: Any) -> None:
        self.seen.append(self.model.state_dict())
        if self.error is not None and len(self.seen) == self.after:
            raise self.error


def fit(model: nn.Module, *callbacks: Callback, engine: str = "compiled", **more: Any) -> Any:
    options: dict[str, Any] = {"epochs": 1, "batch_size": 400, **more}
    return kiso.fit(model, "digits", callbacks=callbacks, engine=engine, progress=False, **options)


def fresh() -> nn.Sequential:
    nn.manual_seed(0)
    return nn.from_text(NET, (1, 8, 8))


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[n], b[n]) for n in a)


def own(model: nn.Module) -> bool:
    """Whether the model has its values itself, to be changed at will."""
    return all(not s.value.lent and s.value.data.flags.writeable for s in model.slots())


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_callbacks_see_the_present_values(engine: str) -> None:
    """Those of one step more each time: as a run that is stopped after as many steps returns."""
    model = fresh()
    start, look = model.state_dict(), Look(model)
    fit(model, look, engine=engine)
    assert len(look.seen) == 4 and own(model)
    for after in (1, 3):
        other = fresh()
        assert fit(other, Look(other, KeyboardInterrupt(), after), engine=engine).stopped
        assert same(other.state_dict(), look.seen[after - 1]) and own(other)
    assert not any(same(values, start) for values in look.seen)
    assert same(look.seen[-1], model.state_dict())


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_after_an_error_the_model_has_the_values_of_that_moment(engine: str) -> None:
    model = fresh()
    look = Look(model, RuntimeError("my own"))
    with pytest.raises(RuntimeError, match="my own"):
        fit(model, look, engine=engine)
    assert len(look.seen) == 3 and same(model.state_dict(), look.seen[-1]) and own(model)


def test_a_run_that_does_not_begin_leaves_the_model_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fresh()
    start = model.state_dict()
    monkeypatch.setattr("kiso.config.available_memory", lambda: 1000)
    with pytest.raises(ConfigError, match="batch"):
        fit(model)
    assert same(model.state_dict(), start) and own(model)


def test_copies_in_training_stay_and_the_values_themselves_are_only_read() -> None:
    class Copy(Callback):
        copies: list[nn.Module] = []

        def step(self, context: Any) -> None:
            self.copies += [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
            with pytest.raises(ValueError, match="read-only"):
                next(model.parameters()).data[:] = 0

    model = fresh()
    look, taken = Look(model), Copy()
    fit(model, look, taken)
    for k, made in enumerate(taken.copies):
        assert same(made.state_dict(), look.seen[k // 2]) and own(made)


def test_weights_and_slots_are_held_once() -> None:
    """Nothing keeps the arrays that training began with."""
    step, state, batches = whole_step("adam")
    before = [weakref.ref(leaf) for leaf in flatten_tree(state)[0]]
    engine = Compiled(step, 2)
    engine.load(state)
    for slot in step.model.slots():
        slot.value.lend(lambda: np.zeros(()))
    del state
    engine.train(PICTURES, several(batches[:1]))
    gc.collect()
    assert [ref() for ref in before if ref() is not None] == []
    engine.state()
    engine.evaluate(PICTURES.x)
    assert engine.natural == [None] * len(before)


def test_in_a_run_too() -> None:
    model = fresh()
    before = [weakref.ref(s.value.data) for s in model.slots()]
    alive: list[Any] = []

    class Count(Callback):
        def step(self, context: Any) -> None:
            gc.collect()
            alive.extend(ref() for ref in before if ref() is not None)

    fit(model, Count())
    assert alive == [] and own(model)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18_224", "vgg16_224"])
def test_a_step_needs_at_most_seven_tenths_of_the_memory_of_pytorch(name: str) -> None:
    pytest.importorskip("torch")
    ours = peak_bytes("kiso", NETS[name], 2)
    if ours is None:
        pytest.skip("this system does not tell a process's memory")
    theirs = [peak_bytes(mode, NETS[name], 2) for mode in ("default", "channels_last")]
    assert ours <= 0.7 * min(b for b in theirs if b is not None)
