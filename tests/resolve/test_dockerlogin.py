"""Logins as docker keeps them."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from envfreeze.resolve.dockerlogin import TOKEN_USER, credentials, find

HOST = "mirror.example:5000"


def auth(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def config(place: Path, values: Any) -> dict[str, str]:
    (place / "config.json").write_text(values if isinstance(values, str) else json.dumps(values))
    return {"DOCKER_CONFIG": str(place), "PATH": f"{place}:{os.environ['PATH']}"}


def helper(place: Path, name: str, body: str) -> None:
    path = place / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


GOOD = """[ "$1" = get ] || exit 2
read -r host
echo "$host" >> "$DOCKER_CONFIG/asked"
echo '{"ServerURL":"x","Username":"user","Secret":"pw"}'"""


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"auths": {HOST: {"auth": auth("user:p:w")}}}, ("user", "p:w")),
        ({"auths": {HOST: {"username": "user", "password": "pw"}}}, ("user", "pw")),
        ({"auths": {"other.example": {"auth": auth("user:pw")}}}, None),
        ({"auths": {f"https://{HOST}/v1/": {"auth": auth("user:pw")}}}, ("user", "pw")),
        ({"auths": {f"http://{HOST}": {"auth": auth("user:pw")}}}, ("user", "pw")),
        ({"auths": {f"https://{HOST}.evil/": {"auth": auth("user:pw")}}}, None),
        ({"auths": {HOST: {"identitytoken": "t"}}}, None),
        ({"auths": {HOST: {}}}, None),
        ({"auths": {HOST: {"auth": "%%%"}}}, None),
        ({"auths": {HOST: {"auth": auth("nocolon")}}}, None),
        ({"auths": {HOST: {"auth": auth(":pw")}}}, None),
        ({"auths": {HOST: 3}}, None),
        ({"auths": []}, None),
        ([], None),
        ("{", None),
        ("[" * 100_000, None),
        ({}, None),
    ],
)
def test_what_is_stored(tmp_path: Path, values: Any, found: tuple[str, str] | None) -> None:
    assert find([HOST], config(tmp_path, values)) == found


def test_no_config(tmp_path: Path) -> None:
    assert find([HOST], {"HOME": str(tmp_path)}) is None


def test_below_home(tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    config(tmp_path / ".docker", {"auths": {HOST: {"auth": auth("user:pw")}}})
    assert find([HOST], {"HOME": str(tmp_path)}) == ("user", "pw")


def test_the_first_key_that_has_one(tmp_path: Path) -> None:
    environ = config(tmp_path, {"auths": {HOST: {"auth": auth("user:pw")}}})
    assert find(["https://own.example/v1/", HOST], environ) == ("user", "pw")


@pytest.mark.parametrize("values", [{"credHelpers": {HOST: "mine"}}, {"credsStore": "mine"}])
def test_a_helper_is_asked(tmp_path: Path, values: Any) -> None:
    helper(tmp_path, "mine", GOOD)
    assert find([HOST], config(tmp_path, values)) == ("user", "pw")
    assert (tmp_path / "asked").read_text() == f"{HOST}\n"


def test_the_registrys_own_helper_comes_first(tmp_path: Path) -> None:
    helper(tmp_path, "mine", GOOD)
    helper(tmp_path, "other", "exit 1")
    environ = config(tmp_path, {"credHelpers": {HOST: "mine"}, "credsStore": "other"})
    assert find([HOST], environ) == ("user", "pw")


@pytest.mark.parametrize(
    "body",
    [
        "echo 'credentials not found in native keychain'; exit 1",
        "echo nothing",
        "echo '{}'",
        "echo '[]'",
        'echo \'{"Username":"<token>","Secret":"identity"}\'',
        'echo \'{"Username":1,"Secret":2}\'',
    ],
)
def test_a_helper_that_has_none(tmp_path: Path, body: str) -> None:
    helper(tmp_path, "mine", body)
    assert find([HOST], config(tmp_path, {"credsStore": "mine"})) is None


def test_a_helper_that_is_not_there_leaves_what_is_stored(tmp_path: Path) -> None:
    values = {"credsStore": "gone", "auths": {HOST: {"auth": auth("user:pw")}}}
    assert find([HOST], config(tmp_path, values)) == ("user", "pw")


@pytest.mark.parametrize("name", ["../evil", "a/b", "", "-x", 3, "x;y"])
def test_a_helpers_name_leads_nowhere_else(tmp_path: Path, name: object) -> None:
    (tmp_path / "docker-credential-").mkdir()
    helper(tmp_path, "x;y", GOOD)
    helper(tmp_path, "-x", GOOD)
    assert find([HOST], config(tmp_path, {"credsStore": name})) is None
    assert not (tmp_path / "asked").exists()


def test_an_identity_token_is_for_engines(tmp_path: Path) -> None:
    environ = config(tmp_path, {"auths": {HOST: {"auth": auth("u:"), "identitytoken": "t"}}})
    assert credentials([HOST], environ) == (TOKEN_USER, "t")


def test_the_variable_comes_before_the_file_and_its_helpers(tmp_path: Path) -> None:
    helper(tmp_path, "mine", GOOD)
    environ = config(tmp_path, {"credsStore": "mine"})
    environ["DOCKER_AUTH_CONFIG"] = json.dumps({"auths": {HOST: {"auth": auth("ci:pw")}}})
    assert find([HOST], environ) == ("ci", "pw")
    assert find(["other.example"], environ) == ("user", "pw")
    for text in ("{", "3", '{"auths": 3}'):
        assert find([HOST], environ | {"DOCKER_AUTH_CONFIG": text}) == ("user", "pw")
