"""Ctrl-C in a terminal, in the middle of an epoch: saved, said, and resumed to the same weights."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from kiso.train.store import Store
from tests.architecture.source import ROOT

pty = pytest.importorskip("pty")

COMMAND = ["--batch-size", "5", "--seed", "3"]
SLOW = "conv8k3 relu pool2 flatten dropout0.2 linear32 relu linear10"  # enough for NumPy
SLOWER = "conv64k3p1 relu conv64k3p1 relu pool2 flatten dropout0.2 linear32 relu linear10"


def start(folder: Path, *words: str) -> tuple[subprocess.Popen[bytes], int]:
    """A command in a terminal of its own: Ctrl-C typed there reaches it as from a keyboard."""
    import fcntl
    import termios

    mine, its = pty.openpty()

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    env = {**os.environ, "KISO_CACHE": str(folder / "cache"), "COLUMNS": "80", "TERM": "xterm",
           "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-m", "kiso", *words], cwd=folder, env=env,
                               stdin=its, stdout=its, stderr=its, preexec_fn=take_terminal)
    os.close(its)
    return process, mine


def read(terminal: int, until: Any = None) -> str:
    """What the command writes, to its end or until a condition holds."""
    text = b""
    end = time.monotonic() + 120
    while time.monotonic() < end and not (until and until()):
        if not select.select([terminal], [], [], 0.01)[0]:
            continue
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux says so when the other side is closed
            break
        if not part:
            break
        text += part
    return text.decode("utf-8", "replace")


def epochs(folder: Path) -> int:
    """Finished epochs of a run."""
    path = folder / "history.csv"
    return max(len(path.read_text("utf-8").splitlines()) - 1, 0) if path.is_file() else 0


def weights(folder: Path) -> str:
    return json.loads((folder / "metrics.json").read_text("utf-8"))["weights_sha256"]


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("engine, model, count", [
    pytest.param("eager", SLOW, 5, marks=pytest.mark.slow), ("compiled", SLOWER, 8)])
def test_interrupted_in_a_terminal(engine: str, model: str, count: int, tmp_path: Path) -> None:
    options = [*COMMAND, "--model", model, "--engine", engine, "--epochs", str(count),
               "--threads", "2"]
    whole, terminal = start(tmp_path, "train", *options, "--out", "whole")
    read(terminal)
    assert whole.wait(timeout=60) == 0
    os.close(terminal)

    part, terminal = start(tmp_path, "train", *options, "--out", "part")
    folder = tmp_path / "part"
    in_the_middle = False
    for _ in range(4):
        before = epochs(folder)
        read(terminal, lambda before=before: epochs(folder) > before)
        time.sleep(0.1)
        os.write(terminal, b"\x03")
        said = read(terminal)
        assert part.wait(timeout=60) == 128 + signal.SIGINT, said
        os.close(terminal)
        assert "kiso resume part" in said and "Traceback" not in said
        assert not (folder / "metrics.json").exists()
        position = Store(folder).load("last").record["position"]
        assert position["epoch"] == epochs(folder) < count
        in_the_middle = position["step_in_epoch"] > 0  # else it came while an epoch was saved
        part, terminal = start(tmp_path, "resume", "part", "--threads", "2")
        if in_the_middle:
            break
    assert in_the_middle
    read(terminal)
    assert part.wait(timeout=60) == 0
    os.close(terminal)
    assert weights(folder) == weights(tmp_path / "whole")
    assert epochs(folder) == count
