"""`kiso evaluate`, `kiso predict` and `kiso report`: what a finished run is good for."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kiso.cli.figures import class_table, per_cent, score_rows, significant
from kiso.cli.output import Output, in_thousands, list_some
from kiso.cli.pictures import answer_document, check_folder, picture_table, write_pictures
from kiso.errors import ConfigError
from kiso.text import tr

if TYPE_CHECKING:
    from kiso.train import Prediction

__all__ = ["evaluate", "predict", "report"]

UNUSABLE = 2  # exit code when not a single file could be judged


def evaluate(output: Output, run: str, data: str | None = None, **options: Any) -> int:
    """Scores on the run's own test samples or on other data."""
    from kiso.train import evaluate as judge

    found = judge(run, data, **options)
    for name, reason in found.get("problems", ()):
        output.warn(tr("left out: {name}: {reason}", name=name, reason=reason))
    which = tr("the test samples") if found["split"] == "test" else tr("all samples")
    rows: list[tuple[str, str]] = [
        (tr("run"), run),
        (tr("data"), tr("{name}: {which}, {n}", name=found["data"], which=which,
                        n=in_thousands(found["samples"]))),
    ]
    output.fields([*rows, *score_rows(found, "")])
    if "report" in found:
        class_table(output, found["report"])
    output.document({"run": run, **found})
    return 0


def predict(output: Output, run: str, files: list[str], csv: bool = False,
            out: str | None = None, pictures: str | None = None, **options: Any) -> int:
    """Answers for new files or rows."""
    from kiso.train import predict as judge

    if csv and output.json:
        raise ConfigError(tr("--csv and --json exclude each other; choose one."))
    if out is not None:
        check_target(Path(out))
    check_folder(pictures)
    answers = judge(run, files, **options)
    good = [answer for answer in answers if answer.problem is None]
    problems = [(a.name, a.problem) for a in answers if a.problem is not None]
    # Some reasons name the file themselves.
    for line in list_some([why if name in why else f"{name}: {why}" for name, why in problems], 20):
        output.warn(line)
    remarks = [f"{a.name}: {note}" for a in good for note in a.notes]
    for line in list_some(remarks, 20):
        output.warn(line)
    written = write_pictures(good, run, pictures)
    if pictures is not None and good and not written:
        output.warn(tr("--pictures is for nets that give pictures back; nothing was written."))
    if out is not None:
        from kiso.files import write_atomic
        write_atomic(out, as_csv(answers))
        output.note(tr("Saved {n} answers to {path}", n=in_thousands(len(good)), path=out))
    output.document([answer_document(answer, written) for answer in answers])
    if csv and out is None:
        output.raw(as_csv(answers))
    elif out is None and written:
        picture_table(output, good, written)
    elif out is None and good:
        answer_table(output, good)
    if not good:
        output.error(tr("nothing could be judged: none of the files is usable."))
        return UNUSABLE
    return 0


def check_target(path: Path) -> None:
    """Refuse a file that cannot be written before time is spent on the answers."""
    if path.is_dir():
        raise ConfigError(tr("--out {path} is a folder; expected the name of a file.", path=path))
    if not path.parent.is_dir():
        raise ConfigError(tr("--out {path}: there is no folder {folder}; make it first.", path=path,
                             folder=path.parent))


def columns(answers: Sequence[Prediction]) -> tuple[list[str], list[str]]:
    """(classes, targets) that occur in the answers."""
    classes = list(dict.fromkeys(c for a in answers for c in a.probabilities or ()))
    targets = list(dict.fromkeys(t for a in answers for t in a.values or ()))
    return classes, targets


def as_csv(answers: Sequence[Prediction]) -> str:
    """One line an answer: name, class and probability of each class, or the target values."""
    classes, targets = columns(answers)
    problems = any(answer.problem for answer in answers)
    head = ["name"]
    head += ["class", *(f"p({name})" for name in classes)] if classes else targets
    if problems:
        head.append("problem")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    for answer in answers:
        row: list[Any] = [answer.name]
        if classes:
            shares = answer.probabilities or {}
            row += [answer.label or "", *(f"{shares[c]:.6g}" if c in shares else ""
                                          for c in classes)]
        else:
            values = answer.values or {}
            row += [f"{values[t]:.7g}" if t in values else "" for t in targets]
        writer.writerow([*row, *([answer.problem or ""] if problems else [])])
    return text.getvalue()


def answer_table(output: Output, answers: Sequence[Prediction]) -> None:
    """The answers for people: the class with its probability and the next best, or the values."""
    classes, targets = columns(answers)
    if not classes:
        output.table([tr("name"), *targets],
                     [[a.name, *(significant((a.values or {})[t]) for t in targets)]
                      for a in answers], numbers=range(1, len(targets) + 1))
        return
    rows: list[list[str]] = []
    for answer in answers:
        shares = answer.probabilities or {}
        ranked = sorted(shares, key=shares.__getitem__, reverse=True)
        second = ranked[1] if len(ranked) > 1 else None
        rows.append([answer.name, answer.label or "-", per_cent(shares[ranked[0]]),
                     "" if second is None else f"{second} {per_cent(shares[second])}"])
    output.table([tr("name"), tr("class"), tr("probability"), tr("next")], rows, numbers=(2,))


def report(output: Output, run: str) -> int:
    """Write report.html anew."""
    from kiso.report import build

    path = build(run)
    output.fields([(tr("report"), str(path))])
    output.document({"run": run, "report": path})
    return 0
