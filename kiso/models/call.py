"""Nets of the zoo in words: a name, with options in brackets if wanted.

    call    = name | name "(" option ("," option)* ")"
    option  = flag | key "=" value             value = number | true | false | word

    resnet18      resnet18(width=0.5, small)      wide_resnet(depth=16, k=4)      vgg11(small=false)

No description of layers looks like this: there brackets stand for groups of layers, and the name of
a net is no layer. `linear` is both: alone it is the net, and it takes no options.
"""

from __future__ import annotations

import re
from typing import Any, get_args

from kiso.models.base import FROM_DATA, MODELS, Entry
from kiso.nn.words import Text, Word
from kiso.text import tr

__all__ = ["head", "parse_call"]

CALL = re.compile(r"\s*([^\W\d]\w*)\s*(?:\(([^()]*)\)\s*)?")
OPTION = re.compile(r"\s*(\w*)\s*(?:=\s*([^\s=]*)\s*)?")


def head(text: str) -> str:
    """The word that a text begins with, in small letters, as a net's name might stand there."""
    found = re.match(r"\s*([^\W\d]\w*)", text)
    return found[1].lower() if found else ""


def parse_call(text: str) -> tuple[Entry, dict[str, Any]] | None:
    """The net and its options; None if the text names no net of the table.

    Errors: DescriptionError with a caret under an option that the net does not take, or whose value
    is none.
    """
    found = CALL.fullmatch(text)
    entry = MODELS.get(found[1].lower()) if found else None
    if found is None or entry is None or (found[2] is not None and entry.name == "linear"):
        return None
    options: dict[str, Any] = {}
    inside, start = found[2] or "", found.start(2)
    for part in inside.split(",") if inside.strip() else []:
        word = Word(part.strip(), start + len(part) - len(part.lstrip()),
                    start + len(part.rstrip()))
        key, value = _option(Text(text), entry, word, part)
        if key in options:
            Text(text).fail(word, tr("{name} is given twice.", name=key))
        options[key] = value
        start += len(part) + 1
    return entry, options


def _option(source: Text, entry: Entry, word: Word, part: str) -> tuple[str, Any]:
    """Key and value of one option."""
    kinds = entry.options()
    found = OPTION.fullmatch(part)
    if found is None or not found[1]:
        source.fail(word, tr("expected option=value, for example width=0.5."))
    key, value = found[1].lower(), found[2]
    if key in FROM_DATA:
        source.fail(word, tr("{name} follows from the data; leave it out.", name=key))
    if key not in kinds:
        takes = (tr("{net} takes {options}.", net=entry.name, options=", ".join(kinds)) if kinds
                 else tr("{net} takes no options.", net=entry.name))
        source.fail(word, tr("{name} is no option of {net}.", name=key, net=entry.name) + " "
                    + takes, kinds)
    kind = next(k for k in (get_args(kinds[key]) or (kinds[key],)) if k is not type(None))
    result = _value(kind, value)
    if result is None:
        source.fail(word, tr("{name}: expected {kind}.", name=key, kind=_kind(kind)))
    return key, result


def _value(kind: type, value: str | None) -> Any:
    """The value of a type that a word stands for; None if it is none. A bare key is a flag."""
    if kind is bool:
        return {None: True, "true": True, "false": False}.get(value and value.lower())
    try:
        return kind(value) if value else None
    except ValueError:
        return None


def _kind(kind: type) -> str:
    """What a value looks like."""
    return {bool: tr("the word alone, or =true or =false"), int: tr("= and a whole number"),
            float: tr("= and a number"), str: tr("= and a word")}[kind]
