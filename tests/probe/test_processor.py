"""The processor, on texts of /proc/cpuinfo.

AMD is the first processor of a real virtual machine (``head -28 /proc/cpuinfo``); the others
have the shape that the kernel's ``arch/*/kernel`` gives them and the features that these
processors are known by, cut down to the lines that are read.
"""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envfreeze.model.host import Cpu
from envfreeze.probe import processor

AMD = """\
processor	: 0
vendor_id	: AuthenticAMD
cpu family	: 25
model		: 1
model name	: AMD EPYC
stepping	: 1
microcode	: 0x1000065
cpu MHz		: 2445.406
cache size	: 512 KB
physical id	: 0
siblings	: 2
core id		: 0
cpu cores	: 2
apicid		: 0
initial apicid	: 0
fpu		: yes
fpu_exception	: yes
cpuid level	: 16
wp		: yes
flags		: fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx \
fxsr sse sse2 ht syscall nx mmxext fxsr_opt pdpe1gb rdtscp lm constant_tsc rep_good nopl \
xtopology nonstop_tsc cpuid extd_apicid tsc_known_freq pni pclmulqdq ssse3 fma cx16 pcid sse4_1 \
sse4_2 x2apic movbe popcnt tsc_deadline_timer aes xsave avx f16c rdrand hypervisor lahf_lm \
cmp_legacy cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw topoext ssbd ibrs ibpb stibp \
vmmcall fsgsbase tsc_adjust bmi1 avx2 smep bmi2 erms invpcid rdseed adx smap clflushopt clwb \
sha_ni xsaveopt xsavec xgetbv1 xsaves clzero xsaveerptr wbnoinvd arat umip pku ospke vaes \
vpclmulqdq rdpid fsrm
bugs		: sysret_ss_attrs spectre_v1 spectre_v2 spec_store_bypass srso \
ibpb_no_ret spectre_v2_user
bogomips	: 4890.81
TLB size	: 2560 4K pages
clflush size	: 64
cache_alignment	: 64
address sizes	: 48 bits physical, 48 bits virtual
power management:
"""

V1 = "fpu cx8 cmov mmx fxsr sse sse2 syscall nx lm "
V2 = V1 + "pni ssse3 cx16 sse4_1 sse4_2 popcnt lahf_lm "
V3 = V2 + "fma movbe xsave avx f16c abm bmi1 avx2 bmi2 "
V4 = V3 + "avx512f avx512dq avx512cd avx512bw avx512vl "


def x86(flags: str) -> str:
    return f"vendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 143\nflags\t\t: {flags}\n"


NEOVERSE_N1 = """\
processor	: 0
BogoMIPS	: 243.75
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc \
dcpop asimddp ssbs
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x3
CPU part	: 0xd0c
CPU revision	: 1
"""

NEOVERSE_V2 = """\
processor	: 0
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt \
fcma lrcpc dcpop sha3 asimddp sha512 sve asimdfhm dit uscat ilrcpc flagm ssbs sb dcpodp sve2 \
sveaes svepmull svebitperm svesha3 flagm2 frint svei8mm svebf16 i8mm bf16 dgh bti
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x0
CPU part	: 0xd4f
CPU revision	: 0
"""

BIG_LITTLE = """\
processor	: 0
Features	: fp asimd evtstrm crc32 cpuid
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x0
CPU part	: 0xd03
CPU revision	: 4

processor	: 4
Features	: fp asimd evtstrm crc32 cpuid
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x0
CPU part	: 0xd08
CPU revision	: 2
"""

POWER9 = """\
processor	: 0
cpu		: POWER9 (architected), altivec supported
clock		: 2300.000000MHz
revision	: 2.2 (pvr 004e 1202)

timebase	: 512000000
platform	: pSeries
model		: IBM,9009-42A
machine		: CHRP IBM,9009-42A
MMU		: Radix
"""

Z15 = """\
vendor_id       : IBM/S390
# processors    : 2
bogomips per cpu: 3241.00
max thread id   : 0
features	: esan3 zarch stfle msa ldisp eimm dfp edat etf3eh highgprs te vx vxd vxe gs \
vxe2 vxp sort
cache0          : level=1 type=Data scope=Private size=128K line_size=256 associativity=8
processor 0: version = FF,  identification = 0A1B2C,  machine = 8561
processor 1: version = FF,  identification = 0A1B2C,  machine = 8561

cpu number      : 0
"""

RISCV = """\
processor	: 0
hart		: 1
isa		: rv64imafdcv_zicsr_zifencei_zba_zbb_zfh_zvl128b
mmu		: sv39
uarch		: sifive,u74-mc
mvendorid	: 0x489
marchid		: 0x8000000000000007
mimpid		: 0x4210427
"""

LOONGARCH = """\
system type		: generic-loongson-machine

processor		: 0
CPU Family		: Loongson-64bit
Model Name		: Loongson-3A5000
Features		: cpucfg lam ual fpu lsx lasx crc32
"""


def read(text: str) -> Cpu:
    return msgspec.convert(processor.cpu(text), type=Cpu)


AMD_FLAGS = ["abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "pni", "popcnt"]
AMD_FLAGS += ["sse", "sse2", "sse4_1", "sse4_2", "sse4a", "ssse3", "vaes", "vpclmulqdq"]


def test_a_real_machine() -> None:
    assert read(AMD) == Cpu(
        vendor="AuthenticAMD",
        family="25",
        model="1",
        stepping="1",
        name="AMD EPYC",
        level="x86-64-v3",
        flags=AMD_FLAGS,
    )


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        (V1, "x86-64"),
        (V2, "x86-64-v2"),
        (V3, "x86-64-v3"),
        (V4, "x86-64-v4"),
        (V4.replace("abm ", ""), "x86-64-v2"),
        (V4.replace("avx512vl ", ""), "x86-64-v3"),
        (V1.replace("lm ", ""), None),
        ("", None),
    ],
)
def test_a_level_needs_every_flag_of_those_below(flags: str, level: str | None) -> None:
    assert read(x86(flags)).level == level


def test_flags_that_nobody_dispatches_on_are_left_out() -> None:
    found = read(x86(V4 + "sme smep svm vmx amx_tile amx_bf16 avx512_vnni avx_vnni " + "f" * 99))
    assert {"amx_tile", "amx_bf16", "avx512_vnni", "avx_vnni", "avx512f"} <= set(found.flags)
    assert not {"sme", "smep", "svm", "vmx", "lm"} & set(found.flags)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            NEOVERSE_N1,
            Cpu(
                vendor="ARM",
                family="8",
                model="0xd0c",
                stepping="r3p1",
                name="Neoverse-N1",
                level="armv8.2-a",
                flags=["asimd", "asimddp", "asimdhp", "asimdrdm", "atomics", "fp", "fphp"],
            ),
        ),
        (
            BIG_LITTLE,
            Cpu(
                vendor="ARM",
                family="8",
                model="0xd03 0xd08",
                stepping="r0p4",
                name="Cortex-A53 Cortex-A72",
                level="armv8-a",
                flags=["asimd", "fp"],
            ),
        ),
        (
            POWER9,
            Cpu(
                vendor="IBM",
                stepping="2.2",
                name="POWER9 (architected)",
                level="power9",
                flags=["altivec"],
            ),
        ),
        (Z15, Cpu(vendor="IBM/S390", model="8561", flags=["vx", "vxd", "vxe", "vxe2", "vxp"])),
        (
            RISCV,
            Cpu(
                vendor="0x489",
                model="0x8000000000000007",
                stepping="0x4210427",
                name="sifive,u74-mc",
                level="rv64imafdcv",
                flags=["v", "zba", "zbb", "zfh", "zvl128b"],
            ),
        ),
        (
            LOONGARCH,
            Cpu(family="Loongson-64bit", name="Loongson-3A5000", flags=["lasx", "lsx"]),
        ),
    ],
    ids=["neoverse-n1", "big.LITTLE", "power9", "z15", "risc-v", "loongarch"],
)
def test_other_architectures(text: str, expected: Cpu) -> None:
    assert read(text) == expected


def test_the_newer_arm() -> None:
    found = read(NEOVERSE_V2)
    assert found.level == "armv9-a"
    assert {"sve", "sve2", "i8mm", "bf16", "svebf16"} <= set(found.flags)
    assert read(NEOVERSE_V2.replace(" sb ", " ")).level == "armv8.4-a"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no colon",
        ":\n:::\n",
        "flags",
        "processor: 0\n",
        "CPU implementer: \n",
        "CPU implementer: 0x41\nCPU variant: x\nCPU revision: y\n",
        "isa: \n",
        "cpu: \n",
        "bogomips per cpu: 1\nvendor_id: x\nprocessor 0: machine =\n",
        "flags: \x1b[31m sse\nmodel name: " + "n" * 999,
        "\ufffd: \ufffd",
    ],
)
def test_nonsense_is_survived(text: str) -> None:
    found = read(text)
    assert found.name is None or len(found.name) <= 128
    assert all(flag.isprintable() for flag in found.flags)


def test_a_cut_text_tells_what_it_has() -> None:
    assert read(AMD[:100]) == Cpu()
    assert read(AMD[: AMD.index("3dnow")]).level == "x86-64-v2"


KEYS = [
    "flags",
    "Features",
    "CPU implementer",
    "CPU part",
    "CPU variant",
    "isa",
    "cpu",
    "model name",
]
LINES = st.builds("{}{}: {}".format, st.sampled_from(KEYS), st.sampled_from(["", "\t"]), st.text())


@given(st.one_of(st.text(), st.lists(LINES).map("\n".join)))
def test_any_text_gives_a_processor(text: str) -> None:
    read(text)
