"""User-facing text: every sentence has its Japanese one with the same values; none is left over."""

from __future__ import annotations

import ast
import re
import tomllib
from string import Formatter

import pytest

from tests.architecture.source import PACKAGE, ROOT, Source, sources

IN_TEMPLATE = re.compile(r"""\btr\(\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')""")


def placeholders(sentence: str) -> set[str]:
    """Names in braces."""
    return {name for _, name, _, _ in Formatter().parse(sentence) if name is not None}


def sentences(files: list[Source]) -> tuple[dict[str, str], list[str]]:
    """First arguments of all `tr(...)` calls (with their place), and complaints about the calls."""
    found: dict[str, str] = {}
    bad: list[str] = []
    for source in files:
        for node in ast.walk(source.tree):
            if not isinstance(node, ast.Call) or "tr" not in (
                getattr(node.func, "id", ""), getattr(node.func, "attr", "")
            ):
                continue
            place = f"{source.path}:{node.lineno}"
            first = node.args[0] if node.args else None
            if not isinstance(first, ast.Constant) or not isinstance(first.value, str):
                bad.append(f"{place}: the first argument of tr() must be a literal sentence")
                continue
            found[first.value] = place
            given = {word.arg for word in node.keywords}
            if None not in given and given != placeholders(first.value):
                bad.append(f"{place}: values {sorted(map(str, given))} for {first.value!r}")
    return found, bad


def template_sentences(texts: dict[str, str]) -> dict[str, str]:
    """The same for templates (path -> text), where only the sentence itself can be seen."""
    return {
        (match[1] or match[2]).replace("\\'", "'").replace('\\"', '"'): path
        for path, text in texts.items()
        for match in IN_TEMPLATE.finditer(text)
    }


def mismatches(used: dict[str, str], catalogue: dict[str, str]) -> list[str]:
    """Missing, left-over and wrongly filled translations."""
    bad = [f"{used[key]}: no translation of {key!r}" for key in used if key not in catalogue]
    bad += [f"translation is not used: {key!r}" for key in catalogue if key not in used]
    return bad + [
        f"placeholders differ: {key!r} = {value!r}"
        for key, value in catalogue.items()
        if placeholders(key) != placeholders(value)
    ]


def test_every_sentence_is_translated() -> None:
    used, bad = sentences([s for s in sources("kiso") if s.path != "kiso/text.py"])
    templates = {
        file.relative_to(ROOT).as_posix(): file.read_text("utf-8")
        for file in sorted(PACKAGE.rglob("templates/*"))
        if file.is_file()
    }
    used |= template_sentences(templates)
    catalogue = tomllib.loads((PACKAGE / "locale" / "ja.toml").read_text("utf-8"))
    assert bad + mismatches(used, catalogue) == []


@pytest.mark.parametrize(
    "call", ["tr(f'{x}')", "text.tr(message)", "tr('Saved {path}')", "tr('Saved {path}', file=1)"]
)
def test_a_wrong_call_is_found(call: str) -> None:
    assert len(sentences([Source("kiso/a.py", call)])[1]) == 1


def test_sentences_are_found_everywhere() -> None:
    used, bad = sentences([Source("kiso/a.py", "def f():\n    x(tr('one '\n    'two {n}', n=n))")])
    assert (list(used), bad) == (["one two {n}"], [])
    assert list(template_sentences({"a": """{{ tr("It's {n}", n=1) }} {{ tr('b') }}"""})) == [
        "It's {n}",
        "b",
    ]


def test_a_wrong_catalogue_is_found() -> None:
    used = {"a {x}": "f:1", "b": "f:2"}
    assert mismatches(used, {"a {x}": "あ {x}", "b": "い"}) == []
    assert len(mismatches(used, {"a {x}": "あ {x}"})) == 1
    assert len(mismatches(used, {"a {x}": "あ {x}", "b": "い", "c": "う"})) == 1
    assert len(mismatches(used, {"a {x}": "あ {y}", "b": "い"})) == 1
