"""The login for a registry, as docker keeps it: its ``config.json`` and credential helpers.

Source: docker/cli ``cli/config/configfile/file.go`` (``GetCredentialsStore``: the registry's own
helper, else the one for all; ``DOCKER_AUTH_CONFIG`` before both), ``cli/config/credentials``
(``ConvertToHostname``) and docker/docker-credential-helpers. A helper that is not there or fails
leaves what is stored, else nothing, and the registry is asked without a login. What a
helper says stays in memory, and no message names it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Login = tuple[str, str]
"""User name and password."""

TIMEOUT = 30.0
"""Seconds that a helper may take."""
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LIMIT = 1 << 20
TOKEN_USER = "<token>"  # noqa: S105
"""What a helper says instead of a name, beside an identity token."""
_GIVEN = "DOCKER_AUTH_CONFIG"
_HTTP = re.compile(r"https?://")


def read_config(environ: Mapping[str, str]) -> dict[str, Any]:
    """``$DOCKER_CONFIG/config.json``, else ``~/.docker/config.json``; empty: none that reads.

    The logins of ``DOCKER_AUTH_CONFIG`` stand before those of the file.
    """
    config = _of_file(environ)
    with contextlib.suppress(ValueError, RecursionError, AttributeError):
        given = json.loads(environ.get("DOCKER_AUTH_CONFIG") or "{}").get("auths")
        return config | {_GIVEN: given}
    return config


def _of_file(environ: Mapping[str, str]) -> dict[str, Any]:
    home = environ.get("HOME") or "~"
    directory = environ.get("DOCKER_CONFIG") or f"{home}/.docker"
    path = Path(directory).expanduser() / "config.json"
    try:
        with path.open("rb") as file:
            config = json.loads(file.read(_LIMIT))
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}


def find(keys: list[str], environ: Mapping[str, str]) -> Login | None:
    """The login for a registry; None: anonymous.

    :param keys: what it may be stored under: its host, and for the public one docker's own key.
    """
    found = credentials(keys, environ)
    # An identity token is no password: it would have to be exchanged, which is not done here.
    return None if found is None or found[0] == TOKEN_USER else found


def credentials(keys: list[str], environ: Mapping[str, str]) -> Login | None:
    """The same, as an engine takes it: with :data:`TOKEN_USER` the secret is an identity token."""
    config = read_config(environ)
    for key in keys:
        login = _stored(config.get(_GIVEN), key)
        helper = _helper(config, key)
        login = login or (_ask(helper, key, environ) if helper else None)
        login = login or _stored(config.get("auths"), key)
        if login is not None:
            return login
    return None


def _helper(config: Mapping[str, Any], key: str) -> str | None:
    """Of ``credHelpers`` the one for this registry, else ``credsStore``."""
    helpers = config.get("credHelpers")
    own = helpers.get(key) if isinstance(helpers, dict) else None
    chosen = own or config.get("credsStore")
    return chosen if isinstance(chosen, str) and _HELPER.fullmatch(chosen) else None


def _ask(helper: str, key: str, environ: Mapping[str, str]) -> Login | None:
    program = shutil.which(f"docker-credential-{helper}", path=environ.get("PATH"))
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "get"],
            input=key.encode(),
            capture_output=True,
            timeout=TIMEOUT,
            env=dict(environ),
            check=True,
        )
        said = json.loads(done.stdout[:_LIMIT])
        user, secret = said["Username"], said["Secret"]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return _login(user, secret)


def _login(user: object, secret: object) -> Login | None:
    if not isinstance(user, str) or not isinstance(secret, str):
        return None
    return (user, secret) if user and secret else None


def _stored(auths: object, key: str) -> Login | None:
    """The entry of that key; else, as docker has it, one that is a URL of that host."""
    if not isinstance(auths, dict):
        return None
    of_host = (known for known in auths if _HTTP.sub("", str(known)).partition("/")[0] == key)
    entry = auths.get(key) or auths.get(next(of_host, key))
    if not isinstance(entry, dict):
        return None
    if entry.get("identitytoken"):
        return _login(TOKEN_USER, entry["identitytoken"])
    if isinstance(entry.get("auth"), str):
        try:
            text = base64.b64decode(entry["auth"], validate=True).decode("utf-8")
        except ValueError:
            return None
        user, colon, secret = text.partition(":")
        return _login(user, secret.rstrip("\0")) if colon else None
    return _login(entry.get("username"), entry.get("password"))
