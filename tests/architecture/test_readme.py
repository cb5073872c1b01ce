"""The README keeps its word: its map is the tree, and all commands and programs run as printed.

Cheap commands run with the default tests. The rest run in order as one session (marked slow),
because `kiso evaluate runs/digits` needs the run that an earlier line made.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.architecture.source import PACKAGE, ROOT

READMES = ("README.md", "README.ja.md")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(text: str, language: str) -> list[str]:
    """Contents of the fenced code blocks of one language."""
    return [match[2] for match in BLOCK.finditer(text) if match[1] == language]


def commands(text: str) -> list[str]:
    """Lines of the sh blocks, those ending in a backslash joined."""
    lines = "".join(blocks(text, "sh")).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def tree(text: str) -> set[str]:
    """Names in the map: the lines `  name   what it is` below `kiso/`."""
    maps = [block for block in blocks(text, "text") if block.startswith("kiso/\n")]
    lines = [line for block in maps for line in block.splitlines()[1:]]
    bare = [line for line in lines if not re.fullmatch(r"  \S+ +\S.*", line)]
    assert bare == [], f"lines of the map without a name and a description: {bare}"
    return {line.split()[0] for line in lines}


def parts() -> set[str]:
    """What lies directly below kiso/."""
    files = {f.name for f in PACKAGE.glob("*.py") if not f.name.startswith("__")}
    folders = {f"{f.name}/" for f in PACKAGE.iterdir() if f.is_dir() and any(f.glob("*.*"))}
    return files | folders - {"__pycache__/"}


# --- what the commands find in their folder -------------------------------------------------------


def photos(folder: Path, _: Path | None) -> None:
    """Three classes that differ in colour, and new images to judge."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for channel, name in enumerate(("cat", "dog", "human")):
        for i in range(20):
            pixels = rng.integers(0, 120, (40, 48, 3), dtype=np.uint8)
            pixels[..., channel] += 120
            target = folder / "photos" / name / f"{i}.jpg" if i < 18 else folder / "new" / (
                f"{name}{i}.jpg"
            )
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(target)


def more_photos(folder: Path, _: Path | None) -> None:
    """Two of the three classes, for a run that begins with another one's weights."""
    photos(folder, None)
    for name in ("cat", "dog"):
        shutil.copytree(folder / "photos" / name, folder / "more-photos" / name)


def houses(folder: Path, _: Path | None) -> None:
    """A table with a number, a category and the price; new rows without the price."""
    rng = np.random.default_rng(0)
    rows = [(int(rng.integers(30, 200)), str(rng.choice(["north", "south"]))) for _ in range(120)]
    priced = [f"{a},{side},{a * 3 + 50 * (side == 'south')}" for a, side in rows]
    (folder / "houses.csv").write_text("\n".join(["area,side,price", *priced]) + "\n")
    (folder / "new-houses.csv").write_text("area,side\n80,north\n120,south\n")


def mnist(folder: Path, data: Path | None) -> None:
    """The real files, where this machine has them."""
    if data is None or not (data / "mnist").is_dir():
        pytest.skip("MNIST is not here: neither in KISO_DATA nor in ../shared/data")
    (folder / "data").mkdir(exist_ok=True)
    if not (folder / "data" / "mnist").exists():
        (folder / "data" / "mnist").symlink_to(data / "mnist")


@dataclass(frozen=True)
class Case:
    """How a command of the README is tried."""

    cheap: bool = False
    needs: Callable[[Path, Path | None], None] | None = None
    prints: str = ""  # a pattern that the output must match


KISO = ".venv/bin/kiso"
SUMMARY = f'{KISO} summary "conv30k5 relu pool2 flatten linear100 relu linear10" --input 1x28x28'
MNIST = f'{KISO} train mnist --data-dir data/mnist --model "flatten linear100 relu linear10"'
CASES = {
    f"{KISO} --help": Case(cheap=True, prints="train"),
    f"{KISO} train --help": Case(cheap=True, prints="--epochs"),
    f"{KISO} info": Case(cheap=True, prints="(?i)numpy"),
    SUMMARY: Case(cheap=True, prints="30"),
    f"{KISO} models": Case(cheap=True, prints=r"resnet110 .*1,727,962"),
    f"{KISO} models resnet50": Case(cheap=True, prints=r"6 x Bottleneck +1024x14x14"),
    f'{KISO} train --model "resnet20(width=0.5)" --epochs 1': Case(prints="report"),
    f"{KISO} train --epochs 10 --seed 0 --out runs/digits": Case(prints="report"),
    f"{KISO} evaluate runs/digits": Case(prints="(?i)accuracy"),
    f"{KISO} resume runs/digits": Case(),
    f"{KISO} report runs/digits --lang ja": Case(prints="report"),
    f"{MNIST} --epochs 10": Case(needs=mnist, prints="report"),
    f"{KISO} train --epochs 2 --engine eager": Case(prints="engine eager"),
    f'{KISO} show "conv4k3 relu pool2 linear3" --input 1x8x8 --stage kernels':
        Case(cheap=True, prints=r"sum\("),
    f'{KISO} profile "conv32 relu pool2 linear10" --input 1x28x28 --batch 100':
        Case(cheap=True, prints="0 Conv2d +forward"),
    f"{KISO} train photos/ --size 32 --epochs 5 --out runs/photos": Case(needs=photos),
    f"{KISO} train more-photos/ --weights runs/photos --head-epochs 2 --epochs 4":
        Case(needs=more_photos, prints="the head begins anew"),
    f"{KISO} predict runs/photos new/*.jpg": Case(prints="cat|dog|human"),
    f"{KISO} train houses.csv --target price --out runs/houses": Case(needs=houses),
    f"{KISO} predict runs/houses new-houses.csv": Case(prints=r"\d"),
}
# These set up a whole environment: the demo has its own test, and the test command cannot run
# itself (.ci/run starts with it).
SCRIPTS = {"scripts/demo", "scripts/test"}


def shell(command: str, folder: Path) -> str:
    """Run a command as a reader would, and give back all that it printed."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("KISO_")} | {"COLUMNS": "200"}
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=env, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )
    assert done.returncode == 0, f"{command}\nexit code {done.returncode}\n{done.stdout}"
    return done.stdout


def attempt(command: str, folder: Path, data: Path | None = None) -> None:
    """Prepare what a command needs, run it, look at what it printed."""
    case = CASES[command]
    if case.needs:
        case.needs(folder, data)
    output = shell(command, folder)
    assert re.search(case.prints, output), f"{command}\nprinted\n{output}"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder with the environment that runs the tests as `.venv`."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / ".venv").symlink_to(sys.prefix)
    if not (folder / KISO).exists():
        pytest.fail("kiso is not installed in this environment: run scripts/setup")
    return folder


@pytest.fixture(scope="module")
def data() -> Path | None:
    """Real data, if there are any."""
    folder = Path(os.environ.get("KISO_DATA") or ROOT.parent / "shared" / "data")
    return folder.resolve() if folder.is_dir() else None


@pytest.mark.parametrize("readme", READMES)
def test_the_map_is_the_tree(readme: str) -> None:
    assert tree((ROOT / readme).read_text("utf-8")) == parts()


def test_a_wrong_map_is_found() -> None:
    assert tree("```text\nkiso/\n  ops/   what\n  a.py  b\n```\n") == {"ops/", "a.py"}
    with pytest.raises(AssertionError):
        tree("```text\nkiso/\n  ops/\n```\n")


@pytest.mark.parametrize("readme", READMES)
def test_every_command_is_tried(readme: str) -> None:
    assert set(commands((ROOT / readme).read_text("utf-8"))) == set(CASES) | SCRIPTS


def test_both_readmes_show_the_same() -> None:
    english, japanese = ((ROOT / name).read_text("utf-8") for name in READMES)
    assert commands(english) == commands(japanese)
    drop = re.compile('""".*?"""')
    assert [drop.sub("", b) for b in blocks(english, "python")] == [
        drop.sub("", b) for b in blocks(japanese, "python")
    ]


@pytest.mark.parametrize("readme", READMES)
def test_links_lead_somewhere(readme: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / readme).read_text("utf-8"))
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("command", [c for c, case in CASES.items() if case.cheap])
def test_cheap_commands_run(command: str, desk: Path) -> None:
    attempt(command, desk)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("command", [c for c, case in CASES.items() if not case.cheap])
def test_the_session_runs(command: str, desk: Path, data: Path | None) -> None:
    attempt(command, desk, data)


def test_a_failing_command_is_found(desk: Path) -> None:
    with pytest.raises(AssertionError, match="exit code 2"):
        shell(f"{KISO} train no-such-data-anywhere", desk)


@pytest.mark.slow
@pytest.mark.parametrize("readme", READMES)
def test_the_program_runs(readme: str, desk: Path) -> None:
    programs = blocks((ROOT / readme).read_text("utf-8"), "python")
    assert programs
    for program in programs:
        (desk / "program.py").write_text(program, "utf-8")
        shell(".venv/bin/python program.py", desk)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_sets_itself_up(tmp_path: Path) -> None:
    """scripts/demo in a copy without .venv: it installs, trains well and writes a report."""
    skip = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "runs", "build", "dist")
    folder = tmp_path / "kiso"
    shutil.copytree(ROOT, folder, ignore=skip)
    output = shell("scripts/demo --json", folder)
    found = [float(value) for value in re.findall(r'"test_accuracy": *([0-9.]+)', output)]
    assert found and min(found) >= 0.97, output
    assert list(folder.glob("runs/*/report.html"))
