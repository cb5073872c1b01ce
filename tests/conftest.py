"""What all tests share: a repeatable environment, real data where there are any, `peers`."""

from __future__ import annotations

import gc
import os
import signal
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

os.environ.setdefault("MPLBACKEND", "Agg")  # figures without a screen
os.environ.pop("KISO_LANG", None)  # tests compare English text unless they choose otherwise

# A job in the background of a script is started with Ctrl-C ignored, and so would be all processes
# that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Busy machines pause for seconds at times, so no deadline for one example; under CI the same
# examples every time, so that a red run means a changed program.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@cache
def asks_for_torch(path: Path) -> bool:
    """Whether a test file compares with PyTorch."""
    return 'importorskip("torch' in path.read_text("utf-8")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests in files that ask for PyTorch, so that `-m peers` finds them all."""
    for item in items:
        if asks_for_torch(item.path):
            item.add_marker(pytest.mark.peers)


def pytest_collection_finish() -> None:
    """What importing and collecting made stays to the end: the garbage collector need not look
    through it a hundred times."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def sharing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The nets of tests are small, and yet they test how threads share work."""
    from kiso.runtime import work

    monkeypatch.setattr(work, "ALONE", 0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data sets: `KISO_DATA`, else ../shared/data; skips without."""
    folder = Path(os.environ.get("KISO_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("no real data here: neither KISO_DATA nor ../shared/data names a folder")
    return folder
