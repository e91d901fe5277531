"""A stand-in for ``nvidia-smi``: a script that prints recorded output with its exit status.

Output and statuses as nvidia-smi 550 gives them (its manual, and what users have posted); the
statuses 9 and 12 were seen of the real program on a machine without a driver.
"""

from __future__ import annotations

from pathlib import Path

TABLE = """\
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 550.163.01             Driver Version: 550.163.01     CUDA Version: 12.4     |
|-----------------------------------------+------------------------+----------------------+
"""
LIST = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f)
  MIG 1g.5gb      Device  0: (UUID: MIG-1)
  MIG 3g.20gb     Device  1: (UUID: MIG-2)
GPU 1: NVIDIA GB10 (UUID: GPU-2)
"""
VALUES = {
    "name": ("NVIDIA A100-SXM4-40GB", "NVIDIA GB10"),
    "driver_version": ("550.163.01", "550.163.01"),
    "memory.total": ("40960", "[N/A]"),
    "uuid": ("GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f", "GPU-2"),
    "pci.bus_id": ("00000000:07:00.0", "0000000F:01:00.0"),
    "vbios_version": ("92.00.45.00.03", "[N/A]"),
    "compute_cap": ("8.0", "12.1"),
    "ecc.mode.current": ("Enabled", "[N/A]"),
    "mig.mode.current": ("Enabled", "[N/A]"),
    "persistence_mode": ("Enabled", "Disabled"),
    "power.limit": ("400.00", "[N/A]"),
}
_ANSWERS = """\
#!{python}
import sys
VALUES = {values!r}
if not sys.argv[1:]:
    sys.stdout.write({table!r})
elif sys.argv[1] == "-L":
    sys.stdout.write({listed!r})
else:
    fields = sys.argv[1].partition("=")[2].split(",")
    for field in fields:
        if field not in VALUES:
            print('Field "%s" is not a valid field to query.' % field)
            sys.exit(2)
    for device in range(2):
        print(", ".join(VALUES[field][device] for field in fields))
"""


def answering(path: Path, python: str, *, without: tuple[str, ...] = ()) -> None:
    """One that answers; *without*: the fields that an older one does not know."""
    values = {k: v for k, v in VALUES.items() if k not in without}
    _write(path, _ANSWERS.format(python=python, values=values, table=TABLE, listed=LIST))


def failing(path: Path, status: int, output: str) -> None:
    _write(path, f"#!/bin/sh\ncat <<'END'\n{output}\nEND\nexit {status}\n")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
