"""Using a finished run: judge it on data, answer for new files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from kiso.data import Dataset, Splits
from kiso.data.encoders import TableEncoder
from kiso.data.places import locate
from kiso.errors import CheckpointError, ConfigError, DataError, KisoError
from kiso.text import tr
from kiso.train.checkpoint import Checkpoint
from kiso.train.engine import ENGINES, Engine
from kiso.train.given_back import need_pictures
from kiso.train.loop import judge
from kiso.train.metrics import mse_of_psnr, psnr
from kiso.train.options import check_choice
from kiso.train.results import test_metrics
from kiso.train.session import check_fit, thread_limit
from kiso.train.setup import load_data, options_from_config, step_from_record
from kiso.train.store import Store
from kiso.train.tasks import RECONSTRUCTION

__all__ = ["Prediction", "evaluate", "predict"]


@dataclass(frozen=True)
class Prediction:
    """The answer for one file or row: a class with probabilities, target values, or a picture,
    whose values say how near it is to the file: psnr in dB, rmse in grey levels."""

    name: str
    label: str | None = None
    probabilities: dict[str, float] | None = None
    values: dict[str, float] | None = None
    problem: str | None = None  # why there is no answer
    notes: tuple[str, ...] = ()  # what was filled in or not understood in this file or row
    picture: np.ndarray | None = field(default=None, repr=False, compare=False)  # uint8 (C, H, W)


def _inference(folder: str | Path, which: str, engine: str, conv: str | None
               ) -> tuple[Store, Checkpoint, Engine, Any]:
    """Everything to use a run's model: its checkpoint, an engine with its state, the encoder."""
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
    runner = ENGINES[check_choice(tr("engine"), engine, ENGINES)](step, conv=conv)
    runner.load(checkpoint.state)
    return store, checkpoint, runner, encoder


def evaluate(folder: str | Path, data: str | None = None, *, checkpoint: str = "best",
             data_dir: str | None = None, on_broken: str = "skip",
             engine: str = "compiled", threads: int | None = None,
             conv: str | None = None) -> dict[str, Any]:
    """Judge a run's model on its test split, or on all samples of other data of the same kind."""
    store, saved, runner, encoder = _inference(folder, checkpoint, engine, conv)
    options = options_from_config(store.load_config())
    if data is not None:
        _same_form(data, data_dir, encoder)
        options = replace(options, data=data, on_broken=on_broken)
    if data_dir is not None:
        options = replace(options, data_dir=data_dir)
    record = saved.record
    if record["kind"] == "image" and data is not None:
        height, width = record["input_shape"][1:]
        options = replace(options, size=(height, width), grey=record["input_shape"][0] == 1)
    splits = load_data(options)
    part = splits.test if data is None else _same_task(splits, record, encoder)
    with thread_limit(threads) as runner.threads:
        result = judge(runner, part)
    problems = [] if data is None else [list(problem) for problem in splits.problems]
    return {"data": options.data, "split": "test" if data is None else "all", "samples": len(part),
            "problems": problems, **test_metrics(runner, part, result, "")}


def _same_form(data: str, data_dir: str | None, encoder: Any) -> None:
    """Refuse pictures for a run on a table and the other way round, before they are read."""
    form = locate(data, data_dir)[0]
    names = {True: tr("a CSV table"), False: tr("pictures")}
    trained, given = isinstance(encoder, TableEncoder), form == "csv"
    if encoder is not None and trained != given:
        raise DataError(tr("the run was trained on {trained}, but {data} is {given}; give data of "
                           "the same kind.", trained=names[trained], data=data,
                           given=names[given]))


def _joined(splits: Splits) -> Dataset:
    """All samples of the three splits as one."""
    parts = list(splits.parts().values())
    return replace(parts[0], x=np.concatenate([p.x for p in parts]),
                   y=np.concatenate([p.y for p in parts]),
                   names=tuple(name for p in parts for name in p.names))


def _same_task(splits: Splits, record: dict[str, Any], encoder: Any) -> Dataset:
    """All samples of other data, encoded as the model was trained, with its class numbers."""
    every = _joined(splits)
    if record["task"] == RECONSTRUCTION:
        need_pictures(splits)  # of whatever classes
    elif every.task != record["task"] or every.kind != record["kind"]:
        raise DataError(tr("the run was trained for {task} of {kind} data, but these are for "
                           "{other} of {other_kind} data.", task=record["task"],
                           kind=record["kind"], other=every.task, other_kind=every.kind))
    if record["task"] != RECONSTRUCTION and list(every.classes) != record["classes"]:
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
            engine: str = "compiled", threads: int | None = None,
            conv: str | None = None) -> list[Prediction]:
    """Answers for new files: pictures, folders of pictures, or CSV files (one answer a row)."""
    _, saved, runner, encoder = _inference(folder, checkpoint, engine, conv)
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
            with thread_limit(threads) as runner.threads:
                output = runner.evaluate(encoded.x)["output"]
            answers += _answers(output, saved.record, encoded)
        known = set(encoded.names)
        answers += [Prediction(name, problem=reason) for name, reason in encoded.problems
                    if name not in known]
    return answers


def _answers(output: np.ndarray, record: dict[str, Any], encoded: Any) -> list[Prediction]:
    remarks: dict[str, list[str]] = {}
    for name, remark in encoded.problems:
        remarks.setdefault(name, []).append(remark)
    answers: list[Prediction] = []
    for name, sample, row in zip(encoded.names, encoded.x, output, strict=True):
        notes = tuple(remarks.get(name, ()))
        if record["task"] == "classification":
            shares = dict(zip(record["classes"], map(float, row), strict=True))
            answers.append(Prediction(name, max(shares, key=shares.__getitem__), shares,
                                      notes=notes))
        elif record["task"] == RECONSTRUCTION:
            picture = np.rint(row).astype(np.uint8)
            near = float(psnr(sample[None], row[None])[0])
            values = {"psnr": near, "rmse": float(mse_of_psnr(near)) ** 0.5}
            answers.append(Prediction(name, values=values, notes=notes, picture=picture))
        else:
            targets = [record["target"] or "y"] if len(row) == 1 else \
                [f"{record['target'] or 'y'}{i}" for i in range(len(row))]
            values = dict(zip(targets, map(float, row), strict=True))
            answers.append(Prediction(name, values=values, notes=notes))
    return answers
