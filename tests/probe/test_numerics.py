"""BLAS and OpenMP libraries, variables and settings: names and files as they really are."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from envfreeze.model.host import Numerics
from envfreeze.probe import numerics
from envfreeze.probe.machine import ALLOWED, RECORDED, Machine

SITE = "/v/lib/python3.11/site-packages"


def elf(rodata: bytes = b"", symbols: Iterable[bytes] = ()) -> bytes:
    """An ELF file of 64 bits with nothing but these sections (System V gABI)."""
    dynstr = b"\0" + b"".join(symbol + b"\0" for symbol in symbols)
    names = b"\0.rodata\0.dynstr\0.shstrtab\0"
    bodies = [(b".rodata", rodata), (b".dynstr", dynstr), (b".shstrtab", names)]
    body, headers = b"", [bytes(64)]
    for name, content in bodies:
        place = (names.index(name), 0, 0, 0, 64 + len(body), len(content), 0, 0, 0, 0)
        headers.append(struct.pack("<IIQQQQIIQQ", *place))
        body += content
    head = (
        b"\x7fELF\x02\x01\x01"
        + bytes(9)
        + struct.pack(
            "<HHIQQQIHHHHHH",
            3,
            62,
            1,
            0,
            0,
            *(64 + len(body), 0, 64, 0, 0, 64, len(headers), len(headers) - 1),
        )
    )
    return head + body + b"".join(headers)


# What OpenBLAS 0.3.21 of Debian 12 and 0.3.31 of NumPy's wheel have there, and what they call.
SCIPY = elf(
    b"x\0OpenBLAS 0.3.31.188.0  USE64BITINT DYNAMIC_ARCH NO_AFFINITY \0Q", [b"pthread_create"]
)
OPENMP = elf(
    b"OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH NO_AFFINITY USE_OPENMP \0",
    [b"omp_get_max_threads", b"GOMP_parallel"],
)
SERIAL = elf(b"OpenBLAS : warning\0OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH NO_AFFIN\0", [b"sgemm"])
INTERFACE = elf(b"sgemm", [b"libopenblas.so.0", b"sgemm_"])


def machine(root: Path, files: dict[str, bytes] | None = None, **environ: str) -> Machine:
    for path, content in (files or {}).items():
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return Machine(root=str(root), environ=environ)


def names(root: Path, site: str = SITE) -> set[str]:
    top = root / site.lstrip("/")
    return {p.relative_to(top).as_posix() for p in top.rglob("*") if p.is_file()}


def facts(m: Machine, root: Path) -> Numerics:
    return msgspec.convert(numerics.facts(m, [(SITE, names(root))]), type=Numerics)


# --- names ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        # As wheels of NumPy, SciPy, scikit-learn and torch, Debian, Fedora and conda name them.
        ("libscipy_openblas64_-32a4b2a6.so", ("blas", "openblas")),
        ("libscipy_openblas-6cdc3b4a.so", ("blas", "openblas")),
        ("libopenblas64_p-r0-0cf96a72.3.23.dev.so", ("blas", "openblas")),
        ("libopenblasp-r0-f650aae0.3.3.so", ("blas", "openblas")),
        ("libopenblasp-r0.3.21.so", ("blas", "openblas")),
        ("libopenblas-r0.3.21.so", ("blas", "openblas")),
        ("libopenblas.so.0", ("blas", "openblas")),
        ("libopenblaso64_.so.0", ("blas", "openblas")),
        ("libmkl_rt.so.2", ("blas", "mkl")),
        ("libmkl_core.so.2", None),
        ("libblis.so.4", ("blas", "blis")),
        ("libblis-mt.so.4", ("blas", "blis")),
        ("libtatlas.so.3", ("blas", "atlas")),
        ("libflexiblas.so.3", ("blas", "flexiblas")),
        ("libblas.so.3.11.0", ("blas", None)),
        ("liblapack.so.3", ("blas", None)),
        ("liblapack_atlas.so.3", None),
        ("libgomp-e985bcbb.so.1.0.0", ("openmp", "libgomp")),
        ("libgomp.so.1", ("openmp", "libgomp")),
        ("libiomp5.so", ("openmp", "libiomp5")),
        ("libomp-14.so.5", ("openmp", "libomp")),
        ("libomptarget.so", None),
        ("libcomp.so", None),
        ("libgomp.so.1.py", None),
        ("cblas.so", None),
        ("libblas.a", None),
    ],
)
def test_known_by_its_name(filename: str, expected: tuple[str, str | None] | None) -> None:
    assert numerics.classify(filename) == expected


# --- libraries -----------------------------------------------------------------------------


def test_libraries_of_wheels(tmp_path: Path) -> None:
    numpy = "numpy.libs/libscipy_openblas64_-32a4b2a6.so"
    m = machine(
        tmp_path,
        {
            f"{SITE}/{numpy}": SCIPY,
            f"{SITE}/scikit_learn.libs/libgomp-e985bcbb.so.1.0.0": elf(),
            f"{SITE}/torch/lib/libtorch_cpu.so": elf(),
            "/v/lib/libmkl_rt.so.3": elf(),
            "/v/lib/libiomp5.so": elf(),
        },
    )
    found = facts(m, tmp_path).libraries
    assert [(item.path, item.name, item.version, item.threading) for item in found] == [
        ("/v/lib/libiomp5.so", "libiomp5", None, None),
        ("/v/lib/libmkl_rt.so.3", "mkl", None, None),
        (f"{SITE}/{numpy}", "openblas", "0.3.31.188.0", "pthreads"),
        (f"{SITE}/scikit_learn.libs/libgomp-e985bcbb.so.1.0.0", "libgomp", None, None),
    ]


def alternatives(root: Path, directory: str) -> None:
    """Links as update-alternatives of Debian 12 leaves them."""
    lib = "usr/lib/x86_64-linux-gnu"
    (root / "etc/alternatives").mkdir(parents=True)
    for name in ("libblas.so.3", "liblapack.so.3"):
        there = root / "etc/alternatives" / f"{name}-x86_64-linux-gnu"
        there.symlink_to(f"/{lib}/{directory}/{name}")
        (root / lib / name).symlink_to(f"/etc/alternatives/{there.name}")


LIB = "/usr/lib/x86_64-linux-gnu"


def test_debians_openblas_behind_the_alternatives(tmp_path: Path) -> None:
    place = f"{LIB}/openblas-openmp"
    files = {
        f"{place}/libblas.so.3": INTERFACE,
        f"{place}/liblapack.so.3": INTERFACE,
        f"{place}/libopenblasp-r0.3.21.so": OPENMP,
    }
    m = machine(tmp_path, files)
    alternatives(tmp_path, "openblas-openmp")
    (tmp_path / place[1:] / "libopenblas.so.0").symlink_to("libopenblasp-r0.3.21.so")
    (tmp_path / LIB[1:] / "libomp.so.5").symlink_to("../llvm-14/lib/libomp.so.5")
    machine(tmp_path, {"/usr/lib/llvm-14/lib/libomp.so.5": elf()})
    found = numerics.libraries(m, [])
    assert found == [
        {"kind": "openmp", "name": "libomp", "path": "/usr/lib/llvm-14/lib/libomp.so.5"},
        {"kind": "blas", "name": "openblas", "path": f"{place}/libblas.so.3"},
        {"kind": "blas", "name": "openblas", "path": f"{place}/liblapack.so.3"},
        {
            "kind": "blas",
            "name": "openblas",
            "path": f"{place}/libopenblasp-r0.3.21.so",
            "version": "0.3.21",
            "threading": "openmp",
        },
    ]


@pytest.mark.parametrize(
    ("directory", "content", "name", "threading"),
    [
        ("blas", elf(), "reference", None),
        ("atlas", elf(b"", [b"libatlas.so.3"]), "atlas", None),
        ("blis-openmp", elf(b"", [b"GOMP_parallel", b"pthread_create"]), "blis", "openmp"),
        ("blis-serial", elf(b"", [b"memcpy"]), "blis", "sequential"),
        ("own", elf(b"", [b"libmkl_rt.so.2"]), "mkl", None),
        ("own", SERIAL, "openblas", "sequential"),
        ("own", SCIPY, "openblas", "pthreads"),
    ],
)
def test_whose_libblas_it_is(
    directory: str, content: bytes, name: str, threading: str | None, tmp_path: Path
) -> None:
    m = machine(tmp_path, {f"{LIB}/{directory}/libblas.so.3.11.0": content})
    (tmp_path / LIB[1:] / directory / "libblas.so.3").symlink_to("libblas.so.3.11.0")
    alternatives(tmp_path, directory)
    (found,) = numerics.libraries(m, [])
    assert (found["name"], found.get("threading")) == (name, threading)
    assert found["path"] == f"{LIB}/{directory}/libblas.so.3.11.0"


def test_a_version_in_the_name(tmp_path: Path) -> None:
    m = machine(tmp_path, {"/usr/lib64/libflexiblas.so.3": elf(), f"{LIB}/blas/x": b""})
    assert "version" not in numerics.libraries(m, [])[0]
    machine(tmp_path, {f"{LIB}/blas/libblas.so.3.11.0": elf()})
    (tmp_path / LIB[1:] / "libblas.so.3").symlink_to("blas/libblas.so.3.11.0")
    found = {item["name"]: item.get("version") for item in numerics.libraries(m, [])}
    assert found == {"flexiblas": None, "reference": "3.11.0"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x7fELF",
        b"\x7fELF\x01" + bytes(100),
        SCIPY[:70],
        SCIPY[:-60],
        b"\x7fELF\x02\x01" + b"\xff" * 90,
        b"\x7fELF\x02\x02" + b"\xff" * 90,
        SCIPY[:58] + struct.pack("<HHH", 1, 65535, 65534) + SCIPY[64:],
        b"not a library at all",
    ],
)
def test_a_damaged_library_is_one_without_version(content: bytes, tmp_path: Path) -> None:
    m = machine(tmp_path, {f"{SITE}/x/libopenblas.so.0": content})
    (found,) = numerics.libraries(m, [(SITE, {"x/libopenblas.so.0"})])
    assert (found["name"], found.get("version"), found.get("threading")) == ("openblas", None, None)


def test_no_file_at_all_and_links_without_end(tmp_path: Path) -> None:
    m = machine(tmp_path, {f"{LIB}/x": b""})
    (tmp_path / LIB[1:] / "libblas.so.3").symlink_to("liblapack.so.3")
    (tmp_path / LIB[1:] / "liblapack.so.3").symlink_to("libblas.so.3")
    (tmp_path / LIB[1:] / "libgomp.so.1").symlink_to("/gone")
    os.mkfifo(tmp_path / LIB[1:] / "libblis.so.4")
    assert numerics.libraries(m, [(SITE, {"gone/libopenblas.so.0"})]) == []


def test_a_link_that_climbs_stays_below_the_root(tmp_path: Path) -> None:
    m = machine(tmp_path / "root", {f"{LIB}/x": b""})
    (tmp_path / "libgomp.so.1").write_bytes(elf())
    (tmp_path / "root" / LIB[1:] / "libgomp.so.1").symlink_to("../" * 12 + "libgomp.so.1")
    assert numerics.real(m, f"{LIB}/libgomp.so.1") == "/libgomp.so.1"
    assert numerics.libraries(m, []) == []


# --- variables -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "differs"),
    [
        (None, True),
        ("", True),
        ("random", True),
        ("0", False),
        ("42", False),
        ("4294967295", False),
        ("4294967296", None),
        ("-1", None),
        ("x", None),
        ("1" * 5000, None),
    ],
)
def test_hash_randomization(value: str | None, differs: bool | None) -> None:
    assert numerics.hash_randomization(value) is differs


def test_variables_and_what_of_them_goes_elsewhere(tmp_path: Path) -> None:
    m = machine(
        tmp_path,
        OMP_NUM_THREADS="2",
        CUDA_VISIBLE_DEVICES="GPU-8932f937-d72c-4106-c12f-20bd9faed9f6",
        XLA_FLAGS="--xla_gpu_deterministic_ops=true --xla_dump_to=/home/somebody/x",
        TF_XLA_FLAGS="--tf_xla_auto_jit=2",
        LD_PRELOAD="/usr/lib/libjemalloc.so.2",
        TZ="Europe/Lisbon",
        HOME="/home/somebody",
        AWS_SECRET_ACCESS_KEY="x",
    )
    assert sorted(facts(m, tmp_path).variables) == [
        "CUDA_VISIBLE_DEVICES",
        "LD_PRELOAD",
        "OMP_NUM_THREADS",
        "TF_XLA_FLAGS",
        "TZ",
        "XLA_FLAGS",
    ]
    assert sorted(m.allowed()) == ["OMP_NUM_THREADS", "TF_XLA_FLAGS", "TZ"]
    assert not m.findings
    assert not ALLOWED & RECORDED


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("https://user:pw@index.example/x", "credentials"),
        ("x --token=abc", "credentials"),
        ("PASSWORD=abc", "credentials"),
        ("hf_AbCdEfGhIjKlMnOp", "credentials"),
        ("ghp_0123456789abcdef", "credentials"),
        ("a\nb", "variable"),
        ("\udcff", "variable"),
        ("x" * 4097, "variable"),
    ],
)
def test_what_may_be_a_secret_is_left_out_and_said(value: str, kind: str, tmp_path: Path) -> None:
    m = machine(tmp_path, XLA_FLAGS=value)
    assert facts(m, tmp_path).variables == {}
    assert m.allowed() == {}
    (finding,) = m.findings
    assert (finding["kind"], finding["place"]) == (kind, "XLA_FLAGS")
    assert value not in str(finding)


def test_what_is_no_secret(tmp_path: Path) -> None:
    value = "--xla_gpu_enable_task_sk-x=1 0@1 {0:4}:2 glibc.cpu.hwcaps=-AVX2,-ERMS:x=1"
    assert facts(machine(tmp_path, XLA_FLAGS=value), tmp_path).variables == {"XLA_FLAGS": value}


# --- settings ------------------------------------------------------------------------------

MESON = """\
from enum import Enum
from numpy._core._multiarray_umath import __cpu_features__
def _cleanup(d):
    return d
CONFIG = _cleanup(
    {
        "Compilers": {"c": {"name": "gcc", "version": "14.2.1"}},
        "Build Dependencies": {
            "blas": {
                "name": "scipy-openblas",
                "found": bool("True".lower().replace("false", "")),
                "version": "0.3.31.188.0",
            },
            "lapack": {"name": "mkl", "found": bool("x"), "version": r""},
        },
        "SIMD Extensions": {"found": [f for f in __cpu_dispatch__ if __cpu_features__[f]]},
    }
)
"""
"""As NumPy 2.4 and SciPy 1.17 write it, shortened."""

DISTUTILS = """\
import os
extra_dll_dir = os.path.join(os.path.dirname(__file__), '.libs')
blas_opt_info={'libraries': ['openblas', 'openblas'], 'library_dirs': ['/usr/local/lib']}
lapack_mkl_info={}
lapack_opt_info={'libraries': ['mkl_rt', 'pthread'], 'define_macros': [('HAVE_CBLAS', None)]}
def get_info(name):
    return globals()[name]
"""
"""As numpy.distutils wrote it for NumPy 1.19, shortened."""


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (MESON, {"blas": "scipy-openblas 0.3.31.188.0", "lapack": "mkl"}),
        (DISTUTILS, {"blas": "openblas", "lapack": "mkl_rt pthread"}),
        ("CONFIG = f()", {}),
        ("CONFIG = {'Build Dependencies': {'blas': [], 'lapack': {'name': 3}}}", {}),
        ("CONFIG = {**x, 'Build Dependencies': y}", {}),
        ("blas_opt_info = {'libraries': 'x'}", {}),
        ("not python", {}),
        ("a\0b", {}),
        ("x = " + "(" * 500 + ")" * 500, {}),
        ("", {}),
    ],
)
def test_build_config(text: str, read: dict[str, str]) -> None:
    assert numerics.build_config(text) == read


def test_torch_config() -> None:
    text = (  # torch 2.13, built for processors
        "#define AT_MKLDNN_ENABLED() 1\n#define AT_MKL_ENABLED() 0\n"
        "#define AT_PARALLEL_OPENMP 1\n#define AT_PARALLEL_NATIVE 0\n"
    )
    found = {"parallel": "openmp", "mkl": "no", "onednn": "yes"}
    assert numerics.torch_config(text) == found
    assert numerics.torch_config("#define AT_PARALLEL_NATIVE 1\n") == {"parallel": "native"}
    assert numerics.torch_config("") == {}


KERAS = '{"floatx": "float16", "epsilon": 1e-07, "backend": "jax", "image_data_format": null}'


def test_keras_config() -> None:
    assert numerics.keras_config(KERAS) == {
        "floatx": "float16",
        "epsilon": "1e-07",
        "backend": "jax",
    }
    for text in ("", "[]", "x", '{"floatx": []}', "[" * 100_000, None):
        assert numerics.keras_config(text) == {}


def test_settings_come_from_the_first_site_that_has_them(tmp_path: Path) -> None:
    files = {
        f"{SITE}/scipy/__config__.py": MESON.encode(),
        "/user/numpy/__config__.py": DISTUTILS.encode(),
        f"{SITE}/numpy/__config__.py": MESON.encode(),
        f"{SITE}/torch/include/ATen/Config.h": b"#define AT_PARALLEL_OPENMP 1\n",
        "/home/x/.keras/keras.json": KERAS.encode(),
        "/keras/keras.json": b'{"backend": "torch\\u2028"}',
    }
    m = machine(tmp_path, files, HOME="/home/x")
    sites = [("/user", names(tmp_path, "/user")), (SITE, names(tmp_path))]
    read = numerics.switches(m, sites)
    assert read == {
        "numpy.blas": "openblas",
        "numpy.lapack": "mkl_rt pthread",
        "scipy.blas": "scipy-openblas 0.3.31.188.0",
        "scipy.lapack": "mkl",
        "torch.parallel": "openmp",
    }
    # keras.json counts where Keras is.
    machine(tmp_path, {f"{SITE}/keras/__init__.py": b""})
    sites[1] = (SITE, names(tmp_path))
    assert numerics.switches(m, sites)["keras.floatx"] == "float16"
    m.environ["KERAS_HOME"] = "/keras"
    assert "keras.backend" not in numerics.switches(m, sites)


def test_a_setting_too_large_to_be_one_is_not_read(tmp_path: Path) -> None:
    m = machine(tmp_path, {f"{SITE}/numpy/__config__.py": b"#" * (1 << 19)})
    assert facts(m, tmp_path).switches == {}


def test_a_hostile_value_does_not_take_long() -> None:
    import time

    start = time.monotonic()
    for name in sorted(ALLOWED | RECORDED):
        for text in ("token", "password ", "a-", "://"):
            Machine(environ={name: (text * 4096)[:4096]}).variables()
    assert time.monotonic() - start < 10
