"""docs/compiler.md keeps its word: its files exist, its commands and programs run, and the blocks
right behind them, but for those of one machine, are what they print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from tests.architecture.source import PACKAGE, ROOT

PAGE = (ROOT / "docs" / "compiler.md").read_text("utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [(match[1], match[2]) for match in BLOCK.finditer(PAGE)]
COMMANDS = [(content, shown[1] if shown[0] == "text" else "")
            for (kind, content), shown in pairwise([*BLOCKS, ("", "")]) if kind == "sh"]
MARK = "---- next program ----"


def missing(shown: str, output: str) -> list[str]:
    """Lines of a block that do not come in this order in the output. `...` stands for anything,
    within a line or, alone, for lines."""
    lost: list[str] = []
    lines = iter(output.splitlines())
    for line in shown.splitlines():
        pattern = ".*".join(map(re.escape, line.strip().split("...")))
        if line.strip() != "..." and not any(re.fullmatch(pattern, x.strip()) for x in lines):
            lost.append(line)
            break  # the rest of the output is used up
    return lost


def named_files(text: str) -> set[str]:
    """Paths in backquotes; those of the package stand without `kiso/`."""
    return set(re.findall(r"`([\w/]+/(?:\w+\.py)?)`", text))


def run(command: list[str]) -> str:
    """What a command prints, run in the project's folder."""
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_a_wrong_line_is_found() -> None:
    assert missing("a ... c\n...\nz\n", "a b c\nd\nz\n") == []
    assert missing("a\nc\n", "a\nb\n") == ["c"]
    assert missing("b\na\n", "a\nb\n") == ["a"]


def test_every_named_file_exists() -> None:
    found = named_files(PAGE)
    assert len(found) > 30
    assert [x for x in found if not (PACKAGE / x).exists() and not (ROOT / x).exists()] == []


def test_the_map_of_the_compiler_is_the_tree() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    table = page.split("### The compiler, file by file")[1].split("\n## ")[0]
    files = {f.relative_to(PACKAGE).as_posix() for part in ("compiler", "runtime")
             for f in (PACKAGE / part).rglob("*.py")
             if f.stem != "__init__" and f.parent.name != "lower"}
    assert named_files(table) - {"compiler/lower/"} == files


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", BLOCK.sub("", PAGE))
    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


@pytest.mark.parametrize(("command", "shown"), COMMANDS)
def test_commands_print_what_is_shown(command: str, shown: str) -> None:
    assert command.startswith((".venv/bin/kiso ", ".venv/bin/python "))
    tool, rest = command.split(" ", 1)
    here = f"'{sys.executable}' {'-m kiso ' if tool.endswith('kiso') else ''}{rest}"
    assert missing(shown, run(["bash", "-o", "pipefail", "-c", here])) == []


def test_programs_print_what_is_shown(tmp_path: Path) -> None:
    programs = [(content, shown[1] if shown[0] == "text" else "")
                for (kind, content), shown in pairwise([*BLOCKS, ("", "")]) if kind == "python"]
    path = tmp_path / "program.py"
    path.write_text(f"\nprint({MARK!r})\n".join(content for content, _ in programs), "utf-8")
    start = f"import runpy, sys; sys.path.insert(0, {str(ROOT)!r}); runpy.run_path({str(path)!r})"
    outputs = run([sys.executable, "-c", start]).split(MARK + "\n")
    assert len(outputs) == len(programs) > 5
    for (program, shown), output in zip(programs, outputs, strict=True):
        assert missing(shown, output) == [], program
