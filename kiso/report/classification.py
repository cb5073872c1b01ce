"""What the report says about classes: the matrix, ratios per class, confusions, wrong samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kiso.report.run import Predictions
from kiso.text import tr
from kiso.train.metrics import BinaryCounts, ClassReport, binary_counts, class_report
from kiso.train.metrics import confusion_matrix as count

__all__ = ["Cell", "Classes", "Confusion", "Sample", "classes_of"]

TABLE_CLASSES = 20  # up to as many classes the matrix is a table of the page, above a figure
PAIRS, SAMPLES, WORST = 60, 30, 24  # most that are listed


@dataclass(frozen=True)
class Sample:
    """One test sample and what the model made of it."""

    row: int
    name: str
    true: str
    predicted: str
    probability: float  # of the predicted class
    true_probability: float
    image: str = ""  # data URI


@dataclass(frozen=True)
class Confusion:
    """Samples of one class that were taken for another."""

    key: str
    true: str
    predicted: str
    count: int
    total: int  # samples of the true class
    samples: list[Sample]  # at most SAMPLES

    @property
    def share(self) -> float:
        """Share of the true class that went wrong this way."""
        return self.count / self.total


@dataclass(frozen=True)
class Cell:
    """A cell of the matrix."""

    count: int
    strength: float  # 0..1, how strong its colour is
    right: bool
    target: str  # key of its confusion, "" without one


@dataclass(frozen=True)
class Classes:
    """All of it."""

    names: list[str]
    matrix: Any  # (K, K) counts
    report: ClassReport
    cells: list[list[Cell]]  # empty when there are too many classes for a table
    confusions: list[Confusion]
    hidden: int  # confusions beyond those listed
    wrong: list[Sample]  # the most wrong ones first, with pictures where the run has them
    errors: int
    binary: BinaryCounts | None  # for two classes: the second against the first
    long_names: bool


def classes_of(answers: Predictions) -> Classes:
    """Everything about classes, from the answers for the test split."""
    from kiso.report.svg import png_uri

    k = len(answers.classes)
    matrix = count(answers.y, answers.output.argmax(1), k)
    report = class_report(matrix)
    images = {row: png_uri(image)
              for row, image in zip(answers.wrong_rows, answers.wrong_images, strict=True)}
    confusions = _confusions(answers, matrix, report)
    listed = {c.key for c in confusions}
    pairs = int((matrix > 0).sum() - (np.diagonal(matrix) > 0).sum())
    return Classes(
        names=answers.classes, matrix=matrix, report=report,
        cells=_cells(matrix, report, listed) if k <= TABLE_CLASSES else [],
        confusions=confusions, hidden=pairs - len(confusions),
        wrong=[_sample(answers, row, images.get(row, "")) for row in _worst(answers)],
        errors=int(matrix.sum() - np.trace(matrix)),
        binary=binary_counts(matrix) if k == 2 else None,
        long_names=max(len(name) for name in answers.classes) > 3,
    )


def _sample(answers: Predictions, row: int, image: str = "") -> Sample:
    scores = answers.output[row]
    true, predicted = int(answers.y[row]), int(scores.argmax())
    return Sample(row, answers.names[row] or tr("test sample {row}", row=row),
                  answers.classes[true], answers.classes[predicted], float(scores[predicted]),
                  float(scores[true]), image)


def _worst(answers: Predictions) -> list[int]:
    """Wrong samples, the lowest probability of the true class first; those with pictures if any."""
    wrong = np.flatnonzero(answers.output.argmax(1) != answers.y)
    if answers.wrong_rows:
        known = set(wrong.tolist())
        return [row for row in answers.wrong_rows if row in known]
    own = answers.output[wrong, answers.y[wrong]]
    return [int(row) for row in wrong[np.argsort(own, kind="stable")][:WORST]]


def _confusions(answers: Predictions, matrix: Any, report: ClassReport) -> list[Confusion]:
    """Pairs of classes, the most frequent confusions first."""
    predicted = answers.output.argmax(1)
    found: list[Confusion] = []
    off = matrix - np.diag(np.diagonal(matrix))
    order = np.argsort(-off, axis=None, kind="stable")[: int((off > 0).sum())]
    places: list[int] = order.tolist()
    for place in places[:PAIRS]:
        i, j = divmod(place, len(matrix))
        rows: Any = np.flatnonzero((answers.y == i) & (predicted == j))
        surest: list[int] = rows[np.argsort(answers.output[rows, i], kind="stable")].tolist()
        found.append(Confusion(
            f"pair-{i}-{j}", answers.classes[i], answers.classes[j], int(off[i, j]),
            int(report.support[i]),
            [_sample(answers, r) for r in surest[:SAMPLES]]))
    return found


def _cells(matrix: Any, report: ClassReport, listed: set[str]) -> list[list[Cell]]:
    """Colours are shares of the row, so that a rare class shows as well as a frequent one."""
    def cell(i: int, j: int) -> Cell:
        number, key = int(matrix[i, j]), f"pair-{i}-{j}"
        share = number / max(1, int(report.support[i]))
        return Cell(number, 0.12 + 0.88 * share if number else 0.0, i == j,
                    key if key in listed else "")

    k = len(matrix)
    return [[cell(i, j) for j in range(k)] for i in range(k)]
