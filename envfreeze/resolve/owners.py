"""Who brought the toolkits, libraries and frameworks that were seen: wheels by RECORD, and packages
of the system by whoever knows them. What conda brought its records have told the probe already.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from envfreeze.model.host import Accelerator, Framework, Library, Toolkit
from envfreeze.model.identity import normalize
from envfreeze.model.snapshot import Snapshot

SystemOwners = Callable[[Sequence[str]], Mapping[str, str]]
"""Owners of absolute paths, of those that have one: ``dpkg libcudnn9-cuda-12``."""

_VENDOR = re.compile(r"(?:nvidia|tensorrt|cutensor)(?:-|$)")
"""Projects whose version is that of the library; other wheels have copies of libraries in them."""


class _Claim(NamedTuple):
    agrees: bool
    """RECORD names the bytes that lie there: of two wheels, that of the one placed last."""
    name: str
    version: str


def with_owners(
    accelerator: Accelerator, snapshot: Snapshot, system: SystemOwners | None = None
) -> Accelerator:
    """*accelerator* with the owner of each toolkit and library, the version of each library as its
    wheel has it, and the distribution of each framework.

    :param snapshot: of the same look; its RECORD rows say what wheels own.
    :param system: knows what packages of the system own; asked once, for what no other owns.
    """
    sites = [site.path for site in snapshot.sites]
    sources = {_below(site, f.source) for site in sites for f in accelerator.frameworks}
    paths = {path for item in accelerator.libraries for path in _paths(item)}
    paths |= {path for item in accelerator.toolkits for path in _paths(item)}
    claims = _claims(snapshot, paths | sources)
    free = {path for path in paths if path not in claims}
    known = dict(system(sorted(free))) if system and free else {}
    return msgspec.structs.replace(
        accelerator,
        toolkits=[_toolkit(item, claims, known) for item in accelerator.toolkits],
        libraries=[_library(item, claims, known) for item in accelerator.libraries],
        frameworks=[_framework(item, sites, claims) for item in accelerator.frameworks],
    )


def _paths(item: Library | Toolkit) -> list[str]:
    """The files whose owner is the item's, those that tell most first; none: it is told already."""
    if item.owner is not None:
        return []
    if isinstance(item, Library):
        return [item.path] if item.path else []
    source = item.source.removesuffix(" --version")
    return [source, _below(item.root, "bin/nvcc")]


def _below(directory: str, path: str) -> str:
    return f"{directory.rstrip('/')}/{path}"


def _claims(snapshot: Snapshot, wanted: Iterable[str]) -> dict[str, _Claim]:
    """Which wheel owns each of the *wanted* paths, as far as RECORD decides it."""
    paths = set(wanted)
    inside = {
        site.path: {p[len(site.path) + 1 :] for p in paths if p.startswith(_below(site.path, ""))}
        for site in snapshot.sites
    }
    found: dict[str, list[_Claim]] = defaultdict(list)
    for dist in snapshot.dists:
        here = inside.get(dist.site)
        if not here or not dist.rows or not dist.name:
            continue
        for row in dist.rows:
            if row.path in here and row.scheme == "site" and row.sha256 is not None:
                claim = _Claim(row.claim is None, normalize(dist.name), dist.version)
                found[_below(dist.site, row.path)].append(claim)
    return {path: one for path, several in found.items() if (one := _decided(several)) is not None}


def _decided(claims: list[_Claim]) -> _Claim | None:
    """The one wheel that claims a file, or the one whose claim agrees with what lies there."""
    if len(claims) == 1:
        return claims[0]
    agreeing = [claim for claim in claims if claim.agrees]
    return agreeing[0] if len(agreeing) == 1 else None


def _library(library: Library, claims: Mapping[str, _Claim], known: Mapping[str, str]) -> Library:
    if library.owner is not None or library.path is None:
        return library
    claim = claims.get(library.path)
    if claim is None:
        return msgspec.structs.replace(library, owner=known.get(library.path))
    version = library.version
    if _VENDOR.match(claim.name) and claim.version:
        version = claim.version
    return msgspec.structs.replace(library, owner=f"wheel {claim.name}", version=version)


def _toolkit(toolkit: Toolkit, claims: Mapping[str, _Claim], known: Mapping[str, str]) -> Toolkit:
    for path in _paths(toolkit):
        claim = claims.get(path)
        owner = f"wheel {claim.name}" if claim else known.get(path)
        if owner is not None:
            return msgspec.structs.replace(toolkit, owner=owner)
    return toolkit


def _framework(framework: Framework, sites: list[str], claims: Mapping[str, _Claim]) -> Framework:
    """By its version file; the first site directory that has it is what is imported from."""
    for site in sites:
        claim = claims.get(_below(site, framework.source))
        if claim is not None:
            return msgspec.structs.replace(framework, distribution=claim.name)
    return framework
