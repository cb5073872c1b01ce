"""What the report says about a run as a whole: headline, key figures, curves, settings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from kiso.report.run import Run
from kiso.report.scores import SCORES, Card, last, number, percent, wilson
from kiso.text import tr
from kiso.train.progress import duration

__all__ = [
    "Card",
    "Table",
    "cards",
    "curve_notes",
    "environment",
    "file_size",
    "file_table",
    "headline",
    "history_table",
    "notices",
    "number",
    "percent",
    "remarks",
    "settings",
    "wilson",
]

REMARKS = ("problems", "remarks")  # entries of the table "data": pairs of a name and a text


@dataclass(frozen=True)
class Table:
    """A table of texts."""

    title: str
    head: list[str]
    rows: list[list[str]]


def file_size(count: float) -> str:
    """1234567 as "1.2 MB" (1 MB = 1,000,000 bytes)."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 999.5 or unit == "GB":
            return f"{count:.3g} {unit}"
    raise AssertionError("unreachable")


def _epochs(count: int) -> str:
    return tr("1 epoch") if count == 1 else tr("{n} epochs", n=f"{count:,}")


def headline(run: Run) -> str:
    """The result in one sentence."""
    done, scores = int(run.number("epochs") or len(run.history)), SCORES[run.task]
    if run.finished:
        return scores.result(run, _epochs(done), duration(run.number("seconds_total") or math.nan))
    if not run.history:
        return tr("Not finished: no epoch has ended yet")
    planned = run.setting("epochs")
    return scores.so_far(run, tr("{done} of {planned} epochs", done=done, planned=planned)
                         if isinstance(planned, int) else _epochs(done))


def notices(run: Run) -> list[str]:
    """What is missing, damaged or unusual, in sentences."""
    found: list[str] = []
    reasons = {
        "config.toml": tr("so the settings of the run are unknown"),
        "history.csv": tr("so there are no learning curves"),
        "metrics.json": tr("it is written when the training ends"),
        "predictions.npz": tr("so nothing can be said about single test samples"),
    }
    found += [tr("{file} is missing: {reason}.", file=name, reason=reasons[name])
              for name in run.missing]
    for name, reason in run.damaged.items():
        found.append(tr("{file} cannot be read ({reason}), {effect}.", file=name, reason=reason,
                        effect=reasons[name]))
    if not run.finished:
        found.append(tr("The run is not finished. Continue it with: kiso resume {folder}",
                        folder=run.folder.name))
    elif run.metrics.get("stopped"):
        found.append(tr("Stopped early: {reason}", reason=run.metrics["stopped"]))
    return found


def cards(run: Run) -> list[Card]:
    """Key figures; those that the run lacks are left out."""
    return SCORES[run.task].cards(run) + _cost(run)


def _cost(run: Run) -> list[Card]:
    """Size and time."""
    found: list[Card] = []
    if run.best_epoch:
        planned = int(run.number("epochs") or len(run.history))
        found.append(Card(tr("Best epoch"), str(run.best_epoch), tr("of {n}", n=planned)))
    parameters = run.number("parameters")
    if parameters is not None:
        found.append(Card(tr("Parameters"), f"{parameters:,.0f}"))
    seconds = run.number("seconds_train")
    if seconds is None and run.history:
        seconds = sum(row.get("seconds", 0.0) for row in run.history)
    if seconds:
        rate = run.number("images_per_second")
        note = tr("{rate} samples per second", rate=number(round(rate))) if rate else ""
        found.append(Card(tr("Training time"), duration(seconds), note))
    return found


# --------------------------------------------------------------------------------------- curves


def curve_notes(run: Run) -> list[str]:
    """What the curves show: the gap at the best epoch, over- or underfitting."""
    best, train = run.best_epoch, last(run, "train_loss")
    val = last(run, "val_loss")
    if train is None or val is None:
        return []
    found = [tr("At the best epoch ({epoch}) the validation loss is {val} and the training loss "
                "{train}: a gap of {gap}.", epoch=best, val=number(val), train=number(train),
                gap=number(val - train))]
    if val < train:
        found.append(tr("The training figures are means over a whole epoch, while the model was "
                        "still changing, and with augmentation and dropout at work; so they may "
                        "well be worse than those of the validation."))
    rows = [r for r in run.history if math.isfinite(r.get("val_loss", math.nan))]
    lowest = min(rows, key=lambda r: r["val_loss"]) if rows else None
    if lowest is None or len(rows) < 4:
        return found
    end = rows[-1]
    rises = end["val_loss"] > 1.1 * lowest["val_loss"]
    if rises and end.get("train_loss", math.inf) < lowest.get("train_loss", 0.0):
        found.append(tr("After epoch {epoch} the validation loss rises while the training loss "
                        "still falls: the model learns the training data by heart (overfitting). "
                        "More data, --augment, --weight-decay, dropout or --patience help.",
                        epoch=int(lowest["epoch"])))
    elif lowest is end:
        found.append(tr("The validation loss still falls at the end: more epochs may give a better "
                        "model."))
    return found


def history_table(run: Run) -> Table:
    """The numbers behind the curves."""
    scores = SCORES[run.task]
    columns: list[tuple[str, str]] = [
        ("epoch", tr("epoch")), ("train_loss", tr("training loss")),
        ("val_loss", tr("validation loss")),
        *scores.columns(),
        ("val_r2", tr("validation R²")), ("lr", tr("learning rate")),
        ("gradient_norm", tr("gradient norm")), ("seconds", tr("seconds")),
    ]
    columns = [(key, name) for key, name in columns if any(key in row for row in run.history)]
    percents = [name for name, _ in scores.columns()] if run.score == "accuracy" else []
    rows = [[percent(row.get(key), 2) if key in percents else number(row.get(key))
             for key, _ in columns] for row in run.history]
    return Table(tr("The numbers of every epoch"), [name for _, name in columns], rows)


# ------------------------------------------------------------------------- settings and machine


def _flat(value: Any, prefix: str = "") -> list[list[str]]:
    """Nested tables as rows of "a.b" and a text."""
    if isinstance(value, dict):
        table: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
        return [row for key, item in table.items()
                for row in _flat(item, f"{prefix}.{key}" if prefix else str(key))]
    if isinstance(value, list):
        items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        lines = any(isinstance(item, dict) for item in items)
        return [[prefix, ("; " if lines else ", ").join(map(_entry, items)) or "–"]]
    if isinstance(value, bool):
        return [[prefix, str(value).lower()]]  # as config.toml writes it
    return [[prefix, str(value) or "–"]]


def _entry(item: Any) -> str:
    """One entry of a list: a table as "name value, name value"."""
    if isinstance(item, dict):
        table: dict[str, Any] = item  # pyright: ignore[reportUnknownVariableType]
        return ", ".join(f"{key} {_entry(value)}" for key, value in table.items())
    return str(item).lower() if isinstance(item, bool) else str(item)


def settings(run: Run) -> list[Table]:
    """config.toml, one table for each of its tables."""
    titles = {"options": tr("Options given"), "hyperparameters": tr("Hyperparameters"),
              "data": tr("Data")}
    head = [tr("name"), tr("value")]
    loose: list[list[str]] = []
    found: list[Table] = []
    for name, value in run.config.items():
        if isinstance(value, dict) and name != "environment":
            table: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
            shown = {key: item for key, item in table.items() if key not in REMARKS}
            found.append(Table(titles.get(name, name), head, _flat(shown)))
        elif name != "environment":
            loose += _flat(value, name)
    return ([Table(tr("Run"), head, loose)] if loose else []) + found


def remarks(run: Run) -> list[Table]:
    """Files or rows that were left out, and what was noticed about others: every one of them."""
    data: Any = run.config.get("data")
    found: list[Table] = []
    for key in REMARKS:
        pairs: Any = data.get(key) if isinstance(data, dict) else None  # pyright: ignore
        if pairs and isinstance(pairs, list):
            rows = [[str(text) for text in pair] for pair in pairs]  # pyright: ignore
            n = f"{len(rows):,}"
            title = tr("Left out: {n}", n=n) if key == "problems" else tr("Remarks: {n}", n=n)
            found.append(Table(title, [tr("file or row"), tr("reason")], rows))
    return found


def environment(run: Run) -> Table:
    """Versions, machine and fingerprint."""
    stated = run.metrics.get("environment", run.config.get("environment", {}))
    rows = _flat(stated) if isinstance(stated, dict) and stated else []
    given = {row[0] for row in rows}
    for key, name in (("engine", tr("engine")), ("conv", tr("convolutions")),
                      ("threads", tr("threads")), ("seed", tr("seed")),
                      ("weights_sha256", tr("SHA-256 of the weights"))):
        value = run.metrics.get(key)
        if value is not None and key not in given:
            rows.append([name, str(value)])
    memory = run.number("peak_memory_bytes")
    if memory:
        rows.append([tr("peak memory"), file_size(memory)])
    return Table(tr("Environment"), [tr("name"), tr("value")], rows)


def file_table(run: Run) -> Table:
    """The files of the run folder."""
    purpose = {
        "config.toml": tr("all that is needed to repeat the run"),
        "history.csv": tr("one line an epoch, for spreadsheets"),
        "metrics.json": tr("all figures, for programs"),
        "predictions.npz": SCORES[run.task].kept(),
        "checkpoint-last.safetensors": tr("where the training stands, for kiso resume"),
        "checkpoint-best.safetensors": tr("weights of the best epoch, for kiso predict"),
    }
    rows = [[name, file_size(count), purpose.get(name, "")] for name, count in run.files]
    return Table(tr("Files"), [tr("file"), tr("size"), tr("what it holds")], rows)
