"""Limits of containers and batch systems: cores and memory, from files made up for the test."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kiso import config, ops
from kiso.compiler import trace
from kiso.errors import ConfigError
from kiso.runtime import compile_graph
from kiso.train.limits import check_memory

GIB = 2**30


@pytest.fixture(autouse=True)
def sixteen_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.delenv("KISO_NUM_THREADS", raising=False)


def system(root: Path, files: dict[str, str]) -> Path:
    """A folder that looks like / with these files."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V1 = "sys/fs/cgroup/cpu"
V2 = "sys/fs/cgroup"


@pytest.mark.parametrize("files, cores", [
    ({}, 16),
    ({f"{V2}/cpu.max": "150000 100000\n"}, 16),  # without /proc/self/cgroup nothing is known
    ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "150000 100000\n"}, 2),
    ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "max 100000\n"}, 16),
    ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "1000 100000\n"}, 1),
    ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "6400000 100000\n"}, 16),
    ({"proc/self/cgroup": "0::/a/b\n", f"{V2}/a/b/cpu.max": "max 100000\n",
      f"{V2}/a/cpu.max": "300000 100000\n"}, 3),  # a limit of the group above
    ({"proc/self/cgroup": "0::/a/b\n", f"{V2}/a/b/cpu.max": "200000 100000\n",
      f"{V2}/a/cpu.max": "900000 100000\n"}, 2),
    ({"proc/self/cgroup": "0::/a\n", f"{V2}/other/cpu.max": "100000 100000\n"}, 16),
    # a container that sees the host's path, but only its own folder at the top
    ({"proc/self/cgroup": "4:cpu,cpuacct:/docker/1234\n2:memory:/docker/1234\n",
      f"{V1}/cpu.cfs_quota_us": "250000\n", f"{V1}/cpu.cfs_period_us": "100000\n"}, 3),
    ({"proc/self/cgroup": "4:cpu,cpuacct:/job\n0::/\n", f"{V1}/job/cpu.cfs_quota_us": "50000\n",
      f"{V1}/job/cpu.cfs_period_us": "50000\n"}, 1),
    ({"proc/self/cgroup": "4:cpu:/job\n", f"{V1}/job/cpu.cfs_quota_us": "-1\n",
      f"{V1}/job/cpu.cfs_period_us": "100000\n"}, 16),
    ({"proc/self/cgroup": "4:cpuset:/\n", f"{V1}/cpu.cfs_quota_us": "100000\n",
      f"{V1}/cpu.cfs_period_us": "100000\n"}, 16),  # another controller's path
    ({"proc/self/cgroup": "0::/../..\n", f"{V2}/cpu.max": "400000 100000\n"}, 4),
    ({"proc/self/cgroup": "1:cpu:/\n0::/\n",  # both versions at once
      f"{V2}/unified/cpu.max": "500000 100000\n", f"{V1}/cpu.cfs_quota_us": "-1\n",
      f"{V1}/cpu.cfs_period_us": "100000\n"}, 5),
    ({"proc/self/cgroup": "0::/a b:c\n", f"{V2}/a b:c/cpu.max": "600000 100000\n"}, 6),
    ({"proc/self/cgroup": "no such format\n\n"}, 16),
])
def test_cores(tmp_path: Path, files: dict[str, str], cores: int) -> None:
    assert config.available_cores(system(tmp_path, files)) == cores


def test_affinity_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    files = {"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "700000 100000\n"}
    assert config.available_cores(system(tmp_path, files)) == 2


def test_the_variable_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KISO_NUM_THREADS", "40")
    assert config.num_threads() == 40
    for wrong in ("0", "-1", "two", "1.5"):
        monkeypatch.setenv("KISO_NUM_THREADS", wrong)
        with pytest.raises(ConfigError, match="KISO_NUM_THREADS"):
            config.num_threads()
    monkeypatch.setenv("KISO_NUM_THREADS", "")
    assert 1 <= config.num_threads() <= 16


MACHINE = {"proc/meminfo": "MemTotal: 33554432 kB\nMemAvailable: 16777216 kB\n",
           "proc/self/statm": "100 50 10 1 0 20 0\n"}


@pytest.mark.parametrize("files, gib", [
    ({}, 16),
    ({"proc/self/cgroup": "0::/\n"}, 16),
    ({"proc/self/cgroup": "0::/a\n", f"{V2}/a/memory.max": "max\n",
      f"{V2}/a/memory.current": "5\n", f"{V2}/memory.max": f"{8 * GIB}\n",
      f"{V2}/memory.current": f"{6 * GIB}\n",
      f"{V2}/memory.stat": f"anon 1\ninactive_file {GIB}\nactive_file 9\n"}, 3),
    ({"proc/self/cgroup": "9:memory:/docker/1\n",
      "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{4 * GIB}\n",
      "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{3 * GIB}\n",
      "sys/fs/cgroup/memory/memory.stat": f"inactive_file 0\ntotal_inactive_file {GIB}\n"}, 2),
    ({"proc/self/cgroup": "9:memory:/\n",
      "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
      "sys/fs/cgroup/memory/memory.usage_in_bytes": "12345\n"}, 16),
    ({"proc/self/cgroup": "0::/\n", f"{V2}/memory.max": f"{GIB}\n",
      f"{V2}/memory.current": f"{2 * GIB}\n"}, 0),
])
def test_memory(tmp_path: Path, files: dict[str, str], gib: int) -> None:
    assert config.available_memory(system(tmp_path, MACHINE | files)) == gib * GIB


def test_memory_of_the_address_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (2 * GIB, resource.RLIM_INFINITY))
    left = 2 * GIB - 100 * resource.getpagesize()
    assert config.available_memory(system(tmp_path, MACHINE)) == left


def test_memory_of_this_machine() -> None:
    found = config.available_memory()
    assert found is None or 2**20 < found < 2**50


def refusal(*numbers: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        check_memory(*numbers)
    return str(caught.value)


def test_what_fits_is_let_through() -> None:
    check_memory(4096, 20 * GIB, 10 * GIB, GIB, 20 * GIB)
    check_memory(4096, 20 * GIB, 10 * GIB, GIB, None)


def test_what_does_not_fit_is_refused_with_a_batch_size_that_does() -> None:
    text = refusal(4096, 61 * GIB, 40 * GIB, GIB, 21 * GIB)
    assert text == ("a step with batch 4096 needs 61.0 GiB, of which 40.0 GiB hold values between "
                    "kernels; 21.0 GiB are available. Use --batch-size 1280 or less.")
    for batch, needed, fixed, available in [(4096, 61, 1, 21), (7, 70, 0, 69), (100, 33, 30, 32),
                                            (2, 10, 4, 8), (1000, 2001, 1, 10)]:
        said = refusal(batch, needed * GIB, 0, fixed * GIB, available * GIB)
        fits = int(said.rsplit("--batch-size ", 1)[1].split()[0])
        assert 1 <= fits < batch
        assert fixed + (needed - fixed) * fits / batch <= available


def test_where_no_batch_size_fits() -> None:
    for fixed, available in [(5, 4), (4, 4), (9, 0)]:
        assert "any batch size" in refusal(1, 10 * GIB, GIB, fixed * GIB, available * GIB)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_planning_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a step needs is known before anything of its size is allocated."""
    monkeypatch.setenv("KISO_CACHE", str(tmp_path))
    x = np.broadcast_to(np.float32(0), (2**16, 2**16))  # one number, seen as 16 GiB
    w = np.broadcast_to(np.float32(0), (2**16, 2**16))

    def pages() -> int:
        return int(Path("/proc/self/statm").read_text("utf-8").split()[0])

    before = pages()
    run = compile_graph(trace(lambda x, w: ops.exp(ops.exp(x @ w) @ w).sum(), x, w).graph)
    assert run.arena_bytes >= 16 * GIB
    assert (pages() - before) * resource.getpagesize() < GIB
    needed = run.arena_bytes + x.nbytes + w.nbytes
    text = refusal(2**16, needed, run.arena_bytes, w.nbytes, needed - 1)
    assert f"{run.arena_bytes / GIB:.1f} GiB hold values" in text


def test_small_numbers_and_japanese(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "needs 3.0 MiB, of which 1.5 MiB" in refusal(4, 3 << 20, 3 << 19, 0, 2 << 20)
    monkeypatch.setenv("KISO_LANG", "ja")
    assert "--batch-size を 2 以下" in refusal(4, 3 << 20, 3 << 19, 0, 2 << 20)
