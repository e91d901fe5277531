"""The texts under ``templates/``: what people may want to change."""

from __future__ import annotations

from pathlib import Path

from envfreeze.errors import UsageError

_HERE = Path(__file__).resolve().parents[1]
_PLACES = (_HERE / "templates", _HERE.parent / "templates")
"""A wheel carries them inside the package; a checkout or editable install has them beside it."""


def template_text(name: str, override: Path | None = None) -> str:
    """The text of the template *name*: from *override* where that has it, else our own.

    :raises UsageError: there is no such template, or *override* is not a directory.
    """
    if override is not None and not override.is_dir():
        raise UsageError(f"{override} is not a directory", hint="Give a directory of templates.")
    for place in (*([override] if override else []), *_PLACES):
        path = place / name
        if path.is_file():
            return path.read_text("utf-8")
    raise UsageError(
        f"the template {name} is missing from this installation",
        hint="Reinstall envfreeze: pip install --force-reinstall envfreeze",
    )
