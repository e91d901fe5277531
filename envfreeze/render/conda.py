"""A lock in the words of conda's tools. Pure.

What has no public URL is named by its path, and :func:`left_out` says so. What a lock says is
untrusted: every text goes into YAML as a quoted string, and a URL is checked before it is a line.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from envfreeze.errors import LockError, UsageError
from envfreeze.model.conda import CondaLayer, CondaPackage
from envfreeze.model.lock import Artifact, Lock, Package
from envfreeze.render.portable import url

_PATH = re.compile(r"[A-Za-z0-9._+%/@=!~-]+")
_YAML_WORDS = frozenset({"yes", "no", "on", "off", "y", "n", "true", "false", "null"})
_SPEC = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]*)[ =<>!~]?\s*(.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What is packed beside the lock, as a file that is written elsewhere names it."""

    directory: str
    """Of the lock, relative to where the file is written."""
    md5: Mapping[str, str] = field(default_factory=dict)
    """Of packed packages, by their sha256."""

    def place(self, artifact: Artifact) -> str:
        """A URL, or a path.

        :raises LockError: it could be read as more than one.
        """
        if artifact.url is not None:
            return url(artifact)
        path = f"{self.directory}/{artifact.path}"
        if not _PATH.fullmatch(path):
            raise LockError(f"the path {path!r} cannot stand in a file that conda reads")
        return path


def explicit(lock: Lock, beside: Beside) -> str:
    """An ``@EXPLICIT`` file (CEP 23): a URL and a sha256 for each package, in link order."""
    layer = _layer(lock)
    lines = [f"# platform: {layer.platform}", "@EXPLICIT"]
    lines += [f"{beside.place(one)}#sha256:{one.sha256}" for _, one in _held(layer)]
    return "\n".join(lines) + "\n"


def conda_lock(lock: Lock, name: str, beside: Beside) -> str:
    """conda-lock's unified lock file, version 1 (CEP 37).

    :param name: of the lock.
    """
    layer = _layer(lock)
    packages = []
    for package, artifact in _held(layer):
        md5 = package.md5 if artifact.url is not None else beside.md5.get(artifact.sha256)
        if md5 is not None:
            hashes = {"md5": md5, "sha256": artifact.sha256}
            packages.append(_locked(package, layer, beside.place(artifact), hashes))
    packages += [_locked_pip(package, layer) for package in _by_pip(lock)]
    digest = hashlib.sha256(json.dumps(packages, sort_keys=True).encode()).hexdigest()
    metadata = {
        "content_hash": {layer.platform: digest},
        "channels": [{"url": channel, "used_env_vars": []} for channel in _channels(layer)],
        "platforms": [layer.platform],
        "sources": [f"{beside.directory}/{name}"],
    }
    return _yaml({"version": 1, "metadata": metadata, "package": packages})


def _locked(
    package: CondaPackage, layer: CondaLayer, place: str, hashes: dict[str, str]
) -> dict[str, Any]:
    return {
        "name": package.name,
        "version": package.version,
        "manager": "conda",
        "platform": layer.platform,
        "dependencies": dict(map(_spec, package.depends)),
        "url": place,
        "hash": hashes,
        "category": "main",
        "optional": False,
        "build": package.build,
    }


def _locked_pip(package: Package, layer: CondaLayer) -> dict[str, Any]:
    return {
        "name": package.name,
        "version": package.version or package.facts.version or "",
        "manager": "pip",
        "platform": layer.platform,
        "dependencies": {},
        "url": url(package.artifact),
        "hash": {"sha256": package.artifact.sha256},
        "category": "main",
        "optional": False,
    }


def environment(lock: Lock, name: str) -> str:
    """``environment.yml``: exact versions and builds, and the pip part."""
    layer = _layer(lock)
    dependencies: list[Any] = [f"{p.name}={p.version}={p.build}" for p in layer.packages]
    pips = [f"{package.name}=={_version(package)}" for package in _by_pip(lock)]
    if pips:
        dependencies.append({"pip": pips})
    document: dict[str, Any] = {"name": name, "channels": [*_channels(layer), "nodefaults"]}
    document["dependencies"] = dependencies
    if layer.variables:
        document["variables"] = layer.variables
    return _yaml(document)


def pixi(lock: Lock, beside: Beside) -> str:
    """``pixi.lock``, version 6."""
    layer = _layer(lock)
    pips = _by_pip(lock)
    packages = [_pixi(package, artifact, beside) for package, artifact in _held(layer)]
    named = [{"conda": one["conda"]} for one in packages]
    named += [{"pypi": url(package.artifact)} for package in pips]
    channels = [{"url": f"{channel.rstrip('/')}/"} for channel in _channels(layer)]
    found: dict[str, Any] = {"channels": channels}
    if pips:
        indexes = dict.fromkeys(p.index.rstrip("/") for p in pips if p.index)
        found["indexes"] = list(indexes)
    found["packages"] = {layer.platform: named}
    packages += [
        {
            "pypi": url(package.artifact),
            "name": package.name,
            "version": _version(package),
            "sha256": package.artifact.sha256,
        }
        for package in pips
    ]
    return _yaml({"version": 6, "environments": {"default": found}, "packages": packages})


def _pixi(package: CondaPackage, artifact: Artifact, beside: Beside) -> dict[str, Any]:
    public = artifact.url is not None
    found = {
        "conda": beside.place(artifact),
        "name": None if public else package.name,
        "version": None if public else package.version,
        "build": None if public else package.build,
        "build_number": package.build_number,
        "subdir": None if public else package.subdir,
        "noarch": package.noarch,
        "sha256": artifact.sha256,
        "md5": package.md5 if public else beside.md5.get(artifact.sha256),
        "depends": package.depends,
        "constrains": package.constrains,
        "license": package.license,
        "size": artifact.size,
        "timestamp": package.timestamp,
    }
    return {key: value for key, value in found.items() if value not in (None, [])}


def left_out(lock: Lock, kind: str) -> dict[str, str]:
    """What a file of that *kind* cannot say, and why; untrusted text."""
    layer = _layer(lock)
    found: dict[str, str] = {}
    for package in layer.packages:
        public = package.artifact is not None and package.artifact.url is not None
        if kind == "environment":
            if package.proof != "proved":
                said = "its files differ from the channel's, or the channel is gone"
                found[f"conda {package.name}"] = said
        elif not public:
            held = "packed beside the lock, named by its path" if package.artifact else "left out"
            found[f"conda {package.name}"] = f"it has no public URL: {held}"
        elif kind == "conda-lock" and not package.md5:
            found[f"conda {package.name}"] = "its md5 is not known, and conda-lock wants one"
    by_pip = {package.name for package in _by_pip(lock)} if kind != "conda-explicit" else set()
    for one in [*lock.packages, *lock.machine.shadowed]:
        if one.name not in by_pip:
            said = "it is pip's" if kind == "conda-explicit" else "no index has it as it is"
            found[f"pip {one.name}"] = f"{said}: left out"
    loose = sum(len(site.files) for site in lock.machine.loose)
    loose += len(layer.loose.files) if layer.loose else 0
    if loose:
        found["files that no package owns"] = f"{loose} left out"
    return found


def _layer(lock: Lock) -> CondaLayer:
    layer = lock.machine.conda
    if layer is None:
        raise UsageError(
            "this lock has no conda packages",
            hint="requirements and pylock are formats for what pip can install.",
        )
    return layer


def _held(layer: CondaLayer) -> list[tuple[CondaPackage, Artifact]]:
    return [(one, one.artifact) for one in layer.packages if one.artifact is not None]


def _by_pip(lock: Lock) -> list[Package]:
    """The packages of pip's that a public URL has as they are."""
    return [
        package
        for package in lock.packages
        if package.artifact.url is not None and not package.facts.edits
    ]


def _version(package: Package) -> str:
    return package.version or package.facts.version or ""


def _channels(layer: CondaLayer) -> list[str]:
    """The channels that the packages are from, in the order of the configuration."""
    public = [package for package, artifact in _held(layer) if artifact.url is not None]
    used = {(package.channel or "").rstrip("/") for package in public} - {""}
    known = [channel for channel in layer.channels if channel.rstrip("/") in used]
    return [*known, *sorted(used - {channel.rstrip("/") for channel in known})]


def _spec(text: str) -> tuple[str, str]:
    """``python >=3.6`` as name and constraint."""
    match = _SPEC.fullmatch(text.strip())
    return (match[1], text.strip()[len(match[1]) :].strip()) if match else (text, "")


# --- YAML ----------------------------------------------------------------------------------


def _yaml(document: Mapping[str, Any]) -> str:
    """*document* as YAML; each text is a double-quoted string, as JSON has it."""
    return "\n".join(_lines(document, "")) + "\n"


def _lines(value: Any, indent: str) -> Iterable[str]:
    items = value.items() if isinstance(value, Mapping) else [("-", one) for one in value]
    for key, one in items:
        head = "-" if key == "-" and not isinstance(value, Mapping) else f"{_key(key)}:"
        if not isinstance(one, (Mapping, list)) or not one:
            yield f"{indent}{head} {json.dumps(one)}"
        elif head == "-":
            first, *rest = _lines(one, indent + "  ")
            yield f"{indent}- {first.lstrip()}"
            yield from rest
        else:
            yield f"{indent}{head}"
            yield from _lines(one, indent + "  ")


def _key(text: str) -> str:
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", text) and text.lower() not in _YAML_WORDS
    return text if plain else json.dumps(text)
