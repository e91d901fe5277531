"""CUDA toolkits: every place, every file that tells a version, and which one is active."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from envfreeze.model.host import Toolkit
from envfreeze.probe import toolkits
from envfreeze.probe.machine import Machine
from envfreeze.probe.places import Places
from tests.support.trees import places

NVCC = """\
nvcc: NVIDIA (R) Cuda compiler driver
Copyright (c) 2005-2025 NVIDIA Corporation
Built on Wed_Aug_20_01:58:59_PM_PDT_2025
Cuda compilation tools, release 13.0, V13.0.88
Build cuda_13.0.r13.0/compiler.36424714_0
"""
VERSION_JSON = json.dumps(
    {
        "cuda": {"name": "CUDA SDK", "version": "13.3.1"},
        "cuda_cudart": {"name": "CUDA Runtime (cudart)", "version": "13.3.29"},
        "cuda_nvcc": {"name": "CUDA NVCC", "version": "13.3.33"},
        "nvidia_driver": {"name": "NVIDIA Linux Driver", "version": "610.1"},
    }
)
HEADER = "/* \n#define CUDA_VERSION_NOT 1\n */\n#define CUDA_VERSION 12040\n"


def look(
    root: Path,
    files: dict[str, str],
    *,
    prefixes: tuple[str, ...] = (),
    sites: tuple[str, ...] = (),
    ask: bool = False,
    **environ: str,
) -> list[Toolkit]:
    found = toolkits.facts(places(root, files, **environ), list(prefixes), list(sites), ask)
    return msgspec.convert(found, list[Toolkit])


def test_two_beside_one_another_and_the_link_to_one(tmp_path: Path) -> None:
    files = {
        "/usr/local/cuda-12.4/include/cuda.h": HEADER,
        "/usr/local/cuda-13.3/version.json": VERSION_JSON,
        "/usr/local/cuda-13.3/bin/nvcc": "#!/bin/sh\nexit 1\n",
        "/usr/local/cuda": "-> cuda-13.3",
    }
    assert look(tmp_path, files, PATH="/bin:/usr/local/cuda/bin") == [
        Toolkit(
            version="12.4",
            root="/usr/local/cuda-12.4",
            source="/usr/local/cuda-12.4/include/cuda.h",
        ),
        Toolkit(
            version="13.3.1",
            nvcc="13.3.33",
            root="/usr/local/cuda-13.3",
            source="/usr/local/cuda-13.3/version.json",
            active=True,
        ),
    ]


@pytest.mark.parametrize("name", ["CUDA_HOME", "CUDA_PATH"])
def test_variables_make_one_active(tmp_path: Path, name: str) -> None:
    files = {"/sw/cuda/10.2/version.txt": "CUDA Version 10.2.89\n"}
    assert look(tmp_path, files, **{name: "/sw/cuda/10.2/"}) == [
        Toolkit(
            version="10.2.89",
            root="/sw/cuda/10.2",
            source="/sw/cuda/10.2/version.txt",
            active=True,
        )
    ]


def test_a_script_on_path_that_calls_nvcc(tmp_path: Path) -> None:
    files = {
        "/usr/local/bin/nvcc": '#!/bin/sh\nexec /sw/cuda-12.4/bin/nvcc "$@"\n',
        "/sw/cuda-12.4/bin/nvcc": "#!/bin/sh\n",
        "/sw/cuda-12.4/targets/x86_64-linux/include/cuda.h": HEADER,
    }
    (toolkit,) = look(tmp_path, files, PATH="/usr/local/bin")
    assert (toolkit.root, toolkit.version, toolkit.active) == ("/sw/cuda-12.4", "12.4", True)


def test_a_script_on_path_that_says_nothing(tmp_path: Path) -> None:
    assert look(tmp_path, {"/bin/nvcc": "#!/bin/sh\nexec $X\n"}, PATH="/bin") == []


def test_debians_own_lies_in_usr(tmp_path: Path) -> None:
    files = {
        "/usr/bin/nvcc": '#!/bin/sh\nexec /usr/lib/nvidia-cuda-toolkit/bin/nvcc "$@"\n',
        "/usr/lib/nvidia-cuda-toolkit/bin/nvcc": "#!/bin/sh\n",
        "/usr/include/cuda.h": HEADER,
    }
    (toolkit,) = look(tmp_path, files, PATH="/usr/bin")
    assert toolkit == Toolkit(
        version="12.4", root="/usr", source="/usr/include/cuda.h", active=True
    )


def test_the_hpc_sdk_has_several(tmp_path: Path) -> None:
    top = "/opt/nvidia/hpc_sdk/Linux_x86_64/24.5/cuda"
    files = {
        f"{top}/11.8/include/cuda_runtime_api.h": "#define CUDART_VERSION  11080\n",
        f"{top}/12.4/include/cuda.h": HEADER,
    }
    found = look(tmp_path, files, NVHPC_ROOT="/opt/nvidia/hpc_sdk/Linux_x86_64/24.5")
    assert [(t.version, t.root) for t in found] == [
        ("11.8", f"{top}/11.8"),
        ("12.4", f"{top}/12.4"),
    ]


def test_conda_has_one_in_its_prefix(tmp_path: Path) -> None:
    files = {
        "/c/bin/nvcc": "#!/bin/sh\n",
        "/c/conda-meta/cuda-toolkit-12.4.1-0.json": "{}",
        "/c/conda-meta/cuda-nvcc-12.4.131-hbad6d8a_0.json": "{}",
        "/c/conda-meta/cuda-version-12.4-h3060b56_3.json": "{}",
        "/c/targets/x86_64-linux/include/cuda.h": HEADER,
    }
    assert look(tmp_path, files, prefixes=("/c",)) == [
        Toolkit(
            version="12.4.1",
            nvcc="12.4.131",
            root="/c",
            source="/c/conda-meta/cuda-toolkit-12.4.1-0.json",
            owner="conda cuda-toolkit",
        )
    ]


def test_a_prefix_without_a_compiler_has_none(tmp_path: Path) -> None:
    files = {"/c/targets/x86_64-linux/include/cuda.h": HEADER, "/c/conda-meta/history": ""}
    assert look(tmp_path, files, prefixes=("/c",)) == []


def test_wheels_bring_one(tmp_path: Path) -> None:
    site = "/v/lib/python3.12/site-packages"
    files = {
        f"{site}/nvidia/cu13/bin/nvcc": "#!/bin/sh\n",
        f"{site}/nvidia/cu13/include/cuda.h": "#define CUDA_VERSION 13000\n",
        f"{site}/nvidia_cuda_nvcc-13.0.88.dist-info/METADATA": "",
        f"{site}/nvidia/cuda_nvcc/bin/nvcc": "#!/bin/sh\n",
        f"{site}/nvidia/cudnn/lib/libcudnn.so.9": "",
    }
    (shared, own) = look(tmp_path, files, sites=(site,))
    assert (shared.version, shared.nvcc) == ("13.0", "13.0.88")
    assert (own.version, own.root) == ("13.0", f"{site}/nvidia/cuda_nvcc")
    assert own.source == f"{site}/nvidia_cuda_nvcc-13.0.88.dist-info"


def test_an_image_for_running_has_the_runtime_alone(tmp_path: Path) -> None:
    root = "/usr/local/cuda-12.4"
    files = {
        f"{root}/lib64": "-> targets/x86_64-linux/lib",
        f"{root}/targets/x86_64-linux/lib/libcudart.so.12": "-> libcudart.so.12.4.127",
        f"{root}/targets/x86_64-linux/lib/libcudart.so.12.4.127": "",
    }
    (toolkit,) = look(tmp_path, files)
    assert (toolkit.version, toolkit.nvcc) == ("12.4", None)


def test_what_tells_nothing_is_no_toolkit(tmp_path: Path) -> None:
    files = {"/usr/local/cuda-99/readme": "", "/opt/cuda/version.txt": "who knows"}
    assert look(tmp_path, files) == []


# --- asking the compiler --------------------------------------------------------------------


@pytest.mark.parametrize("ask", [True, False])
def test_the_compiler_is_run_where_no_file_tells(tmp_path: Path, ask: bool) -> None:
    files = {"/opt/cuda/bin/nvcc": f"#!/bin/sh\ncat <<'END'\n{NVCC}END\n"}
    assert look(tmp_path, files, ask=ask) == (
        [
            Toolkit(
                version="13.0",
                nvcc="13.0.88",
                root="/opt/cuda",
                source="/opt/cuda/bin/nvcc --version",
            )
        ]
        if ask
        else []
    )


@pytest.mark.parametrize("script", ["exit 1", "echo release 1.1, V1.1.1; exit 1", "sleep 60"])
def test_a_compiler_that_fails(
    tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolkits, "SECONDS", 0.3)
    assert look(tmp_path, {"/opt/cuda/bin/nvcc": f"#!/bin/sh\n{script}\n"}, ask=True) == []


def test_a_compiler_is_not_run_where_a_file_tells(tmp_path: Path) -> None:
    files = {
        "/opt/cuda/bin/nvcc": f"#!/bin/sh\necho x > {tmp_path}/ran\n",
        "/opt/cuda/include/cuda.h": HEADER,
    }
    (toolkit,) = look(tmp_path, files, ask=True)
    assert toolkit.version == "12.4"
    assert not (tmp_path / "ran").exists()


def test_what_the_compiler_prints() -> None:
    assert toolkits.release(NVCC) == ("13.0", "13.0.88")
    assert toolkits.release("nvcc fatal: x") is None


# --- parsers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (VERSION_JSON, {"version": "13.3.1", "nvcc": "13.3.33"}),
        ('{"cuda": {"version": "12.6.20241114"}}', {"version": "12.6.20241114"}),
        ('{"cuda": {"version": "rm -rf"}}', None),
        ('{"cuda": "12.4"}', None),
        ("[]", None),
        ("[" * 100_000, None),
        ("", None),
    ],
)
def test_version_json(text: str, told: dict[str, Any] | None) -> None:
    assert toolkits.from_json(text, "f") == (told and {**told, "source": "f"})


def test_this_machines_toolkits_are_what_their_headers_say() -> None:
    here = Places(Machine())
    found = msgspec.convert(toolkits.facts(here, [], [], True), list[Toolkit])
    for toolkit in found:
        header = Path(toolkit.root) / "include/cuda.h"
        if header.is_file() and "cuda.h" in toolkit.source:
            number = 1000 * int(toolkit.version.split(".")[0]) + 10 * int(
                toolkit.version.split(".")[1]
            )
            assert f"#define CUDA_VERSION {number}\n" in header.read_text()
    nvcc = here.program("nvcc")
    if nvcc is None:
        pytest.skip("no CUDA toolkit on this machine")
    done = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True)
    told = toolkits.release(done.stdout)
    active = [toolkit for toolkit in found if toolkit.active]
    assert told is not None and active
    assert told[0] in {".".join(toolkit.version.split(".")[:2]) for toolkit in active}
    assert {toolkit.nvcc for toolkit in active} <= {None, told[1]}
