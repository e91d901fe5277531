"""An image to a registry with its lock, and the lock back: against one that answers as they do."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from envfreeze.build.push import ARTIFACT, referrers_tag
from envfreeze.errors import ArtifactError, IndexUnavailableError, UsageError
from envfreeze.model.lock import Artifact, InterpreterLayer, dumps
from envfreeze.store import Cache
from envfreeze.workflow import pushing
from envfreeze.workflow.context import Context, load
from tests.support import ocis
from tests.support.cli import envfreeze, ok
from tests.support.locks import interpreter, lock
from tests.support.machines import sealed
from tests.support.registry import Shelf

PYTHON = os.urandom(3 << 20)
BELOW = ocis.layer({"etc": None, "etc/motd": b"hello"})


class Scene:
    """A lock that packs its interpreter, and an archive of an image that was built from it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.lock_path = place / "env.lock"
        sha256 = hashlib.sha256(PYTHON).hexdigest()
        self.packed = f"env.lock.d/{sha256}/interpreter.tar.gz"
        archive = Artifact(path=self.packed, size=len(PYTHON), hashes={"sha256": sha256})
        layer = InterpreterLayer(facts=interpreter(), origin="packed", archive=archive)
        self.lock_path.write_text(dumps(sealed(lock(interpreter=layer))))
        (place / self.packed).parent.mkdir(parents=True)
        (place / self.packed).write_bytes(PYTHON)
        self.lock = load(self.lock_path)
        environ = {"HOME": str(place), "PATH": os.environ["PATH"], "PIP_CONFIG_FILE": os.devnull}
        self.context = Context(environ=environ | {"PIP_RETRIES": "0"}, cache=Cache(place / "cache"))

    def archive(self, *, label: str | None = None, gzipped: bool = False) -> Path:
        data = self.lock_path.read_bytes()
        label = hashlib.sha256(data).hexdigest() if label is None else label
        top = ocis.layer({"usr/share/envfreeze/env.lock": data})
        config = {"Labels": {"io.envfreeze.lock-sha256": label}}
        layout = ocis.layout(
            self.place / f"layout{gzipped}{label[:4]}", [BELOW, top], config, gzipped=gzipped
        )
        path = layout.with_suffix(".tar")
        with tarfile.open(path, "w") as tar:
            for file in sorted(layout.rglob("*")):
                tar.add(file, file.relative_to(layout).as_posix(), recursive=False)
        return path

    def push(self, host: str, archive: Path | None = None, base: str = "") -> pushing.Pushed:
        archive = archive or self.archive()
        tag = f"{host}/team/train:1"
        return pushing.push_archive(self.lock_path, self.lock, archive, base, tag, self.context)

    def pull(self, reference: str) -> tuple[Path, pushing.Pulled]:
        into = self.place / "back/env.lock"
        context = Context(environ=self.context.environ, cache=Cache(self.place / "other"))
        return into, pushing.pull(reference, into, context)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.fixture(params=[True, False], ids=["referrers", "tag"])
def shelf(request: pytest.FixtureRequest) -> Iterator[Shelf]:
    with Shelf(referrers=request.param) as found:
        yield found


def test_the_lock_comes_back_with_what_it_packs(scene: Scene, shelf: Shelf) -> None:
    pushed = scene.push(shelf.host)
    into, pulled = scene.pull(f"{shelf.host}/team/train:1")
    assert into.read_bytes() == scene.lock_path.read_bytes()
    assert (into.parent / scene.packed).read_bytes() == PYTHON
    assert (pulled.packed, pulled.missing) == (1, ())
    assert pushed.reference == f"{shelf.host}/team/train:1@{pulled.image}"
    assert bool(pushed.listed_as) != shelf.referrers
    again, _ = scene.pull(f"{shelf.host}/team/train@{pulled.image}")
    assert again.read_bytes() == scene.lock_path.read_bytes()


def test_the_artifact_is_as_the_specification_has_it(scene: Scene, shelf: Shelf) -> None:
    pushed = scene.push(shelf.host)
    _, body = shelf.manifests["team/train", pushed.lock]
    artifact = json.loads(body)
    assert artifact["artifactType"] == ARTIFACT
    subject = artifact["subject"]["digest"]
    kind, manifest = shelf.manifests["team/train", subject]
    assert artifact["subject"] == {"mediaType": kind, "size": len(manifest), "digest": subject}
    assert shelf.blobs["team/train", artifact["config"]["digest"]] == b"{}"
    if not shelf.referrers:
        index = json.loads(shelf.manifests["team/train", referrers_tag(subject)][1])
        assert [(e["digest"], e["artifactType"]) for e in index["manifests"]] == [
            (pushed.lock, ARTIFACT)
        ]


def test_the_list_keeps_what_others_attached(scene: Scene) -> None:
    other = {"mediaType": "x/y", "digest": "sha256:" + "1" * 64, "size": 3}
    with Shelf(referrers=False) as shelf:
        archive = scene.archive()
        first = scene.push(shelf.host, archive)
        tag = first.listed_as
        index = json.loads(shelf.manifests["team/train", tag][1])
        index["manifests"].insert(0, other)
        shelf.manifests["team/train", tag] = ("x", json.dumps(index).encode())
        scene.push(shelf.host, archive)
        found = json.loads(shelf.manifests["team/train", tag][1])["manifests"]
    assert [one["digest"] for one in found] == [other["digest"], first.lock]


def test_what_is_there_is_not_sent_again(scene: Scene, shelf: Shelf) -> None:
    archive = scene.archive()
    scene.push(shelf.host, archive)
    shelf.seen.clear()
    scene.push(shelf.host, archive)
    assert not [one for one in shelf.writes() if "/blobs/" in one]


def test_the_layers_of_the_base_are_mounted(scene: Scene) -> None:
    with Shelf(token="t") as shelf:
        shelf.blobs["library/base", ocis.digest(BELOW)] = BELOW
        scene.push(shelf.host, base=f"{shelf.host}/library/base:1@sha256:{'0' * 64}")
        asked = f"POST /v2/team/train/blobs/uploads/?mount=sha256%3A{ocis.digest(BELOW)[7:]}"
        assert f"{asked}&from=library%2Fbase" in shelf.seen
        sent = [one for one in shelf.seen if one.startswith("PUT") and "/blobs/" in one]
        assert not [one for one in sent if ocis.digest(BELOW)[7:] in one]
        assert shelf.scopes == [
            "repository:team/train:pull,push",
            "repository:library/base:pull",
        ]


@pytest.mark.parametrize("gzipped", [True, False])
def test_the_lock_is_in_the_image_too(scene: Scene, shelf: Shelf, gzipped: bool) -> None:
    """From its last layer, without the ones below."""
    scene.push(shelf.host, scene.archive(gzipped=gzipped))
    for key, (_, body) in list(shelf.manifests.items()):
        if ARTIFACT in body.decode():
            del shelf.manifests[key]
    shelf.seen.clear()
    into, pulled = scene.pull(f"{shelf.host}/team/train:1")
    assert into.read_bytes() == scene.lock_path.read_bytes()
    assert pulled.missing == ("interpreter.tar.gz",)
    assert len([one for one in shelf.seen if "/blobs/" in one]) == 2  # configuration and layer
    assert not (into.parent / "env.lock.d").exists()


def test_a_lock_with_another_digest_is_not_taken(scene: Scene, shelf: Shelf) -> None:
    scene.push(shelf.host, scene.archive(label="0" * 64))
    with pytest.raises(ArtifactError, match="neither attached"):
        scene.pull(f"{shelf.host}/team/train:1")
    assert not (scene.place / "back").exists()


def test_an_image_of_somebody_else(scene: Scene, shelf: Shelf) -> None:
    scene.push(shelf.host, scene.archive(label="latest"))
    with pytest.raises(ArtifactError, match="no label") as e:
        scene.pull(f"{shelf.host}/team/train:1")
    assert "envfreeze built" in e.value.hint


def test_a_packed_file_that_was_changed_in_the_registry(scene: Scene, shelf: Shelf) -> None:
    scene.push(shelf.host)
    for key, blob in shelf.blobs.items():
        if blob == PYTHON:
            shelf.blobs[key] = PYTHON[:-1] + bytes([PYTHON[-1] ^ 1])
    with pytest.raises(ArtifactError, match="expected sha256"):
        scene.pull(f"{shelf.host}/team/train:1")
    assert not (scene.place / "back/env.lock").exists()
    assert not (scene.place / "back/env.lock.d").exists()


@pytest.mark.parametrize("status", [401, 403, 404, 429])
def test_a_push_that_is_denied(scene: Scene, status: int) -> None:
    with Shelf(denied=status) as shelf, pytest.raises(ArtifactError) as e:
        scene.push(shelf.host)
    assert str(status) in str(e.value)
    assert e.value.hint
    if status == 403:
        assert "DENIED: not for you" in str(e.value)
        assert f"docker login {shelf.host}" in e.value.hint


def test_a_connection_that_breaks(scene: Scene) -> None:
    with Shelf(broken=True) as shelf, pytest.raises(IndexUnavailableError) as e:
        scene.push(shelf.host)
    assert "not sent twice" in e.value.hint


def test_a_registry_that_is_down(scene: Scene) -> None:
    with Shelf() as shelf:
        host = shelf.host
    with pytest.raises(IndexUnavailableError, match="did not answer"):
        scene.push(host)
    with pytest.raises(IndexUnavailableError, match="did not answer"):
        scene.pull(f"{host}/team/train:1")


def test_a_missing_packed_file_is_said(scene: Scene, shelf: Shelf) -> None:
    (scene.place / scene.packed).unlink()
    with pytest.raises(ArtifactError, match="missing"):
        scene.push(shelf.host)


@pytest.mark.parametrize(
    ("tag", "said"), [(None, "needs --tag"), ("train:1", "which registry"), ("A b", "not an image")]
)
def test_a_tag_names_its_registry(tag: str | None, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        pushing.destination(tag)


def test_there_is_no_such_image(scene: Scene, shelf: Shelf) -> None:
    with pytest.raises(ArtifactError, match="no such image"):
        scene.pull(f"{shelf.host}/team/train:1")
    with pytest.raises(UsageError):
        scene.pull(f"{shelf.host}/team/train@latest")


def test_the_command_line_pulls(scene: Scene, shelf: Shelf) -> None:
    scene.push(shelf.host)
    into = scene.place / "cli.lock"
    env = {**scene.context.environ, "ENVFREEZE_CACHE_DIR": str(scene.place / "third")}
    done = ok(envfreeze("pull", f"{shelf.host}/team/train:1", "-o", into, env=env))
    assert into.read_bytes() == scene.lock_path.read_bytes()
    assert "1 packed file with it" in done.stdout
    done = ok(envfreeze("pull", f"{shelf.host}/team/none:1", "-o", into, env=env), 8)
    assert "no such image" in done.stderr
