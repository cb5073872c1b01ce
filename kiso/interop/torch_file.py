"""PyTorch's .pt and .pth files, read without PyTorch and without running anything.

    since 1.6   a zip archive: NAME/data.pkl, NAME/byteorder, and NAME/data/KEY for each storage
    before      pickles in a row (a magic number, the version, the machine, the object, the keys),
                then for each key the count of its numbers and the numbers

The pickle holds dicts whose tensors are calls of `torch._utils._rebuild_tensor_v2(storage, offset,
shape, strides, ...)`, a storage being a persistent id ("storage", its class, key, place, count).
These calls make records here, and arrays are cut from the storages afterwards, with every bound
checked.
"""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from kiso.data.sources.pickles import Named, RefusedPickle, load
from kiso.errors import CheckpointError
from kiso.interop.pickles import ORDERED, refused
from kiso.text import tr

__all__ = ["brain_float", "is_legacy", "read_legacy", "read_zip"]

MAGIC = 0x1950A86A20F9469CFC6C
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # a pickle of that number
KINDS = {"Float": "f4", "Double": "f8", "Half": "f2", "BFloat16": "bf16", "Long": "i8",
         "Int": "i4", "Short": "i2", "Char": "i1", "Byte": "u1", "Bool": "u1"}
INSIDE = ("state_dict", "model_state_dict", "model", "net", "params")  # where others put it

Read = Callable[["Storage"], bytes]


@dataclass(frozen=True)
class StorageKind:
    """Stands for torch.FloatStorage and the like."""

    code: str

    def __setstate__(self, state: Any) -> None:
        raise RefusedPickle("BUILD")


@dataclass(frozen=True)
class Storage:
    """A row of numbers that lies outside the pickle."""

    key: str
    code: str
    count: int

    @property
    def nbytes(self) -> int:
        """Length in the file."""
        return self.count * (2 if self.code == "bf16" else np.dtype(self.code).itemsize)


@dataclass(frozen=True)
class TensorRecord:
    """A tensor: which numbers of a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> TensorRecord:
    if not isinstance(storage, Storage):
        raise RefusedPickle("tensor without storage")
    return TensorRecord(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def _parameter(data: Any, *_: Any) -> Any:
    return data


NAMES = {
    **ORDERED,
    ("torch._utils", "_rebuild_tensor"): Named(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): Named(_tensor),
    ("torch._utils", "_rebuild_parameter"): Named(_parameter),
    **{("torch", f"{kind}Storage"): StorageKind(code) for kind, code in KINDS.items()},
}


def _storage(pid: Any) -> Storage:
    """The storage of a persistent id; older files have a view behind it, which must be none."""
    word, kind, key, _, count, *view = pid
    if word != "storage" or not isinstance(kind, StorageKind) or int(count) < 0 \
            or any(part is not None for part in view):
        raise RefusedPickle(f"persistent id {word!r}")
    return Storage(str(key), kind.code, int(count))


def is_legacy(start: bytes) -> bool:
    """Whether a file begins as PyTorch's did before 1.6."""
    return start.startswith(LEGACY[:len(start)])


def read_zip(path: Path) -> dict[str, np.ndarray]:
    """The state dict of a .pt or .pth file of today.

    Errors: CheckpointError when it is damaged, no state dict, or asks for code to be run.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {info.filename: info for info in archive.infolist()}
            pickles = [name for name in entries if name.count("/") == 1
                       and name.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise RefusedPickle("no data.pkl")
            top = pickles[0].removesuffix("data.pkl")
            if any(info.compress_type for info in entries.values()):
                raise RefusedPickle("compressed entries")  # PyTorch writes none; no size to trust
            said = f"{top}byteorder"
            big = said in entries and archive.read(said) == b"big"
            with archive.open(pickles[0]) as stream:
                value = load(stream, NAMES, "utf-8", _storage)

            def read(storage: Storage) -> bytes:
                name = f"{top}data/{storage.key}"
                if entries[name].file_size != storage.nbytes:
                    raise RefusedPickle(f"storage {storage.key}")
                return archive.read(name)

            return _arrays(path, value, ">" if big else "<", read)
    except (CheckpointError, OSError):
        raise
    except Exception as error:  # whatever a broken archive or pickle stumbles over
        raise refused(path, error) from error


def read_legacy(path: Path) -> dict[str, np.ndarray]:
    """The state dict of a file as PyTorch wrote it before 1.6.

    Errors: CheckpointError when it is damaged, no state dict, or asks for code to be run.
    """
    read = partial(load, names=NAMES, encoding="utf-8", storage=_storage)
    try:
        with path.open("rb") as file:
            magic, _, machine = read(file), read(file), read(file)
            if magic != MAGIC or machine.get("little_endian") is not True:
                raise RefusedPickle("magic number")
            value, keys = read(file), read(file)
            places: dict[str, tuple[int, int]] = {}
            storages = {t.storage.key: t.storage for t in _tensors(value)}
            for key in map(str, keys):
                (count,) = struct.unpack("<q", file.read(8))
                if count != storages[key].count:
                    raise RefusedPickle(f"storage {key}")
                places[key] = (file.tell(), storages[key].nbytes)
                file.seek(storages[key].nbytes, 1)

            def content(storage: Storage) -> bytes:
                at, size = places[storage.key]
                file.seek(at)
                return file.read(size)

            return _arrays(path, value, "<", content)
    except (CheckpointError, OSError):
        raise
    except Exception as error:  # whatever a broken pickle stumbles over
        raise refused(path, error) from error


def _tensors(value: Any) -> list[TensorRecord]:
    """All tensors in dicts of dicts and lists; each part is looked at once, however often a pickle
    names it."""
    found: list[TensorRecord] = []
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, TensorRecord):
            found.append(part)
        elif isinstance(part, dict | list | tuple) and id(cast("object", part)) not in seen:
            seen.add(id(cast("object", part)))
            inner: Any = cast("Any", part)
            waiting.extend(inner.values() if isinstance(part, dict) else inner)
    return found


def _arrays(path: Path, value: Any, order: str, read: Read) -> dict[str, np.ndarray]:
    """The tensors of a state dict as arrays."""
    rows: dict[Storage, np.ndarray] = {}
    found: dict[str, np.ndarray] = {}
    for name, record in _state_dict(path, value).items():
        if record.storage not in rows:
            rows[record.storage] = _row(record.storage, order, read(record.storage))
        found[name] = _cut(record, rows[record.storage])
    return found


def _state_dict(path: Path, value: Any) -> Mapping[str, TensorRecord]:
    """The dict of tensors: the object itself, or where training programs put it."""
    named = cast("dict[Any, Any]", value) if isinstance(value, dict) else {}
    for key in INSIDE:
        inner = named.get(key)
        if isinstance(inner, dict) and inner:
            named = cast("dict[Any, Any]", inner)
            break
    if not named or not all(isinstance(k, str) and isinstance(v, TensorRecord)
                            for k, v in named.items()):
        raise CheckpointError(tr(
            "{path} holds no state dict: expected tensors by name, there or under {keys}. Save "
            "model.state_dict().", path=path, keys=", ".join(INSIDE)))
    return named


def _row(storage: Storage, order: str, content: bytes) -> np.ndarray:
    """All numbers of a storage."""
    if len(content) != storage.nbytes:
        raise RefusedPickle(f"storage {storage.key}")
    if storage.code == "bf16":
        return brain_float(np.frombuffer(content, f"{order}u2"))
    return np.frombuffer(content, np.dtype(storage.code).newbyteorder(cast("Any", order)))


def _cut(record: TensorRecord, row: np.ndarray) -> np.ndarray:
    """The numbers of a tensor, in an array of its own. Bounds come from the file: all checked."""
    shape, strides = record.shape, record.strides
    last = record.offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if min(shape, default=1) < 0 or min((record.offset, *strides)) < 0 \
            or math.prod(shape) > len(row) or (math.prod(shape) and last >= len(row)):
        raise RefusedPickle(f"tensor {shape} {strides}")
    view = np.lib.stride_tricks.as_strided(
        row[record.offset:], shape, [s * row.itemsize for s in strides], writeable=False)
    return np.array(view, row.dtype.newbyteorder("="), order="C")


def brain_float(bits: np.ndarray) -> np.ndarray:
    """bfloat16 as float32: the same number with sixteen more bits of fraction, all 0."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
