"""Figures as objects to style and save, and as inline SVG."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kiso.errors import ShapeError
from kiso.report import figures
from kiso.report.overview import file_size, number, percent, wilson
from kiso.report.svg import inline_svg, png_uri
from tests.report import folders


def png(figure: Any) -> Any:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white")
    return np.asarray(Image.open(buffer).convert("RGB"))


def svg_text(svg: str) -> str:
    return " ".join(ElementTree.fromstring(svg).itertext())


def test_learning_curves_draw_the_numbers() -> None:
    rows = folders.history(10)
    figure = figures.learning_curves(rows)
    loss, accuracy = figure.axes
    drawn = {line.get_label(): line.get_ydata() for line in loss.lines}
    np.testing.assert_allclose(drawn["train"], [row["train_loss"] for row in rows])
    np.testing.assert_allclose(drawn["validation"], [row["val_loss"] for row in rows])
    assert "best epoch (10)" in drawn
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Loss", "Accuracy"]
    assert accuracy.get_xlabel() == "epoch"


def test_the_best_epoch_is_the_lowest_or_the_one_named() -> None:
    rows = folders.history(16, overfits=True)
    lowest = int(np.argmin([row["val_loss"] for row in rows])) + 1
    for asked, shown in ((None, lowest), (3, 3)):
        lines = figures.learning_curves(rows, best_epoch=asked).axes[0].lines
        assert f"best epoch ({shown})" in [line.get_label() for line in lines]


def test_regression_curves_and_missing_values() -> None:
    rows = folders.history(5, "regression")
    assert figures.learning_curves(rows).axes[1].get_title(loc="left") == "Mean absolute error"
    broken = [{"epoch": 1, "train_loss": 1.0}, {"epoch": 2, "train_loss": float("inf")},
              {"epoch": 3, "train_loss": None, "val_loss": 2.0}]
    assert png(figures.learning_curves(broken)).size
    assert png(figures.learning_curves([])).size


def test_a_figure_can_be_styled_and_saved(tmp_path: Path) -> None:
    figure = figures.learning_curves(folders.history(4))
    figure.axes[0].set_title("Mine")
    figure.set_size_inches(3, 2)
    for name in ("a.png", "a.svg", "a.pdf"):
        figure.savefig(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 500
    assert "Mine" in inline_svg(figure, "a", "b")


@pytest.mark.parametrize("classes", [1, 2, 30, 31, 100])
def test_confusion_figure(classes: int) -> None:
    rng = np.random.default_rng(0)
    matrix = rng.integers(0, 3, (classes, classes)) + np.diag(rng.integers(5, 90, classes))
    figure = figures.confusion_figure(matrix, [f"n{i}" for i in range(classes)])
    image = png(figure)
    assert (image.min(axis=2) < 200).sum() > 100  # something is drawn
    text = svg_text(inline_svg(figure, "m", "matrix"))
    assert all(f"n{i}" in text for i in range(classes))
    if classes <= 30:
        assert all(str(v) in text for v in matrix.ravel() if v)


def test_confusion_figure_checks_its_input() -> None:
    with pytest.raises(ShapeError):
        figures.confusion_figure([[1, 2]], ["a"])
    with pytest.raises(ValueError, match="1 class names for 2 classes"):
        figures.confusion_figure([[1, 2], [3, 4]], ["a"])


@given(st.lists(st.tuples(st.floats(width=32), st.floats(width=32)), max_size=30))
@settings(max_examples=25)
def test_regression_figures_bear_any_numbers(pairs: list[tuple[float, float]]) -> None:
    y, p = (np.array(v) for v in zip(*pairs, strict=True)) if pairs else ([], [])
    for figure in (figures.scatter(y, p), figures.residuals(y, p)):
        assert "<svg" in inline_svg(figure, "s", "label")


def test_scatter_and_residuals_draw_the_numbers() -> None:
    y, p = np.array([1.0, 2.0, 4.0]), np.array([1.5, 2.0, 3.0])
    points = figures.scatter(y, p).axes[0].collections[0].get_offsets()
    np.testing.assert_allclose(points, np.stack([y, p], 1))
    bars = figures.residuals(y, p).axes[0].patches
    assert sum(bar.get_height() for bar in bars) == 3
    texts = figures.residuals(y, p).axes[0].get_legend().get_texts()
    assert "mean (-0.167)" in [t.get_text() for t in texts]


def test_many_points_become_pixels() -> None:
    values = np.random.default_rng(0).random((2, 20_000))
    assert len(inline_svg(figures.scatter(*values), "s", "x")) < 400_000


HOSTILE = ["$\\frac{1}{0}$", "<b>&amp;\"'", "a\x00\x1b\nb", "\udcff", "猫と犬", "é" * 200,
           "#1a2231 url(#x) id='y' font: 10px DejaVu Sans;"]


def test_inline_svg_is_pure_and_repeatable() -> None:
    matrix = np.eye(len(HOSTILE), dtype=int) * 7
    first, again = (inline_svg(figures.confusion_figure(matrix, HOSTILE), "key", "la\"bel<")
                    for _ in range(2))
    assert first == again
    root = ElementTree.fromstring(first)
    assert root.attrib["aria-label"] == 'la"bel<'
    assert root.attrib["role"] == "img"
    for element in root.iter():
        assert "}" not in element.tag
        assert element.tag not in ("metadata", "style", "script")
        assert element.attrib.get("id", "key-").startswith("key-")
        assert element.attrib.get("href", "#key-").startswith(("#key-", "data:"))
    assert "http" not in first
    assert "xmlns" not in first
    text = svg_text(first)
    assert "猫と犬" in text
    assert "$\\frac{1}{0}$" in text
    assert "#1a2231" in text  # words stay as they are ...
    styles = [element.attrib.get("style", "") for element in root.iter()]
    assert not any("#1a2231" in style or "DejaVu" in style for style in styles)  # ... styles not
    assert any("var(--ink)" in style for style in styles)


def test_references_inside_a_figure_lead_somewhere() -> None:
    root = ElementTree.fromstring(inline_svg(figures.learning_curves(folders.history(4)), "k", "x"))
    ids = {element.attrib["id"] for element in root.iter() if "id" in element.attrib}
    used = {element.attrib["href"][1:] for element in root.iter() if "href" in element.attrib}
    assert used
    assert used <= ids


def test_japanese_gives_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on a machine without a Japanese font: the browser has one."""
    monkeypatch.setattr(figures, "_families", lambda: ["DejaVu Sans"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        svg = inline_svg(figures.confusion_figure([[3, 1], [0, 2]], ["猫", "犬"]), "k", "x")
    assert "猫" in svg
    assert [str(w.message) for w in caught] == []


def test_figures_leave_no_global_state() -> None:
    code = ("import sys; from kiso.report import figures, svg\n"
            "svg.inline_svg(figures.learning_curves([{'epoch': 1, 'train_loss': 1}]), 'a', 'b')\n"
            "assert 'matplotlib.pyplot' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("shape", [(1, 5, 7), (3, 5, 7), (2, 4, 4), (4, 6, 6)])
def test_pictures_keep_their_pixels(shape: tuple[int, int, int]) -> None:
    import base64

    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    uri = png_uri(image)
    kind, _, data = uri.partition(",")
    assert kind == "data:image/png;base64"
    back = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    expected = image[0] if shape[0] < 3 else image[:3].transpose(1, 2, 0)
    np.testing.assert_array_equal(back, expected)


def test_numbers_for_people() -> None:
    assert [number(v) for v in (0.05123, 12.3456, 1234, 89610.7, 1.2e-7, float("nan"), None)] == [
        "0.05123", "12.35", "1,234", "89,611", "1.2e-07", "–", "–"]
    assert [percent(v) for v in (0.98349, 1.0, None)] == ["98.3 %", "100.0 %", "–"]
    assert [file_size(v) for v in (0, 999, 1234, 999_499, 1_234_567, 4e12)] == [
        "0 B", "999 B", "1.23 kB", "999 kB", "1.23 MB", "4e+03 GB"]


@given(st.integers(1, 10_000), st.data())
def test_the_interval_holds_the_share(n: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, n))
    low, high = wilson(right, n)
    assert 0 <= low <= right / n + 1e-12
    assert right / n - 1e-12 <= high <= 1
    assert high - low > 0


def test_the_interval_equals_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    expected = stats.binomtest(241, 300).proportion_ci(method="wilson")
    assert wilson(241, 300) == pytest.approx((expected.low, expected.high), abs=1e-4)
