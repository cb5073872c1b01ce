"""The page in a real browser: nothing fetched, nothing complained about, everything drawn."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kiso.report import build
from tests.report import folders

pytestmark = pytest.mark.slow

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
BROWSER = next((path for name in NAMES if (path := shutil.which(name))), None)
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--enable-logging=stderr", "--v=0",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # the browser's own errands come to nothing
]
BLUE, ORANGE = (0x2A, 0x66, 0xD9), (0xCF, 0x5F, 0x0A)  # the curves in the light scheme


@dataclass
class Visit:
    """What a browser did with a page."""

    console: list[str]
    requests: list[str]  # those that the page caused
    pixels: Any  # (height, width, 3)


def visit(page: Path, width: int = 1200, height: int = 2600, *flags: str) -> Visit:
    if BROWSER is None:
        pytest.skip(f"no browser here: none of {', '.join(NAMES)} is on the path")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        done = subprocess.run(
            [BROWSER, *FLAGS, *flags, f"--user-data-dir={folder / 'profile'}",
             f"--log-net-log={folder / 'net.json'}", f"--screenshot={folder / 'page.png'}",
             f"--window-size={width},{height}", page.resolve().as_uri()],
            capture_output=True, text=True, timeout=120, check=False)
        assert (folder / "page.png").is_file(), done.stderr[-2000:]
        log = json.loads((folder / "net.json").read_text("utf-8"))
        with Image.open(folder / "page.png") as image:
            pixels = np.asarray(image.convert("RGB")).astype(int)
    # A request of the page has an origin as its initiator ("null" for a file); the browser's own
    # requests say "not an origin".
    events = [event.get("params", {}) for event in log["events"]]
    requests = [p["url"] for p in events
                if "url" in p and p.get("initiator", "not an origin") != "not an origin"
                and not p["url"].startswith("data:")]
    return Visit([line for line in done.stderr.splitlines() if "CONSOLE" in line], requests, pixels)


def count(pixels: Any, colour: tuple[int, int, int]) -> int:
    """Pixels that have nearly this colour."""
    return int((np.abs(pixels - np.array(colour)).max(axis=2) < 12).sum())


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    arrays = folders.answers([str(i) for i in range(10)], 271, pictures=(1, 8, 8))
    return folders.write(tmp_path / "digits", arrays=arrays)


def test_curves_and_matrix_are_drawn_and_nothing_is_fetched(digits: Path) -> None:
    seen = visit(build(digits))
    assert seen.console == []
    assert seen.requests == []
    assert count(seen.pixels, BLUE) > 1000
    assert count(seen.pixels, ORANGE) > 1000
    assert count(seen.pixels, (37, 96, 216)) > 5000  # the diagonal


def test_dark_and_japanese(digits: Path) -> None:
    seen = visit(build(digits, lang="ja"), 1200, 2600, "--blink-settings=preferredColorScheme=0")
    assert seen.console == []
    assert seen.requests == []
    assert seen.pixels[5, 5].max() < 40
    assert count(seen.pixels, (0x7A, 0xA8, 0xFF)) > 1000  # training curves
    assert count(seen.pixels, (0xFF, 0xAB, 0x5E)) > 1000


def test_a_phone_needs_no_sideways_scrolling(digits: Path, tmp_path: Path) -> None:
    """In a frame as wide as a phone, the page is not wider than the frame."""
    frame = tmp_path / "phone.html"
    frame.write_text(
        "<style>body{margin:0}iframe{border:0;width:390px;height:2400px}</style>"
        f"<iframe src='{build(digits).as_uri()}'></iframe><script>onload=()=>{{"
        "const d=frames[0].document.documentElement;"
        "console.log('width', d.scrollWidth, d.clientWidth)}</script>", "utf-8")
    seen = visit(frame, 500, 2400, "--allow-file-access-from-files")
    assert any("width 390 390" in line for line in seen.console), seen.console


def test_the_check_sees_requests_and_errors(tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text("<img src='http://a.invalid/x.png'><script>console.error('oh')</script>")
    seen = visit(page, 300, 300)
    assert seen.requests == ["http://a.invalid/x.png"] * len(seen.requests)
    assert seen.requests
    assert any("oh" in line for line in seen.console)
