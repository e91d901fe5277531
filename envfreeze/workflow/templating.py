"""``envfreeze templates``: a copy of what people may want to change."""

from __future__ import annotations

from pathlib import Path

from envfreeze.errors import UsageError
from envfreeze.store import disk_errors, write_atomic


def templates(into: Path) -> list[str]:
    """Copy our templates to the directory *into*; their names.

    :raises UsageError: one of them is there already: it may have been changed.
    """
    from envfreeze.data.templates import all_templates

    found = all_templates()
    if into.exists() and not into.is_dir():
        raise UsageError(f"{into} is not a directory", hint="Name a directory to make.")
    there = sorted(name for name in found if (into / name).exists())
    if there:
        raise UsageError(
            f"{into} has {', '.join(there)} already", hint="Name a new directory, or move those."
        )
    with disk_errors(into):
        into.mkdir(parents=True, exist_ok=True)
        for name, path in found.items():
            write_atomic(into / name, path.read_bytes())
    return list(found)
