"""Where text goes: results to standard output, errors and remarks to standard error.

In a terminal there are colours and tables fit its width. Elsewhere (a file, a pipe, a log) lines
are plain and as long as they need to be. `--quiet` leaves errors only; `--json` leaves one document
on standard output.
"""

from __future__ import annotations

import json as jsonlib
import math
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import IO, TYPE_CHECKING, Any, cast

from kiso.text import tr

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["Output", "cell_width", "finite", "in_thousands", "list_some"]

PLAIN_WIDTH = 400  # columns where nothing forces lines to wrap


def in_thousands(value: float) -> str:
    """1234567 -> 1,234,567."""
    return f"{value:,}"


def cell_width(text: str) -> int:
    """Columns in a terminal; Japanese characters take two."""
    from rich.cells import cell_len

    return cell_len(text)


def list_some(lines: Sequence[str], limit: int = 10) -> list[str]:
    """The first lines, and how many more there are."""
    if len(lines) <= limit:
        return list(lines)
    return [*lines[:limit], tr("... and {count} more", count=in_thousands(len(lines) - limit))]


def finite(value: Any) -> Any:
    """The value as JSON can hold it: NaN and infinity become null, NumPy numbers plain ones."""
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value)
        return {str(key): finite(one) for key, one in items.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in cast("list[Any]", value)]
    if hasattr(value, "tolist"):
        return finite(value.tolist())
    if isinstance(value, PurePath):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Output:
    """The streams of one command. `quiet` and `json` are its options of these names."""

    def __init__(self, quiet: bool = False, json: bool = False):
        self.quiet = quiet
        self.json = json

    @property
    def talks(self) -> bool:
        """Whether text for people goes to standard output."""
        return not self.quiet and not self.json

    def _console(self, stream: IO[str]) -> Console:
        from rich.console import Console

        found = Console(file=stream, highlight=False, markup=False, emoji=False)
        wide = not found.is_terminal and not os.environ.get("COLUMNS", "").isdecimal()
        if wide:
            found.width = PLAIN_WIDTH
        return found

    def _write(self, stream: IO[str], *parts: RenderableType, style: str = "",
               wrap: bool = True) -> None:
        # Rendered first and written by ourselves: rich ends the process when a pipe breaks, and it
        # fills table cells with blanks that nobody wants in a file.
        console = self._console(stream)
        with console.capture() as captured:
            console.print(*parts, style=style or None,
                          soft_wrap=not (wrap and console.is_terminal))
        rendered = captured.get()
        if not console.is_terminal:
            rendered = "\n".join(line.rstrip() for line in rendered.split("\n"))
        stream.write(rendered)
        stream.flush()

    def show(self, *parts: RenderableType, style: str = "") -> None:
        """Print a result for people."""
        if self.talks:
            self._write(sys.stdout, *parts, style=style)

    def raw(self, content: str) -> None:
        """Print text for programs (CSV, JSON) exactly as it is."""
        sys.stdout.write(content)
        sys.stdout.flush()

    def document(self, content: Any) -> None:
        """Print the JSON document, if `--json` asks for it."""
        if self.json:
            ascii_only = "utf" not in (sys.stdout.encoding or "").lower()
            self.raw(jsonlib.dumps(finite(content), indent=2, ensure_ascii=ascii_only) + "\n")

    def warn(self, message: str) -> None:
        """A remark that is no error; it does not disturb `--json`."""
        if not self.quiet:
            self._prefixed(tr("warning:"), "yellow", message)

    def error(self, message: str) -> None:
        """Say on standard error why the command ends."""
        self._prefixed(tr("error:"), "bold red", message)

    def stopped(self, message: str) -> None:
        """Say what to do after Ctrl-C; no error, but nothing that --quiet may hide."""
        self._prefixed(tr("stopped:"), "bold yellow", message)

    def note(self, message: str) -> None:
        """A line on standard error that `--quiet` leaves out."""
        if not self.quiet:
            self._write(sys.stderr, message)

    def _prefixed(self, prefix: str, style: str, message: str) -> None:
        from rich.text import Text

        # Not wrapped: paths stay whole, and a caret stays below the word that it points at.
        self._write(sys.stderr, Text.assemble((prefix, style), " ", message), wrap=False)

    def fields(self, rows: Iterable[tuple[str, str | Sequence[str]]], title: str = "",
               width: int = 0) -> None:
        """Names and values under each other, the values aligned; a value may have several lines.
        `width`: at least so many columns for the names."""
        if not self.talks:
            return
        from rich.table import Table
        from rich.text import Text

        if title:
            self.show(Text(title, style="bold"))
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="cyan", no_wrap=True, min_width=width + 2)
        grid.add_column(overflow="fold")
        for name, value in rows:
            lines = [value] if isinstance(value, str) else list(value)
            for i, line in enumerate(lines):
                grid.add_row("  " + name if i == 0 else "", Text(line))
        self.show(grid)

    def table(self, headings: Sequence[str], rows: Iterable[Sequence[str]],
              numbers: Sequence[int] = (), footer: Sequence[str] | None = None) -> None:
        """A table; `numbers` are the columns aligned to the right."""
        if not self.talks:
            return
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        # The box is drawn with ASCII where the encoding has no lines.
        grid = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True,
                     show_footer=footer is not None)
        for i, heading in enumerate(headings):
            grid.add_column(heading, footer=footer[i] if footer else "", overflow="fold",
                            justify="right" if i in numbers else "left")
        for row in rows:
            grid.add_row(*(Text(cell) for cell in row))
        self.show(grid)
