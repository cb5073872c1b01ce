"""Every environment variable that Kiso reads, typed, in one place.

| variable           | meaning                                             | default            |
|--------------------|-----------------------------------------------------|--------------------|
| `KISO_DATA`        | folder in which data sets are looked up             | user cache         |
| `KISO_CACHE`       | folder for downloads and caches                     | `~/.cache/kiso`    |
| `KISO_LANG`        | language of commands and reports: `en` or `ja`      | `en`               |
| `KISO_NUM_THREADS` | threads to compute with                             | available cores    |
| `KISO_TARGET`      | processor to compile for: `avx512`, `avx2`, `sse2`, `neon` | this one |
| `KISO_DEBUG`       | 1: commands show tracebacks of errors               | 0                  |

They are read when asked for, not at import, so that tests and programs may set them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from kiso.errors import ConfigError

__all__ = [
    "LANGUAGES",
    "available_cores",
    "cache_dir",
    "data_dir",
    "debug",
    "language",
    "num_threads",
    "target",
]

LANGUAGES = ("en", "ja")
TARGETS = ("host", "avx512", "avx2", "sse2", "neon")


def language() -> str:
    """Language of user-facing text, `KISO_LANG` or English."""
    value = os.environ.get("KISO_LANG", "") or "en"
    code = value.lower().replace("_", "-").split("-")[0].split(".")[0]
    if code not in LANGUAGES:
        raise ConfigError(f"KISO_LANG is {value!r}; expected one of {', '.join(LANGUAGES)}.")
    return code


def data_dir() -> Path | None:
    """Folder of data sets from `KISO_DATA`, or None."""
    value = os.environ.get("KISO_DATA", "")
    return Path(value).expanduser() if value else None


def cache_dir() -> Path:
    """Folder for downloads and caches: `KISO_CACHE`, else the system's cache folder."""
    value = os.environ.get("KISO_CACHE", "")
    if value:
        return Path(value).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "kiso"


def available_cores() -> int:
    """Cores that this process may use (its affinity, not the machine's count)."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def num_threads() -> int:
    """Threads to compute with: `KISO_NUM_THREADS`, else the available cores."""
    value = os.environ.get("KISO_NUM_THREADS", "")
    if not value:
        return available_cores()
    if not value.isdecimal() or int(value) < 1:
        raise ConfigError(f"KISO_NUM_THREADS is {value!r}; expected a whole number of at least 1.")
    return int(value)


def target() -> str:
    """Processor to compile for, `KISO_TARGET` or "host" (this one)."""
    value = os.environ.get("KISO_TARGET", "").lower() or "host"
    if value not in TARGETS:
        raise ConfigError(f"KISO_TARGET is {value!r}; expected one of {', '.join(TARGETS)}.")
    return value


def debug() -> bool:
    """Whether commands show tracebacks: `KISO_DEBUG` is set, and not to 0."""
    return os.environ.get("KISO_DEBUG", "") not in ("", "0")
