"""Progress in terminals, notebooks and logs, fed by hand with what the loop would tell."""

from __future__ import annotations

import io
import math
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from kiso import text
from kiso.train.callbacks import Context
from kiso.train.progress import Progress, duration, score_text

ESCAPE = "\x1b"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A usual terminal, English afterwards."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_INTERACTIVE", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    yield
    text.set_language(None)


class Clock:
    """A clock that tests move by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def context(task: str = "classification", epochs: int = 2, steps: int = 100) -> Context:
    return Context(epochs=epochs, steps_per_epoch=steps, samples=steps * 10, task=task,
                   folder=None, parameters=1234)


def row(task: str, epoch: int) -> dict[str, Any]:
    name = "mae" if task == "regression" else "accuracy"
    return {"epoch": epoch, "step": epoch * 100, "lr": 0.1, "train_loss": 0.5 / epoch,
            f"train_{name}": 0.9, "val_loss": 0.6, f"val_{name}": 0.875, "seconds": 62.0,
            "images_per_second": 12345.6}


def play(progress: Progress, c: Context, clock: Clock, step_seconds: float = 0.7) -> None:
    """A run as the loop would make it; the first epoch is the best."""
    progress.fit_start(c)
    for epoch in range(c.epoch, c.epochs):
        c.step_in_epoch = 0
        progress.epoch_start(c)
        for i in range(c.steps_per_epoch):
            c.step_in_epoch, c.loss, c.score = i + 1, 0.25, 0.95
            c.images_per_second, c.seconds_left = 1234.0, 75.0
            clock.now += step_seconds
            progress.step(c)
        c.epoch = epoch + 1
        c.best_epoch = 1
        progress.epoch_end(c, row(c.task, epoch + 1))
    progress.fit_end(c, {})


def output(terminal: bool, *, width: int = 100, step_seconds: float = 0.7, task: str =
           "classification", **options: Any) -> str:
    file, clock = io.StringIO(), Clock()
    console = Console(file=file, force_terminal=terminal, width=width)
    play(Progress(console, clock=clock, **options), context(task), clock, step_seconds)
    return file.getvalue()


def screen(written: str) -> str:
    """The text alone, without escape codes."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)


def test_a_log_has_plain_lines() -> None:
    written = output(terminal=False)
    assert ESCAPE not in written
    assert "\r" not in written
    assert written.splitlines()[2] == (
        "Epoch 1/2  train: loss 0.5000, accuracy 90.0 %  validation: loss 0.6000, accuracy 87.5 %"
        "  12,346 images/s  1 min 02 s  best"
    )
    # 100 steps of 0.7 s: two lines within each epoch of 70 s, one for the epoch itself.
    assert len(written.splitlines()) == 6
    assert written.splitlines()[0] == (
        "Epoch 1/2   43 %  loss 0.2500, accuracy 95.0 %  1,234 images/s  1 min 15 s left"
    )
    assert "best" not in written.splitlines()[-1]


def test_short_epochs_have_one_line_each() -> None:
    assert len(output(terminal=False, step_seconds=0.01).splitlines()) == 2


def test_a_terminal_has_a_live_line_and_a_table() -> None:
    written = output(terminal=True)
    assert "\x1b[?25l" in written  # cursor hidden ...
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")  # ... and shown at the end
    shown = screen(written)
    for part in ("Epoch 1/2", "━", "loss 0.2500, accuracy 95.0 %", "1,234 images/s",
                 "1 min 15 s left", "train loss", "★ best"):
        assert part in shown, part
    table = [line for line in shown.splitlines() if "1 min 02 s" in line and "/2" in line]
    assert len(table) == 2
    assert shown.count("★") == 1


def test_the_table_fits_eighty_columns_and_lines_up() -> None:
    shown = screen(output(terminal=True, width=80)).splitlines()
    rows = [line.rstrip() for line in shown if "train loss" in line or "12,346" in line]
    assert len(rows) == 3
    assert all(len(line) <= 80 for line in rows)
    assert len({line.rindex("12,346") for line in rows[1:]}) == 1


def test_drawing_is_rare() -> None:
    seldom = output(terminal=True, step_seconds=0.0001).count("━")
    often = output(terminal=True, step_seconds=0.2).count("━")
    assert seldom < often / 5


@pytest.mark.parametrize("terminal", [False, True])
def test_quiet_prints_nothing(terminal: bool) -> None:
    assert output(terminal, quiet=True) == ""


def test_a_dumb_terminal_is_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    written = output(terminal=True)
    assert ESCAPE not in written
    assert "\r" not in written


def test_a_redirected_output_stays_plain_when_colours_are_forced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    clock = Clock()
    play(Progress(clock=clock), context(), clock)
    written = capsys.readouterr().out
    assert written.count("\n") == 6
    assert ESCAPE not in written


def test_a_notebook_gets_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    play(Progress(Console(force_jupyter=True), clock=clock), context(), clock)
    written = capsys.readouterr().out
    assert written.count("\n") == 6
    assert ESCAPE not in written
    assert "Epoch 2/2" in written


def test_regression_speaks_of_errors_and_rows() -> None:
    written = output(terminal=False, task="regression")
    assert "validation: loss 0.6000, MAE 0.875  12,346 rows/s" in written
    assert "images" not in written
    assert "rows/s" in output(terminal=False, unit="rows")


def test_japanese() -> None:
    text.set_language("ja")
    written = output(terminal=False)
    assert "エポック 1/2" in written
    assert "accuracy" not in written
    assert "loss" not in written
    assert "正解率" in screen(output(terminal=True))


def test_a_narrow_encoding_does_not_stop_the_training() -> None:
    text.set_language("ja")
    raw, clock = io.BytesIO(), Clock()
    file = io.TextIOWrapper(raw, encoding="ascii")
    play(Progress(Console(file=file, force_terminal=False), clock=clock), context(), clock)
    assert b"1/2" in raw.getvalue()


def test_a_missing_validation_and_a_resumed_run() -> None:
    file, clock = io.StringIO(), Clock()
    c = context()
    c.epoch = 1
    progress = Progress(Console(file=file, force_terminal=False), clock=clock)
    progress.fit_start(c)
    line = {k: v for k, v in row("classification", 2).items() if not k.startswith("val")}
    progress.epoch_end(c, line)
    assert "Continuing after epoch 1 of 2" in file.getvalue()
    assert "validation" not in file.getvalue()


def test_a_reason_to_stop_is_told() -> None:
    file = io.StringIO()
    c = context()
    c.epoch, c.stop = 1, "no improvement"
    progress = Progress(Console(file=file, force_terminal=False))
    progress.fit_start(c)
    progress.fit_end(c, {})
    assert file.getvalue().endswith("Stopped after epoch 1: no improvement\n")


def test_an_exception_leaves_no_live_line() -> None:
    file = io.StringIO()
    with pytest.raises(ArithmeticError), Progress(Console(file=file, force_terminal=True)) as p:
        p.fit_start(context())
        p.epoch_start(context())
        raise ArithmeticError
    assert file.getvalue().rindex("\x1b[?25h") > file.getvalue().rindex("\x1b[?25l")
    p.close()


def test_a_forgotten_progress_gives_the_cursor_back() -> None:
    file = io.StringIO()
    progress = Progress(Console(file=file, force_terminal=True))
    progress.fit_start(context())
    progress.epoch_start(context())
    assert "\x1b[?25h" not in file.getvalue()
    del progress
    assert "\x1b[?25h" in file.getvalue()


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.004, "0.00 s"), (0.42, "0.42 s"), (9.999, "10.0 s"), (59.94, "59.9 s"),
     (59.96, "1 min 00 s"), (125, "2 min 05 s"), (3599.6, "1 h 00 min"), (3725, "1 h 02 min"),
     (86390, "1 d 0 h"), (273_600, "3 d 4 h"), (math.nan, "-"), (math.inf, "-"), (-1, "-")],
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


@given(st.floats(0, 1e9))
def test_durations_are_right_to_their_last_figure(seconds: float) -> None:
    units = {"s": 1, "min": 60, "h": 3600, "d": 86400}
    words = duration(seconds).split()
    value = sum(float(n) * units[u] for n, u in zip(words[::2], words[1::2], strict=True))
    last = {"s": 0.5 if len(words) > 2 else 0.051, "min": 30, "h": 1800}[words[-1]]
    assert abs(value - seconds) <= last * 1.0001
    assert all(float(n) < 60 for n, u in zip(words[::2], words[1::2], strict=True) if u != "d")


def test_scores() -> None:
    assert score_text("classification", 0.98349) == "98.3 %"
    assert score_text("regression", 12.3456) == "12.35"
    assert score_text("regression", math.nan) == "-"


@pytest.mark.parametrize("seconds, said", [(0.3, True), (30.0, False)])
def test_a_long_preparation_is_explained(monkeypatch: pytest.MonkeyPatch, seconds: float,
                                         said: bool) -> None:
    monkeypatch.setattr("kiso.train.progress.PREPARE_SECONDS", 0.05 if said else seconds)
    for quiet in (False, True):
        console = Console(file=io.StringIO())
        progress = Progress(console, quiet=quiet)
        progress.prepare_start()
        if said:
            time.sleep(seconds)
        progress.prepare_end()
        assert isinstance(console.file, io.StringIO)
        assert ("Compiling the step" in console.file.getvalue()) == (said and not quiet)
