"""Every module says what it offers: a sorted `__all__` of names that exist and are explained."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.architecture.source import ROOT, Source, sources

FILES = [s for s in sources("kiso") if not s.path.endswith("__main__.py")]


def states_all(source: Source) -> bool:
    """Whether the module assigns `__all__` at its top level."""
    targets: list[ast.expr] = []
    for node in source.tree.body:
        if isinstance(node, ast.Assign):
            targets += node.targets
        elif isinstance(node, ast.AnnAssign | ast.AugAssign):
            targets.append(node.target)
    return any(isinstance(t, ast.Name) and t.id == "__all__" for t in targets)


def unexplained(source: Source, module: ModuleType) -> list[str]:
    """Names of `__all__` that do not exist, or classes and functions without a docstring."""
    bad = [] if ast.get_docstring(source.tree) else [f"{source.path}: no docstring"]
    # Read from the source where possible: a subclass shows its parent's docstring as its own.
    written = {
        node.name: ast.get_docstring(node)
        for node in source.tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    }
    for name in module.__all__:
        if not hasattr(module, name):
            bad.append(f"{source.path}: {name} is in __all__ but does not exist")
            continue
        value = getattr(module, name)
        explained = written[name] if name in written else inspect.getdoc(value)
        if (inspect.isclass(value) or inspect.isroutine(value)) and not explained:
            bad.append(f"{source.path}: {name} has no docstring")
    return bad


def unsorted(folder: Path) -> str:
    """What ruff says about the order of `__all__` (constants, classes, then the rest)."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--quiet",
               "--select", "RUF022", "--output-format", "concise", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("source", FILES, ids=lambda s: s.module)
def test_public_names(source: Source) -> None:
    assert states_all(source), f"{source.path} has no __all__"
    assert unexplained(source, importlib.import_module(source.module)) == []


def test_public_names_are_sorted() -> None:
    assert unsorted(ROOT / "kiso") == ""


def test_a_missing_all_is_found() -> None:
    assert not states_all(Source("kiso/a.py", "def f():\n    __all__ = []"))
    assert states_all(Source("kiso/a.py", "__all__: list[str] = []"))


def test_a_name_that_is_missing_or_unexplained_is_found() -> None:
    text = "'''Doc.'''\n__all__ = ['A', 'b', 'c']\nclass A(int): x = 1\ndef b(): pass\n"
    module = ModuleType("a")
    exec(text, module.__dict__)
    found = unexplained(Source("kiso/a.py", text), module)
    assert len(found) == 3
    assert "c is in __all__" in found[2]


def test_a_wrong_order_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text('__all__ = ["b", "a"]\na = b = 1\n')
    assert "RUF022" in unsorted(tmp_path)
