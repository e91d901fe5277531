"""``docker buildx``, a stand-in for it: which command is run, and what comes of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from envfreeze.build.docker import build_image
from envfreeze.errors import EngineError
from envfreeze.render.dockerfile import DockerOptions
from tests.support.locks import BASE

STAND_IN = """#!{python}
import json, os, sys
place = os.path.dirname(os.path.abspath(__file__))
if sys.argv[1:] == ["buildx", "version"]:
    sys.exit(os.path.exists(place + "/no-buildx"))
with open(place + "/asked", "w") as file:
    json.dump([sys.argv[1:], os.environ.get("DOCKER_HOST")], file)
print("#1 [internal] load build definition from Dockerfile", flush=True)
print("#5 [stage-0 2/7] ADD packages.tar /", file=sys.stderr, flush=True)
print("#6 ERROR: no space", file=sys.stderr, flush=True)
sys.exit(os.path.exists(place + "/fails") * 3)
"""


class Engine:
    """An engine that has whatever was built."""

    host = "unix:///run/docker.sock"
    is_podman = False

    def __init__(self) -> None:
        self.classic: list[Any] = []
        self.has = True

    def base_by_digest(self, reference: str) -> str:
        return reference

    def build(self, request: Any, on_line: Any) -> str:
        self.classic.append(request)
        return "sha256:classic"

    def inspect(self, image: str) -> dict[str, str] | None:
        return {"Id": "sha256:built"} if self.has else None


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    docker = tmp_path / "docker"
    docker.write_text(STAND_IN.format(python=sys.executable))
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def built(engine: Engine, context: Path, base: str = BASE) -> tuple[str, list[str]]:
    said: list[str] = []
    options = DockerOptions(base=base, lock_sha256="0" * 64, tag="demo:1")
    return build_image(engine, context, options, said.append), said  # type: ignore[arg-type]


def test_the_command(place: Path) -> None:
    found, said = built(Engine(), place / "context")
    assert found == "sha256:built"
    argv, host = json.loads((place / "asked").read_text())
    assert argv == [
        *("buildx", "build", "--network", "none", "--load"),
        *("--provenance", "false", "--sbom", "false", "--progress", "plain"),
        *("--file", str(place / "context/Dockerfile"), "--tag", "demo:1", str(place / "context")),
    ]
    assert host == Engine.host
    assert "Step 2/7 : ADD packages.tar /" in said


def test_what_somebody_chose_is_left_to_the_cli(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONTEXT", "far")
    built(Engine(), place)
    assert json.loads((place / "asked").read_text())[1] is None


def test_what_it_said_last_is_in_the_error(place: Path) -> None:
    (place / "fails").touch()
    with pytest.raises(EngineError, match="ended with status 3") as caught:
        built(Engine(), place)
    assert "no space" in str(caught.value)


def test_a_builder_of_another_engine(place: Path) -> None:
    engine = Engine()
    engine.has = False
    with pytest.raises(EngineError, match="does not have it"):
        built(engine, place)


@pytest.mark.parametrize("why", ["no-buildx", "no-docker", "podman", "id"])
def test_the_classic_builder_otherwise(place: Path, why: str) -> None:
    engine = Engine()
    engine.is_podman = why == "podman"
    if why == "no-docker":
        (place / "docker").unlink()
    (place / "no-buildx").touch() if why == "no-buildx" else None
    base = "sha256:" + "1" * 64 if why == "id" else BASE
    assert built(engine, place, base)[0] == "sha256:classic"
    assert not (place / "asked").exists()
