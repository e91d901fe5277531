"""With a real engine: this interpreter and its system packages in an image, without a network."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import time
from hashlib import sha256
from pathlib import Path

import pytest

from envfreeze.build.docker import Inputs, build_image, prepare
from envfreeze.build.engine import _TEMPORARY, BuildRequest, Engine, Step, _here, connect
from envfreeze.errors import EngineError, UsageError
from envfreeze.model.lock import Artifact, InterpreterLayer, Lock, SystemLayer, dumps, loads
from envfreeze.model.snapshot import Interpreter
from envfreeze.render.dockerfile import DockerOptions, system_files
from envfreeze.resolve.debs import Means, companions, prove
from envfreeze.resolve.dpkg import Dpkg
from envfreeze.resolve.elf import libraries
from envfreeze.resolve.interpreter import interpreter_files, origin, pack
from envfreeze.store import Cache, Sidecar, hash_file, kept
from tests.support.dpkgroot import Pkg, deb_bytes
from tests.support.engine import TestEngine, docker_engine
from tests.support.locks import deb, interpreter, lock

__all__ = ["docker_engine"]

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("docker")]

ODD = 'a "b" $HOME \\ `c`'
TAG = "envfreeze-test/interpreter:1"
CODE = """
import bz2, ctypes, hashlib, json, lzma, os, socket, sqlite3, ssl, sys, zlib
try:
    socket.create_connection(("192.0.2.1", 80), 2)
    network = True
except OSError:
    network = False
size = os.path.getsize("/usr/share/envfreeze/env.lock")
print(json.dumps({"version": sys.version, "prefix": sys.base_prefix, "network": network,
                  "odd": os.environ["ODD"], "lock": size}))
"""


def this_interpreter() -> Interpreter:
    paths = sysconfig.get_paths(vars={"base": sys.base_prefix})
    executable = str(Path(sys.executable).resolve())
    return interpreter(
        version=sys.version.split()[0],
        executable=executable,
        base_executable=executable,
        base_prefix=sys.base_prefix,
        prefix=sys.base_prefix,
        stdlib=paths["stdlib"],
        scripts=str(Path(executable).parent),
    )


@pytest.fixture(scope="module")
def engine(docker_engine: TestEngine) -> Engine:
    return connect(docker_engine.host)


class Scene:
    """A lock of this interpreter, and everything that it names."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cache = Cache(path / "cache")
        self.lock_path = path / "env.lock"
        self.lock = self._lock()
        self.lock_path.write_text(dumps(self.lock))
        assert loads(self.lock_path.read_text()) == self.lock

    def _lock(self) -> Lock:
        sidecar = Sidecar(self.lock_path)
        facts = this_interpreter()
        dpkg = Dpkg.read()
        if dpkg is None or origin(facts, dpkg).kind != "packed":
            pytest.skip("needs dpkg and an interpreter that it does not own")
        scan = libraries(interpreter_files(facts), executable=facts.base_executable)
        owners = dpkg.owners(scan.system)
        needed = [package for packages in owners.values() for package in packages]
        packages = dpkg.closure([*needed, *companions(dpkg)])
        proofs = prove(dpkg, packages, Means(cache=self.cache, sidecar=sidecar))
        assert proofs.unproved == []
        sha256, _ = pack(facts, self.cache)
        layer = SystemLayer(
            kernel="Linux",
            machine=facts.machine,
            os_release={"ID": "debian", "VERSION_ID": "12"},
            packages=proofs.packages,
        )
        archive = kept(self.cache, sidecar, sha256, "interpreter.tar.gz")
        return lock(
            interpreter=InterpreterLayer(facts=facts, origin="packed", archive=archive),
            layer=layer,
            environment={"ODD": ODD},
        )

    def context(self, base: str, name: str) -> tuple[Path, DockerOptions]:
        options = DockerOptions(base=base, lock_sha256=hash_file(self.lock_path)[0], tag=TAG)
        names = [package.artifact.sha256 for package in self.lock.machine.system.packages]
        archive = self.lock.machine.interpreter.archive
        assert archive is not None
        files = {
            sha256: path
            for sha256 in (*names, archive.sha256)
            if (path := self.cache.find(sha256)) is not None
        }
        inputs = Inputs(lock_path=self.lock_path, files=files, place=empty_tar)
        return prepare(self.lock, options, inputs, self.path / name), options


def empty_tar(path: Path) -> None:
    tarfile.open(path, "w").close()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("scene"))


def test_the_image_runs_this_interpreter(
    scene: Scene, engine: Engine, docker_engine: TestEngine
) -> None:
    context, options = scene.context(docker_engine.base_ref, "context")
    lines: list[str] = []
    image = build_image(engine, context, options, lines.append)
    assert engine.exists(TAG)
    facts = scene.lock.machine.interpreter.facts
    said = json.loads(engine.run_probe(image, [facts.base_executable, "-I", "-c", CODE]))
    assert said == {
        "version": sys.version,
        "prefix": sys.base_prefix,
        "network": False,
        "odd": ODD,
        "lock": scene.lock_path.stat().st_size,
    }
    shown = engine.run_probe(
        image, ["dpkg-query", "-W", "-f", "${Package}\\t${Version}\\t${db:Status-Status}\\n"]
    )
    rows = {tuple(line.split("\t")) for line in shown.decode().splitlines()}
    packages = scene.lock.machine.system.packages
    assert {(p.name, p.version, "installed") for p in packages} <= rows
    config = (engine.inspect(image) or {})["Config"]
    assert config["Labels"]["io.envfreeze.id"] == scene.lock.machine.id
    assert config["Labels"]["org.opencontainers.image.base.digest"] in docker_engine.base_ref
    assert config["Cmd"] == [Path(facts.executable).name]


def test_a_base_of_another_release_is_refused(
    scene: Scene, engine: Engine, docker_engine: TestEngine
) -> None:
    context, options = scene.context(docker_engine.base_ref, "other")
    (context / "system/os-release").write_text("ID=debian\nVERSION_ID=11\n")
    with pytest.raises(EngineError, match="VERSION_ID=12, the environment was captured on 11"):
        build_image(engine, context, options)


def test_a_deb_that_was_changed_on_the_way_is_refused(
    scene: Scene, engine: Engine, docker_engine: TestEngine
) -> None:
    context, options = scene.context(docker_engine.base_ref, "changed")
    deb = next((context / "system").glob("*.deb"))
    deb.write_bytes(deb.read_bytes() + b"x")
    with pytest.raises(EngineError, match="not what the lock names"):
        build_image(engine, context, options)


def test_a_base_that_nobody_has(engine: Engine, docker_engine: TestEngine) -> None:
    name = docker_engine.base_ref.partition("@")[0]
    with pytest.raises(EngineError, match="cannot pull"):
        engine.base_by_digest(f"{name}@sha256:{'0' * 64}")
    with pytest.raises(UsageError, match="names no digest"):
        engine.base_by_digest(f"{name}:test")


def test_a_probe_leaves_no_container(engine: Engine, docker_engine: TestEngine) -> None:
    base = docker_engine.base_ref
    assert engine.run_probe(base, ["cat", "/p/x"], {"/p/x": b"\x00\xff"}) == b"\x00\xff"
    with pytest.raises(EngineError, match=r"(?s)status 3.*oops"):
        engine.run_probe(base, ["sh", "-c", "echo oops >&2; exit 3"])
    with pytest.raises(EngineError, match="no such file"):
        engine.run_probe(base, ["/nowhere"])
    assert engine._api.containers(all=True) == []


# --- faults -----------------------------------------------------------------------------


def test_what_a_killed_build_left_is_removed(engine: Engine, docker_engine: TestEngine) -> None:
    """Of this machine, and of a process that is no more: nothing else."""
    before = left(engine)
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], stdout=-1)
    dead = done.stdout.decode().strip()
    labels = [f"{dead} {_here()}", f"{os.getpid()} {_here()}", f"{dead} elsewhere", "odd"]
    made = [
        engine._api.create_container(docker_engine.base_ref, "/x", labels={_TEMPORARY: one})["Id"]
        for one in labels
    ]
    other = connect(docker_engine.host)
    with other.created(docker_engine.base_ref):
        there = left(engine)[0]
    assert [one in there for one in made] == [False, True, True, True]
    for one in made[1:]:
        engine._api.remove_container(one)
    assert left(engine) == before


def slow(place: Path, base: str) -> BuildRequest:
    """A context whose second step ends well and whose third takes its time."""
    place.mkdir()
    text = f"FROM {base}\nRUN echo {place.name} > /one\nRUN sleep 60\n"
    (place / "Dockerfile").write_text(text)
    return BuildRequest(context=place, tag="envfreeze-test/slow:1")


def left(engine: Engine) -> tuple[list[str], list[str]]:
    """What ``docker ps -a`` and ``docker images -a`` list."""
    containers = [str(one["Id"]) for one in engine._api.containers(all=True)]
    return sorted(containers), sorted(str(one["Id"]) for one in engine._api.images(all=True))


def test_an_interrupted_build_leaves_nothing(
    engine: Engine, docker_engine: TestEngine, tmp_path: Path
) -> None:
    before = left(engine)

    said: list[str] = []

    def stop(line: str) -> None:
        said.append(line)
        if "Running in" in line and "sleep 60" in said[-2]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.build(slow(tmp_path / "stopped", docker_engine.base_ref), stop)
    deadline = time.monotonic() + 20
    while left(engine) != before and time.monotonic() < deadline:
        time.sleep(0.1)  # the engine takes a moment to end what it was told to stop
    assert left(engine) == before


def test_a_failed_build_leaves_nothing(
    engine: Engine, docker_engine: TestEngine, tmp_path: Path
) -> None:
    before = left(engine)
    request = slow(tmp_path / "failed", docker_engine.base_ref)
    dockerfile = request.context / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text().replace("sleep 60", "echo oops; false"))
    with pytest.raises(EngineError, match=r"(?s)non-zero code.*oops"):
        engine.build(request)
    assert left(engine) == before


def a_system(versions: dict[str, str], scripts: dict[str, str]) -> dict[str, bytes]:
    """What installs packages of these versions in a Debian: absolute path to content."""
    debs, files = [], {}
    for name, version in versions.items():
        package = Pkg(name=name, version=version, arch="all", files={f"/opt/{name}": b"x"})
        data = deb_bytes(package, scripts=scripts)
        artifact = Artifact(path="x", size=len(data), hashes={"sha256": sha256(data).hexdigest()})
        debs.append(deb(name, version, arch="all", artifact=artifact))
        files[f"{name}_{version}_all.deb"] = data
    made = lock(system=debs, os_release={"ID": "debian"})
    texts = {Path(name).name: text.encode() for name, text in system_files(made).items()}
    return files | texts


def in_a_base(engine: Engine, base: str, command: str, *systems: dict[str, bytes]) -> str:
    """What *command* says in a container of *base*, the systems in /tmp/0, /tmp/1...; it has to
    fail, so that nothing of it is kept."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for number, files in enumerate(systems):
            for name, data in files.items():
                member = tarfile.TarInfo(f"tmp/{number}/{name}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    said: list[str] = []
    with pytest.raises(EngineError) as caught:
        step = Step(image=base, command=command)
        engine.changed(step, iter([buffer.getvalue()]), io.BytesIO(), said.append)
    assert [line.strip() for line in str(caught.value).splitlines()[1:]] == [
        line.strip() for line in said[-8:]
    ]
    return "\n".join(said)


def test_a_newer_package_gives_way_to_the_locked_one(
    engine: Engine, docker_engine: TestEngine
) -> None:
    newer, older = (a_system({"tiny": version}, {}) for version in ("2.0", "1.0"))
    command = "sh /tmp/0/install.sh && sh /tmp/1/install.sh && dpkg-query -W tiny && exit 9"
    said = in_a_base(engine, docker_engine.base_ref, command, newer, older)
    assert "downgrading tiny from 2.0 to 1.0" in said
    assert said.endswith("tiny\t1.0")


def test_a_script_that_fails_ends_the_step(engine: Engine, docker_engine: TestEngine) -> None:
    system = a_system({"tiny": "1.0"}, {"postinst": "#!/bin/sh\necho no luck\nexit 3\n"})
    said = in_a_base(engine, docker_engine.base_ref, "sh /tmp/0/install.sh", system)
    assert "no luck" in said
    assert "envfreeze: not installed as the lock names them: ./tiny_1.0_all.deb" in said
