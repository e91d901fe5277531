"""What of several site directories cannot be brought together in one.

A rebuilt venv has what lay in all site directories in its own one, as long as that changes no
import: whatever would hide or replace something of an earlier site directory, or would no longer
be hidden by it, goes into a site directory of its own behind the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from envfreeze.model.snapshot import Dist, Site

_LOOSE = ""
"""In the place of a digest: no distribution owns the file, so none that does is the same."""


def hidden(
    sites: Sequence[Site], dists: Iterable[Dist]
) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """``(distributions, unowned files)`` that have to lie apart.

    :param sites: in the order of sys.path.
    :param dists: those with a RECORD, shadowed ones too.
    :returns: ``(site, metadata directory)`` and ``(site, path)`` of them.
    """
    apart: set[tuple[str, str]] = set()
    files: set[tuple[str, str]] = set()
    claimed: dict[str, str] = {}
    by_site: dict[str, list[Dist]] = {}
    for dist in dists:
        by_site.setdefault(dist.site, []).append(dist)
    for place, site in enumerate(sites):
        here = by_site.get(site.path, [])
        if place:
            apart |= {(site.path, d.info) for d in here if _is_hidden(d, claimed)}
            files |= {
                (site.path, entry.path)
                for entry in site.loose
                if f"site/{entry.path}" in claimed or _in_package(entry.path, claimed)
            }
        if place + 1 < len(sites):
            _claim(site, here, claimed)
    return apart, files


def _claim(site: Site, dists: Iterable[Dist], claimed: dict[str, str]) -> None:
    """The first to have a path keeps it."""
    for dist in dists:
        for row in dist.rows or ():
            if row.sha256 is not None:
                claimed.setdefault(f"{row.scheme}/{row.path}", row.sha256)
    for entry in site.loose:
        claimed.setdefault(f"site/{entry.path}", _LOOSE)


def _is_hidden(dist: Dist, claimed: Mapping[str, str]) -> bool:
    for row in dist.rows or ():
        if row.sha256 is None:
            continue
        there = claimed.get(f"{row.scheme}/{row.path}")
        if there is None:
            if row.scheme == "site" and _in_package(row.path, claimed):
                return True
        elif there != row.sha256:
            return True
    return False


def _in_package(path: str, claimed: Mapping[str, str]) -> bool:
    """Whether *path* lies in a package that an earlier site directory has: nothing in there is
    imported from any other (a package without ``__init__.py`` is a namespace of all of them)."""
    top, inside, _ = path.partition("/")
    return bool(inside) and f"site/{top}/__init__.py" in claimed
