"""What is declared, what is pinned and what is explained are the same packages."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.source import ROOT

PINNED = re.compile(r"([a-z0-9-]+)==([^\s;]+) \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")


def pins(lock: str) -> dict[str, str]:
    """Name -> version; AssertionError for a line that is neither pin, hash nor comment."""
    found: dict[str, str] = {}
    hashes = 0
    for line in lock.splitlines():
        if not line or line.startswith("#"):
            continue
        if pin := PINNED.fullmatch(line):
            assert hashes or not found, f"no hash before {line}"
            found[pin[1]], hashes = pin[2], 0
        else:
            assert HASH.fullmatch(line), f"neither a pin nor a hash: {line}"
            hashes += 1
    assert hashes, "the last pin has no hash"
    return found


def declared(extra: str | None = None) -> list[Requirement]:
    """Requirements in pyproject.toml, of the package itself or of an extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = project["optional-dependencies"][extra] if extra else project["dependencies"]
    return [Requirement(line) for line in lines]


def unmet(requirements: list[Requirement], pinned: dict[str, str]) -> list[str]:
    """Requirements that the pins leave out or contradict."""
    return [
        str(r)
        for r in requirements
        if not r.specifier.contains(pinned.get(canonicalize_name(r.name), "0"), prereleases=True)
    ]


def test_the_lock_holds_what_is_declared() -> None:
    pinned = pins((ROOT / "requirements.lock").read_text("utf-8"))
    assert unmet(declared() + declared("dev"), pinned) == []


@pytest.mark.parametrize("file", ["requirements.lock", "requirements-peers.txt",
                                  "requirements-benchmarks.txt"])
def test_no_file_names_a_place(file: str) -> None:
    """Where packages come from is the business of each machine's pip."""
    text = (ROOT / file).read_text("utf-8")
    assert re.findall(r"https?:|file:|@ |^ *-(?!-hash=)|/[a-z]+/", text, re.MULTILINE) == []


def test_every_dependency_has_its_reason() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8").lower()
    rows = "\n".join(re.findall(r"^\| ([a-z0-9, -]+) \| .{15,} \|$", page, re.MULTILINE))
    explained = {canonicalize_name(name) for name in re.split(r"[,\n]\s*", rows)}
    assert {canonicalize_name(r.name) for r in declared() + declared("dev")} - explained == set()


@pytest.mark.parametrize("line", ["numpy>=2 \\", "numpy @ file:///wheels/n.whl", "-f /wheels"])
def test_a_line_that_is_no_pin_is_found(line: str) -> None:
    good = "rich==15.0.0 \\\n    --hash=sha256:" + "0" * 64
    assert pins(good) == {"rich": "15.0.0"}
    with pytest.raises(AssertionError):
        pins(f"{good}\n{line}")


def test_a_pin_without_hash_or_out_of_range_is_found() -> None:
    with pytest.raises(AssertionError):
        pins("rich==15.0.0 \\\n")
    assert unmet([Requirement("rich>=13")], {"rich": "12.0"}) == ["rich>=13"]
    assert unmet([Requirement("rich>=13")], {}) == ["rich>=13"]
