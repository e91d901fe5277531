"""The login for a registry, as docker keeps it: its ``config.json`` and credential helpers.

Source: docker/cli ``cli/config/configfile/file.go`` and docker/docker-credential-helpers. What a
helper says stays in memory, and no message names it.
"""

from __future__ import annotations

import base64
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
_TOKEN_USER = "<token>"  # noqa: S105 - what a helper says instead of a name, beside a token


def read_config(environ: Mapping[str, str]) -> dict[str, Any]:
    """``$DOCKER_CONFIG/config.json``, else ``~/.docker/config.json``; empty: none that reads."""
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
    config = read_config(environ)
    for key in keys:
        helper = _helper(config, key)
        login = _ask(helper, key, environ) if helper else None
        login = login or _stored(config, key)
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
    """An identity token is no password: it would have to be exchanged, which is not done here."""
    if not isinstance(user, str) or not isinstance(secret, str) or user == _TOKEN_USER:
        return None
    return (user, secret) if user and secret else None


def _stored(config: Mapping[str, Any], key: str) -> Login | None:
    auths = config.get("auths")
    entry = auths.get(key) if isinstance(auths, dict) else None
    if not isinstance(entry, dict):
        return None
    if isinstance(entry.get("auth"), str):
        try:
            text = base64.b64decode(entry["auth"], validate=True).decode("utf-8")
        except ValueError:
            return None
        user, colon, secret = text.partition(":")
        return _login(user, secret.rstrip("\0")) if colon else None
    return _login(entry.get("username"), entry.get("password"))
