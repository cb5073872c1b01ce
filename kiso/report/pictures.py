"""What the report shows of pictures that a net gave back: some of them, the worst, every class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kiso.report.run import Pictures
from kiso.report.scores import decibels
from kiso.text import tr

__all__ = ["Gallery", "Strip", "gallery_of"]

SOME, WORST = 16, 16  # pictures that are shown


@dataclass(frozen=True)
class Strip:
    """One picture: as it is, as the net saw it ("" if that is the same), what it made of it; as
    data URIs."""

    name: str
    note: str  # its PSNR, with its class
    image: str
    seen: str
    output: str


@dataclass(frozen=True)
class Gallery:
    """All of it."""

    some: list[Strip]
    worst: list[Strip]
    corrupted: bool
    spread: str  # inline SVG: PSNR of all test pictures
    classes: list[tuple[str, int, str]]  # name, pictures, mean PSNR; the worst first


def gallery_of(answers: Pictures) -> Gallery:
    """Everything about the pictures, from the answers for the test split."""
    from kiso.report import figures
    from kiso.report.svg import inline_svg

    spread = inline_svg(figures.spread(answers.psnr), "spread",
                        tr("Histogram of the PSNR of all test pictures"))
    return Gallery(
        [_strip(answers, row) for row in answers.some[::max(1, len(answers.some) // SOME)][:SOME]],
        [_strip(answers, row) for row in answers.worst[:WORST]],
        answers.inputs is not None, spread, _by_class(answers))


def _strip(answers: Pictures, row: int) -> Strip:
    from kiso.report.svg import png_uri

    k = answers.rows.index(row)
    note = decibels(float(answers.psnr[row]))
    if _classes(answers):
        note = f"{answers.classes[int(answers.y[row])]} · {note}"
    return Strip(answers.names[k] or tr("test sample {row}", row=row), note,
                 png_uri(answers.images[k]),
                 "" if answers.inputs is None else png_uri(answers.inputs[k]),
                 png_uri(answers.outputs[k]))


def _classes(answers: Pictures) -> bool:
    """Whether the pictures have classes."""
    y: Any = answers.y
    return bool(answers.classes) and y.ndim == 1 and np.issubdtype(y.dtype, np.integer) and \
        y.min() >= 0 and y.max() < len(answers.classes)


def _by_class(answers: Pictures) -> list[tuple[str, int, str]]:
    if not _classes(answers):
        return []
    found: list[tuple[float, str, int]] = []
    for k, name in enumerate(answers.classes):
        own = answers.psnr[answers.y == k]
        if len(own):
            found.append((float(own.mean(dtype=np.float64)), name, len(own)))
    return [(name, count, decibels(mean)) for mean, name, count in sorted(found)]
