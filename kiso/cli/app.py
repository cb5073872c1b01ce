"""`main`: language, parsing, running a command, and what becomes of every kind of error.

Exit codes: 0 done, 1 a bug in Kiso, 2 cannot be done as asked, 3 training diverged, 130 stopped by
Ctrl-C, 141 the reader of the output went away.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import inspect
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from kiso import config
from kiso.cli.commands import Command, all_commands, common_options
from kiso.cli.options import Option, parameter
from kiso.cli.output import Output
from kiso.errors import ConfigError, KisoError
from kiso.text import set_language, tr

if TYPE_CHECKING:
    import typer

__all__ = ["build", "main"]

INTERRUPTED, BROKEN_PIPE = 130, 141


def language_option(arguments: Sequence[str]) -> str | None:
    """The value of `--lang`, found before parsing because the help itself depends on it."""
    for i, word in enumerate(arguments):
        if word == "--":
            break
        if word == "--lang" and i + 1 < len(arguments):
            return arguments[i + 1]
        if word.startswith("--lang="):
            return word.removeprefix("--lang=")
    return None


def command_function(command: Command) -> Callable[..., Callable[[], int]]:
    """A function with the signature that typer turns into the command's options.

    It only reads the options and returns what is to be done: typer would swallow some exceptions.
    """
    options: list[Option] = [*command.options, *common_options()]
    by_name = {option.name: option for option in options}

    def read(**given: Any) -> Callable[[], int]:
        values = {name: by_name[name].value(value) for name, value in given.items()
                  if value is not None and value is not False}
        for name in ("lang", "debug"):
            values.pop(name, None)
        output = Output(values.pop("quiet", False), values.pop("json", False))
        return functools.partial(command.run, output, **values)

    signature = inspect.Signature([parameter(option) for option in options])
    read.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess]
    return read


def build() -> typer.Typer:
    """The command line in the current language."""
    import typer

    from kiso.cli.help import KisoCommand, KisoGroup

    commands = all_commands()
    version = Option(name="version", kind="flag", panel=tr("General"),
                     help=tr("Print the version and leave."))
    options = [version, *(option for option in common_options() if option.name == "lang")]
    group = type("Kiso", (KisoGroup,), {"specs": commands, "options": options})
    app = typer.Typer(name="kiso", cls=group, add_completion=False, rich_markup_mode=None,
                      pretty_exceptions_enable=False)

    def top(**given: Any) -> None:
        if given["version"]:
            import kiso
            sys.stdout.write(f"kiso {kiso.__version__}\n")
            raise typer.Exit
        if given["ctx"].invoked_subcommand is None:
            sys.stdout.write(given["ctx"].get_help() + "\n")

    top.__signature__ = inspect.Signature([  # pyright: ignore[reportFunctionMemberAccess]
        inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
        *(parameter(option) for option in options)])
    app.callback(invoke_without_command=True)(top)
    for command in commands:
        kind = type(command.name, (KisoCommand,), {"spec": command})
        app.command(command.name, cls=kind)(command_function(command))
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (by default the program's own) and return the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # text must not fail in a terminal without UTF-8
            stream.reconfigure(errors="replace")
    # In a context of its own, so that the language does not outlive the call.
    return contextvars.copy_context().run(guarded, words)


def guarded(words: list[str]) -> int:
    """Run the words and turn whatever is raised into a message and an exit code."""
    output = Output()
    debug = "--debug" in words or config.debug()
    try:
        return dispatch(words)
    except KeyboardInterrupt:
        output.stopped(tr("the command was interrupted."))
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone; without this Python complains once more while shutting down.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except KisoError as error:
        if debug:
            raise
        output.error(str(error))
        return error.exit_code
    except Exception as error:
        if debug:
            raise
        return unexpected(output, error)


def dispatch(words: list[str]) -> int:
    """Choose the language, parse, run."""
    language = language_option(words)
    try:
        set_language(language)
        config.language()
    except ConfigError:
        set_language(language if language in config.LANGUAGES else "en")
        raise
    import typer
    from typer.main import get_command

    from kiso.cli.help import usage_message

    try:
        todo = get_command(build()).main(words, prog_name="kiso", standalone_mode=False)
    except typer.Exit as left:
        return left.exit_code
    except SystemExit as left:  # typer ends the process itself when nobody reads its help
        raise BrokenPipeError from left
    except typer.Abort:
        return INTERRUPTED
    except Exception as error:
        message = usage_message(error)
        if message is None:
            raise
        raise ConfigError(message) from error
    if callable(todo):
        return cast("Callable[[], int]", todo)()
    return todo if isinstance(todo, int) else 0  # the code of a page that was only shown


def unexpected(output: Output, error: Exception) -> int:
    """A bug, or something that nobody thought of: short, with the way to the details."""
    if isinstance(error, MemoryError):
        output.error(tr("the memory is full; try a smaller --batch-size or --size."))
        return 1
    output.error(tr("unexpected {kind}: {message}\nThis should not happen. Run the command again "
                    "with --debug (or KISO_DEBUG=1) to see where, and report it.",
                    kind=type(error).__name__, message=str(error)))
    return 1
