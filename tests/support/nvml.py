"""A stand-in for ``libnvidia-ml.so.1``, built from ``nvml.c``, and machines as it records them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("nvml.c")

# The values of the devices are as NVIDIA documents them and as users have posted the output of
# nvidia-smi; identifiers are made up. No such device was at hand.
A100 = """\
driver 580.95.05
nvml 13.580.95.05
cuda 13000
gpu
name NVIDIA A100-SXM4-40GB
uuid GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f
vbios 92.00.45.00.03
bus 00000000:07:00.0
capability 8 0
memory 42949672960
ecc 1 1
mig 1 1
instance NVIDIA A100-SXM4-40GB MIG 1g.5gb
instance
instance NVIDIA A100-SXM4-40GB MIG 3g.20gb
persistence 1
power 400000
gpu
name NVIDIA A100-SXM4-40GB
uuid GPU-00000000-0000-0000-0000-000000000002
vbios 92.00.45.00.03
bus 00000000:0F:00.0
capability 8 0
memory 42949672960
ecc 0 1
mig 0 0
persistence 0
power 400000
"""
GEFORCE = """\
driver 570.86.15
nvml 12.570.86.15
cuda 12080
gpu
name NVIDIA GeForce RTX 4090
uuid GPU-00000000-0000-0000-0000-000000000003
vbios 95.02.18.80.87
bus 00000000:01:00.0
capability 8 9
memory 25757220864
ecc !3
persistence 0
power 450000
"""
# Its memory is the machine's: NVML says that it is not supported.
GB10 = """\
driver 580.95.05
cuda 13000
gpu
name NVIDIA GB10
uuid GPU-00000000-0000-0000-0000-000000000004
capability 12 1
memory !3
"""
LOST = A100 + "gpu\nhandle !15\n"


def build(directory: Path, *, old: bool = False) -> Path:
    """Build the library in *directory*; *old*: without what came with later drivers."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler on this machine")
    directory.mkdir(parents=True, exist_ok=True)
    library = directory / "libnvidia-ml.so.580.95.05"
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wl,-soname,libnvidia-ml.so.1"]
    command += [*(["-DOLD"] if old else []), "-o", str(library), str(SOURCE)]
    subprocess.run(command, check=True)
    (directory / "libnvidia-ml.so.1").symlink_to(library.name)
    return directory
