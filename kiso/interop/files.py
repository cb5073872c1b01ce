"""Files with weights: which format one has is seen from its first bytes, not from its name.

    safetensors     those of a run, and any others
    zip             PyTorch's .pt and .pth since 1.6
    pickle          PyTorch's older files, and dicts of NumPy arrays
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from kiso.errors import CheckpointError
from kiso.interop import pickles, torch_file
from kiso.text import tr

__all__ = ["Weights", "read_weights"]

RUN_FILES = ("checkpoint-best.safetensors", "checkpoint-last.safetensors")
PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"7z\xbc\xaf": "7z",
          b"\x28\xb5\x2f\xfd": "zstd"}
HDF5 = b"\x89HDF"


@dataclass(frozen=True, eq=False)
class Weights:
    """Arrays by name. `record`: what a checkpoint of Kiso says beside them, else empty.

    by_order: the names are a textbook's (W1, b1, ...), which say no more than the order.
    """

    source: Path
    arrays: Mapping[str, np.ndarray]
    record: Mapping[str, Any] = field(default_factory=dict[str, Any])
    by_order: bool = False


def read_weights(path: str | Path) -> Weights:
    """Read a file with weights, or those of a run folder's best epoch.

    Nothing in the file is executed. Errors: CheckpointError when there is no such file, or it is
    damaged, empty, packed, of an unknown format, or asks for code to be run.
    """
    path = run_file(Path(path))
    if not path.is_file():
        raise CheckpointError(tr("there are no weights at {path}: no such file.", path=path))
    try:
        with path.open("rb") as file:
            start = file.read(16)
        return _read(path, start)
    except OSError as error:
        raise CheckpointError(tr("{path} cannot be read: {reason}.", path=path,
                                 reason=error)) from error


def run_file(path: Path) -> Path:
    """The checkpoint of a run folder; a path to a file as it is."""
    if not path.is_dir():
        return path
    for name in RUN_FILES:
        if (path / name).is_file():
            return path / name
    raise CheckpointError(tr("{path} is a folder without a checkpoint; give the folder of a run, "
                             "or a file with weights.", path=path))


def _read(path: Path, start: bytes) -> Weights:
    """By the first bytes of a file."""
    if not start:
        raise CheckpointError(tr("{path} is empty; fetch or copy the file again.", path=path))
    for sign, name in PACKED.items():
        if start.startswith(sign):
            raise CheckpointError(tr("{path} is packed ({format}); unpack it first.", path=path,
                                     format=name))
    if start.startswith(HDF5):
        raise CheckpointError(tr("{path} is an HDF5 file, which is not read; save its arrays by "
                                 "name as safetensors.", path=path))
    if start.startswith(b"PK"):
        return Weights(path, torch_file.read_zip(path))
    if start[8:9] == b"{":
        return _safetensors(path)
    if torch_file.is_legacy(start):
        return Weights(path, torch_file.read_legacy(path))
    if start[:1] in (b"\x80", b"(", b"}", b"]", b"c") or path.suffix in (".pkl", ".pickle"):
        return Weights(path, pickles.read(path), by_order=True)
    raise CheckpointError(tr("{path} has no format that is known here; expected safetensors, a "
                             "PyTorch state dict (.pt, .pth) or a pickle with NumPy arrays.",
                             path=path))


def _safetensors(path: Path) -> Weights:
    """A safetensors file; of a checkpoint of Kiso, parameters and buffers under their own names."""
    from safetensors import SafetensorError, safe_open

    try:
        opened: Any = safe_open(path, framework="numpy")
        with opened as file:
            metadata: dict[str, str] = file.metadata() or {}
            names = [n for n in file.keys() if "kiso" not in metadata  # noqa: SIM118
                     or n.startswith(("params/", "buffers/"))]
            brain = [n for n in names if file.get_slice(n).get_dtype() == "BF16"]
            arrays = {n: file.get_tensor(n) for n in names if n not in brain}
        if brain:
            arrays |= _brain_floats(path, brain)
        record: Any = json.loads(metadata.get("kiso", "{}"))
        if not isinstance(record, dict):
            raise TypeError("metadata")
    except (SafetensorError, TypeError, ValueError) as error:
        raise CheckpointError(tr("{path} is damaged ({reason}); fetch or copy the file again.",
                                 path=path, reason=error)) from error
    own = "kiso" in metadata
    return Weights(path, {n.split("/", 1)[1] if own else n: arrays[n] for n in names},
                   cast("dict[str, Any]", record))


def _brain_floats(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    """bfloat16, which NumPy does not know, as float32."""
    import safetensors

    parts: dict[str, Any] = dict(cast("Any", safetensors).deserialize(path.read_bytes()))
    return {n: torch_file.brain_float(np.frombuffer(parts[n]["data"], np.uint16)
                                      ).reshape(parts[n]["shape"]) for n in names}
