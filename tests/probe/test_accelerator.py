"""The whole of it: on this machine, on a recorded one, and bundled as the probe travels."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from envfreeze.model.host import Accelerator, Driver
from envfreeze.probe import accelerator, walk
from envfreeze.probe.machine import Machine
from tests.support import pythons
from tests.support.trees import grow, names

SITE = "/c/lib/python3.12/site-packages"
TREE = {
    "/proc/driver/nvidia/version": (
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.135  Fri Jan 10 21:04:12 UTC 2025\n"
    ),
    "/usr/local/cuda-12.4/version.json": '{"cuda": {"version": "12.4.1"}}',
    f"{SITE}/torch/version.py": "__version__ = '2.5.1+cu124'\ncuda = '12.4'\n",
    f"{SITE}/nvidia/cudnn/lib/libcudnn.so.9": "",
    f"{SITE}/nvidia_cudnn_cu12-9.1.0.70.dist-info/METADATA": "",
    "/c/conda-meta/nccl-2.21.5.1-h3a97aeb_0.json": '{"files": ["lib/libnccl.so.2.21.5"]}',
    "/c/lib/libnccl.so.2": "-> libnccl.so.2.21.5",
    "/c/lib/libnccl.so.2.21.5": "",
}
MODULES = (
    "machine",
    "places",
    "programs",
    "nvml",
    "smi",
    "nvidia",
    "versions",
    "toolkits",
    "gpulibs",
    "frameworks",
    "otheraccel",
    "accelerator",
)
"""In the order in which they import one another."""


def look(root: Path, **more: Any) -> Accelerator:
    grow(root, TREE)
    machine = Machine(root=str(root), environ={})
    found = accelerator.facts(machine, [(SITE, names(root, SITE))], **more)
    return msgspec.convert(found, Accelerator)


def test_a_recorded_machine(tmp_path: Path) -> None:
    found = look(tmp_path)
    assert (found.driver.state, found.driver.version) == ("no-answer", "550.135")
    assert [(t.version, t.root) for t in found.toolkits] == [("12.4.1", "/usr/local/cuda-12.4")]
    assert [(lib.name, lib.version, lib.owner) for lib in found.libraries] == [
        ("cudnn", "9.1.0.70", None),
        ("nccl", "2.21.5.1", "conda nccl"),
    ]
    assert [(f.name, f.cuda) for f in found.frameworks] == [("torch", "12.4")]
    assert (found.gpus, found.others, found.platform) == ([], [], None)


def test_not_looked_at_is_no_answer_at_all(tmp_path: Path) -> None:
    found = look(tmp_path, look=False)
    assert found.driver == Driver(state="not-looked")
    assert [f.name for f in found.frameworks] == ["torch"]


@pytest.mark.parametrize("name", ["wsl", "jetson R36.4.7"])
def test_the_platform(tmp_path: Path, name: str) -> None:
    release = "# R36 (release), REVISION: 4.7\n"
    grow(tmp_path, {"/dev/dxg": ""} if name == "wsl" else {"/etc/nv_tegra_release": release})
    assert look(tmp_path).platform == name
    assert accelerator.facts(Machine(root=str(tmp_path), environ={}), [], False)["platform"] == name


def test_a_look_at_this_machine_leaves_no_trace() -> None:
    sites = [(path, walk.walk(path).names) for path in sys.path if path.endswith("site-packages")]
    before = set(Path("/dev").glob("nvidia*"))
    told = msgspec.convert(accelerator.facts(Machine(), sites), Accelerator)
    if told.driver.state == "none":
        assert set(Path("/dev").glob("nvidia*")) == before


def test_it_travels_as_text_to_every_interpreter(tmp_path: Path) -> None:
    """As the bundle brings it: modules made out of text, without files to import."""
    grow(tmp_path, TREE)
    home = Path(accelerator.__file__).parent
    sources = [(name, (home / f"{name}.py").read_text("utf-8")) for name in MODULES]
    (tmp_path / "sources.json").write_text(json.dumps(sources))
    request = [str(tmp_path), SITE, sorted(names(tmp_path, SITE))]
    program = (
        "import json, sys, types\n"
        "package = types.ModuleType('p'); package.__path__ = []; sys.modules['p'] = package\n"
        "for name, text in json.load(open(sys.argv[1])):\n"
        "    module = types.ModuleType('p.' + name); module.__package__ = 'p'\n"
        "    sys.modules['p.' + name] = module\n"
        "    exec(compile(text, name, 'exec'), module.__dict__)\n"
        "    setattr(package, name, module)\n"
        "root, site, names = json.loads(sys.argv[2])\n"
        "machine = package.machine.Machine(root=root, environ={})\n"
        "facts = package.accelerator.facts(machine, [(site, names)], ask=True)\n"
        "print(json.dumps(facts, sort_keys=True))\n"
    )
    answers = set()
    for python in [Path(sys.executable), *pythons.available().values()]:
        done = subprocess.run(
            [python, "-S", "-B", "-c", program, tmp_path / "sources.json", json.dumps(request)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{python}: {done.stderr}"
        answers.add(done.stdout)
    (answer,) = answers
    told = msgspec.json.decode(answer, type=Accelerator)
    assert told.driver.version == "550.135"
    assert "NVML error 12" in (told.driver.reason or "")
    assert [lib.name for lib in told.libraries] == ["cudnn", "nccl"]
