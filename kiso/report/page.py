"""From a run folder to `report.html`: one file that needs nothing else, online or off."""

from __future__ import annotations

import contextvars
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kiso.files import write_atomic
from kiso.report import overview
from kiso.report.run import Pictures, Predictions, Run, read_run
from kiso.report.scores import SCORES
from kiso.text import current_language, set_language, tr

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["build", "render"]

TEMPLATES = Path(__file__).parent / "templates"


def build(folder: str | Path, *, lang: str | None = None) -> Path:
    """Write `report.html` into a run folder and return its path.

    It reads config.toml, history.csv, metrics.json and predictions.npz; what is missing, as in an
    unfinished run, is named in the report. lang: `en` or `ja`, default the language in force.
    Errors: DataError when the folder is no run; OutputError when it cannot be written.
    """
    run = read_run(Path(folder))
    return write_atomic(run.folder / "report.html", render(run, lang=lang))


def render(run: Run, *, lang: str | None = None) -> bytes:
    """The page as UTF-8. The same run gives the same bytes."""
    # A copy of the context: neither the language nor the style of figures changes outside.
    return contextvars.copy_context().run(_render, run, lang)


def _render(run: Run, lang: str | None) -> bytes:
    import matplotlib as mpl
    import matplotlib.style

    if lang is not None:
        set_language(lang)
    with mpl.rc_context(), matplotlib.style.context({}, after_reset=True):
        page = _environment().get_template("report.html").render(_content(run))
    # File names may hold bytes that are no text (surrogates in Python); they become "?".
    return page.encode("utf-8", "replace")


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True,
                       lstrip_blocks=True, undefined=StrictUndefined)
    made.globals["tr"] = tr  # pyright: ignore[reportArgumentType]
    made.filters["percent"] = overview.percent
    made.filters["number"] = overview.number
    return made


def _content(run: Run) -> dict[str, Any]:
    """Everything that the templates show."""
    from kiso.report.classification import classes_of
    from kiso.report.pictures import gallery_of
    from kiso.report.regression import targets_of

    answers = run.predictions
    classify = run.task == "classification"
    gallery = gallery_of(answers) if isinstance(answers, Pictures) else None
    classes = classes_of(answers) if isinstance(answers, Predictions) and classify else None
    targets = targets_of(run, answers) if isinstance(answers, Predictions) and not classify else []
    return {
        "lang": current_language(), "run": run, "name": run.folder.resolve().name,
        "headline": overview.headline(run), "notices": overview.notices(run),
        "cards": overview.cards(run), "curves": _curves(run),
        "notes": overview.curve_notes(run), "history": overview.history_table(run),
        "classes": classes, "matrix": _matrix(classes), "targets": targets,
        "gallery": gallery,
        "remarks": overview.remarks(run), "settings": overview.settings(run),
        "environment": overview.environment(run), "files": overview.file_table(run),
    }


def _curves(run: Run) -> list[Any]:
    """Inline SVG of the loss and of the score."""
    from markupsafe import Markup

    from kiso.report import figures
    from kiso.report.svg import inline_svg

    if not run.history:
        return []
    labels = {
        "loss": tr("Loss over the epochs, training and validation, the best epoch marked"),
        run.score: SCORES[run.task].curve(),
    }
    return [Markup(inline_svg(figures.learning_curves(run.history, best_epoch=run.best_epoch,
                                                      panels=[panel]), f"curve-{panel}",
                              labels[panel])) for panel in ("loss", run.score)]


def _matrix(classes: Any) -> Any:
    """Inline SVG of the confusion matrix, for so many classes that a table would not do."""
    from markupsafe import Markup

    from kiso.report import figures
    from kiso.report.svg import inline_svg

    if classes is None or classes.cells:
        return ""
    figure = figures.confusion_figure(classes.matrix, classes.names)
    return Markup(inline_svg(figure, "matrix", tr("Confusion matrix of {n} classes",
                                                  n=len(classes.names))))
