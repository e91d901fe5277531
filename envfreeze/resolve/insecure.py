"""Which registries docker's daemon takes without a certificate that holds.

Source: dockerd's documentation ("Insecure registries") and moby ``daemon/pkg/registry/config.go``
(``isSecureIndex``): an entry is a host with its port, or a network; of a name that docker would
look up, the network is not asked here.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

_KEY = "insecure-registries"
_LIMIT = 1 << 20


def is_listed(host: str, entries: Iterable[str]) -> bool:
    """Whether *host*, ``NAME`` or ``NAME:PORT``, is one of *entries* or in a network of them."""
    name = urlsplit(f"//{host}").hostname or ""
    for entry in entries:
        if entry == host:
            return True
        try:
            if "/" in entry and ipaddress.ip_address(name) in ipaddress.ip_network(entry):
                return True
        except ValueError:
            continue
    return False


def of_daemon(environ: Mapping[str, str]) -> list[str]:
    """What the settings of this machine's daemon list, a rootless one's first."""
    home = environ.get("XDG_CONFIG_HOME") or f"{environ.get('HOME') or '~'}/.config"
    places = [Path(home).expanduser() / "docker/daemon.json", Path("/etc/docker/daemon.json")]
    return [entry for place in places for entry in _of_file(place)]


def _of_file(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_LIMIT))
    except (OSError, ValueError, RecursionError):
        return []
    entries = found.get(_KEY) if isinstance(found, dict) else None
    return [one for one in entries if isinstance(one, str)] if isinstance(entries, list) else []


def of_info(info: Mapping[str, object]) -> list[str]:
    """What an engine says of itself (``GET /info``); Podman says nothing."""
    config = info.get("RegistryConfig")
    if not isinstance(config, dict):
        return []
    hosts, networks = config.get("IndexConfigs"), config.get("InsecureRegistryCIDRs")
    found = [str(one) for one in networks] if isinstance(networks, list) else []
    for host, facts in hosts.items() if isinstance(hosts, dict) else ():
        if isinstance(facts, dict) and facts.get("Secure") is False:
            found.append(str(host))
    return found
