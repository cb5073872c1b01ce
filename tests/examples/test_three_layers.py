"""The short script that a student edits: at most 40 lines, and it learns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "three_layers.py"


def accuracies(*arguments: str, **environment: str) -> list[float]:
    """Run the script as a person would; the accuracy it printed after each epoch."""
    done = subprocess.run([sys.executable, str(EXAMPLE), *arguments], capture_output=True,
                          text=True, check=True, env={**os.environ, **environment})
    return [float(line.rsplit(" ", 1)[1]) for line in done.stdout.splitlines()]


def test_it_has_at_most_40_lines() -> None:
    assert len(EXAMPLE.read_text("utf-8").splitlines()) <= 40


def test_it_learns_the_bundled_digits() -> None:
    found = accuracies()
    assert len(found) == 10 and found[-1] > 0.85 > found[0]


@pytest.mark.slow
def test_it_learns_mnist(shared_data: Path) -> None:
    assert accuracies("mnist", KISO_DATA=str(shared_data))[-1] > 0.95
