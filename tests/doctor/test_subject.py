"""What of a lock needs which CUDA, by the best evidence."""

from __future__ import annotations

from typing import Any

import pytest

from envfreeze.doctor.facts import Installed
from envfreeze.doctor.subject import Need, compat_packages, needs, of_here, of_lock
from envfreeze.model.host import Framework
from tests.support.locks import interpreter
from tests.support.machines import here, host, locked, package, torch


def only(lock: Any) -> Need:
    (need,) = needs(of_lock(lock))
    return need


@pytest.mark.parametrize(
    ("version", "kind", "cuda"),
    [
        ("2.13.0+cu130", "cuda", "13.0"),
        ("2.1.2+cu118", "cuda", "11.8"),
        ("2.13.0+cpu", "cpu", ""),
        ("2.13.0+rocm7.2", "cpu", ""),
        ("2.13.0", "cuda", "13.0"),
        ("2.6.0", "cuda", "12.4"),
        ("2.6.99", "unknown", ""),
        ("2.13.0+git1234", "unknown", ""),
        ("2.13.0+cu1", "unknown", ""),
    ],
)
def test_what_a_torch_version_tells(version: str, kind: str, cuda: str) -> None:
    need = only(torch(version))
    assert (need.kind, need.cuda) == (kind, cuda)


def test_the_runtime_beside_it_counts_more_than_the_table() -> None:
    need = only(torch("2.13.0", package("nvidia-cuda-runtime-cu12", "12.6.77")))
    assert need.cuda == "12.6"
    assert "nvidia-cuda-runtime-cu12" in need.told


def test_its_own_files_count_most() -> None:
    seen = Framework(name="torch", version="2.13.0", cuda="12.9", source="torch/version.py")
    lock = locked(package("torch", "2.13.0"), captured=host(frameworks=[seen]))
    assert only(lock).cuda == "12.9"
    assert only(lock).told == "torch/version.py"


def test_files_of_another_version_do_not_count() -> None:
    seen = Framework(name="torch", version="2.1.0", cuda="11.8", source="torch/version.py")
    lock = locked(package("torch", "2.13.0"), captured=host(frameworks=[seen]))
    assert only(lock).cuda == "13.0"


def test_a_cpu_onnxruntime_beside_a_cuda_torch_asks_for_no_gpu() -> None:
    seen = [
        Framework(name="torch", version="2.13.0", cuda="13.0", source="torch/version.py"),
        Framework(name="onnxruntime", version="1.32.0", source="onnxruntime/capi/build.py"),
    ]
    wheels = [package("torch", "2.13.0"), package("nvidia-cuda-runtime", "13.0.96")]
    found = needs(of_lock(locked(*wheels, captured=host(frameworks=seen))))
    assert {need.name: need.kind for need in found} == {"torch": "cuda", "onnxruntime": "cpu"}


def test_files_that_name_no_cuda_are_a_cpu_build() -> None:
    seen = Framework(name="torch", version="2.13.0", source="torch/version.py")
    assert only(locked(package("torch", "2.13.0"), captured=host(frameworks=[seen]))).kind == "cpu"


def test_a_packed_torch_is_no_official_wheel() -> None:
    assert only(locked(package("torch", "2.13.0", proof="packed"))).kind == "unknown"


def test_on_another_machine_the_default_wheel_is_another() -> None:
    facts = interpreter(machine="aarch64", platform="linux-aarch64")
    assert only(locked(package("torch", "2.13.0"), facts=facts)).kind == "unknown"


def test_tensorflow_alone_runs_on_the_cpu() -> None:
    assert needs(of_lock(locked(package("tensorflow", "2.18.0")))) == []
    beside = package("nvidia-cuda-runtime-cu12", "12.5.82")
    need = only(locked(package("tensorflow", "2.18.0"), beside))
    assert (need.cuda, need.cudnn) == ("12.5", "9")


def test_the_name_tells_the_major_version() -> None:
    assert only(locked(package("cupy-cuda12x", "13.6.0"))).cuda == "12"
    both = locked(package("cupy-cuda13x", "14.0.0"), package("nvidia-cuda-runtime-cu12", "12.4.1"))
    assert only(both).cuda == "13"


def test_the_runtime_alone() -> None:
    need = only(locked(package("nvidia-cuda-runtime", "13.0.96")))
    assert (need.name, need.cuda) == ("nvidia-cuda-runtime", "13.0")


def test_nothing() -> None:
    assert needs(of_lock(locked(package("six", "1.17.0")))) == []


def test_of_this_machine() -> None:
    given = here(installed=(Installed(name="torch", version="2.13.0+cu126"),))
    (need,) = needs(of_here(given))
    assert need.cuda == "12.6"
    assert "sm_70" in need.architectures


def test_which_packages_are_forward_compatibility() -> None:
    names = ["cuda-compat-12-8:amd64", "cuda-compat", "cuda-compat-tools", "libcuda1"]
    assert compat_packages(names) == ["cuda-compat", "cuda-compat-12-8:amd64"]
