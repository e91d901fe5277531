"""The base of a build without ``--base``: chosen, pinned, and never without a digest."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from envfreeze import workflow
from envfreeze.errors import UsageError
from envfreeze.model.lock import (
    Artifact,
    BaseImage,
    InterpreterLayer,
    SystemLayer,
    SystemPackage,
    dumps,
)
from envfreeze.progress import Progress
from envfreeze.store import Cache
from tests.support import fakebootstrap
from tests.support.cli import envfreeze, ok
from tests.support.dpkgroot import Pkg, deb_bytes
from tests.support.locks import deb, interpreter, lock
from tests.support.machines import sealed
from tests.support.registry import FakeRegistry, Image, digest, index

BOOKWORM = {"ID": "debian", "VERSION_ID": "12", "PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)"}
AMD64 = Image("amd64")


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """No engine, no login, no index but what a test names."""
    found = {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "DOCKER_CONFIG": str(tmp_path),
        "DOCKER_HOST": f"unix://{tmp_path}/none.sock",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_RETRIES": "0",
        "ENVFREEZE_CACHE_DIR": str(tmp_path / "cache"),
    }
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


def written(place: Path, **changes: Any) -> Path:
    path = place / "env.lock"
    path.write_text(dumps(sealed(lock(**({"os_release": BOOKWORM} | changes)))))
    return path


def chosen(path: Path, environ: Mapping[str, str], **options: Any) -> workflow.Base:
    context = workflow.Context(environ=environ, cache=Cache(path.parent / "cache"))
    return workflow.choose_base(path, workflow.ImageOptions(**options), context)


def test_a_mirror_tells_the_digest(tmp_path: Path, environ: Mapping[str, str]) -> None:
    with FakeRegistry(index(AMD64), token="t") as registry:
        base = chosen(written(tmp_path), environ, registry=f"{registry.host}/public")
        name = f"{registry.host}/public/library/debian:bookworm-slim"
    assert base.reference == f"{name}@{digest(AMD64.manifest)}"
    assert "Debian GNU/Linux 12" in base.reason
    assert base.told_by == "its registry"


def test_the_platform_is_the_locks(tmp_path: Path, environ: Mapping[str, str]) -> None:
    arm = Image("arm64", "v8")
    facts = interpreter(machine="aarch64", platform="linux-aarch64")
    with FakeRegistry(index(AMD64, arm)) as registry:
        base = chosen(written(tmp_path, facts=facts), environ, registry=registry.host)
    assert base.reference.endswith(digest(arm.manifest))


def test_without_an_answer_it_says_what_to_pass(tmp_path: Path, environ: Mapping[str, str]) -> None:
    with FakeRegistry(b"", status=404) as registry:
        place = f"{registry.host}/library/debian:bookworm-slim"
        with pytest.raises(UsageError, match="nobody tells its digest") as caught:
            chosen(written(tmp_path), environ, registry=registry.host)
    assert "no such image" in str(caught.value)
    assert "no container engine answers" in str(caught.value)
    assert f"--base {place}@sha256:DIGEST" in caught.value.hint


def test_offline_no_registry_is_asked(tmp_path: Path, environ: Mapping[str, str]) -> None:
    with FakeRegistry(index(AMD64)) as registry:
        with pytest.raises(UsageError, match="--offline"):
            chosen(written(tmp_path), environ, registry=registry.host, offline=True)
        assert registry.seen == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"os_release": {"ID": "nixos", "PRETTY_NAME": "NixOS"}}, "NixOS"),
        ({"os_release": {"ID": "rocky", "VERSION_ID": "9.4"}}, "rockylinux:9 would be"),
        ({"facts": interpreter(machine="vax")}, "vax"),
    ],
)
def test_what_no_table_knows(
    tmp_path: Path, environ: Mapping[str, str], changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match="--base NAME@sha256:DIGEST") as caught:
        chosen(written(tmp_path, **changes), environ)
    assert said in str(caught.value)


def test_the_command_says_why(tmp_path: Path, environ: Mapping[str, str]) -> None:
    path = written(tmp_path)
    with FakeRegistry(index(AMD64)) as registry:
        done = envfreeze("build", path, "--to", "docker", "--registry", registry.host)
        quiet = envfreeze("build", path, "--to", "docker", "--registry", registry.host, "--quiet")
    ok(done, 6)  # the base is chosen; then there is no engine
    first, second = done.stderr.splitlines()[:2]
    assert first == (
        f"  base: {registry.host}/library/debian:bookworm-slim@{digest(AMD64.manifest)}"
    )
    assert "captured on Debian GNU/Linux 12" in second
    assert done.stdout == ""
    assert "base:" not in quiet.stderr


def test_a_registry_to_choose_from_and_a_base_that_is_chosen(
    tmp_path: Path, environ: Mapping[str, str]
) -> None:
    base = "mirror.example/base:12@sha256:" + "b" * 64
    given = ("--base", base, "--registry", "mirror.example")
    for command in (("build", "--to", "docker"), ("export", "--format", "dockerfile")):
        done = envfreeze(command[0], written(tmp_path), *command[1:], *given)
        assert "--base names one already" in ok(done, 2).stderr
    path = written(tmp_path, base=BaseImage(reference=base, image_id="sha256:" + "1" * 64))
    done = envfreeze("build", path, "--to", "docker", "--registry", "mirror.example")
    assert f"captured on {base}" in ok(done, 2).stderr.replace("\n", " ")


def test_a_venv_has_no_base(tmp_path: Path, environ: Mapping[str, str]) -> None:
    done = envfreeze("build", written(tmp_path), "--into", "x", "--registry", "mirror.example")
    assert "--registry is not for --to venv" in ok(done, 2).stderr


# --- a base of the lock's own packages ------------------------------------------------------


def kept(place: Path, name: str) -> SystemPackage:
    """A package whose .deb lies beside the lock."""
    data = deb_bytes(Pkg(name=name))
    sha256 = hashlib.sha256(data).hexdigest()
    path = f"env.lock.d/{sha256[:2]}/{sha256[2:]}/{name}.deb"
    (place / path).parent.mkdir(parents=True)
    (place / path).write_bytes(data)
    artifact = Artifact(path=path, size=len(data), hashes={"sha256": sha256})
    return deb(name, artifact=artifact)


def of_packages(place: Path, needed: str, *others: str) -> Path:
    """A lock of one package, with others that are kept besides; dpkg is essential."""
    names = [needed, *others, "lost"]
    layer = SystemLayer(
        kernel="Linux",
        machine="x86_64",
        manager="dpkg",
        os_release={"ID": "debian", "VERSION_ID": "12"},
        installed=[f"{name} 1.0-1 amd64 manual" for name in sorted(names)],
        packages=[kept(place, needed)],
        others=[kept(place, name) for name in others],
        essential=["dpkg:amd64"],
        scope="essential" if others else "needed",
    )
    python = InterpreterLayer(facts=interpreter(), origin="system")
    return written(place, layer=layer, interpreter=python)


@pytest.fixture
def bootstrap(
    tmp_path: Path, environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> Mapping[str, str]:
    fakebootstrap.install(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{environ['PATH']}")
    return environ


class Told(Progress):
    """What work says that it is at."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def doing(self, text: str) -> None:
        self.lines.append(text)


def built(
    path: Path,
    into: str,
    environ: Mapping[str, str],
    progress: Progress | None = None,
    **options: Any,
) -> workflow.Archived:
    context = workflow.Context(
        environ=environ,
        cache=Cache(path.parent / f"cache-{into}"),
        progress=progress or Progress(),
    )
    chosen = workflow.ImageOptions(
        base="bootstrap", into=path.parent / into, offline=True, **options
    )
    return workflow.build_oci(path, chosen, context)


def test_an_archive_from_packages_alone(tmp_path: Path, bootstrap: Mapping[str, str]) -> None:
    path = of_packages(tmp_path, "libx", "dpkg", "other")
    told = Told()
    first, again = built(path, "a.tar", bootstrap, told), built(path, "b.tar", bootstrap)
    assert told.lines == ["Setting up dpkg ...", "Setting up libx ..."]
    assert first.image_id == again.image_id
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as tar:
        texts = [
            tar.extractfile(member).read()  # type: ignore[union-attr]
            for member in tar
            if member.isreg()
        ]
    assert any(b"usr/bin/sh" in text for text in texts)
    assert any(b"Package: libx\nStatus: install ok installed\n" in text for text in texts)
    assert not any(b"Package: other\n" in text for text in texts)


def test_what_the_lock_does_not_hold(tmp_path: Path, bootstrap: Mapping[str, str]) -> None:
    path = of_packages(tmp_path, "libx")
    with pytest.raises(UsageError, match=r"no \.deb of 1 package: dpkg") as caught:
        built(path, "x.tar", bootstrap)
    assert "Capture again with --system essential" in caught.value.hint
    for ask in (built, lambda path, _into, environ, **o: chosen(path, environ, **o)):
        with pytest.raises(UsageError, match=r"manual: .* 2 packages: dpkg, lost 1\.0-1"):
            ask(path, "x.tar", bootstrap, system="manual")
    assert not (tmp_path / "x.tar").exists()


def test_a_dockerfile_begins_with_a_digest(tmp_path: Path, bootstrap: Mapping[str, str]) -> None:
    context = workflow.Context(environ=bootstrap, cache=Cache(tmp_path / "cache"))
    options = workflow.ImageOptions(base="bootstrap", render_only=tmp_path / "context")
    with pytest.raises(UsageError, match="begins with an image by digest"):
        workflow.render_docker(of_packages(tmp_path, "libx", "dpkg"), options, context)


def test_system_packages_are_for_images(tmp_path: Path, environ: Mapping[str, str]) -> None:
    done = envfreeze("build", written(tmp_path), "--into", "x", "--system", "all")
    assert "--system is not for --to venv" in ok(done, 2).stderr
    with pytest.raises(UsageError, match="'some'"):
        workflow.ImageOptions(system="some")
    with pytest.raises(UsageError, match="'some'"):
        workflow.CaptureOptions(system="some")


def test_a_lock_that_rests_on_an_image(tmp_path: Path, bootstrap: Mapping[str, str]) -> None:
    base = BaseImage(image_id="sha256:" + "a" * 64)
    python = InterpreterLayer(facts=interpreter(), origin="base")
    path = written(tmp_path, base=base, interpreter=python)
    with pytest.raises(UsageError, match="rests on the base image") as caught:
        built(path, "x.tar", bootstrap)
    assert "--pack-base" in caught.value.hint
