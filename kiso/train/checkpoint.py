"""Checkpoints: one safetensors file with weights, optimizer state, counters and all that is
needed to use the model (its text, input shape, classes, how to read and scale new data).

Names inside: `params/NAME`, `buffers/NAME`, `slots/NAME/SLOT`, `t`. The metadata entry "kiso" is
JSON. Loading executes nothing (no pickle).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kiso.errors import CheckpointError
from kiso.files import write_atomic
from kiso.text import tr

__all__ = ["FORMAT", "Checkpoint", "load_checkpoint", "save_checkpoint", "weights_sha256"]

FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """State of the training step (see train/step.py) and a JSON-able record beside it."""

    state: dict[str, Any]
    record: dict[str, Any]


def _flat(state: dict[str, Any]) -> dict[str, np.ndarray]:
    flat = {f"{part}/{name}": value for part in ("params", "buffers")
            for name, value in state[part].items()}
    flat |= {f"slots/{name}/{slot}": value for name, slots in state["slots"].items()
             for slot, value in slots.items()}
    flat["t"] = state["t"]
    # Non-contiguous arrays would be written wrongly; ascontiguousarray would lift 0-d to 1-d.
    return {name: np.asarray(value, order="C") for name, value in flat.items()}


def _nested(flat: dict[str, np.ndarray]) -> dict[str, Any]:
    state: dict[str, Any] = {"params": {}, "buffers": {}, "slots": {}, "t": flat["t"]}
    for name, value in flat.items():
        part, _, rest = name.partition("/")
        if part in ("params", "buffers"):
            state[part][rest] = value
        elif part == "slots":
            parameter, _, slot = rest.rpartition("/")
            state["slots"].setdefault(parameter, {})[slot] = value
    for name in state["params"]:
        state["slots"].setdefault(name, {})
    # The order of the parameters is part of the step (gradient norms are summed in it).
    state["slots"] = {name: state["slots"][name] for name in state["params"]}
    return state


def save_checkpoint(path: Path, state: dict[str, Any], record: dict[str, Any]) -> None:
    """Write a checkpoint; the file is whole or the old one stays."""
    from safetensors.numpy import save

    names = {part: list(state[part]) for part in ("params", "buffers")}
    slots = {name: list(slots) for name, slots in state["slots"].items()}
    text = json.dumps({"format": FORMAT, "names": names, "slots": slots, **record},
                      ensure_ascii=False)
    write_atomic(path, save(_flat(state), metadata={"kiso": text}))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Errors: CheckpointError when the file is missing, damaged, or was not written by Kiso.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise CheckpointError(tr("there is no checkpoint {path}.", path=path))
    try:
        opened: Any = safe_open(path, framework="numpy")
        with opened as file:
            metadata: dict[str, str] = file.metadata() or {}
            if "kiso" not in metadata:
                raise CheckpointError(tr("{path} is a safetensors file, but not a checkpoint of "
                                         "Kiso; its weights alone cannot be resumed.", path=path))
            names: list[str] = list(file.keys())
            flat = {name: np.asarray(file.get_tensor(name)) for name in names}
        record = json.loads(metadata["kiso"])
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise CheckpointError(tr("the checkpoint {path} is damaged ({reason}); use the other "
                                 "checkpoint of the run, or train again.", path=path,
                                 reason=error)) from error
    if record.get("format") != FORMAT:
        raise CheckpointError(tr("the checkpoint {path} has format {found}; this version of Kiso "
                                 "reads format {expected}.", path=path, found=record.get("format"),
                                 expected=FORMAT))
    # safetensors orders by size; the record keeps the order of the model.
    order, slots = record.pop("names"), record.pop("slots")
    wanted = [f"{part}/{name}" for part in ("params", "buffers") for name in order[part]]
    wanted += [f"slots/{name}/{slot}" for name, listed in slots.items() for slot in listed]
    return Checkpoint(_nested({name: flat[name] for name in [*wanted, "t"]}), record)


def weights_sha256(state: dict[str, Any]) -> str:
    """Fingerprint of parameters and buffers: names, shapes, types and bits."""
    digest = hashlib.sha256()
    for part in ("params", "buffers"):
        for name in sorted(state[part]):
            value = np.ascontiguousarray(state[part][name])
            digest.update(f"{part}/{name}:{value.dtype.str}{value.shape};".encode())
            digest.update(value.tobytes())
    return digest.hexdigest()
