"""Where a distribution came from that is no index's wheel: what its installer wrote down, what
the caches of pip and uv say, what the index offers as source.

A wheel built here is not proved by its source: nobody promises that building again gives the
same bytes. So the bytes are kept, and their origin is told. Sources: PEP 610; pip's
``origin.json`` (pypa/pip ``src/pip/_internal/cache.py``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import msgspec

from envfreeze.errors import ArtifactError
from envfreeze.model.identity import normalize
from envfreeze.model.origin import FILES, VCS, Origin, OriginKind, origin_problem
from envfreeze.model.snapshot import Dist, Finding
from envfreeze.resolve.builtwheels import MAX_ENTRIES, BuiltWheel, BuiltWheels
from envfreeze.resolve.http import Http, is_secret, local_path, strip_credentials
from envfreeze.resolve.index import SDISTS, Candidate, Index, filename_of
from envfreeze.resolve.pipconf import IndexSettings
from envfreeze.resolve.wheels import Accepts, Prover, WheelProof, local_place
from envfreeze.store import Cache

_URLS = re.compile(r"//|\\|:[^/]*@")
"""What only a URL has, or what was meant to be one."""
_HASH = re.compile(r"([a-z0-9]+)=([0-9a-fA-F]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """What is known of one distribution's origin."""

    origins: list[Origin]
    """The best known first."""
    wheel: WheelProof | None = None
    """The built wheel in a cache of this machine that is what is installed."""
    recorded: Origin | None = None
    """What direct_url.json says that it was built from."""


class Tracer:
    """Traces the distributions of one capture. Asks no network."""

    def __init__(
        self, settings: IndexSettings, cache: Cache, accepts: Accepts | None = None
    ) -> None:
        self._settings = settings
        self._cache = cache
        self._accepts = accepts
        self._built = BuiltWheels(settings.cache_dir, settings.uv_cache_dir)

    @property
    def findings(self) -> list[Finding]:
        """What was not looked at, once everything is traced."""
        if not self._built.cut:
            return []
        return [
            Finding(
                kind="cache-not-searched",
                place=f"{self._settings.cache_dir}/wheels",
                detail=f"more than {MAX_ENTRIES} entries: the rest of pip's built wheels was not"
                " looked at",
                advice="pip cache purge empties it",
            )
        ]

    def trace(
        self, dist: Dist, yields: Sequence[str] = (), offered: Iterable[Candidate] = ()
    ) -> Traced:
        """What *dist*, which is no public wheel, was built from.

        :param yields: ``scheme/path`` of files that another distribution overwrote.
        :param offered: the sources that the indexes have of this release.
        """
        recorded = of_direct_url(dist)
        leads = [_offered(candidate, dist) for candidate in offered]
        proof, built = self._from_cache(dist, frozenset(yields))
        origin = None if built is None else _of_built(built, dist)
        found = merge([each for each in (origin, recorded, *leads) if each is not None])
        if proof is not None and built is not None:
            files = proof.evidence.removesuffix(f" at {local_place('file:')}")
            source = f" from {found[0].title}" if origin is not None else ""
            proof = replace(proof, evidence=f"{files}, which {built.tool} built here{source}")
        return Traced(origins=found, wheel=proof, recorded=recorded)

    def _from_cache(
        self, dist: Dist, yields: frozenset[str]
    ) -> tuple[WheelProof | None, BuiltWheel | None]:
        built = {each.path.as_uri(): each for each in self._built.of(dist.name)}
        if not built:
            return None, None
        # Nothing but these files is asked, and what direct_url.json names was tried before.
        settings = IndexSettings(no_index=True, find_links=tuple(built))
        index = Index(settings, Http(settings))
        prover = Prover(index=index, cache=self._cache, accepts=self._accepts)
        try:
            proof = prover.prove(msgspec.structs.replace(dist, direct_url=None), yields)
        except ArtifactError:
            return None, None
        if not isinstance(proof, WheelProof) or proof.candidate.url not in built:
            return None, None
        return proof, built[proof.candidate.url]


# --- what is written down -------------------------------------------------------------------


def document(text: str | None) -> dict[str, Any]:
    """direct_url.json, or another of its shape, as an object; empty where it is none."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def of_direct_url(dist: Dist) -> Origin | None:
    """What the installer wrote down (PEP 610). An editable install is no built distribution."""
    told = "direct_url.json, written when it was installed"
    return _of_document(document(dist.direct_url), dist, told)


def _of_document(found: dict[str, Any], dist: Dist, evidence: str) -> Origin | None:
    url = found.get("url")
    if not isinstance(url, str):
        return None
    archive, vcs, directory = (_table(found, f"{word}_info") for word in ("archive", "vcs", "dir"))
    below = found.get("subdirectory")
    common: dict[str, Any] = {
        "url": bare_url(url),
        "subdirectory": below if isinstance(below, str) and below else None,
        "evidence": evidence,
    }
    if vcs is not None and vcs.get("vcs") in VCS:
        common |= {"kind": vcs["vcs"], "commit": _text(vcs.get("commit_id"))}
        revision = _text(vcs.get("requested_revision"))
        common["requested_revision"] = revision and bare(revision)
    elif directory is not None and directory.get("editable") is not True:
        common["kind"] = "directory"
    elif archive is not None:
        name = filename_of(url)
        common |= {"kind": _kind(name, dist), "name": name or None, "hashes": _hashes(archive)}
    else:
        return None
    return _sound(Origin(**common))


def _sound(origin: Origin) -> Origin | None:
    """*origin* where it may stand in a lock: what an installer wrote is anybody's text."""
    return origin if origin_problem(origin) is None else None


def _table(found: dict[str, Any], key: str) -> dict[str, Any] | None:
    value = found.get(key)
    return value if isinstance(value, dict) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _hashes(archive: dict[str, Any]) -> dict[str, str]:
    """``hashes``, and ``hash`` as older installers wrote it: ``sha256=...``."""
    given = archive.get("hashes")
    found = dict(given) if isinstance(given, dict) else {}
    old = archive.get("hash")
    match = _HASH.fullmatch(old) if isinstance(old, str) else None
    if match and match[1] not in found:
        found[match[1]] = match[2]
    return {
        str(name): digest.lower()
        for name, digest in sorted(found.items())
        if isinstance(digest, str)
    }


def _kind(filename: str, dist: Dist) -> OriginKind:
    """A sdist is named after its project and version (PEP 625; older ones more freely)."""
    if filename.endswith(".whl"):
        return "wheel"
    stem = next((filename.removesuffix(end) for end in SDISTS if filename.endswith(end)), "")
    places = [place for place, letter in enumerate(stem) if letter == "-"]
    project = normalize(dist.name)
    return "sdist" if any(normalize(stem[:at]) == project for at in places) else "archive"


def bare_url(url: str) -> str:
    """*url* without its secrets. PEP 610 lets ``git@`` and ``${VARIABLE}`` stand: they are none."""
    match = re.match(r"([A-Za-z0-9+.-]+://)(git|\$\{\w+\}(?::\$\{\w+\})?)@([^@]*)", url)
    if match is None or match[0] != url:
        return strip_credentials(url)
    rest = strip_credentials(match[1] + match[3])
    return f"{match[1]}{match[2]}@{rest.removeprefix(match[1])}"


def bare(value: Any) -> Any:
    """A JSON document without its secrets: those in URLs, and what is called one.

    :raises RecursionError: it is nested deeper than anybody's is.
    """
    if isinstance(value, str):
        return bare_url(value) if _URLS.search(value) else value
    if isinstance(value, dict):
        named = ((key, each) for key, each in value.items() if not is_secret(key))
        return {key: bare(each) for key, each in named}
    return [bare(each) for each in value] if isinstance(value, list) else value


# --- what else points to it -----------------------------------------------------------------


def _of_built(wheel: BuiltWheel, dist: Dist) -> Origin | None:
    evidence = f"{wheel.tool}'s cache: the wheel that it built from this is what is installed"
    if wheel.sha256 is not None:
        return Origin(kind="sdist", hashes={"sha256": wheel.sha256}, evidence=evidence)
    origin = _of_document(document(wheel.origin), dist, evidence)
    if origin is not None and origin.url is not None and local_path(origin.url) is not None:
        # A path of this machine tells nobody anything; the name and the hash do.
        return msgspec.structs.replace(origin, url=None)
    return origin


def _offered(candidate: Candidate, dist: Dist) -> Origin | None:
    place = urlsplit(candidate.index or "").hostname or local_place(candidate.index or "file:")
    return _sound(
        Origin(
            kind=_kind(candidate.filename, dist),
            name=candidate.filename,
            url=None if candidate.local else strip_credentials(candidate.url),
            hashes={"sha256": candidate.sha256} if candidate.sha256 else {},
            lead=True,
            evidence=f"offered for this release by {place}; not compared with what is installed",
        )
    )


def merge(origins: Sequence[Origin]) -> list[Origin]:
    """Each archive once, as its best evidence has it, with what the others know besides.

    A lead that is not what is known to have been used is no lead.
    """
    found: list[Origin] = []
    for origin in origins:
        place = next((n for n, known in enumerate(found) if _is_same(known, origin)), None)
        if place is not None:
            found[place] = _together(found[place], origin)
        elif not origin.lead or all(known.lead for known in found):
            found.append(origin)
    return found


def _is_same(one: Origin, other: Origin) -> bool:
    if one.kind in FILES and other.kind in FILES:
        shared = one.hashes.keys() & other.hashes.keys()
        if shared:
            return all(one.hashes[name] == other.hashes[name] for name in shared)
    return one.url is not None and (one.url, one.commit) == (other.url, other.commit)


def _together(one: Origin, other: Origin) -> Origin:
    both = not other.lead and other.evidence != one.evidence
    return msgspec.structs.replace(
        one,
        name=one.name or other.name,
        url=one.url or other.url,
        hashes={**other.hashes, **one.hashes},
        evidence=f"{one.evidence}; {other.evidence}" if both else one.evidence,
    )
