"""User-facing text in English and Japanese: `tr("Saved {path}", path=p)`.

The English sentence is the key; `locale/ja.toml` holds the Japanese one. The language is `--lang`,
else `KISO_LANG`, else English. A sentence without a translation stays English; a test holds that
none is missing.
"""

from __future__ import annotations

import tomllib
from contextvars import ContextVar
from functools import cache
from pathlib import Path

from kiso import config
from kiso.errors import ConfigError

__all__ = ["current_language", "set_language", "tr"]

_chosen: ContextVar[str | None] = ContextVar("kiso_language", default=None)


def set_language(code: str | None) -> None:
    """Choose the language for this context; None returns to `KISO_LANG`."""
    if code is not None and code not in config.LANGUAGES:
        choices = ", ".join(config.LANGUAGES)
        raise ConfigError(f"unknown language {code!r}; expected one of {choices}.")
    _chosen.set(code)


def current_language() -> str:
    """The language in force: `en` or `ja`."""
    return _chosen.get() or config.language()


@cache
def catalogue(code: str) -> dict[str, str]:
    """All translations into one language, English sentence -> translated sentence."""
    if code == "en":
        return {}
    path = Path(__file__).parent / "locale" / f"{code}.toml"
    return {str(k): str(v) for k, v in tomllib.loads(path.read_text("utf-8")).items()}


def tr(sentence: str, **values: object) -> str:
    """The sentence in the current language, its `{names}` filled with `values`."""
    text = catalogue(current_language()).get(sentence, sentence)
    return text.format(**values) if values else text
