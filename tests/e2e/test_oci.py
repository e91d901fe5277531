"""A lock into an image archive without an engine, and an engine's word on it."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from envfreeze import workflow
from envfreeze.build.engine import connect
from tests.e2e.conftest import IMAGE
from tests.support.cli import envfreeze, ok, run
from tests.support.engine import TestEngine

pytestmark = [pytest.mark.network, pytest.mark.docker]

OCI = "envfreeze-oci:1"


@pytest.fixture(scope="module")
def base(docker_engine: TestEngine, image: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that has the system packages of the lock: those of the image that an engine built,
    since some of them want to be run."""
    path = tmp_path_factory.mktemp("base") / "saved.tar"
    with path.open("wb") as file:
        connect().save(image, file)
    if shutil.which("skopeo") is None:
        pytest.skip("there is no skopeo to make a layout with")
    layout = path.with_name("layout")
    run("skopeo", "--insecure-policy", "copy", f"docker-archive:{path}", f"oci:{layout}:base")
    return layout


@pytest.fixture(scope="module")
def archive(
    docker_engine: TestEngine, lock: Path, base: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("oci") / "image.tar"
    done = envfreeze(
        "build", lock, "--to", "oci", "--into", path, "--tag", OCI, "--base", f"oci:{base}",
        env={"DOCKER_HOST": docker_engine.host},
    )  # fmt: skip
    ok(done)
    assert "verified" in done.stdout
    return path


def test_an_engine_runs_it(archive: Path, env: Path) -> None:
    modules = "ssl, sqlite3, ctypes, lzma, bz2, requests, yaml, markupsafe, greenlet, zoneinfo"
    program = f"import {modules}; print('fine')"
    assert connect().run_probe(OCI, ["python", "-c", program]) == b"fine\n"


def test_the_directories_of_the_base_are_as_they_were(archive: Path) -> None:
    said = connect().run_probe(OCI, ["stat", "-c", "%a", "/tmp", "/usr", "/home"])
    assert said.split() == [b"1777", b"755", b"755"]


def test_it_is_configured_as_the_other_one(archive: Path) -> None:
    one, other = connect().inspect(OCI), connect().inspect(IMAGE)
    assert one is not None
    assert other is not None
    for key in ("Cmd", "Entrypoint", "WorkingDir", "User"):
        assert (one["Config"].get(key) or None) == (other["Config"].get(key) or None), key
    # Its base is the other one, so the scripts stand on PATH twice.
    below = dict(row.split("=", 1) for row in other["Config"]["Env"])
    scripts = below["PATH"].partition(":")[0]
    above = dict(row.split("=", 1) for row in one["Config"]["Env"])
    assert above == below | {"PATH": f"{scripts}:{below['PATH']}"}
    told = {"org.opencontainers.image.base.name", "org.opencontainers.image.base.digest"}
    labels = [
        {key: value for key, value in each["Config"]["Labels"].items() if key not in told}
        for each in (one, other)
    ]
    assert labels[0] == labels[1]


@pytest.mark.long
def test_the_same_bytes_with_a_cache_of_their_own(
    archive: Path, lock: Path, base: Path, tmp_path: Path
) -> None:
    for cache in (None, tmp_path / "cache"):
        again = tmp_path / "again.tar"
        done = envfreeze(
            "build", lock, "--to", "oci", "--into", again, "--base", f"oci:{base}", "--tag", OCI,
            "--quiet", env={"ENVFREEZE_CACHE_DIR": str(cache)} if cache else {},
        )  # fmt: skip
        ok(done)
        assert again.read_bytes() == archive.read_bytes()


def test_the_engine_has_the_id_that_was_told(
    archive: Path, lock: Path, base: Path, tmp_path: Path
) -> None:
    done = envfreeze(
        "build",
        lock,
        "--to",
        "oci",
        "--into",
        tmp_path / "x.tar",
        "--base",
        f"oci:{base}",
        "--json",
    )
    told = json.loads(ok(done).stdout)
    found = connect().inspect(OCI)
    assert found is not None
    assert told["image_id"] == found["Id"]
    assert told["verified"] is None


def test_skopeo_reads_it(archive: Path) -> None:
    said = json.loads(run("skopeo", "inspect", "--config", f"oci-archive:{archive}"))
    with tarfile.open(archive) as tar:
        entry = json.load(tar.extractfile("manifest.json"))[0]  # type: ignore[arg-type]
        config = json.load(tar.extractfile(entry["Config"]))  # type: ignore[arg-type]
    assert said["rootfs"]["diff_ids"] == config["rootfs"]["diff_ids"]


def test_a_base_by_digest_comes_from_its_registry(
    docker_engine: TestEngine, lock: Path, tmp_path: Path
) -> None:
    """The smallest base lacks packages that want to be run: each is named, nothing is written."""
    needed = {package.name for package in workflow.load(lock).machine.system.packages}
    if not needed & {"ca-certificates", "openssl", "readline-common"}:
        pytest.skip("this lock needs no system package that brings scripts")
    into = tmp_path / "x.tar"
    done = envfreeze(
        "build", lock, "--to", "oci", "--into", into, "--base", docker_engine.base_ref,
        env={"DOCKER_HOST": f"unix://{tmp_path}/none.sock"},
    )  # fmt: skip
    ok(done, 2)
    assert "would have to be run" in done.stderr
    assert "--to docker" in done.stderr
    assert not into.exists()


def test_without_registry_and_engine(lock: Path, tmp_path: Path) -> None:
    base = "127.0.0.1:9/base@sha256:" + "0" * 64
    done = envfreeze(
        "build", lock, "--to", "oci", "--into", tmp_path / "x.tar", "--base", base,
        env={"DOCKER_HOST": f"unix://{tmp_path}/none.sock"},
    )  # fmt: skip
    ok(done, 2)
    assert "oci-archive:FILE" in done.stderr
