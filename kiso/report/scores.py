"""What a report says of a run's score: one class for each task that can be learnt."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kiso.report.run import Predictions, Run
from kiso.text import tr

__all__ = ["SCORES", "Card", "Scores", "decibels", "last", "number", "percent", "wilson"]


@dataclass(frozen=True)
class Card:
    """One key figure."""

    title: str
    value: str
    note: str = ""


def percent(value: float | None, digits: int = 1) -> str:
    """0.983 as "98.3 %"; "-" for nothing."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{100 * value:.{digits}f} %"


def number(value: float | None) -> str:
    """Four figures: 0.05123, 12.35, 1,234, 1.2e-07; "-" for nothing."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == round(value) and abs(value) < 1e15:
        return f"{value:,.0f}"
    if abs(value) >= 10_000:
        return f"{value:,.0f}" if abs(value) < 1e9 else f"{value:.3e}"
    return f"{value:.4g}"


def wilson(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share: (p + z^2/2n -+ z sqrt(p (1-p)/n + z^2/4n^2)) / (1 + z^2/n).

    Unlike p -+ z sqrt(p (1-p)/n) it stays within 0..1 and is not empty at p = 1 (Wilson, 1927).
    """
    p, scale = right / n, 1 + z * z / n
    centre = (p + z * z / (2 * n)) / scale
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / scale
    return max(0.0, centre - half), min(1.0, centre + half)


def last(run: Run, key: str) -> float | None:
    """A value of the best epoch's row of the history."""
    rows = [row for row in run.history if row["epoch"] == run.best_epoch]
    return rows[0].get(key) if rows else None


class Scores:
    """Headline, key figures and names of a task's score."""

    def so_far(self, run: Run, trained: str) -> str:
        """The headline of an unfinished run."""
        raise NotImplementedError

    def result(self, run: Run, epochs: str, time: str) -> str:
        """The headline of a finished run."""
        raise NotImplementedError

    def cards(self, run: Run) -> list[Card]:
        """Key figures; those that the run lacks are left out."""
        raise NotImplementedError

    def columns(self) -> list[tuple[str, str]]:
        """Columns of the history with the score, and their titles."""
        raise NotImplementedError

    def curve(self) -> str:
        """What the figure of its course shows."""
        raise NotImplementedError

    def kept(self) -> str:
        """What predictions.npz holds."""
        return tr("answers for every test sample")


def _known(run: Run, key: str) -> float | None:
    """A figure of the best epoch, of a finished run or so far."""
    return run.number(key) if run.finished else last(run, key)


class Accuracies(Scores):
    """Classification."""

    def so_far(self, run: Run, trained: str) -> str:
        return tr("Not finished: {trained}, validation accuracy {accuracy} so far",
                  trained=trained, accuracy=percent(last(run, "val_accuracy")))

    def result(self, run: Run, epochs: str, time: str) -> str:
        if run.number("test_accuracy") is not None:
            return tr("Test accuracy {accuracy} after {epochs} in {time}",
                      accuracy=percent(run.number("test_accuracy")), epochs=epochs, time=time)
        return tr("Validation accuracy {accuracy} after {epochs} in {time}",
                  accuracy=percent(run.number("val_accuracy")), epochs=epochs, time=time)

    def cards(self, run: Run) -> list[Card]:
        found: list[Card] = []
        test, answers = run.number("test_accuracy"), run.predictions
        if test is not None:
            note = ""
            if isinstance(answers, Predictions) and answers.classes:
                n = len(answers.y)
                right = int((answers.output.argmax(1) == answers.y).sum())
                low, high = wilson(right, n)
                note = tr("{right} of {n} right; 95 % interval {low} to {high}", right=f"{right:,}",
                          n=f"{n:,}", low=percent(low), high=percent(high))
            found.append(Card(tr("Test accuracy"), percent(test), note))
        for key, title in (("val_accuracy", tr("Validation accuracy")),
                           ("train_accuracy", tr("Training accuracy"))):
            value = _known(run, key)
            if value is not None:
                found.append(Card(title, percent(value), tr("at the best epoch")))
        return found

    def columns(self) -> list[tuple[str, str]]:
        return [("train_accuracy", tr("training accuracy")),
                ("val_accuracy", tr("validation accuracy"))]

    def curve(self) -> str:
        return tr("Accuracy over the epochs, training and validation, the best epoch marked")


class Errors(Scores):
    """Regression."""

    def so_far(self, run: Run, trained: str) -> str:
        return tr("Not finished: {trained}, mean validation error {mae} so far",
                  trained=trained, mae=number(last(run, "val_mae")))

    def result(self, run: Run, epochs: str, time: str) -> str:
        if run.number("test_mae") is not None:
            return tr("Mean error {mae} on the test data (R² {r2}) after {epochs} in {time}",
                      mae=number(run.number("test_mae")), r2=number(run.number("test_r2")),
                      epochs=epochs, time=time)
        return tr("Mean error {mae} on the validation data after {epochs} in {time}",
                  mae=number(run.number("val_mae")), epochs=epochs, time=time)

    def cards(self, run: Run) -> list[Card]:
        return [Card(title, number(value), note) for key, title, note in (
            ("test_mae", tr("Mean absolute error"), tr("on the test data")),
            ("test_rmse", tr("Root mean squared error"), tr("on the test data")),
            ("test_r2", "R²", tr("on the test data; 1 is perfect")),
            ("val_mae", tr("Validation error"), tr("at the best epoch")),
        ) if (value := _known(run, key)) is not None]

    def columns(self) -> list[tuple[str, str]]:
        return [("train_mae", tr("training error")), ("val_mae", tr("validation error"))]

    def curve(self) -> str:
        return tr("Mean absolute error over the epochs, training and validation, the best epoch "
                  "marked")


class Ratios(Scores):
    """Reconstruction: the peak signal-to-noise ratio."""

    def so_far(self, run: Run, trained: str) -> str:
        return tr("Not finished: {trained}, validation PSNR {psnr} so far", trained=trained,
                  psnr=decibels(last(run, "val_psnr")))

    def result(self, run: Run, epochs: str, time: str) -> str:
        found, seen = run.number("test_psnr"), run.number("test_input_psnr")
        if found is None:
            return tr("PSNR {psnr} on the validation data after {epochs} in {time}",
                      psnr=decibels(run.number("val_psnr")), epochs=epochs, time=time)
        if seen is not None:
            return tr("PSNR {psnr} on the test data, up from {input}, after {epochs} in {time}",
                      psnr=decibels(found), input=decibels(seen), epochs=epochs, time=time)
        return tr("PSNR {psnr} on the test data after {epochs} in {time}", psnr=decibels(found),
                  epochs=epochs, time=time)

    def cards(self, run: Run) -> list[Card]:
        return [Card(title, show(value), note) for key, title, show, note in (
            ("test_psnr", tr("PSNR"), decibels, tr("on the test data; 6 dB more: half the error")),
            ("test_input_psnr", tr("PSNR of the input"), decibels,
             tr("the corrupted test pictures, as the net saw them")),
            ("test_rmse", tr("Root mean squared error"), number, tr("grey levels of 0 to 255")),
            ("val_psnr", tr("Validation PSNR"), decibels, tr("at the best epoch")),
        ) if (value := _known(run, key)) is not None]

    def columns(self) -> list[tuple[str, str]]:
        return [("train_psnr", tr("training PSNR")), ("val_psnr", tr("validation PSNR"))]

    def curve(self) -> str:
        return tr("PSNR over the epochs, training and validation, the best epoch marked")

    def kept(self) -> str:
        return tr("some of the test pictures and the worst ones, PSNR of all")


def decibels(value: float | None) -> str:
    """23.4567 as "23.46 dB"; "-" for nothing."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.2f} dB"


SCORES: dict[str, Scores] = {"classification": Accuracies(), "regression": Errors(),
                             "reconstruction": Ratios()}
