"""Reading a model description: text -> words, groups and repetitions, with their places.

    items   = (item separator?)*            separator = white space  ","  "+"  ";"
    item    = word times? | "{" items "}" times? | "(" items ")" times? | branch times?
    branch  = ("res" | "cat" | "add" | "seq") "(" items ("|" items)* ")"
    times   = ("x" | "*") number            also "x (3-1)", as books write it

The meaning of the words stands in `describe`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

from kiso.errors import DescriptionError
from kiso.text import tr

__all__ = ["BRANCHES", "Branch", "Group", "Item", "Text", "Word", "parse"]

BRANCHES = ("add", "cat", "res", "seq")
_TOKEN = re.compile(r"[{}()|]|[,+;]|[^\s{}()|,+;]+")
_TIMES = re.compile(r"\s*(?:[x*×]\s*(?:(\d+)|\(\s*(\d+)\s*-\s*(\d+)\s*\)))(?![^\s{}()|,+;])", re.I)
_CLOSE = {"{": "}", "(": ")"}
_DEEPEST = 20  # groups in groups
_MOST = 2000  # layers


@dataclass(frozen=True)
class Word:
    """One word and where it stands."""

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Group:
    """Items in brackets, so many times over."""

    items: tuple[Item, ...]
    times: int


@dataclass(frozen=True)
class Branch:
    """res(...), cat(... | ...), add(... | ...), seq(...)."""

    word: Word
    parts: tuple[tuple[Item, ...], ...]


Item = Word | Group | Branch


class Text:
    """The description and the reading position; makes errors that point at a place."""

    def __init__(self, text: str):
        self.text = text
        self.tokens = [Word(m[0], m.start(), m.end()) for m in _TOKEN.finditer(text)]
        self.position = 0

    def fail(self, word: Word, message: str, known: Iterable[str] = ()) -> NoReturn:
        """DescriptionError with the line, a caret under the word, and the nearest known words."""
        near = difflib.get_close_matches(re.sub(r"[\d.]+.*", "", word.text.lower()) or word.text,
                                         list(known), 3, 0.5)
        if near:
            message += " " + tr("Did you mean {words}?", words=", ".join(near))
        begin = self.text.rfind("\n", 0, word.start) + 1
        stop = self.text.find("\n", word.start)
        stop = len(self.text) if stop < 0 else stop
        first, last = max(begin, word.start - 50), min(stop, word.end + 30)
        head, tail = "..." * (first > begin), "..." * (last < stop)
        line = head + self.text[first:last].replace("\t", " ") + tail
        width = max(1, min(word.end, last) - word.start)
        pointer = " " * (len(head) + word.start - first) + "^" * width
        raise DescriptionError(f"{message}\n  {line}\n  {pointer}")

    def peek(self, ahead: int = 0) -> Word | None:
        """The next token, if there is one."""
        at = self.position + ahead
        return self.tokens[at] if at < len(self.tokens) else None

    def take(self) -> Word:
        """The next token, which is there."""
        self.position += 1
        return self.tokens[self.position - 1]

    def times(self) -> int:
        """A repetition after a closing bracket; 1 if there is none."""
        end = self.tokens[self.position - 1].end
        found = _TIMES.match(self.text, end)
        if not found:
            return 1
        while (token := self.peek()) is not None and token.start < found.end():
            self.position += 1
        number = int(found[1]) if found[1] else int(found[2]) - int(found[3])
        if not 0 <= number <= _MOST:
            self.fail(Word(found[0].strip(), found.end() - len(found[0].strip()), found.end()),
                      tr("A group can be repeated 0 to {most} times.", most=_MOST))
        return number


def parse(source: Text) -> tuple[Item, ...]:
    """All items of a text.  Errors: DescriptionError at the wrong place."""
    items = _items(source, "", 0)
    extra = source.peek()
    if extra is not None:
        source.fail(extra, tr("{word} closes a bracket that was never opened.", word=extra.text)
                    if extra.text != "|" else
                    tr("\"|\" separates branches and stands only inside res(...), cat(...), "
                       "add(...)."))
    if _count(items) > _MOST:
        source.fail(source.tokens[0], tr("The description has more than {most} layers.",
                                         most=_MOST))
    return items


def _items(source: Text, close: str, depth: int) -> tuple[Item, ...]:
    """Items up to a closing bracket, a "|" or the end; does not take it."""
    items: list[Item] = []
    while (token := source.peek()) is not None and token.text not in ("}", ")", "|"):
        source.take()
        if token.text in (",", "+", ";"):
            continue
        if depth > _DEEPEST:
            source.fail(token, tr("The brackets are nested too deeply."))
        if token.text in _CLOSE:
            inside = _items(source, _CLOSE[token.text], depth + 1)
            _expect(source, token)
            items.append(Group(inside, source.times()))
        elif token.text.lower() in BRANCHES and _opens(source):
            items.append(_branch(source, token, depth))
        else:
            times = source.times()
            items.append(token if times == 1 else Group((token,), times))
    return tuple(items)


def _opens(source: Text) -> bool:
    following = source.peek()
    return following is not None and following.text == "("


def _branch(source: Text, word: Word, depth: int) -> Item:
    bracket = source.take()
    parts = [_items(source, ")", depth + 1)]
    while (token := source.peek()) is not None and token.text == "|":
        source.take()
        parts.append(_items(source, ")", depth + 1))
    _expect(source, bracket)
    limits = {"res": (1, 2), "seq": (1, 1)}
    low, high = limits.get(word.text.lower(), (2, 100))
    if not low <= len(parts) <= high:
        source.fail(word, tr("{word}(...) takes {low} to {high} parts separated by \"|\", but "
                             "there are {count}.", word=word.text, low=low, high=high,
                             count=len(parts)))
    branch = Branch(word, tuple(parts))
    times = source.times()
    return branch if times == 1 else Group((branch,), times)


def _expect(source: Text, bracket: Word) -> None:
    """Take the bracket that closes `bracket`."""
    token = source.peek()
    if token is None or token.text != _CLOSE[bracket.text]:
        source.fail(bracket, tr("This bracket is never closed by {close}.",
                                close=_CLOSE[bracket.text]))
    source.take()


def _count(items: Iterable[Item]) -> int:
    total = 0
    for item in items:
        if isinstance(item, Group):
            total += item.times * _count(item.items)
        elif isinstance(item, Branch):
            total += 1 + sum(map(_count, item.parts))
        else:
            total += 1
    return total
