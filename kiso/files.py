"""Writing files so that no crash leaves half of one: temporary name, sync, rename."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from kiso.errors import OutputError
from kiso.text import tr

__all__ = ["check_writable", "make_folder", "write_atomic"]


def _output_error(path: Path, error: OSError) -> OutputError:
    if error.errno == errno.ENOSPC:
        return OutputError(tr("cannot write {path}: the disk is full; free some space or choose "
                              "another folder with --out.", path=path))
    return OutputError(tr("cannot write {path}: {reason}; choose a folder that you may write to "
                          "with --out.", path=path, reason=error.strerror or str(error)))


def make_folder(path: str | Path) -> Path:
    """Create a folder (and its parents) if it is missing; OutputError says why it cannot be."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _output_error(folder, error) from error
    return folder


def check_writable(folder: Path) -> None:
    """Write a little into the folder and take it back; OutputError says why it cannot be."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"?")
    except OSError as error:
        raise _output_error(folder, error) from error


def _sync_folder(folder: Path) -> None:
    """Make a rename durable; not every system lets a folder be opened for this."""
    if os.name != "posix":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomic(path: str | Path, content: bytes | str) -> Path:
    """Write a whole file or nothing: readers see the old content or the new, never a part.

    Errors: OutputError when the folder cannot be written or the disk is full; the old file stays.
    """
    target = Path(path)
    raw = content.encode("utf-8") if isinstance(content, str) else content
    temporary: str | None = None
    try:
        fd, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp",
                                         dir=target.parent)
        with os.fdopen(fd, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
        _sync_folder(target.parent)
    except OSError as error:
        raise _output_error(target, error) from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
    return target
