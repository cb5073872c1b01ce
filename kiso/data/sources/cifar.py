"""CIFAR-10 (Krizhevsky 2009): 60,000 colour pictures of 32x32, as Python batches or binary batches.

Python: data_batch_1 ... 5 and test_batch, pickled dictionaries with `data` (N, 3072) and
`labels`. Binary: data_batch_1.bin ... and test_batch.bin, rows of 1 label and 3072 pixels. Both
in a folder or in the original .tar.gz, which is read without unpacking it. Class folders are
read by folder.py.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from kiso.data.sources.archive import members
from kiso.data.sources.parts import Part, Pool, class_numbers, numbered
from kiso.data.sources.pickles import read_batch
from kiso.errors import DataError
from kiso.text import tr

__all__ = ["CLASSES", "find", "is_batch", "read"]

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_BATCH = re.compile(r"(data_batch_([1-5])|test_batch)(\.bin)?")
_META = re.compile(r"batches\.meta(\.txt)?")
_PIXELS = 3 * 32 * 32
_MOST_BYTES = 2**28  # of one batch file; the original ones have 31 MB


def is_batch(name: str) -> bool:
    """Is this the name of a batch file?"""
    return _BATCH.fullmatch(name) is not None


def find(folder: Path) -> Path | None:
    """The folder that holds the batches: this one or one directly in it."""
    for place in (folder, folder / "cifar-10-batches-py", folder / "cifar-10-batches-bin"):
        if place.is_dir() and any(is_batch(path.name) for path in place.iterdir()):
            return place
    return None


def _contents(path: Path) -> dict[str, bytes]:
    """Batch and meta files by name, from a folder or an archive."""
    wanted = re.compile(f"{_BATCH.pattern}|{_META.pattern}")
    if path.is_dir():
        found = {p.name: p for p in sorted(path.iterdir()) if wanted.fullmatch(p.name)}
        large = [name for name, p in found.items() if p.stat().st_size > _MOST_BYTES]
        if large:
            raise DataError(tr("{name} is too large for a CIFAR batch.", name=large[0]))
        return {name: p.read_bytes() for name, p in found.items()}
    return {member.name.rsplit("/", 1)[-1]: member.read() for member in members(path)
            if wanted.fullmatch(member.name.rsplit("/", 1)[-1]) and member.size <= _MOST_BYTES}


def _whole_numbers(listed: list[Any], name: str) -> npt.NDArray[np.int64]:
    if not all(type(label) is int and 0 <= label < 256 for label in listed):
        raise DataError(tr("{name} has labels that are no class numbers.", name=name))
    return np.array(listed, np.int64)


def _arrays(name: str, content: bytes) -> tuple[Any, npt.NDArray[np.int64], list[str]]:
    """Pixels (N, 3, 32, 32), labels (N,) and file names of one batch."""
    data: Any
    files: Any = None
    if name.endswith(".bin"):
        if not content or len(content) % (1 + _PIXELS):
            raise DataError(tr("{name} has {got} bytes; expected a multiple of {row} (1 label and "
                               "3072 pixels).", name=name, got=len(content), row=1 + _PIXELS))
        rows = np.frombuffer(content, np.uint8).reshape(-1, 1 + _PIXELS)
        data, labels = rows[:, 1:], rows[:, 0].astype(np.int64)
    else:
        batch = read_batch(content, name)
        data, listed, files = batch.get("data"), batch.get("labels"), batch.get("filenames")
        shape: tuple[int, ...] = getattr(data, "shape", ())
        if len(shape) != 2 or shape[1] != _PIXELS or not isinstance(listed, list):
            raise DataError(tr("{name} lacks data of N x 3072 bytes or a list of labels.",
                               name=name))
        labels = _whole_numbers(cast("list[Any]", listed), name)
    if len(data) != len(labels):
        raise DataError(tr("{name} has {n} pictures but {m} labels.", name=name, n=len(data),
                           m=len(labels)))
    if len(files or ()) != len(labels):
        files = numbered(name, len(labels))
    return data.reshape(-1, 3, 32, 32), labels, list(map(str, files))


def _classes(contents: Mapping[str, bytes]) -> tuple[str, ...]:
    """Class names from the meta file, else the well-known ones."""
    names: list[Any] = []
    if "batches.meta" in contents:
        names = read_batch(contents["batches.meta"], "batches.meta").get("label_names", [])
    elif "batches.meta.txt" in contents:
        names = contents["batches.meta.txt"].decode("utf-8", "replace").split()
    return tuple(map(str, names)) if len(names) >= 2 else CLASSES


def read(path: Path) -> Pool:
    """Read the batches of a folder or archive; all six must be there."""
    contents = _contents(path)
    suffix = ".bin" if any(name.endswith(".bin") for name in contents) else ""
    expected = [f"data_batch_{i}{suffix}" for i in range(1, 6)] + [f"test_batch{suffix}"]
    missing = [name for name in expected if name not in contents]
    if missing:
        raise DataError(tr("{path} lacks the CIFAR-10 files {missing}.", path=path,
                           missing=", ".join(missing)))
    classes = _classes(contents)
    parts: dict[str, Part] = {}
    for part, names in (("train", expected[:5]), ("test", expected[5:])):
        read = [_arrays(name, contents[name]) for name in names]
        y = class_numbers(np.concatenate([labels for _, labels, _ in read]), classes, path)
        parts[part] = Part(np.concatenate([x for x, _, _ in read]), y,
                           [file for _, _, files in read for file in files])
    sums = {name: hashlib.sha256(contents[name]).hexdigest() for name in expected}
    return Pool(parts, classes=classes, source={
        "name": "cifar10", "format": "cifar-binary" if suffix else "cifar-python",
        "path": str(path), "files_sha256": sums})
