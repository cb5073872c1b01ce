"""Will a step fit in memory? Asked after planning, before anything is allocated."""

from __future__ import annotations

import sys
from pathlib import Path

from kiso import config
from kiso.errors import ConfigError
from kiso.text import tr

__all__ = ["available_memory", "check_memory"]


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that this process can still take; None where the system does not say (not Linux).

    The least of what the machine has free or can free, what its control groups have left
    (containers), and what is left of its address space (`ulimit -v`).
    """
    machine = config.words(root / "proc/meminfo")
    if sys.platform != "linux" or "MemAvailable:" not in machine:
        return None
    import resource

    page = resource.getpagesize()
    left = [int(machine[machine.index("MemAvailable:") + 1]) * 1024]
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        left.append(limit - int(config.words(root / "proc/self/statm")[0]) * page)
    for folder in config.control_groups("memory", root):
        most = config.words(folder / "memory.max", folder / "memory.limit_in_bytes")
        used = config.words(folder / "memory.current", folder / "memory.usage_in_bytes")
        if used and most and most[0].isdecimal():  # else "max": no limit
            stat = config.words(folder / "memory.stat")
            # Files that nobody reads now are counted as used, but make room when it is needed.
            name = "total_inactive_file" if "total_inactive_file" in stat else "inactive_file"
            idle = stat[stat.index(name) + 1] if name in stat else 0
            left.append(int(most[0]) - int(used[0]) + int(idle))
    return max(0, min(left))


def check_memory(batch: int, needed: int, between: int, fixed: int, available: int | None) -> None:
    """Refuse a step that does not fit, with a batch size that would.

    needed: bytes of all that the step allocates or is given anew: inputs, outputs, scratch, and
    `between`, the values between kernels. fixed: the part of `needed` that does not grow with the
    batch (weights, their state). available: see `available_memory`; None: nothing is refused.
    """
    if available is None or needed <= available:
        return
    # A little less than fits, at three binary digits: 1365 becomes 1280.
    fits = (available - fixed) * batch // max(needed - fixed, 1)
    places = max(fits.bit_length() - 3, 0)
    fits = fits >> places << places
    numbers = {"batch": batch, "needed": _size(needed), "between": _size(between),
               "available": _size(available)}
    if fits < 1:
        raise ConfigError(tr("a step with batch {batch} needs {needed}, of which {between} hold "
                             "values between kernels; {available} are available, too little for "
                             "any batch size. Use a smaller model or a machine with more memory.",
                             **numbers))
    raise ConfigError(tr("a step with batch {batch} needs {needed}, of which {between} hold values "
                         "between kernels; {available} are available. Use --batch-size {fits} or "
                         "less.", fits=fits, **numbers))


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 / 10 else f"{count / 2**20:.1f} MiB"
