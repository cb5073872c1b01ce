"""MNIST and Fashion-MNIST: IDX files, gzipped or raw.

An IDX file is: two zero bytes, a byte for the element type (8 = uint8), a byte for the number of
dimensions, each dimension as a big-endian 32-bit number, then the elements (LeCun, Cortes, Burges).
"""

from __future__ import annotations

import gzip
import hashlib
import math
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kiso.data.sources.parts import Part, Pool, class_numbers, numbered
from kiso.errors import DataError
from kiso.text import tr

__all__ = ["FASHION_CLASSES", "MNIST_SHA256", "find", "read", "read_idx"]

FASHION_CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt",
                   "Sneaker", "Bag", "Ankle boot")

# SHA-256 of the unpacked files of the original MNIST, so that repacked copies are known too.
MNIST_SHA256 = {
    "train-images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}

_NAME = re.compile(r"(train|t10k|test)-(images|labels)[-.]idx[13]-ubyte(\.gz)?")
_MOST_BYTES = 2**33  # of one unpacked file


def find(folder: Path) -> dict[str, Path]:
    """The IDX files of a folder by role ("train-images", "t10k-labels", ...)."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        match = _NAME.fullmatch(path.name)
        if match and path.is_file():
            part = match[1].replace("test", "t10k")
            found.setdefault(f"{part}-{match[2]}", path)
    return found


def _bytes(path: Path) -> bytes:
    """Content of a raw or gzipped file, up to a limit."""
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            content = file.read(_MOST_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(tr("{path} is damaged or cannot be read: {reason}; fetch it again.",
                           path=path, reason=error)) from error
    return content


def parse_idx(content: bytes, path: Path) -> npt.NDArray[np.uint8]:
    """The array of an IDX file of bytes; DataError names the file and what is wrong."""
    if len(content) < 4 or content[:2] != b"\0\0" or not 1 <= content[3] <= 4:
        raise DataError(tr("{path} is no IDX file: it begins with {start}; expected 00 00 08 and "
                           "the number of dimensions.", path=path, start=content[:4].hex(" ")))
    if content[2] != 8:
        raise DataError(tr("{path} holds elements of type {kind:#04x}; only bytes (0x08) can be "
                           "read.", path=path, kind=content[2]))
    header = 4 + 4 * content[3]
    shape = [int.from_bytes(content[i:i + 4], "big") for i in range(4, header, 4)]
    expected = header + math.prod(shape)
    if len(content) != expected:
        raise DataError(tr("{path} has {got} bytes; its header ({shape}) needs {expected}: fetch "
                           "it again.", path=path, got=len(content), expected=expected,
                           shape="x".join(map(str, shape))))
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Read one IDX file of bytes."""
    return parse_idx(_bytes(path), path)


def _part(files: dict[str, Path], part: str, sums: dict[str, str]) -> tuple[Any, Any]:
    arrays: list[npt.NDArray[np.uint8]] = []
    for what, ndim in (("images", 3), ("labels", 1)):
        path = files[f"{part}-{what}"]
        content = _bytes(path)
        sums[f"{part}-{what}"] = hashlib.sha256(content).hexdigest()
        array = parse_idx(content, path)
        if array.ndim != ndim:
            raise DataError(tr("{path} has {got} dimensions; {what} need {expected}.", path=path,
                               got=array.ndim, what=what, expected=ndim))
        arrays.append(array)
    images, labels = arrays
    if len(images) != len(labels):
        raise DataError(tr("{images} has {n} images but {labels} has {m} labels.", n=len(images),
                           m=len(labels), images=files[f"{part}-images"],
                           labels=files[f"{part}-labels"]))
    return images[:, None], labels  # (N, 1, H, W), (N,)


def read(folder: Path, name: str | None = None) -> Pool:
    """Read a folder with training files and, if present, test files.

    name: "mnist" or "fashion_mnist" when asked for by name; files of the other one are refused.
    """
    files, sums = find(folder), dict[str, str]()
    missing = [f"{part}-{what}" for part in ("train", "t10k") for what in ("images", "labels")
               if f"{part}-{what}" not in files]
    if missing:
        raise DataError(tr("{folder} lacks the IDX files {missing}; expected names such as "
                           "train-images-idx3-ubyte.gz.", folder=folder,
                           missing=", ".join(missing)))
    arrays = {part: _part(files, part, sums) for part in ("train", "t10k")}
    is_mnist = sums == MNIST_SHA256
    if name == "fashion_mnist" and is_mnist:
        raise DataError(tr("{folder} holds MNIST, not Fashion-MNIST.", folder=folder))
    fashion = name == "fashion_mnist" or (name is None and "fashion" in folder.name.lower())
    most = max(int(labels.max(initial=0)) for _, labels in arrays.values())
    numbers = tuple(str(i) for i in range(max(10, most + 1)))
    classes = FASHION_CLASSES if fashion else numbers
    parts: dict[str, Part] = {}
    for idx_part, part in (("train", "train"), ("t10k", "test")):
        x, labels = arrays[idx_part]
        y = class_numbers(labels, classes, files[f"{idx_part}-labels"])
        parts[part] = Part(x, y, numbered(part, len(x)))
    known = "mnist" if is_mnist else "fashion_mnist" if fashion else folder.name
    return Pool(parts, classes=classes, source={
        "name": name or known, "format": "idx", "path": str(folder), "sha256_unpacked": sums,
        "files": {role: path.name for role, path in sorted(files.items())},
        "is_original_mnist": is_mnist})
