"""What the machine is: processor, memory, versions, linear algebra. Only the standard library and
what NumPy says about itself."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["blas", "memory_bytes", "package_versions", "processor"]

PACKAGES = ("numpy", "pillow", "safetensors", "scikit-learn", "matplotlib", "jinja2", "rich",
            "typer", "pooch")


def processor() -> str:
    """The processor's name, as exactly as the system tells."""
    if sys.platform == "linux":
        try:
            lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
        except OSError:
            lines = []
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model") and value.strip():
                return value.strip()
    if sys.platform == "darwin":
        done = subprocess.run(["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"],
                              capture_output=True, text=True, check=False)
        if done.stdout.strip():
            return done.stdout.strip()
    return platform.processor() or platform.machine()


def memory_bytes() -> int | None:
    """Physical memory; None where the system does not tell."""
    if sys.platform == "win32":
        return _windows_memory()
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None


def _windows_memory() -> int | None:
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong),
                    *((name, ctypes.c_ulonglong) for name in (
                        "total", "free", "page_total", "page_free", "virtual_total",
                        "virtual_free", "extended_free"))]

    status: Any = Status()
    status.length = ctypes.sizeof(Status)
    library: Any = getattr(ctypes, "windll", None)
    if library is None or not library.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return int(status.total)


def package_versions() -> dict[str, str]:
    """Versions of what Kiso stands on; "-" for what is not installed."""
    found: dict[str, str] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "-"
    return found


def blas() -> str:
    """Name and version of the linear algebra that NumPy was built with."""
    import numpy as np

    config: Any = np.show_config(mode="dicts")
    found: dict[str, Any] = config.get("Build Dependencies", {}).get("blas", {})
    return f"{found.get('name', '-')} {found.get('version', '')}".strip()
