"""What a snapshot's distributions are to a lock: pure, and the same for capture and verify.

Each distribution is in exactly one place, so that what was found can be counted against
what was locked.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from envfreeze.model import apart
from envfreeze.model.identity import (
    NOT_EXECUTABLE,
    conda_digest,
    file_word,
    files_digest,
    interpreter_digest,
    is_bytecode,
    is_virtualenv_marker,
    normalize,
    owned_rows,
    packages_digest,
    rare_layers,
    sha256_of_claim,
    source_digest,
    source_files,
    tree_digest,
    wrappers,
)
from envfreeze.model.lock import LooseEntry, LooseSite
from envfreeze.model.snapshot import Dist, LooseFile, Row, Site, Snapshot, Source

_NAME = re.compile(r"[A-Z0-9]|[A-Z0-9][A-Z0-9._-]*[A-Z0-9]", re.IGNORECASE | re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\\]")
"""What no unowned file of a lock may have in its path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A distribution whose files are known from its RECORD."""

    dist: Dist
    tree: str
    count: int
    """How many files are behind :attr:`tree`."""
    edited: tuple[str, ...]
    """``scheme/path`` of files whose content is not what RECORD says."""
    missing: tuple[str, ...]
    """``scheme/path`` of files that RECORD names and the disk lacks."""
    yields: tuple[str, ...]
    """``scheme/path`` of files that another distribution overwrote with its own."""
    apart: bool = False
    """An earlier site directory has other files at paths of its."""

    @property
    def name(self) -> str:
        return normalize(self.dist.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    seen: list[Seen]
    """Live, with a RECORD: these become packages."""
    loose_dists: list[Dist]
    """Without a usable RECORD or name, or stale: they come back as unowned files."""
    in_sources: list[Dist]
    """Their metadata lies in a source tree that is kept: they come back with it."""
    stranded: list[Dist]
    """On sys.path through PYTHONPATH or a ``.pth`` line, and nothing of it is kept."""
    shadowed: list[Seen]
    """A distribution of the same name stands earlier on sys.path."""
    sites: list[Site]
    """The site directories, their loose files complete."""
    hidden: frozenset[tuple[str, str]] = frozenset()
    """``(site, path)`` of loose files whose path an earlier site directory has, too."""
    disowned: dict[tuple[str, str], dict[str, LooseFile]] = field(default_factory=dict)
    """By site and metadata directory of a loose one: its files that are unowned ones of
    :attr:`sites`, by their absolute path."""
    homeless: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """By site and metadata directory of a loose one: ``scheme/path`` of its files that lie where
    no unowned file is kept."""

    @property
    def found(self) -> int:
        packages = len(self.seen) + len(self.shadowed)
        return packages + len(self.loose_dists) + len(self.in_sources) + len(self.stranded)


@dataclass(slots=True)
class _Sorter:
    owned_sites: dict[str, Site]
    sources: list[Source]
    extra: dict[str, list[LooseFile]] = field(default_factory=lambda: defaultdict(list))
    """By site directory: files that a distribution owns and that come back as unowned ones."""
    stale: list[Dist] = field(default_factory=list)
    """Of the loose ones, those whose RECORD owns files."""
    live: list[Dist] = field(default_factory=list)
    loose: list[Dist] = field(default_factory=list)
    in_sources: list[Dist] = field(default_factory=list)
    stranded: list[Dist] = field(default_factory=list)
    shadowed: list[Dist] = field(default_factory=list)


def survey(snapshot: Snapshot) -> Survey:
    """Sort the distributions of *snapshot* by what can be done with them."""
    owned = {site.path: site for site in snapshot.sites if site.kind in {"site", "user", "system"}}
    sorter = _Sorter(owned, [source for source in snapshot.sources if source.problem is None])
    groups: dict[str, list[Dist]] = defaultdict(list)
    for dist in snapshot.dists:
        if dist.conda is not None:
            continue  # It comes with its conda package.
        groups[normalize(dist.name) or dist.info].append(dist)
    for group in groups.values():
        _sort_group(group, sorter)
    owners = _owners([*sorter.live, *sorter.shadowed])
    links = {(s.path, e.path) for s in snapshot.sites for e in s.loose if e.link is not None}
    beside = _Beside(owners, links)
    programs = [site for site in snapshot.sites if site.kind == "scripts"]
    if snapshot.interpreter.venv and not programs:
        programs = [Site(path=snapshot.interpreter.scripts, kind="scripts")]
    disowned, homeless = _disown(sorter, {site.path for site in programs})
    sites = [_with_loose(s, sorter.extra.get(s.path, [])) for s in [*owned.values(), *programs]]
    sites, programs = sites[: len(owned)], [s for s in sites[len(owned) :] if s.loose]
    behind, hidden = apart.hidden(sites, [*sorter.live, *sorter.shadowed])
    return Survey(
        seen=[_see(d, beside, apart=(d.site, d.info) in behind) for d in sorter.live],
        loose_dists=sorter.loose,
        in_sources=sorter.in_sources,
        stranded=sorter.stranded,
        shadowed=[_see(dist, beside, apart=True) for dist in sorter.shadowed],
        sites=[*sites, *programs],
        hidden=frozenset(hidden),
        disowned=disowned,
        homeless=homeless,
    )


def _sort_group(group: list[Dist], sorter: _Sorter) -> None:
    """One normalised name: the first site directory wins, in it the most intact copy."""
    owned = []
    for dist in group:
        if _owning_site(dist, sorter.owned_sites) is not None:
            owned.append(dist)
        elif any(_is_below(dist.site, source) for source in sorter.sources):
            sorter.in_sources.append(dist)
        else:
            sorter.stranded.append(dist)
    by_site: dict[str, list[Dist]] = defaultdict(list)
    for dist in owned:
        by_site[dist.site].append(dist)
    for place, here in enumerate(by_site.values()):
        # A stable sort: of equally intact copies the one that the import system meets first.
        here.sort(key=_damage)
        _sort_site(here, sorter, is_first=place == 0)


def _sort_site(here: list[Dist], sorter: _Sorter, *, is_first: bool) -> None:
    """The distributions of one name in one site directory."""
    for position, dist in enumerate(here):
        inside = _owning_site(dist, sorter.owned_sites)
        if dist.rows is None or inside is None or inside.path != dist.site:
            # Without RECORD, or below a site directory and not in it: all its files are unowned
            # files of that one.
            sorter.loose.append(dist)
        elif position == 0 and _NAME.fullmatch(dist.name) and not _CONTROL.search(dist.version):
            (sorter.live if is_first else sorter.shadowed).append(dist)
            sorter.extra[dist.site] += _marks(dist)
        else:
            sorter.loose.append(dist)
            sorter.stale.append(dist)


def _is_below(path: str, source: Source) -> bool:
    return any((path + "/").startswith(root.rstrip("/") + "/") for root in source.spellings)


def _damage(dist: Dist) -> int:
    if dist.rows is None:
        return 1 << 30
    return sum(1 for row in owned_rows(dist) if row.sha256 is None or _is_edited(row))


def _owning_site(dist: Dist, owned: dict[str, Site]) -> Site | None:
    """The walked site directory that holds *dist*: its own, or the one an egg lies in."""
    if dist.site in owned:
        return owned[dist.site]
    for path, site in owned.items():
        if dist.site.startswith(path + os.sep):
            return site
    return None


def _marks(dist: Dist) -> list[LooseFile]:
    """What virtualenv put beside a distribution that it seeded: no wheel has it."""
    return [
        LooseFile(row.path, row.sha256, row.size or 0, row.executable, None)
        for row in dist.rows or ()
        if is_virtualenv_marker(row, dist.info) and row.sha256
    ]


_OfDist = tuple[str, str]
"""Its site directory and the name of its metadata directory."""


def _disown(
    sorter: _Sorter, programs: set[str]
) -> tuple[dict[_OfDist, dict[str, LooseFile]], dict[_OfDist, list[str]]]:
    """Make all files that only a stale distribution owns unowned ones, its metadata included.

    :param programs: the directories whose unowned programs are kept.
    :returns: :attr:`Survey.disowned` and :attr:`Survey.homeless`.
    """
    owned = {
        (dist.site, _key(row))
        for dist in [*sorter.live, *sorter.shadowed]
        for row in dist.rows or ()
    }
    disowned: dict[_OfDist, dict[str, LooseFile]] = defaultdict(dict)
    homeless: dict[_OfDist, list[str]] = defaultdict(list)
    for dist in sorter.stale:
        prefix = sorter.owned_sites[dist.site].prefix
        for row in dist.rows or ():
            if row.sha256 is None or is_bytecode(row.path) or (dist.site, _key(row)) in owned:
                continue
            home = {"site": dist.site, "scripts": f"{prefix}/bin"}.get(row.scheme)
            if home != dist.site and home not in programs:
                homeless[dist.site, dist.info].append(_key(row))
            elif not _UNWRITABLE.search(row.path):
                entry = LooseFile(row.path, row.sha256, row.size or 0, row.executable, None)
                sorter.extra[home].append(entry)
                disowned[dist.site, dist.info][f"{home}/{row.path}"] = entry
    return dict(disowned), dict(homeless)


def _with_loose(site: Site, extra: list[LooseFile]) -> Site:
    if not extra:
        return site
    loose = sorted({entry.path: entry for entry in [*site.loose, *extra]}.items())
    return Site(
        path=site.path, kind=site.kind, prefix=site.prefix, loose=[entry for _, entry in loose]
    )


def _key(row: Row) -> str:
    return f"{row.scheme}/{row.path}"


def claimed_sha256(row: Row) -> str | None:
    """The sha256 (hex) that RECORD claims where it differs from the disk, or None."""
    return sha256_of_claim(row.claim or "")


def is_unread(row: Row) -> bool:
    """Whether the file is there (its size is known), and nobody could read its bytes."""
    return row.sha256 is None and row.size is not None


def _is_edited(row: Row) -> bool:
    return bool(row.claim) and row.sha256 is not None and claimed_sha256(row) != row.sha256


def _owners(dists: Iterable[Dist]) -> dict[tuple[str, str], int]:
    """How many distributions of a site directory have this very file, as they claim it."""
    owners: dict[tuple[str, str], int] = defaultdict(int)
    for dist in dists:
        for row in dist.rows or ():
            if row.claim is None:
                owners[dist.site, _key(row)] += 1
    return owners


@dataclass(frozen=True, slots=True)
class _Beside:
    """What there is besides one distribution, by site directory and path."""

    owners: dict[tuple[str, str], int]
    """As :func:`_owners` counts them."""
    links: set[tuple[str, str]]
    """The links that no distribution owns."""

    def is_link(self, dist: Dist, row: Row) -> bool:
        """Whether RECORD names a link without a digest, as flit does: it is there, and comes back
        as an unowned one."""
        return row.scheme == "site" and not row.claim and (dist.site, row.path) in self.links


def _see(dist: Dist, beside: _Beside, *, apart: bool) -> Seen:
    edited, missing, yields = [], [], []
    owned = owned_rows(dist)
    for row in owned:
        key = _key(row)
        if row.sha256 is None:
            if not beside.is_link(dist, row):
                missing.append(key)
        elif _is_edited(row):
            if claimed_sha256(row) and (
                beside.owners.get((dist.site, key)) or key in dist.overlaid
            ):
                yields.append(key)
            else:
                edited.append(key)
    words = _words(dist, owned, set(yields))
    return Seen(
        dist=dist,
        tree=tree_digest(words),
        count=len(words),
        edited=tuple(sorted(edited)),
        missing=tuple(sorted(missing)),
        yields=tuple(sorted(yields)),
        apart=apart,
    )


def files_of(seen: Seen) -> list[tuple[str, str]]:
    """``(scheme/path, word for the content)`` of the files behind ``seen.tree``."""
    return _words(seen.dist, owned_rows(seen.dist), set(seen.yields))


def _words(dist: Dist, owned: list[Row], yields: Collection[str]) -> list[tuple[str, str]]:
    found = []
    for row in owned:
        key = _key(row)
        word = claimed_sha256(row) if key in yields else file_word(row)
        if word is not None:
            found.append((key, word))
    # A script that the installer made counts by its mode alone: each writes its own bytes.
    return found + [(_key(row), NOT_EXECUTABLE) for row in wrappers(dist) if not row.executable]


def layers_of(snapshot: Snapshot, seen: Survey) -> dict[str, str]:
    """The layer digests that a probe alone can tell: all but the system's."""
    layers = {
        "files": files_digest(as_loose(site) for site in seen.sites),
        "interpreter": interpreter_digest(snapshot.interpreter),
        "packages": packages_digest(map(_identity, seen.seen)),
    }
    layers |= rare_layers(
        shadowed=[_identity(item) for item in seen.shadowed],
        sources=[(source.key, digest_of(source)) for source in snapshot.sources],
    )
    if snapshot.conda is not None:
        layers["conda"] = conda_digest(snapshot.conda.packages.values(), snapshot.conda.loose)
    return layers


def _identity(item: Seen) -> tuple[str, str, str]:
    return item.name, item.dist.version, item.tree


def digest_of(source: Source) -> str | None:
    """The digest of a source tree; None: it is not kept."""
    return None if source.problem is not None else source_digest(source_files(source.files))


def as_loose(site: Site, hidden: Collection[tuple[str, str]] = ()) -> LooseSite:
    """The unowned files of *site* as a lock names them; unreadable ones are left out.

    :param hidden: :attr:`Survey.hidden`.
    """
    return LooseSite(
        site=site.path,
        scheme="scripts" if site.kind == "scripts" else "site",
        files=[
            LooseEntry(
                path=e.path,
                sha256=e.sha256,
                link=e.link,
                executable=e.executable,
                apart=(site.path, e.path) in hidden,
            )
            for e in sorted(site.loose, key=lambda entry: entry.path)
            if e.sha256 is not None or e.link is not None
        ],
    )
