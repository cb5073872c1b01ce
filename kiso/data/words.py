"""Changes to pictures as a text of words: "shift2 flip rotate10".

A word is a name with a strength (`shift2`) or a flag alone (`flip`). Each may come once, in any
order; small and large letters are the same. What a word does stands where its `Words` are.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kiso.errors import ConfigError, DescriptionError
from kiso.text import tr

__all__ = ["Words"]


@dataclass(frozen=True)
class Words:
    """The words of one kind of text.

    limits: largest strength of each word that has one. pixels: those of whole numbers. flags: words
    without a number. alike: other spellings. examples: one of each word, for messages.
    """

    limits: Mapping[str, float]
    examples: tuple[str, ...]
    pixels: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    alike: Mapping[str, str] = field(default_factory=dict[str, str])

    def check(self, changes: Any) -> None:
        """Errors: ConfigError for a strength out of range in a dataclass of them."""
        for name in self.limits:
            value = getattr(changes, name)
            if value != 0 and (wrong := self._fault(name, value)):
                raise ConfigError(wrong)

    def text(self, changes: Any) -> str:
        """The words of a dataclass of strengths and flags, as `read` takes them."""
        words: list[str] = []
        for entry in dataclasses.fields(changes):
            value = getattr(changes, entry.name)
            if value:
                number = "" if value is True else np.format_float_positional(value, trim="-")
                words.append(entry.name + number)
        return " ".join(words)

    def read(self, text: str, title: str) -> dict[str, Any]:
        """Name -> strength, or True for a flag.

        Errors: DescriptionError, beginning with the title, that points at the first word that
        cannot be read.
        """
        found: dict[str, Any] = {}
        for match in re.finditer(r"[^\s,]+", text):
            name, value, wrong = self._word(match[0])
            if name in found:
                wrong = tr("{word} comes twice; write it once.", word=name)
            if wrong:
                marks = " " * match.start() + "^" * len(match[0])
                raise DescriptionError(title + "\n    " + re.sub(r"\s", " ", text)
                                       + f"\n    {marks}\n{wrong}")
            found[name] = value
        return found

    def _word(self, word: str) -> tuple[str, Any, str]:
        """Name, strength, and what is wrong with it ("" if nothing)."""
        match = re.fullmatch(r"([A-Za-z]+)(\d*\.?\d*)", word)
        name = match[1].lower() if match else ""
        name = self.alike.get(name, name)
        if match is None or name not in (*self.limits, *self.flags):
            return word, 0, tr("{word} is not known; expected some of {words}.", word=word,
                               words=", ".join(self.examples))
        if name in self.flags:
            wrong = tr("{word} takes no number; write it alone.", word=name) if match[2] else ""
            return name, True, wrong
        if not match[2] or match[2] == ".":
            example = next(e for e in self.examples if e.startswith(name))
            return name, 0, tr("{word} needs a number, for example {example}.", word=name,
                               example=example)
        value = float(match[2])
        wrong = self._fault(name, value)
        return name, int(value) if name in self.pixels and not wrong else value, wrong

    def _fault(self, name: str, value: Any) -> str:
        """What is wrong with a strength, or ""."""
        if not 0 < value <= self.limits[name]:
            return tr("{word} must be above 0 and at most {limit}, but {value} came.", word=name,
                      limit=self.limits[name], value=value)
        if name in self.pixels and value != int(value):
            return tr("{word} takes a whole number of pixels, but {value} came.", word=name,
                      value=value)
        return ""
