"""Registries that docker takes without a certificate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from envfreeze.resolve.insecure import is_listed, of_daemon, of_info


@pytest.mark.parametrize(
    ("host", "entry", "listed"),
    [
        ("registry.example:5000", "registry.example:5000", True),
        ("registry.example:5000", "registry.example", False),
        ("registry.example", "registry.example", True),
        ("192.0.2.7:5000", "192.0.2.0/24", True),
        ("192.0.3.7:5000", "192.0.2.0/24", False),
        ("[2001:db8::1]:5000", "2001:db8::/32", True),
        ("registry.example", "192.0.2.0/24", False),
        ("registry.example", "a/b", False),
    ],
)
def test_hosts_and_networks(host: str, entry: str, listed: bool) -> None:
    assert is_listed(host, [entry]) is listed


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (json.dumps({"insecure-registries": ["a.example:5000", 3]}), ["a.example:5000"]),
        (json.dumps({"insecure-registries": "a"}), []),
        ("[]", []),
        ("{", []),
    ],
)
def test_the_settings_of_a_daemon(tmp_path: Path, text: str, found: list[str]) -> None:
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker/daemon.json").write_text(text)
    assert of_daemon({"XDG_CONFIG_HOME": str(tmp_path)})[: len(found)] == found


@pytest.mark.parametrize(
    ("info", "found"),
    [
        (
            {
                "RegistryConfig": {
                    "InsecureRegistryCIDRs": ["::1/128", "127.0.0.0/8"],
                    "IndexConfigs": {
                        "docker.example": {"Secure": True},
                        "r.example:5000": {"Secure": False},
                    },
                }
            },
            ["::1/128", "127.0.0.0/8", "r.example:5000"],
        ),
        ({"RegistryConfig": None}, []),
        ({}, []),
    ],
)
def test_what_an_engine_says(info: dict[str, Any], found: list[str]) -> None:
    assert of_info(info) == found
