"""Where the engine is: what the docker CLI looks at, on a home directory made for it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from envfreeze.build.engine import connect
from envfreeze.build.whereabouts import USUAL, Tls, places
from envfreeze.errors import EngineError, UsageError


def context(home: Path, name: str, host: object, *, skip: bool = False) -> Path:
    """A context as ``docker context create`` writes it; where its TLS files go."""
    called = hashlib.sha256(name.encode()).hexdigest()
    meta = home / ".docker/contexts/meta" / called
    meta.mkdir(parents=True)
    endpoint = {"Host": host, "SkipTLSVerify": skip}
    document = {"Name": name, "Metadata": {}, "Endpoints": {"docker": endpoint}}
    (meta / "meta.json").write_text(json.dumps(document))
    return home / ".docker/contexts/tls" / called / "docker"


def current(home: Path, name: str) -> None:
    (home / ".docker").mkdir(exist_ok=True)
    (home / ".docker/config.json").write_text(json.dumps({"currentContext": name}))


def hosts(home: Path, **environ: str) -> list[str]:
    return [place.host for place in places({"HOME": str(home), **environ})]


def test_nothing_is_chosen(tmp_path: Path) -> None:
    assert hosts(tmp_path) == [USUAL, "unix:///run/podman/podman.sock"]
    found = hosts(tmp_path, XDG_RUNTIME_DIR="/run/user/7", CONTAINER_HOST="unix:///p.sock")
    assert found == [
        USUAL,
        "unix:///run/user/7/docker.sock",
        "unix:///p.sock",
        "unix:///run/user/7/podman/podman.sock",
        "unix:///run/podman/podman.sock",
    ]


def test_what_is_chosen_is_the_only_one(tmp_path: Path) -> None:
    context(tmp_path, "far", "tcp://far.example:2375")
    context(tmp_path, "near", "unix:///near.sock")
    current(tmp_path, "far")
    assert hosts(tmp_path) == ["tcp://far.example:2375"]
    assert hosts(tmp_path, DOCKER_CONTEXT="near") == ["unix:///near.sock"]
    assert hosts(tmp_path, DOCKER_CONTEXT="near", DOCKER_HOST="unix:///x") == ["unix:///x"]
    assert hosts(tmp_path, DOCKER_CONTEXT="default")[0] == USUAL


def test_the_files_of_a_context(tmp_path: Path) -> None:
    files = context(tmp_path, "far", "tcp://far.example:2376")
    files.mkdir(parents=True)
    for name in ("ca", "cert", "key"):
        (files / f"{name}.pem").write_text("x")
    (place,) = places({"HOME": str(tmp_path), "DOCKER_CONTEXT": "far"})
    assert place.tls == Tls(ca=files / "ca.pem", cert=files / "cert.pem", key=files / "key.pem")
    assert place.why == "the docker context far"


def test_a_context_that_does_not_ask_who_it_is(tmp_path: Path) -> None:
    context(tmp_path, "far", "tcp://far.example:2376", skip=True)
    (place,) = places({"HOME": str(tmp_path), "DOCKER_CONTEXT": "far"})
    assert place.tls == Tls(verify=False)


def test_the_files_of_docker_host(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("x")
    environ = {"DOCKER_HOST": "tcp://far.example:2376", "DOCKER_CERT_PATH": str(tmp_path)}
    assert places(environ)[0].tls is None
    (place,) = places({**environ, "DOCKER_TLS_VERIFY": "1"})
    assert place.tls == Tls(ca=tmp_path / "ca.pem")


@pytest.mark.parametrize("name", ["gone", "../x"])
def test_a_context_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"(?s)no docker context.*DOCKER_CONTEXT"):
        hosts(tmp_path, DOCKER_CONTEXT=name)


@pytest.mark.parametrize("host", [None, 3, "", "file:///x"])
def test_a_context_without_an_engine(tmp_path: Path, host: object) -> None:
    context(tmp_path, "odd", host)
    with pytest.raises(EngineError, match="does not say where"):
        hosts(tmp_path, DOCKER_CONTEXT="odd")


@pytest.mark.parametrize("text", ["", "[]", '{"currentContext": 3}', "[" * 100_000])
def test_a_configuration_that_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text(text)
    assert hosts(tmp_path)[0] == USUAL


def test_the_context_is_named_when_it_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context(tmp_path, "far", f"unix://{tmp_path}/none.sock")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONTEXT", "far")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    with pytest.raises(EngineError, match=r"none\.sock \(the docker context far\): No such file"):
        connect()
