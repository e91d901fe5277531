"""A lock into an image through a real engine, with the network off, and verified there."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from envfreeze import workflow
from envfreeze.build.engine import connect
from tests.support.cli import digests, envfreeze, ok, run, site
from tests.support.engine import TestEngine

pytestmark = [pytest.mark.network, pytest.mark.docker]


def _in_image(image: str, *argv: str) -> str:
    return connect().run_probe(image, argv).decode()


def test_the_image_verifies_and_differs_by_nothing(image: str, lock: Path) -> None:
    ok(envfreeze("verify", lock, f"image:{image}"))


def test_another_build_is_the_same_image(
    docker_engine: TestEngine, image: str, lock: Path, cache: Path, tmp_path: Path
) -> None:
    """With nothing remembered but what was fetched: the base's own dpkg runs again."""
    fetched = tmp_path / "cache"
    shutil.copytree(cache, fetched, ignore=shutil.ignore_patterns("layers", "base-*"))
    done = envfreeze(
        "build", lock, "--to", "docker", "--tag", "envfreeze-e2e:again",
        "--base", docker_engine.base_ref, "--offline",
        env={"DOCKER_HOST": docker_engine.host, "ENVFREEZE_CACHE_DIR": str(fetched)},
    )  # fmt: skip
    ok(done)
    assert (fetched / "layers").is_dir()
    first, again = connect().inspect(image), connect().inspect("envfreeze-e2e:again")
    assert first is not None
    assert again is not None
    assert first["Id"] == again["Id"]
    assert first["RootFS"] == again["RootFS"]


def test_every_layer_was_compared(image: str, lock: Path, report: Path) -> None:
    told = json.loads(report.read_text())
    assert told["equal"] is True
    assert told["lock"] == workflow.load(lock).machine.id
    layers = {row["layer"]: row for row in told["layers"]}
    assert {"interpreter", "packages", "system", "environment"} <= set(layers)
    assert {row["verdict"] for row in layers.values()} == {"equal"}
    assert layers["system"]["count"] == len(workflow.load(lock).machine.system.packages)
    assert layers["packages"]["count"] > 100
    assert layers["environment"]["compared"].endswith("python on PATH, a start as its user")


def test_packages_and_the_standard_library_import(image: str, env: Path) -> None:
    modules = "ssl, sqlite3, ctypes, lzma, bz2, requests, yaml, markupsafe, greenlet, zoneinfo"
    said = _in_image(image, str(env / "bin/python"), "-c", f"import {modules}; print('fine')")
    assert said == "fine\n"


def test_every_file_is_in_the_image(image: str, env: Path) -> None:
    script = (
        "import hashlib,json,os,sys\n"
        "found={}\n"
        "for top,_,names in os.walk(sys.argv[1]):\n"
        "  for n in names:\n"
        "    p=os.path.join(top,n)\n"
        "    found[os.path.relpath(p,sys.argv[1])]="
        "hashlib.sha256(open(p,'rb').read()).hexdigest()\n"
        "print(json.dumps(found))\n"
    )
    out = _in_image(image, str(env / "bin/python"), "-B", "-c", script, str(site(env)))
    there = json.loads(out)
    for path, digest in digests(site(env)).items():
        assert there[path] == digest, path


def test_the_image_says_what_it_is(image: str, lock: Path) -> None:
    labels = connect().inspect(image)["Config"]["Labels"]  # type: ignore[index]
    assert labels["io.envfreeze.id"] == workflow.load(lock).machine.id
    assert labels["org.opencontainers.image.base.digest"].startswith("sha256:")
    assert _in_image(image, "cat", "/usr/share/envfreeze/env.lock") == lock.read_text()


@pytest.mark.long
def test_another_environment_does_not_verify(image: str, lock: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    ok(envfreeze("build", lock, "--into", other))
    (site(other) / "six.py").unlink()
    ok(envfreeze("capture", other, "-o", tmp_path / "other.lock"))
    done = ok(envfreeze("verify", tmp_path / "other.lock", f"image:{image}"), 1)
    assert "six" in done.stdout


def test_rendering_writes_a_context_that_checks(
    docker_engine: TestEngine, lock: Path, tmp_path: Path
) -> None:
    context = tmp_path / "context"
    done = envfreeze(
        "build", lock, "--to", "docker", "--base", docker_engine.base_ref,
        "--render-only", context, "--offline",
    )  # fmt: skip
    assert ok(done).stdout.strip() == str(context / "Dockerfile")
    run("sh", "-c", f"cd '{context}' && sha256sum --strict --quiet -c SHA256SUMS")
    again = tmp_path / "again"
    ok(
        envfreeze(
            "build", lock, "--to", "docker", "--base", docker_engine.base_ref,
            "--render-only", again, "--offline",
        )
    )  # fmt: skip
    assert digests(again) == digests(context)


def test_the_base_must_be_named_by_digest(lock: Path) -> None:
    done = ok(envfreeze("build", lock, "--to", "docker", "--base", "debian:12"), 2)
    assert "digest" in done.stderr


def test_the_base_is_chosen_and_pinned(docker_engine: TestEngine, lock: Path, cache: Path) -> None:
    release = workflow.load(lock).machine.system.os_release
    if (release.get("ID"), release.get("VERSION_ID")) != ("debian", "12"):
        pytest.skip("the base for tests is a Debian 12")
    registry, digest = offer(docker_engine, "library/debian:bookworm-slim")
    done = envfreeze(
        "build", lock, "--to", "docker", "--tag", "envfreeze-e2e:2", "--registry", registry,
        env={"DOCKER_HOST": docker_engine.host, "ENVFREEZE_CACHE_DIR": str(cache)},
    )  # fmt: skip
    ok(done)
    assert f"base: {registry}/library/debian:bookworm-slim@{digest}" in done.stderr
    assert "verified" in done.stdout
    labels = connect().inspect("envfreeze-e2e:2")["Config"]["Labels"]  # type: ignore[index]
    assert labels["org.opencontainers.image.base.digest"] == digest


def test_the_engine_tells_the_digest_of_what_it_has(
    docker_engine: TestEngine, lock: Path, tmp_path: Path
) -> None:
    registry, digest = offer(docker_engine, "library/debian:bookworm-slim")
    done = envfreeze(
        "build", lock, "--to", "docker", "--registry", registry, "--offline",
        "--render-only", tmp_path / "context", env={"DOCKER_HOST": docker_engine.host},
    )  # fmt: skip
    ok(done)
    assert "digest from the engine" in done.stderr
    assert f"@{digest}" in (tmp_path / "context/Dockerfile").read_text()


def offer(engine: TestEngine, name: str) -> tuple[str, str]:
    """Push the base under another name; its registry, and the digest there."""
    import docker

    registry = engine.base_ref.partition("/")[0]
    if ":" not in registry:
        pytest.skip("the base for tests is in no registry of our own")
    repository, _, tag = name.partition(":")
    api = docker.APIClient(base_url=engine.host, version="auto", timeout=300)
    try:
        api.tag(engine.base_ref, f"{registry}/{repository}", tag)
        for event in api.push(f"{registry}/{repository}", tag=tag, stream=True, decode=True):
            assert "error" not in event, event
        digests = api.inspect_image(f"{registry}/{name}")["RepoDigests"]
    finally:
        api.close()
    own = next(d for d in digests if d.startswith(f"{registry}/{repository}@"))
    return registry, own.partition("@")[2]


def test_an_engine_that_is_down_is_named(lock: Path, tmp_path: Path) -> None:
    base = "base@sha256:" + "0" * 64
    done = envfreeze(
        "build", lock, "--to", "docker", "--base", base,
        env={"DOCKER_HOST": f"unix://{tmp_path}/none.sock"},
    )  # fmt: skip
    ok(done, 6)
    assert "none.sock" in done.stderr


# --- containers, images and roots as targets -----------------------------------------------

PRIVATE = {
    "vendor_thing.py": "x = 1\n",
    "vendor_thing-1.0.dist-info/METADATA": (
        "Metadata-Version: 2.1\nName: vendor-thing\nVersion: 1.0\n"
    ),
    "vendor_thing-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
    "vendor_thing-1.0.dist-info/INSTALLER": "pip\n",
    "vendor_thing-1.0.dist-info/RECORD": "".join(
        f"vendor_thing{name},,\n"
        for name in (
            ".py",
            *(f"-1.0.dist-info/{own}" for own in ("METADATA", "WHEEL", "INSTALLER", "RECORD")),
        )
    ),
}
"""A distribution that no index offers."""


def _as_tar(files: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(text), 0o644
            archive.addfile(member, io.BytesIO(text.encode()))
    return out.getvalue()


@pytest.fixture(scope="module")
def api(docker_engine: TestEngine) -> Iterator[Any]:
    import docker

    client = docker.APIClient(base_url=docker_engine.host, version="auto", timeout=300)
    yield client
    client.close()


@pytest.fixture(scope="module")
def vendor(image: str, env: Path, docker_engine: TestEngine, api: Any) -> str:
    """An image that a registry knows by digest, with something in it that no index offers."""
    registry = docker_engine.base_ref.partition("/")[0]
    if ":" not in registry:
        pytest.skip("the base for tests is in no registry of our own")
    made = api.create_container(image, command=["true"])["Id"]
    api.put_archive(made, str(site(env)), _as_tar(PRIVATE))
    api.commit(made, repository=f"{registry}/vendor", tag="1")
    api.remove_container(made)
    for event in api.push(f"{registry}/vendor", tag="1", stream=True, decode=True):
        assert "error" not in event, event
    return f"{registry}/vendor:1"


@pytest.fixture(scope="module")
def vendor_lock(vendor: str, tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    path = tmp_path_factory.mktemp("vendor") / "vendor.lock"
    shown = {"ENVFREEZE_CACHE_DIR": str(cache)}
    ok(envfreeze("capture", f"image:{vendor}", "-o", path, "--strict", env=shown))
    return path


def test_an_image_is_its_own_base_and_is_rebuilt_from_its_lock(
    vendor: str, vendor_lock: Path, api: Any, tmp_path: Path
) -> None:
    lock = workflow.load(vendor_lock)
    base = lock.machine.base
    assert base is not None
    assert base.reference == f"{vendor}@{base.pinned.partition('@')[2]}"
    assert [package.name for package in lock.machine.held] == ["vendor-thing"]
    assert lock.machine.system.packages == []
    assert lock.machine.interpreter.archive is None
    own = api.inspect_image(vendor)["Id"]
    assert [one for one in api.containers(all=True) if one["ImageID"] == own] == []
    done = ok(envfreeze("build", vendor_lock, "--to", "docker", "--tag", "envfreeze-e2e:3"))
    assert "verified" in done.stdout
    ok(envfreeze("diff", f"image:{vendor}", "image:envfreeze-e2e:3"))
    refused = ok(envfreeze("build", vendor_lock, "--into", tmp_path / "venv"), 2)
    assert "vendor-thing" in refused.stderr
    assert "--pack-base" in refused.stderr


@pytest.mark.long
def test_a_container_is_captured_as_it_was_and_comes_back_as_its_image_and_the_rest(
    vendor: str, vendor_lock: Path, env: Path, api: Any, tmp_path: Path
) -> None:
    made = api.create_container(
        vendor, command=["sleep", "600"], entrypoint=[], network_disabled=True,
        host_config=api.create_host_config(network_mode="none", init=False),
    )["Id"]  # fmt: skip
    lock = tmp_path / "container.lock"
    try:
        api.start(made)
        gone = str(site(env) / "six.py")
        edit = api.exec_create(made, ["rm", gone])["Id"]
        api.exec_start(edit)
        api.put_archive(made, str(site(env)), _as_tar({"added.py": "y = 2\n"}))
        before = api.diff(made)
        ok(envfreeze("capture", f"docker:{made[:12]}", "-o", lock, "--strict"))
        assert sorted(map(str, api.diff(made))) == sorted(map(str, before))
        ok(envfreeze("verify", lock, f"docker:{made[:12]}"))
        told = ok(envfreeze("diff", vendor_lock, f"docker:{made[:12]}", "--files"), 1).stdout
        assert "+ added.py" in told
        assert "+y = 2" in told
    finally:
        api.remove_container(made, force=True)
    base = workflow.load(lock).machine.base
    assert base is not None
    assert gone in base.removed
    done = ok(envfreeze("build", lock, "--to", "docker", "--tag", "envfreeze-e2e:4"))
    assert "verified" in done.stdout
    archive = tmp_path / "image.tar"
    done = ok(
        envfreeze("build", lock, "--to", "oci", "--into", archive, "--tag", "envfreeze-e2e:5")
    )
    assert "verified" in done.stdout


@pytest.mark.long
def test_an_unpacked_root_is_the_same_environment(
    image: str, lock: Path, env: Path, api: Any, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root changes its root")
    made = api.create_container(image, command=["true"])["Id"]
    root, archive = tmp_path / "root", tmp_path / "root.tar"
    try:
        with archive.open("wb") as file:
            for chunk in api.export(made):
                file.write(chunk)
    finally:
        api.remove_container(made)
    root.mkdir()
    run("tar", "-C", str(root), "-xf", str(archive))
    before = digests(root)
    ok(envfreeze("capture", f"root:{root}:{env}", "-o", tmp_path / "root.lock", "--no-pack"))
    assert digests(root) == before
    seen, known = workflow.load(tmp_path / "root.lock").machine, workflow.load(lock).machine
    same = ("interpreter", "packages", "files")
    assert [seen.layers[one] for one in same] == [known.layers[one] for one in same]
    ok(envfreeze("verify", lock, f"root:{root}:{env}"))
