"""Help pages and usage errors in the user's language."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand, TyperGroup

from kiso.cli.commands import Command, all_commands, common_options
from kiso.cli.options import NAMED, Option
from kiso.text import tr

__all__ = ["KisoCommand", "KisoGroup", "usage_message"]


class KisoCommand(TyperCommand):
    """A command with a help page of our own; `spec` is what the page tells about."""

    spec: Command

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Usage, purpose, options by heading, examples."""
        words = [option.metavar if option.kind != "argument" else f"[{option.metavar}]"
                 for option in self.spec.options if option.kind not in NAMED]
        usage = " ".join([ctx.command_path, tr("[OPTIONS]"), *words])
        panels = {**by_panel(self.spec.options), **self.spec.topics, **general(common_options())}
        formatter.write(page(usage, self.spec.purpose, panels, self.spec.examples))


class KisoGroup(TyperGroup):
    """The help page of `kiso` itself; `specs` are its commands, `options` its own options."""

    specs: Sequence[Command]
    options: Sequence[Option]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Usage, commands, options, examples."""
        usage = " ".join([ctx.command_path, tr("[OPTIONS]"), tr("COMMAND"), "..."])
        commands = [(spec.name, spec.purpose) for spec in self.specs]
        purpose = tr("Deep learning from zero: train models on your pictures and tables, and see "
                     "how they learn.")
        examples = ("kiso train", "kiso train --help", "kiso info")
        panels = {tr("Commands"): commands, **general(self.options)}
        formatter.write(page(usage, purpose, panels, examples))


def by_panel(options: Sequence[Option]) -> dict[str, list[tuple[str, str]]]:
    """Heading -> (name and value, explanation) of each option."""
    panels: dict[str, list[tuple[str, str]]] = {}
    for option in options:
        text = option.help
        if option.default:
            text += " " + tr("(default: {value})", value=option.default)
        panels.setdefault(option.panel, []).append((option.title, text))
    return panels


def general(options: Sequence[Option]) -> dict[str, list[tuple[str, str]]]:
    """The heading of what every command has, `--help` last."""
    rows = [row for part in by_panel(options).values() for row in part]
    return {tr("General"): [*rows, ("--help", tr("Show this help and leave."))]}


def page(usage: str, purpose: str, panels: dict[str, list[tuple[str, str]]],
         examples: Sequence[str]) -> str:
    """A help page as text, with colours in a terminal.

    Written by ourselves because typer cuts off Japanese sentences: they have no blanks to break
    at.
    """
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    names = min(max(len(name) for rows in panels.values() for name, _ in rows), 26)
    room = max(console.width - names - 4, 20)
    with console.capture() as captured:
        console.print(Text.assemble((tr("Usage:"), "bold"), " ", usage))
        console.print(Padding("\n".join(wrap(purpose, console.width)), (1, 0)))
        for title, rows in panels.items():
            table = Table.grid(padding=(0, 2))
            table.add_column(style="cyan", width=names, overflow="fold")
            table.add_column(no_wrap=True)
            for name, text in rows:
                table.add_row(name, "\n".join(wrap(text, room)))
            console.print(Text(title, style="bold"))
            console.print(Padding(table, (0, 0, 1, 2)))
        console.print(Text(tr("Examples:"), style="bold"))
        for line in examples:
            console.print(Text("  " + line), soft_wrap=True)
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most `width` columns. Japanese breaks between any two characters, except before
    a closing bracket or full stop and after an opening bracket."""
    from rich.cells import cell_len

    wide = r"[\u2e80-\uffef]"
    closing, opening = "。、）」！？ー", "（「"
    unit = f"[{opening}]*(?:(?![{opening}]){wide}|[^\\s\u2e80-\uffef]+)[{closing}]*\\s*"
    lines = [""]
    for word in re.findall(unit, text):
        if lines[-1] and cell_len(lines[-1]) + cell_len(word.rstrip()) > width:
            lines.append("")
        lines[-1] += word
    return [line.rstrip() for line in lines]


def _reason(error: Any) -> str:
    """What the parser found wrong, in the user's language where the kind of error is known."""
    kind = type(error).__name__
    if kind == "NoSuchOption":
        near = ", ".join(sorted(error.possibilities or ()))
        if near:
            return tr("there is no option {name}; did you mean {near}?", name=error.option_name,
                      near=near)
        return tr("there is no option {name}.", name=error.option_name)
    if kind == "MissingParameter" and error.param is not None:
        flags = [flag for flag in error.param.opts if flag.startswith("--")]
        return tr("{name} is missing.", name=" ".join([*flags[:1], error.param.metavar]))
    if kind == "BadOptionUsage" and "argument" in error.message:
        return tr("{name} needs a value.", name=error.option_name)
    if "unexpected extra argument" in error.message:
        return tr("too many words: {words}. Put quotes around a text with blanks.",
                  words=error.message.partition("(")[2].rpartition("(")[2].rstrip(")"))
    if kind == "NoSuchCommand" or error.message.startswith("No such command"):
        return _unknown_command(error)
    return str(error.format_message())


def _unknown_command(error: Any) -> str:
    import difflib

    names = [command.name for command in all_commands()]
    words: list[str] = str(error.message).split("'")
    word = words[1] if len(words) > 2 else error.message
    near = difflib.get_close_matches(word, names, 1)
    if near:
        return tr("there is no command {name}; did you mean {near}?", name=word, near=near[0])
    return tr("there is no command {name}; the commands are {names}.", name=word,
              names=", ".join(names))


def usage_message(error: Exception) -> str | None:
    """The message for an error of the command-line parser; None for any other error.

    Recognised by what it offers, not by its class: typer keeps these classes in different modules
    from version to version.
    """
    if not (hasattr(error, "format_message") and hasattr(error, "exit_code")):
        return None
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "kiso"
    return _reason(error) + "\n" + tr("`{command} --help` shows what is possible.", command=path)
