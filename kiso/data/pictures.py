"""Many picture files -> one uint8 array (N, C, H, W).

The files are decoded by a few threads (Pillow lets go of Python's lock), a chunk at a time, so
that an archive is read once, in its own order. When no size is asked for, pictures that are all
of one small size keep it; otherwise all become 32x32. The decision falls at the end without a
second
reading: meanwhile small pictures are kept as they are and larger ones are already 32x32.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kiso import config
from kiso.data import images
from kiso.data.images import BrokenImage, Decoded, Fit, Pixels, Size
from kiso.errors import DataError
from kiso.text import tr

__all__ = ["DEFAULT_SIZE", "KEEP_SIZE", "File", "ImageOptions", "Pictures", "convert",
           "read_pictures", "refuse_broken", "stack"]

DEFAULT_SIZE: Size = (32, 32)
KEEP_SIZE = 64  # pictures of one size, no side longer than this, keep it

_CHUNK = 256  # files in memory at once


class File(NamedTuple):
    """A file to read: its name for people and its path or content."""

    name: str
    data: Path | bytes


@dataclass(frozen=True)
class ImageOptions:
    """How pictures are read. size None: decided by the data; grey False: as the files are."""

    size: Size | None = None
    fit: Fit = "crop"
    grey: bool = False
    max_pixels: int = images.MAX_PIXELS


@dataclass
class Pictures:
    """Decoded pictures, and what was noticed."""

    names: list[str] = field(default_factory=list[str])
    pixels: list[Pixels] = field(default_factory=list[Pixels])
    problems: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    notes: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


def _read(file: File, options: ImageOptions) -> Decoded | str:
    """A picture, or the reason why there is none."""
    size, keep = (options.size, 0) if options.size else (DEFAULT_SIZE, KEEP_SIZE)
    try:
        return images.decode(file.data, file.name, size=size, fit=options.fit, grey=options.grey,
                             keep=keep, max_pixels=options.max_pixels)
    except BrokenImage as error:
        return str(error)


def read_pictures(files: Iterable[File], options: ImageOptions) -> Pictures:
    """Decode all files; broken ones become problems, in the order of the files."""
    result = Pictures()
    context = copy_context()  # the language of messages is kept in a context variable
    source = iter(files)

    def read_one(file: File) -> Decoded | str:
        return context.copy().run(_read, file, options)

    with warnings.catch_warnings(), ThreadPoolExecutor(config.num_threads()) as pool:
        warnings.simplefilter("ignore")  # Pillow's, on odd files; ours are in the notes
        while chunk := list(itertools.islice(source, _CHUNK)):
            read = pool.map(read_one, chunk)
            for file, outcome in zip(chunk, read, strict=True):
                if isinstance(outcome, str):
                    result.problems.append((file.name, outcome))
                    continue
                result.names.append(file.name)
                result.pixels.append(outcome.pixels)
                result.notes += [(file.name, note) for note in outcome.notes]
    return result


def refuse_broken(problems: list[tuple[str, str]], on_broken: str) -> None:
    """With on_broken="fail", one DataError that names every bad file and its reason."""
    if problems and on_broken == "fail":
        listed = "\n".join(f"  {name}: {reason}" for name, reason in problems)
        raise DataError(tr(
            "{count} files or rows cannot be used; repair or remove them, or leave them out with "
            "--on-broken skip:\n{list}", count=len(problems), list=listed))


def stack(pixels: list[Pixels], options: ImageOptions) -> npt.NDArray[np.uint8]:
    """Pictures (H, W, C) -> (N, C, H, W): one size, and 3 channels unless all are grey."""
    shapes = {image.shape[:2] for image in pixels}
    size = options.size or (shapes.pop() if len(shapes) == 1 else DEFAULT_SIZE)
    channels = max(image.shape[2] for image in pixels)
    x = np.empty((len(pixels), channels, *size), np.uint8)
    for i, image in enumerate(pixels):
        fitted = image if image.shape[:2] == size else images.resize(image, size, options.fit)
        x[i] = fitted.transpose(2, 0, 1)  # one grey channel fills all three
    return x


def convert(x: npt.NDArray[np.uint8], options: ImageOptions) -> npt.NDArray[np.uint8]:
    """Bring pictures that are already an array (N, C, H, W) to the size and colours asked for."""
    if options.grey and x.shape[1] == 3:
        weights = np.array([19595, 38470, 7471], np.uint32)[:, None, None]  # 0.299, 0.587, 0.114
        x = np.concatenate([((part * weights).sum(1, keepdims=True, dtype=np.uint32) + 32768 >> 16)
                            .astype(np.uint8) for part in np.array_split(x, len(x) // 4096 + 1)])
    if options.size is None or options.size == x.shape[2:]:
        return x
    return stack([image.transpose(1, 2, 0) for image in x], options)
