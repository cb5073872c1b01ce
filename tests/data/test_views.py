"""Test-time augmentation: the words, the views, their mean."""

from __future__ import annotations

import numpy as np
import pytest

from kiso import models
from kiso.compiler import trace
from kiso.data import Normalizer, Views
from kiso.errors import ConfigError, DataError
from kiso.optim import SGD
from kiso.train.engine import ENGINES
from kiso.train.step import Step, initial_state

TEXTS = ["", "flip", "shift1", "flip shift2"]


@pytest.mark.parametrize("text", TEXTS)
def test_words_and_back(text: str) -> None:
    views = Views.parse(text)
    assert str(views) == text and Views.parse(str(views)) == views
    assert bool(views) == bool(text)
    assert views.weights().sum() == 1


def test_words_may_come_in_any_order_and_none_is_none() -> None:
    assert Views.parse("shift3,flip") == Views(True, 3)
    assert Views.parse("none") == Views()


@pytest.mark.parametrize("text", ["flop", "flip flip", "shift", "shift0", "shift65",
                                  "shift1 shift2", "crop4", "flipnone", "none flip"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected flip, shiftN"):
        Views.parse(text)


def test_each_view_is_the_picture_moved_and_mirrored() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 6)).astype(np.float32)
    plain, up, down, *mirrored = np.split(Views.parse("flip shift1").apply(x), 6)
    np.testing.assert_array_equal(plain, x)
    np.testing.assert_array_equal(up[..., :-1, :-1], x[..., 1:, 1:])
    np.testing.assert_array_equal(up[..., -1, :-1], x[..., -1, 1:])  # the edge is repeated
    np.testing.assert_array_equal(down[..., 1:, 1:], x[..., :-1, :-1])
    np.testing.assert_allclose(mirrored[0], x[..., ::-1])
    np.testing.assert_allclose(mirrored[1][..., :-1, 1:], x[..., ::-1][..., 1:, :-1])
    assert len(mirrored) == 3
    np.testing.assert_array_equal(Views.parse("flip").weights(), [0.5, 0.5])
    np.testing.assert_array_equal(Views.parse("flip shift1").weights() * 8, [2, 1, 1, 2, 1, 1])


def test_no_views_of_a_table() -> None:
    with pytest.raises(DataError, match="--tta needs pictures"):
        Views(flip=True).apply(np.zeros((2, 7), np.float32))
    x = np.zeros((2, 7), np.float32)
    assert Views().apply(x) is x and Views().mean(x) is x


@pytest.mark.parametrize("engine", ["eager", "compiled"])
@pytest.mark.parametrize("text", TEXTS)
def test_a_judgement_is_that_of_the_mean_scores(text: str, engine: str) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 256, (5, 1, 8, 8)).astype(np.uint8), np.arange(5) % 3
    model = models.create("conv4k3 relu flatten linear3", (1, 8, 8), 3)
    scaling = Normalizer(*(np.full((1, 1, 1, 1), v, np.float32) for v in (120, 70)))
    step = Step(model, SGD(), "classification", "cross_entropy", scaling, views=Views.parse(text))
    runner = ENGINES[engine](step)
    runner.load(initial_state(model, step.optimizer))
    found = runner.evaluate(x, y)
    views = Views.parse(text)
    scores = [np.asarray(model(part).data) for part in
              np.split(np.asarray(views.apply(scaling.apply(x))), len(views.weights()))]
    mean = sum(w * s for w, s in zip(views.weights(), scores, strict=True))
    wanted = np.exp(mean) / np.exp(mean).sum(1, keepdims=True)
    np.testing.assert_allclose(found["output"], wanted, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["loss"], -np.log(wanted[np.arange(5), y]), rtol=1e-4)


def test_traced_equals_eager() -> None:
    x = np.random.default_rng(0).standard_normal((3, 1, 6, 6)).astype(np.float32)
    views = Views.parse("flip shift2")
    np.testing.assert_array_equal(trace(views.apply, x)(x), views.apply(x))
