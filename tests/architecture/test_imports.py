"""Imports go one way, outside packages are declared, and nothing loads code from data files."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib

import pytest

from tests.architecture.source import ROOT, Source, imports, sources

BASE = {"errors", "config", "text", "files", "tree"}
MATHS = BASE | {"ops"}
ALL = MATHS | {"autograd", "compiler", "runtime", "data", "nn", "optim", "models"}

# Folder or file directly below kiso/ -> what it may import besides itself.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "config": {"errors"},
    "text": {"errors", "config"},
    "files": {"errors", "config", "text"},
    "tree": set(),
    "ops": BASE,
    "autograd": MATHS,
    "compiler": MATHS,
    "runtime": MATHS | {"compiler"},
    "data": MATHS,
    "nn": MATHS | {"autograd"},
    "optim": MATHS | {"autograd"},
    "models": MATHS | {"autograd", "nn", "optim"},
    "interop": MATHS | {"autograd", "data", "nn"},
    "function": MATHS | {"autograd", "compiler", "nn", "runtime"},
    "train": ALL | {"interop"},
    "report": ALL | {"interop", "train"},
    "cli": ALL | {"interop", "train", "report", "kiso"},
    "__main__": {"cli"},
    "kiso": ALL | {"interop", "train", "report", "cli", "function"},
}

# What the textbook half may use from outside. The rest may use every declared dependency.
NUMPY_ONLY = {*BASE, "ops", "autograd", "compiler", "optim", "models"}

# `import name` -> name of the package that is declared in pyproject.toml.
PACKAGES = {"PIL": "pillow", "sklearn": "scikit-learn", "tomli_w": "tomli-w"}

HEAVY = {"matplotlib", "PIL", "sklearn", "scipy", "jinja2", "rich", "typer", "pooch", "safetensors",
         "torch"}

LOADERS = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
EXECUTES = {"eval", "exec", "compile", "__import__"}
UNPICKLER = "kiso/data/sources/pickles.py"  # the one place: refuses everything but arrays


def wrong_directions(files: list[Source]) -> list[str]:
    """Imports between the parts of kiso/ that the table does not allow."""
    parts = {s.part for s in files}
    bad = [f"kiso/{part}: not in the table of import directions" for part in parts - set(ALLOWED)]
    for source in files:
        allowed = ALLOWED.get(source.part, set()) | {source.part}
        for line, name in imports(source):
            words = name.split(".")
            if words[0] != "kiso" or name == "kiso.__version__":
                continue
            target = words[1] if len(words) > 1 else "kiso"
            target = target if target in parts else "kiso"  # a name that kiso/__init__.py offers
            if target not in allowed:
                bad.append(f"{source.path}:{line}: {source.part} must not import {target} ({name})")
    return bad


def undeclared(files: list[Source], declared: set[str]) -> list[str]:
    """Outside packages that pyproject.toml does not declare, or that the part must do without."""
    bad: list[str] = []
    for source in files:
        for line, name in imports(source):
            top = name.split(".")[0]
            if top == "kiso" or top in sys.stdlib_module_names:
                continue
            if PACKAGES.get(top, top) not in declared:
                bad.append(f"{source.path}:{line}: {top} is no dependency in pyproject.toml")
            elif source.part in NUMPY_ONLY and top != "numpy":
                bad.append(f"{source.path}:{line}: {source.part} uses NumPy only, not {top}")
    return bad


def unsafe(files: list[Source], exempt: str = UNPICKLER) -> list[str]:
    """Everything that can run code found in a file: pickles, eval, exec."""
    bad: list[str] = []
    for source in files:
        if source.path == exempt:
            continue
        for line, name in imports(source):
            if name.split(".")[0] in LOADERS:
                bad.append(f"{source.path}:{line}: imports {name}")
        for node in ast.walk(source.tree):
            if not isinstance(node, ast.Call):
                continue
            if isinstance(node.func, ast.Name) and node.func.id in EXECUTES:
                bad.append(f"{source.path}:{node.lineno}: calls {node.func.id}")
            for word in node.keywords:
                refused = isinstance(word.value, ast.Constant) and word.value.value is False
                if word.arg == "allow_pickle" and not refused:
                    bad.append(f"{source.path}:{node.lineno}: allow_pickle")
    return bad


def declared_dependencies() -> set[str]:
    """Names of the run-time dependencies in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return {re.split(r"[<>=!~\[; ]", line)[0].lower() for line in project["dependencies"]}


def test_imports_go_one_way() -> None:
    assert wrong_directions(sources("kiso")) == []


def test_outside_packages_are_declared() -> None:
    assert undeclared(sources("kiso"), declared_dependencies()) == []


def test_no_file_can_run_code() -> None:
    assert unsafe(sources("kiso")) == []
    assert (ROOT / UNPICKLER).is_file(), "the exempt file is gone: take it out of the rule"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("kiso/ops/bad.py", "from kiso.autograd import Tensor"),
        ("kiso/ops/bad.py", "def f():\n    from kiso import autograd"),
        ("kiso/ops/bad.py", "from ..autograd import tensor"),
        ("kiso/ops/bad.py", "import kiso.autograd.tensor as t"),
        ("kiso/ops/bad.py", "from kiso import Tensor"),
        ("kiso/compiler/bad.py", "from kiso.autograd import Tensor"),
        ("kiso/errors.py", "from kiso.text import tr"),
        ("kiso/data/__init__.py", "from kiso.train import fit"),
        ("kiso/unheard_of/bad.py", "import os"),
    ],
)
def test_a_wrong_direction_is_found(path: str, text: str) -> None:
    others = [Source("kiso/autograd/__init__.py", ""), Source("kiso/train/__init__.py", ""),
              Source("kiso/text.py", "")]
    assert len(wrong_directions([*others, Source(path, text)])) == 1


def test_right_directions_pass() -> None:
    files = [
        Source("kiso/ops/conv.py", "from .op import Op\nfrom kiso.errors import ShapeError"),
        Source("kiso/errors.py", ""),
        Source("kiso/train/loop.py", "from kiso import __version__, ops"),
    ]
    assert wrong_directions(files) == []


def test_undeclared_packages_are_found() -> None:
    files = [Source("kiso/train/a.py", "import torch"), Source("kiso/ops/b.py", "import rich"),
             Source("kiso/data/c.py", "from PIL import Image\nimport numpy as np")]
    found = undeclared(files, {"numpy", "rich", "pillow"})
    assert [line.split(":")[0] for line in found] == ["kiso/train/a.py", "kiso/ops/b.py"]


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from joblib import load",
        "def f():\n    eval('1')",
        "exec(open('x'))",
        "np.load(f, allow_pickle=True)",
    ],
)
def test_code_from_files_is_found(text: str) -> None:
    assert len(unsafe([Source("kiso/data/bad.py", text)])) == 1


def test_harmless_namesakes_pass() -> None:
    text = "import re\nre.compile('x')\nmodel.eval()\nnp.load(f, allow_pickle=False)"
    assert unsafe([Source("kiso/data/good.py", text)]) == []


def imported_by(statement: str) -> set[str]:
    """Top-level names of all modules loaded after a statement, in a fresh interpreter."""
    code = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_kiso_is_light() -> None:
    assert imported_by("import kiso") & HEAVY == set()


def test_importing_the_commands_is_light() -> None:
    assert imported_by("import kiso.cli.app") & (HEAVY - {"rich", "typer"}) == set()


def test_a_heavy_import_is_found() -> None:
    assert imported_by("import PIL.Image") & HEAVY == {"PIL"}
