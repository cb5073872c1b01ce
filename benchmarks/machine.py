"""What a figure was measured on, in one line."""

from __future__ import annotations

import contextlib
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["machine"]

PACKAGES = ("numpy", "llvmlite", "torch", "tensorflow-cpu", "jax", "onnxruntime")


def machine() -> str:
    """Processor, usable cores, system, Python, installed packages; no names of hosts or people."""
    parts = [_processor(), f"{len(os.sched_getaffinity(0))} cores",
             f"{platform.system()} {platform.machine()}", f"Python {platform.python_version()}"]
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            parts.append(f"{package} {version(package)}")
    return ", ".join(parts)


def _processor() -> str:
    """Model name, with family and model number, which say more than some names do."""
    found: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            key, colon, value = line.partition(":")
            if colon:
                found.setdefault(key.strip(), value.strip())
    except OSError:
        return platform.processor() or "unknown processor"
    name = found.get("model name", "unknown processor")
    numbers = [f"{key} {found[key2]}" for key, key2 in (("family", "cpu family"),
                                                        ("model", "model")) if key2 in found]
    return f"{name} ({', '.join(numbers)})" if numbers else name
