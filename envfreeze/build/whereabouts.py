"""Where the container engine is, as the docker CLI would find it; reads files, asks nobody.

Sources: docker/cli ``cli/command/cli.go`` (DOCKER_HOST, then DOCKER_CONTEXT, then the
``currentContext`` of config.json) and ``cli/context/store`` (a context lies under the sha256 of its
name); ``podman-system-service(1)`` for Podman's sockets.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envfreeze.errors import EngineError, UsageError

USUAL = "unix:///var/run/docker.sock"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]+")
_LIMIT = 1 << 20
_REACHED = ("unix://", "tcp://", "http://", "https://", "ssh://")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """The files for an engine behind TLS; None: there is no such file."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    verify: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an engine may answer."""

    host: str
    why: str = ""
    """What led there, where somebody chose it."""
    tls: Tls | None = None


def places(environ: Mapping[str, str]) -> list[Place]:
    """Where to try, in this order. What somebody chose is the only one.

    :raises UsageError: a context is chosen that is not there.
    :raises EngineError: it cannot be read.
    """
    if environ.get("DOCKER_HOST"):
        return [Place(host=environ["DOCKER_HOST"], why="DOCKER_HOST", tls=_of_variables(environ))]
    chosen, why = _context(environ)
    if chosen != "default":
        return [_of_context(chosen, why, _directory(environ))]
    return [Place(host=host) for host in _usual(environ)]


def is_chosen(environ: Mapping[str, str]) -> bool:
    """Whether somebody says where the engine is, to the docker CLI too."""
    return bool(environ.get("DOCKER_HOST")) or _context(environ)[0] != "default"


def _usual(environ: Mapping[str, str]) -> list[str]:
    """The sockets of Docker, then of Podman: what nobody chose is tried last."""
    found = [USUAL]
    runtime = environ.get("XDG_RUNTIME_DIR")
    if runtime:
        found.append(f"unix://{runtime}/docker.sock")
    if environ.get("CONTAINER_HOST", "").startswith(("unix://", "tcp://")):
        found.append(environ["CONTAINER_HOST"])
    if runtime:
        found.append(f"unix://{runtime}/podman/podman.sock")
    return [*found, "unix:///run/podman/podman.sock"]


def _of_variables(environ: Mapping[str, str]) -> Tls | None:
    if not (environ.get("DOCKER_TLS_VERIFY") or environ.get("DOCKER_TLS")):
        return None
    place = Path(environ.get("DOCKER_CERT_PATH") or _directory(environ)).expanduser()
    return _tls(place, verify=bool(environ.get("DOCKER_TLS_VERIFY")))


def _context(environ: Mapping[str, str]) -> tuple[str, str]:
    """``(name, who chose it)``."""
    if environ.get("DOCKER_CONTEXT"):
        return environ["DOCKER_CONTEXT"], "DOCKER_CONTEXT"
    path = _directory(environ) / "config.json"
    current = _json(path).get("currentContext")
    return (current, str(path)) if isinstance(current, str) and current else ("default", "")


def _directory(environ: Mapping[str, str]) -> Path:
    own = environ.get("DOCKER_CONFIG")
    return Path(own or f"{environ.get('HOME') or '~'}/.docker").expanduser()


def _of_context(name: str, why: str, directory: Path) -> Place:
    called = hashlib.sha256(name.encode()).hexdigest()
    path = directory / "contexts/meta" / called / "meta.json"
    if not _NAME.fullmatch(name) or not path.is_file():
        raise UsageError(
            f"there is no docker context {name!r}, which {why} names",
            hint="docker context ls shows those that there are; or set DOCKER_HOST.",
        )
    endpoints = _json(path).get("Endpoints")
    own = endpoints.get("docker") if isinstance(endpoints, dict) else None
    host = own.get("Host") if isinstance(own, dict) else None
    if not isinstance(own, dict) or not isinstance(host, str) or not host.startswith(_REACHED):
        raise EngineError(f"the docker context {name} ({path}) does not say where its engine is")
    files = directory / "contexts/tls" / called / "docker"
    verify = own.get("SkipTLSVerify") is not True
    tls = _tls(files, verify=verify) if files.is_dir() or not verify else None
    return Place(host=host, why=f"the docker context {name}", tls=tls)


def _tls(directory: Path, *, verify: bool) -> Tls:
    found = [
        path if (path := directory / f"{name}.pem").is_file() else None
        for name in ("ca", "cert", "key")
    ]
    return Tls(ca=found[0], cert=found[1], key=found[2], verify=verify)


def _json(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_LIMIT))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def described(places: list[Place], causes: list[str]) -> str:
    """What was tried, and why each did not answer, a line each."""
    rows = [
        f"{place.host}" + (f" ({place.why})" if place.why else "") + f": {cause}"
        for place, cause in zip(places, causes, strict=True)
    ]
    return rows[0] if len(rows) == 1 else "".join(f"\n  {row}" for row in rows)
