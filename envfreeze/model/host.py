"""What lies below an environment: the machine that a rebuild cannot bring, and what of it
changes numbers.

The probe writes these shapes; a lock keeps them under ``[tool.envfreeze.host]``. All of it is
untrusted text. Nothing of it is part of the environment's id, which is the same on any machine:
each part has a digest of its own, over what is not marked volatile.
"""

from __future__ import annotations

from typing import Literal

from envfreeze.model.base import Kebab

State = Literal["found", "none", "no-answer", "not-looked"]
"""Absence is a value: ``none`` was looked for and is not there, ``no-answer`` is there and would
not tell, ``not-looked`` was never asked. They are never equal to one another."""


# --- platform: operating system and processor ----------------------------------------------


class Cpu(Kebab, frozen=True, kw_only=True):
    """The processor, as far as numerical libraries choose their code by it."""

    vendor: str | None = None
    """``GenuineIntel``, ``AuthenticAMD``, ``ARM``; None: the kernel does not say."""
    family: str | None = None
    model: str | None = None
    stepping: str | None = None
    name: str | None = None
    """What the machine calls it; virtual ones hide it: ``Intel(R) Xeon(R) Processor``."""
    level: str | None = None
    """Microarchitecture level of the x86-64 psABI, ``x86-64-v4``, or ``armv8.2-a``."""
    flags: list[str] = []
    """Of the kernel's flags, those that numerical libraries dispatch on, sorted."""


class Limits(Kebab, frozen=True, kw_only=True):
    """What of the machine the process may use."""

    online: int | None = None
    """Processors that are online."""
    allowed: int | None = None
    """Processors that the process may run on (affinity)."""
    quota: float | None = None
    """Processors' worth of time that the cgroup may use; None: no limit."""
    memory: int | None = None
    """Bytes of the machine."""
    memory_limit: int | None = None
    """Bytes that the cgroup may use; None: no limit."""


class Platform(Kebab, frozen=True, kw_only=True):
    """Operating system, processor, and what surrounds the process."""

    kernel_release: str | None = None
    """``6.1.0-18-amd64``."""
    libc: str | None = None
    """``glibc 2.36``, ``musl 1.2.4``."""
    cpu: Cpu
    limits: Limits
    container: str | None = None
    """``docker``, ``podman``, ``kubernetes``, ``lxc``, ``systemd-nspawn``, ``apptainer``...;
    None: no sign of one."""
    virtualization: str | None = None
    """``kvm``, ``microsoft``, ``vmware``, ``xen``, ``wsl``...; None: no sign of it."""
    locale: dict[str, str] = {}
    """LANG and the LC_ variables as they are set, and ``encoding``, the preferred one."""
    utf8_mode: bool = False
    timezone: str | None = None
    """``Europe/Lisbon``, by TZ, else /etc/timezone, else where /etc/localtime leads."""


# --- accelerators ---------------------------------------------------------------------------


class Driver(Kebab, frozen=True, kw_only=True):
    """The kernel driver of NVIDIA's devices."""

    state: State
    reason: str | None = None
    """Of ``no-answer``: what the library or program said, one line."""
    version: str | None = None
    """``580.95.05``."""
    cuda: str | None = None
    """The CUDA API version that it serves, ``13.0``; no toolkit's."""
    open: bool | None = None
    """Whether the open kernel module is loaded; None: not told."""
    library: str | None = None
    """Version in the file name of the driver's own libnvidia-ml.so; another one than
    :attr:`version` means an update without a reboot."""
    source: str | None = None
    """What told: ``nvml``, ``/proc/driver/nvidia/version``, ``nvidia-smi``."""


class Gpu(Kebab, frozen=True, kw_only=True):
    name: str
    capability: str | None = None
    """Compute capability, ``9.0``; for AMD the target, ``gfx942``."""
    memory: int | None = None
    """Bytes; None: unified with the machine's, or not told."""
    ecc: bool | None = None
    mig: bool | None = None
    """Whether it is split into instances."""
    instances: list[str] = []
    """Names of its MIG instances' profiles, ``1g.10gb``."""
    persistence: bool | None = None
    power_limit: int | None = None
    """Milliwatts. Volatile."""
    vbios: str | None = None
    uuid: str | None = None
    """Volatile."""
    bus: str | None = None
    """PCI address. Volatile."""


class Toolkit(Kebab, frozen=True, kw_only=True):
    """A CUDA (or ROCm) toolkit on the machine."""

    version: str
    root: str
    nvcc: str | None = None
    """The compiler component's version, which is not the toolkit's."""
    active: bool = False
    """CUDA_HOME, CUDA_PATH or PATH lead to it."""
    source: str
    """The file that tells the version."""
    owner: str | None = None
    """The system package that brought it: ``dpkg nvidia-cuda-toolkit``."""


class Library(Kebab, frozen=True, kw_only=True):
    """A library of an accelerator's vendor that the environment has or could load."""

    name: str
    """``cudnn``, ``nccl``, ``cublas``, ``tensorrt``, ``cudart``, ``cufft``, ``nvjitlink``..."""
    version: str | None = None
    """As full as its owner's metadata has it, ``9.10.2.21``."""
    path: str | None = None
    """Of the shared library, or of the directory that holds it."""
    soname: str | None = None
    owner: str | None = None
    """``wheel nvidia-cudnn-cu12``, ``conda cudnn``, ``dpkg libcudnn9-cuda-12``; None: nobody."""
    loaded: bool = False
    """A running process has it mapped (``pid:`` targets only)."""


class Framework(Kebab, frozen=True, kw_only=True):
    """What a framework was built for, read from its files, never by importing it."""

    name: str
    """``torch``, ``tensorflow``, ``jax``, ``cupy``, ``onnxruntime``."""
    version: str
    distribution: str | None = None
    """The distribution that has it: tensorflow may come from ``tensorflow-cpu``."""
    cuda: str | None = None
    cudnn: str | None = None
    """Compiled against, as far as it tells: ``9``, ``9.1.0``."""
    hip: str | None = None
    architectures: list[str] = []
    """Device code that it holds: ``sm_90``, ``compute_90``, ``gfx942``; empty: not told."""
    source: str
    """The file that tells, relative to its site directory."""


class OtherAccelerator(Kebab, frozen=True, kw_only=True):
    """ROCm, Intel, Apple, TPU: the minimum."""

    kind: Literal["rocm", "intel", "apple", "tpu"]
    state: State
    version: str | None = None
    devices: list[str] = []
    source: str | None = None


class Accelerator(Kebab, frozen=True, kw_only=True):
    driver: Driver
    gpus: list[Gpu] = []
    toolkits: list[Toolkit] = []
    libraries: list[Library] = []
    frameworks: list[Framework] = []
    others: list[OtherAccelerator] = []
    """Those of which there is any sign."""
    platform: str | None = None
    """``wsl``, ``jetson R36.4.7``; None: an ordinary machine."""


# --- numerics -------------------------------------------------------------------------------


class Blas(Kebab, frozen=True, kw_only=True):
    """A library that does linear algebra, or runs its threads."""

    kind: Literal["blas", "openmp"]
    name: str
    """``openblas``, ``mkl``, ``blis``, ``accelerate``, ``reference``; ``libgomp``, ``libiomp5``,
    ``libomp``."""
    version: str | None = None
    threading: str | None = None
    """``pthreads``, ``openmp``, ``tbb``, ``sequential``; None: not told."""
    path: str
    owner: str | None = None
    """``wheel numpy``, ``dpkg libopenblas0-pthread``; None: nobody."""
    loaded: bool = False


class Numerics(Kebab, frozen=True, kw_only=True):
    """What changes numbers beside versions."""

    libraries: list[Blas] = []
    variables: dict[str, str] = {}
    """The allow-listed environment variables that are set."""
    hash_randomization: bool | None = None
    """Whether str hashes differ from run to run (PYTHONHASHSEED not 0)."""
    switches: dict[str, str] = {}
    """Settings in files that frameworks read: ``keras.floatx``, ``numpy.blas``."""


# --- a running process ----------------------------------------------------------------------


class Mapped(Kebab, frozen=True, kw_only=True):
    """A shared library that a process has mapped."""

    path: str
    owner: str | None = None
    deleted: bool = False
    """The file was replaced or removed since it was loaded."""


class Process(Kebab, frozen=True, kw_only=True):
    """What is seen of a running process (``pid:`` targets). Volatile as a whole."""

    pid: int
    command: list[str] = []
    """argv, with what looks like a secret left out."""
    libraries: list[Mapped] = []


class Host(Kebab, frozen=True, kw_only=True):
    """``[tool.envfreeze.host]``; a part that is None was not looked at."""

    platform: Platform | None = None
    accelerator: Accelerator | None = None
    numerics: Numerics | None = None
    process: Process | None = None
