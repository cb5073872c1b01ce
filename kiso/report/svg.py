"""Pictures that live inside the page: figures as inline SVG, images as data URIs."""

from __future__ import annotations

import base64
import io
import re
import warnings
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from kiso.report import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["inline_svg", "png_uri"]

VARIABLES = {
    figures.INK: "var(--ink)", figures.MUTED: "var(--muted)", figures.GRID: "var(--line)",
    figures.TRAIN: "var(--train)", figures.VALIDATION: "var(--val)", figures.BEST: "var(--best)",
    figures.RIGHT: "rgb(var(--right))", figures.WRONG: "rgb(var(--wrong))",
    figures.PAPER: "#fff",
}
COLOUR = re.compile(r"#[0-9a-f]{6}\b")
FAMILY = re.compile(r"(font(?:-family)?:[^;]*?)(['\"]?DejaVu Sans[^;]*)")
REFERENCE = re.compile(r"url\(#")


def inline_svg(figure: Figure, key: str, label: str) -> str:
    """A figure as an `<svg>` element for an HTML page: the same bytes on every run.

    Text stays text, drawn in the page's font; the figure's colours become the page's variables, so
    that they follow its light and dark schemes. `key` (unique on the page) starts every id. The
    label is what a screen reader says.
    """
    import matplotlib as mpl

    buffer = io.StringIO()
    options: Any = {"svg.hashsalt": "kiso", "svg.fonttype": "none"}
    with mpl.rc_context(options), warnings.catch_warnings():
        # The browser draws the text: a font that is missing here does not matter.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        figure.savefig(buffer, format="svg", dpi=144, metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(buffer.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    for element in root.iter():
        _adapt(element, key)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    width, height = (float(v) for v in root.attrib["viewBox"].split()[2:])
    root.attrib.update({"role": "img", "aria-label": label, "class": "plot",
                        "style": f"--w:{width:.0f};--h:{height:.0f}"})
    return ElementTree.tostring(root, encoding="unicode")


def _adapt(element: ElementTree.Element, key: str) -> None:
    """No namespaces (HTML knows them), ids of its own, the page's colours and font."""
    element.tag = element.tag.rpartition("}")[2]
    attributes = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
    for name, value in attributes.items():
        if name == "id":
            value = f"{key}-{value}"
        elif name == "href" and value.startswith("#"):
            value = f"#{key}-{value[1:]}"
        elif name in ("style", "clip-path", "fill", "stroke"):
            value = REFERENCE.sub(f"url(#{key}-", value)
            value = COLOUR.sub(lambda m: VARIABLES.get(m[0], m[0]), value)
            value = FAMILY.sub(r"\1var(--sans)", value)
        attributes[name] = value
    element.attrib.clear()
    element.attrib.update(attributes)


def png_uri(image: npt.NDArray[np.uint8]) -> str:
    """An image (C, H, W) as a PNG in a data URI: grey for one channel, colour for three or more."""
    from PIL import Image

    pixels = image[0] if len(image) < 3 else image[:3].transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
