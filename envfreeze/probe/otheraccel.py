"""ROCm, Intel, Apple and TPU: whether there is any sign of one, and its minimum facts."""

import os
import re
import sys

from . import versions

SECONDS = 5
LIMIT = 1 << 16  # Bytes of a file.
MOST = 4096  # Devices of a machine.

KFD = "/sys/class/kfd"
PCI = "/sys/bus/pci/devices"
PLIST = "/System/Library/CoreServices/SystemVersion.plist"

# PCI devices of vendor 1ae0 that are TPUs; as jax knows them (jax/_src/hardware_utils.py).
TPUS = {
    "0027": "TPU v3",
    "005e": "TPU v4",
    "0062": "TPU v5p",
    "0063": "TPU v5e",
    "006f": "TPU v6e",
    "0076": "TPU7x",
}
# "pci:v00001AE0d00000063sv...sd...bc..sc..i.."
_MODALIAS = re.compile(r"pci:v0000([0-9A-F]{4})d0000([0-9A-F]{4})")
_ZE = re.compile(r"libze_loader\.so\.(\d{1,4}(?:\.\d{1,4}){2})$")
_ROCM = re.compile(r"(\d{1,4}(?:\.\d{1,5}){1,3}(?:-\w{1,20})?)$")
_PRODUCT = re.compile(r"<key>ProductVersion</key>\s*<string>([0-9.]{1,20})</string>")


def facts(places, sites, ask):
    """Those of which there is any sign, as plain values."""
    found = [rocm(places), intel(places), apple(places, ask), tpu(places, sites)]
    return [one for one in found if one is not None]


def _as_value(kind, state, version, devices, source):
    found = {"kind": kind, "state": state}
    if version:
        found["version"] = version
    if devices:
        found["devices"] = devices
    if source:
        found["source"] = source
    return found


def rocm(places):
    """ROCm's version by its file, and AMD's devices by the kernel's topology of them."""
    root = places.variable("ROCM_PATH") or "/opt/rocm"
    path = root + "/.info/version"
    match = _ROCM.match((places.text(path, LIMIT) or "").strip())
    version = match.group(1) if match else None
    nodes = places.matching(KFD + "/kfd/topology/nodes", "")[:MOST]
    texts = [places.text(node + "/properties", LIMIT) for node in nodes]
    devices = [target for target in map(gfx, [text for text in texts if text]) if target]
    if not version and not places.exists(KFD):
        return None
    state = "found" if devices else "no-answer" if None in texts else "none"
    return _as_value("rocm", state, version, devices, path if version else KFD)


def gfx(text):
    """``gfx942`` of a node's properties: 90402, its step in hexadecimal; None: a processor."""
    values = dict(line.split(None, 1) for line in text.splitlines() if " " in line.strip())
    simds, number = values.get("simd_count", "0"), values.get("gfx_target_version", "0").strip()
    if not (simds.strip().isdigit() and number.isdigit()) or int(simds) == 0 or len(number) > 6:
        return None
    value = int(number)
    return "gfx%d%x%x" % (value // 10000, value // 100 % 100, value % 100) if value else None


def intel(places):
    """Intel's loader of Level Zero, and the render nodes that are Intel's."""
    version, source = None, None
    for directory in places.loaded_from():
        if "libze_loader.so.1" in places.names(directory):
            source = directory + "/libze_loader.so.1"
            match = _ZE.search(places.real(source))
            version = match.group(1) if match else None
            break
    devices = []
    for node in places.matching("/sys/class/drm", "renderD")[:MOST]:
        if (places.text(node + "/device/vendor", LIMIT) or "").strip() == "0x8086":
            number = (places.text(node + "/device/device", LIMIT) or "").strip()
            devices.append("8086:" + number[2:6] if re.match(r"0x[0-9a-f]{4}$", number) else "8086")
    if source is None and not devices:
        return None
    return _as_value("intel", "found" if devices else "none", version, devices, source)


def apple(places, ask):
    """An Apple processor by its name; macOS's version is its driver's."""
    text = places.text(PLIST, LIMIT)
    if text is None or (places.machine.root == "/" and os.uname().machine != "arm64"):
        return None
    match = _PRODUCT.search(text)
    version = match.group(1) if match else None
    if not (ask and sys.platform == "darwin"):
        return _as_value("apple", "no-answer", version, [], PLIST)
    from . import programs

    argv = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
    status, output, _ = programs.Program(argv, programs.environ(places), SECONDS).answer()
    name = output.decode("utf-8", "replace").strip()[:100]
    told = status == 0 and name.isprintable() and name
    return _as_value(
        "apple", "found" if told else "no-answer", version, [name] if told else [], PLIST
    )


def tpu(places, sites):
    """TPUs on the PCI bus, and the library for them that a wheel brings."""
    devices = []
    for path in places.matching(PCI, "")[:MOST]:
        match = _MODALIAS.match(places.text(path + "/modalias", LIMIT) or "")
        if match and match.group(1) == "1AE0" and match.group(2).lower() in TPUS:
            devices.append(TPUS[match.group(2).lower()])
    version = source = None
    for site in sites:
        if "libtpu" in places.names(site):
            source = site + "/libtpu"
            version = versions.distributions(places.names(site)).get("libtpu")
            break
    if not devices and source is None:
        return None
    return _as_value("tpu", "found" if devices else "none", version, devices, source or PCI)
