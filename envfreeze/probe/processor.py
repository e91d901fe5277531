"""The processor, from the text of /proc/cpuinfo: pure functions.

Sources: the kernel's ``arch/*/kernel/{cpu/proc,cpuinfo,setup,processor}.c`` for the text of
each architecture; the x86-64 psABI, "Micro-Architecture Levels"; for Arm the Architecture
Reference Manual's mandatory features as GCC's ``aarch64-arches.def`` lists them; util-linux
``sys-utils/lscpu-arm.c`` for the implementers and parts.
"""

import re

# What BLAS, NumPy, oneDNN, PyTorch and TensorFlow choose their code by; the rest is left out.
# The same name may mean another thing elsewhere: sme is memory encryption on x86.
_X86_FLAGS = re.compile(
    r"(pni|s?sse[0-9a-z_]*|avx[0-9a-z_]*|amx_[a-z0-9_]+|fma4?|f16c|xop|bmi[12]|abm|popcnt|movbe"
    r"|gfni|vaes|vpclmulqdq)\Z"
)
_ARM_FLAGS = re.compile(
    r"(fp|fphp|neon|vfpv[34]|asimd[a-z]*|i8mm|bf16|fcma|jscvt|atomics|s[vm]e[a-z0-9]*)\Z"
)
_POWER_FLAGS = re.compile(r"altivec\Z")
_Z_FLAGS = re.compile(r"(vx[a-z0-9]*|nnpa)\Z")
_RISCV_FLAGS = re.compile(r"(v|zv[a-z0-9]+|zfh[a-z]*|zb[a-z])\Z")
_LOONGARCH_FLAGS = re.compile(r"(lsx|lasx)\Z")
# psABI names to the kernel's flags; SCE (syscall) is part of long mode, OSFXSR is implied.
_X86_LEVELS = (
    ("x86-64", "lm cmov cx8 fpu fxsr mmx sse sse2"),
    ("x86-64-v2", "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3"),
    ("x86-64-v3", "avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"),
    ("x86-64-v4", "avx512f avx512bw avx512cd avx512dq avx512vl"),
)
_ARM_LEVELS = (
    ("armv8-a", "fp asimd"),
    ("armv8.1-a", "atomics crc32 asimdrdm"),
    ("armv8.2-a", "dcpop"),
    ("armv8.3-a", "fcma jscvt lrcpc"),
    ("armv8.4-a", "asimddp dit flagm ilrcpc uscat"),
    ("armv8.5-a", "flagm2 frint sb ssbs"),
    ("armv9-a", "sve2"),
)
_IMPLEMENTERS = {
    "0x41": "ARM",
    "0x42": "Broadcom",
    "0x43": "Cavium",
    "0x46": "FUJITSU",
    "0x48": "HiSilicon",
    "0x4e": "NVIDIA",
    "0x50": "APM",
    "0x51": "Qualcomm",
    "0x53": "Samsung",
    "0x56": "Marvell",
    "0x61": "Apple",
    "0x69": "Intel",
    "0x70": "Phytium",
    "0xc0": "Ampere",
}
# Of servers, and of the boards that numerical work runs on.
_PARTS = {
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd05"): "Cortex-A55",
    ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd40"): "Neoverse-V1",
    ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x41", "0xd49"): "Neoverse-N2",
    ("0x41", "0xd4f"): "Neoverse-V2",
    ("0x43", "0x0a1"): "ThunderX-88XX",
    ("0x43", "0x0af"): "ThunderX2-99xx",
    ("0x46", "0x001"): "A64FX",
    ("0x48", "0xd01"): "Kunpeng-920",
    ("0x4e", "0x004"): "Carmel",
    ("0xc0", "0xac3"): "Ampere-1",
    ("0xc0", "0xac4"): "Ampere-1a",
}


def word(text, limit=128):
    """*text* stripped where it is one short printable line, else None."""
    text = text.strip()
    return text if text and len(text) <= limit and text.isprintable() else None


def rows(text):
    """``[(key, value)]`` of the lines that have a colon, in order."""
    found = []
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            found.append((key.strip(), value.strip()))
    return found


def first(pairs):
    """The first value of each key; that of the first processor, where they are told apart."""
    found = {}  # type: dict
    for key, value in pairs:
        found.setdefault(key, value)
    return found


def cpu(text):
    """The :class:`envfreeze.model.host.Cpu` that the text of /proc/cpuinfo tells, as a dict."""
    pairs = rows(text)
    fields = first(pairs)
    kinds = [(read, kept) for key, read, kept in _KINDS if key in fields]
    if not kinds:
        return {}
    read, dispatched = kinds[0]
    facts, flags, level = read(fields, pairs)
    known = {key: word(value) for key, value in facts.items() if value}
    found = {key: value for key, value in known.items() if value}
    kept = sorted({flag for flag in flags if len(flag) < 32 and dispatched.match(flag)})
    if kept:
        found["flags"] = kept
    if level:
        found["level"] = level
    return found


def level(levels, flags):
    """The last of *levels* whose flags, and those of all before it, are there; or None."""
    reached = None
    for name, needed in levels:
        if not set(needed.split()) <= flags:
            break
        reached = name
    return reached


def _x86(fields, _pairs):
    flags = set(fields["flags"].split())
    facts = {
        "vendor": fields.get("vendor_id"),
        "family": fields.get("cpu family"),
        "model": fields.get("model"),
        "stepping": fields.get("stepping"),
        "name": fields.get("model name"),
    }
    return facts, flags, level(_X86_LEVELS, flags)


def _arm(fields, pairs):
    """A machine may have cores of several parts: all of them make the model and the name."""
    implementer = fields["CPU implementer"]
    parts = []  # type: list
    for key, value in pairs:
        if key == "CPU part" and value not in parts:
            parts.append(value)
    names = [_PARTS.get((implementer, part)) for part in parts]
    flags = set(fields.get("Features", "").split())
    facts = {
        "vendor": _IMPLEMENTERS.get(implementer, implementer),
        "family": fields.get("CPU architecture"),
        "model": " ".join(parts),
        "stepping": _arm_revision(fields),
        "name": fields.get("model name") or " ".join(name for name in names if name),
    }
    return facts, flags, level(_ARM_LEVELS, flags)


def _arm_revision(fields):
    """``r3p1``, as Arm writes variant and revision."""
    try:
        return "r%dp%d" % (int(fields["CPU variant"], 16), int(fields["CPU revision"]))
    except (KeyError, ValueError):
        return None


def _power(fields, _pairs):
    """``POWER9 (architected), altivec supported``; no flags: programs ask the aux vector."""
    name, _, rest = fields["cpu"].partition(",")
    facts = {"vendor": "IBM", "name": name, "stepping": fields.get("revision", "").split("(")[0]}
    match = re.match(r"POWER([0-9]{1,2})", name)
    return facts, {"altivec"} if "altivec" in rest else set(), match and "power" + match.group(1)


def _z(fields, _pairs):
    model = None
    for key, value in fields.items():
        match = re.search(r"machine = ([0-9A-F]+)", value) if key.startswith("processor") else None
        if match:
            model = match.group(1)
            break
    facts = {"vendor": fields["vendor_id"], "model": model}
    return facts, set(fields.get("features", "").split()), None


def _riscv(fields, _pairs):
    """``rv64imafdcv_zba_zbb``: single letters, then names; the level is what precedes them."""
    base, _, rest = fields["isa"].lower().partition("_")
    flags = set(rest.split("_")) | set(base[4:])
    facts = {
        "vendor": fields.get("mvendorid"),
        "model": fields.get("marchid"),
        "stepping": fields.get("mimpid"),
        "name": fields.get("uarch") or fields.get("model name"),
    }
    return facts, flags, base if re.match(r"rv(32|64)[a-z]{1,32}\Z", base) else None


def _loongarch(fields, _pairs):
    facts = {"family": fields["CPU Family"], "name": fields.get("Model Name")}
    return facts, set(fields.get("Features", "").split()), None


# By a key that only this architecture's text has.
_KINDS = (
    ("CPU implementer", _arm, _ARM_FLAGS),
    ("isa", _riscv, _RISCV_FLAGS),
    ("bogomips per cpu", _z, _Z_FLAGS),
    ("CPU Family", _loongarch, _LOONGARCH_FLAGS),
    ("flags", _x86, _X86_FLAGS),
    ("cpu", _power, _POWER_FLAGS),
)
