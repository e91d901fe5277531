"""Small conda layers of locks."""

from __future__ import annotations

from typing import Any

from envfreeze.model.conda import CondaLayer, CondaPackage
from envfreeze.model.lock import Artifact

CHANNEL = "https://channel.example/main"


def package(name: str, **changes: Any) -> CondaPackage:
    """A package that the channel has."""
    fn = f"{name}-1.0-h0_0.conda"
    facts: dict[str, Any] = {
        "name": name,
        "version": "1.0",
        "build": "h0_0",
        "subdir": "linux-64",
        "channel": CHANNEL,
        "url": f"{CHANNEL}/linux-64/{fn}",
        "fn": fn,
        "md5": "a" * 32,
        "proof": "proved",
        "evidence": "",
        "count": 1,
        "tree": "b" * 64,
        "artifact": Artifact(
            name=fn, url=f"{CHANNEL}/linux-64/{fn}", size=3, hashes={"sha256": "c" * 64}
        ),
    }
    return CondaPackage(**(facts | changes))


def packed(name: str, **changes: Any) -> CondaPackage:
    """A package that lies beside the lock."""
    path = f"env.lock.d/{name[0] * 2}/{name}-1.0-h0_0.conda"
    artifact = Artifact(path=path, size=3, hashes={"sha256": "d" * 64})
    return package(name, **({"proof": "packed", "artifact": artifact} | changes))


def layer(*packages: CondaPackage, **changes: Any) -> CondaLayer:
    facts: dict[str, Any] = {
        "prefix": "/opt/env",
        "platform": "linux-64",
        "channels": [CHANNEL],
        "packages": list(packages),
    }
    return CondaLayer(**(facts | changes))
