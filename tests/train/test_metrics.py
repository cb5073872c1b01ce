"""Metrics against scikit-learn and against the numbers of the textbook."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from kiso.errors import DataError, ShapeError
from kiso.train import metrics

BOOK = [[91, 4], [16, 89]]  # TN FP / FN TP


@st.composite
def labelled(draw: st.DrawFn) -> tuple[Any, Any, int]:
    """True and predicted classes; some classes may be absent from either."""
    classes = draw(st.integers(2, 7))
    n = draw(st.integers(1, 40))
    y, p = (draw(hnp.arrays(np.int64, n, elements=st.integers(0, classes - 1))) for _ in range(2))
    return y, p, classes


def test_the_textbook_example() -> None:
    counts = metrics.binary_counts(BOOK)
    assert (counts.tp, counts.fn, counts.fp, counts.tn) == (89, 16, 4, 91)
    assert counts.accuracy == pytest.approx(0.9000, abs=5e-5)
    assert counts.recall == pytest.approx(0.8476, abs=5e-5)
    assert counts.precision == pytest.approx(0.9570, abs=5e-5)
    assert counts.f1 == pytest.approx(0.8990, abs=5e-5)
    assert counts.specificity == pytest.approx(91 / 95)
    report = metrics.class_report(BOOK)
    assert report.f1[1] == pytest.approx(counts.f1)
    assert report.support.tolist() == [95, 105]


@given(labelled())
def test_classification_equals_scikit_learn(data: tuple[Any, Any, int]) -> None:
    y, p, classes = data
    labels = list(range(classes))
    matrix = metrics.confusion_matrix(y, p, classes)
    assert np.array_equal(matrix, sk.confusion_matrix(y, p, labels=labels))
    report = metrics.class_report(matrix)
    options: dict[str, Any] = {"labels": labels, "zero_division": 0}
    expected = sk.precision_recall_fscore_support(y, p, **options)
    found = (report.precision, report.recall, report.f1, report.support)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12)
    for average, mine in (("macro", report.macro), ("micro", report.micro)):
        if average == "macro":  # of a class without samples nothing can be recalled
            options["labels"] = sorted(set(y.tolist()))
        else:
            options["labels"] = labels
        theirs = sk.precision_recall_fscore_support(y, p, average=average, **options)[:3]
        np.testing.assert_allclose(mine, theirs, rtol=1e-12)
    assert report.accuracy == pytest.approx(sk.accuracy_score(y, p))
    assert metrics.accuracy(y, p) == pytest.approx(report.accuracy)


@given(labelled())
def test_binary_counts_are_one_class_against_the_rest(data: tuple[Any, Any, int]) -> None:
    y, p, classes = data
    matrix = metrics.confusion_matrix(y, p, classes)
    for c in range(classes):
        counts = metrics.binary_counts(matrix, c)
        tn, fp, fn, tp = sk.confusion_matrix(y == c, p == c, labels=[False, True]).ravel()
        assert (counts.tn, counts.fp, counts.fn, counts.tp) == (tn, fp, fn, tp)
        assert counts.tp + counts.fn + counts.fp + counts.tn == len(y)
        assert counts.f1 == pytest.approx(metrics.class_report(matrix).f1[c])


@given(st.integers(1, 30), st.integers(2, 6), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_top_k(n: int, classes: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (n, classes)).astype(np.float32)  # many ties
    y = rng.integers(0, classes, n)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    expected = float(np.mean([label in row for label, row in zip(y, best, strict=True)]))
    assert metrics.top_k_accuracy(scores, y, k) == pytest.approx(expected)
    first = metrics.accuracy(y, scores.argmax(axis=1))
    assert metrics.top_k_accuracy(scores, y, 1) == pytest.approx(first)
    if k >= classes:
        assert metrics.top_k_accuracy(scores, y, k) == 1.0


def test_top_k_equals_scikit_learn_without_ties() -> None:
    rng = np.random.default_rng(3)
    scores, y = rng.random((200, 10)), rng.integers(0, 10, 200)
    for k in (1, 3, 5):
        expected = sk.top_k_accuracy_score(y, scores, k=k, labels=range(10))
        assert metrics.top_k_accuracy(scores, y, k) == pytest.approx(expected)


def test_nan_scores_are_no_hits() -> None:
    assert metrics.top_k_accuracy([[np.nan, np.nan]], [0], 1) == 0.0
    assert metrics.top_k_accuracy([[np.nan, 1.0]], [1], 1) == 0.0


numbers = st.integers(-1000, 1000).map(lambda v: v / 8)


@st.composite
def regressed(draw: st.DrawFn) -> tuple[Any, Any]:
    shape = draw(st.one_of(st.tuples(st.integers(2, 20)),
                           st.tuples(st.integers(2, 20), st.integers(1, 3))))
    y, p = (draw(hnp.arrays(np.float32, shape, elements=numbers)) for _ in range(2))
    return y, p


@given(regressed())
def test_regression_equals_scikit_learn(data: tuple[Any, Any]) -> None:
    y, p = data
    assert metrics.mse(y, p) == pytest.approx(sk.mean_squared_error(y, p), rel=1e-5)
    assert metrics.rmse(y, p) ** 2 == pytest.approx(metrics.mse(y, p))
    assert metrics.mae(y, p) == pytest.approx(sk.mean_absolute_error(y, p), rel=1e-5)
    y64, p64 = y.astype(np.float64), p.astype(np.float64)
    assert metrics.r2(y, p) == pytest.approx(sk.r2_score(y64, p64), rel=1e-7, abs=1e-9)


@given(numbers, st.integers(1, 9))
def test_r2_of_a_constant_target(value: float, n: int) -> None:
    y = np.full(n, value + 0.1)  # 0.1: a number whose mean is not always itself
    assert metrics.r2(y, y) == 1.0
    assert metrics.r2(y, y + 1) == 0.0


def test_r2_of_the_mean_is_zero() -> None:
    y = np.arange(5.0)
    assert metrics.r2(y, np.full(5, y.mean())) == pytest.approx(0)


def test_as_dict_is_json() -> None:
    value = metrics.class_report(BOOK).as_dict(["no", "はい"])
    assert json.loads(json.dumps(value)) == value
    assert value["classes"][1]["name"] == "はい"
    assert value["classes"][1]["support"] == 105
    with pytest.raises(ShapeError, match="1 class names for 2"):
        metrics.class_report(BOOK).as_dict(["no"])


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: metrics.accuracy([1, 2], [1]), ShapeError),
        (lambda: metrics.accuracy([], []), DataError),
        (lambda: metrics.mae([], []), DataError),
        (lambda: metrics.r2([[1.0]], [1.0]), ShapeError),
        (lambda: metrics.confusion_matrix([0, 2], [0, 1], 2), DataError),
        (lambda: metrics.confusion_matrix([0, -1], [0, 1], 2), DataError),
        (lambda: metrics.confusion_matrix([0.5], [0], 2), ShapeError),
        (lambda: metrics.confusion_matrix([0], [0, 1], 2), ShapeError),
        (lambda: metrics.confusion_matrix([0], [0], 0), DataError),
        (lambda: metrics.top_k_accuracy([[0.1, 0.9]], [1], 0), DataError),
        (lambda: metrics.top_k_accuracy([0.1, 0.9], [1], 1), ShapeError),
        (lambda: metrics.top_k_accuracy([[0.1, 0.9]], [1, 0], 1), ShapeError),
        (lambda: metrics.class_report([[1, 2]]), ShapeError),
        (lambda: metrics.class_report([[1.5]]), DataError),
        (lambda: metrics.binary_counts(BOOK, 2), DataError),
    ],
)
def test_bad_input(call: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        call()
