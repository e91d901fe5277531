"""A lock at a glance: every fact has its line, absence is said, and nothing forges a line."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from envfreeze.cli.page import page
from envfreeze.model.conda import CondaFiles
from envfreeze.model.host import (
    Accelerator,
    Blas,
    Cpu,
    Driver,
    Framework,
    Gpu,
    Host,
    Library,
    Limits,
    Numerics,
    OtherAccelerator,
    Platform,
    Toolkit,
)
from envfreeze.model.lock import LooseEntry, NamedPackage, Need, SystemLayer, UnownedFiles
from envfreeze.model.snapshot import Finding
from tests.support import condas, locks

PLATFORM = Platform(
    kernel_release="6.1.0",
    libc="glibc 2.36",
    cpu=Cpu(name="EPYC", level="x86-64-v3", flags=["avx", "avx2"]),
    limits=Limits(online=8, allowed=4, quota=2.5, memory=64 << 30, memory_limit=16 << 30),
    container="docker",
    timezone="Europe/Lisbon",
)
GPU = Gpu(name="H100", capability="9.0", memory=80 << 30, ecc=True, uuid="GPU-secret")
CUDA = Accelerator(
    driver=Driver(state="found", version="580.95.05", cuda="13.0", open=True, source="nvml"),
    gpus=[GPU, GPU],
    toolkits=[Toolkit(version="13.0", root="/usr/local/cuda", active=True, source="version.json")],
    libraries=[Library(name="cudnn", version="9.10.2.21", owner="wheel nvidia-cudnn-cu12")],
    frameworks=[Framework(name="torch", version="2.9.1", cuda="12.8", source="torch/version.py")],
)


def shown(host: Host | None = None, **machine: Any) -> str:
    text = page(locks.lock(host=host, **machine), "env.lock", width=400)
    return " ".join(text.split())


@pytest.mark.parametrize(
    "fact",
    [
        "EPYC · x86-64-v3 · 4 of 8 processors · at most 2.5 at a time · 16.0 GiB avx avx2",
        "kernel 6.1.0 · glibc 2.36 · in docker · time zone Europe/Lisbon",
        "NVIDIA driver 580.95.05 · serves CUDA 13.0 · open kernel module",
        "2 x H100 · compute capability 9.0 · 80 GiB · ECC",
        "CUDA toolkit 13.0 at /usr/local/cuda · active",
        "cudnn 9.10.2.21 (wheel nvidia-cudnn-cu12)",
        "torch 2.9.1 · built for CUDA 12.8",
        "openblas 0.3.30 · pthreads · wheel numpy",
        "OMP_NUM_THREADS=4: changes results",
    ],
)
def test_each_fact_has_its_place(fact: str) -> None:
    blas = Blas(
        kind="blas",
        name="openblas",
        version="0.3.30",
        threading="pthreads",
        path="/x",
        owner="wheel numpy",
    )
    numerics = Numerics(libraries=[blas], variables={"OMP_NUM_THREADS": "4"})
    text = shown(Host(platform=PLATFORM, accelerator=CUDA, numerics=numerics))
    assert fact in text
    assert "GPU-secret" not in text


@pytest.mark.parametrize(
    ("driver", "said"),
    [
        (Driver(state="none"), "no NVIDIA driver"),
        (Driver(state="not-looked"), "NVIDIA driver · not looked at"),
        (
            Driver(state="no-answer", version="580.1", reason="driver/library mismatch"),
            "NVIDIA driver 580.1 · would not answer · driver/library mismatch",
        ),
    ],
)
def test_three_kinds_of_absence(driver: Driver, said: str) -> None:
    assert f"accelerator {said}" in shown(Host(accelerator=Accelerator(driver=driver)))


def test_what_was_not_looked_at_is_said() -> None:
    text = shown(None)
    for part in ("platform", "accelerator", "numerics"):
        assert f"{part} not looked at" in text


def test_other_accelerators() -> None:
    other = OtherAccelerator(kind="rocm", state="found", version="6.2", devices=["gfx942"])
    found = Accelerator(driver=Driver(state="none"), others=[other])
    assert "rocm · 6.2 · gfx942" in shown(Host(accelerator=found))


def test_the_system() -> None:
    layer = SystemLayer(
        kernel="Linux",
        machine="x86_64",
        os_release={"PRETTY_NAME": "Rocky Linux 9"},
        manager="rpm",
        installed=["a 1 noarch", "b 2 noarch"],
        named=[NamedPackage(name="glibc", version="2.34", arch="x86_64", identity="sha256:0")],
        needs=[Need(name="git", path="/usr/bin/git", package="git-core")],
        unowned=UnownedFiles(files=[LooseEntry(path="opt/lib/libx.so", sha256="0" * 64)]),
    )
    text = shown(layer=layer)
    assert "Rocky Linux 9 · x86_64 · 2 packages installed" in text
    assert "1 package of rpm needed, identified and not kept glibc 2.34" in text
    assert "git is called: /usr/bin/git of git-core" in text
    assert "owned by no package, NOT kept: /opt/lib/libx.so" in text


def test_findings_are_counted_after_three() -> None:
    findings = [Finding(kind="leftover", place=f"/{n}", detail="x") for n in range(5)]
    text = shown(findings=findings)
    assert "findings leftover /0: x leftover /1: x leftover /2: x leftover and 2 more" in text


def test_no_name_breaks_its_line_or_colours_the_terminal() -> None:
    evil = "x\n  lock          forged · hermetic\x1b[31m\u202e"
    lock = locks.lock(findings=[Finding(kind=evil, place=evil, detail=evil)])
    cpu = Cpu(name=evil, flags=[evil])
    host = Host(platform=Platform(cpu=cpu, limits=Limits(), libc=evil))
    machine = msgspec.structs.replace(lock.machine, host=host)
    tool = msgspec.structs.replace(lock.tool, envfreeze=machine)
    text = page(msgspec.structs.replace(lock, tool=tool), evil)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert [line for line in text.splitlines() if line.startswith("  lock ")] == [
        text.splitlines()[0]
    ]


def test_it_fits_a_narrow_terminal() -> None:
    text = page(locks.lock(host=Host(platform=PLATFORM, accelerator=CUDA)), "env.lock", width=60)
    assert max(map(len, text.splitlines())) <= 60


def test_conda_packages_have_a_part() -> None:
    lost = condas.package("lost", proof="unproved", artifact=None)
    layer = condas.layer(
        condas.package("python", requested=["python"]),
        condas.packed("foo"),
        lost,
        frozen=True,
        virtual=["__glibc=2.36=0"],
        loose=CondaFiles(files=[LooseEntry(path="share/x", sha256="e" * 64)]),
    )
    text = shown(conda=layer)
    assert "conda 3 packages · 1 proved · 1 packed · 1 UNPROVED · 1 file that none owns" in text
    assert f"linux-64 · /opt/env · frozen from {condas.CHANNEL}" in text
    assert "captured with __glibc=2.36=0 asked for: python" in text
