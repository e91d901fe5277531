"""Small locks for tests of what is made from a lock."""

from __future__ import annotations

from typing import Any

from envfreeze.model.lock import (
    Artifact,
    InterpreterLayer,
    Lock,
    Machine,
    SystemLayer,
    SystemPackage,
    Tool,
)
from envfreeze.model.snapshot import Interpreter

BASE = "mirror.example/base:12@sha256:" + "b" * 64


def interpreter(**changes: Any) -> Interpreter:
    facts: dict[str, Any] = {
        "implementation": "cpython",
        "version": "3.11.7",
        "abiflags": "",
        "free_threaded": False,
        "debug": False,
        "platform": "linux-x86_64",
        "machine": "x86_64",
        "bits": 64,
        "compiler": "GCC",
        "build": "",
        "executable": "/home/u/env/bin/python",
        "base_executable": "/home/u/py/bin/python3.11",
        "prefix": "/home/u/env",
        "base_prefix": "/home/u/py",
        "stdlib": "/home/u/py/lib/python3.11",
        "purelib": "/home/u/env/lib/python3.11/site-packages",
        "platlib": "/home/u/env/lib/python3.11/site-packages",
        "scripts": "/home/u/env/bin",
        "venv": True,
        "system_site": False,
    }
    return Interpreter(**(facts | changes))


def deb(name: str, version: str = "1.0-1", **changes: Any) -> SystemPackage:
    facts: dict[str, Any] = {
        "name": name,
        "version": version,
        "arch": "amd64",
        "proof": "packed",
        "evidence": "rebuilt",
        "artifact": Artifact(path="env.lock.d/x/x.deb", size=1, hashes={"sha256": "c" * 64}),
    }
    return SystemPackage(**(facts | changes))


def lock(
    *,
    facts: Interpreter | None = None,
    system: list[SystemPackage] | None = None,
    os_release: dict[str, str] | None = None,
    layer: SystemLayer | None = None,
    **machine: Any,
) -> Lock:
    archive = Artifact(path="env.lock.d/y/interpreter.tar.gz", size=1, hashes={"sha256": "d" * 64})
    python = InterpreterLayer(facts=facts or interpreter(), origin="packed", archive=archive)
    values: dict[str, Any] = {
        "schema": 1,
        "id": "a" * 64,
        "hermetic": True,
        "layers": {},
        "interpreter": python,
        "system": layer
        or SystemLayer(
            kernel="Linux",
            machine="x86_64",
            os_release=os_release or {},
            packages=system or [],
        ),
    }
    return Lock(
        lock_version="1.0",
        created_by="envfreeze",
        packages=[],
        tool=Tool(envfreeze=Machine(**(values | machine))),
    )
