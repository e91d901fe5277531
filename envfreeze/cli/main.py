"""``envfreeze``: the commands. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from envfreeze import __version__
from envfreeze.errors import Exit

COMMANDS = (
    "capture",
    "build",
    "verify",
    "diff",
    "pull",
    "show",
    "doctor",
    "export",
    "templates",
    "git",
    "cache",
)
"""As the help lists them: each is a module in :mod:`envfreeze.cli.commands`."""


class Commands(TyperGroup):
    """:data:`COMMANDS`, of which only what is asked for is imported and built."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        # Their names, to suggest one; get_command puts the command itself there.
        self.commands: Any = dict.fromkeys(COMMANDS)

    def list_commands(self, ctx: Any) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        del ctx
        if cmd_name in COMMANDS and self.commands[cmd_name] is None:
            module = importlib.import_module(f"envfreeze.cli.commands.{cmd_name}")
            self.commands[cmd_name] = typer.main.get_command(module.app)
        return self.commands.get(cmd_name)


app = typer.Typer(
    name="envfreeze",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "ENVFREEZE"},
    help="Capture a Python environment that already runs, rebuild it exactly, prove it.",
    epilog="Exit codes: 0 yes; 1 the answer is no (differs, not verified); 2 usage; 3 the target "
    "could not be observed; 4 not hermetic under --strict; 5 bad lock; 6 engine; 7 a missing "
    "extra; 8 an artifact cannot be had; 9 the file system refused; 130 interrupted.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"envfreeze {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_version,
            is_eager=True,
            allow_from_autoenv=False,
            help="Print the version.",
        ),
    ] = False,
) -> None:
    del version


def run(arguments: list[str] | None = None) -> None:
    """Run the command line in this process; ends with SystemExit."""
    app(arguments, prog_name="envfreeze")


def main() -> None:
    """The entry point."""
    # What a command makes lives as long as the command: to look for garbage as often as Python does
    # by itself (every 700 objects) takes a seventh of a comparison.
    gc.set_threshold(100_000, 20, 20)
    try:
        run()
    except SystemExit as end:
        _leave(end.code)


def _leave(code: object) -> None:
    """End the process at once: taking apart what was made of a large environment is a tenth of
    the time of a capture, and everything is closed and written by now."""
    number = code if isinstance(code, int) else int(bool(code))
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        number = number or int(Exit.DISK)
    os._exit(number)


if __name__ == "__main__":
    main()
