"""A lock as CycloneDX 1.6, in JSON. Pure.

Source: CycloneDX ``schema/bom-1.6.schema.json``. Proofs are ``evidence`` and properties, changed
files a pedigree; there is no time in it, unless the environment has SOURCE_DATE_EPOCH.
"""

from __future__ import annotations

from typing import Any

from envfreeze.model import printed
from envfreeze.model.lines import utf8
from envfreeze.model.words import plural
from envfreeze.render.sbom import Bom, Component, tool

_TYPES = {
    "interpreter": "platform",
    "os": "operating-system",
    "base": "container",
    "source": "application",
}
_ENVIRONMENT = "environment"


def document(bom: Bom) -> bytes:
    """*bom* as CycloneDX."""
    name, version = tool()
    metadata: dict[str, Any] = {
        "tools": {"components": [{"type": "application", "name": name, "version": version}]},
        "component": {
            "bom-ref": _ENVIRONMENT,
            "type": "platform",
            "name": bom.name,
            "version": bom.environment,
        },
        "properties": [{"name": "cdx:reproducible", "value": "true"}],
    }
    if bom.epoch is not None:
        metadata = {"timestamp": bom.created, **metadata}
    depends = [{"ref": _ENVIRONMENT, "dependsOn": bom.roots}]
    depends += [{"ref": ref, "dependsOn": below} for ref, below in bom.depends.items()]
    return printed.as_json(
        {
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": f"urn:uuid:{bom.serial}",
            "version": 1,
            "metadata": metadata,
            "components": [_component(one) for one in bom.components],
            "dependencies": depends,
        }
    )


def _component(one: Component) -> dict[str, Any]:
    found: dict[str, Any] = {
        "bom-ref": one.ref,
        "type": _TYPES.get(one.key[0], "library"),
        "name": utf8(one.name) or one.ref,
        "version": utf8(one.version),
        "hashes": _hashes(one),
        "licenses": _licences(one),
        "cpe": one.cpe,
        "purl": one.purl,
        "pedigree": _pedigree(one),
        "externalReferences": _references(one),
        "properties": _properties(one),
        "evidence": _evidence(one),
    }
    return {key: value for key, value in found.items() if value}


def _hashes(one: Component) -> list[dict[str, str]]:
    found = [{"alg": "MD5", "content": one.md5}] if one.md5 else []
    if one.artifact is not None:
        found.append({"alg": "SHA-256", "content": one.artifact.sha256})
    return found


def _licences(one: Component) -> list[dict[str, Any]]:
    if one.expression:
        return [{"expression": one.expression, "acknowledgement": "declared"}]
    if one.licence:
        return [{"license": {"name": one.licence, "acknowledgement": "declared"}}]
    return []


def _pedigree(one: Component) -> dict[str, Any]:
    if not one.patched:
        return {}
    changed = plural(len(one.patched), "file")
    return {
        "patches": [{"type": "unofficial"}],
        "notes": f"{changed} changed since it was installed: {utf8(', '.join(one.patched))}",
    }


def _references(one: Component) -> list[dict[str, Any]]:
    found = []
    if one.url:
        found.append({"type": "distribution", "url": one.url, "hashes": _hashes(one)})
    if one.vcs:
        found.append({"type": "vcs", "url": one.vcs})
    return found


def _properties(one: Component) -> list[dict[str, str]]:
    told = [("proof", one.proof), ("evidence", one.evidence), *one.facts]
    return [{"name": f"envfreeze:{name}", "value": utf8(value)} for name, value in told if value]


def _evidence(one: Component) -> dict[str, Any]:
    """Only what was proved was compared, hash by hash, with a file that somebody else made."""
    if one.proof != "proved":
        return {}
    method = {"technique": "hash-comparison", "confidence": 1, "value": utf8(one.evidence)}
    return {"identity": [{"field": "hash", "confidence": 1, "methods": [method]}]}
