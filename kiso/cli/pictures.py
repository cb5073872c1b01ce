"""Pictures that `kiso predict` writes: what a net that gives pictures back made of each file."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kiso.cli.figures import decibels, significant
from kiso.cli.output import Output
from kiso.errors import ConfigError
from kiso.files import make_folder, write_atomic
from kiso.text import tr

if TYPE_CHECKING:
    from kiso.train import Prediction

__all__ = ["answer_document", "check_folder", "picture_table", "write_pictures"]

FOLDER = "predicted"  # within the run


def check_folder(folder: str | None) -> None:
    """Refuse a place that is no folder before time is spent on the answers."""
    if folder is not None and Path(folder).exists() and not Path(folder).is_dir():
        raise ConfigError(tr("--pictures {path} is a file; expected the name of a folder.",
                             path=folder))


def write_pictures(answers: Sequence[Prediction], run: str, folder: str | None) -> dict[str, Path]:
    """Write every picture as PNG; name of the answer -> its file.

    A file is called like the one that was read, so two of one name get numbers. Pictures of an
    earlier call are replaced, but never a file that is being judged.
    """
    from PIL import Image

    found: dict[str, Path] = {}
    taken = {Path(answer.name).resolve() for answer in answers}
    place = Path(folder) if folder is not None else Path(run) / FOLDER
    for answer in answers:
        if answer.picture is None:
            continue
        make_folder(place)
        stem, number = Path(answer.name).stem, 1
        path = place / f"{stem}.png"
        while path.resolve() in taken:
            number += 1
            path = place / f"{stem}-{number}.png"
        taken.add(path.resolve())
        x = answer.picture
        buffer = io.BytesIO()
        Image.fromarray(x[0] if len(x) == 1 else x.transpose(1, 2, 0).copy()).save(buffer, "PNG")
        found[answer.name] = write_atomic(path, buffer.getvalue())
    return found


def answer_document(answer: Prediction, written: dict[str, Path]) -> dict[str, Any]:
    """An answer for JSON: the file of its picture in place of the picture."""
    content = asdict(answer)
    if content.pop("picture") is not None:
        content["picture"] = written[answer.name]
    return content


def picture_table(output: Output, answers: Sequence[Prediction], written: dict[str, Path]) -> None:
    """How near each picture is to its file, and where it lies."""
    values = [answer.values or {} for answer in answers]
    output.table([tr("name"), tr("PSNR"), tr("RMSE, grey levels"), tr("picture")],
                 [[answer.name, decibels(v["psnr"]), significant(v["rmse"]),
                   str(written[answer.name])]
                  for answer, v in zip(answers, values, strict=True)], numbers=(1, 2))
