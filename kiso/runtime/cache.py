"""Compiled kernels on disk: `kernels/<hash>.o` in the cache folder.

The name is the hash of everything that the code depends on, so an entry is never out of date. A
file is the hash of its content, then the content: a damaged one is built again. Files appear
whole (rename), so any number of processes may share the folder. Beyond KISO_CACHE_LIMIT the
entries that were not used for longest go. Without a writable folder everything works, only slower.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from kiso import config
from kiso.files import write_atomic

__all__ = ["fetch", "folder", "key"]

FORMAT = "1"


def folder() -> Path:
    """Where the compiled kernels are."""
    return config.cache_dir() / "kernels"


def key(*parts: str) -> str:
    """Content address of what the parts describe."""
    return hashlib.sha256("\0".join((FORMAT, *parts)).encode()).hexdigest()


def _read(path: Path) -> bytes | None:
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    check, content = raw[:32], raw[32:]
    if not content or hashlib.sha256(content).digest() != check:
        return None
    with suppress(OSError):
        os.utime(path)  # used now: see _trim
    return content


def _trim(limit: int) -> None:
    """Remove what was not used for longest until the rest fits; others may do the same now."""
    files: list[tuple[float, int, str]] = []
    for entry in os.scandir(folder()):
        with suppress(FileNotFoundError):
            found = entry.stat(follow_symlinks=False)
            files.append((found.st_mtime, found.st_size, entry.path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= limit:
            return
        with suppress(OSError):
            os.unlink(path)
        total -= size


def fetch(name: str, build: Callable[[], bytes], trim: bool = True) -> bytes:
    """The entry of this name, built and stored if it is missing or damaged. `trim`: keep to the
    limit then, which looks at all entries: too much to do for each part of a program."""
    path, limit = folder() / f"{name}.o", config.cache_limit()
    if (content := _read(path)) is not None:
        return content
    content = build()
    with suppress(OSError):  # read-only or full: the next process compiles again
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, hashlib.sha256(content).digest() + content)
        if trim:
            _trim(limit)
    return content
