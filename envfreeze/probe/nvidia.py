"""NVIDIA's driver and devices: by its library in a child, its own files, ``nvidia-smi``.

NVML and ``cuInit`` make ``/dev/nvidiactl`` where there is no driver, when root asks them, and leave
it there. So nothing is loaded before the kernel shows a sign of one.
"""

import base64
import json
import marshal
import os
import re
import sys
import types

from .places import WSL

# nvml, programs and smi are imported where there is a driver: most machines have none.

SONAME = "libnvidia-ml.so.1"  # Never the unversioned one: in a toolkit that is a stub.
SECONDS = 15  # Waking up eight sleeping devices takes some.
LIMIT = 1 << 16  # Bytes of a file of the kernel.
DEVICES = 1024

VERSION = "/proc/driver/nvidia/version"
MODULE = "/sys/module/nvidia/version"
GPUS = "/proc/driver/nvidia/gpus"
DXG = "/dev/dxg"
TEGRA = "/etc/nv_tegra_release"

# "NVIDIA UNIX x86_64 Kernel Module  550.135  Fri", "... Open Kernel Module for x86_64  580.95"
_KERNEL = re.compile(
    r"^NVRM version:.*?\b(Open )?Kernel Module(?:\s+for\s+\S+)?\s+(\d+(?:\.\d+)+)", re.M
)
_NUMBERS = re.compile(r"\d{1,6}(?:\.\d{1,6}){1,3}$")
_TEGRA = re.compile(r"# (R\d{1,4}) \(release\), REVISION: (\d{1,4}(?:\.\d{1,4}){0,3})")
_LIBRARY = re.compile(r"\.so\.(\d{1,6}(?:\.\d{1,6}){1,3})$")

# The child's whole program: what it is to run comes as its first argument.
_CHILD = (
    "import base64,marshal,sys,types\n"
    "for n,v in marshal.loads(base64.b64decode(sys.argv[1])).items():\n"
    "    globals()[n]=types.FunctionType(v,globals(),n) if isinstance(v,types.CodeType) else v\n"
    "main(sys.argv[2:])\n"
)


class Nvidia(object):
    """One look. The child runs while others look elsewhere, until :meth:`answer` is called."""

    def __init__(self, places, ask):
        """*ask*: libraries and programs may be run; else files alone are read."""
        self.places = places
        self.machine = places.machine
        self.platform = platform(places)
        self.signs = bool(self.platform) or any(map(places.exists, (VERSION, MODULE)))
        if self.platform == "wsl" and not places.exists(WSL + "/" + SONAME):
            # Every WSL 2 has /dev/dxg; Windows puts the library there if it has the driver.
            self.signs = any(map(places.exists, (VERSION, MODULE)))
        self.ask = ask
        self._child = self._start() if self.signs and ask else None

    def _start(self):
        from . import nvml, programs

        candidates = [SONAME]
        if self.platform == "wsl":
            candidates.insert(0, self.machine.path(WSL + "/" + SONAME))
        argv = [sys.executable or "", "-I", "-S", "-B", "-c", _CHILD, shipped(nvml)]
        return programs.Program(argv + candidates, programs.environ(self.places), SECONDS)

    def answer(self):
        """``(Driver, Gpus)`` as plain values."""
        library = self._library()
        if not self.signs and (library is None or self.platform == "wsl"):
            return {"state": "none"}, []
        told = from_files(self.places)
        match = _LIBRARY.search(library or "")
        if match:
            told["library"] = match.group(1)
        if not self.signs:
            reason = "its library is installed, its kernel module is not loaded"
            return dict(told, state="no-answer", reason=reason), []
        driver, gpus, reason = self._asked()
        if driver is None:
            gpus = gpus_from_files(self.places)
            driver = {"state": "no-answer", "reason": reason}
        for key, value in told.items():
            driver.setdefault(key, value)
        return driver, gpus

    def _asked(self):
        """``(Driver, Gpus, None)`` of whom it answered, or ``(None, None, reason)``."""
        if self._child is None:
            return None, None, "only its files were read"
        from . import nvml, smi

        status, output, problem = self._child.answer()
        said = answer_of(output) if status == 0 else None
        if said is None:
            reasons = ["libnvidia-ml.so.1: %s" % (problem or "it gave no answer")]
        elif "problem" not in said:
            return self._told(said)
        else:
            reasons = [reason_of(said)]
        code = (said or {}).get("error")
        if not self._child.late and code in (None, nvml.LIBRARY_NOT_FOUND, nvml.FUNCTION_NOT_FOUND):
            found = smi.look(self.places, reasons)
            if found is not None:
                return found[0], self._named(found[1]), None
        if code == 18:
            self.machine.find(
                "driver-mismatch",
                "NVIDIA driver",
                nvml.WORDS[18],
                "reboot, or reload the kernel module",
            )
        return None, None, "; ".join(reasons)

    def _told(self, said):
        driver = {"state": "found", "source": "nvml"}
        if clean(said.get("driver")):
            driver["version"] = clean(said["driver"])
        if said.get("cuda"):
            driver["cuda"] = "%d.%d" % (said["cuda"] // 1000, said["cuda"] % 1000 // 10)
        match = _LIBRARY.search(os.path.realpath(said.get("path") or ""))
        if match:
            driver["library"] = match.group(1)
        return driver, self._named([gpu(device) for device in said.get("gpus") or []]), None

    def _named(self, gpus):
        """The devices that say what they are; the others become findings."""
        for index, found in enumerate(gpus):
            if not found["name"]:
                self.machine.find(
                    "gpu",
                    "GPU %d" % index,
                    "it does not answer: " + (found.get("problem") or "it does not tell its name"),
                    "look at the kernel's log; reset the device or reboot",
                )
        return [found for found in gpus if found["name"]]

    def _library(self):
        """The file that is the driver's own library, looked for as the loader does; or None."""
        for directory in self.places.loaded_from():
            # Debian's packages keep the library in a directory of their own below.
            for path in (directory, directory + "/nvidia/current", directory + "/nvidia"):
                if SONAME in self.places.names(path):
                    return self.places.real(path + "/" + SONAME)
        return None


def shipped(module):
    """*module*'s functions and constants, for a child of this very interpreter."""
    parts = {}
    for name, value in vars(module).items():
        if isinstance(value, types.FunctionType):
            parts[name] = value.__code__
        elif name.isupper():
            parts[name] = value
    return base64.b64encode(marshal.dumps(parts)).decode("ascii")


def answer_of(output):
    """The child's dict, or None."""
    try:
        said = json.loads(output.decode("ascii"))
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def reason_of(said):
    """Why the library gave no answer: our words for its number, and its own."""
    from . import nvml

    code, own = said.get("error"), clean(said.get("problem"))
    if code is None:
        return own or "it gave no answer"
    words = "%s (NVML error %d)" % (nvml.worded(code), code)
    return words + (": " + own if own else "")


def gpu(device):
    """One Gpu of what the child says about a device."""
    found = {"name": clean(device.get("name")) or ""}
    if "error" in device:
        from . import nvml

        found["problem"] = nvml.worded(device["error"])
    for key, value in (
        ("uuid", clean(device.get("uuid"))),
        ("vbios", clean(device.get("vbios"))),
        ("bus", clean(device.get("bus"))),
        ("memory", device.get("memory")),
        ("power-limit", device.get("power")),
    ):
        if value:
            found[key] = value
    if device.get("capability"):
        found["capability"] = "%d.%d" % tuple(device["capability"])
    for key in ("ecc", "mig"):
        if device.get(key):
            found[key] = device[key][0] == 1  # Of the current and the next state.
    if device.get("persistence") is not None:
        found["persistence"] = device["persistence"] == 1
    names = [clean(name) for name in device.get("instances") or []]
    if names:
        # "NVIDIA A100-SXM4-40GB MIG 1g.5gb"
        found["instances"] = [(name or "").rpartition("MIG ")[2] for name in names]
    return found


def platform(places):
    """``wsl``, ``jetson R36.4.7``, or None: an ordinary machine."""
    if places.exists(DXG):
        return "wsl"
    text = places.text(TEGRA, LIMIT)
    if text is not None:
        return tegra(text)
    return None


def tegra(text):
    """``jetson`` and the L4T release of ``/etc/nv_tegra_release``, where it tells one."""
    match = _TEGRA.match(text)
    return "jetson %s.%s" % match.groups() if match else "jetson"


def kernel_version(text):
    """``(version, open)`` of ``/proc/driver/nvidia/version``, or None."""
    match = _KERNEL.search(text)
    return (match.group(2), bool(match.group(1))) if match else None


def from_files(places):
    """What the kernel's files tell of the driver: part of a Driver."""
    found = kernel_version(places.text(VERSION, LIMIT) or "")
    if found is not None:
        return {"version": found[0], "open": found[1], "source": VERSION}
    text = (places.text(MODULE, LIMIT) or "").strip()
    if _NUMBERS.match(text):
        return {"version": text, "source": MODULE}
    return {}


def gpus_from_files(places):
    """The devices that the driver's own files describe."""
    found = []
    for path in places.matching(GPUS, "")[:DEVICES]:
        described = information(places.text(path + "/information", LIMIT) or "")
        if described is not None:
            found.append(described)
    return found


def information(text):
    """One Gpu of ``/proc/driver/nvidia/gpus/ADDRESS/information``, or None."""
    values = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        # What the driver cannot tell it writes as question marks.
        if "?" not in value and clean(value.strip()):
            values[key.strip()] = clean(value.strip())
    if "Model" not in values:
        return None
    found = {"name": values["Model"]}
    for key, field in (("GPU UUID", "uuid"), ("Video BIOS", "vbios"), ("Bus Location", "bus")):
        if key in values:
            found[field] = values[key]
    return found


def clean(text):
    """*text* if it is one line of printable text, not too long; else None."""
    if isinstance(text, str) and text.isprintable():
        return text[:400] or None
    return None
