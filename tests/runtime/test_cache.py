"""The cache of compiled kernels: missing, damaged, read-only, shared."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kiso import ops
from kiso.compiler import trace
from kiso.errors import ConfigError
from kiso.runtime import cache, compile_graph, jit
from kiso.runtime.threads import native
from tests.architecture.source import ROOT

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    native()  # the code of the threads, once for the process
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
                                    lambda raw: raw + b"more", lambda raw: bytes(len(raw)),
                                    lambda raw: b"not an object file", lambda raw: raw[:32]])
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


def test_a_deleted_entry_is_built_again(folder: Path) -> None:
    run()
    path, = folder.iterdir()
    path.unlink()
    assert not run().lib.from_cache
    assert run().lib.from_cache


def no_override() -> None:
    """Before a program starts: the administrator's right to write anywhere is given up (Linux)."""
    if os.getuid() == 0:
        PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE)


@pytest.mark.skipif(sys.platform != "linux", reason="rights as Linux knows them")
def test_a_folder_that_must_not_be_written(folder: Path) -> None:
    run()
    code = ("import os\n"
            "from tests.runtime.test_cache import X, ops, trace, compile_graph\n"
            f"print(os.access({str(folder)!r}, os.W_OK))\n"
            "known = compile_graph(trace(lambda x: ops.exp(x) * 2, X).graph)\n"
            "new = compile_graph(trace(lambda x: ops.exp(x) * 3, X).graph)\n"
            "assert abs(new(X)[0] - 1.5 * known(X)[0]).max() < 1e-5\n"
            "print(known.lib.from_cache, new.lib.from_cache)\n")
    before = sorted(folder.iterdir())
    folder.chmod(0o555)
    try:
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, timeout=60,
                              capture_output=True, preexec_fn=no_override)
    finally:
        folder.chmod(0o755)
    assert (done.stdout.split(), done.stderr) == (["False", "True", "False"], "")
    assert sorted(folder.iterdir()) == before


def test_a_full_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert not run().lib.from_cache
    assert list(folder.iterdir()) == []


def store(folder: Path, names: str) -> None:
    """Entries of 256 KiB, last used long ago, one second apart, in the order of their letters."""
    for name in names:
        cache.fetch(name, lambda: bytes(2**18 - 32))
        os.utime(folder / f"{name}.o", (ord(name), ord(name)))


def names(folder: Path) -> str:
    return "".join(sorted(path.stem for path in folder.iterdir()))


def test_entries_not_used_for_longest_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KISO_CACHE_LIMIT", "1")
    store(folder, "abcd")
    assert names(folder) == "abcd"
    cache.fetch("a", lambda: pytest.fail("it is there"))  # used now
    store(folder, "e")
    assert names(folder) == "acde"
    cache.fetch("f", lambda: bytes(2**19 - 32))
    assert names(folder) == "aef"
    (folder / ".left.tmp").write_bytes(bytes(2**19))  # a process was killed while it wrote
    os.utime(folder / ".left.tmp", (1, 1))
    store(folder, "g")
    assert names(folder) == "afg"
    cache.fetch("h", lambda: bytes(2**21), trim=False)  # a part: the program's main file follows
    assert names(folder) == "afgh"
    cache.fetch("i", lambda: bytes(2**21))  # more than all: the others go, and so does it
    assert names(folder) == ""


def test_entries_that_another_process_removes(folder: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KISO_CACHE_LIMIT", "1")
    store(folder, "abcd")
    unlink, scandir = os.unlink, os.scandir

    def other_first(path: Any, **more: Any) -> None:
        unlink(path, **more)
        unlink(path, **more)  # FileNotFoundError

    def listed_and_gone(path: Any) -> Any:
        found = list(scandir(path))
        (folder / "b.o").unlink()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(cache.os, "scandir", listed_and_gone)
        assert len(cache.fetch("e", lambda: bytes(2**18 - 32))) == 2**18 - 32
    assert names(folder) == "acde"
    with monkeypatch.context() as patch:
        patch.setattr(cache.os, "unlink", other_first)
        assert len(cache.fetch("f", lambda: bytes(2**18 - 32))) == 2**18 - 32
    assert names(folder) == "cdef"


def test_a_limit_of_nothing_and_wrong_ones(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KISO_CACHE_LIMIT", "0")
    assert not run().lib.from_cache and not run().lib.from_cache
    assert list(folder.iterdir()) == []
    monkeypatch.setenv("KISO_CACHE_LIMIT", "1 GiB")
    with pytest.raises(ConfigError, match="KISO_CACHE_LIMIT"):
        run()


def test_a_folder_in_the_place_of_an_entry(folder: Path) -> None:
    run()
    path, = folder.iterdir()
    path.unlink()
    path.mkdir()
    assert not run().lib.from_cache


def test_nothing_unfinished_stays(folder: Path) -> None:
    run()
    assert [p.suffix for p in folder.iterdir()] == [".o"]


SHARED = """
import numpy as np
from kiso import ops
from kiso.compiler import trace
from kiso.runtime import compile_graph
x = np.arange(6, dtype=np.float32)
for turn in range(TURNS):
    for n in range(5):
        y, = compile_graph(trace(lambda x: ops.tanh(x) * n, x).graph)(x)
        np.testing.assert_allclose(y, np.tanh(x) * n, rtol=1e-6)
"""


def four_processes(turns: int, **env: str) -> None:
    """Start them all on the same folder; all must succeed."""
    code = SHARED.replace("TURNS", str(turns))
    running = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **env})
               for _ in range(4)]
    assert [p.wait(timeout=120) for p in running] == [0, 0, 0, 0]


def test_four_processes_at_once(folder: Path) -> None:
    four_processes(1)
    entries = sorted(folder.iterdir())
    assert len(entries) == 6 and {p.suffix for p in entries} == {".o"}
    for path in entries:
        raw = path.read_bytes()
        assert hashlib.sha256(raw[32:]).digest() == raw[:32]
        assert path.stat().st_mode & 0o777 == 0o644


def test_four_processes_that_remove_each_others_entries(folder: Path) -> None:
    four_processes(4, KISO_CACHE_LIMIT="0")
    assert list(folder.iterdir()) == []


def test_keys_tell_parts_apart() -> None:
    keys = {cache.key("ab", "c"), cache.key("a", "bc"), cache.key("abc"), cache.key("abc", "")}
    assert len(keys) == 4


def test_the_key_holds_all_that_the_code_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    run()
    llvm = jit.llvm
    for place, name, value in [(jit.llvmlite, "__version__", "0.0"),
                               (llvm, "llvm_version_info", (1, 2, 3)),
                               (jit, "PASSES", {**jit.PASSES, "loop_interleaving": False}),
                               (jit, "MACHINE", {**jit.MACHINE, "opt": 2}),
                               (cache, "FORMAT", "0")]:
        with monkeypatch.context() as patch:
            patch.setattr(place, name, value)
            assert not run().lib.from_cache, name
    assert run().lib.from_cache
