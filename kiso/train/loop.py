"""The loop over epochs and batches, with everything needed to stop at any moment and go on.

Where a run stands is the state of its engine and one immutable `Position` with all counters. Both
change together after each call of the engine, behind a shield that interrupts wait for, and
together they are what a checkpoint holds. Batches, learning rate and random numbers are functions
of the position alone; that is why a resumed run repeats the uninterrupted one bit for bit, however
many steps a call takes.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kiso import data
from kiso.data import Dataset
from kiso.ops import make_key
from kiso.train.callbacks import Callback, Context
from kiso.train.diagnose import diverged
from kiso.train.engine import Engine, Found, usable
from kiso.train.setup import Setup
from kiso.train.shield import Shield
from kiso.train.step import State, afresh
from kiso.train.store import Store

__all__ = ["Loop", "Position", "judge"]

SAVE_SECONDS = 60.0  # within long epochs


@dataclass(frozen=True)
class Position:
    """Where a run stands, but for the state of its engine."""

    epoch: int = 0  # finished epochs
    step: int = 0  # finished steps
    step_in_epoch: int = 0
    loss_sum: float = 0.0  # of the running epoch
    score_sum: float = 0.0
    samples: int = 0
    gradient_norm: float = 0.0
    epoch_seconds: float = 0.0  # spent in the running epoch
    train_seconds: float = 0.0  # spent in the steps of the whole run
    total_seconds: float = 0.0  # of the whole run, also loading and judging
    history: tuple[dict[str, Any], ...] = ()
    best: dict[str, Any] = field(default_factory=dict[str, Any])  # epoch, score, loss
    schedule: Any = None  # state of a schedule that looks at results
    stopped: str = ""

    def record(self) -> dict[str, Any]:
        """For a checkpoint, JSON-able."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Position:
        """The position that a checkpoint holds."""
        known = dict(record)
        known["history"] = tuple(record["history"])
        return cls(**known)


def judge(engine: Engine, part: Dataset) -> dict[str, Any]:
    """Evaluate a data set: mean loss and score, and those of each sample; the task has more."""
    return engine.step.aim.judge(engine, part)


def _after(at: Position, found: Found, size: int, seconds: float) -> Position:
    """The position after some steps. Sums grow step by step, so that their bits do not depend on
    how many steps a call takes."""
    loss, score = at.loss_sum, at.score_sum
    for a, b in zip(found.loss[:found.done].tolist(), found.score.tolist(), strict=False):
        loss, score = loss + a, score + b
    norm = float(found.gradient_norm[found.done - 1]) if found.done else at.gradient_norm
    return replace(
        at, step=at.step + found.done, step_in_epoch=at.step_in_epoch + found.done, loss_sum=loss,
        score_sum=score, samples=at.samples + found.done * size, gradient_norm=norm,
        epoch_seconds=at.epoch_seconds + seconds, train_seconds=at.train_seconds + seconds)


class Loop:
    """Trains one setup from a position on; see `run`."""

    def __init__(self, setup: Setup, engine: Engine, position: Position, store: Store | None,
                 callbacks: Sequence[Callback] = (), started: float | None = None):
        self.setup = setup
        self.engine = engine
        self.position = position
        self.store = store
        self.callbacks = list(callbacks)
        self.single = any(type(c).step is not Callback.step and c.every_step for c in callbacks)
        self.best_state: State | None = None  # weights of the best epoch, if no file has them
        self.saved_at = time.monotonic()
        self.started = time.perf_counter() if started is None else started
        self.earlier = position.total_seconds  # of the sessions before this one
        self.context = self._context()

    def _context(self) -> Context:
        setup, at = self.setup, self.position
        counts = sum(int(p.size) for p in setup.step.model.parameters())
        folder = self.store.folder if self.store else None
        return Context(setup.epochs, setup.steps_per_epoch, len(setup.splits.train),
                       setup.step.task, folder, counts, setup, epoch=at.epoch, step=at.step,
                       history=list(at.history), best_epoch=int(at.best.get("epoch", 0)))

    def run(self) -> str:
        """Train until the last epoch, an early stop, or Ctrl-C; returns why it stopped ("": done).

        Errors: DivergedError when loss or gradients are no numbers any more. Whatever happens, the
        last checkpoint is whole.
        """
        self._tell("fit_start")
        try:
            # No op warns of overflow here: the loss and gradients of every step are checked.
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                if self.position.step == 0:
                    self._save()
                while self.position.epoch < self.setup.epochs and not self.position.stopped:
                    self._epoch()
        except KeyboardInterrupt:
            self._save()
            return "interrupted"
        return self.position.stopped

    def _tell(self, hook: str, *args: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, hook)(self.context, *args)

    def _epoch(self) -> None:
        """From wherever the position is to the end of its epoch."""
        setup = self.setup
        epoch = self.position.epoch
        batches = data.batches(len(setup.splits.train), setup.batch_size, seed=setup.options.seed,
                               epoch=epoch)
        self._begin_stage(epoch)
        self._refresh()
        self._tell("epoch_start")
        while self.position.step_in_epoch < len(batches):
            self._advance(batches[self.position.step_in_epoch:], epoch)
            self._refresh()
            self._tell("step")
            if self.context.stop:
                break  # the rest of the epoch is left out; what was done is judged and kept
            if time.monotonic() - self.saved_at > SAVE_SECONDS:
                self._save()
        self._finish_epoch()

    def _begin_stage(self, epoch: int) -> None:
        """The step of this epoch; when the head epochs are over, the rule starts anew. Doing that
        twice changes nothing, so a run may stop in between."""
        setup, engine = self.setup, self.engine
        with Shield() as shield:
            shield.up()
            engine.step = setup.step_at(epoch)
            if setup.head_step and epoch == setup.head_epochs and not self.position.step_in_epoch:
                engine.load(afresh(engine.state(), setup.step.optimizer))

    def _advance(self, batches: list[np.ndarray], epoch: int) -> None:
        """As many steps as the engine takes in one call; all their batches are of one size."""
        setup, at, engine = self.setup, self.position, self.engine
        started, compiled = time.perf_counter(), engine.seconds_compile
        size = len(batches[0])
        alike = sum(1 for _ in itertools.takewhile(lambda rows: len(rows) == size, batches))
        count = 1 if self.single else engine.count(alike, size)
        steps = range(at.step, at.step + count)
        batch = {
            "rows": np.stack(batches[:count]),
            "lr": np.stack([self._lr(step) for step in steps]),
            "key": np.stack([make_key(setup.options.seed, step) for step in steps]),
            "epoch_key": make_key(setup.options.seed, epoch),
        }
        with Shield() as shield:
            found = engine.train(setup.splits.train, batch, shield)
            seconds = time.perf_counter() - started - (engine.seconds_compile - compiled)
            self.position = _after(at, found, size, seconds)
        if found.done:
            self.context.lr = float(batch["lr"][found.done - 1])
        if found.done < count:
            raise diverged(setup, engine.state(), batch, at.step, found)

    def _lr(self, step: int) -> np.ndarray:
        return np.asarray(self.setup.lr_at(step, self.position.schedule), np.float32)

    def _finish_epoch(self) -> None:
        """Validate, remember the best epoch, advance the schedule, save."""
        setup, at = self.setup, self.position
        row: dict[str, Any] = {
            "epoch": at.epoch + 1, "step": at.step, "lr": float(self._lr(at.step - 1)),
            "train_loss": at.loss_sum / at.samples,
            f"train_{setup.score_name}": at.score_sum / at.samples,
            "gradient_norm": at.gradient_norm, "seconds": at.epoch_seconds,
            "images_per_second": at.samples / max(at.epoch_seconds, 1e-9),
        }
        if len(setup.splits.val):
            result = judge(self.engine, setup.splits.val)
            row |= {"val_loss": result["loss"], f"val_{setup.score_name}": result["score"]}
            more = setup.step.aim.more(setup.splits.val, result)
            row |= {f"val_{name}": value for name, value in more.items()}
        best = dict(at.best)
        if setup.better(row, best):
            best = {"epoch": row["epoch"], "loss": row.get("val_loss", row["train_loss"]),
                    "score": row.get(f"val_{setup.score_name}", row[f"train_{setup.score_name}"])}
        history = (*at.history, row)
        self.context.history = list(history)
        self.context.epoch = at.epoch + 1
        self.context.best_epoch = int(best["epoch"])
        self._tell("epoch_end", row)
        finished = replace(
            at, epoch=at.epoch + 1, step_in_epoch=0, loss_sum=0.0, score_sum=0.0, samples=0,
            epoch_seconds=0.0, history=history, best=best, stopped=self.context.stop,
            schedule=setup.advance(at.schedule, row))
        # The best file first: if the process dies in between, the last one still leads to it again.
        if best["epoch"] == row["epoch"] and self.store:
            self.store.save_best(self.engine.state(), finished, setup)
        self.position = finished
        if best["epoch"] == row["epoch"] and not self.store:
            self.best_state = usable(self.engine.state())
        self._save()

    def elapsed(self) -> float:
        """Seconds of the run up to now, over all its sessions."""
        return self.earlier + time.perf_counter() - self.started

    def _save(self) -> None:
        self.position = replace(self.position, total_seconds=self.elapsed())
        if self.store:
            self.store.save_last(self.engine.state(), self.position, self.setup)
        self.saved_at = time.monotonic()

    def _refresh(self) -> None:
        """Bring what callbacks see up to date."""
        at, context = self.position, self.context
        context.epoch, context.step, context.step_in_epoch = at.epoch, at.step, at.step_in_epoch
        context.samples_in_epoch = at.samples
        context.gradient_norm = at.gradient_norm
        if at.samples:
            context.loss, context.score = at.loss_sum / at.samples, at.score_sum / at.samples
            context.images_per_second = at.samples / max(at.epoch_seconds, 1e-9)
            left = context.samples * (context.epochs - at.epoch) - at.samples
            context.seconds_left = left / context.images_per_second
