"""The engine's edge, against a stand-in that answers as Docker does."""

from __future__ import annotations

import base64
import errno
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.auth import get_config_header
from docker.errors import ImageNotFound, NotFound

from envfreeze.build.engine import (
    BuildRequest,
    Engine,
    Step,
    connect,
    context_chunks,
    logins,
    made,
    public_registry,
)
from envfreeze.errors import EngineError, UsageError
from tests.support.dyingengine import dying

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
        self.hooks: dict[str, Any] = {}
        self.dropped: list[str] = []

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

    def remove_image(self, image: str, **_: Any) -> None:
        self.dropped.append(image)
        self.images.pop(image, None)

    def tag(self, image: str, repository: str, tag: str = "latest") -> None:
        self.images[f"{repository}:{tag}"] = {"Id": image}

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

    def inspect_container(self, container: str) -> dict[str, str]:
        return {"Created": "2026-01-31T10:00:00.123456789Z"}

    def commit(self, container: str) -> dict[str, str]:
        return {"Id": f"sha256:of-{container}"}

    def get_image(self, image: str, chunk_size: int) -> Iterator[bytes]:
        del chunk_size
        yield image.encode()


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


@pytest.fixture
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def sent(registry: str) -> dict[str, str] | None:
    """What docker-py would send the engine for a registry."""

    class Client:
        _auth_configs = logins()
        credstore_env = None

    header = get_config_header(Client, registry)
    return None if header is None else json.loads(base64.urlsafe_b64decode(header))


def test_a_helper_that_is_not_there_is_done_without(homes: Path) -> None:
    """As the docker CLI does: docker-py would refuse every pull, and every build."""
    values = {"credsStore": "desktop", "auths": {"mirror.example": {"auth": "dTpw"}}}
    (homes / "config.json").write_text(json.dumps(values))
    assert sent("other.example") is None
    found = sent("mirror.example")
    assert found is not None
    assert (found["Username"], found["Password"]) == ("u", "p")


def test_the_public_registry_has_a_key_of_its_own(homes: Path) -> None:
    _, key = public_registry()
    (homes / "config.json").write_text(json.dumps({"auths": {key: {"identitytoken": "t"}}}))
    assert (sent("docker.io") or {})["IdentityToken"] == "t"


def test_a_build_is_sent_no_login(homes: Path) -> None:
    (homes / "config.json").write_text(json.dumps({"auths": {"m.example": {"auth": "dTpw"}}}))
    assert logins().get_all_credentials() == {}
    assert not logins().is_empty  # or docker-py reads the file again


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


def test_a_step_changes_an_image_for_a_moment(engine: Engine, api: FakeApi) -> None:
    api.output = [  # type: ignore[list-item]
        b"Setting up li",
        b"ba\nSetting up \x1b[2Jlibb\n",
        b"no end of line",
    ]
    out, said = io.BytesIO(), list[str]()
    step = Step(image=REF, command="true", environment={"A": "b"})
    assert engine.changed(step, iter([b"t", b"ar"]), out, said.append) == 1_769_853_600
    assert out.getvalue() == b"sha256:of-c1"
    assert said == ["Setting up liba", "Setting up \\x1b[2Jlibb", "no end of line"]
    assert api.created["host_config"] == {"network_mode": "none"}
    assert (api.created["entrypoint"], api.created["command"]) == (["/bin/sh"], ["-c", "true"])
    assert (api.created["user"], api.created["environment"]) == ("0:0", {"A": "b"})
    assert b"".join(api.archive) == b"tar"  # type: ignore[arg-type]
    assert (api.removed, api.dropped) == (["c1"], ["sha256:of-c1"])


def test_a_step_that_fails_leaves_nothing_in_the_engine(engine: Engine, api: FakeApi) -> None:
    api.output = [b"".join(b"line %d\n" % n for n in range(20))]  # type: ignore[list-item]
    api.status = 3
    with pytest.raises(EngineError, match=r"status 3\n  line 12\n(.*\n)*  line 19$"):
        engine.changed(Step(image=REF, command="false"), iter([]), io.BytesIO())
    assert api.removed == ["c1"]


def test_an_interrupted_step_leaves_nothing_in_the_engine(engine: Engine, api: FakeApi) -> None:
    api.status = -1
    with pytest.raises(KeyboardInterrupt):
        engine.changed(Step(image=REF, command="sleep 9"), iter([]), io.BytesIO())
    assert api.removed == ["c1"]


def test_a_full_disk_is_not_the_engines_fault(engine: Engine) -> None:
    class Full:
        def write(self, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left") as caught:
        engine.save("me:1", Full())
    assert not isinstance(caught.value, EngineError)


def test_the_layers_of_an_image(engine: Engine, api: FakeApi) -> None:
    api.images["there"] = {"RootFS": {"Layers": ["sha256:1", "sha256:2"]}}
    assert engine.layers_of("there") == ["sha256:1", "sha256:2"]
    assert engine.layers_of("gone") == []


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


# --- what is left behind -------------------------------------------------------------------

STEPS = [
    "Step 1/4 : FROM x",
    "---> aaaaaaaaaaaa",
    "Step 2/4 : RUN y",
    "---> Using cache",
    "---> bbbbbbbbbbbb",
    "Step 3/4 : RUN z",
    "---> Running in 0123456789ab",
    "---> cccccccccccc",
    "Step 4/4 : RUN false",
    "---> Running in 0123456789ac",
]


def test_what_the_steps_made_is_removed_newest_first(
    engine: Engine, api: FakeApi, tmp_path: Path
) -> None:
    assert made(STEPS) == ["bbbbbbbbbbbb", "cccccccccccc"]
    api.events = [{"stream": f" {line}\n"} for line in STEPS] + [{"error": "it broke"}]
    api.images |= {name: {"Id": name} for name in ("aaaaaaaaaaaa", *made(STEPS))}
    with pytest.raises(EngineError, match="it broke"):
        engine.build(BuildRequest(context=context(tmp_path), tag="me:1"))
    assert api.dropped == ["cccccccccccc", "bbbbbbbbbbbb"]


def test_an_image_with_a_name_stays(engine: Engine, api: FakeApi, tmp_path: Path) -> None:
    api.events = [{"stream": f" {line}\n"} for line in STEPS] + [{"error": "it broke"}]
    api.images |= {name: {"Id": name} for name in made(STEPS)}
    api.images["bbbbbbbbbbbb"]["RepoTags"] = ["other:1"]
    with pytest.raises(EngineError, match="it broke"):
        engine.build(BuildRequest(context=context(tmp_path), tag="me:1"))
    assert api.dropped == ["cccccccccccc"]


@pytest.mark.parametrize("before", [None, "old"])
def test_an_interrupted_verification_leaves_the_tag_as_it_was(
    engine: Engine, api: FakeApi, before: str | None
) -> None:
    if before is not None:
        api.images["me:1"] = {"Id": before}
    with pytest.raises(KeyboardInterrupt), engine.tag_kept("me:1"):
        api.images["me:1"] = {"Id": "new"}
        raise KeyboardInterrupt
    assert api.images.get("me:1") == (before and {"Id": before})


def test_a_failed_verification_leaves_the_image(engine: Engine, api: FakeApi) -> None:
    with pytest.raises(EngineError), engine.tag_kept("me:1"):
        api.images["me:1"] = {"Id": "new"}
        raise EngineError("it does not start")
    assert "me:1" in api.images


def test_podman_says_it_in_other_words() -> None:
    said = ["STEP 1/2: FROM x", "STEP 2/2: RUN y", "--> 4a3f1bc02d1"]
    assert made(said) == ["4a3f1bc02d1"]


def test_an_engine_that_dies_in_the_middle(tmp_path: Path) -> None:
    with dying(tmp_path) as host:
        engine = connect(host)
        (tmp_path / "c").mkdir()
        request = BuildRequest(context=context(tmp_path / "c"), tag="me:1")
        with pytest.raises(EngineError, match=r"cannot build me:1 on the engine at unix://") as e:
            engine.build(request)
        with pytest.raises(EngineError, match="cannot save me:1"):
            engine.save("me:1", io.BytesIO())
        engine.close()
    assert "Start Docker" in e.value.hint
