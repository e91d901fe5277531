"""The engine's edge, against a stand-in that answers as Docker does."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.errors import ImageNotFound, NotFound

from envfreeze.build.engine import (
    BuildRequest,
    Engine,
    connect,
    context_chunks,
    public_registry,
)
from envfreeze.errors import EngineError, UsageError

REF = "mirror.example/base@sha256:" + "0" * 64


class FakeApi:
    """What docker-py's APIClient would answer."""

    def __init__(self) -> None:
        self.images: dict[str, dict[str, Any]] = {}
        self.offered: dict[str, dict[str, Any]] = {}
        self.pulls: list[tuple[str, str]] = []
        self.events: list[dict[str, Any]] = []
        self.output: list[tuple[bytes | None, bytes | None]] = []
        self.status = 0
        self.created: dict[str, Any] = {}
        self.removed: list[str] = []
        self.archive = b""
        self.context = b""
        self.build_args: dict[str, Any] = {}

    def inspect_image(self, name: str) -> dict[str, Any]:
        if name not in self.images:
            raise ImageNotFound("no such image")
        return self.images[name]

    def inspect_distribution(self, name: str) -> dict[str, Any]:
        if name not in self.offered:
            raise NotFound("no such manifest")
        return self.offered[name]

    def pull(self, name: str, tag: str, **_: Any) -> Iterator[dict[str, Any]]:
        self.pulls.append((name, tag))
        yield from self.events
        self.images[f"{name}@{tag}"] = {"Id": "sha256:pulled"}

    def build(self, *, fileobj: Any, **args: Any) -> Iterator[dict[str, Any]]:
        self.build_args = args
        self.context = b"".join(fileobj)
        yield from self.events
        self.images[args["tag"]] = {"Id": "sha256:built"}

    def create_host_config(self, **args: Any) -> dict[str, Any]:
        return args

    def create_container(self, image: str, **args: Any) -> dict[str, str]:
        self.created = {"image": image, **args}
        return {"Id": "c1"}

    def put_archive(self, container: str, path: str, data: bytes) -> None:
        self.archive = data

    def attach(self, container: str, **_: Any) -> Iterator[tuple[bytes | None, bytes | None]]:
        yield from self.output

    def start(self, container: str) -> None:
        if self.status < 0:
            raise KeyboardInterrupt

    def wait(self, container: str) -> dict[str, int]:
        return {"StatusCode": self.status}

    def remove_container(self, container: str, **_: Any) -> None:
        self.removed.append(container)


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def engine(api: FakeApi) -> Engine:
    return Engine(api, "unix:///fake.sock")


def context(tmp_path: Path) -> Path:
    (tmp_path / "system").mkdir()
    (tmp_path / "Dockerfile").write_text("FROM x\n")
    (tmp_path / "system/a.deb").write_bytes(b"x" * 1000)
    return tmp_path


def test_nobody_answers(tmp_path: Path) -> None:
    with pytest.raises(
        EngineError, match=r"no container engine answers at unix://.*No such file"
    ) as e:
        connect(f"unix://{tmp_path}/absent.sock")
    assert "DOCKER_HOST" in e.value.hint


def test_docker_host_is_named_when_it_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/absent.sock")
    with pytest.raises(EngineError, match=r"absent\.sock"):
        connect()


def test_a_base_that_is_here_is_not_pulled(engine: Engine, api: FakeApi) -> None:
    api.images[REF] = {"Id": "sha256:here"}
    assert engine.base_by_digest(REF) == "sha256:here"
    assert api.pulls == []


def test_a_base_is_pulled_by_digest(engine: Engine, api: FakeApi) -> None:
    assert engine.base_by_digest(REF) == "sha256:pulled"
    assert api.pulls == [("mirror.example/base", "sha256:" + "0" * 64)]


def test_a_pull_that_fails_in_the_stream(engine: Engine, api: FakeApi) -> None:
    api.events = [{"errorDetail": {"message": "manifest unknown"}}]
    with pytest.raises(EngineError, match="manifest unknown"):
        engine.base_by_digest(REF)


def test_a_base_by_tag_is_refused_with_its_digest_where_known(engine: Engine, api: FakeApi) -> None:
    api.images["mirror.example/base:12"] = {"Id": "x", "RepoDigests": [REF]}
    with pytest.raises(UsageError) as known:
        engine.base_by_digest("mirror.example/base:12")
    assert REF in known.value.hint
    with pytest.raises(UsageError) as unknown:
        engine.base_by_digest("mirror.example/other:12")
    assert "docker pull" in unknown.value.hint


def test_build_has_no_network_and_sends_the_whole_context(
    engine: Engine, api: FakeApi, tmp_path: Path
) -> None:
    api.events = [{"stream": "Step 1/1 : FROM x\n"}, {"stream": "\n"}, {"stream": "\x1b[91mA\n"}]
    lines: list[str] = []
    request = BuildRequest(context=context(tmp_path), tag="me:1", labels={"a": "b"})
    assert engine.build(request, lines.append) == "sha256:built"
    assert lines == ["Step 1/1 : FROM x", "A"]
    assert api.build_args["network_mode"] == "none"
    assert api.build_args["labels"] == {"a": "b"}
    with tarfile.open(fileobj=io.BytesIO(api.context)) as archive:
        assert archive.getnames() == ["Dockerfile", "system", "system/a.deb"]
        assert {(m.uid, m.mtime) for m in archive} == {(0, 0)}


@pytest.mark.parametrize(
    "event", [{"error": "it broke"}, {"errorDetail": {"message": "it broke", "code": 1}}]
)
def test_a_step_that_fails_is_an_error_with_its_last_words(
    engine: Engine, api: FakeApi, tmp_path: Path, event: dict[str, Any]
) -> None:
    api.events = [{"stream": "last words\n"}, event]
    with pytest.raises(EngineError, match=r"(?s)it broke.*last words"):
        engine.build(BuildRequest(context=context(tmp_path), tag="me:1"))


def test_a_probe_gives_standard_output_only(engine: Engine, api: FakeApi) -> None:
    api.output = [(b"a", None), (None, b"noise"), (b"b", None)]
    assert engine.run_probe("me:1", ["python", "-c", "x"], {"/p/x": b"y"}) == b"ab"
    assert api.created["entrypoint"] == ["python"]
    assert api.created["command"] == ["-c", "x"]
    assert api.created["host_config"] == {"network_mode": "none"}
    with tarfile.open(fileobj=io.BytesIO(api.archive)) as archive:
        assert archive.getnames() == ["p/x"]
    assert api.removed == ["c1"]


def test_a_probe_that_fails_says_why_and_is_removed(engine: Engine, api: FakeApi) -> None:
    api.output, api.status = [(None, b"no such module\n")], 3
    with pytest.raises(EngineError, match=r"(?s)status 3.*no such module"):
        engine.run_probe("me:1", ["python"])
    assert api.removed == ["c1"]


def test_an_interrupted_probe_is_removed(engine: Engine, api: FakeApi) -> None:
    api.status = -1
    with pytest.raises(KeyboardInterrupt):
        engine.run_probe("me:1", ["python"])
    assert api.removed == ["c1"]


def test_a_large_context_is_never_whole_in_memory(tmp_path: Path) -> None:
    with (tmp_path / "packages.tar").open("wb") as file:
        file.truncate(64 << 20)
    chunks = context_chunks(tmp_path)
    assert max(len(chunk) for chunk in chunks) <= 1 << 20


def test_names_longer_than_tar_has_room_for(tmp_path: Path) -> None:
    name = "x" * 200
    (tmp_path / name).write_text("y")
    data = b"".join(context_chunks(tmp_path))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getnames() == [name]


# --- a tag into a digest -------------------------------------------------------------------

TAGGED = "mirror.example/debian:12"
DIGEST = "sha256:" + "1" * 64


def test_an_image_that_is_here_has_its_digest(api: FakeApi, engine: Engine) -> None:
    others = ["other.example/debian@" + DIGEST, "mirror.example/debian@" + DIGEST]
    api.images[TAGGED] = {"Architecture": "amd64", "RepoDigests": others}
    assert engine.pinned(TAGGED, "amd64", ask=False) == f"{TAGGED}@{DIGEST}"
    assert engine.pinned(TAGGED, "arm64", ask=False) is None


def test_an_image_that_was_built_here_has_none(api: FakeApi, engine: Engine) -> None:
    api.images[TAGGED] = {"Architecture": "amd64", "RepoDigests": None}
    assert engine.pinned(TAGGED, "amd64", ask=False) is None


@pytest.mark.parametrize(
    ("platforms", "digest", "found"),
    [
        ([{"os": "linux", "architecture": "amd64"}], DIGEST, f"{TAGGED}@{DIGEST}"),
        ([{"os": "linux", "architecture": "arm64"}], DIGEST, None),
        ([{"os": "windows", "architecture": "amd64"}], DIGEST, None),
        ([{"os": "linux", "architecture": "amd64"}], "latest", None),
        (None, DIGEST, None),
    ],
)
def test_the_engine_asks_the_registry(
    api: FakeApi, engine: Engine, platforms: Any, digest: str, found: str | None
) -> None:
    api.offered[TAGGED] = {"Descriptor": {"digest": digest}, "Platforms": platforms}
    assert engine.pinned(TAGGED, "amd64", ask=True) == found


def test_nobody_knows_it(engine: Engine) -> None:
    assert engine.pinned(TAGGED, "amd64", ask=False) is None
    with pytest.raises(EngineError, match="cannot ask for"):
        engine.pinned(TAGGED, "amd64", ask=True)


def test_docker_knows_the_public_registry() -> None:
    host, key = public_registry()
    assert "." in host
    assert host in key


def test_a_container_that_is_only_looked_into_can_write_nothing(
    engine: Engine, api: FakeApi
) -> None:
    api.output = [(b"a", None)]
    engine.run_probe("me:1", ["python"], environment={"A": "1"})
    assert api.created["host_config"] == {"network_mode": "none", "read_only": True}
    assert api.created["environment"] == {"A": "1"}


def test_a_container_that_was_not_started_is_removed_whatever_happens(
    engine: Engine, api: FakeApi
) -> None:
    with pytest.raises(KeyboardInterrupt), engine.created("me:1") as container:
        assert container == "c1"
        raise KeyboardInterrupt
    assert api.removed == ["c1"]


def test_a_base_that_no_registry_knows_must_be_here(engine: Engine, api: FakeApi) -> None:
    image = "sha256:" + "d" * 64
    with pytest.raises(EngineError, match="no registry knows it") as e:
        engine.base_by_digest(image)
    assert "--pack-base" in e.value.hint
    api.images[image] = {"Id": image}
    assert engine.base_by_digest(image) == image
    assert api.pulls == []
