"""Locks and machines, and what is to be said of each pair; the source of each expectation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envfreeze.doctor.examine import examine
from envfreeze.doctor.facts import Here, Verdict
from envfreeze.doctor.report import as_text, runs
from envfreeze.model.host import Driver, Framework, Gpu, Library, Limits
from envfreeze.model.lock import Lock, SystemLayer
from envfreeze.model.snapshot import Finding, System
from tests.support.locks import deb, interpreter
from tests.support.machines import (
    A100,
    B200,
    B300,
    FACTS,
    GB10,
    H100,
    L4,
    ORIN,
    RTX3090,
    RTX5090,
    RTXA6000,
    T4,
    V100,
    driver,
    here,
    host,
    locked,
    package,
    platform,
    torch,
)

MINIMUM = "CUDA Compatibility: 13.x from 580, 12.x from 525, 11.x from 450.80.02 on"
FORWARD = "CUDA Compatibility: forward compatibility on data centre GPUs, with cuda-compat"
TARGETS = "nvcc 13.0.88: nvcc fatal: Unsupported gpu architecture 'sm_70'"
MATRIX = "pytorch RELEASE.md, PyTorch CUDA Support Matrix"
METADATA = "METADATA of the torch wheel"
BINARY = "CUDA Programming Guide: binary and PTX compatibility"
CUDNN = "torch/backends/cudnn/__init__.py: its check at start"
PEP600 = "PEP 600"
PEP656 = "PEP 656"
PEP425 = "PEP 425"
MEASURED = "measured: other CPU features, other last digits"


@dataclass(frozen=True)
class Pair:
    said: str
    lock: Lock | None
    here: Here
    name: str
    verdict: Verdict
    source: str
    words: str = ""
    """What the line, its reason or its fix must hold."""


def on(version: str, *gpus: Gpu, **more: Any) -> Here:
    return here(host(driver(version), gpus), **more)


def cudart(suffix: str, version: str) -> Any:
    return package(f"nvidia-cuda-runtime{suffix}", version, "py3-none-manylinux_2_17_x86_64")


def cudnn(suffix: str, version: str) -> Any:
    return package(f"nvidia-cudnn{suffix}", version, "py3-none-manylinux_2_17_x86_64")


def framework(name: str, version: str, **more: Any) -> Framework:
    return Framework(name=name, version=version, source=f"{name}/version.py", **more)


def with_files(*frameworks: Framework, libraries: tuple[Library, ...] = ()) -> Lock:
    """A lock whose frameworks told what they are built for."""
    packages = [package(f.name, f.version, "cp311-cp311-linux_x86_64") for f in frameworks]
    captured = host(driver("580.95.05"), [H100], frameworks=frameworks, libraries=libraries)
    return locked(*packages, captured=captured)


CU130 = torch("2.11.0", cudart("", "13.0.96"), cudnn("-cu13", "9.19.0.56"))
CU124 = torch("2.6.0", cudart("-cu12", "12.4.127"), cudnn("-cu12", "9.1.0.70"))
CU118 = torch("2.1.2+cu118")
CPU = torch("2.13.0+cpu")
NUMPY = locked(package("numpy", "2.4.6", "cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64"))
NODRIVER = Driver(state="none")
SILENT = Driver(state="no-answer", reason="Driver/library version mismatch")

PAIRS = [
    # --- the driver
    Pair("torch 2.11 on 570", CU130, on("570.26", RTX3090), "driver", "problem", MINIMUM, "580"),
    Pair("the same by table", torch("2.11.0"), on("570.26", A100), "driver", "problem", METADATA),
    Pair("torch 2.11 on 580", CU130, on("580.65.06", H100), "driver", "ok", MINIMUM),
    Pair("12.4 on 535", CU124, on("535.104.05", A100), "driver", "ok", MINIMUM, "minor-version"),
    Pair("12.4 on 525", CU124, on("525.60.13", A100), "driver", "ok", MINIMUM),
    Pair("12.4 on 520", CU124, on("520.61.05", RTX3090), "driver", "problem", MINIMUM, "525"),
    Pair("11.8 on 470", CU118, on("470.82.01", V100), "driver", "ok", MINIMUM, "minor-version"),
    Pair("11.8 on 450.51", CU118, on("450.51.06", V100), "driver", "problem", MINIMUM),
    Pair("11.8 on 580", CU118, on("580.95.05", A100), "driver", "ok", MINIMUM),
    Pair("12.4 on 595", CU124, on("595.45.04", H100), "driver", "ok", MINIMUM),
    Pair("570.124.06 is newer than 570.26", CU124, on("570.124.06", L4), "driver", "ok", MINIMUM),
    Pair("another build serves", CU130, on("570.26", L4), "driver", "problem", MATRIX, "12.6"),
    Pair(
        "data centre with cuda-compat",
        locked(package("torch", "2.11.0+cu130"), system=[deb("cuda-compat-13-0")]),
        on("535.104.05", A100),
        "driver",
        "warning",
        FORWARD,
        "cuda-compat-13-0",
    ),
    Pair(
        "data centre without", CU130, on("535.104.05", A100), "driver", "problem", FORWARD, "13-0"
    ),
    Pair(
        "GeForce with cuda-compat",
        locked(package("torch", "2.11.0+cu130"), system=[deb("cuda-compat-13-0")]),
        on("535.104.05", RTX3090),
        "driver",
        "problem",
        FORWARD,
    ),
    Pair(
        "some RTX cards", CU130, on("535.54.03", RTXA6000), "driver", "problem", FORWARD, "if this"
    ),
    Pair("no driver, CPU build", CPU, here(host(NODRIVER)), "driver", "ok", "torch 2.13.0+cpu"),
    Pair("no driver, torch", CU130, here(host(NODRIVER)), "driver", "warning", "torch: CPU", "CPU"),
    Pair(
        "no driver, cupy",
        locked(package("cupy-cuda12x", "13.6.0", "cp311-cp311-manylinux2014_x86_64")),
        here(host(NODRIVER)),
        "driver",
        "problem",
        "cupy: a CUDA GPU is required",
    ),
    Pair("no driver, numpy", NUMPY, here(host(NODRIVER)), "driver", "ok", "nothing asks"),
    Pair("silent driver", CU130, here(host(SILENT)), "driver", "problem", "nvml.h", "mismatch"),
    Pair("not looked at", CU130, here(host(), host=None), "driver", "unknown", "not looked at"),
    Pair(
        "updated without a restart",
        CU124,
        here(host(driver("550.54.15", library="550.163.01"), [A100])),
        "driver library",
        "problem",
        "nvml.h: NVML_ERROR_LIB_RM_VERSION_MISMATCH",
    ),
    Pair(
        "WSL tells the API alone",
        CU124,
        here(host(Driver(state="found", cuda="12.6"), [RTX3090])),
        "driver",
        "ok",
        "nvmlSystemGetCudaDriverVersion_v2: highest CUDA that the driver serves",
    ),
    Pair("a CUDA of no table", torch("9.0+cu990"), on("999.1", H100), "driver", "unknown", "none"),
    Pair(
        "jax for CUDA 12",
        locked(package("jax-cuda12-plugin", "0.10.2")),
        on("520.61.05", RTX3090),
        "driver",
        "problem",
        MINIMUM,
    ),
    # --- the GPUs
    Pair("V100, torch 2.11 cu130", CU130, on("580.95.05", V100), "gpu", "problem", TARGETS, "12.6"),
    Pair(
        "V100, torch 2.13 cu126", torch("2.13.0+cu126"), on("580.95.05", V100), "gpu", "ok", MATRIX
    ),
    Pair(
        "V100, torch 2.13 cu130",
        torch("2.13.0+cu130"),
        on("580.95.05", V100),
        "gpu",
        "problem",
        MATRIX,
        "CUDA 12.6",
    ),
    Pair("T4, torch 2.13 cu130", torch("2.13.0+cu130"), on("580.95.05", T4), "gpu", "ok", MATRIX),
    Pair("L4 runs sm_86", torch("2.13.0+cu130"), on("580.95.05", L4), "gpu", "ok", BINARY),
    Pair("B300 runs sm_100", torch("2.13.0+cu130"), on("580.95.05", B300), "gpu", "ok", BINARY),
    Pair("GB10 runs sm_120", torch("2.13.0+cu130"), on("580.95.05", GB10), "gpu", "ok", BINARY),
    Pair("B200 with cu126", torch("2.13.0+cu126"), on("580.95.05", B200), "gpu", "problem", MATRIX),
    Pair(
        "RTX 5090 through PTX",
        with_files(framework("torch", "2.6.0", cuda="12.4", architectures=["sm_90", "compute_90"])),
        on("580.95.05", RTX5090),
        "gpu",
        "warning",
        BINARY,
        "PTX",
    ),
    Pair(
        "RTX 5090 without PTX",
        with_files(framework("torch", "2.6.0", cuda="12.4", architectures=["sm_86", "sm_90"])),
        on("580.95.05", RTX5090),
        "gpu",
        "problem",
        BINARY,
    ),
    Pair(
        "sm_90a is for 9.0 alone",
        with_files(framework("torch", "2.6.0", cuda="12.4", architectures=["sm_90a"])),
        on("580.95.05", B200),
        "gpu",
        "problem",
        BINARY,
    ),
    Pair(
        "Orin beside sm_86", torch("2.13.0+cu130"), on("580.95.05", ORIN), "gpu", "unknown", MATRIX
    ),
    Pair(
        "architectures not told",
        CU124,
        on("550.54.15", A100),
        "gpu",
        "unknown",
        "no table has them",
    ),
    Pair(
        "V100 under 590",
        CU118,
        on("590.48.01", V100),
        "gpu",
        "problem",
        "NVIDIA blog: R580 is the last branch for Volta",
        "580",
    ),
    Pair("a driver without a GPU", CU124, on("550.54.15"), "gpu", "warning", "NVML: no device"),
    # --- cuDNN
    Pair(
        "8 compiled, 9 there",
        torch("2.3.1+cu121", cudnn("-cu12", "9.1.0.70")),
        on("550.54.15", A100),
        "cudnn",
        "problem",
        CUDNN,
    ),
    Pair("9 compiled, 9 there", CU124, on("550.54.15", A100), "cudnn", "ok", CUDNN),
    Pair(
        "a lower minor version",
        with_files(
            framework("torch", "2.9.1", cuda="12.8", cudnn="9.10.2"),
            libraries=(Library(name="cudnn", version="9.7.0", owner="dpkg libcudnn9-cuda-12"),),
        ),
        on("580.95.05", H100),
        "cudnn",
        "problem",
        CUDNN,
        "9.10",
    ),
    Pair(
        "tensorflow tells the major version",
        with_files(
            framework("tensorflow", "2.18.0", cuda="12.5.1", cudnn="9"),
            libraries=(Library(name="cudnn", version="8.9.7.29", path="/usr/local/cuda/lib64"),),
        ),
        on("580.95.05", H100),
        "cudnn",
        "problem",
        "TensorFlow: its check at start",
    ),
    # --- libc, architecture, processor
    Pair(
        "2.28 wheel on 2.17",
        torch("2.13.0+cpu"),
        here(host(seen=platform("glibc 2.17"))),
        "libc",
        "problem",
        PEP600,
        "2.28",
    ),
    Pair(
        "2.28 wheel on 2.28",
        torch("2.13.0+cpu"),
        here(host(seen=platform("glibc 2.28"))),
        "libc",
        "ok",
        PEP600,
    ),
    Pair(
        "the lower of two tags",
        NUMPY,
        here(host(seen=platform("glibc 2.27"))),
        "libc",
        "ok",
        PEP600,
    ),
    Pair(
        "manylinux2014 on 2.12",
        locked(package("x", "1", "cp311-cp311-manylinux2014_x86_64")),
        here(host(seen=platform("glibc 2.12"))),
        "libc",
        "problem",
        PEP600,
        "2.17",
    ),
    Pair(
        "glibc on musl", NUMPY, here(host(seen=platform("musl 1.2.4"))), "libc", "problem", PEP656
    ),
    Pair(
        "musl on glibc",
        locked(
            package("x", "1", "cp311-cp311-musllinux_1_2_x86_64"),
            facts=interpreter(libc="musl 1.2.4"),
        ),
        here(),
        "libc",
        "problem",
        PEP656,
    ),
    Pair(
        "built here on a newer one",
        locked(package("x", "1", "cp311-cp311-linux_x86_64")),
        here(host(seen=platform("glibc 2.31"))),
        "libc",
        "warning",
        PEP600,
        "x",
    ),
    Pair(
        "pure wheels need none",
        locked(package("six", "1.17.0", "py2.py3-none-any")),
        here(host(seen=platform("glibc 2.12"))),
        "libc",
        "ok",
        PEP600,
    ),
    Pair(
        "aarch64 on x86_64",
        locked(
            package("numpy", "2.4.6", "cp311-cp311-manylinux_2_28_aarch64"),
            facts=interpreter(machine="aarch64", platform="linux-aarch64"),
            layer=SystemLayer(kernel="Linux", machine="aarch64"),
        ),
        here(),
        "architecture",
        "problem",
        PEP425,
    ),
    Pair(
        "macOS",
        NUMPY,
        here(system=System(kernel="Darwin", machine="arm64")),
        "architecture",
        "problem",
        PEP425,
    ),
    Pair("x86_64 on x86_64", NUMPY, here(), "architecture", "ok", PEP425),
    Pair(
        "v4 on v3",
        locked(captured=host(seen=platform(level="x86-64-v4"))),
        here(),
        "cpu",
        "warning",
        MEASURED,
        "last digits",
    ),
    Pair("v3 on v3", locked(captured=host()), here(), "cpu", "ok", MEASURED),
    # --- Python
    Pair("the same Python", NUMPY, here(), "python", "ok", PEP425),
    Pair("none", NUMPY, here(pythons=()), "python", "problem", PEP425, "3.11.7"),
    Pair("not looked for", NUMPY, here(pythons=None), "python", "unknown", "not looked at"),
    Pair(
        "free-threaded",
        locked(facts=interpreter(version="3.13.1", free_threaded=True)),
        here(),
        "python",
        "problem",
        PEP425,
        "free-threaded",
    ),
    # --- libraries, disk, limits, numerics
    Pair(
        "libGL missing there and here",
        locked(findings=[Finding(kind="missing-library", place="libGL.so.1", detail="cv2")]),
        here(libraries={"libGL.so.1": False}),
        "libraries",
        "warning",
        "the lock's finding",
        "cv2",
    ),
    Pair(
        "libGL missing there, here it is",
        locked(findings=[Finding(kind="missing-library", place="libGL.so.1")]),
        here(libraries={"libGL.so.1": True}),
        "libraries",
        "ok",
        "the lock's finding",
    ),
    Pair(
        "system packages missing",
        locked(system=[deb("libgl1")]),
        here(),
        "libraries",
        "warning",
        "the lock's needed packages",
        "libgl1",
    ),
    Pair(
        "system packages there",
        locked(system=[deb("libgl1")]),
        here(system=System(kernel="Linux", machine="x86_64", dpkg={"libgl1:amd64": "1"})),
        "libraries",
        "ok",
        "the lock's needed packages",
    ),
    Pair("no room", NUMPY, here(free={"/home": 10}), "disk", "problem", "sizes of the artifacts"),
    Pair("tight", NUMPY, here(free={"/home": 3_000_000}), "disk", "warning", "measured: 3.3"),
    Pair("room", NUMPY, here(), "disk", "ok", "measured: 3.3"),
    Pair(
        "few cores",
        locked(captured=host(seen=platform(limits=Limits(allowed=64)))),
        here(),
        "cores",
        "warning",
        "cgroup and affinity",
    ),
    Pair(
        "little memory",
        locked(captured=host(seen=platform(limits=Limits(memory=256 << 30)))),
        here(host(seen=platform(limits=Limits(memory=256 << 30, memory_limit=8 << 30)))),
        "memory",
        "warning",
        "cgroup",
    ),
    Pair(
        "other threads",
        locked(captured=host(variables={"OMP_NUM_THREADS": "1"})),
        here(),
        "numerics",
        "warning",
        "measured: sums differ with the thread count",
        "OMP_NUM_THREADS=1",
    ),
    Pair(
        "the same threads",
        locked(captured=host(variables={"OMP_NUM_THREADS": "1"})),
        here(host(variables={"OMP_NUM_THREADS": "1"})),
        "numerics",
        "ok",
        "the same",
    ),
    # --- without a lock
    Pair(
        "this environment's own torch",
        None,
        here(
            host(
                driver("535.54.03"),
                [RTX3090],
                frameworks=[framework("torch", "2.11.0", cuda="13.0")],
            )
        ),
        "driver",
        "problem",
        MINIMUM,
    ),
    Pair(
        "this environment's own libraries",
        None,
        here(libraries={"libGL.so.1": False}, users={"libGL.so.1": ["/x/cv2.so"]}),
        "libraries",
        "warning",
        "the loader's search",
        "cv2.so",
    ),
    Pair(
        "this environment is whole",
        None,
        here(libraries={"libc.so.6": True}),
        "libraries",
        "ok",
        "the loader's search",
    ),
]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.said)
def test_a_pair(pair: Pair) -> None:
    assert pair.source
    checks = [check for check in examine(pair.lock, pair.here) if check.name == pair.name]
    assert checks, pair.name
    worst = checks[0]
    assert worst.verdict == pair.verdict, checks
    assert pair.words.lower() in f"{worst.said} {worst.reason} {worst.fix}".lower(), worst
    if worst.verdict == "problem":
        assert worst.fix


def test_there_are_enough_and_of_every_verdict() -> None:
    assert len({pair.said for pair in PAIRS}) == len(PAIRS) >= 30
    assert {pair.verdict for pair in PAIRS} == {"problem", "warning", "unknown", "ok"}


def test_a_machine_that_fits_has_no_problem() -> None:
    checks = examine(CU124, here(host(driver("550.54.15"), [A100])))
    assert runs(checks)
    assert FACTS.soabi is not None


def test_nothing_known_is_nothing_claimed() -> None:
    checks = examine(CU130, Here())
    assert runs(checks)
    assert {check.verdict for check in checks} <= {"unknown", "ok"}
    assert not [c for c in checks if c.verdict == "ok" and c.name not in {"cudnn"}]


def test_what_may_be_pasted_is_quoted() -> None:
    nasty = {"OMP_NUM_THREADS": "1; rm -rf ~", "X; evil": "1"}
    facts = interpreter(version="3.11.7; evil")
    checks = examine(locked(facts=facts, captured=host(variables=nasty)), here())
    fixes = {check.name: check.fix for check in checks}
    assert "export OMP_NUM_THREADS='1; rm -rf ~'" in fixes["numerics"]
    assert "X; evil" not in fixes["numerics"]
    assert "uv python install '3.11.7; evil'" in fixes["python"]


def test_a_build_is_not_promised_to_hold_what_was_not_looked_up() -> None:
    checks = examine(CU130, on("580.95.05", V100))
    fix = next(check.fix for check in checks if check.name == "gpu")
    assert "see whether one of them holds it" in fix


TEXT = st.one_of(
    st.text(max_size=12),
    st.from_regex(r"[0-9]{0,30}(\.[0-9]{0,30}){0,9}[a-z+]?", fullmatch=True),
    st.from_regex(r"(sm|compute)_[0-9]{0,4}[af]?", fullmatch=True),
    st.from_regex(r"(glibc|musl|x86-64-v|cu|2\.13\.0\+cu)[0-9. ]{0,9}", fullmatch=True),
)


@given(st.tuples(*[TEXT] * 8))
def test_any_text_is_survived(texts: tuple[str, ...]) -> None:
    version, library, name, capability, one, two, libc, level = texts
    odd = host(
        Driver(state="found", version=version, library=library, cuda=one),
        [Gpu(name=name, capability=capability)],
        seen=platform(libc, level),
        libraries=[Library(name="cudnn", version=two, owner=name)],
        frameworks=[
            framework("torch", version, cuda=one, cudnn=two, architectures=[library, name]),
            framework("jax", one, cuda=two),
        ],
        variables={name: version},
    )
    torch_of_it = package("torch", version or "0", f"{one}-{two}-{name}".replace("/", ""))
    lock = locked(torch_of_it, captured=odd, facts=interpreter(version=one, libc=libc))
    for subject in (lock, None, CU130):
        as_text(examine(subject, here(odd)), name).encode("utf-8")
