"""How good are the predictions? Counts, ratios and errors, in plain NumPy.

Classification starts from the confusion matrix C, where C[i, j] counts the samples of class i that
were predicted as class j. Everything else is a ratio of its sums. A ratio 0/0 (precision of a class
that was never predicted, recall of a class without samples) is 0, so that an average over classes
is always a number; scikit-learn does the same with `zero_division=0`.

Regression compares y with the prediction p, both (N,) or (N, K); K targets are averaged.
Pictures are compared by their PSNR, 10 log10(255^2 / mean squared error of the pixels), in dB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kiso.errors import DataError, ShapeError

__all__ = [
    "LEAST_MSE",
    "BinaryCounts",
    "ClassReport",
    "accuracy",
    "binary_counts",
    "class_report",
    "confusion_matrix",
    "mae",
    "mse",
    "mse_of_psnr",
    "psnr",
    "r2",
    "rmse",
    "top_k_accuracy",
]

LEAST_MSE = 255**2 * 1e-10  # grey levels squared: pictures that are equal have 100 dB

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def _pair(y: npt.ArrayLike, prediction: npt.ArrayLike) -> tuple[Any, Any]:
    """Both as arrays of one shape with at least one sample."""
    a, b = np.asarray(y), np.asarray(prediction)
    if a.shape != b.shape or a.ndim == 0:
        raise ShapeError(
            f"y has shape {a.shape} and the prediction {b.shape}; expected the same shape (N,) or "
            "(N, K). For scores of shape (N, classes) pass scores.argmax(axis=1)."
        )
    if a.size == 0:
        raise DataError("no samples: a metric needs at least one; check the split.")
    return a, b


def _labels(values: Any, classes: int, what: str) -> Ints:
    """(N,) integers in 0 .. classes - 1."""
    labels = np.asarray(values)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ShapeError(
            f"{what} must be whole numbers of shape (N,); got {labels.dtype} of shape "
            f"{labels.shape}."
        )
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        raise DataError(
            f"{what} holds the numbers {labels.min()} to {labels.max()}; expected 0 to "
            f"{classes - 1} for {classes} classes."
        )
    return labels.astype(np.int64)


def _matrix(matrix: npt.ArrayLike) -> Ints:
    """A square matrix of counts."""
    counts = np.asarray(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.shape[0] == 0:
        raise ShapeError(f"a confusion matrix is square, (classes, classes); got {counts.shape}.")
    if not np.issubdtype(counts.dtype, np.integer) or counts.min() < 0:
        raise DataError("a confusion matrix holds counts: whole numbers of at least 0.")
    return counts.astype(np.int64)


def _ratio(part: npt.ArrayLike, whole: npt.ArrayLike) -> Floats:
    """part / whole, and 0 where whole is 0."""
    p, w = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(p, w, out=np.zeros(np.broadcast_shapes(p.shape, w.shape)), where=w != 0)


# ---------------------------------------------------------------------------- classification


def accuracy(y: npt.ArrayLike, prediction: npt.ArrayLike) -> float:
    """Share of samples whose predicted class is the true one; y and prediction (N,)."""
    a, b = _pair(y, prediction)
    return float((a == b).mean())


def top_k_accuracy(scores: npt.ArrayLike, y: npt.ArrayLike, k: int = 5) -> float:
    """Share of samples whose true class is among the k highest scores; scores (N, classes).

    Of equal scores the class with the lower number comes first, as with argmax, so that k = 1 gives
    the accuracy. A score that is NaN never counts as a hit. k may exceed the number of classes.
    """
    s: Any = np.asarray(scores)  # (N, C)
    if s.ndim != 2 or s.shape[1] == 0:
        raise ShapeError(f"scores must have the shape (N, classes); got {s.shape}.")
    if k < 1:
        raise DataError(f"k = {k}: expected at least 1.")
    labels = _labels(y, s.shape[1], "y")
    _pair(labels, s[:, 0])
    own: Any = s[np.arange(len(labels)), labels][:, None]  # (N, 1)
    before: Any = np.arange(int(s.shape[1])) < labels[:, None]  # (N, C)
    rank: Any = np.sum((s > own) | np.isnan(s) | ((s == own) & before), axis=1)
    hit = (rank < k) & ~np.isnan(own[:, 0])
    return float(hit.mean())


def confusion_matrix(y: npt.ArrayLike, prediction: npt.ArrayLike, classes: int) -> Ints:
    """C[i, j] = samples of class i predicted as class j: rows true, columns predicted."""
    if classes < 1:
        raise DataError(f"classes = {classes}: expected at least 1.")
    a = _labels(y, classes, "y")
    b = _labels(prediction, classes, "the prediction")
    if a.shape != b.shape:
        raise ShapeError(f"y has {len(a)} samples and the prediction {len(b)}; expected as many.")
    return np.bincount(a * classes + b, minlength=classes * classes).reshape(classes, classes)


@dataclass(frozen=True)
class BinaryCounts:
    """One class against all others: true/false positives and negatives, and their ratios."""

    tp: int
    fn: int
    fp: int
    tn: int

    @property
    def accuracy(self) -> float:
        """(TP + TN) / (TP + FN + FP + TN)"""
        return float(_ratio(self.tp + self.tn, self.tp + self.fn + self.fp + self.tn))

    @property
    def precision(self) -> float:
        """TP / (TP + FP): how many of the found ones are right."""
        return float(_ratio(self.tp, self.tp + self.fp))

    @property
    def recall(self) -> float:
        """TP / (TP + FN): how many of the right ones are found."""
        return float(_ratio(self.tp, self.tp + self.fn))

    @property
    def specificity(self) -> float:
        """TN / (TN + FP): how many of the others are left alone."""
        return float(_ratio(self.tn, self.tn + self.fp))

    @property
    def f1(self) -> float:
        """2 precision recall / (precision + recall) = 2 TP / (2 TP + FP + FN)"""
        return float(_ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn))


def binary_counts(matrix: npt.ArrayLike, positive: int = 1) -> BinaryCounts:
    """Counts of class `positive` against all others, from a confusion matrix of any size."""
    counts = _matrix(matrix)
    if not 0 <= positive < len(counts):
        raise DataError(f"positive = {positive}: expected a class from 0 to {len(counts) - 1}.")
    tp = int(counts[positive, positive])
    fn = int(counts[positive].sum()) - tp
    fp = int(counts[:, positive].sum()) - tp
    return BinaryCounts(tp, fn, fp, int(counts.sum()) - tp - fn - fp)


@dataclass(frozen=True)
class ClassReport:
    """Ratios of a confusion matrix: arrays (classes,), their plain averages and the pooled ones.

    macro: the mean over the classes that have samples, each counts the same (of a class without
    samples nothing can be recalled). micro: counts of all classes pooled; with one label a sample,
    each false positive of one class is a false negative of another, so micro precision = micro
    recall = micro F = accuracy.
    """

    tp: Ints
    fp: Ints
    fn: Ints
    precision: Floats  # TP / (TP + FP)
    recall: Floats  # TP / (TP + FN)
    f1: Floats  # 2 TP / (2 TP + FP + FN), the harmonic mean of the two
    support: Ints  # TP + FN, samples of the class
    accuracy: float

    @property
    def macro(self) -> tuple[float, float, float]:
        """Mean precision, recall and F over the classes that have samples."""
        there = self.support > 0
        if not there.any():
            return 0.0, 0.0, 0.0
        return (float(self.precision[there].mean()), float(self.recall[there].mean()),
                float(self.f1[there].mean()))

    @property
    def micro(self) -> tuple[float, float, float]:
        """Precision, recall and F of the pooled counts."""
        tp, fp, fn = int(self.tp.sum()), int(self.fp.sum()), int(self.fn.sum())
        pooled = BinaryCounts(tp, fn, fp, 0)
        return pooled.precision, pooled.recall, pooled.f1

    def as_dict(self, classes: tuple[str, ...] | list[str]) -> dict[str, Any]:
        """Plain numbers by class name, for JSON; class names must be as many as the classes."""
        if len(classes) != len(self.support):
            raise ShapeError(f"{len(classes)} class names for {len(self.support)} classes.")
        rows = zip(self.precision, self.recall, self.f1, self.support, strict=True)
        names = ("precision", "recall", "f1")
        return {
            "accuracy": self.accuracy,
            "macro": dict(zip(names, self.macro, strict=True)),
            "micro": dict(zip(names, self.micro, strict=True)),
            "classes": [
                {"name": name, "precision": float(p), "recall": float(r), "f1": float(f),
                 "support": int(n)}
                for name, (p, r, f, n) in zip(classes, rows, strict=True)
            ],
        }


def class_report(matrix: npt.ArrayLike) -> ClassReport:
    """Precision, recall and F of every class, and the accuracy, from a confusion matrix."""
    counts = _matrix(matrix)
    tp = np.diagonal(counts).copy()
    fp = counts.sum(axis=0) - tp
    fn = counts.sum(axis=1) - tp
    return ClassReport(
        tp=tp, fp=fp, fn=fn,
        precision=_ratio(tp, tp + fp),
        recall=_ratio(tp, tp + fn),
        f1=_ratio(2 * tp, 2 * tp + fp + fn),
        support=tp + fn,
        accuracy=float(_ratio(tp.sum(), counts.sum())),
    )


# -------------------------------------------------------------------------------- regression


def _residuals(y: npt.ArrayLike, prediction: npt.ArrayLike) -> Floats:
    """y - p in double precision."""
    a, b = _pair(y, prediction)
    return a.astype(np.float64) - b.astype(np.float64)


def mse(y: npt.ArrayLike, prediction: npt.ArrayLike) -> float:
    """Mean squared error, mean((y - p)^2); unit: the target's, squared."""
    return float(np.mean(_residuals(y, prediction) ** 2))


def rmse(y: npt.ArrayLike, prediction: npt.ArrayLike) -> float:
    """Root of the mean squared error, in the target's unit; over all K targets together."""
    return float(np.sqrt(mse(y, prediction)))


def mae(y: npt.ArrayLike, prediction: npt.ArrayLike) -> float:
    """Mean absolute error, mean(|y - p|), in the target's unit."""
    return float(np.mean(np.abs(_residuals(y, prediction))))


def r2(y: npt.ArrayLike, prediction: npt.ArrayLike) -> float:
    """R^2 = 1 - sum((y - p)^2) / sum((y - mean(y))^2), averaged over the targets.

    1 is perfect, 0 is as good as always predicting the mean. For a constant target the quotient
    does not exist: 1 if the prediction is exact, else 0 (as in scikit-learn).
    """
    a, b = _pair(y, prediction)
    targets = a.astype(np.float64).reshape(len(a), -1)  # (N, K)
    left = np.sum((targets - b.astype(np.float64).reshape(targets.shape)) ** 2, axis=0)  # (K,)
    total = np.sum((targets - targets.mean(axis=0)) ** 2, axis=0)  # (K,)
    # max == min, not total == 0: the mean of equal numbers may differ from them in the last bit.
    constant = (targets.max(axis=0) == targets.min(axis=0)) | (total == 0)
    quotient = np.divide(left, total, out=np.ones_like(left), where=~constant)
    return float(np.mean(np.where(constant & (left == 0), 1.0, 1.0 - quotient)))


# -------------------------------------------------------------------------- pictures given back


def psnr(x: npt.ArrayLike, picture: npt.ArrayLike) -> Floats:
    """Peak signal-to-noise ratio of each picture (N,), in dB: 10 log10(255^2 / mean((x - p)^2)).

    x and the pictures (N, C, H, W) in 0 ... 255. 20 dB: the typical error is a tenth of the whole
    range; 6 dB more are half the error. Pictures that are equal have 100 dB.
    """
    squares = _residuals(x, picture) ** 2
    mse = np.maximum(squares.reshape(len(squares), -1).mean(1), LEAST_MSE)
    return 10 * np.log10(255**2 / mse)


def mse_of_psnr(decibels: npt.ArrayLike) -> Floats:
    """Mean squared errors of pictures, in grey levels squared, from their PSNR."""
    return 255**2 * 10 ** (-np.asarray(decibels, np.float64) / 10)
