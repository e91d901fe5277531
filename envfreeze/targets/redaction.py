"""A command line without what looks like a secret: anybody may read a lock."""

from __future__ import annotations

import re

LONGEST = 1000
"""Characters of an argument that are kept."""
MOST_ARGUMENTS = 256

_HIDDEN = "***"
_NAME = (
    r"(?:[\w-]{0,60}(?:password|passwd|passphrase|token|secret|credential|api[_-]?key|access[_-]?key"
    r"|private[_-]?key|auth)[\w-]{0,60}|pass|pw)"
)
_OPTION = re.compile(rf"-{{1,2}}{_NAME}$", re.IGNORECASE)
_ASSIGNED = re.compile(
    rf"(?<![\w-])(-{{0,2}}{_NAME}[\"']?\s*[=:]\s*)(?:\"[^\"]*\"|'[^']*'|[^\s,;&]+)",
    re.IGNORECASE,
)
_LOGIN = re.compile(r"(://)[^/\s@]*@")
_BEARER = re.compile(r"\b(bearer|basic)\s+\S+", re.IGNORECASE)
_TOKEN = re.compile(
    r"\b(?:gh[opsur]_|github_pat_|glpat-|hf_|sk-|xox[abps]-|pypi-|AKIA|eyJ)[A-Za-z0-9_.-]{10,}"
)


def redacted(argv: list[str]) -> list[str]:
    """*argv* with ``***`` in place of what looks like a secret, in words that can be written."""
    found = []
    hide = False
    for word in argv[:MOST_ARGUMENTS]:
        text = word.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        hidden = hide and not text.startswith("-")
        found.append(_HIDDEN if hidden else _redacted(text[:LONGEST]))
        hide = bool(_OPTION.match(text))
    return found


def _redacted(text: str) -> str:
    text = _BEARER.sub(rf"\1 {_HIDDEN}", text)
    text = _ASSIGNED.sub(rf"\1{_HIDDEN}", text)
    text = _LOGIN.sub(rf"\1{_HIDDEN}@", text)
    return _TOKEN.sub(_HIDDEN, text)
