"""Whole runs: train, resume, evaluate, predict. Commands and `kiso.fit` are thin covers of these."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kiso import config, nn
from kiso.data import Dataset, Splits
from kiso.errors import CheckpointError, ConfigError, DataError, KisoError
from kiso.text import tr
from kiso.train.callbacks import Callback, EarlyStopping
from kiso.train.checkpoint import Checkpoint, weights_sha256
from kiso.train.loop import Loop, Position, judge
from kiso.train.options import TrainOptions
from kiso.train.results import final_metrics, prediction_arrays, test_metrics
from kiso.train.setup import (
    Setup,
    build,
    load_data,
    options_from_config,
    run_name,
    step_from_record,
)
from kiso.train.step import Runner, State, initial_state
from kiso.train.store import Store, new_folder

__all__ = ["Prediction", "RunResult", "evaluate", "predict", "resume", "train"]


@dataclass(frozen=True, eq=False)
class RunResult:
    """What a run came to. `stopped`: "" (all epochs), "interrupted", or why it stopped early."""

    folder: Path | None
    metrics: dict[str, Any]
    history: list[dict[str, Any]]
    model: nn.Module  # with the weights of the best epoch
    stopped: str = ""


@dataclass(frozen=True)
class Prediction:
    """The answer for one file or row: a class with probabilities, or target values."""

    name: str
    label: str | None = None
    probabilities: dict[str, float] | None = None
    values: dict[str, float] | None = None
    problem: str | None = None  # why there is no answer


@contextmanager
def _thread_limit(threads: int | None) -> Generator[int]:
    """Compute with this many threads inside (BLAS reads it)."""
    from threadpoolctl import threadpool_limits

    count = threads or config.num_threads()
    with threadpool_limits(limits=count):
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
    with _terminable(), _thread_limit(options.threads) as threads:
        setup = build(options, splits=splits, model=model)
        position = Position(initial_state(setup.step.model, setup.step.optimizer),
                            schedule=setup.schedule.start())
        store = _create_store(options, setup, position) if save else None
        return _run(setup, position, store, callbacks, threads, started)


def resume(folder: str | Path, callbacks: Sequence[Callback] = (), *, threads: int | None = None,
           splits: Splits | None = None, model: nn.Module | None = None) -> RunResult:
    """Go on with a run from its last checkpoint, to the weights of an uninterrupted run.

    Errors: CheckpointError when there is no run, or its checkpoint fits another model.
    """
    started = time.perf_counter()
    store = Store.open(Path(folder))
    options = options_from_config(store.load_config())
    if threads is not None:
        options = replace(options, threads=threads)
    with _terminable(), _thread_limit(options.threads) as count:
        setup = build(options, splits=splits, model=model)
        position = Position(initial_state(setup.step.model, setup.step.optimizer),
                            schedule=setup.schedule.start())
        if store.path("last").is_file():  # else it was killed before its first step
            checkpoint = store.load("last")
            check_fit(store.path("last"), checkpoint, position.state)
            position = Position.from_checkpoint(checkpoint)
        return _run(setup, position, store, callbacks, count, started)


def _create_store(options: TrainOptions, setup: Setup, position: Position) -> Store:
    folder = Path(options.out) if options.out else new_folder(Path("runs"), run_name(options))
    numbers = sum(v.nbytes for v in position.state["params"].values())
    slots = sum(v.nbytes for s in position.state["slots"].values() for v in s.values())
    store = Store.create(folder, options.overwrite, 3 * (numbers + slots) + 5_000_000)
    store.save_config(setup.config())
    return store


def _run(setup: Setup, position: Position, store: Store | None, callbacks: Sequence[Callback],
         threads: int, started: float) -> RunResult:
    hooks = list(callbacks)
    if setup.options.patience is not None:
        hooks.insert(0, EarlyStopping(setup.options.patience))
    loop = Loop(setup, position, store, hooks)
    stopped = loop.run()
    at = loop.position
    folder = store.folder if store else None
    if stopped == "interrupted":
        install(setup.step.model, at.state)
        return RunResult(folder, {}, list(at.history), setup.step.model, stopped)
    state = loop.best_state
    if state is None:
        state = store.load("best").state if store and store.path("best").is_file() else at.state
    install(setup.step.model, state)
    results = {name: judge(loop.evaluate, state, part)
               for name, part in setup.splits.parts().items() if name != "train" and len(part)}
    metrics = final_metrics(setup, at, results, weights_sha256(state), threads,
                            time.perf_counter() - started)
    if store:
        if "test" in results:
            store.save_predictions(prediction_arrays(setup.splits.test, results["test"]))
        store.save_metrics(metrics)
    loop.context.stop = stopped
    for callback in hooks:
        callback.fit_end(loop.context, metrics)
    return RunResult(folder, metrics, list(at.history), setup.step.model, stopped)


def install(model: nn.Module, state: State) -> None:
    """Give a model the weights and statistics of a state."""
    model.load_state_dict({**state["params"], **state["buffers"]})


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


def _inference(folder: str | Path, which: str) -> tuple[Store, Checkpoint, Runner, State, Any]:
    """Everything to use a run's model: its checkpoint, evaluation step, state and encoder."""
    store = Store.open(Path(folder))
    if which not in ("best", "last"):
        raise ConfigError(tr("--checkpoint is {value!r}; expected best or last.", value=which))
    if not store.path(which).is_file():
        raise CheckpointError(tr("{folder} has no checkpoint {which!r} yet: no epoch is finished; "
                                 "continue it with 'kiso resume {folder}'.", folder=folder,
                                 which=which))
    checkpoint = store.load(which)
    step, encoder = step_from_record(checkpoint.record)
    expected = {"params": dict(step.model.named_parameters()),
                "buffers": dict(step.model.named_buffers())}
    check_fit(store.path(which), checkpoint, expected)
    return store, checkpoint, Runner(step.evaluate, "eager"), checkpoint.state, encoder


def evaluate(folder: str | Path, data: str | None = None, *, checkpoint: str = "best",
             data_dir: str | None = None, on_broken: str = "skip",
             threads: int | None = None) -> dict[str, Any]:
    """Judge a run's model on its test split, or on all samples of other data of the same kind."""
    store, saved, runner, state, encoder = _inference(folder, checkpoint)
    options = options_from_config(store.load_config())
    if data is not None:
        options = replace(options, data=data, on_broken=on_broken)
    if data_dir is not None:
        options = replace(options, data_dir=data_dir)
    record = saved.record
    if record["kind"] == "image" and data is not None:
        height, width = record["input_shape"][1:]
        options = replace(options, size=(height, width), grey=record["input_shape"][0] == 1)
    splits = load_data(options)
    part = splits.test if data is None else _same_task(splits, record, encoder)
    with _thread_limit(threads):
        result = judge(runner, state, part)
    problems = [] if data is None else [list(problem) for problem in splits.problems]
    return {"data": options.data, "split": "test" if data is None else "all", "samples": len(part),
            "problems": problems, **test_metrics(part, result, "")}


def _joined(splits: Splits) -> Dataset:
    """All samples of the three splits as one."""
    parts = list(splits.parts().values())
    return replace(parts[0], x=np.concatenate([p.x for p in parts]),
                   y=np.concatenate([p.y for p in parts]),
                   names=tuple(name for p in parts for name in p.names))


def _same_task(splits: Splits, record: dict[str, Any], encoder: Any) -> Dataset:
    """All samples of other data, encoded as the model was trained, with its class numbers."""
    every = _joined(splits)
    if every.task != record["task"] or every.kind != record["kind"]:
        raise DataError(tr("the run was trained for {task} of {kind} data, but these are for "
                           "{other} of {other_kind} data.", task=record["task"],
                           kind=record["kind"], other=every.task, other_kind=every.kind))
    if list(every.classes) != record["classes"]:
        unknown = sorted(set(every.classes) - set(record["classes"]))
        if unknown:
            raise DataError(tr("the classes {names} were not part of the training, which knows "
                               "{known}.", names=", ".join(unknown),
                               known=", ".join(record["classes"])))
        number = np.array([record["classes"].index(name) for name in every.classes], np.int64)
        every = replace(every, y=number[every.y], classes=tuple(record["classes"]))
    if every.kind == "table" and encoder is not None:
        # The categories and medians of the training data, not those of these rows.
        encoded = encoder.encode(every.source["path"])
        row = {name: i for i, name in enumerate(encoded.names)}
        every = replace(every, x=encoded.x[[row[name] for name in every.names]])
    if list(every.input_shape) != record["input_shape"]:
        raise DataError(tr("one sample has shape {found}, but the model was trained on {wanted}.",
                           found=every.input_shape, wanted=tuple(record["input_shape"])))
    return every


def predict(folder: str | Path, files: Sequence[str | Path], *, checkpoint: str = "best",
            threads: int | None = None) -> list[Prediction]:
    """Answers for new files: pictures, folders of pictures, or CSV files (one answer a row)."""
    _, saved, runner, state, encoder = _inference(folder, checkpoint)
    if encoder is None:
        raise ConfigError(tr("this run was trained on arrays that have no file form; use the model "
                             "in Python instead."))
    answers: list[Prediction] = []
    for file in files:
        try:
            encoded = encoder.encode(file)
        except KisoError as error:
            answers.append(Prediction(str(file), problem=str(error)))
            continue
        if len(encoded.x):
            with _thread_limit(threads):
                answers += _answers(runner, state, saved.record, encoded)
        known = set(encoded.names)
        answers += [Prediction(name, problem=reason) for name, reason in encoded.problems
                    if name not in known]
    return answers


def _answers(runner: Runner, state: State, record: dict[str, Any], encoded: Any) -> list[Prediction]:
    outputs = [runner(state, {"x": encoded.x[start:start + 256]})["output"]
               for start in range(0, len(encoded.x), 256)]
    answers: list[Prediction] = []
    joined: Any = np.concatenate(outputs)
    for name, row in zip(encoded.names, joined, strict=True):
        if record["task"] == "classification":
            shares = dict(zip(record["classes"], map(float, row), strict=True))
            answers.append(Prediction(name, max(shares, key=shares.__getitem__), shares))
        else:
            targets = [record["target"] or "y"] if len(row) == 1 else \
                [f"{record['target'] or 'y'}{i}" for i in range(len(row))]
            answers.append(Prediction(name, values=dict(zip(targets, map(float, row),
                                                            strict=True))))
    return answers
