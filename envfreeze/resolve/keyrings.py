"""A login out of the user's keyring, by pip's rules (``keyring-provider``).

Source: pip's documentation, "Authentication", and pypa/pip ``src/pip/_internal/network/auth.py``.
``keyring`` is asked when a server has answered 401, never before; what it says stays in memory.
The target's own ``keyring`` is not run: none of the target's packages is.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import Any

from envfreeze.resolve.pipconf import IndexSettings

Login = tuple[str, str]
"""User name and password."""

TIMEOUT = 120.0
"""Seconds that a keyring may take: it may have to ask its owner to unlock it."""

_Ask = Callable[[str, str | None], Login | None]


class _FailedError(Exception):
    """The keyring did not work; the text names no secret."""


class Keyring:
    """The keyring of this run. Safe to share between threads.

    One that failed is not asked again: the next question would fail, or hang, as well.
    """

    def __init__(self, settings: IndexSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._ask: _Ask | None = None
        self._ready = False
        self._known: dict[tuple[str, str | None], Login | None] = {}
        self.said = ""
        """Why there is no login from it, for a person: it has none, it failed, there is none."""

    def find(self, services: Sequence[str], username: str | None) -> Login | None:
        """The login for the first of *services* that has one.

        :param services: what it may be stored under: an index URL, a host and port.
        :param username: None: whichever user the keyring has.
        """
        with self._lock:
            if not self._ready:
                self._ready = True
                self._ask = self._provider()
            for service in services:
                login = self._asked(service, username)
                if login is not None:
                    return login
            return None

    def _asked(self, service: str, username: str | None) -> Login | None:
        key = service, username
        if key not in self._known:
            if self._ask is None or not service or service.startswith("-"):
                return None
            try:
                self._known[key] = self._ask(service, username)
                self.said = "keyring has no login for it"
            except _FailedError as error:
                self._ask, self.said = None, str(error)
                return None
        return self._known[key]

    def _provider(self) -> _Ask | None:
        """``auto`` takes what there is, but is not asked where nobody could answer it."""
        chosen = self._settings.keyring_provider
        if chosen == "disabled" or (chosen == "auto" and self._settings.no_input):
            self.said = "keyring is switched off in pip's settings"
            return None
        if chosen in {"auto", "import"}:
            module = _module()
            if module is not None:
                return _asking_module(module)
        if chosen in {"auto", "subprocess"}:
            command = shutil.which("keyring", path=self._settings.keyring_path)
            if command is not None:
                return _asking_command(command)
        self.said = "no keyring was found beside envfreeze or on PATH outside of the target"
        return None


def _module() -> Any:
    try:
        return importlib.import_module("keyring")
    except Exception:
        # Not only ImportError: a damaged keyring is no reason to fail (pip, ``auto``).
        return None


def _asking_module(module: Any) -> _Ask:
    def ask(service: str, username: str | None) -> Login | None:
        try:
            if hasattr(module, "get_credential"):
                found = module.get_credential(service, username)
                return None if found is None else (str(found.username), str(found.password))
            if username is None:  # Before keyring 15.2.
                return None
            password = module.get_password(service, username)
            return (username, str(password)) if password else None
        except Exception as error:
            # Its text may quote anything.
            raise _FailedError(f"keyring failed ({type(error).__name__})") from None

    return ask


def _asking_command(command: str) -> _Ask:
    def ask(service: str, username: str | None) -> Login | None:
        user = [] if username is None else [username]
        done = _run([command, "--mode=creds", "--output=json", "get", service, *user])
        if done.returncode == 2 and b"unrecognized arguments" in done.stderr:
            # Before keyring 25.2.1: it tells the password of a user whose name is known.
            return _password(command, service, username)
        if done.returncode:
            return None
        try:
            found = json.loads(done.stdout)
            return str(found["username"]), str(found["password"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise _FailedError("keyring gave an answer that is not a login in JSON") from None

    return ask


def _password(command: str, service: str, username: str | None) -> Login | None:
    if username is None:
        raise _FailedError(
            "this keyring is older than 25.2.1 and needs a user name: put it into the index URL"
        )
    done = _run([command, "get", service, username])
    password = done.stdout.decode("utf-8", "replace").removesuffix("\n").removesuffix("\r")
    return (username, password) if done.returncode == 0 and password else None


def _run(argv: list[str]) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT,
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _FailedError(f"keyring did not answer within {TIMEOUT:.0f} s") from None
    except (OSError, ValueError) as error:
        raise _FailedError(f"keyring could not be run ({type(error).__name__})") from None
