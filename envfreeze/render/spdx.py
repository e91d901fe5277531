"""A lock as SPDX 2.3, in JSON. Pure.

Source: spdx/spdx-spec, ``schemas/spdx-schema.json`` of 2.3. A document must say when it was made:
that is SOURCE_DATE_EPOCH of the environment, or the first second of 1970.
"""

from __future__ import annotations

import re
from typing import Any

from envfreeze.model import printed
from envfreeze.model.lines import utf8
from envfreeze.model.words import plural
from envfreeze.render.sbom import Bom, Component, tool

_PURPOSES = {
    "interpreter": "APPLICATION",
    "os": "OPERATING-SYSTEM",
    "base": "CONTAINER",
    "source": "SOURCE",
}
_ENVIRONMENT = "SPDXRef-environment"
_NONE = "NOASSERTION"
_HOST = re.compile(r"(git@)?[a-z0-9]+([.-][a-z0-9]+)*\.[a-z]{2,5}(:[0-9]{1,5})?/")
"""As spdx-tools takes it, which counts the letters of the last part."""


def document(bom: Bom) -> bytes:
    """*bom* as SPDX."""
    ids = {one.ref: _id(place, one) for place, one in enumerate(bom.components)}
    return printed.as_json(
        {
            "spdxVersion": "SPDX-2.3",
            "dataLicense": "CC0-1.0",
            "SPDXID": "SPDXRef-DOCUMENT",
            "name": bom.name,
            "documentNamespace": f"urn:uuid:{bom.serial}",
            "creationInfo": {"created": bom.created, "creators": ["Tool: " + "-".join(tool())]},
            "packages": [_whole(bom), *(_package(one, ids[one.ref]) for one in bom.components)],
            "relationships": _relationships(bom, ids),
        }
    )


def _id(place: int, one: Component) -> str:
    """Of letters, digits, dots and hyphens alone, so with a number that tells it from others."""
    return f"SPDXRef-{place}-{re.sub(r'[^A-Za-z0-9.-]', '-', one.ref)[:100]}"


def _whole(bom: Bom) -> dict[str, Any]:
    return {
        "SPDXID": _ENVIRONMENT,
        "name": bom.name,
        "versionInfo": bom.environment,
        "downloadLocation": _NONE,
        "filesAnalyzed": False,
        "licenseConcluded": _NONE,
        "licenseDeclared": _NONE,
        "copyrightText": _NONE,
        "primaryPackagePurpose": "INSTALL",
    }


def _package(one: Component, spdx_id: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "SPDXID": spdx_id,
        "name": utf8(one.name) or one.ref,
        "versionInfo": utf8(one.version),
        "packageFileName": utf8(one.artifact.filename) if one.artifact else "",
        "downloadLocation": _location(one),
        "checksums": _checksums(one),
        "sourceInfo": f"built from {one.vcs}" if one.vcs and one.vcs != one.url else "",
        "licenseConcluded": _NONE,
        "licenseDeclared": _declared(one),
        "licenseComments": _comments(one),
        "copyrightText": _NONE,
        "comment": _comment(one),
        "externalRefs": _references(one),
        "primaryPackagePurpose": _PURPOSES.get(one.key[0], "LIBRARY"),
    }
    return {"filesAnalyzed": False, **{key: value for key, value in found.items() if value}}


def _location(one: Component) -> str:
    """Where it is fetched; one that validators refuse is in the comment."""
    for url in (one.url, one.vcs):
        if url is not None and _HOST.match(url.partition("://")[2]):
            return url
    return _NONE


def _checksums(one: Component) -> list[dict[str, str]]:
    found = [{"algorithm": "MD5", "checksumValue": one.md5}] if one.md5 else []
    if one.artifact is not None:
        found.append({"algorithm": "SHA256", "checksumValue": one.artifact.sha256})
    return found


def _declared(one: Component) -> str:
    """A name that SPDX's list does not have would need its text, which the lock does not have."""
    if one.expression is None or "LicenseRef-" in one.expression:
        return _NONE
    return one.expression


def _comments(one: Component) -> str:
    said = one.licence or (one.expression if _declared(one) == _NONE else None)
    return f"its metadata says: {said}" if said else ""


def _comment(one: Component) -> str:
    told = [f"envfreeze:proof={one.proof}"]
    told += [f"envfreeze:{name}={value}" for name, value in one.facts]
    lines = ["; ".join(told)]
    lines += [one.evidence] if one.evidence else []
    lines += [f"fetched from {one.url}"] if one.url and _location(one) == _NONE else []
    if one.patched:
        changed = plural(len(one.patched), "file")
        lines.append(f"{changed} changed since it was installed: {', '.join(one.patched)}")
    return utf8("\n".join(lines))


def _references(one: Component) -> list[dict[str, str]]:
    found = []
    if one.purl:
        found.append(_reference("PACKAGE-MANAGER", "purl", one.purl))
    if one.cpe:
        found.append(_reference("SECURITY", "cpe23Type", one.cpe))
    return found


def _reference(category: str, kind: str, locator: str) -> dict[str, str]:
    return {
        "referenceCategory": category,
        "referenceType": kind,
        "referenceLocator": locator,
    }


def _relationships(bom: Bom, ids: dict[str, str]) -> list[dict[str, str]]:
    found = [_relation("SPDXRef-DOCUMENT", "DESCRIBES", _ENVIRONMENT)]
    found += [_relation(_ENVIRONMENT, "CONTAINS", ids[one.ref]) for one in bom.components]
    found += [
        _relation(ids[ref], "DEPENDS_ON", ids[other])
        for ref, below in bom.depends.items()
        for other in below
    ]
    return found


def _relation(one: str, kind: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}
