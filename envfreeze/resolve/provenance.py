"""What a lock says of its interpreter beside the facts: who made it, and what became of it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

import msgspec

from envfreeze.model.lock import InterpreterLayer
from envfreeze.model.snapshot import Interpreter
from envfreeze.resolve import aptlists, interpreter, pythonkind, stdlib
from envfreeze.resolve.dpkg import Dpkg, Installed
from envfreeze.resolve.packages import merged_spellings
from envfreeze.resolve.rootfs import Root
from envfreeze.store import Cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The machine that the interpreter lies on."""

    root: Root
    dpkg: Dpkg | None
    os_release: Mapping[str, str] = field(default_factory=dict)


def describe(
    layer: InterpreterLayer, origin: interpreter.Origin, place: Place, cache: Cache
) -> InterpreterLayer:
    """*layer* with its kind and with what is known of its files."""
    facts = layer.facts
    record = stdlib.conda_record(facts, place.root)
    verdict = pythonkind.judge(
        pythonkind.Seen(
            facts=facts,
            os_release=place.os_release,
            owner=_owner(facts, origin, place),
            conda_url=None if record is None else _public(record.url),
        )
    )
    files = stdlib.examine(facts, _manifest(facts, origin, place, record), place.root, cache)
    return msgspec.structs.replace(
        layer,
        kind=verdict.kind,
        evidence=verdict.evidence,
        lead=verdict.lead,
        files=files.digest,
        compared=files.compared,
        edited=files.edited,
    )


# --- who brought it --------------------------------------------------------------------------


def _owner(facts: Interpreter, origin: interpreter.Origin, place: Place) -> pythonkind.Owner | None:
    """The package that owns the executable, among those that bring the interpreter."""
    if place.dpkg is None:
        return None
    names = set(merged_spellings(place.root.real(facts.base_executable)))
    for package in origin.packages:
        if names.intersection(place.dpkg.files(package)):
            return pythonkind.Owner(
                name=package.name,
                version=package.version,
                deadsnakes=_deadsnakes(package, place),
            )
    return None


_DEADSNAKES = re.compile(r"https?://ppa\.launchpad(content)?\.net/deadsnakes/")


def _deadsnakes(package: Installed, place: Place) -> str | None:
    """What of apt names the archive of deadsnakes for *package*; None: nothing.

    Most machines never heard of it: its name among apt's files is looked for first.
    """
    named = [_names(place.root, path) for path in (aptlists.LISTS, _SOURCE_PARTS)]
    if not any("deadsnakes" in name for names in named for name in names):
        return None
    offers = aptlists.offers(place.root, [package]).get(package.key, [])
    if any(_DEADSNAKES.match(offer.url) for offer in offers):
        return "apt's lists offer this version from the archive of deadsnakes"
    suite = place.os_release.get("VERSION_CODENAME", "")
    if not offers and suite and re.search(rf"\+{re.escape(suite)}[0-9]+\Z", package.version):
        return f"apt's sources name deadsnakes, whose versions end in +{suite}"
    return None


_SOURCE_PARTS = f"{aptlists.SOURCES}/sources.list.d"


def _names(root: Root, directory: str) -> list[str]:
    try:
        return sorted(os.listdir(root.at(directory)))  # noqa: PTH208
    except OSError:
        return []


# --- what it came with -----------------------------------------------------------------------


def _manifest(
    facts: Interpreter,
    origin: interpreter.Origin,
    place: Place,
    record: stdlib.Record | None,
) -> stdlib.Manifest | None:
    if record is not None:
        return stdlib.conda_manifest(facts, place.root, record)
    if place.dpkg is None or not origin.packages:
        return None
    return stdlib.dpkg_manifest(place.dpkg, origin.packages)


def _public(url: str) -> str | None:
    """*url* without what may be a secret: user, password, token in the path, query."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not host or not url.isprintable():
        return None
    path = re.sub(r"/t/[^/]+/", "/", parts.path, count=1)
    return urlunsplit((parts.scheme, host + port, path, "", ""))
