"""From options to everything that a run is made of: data, model, rule, schedule, step."""

from __future__ import annotations

import math
import re
import zlib
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

from kiso import data, models, nn, optim
from kiso.data import Corrupt, Dataset, Normalizer, Splits, Views, encoder_from_json
from kiso.data.places import canonical
from kiso.errors import CheckpointError, ConfigError, KisoError
from kiso.interop import Adopted
from kiso.nn.norm import BatchNormNd
from kiso.text import tr
from kiso.train import finetune, given_back
from kiso.train.choose import Chosen, check_given, choose, recipe_name
from kiso.train.options import LOSSES, TrainOptions
from kiso.train.recipes import NONE
from kiso.train.starts import OWN, draw_again, look
from kiso.train.step import Step
from kiso.train.tasks import RECONSTRUCTION, TASKS

__all__ = ["Setup", "build", "options_from_config", "step_from_record"]


@dataclass(frozen=True, eq=False)
class Setup:
    """A run before its first step."""

    options: TrainOptions
    splits: Splits
    step: Step
    model_text: str  # "" for a model that has no text form
    chosen: Chosen
    head_step: Step | None = None  # trains the head alone in the first `head_epochs`
    adopted: Adopted | None = None  # the weights that the run begins with

    @property
    def epochs(self) -> int:
        """Passes over the training samples."""
        return self.chosen.epochs

    @property
    def batch_size(self) -> int:
        """Samples in a step."""
        return self.chosen.batch_size

    @property
    def schedule(self) -> optim.Schedule:
        """Course of the learning rate."""
        return self.chosen.schedule

    @property
    def head_epochs(self) -> int:
        """Epochs of the first stage; 0: there is one stage only."""
        return (self.options.head_epochs or 0) if self.head_step else 0

    def step_at(self, epoch: int) -> Step:
        """The training step of an epoch (counted from 0)."""
        return self.head_step if self.head_step and epoch < self.head_epochs else self.step

    @property
    def score_name(self) -> str:
        """What the second number of every epoch is called."""
        return self.step.aim.score

    @property
    def outputs(self) -> int | list[int]:
        """Classes or target values, or the shape of a picture."""
        shape = self.step.aim.output_shape(self.splits.train)
        return shape[0] if len(shape) == 1 else list(shape)

    @property
    def steps_per_epoch(self) -> int:
        """ceil(n / batch size): the last batch may be smaller."""
        return math.ceil(len(self.splits.train) / self.batch_size)

    @property
    def total_steps(self) -> int:
        """Updates in the whole run."""
        return self.epochs * self.steps_per_epoch

    def lr_at(self, step: int, state: Any) -> float:
        """Learning rate of a step (counted from 0). Each stage has the whole schedule."""
        first = self.head_epochs * self.steps_per_epoch
        if self.head_step and step < first:
            factor = self.schedule(step, first, self.steps_per_epoch, state)
            return self.head_step.optimizer.lr * factor
        factor = self.schedule(step - first, self.total_steps - first, self.steps_per_epoch, state)
        return self.step.optimizer.lr * factor

    def advance(self, state: Any, row: dict[str, Any]) -> Any:
        """The schedule's state after an epoch (only plateau has one)."""
        return self.schedule.advance(state, row.get("val_loss", row["train_loss"]))

    def better(self, row: dict[str, Any], best: dict[str, Any]) -> bool:
        """Is this epoch better than the best so far: of classes first by accuracy, then by loss."""
        if not best:
            return True

        def rank(score: float, loss: float) -> tuple[float, float]:
            return (score if self.step.aim.by_score else 0.0,
                    -math.inf if math.isnan(loss) else -loss)

        name = self.score_name
        return rank(row.get(f"val_{name}", row[f"train_{name}"]),
                    row.get("val_loss", row["train_loss"])) > rank(best["score"], best["loss"])

    @cached_property
    def fingerprint(self) -> str:
        """Checksum of the training samples: a run can only go on with the same ones."""
        sums = [zlib.crc32(np.ascontiguousarray(part).data)
                for part in (self.splits.train.x, self.splits.train.y)]
        return "-".join(f"{value:08x}" for value in sums)

    def record(self) -> dict[str, Any]:
        """What a checkpoint holds beside the arrays, JSON-able: enough to use the model."""
        train = self.splits.train
        return {
            "model": self.model_text, "input_shape": list(train.input_shape),
            "outputs": self.outputs, "task": self.step.task, "kind": train.kind,
            "classes": list(train.classes), "target": train.target,
            "columns": list(train.columns), "data": self.fingerprint, "loss": self.step.loss,
            "label_smoothing": self.step.label_smoothing, "tta": str(self.step.views),
            "corrupt": str(self.step.corrupt), "optimizer": self.step.optimizer.to_dict(),
            "normalizer": self.step.normalizer.to_json(),
            "encoder": train.encoder.to_json() if train.encoder else None,
        }

    def config(self) -> dict[str, Any]:
        """config.toml: the options as given, and what they came to be."""
        given = {f.name: getattr(self.options, f.name) for f in fields(TrainOptions)
                 if getattr(self.options, f.name) is not None and f.name != "overwrite"}
        given["recipe"] = self.chosen.recipe  # whoever resumes the run gets this one
        # A known name comes first, even if a folder has the same name.
        if canonical(given["data"]) not in data.NAMES and Path(given["data"]).exists():
            given["data"] = str(Path(given["data"]).resolve())
        for name in ("data_dir", "weights"):
            if given.get(name):
                given[name] = str(Path(given[name]).resolve())
        # No quantity here is learned: these are the hyperparameters (curriculum D5).
        resolved = {
            "model": self.model_text or "(a module of one's own)",
            "recipe": self.chosen.recipe, "init": self.chosen.init,
            "epochs": self.epochs, "batch_size": self.batch_size,
            "steps_per_epoch": self.steps_per_epoch, "loss": self.step.loss,
            "optimizer": self.step.optimizer.to_dict(), "schedule": self.schedule.to_dict(),
            "augment": str(self.step.augment or ""), "corrupt": str(self.step.corrupt),
            "label_smoothing": self.step.label_smoothing, "tta": str(self.step.views),
            "task": self.step.task,
            "samples": self.splits.counts(), "classes": list(self.splits.train.classes),
        }
        if self.head_step:
            resolved["head_optimizer"] = self.head_step.optimizer.to_dict()
        if self.adopted:
            resolved["weights"] = {**asdict(self.adopted), "loaded": len(self.adopted.loaded)}
        source = {k: v for k, v in self.splits.train.source.items() if v is not None}
        return {"options": _plain(given), "hyperparameters": _plain(resolved),
                "data": _plain(source)}


def _plain(value: Any) -> Any:
    """TOML knows no None and no tuples."""
    if isinstance(value, dict):
        pairs = cast("dict[Any, Any]", value).items()
        return {str(k): _plain(v) for k, v in pairs if v is not None}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in cast("list[Any]", value) if v is not None]
    return str(value) if isinstance(value, Path) else value


def options_from_config(config: dict[str, Any]) -> TrainOptions:
    """The options of a run folder's config.toml."""
    known = {f.name for f in fields(TrainOptions)}
    given = config.get("options", {})
    unknown = sorted(set(given) - known)
    if unknown:
        raise CheckpointError(tr("config.toml has options that this version does not know: "
                                 "{names}.", names=", ".join(unknown)))
    if "model" in given:  # a run from before there were recipes
        given = {"recipe": NONE, **given}
    values: dict[str, Any] = {
        k: tuple(cast("list[Any]", v)) if isinstance(v, list) else v for k, v in given.items()}
    return TrainOptions(**values)


def load_data(options: TrainOptions) -> Splits:
    """Read the data that the options name. Classes stay where pictures are given back."""
    task = options.task if options.task != RECONSTRUCTION else None
    if options.task == RECONSTRUCTION:
        given_back.refuse_tables(options)
    return data.load(
        options.data, data_dir=options.data_dir, size=options.size, grey=options.grey,
        classes=options.classes, target=options.target, columns=options.columns,
        split=options.split, seed=options.seed, on_broken=options.on_broken,
        download=options.download, fit=cast("Any", options.fit), max_pixels=options.max_pixels,
        labelled=options.task != RECONSTRUCTION, task=cast("Any", task))


def build(options: TrainOptions, *, splits: Splits | None = None,
          model: nn.Module | None = None, with_weights: bool = True) -> Setup:
    """Read the data, make the model, choose what was left open.

    with_weights=False: without those that the run begins with, for one that goes on.

    Errors: those of data, model and optimizer; ConfigError for a batch larger than the data.
    """
    weights = finetune.open_weights(options) if with_weights else None
    options = finetune.after_run(options, weights, model is not None)
    options = given_back.settled(options, model)
    recipe = recipe_name(options, model is not None)
    check_given(options, recipe)
    splits = splits if splits is not None else load_data(options)
    train, task = splits.train, splits.train.task
    if options.task == RECONSTRUCTION:
        given_back.need_pictures(splits)
        task = RECONSTRUCTION
    options = finetune.for_outputs(options, weights, train.outputs)
    chosen = choose(options, recipe, train)
    text, model = make_model(options, chosen.init, train, model, task)
    if task == RECONSTRUCTION:
        chosen = given_back.remarked(chosen, model, train)
    check_last_batch(model, train, chosen.batch_size)
    step = Step(model, chosen.optimizer, task, loss_of(options, task), Normalizer.fit(train),
                chosen.augment, chosen.label_smoothing, chosen.views, corrupt=chosen.corrupt)
    look(model, step.normalizer, train)
    head = finetune.head_of(model, text, train, options)
    step, head_step = finetune.stages(options, step, head)
    adopted = finetune.adopt(options, weights, model, head)
    return Setup(options, splits, step, text, chosen, head_step, adopted)


def check_last_batch(model: nn.Module, train: Dataset, batch_size: int) -> None:
    """Batch norm of a single value has no variance: refuse a last batch of one before training."""
    n = len(train)
    if batch_size > 1 and n % batch_size != 1:
        return
    single: list[nn.Module] = []

    def before(layer: nn.Module, xs: tuple[Any, ...]) -> None:
        if isinstance(layer, BatchNormNd) and math.prod(xs[0].shape) == layer.num_features:
            single.append(layer)  # one value for each channel

    with nn.watch(before=before):
        model.summary(train.input_shape, batch_size=1)
    if single:
        other = next((b for b in (*range(batch_size - 1, 1, -1), *range(2, n)) if n % b != 1), n)
        raise ConfigError(tr("the last batch of every epoch would hold one sample ({n} samples, "
                             "batch size {size}), and batch norm needs two; use --batch-size "
                             "{other}.", n=n, size=batch_size, other=other))


def make_model(options: TrainOptions, init: str, train: Dataset, own: nn.Module | None, task: str
               ) -> tuple[str, nn.Module]:
    """The model and its text: one's own, or made with weights from the run's seed. One's own keeps
    the weights that it has, whatever its recipe says; `options.init` draws them again.

    Errors: ConfigError when its output does not fit the data, or there is nothing to train.
    """
    wanted = TASKS[task].output_shape(train)
    if own is None:
        name = options.model or models.default_model(train.kind, train.input_shape, train.outputs)
        with nn.seeded(options.seed):
            model = models.create(name, train.input_shape, wanted)
            draw_again(model, init)
    else:
        model = own
        with nn.seeded(options.seed):
            draw_again(model, options.init or OWN)
    if not any(p.size and p.requires_grad for p in model.parameters()):
        raise ConfigError(tr("the model has no parameters: there is nothing to train."))
    shape = model.summary(train.input_shape).output_shape
    if task == RECONSTRUCTION and tuple(shape) != wanted:
        raise models.other_shape(shape, wanted)
    if tuple(shape) != wanted:
        what = (tr("{n} classes", n=train.outputs) if train.task == "classification"
                else tr("{n} target values", n=train.outputs))
        raise ConfigError(tr("the model puts out {shape} for one sample, but the data have {what}; "
                             "end it with linear{n}.", shape="x".join(map(str, shape)), what=what,
                             n=train.outputs))
    return text_of(model, tuple(train.input_shape), wanted), model


def text_of(model: nn.Module, input_shape: tuple[int, ...], outputs: tuple[int, ...]) -> str:
    """The model as a description that builds it again, or "" if there is none."""
    try:
        text = models.text_of(model)
        with nn.seeded(0):  # only looked at
            again = models.create(text, input_shape, outputs)
    except KisoError:
        return ""  # a class of one's own: it can be used in Python, but not by the commands
    same = [(n, p.shape) for n, p in again.named_parameters()] == \
        [(n, p.shape) for n, p in model.named_parameters()]
    if isinstance(model, models.Net):  # its text does not follow from its layers as they are now
        same = same and repr(again) == repr(model)
    return text if same else ""


def loss_of(options: TrainOptions, task: str) -> str:
    """The loss that fits the target (curriculum C7), or the one asked for."""
    if options.loss is None:
        return LOSSES[task][0]
    if options.loss not in LOSSES[task]:
        raise ConfigError(tr("the loss {loss} does not fit {task}; use {choices}.",
                             loss=options.loss, task=task, choices=", ".join(LOSSES[task])))
    return options.loss


def run_name(options: TrainOptions) -> str:
    """Stem of the default run folder: the data's name."""
    stem = Path(options.data).name.split(".")[0] or "data"
    return re.sub(r"[^\w-]+", "-", stem).strip("-").lower() or "run"


def step_from_record(record: dict[str, Any]) -> tuple[Step, Any]:
    """The step (for inference) and the encoder of new data, from a checkpoint's record."""
    if not record["model"]:
        raise CheckpointError(tr("the model of this run is a Python class that has no text form; "
                                 "load it in Python with its own class."))
    with nn.seeded(0):  # its weights come from the checkpoint
        model = models.create(record["model"], tuple(record["input_shape"]), record["outputs"])
    step = Step(model, optim.Optimizer.from_dict(record["optimizer"]), record["task"],
                record["loss"], Normalizer.from_json(record["normalizer"]),
                label_smoothing=record["label_smoothing"],
                views=Views.parse(record.get("tta", "")),
                corrupt=Corrupt.parse(record.get("corrupt", "")))
    encoder = encoder_from_json(record["encoder"]) if record["encoder"] else None
    return step, encoder
