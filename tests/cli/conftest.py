"""`kiso(...)` runs a command line in this process, in an empty folder, and says what came of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kiso.cli.app import main

Kiso = Callable[..., "Done"]


@dataclass(frozen=True)
class Done:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as the JSON document that it must be."""
        return json.loads(self.out)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all tests: the same small nets are trained again and again."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def kiso(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch,
         capsys: pytest.CaptureFixture[str]) -> Kiso:
    """Run `kiso WORDS...` in tmp_path, without the user's settings, 80 columns wide."""
    monkeypatch.chdir(tmp_path)
    for name in ("KISO_DATA", "KISO_LANG", "KISO_DEBUG", "KISO_NUM_THREADS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KISO_CACHE", str(cache))
    monkeypatch.setenv("COLUMNS", "80")

    def run(*words: str | Path) -> Done:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Done(code, *capsys.readouterr())

    return run


def listing(folder: Path) -> dict[str, bytes]:
    """All files below a folder with their contents, and its folders."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() if p.is_file() else b"<folder>"
            for p in sorted(folder.rglob("*"))}
