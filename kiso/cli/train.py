"""`kiso train` and `kiso resume`: what will be done, progress, what came of it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kiso import config
from kiso.cli.figures import score_rows, significant
from kiso.cli.machine import processor
from kiso.cli.output import Output, cell_width, in_thousands, list_some
from kiso.cli.recipes import recipe_title
from kiso.cli.tuning import stage_lines, weights_rows
from kiso.errors import OutputError
from kiso.text import tr
from kiso.train.callbacks import Callback, Context
from kiso.train.progress import Progress, duration
from kiso.train.recipes import NONE
from kiso.train.starts import OWN
from kiso.train.tasks import RECONSTRUCTION

if TYPE_CHECKING:
    from kiso.train import RunResult

__all__ = ["resume", "train"]

INTERRUPTED = 130


def train(output: Output, **options: Any) -> int:
    """A new run."""
    from kiso.train import TrainOptions
    from kiso.train import train as run

    chosen = TrainOptions(**options)
    return carry_out(output, lambda callbacks: run(chosen, callbacks))


def resume(output: Output, run: str, threads: int | None = None, conv: str | None = None) -> int:
    """An earlier run, from its last checkpoint on."""
    from kiso.train import resume as go_on

    return carry_out(output, lambda callbacks: go_on(run, callbacks, threads=threads,
                                                    conv=conv))


def carry_out(output: Output, work: Callable[[list[Callback]], RunResult]) -> int:
    """The run with all that is said about it. Ctrl-C may come at any moment, also at the end."""
    progress = quiet_or_not(output)
    start = Start(output, progress)
    try:
        with progress:
            result = work([start, progress])
        if result.stopped != "interrupted":
            return finish(output, result, start)
    except KeyboardInterrupt:
        if start.folder is None:
            raise
    except OutputError as error:
        if start.folder is None:
            raise
        how = tr("{error}\nThe last checkpoint is whole. When the folder can be written again, go "
                 "on with", error=error)
        raise OutputError(how + resume_line(start)) from error
    output.document({"folder": start.folder, "report": None, "stopped": "interrupted",
                     "left_out": start.left_out})
    output.stopped(tr("all steps so far are saved; go on with") + resume_line(start))
    return INTERRUPTED


def resume_line(start: Start) -> str:
    """The command that goes on with the run, on a line of its own."""
    return f"\n  kiso resume {shlex.quote(str(start.folder))}"


def quiet_or_not(output: Output) -> Progress:
    """Progress on standard output; with --json on standard error, and only in a terminal."""
    console = None
    if output.json:
        from rich.console import Console
        console = Console(file=sys.stderr)
    return Progress(console, quiet=output.quiet or (output.json and not sys.stderr.isatty()))


class Start(Callback):
    """Says what the run consists of, before its first step; keeps it for `--json`."""

    def __init__(self, output: Output, progress: Progress):
        self.output = output
        self.progress = progress
        self.left_out: list[dict[str, str]] = []
        self.folder: Path | None = None

    def fit_start(self, context: Context) -> None:
        """Print the block."""
        setup = context.setup
        self.progress.unit = "images" if setup.splits.train.kind == "image" else "rows"
        self.folder = context.folder
        self.left_out = [{"name": name, "reason": reason}
                         for name, reason in setup.splits.problems]
        rows: list[tuple[str, str | list[str]]] = [
            (tr("data"), data_lines(setup.splits, setup.step.task)),
            (tr("model"), [model_line(setup),
                           tr("{count} parameters", count=in_thousands(context.parameters))]),
            *weights_rows(setup),
            (tr("training"), [*training_lines(setup), *stage_lines(setup)]),
            (tr("machine"), machine_line(setup.options)),
        ]
        if context.folder is not None:
            rows.append((tr("folder"), str(context.folder)))
        self.output.fields(rows)
        self.output.show()


def data_lines(splits: Any, task: str) -> list[str]:
    """Name, size, splits, and what was wrong with files or rows."""
    part = splits.train
    name = str(part.source.get("name") or part.source.get("path") or tr("arrays"))
    shape = "x".join(map(str, part.input_shape))
    if part.kind == "image":
        kind = tr("pictures {shape}", shape=shape)
    else:
        kind = tr("rows with {n} numbers each", n=shape)
    if task == RECONSTRUCTION:
        what = tr("target: the picture itself")
    elif part.task == "classification":
        what = tr("{n} classes: {names}", n=len(part.classes),
                  names=", ".join(list_some(part.classes, 12)))
    else:
        what = tr("target: {name}", name=part.target or "y")
    counts = {key: in_thousands(value) for key, value in splits.counts().items()}
    lines = [f"{name}: {kind}", what,
             tr("{train} for training, {val} for validation, {test} for the test", **counts)]
    return lines + remark_lines(splits)


def remark_lines(splits: Any) -> list[str]:
    """What was left out (nearly always all of it), what was noticed, what lies in several splits.
    """
    copies = [", ".join(f"{part} {name}" for part, name in group) for group in splits.duplicates]
    found = [
        (tr("left out: {n}", n=in_thousands(len(splits.problems))), pairs(splits.problems), 50),
        (tr("remarks: {n}", n=in_thousands(len(splits.notes))), pairs(splits.notes), 10),
        (tr("the same picture in several splits: {n}", n=in_thousands(len(copies))), copies, 10),
    ]
    lines = [line for title, about, limit in found if about
             for line in (title, *(f"  {one}" for one in list_some(about, limit)))]
    if len(splits.problems) > 50 or len(splits.notes) > 10:
        lines.append(tr("config.toml and the report list all that was left out or noticed"))
    return lines


def pairs(remarks: Any) -> list[str]:
    """(name, text) as lines; the name may be empty."""
    return [f"{name}: {text}" if name else text for name, text in remarks]


def model_line(setup: Any) -> str:
    """The model in words: its name with options, or its layers."""
    return setup.model_text or type(setup.step.model).__name__


def training_lines(setup: Any) -> list[str]:
    """Recipe, rule, schedule, batches, augmentation, and where the recipe had to be left."""
    chosen = setup.chosen
    rule = setup.step.optimizer.to_dict()
    shown = [f"{name.replace('_', ' ')} {value:g}" for name, value in rule.items()
             if name in ("lr", "momentum", "weight_decay", "clip_norm") and value]
    lines = [*[tr("recipe {name}", name=recipe_title(chosen.recipe))] * (chosen.recipe != NONE),
             tr("{rule} ({values}), schedule {schedule}", rule=chosen.rule,
                values=", ".join(shown), schedule=chosen.schedule_text),
             tr("epochs {epochs}, steps in each {steps}, samples in a step {size}",
                epochs=setup.epochs, steps=in_thousands(setup.steps_per_epoch),
                size=setup.batch_size)]
    if setup.step.augment is not None:
        lines.append(tr("augmentation: {text}", text=setup.step.augment))
    if setup.step.corrupt:
        lines.append(tr("corruption of what the net sees: {text}", text=setup.step.corrupt))
    if setup.step.label_smoothing:
        lines.append(tr("label smoothing {x:g}", x=setup.step.label_smoothing))
    if setup.step.views:
        lines.append(tr("test-time augmentation: {text}", text=setup.step.views))
    if chosen.init != OWN:
        lines.append(tr("first weights: {text}", text=chosen.init))
    return [*lines, *chosen.remarks]


def machine_line(options: Any) -> str:
    """Processor, threads and engine."""
    return tr("{processor}, {threads} threads, engine {engine}, seed {seed}",
              processor=processor(), threads=options.threads or config.num_threads(),
              engine=options.engine, seed=options.seed)


def finish(output: Output, result: RunResult, start: Start) -> int:
    """The results and the report."""
    folder = result.folder
    document: dict[str, Any] = {"folder": folder, "report": None, "stopped": result.stopped,
                                "left_out": start.left_out}
    rows = result_rows(result.metrics)
    width = max(cell_width(name) for name, _ in rows)
    output.show()
    output.fields(rows, width=width)
    try:
        if folder is not None:
            from kiso.report import build
            document["report"] = build(folder)
            output.fields([(tr("report"), str(document["report"]))], width=width)
    except Exception:  # a report that fails must not take the results with it
        output.document({**document, **result.metrics})
        raise
    output.document({**document, **result.metrics})
    return 0


def result_rows(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """The block at the end."""
    rows: list[tuple[str, str]] = []
    for prefix, title in (("test_", tr("test")), ("val_", tr("validation"))):
        scores = score_rows(metrics, prefix, brief=True)
        if scores:
            rows.append((title, ", ".join(f"{name} {value}" for name, value in scores)))
    rate = in_thousands(round(metrics["images_per_second"]))
    rows += [
        (tr("best epoch"), tr("{best} of {epochs}", best=metrics["best_epoch"],
                              epochs=metrics["epochs"])),
        (tr("time"), tr("{total}, of which training {train} ({rate} samples/s)", rate=rate,
                        total=duration(metrics["seconds_total"]),
                        train=duration(metrics["seconds_train"]))),
    ]
    if metrics.get("peak_memory_bytes"):
        rows.append((tr("memory"), tr("{size} MB at most", size=significant(
            metrics["peak_memory_bytes"] / 1e6))))
    return rows
