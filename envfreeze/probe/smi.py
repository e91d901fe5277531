"""NVIDIA's devices by ``nvidia-smi``, where its library could not be asked in our own way.

Its status tells whether it answered: what went wrong it prints where the answer would be.
Statuses and field names: nvidia-smi(1) of the 550 driver.
"""

import re

from . import nvml, programs
from .places import WSL

SECONDS = 15
PLACES = (WSL, "/usr/bin", "/bin")

# Which field of a Gpu each column is; the driver's version is asked for with them.
FIELDS = (
    "name",
    "driver_version",
    "memory.total",
    "uuid",
    "pci.bus_id",
    "vbios_version",
    "compute_cap",
    "ecc.mode.current",
    "mig.mode.current",
    "persistence_mode",
    "power.limit",
)
_REFUSED = re.compile(r'Field "([^"]{1,64})" is not a valid field')
_CUDA = re.compile(r"\bCUDA Version\s*:\s*(\d{1,3}\.\d{1,2})\b")
_DEVICE = re.compile(r"GPU (\d+): ")
_INSTANCE = re.compile(r"\s+MIG (\S{1,64})\s+Device\s+\d+:")


def look(places, reasons):
    """``(facts of a Driver, Gpus)``, or None with what it said in *reasons* (a list)."""
    path = places.program("nvidia-smi", PLACES)
    real = path and places.here(places.real(path))
    if real is None or not programs.trusted(real):
        return None

    environ = programs.environ(places)

    def run(*arguments):
        status, output, problem = programs.Program([real, *arguments], environ, SECONDS).answer()
        if problem is not None:
            reasons.append("nvidia-smi: " + problem)
        return status, output.decode("utf-8", "replace")

    status, rows = _query(run)
    if status != 0:
        if status is not None:
            reasons.append("nvidia-smi: " + nvml.worded(status))
        return None
    driver = {"state": "found", "source": "nvidia-smi"}
    gpus = [gpu(row, driver) for row in rows]
    status, output = run()
    if status == 0 and cuda(output):
        driver["cuda"] = cuda(output)
    if any(found.get("mig") for found in gpus):
        status, output = run("-L")
        for index, names in instances(output).items() if status == 0 else ():
            if index < len(gpus):
                gpus[index]["instances"] = names
    return driver, gpus


def _query(run):
    """``(status, rows)``. One field that it does not know fails the whole query."""
    fields = list(FIELDS)
    status, output = None, ""
    for _ in FIELDS:
        query = "--query-gpu=" + ",".join(fields)
        status, output = run(query, "--format=csv,noheader,nounits")
        unknown = refused(output)
        if status is None or unknown not in fields:
            break
        fields.remove(unknown)
    return status, rows(output, fields) if status == 0 else []


def refused(output):
    """The field that it says it does not know, or None."""
    match = _REFUSED.search(output)
    return match.group(1) if match else None


def rows(output, fields):
    """A dict a device: *fields* that have a value."""
    found = []
    for line in output.splitlines():
        values = [value.strip() for value in line.split(", ")]
        if len(values) == len(fields):
            row = dict(zip(fields, values))  # noqa: B905
            found.append({k: v for k, v in row.items() if v and v != "N/A" and v[0] != "["})
    return found


def gpu(row, driver):
    """One Gpu; the version of the driver goes to *driver*."""
    if "driver_version" in row:
        driver["version"] = row["driver_version"]
    found = {"name": row.get("name", "")}
    for field, key in (("uuid", "uuid"), ("pci.bus_id", "bus"), ("vbios_version", "vbios")):
        if field in row:
            found[key] = row[field]
    if re.match(r"\d{1,3}\.\d{1,2}$", row.get("compute_cap", "")):
        found["capability"] = row["compute_cap"]
    if re.match(r"\d{1,9}$", row.get("memory.total", "")):
        found["memory"] = int(row["memory.total"]) << 20  # It prints MiB.
    if re.match(r"\d{1,6}(\.\d+)?$", row.get("power.limit", "")):
        found["power-limit"] = round(float(row["power.limit"]) * 1000)
    for field, key in (
        ("ecc.mode.current", "ecc"),
        ("mig.mode.current", "mig"),
        ("persistence_mode", "persistence"),
    ):
        if row.get(field) in ("Enabled", "Disabled"):
            found[key] = row[field] == "Enabled"
    return found


def cuda(output):
    """The CUDA API version in the head of its table."""
    match = _CUDA.search(output)
    return match.group(1) if match else None


def instances(output):
    """``{index: [profile]}`` out of what ``nvidia-smi -L`` prints."""
    found, index = {}, None  # type: dict, object
    for line in output.splitlines():
        device = _DEVICE.match(line)
        instance = _INSTANCE.match(line)
        if device:
            index = int(device.group(1))
        elif instance and index is not None:
            found.setdefault(index, []).append(instance.group(1))
    return found
