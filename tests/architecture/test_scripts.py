"""The scripts: readable by any sh, usable from any folder, clear when Python is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source import ROOT

SCRIPTS = [*sorted((ROOT / "scripts").iterdir()), ROOT / ".ci" / "run"]


def run(*command: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command], cwd=cwd, env={**os.environ, **env},
        capture_output=True, text=True, check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What scripts/setup looks at, in a folder without .venv."""
    folder = tmp_path / "a copy"
    (folder / "scripts").mkdir(parents=True)
    for name in ("scripts/setup", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: s.name)
def test_scripts_are_sound(script: Path, tmp_path: Path) -> None:
    first, *_ = script.read_text("utf-8").splitlines()
    shell = first.removeprefix("#!").split()[-1].rsplit("/", 1)[-1]
    assert shell in ("sh", "bash")
    assert os.access(script, os.X_OK)
    assert "\nset -eu" in script.read_text("utf-8")
    assert run(shell, "-n", script, cwd=tmp_path).stderr == ""


def test_setup_without_a_usable_python(copy: Path, tmp_path: Path) -> None:
    done = run(copy / "scripts" / "setup", cwd=tmp_path, PYTHON="no-such-python")
    assert done.returncode == 1
    assert "3.11" in done.stderr and "python3-venv" in done.stderr
    assert not (copy / ".venv").exists()


def test_setup_with_too_old_a_python(copy: Path, tmp_path: Path) -> None:
    old = tmp_path / "old-python"
    old.write_text(
        f"#!/bin/sh\n[ \"$1\" = -c ] && exec '{sys.executable}' -c "
        '"import sys; sys.version_info = (3, 10); $2"\n'
    )
    old.chmod(0o755)
    assert run(old, "-c", "print(1)", cwd=tmp_path).stdout == "1\n"
    done = run(copy / "scripts" / "setup", cwd=tmp_path, PYTHON=str(old))
    assert (done.returncode, "no usable Python" in done.stderr) == (1, True)


def test_setup_with_nothing_to_do(copy: Path, tmp_path: Path) -> None:
    """An environment whose stamp fits is left alone; a changed lock makes it out of date."""
    python = copy / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\n[ "$1" = -c ]\n')  # runs, but has no pip
    python.chmod(0o755)
    stamp = subprocess.run(
        ["sh", "-c", '{ cat requirements.lock pyproject.toml; pwd -P; } | cksum'],
        cwd=copy, capture_output=True, text=True, check=True,
    ).stdout
    (copy / ".venv" / "kiso-setup").write_text(stamp)
    done = run(copy / "scripts" / "setup", cwd=tmp_path, PYTHON="no-such-python")
    assert (done.returncode, done.stderr) == (0, "")
    (copy / "requirements.lock").write_text("changed\n")
    done = run(copy / "scripts" / "setup", cwd=tmp_path, PYTHON="no-such-python")
    assert (done.returncode, "no usable Python" in done.stderr) == (1, True)
