"""Help pages: complete, in two languages, within the width, true about defaults, and quick."""

from __future__ import annotations

import inspect
import os
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

from kiso import nn, train
from kiso.cli.app import build
from kiso.cli.commands import all_commands, common_options, layer_words, train_command
from kiso.cli.help import wrap
from kiso.cli.options import NAMED
from kiso.text import set_language
from kiso.train import TrainOptions
from tests.cli.conftest import Kiso

NAMES = [command.name for command in all_commands()]
JAPANESE = re.compile("[ぁ-んァ-ヶ一-龠]")


def flat(text: str) -> str:
    """Without white space, so that line breaks do not matter."""
    return re.sub(r"\s+", "", text)


@pytest.mark.parametrize("name", NAMES)
def test_help_says_everything(kiso: Kiso, name: str) -> None:
    done = kiso(name, "--help")
    command = next(c for c in all_commands() if c.name == name)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"Usage: kiso {name} ")
    assert command.purpose in done.out
    for option in (*command.options, *common_options()):
        assert option.title.split()[0] in done.out
        assert flat(option.help) in flat(done.out)
        assert not option.default or flat(f"(default: {option.default})") in flat(done.out)
    for example in command.examples:
        assert f"  {example}\n" in done.out
    assert max(map(cell_len, done.out.splitlines())) <= 80


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("how", ["before", "after", "equals", "variable"])
def test_japanese_help(kiso: Kiso, monkeypatch: pytest.MonkeyPatch, name: str, how: str) -> None:
    if how == "variable":
        monkeypatch.setenv("KISO_LANG", "ja_JP.UTF-8")
    words = {"before": ["--lang", "ja", name, "--help"], "after": [name, "--help", "--lang", "ja"],
             "equals": [name, "--lang=ja", "--help"], "variable": [name, "--help"]}[how]
    done = kiso(*words)
    assert done.code == 0
    assert done.out.startswith(f"使い方: kiso {name} ")
    assert max(map(cell_len, done.out.splitlines())) <= 80
    # Nothing is cut off, and what is not a name, a value or an example is Japanese.
    assert "…" not in done.out
    explained = done.out.split("例:\n")[0].splitlines()
    assert all(JAPANESE.search(line) or not re.search(r"[a-z]{4,} [a-z]{3,} ", line)
               for line in explained)
    assert kiso(name, "--help", "--lang", "en").out.startswith("Usage:")  # the choice does not stay


def test_the_group(kiso: Kiso) -> None:
    pages = [kiso(*words) for words in (["--help"], [], ["--lang", "en"])]
    assert {(page.code, page.out) for page in pages} == {(0, pages[0].out)}
    assert all(re.search(rf"^  {name} ", pages[0].out, re.MULTILINE) for name in NAMES)
    assert "コマンド一覧" in kiso("--lang", "ja").out


def test_version(kiso: Kiso) -> None:
    import kiso as package

    assert kiso("--version").out == f"kiso {package.__version__}\n"


def test_it_is_an_ordinary_typer_program() -> None:
    done = CliRunner().invoke(build(), ["train", "--help"])
    assert done.exit_code == 0
    assert "Train a model and write a report." in done.output


def test_every_choice_of_a_run_is_an_option() -> None:
    offered = {option.name for option in train_command().options}
    assert offered == {f.name for f in fields(TrainOptions)}


def test_shown_defaults_are_true() -> None:
    plain = TrainOptions()
    for option in train_command().options:
        real = getattr(plain, option.name)
        if option.kind in NAMED and real not in (None, False):
            assert option.read(option.label, option.default) == real, option.name
    assert plain.data == next(o.default for o in train_command().options if o.name == "data")


@pytest.mark.parametrize("name", ["resume", "evaluate", "predict"])
def test_options_are_those_of_the_call(name: str) -> None:
    command = next(c for c in all_commands() if c.name == name)
    known = inspect.signature(getattr(train, name)).parameters
    ours = {"run": "folder", "csv": None, "out": None, "pictures": None}
    assert {ours.get(o.name, o.name) for o in command.options} - {None} <= set(known)


def test_examples_use_what_there_is() -> None:
    """Examples use commands and options that exist."""
    for command in all_commands():
        known = {d for o in (*command.options, *common_options()) for d in o.decls}
        for example in command.examples:
            words = shlex.split(example.split(" > ")[0])
            assert words[:2] == ["kiso", command.name]
            assert {word for word in words if word.startswith("-")} <= known


def test_words_for_layers_are_words() -> None:
    for title, _ in layer_words():
        for text in re.split(", (?![^(]*[)])", title):
            if text != "...":
                text = text.replace("A", "conv4k1").replace("B", "conv4k1")
                assert nn.from_text(text, (16, 28, 28)).layers


@pytest.mark.parametrize("width", [10, 17, 40])
def test_lines_break_between_japanese_characters(width: int) -> None:
    text = "学習済みモデルで新しい画像（表の行）を予測します。conv30k5 relu など。"
    lines = wrap(text, width)
    assert flat("".join(lines)) == flat(text)
    assert max(map(cell_len, lines)) <= width + 2  # a full stop may hang over
    assert all(line[0] not in "。、）" for line in lines)


def test_help_is_quick_and_light() -> None:
    """No heavy package; looked up in the list of loaded modules, not by the clock."""
    code = ("import sys; from kiso.cli.app import main; main(['--help']);"
            "main(['train', '--help'])\n"
            "print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONIOENCODING": "utf-8"})
    loaded = set(done.stderr.split())
    assert {"typer", "rich"} <= loaded
    assert not loaded & {"numpy", "matplotlib", "PIL", "sklearn", "scipy", "safetensors", "jinja2"}


def test_python_m_kiso() -> None:
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-m", "kiso", "--version"], cwd=root, check=True,
                          capture_output=True, text=True)
    assert done.stdout.startswith("kiso ")


def test_the_language_of_this_process_is_untouched(kiso: Kiso) -> None:
    from kiso.text import current_language

    set_language(None)
    kiso("--help", "--lang", "ja")
    assert current_language() == "en"
