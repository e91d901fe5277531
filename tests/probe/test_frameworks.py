"""What frameworks were built for, on the literal lines of their files that matter.

Shapes as the wheels of torch 2.13 (CPU), tensorflow-cpu 2.21, jax 0.10.2, cupy-cuda12x 14.2 and
onnxruntime 1.32 have them, written down by hand; the values of builds for CUDA are those that
users have posted, or made up.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from envfreeze.model.host import Framework
from envfreeze.probe import frameworks
from envfreeze.probe.machine import Machine
from envfreeze.probe.places import Places
from tests.support.trees import grow, names

SITE = "/v/lib/python3.12/site-packages"

TORCH = """\
from typing import Optional

__all__ = ['__version__', 'debug', 'cuda', 'git_version', 'hip', 'rocm', 'xpu']
__version__ = '2.13.0+cu130'
debug = False
cuda: Optional[str] = '13.0'
git_version = 'cf30153c4c131c8164ee7798e5022d810682e2cb'
hip: Optional[str] = None
"""
BUILD_INFO = """\
import collections
build_info = collections.OrderedDict([("cpu_compiler", "/usr/lib/llvm-17/bin/clang"),
("cuda_compute_capabilities", ["sm_60", "sm_70", "sm_80", "sm_89", "compute_90"]),
("cuda_version", "12.3"), ("cudnn_version", "8"), ("is_cuda_build", True)])
"""
JAX = """\
_version = "0.10.2"
_release_version: str | None = '0.10.2'
_git_hash: str = '990e6a0b84138346e6a38785412f36356e0e5dc3'
def _get_version_string() -> str:
  return _version
__version__ = _get_version_string()
"""
ONNX = "package_name = 'onnxruntime-gpu'\n__version__ = '1.20.1'\ncuda_version = '12.4'\n"


def look(
    root: Path, *sites: dict[str, str], machine: Machine | None = None
) -> dict[str, Framework]:
    found = []
    for number, files in enumerate(sites):
        site = f"{SITE}{number}"
        grow(root, {f"{site}/{name}": text for name, text in files.items()})
        found.append((site, names(root, site)))
    here = Places(machine or Machine(root=str(root), environ={}))
    told = msgspec.convert(frameworks.facts(here, found), list[Framework])
    return {framework.name: framework for framework in told}


# --- each of them ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (TORCH, {"version": "2.13.0+cu130", "cuda": "13.0"}),
        (
            "__version__ = '1.13.1+cu117'\ndebug = False\ncuda = '11.7'\nhip = None\n",
            {"version": "1.13.1+cu117", "cuda": "11.7"},
        ),
        (
            "__version__ = '2.4.0'\ncuda = None\nhip: str = '6.1.40091'\n",
            {"version": "2.4.0", "hip": "6.1.40091"},
        ),
    ],
)
def test_torch(tmp_path: Path, text: str, told: dict[str, str]) -> None:
    found = look(tmp_path, {"torch/version.py": text})
    assert found["torch"] == Framework(name="torch", source="torch/version.py", **told)


def test_tensorflow(tmp_path: Path) -> None:
    source = "tensorflow/python/platform/build_info.py"
    files = {source: BUILD_INFO, "tensorflow_cpu-2.16.1.dist-info/METADATA": ""}
    assert look(tmp_path, files)["tensorflow"] == Framework(
        name="tensorflow",
        version="2.16.1",
        cuda="12.3",
        cudnn="8",
        architectures=["compute_90", "sm_60", "sm_70", "sm_80", "sm_89"],
        source=source,
    )


def test_tensorflow_for_the_processor_alone(tmp_path: Path) -> None:
    source = "tensorflow/python/platform/build_info.py"
    text = (
        "import collections\n\nbuild_info = collections.OrderedDict("
        "[('is_cuda_build', False), ('is_rocm_build', False), ('is_tensorrt_build', False)])\n"
    )
    files = {source: text, "tensorflow_cpu-2.21.0.dist-info/METADATA": ""}
    assert look(tmp_path, files)["tensorflow"] == Framework(
        name="tensorflow", version="2.21.0", source=source
    )


def test_tensorflow_without_metadata_tells_its_version_in_a_header(tmp_path: Path) -> None:
    files = {
        "tensorflow/python/platform/build_info.py": "build_info = {}\n",
        "tensorflow/include/tensorflow/core/public/version.h": (
            "#define TF_MAJOR_VERSION 2\n#define TF_MINOR_VERSION 9\n#define TF_PATCH_VERSION 3\n"
        ),
    }
    found = look(tmp_path, files)["tensorflow"]
    assert (found.version, found.cuda, found.architectures) == ("2.9.3", None, [])


def test_jax_and_its_plugin(tmp_path: Path) -> None:
    files = {
        "jax/version.py": JAX,
        "jaxlib/version.py": JAX,
        "jaxlib-0.10.2.dist-info/METADATA": "",
        "jax_cuda12_plugin-0.10.2.dist-info/METADATA": "",
    }
    found = look(tmp_path, files)
    assert (found["jax"].version, found["jax"].cuda) == ("0.10.2", "12")
    assert (found["jaxlib"].version, found["jaxlib"].cuda) == ("0.10.2", None)


def test_an_old_jaxlib_tells_in_its_local_version(tmp_path: Path) -> None:
    files = {
        "jaxlib/version.py": '_version = "0.4.13"\n',
        "jaxlib-0.4.13+cuda12.cudnn89.dist-info/METADATA": "",
    }
    found = look(tmp_path, files)["jaxlib"]
    assert (found.version, found.cuda, found.cudnn) == ("0.4.13+cuda12.cudnn89", "12", "8.9")


def test_cupy(tmp_path: Path) -> None:
    files = {
        "cupy/_version.py": "__version__ = '13.4.1'\n",
        "cupy/.data/_wheel.json": '{"cuda": "12.x", "cutensor": {"version": "2.0.2"}}',
    }
    found = look(tmp_path, files)["cupy"]
    assert (found.version, found.cuda, found.cudnn) == ("13.4.1", "12.x", None)
    assert look(tmp_path, files | {"cupy/.data/_wheel.json": "[" * 60_000})["cupy"].cuda is None


def test_onnxruntime(tmp_path: Path) -> None:
    found = look(tmp_path, {"onnxruntime/capi/build_and_package_info.py": ONNX})["onnxruntime"]
    assert (found.version, found.cuda) == ("1.20.1", "12.4")


def test_the_first_on_the_path_is_the_one(tmp_path: Path) -> None:
    later = {"torch/version.py": "__version__ = '1'\n"}
    assert look(tmp_path, {"torch/version.py": TORCH}, later)["torch"].cuda == "13.0"


def test_what_tells_no_version_is_a_finding(tmp_path: Path) -> None:
    machine = Machine(root=str(tmp_path), environ={})
    found = look(tmp_path, {"torch/version.py": "__version__ = f()\n"}, machine=machine)
    assert found == {}
    (finding,) = machine.findings
    assert finding["place"].endswith("/torch/version.py")


# --- hostile files --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "__version__ = " + "[" * 1_000_000,
        "__version__ = " + "[" * 30_000 + "]" * 30_000,
        "__version__ = 1" + "+1" * 30_000,
        "__version__ = " + "-" * 60_000 + "1",
        "__version__ = a" + ".b" * 30_000,
        "__version__ = a" + "()" * 30_000,
        "__version__ = " + "not " * 15_000 + "1",
        "__version__ = 'a\0'",
        "__version__ = '\\d\x1b[31m'",
        "__version__ = 'a\\nb'",
        "__version__ = '" + "1" * 1000 + "'",
        "__version__ = __import__('os').system('false')",
        "__version__ = ['1']",
        "x = {[]: 1}\n__version__: str\n",
        "this is no Python",
        "__version__ = '1'\n" + "#" * frameworks.LIMIT,
    ],
)
def test_hostile_files_tell_nothing(tmp_path: Path, text: str) -> None:
    assert look(tmp_path, {"torch/version.py": text}) == {}


def test_a_file_of_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    assert "torch" in look(tmp_path, {"torch/version.py": TORCH})
    path = f"{SITE}0/torch/version.py"
    with (tmp_path / path.lstrip("/")).open("ab") as file:
        file.truncate(1 << 30)
    here = Places(Machine(root=str(tmp_path), environ={}))
    assert frameworks.facts(here, [(f"{SITE}0", {"torch/version.py": None})]) == []


@pytest.mark.parametrize(
    "pairs",
    [None, 1, "x", [1, 2], [("cuda_version",)], {"cuda_version": 12}, [([], 1)]],
)
def test_build_info_may_be_anything(pairs: Any) -> None:
    told = frameworks.from_build_info(pairs)
    assert not any(told.values())


def test_architectures_that_are_none_are_left_out() -> None:
    pairs = {"cuda_compute_capabilities": ["sm_90a", "sm_120f", "8.0", 80, "sm_\n", "compute_100"]}
    assert frameworks.from_build_info(pairs)["architectures"] == [
        "compute_100",
        "sm_120f",
        "sm_90a",
    ]
