"""Machines and locks for the doctor, as small as a test needs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from envfreeze.doctor.facts import Here, Python
from envfreeze.model.host import (
    Accelerator,
    Cpu,
    Driver,
    Framework,
    Gpu,
    Host,
    Library,
    Limits,
    Numerics,
    Platform,
)
from envfreeze.model.identity import environment_id, lock_layers
from envfreeze.model.lock import Artifact, Lock, Package, PackageFacts, PackageTool
from envfreeze.model.snapshot import System
from tests.support.locks import interpreter, lock

V100 = Gpu(name="Tesla V100-SXM2-16GB", capability="7.0")
T4 = Gpu(name="Tesla T4", capability="7.5")
A100 = Gpu(name="NVIDIA A100-SXM4-80GB", capability="8.0")
RTX3090 = Gpu(name="NVIDIA GeForce RTX 3090", capability="8.6")
RTXA6000 = Gpu(name="NVIDIA RTX A6000", capability="8.6")
L4 = Gpu(name="NVIDIA L4", capability="8.9")
H100 = Gpu(name="NVIDIA H100 80GB HBM3", capability="9.0")
B200 = Gpu(name="NVIDIA B200", capability="10.0")
B300 = Gpu(name="NVIDIA B300 SXM6 AC", capability="10.3")
RTX5090 = Gpu(name="NVIDIA GeForce RTX 5090", capability="12.0")
GB10 = Gpu(name="NVIDIA GB10", capability="12.1")
ORIN = Gpu(name="Orin (nvgpu)", capability="8.7")
NONE = Driver(state="none")
FACTS = interpreter(libc="glibc 2.36", soabi="cpython-311-x86_64-linux-gnu")


def driver(version: str, **more: Any) -> Driver:
    return Driver(state="found", version=version, source="nvml", **more)


def platform(
    libc: str | None = "glibc 2.36",
    level: str | None = "x86-64-v3",
    limits: Limits | None = None,
    flags: Sequence[str] = (),
) -> Platform:
    cpu = Cpu(level=level, flags=list(flags))
    return Platform(libc=libc, cpu=cpu, limits=limits or Limits(allowed=8, memory=32 << 30))


def host(
    found: Driver | None = None,
    gpus: Sequence[Gpu] = (),
    *,
    seen: Platform | None = None,
    libraries: Sequence[Library] = (),
    frameworks: Sequence[Framework] = (),
    variables: dict[str, str] | None = None,
) -> Host:
    return Host(
        platform=seen or platform(),
        accelerator=Accelerator(
            driver=found or NONE,
            gpus=list(gpus),
            libraries=list(libraries),
            frameworks=list(frameworks),
        ),
        numerics=Numerics(variables=variables or {}),
    )


def here(given: Host | None = None, **changes: Any) -> Here:
    """A Debian 12 machine with room, the Python of :data:`FACTS`, and no GPU."""
    python = Python(
        implementation=FACTS.implementation,
        version=FACTS.version,
        soabi=FACTS.soabi,
        platform=FACTS.platform,
        path="/usr/local/bin/python3.11",
    )
    values: dict[str, Any] = {
        "host": given or host(),
        "interpreter": FACTS,
        "system": System(kernel="Linux", machine="x86_64", dpkg={}),
        "libraries": {},
        "free": {"/home": 1 << 40},
        "pythons": (python,),
    }
    return Here(**(values | changes))


def package(name: str, version: str, tags: str = "py3-none-any", **facts: Any) -> Package:
    wheel = f"{name.replace('-', '_')}-{version}-{tags}.whl"
    values: dict[str, Any] = {
        "proof": "proved",
        "evidence": "RECORD",
        "tree": "e" * 64,
        "info": f"{name}-{version}.dist-info",
    }
    return Package(
        name=name,
        version=version,
        wheels=[
            Artifact(
                url=f"https://mirror.example/{wheel}", size=1_000_000, hashes={"sha256": "f" * 64}
            )
        ],
        tool=PackageTool(envfreeze=PackageFacts(**(values | facts))),
    )


def locked(*packages: Package, captured: Host | None = None, **machine: Any) -> Lock:
    """A lock of these packages; captured on Debian 12, x86_64."""
    facts = machine.pop("facts", FACTS)
    made = lock(facts=facts, host=captured or Host(platform=platform()), **machine)
    return msgspec.structs.replace(made, packages=list(packages))


def torch(version: str, *beside: Package, tags: str = "cp311-cp311-manylinux_2_28_x86_64") -> Lock:
    return locked(package("torch", version, tags), *beside)


def within(made: Lock, **changes: Any) -> Lock:
    """*made* with other values in ``[tool.envfreeze]``."""
    machine = msgspec.structs.replace(made.machine, **changes)
    return msgspec.structs.replace(made, tool=msgspec.structs.replace(made.tool, envfreeze=machine))


def sealed(made: Lock) -> Lock:
    """*made* with the digests that it must have to be loaded."""
    layers = lock_layers(made)
    return within(made, layers=layers, id=environment_id(layers))
