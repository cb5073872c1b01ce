"""The project's Python files as text and syntax tree, for the checks of this folder.

Every check is a plain function from such sources to a list of complaints. It runs on the project,
where the list must be empty, and on a small bad example, where it must not: a check that cannot
fail proves nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "kiso"


@dataclass(frozen=True)
class Source:
    """One file: its path from the project's root, its text and its tree."""

    path: str
    text: str
    tree: ast.Module = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tree", ast.parse(self.text, self.path))

    @property
    def module(self) -> str:
        """Dotted name: kiso/ops/conv.py is kiso.ops.conv, kiso/ops/__init__.py is kiso.ops."""
        parts = self.path.removesuffix(".py").split("/")
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def is_package(self) -> bool:
        """Whether this is a folder's `__init__.py`."""
        return self.path.endswith("__init__.py")

    @property
    def part(self) -> str:
        """The folder or file directly below kiso/ that it belongs to; `kiso` for the top."""
        return self.module.split(".")[1] if "." in self.module else "kiso"


def sources(*folders: str) -> list[Source]:
    """All Python files below the named folders of the project."""
    files = (f for folder in folders for f in sorted((ROOT / folder).rglob("*.py")))
    return [Source(f.relative_to(ROOT).as_posix(), f.read_text("utf-8")) for f in files]


def imports(source: Source) -> Iterator[tuple[int, str]]:
    """Each imported dotted name with its line, wherever it stands (also inside functions).

    `from kiso import ops` gives `kiso.ops`; in kiso/ops/conv.py, `from .op import Op` gives
    `kiso.ops.op.Op`.
    """
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = source.module.split(".")
                up = node.level - 1 if source.is_package else node.level
                base = ".".join([*here[: len(here) - up], *([base] if base else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
