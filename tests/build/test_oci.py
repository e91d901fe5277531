"""An image archive without an engine: what is in it, the same bytes twice, and what is refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, cast

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envfreeze.build import oci, tree
from envfreeze.build.ociarchive import Written
from envfreeze.errors import ArtifactError, LockError, NotHermeticError, UsageError
from envfreeze.model.lock import Artifact, InterpreterLayer, Lock, LooseEntry, LooseSite, dumps
from envfreeze.model.snapshot import Interpreter
from envfreeze.progress import Progress
from envfreeze.render import dockerfile
from envfreeze.resolve import ociimage
from envfreeze.store import Cache
from tests.support import envs, locks, ocis
from tests.support.fakeindex import make_wheel

PLATFORM = ("amd64", "")
BASE = ocis.layer(
    {
        "etc": None,
        "etc/os-release": b"ID=debian\nVERSION_ID=12\n",
        "home": None,
        "lib": "usr/lib",
        "tmp": 0o1777,
        "usr": None,
        "usr/lib": None,
        "usr/share": 0o2775,
    }
)
GONE = ocis.layer({"etc/.wh.motd": b"", "srv": None})
SITE = "home/u/env/lib/python3.11/site-packages"


def python_archive(entries: Mapping[str, bytes | str | None]) -> bytes:
    return gzip.compress(ocis.layer(entries), mtime=0)


PYTHON = python_archive(
    {
        "home/u/py": None,
        "home/u/py/bin": None,
        "home/u/py/bin/python3.11": b"\x7fELF",
        "home/u/py/bin/python": "python3.11",
    }
)


class Scene:
    """A base, an interpreter and two wheels."""

    def __init__(self, place: Path, **base: Any) -> None:
        self.place = place
        self.base = ocis.layout(place / "base", [BASE, GONE], gzipped=True, **base)
        self.files: dict[str, Path] = {}
        self.python = self.artifact(PYTHON)
        self.wheels = [
            make_wheel(place / "w", "demo", "1.0", {"demo.py": "x = 1\n", "sub/y.py": "y\n" * 9}),
            make_wheel(place / "w", "other", "2.0", {"other.py": "z = 1\n" * 300_000}),
        ]
        for wheel in self.wheels:
            self.files[envs.sha256(wheel.read_bytes())] = wheel
        self.lock = self.lock_of(locks.interpreter())

    def artifact(self, data: bytes) -> Artifact:
        sha256 = envs.sha256(data)
        self.files[sha256] = self.place / sha256
        self.files[sha256].write_bytes(data)
        return Artifact(path=f"x/{sha256}", size=len(data), hashes={"sha256": sha256})

    def lock_of(self, facts: Interpreter, **more: Any) -> Lock:
        layer = InterpreterLayer(facts=facts, origin="packed", archive=self.python)
        lock = locks.lock(facts=facts, interpreter=layer, **more)
        packages = [envs.package_of(wheel) for wheel in self.wheels]
        return msgspec.structs.replace(lock, packages=packages)

    def build(self, name: str = "a.tar", cache: str = "cache") -> Written:
        lock_path = self.place / "env.lock"
        lock_path.write_text(dumps(self.lock))
        base = ociimage.at(f"oci:{self.base}", PLATFORM)
        assert base is not None
        plan = oci.Plan(
            lock=self.lock,
            lock_path=lock_path,
            lock_sha256=envs.sha256(lock_path.read_bytes()),
            artifacts=self.files,
            base=base,
            tag="demo:1",
            into=self.place / name,
            cache=Cache(self.place / cache),
        )
        return oci.build(plan, Progress())

    def image(self, name: str = "a.tar") -> Archive:
        return Archive(self.place / name)


class Archive:
    """An archive, read with nothing of our own."""

    def __init__(self, path: Path) -> None:
        with tarfile.open(path) as tar:
            self.members = {m.name: m for m in tar}
            self.data = {
                name: tar.extractfile(m).read()  # type: ignore[union-attr]
                for name, m in self.members.items()
                if m.isreg()
            }
        self.index = json.loads(self.data["index.json"])
        self.manifest = json.loads(self.blob(self.index["manifests"][0]["digest"]))
        self.config = json.loads(self.blob(self.manifest["config"]["digest"]))
        self.layers = [self.blob(layer["digest"]) for layer in self.manifest["layers"]]

    def blob(self, digest: str) -> bytes:
        return self.data["blobs/" + digest.replace(":", "/")]

    def check_once(self) -> None:
        """No layer of ours has a path twice."""
        for data in self.layers[2:]:
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                names = tar.getnames()
            assert sorted(set(names)) == sorted(names)

    def read(self, name: str) -> bytes:
        """A file of our own layers, as the uppermost has it."""
        for data in reversed(self.layers[2:]):
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                if name in tar.getnames():
                    return cast("IO[bytes]", tar.extractfile(name)).read()
        raise KeyError(name)

    def laid(self) -> dict[str, tarfile.TarInfo]:
        """The members of our own layers; the last of a name counts."""
        found = {}
        for data in self.layers[2:]:
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                found |= {member.name: member for member in tar}
        return found


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path, config={"Env": ["A=1", "PATH=/bin"], "Entrypoint": ["/init"]})


def test_the_layout_is_whole(scene: Scene) -> None:
    written = scene.build()
    image = scene.image()
    for name, data in image.data.items():
        if name.startswith("blobs/"):
            assert name == f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"
    assert json.loads(image.data["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    entry = image.index["manifests"][0]
    assert (entry["digest"], entry["size"]) == (
        written.manifest,
        len(image.blob(written.manifest)),
    )
    for layer, data in zip(image.manifest["layers"], image.layers, strict=True):
        assert layer["size"] == len(data)
    ids = [ocis.digest(BASE), ocis.digest(GONE), *map(ocis.digest, image.layers[2:])]
    assert image.config["rootfs"] == {"type": "layers", "diff_ids": ids}
    told = [row for row in image.config["history"] if not row.get("empty_layer")]
    assert len(told) == len(ids)
    assert written.image_id == image.manifest["config"]["digest"]


def test_docker_reads_the_same_image(scene: Scene) -> None:
    scene.build()
    image = scene.image()
    (entry,) = json.loads(image.data["manifest.json"])
    assert entry["RepoTags"] == ["demo:1"]
    assert entry["Config"] == "blobs/" + image.manifest["config"]["digest"].replace(":", "/")
    assert entry["Layers"] == [
        "blobs/" + layer["digest"].replace(":", "/") for layer in image.manifest["layers"]
    ]


def test_the_base_stays_as_it_was(scene: Scene) -> None:
    """Its layers, the whiteouts in them among others, are the very same blobs."""
    scene.build()
    image = scene.image()
    assert image.layers[:2] == [gzip.compress(one, 1, mtime=0) for one in (BASE, GONE)]
    assert [layer["mediaType"] for layer in image.manifest["layers"][:2]] == [
        f"{ocis.LAYER}+gzip"
    ] * 2
    assert not [name for name in image.laid() if "/.wh." in f"/{name}"]


def test_every_file_has_its_place_and_nothing_of_the_day(scene: Scene) -> None:
    scene.build()
    found = scene.image().laid()
    assert {"home/u/py/bin/python3.11", f"{SITE}/demo.py", f"{SITE}/other.py"} <= found.keys()
    assert found["home/u/env/bin/python"].linkname == "/home/u/py/bin/python3.11"
    assert found["home/u/py/bin/python"].linkname == "python3.11"
    assert {(m.uid, m.gid, m.uname, m.gname) for m in found.values()} == {(0, 0, "", "")}
    assert {m.mtime for m in found.values()} == {tree.EPOCH}
    assert not [name for name in found if name.endswith(".pyc")]
    assert "usr/share/envfreeze/env.lock" in found


def test_the_lock_travels_as_it_is(scene: Scene) -> None:
    scene.build()
    with tarfile.open(fileobj=io.BytesIO(scene.image().layers[-1])) as tar:
        held = tar.extractfile("usr/share/envfreeze/env.lock")
        assert held is not None
        assert held.read() == (scene.place / "env.lock").read_bytes()


def test_directories_of_the_base_keep_their_modes(scene: Scene) -> None:
    """A layer that does not describe a directory on the way leaves its mode to the engine."""
    facts = locks.interpreter(
        prefix="/tmp/env",
        executable="/tmp/env/bin/python",
        purelib="/tmp/env/lib/python3.11/site-packages",
        scripts="/tmp/env/bin",
    )
    scene.lock = scene.lock_of(facts)
    scene.build()
    found = scene.image().laid()
    assert found["tmp"].mode == 0o1777
    assert found["usr/share"].mode == 0o2775
    assert found["tmp/env"].mode == 0o755


def test_each_layer_describes_the_directories_that_it_needs(scene: Scene) -> None:
    scene.build()
    for data in scene.image().layers[2:]:
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            seen: set[str] = set()
            for member in tar:
                above = os.path.dirname(member.name)  # noqa: PTH120
                assert not above or above in seen, member.name
                if member.isdir():
                    seen.add(member.name)


def test_a_link_of_the_base_stays(scene: Scene) -> None:
    """Merged /usr: what goes to /lib lands behind the link, which no layer replaces."""
    facts = locks.interpreter(
        venv=False,
        prefix="/lib/py",
        base_prefix="/lib/py",
        executable="/lib/py/bin/python3.11",
        base_executable="/lib/py/bin/python3.11",
        purelib="/lib/py/lib/python3.11/site-packages",
        scripts="/lib/py/bin",
    )
    scene.lock = scene.lock_of(facts)
    scene.build()
    found = scene.image().laid()
    assert "usr/lib/py/lib/python3.11/site-packages/demo.py" in found
    assert not [name for name in found if name == "lib" or name.startswith("lib/")]


# --- the same bytes twice -----------------------------------------------------------------


def test_the_same_bytes_without_and_with_the_cache(scene: Scene) -> None:
    first = scene.build("a.tar", "one")
    assert scene.build("b.tar", "one") == first
    assert scene.build("c.tar", "two") == first
    contents = {(scene.place / name).read_bytes() for name in ("a.tar", "b.tar", "c.tar")}
    assert len(contents) == 1


def test_the_same_bytes_from_another_process(tmp_path: Path) -> None:
    """Neither the order of sets nor the processor's number of threads shows."""
    program = (
        "import sys; from pathlib import Path; from tests.build.test_oci import Scene;"
        "place = Path(sys.argv[1]); place.mkdir(); print(Scene(place).build())"
    )
    said = set()
    for seed in ("1", "2", "3"):
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / seed)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
        )
        said.add(done.stdout)
    assert len(said) == 1


def test_a_change_of_one_package_changes_one_layer(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("envfreeze.build.ocilayers.LARGE", 500)
    before = scene.build()
    scene.wheels[1] = make_wheel(scene.place / "w", "other", "2.1", {"other.py": "new = 1\n" * 99})
    scene.files[envs.sha256(scene.wheels[1].read_bytes())] = scene.wheels[1]
    scene.lock = scene.lock_of(locks.interpreter())
    after = scene.build()
    # That package's and the lock's own; it may have changed places, being of another size.
    assert len(set(after.layers) - set(before.layers)) == 2
    assert before.layers[-1] != after.layers[-1]
    assert after.image_id != before.image_id


def test_a_damaged_layer_of_the_cache_is_made_anew(scene: Scene) -> None:
    first = scene.build()
    for digest in first.layers[2:]:
        blob = Cache(scene.place / "cache").find(digest.partition(":")[2])
        assert blob is not None
        with blob.open("r+b") as file:
            file.write(b"damage")
    assert scene.build("b.tar") == first
    assert (scene.place / "b.tar").read_bytes() == (scene.place / "a.tar").read_bytes()


# --- the configuration --------------------------------------------------------------------


def test_the_configuration_is_a_dockerfiles(scene: Scene) -> None:
    scene.lock = scene.lock_of(locks.interpreter(), environment={"LANG": 'a "b" $c'})
    scene.build()
    running = scene.image().config["config"]
    path = "PATH=/home/u/env/bin:/bin"
    assert running["Env"] == ["A=1", path, 'LANG=a "b" $c', "HOME=/tmp", "LOGNAME=python"]
    assert running["User"] == "1000:1000"
    assert running["Entrypoint"] == ["/init"]
    assert running["Cmd"] == ["python"]
    base = ("", json.loads((scene.base / "index.json").read_text())["manifests"][0]["digest"])
    lock_sha256 = envs.sha256((scene.place / "env.lock").read_bytes())
    assert running["Labels"] == dockerfile.labels(scene.lock, base, lock_sha256)
    assert scene.image().config["created"] == "1980-01-01T00:00:00Z"


def test_python_on_path_is_the_environments_own(tmp_path: Path) -> None:
    """The base has a python of its own, in the first directory of its PATH, where the scripts of
    the environment are, too."""
    scene = Scene(tmp_path, config={"Env": ["PATH=/usr/local/bin:/usr/bin"]})
    facts = locks.interpreter(
        venv=False,
        scripts="/usr/local/bin",
        executable="/home/u/py/bin/python3.11",
        prefix="/home/u/py",
        purelib=f"/{SITE}",
    )
    scene.lock = scene.lock_of(facts)
    scene.build()
    image = scene.image()
    assert image.config["config"]["Env"][0] == (
        "PATH=/usr/lib/envfreeze/bin:/usr/local/bin:/usr/local/bin:/usr/bin"
    )
    for name in ("python", "python3"):
        member = image.laid()[f"usr/lib/envfreeze/bin/{name}"]
        assert (member.type, member.linkname) == (tarfile.SYMTYPE, "/home/u/py/bin/python3.11")
    assert image.config["config"]["Cmd"] == ["python"]


def test_a_base_without_a_path_has_the_usual_one(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.build()
    path, *_ = scene.image().config["config"]["Env"]
    assert path == (
        "PATH=/home/u/env/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    )


def test_a_base_that_wants_to_run_something(tmp_path: Path) -> None:
    scene = Scene(tmp_path, config={"OnBuild": ["RUN rm -rf /"]})
    with pytest.raises(UsageError, match="ONBUILD"):
        scene.build()


def test_a_base_for_another_machine(tmp_path: Path) -> None:
    scene = Scene(tmp_path, architecture="arm64")
    with pytest.raises(UsageError, match="arm64"):
        scene.build()


# --- what is refused ----------------------------------------------------------------------


BAD = ["relative", "/", "//x", "/a/../b", "/a/./b", "/a\nb", "/a\0b", "/..", "/a//b"]


@pytest.mark.parametrize("path", BAD)
@pytest.mark.parametrize("key", ["prefix", "base_executable", "purelib"])
def test_hostile_facts(scene: Scene, path: str, key: str) -> None:
    facts = msgspec.structs.replace(locks.interpreter(), **{key: path})
    scene.lock = scene.lock_of(facts)
    with pytest.raises(LockError):
        scene.build()
    assert not (scene.place / "a.tar").exists()


def test_hostile_variables(scene: Scene) -> None:
    for environment in ({"A\nRUN x": "1"}, {"PATH": "/evil"}, {"A": "x\ny"}, {"A=B": "1"}):
        scene.lock = scene.lock_of(locks.interpreter(), environment=environment)
        with pytest.raises(LockError):
            scene.build()
    assert not (scene.place / "a.tar").exists()


@pytest.mark.parametrize("name", [".wh.passwd", ".wh..wh..opq", "sub/.wh.x"])
def test_a_wheel_that_would_delete(scene: Scene, name: str) -> None:
    wheel = make_wheel(scene.place / "evil", "evil", "1.0", {name: ""})
    scene.wheels.append(wheel)
    scene.files[envs.sha256(wheel.read_bytes())] = wheel
    scene.lock = scene.lock_of(locks.interpreter())
    with pytest.raises(LockError, match="deleted"):
        scene.build()


def loose_link(scene: Scene, path: str) -> LooseSite:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo(path)
        info.type, info.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(info)
    artifact = scene.artifact(buffer.getvalue())
    facts = locks.interpreter()
    return LooseSite(
        site=facts.purelib, archive=artifact, files=[LooseEntry(path=path, link="/etc")]
    )


def test_no_file_goes_through_a_link_of_another_layer(scene: Scene) -> None:
    """One layer has ``sub`` as a link, another one a file below it: refused as in one tar."""
    scene.lock = scene.lock_of(locks.interpreter(), loose=[loose_link(scene, "sub")])
    with pytest.raises(LockError, match="link"):
        scene.build()
    assert not (scene.place / "a.tar").exists()


@pytest.mark.parametrize(
    "entries",
    [{"../x": b""}, {"/etc/../x": b""}, {"a\nb": b""}, {"x/.wh.y": b""}, {"./a/./b": b""}],
    ids=lambda entries: next(iter(entries)),
)
def test_a_hostile_interpreter(scene: Scene, entries: dict[str, bytes]) -> None:
    scene.python = scene.artifact(python_archive(entries))
    scene.lock = scene.lock_of(locks.interpreter())
    with pytest.raises(LockError):
        scene.build()


def test_an_interpreter_with_a_device(scene: Scene) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo("dev/sda")
        info.type = tarfile.BLKTYPE
        archive.addfile(info)
    scene.python = scene.artifact(buffer.getvalue())
    scene.lock = scene.lock_of(locks.interpreter())
    with pytest.raises(LockError, match="no file and no link"):
        scene.build()


def test_a_lock_without_its_interpreter(scene: Scene) -> None:
    layer = InterpreterLayer(facts=locks.interpreter(), origin="unpacked")
    scene.lock = locks.lock(interpreter=layer)
    with pytest.raises(NotHermeticError):
        scene.build()


def test_a_damaged_base(scene: Scene) -> None:
    """Its tree is in the cache by then, so it is the copying that has to see it."""
    scene.build()
    manifest = scene.image().manifest
    name = manifest["layers"][0]["digest"].partition(":")[2]
    blob = scene.base / "blobs/sha256" / name
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)
    with pytest.raises(ArtifactError, match="expected"):
        scene.build("b.tar")
    assert [path.name for path in scene.place.glob("*b.tar*")] == []


def test_a_base_that_unpacks_to_something_else(tmp_path: Path) -> None:
    ids = {"type": "layers", "diff_ids": ["sha256:" + "0" * 64] * 2}
    scene = Scene(tmp_path, rootfs=ids)
    with pytest.raises(ArtifactError, match="does not unpack"):
        scene.build()


def test_two_packages_with_one_file_stay_in_the_locks_order(scene: Scene) -> None:
    """As in one tar, the later one stays; layers would put the larger one first."""
    scene.wheels = [
        make_wheel(scene.place / "w", "one", "1.0", {"same.py": "small"}),
        make_wheel(scene.place / "w", "two", "1.0", {"same.py": "large" * 9}),
    ]
    for wheel in scene.wheels:
        scene.files[envs.sha256(wheel.read_bytes())] = wheel
    scene.lock = scene.lock_of(locks.interpreter())
    scene.build()
    assert scene.image().laid()[f"{SITE}/same.py"].size == 45
    scene.image().check_once()


def loose_files(scene: Scene, files: Mapping[str, bytes]) -> LooseSite:
    archive = scene.artifact(gzip.compress(ocis.layer(files), mtime=0))
    entries = [LooseEntry(path=path, sha256=envs.sha256(data)) for path, data in files.items()]
    return LooseSite(site=locks.interpreter().purelib, archive=archive, files=entries)


def test_a_record_that_does_not_list_itself_comes_once(scene: Scene) -> None:
    """It is one of the files that nobody owns, then, and placing the wheel makes one, too. Docker
    takes no layer that has a path twice."""
    record = b"demo.py,sha256=x,6\n"
    loose = loose_files(scene, {"demo-1.0.dist-info/RECORD": record})
    scene.lock = scene.lock_of(locks.interpreter(), loose=[loose])
    scene.build()
    found = scene.image()
    found.check_once()
    assert found.read(f"{SITE}/demo-1.0.dist-info/RECORD") == record
    assert f"{SITE}/demo.py" in found.laid()


NAMES = st.sampled_from(["a.py", "b.py", "sub/c.py", "sub/d.py"])


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    one=st.dictionaries(NAMES, st.binary(max_size=4)),
    two=st.dictionaries(NAMES, st.binary(max_size=4)),
    loose=st.dictionaries(NAMES, st.binary(max_size=4)),
)
def test_no_layer_has_a_path_twice(
    scene: Scene, one: dict[str, bytes], two: dict[str, bytes], loose: dict[str, bytes]
) -> None:
    scene.wheels = [
        make_wheel(scene.place / "w", name, "1.0", files)
        for name, files in (("one", one), ("two", two))
    ]
    for wheel in scene.wheels:
        scene.artifact(wheel.read_bytes())
    sites = [loose_files(scene, loose)] if loose else []
    scene.lock = scene.lock_of(locks.interpreter(), loose=sites)
    scene.build()
    found = scene.image()
    found.check_once()
    for name, content in (one | two | loose).items():
        assert found.read(f"{SITE}/{name}") == content
