"""Which base image a lock wants, and why."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from envfreeze.model.host import Accelerator, Driver, Host, Library, Toolkit
from envfreeze.model.lock import Lock
from envfreeze.model.snapshot import Finding
from envfreeze.resolve.baseimage import choose, platform
from tests.support.locks import interpreter, lock

BOOKWORM = {"ID": "debian", "VERSION_ID": "12", "VERSION_CODENAME": "bookworm"}
SLIM = "debian:bookworm-slim"
JAMMY = {"ID": "ubuntu", "VERSION_ID": "22.04", "PRETTY_NAME": "Ubuntu 22.04.5 LTS"}
NOBLE = {"ID": "ubuntu", "VERSION_ID": "24.04"}
OFFICIAL = (
    "'--build=x86_64-linux-gnu' '--enable-loadable-sqlite-extensions' '--enable-optimizations'"
    " '--enable-option-checking=fatal' '--enable-shared' '--with-lto' '--with-ensurepip'"
)
"""As docker-library/python's Dockerfile-linux.template gives it to configure."""


def official(**changes: Any) -> Any:
    facts = {"base_prefix": "/usr/local", "prefix": "/opt/venv", "config_args": OFFICIAL}
    return interpreter(version="3.12.13", **(facts | changes))


def with_cuda(*paths: str, environment: dict[str, str] | None = None, **more: Any) -> Lock:
    """A lock that loads these from the system, and holds no package that brings them."""
    findings = [Finding(kind="unowned-library", place=path) for path in paths]
    os_release = more.pop("os_release", JAMMY)
    return lock(os_release=os_release, findings=findings, environment=environment or {}, **more)


def image(given: Lock) -> str:
    found = choose(given)
    assert found is not None
    assert found.reason
    return found.image


@pytest.mark.parametrize(
    ("os_release", "expected"),
    [
        (BOOKWORM, "debian:bookworm-slim"),
        ({"ID": "debian", "VERSION_ID": "13"}, "debian:trixie-slim"),
        (JAMMY, "ubuntu:22.04"),
        ({"ID": "ubuntu", "VERSION_ID": "26.04"}, "ubuntu:26.04"),
    ],
)
def test_the_release_decides(os_release: dict[str, str], expected: str) -> None:
    assert image(lock(os_release=os_release)) == expected


@pytest.mark.parametrize("os_release", [{}, {"ID": "debian"}, {"ID": "arch", "VERSION_ID": "1"}])
def test_an_unknown_release_has_none(os_release: dict[str, str]) -> None:
    assert choose(lock(os_release=os_release)) is None


def test_another_kernel_has_none() -> None:
    layer = lock(os_release=BOOKWORM).machine.system
    assert choose(lock(layer=msgspec.structs.replace(layer, kernel="Darwin"))) is None


@pytest.mark.parametrize(
    ("os_release", "expected"),
    [
        ({"ID": "rocky", "VERSION_ID": "9.4"}, "rockylinux:9"),
        ({"ID": "alpine", "VERSION_ID": "3.22.1"}, "alpine:3.22"),
    ],
)
def test_rpm_and_apk_are_named_and_not_built(os_release: dict[str, str], expected: str) -> None:
    found = choose(lock(os_release=os_release))
    assert found is not None
    assert (found.image, found.buildable) == (expected, False)


# --- python -------------------------------------------------------------------------------


def test_the_official_interpreter_in_a_venv() -> None:
    assert image(lock(facts=official(), os_release=BOOKWORM)) == "python:3.12.13-slim-bookworm"


@pytest.mark.parametrize(
    "changes",
    [
        {"prefix": "/usr/local"},
        {"system_site": True},
        {"base_prefix": "/home/u/.pyenv/versions/3.12.13"},
        {"config_args": "'--prefix=/usr/local' '--enable-shared'"},
        {"config_args": None},
        {"free_threaded": True},
        {"implementation": "pypy"},
    ],
)
def test_others_are_brought_by_the_lock(changes: dict[str, Any]) -> None:
    found = choose(lock(facts=official(**changes), os_release=BOOKWORM))
    assert found is not None
    assert found.image == "debian:bookworm-slim"
    assert "brings its own Python" in found.reason


def test_official_images_are_debian() -> None:
    assert image(lock(facts=official(), os_release=JAMMY)) == "ubuntu:22.04"


def test_a_hostile_version_makes_no_tag() -> None:
    facts = official()
    facts = msgspec.structs.replace(facts, version="3.12.13 AS x\nRUN evil")
    assert image(lock(facts=facts, os_release=BOOKWORM)) == "debian:bookworm-slim"


# --- CUDA ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paths", "environment", "expected"),
    [
        (["/usr/local/cuda-12.4/lib64/libcudart.so.12"], {}, "12.4.1-base-ubuntu22.04"),
        (["/usr/local/cuda-12.4/lib64/libcublas.so.12"], {}, "12.4.1-runtime-ubuntu22.04"),
        (
            ["/usr/local/cuda-12.4/lib64/libcublas.so.12", "/usr/lib/libcudnn.so.9"],
            {},
            "12.4.1-cudnn-runtime-ubuntu22.04",
        ),
        (
            ["/usr/local/cuda-11.8/lib64/libcudart.so.11.0", "/usr/lib/libcudnn.so.8"],
            {"CUDA_HOME": "/usr/local/cuda-11.8"},
            "11.8.0-cudnn8-devel-ubuntu22.04",
        ),
        (
            ["/usr/local/cuda-12.3/lib64/libcublas.so.12", "/usr/lib/libcudnn.so.9"],
            {},
            "12.3.2-cudnn9-runtime-ubuntu22.04",
        ),
        (["/usr/local/cuda-12.8/lib64/libcudart.so.12"], {}, "12.8.1-base-ubuntu22.04"),
    ],
)
def test_cuda_of_the_system(paths: list[str], environment: dict[str, str], expected: str) -> None:
    assert image(with_cuda(*paths, environment=environment)) == f"nvidia/cuda:{expected}"


def test_the_toolkit_tells_the_version() -> None:
    toolkit = Toolkit(version="12.4.1", root="/usr/local/cuda", source="version.json")
    accelerator = Accelerator(driver=Driver(state="none"), toolkits=[toolkit])
    given = with_cuda("/usr/local/cuda/lib64/libcudart.so.12", host=Host(accelerator=accelerator))
    assert image(given) == "nvidia/cuda:12.4.1-base-ubuntu22.04"


def test_the_library_tells_the_version() -> None:
    path = "/opt/x/libcudart.so.12"
    own = Library(name="cudart", version="12.6.77", path=path, soname="libcudart.so.12")
    accelerator = Accelerator(driver=Driver(state="none"), libraries=[own])
    given = with_cuda(path, host=Host(accelerator=accelerator))
    assert image(given) == "nvidia/cuda:12.6.3-base-ubuntu22.04"


@pytest.mark.parametrize(
    ("paths", "os_release", "plain", "said"),
    [
        (
            ["/usr/local/cuda-12.4/lib64/libcudart.so.12"],
            BOOKWORM,
            "debian:bookworm-slim",
            "Debian",
        ),
        (["/usr/local/cuda-11.8/lib64/libcudart.so.11.0"], NOBLE, "ubuntu:24.04", "CUDA 11.8"),
        (["/opt/libcudart.so.12"], JAMMY, "ubuntu:22.04", "not told"),
        (
            ["/usr/local/cuda-12.5/lib64/libcudart.so.12", "/usr/lib/libcudnn.so.9"],
            NOBLE,
            "ubuntu:24.04",
            "CUDA 12.5",
        ),
    ],
)
def test_where_there_is_none_it_says_so(
    paths: list[str], os_release: dict[str, str], plain: str, said: str
) -> None:
    found = choose(with_cuda(*paths, os_release=os_release))
    assert found is not None
    assert found.image == plain
    assert said in found.notes[0]
    assert "--base" in found.notes[0]


def test_other_unowned_libraries_are_not_cuda() -> None:
    assert image(with_cuda("/opt/libfoo.so.1", "/opt/libcudadebugger.so.1")) == "ubuntu:22.04"


def test_wheels_that_bring_cuda_need_no_image() -> None:
    own = Library(name="cudart", version="12.6.77", owner="wheel nvidia-cuda-runtime-cu12")
    accelerator = Accelerator(driver=Driver(state="none"), libraries=[own])
    assert image(lock(os_release=JAMMY, host=Host(accelerator=accelerator))) == "ubuntu:22.04"


def test_platforms() -> None:
    assert platform(interpreter()) == ("amd64", "")
    assert platform(interpreter(machine="aarch64")) == ("arm64", "")
    assert platform(interpreter(machine="vax")) is None
