"""Files, functions and lines stay short enough to read."""

from __future__ import annotations

import ast

from tests.architecture.source import Source, sources

FILE, FUNCTION, COLUMNS, EXAMPLE = 400, 60, 100, 60
# Lines of compiler/ and runtime/ that are not blank: 700 are Winograd's form and the choice of it,
# 100 what inference does once for many calls.
COMPILER = 6800


def too_long(source: Source) -> list[str]:
    """What of a file is longer than the limits."""
    lines = source.text.splitlines()
    limit = EXAMPLE if source.path.startswith("examples/") else FILE
    bad = [f"{source.path}: {len(lines)} lines, limit {limit}"] if len(lines) > limit else []
    bad += [
        f"{source.path}:{i}: {len(line)} columns, limit {COLUMNS}"
        for i, line in enumerate(lines, 1)
        if len(line) > COLUMNS
    ]
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION:
                bad.append(
                    f"{source.path}:{node.lineno}: {node.name} has {length} lines, limit {FUNCTION}"
                )
    return bad


def test_sizes() -> None:
    files = sources("kiso", "tests", "examples")
    assert [line for source in files for line in too_long(source)] == []


def test_the_compiler_is_read_in_an_evening() -> None:
    own = [s for s in sources("kiso") if s.path.startswith(("kiso/compiler/", "kiso/runtime/"))]
    assert len(own) > 30
    assert sum(bool(line.strip()) for s in own for line in s.text.splitlines()) < COMPILER


def test_excess_is_found() -> None:
    function = "def f():\n" + "    x = 1\n" * 60
    assert len(too_long(Source("kiso/a.py", function))) == 1
    assert len(too_long(Source("kiso/a.py", "x = 1\n" * 401))) == 1
    assert len(too_long(Source("examples/a.py", "x = 1\n" * 61))) == 1
    assert len(too_long(Source("kiso/a.py", "x = '" + "a" * 95 + "'"))) == 1


def test_the_limits_themselves_pass() -> None:
    function = "def f():\n" + "    x = 1\n" * 59
    for path, text in [("kiso/a.py", function), ("kiso/a.py", "x = 1\n" * 400),
                       ("kiso/a.py", "x = '" + "a" * 94 + "'")]:  # fmt: skip
        assert too_long(Source(path, text)) == []
