"""Small locks whose packages need each other."""

from __future__ import annotations

from typing import Any

import msgspec

from envfreeze.model.lock import Artifact, Lock, Package, PackageFacts, PackageTool
from tests.support import locks


def package(name: str, *requires: str, version: str = "1.0", **facts: Any) -> Package:
    known: dict[str, Any] = {
        "proof": "proved",
        "evidence": "",
        "tree": "0" * 64,
        "info": f"{name}-{version}.dist-info",
        "requires": list(requires),
    }
    wheel = Artifact(
        url=f"https://index.example/{name}-{version}-py3-none-any.whl",
        size=1,
        hashes={"sha256": "1" * 64},
    )
    tool = PackageTool(envfreeze=PackageFacts(**(known | facts)))
    return Package(name=name, version=version, wheels=[wheel], tool=tool)


def lock(*packages: Package, **machine: Any) -> Lock:
    return msgspec.structs.replace(locks.lock(**machine), packages=list(packages))
