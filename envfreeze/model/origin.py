"""Where the bytes of a distribution came from that was built where it was captured.

It is told, not used: a rebuild places the packed bytes and never fetches or runs an origin.
Source of the shapes: PEP 610 and "direct-url-data-structure" of packaging.python.org.
"""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import urlsplit

import msgspec

OriginKind = Literal["sdist", "archive", "wheel", "git", "hg", "svn", "bzr", "directory"]

VCS = frozenset({"git", "hg", "svn", "bzr"})
FILES = frozenset({"sdist", "archive", "wheel"})

_SCHEME = re.compile(r"(?:(?:git|hg|svn|bzr)\+)?(?:https?|file|ssh|git|hg|svn|bzr|lp)")
_USERS = re.compile(r"git|\$\{\w+\}(?::\$\{\w+\})?")
"""What PEP 610 lets stand before an ``@``: it is no secret."""
_PLAIN = re.compile(r"[!-~]{1,4096}")
_REVISION = re.compile(r"[^\x00-\x20\x7f-\x9f\u2028\u2029\ud800-\udfff]{1,512}")
_COMMIT = re.compile(r"[0-9A-Za-z][0-9A-Za-z._:@+-]{0,199}")
_GIT_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_ALGORITHM = re.compile(r"[a-z0-9][a-z0-9_-]{0,19}")
_DIGEST = re.compile(r"(?:[0-9a-f]{2}){16,128}")
_DIGITS = {"md5": 32, "sha1": 40, "sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128}
_NAME = re.compile(r"[^/\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]{1,255}")


class Origin(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", omit_defaults=True):
    """One thing that a distribution was built from."""

    kind: OriginKind
    name: str | None = None
    """The archive's file name."""
    url: str | None = None
    """Without credentials. None: a file that lay on the machine of the capture."""
    hashes: dict[str, str] = {}
    """Of the archive: algorithm to hex digest."""
    commit: str | None = None
    requested_revision: str | None = None
    subdirectory: str | None = None
    """Within the archive or repository, with ``/``."""
    lead: bool = False
    """It is offered under the name and version, and nothing shows that it was used."""
    evidence: str
    """One line for a person: how it is known."""

    @property
    def title(self) -> str:
        """What it is called in one line."""
        if self.kind in VCS and self.commit:
            return f"{self.kind} commit {self.commit[:12]}"
        if self.kind == "directory":
            return "a local directory"
        return self.name or self.url or f"a {self.kind}"


def origin_problem(origin: Origin) -> str | None:
    """Why *origin* must not stand in a lock, or None."""
    problem = _url_problem(origin.url) if origin.url is not None else None
    if problem:
        return problem
    if origin.name is not None and (not _NAME.fullmatch(origin.name) or origin.name in {".", ".."}):
        return "its name is not a file name"
    if not all(_is_digest(name, text) for name, text in origin.hashes.items()):
        return "one of its hashes is not an algorithm and its hexadecimal digits"
    if origin.commit is not None:
        known = _GIT_COMMIT if origin.kind == "git" else _COMMIT
        if not known.fullmatch(origin.commit):
            return "its commit is not one"
    revision = origin.requested_revision
    if revision is not None and (revision.startswith("-") or not _REVISION.fullmatch(revision)):
        return "its requested-revision cannot be one"
    if origin.subdirectory is not None and not _is_below(origin.subdirectory):
        return "its subdirectory leads out of it"
    return None


def _url_problem(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises ValueError for a port that is none
    except ValueError:
        return "its url is not a URL"
    if not _PLAIN.fullmatch(url) or not _SCHEME.fullmatch(parts.scheme) or "://" not in url:
        return "its url is not a plain URL"
    user, at, _ = parts.netloc.rpartition("@")
    if at and not _USERS.fullmatch(user):
        return "its url holds credentials"
    return None


def _is_digest(algorithm: str, digest: str) -> bool:
    if not _ALGORITHM.fullmatch(algorithm) or not _DIGEST.fullmatch(digest):
        return False
    return len(digest) == _DIGITS.get(algorithm, len(digest))


def _is_below(path: str) -> bool:
    parts = path.split("/")
    return bool(_REVISION.fullmatch(path.replace(" ", "_"))) and not (
        path.startswith(("/", "-")) or "\\" in path or ".." in parts
    )
