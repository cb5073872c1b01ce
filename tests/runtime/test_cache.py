"""The cache of compiled kernels: missing, damaged, read-only, shared."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kiso import ops
from kiso.compiler import trace
from kiso.runtime import cache, compile_graph
from tests.architecture.source import ROOT

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KISO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "kernels"


def run() -> Any:
    compiled = compile_graph(trace(lambda x: ops.exp(x) * 2, X).graph)
    np.testing.assert_allclose(compiled(X)[0], np.exp(X) * 2, rtol=1e-6)
    return compiled


def test_the_second_time_comes_from_the_cache(folder: Path) -> None:
    assert not run().lib.from_cache
    assert run().lib.from_cache
    assert len(list(folder.iterdir())) == 1


def test_another_target_is_another_entry(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run()
    monkeypatch.setenv("KISO_TARGET", "sse2")
    if run().target.name == "sse2":
        assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("damage", [lambda raw: raw[:len(raw) // 2], lambda raw: b"",
                                    lambda raw: raw[:100] + b"x" + raw[101:],
                                    lambda raw: raw + b"more"])
def test_damaged_entries_are_built_again(folder: Path, damage: Any) -> None:
    run()
    path, = folder.iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert not run().lib.from_cache
    assert path.read_bytes() == whole
    assert run().lib.from_cache


def test_without_a_usable_folder_all_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                           folder: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KISO_CACHE", str(tmp_path / "file" / "below"))
    assert not run().lib.from_cache
    assert not run().lib.from_cache
    monkeypatch.setenv("KISO_CACHE", "/proc/self/nothing")
    assert not run().lib.from_cache


def test_a_folder_in_the_place_of_an_entry(folder: Path) -> None:
    run()
    path, = folder.iterdir()
    path.unlink()
    path.mkdir()
    assert not run().lib.from_cache


def test_nothing_unfinished_stays(folder: Path) -> None:
    run()
    assert [p.suffix for p in folder.iterdir()] == [".o"]


def test_four_processes_at_once(folder: Path) -> None:
    code = ("import numpy as np\nfrom kiso import ops\nfrom kiso.compiler import trace\n"
            "from kiso.runtime import compile_graph\n"
            "x = np.arange(6, dtype=np.float32)\n"
            "for n in range(5):\n"
            "    y, = compile_graph(trace(lambda x: ops.tanh(x) * n, x).graph)(x)\n"
            "    np.testing.assert_allclose(y, np.tanh(x) * n, rtol=1e-6)\n")
    running = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(4)]
    assert [p.wait(timeout=120) for p in running] == [0, 0, 0, 0]
    assert len([p for p in folder.iterdir() if p.suffix == ".o"]) == 5
    assert len(list(folder.iterdir())) == 5


def test_keys_tell_parts_apart() -> None:
    keys = {cache.key("ab", "c"), cache.key("a", "bc"), cache.key("abc"), cache.key("abc", "")}
    assert len(keys) == 4
