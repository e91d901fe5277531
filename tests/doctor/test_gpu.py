"""Which CUDA a lock asks of the driver below."""

from __future__ import annotations

import msgspec
import pytest

from envfreeze.doctor.gpu import Demand, demand
from envfreeze.model.lock import Artifact, Lock, Package, PackageFacts, PackageTool
from tests.support.locks import deb, lock


def package(name: str, version: str) -> Package:
    facts = PackageFacts(proof="proved", evidence="", tree="0" * 64, info=f"{name}.dist-info")
    wheel = Artifact(
        name=f"{name}-{version}-py3-none-any.whl",
        url="https://index.example/x.whl",
        size=1,
        hashes={"sha256": "0" * 64},
    )
    return Package(name=name, version=version, wheels=[wheel], tool=PackageTool(envfreeze=facts))


def of(*packages: Package) -> Lock:
    return msgspec.structs.replace(lock(), packages=list(packages))


def test_most_locks_need_none() -> None:
    assert demand(of(package("numpy", "2.0.0"))) is None
    assert demand(of(package("torch", "2.3.0+cpu"))) is None


def test_within_a_major_version_its_first_driver_will_do() -> None:
    found = demand(of(package("torch", "2.3.0+cu121")))
    reason = "torch 2.3.0+cu121 (told by its version) is built for CUDA 12.1"
    assert found == Demand(cuda="12.0", reason=reason)


def test_of_two_the_newer_counts() -> None:
    found = demand(of(package("torch", "2.3.0+cu118"), package("nvidia-cuda-runtime", "12.4.127")))
    assert found is not None
    assert found.cuda in {"11.0", "12.0"}
    both = msgspec.structs.replace(
        of(package("torch", "2.3.0+cu118")), tool=lock(system=[deb("cuda-cudart-12-4")]).tool
    )
    assert demand(both) == Demand(
        cuda="12.0", reason="cuda-cudart-12-4 1.0-1 is built for CUDA 12.4"
    )


@pytest.mark.parametrize(
    ("name", "cuda"), [("libcudart11.0", "11.0"), ("cuda-cudart-99-1", "99.1"), ("libc6", None)]
)
def test_the_runtime_as_a_system_package(name: str, cuda: str | None) -> None:
    found = demand(lock(system=[deb(name)]))
    assert (found and found.cuda) == cuda
