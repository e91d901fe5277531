"""A CycloneDX bill of materials, in JSON: what its package URLs name. Pure.

It need not list everything, and mostly does not say for which of several places it was made.
Sources: CycloneDX 1.6; the package-URL specification.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from envfreeze.diff.foreign.document import Document, Entry, EntryLayer, Table, shaped, wrong
from envfreeze.diff.view import Reach
from envfreeze.model.identity import normalize

KIND = "a CycloneDX bill of materials"
_LAYERS: dict[str, EntryLayer] = {
    "pypi": "packages",
    "conda": "conda",
    "deb": "system",
    "rpm": "system",
    "apk": "system",
}


class _Component(Table, frozen=True, kw_only=True):
    purl: str | None = None
    components: list[_Component] = []


class _Bom(Table, frozen=True, kw_only=True):
    bom_format: str = msgspec.field(name="bomFormat")
    components: list[_Component] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Purl:
    """A package URL, taken apart."""

    kind: str
    name: str
    version: str
    qualifiers: dict[str, str]


def read(text: str, source: str) -> Document:
    """Of a bill of materials.

    :raises LockError: it is none.
    """
    try:
        document: Any = msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:
        raise wrong(source, KIND, f"it is not JSON: {error}") from error
    try:
        bom = shaped(document, _Bom, source, KIND)
        found = list(_purls(bom.components))
    except RecursionError as error:
        raise wrong(source, KIND, "it is nested without end") from error
    if bom.bom_format != "CycloneDX":
        raise wrong(source, KIND, f"bomFormat {bom.bom_format!r}")
    entries = [entry for purl in found if (entry := _entry(purl)) is not None]
    reach: dict[str, Reach] = {entry.layer: "some" for entry in entries}
    return Document(entries=entries, reach=reach, names_projects=False)


def _purls(components: list[_Component]) -> Iterator[Purl]:
    for component in components:
        purl = parse(component.purl) if component.purl else None
        if purl is not None:
            yield purl
        yield from _purls(component.components)


def parse(text: str) -> Purl | None:
    """``pkg:TYPE/NAMESPACE/NAME@VERSION?QUALIFIERS#PLACE``; None: none, or without a version."""
    scheme, _, rest = text.partition(":")
    path, _, asked = rest.partition("#")[0].partition("?")
    path, at, version = path.strip("/").rpartition("@")
    kind, _, name = path.partition("/")
    if scheme.lower() != "pkg" or not at or not name or not version:
        return None
    return Purl(
        kind=kind.lower(),
        name=unquote(name.rsplit("/", 1)[-1]),
        version=unquote(version),
        qualifiers=dict(parse_qsl(asked)),
    )


def _entry(purl: Purl) -> Entry | None:
    layer = _LAYERS.get(purl.kind)
    if layer is None:
        return None
    if layer == "packages":
        return Entry(layer=layer, name=normalize(purl.name), version=purl.version)
    if layer == "conda":
        build = purl.qualifiers.get("build", "")
        return Entry(layer=layer, name=purl.name.lower(), version=f"{purl.version} {build}".strip())
    epoch = purl.qualifiers.get("epoch", "0")
    version = purl.version if epoch in {"", "0"} else f"{epoch}:{purl.version}"
    return Entry(
        layer=layer, name=f"{purl.name}:{purl.qualifiers.get('arch', '')}", version=version
    )
