"""Options and arguments that more than one command has."""

from pathlib import Path
from typing import Annotated

import typer

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Offline = Annotated[bool, typer.Option("--offline", help="Use no network.")]
Rehash = Annotated[
    bool,
    typer.Option("--rehash", help="Read every file, also those unchanged since an earlier run."),
]
ReportPath = Annotated[
    Path | None,
    typer.Option(
        "--report", metavar="FILE", help="Write the verdict on each layer to this file, as JSON."
    ),
]
TARGET = (
    "The active environment, or a path to an interpreter, a venv or a prefix, or pid:N,"
    " docker:NAME, image:REF, root:DIR (these three with :/PATH of an interpreter or venv in it)."
)
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking.")]
LockPath = Annotated[Path, typer.Argument(metavar="LOCK", help="The lock file.")]

Only = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="LAYER", help="Compare this layer alone; may be repeated."),
]
FailOn = Annotated[
    str | None,
    typer.Option(
        "--fail-on",
        metavar="LEVEL",
        help="Exit 1 only for a difference of this level or a worse one, the machine below"
        " included: changes, may-change, unknown or harmless.",
    ),
]
Explain = Annotated[
    bool, typer.Option("--explain", help="Each judgement with its reason and its source.")
]
