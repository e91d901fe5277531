"""Who owns libraries, toolkits and frameworks: RECORD, conda's records, the system."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from envfreeze.model.host import (
    Accelerator,
    Blas,
    Driver,
    Framework,
    Host,
    Library,
    Mapped,
    Numerics,
    Process,
    Toolkit,
)
from envfreeze.model.snapshot import Dist, Interpreter, Row, Site, Snapshot, System
from envfreeze.probe import accelerator as probe
from envfreeze.probe.machine import Machine
from envfreeze.resolve.owners import owned, with_owners
from tests.support.trees import grow, names

SITE = "/v/lib/python3.12/site-packages"
USER = "/home/u/.local/lib/python3.12/site-packages"
CUDNN = "nvidia/cudnn/lib/libcudnn.so.9"


def dist(name: str, version: str, *paths: str, site: str = SITE, claim: str | None = None) -> Dist:
    rows = [Row("site", path, "0" * 64, 1, False, claim) for path in paths]
    return Dist(
        site=site, info=f"{name}-{version}.dist-info", name=name, version=version, rows=rows
    )


def snapshot(*dists: Dist) -> Snapshot:
    interpreter = Interpreter(
        implementation="cpython",
        version="3.12.1",
        abiflags="",
        free_threaded=False,
        debug=False,
        platform="linux-x86_64",
        machine="x86_64",
        bits=64,
        compiler="",
        build="",
        executable="/v/bin/python",
        base_executable="/usr/bin/python3.12",
        prefix="/v",
        base_prefix="/usr",
        stdlib="/usr/lib/python3.12",
        purelib=SITE,
        platlib=SITE,
        scripts="/v/bin",
        venv=True,
        system_site=False,
    )
    return Snapshot(
        schema=1,
        interpreter=interpreter,
        system=System(kernel="Linux", machine="x86_64"),
        sites=[Site(path=SITE, kind="site"), Site(path=USER, kind="user")],
        dists=list(dists),
        findings=[],
    )


def seen(
    *libraries: Library,
    toolkits: Sequence[Toolkit] = (),
    frameworks: Sequence[Framework] = (),
) -> Accelerator:
    return Accelerator(
        driver=Driver(state="none"),
        libraries=list(libraries),
        toolkits=list(toolkits),
        frameworks=list(frameworks),
    )


def test_a_wheel_owns_what_its_record_names() -> None:
    library = Library(name="cudnn", path=f"{SITE}/{CUDNN}")
    found = with_owners(
        seen(library), snapshot(dist("nvidia_cudnn_cu12", "9.10.2.21", CUDNN, "other"))
    )
    assert found.libraries == [
        Library(
            name="cudnn",
            path=f"{SITE}/{CUDNN}",
            version="9.10.2.21",
            owner="wheel nvidia-cudnn-cu12",
        )
    ]


def test_a_copy_in_another_wheel_has_not_that_wheels_version() -> None:
    path = "torch/lib/libcudnn.so.8"
    library = Library(name="cudnn", path=f"{SITE}/{path}", version="8.7.0")
    (found,) = with_owners(seen(library), snapshot(dist("torch", "2.0.1", path))).libraries
    assert (found.owner, found.version) == ("wheel torch", "8.7.0")


@pytest.mark.parametrize(
    ("claims", "owner"),
    [
        ((None, "sha256=x"), "wheel nvidia-nccl-cu11"),
        (("sha256=x", None), "wheel nvidia-nccl-cu12"),
        ((None, None), None),
        (("sha256=x", "sha256=x"), None),
    ],
)
def test_of_two_wheels_the_one_whose_bytes_lie_there(
    claims: tuple[str | None, str | None], owner: str | None
) -> None:
    path = "nvidia/nccl/lib/libnccl.so.2"
    both = [
        dist("nvidia-nccl-cu11", "2.20.5", path, claim=claims[0]),
        dist("nvidia-nccl-cu12", "2.27.3", path, claim=claims[1]),
    ]
    (found,) = with_owners(
        seen(Library(name="nccl", path=f"{SITE}/{path}")), snapshot(*both)
    ).libraries
    assert found.owner == owner


def test_the_system_is_asked_once_for_what_nobody_else_owns() -> None:
    asked: list[list[str]] = []

    def system(paths: Sequence[str]) -> dict[str, str]:
        asked.append(list(paths))
        return {
            "/usr/lib/x86_64-linux-gnu/libcudnn.so.9.10.2": "dpkg libcudnn9-cuda-12",
            "/usr/include/cuda.h": "dpkg nvidia-cuda-dev",
        }

    found = with_owners(
        seen(
            Library(name="cudnn", path=f"{SITE}/{CUDNN}"),
            Library(name="cudnn", path="/usr/lib/x86_64-linux-gnu/libcudnn.so.9.10.2"),
            Library(name="nccl", path="/c/lib/libnccl.so.2", owner="conda nccl"),
            Library(name="nccl", path="/usr/local/lib/libnccl.so.2"),
            toolkits=[Toolkit(version="12.4", root="/usr", source="/usr/include/cuda.h")],
        ),
        snapshot(dist("nvidia-cudnn-cu12", "9.10.2.21", CUDNN)),
        system,
    )
    assert [library.owner for library in found.libraries] == [
        "wheel nvidia-cudnn-cu12",
        "dpkg libcudnn9-cuda-12",
        "conda nccl",
        None,
    ]
    assert found.toolkits[0].owner == "dpkg nvidia-cuda-dev"
    assert asked == [
        [
            "/usr/bin/nvcc",
            "/usr/include/cuda.h",
            "/usr/lib/x86_64-linux-gnu/libcudnn.so.9.10.2",
            "/usr/local/lib/libnccl.so.2",
        ]
    ]


def test_a_toolkit_out_of_wheels() -> None:
    root = f"{SITE}/nvidia/cuda_nvcc"
    toolkit = Toolkit(version="12.8", root=root, source=f"{root}/bin/nvcc --version")
    wheel = dist("nvidia-cuda-nvcc-cu12", "12.8.93", "nvidia/cuda_nvcc/bin/nvcc")
    (found,) = with_owners(seen(toolkits=[toolkit]), snapshot(wheel)).toolkits
    assert found.owner == "wheel nvidia-cuda-nvcc-cu12"


def test_a_framework_is_its_distributions() -> None:
    source = "tensorflow/python/platform/build_info.py"
    framework = Framework(name="tensorflow", version="2.16.1", source=source)
    found = with_owners(
        seen(frameworks=[framework]),
        snapshot(
            dist("tensorflow", "2.15.0", source, site=USER),
            dist("tensorflow-cpu", "2.16.1", source),
            dist("tensorflow", "2.15.0", source, claim="sha256=x"),
        ),
    )
    assert found.frameworks[0].distribution == "tensorflow-cpu"


def test_what_record_names_and_is_not_there_is_nobodys() -> None:
    gone = Row("site", CUDNN, None, None, False, "sha256=x")
    wheel = msgspec.structs.replace(dist("nvidia-cudnn-cu12", "9"), rows=[gone])
    found = with_owners(seen(Library(name="cudnn", path=f"{SITE}/{CUDNN}")), snapshot(wheel))
    assert found.libraries[0].owner is None


def test_with_nothing_to_say_it_is_the_same() -> None:
    before = seen(
        Library(name="nccl", soname="libnccl.so.2"),
        frameworks=[Framework(name="torch", version="2", source="torch/version.py")],
    )
    assert with_owners(before, snapshot()) == before


def test_what_the_probe_says_and_what_record_says_fit_together(tmp_path: Path) -> None:
    grow(tmp_path, {f"{SITE}/{CUDNN}": "", f"{SITE}/torch/version.py": "__version__ = '2.1'\n"})
    machine = Machine(root=str(tmp_path), environ={})
    facts = probe.facts(machine, [(SITE, names(tmp_path, SITE))])
    found = with_owners(
        msgspec.convert(facts, Accelerator),
        snapshot(
            dist("nvidia-cudnn-cu12", "9.10.2.21", CUDNN),
            dist("torch", "2.1.0", "torch/version.py"),
        ),
    )
    assert [library.owner for library in found.libraries] == ["wheel nvidia-cudnn-cu12"]
    assert [library.version for library in found.libraries] == ["9.10.2.21"]
    assert [framework.distribution for framework in found.frameworks] == ["torch"]


# --- linear algebra, and processes ---


def rows(*paths: tuple[str, str]) -> list[Row]:
    return [
        Row(scheme=scheme, path=path, sha256="0" * 64, size=1, executable=False, claim=None)  # type: ignore[arg-type]
        for scheme, path in paths
    ]


@pytest.fixture
def seen_here() -> Snapshot:
    """With distributions of numpy and mkl, in a site directory and beyond it."""
    seen = snapshot()
    numpy = rows(("site", "numpy.libs/libopenblas.so"), ("site", "numpy/x.so"), ("data", "x.so"))
    mkl = rows(("data", "lib/libmkl_rt.so.3"), ("outside", "../x.so"))
    return msgspec.structs.replace(
        seen,
        sites=[Site(path="/v/site", kind="site", prefix="/v"), Site(path="/w", kind="pythonpath")],
        dists=[
            Dist(site="/v/site", info="a", name="NumPy", version="2.4", rows=numpy),
            Dist(site="/v/site", info="b", name="mkl", version="2026.2", rows=mkl),
            Dist(site="/w", info="c", name="other", version="1", rows=numpy),
            Dist(site="/w", info="d", name="none", version="1", rows=None),
        ],
    )


def test_blas_libraries_and_what_a_process_has_mapped(seen_here: Snapshot) -> None:
    host = Host(
        numerics=Numerics(
            libraries=[
                Blas(
                    kind="blas",
                    name="openblas",
                    path="/v/site/numpy.libs/libopenblas.so",
                    version="0.3.31",
                ),
                Blas(kind="blas", name="mkl", path="/v/lib/libmkl_rt.so.3"),
                Blas(kind="openmp", name="libgomp", path="/usr/lib/libgomp.so.1"),
                Blas(kind="openmp", name="libomp", path="/opt/libomp.so"),
            ]
        ),
        process=Process(
            pid=1,
            libraries=[
                Mapped(path="/v/site/numpy/x.so"),
                Mapped(path="/usr/lib/libgomp.so.1"),
                Mapped(path="/nobody.so"),
            ],
        ),
    )
    system = {"/usr/lib/libgomp.so.1": "dpkg libgomp1"}
    found = owned(host, seen_here, lambda paths: {p: system[p] for p in paths if p in system})
    assert found.numerics is not None and found.process is not None
    assert [(item.owner, item.version) for item in found.numerics.libraries] == [
        ("wheel numpy", "0.3.31"),
        ("wheel mkl", "2026.2"),
        ("dpkg libgomp1", None),
        (None, None),
    ]
    owners = [item.owner for item in found.process.libraries]
    assert owners == ["wheel numpy", "dpkg libgomp1", None]
    assert owned(Host(), seen_here) == Host()
