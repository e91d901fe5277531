"""What rpm knows about a root: the headers in its database, whichever format that has."""

from __future__ import annotations

import re
from collections.abc import Iterator

from envfreeze.resolve import rpmdb
from envfreeze.resolve import rpmheader as tags
from envfreeze.resolve.packages import DatabaseError, Kind, Listing, Package
from envfreeze.resolve.rootfs import Root
from envfreeze.resolve.rpmheader import BadHeaderError, Header

_MOST = 100_000
"""Packages of one root."""
_HEX = re.compile(r"[0-9a-f]{32,64}")


class Rpm(Listing):
    """The installed packages of one root."""

    kind: Kind = "rpm"

    def __init__(self, root: Root, headers: list[Header]) -> None:
        self._headers: dict[str, Header] = {}
        packages = []
        for header in headers:
            package = package_of(header)
            if package is not None:
                packages.append(package)
                self._headers[package.key] = header
        super().__init__(root, packages)

    @classmethod
    def read(cls, root: Root | None = None) -> Rpm | None:
        """The database of *root*; None where there is none.

        :raises DatabaseError: it is there and cannot be read, or holds what is no header.
        """
        root = root or Root()
        place = rpmdb.find(root)
        if place is None:
            return None
        headers = []
        for blob in rpmdb.blobs(root, place):
            try:
                headers.append(Header(blob))
            except BadHeaderError as error:
                raise DatabaseError(f"{place}: {error}") from error
            if len(headers) > _MOST:
                raise DatabaseError(f"{place} has more packages than any machine")
        return cls(root, headers)

    def owned(self, package: Package, wanted: frozenset[str]) -> Iterator[str]:
        header = self._headers[package.key]
        bases = frozenset(
            path.rpartition("/")[2].encode("utf-8", "surrogateescape") for path in wanted
        )
        if header.mentions(bases):
            yield from (path for path in header.files() if path in wanted)


def package_of(header: Header) -> Package | None:
    """The package of a header; None for the keys that rpm keeps as if they were packages."""
    name, version = header.text(tags.NAME), header.text(tags.VERSION)
    release = header.text(tags.RELEASE)
    if not name or not version or not release or name == "gpg-pubkey":
        return None
    epoch = next(iter(header.numbers(tags.EPOCH)), None)
    return Package(
        name=name,
        version=f"{'' if epoch is None else f'{epoch}:'}{version}-{release}",
        arch=header.text(tags.ARCH) or "noarch",
        source=header.text(tags.SOURCERPM),
        origin=header.text(tags.VENDOR),
        licence=header.text(tags.LICENSE),
        identity=identity(header),
        requires=tuple(_requirements(header)),
        provides=tuple(dict.fromkeys(header.texts(tags.PROVIDENAME))),
    )


def identity(header: Header) -> str | None:
    """The digest of the header as it was built: sha256, of older packages sha1 or md5."""
    for algorithm, tag in (("sha256", tags.SHA256HEADER), ("sha1", tags.SHA1HEADER)):
        digest = header.text(tag) or ""
        if _HEX.fullmatch(digest):
            return f"{algorithm}:{digest}"
    md5 = header.binary(tags.SIGMD5)
    return f"md5:{md5.hex()}" if md5 and len(md5) == 16 else None


def _requirements(header: Header) -> Iterator[str]:
    """Without what rpm itself must know, and without conditions ("rich dependencies"), which
    name nothing that one could look up."""
    for name in dict.fromkeys(header.texts(tags.REQUIRENAME)):
        if not name.startswith(("rpmlib(", "(")):
            yield name
