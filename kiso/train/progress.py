"""Showing how training goes: right in a terminal, in a notebook and in a log file.

In a terminal one live line (epoch, bar, loss, score, speed, time left) stays at the bottom, and
each finished epoch leaves one row of a table above it. Everywhere else there are plain lines that
explain themselves: one an epoch, and one every half minute within a long epoch; no colours, no
cursor movements.
"""

from __future__ import annotations

import math
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kiso.text import tr
from kiso.train.callbacks import Callback, Context
from kiso.train.tasks import TASKS

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar

__all__ = ["Progress", "duration", "score_text"]

REFRESH_SECONDS = 0.1  # of the live line; drawn by the loop itself, no thread beside the training

PREPARE_SECONDS = 1.0  # longer than that is explained


def duration(seconds: float) -> str:
    """A time for people: 0.42 s, 12.3 s, 2 min 05 s, 1 h 02 min, 3 d 4 h; unknown: "-"."""
    if not math.isfinite(seconds) or seconds < 0:
        return "-"
    if seconds < 9.995:
        return tr("{s} s", s=f"{seconds:.2f}")
    if seconds < 59.95:
        return tr("{s} s", s=f"{seconds:.1f}")
    whole = round(seconds)
    if whole < 3600:
        return tr("{m} min {s} s", m=whole // 60, s=f"{whole % 60:02d}")
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return tr("{h} h {m} min", h=minutes // 60, m=f"{minutes % 60:02d}")
    hours = round(seconds / 3600)
    return tr("{d} d {h} h", d=hours // 24, h=hours % 24)


def score_text(task: str, value: float) -> str:
    """An accuracy as "98.3 %", a mean absolute error as "0.1234", a PSNR as "23.45 dB"."""
    return TASKS[task].text(value) if math.isfinite(value) else "-"


def _loss(value: float) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:.4g}"


def _rate(value: float) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _aligned(cells: list[str]) -> str:
    """Cells of a table's line, right-aligned; Japanese characters are two columns wide."""
    from rich.cells import cell_len

    widths = (8, 11, 10, 10, 10, 10, 11)
    return "".join(" " * max(1, w - cell_len(c)) + c for c, w in zip(cells, widths, strict=True))


def _number(row: dict[str, Any], key: str) -> float:
    """A value of the history, NaN where it is missing."""
    value = row.get(key)
    return float(value) if isinstance(value, int | float) else float("nan")


class Progress(Callback):
    """Callback that prints progress.

    console: a rich Console (default: one on standard output); a live line is drawn only where it
    is interactive. quiet: print nothing. unit: what a sample is called, "images" or "rows"; by
    default rows in regression and images else. every: seconds between plain lines
    within an epoch. clock: monotonic seconds (for tests).

    `close()` takes the live line away; it is called at the end of the training, and whoever catches
    an exception in between calls it (or uses `with Progress() as p:`) before printing anything.
    """

    every_step = False

    def __init__(self, console: Console | None = None, *, quiet: bool = False,
                 unit: str | None = None, every: float = 30.0,
                 clock: Callable[[], float] = time.monotonic):
        self.console = console
        self.quiet = quiet
        self.unit = unit
        self.every = every
        self.clock = clock
        self._bar: Bar | None = None
        self._finalizer: Any = None
        self._headed = False
        self._waiting: threading.Timer | None = None
        self._told_at = 0.0  # when the last line was written or drawn

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the live line and show the cursor again; may be called any number of times."""
        if self._finalizer is not None:
            self._finalizer()
        self._bar = self._finalizer = None

    # ------------------------------------------------------------------------------- hooks

    def prepare_start(self) -> None:
        if self.quiet:
            return
        self._console()
        self._waiting = threading.Timer(PREPARE_SECONDS, self._line, [tr(
            "Compiling the step for this model and batch size; later runs find it in the cache.")])
        self._waiting.daemon = True
        self._waiting.start()

    def prepare_end(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()

    def fit_start(self, context: Context) -> None:
        if self.quiet:
            return
        self._console()
        if context.epoch:
            self._line(tr("Continuing after epoch {epoch} of {epochs}", epoch=context.epoch,
                          epochs=context.epochs))

    def epoch_start(self, context: Context) -> None:
        if self.quiet:
            return
        self._told_at = self.clock()
        if self._bar is None and self._live():
            self._open()
        self._draw(context)

    def step(self, context: Context) -> None:
        if self.quiet:
            return
        wait = REFRESH_SECONDS if self._bar else self.every
        if self.clock() - self._told_at < wait:
            return
        self._told_at = self.clock()
        if self._bar:
            self._draw(context)
        elif context.step_in_epoch < context.steps_per_epoch:  # else the epoch's line says it
            self._line(self._running(context))

    def epoch_end(self, context: Context, row: dict[str, Any]) -> None:
        if self.quiet:
            return
        self._told_at = self.clock()
        best = context.best_epoch == row.get("epoch")
        if not self._bar:
            self._line(self._finished(context, row) + (f"  {tr('best')}" if best else ""))
            return
        if not self._headed:
            self._headed = True
            self._print(_aligned(self._head(context)), "bold")
        self._print(_aligned(self._row(context, row)), "green" if best else "",
                    f"★ {tr('best')}" if best else "")

    def fit_end(self, context: Context, metrics: dict[str, Any]) -> None:
        self.close()
        if not self.quiet and context.stop:
            self._line(tr("Stopped after epoch {epoch}: {reason}", epoch=context.epoch,
                          reason=context.stop))

    def _console(self) -> None:
        if self.console is None:
            self.console = _default_console()

    # ------------------------------------------------------------------------------- words

    def _speed(self, context: Context, rate: float) -> str:
        if self._unit(context) == "rows":
            return tr("{rate} rows/s", rate=_rate(rate))
        return tr("{rate} images/s", rate=_rate(rate))

    def _unit(self, context: Context) -> str:
        return self.unit or TASKS[context.task].unit

    def _figures(self, context: Context, loss: float, score: float) -> str:
        return tr("loss {loss}, {name} {score}", loss=_loss(loss),
                  name=TASKS[context.task].title(), score=score_text(context.task, score))

    def _running(self, context: Context) -> str:
        """The plain line within an epoch."""
        width = len(str(context.epochs))
        share = context.step_in_epoch / max(1, context.steps_per_epoch)
        return "  ".join([
            tr("Epoch {epoch}/{epochs}", epoch=f"{context.epoch + 1:{width}d}",
               epochs=context.epochs),
            f"{100 * share:3.0f} %",
            self._figures(context, context.loss, context.score),
            self._speed(context, context.images_per_second),
            tr("{time} left", time=duration(context.seconds_left)),
        ])

    def _finished(self, context: Context, row: dict[str, Any]) -> str:
        """The line that an epoch leaves behind."""
        width = len(str(context.epochs))
        name = TASKS[context.task].score
        parts = [
            tr("Epoch {epoch}/{epochs}", epoch=f"{int(row['epoch']):{width}d}",
               epochs=context.epochs),
            tr("train: {figures}", figures=self._figures(
                context, _number(row, "train_loss"), _number(row, f"train_{name}"))),
        ]
        if row.get("val_loss") is not None:
            parts.append(tr("validation: {figures}", figures=self._figures(
                context, _number(row, "val_loss"), _number(row, f"val_{name}"))))
        parts.append(self._speed(context, _number(row, "images_per_second")))
        parts.append(duration(_number(row, "seconds")))
        return "  ".join(parts)

    def _head(self, context: Context) -> list[str]:
        """Titles of the terminal's table."""
        score = TASKS[context.task].title()
        speed = tr("rows/s") if self._unit(context) == "rows" else tr("images/s")
        return [tr("epoch"), tr("train loss"), score, tr("val. loss"), score, speed, tr("time")]

    def _row(self, context: Context, row: dict[str, Any]) -> list[str]:
        """One epoch in the terminal's table."""
        name = TASKS[context.task].score
        rate = _number(row, "images_per_second")
        return [
            f"{int(row['epoch'])}/{context.epochs}",
            _loss(_number(row, "train_loss")),
            score_text(context.task, _number(row, f"train_{name}")),
            _loss(_number(row, "val_loss")),
            score_text(context.task, _number(row, f"val_{name}")),
            _rate(rate),
            duration(_number(row, "seconds")),
        ]

    # ----------------------------------------------------------------------------- drawing

    def _live(self) -> bool:
        console = self.console
        return (console is not None and console.is_interactive and console.is_terminal
                and not console.is_jupyter and not console.is_dumb_terminal)

    def _open(self) -> None:
        """Start the live line; it ends with `close`, at the latest when the program ends."""
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        assert self.console is not None
        self._bar = Bar(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[figures]}", markup=False),
            TextColumn("{task.fields[speed]}", style="cyan", markup=False),
            TextColumn("{task.fields[left]}", style="magenta", markup=False),
            console=self.console, auto_refresh=False, transient=True, expand=True,
        )
        self._bar.add_task("", total=1.0, figures="", speed="", left="")
        self._bar.start()
        self._finalizer = weakref.finalize(self, self._bar.stop)

    def _draw(self, context: Context) -> None:
        if self._bar is None:
            return
        loss = context.loss if context.step_in_epoch else float("nan")
        left = context.seconds_left
        self._bar.update(
            self._bar.task_ids[0],
            description=tr("Epoch {epoch}/{epochs}", epoch=min(context.epoch + 1, context.epochs),
                           epochs=context.epochs),
            total=float(max(1, context.steps_per_epoch)),
            completed=float(context.step_in_epoch),
            figures="" if math.isnan(loss) else self._figures(context, loss, context.score),
            speed="" if math.isnan(context.images_per_second)
            else self._speed(context, context.images_per_second),
            left=tr("{time} left", time=duration(left)) if math.isfinite(left) else "",
        )
        self._bar.refresh()

    def _print(self, text: str, style: str, mark: str = "") -> None:
        """One line above the live line."""
        from rich.text import Text

        assert self._bar is not None
        line = Text(text, style=style).append(f"  {mark}" if mark else "", style="bold")
        self._bar.console.print(line, highlight=False, soft_wrap=True)

    def _line(self, text: str) -> None:
        """One plain line, whatever the console is; what its encoding lacks becomes "?"."""
        assert self.console is not None
        # rich shows each line in a notebook as a block of HTML; plain text stays together there.
        file = sys.stdout if self.console.is_jupyter else self.console.file
        encoding = getattr(file, "encoding", None) or "utf-8"
        file.write(text.encode(encoding, "replace").decode(encoding) + "\n")
        file.flush()


def _default_console() -> Console:
    """Standard output; live only on a true terminal, even if a variable forces colours."""
    from rich.console import Console

    on_screen = getattr(sys.stdout, "isatty", lambda: False)()
    return Console(force_interactive=False if not on_screen else None)
