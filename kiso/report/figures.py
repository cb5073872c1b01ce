"""The figures of a report, as matplotlib Figures that can be styled and saved.

    from kiso.report.figures import learning_curves
    figure = learning_curves(history)          # any list of dicts with epoch, train_loss, ...
    figure.axes[0].set_yscale("log")
    figure.savefig("curves.png", dpi=200)

They use no pyplot and no global state. All places are computed, not measured, so that a figure is
the same on every machine whatever fonts it has. The colours have names here because the report's
page puts its own in their place (see svg.py), which makes figures follow its dark scheme.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colors, font_manager
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from kiso.text import tr
from kiso.train.metrics import class_report

__all__ = ["confusion_figure", "learning_curves", "residuals", "scatter", "spread"]

INK, MUTED, GRID = "#1a2231", "#5b6676", "#e1e5eb"
TRAIN, VALIDATION, BEST = "#2a66d9", "#cf5f0a", "#12855b"
RIGHT, WRONG = "#2560d8", "#cd3c2d"  # cells of the confusion matrix
PAPER = "#fffffe"  # text on dark cells

JAPANESE = ("Noto Sans CJK JP", "Noto Sans JP", "Hiragino Sans", "Yu Gothic", "Meiryo",
            "IPAexGothic", "IPAGothic", "TakaoGothic", "VL Gothic")
NUMBERED = 30  # up to as many classes the cells hold their counts
POINTS = 1500  # more points are drawn as pixels: a vector each would make the page heavy


@cache
def _families() -> list[str]:
    """Fonts for labels: matplotlib's own, then what this machine has for Japanese."""
    present = set(font_manager.get_font_names())
    return ["DejaVu Sans", *(name for name in JAPANESE if name in present)]


def _label(text: object, most: int = 0) -> str:
    """A text that is safe in a figure: no control characters, shortened to `most` characters."""
    safe = str(text).encode("utf-8", "replace").decode("utf-8")
    safe = "".join(" " if unicodedata.category(c) in ("Cc", "Cn", "Co") else c for c in safe)
    return safe if not most or len(safe) <= most else safe[: most - 1] + "…"


def _ems(text: str) -> float:
    """Width of a text in units of its size: full-width characters 1, others 0.6."""
    return sum(1.0 if unicodedata.east_asian_width(c) in "WFA" else 0.6 for c in text)


def _canvas(width: float, height: float, *, left: float = 0.62, right: float = 0.15,
            bottom: float = 0.5, top: float = 0.38) -> tuple[Figure, Any]:
    """A figure with one plot in it; inches."""
    figure = Figure(figsize=(width, height))
    figure.patch.set_alpha(0.0)
    box = (left / width, bottom / height, (width - left - right) / width,
           (height - bottom - top) / height)
    return figure, _axes(figure, box)


def _axes(figure: Figure, box: tuple[float, float, float, float]) -> Any:
    axes: Any = figure.add_axes(box)
    axes.set_facecolor("none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRID)
    axes.tick_params(colors=MUTED, labelcolor=MUTED, labelsize=9, length=0, pad=5,
                     labelfontfamily=_families())
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    return axes


def _text(color: str = MUTED, size: float = 9.5, **more: Any) -> dict[str, Any]:
    """Style of a text; class and target names are no formulas, whatever $ they hold."""
    return {"color": color, "fontsize": size, "fontfamily": _families(), "parse_math": False,
            **more}


def _title(axes: Any, text: str) -> None:
    axes.set_title(_label(text, 60), loc="left", pad=27, **_text(INK, 11, fontweight="bold"))


def _legend(axes: Any) -> None:
    """Between title and plot, where no curve can run through it."""
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 0.985), ncols=4, frameon=False,
                labelcolor=INK, handlelength=1.4, handletextpad=0.5, columnspacing=1.1,
                borderaxespad=0.2, prop={"family": _families(), "size": 8.5})


# ----------------------------------------------------------------------------- learning curves


def learning_curves(history: Sequence[Mapping[str, Any]], *, best_epoch: int | None = None,
                    panels: Sequence[str] | None = None) -> Figure:
    """Loss and score over the epochs, training and validation, the best epoch marked.

    history: rows with `epoch`, `train_loss`, `val_loss` and a score: `train_accuracy` and
    `val_accuracy`, or the same of mae or psnr; missing and non-finite values leave gaps. The shaded
    band is the gap between training and validation. panels: of "loss", "accuracy", "mae", "psnr"
    (default: loss, and the score that the rows have). best_epoch: default the one with the lowest
    validation loss.
    """
    if panels is None:
        panels = ["loss", *(n for n in ("accuracy", "mae", "psnr")
                            if any(f"train_{n}" in row for row in history))]
    best = best_epoch if best_epoch is not None else _lowest(history)
    width, height = 4.6 * len(panels), 3.3
    figure = Figure(figsize=(width, height))
    figure.patch.set_alpha(0.0)
    for i, panel in enumerate(panels):
        box = ((0.66 + 4.6 * i) / width, 0.5 / height, 3.8 / width, 2.15 / height)
        _curves(_axes(figure, box), history, panel, best)
    return figure


def _lowest(history: Sequence[Mapping[str, Any]]) -> int:
    rows = [(row.get("val_loss", row.get("train_loss")), row["epoch"]) for row in history]
    losses = [(loss, epoch) for loss, epoch in rows if loss is not None and np.isfinite(loss)]
    return int(min(losses)[1]) if losses else 0


def _column(history: Sequence[Mapping[str, Any]], name: str) -> npt.NDArray[np.float64]:
    values = [row.get(name) for row in history]
    column = np.array([np.nan if v is None else float(v) for v in values], np.float64)
    column[~np.isfinite(column)] = np.nan
    return column


def _as_percent(value: float, _: Any) -> str:
    return f"{100 * value:.3g} %"


def _curves(axes: Any, history: Sequence[Mapping[str, Any]], panel: str, best: int) -> None:
    epochs = _column(history, "epoch")
    train, val = _column(history, f"train_{panel}"), _column(history, f"val_{panel}")
    dots = {"marker": "o", "markersize": 3.5} if len(epochs) <= 40 else {}
    axes.plot(epochs, train, color=TRAIN, linewidth=2, label=tr("train"), **dots)
    if not np.isnan(val).all():
        axes.plot(epochs, val, color=VALIDATION, linewidth=2, label=tr("validation"), **dots)
        axes.fill_between(epochs, train, val, color=VALIDATION, alpha=0.12, linewidth=0,
                          label=tr("gap"))
    shown = val if not np.isnan(val).all() else train
    at = np.flatnonzero((epochs == best) & ~np.isnan(shown))
    if len(at):
        axes.axvline(best, color=BEST, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.plot([best], shown[at[:1]], "o", color=BEST, markersize=8, zorder=5,
                  label=tr("best epoch ({epoch})", epoch=best))
    if panel == "accuracy":
        axes.yaxis.set_major_formatter(FuncFormatter(_as_percent))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    last = float(np.nanmax(epochs)) if len(epochs) else 1.0
    room = max(0.5 if last < 3 else 0.0, 0.03 * last)
    axes.set_xlim(1 - room, last + room)
    axes.set_xlabel(tr("epoch"), **_text())
    names = {"loss": tr("Loss"), "accuracy": tr("Accuracy"), "mae": tr("Mean absolute error"),
             "psnr": tr("PSNR (dB)")}
    _title(axes, names.get(panel, panel))
    if len(epochs):
        _legend(axes)


# ---------------------------------------------------------------------------- confusion matrix


def confusion_figure(matrix: npt.ArrayLike, classes: Sequence[str]) -> Figure:
    """Rows: true classes, columns: predicted ones. Blue: right, red: wrong; stronger: a larger
    share of the row. Up to 30 classes the cells hold the counts. Any number of classes.
    """
    counts = np.asarray(matrix)
    report = class_report(counts)  # checks the matrix
    k = len(counts)
    if len(classes) != k:
        raise ValueError(f"{len(classes)} class names for {k} classes.")
    names = [_label(name, 16) for name in classes]
    cell = 0.42 if k <= NUMBERED else max(0.1, 12.6 / k * 0.8)
    size = 8.5 if k <= NUMBERED else min(8.0, cell * 72 * 0.8)
    margin = max(_ems(name) for name in names) * size / 72 + 0.45
    side = max(cell * k, 1.6)
    figure, axes = _canvas(side + margin + 0.1, side + margin + 0.1, left=margin, right=0.1,
                           bottom=margin, top=0.1)
    shares = counts / np.maximum(report.support, 1)[:, None]  # (k, k)
    alpha = np.where(counts > 0, 0.12 + 0.88 * shares, 0.0)
    if k <= NUMBERED:
        _cells(axes, counts, alpha)
    else:
        rgba = np.zeros((k, k, 4))
        rgba[..., :3] = colors.to_rgb(WRONG)
        rgba[np.arange(k), np.arange(k), :3] = colors.to_rgb(RIGHT)
        rgba[..., 3] = np.where(counts > 0, np.maximum(alpha, 0.3), 0.0)
        axes.imshow(rgba, interpolation="none", aspect="equal")
    axes.grid(False)
    axes.set(xlim=(-0.5, k - 0.5), ylim=(k - 0.5, -0.5), aspect="equal")
    axes.set_xticks(range(k), names, rotation=90, **_text(MUTED, size))
    axes.set_yticks(range(k), names, **_text(MUTED, size))
    axes.spines[:].set(visible=True, color=GRID)
    # Placed by the axes, not by measuring the labels: the browser's font may be another one.
    axes.text(0.5, -(margin - 0.15) / side, tr("predicted class"), transform=axes.transAxes,
              ha="center", va="center", **_text(INK, 9.5))
    axes.text(-(margin - 0.15) / side, 0.5, tr("true class"), transform=axes.transAxes, rotation=90,
              ha="center", va="center", **_text(INK, 9.5))
    return figure


def _cells(axes: Any, counts: npt.NDArray[Any], alpha: npt.NDArray[np.float64]) -> None:
    """Squares with their counts in them; empty ones only get a thin line."""
    k = len(counts)
    digits = max(2, len(str(counts.max())))
    for i in range(k):
        for j in range(k):
            color = RIGHT if i == j else WRONG
            axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=color,
                                     alpha=float(alpha[i, j]), linewidth=0))
            if counts[i, j]:
                ink = PAPER if alpha[i, j] > 0.5 else INK
                axes.text(j, i, str(counts[i, j]), ha="center", va="center",
                          **_text(ink, min(10.0, 26 / digits)))
    for edge in range(1, k):
        axes.axhline(edge - 0.5, color=GRID, linewidth=0.6)
        axes.axvline(edge - 0.5, color=GRID, linewidth=0.6)


# ---------------------------------------------------------------------------------- regression


def _finite(y: npt.ArrayLike, prediction: npt.ArrayLike) -> tuple[Any, Any]:
    a, b = np.asarray(y, np.float64).ravel(), np.asarray(prediction, np.float64).ravel()
    keep = (np.abs(a) < 1e300) & (np.abs(b) < 1e300)  # NaN compares as false
    return a[keep], b[keep]


def scatter(y: npt.ArrayLike, prediction: npt.ArrayLike, *, name: str = "") -> Figure:
    """Predicted against true values of one target; perfect predictions lie on the line."""
    a, b = _finite(y, prediction)
    figure, axes = _canvas(4.6, 4.1, left=0.8, top=0.65)
    if len(a):
        low, high = min(a.min(), b.min()), max(a.max(), b.max())
        axes.plot([low, high], [low, high], color=BEST, linewidth=1.5, label=tr("exact"))
        _legend(axes)
    axes.scatter(a, b, s=14, color=TRAIN, alpha=0.65 if len(a) < 300 else 0.3, linewidths=0,
                 rasterized=len(a) > POINTS)
    axes.set_xlabel(tr("true value"), **_text())
    axes.set_ylabel(tr("predicted value"), labelpad=8, **_text())
    _title(axes, name or tr("Predicted and true values"))
    return figure


def residuals(y: npt.ArrayLike, prediction: npt.ArrayLike, *, name: str = "") -> Figure:
    """Histogram of the residuals, prediction minus true value, of one target."""
    a, b = _finite(y, prediction)
    figure, axes = _canvas(4.6, 4.1, left=0.8, top=0.65)
    if len(a):
        low, high = float((b - a).min()), float((b - a).max())
        if high - low <= 1e-9 * max(abs(low), abs(high)):  # all alike: one bar of some width
            half = 0.5 * max(abs(low), 1.0)
            low, high = low - half, high + half
        bins = int(np.clip(np.sqrt(len(a)), 5, 40))
        axes.hist(b - a, bins=bins, range=(low, high), color=TRAIN, alpha=0.75, rwidth=0.94)
        axes.axvline(0, color=BEST, linewidth=1.5, label=tr("exact"))
        _mark_mean(axes, float((b - a).mean()), ".3g")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(tr("prediction minus true value"), **_text())
    axes.set_ylabel(tr("samples"), labelpad=8, **_text())
    _title(axes, name or tr("Residuals"))
    return figure


def _mark_mean(axes: Any, mean: float, form: str) -> None:
    """A line at the mean of a histogram, and the legend."""
    axes.axvline(mean, color=VALIDATION, linewidth=1.5, linestyle=(0, (4, 3)),
                 label=tr("mean ({mean})", mean=f"{mean:{form}}"))
    _legend(axes)


# -------------------------------------------------------------------------- pictures given back


def spread(psnr: npt.ArrayLike) -> Figure:
    """Histogram of the PSNR of pictures, in dB, their mean marked."""
    values = np.asarray(psnr, np.float64)
    figure, axes = _canvas(4.6, 3.3, left=0.8, top=0.65)
    if len(values):
        axes.hist(values, bins=int(np.clip(np.sqrt(len(values)), 5, 40)), color=TRAIN, alpha=0.75,
                  rwidth=0.94)
        _mark_mean(axes, float(values.mean()), ".2f")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(tr("PSNR (dB); more is better"), **_text())
    axes.set_ylabel(tr("pictures"), labelpad=8, **_text())
    _title(axes, tr("PSNR of the test pictures"))
    return figure
