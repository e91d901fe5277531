"""Who brought the toolkits, libraries and frameworks that were seen: wheels by RECORD, and packages
of the system by whoever knows them. What conda brought its records have told the probe already.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from envfreeze.model.host import Accelerator, Blas, Framework, Host, Library, Mapped, Toolkit
from envfreeze.model.identity import normalize
from envfreeze.model.snapshot import Site, Snapshot

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
    tops = {site.path: _tops(site) for site in snapshot.sites}
    inside = {
        top: {p[len(top.rstrip("/")) + 1 :] for p in paths if p.startswith(_below(top, ""))}
        for top in {top for schemes in tops.values() for top in schemes.values()}
    }
    found: dict[str, list[_Claim]] = defaultdict(list)
    for dist in snapshot.dists:
        schemes = tops.get(dist.site, {})
        if not dist.rows or not dist.name or not any(inside[top] for top in schemes.values()):
            continue
        for row in dist.rows:
            top = schemes.get(row.scheme)
            if top is not None and row.path in inside[top] and row.sha256 is not None:
                claim = _Claim(row.claim is None, normalize(dist.name), dist.version)
                found[_below(top, row.path)].append(claim)
    return {path: one for path, several in found.items() if (one := _decided(several)) is not None}


def _tops(site: Site) -> dict[str, str]:
    """Where libraries of a site directory's distributions lie, by scheme."""
    if not site.prefix:
        return {"site": site.path}
    return {"site": site.path, "data": site.prefix, "scripts": _below(site.prefix, "bin")}


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


# --- linear algebra, and what a process has mapped -------------------------------------------

_OWN_NAME = {"mkl": "mkl", "libiomp5": "intel-openmp"}
"""Libraries that do not tell their version, and the distribution that is nothing but them."""


def owned(host: Host, snapshot: Snapshot, system: SystemOwners | None = None) -> Host:
    """*host* with the owners of its BLAS and OpenMP libraries, and of what a process has mapped.

    :param system: knows what packages of the system own; asked once, for what no other owns.
    """
    numerics, process = host.numerics, host.process
    libraries = numerics.libraries if numerics else []
    mapped = process.libraries if process else []
    paths = {item.path for item in libraries} | {item.path for item in mapped}
    claims = _claims(snapshot, paths)
    free = sorted(paths - claims.keys())
    known = dict(system(free)) if system and free else {}
    if numerics is not None:
        owners = [_blas_owner(item, claims, known) for item in libraries]
        numerics = msgspec.structs.replace(numerics, libraries=owners)
    if process is not None:
        with_owner = [_mapped_owner(item, claims, known) for item in mapped]
        process = msgspec.structs.replace(process, libraries=with_owner)
    return msgspec.structs.replace(host, numerics=numerics, process=process)


def _blas_owner(item: Blas, claims: Mapping[str, _Claim], known: Mapping[str, str]) -> Blas:
    claim = claims.get(item.path)
    if claim is None:
        return msgspec.structs.replace(item, owner=item.owner or known.get(item.path))
    told = claim.version if _OWN_NAME.get(item.name) == claim.name else None
    return msgspec.structs.replace(item, owner=f"wheel {claim.name}", version=item.version or told)


def _mapped_owner(item: Mapped, claims: Mapping[str, _Claim], known: Mapping[str, str]) -> Mapped:
    claim = claims.get(item.path)
    owner = f"wheel {claim.name}" if claim else item.owner or known.get(item.path)
    return msgspec.structs.replace(item, owner=owner)
