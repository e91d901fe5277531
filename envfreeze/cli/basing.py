"""The base of an image where none was named: it is chosen, and said."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from envfreeze.errors import UsageError

if TYPE_CHECKING:
    from envfreeze.workflow import Context, ImageOptions


def with_base(lock: Path, options: ImageOptions, context: Context, quiet: bool) -> ImageOptions:
    """*options* with a base, chosen from the lock where none was given."""
    from dataclasses import replace

    from envfreeze import workflow
    from envfreeze.cli import summary

    if options.base is not None:
        if options.registry is not None:
            raise UsageError(
                "--registry tells where a base image is chosen from, and --base names one already",
                hint="Give one of them; with --base, the registry is part of the name.",
            )
        return options
    chosen = workflow.choose_base(lock, options, context)
    if not quiet:
        typer.echo(summary.base_text(chosen), nl=False, err=True)
    return replace(options, base=chosen.reference)
