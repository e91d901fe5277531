"""Libraries of NVIDIA's by their files: wheels, conda, apt, toolkits, /usr/local."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from envfreeze.model.host import Library
from envfreeze.probe import gpulibs, versions
from tests.support.trees import places

SITE = "/v/lib/python3.12/site-packages"
APT = "/usr/lib/x86_64-linux-gnu"


def look(
    root: Path,
    files: dict[str, str],
    *,
    sites: tuple[str, ...] = (),
    prefixes: tuple[str, ...] = (),
    kits: tuple[str, ...] = (),
    **environ: str,
) -> list[Library]:
    here = places(root, files, **environ)
    found = gpulibs.facts(here, list(prefixes), list(sites), list(kits))
    return msgspec.convert(found, list[Library])


def told(found: list[Library]) -> list[tuple[str, str | None]]:
    return [(library.name, library.version) for library in found]


# --- wheels ---------------------------------------------------------------------------------


def test_a_wheel_tells_the_whole_version(tmp_path: Path) -> None:
    files = {
        f"{SITE}/nvidia/cudnn/lib/libcudnn.so.9": "",
        f"{SITE}/nvidia/cudnn/lib/libcudnn_ops.so.9": "",
        f"{SITE}/nvidia_cudnn_cu12-9.10.2.21.dist-info/METADATA": "",
    }
    assert look(tmp_path, files, sites=(SITE,)) == [
        Library(
            name="cudnn",
            version="9.10.2.21",
            path=f"{SITE}/nvidia/cudnn/lib/libcudnn.so.9",
            soname="libcudnn.so.9",
        )
    ]


def test_three_runtimes_side_by_side(tmp_path: Path) -> None:
    """As the wheels of CUDA 11, 12 and 13 lay them down; the first two share a directory."""
    files = {
        f"{SITE}/nvidia/cuda_runtime/lib/libcudart.so.11.0": "",
        f"{SITE}/nvidia/cuda_runtime/lib/libcudart.so.12": "",
        f"{SITE}/nvidia/cu13/lib/libcudart.so.13": "",
        f"{SITE}/nvidia_cuda_runtime_cu11-11.8.89.dist-info/METADATA": "",
        f"{SITE}/nvidia_cuda_runtime_cu12-12.9.79.dist-info/METADATA": "",
        f"{SITE}/nvidia_cuda_runtime-13.5.37.dist-info/METADATA": "",
    }
    found = look(tmp_path, files, sites=(SITE,))
    assert {library.soname: library.version for library in found} == {
        "libcudart.so.11.0": "11.8.89",
        "libcudart.so.12": "12.9.79",
        "libcudart.so.13": "13.5.37",
    }


def test_two_wheels_for_one_file_tell_nothing(tmp_path: Path) -> None:
    files = {
        f"{SITE}/nvidia/nccl/lib/libnccl.so.2": "",
        f"{SITE}/nvidia_nccl_cu11-2.20.5.dist-info/METADATA": "",
        f"{SITE}/nvidia_nccl_cu12-2.27.3.dist-info/METADATA": "",
    }
    assert told(look(tmp_path, files, sites=(SITE,))) == [("nccl", None)]


def test_metadata_of_another_generation_is_not_believed(tmp_path: Path) -> None:
    files = {
        f"{SITE}/nvidia/cudnn/lib/libcudnn.so.8": "",
        f"{SITE}/nvidia_cudnn_cu12-9.10.2.21.dist-info/METADATA": "",
    }
    assert told(look(tmp_path, files, sites=(SITE,))) == [("cudnn", None)]


def test_a_header_tells_where_metadata_does_not(tmp_path: Path) -> None:
    files = {
        f"{SITE}/nvidia/cudnn/lib/libcudnn.so.9": "",
        f"{SITE}/nvidia/cudnn/include/cudnn_version_v9.h": CUDNN_9,
    }
    assert told(look(tmp_path, files, sites=(SITE,))) == [("cudnn", "9.10.2")]


def test_copies_inside_other_wheels(tmp_path: Path) -> None:
    files = {
        f"{SITE}/torch/lib/libcudart-d0da41ae.so.11.0": "",
        f"{SITE}/torch/lib/libcudnn.so.8": "",
        f"{SITE}/thing.libs/libcublas-0123abcd.so.12.8.4.1": "",
        f"{SITE}/nvidia_cudnn_cu11-8.5.0.96.dist-info/METADATA": "",
        f"{SITE}/tensorrt_libs/libnvinfer.so.10": "",
        f"{SITE}/tensorrt_cu12_libs-10.13.3.9.dist-info/METADATA": "",
        f"{SITE}/cutensor/lib/libcutensor.so.2": "",
        f"{SITE}/cutensor_cu12-2.2.0.dist-info/METADATA": "",
    }
    found = look(tmp_path, files, sites=(SITE,))
    assert told(found) == [
        ("cublas", "12.8.4.1"),
        ("cudart", None),
        ("cudnn", None),
        ("cutensor", "2.2.0"),
        ("tensorrt", "10.13.3.9"),
    ]
    assert found[0].soname == "libcublas-0123abcd.so.12.8.4.1"
    assert found[1].soname == "libcudart-d0da41ae.so.11.0"


# --- the system's ---------------------------------------------------------------------------

CUDNN_9 = (
    "#define CUDNN_MAJOR 9\n#define CUDNN_MINOR 10\n#define CUDNN_PATCHLEVEL 2\n"
    "#define CUDNN_VERSION (CUDNN_MAJOR * 10000 + CUDNN_MINOR * 100 + CUDNN_PATCHLEVEL)\n"
)


def test_packages_of_the_system(tmp_path: Path) -> None:
    files = {
        f"{APT}/libcudnn.so.9": "-> libcudnn.so.9.10.2",
        f"{APT}/libcudnn.so.9.10.2": "",
        f"{APT}/libcudnn.so": "-> /etc/alternatives/libcudnn_so",
        "/etc/alternatives/libcudnn_so": f"-> {APT}/libcudnn.so.9",
        f"{APT}/libcudart.so.11.0": "-> libcudart.so.11.8.89",
        f"{APT}/libcudart.so.11.8.89": "",
        f"{APT}/libnvToolsExt.so.1": "-> libnvToolsExt.so.1.0.0",
        f"{APT}/libnvToolsExt.so.1.0.0": "",
        f"{APT}/libnvinfer.so.10": "",
        "/usr/include/x86_64-linux-gnu/NvInferVersion.h": (
            "#define TRT_MAJOR_ENTERPRISE 10\n"
            "#define NV_TENSORRT_MAJOR TRT_MAJOR_ENTERPRISE //!< Major version.\n"
            "#define NV_TENSORRT_MINOR 3\n#define NV_TENSORRT_PATCH 0\n"
            "#define NV_TENSORRT_BUILD 30\n"
        ),
        f"{APT}/libnvidia-ml.so.1": "",
        f"{APT}/libcurl.so.4": "",
        "/lib": "-> usr/lib",
    }
    found = look(tmp_path, files)
    assert told(found) == [
        ("cudart", "11.8.89"),
        ("cudnn", "9.10.2"),
        ("nvtx", None),
        ("tensorrt", "10.3.0.30"),
    ]
    assert [library.soname for library in found] == [
        "libcudart.so.11.0",
        "libcudnn.so.9",
        "libnvToolsExt.so.1",
        "libnvinfer.so.10",
    ]
    assert found[1].path == f"{APT}/libcudnn.so.9.10.2"


def test_a_header_of_another_generation_is_not_believed(tmp_path: Path) -> None:
    files = {f"{APT}/libcudnn.so.8": "", "/usr/include/cudnn_version.h": CUDNN_9}
    assert told(look(tmp_path, files)) == [("cudnn", None)]


def test_usr_local_and_the_loaders_path(tmp_path: Path) -> None:
    files = {
        "/usr/local/TensorRT-8/lib/libnvinfer.so.8": "-> libnvinfer.so.8.6.1",
        "/usr/local/TensorRT-8/lib/libnvinfer.so.8.6.1": "",
        "/home/me/nccl/lib/libnccl.so.2": "-> libnccl.so.2.27.5",
        "/home/me/nccl/lib/libnccl.so.2.27.5": "",
        "/usr/local/lib/libcufft.so.11.3.3.83": "",
        "/usr/local/lib/libcublas.so.12": "-> gone",
    }
    found = look(tmp_path, files, LD_LIBRARY_PATH="/home/me/nccl/lib")
    assert told(found) == [("cufft", "11.3.3.83"), ("nccl", "2.27.5"), ("tensorrt", "8.6.1")]
    # Under its full name alone a file does not tell by which name it is asked for.
    assert found[0].soname is None


def test_a_toolkits_own(tmp_path: Path) -> None:
    kit = "/usr/local/cuda-12.4"
    files = {
        f"{kit}/lib64": "-> targets/x86_64-linux/lib",
        f"{kit}/targets/x86_64-linux/lib/libnvJitLink.so.12": "-> libnvJitLink.so.12.4.127",
        f"{kit}/targets/x86_64-linux/lib/libnvJitLink.so.12.4.127": "",
        f"{kit}/targets/x86_64-linux/lib/stubs/libcublas.so": "",
        "/usr/local/cuda": "-> cuda-12.4",
        "/etc/ld.so.conf.d/cuda.conf": "/usr/local/cuda/targets/x86_64-linux/lib\n",
    }
    (library,) = look(tmp_path, files, kits=(kit,))
    assert library == Library(
        name="nvjitlink",
        version="12.4.127",
        path=f"{kit}/targets/x86_64-linux/lib/libnvJitLink.so.12.4.127",
        soname="libnvJitLink.so.12",
    )


# --- conda ----------------------------------------------------------------------------------


@pytest.mark.parametrize("files_key", [["lib/libcudnn.so.9.10.2"], [], "lib/libcudnn.so.9.10.2"])
def test_a_record_of_condas_owns_what_it_names(tmp_path: Path, files_key: object) -> None:
    files = {
        "/c/lib/libcudnn.so.9": "-> libcudnn.so.9.10.2",
        "/c/lib/libcudnn.so.9.10.2": "",
        "/c/conda-meta/cudnn-9.10.2.21-hbcb9cd8_0.json": json.dumps({"files": files_key}),
    }
    (library,) = look(tmp_path, files, prefixes=("/c",))
    owned = files_key == ["lib/libcudnn.so.9.10.2"]
    assert (library.version, library.owner) == (
        ("9.10.2.21", "conda cudnn") if owned else ("9.10.2", None)
    )


# --- parsers --------------------------------------------------------------------------------


def test_macros() -> None:
    text = "# define A 1\n  #define B A\n#define C D\n#define D D\n#define E 0x10\n"
    assert versions.macros(text, "A", "B") == ["1", "1"]
    assert versions.macros(text, "C") is None
    assert versions.macros(text, "E") is None
    assert versions.macros(text, "A", "F") is None


def test_names_of_metadata() -> None:
    names = [
        "nvidia_cudnn_cu12-9.10.2.21.dist-info",
        "torch-2.13.0+cpu.dist-info",
        "old-1.0-py3.6.egg-info",
        "a_b-1.dist-info",
        "A.b-2.dist-info",
        "strange.dist-info",
        "other-1",
    ]
    assert versions.distributions(names) == {
        "nvidia-cudnn-cu12": "9.10.2.21",
        "torch": "2.13.0+cpu",
        "old": "1.0",
        "a-b": None,
    }


def test_names_of_records() -> None:
    names = ["cuda-nvcc-12.4.131-hbad6d8a_0.json", "history", "x.json"]
    assert versions.records(names) == {
        "cuda-nvcc": ("12.4.131", "cuda-nvcc-12.4.131-hbad6d8a_0.json")
    }
