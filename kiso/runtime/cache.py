"""Compiled kernels on disk: `kernels/<hash>.o` in the cache folder.

The name is the hash of everything that the code depends on, so an entry is never out of date. A
file is the hash of its content, then the content: a damaged one is built again. Files appear
whole (rename), so any number of processes may share the folder. Without a writable folder
everything works, only slower.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from kiso import config
from kiso.errors import OutputError
from kiso.files import write_atomic

__all__ = ["fetch", "folder", "key"]

FORMAT = "1"


def folder() -> Path:
    """Where the compiled kernels are."""
    return config.cache_dir() / "kernels"


def key(*parts: str) -> str:
    """Content address of what the parts describe."""
    digest = hashlib.sha256(FORMAT.encode())
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part.encode())
    return digest.hexdigest()


def _read(path: Path) -> bytes | None:
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    check, content = raw[:32], raw[32:]
    return content if content and hashlib.sha256(content).digest() == check else None


def fetch(name: str, build: Callable[[], bytes]) -> bytes:
    """The entry of this name, built and stored if it is missing or damaged."""
    path = folder() / f"{name}.o"
    content = _read(path)
    if content is not None:
        return content
    content = build()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, hashlib.sha256(content).digest() + content)
    except (OSError, OutputError):
        pass  # read-only or full: the next process compiles again
    return content
