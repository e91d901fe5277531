"""Documents of other tools as a side of ``envfreeze diff``, as far as they reach. Pure.

What a document does not tell is unknown, which is neither "removed" nor "equal".
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from envfreeze.diff.foreign.document import Document
    from envfreeze.diff.foreign.place import Place

Kind = Literal[
    "requirements.txt",
    "pylock.toml",
    "uv.lock",
    "poetry.lock",
    "conda-lock.yml",
    "environment.yml",
    "@EXPLICIT list",
    "pixi.lock",
    "CycloneDX bill of materials",
]
KINDS: tuple[Kind, ...] = get_args(Kind)

SUFFIXES = frozenset({".lock", ".toml", ".txt", ".in", ".yml", ".yaml", ".json"})
"""Of files that are documents, though they may be executable."""

_OURS = ("\n[tool.envfreeze", '\ncreated-by = "envfreeze"')
_YAML = frozenset({".yml", ".yaml", ".lock"})


def recognized(name: str, text: str) -> Kind | None:
    """Which kind of document *text* is, by what it holds, then by what it is called.

    None: none that is known here; a lock of envfreeze is none.
    """
    if any(mark in f"\n{text[:100]}" or mark in text for mark in _OURS):
        return None
    suffix = PurePath(name).suffix
    if "@EXPLICIT" in text and re.search(r"^@EXPLICIT[ \t]*$", text, re.MULTILINE):
        return "@EXPLICIT list"
    if text.lstrip("\ufeff \t\r\n").startswith("{"):
        return "CycloneDX bill of materials" if '"CycloneDX"' in text else None
    if re.search(r"^[ \t]*\[", text, re.MULTILINE) and (found := _toml(text)):
        return found
    if suffix in _YAML and (found := _yaml(text)):
        return found
    return "requirements.txt" if suffix in {".txt", ".in"} else None


def _toml(text: str) -> Kind | None:
    if _has(text, r"lock-version[ \t]*=") and _has(text, r"(\[\[packages\]\]|packages[ \t]*=)"):
        return "pylock.toml"
    if _has(text, r"content-hash[ \t]*=") and _has(text, r"\[metadata\]"):
        return "poetry.lock"
    if _has(text, r"version[ \t]*=[ \t]*\d+[ \t]*$") and _has(
        text, r"(\[\[package\]\]|requires-python)"
    ):
        return "uv.lock"
    return None


def _yaml(text: str) -> Kind | None:
    if _has(text, "environments:") and _has(text, "packages:"):
        return "pixi.lock"
    if _has(text, "package:") and _has(text, "metadata:"):
        return "conda-lock.yml"
    return "environment.yml" if _has(text, "dependencies:") else None


def _has(text: str, pattern: str) -> bool:
    return re.search(f"^{pattern}", text, re.MULTILINE) is not None


def read(kind: Kind, text: str, source: str, place: Place | None) -> Document:
    """What *text* says at *place*.

    :param source: what it is called in errors.
    :param place: where the other side runs; None: not known.
    :raises LockError: it is not what it looks like; place and next step are named.
    :raises MissingExtraError: it is YAML, and nothing here reads that.
    """
    # Here: two locks of our own are compared without any of them.
    from envfreeze.diff.foreign import conda, pip, poetry, sbom, uv

    match kind:
        case "requirements.txt":
            return pip.requirements(text, place)
        case "pylock.toml":
            return pip.pylock(text, source, place)
        case "uv.lock":
            return uv.read(text, source, place)
        case "poetry.lock":
            return poetry.read(text, source, place)
        case "conda-lock.yml":
            return conda.conda_lock(text, source, place)
        case "environment.yml":
            return conda.environment(text, source, place)
        case "@EXPLICIT list":
            return conda.explicit(text, source)
        case "pixi.lock":
            return conda.pixi(text, source, place)
        case "CycloneDX bill of materials":
            return sbom.read(text, source)
