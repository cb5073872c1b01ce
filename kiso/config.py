"""Every environment variable that Kiso reads, typed, in one place; what the system lets us use.

| variable           | meaning                                             | default            |
|--------------------|-----------------------------------------------------|--------------------|
| `KISO_DATA`        | folder in which data sets are looked up             | user cache         |
| `KISO_CACHE`       | folder for downloads and caches                     | `~/.cache/kiso`    |
| `KISO_LANG`        | language of commands and reports: `en` or `ja`      | `en`               |
| `KISO_CACHE_LIMIT` | MiB of compiled kernels to keep, the latest used    | 1024               |
| `KISO_NUM_THREADS` | threads to compute with                             | available cores    |
| `KISO_TARGET`      | processor to compile for: `avx512`, `avx2`, `sse2`, `neon` | this one |
| `KISO_CONV`        | form of convolutions: `auto`, `direct`, `winograd`, `measured` | auto   |
| `KISO_DEBUG`       | 1: commands show tracebacks of errors               | 0                  |

They are read when asked for, not at import, so that tests and programs may set them.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from kiso.errors import ConfigError

__all__ = [
    "FORMS",
    "LANGUAGES",
    "available_cores",
    "available_memory",
    "cache_dir",
    "cache_limit",
    "control_groups",
    "conv",
    "data_dir",
    "debug",
    "language",
    "num_threads",
    "target",
    "words",
]

LANGUAGES = ("en", "ja")
TARGETS = ("host", "avx512", "avx2", "sse2", "neon")
FORMS = ("auto", "direct", "winograd", "measured")


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


def _whole(name: str, least: int) -> int | None:
    """A variable that holds a whole number, or None where it is not set."""
    value = os.environ.get(name, "")
    if value and not (value.isdecimal() and int(value) >= least):
        raise ConfigError(f"{name} is {value!r}; expected a whole number of at least {least}.")
    return int(value) if value else None


def cache_limit() -> int:
    """Bytes that the compiled kernels on disk may take: `KISO_CACHE_LIMIT` MiB, else 1 GiB."""
    found = _whole("KISO_CACHE_LIMIT", 0)
    return (1024 if found is None else found) << 20


def _text(*files: Path) -> str:
    found = ""
    for file in files:
        with suppress(OSError):
            found += file.read_text("utf-8", "replace")
    return found


def words(*files: Path) -> list[str]:
    """The words in all of the files that can be read."""
    return _text(*files).split()


def control_groups(kind: str, root: Path = Path("/")) -> list[Path]:
    """Folders with the limits of this process for "cpu" or "memory": its control group and all
    above it, version 1 or 2 (containers, batch systems and services set them). Linux only."""
    found: list[Path] = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        kinds, _, path = line.partition(":")[2].partition(":")
        if not kinds:
            tops = [root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"]
        else:
            tops = [root / "sys/fs/cgroup" / kind] if kind in kinds.split(",") else []
        for top in tops:
            own = top / path.lstrip("/")  # in a container only the part above it may exist
            found += [folder for folder in (own, *own.parents) if folder.is_relative_to(top)]
    return found


def available_cores(root: Path = Path("/")) -> int:
    """Cores that this process may use: its affinity (not the machine's count), and no more than
    the processor time that its control groups allow, rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = cores or 1
    for folder in control_groups("cpu", root):
        quota = words(folder / "cpu.max", folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us")
        if len(quota) == 2 and quota[0].isdecimal():  # else "max" or -1: no limit
            cores = min(cores, max(1, -(-int(quota[0]) // int(quota[1]))))
    return cores


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that this process can still take; None where the system does not say (not Linux).

    The least of what the machine has free or can free, what its control groups have left
    (containers), and what is left of its address space (`ulimit -v`).
    """
    machine = words(root / "proc/meminfo")
    if sys.platform != "linux" or "MemAvailable:" not in machine:
        return None
    import resource

    page = resource.getpagesize()
    left = [int(machine[machine.index("MemAvailable:") + 1]) * 1024]
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        left.append(limit - int(words(root / "proc/self/statm")[0]) * page)
    for folder in control_groups("memory", root):
        most = words(folder / "memory.max", folder / "memory.limit_in_bytes")
        used = words(folder / "memory.current", folder / "memory.usage_in_bytes")
        if used and most and most[0].isdecimal():  # else "max": no limit
            stat = words(folder / "memory.stat")
            # Files that nobody reads now are counted as used, but make room when it is needed.
            name = "total_inactive_file" if "total_inactive_file" in stat else "inactive_file"
            idle = stat[stat.index(name) + 1] if name in stat else 0
            left.append(int(most[0]) - int(used[0]) + int(idle))
    return max(0, min(left))


def num_threads() -> int:
    """Threads to compute with: `KISO_NUM_THREADS`, else the available cores."""
    return _whole("KISO_NUM_THREADS", 1) or available_cores()


def target() -> str:
    """Processor to compile for, `KISO_TARGET` or "host" (this one)."""
    value = os.environ.get("KISO_TARGET", "").lower() or "host"
    if value not in TARGETS:
        raise ConfigError(f"KISO_TARGET is {value!r}; expected one of {', '.join(TARGETS)}.")
    return value


def conv(given: str | None = None) -> str:
    """Form of convolutions: the given one, else `KISO_CONV`, else "auto".

    auto: the compiler decides for each layer by its shape. direct: never Winograd's. winograd:
    wherever it is possible (3x3, stride 1, no dilation). measured: what is faster on this machine,
    measured once for each shape (see runtime/measured.py).
    """
    value = given or os.environ.get("KISO_CONV", "").lower() or "auto"
    if value not in FORMS:
        name = "conv" if given else "KISO_CONV"
        raise ConfigError(f"{name} is {value!r}; expected one of {', '.join(FORMS)}.")
    return value


def debug() -> bool:
    """Whether commands show tracebacks: `KISO_DEBUG` is set, and not to 0."""
    return os.environ.get("KISO_DEBUG", "") not in ("", "0")
