"""NVIDIA's driver and devices: the library in a child, the kernel's files, nvidia-smi."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from envfreeze.model.host import Driver, Gpu
from envfreeze.probe import nvidia, nvml, smi
from envfreeze.probe.machine import Machine
from envfreeze.probe.places import Places
from tests.support import nvidiasmi, pythons
from tests.support import nvml as stand_in

OPEN = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  "
    "(dvs-builder@U22-A23-12-4)  Tue Sep 23 10:11:16 UTC 2025\nGCC version:  gcc version 12.2.0\n"
)
CLOSED = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.135  Fri Jan 10 21:04:12 UTC 2025\n"
NO_ARCHITECTURE = "NVRM version: NVIDIA UNIX Open Kernel Module  570.86.15  Release Build\n"


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stand_in.build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture(scope="session")
def old_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stand_in.build(tmp_path_factory.mktemp("nvml-old"), old=True)


class Box:
    """A machine in a directory; its library is looked for by LD_LIBRARY_PATH, as loaders do."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environ = {"PATH": "/usr/bin", "HOME": "/"}

    def write(self, path: str, text: str) -> Box:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return self

    def driver(self, text: str = OPEN) -> Box:
        return self.write("/proc/driver/nvidia/version", text)

    def nvml(self, library: Path, record: str) -> Box:
        place = self.root / "opt/nvml"
        place.parent.mkdir(exist_ok=True)
        place.mkdir()
        for file in sorted(library.iterdir()):
            os.link(file, place / file.name, follow_symlinks=False)
        self.write("record", record)
        self.environ.update(LD_LIBRARY_PATH="/opt/nvml", NVML_RECORD=str(self.root / "record"))
        return self

    def smi(self) -> Path:
        return self.root / "usr/bin/nvidia-smi"

    def machine(self) -> Machine:
        return Machine(root=str(self.root), environ=self.environ)

    def look(self, *, ask: bool = True, machine: Machine | None = None) -> tuple[Driver, list[Gpu]]:
        looked = nvidia.Nvidia(Places(machine or self.machine()), ask)
        driver, gpus = looked.answer()
        return msgspec.convert(driver, Driver), msgspec.convert(gpus, list[Gpu])


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


# --- what the kernel's files say ------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (OPEN, ("580.95.05", True)),
        (CLOSED, ("550.135", False)),
        (NO_ARCHITECTURE, ("570.86.15", True)),
        ("NVRM version: nonsense\n", None),
        ("", None),
    ],
)
def test_the_version_file(text: str, told: tuple[str, bool] | None) -> None:
    assert nvidia.kernel_version(text) == told


def test_a_device_by_its_information_file() -> None:
    text = (
        "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 10\n"
        "GPU UUID: \t GPU-9221d5d1-b60b-a624-bf14-0a1819cfda3b\n"
        "Video BIOS: \t ??.??.??.??.??\nBus Type: \t PCIe\nBus Location: \t 0000:62:00.0\n"
    )
    assert nvidia.information(text) == {
        "name": "NVIDIA H100 80GB HBM3",
        "uuid": "GPU-9221d5d1-b60b-a624-bf14-0a1819cfda3b",
        "bus": "0000:62:00.0",
    }
    assert nvidia.information("Bus Type: PCIe\n") is None
    assert nvidia.information("Model: a\x1b[31mb\n") is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("# R36 (release), REVISION: 4.7, GCID: 42132812, BOARD: generic\n", "jetson R36.4.7"),
        ("# R32 (release), REVISION: 7.1, GCID: 1\n", "jetson R32.7.1"),
        ("who knows\n", "jetson"),
    ],
)
def test_the_release_file_of_a_jetson(text: str, told: str) -> None:
    assert nvidia.tegra(text) == told


# --- nothing is loaded without a sign -------------------------------------------------------


def test_without_a_sign_of_a_driver_nothing_is_loaded(box: Box, library: Path) -> None:
    # The library would end its process: were it asked, this would not be "none".
    box.nvml(library, "init abort\n")
    (box.root / "opt/nvml").rename(box.root / "opt/elsewhere")
    nvidiasmi.failing(box.smi(), 0, "it was run")
    looked = nvidia.Nvidia(Places(box.machine()), True)
    assert looked._child is None
    assert looked.answer() == ({"state": "none"}, [])


def test_a_library_without_a_driver_is_not_asked(box: Box, library: Path) -> None:
    driver, gpus = box.nvml(library, stand_in.A100).look()
    assert driver == Driver(
        state="no-answer",
        reason="its library is installed, its kernel module is not loaded",
        library="580.95.05",
    )
    assert gpus == []


def test_a_library_that_does_not_tell_its_version(box: Box) -> None:
    driver, _ = box.write("/usr/lib64/libnvidia-ml.so.1", "").look()
    assert (driver.state, driver.library) == ("no-answer", None)


def test_looking_at_this_machine_leaves_dev_as_it_was() -> None:
    def listed() -> list[tuple[str, list[str], list[str]]]:
        return [
            (top, sorted(directories), sorted(files))
            for top, directories, files in os.walk("/dev")
            if not top.startswith(("/dev/pts", "/dev/shm", "/dev/fd", "/dev/mqueue"))
        ]

    for _ in range(3):  # Others may be at work here; we are not, each time.
        before = listed()
        driver, _ = nvidia.Nvidia(Places(Machine()), True).answer()
        if listed() == before:
            break
    else:
        raise AssertionError("a look changes /dev")
    assert driver["state"] in ("found", "none", "no-answer")
    if not any(map(os.path.exists, (nvidia.VERSION, nvidia.MODULE, nvidia.DXG, nvidia.TEGRA))):
        assert driver["state"] != "found"


# --- the library ----------------------------------------------------------------------------


def test_two_devices_one_of_them_split(box: Box, library: Path) -> None:
    driver, gpus = box.driver().nvml(library, stand_in.A100).look()
    assert driver == Driver(
        state="found",
        version="580.95.05",
        cuda="13.0",
        open=True,
        library="580.95.05",
        source="nvml",
    )
    assert gpus[0] == Gpu(
        name="NVIDIA A100-SXM4-40GB",
        capability="8.0",
        memory=40 << 30,
        ecc=True,
        mig=True,
        instances=["1g.5gb", "3g.20gb"],
        persistence=True,
        power_limit=400_000,
        vbios="92.00.45.00.03",
        uuid="GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f",
        bus="00000000:07:00.0",
    )
    # What will be after the next boot is not what is.
    assert (gpus[1].ecc, gpus[1].mig, gpus[1].persistence) == (False, False, False)


def test_what_is_not_supported_is_not_told(box: Box, library: Path) -> None:
    _, (geforce,) = box.driver().nvml(library, stand_in.GEFORCE).look()
    assert geforce.capability == "8.9"
    assert (geforce.ecc, geforce.mig, geforce.instances) == (None, None, [])
    (box.root / "record").write_text(stand_in.GB10)
    driver, (gb10,) = box.look()
    assert (gb10.capability, gb10.memory, gb10.persistence) == ("12.1", None, None)
    assert driver.version == "580.95.05"


def test_an_older_library_lacks_functions(box: Box, old_library: Path) -> None:
    driver, gpus = box.driver(CLOSED).nvml(old_library, stand_in.A100).look()
    assert (driver.state, driver.version, driver.cuda, driver.open) == (
        "found",
        "580.95.05",
        None,
        False,
    )
    assert (gpus[0].memory, gpus[0].ecc) == (40 << 30, True)
    assert (gpus[0].capability, gpus[0].mig, gpus[0].instances) == (None, None, [])


def test_a_lost_device_is_a_finding(box: Box, library: Path) -> None:
    machine = box.driver().nvml(library, stand_in.LOST).machine()
    _, gpus = box.look(machine=machine)
    assert len(gpus) == 2
    (finding,) = machine.findings
    assert (finding["kind"], finding["place"]) == ("gpu", "GPU 2")
    assert "fallen off the bus" in finding["detail"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (9, "kernel module is not loaded (NVML error 9): Driver Not Loaded"),
        (4, "this user may not ask it (NVML error 4): Insufficient Permissions"),
        (18, "the driver was updated, and the old module is still loaded (NVML error 18)"),
        (77, "error 77 (NVML error 77)"),
    ],
)
def test_errors_are_worded_and_the_files_still_tell(
    box: Box, library: Path, code: int, words: str
) -> None:
    box.write("/proc/driver/nvidia/gpus/0000:07:00.0/information", "Model: \t NVIDIA A100\n")
    machine = box.driver(CLOSED).nvml(library, f"init !{code}\n").machine()
    driver, gpus = box.look(machine=machine)
    assert driver.state == "no-answer"
    assert words in (driver.reason or "")
    assert (driver.version, driver.open, driver.library) == ("550.135", False, "580.95.05")
    assert driver.source == "/proc/driver/nvidia/version"
    assert gpus == [Gpu(name="NVIDIA A100")]
    assert [found["kind"] for found in machine.findings] == ["driver-mismatch"] * (code == 18)


@pytest.mark.parametrize("record", ["init abort\n", "gpu\nname abort\n"])
def test_a_library_may_end_its_process(box: Box, library: Path, record: str) -> None:
    driver, gpus = box.driver().nvml(library, record).look()
    assert driver.state == "no-answer"
    assert driver.reason == "libnvidia-ml.so.1: it was killed by signal 6"
    assert (driver.version, gpus) == ("580.95.05", [])
    assert not list(box.root.glob("**/core*"))


def test_a_library_may_hang(box: Box, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "SECONDS", 0.5)
    nvidiasmi.failing(box.smi(), 0, "it was run, and would hang too")
    driver, _ = box.driver().nvml(library, "init hang\n").look()
    assert driver.state == "no-answer"
    assert driver.reason == "libnvidia-ml.so.1: it did not answer within 0.5 s"


def test_a_library_that_is_not_there(box: Box) -> None:
    driver, _ = box.driver().look()
    assert driver.state == "no-answer"
    assert "libnvidia-ml.so.1 could not be loaded (NVML error 12)" in (driver.reason or "")
    assert driver.version == "580.95.05"


def test_a_library_that_is_none(box: Box, library: Path) -> None:
    box.driver().nvml(library, "")
    (box.root / "opt/nvml/libnvidia-ml.so.1").unlink()
    box.write("/opt/nvml/libnvidia-ml.so.1", "no ELF file")
    driver, _ = box.look()
    assert (driver.state, driver.library) == ("no-answer", None)
    assert "error 12" in (driver.reason or "")


def test_a_directory_that_anybody_may_write_to_is_not_loaded_from(box: Box, library: Path) -> None:
    box.driver().nvml(library, stand_in.A100)
    (box.root / "opt/nvml").chmod(0o777)
    driver, _ = box.look()
    assert driver.state == "no-answer"


def test_a_recorded_machine_is_read_and_nothing_is_run(box: Box, library: Path) -> None:
    driver, _ = box.driver().nvml(library, stand_in.A100).look(ask=False)
    assert (driver.state, driver.version) == ("no-answer", "580.95.05")
    assert driver.reason == "only its files were read"


def test_the_module_alone_tells_a_version(box: Box) -> None:
    driver, _ = box.write("/sys/module/nvidia/version", "535.129.03\n").look(ask=False)
    assert (driver.version, driver.source) == ("535.129.03", "/sys/module/nvidia/version")


def test_every_interpreter_asks_alike(box: Box, library: Path) -> None:
    box.driver().nvml(library, stand_in.A100)
    program = (
        "import sys, json; sys.path.insert(0, sys.argv[1])\n"
        "from probe import nvidia, places, machine\n"
        "m = machine.Machine(root=sys.argv[2], environ=json.loads(sys.argv[3]))\n"
        "print(json.dumps(nvidia.Nvidia(places.Places(m), True).answer()))\n"
    )
    home = str(Path(nvidia.__file__).parents[1])
    expected = json.loads(json.dumps(nvidia.Nvidia(Places(box.machine()), True).answer()))
    for python in pythons.available().values():
        done = subprocess.run(
            [python, "-B", "-c", program, home, str(box.root), json.dumps(box.environ)],
            capture_output=True,
            check=True,
        )
        assert json.loads(done.stdout) == expected, python


# --- the real binding is the oracle ---------------------------------------------------------

ORACLE = """\
import json, pynvml as n
def ask(function, *arguments):
    try:
        return function(*arguments)
    except n.NVMLError as error:
        return "error %d" % error.value
n.nvmlInit()
devices = []
for index in range(n.nvmlDeviceGetCount()):
    h = n.nvmlDeviceGetHandleByIndex(index)
    names = []
    slots = ask(n.nvmlDeviceGetMaxMigDeviceCount, h)
    for slot in range(slots if isinstance(slots, int) else 0):
        instance = ask(n.nvmlDeviceGetMigDeviceHandleByIndex, h, slot)
        if not isinstance(instance, str):
            names.append(ask(n.nvmlDeviceGetName, instance))
    memory = ask(n.nvmlDeviceGetMemoryInfo, h)
    bus = ask(n.nvmlDeviceGetPciInfo, h)
    devices.append({
        "name": ask(n.nvmlDeviceGetName, h), "uuid": ask(n.nvmlDeviceGetUUID, h),
        "vbios": ask(n.nvmlDeviceGetVbiosVersion, h), "instances": names,
        "capability": ask(n.nvmlDeviceGetCudaComputeCapability, h),
        "memory": memory if isinstance(memory, str) else memory.total,
        "ecc": ask(n.nvmlDeviceGetEccMode, h), "mig": ask(n.nvmlDeviceGetMigMode, h),
        "persistence": ask(n.nvmlDeviceGetPersistenceMode, h),
        "power": ask(n.nvmlDeviceGetPowerManagementLimit, h),
        "bus": bus if isinstance(bus, str) else bus.busId,
    })
print(json.dumps({"driver": ask(n.nvmlSystemGetDriverVersion),
    "cuda": ask(n.nvmlSystemGetCudaDriverVersion_v2),
    "nvml": ask(n.nvmlSystemGetNVMLVersion), "gpus": devices}))
"""


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("record", [stand_in.A100, stand_in.GEFORCE, stand_in.GB10])
def test_the_real_binding_says_the_same(
    tmp_path: Path, library: Path, old_library: Path, record: str, old: bool
) -> None:
    (tmp_path / "record").write_text(record)
    place = old_library if old else library
    environ = {"LD_LIBRARY_PATH": str(place), "NVML_RECORD": str(tmp_path / "record")}
    done = subprocess.run(
        [sys.executable, "-c", ORACLE], env=environ, capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout.splitlines()[-1])

    def known(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: known(v) for k, v in value.items()}
        if isinstance(value, list):
            return [known(item) for item in value]
        return None if isinstance(value, str) and value.startswith("error ") else value

    environ["LD_LIBRARY_PATH"] = str(place)
    child = [sys.executable, "-I", "-S", "-c", nvidia._CHILD, nvidia.shipped(nvml), nvidia.SONAME]
    done = subprocess.run(child, env=environ, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    assert said.pop("path") == str(place / "libnvidia-ml.so.580.95.05")
    assert said == known(told)


# --- WSL and Jetson -------------------------------------------------------------------------


def test_wsl_without_nvidias_driver(box: Box) -> None:
    looked = nvidia.Nvidia(Places(box.write("/dev/dxg", "").machine()), True)
    assert looked.platform == "wsl"
    assert looked.answer() == ({"state": "none"}, [])


def test_on_wsl_windows_own_library_is_asked(box: Box, library: Path) -> None:
    box.write("/dev/dxg", "").nvml(library, stand_in.GEFORCE)
    (box.root / "usr/lib/wsl").mkdir(parents=True)
    (box.root / "opt/nvml").rename(box.root / "usr/lib/wsl/lib")
    box.write("/opt/nvml/libnvidia-ml.so.1", "a stub of the distribution's")
    driver, gpus = box.look()
    assert (driver.state, driver.version, driver.open) == ("found", "570.86.15", None)
    assert gpus[0].name == "NVIDIA GeForce RTX 4090"


def test_a_jetson_without_the_library(box: Box) -> None:
    box.write("/etc/nv_tegra_release", "# R36 (release), REVISION: 4.7, GCID: 1\n")
    looked = nvidia.Nvidia(Places(box.machine()), True)
    driver, _ = looked.answer()
    assert looked.platform == "jetson R36.4.7"
    assert driver["state"] == "no-answer"


# --- nvidia-smi -----------------------------------------------------------------------------

FOUND = Driver(state="found", version="550.163.01", cuda="12.4", open=True, source="nvidia-smi")


def test_nvidia_smi_is_asked_where_the_library_cannot_be(box: Box) -> None:
    nvidiasmi.answering(box.smi(), sys.executable)
    driver, gpus = box.driver().look()
    assert driver == FOUND
    assert gpus == [
        Gpu(
            name="NVIDIA A100-SXM4-40GB",
            capability="8.0",
            memory=40 << 30,
            ecc=True,
            mig=True,
            instances=["1g.5gb", "3g.20gb"],
            persistence=True,
            power_limit=400_000,
            vbios="92.00.45.00.03",
            uuid="GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f",
            bus="00000000:07:00.0",
        ),
        Gpu(
            name="NVIDIA GB10",
            capability="12.1",
            persistence=False,
            uuid="GPU-2",
            bus="0000000F:01:00.0",
        ),
    ]


def test_an_older_nvidia_smi_is_asked_again_with_less(box: Box) -> None:
    nvidiasmi.answering(box.smi(), sys.executable, without=("compute_cap", "mig.mode.current"))
    driver, gpus = box.driver().look()
    assert driver == FOUND
    assert (gpus[0].capability, gpus[0].mig, gpus[0].ecc) == (None, None, True)


def test_nvidia_smi_is_asked_after_a_crash(box: Box, library: Path) -> None:
    nvidiasmi.answering(box.smi(), sys.executable)
    driver, gpus = box.driver().nvml(library, "init abort\n").look()
    assert (driver.source, len(gpus)) == ("nvidia-smi", 2)


@pytest.mark.parametrize(
    ("status", "words"), [(9, "kernel module is not loaded"), (255, "error 255")]
)
def test_the_status_is_believed_and_not_the_output(box: Box, status: int, words: str) -> None:
    row = ", ".join(values[0] for values in nvidiasmi.VALUES.values())
    nvidiasmi.failing(box.smi(), status, row)
    driver, gpus = box.driver().look()
    assert (driver.state, gpus) == ("no-answer", [])
    assert f"nvidia-smi: {words}" in (driver.reason or "").replace("its ", "")


def test_a_program_of_somebody_elses_is_not_run(box: Box) -> None:
    nvidiasmi.answering(box.smi(), sys.executable)
    box.smi().chmod(0o777)
    driver, _ = box.driver().look()
    assert driver.state == "no-answer"


def test_rows_of_nvidia_smi() -> None:
    fields = ("name", "memory.total")
    assert smi.rows("A, 1\n\nB, [N/A]\nnot a row\nC, N/A, 3\n", fields) == [
        {"name": "A", "memory.total": "1"},
        {"name": "B"},
    ]
    assert smi.refused('Field "compute_cap" is not a valid field to query.\n') == "compute_cap"
    assert smi.refused("name") is None
    assert smi.cuda(nvidiasmi.TABLE) == "12.4"
    assert smi.cuda("CUDA Version: N/A") is None
    assert smi.instances(nvidiasmi.LIST) == {0: ["1g.5gb", "3g.20gb"]}
