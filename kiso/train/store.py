"""The run folder: config.toml, history.csv, metrics.json, predictions.npz and two checkpoints."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from kiso.errors import CheckpointError, ConfigError, OutputError
from kiso.files import check_writable, make_folder, write_atomic
from kiso.text import tr
from kiso.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

if TYPE_CHECKING:
    from kiso.train.loop import Position
    from kiso.train.setup import Setup
    from kiso.train.step import State

__all__ = ["Store", "new_folder"]

WRITTEN = ("config.toml", "history.csv", "metrics.json", "predictions.npz", "report.html",
           "checkpoint-last.safetensors", "checkpoint-best.safetensors")


def new_folder(parent: Path, name: str) -> Path:
    """`parent/name-1`, or the first higher number that is free."""
    number = 1
    while (parent / f"{name}-{number}").exists():
        number += 1
    return parent / f"{name}-{number}"


def _standard(value: Any) -> Any:
    """NaN and infinity as null: JSON has no word for them, and other readers stop at Python's."""
    if isinstance(value, dict):
        return {k: _standard(v) for k, v in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_standard(v) for v in cast("list[Any]", value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Store:
    """Reads and writes one run folder; every file is replaced as a whole."""

    def __init__(self, folder: Path):
        self.folder = folder

    @classmethod
    def check(cls, folder: Path, overwrite: bool, needed_bytes: int) -> list[str]:
        """Whether a run can be written there, before any time is spent; what of an older one would
        be replaced.

        Errors: ConfigError when it holds a run already; OutputError when it cannot be written or
        the disk has less than `needed_bytes` left. Nothing is left behind.
        """
        present = [name for name in WRITTEN if (folder / name).exists()]
        if present and not overwrite:
            raise ConfigError(tr("{folder} holds a run already; choose another folder with --out, "
                                 "continue it with 'kiso resume {folder}', or replace it with "
                                 "--overwrite.", folder=folder))
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        try:
            make_folder(folder)
            free = shutil.disk_usage(folder).free
            if free < needed_bytes:
                raise OutputError(tr("the run needs about {needed:.1f} MB in {folder}, but the "
                                     "disk has {free:.1f} MB left; free some space or choose "
                                     "another folder with --out.", needed=needed_bytes / 1e6,
                                     folder=folder, free=free / 1e6))
            check_writable(folder)
        finally:
            for path in made:
                if path.is_dir() and not any(path.iterdir()):
                    path.rmdir()
        return present

    @classmethod
    def create(cls, folder: Path, overwrite: bool, needed_bytes: int) -> Store:
        """A folder for a new run. Errors: see `check`."""
        present = cls.check(folder, overwrite, needed_bytes)
        make_folder(folder)
        for name in present:
            (folder / name).unlink()
        store = cls(folder)
        store.sweep()
        return store

    @classmethod
    def open(cls, folder: Path) -> Store:
        """The folder of an existing run. Errors: CheckpointError when it is none."""
        if not (folder / "config.toml").is_file():
            raise CheckpointError(tr("{folder} is no run folder: it has no config.toml; give the "
                                     "folder that 'kiso train' printed.", folder=folder))
        return cls(folder)

    def sweep(self) -> None:
        """Remove the unfinished files of a process that was killed while it wrote.

        Only for one that is about to write itself: they may be those of a run that goes on.
        """
        for name in WRITTEN:
            for path in self.folder.glob(f".{name}.*.tmp"):
                path.unlink(missing_ok=True)

    def save_config(self, config: dict[str, Any]) -> None:
        """config.toml: all that is needed to repeat the run."""
        import tomli_w

        write_atomic(self.folder / "config.toml", tomli_w.dumps(config))

    def load_config(self) -> dict[str, Any]:
        """What `save_config` wrote."""
        import tomllib

        path = self.folder / "config.toml"
        try:
            return tomllib.loads(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise CheckpointError(tr("{path} cannot be read: {reason}.", path=path,
                                     reason=error)) from error

    def save_last(self, state: State, position: Position, setup: Setup) -> None:
        """checkpoint-last.safetensors, then history.csv to match."""
        self._save("last", state, position, setup)
        self._save_history(position)

    def save_best(self, state: State, position: Position, setup: Setup) -> None:
        """checkpoint-best.safetensors."""
        self._save("best", state, position, setup)

    def load(self, which: str) -> Checkpoint:
        """The checkpoint "last" or "best"."""
        return load_checkpoint(self.path(which))

    def path(self, which: str) -> Path:
        """File of the checkpoint "last" or "best"."""
        return self.folder / f"checkpoint-{which}.safetensors"

    def save_metrics(self, metrics: dict[str, Any]) -> None:
        """metrics.json."""
        write_atomic(self.folder / "metrics.json",
                     json.dumps(_standard(metrics), indent=2, ensure_ascii=False) + "\n")

    def load_metrics(self) -> dict[str, Any] | None:
        """What `save_metrics` wrote, or None where it is not written yet."""
        path = self.folder / "metrics.json"
        try:
            return json.loads(path.read_text("utf-8")) if path.is_file() else None
        except ValueError as error:
            raise CheckpointError(tr("{path} is damaged ({reason}); delete it and resume the run "
                                     "to write it again.", path=path, reason=error)) from error

    def save_predictions(self, arrays: dict[str, np.ndarray]) -> None:
        """predictions.npz: what the report shows of the test split."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # pyright: ignore[reportArgumentType]
        write_atomic(self.folder / "predictions.npz", buffer.getvalue())

    def _save(self, which: str, state: State, position: Position, setup: Setup) -> None:
        record = {"position": position.record(), **setup.record()}
        save_checkpoint(self.path(which), state, record)

    def _save_history(self, position: Position) -> None:
        names = list(dict.fromkeys(name for row in position.history for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n")
        if names:
            writer.writeheader()
        writer.writerows(position.history)
        write_atomic(self.folder / "history.csv", text.getvalue())
