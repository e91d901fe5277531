"""What cannot be reached, and how the image of a target is named; engines are stood in for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from envfreeze.build.engine import Engine
from envfreeze.errors import TargetError
from envfreeze.model.snapshot import Snapshot
from envfreeze.store import Cache
from envfreeze.workflow import reaching
from envfreeze.workflow.context import Context
from tests.support.locks import interpreter

ID = "sha256:" + "a" * 64
HEX = "b" * 64


class FakeEngine:
    """An engine that has what it is given."""

    host = "unix:///fake.sock"

    def __init__(self) -> None:
        self.containers: dict[str, dict[str, Any]] = {}
        self.images: dict[str, dict[str, Any]] = {}
        self.there: dict[str, dict[str, Any]] = {}
        self.made = 0

    def container(self, name: str) -> dict[str, Any] | None:
        return self.containers.get(name)

    def container_names(self) -> list[str]:
        return sorted(self.containers)

    def inspect(self, image: str) -> dict[str, Any] | None:
        return self.images.get(image)

    def image_names(self) -> list[str]:
        return sorted(self.images)

    def platform(self) -> str:
        return "amd64"

    def stat(self, container: str, path: str) -> dict[str, Any] | None:
        del container
        return self.there.get(path)

    @contextlib.contextmanager
    def created(self, image: str) -> Iterator[str]:
        assert image == ID
        self.made += 1
        yield "c1"
        self.made -= 1


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(environ={}, cache=Cache(tmp_path / "cache"))


def reach(target: str, engine: FakeEngine, context: Context) -> None:
    with reaching.reached(target, context, host=False, engine=cast("Engine", engine)):
        pass


def test_there_is_no_such_container(engine: FakeEngine, context: Context) -> None:
    engine.containers = {"web-1": {}}
    with pytest.raises(TargetError, match="has no such container") as e:
        reach("docker:web", engine, context)
    assert e.value.hint == "There is web-1."


@pytest.mark.parametrize(
    ("state", "said", "next_step"),
    [
        ({"Running": False, "Status": "exited"}, r"not running \(exited\)", "docker start web"),
        ({"Running": True, "Paused": True}, "is paused", "docker unpause web"),
    ],
)
def test_a_container_that_runs_nothing(
    engine: FakeEngine, context: Context, state: dict[str, Any], said: str, next_step: str
) -> None:
    engine.containers = {"abc": {"Id": "abc", "Name": "/web", "State": state}}
    with pytest.raises(TargetError, match=said) as e:
        reach("docker:abc", engine, context)
    assert next_step in e.value.hint


def test_there_is_no_such_image(engine: FakeEngine, context: Context) -> None:
    with pytest.raises(TargetError, match="has no such image") as e:
        reach("image:web:2", engine, context)
    assert "docker pull web:2" in e.value.hint


def test_an_image_for_another_machine(engine: FakeEngine, context: Context) -> None:
    engine.images = {"web": {"Id": ID, "Architecture": "arm64"}}
    with pytest.raises(TargetError, match=r"is for arm64, and the engine at .* runs amd64"):
        reach("image:web", engine, context)


def test_an_image_without_python_leaves_no_container(engine: FakeEngine, context: Context) -> None:
    engine.images = {"web": {"Id": ID, "Architecture": "amd64"}}
    engine.there = {
        "/usr/bin/python3": {"mode": reaching._GO_SYMLINK | 0o777, "linkTarget": "/gone"},
        "/usr/local/bin/python": {"mode": 0o644},
        "/opt/conda/bin/python": {"mode": reaching._GO_DIRECTORY | 0o755},
    }
    with pytest.raises(TargetError, match="has no Python"):
        reach("image:web", engine, context)


@pytest.mark.parametrize(
    ("name", "digests", "reference"),
    [
        ("web:1", [f"web@sha256:{HEX}"], f"web:1@sha256:{HEX}"),
        ("h:5000/web", [f"h:5000/web@sha256:{HEX}"], f"h:5000/web@sha256:{HEX}"),
        ("web:1", [f"other@sha256:{HEX}"], f"other@sha256:{HEX}"),
        ("b:1", [f"a@sha256:{'0' * 64}", f"b@sha256:{HEX}"], f"b:1@sha256:{HEX}"),
        ("web:1", [], None),
        ("web:1", [f"WEB\n@sha256:{HEX}"], None),
    ],
)
def test_the_base_is_named_by_a_registrys_digest(
    name: str, digests: list[str], reference: str | None
) -> None:
    found = reaching._base_image({"Id": ID, "Name": name, "RepoDigests": digests})
    assert (found.image_id, found.reference) == (ID, reference)


def test_podman_leaves_out_how_an_id_was_made() -> None:
    found = reaching._base_image({"Id": "a" * 64, "Name": ""})
    assert found.image_id == ID


def test_what_is_mounted_is_fetched_once_and_no_more_of_it_than_the_environment() -> None:
    facts = interpreter(prefix="/data/env", base_prefix="/usr", scripts="/data/env/bin")
    snapshot = cast("Snapshot", _Seen(facts))
    assert reaching._mounted(snapshot, ("/data", "/logs", "/usr/lib/x")) == [
        "/data/env",
        "/usr/lib/x",
    ]
    assert reaching._mounted(snapshot, ()) == []


class _Seen:
    def __init__(self, facts: object) -> None:
        self.interpreter = facts
        self.sites: list[object] = []
        self.sources: list[object] = []


def test_a_root_is_looked_into_without_leaving_it(tmp_path: Path) -> None:
    from envfreeze.resolve.rootfs import Root

    root = tmp_path / "root"
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/python3").symlink_to("/bin/sh")
    (root / "usr/bin/python").symlink_to("/usr/bin/real")
    look = reaching._root_looker(Root(root))
    assert look("/usr/bin/python3") is None
    (root / "usr/bin/real").write_text("")
    assert look("/usr/bin/python") == "file"
    (root / "usr/bin/real").chmod(0o755)
    assert look("/usr/bin/python") == "program"
    assert look("/usr/bin") == "directory"


def test_only_what_is_of_an_image_has_a_base_to_pack(tmp_path: Path, context: Context) -> None:
    from envfreeze import workflow
    from envfreeze.errors import UsageError

    options = workflow.CaptureOptions(pack_base=True)
    for target in (None, str(tmp_path), f"root:{tmp_path}"):
        with pytest.raises(UsageError, match="--pack-base"):
            workflow.capture(target, tmp_path / "env.lock", options, context)
