"""A model in a notebook: a tree that opens and closes."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from kiso.text import tr

if TYPE_CHECKING:
    from kiso.nn.module import Module

__all__ = ["module_html"]


def module_html(module: Module, name: str = "") -> str:
    """Nested lists of layers with their numbers of parameters; no scripts, no colours."""
    label = f"<b>{html.escape(type(module).__name__)}</b>({html.escape(module.extra_repr())})"
    if name:
        label = f"<code>{html.escape(name)}</code> {label}"
    count = module.parameter_count()
    if count:
        label += " <small>" + html.escape(tr("{count} parameters", count=f"{count:,}")) + "</small>"
    parts = [f"<li>{module_html(child, key)}</li>" for key, child in module.named_children()]
    if not parts:
        return label
    return f"<details open><summary>{label}</summary><ul>{''.join(parts)}</ul></details>"
