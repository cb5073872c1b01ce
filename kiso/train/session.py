"""Whole runs: train and resume. Commands and `kiso.fit` are thin covers of these."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kiso import config, nn
from kiso.data import Splits
from kiso.errors import CheckpointError
from kiso.ops import make_key
from kiso.text import tr
from kiso.train.callbacks import Callback, EarlyStopping
from kiso.train.checkpoint import Checkpoint, weights_sha256
from kiso.train.engine import ENGINES, Engine
from kiso.train.loop import Loop, Position, judge
from kiso.train.options import TrainOptions
from kiso.train.results import final_metrics
from kiso.train.setup import (
    Setup,
    build,
    options_from_config,
    run_name,
)
from kiso.train.step import State, initial_state
from kiso.train.store import Store, new_folder

__all__ = ["RunResult", "check_fit", "resume", "thread_limit", "train"]


@dataclass(frozen=True, eq=False)
class RunResult:
    """What a run came to. `stopped`: "" (all epochs), "interrupted", or why it stopped early."""

    folder: Path | None
    metrics: dict[str, Any]
    history: list[dict[str, Any]]
    model: nn.Module  # with the weights of the best epoch, in inference mode
    stopped: str = ""
    engine: Engine | None = None

    def __repr__(self) -> str:
        wanted = ("test_accuracy", "test_mae", "test_r2", "test_psnr", "test_loss",
                  "best_epoch", "epochs")
        shown = [f"{name}={self.metrics[name]:.4g}" for name in wanted
                 if self.metrics.get(name) is not None]
        if self.stopped:
            shown.append(f"stopped={self.stopped!r}")
        if self.folder is not None:
            shown.append(f"folder={str(self.folder)!r}")
        return f"RunResult({', '.join(shown)})"

    def predict(self, x: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Answers for samples as they were given for training (pictures 0 ... 255, table rows).

        They are scaled as the training samples were. New weights are taken up when they are
        assigned (`p.data = ...`); changes inside an array are not seen. (N, K): probabilities of
        the classes, or values in the units of the targets; (N, C, H, W): what a net that gives
        pictures back makes of them, 0 ... 255.
        """
        assert self.engine is not None
        state = {"params": {n: p.data for n, p in self.model.named_parameters()},
                 "buffers": {n: b.data for n, b in self.model.named_buffers()}}
        with self.engine.lock:
            self.engine.load(state)
            return self.engine.evaluate(np.asarray(x))["output"]


@contextmanager
def thread_limit(threads: int | None) -> Generator[int]:
    """How many threads compiled code is to use. NumPy's matrix library gets one inside: its threads
    wait for each other in a busy loop, and beside others who compute that costs far more than it
    gains."""
    from threadpoolctl import threadpool_limits

    count = threads or config.num_threads()
    with threadpool_limits(limits=1):
        yield count


@contextmanager
def _terminable() -> Generator[None]:
    """SIGTERM stops as Ctrl-C does: with a checkpoint."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def train(options: TrainOptions, callbacks: Sequence[Callback] = (), *,
          splits: Splits | None = None, model: nn.Module | None = None,
          save: bool = True) -> RunResult:
    """A new run, from options to report.

    Nothing is written before data, model and all options have proved usable. `splits` and `model`
    replace what the options name; `save=False` keeps everything in memory.
    """
    started = time.perf_counter()
    options = replace(options, conv=config.conv(options.conv))  # whoever resumes it gets this one
    with _terminable(), thread_limit(options.threads) as threads:
        setup = build(options, splits=splits, model=model)
        folder = Path(options.out) if options.out else new_folder(Path("runs"), run_name(options))
        with _engine(setup, threads) as engine:
            needed = _needed_bytes(engine.state())
            if save:
                Store.check(folder, options.overwrite, needed)
            _prepare(engine, setup, callbacks)
            position = Position(schedule=setup.schedule.start())
            store = Store.create(folder, options.overwrite, needed) if save else None
            if store is not None:
                store.save_config(setup.config())
            return _run(setup, engine, position, store, callbacks, threads, started)


def resume(folder: str | Path, callbacks: Sequence[Callback] = (), *, threads: int | None = None,
           conv: str | None = None, splits: Splits | None = None,
           model: nn.Module | None = None) -> RunResult:
    """Go on with a run from its last checkpoint, to the weights of an uninterrupted run.

    A run that is finished stays as it is; its figures are read and returned. `threads` and `conv`
    replace what the run was given.

    Errors: CheckpointError when there is no run, or its checkpoint fits another model.
    """
    started = time.perf_counter()
    store = Store.open(Path(folder))
    store.sweep()
    options = options_from_config(store.load_config())
    if threads is not None:
        options = replace(options, threads=threads)
    options = replace(options, conv=config.conv(conv or options.conv))
    with _terminable(), thread_limit(options.threads) as count:
        setup = build(options, splits=splits, model=model,
                      with_weights=not store.path("last").is_file())
        with _engine(setup, count) as engine:
            position, metrics = _go_back(setup, engine, store)
            if metrics is not None:
                install(setup.step.model, store.load("best").state)
                return RunResult(store.folder, metrics, list(position.history), setup.step.model,
                                 position.stopped, engine)
            _prepare(engine, setup, callbacks)
            return _run(setup, engine, position, store, callbacks, count, started)


def _go_back(setup: Setup, engine: Engine, store: Store
             ) -> tuple[Position, dict[str, Any] | None]:
    """To the last checkpoint of a run: its position, and the figures if the run is finished."""
    start = Position(schedule=setup.schedule.start())
    if not store.path("last").is_file():
        return start, None  # it was killed before its first step
    checkpoint = store.load("last")
    check_fit(store.path("last"), checkpoint, engine.state())
    check_slots(store.path("last"), checkpoint, engine.state())
    if checkpoint.record.get("data") != setup.fingerprint:
        raise CheckpointError(tr("the training samples are not those that {folder} began with; "
                                 "resume with the same data, or train anew.",
                                 folder=store.folder))
    engine.load(checkpoint.state)
    position = Position.from_record(checkpoint.record["position"])
    finished = position.stopped or position.epoch >= setup.epochs
    return position, store.load_metrics() if finished else None


@contextmanager
def _engine(setup: Setup, threads: int) -> Generator[Engine]:
    """The engine with the state before the first step.

    It alone holds weights and statistics: the model has no arrays of its own inside, and whoever
    reads them gets the present ones. They are the model's again at the end, whatever happens.
    """
    model = setup.step.model
    engine = ENGINES[setup.options.engine](setup.step, threads, setup.options.conv)
    engine.load(initial_state(model, setup.step.optimizer))
    kept = [("params", name, p) for name, p in model.named_parameters()]
    kept += [("buffers", name, b) for name, b in model.named_buffers()]
    try:
        for kind, name, tensor in kept:
            tensor.lend(partial(engine.part, kind, name))
        yield engine
    finally:
        for kind, name, tensor in kept:
            if tensor.lent:
                tensor.data = np.array(engine.part(kind, name))


def _prepare(engine: Engine, setup: Setup, callbacks: Sequence[Callback]) -> None:
    """Make the steps of all stages ready, the first stage last. Errors: see Engine.prepare."""
    rows = np.zeros((1, setup.batch_size), np.int64)
    try:
        for callback in callbacks:
            callback.prepare_start()
        for epoch in sorted({0, setup.head_epochs}, reverse=True):
            engine.step = setup.step_at(epoch)
            engine.prepare(setup.splits.train, {
                "rows": rows, "lr": np.zeros(1, np.float32), "key": make_key(0, 0)[None],
                "epoch_key": make_key(0, 0)})
    finally:
        for callback in callbacks:
            callback.prepare_end()


def _needed_bytes(state: State) -> int:
    """Room for the files of a run: two checkpoints and the one that is being written."""
    numbers = sum(v.nbytes for v in state["params"].values())
    slots = sum(v.nbytes for s in state["slots"].values() for v in s.values())
    return 3 * (numbers + slots) + 5_000_000


def _run(setup: Setup, engine: Engine, position: Position, store: Store | None,
         callbacks: Sequence[Callback], threads: int, started: float) -> RunResult:
    hooks = list(callbacks)
    if setup.options.patience is not None:
        hooks.insert(0, EarlyStopping(setup.options.patience))
    loop = Loop(setup, engine, position, store, hooks, started)
    stopped = loop.run()
    at = loop.position
    folder = store.folder if store else None
    if stopped == "interrupted":
        install(setup.step.model, engine.state())
        return RunResult(folder, {}, list(at.history), setup.step.model, stopped, engine)
    state = loop.best_state
    if state is None:
        state = store.load("best").state if store and store.path("best").is_file() \
            else engine.state()
    engine.load(state)
    install(setup.step.model, state)
    results = {name: judge(engine, part)
               for name, part in setup.splits.parts().items() if name != "train" and len(part)}
    metrics = final_metrics(setup, engine, at, results, weights_sha256(state), threads,
                            loop.elapsed())
    if store:
        if "test" in results:
            store.save_predictions(setup.step.aim.arrays(engine, setup.splits.test,
                                                         results["test"]))
        store.save_metrics(metrics)
    loop.context.stop = stopped
    for callback in hooks:
        callback.fit_end(loop.context, metrics)
    return RunResult(folder, metrics, list(at.history), setup.step.model, stopped, engine)


def install(model: nn.Module, state: State) -> None:
    """Give a model the weights and statistics of a state, ready for inference."""
    model.load_state_dict({**state["params"], **state["buffers"]})
    model.eval()


def check_fit(path: Path, checkpoint: Checkpoint, expected: State) -> None:
    """Refuse a checkpoint of another architecture, naming what differs."""
    differences: list[str] = []
    for part in ("params", "buffers"):
        found, wanted = checkpoint.state[part], expected[part]
        differences += [tr("{name} is missing", name=n) for n in wanted if n not in found]
        differences += [tr("{name} is unexpected", name=n) for n in found if n not in wanted]
        differences += [tr("{name} has shape {found}, expected {wanted}", name=n,
                           found=found[n].shape, wanted=wanted[n].shape)
                        for n in wanted if n in found and found[n].shape != wanted[n].shape]
    if differences:
        shown = "; ".join(differences[:5])
        more = len(differences) - 5
        if more > 0:
            shown += tr(" (and {more} more)", more=more)
        raise CheckpointError(tr("{path} belongs to another model: {differences}. Use the model of "
                                 "its config.toml.", path=path, differences=shown))


def check_slots(path: Path, checkpoint: Checkpoint, expected: State) -> None:
    """Refuse to go on with an optimizer that remembers other things than the checkpoint's."""
    found, wanted = ({name: {k: v.shape for k, v in slots.items()}
                      for name, slots in state["slots"].items()}
                     for state in (checkpoint.state, expected))
    if found != wanted:
        raise CheckpointError(tr("{path} holds the state of the optimizer {name}, which does not "
                                 "fit the one of config.toml; put the old one back, or train "
                                 "anew.", path=path, name=checkpoint.record["optimizer"]["name"]))
