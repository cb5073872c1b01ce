"""`kiso models`: all nets that have a name in one table, and the card of each."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from kiso.cli.look import dimensions, in_bytes, model_of
from kiso.cli.machine import processor
from kiso.cli.output import Output, in_thousands
from kiso.cli.recipes import recipe_lines, recipe_table
from kiso.errors import ConfigError
from kiso.text import tr

if TYPE_CHECKING:
    from kiso import nn
    from kiso.models import Card, Entry, Stage

__all__ = ["zoo"]

SECONDS, FEWEST = 1.0, 5  # how long to measure a net, and how many times at least


@dataclass(frozen=True)
class Figures:
    """What a net costs for one sample. seconds: None if it was not measured."""

    parameters: int
    multiply_adds: int
    seconds: float | None


def zoo(output: Output, model: str | None = None, input: tuple[int, ...] | None = None,
        outputs: int | None = None, recipes: bool = False, time: bool = False,
        threads: int | None = None) -> int:
    """The table, the card of one model, or the recipes."""
    from kiso.models import MODELS, find, no_name

    if recipes:
        return recipe_table(output)
    if model is not None:
        entry = find(model)
        if entry is None:
            raise ConfigError(no_name(model))
        return card(output, entry, model, input, outputs, time, threads)
    if input is not None or outputs is not None:
        raise ConfigError(tr("--input and --outputs belong to one model: give its name, too."))
    entries = sorted(MODELS.values(), key=lambda entry: entry.card(entry.name).year)
    return table(output, entries, time, threads)


def table(output: Output, entries: list[Entry], timed: bool, threads: int | None) -> int:
    """One row for each net: what it was made for, and what it costs."""
    rows: list[list[str]] = []
    documents: list[dict[str, Any]] = []
    for entry in entries:
        net, shape = model_of(entry.name, None, None)
        found = figures(net, shape, timed, threads)
        year = entry.card(entry.name).year
        rows.append([entry.name, str(year or ""), dimensions(shape), str(entry.classes),
                     in_thousands(found.parameters), in_thousands(found.multiply_adds),
                     *latency(found)])
        documents.append({"name": entry.name, "year": year or None, "input": shape,
                          "outputs": entry.classes, **asdict(found)})
    heads = [tr("model"), tr("year"), tr("input"), tr("outputs"), tr("Parameters"),
             tr("Multiply-adds"), *["ms"] * timed]
    output.table(heads, rows, numbers=range(1, len(heads)))
    output.show(tr("Multiply-adds are for one sample. `kiso models NAME` shows a model's card."))
    if timed:
        output.show(measured_on(threads))
    output.document({"models": documents})
    return 0


def figures(net: nn.Module, shape: tuple[int, ...], timed: bool, threads: int | None) -> Figures:
    """Counts from shapes; the time, if it is wanted, by running the net."""
    found = net.summary(shape)
    return Figures(found.parameters, found.multiply_adds,
                   measured(net, shape, threads) if timed else None)


def measured(net: nn.Module, shape: tuple[int, ...], threads: int | None) -> float:
    """Seconds for one sample in inference, the median of many calls; compiling is not counted."""
    import numpy as np

    import kiso

    call = kiso.compile(net.eval(), threads=threads)
    x = np.random.default_rng(0).standard_normal((1, *shape), np.float32)
    call(x)
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(times) < FEWEST or time.perf_counter() < end:
        begin = time.perf_counter()
        call(x)
        times.append(time.perf_counter() - begin)
    return median(times)


def latency(found: Figures) -> list[str]:
    """Milliseconds as a cell, if they were measured."""
    return [] if found.seconds is None else [f"{found.seconds * 1e3:.2f}"]


def measured_on(threads: int | None) -> str:
    """What the times are times of."""
    from kiso import config

    return tr("Times are for one sample, inference, {threads} threads, {processor}.",
              threads=threads or config.num_threads(), processor=processor())


def card(output: Output, entry: Entry, model: str, input: tuple[int, ...] | None,
         outputs: int | None, timed: bool, threads: int | None) -> int:
    """All about one net."""
    from kiso.models import structure, text_of
    from kiso.train.recipes import recipe_of_model

    net, shape = model_of(model, input, outputs)
    stages = structure(net, shape)
    found = figures(net, shape, timed, threads)
    about = entry.card(entry.name)
    recipe = recipe_of_model(entry.name)
    output.fields(facts(about, entry, found, shape, recipe), title=text_of(net))
    output.show()
    stage_table(output, stages, found)
    if timed:
        output.show(measured_on(threads))
    output.document({
        "name": entry.name, "model": text_of(net), **asdict(about), "recipe": recipe,
        "input": shape,
        "outputs": outputs or entry.classes, "options": sorted(entry.options()),
        **asdict(found), "structure_table": [{**asdict(s), "name": s.name} for s in stages]})
    return 0


def facts(about: Card, entry: Entry, found: Figures, shape: tuple[int, ...], recipe: str
          ) -> list[tuple[str, Any]]:
    """Task, structure, accuracy, size, differences: names and texts."""
    rows: list[tuple[str, Any]] = [
        (tr("source"), about.source), (tr("task"), about.task),
        (tr("structure"), about.structure),
        (tr("accuracy, paper"), about.accuracy or tr("no figure in the paper")),
        (tr("accuracy, Kiso"), about.measured or tr("not measured yet")),
        (tr("input"), dimensions(shape)),
        (tr("parameters"), tr("{count} ({size})", count=in_thousands(found.parameters),
                              size=in_bytes(4 * found.parameters))),
        (tr("multiply-adds"), in_thousands(found.multiply_adds)),
        *[(tr("links"), in_thousands(about.links))] * bool(about.links)]
    if not about.year:
        rows = [row for row in rows if row[0] != tr("accuracy, paper")]
    rows += [(tr("time"), f"{cell} ms") for cell in latency(found)]
    rows.append((tr("recipe"), recipe_lines(recipe)))
    if about.differences:
        rows.append((tr("differences"), list(about.differences)))
    if entry.options():
        rows.append((tr("options"), ", ".join(entry.options())))
    return rows


def stage_table(output: Output, stages: list[Stage], found: Figures) -> None:
    """The net's parts; equal ones in one row."""
    rows = [[s.name, f"{s.count} x {s.layers}" if s.count > 1 else s.layers,
             dimensions(s.output_shape), in_thousands(s.parameters), in_thousands(s.multiply_adds)]
            for s in stages]
    output.table(["", tr("Layers"), tr("Output shape"), tr("Parameters"), tr("Multiply-adds")],
                 rows, numbers=(3, 4),
                 footer=["", tr("sum"), "", in_thousands(found.parameters),
                         in_thousands(found.multiply_adds)])
