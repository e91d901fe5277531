"""The texts under ``templates/``: what people may want to change."""

from __future__ import annotations

from pathlib import Path

from envfreeze.errors import UsageError

_HERE = Path(__file__).resolve().parents[1]
_PLACES = (_HERE / "templates", _HERE.parent / "templates")
"""A wheel carries them inside the package; a checkout or editable install has them beside it."""
_PAGE = {"report", "report.html"}
"""The page of a report: no command takes another one."""


def template_text(name: str, override: Path | None = None) -> str:
    """The text of the template *name*: from *override* where that has it, else our own.

    :raises UsageError: there is no such template, or *override* is not a directory.
    """
    path = template_path(name, override)
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the template {path} cannot be read: {error}") from error


def all_templates() -> dict[str, Path]:
    """Our own of an image and of a directory to build it, by name: those that a build takes."""
    here = next((place for place in _PLACES if place.is_dir()), None)
    found = sorted(here.iterdir()) if here is not None else []
    return {path.name: path for path in found if path.is_file() and path.stem not in _PAGE}


def template_path(name: str, override: Path | None = None) -> Path:
    """Where that text is."""
    if override is not None and not override.is_dir():
        raise UsageError(
            f"{override} is not a directory",
            hint="envfreeze templates DIR writes a copy of the templates to change.",
        )
    for place in (*([override] if override else []), *_PLACES):
        path = place / name
        if path.is_file():
            return path
    raise UsageError(
        f"the template {name} is missing from this installation",
        hint="Reinstall envfreeze: pip install --force-reinstall envfreeze",
    )
