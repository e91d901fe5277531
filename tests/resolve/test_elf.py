"""What ELF objects need, and what the loader would load for them."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.enums import ENUM_DT_FLAGS_1
from elftools.elf.sections import SymbolTableSection
from hypothesis import given
from hypothesis import strategies as st

from envfreeze.resolve.elf import Needs, libraries, needs, present, symbols_of
from envfreeze.resolve.rootfs import Root
from tests.support.elfmaker import Elf, elf_bytes, write_elf


class Machine:
    """A root directory to put libraries into."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = Root(path)

    def lib(self, path: str, **facts: object) -> str:
        write_elf(self.path / path.lstrip("/"), Elf(**facts))  # type: ignore[arg-type]
        return path

    def text(self, path: str, text: str) -> None:
        target = self.path / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def link(self, path: str, target: str) -> None:
        place = self.path / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def read_with_pyelftools(data: bytes) -> Needs | None:
    found = needs_kind = None
    elf = ELFFile(io.BytesIO(data))
    needed, rpath, runpath, soname, flags = [], "", "", None, 0
    for segment in elf.iter_segments():
        if isinstance(segment, DynamicSegment):
            for tag in segment.iter_tags():
                if tag.entry.d_tag == "DT_NEEDED":
                    needed.append(tag.needed)
                elif tag.entry.d_tag == "DT_RPATH":
                    rpath = tag.rpath
                elif tag.entry.d_tag == "DT_RUNPATH":
                    runpath = tag.runpath
                elif tag.entry.d_tag == "DT_SONAME":
                    soname = tag.soname
                elif tag.entry.d_tag == "DT_FLAGS_1":
                    flags = tag.entry.d_val
    own = needs_from(data)
    assert own is not None
    needs_kind = own.kind
    found = Needs(
        kind=needs_kind,
        soname=soname,
        needed=tuple(needed),
        rpath=tuple(p for p in rpath.split(":") if p),
        runpath=tuple(p for p in runpath.split(":") if p),
        interp=own.interp,
        nodeflib=bool(flags & ENUM_DT_FLAGS_1["DF_1_NODEFLIB"]),
    )
    assert (needs_kind.bits, needs_kind.little) == (elf.elfclass, elf.little_endian)
    return found


def needs_from(data: bytes) -> Needs | None:
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return needs(file.name)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("little", [True, False])
def test_reads_what_pyelftools_reads(bits: int, little: bool) -> None:
    data = elf_bytes(
        Elf(
            needed=["libc.so.6", "libm.so.6"],
            soname="libx.so.1",
            rpath="$ORIGIN/../lib:/x",
            runpath="/y",
            bits=bits,
            little=little,
        )
    )
    own = needs_from(data)
    assert own == read_with_pyelftools(data)
    assert own is not None
    assert own.needed == ("libc.so.6", "libm.so.6")
    assert own.rpath == ("$ORIGIN/../lib", "/x")


def test_reads_this_interpreter_as_pyelftools_does() -> None:
    if sys.platform != "linux":
        pytest.skip("ELF is read where there is ELF")
    for path in {Path(sys.executable).resolve(), *Path("/lib").glob("*-linux-*/lib[cmz].so.*")}:
        data = path.read_bytes()
        assert needs(path) == read_with_pyelftools(data)


def test_reads_what_a_compiler_wrote(tmp_path: Path) -> None:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no gcc")
    source = tmp_path / "x.c"
    source.write_text("int x(void) { return 1; }\n")
    out = tmp_path / "libx.so.1"
    flags = ["-shared", "-fPIC", "-Wl,-soname,libx.so.1", "-Wl,-rpath,$ORIGIN/y"]
    for more, nodeflib in (([], False), (["-Wl,-z,nodefaultlib"], True)):
        subprocess.run([compiler, *flags, *more, str(source), "-o", str(out), "-lm"], check=True)
        own = needs(out)
        assert own == read_with_pyelftools(out.read_bytes())
        assert own is not None
        assert (own.rpath or own.runpath) == ("$ORIGIN/y",)
        assert own.nodeflib is nodeflib


def symbols_with_pyelftools(data: bytes) -> set[str]:
    (table,) = (
        section
        for section in ELFFile(io.BytesIO(data)).iter_sections()
        if isinstance(section, SymbolTableSection) and section.name == ".dynsym"
    )
    return {
        symbol.name
        for symbol in table.iter_symbols()
        if symbol["st_shndx"] != "SHN_UNDEF" and symbol["st_info"]["bind"] != "STB_LOCAL"
    }


def test_the_symbols_are_those_that_pyelftools_finds() -> None:
    libraries = sorted(Path("/lib").glob("*-linux-*/lib[mz].so.?"))
    if not libraries:
        pytest.skip("no libraries of Debian's layout here")
    for path in libraries:
        data = path.read_bytes()
        found = symbols_of(io.BytesIO(data))
        assert found == symbols_with_pyelftools(data)
        assert found


def with_symbols(*, wide: bool, little: bool) -> bytes:
    """An object of three sections: none, the symbols and their names."""
    end = "<" if little else ">"
    names = b"\0defined\0weak\0needed\0local\0"

    def symbol(name: str, binding: int, section: int) -> bytes:
        place = names.index(name.encode()) if name else 0
        if wide:
            return struct.pack(end + "LBBHQQ", place, binding << 4, 0, section, 1, 1)
        return struct.pack(end + "LLLBBH", place, 1, 1, binding << 4, 0, section)

    table = b"".join(
        symbol(*row)
        for row in [
            ("", 0, 0),
            ("defined", 1, 1),
            ("weak", 2, 1),
            ("needed", 1, 0),
            ("local", 0, 1),
        ]
    )
    head = 64 if wide else 52
    row, entry = (64, 24) if wide else (40, 16)
    at = head + len(table) + len(names)

    def section(kind: int, offset: int, size: int, each: int) -> bytes:
        form = end + ("LLQQQQLLQQ" if wide else "LLLLLLLLLL")
        return struct.pack(form, 0, kind, 0, 0, offset, size, 2, 0, 1, each)

    sections = section(0, 0, 0, 0) + section(11, head, len(table), entry)
    sections += section(3, head + len(table), len(names), 0)
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if little else 2, 1]) + bytes(9)
    form = end + ("HHLQQQLHHHHHH" if wide else "HHLLLLLHHHHHH")
    header = struct.pack(form, 3, 62, 1, 0, 0, at, 0, head, 0, 0, row, 3, 2)
    return ident + header + table + names + sections


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("little", [True, False])
def test_symbols_of_either_width_and_order(wide: bool, little: bool) -> None:
    data = with_symbols(wide=wide, little=little)
    assert symbols_of(io.BytesIO(data)) == {"defined", "weak"}
    elf = ELFFile(io.BytesIO(data))
    assert (elf.elfclass, elf.little_endian) == (64 if wide else 32, little)
    table = elf.get_section(1)
    assert isinstance(table, SymbolTableSection)
    assert [symbol.name for symbol in table.iter_symbols()][1:3] == ["defined", "weak"]


def test_symbols_of_what_has_none() -> None:
    assert symbols_of(io.BytesIO(b"text")) is None
    assert symbols_of(io.BytesIO(elf_bytes(Elf(soname="libx.so.1")))) is None


@given(st.data())
def test_damaged_symbols_are_never_an_error(data: st.DataObject) -> None:
    path = next(iter(sorted(Path("/lib").glob("*-linux-*/libdl.so.?"))), Path(sys.executable))
    whole = bytearray(path.read_bytes())
    ends = [*range(16, 64), *range(max(64, len(whole) - 2048), len(whole))]  # The headers.
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.sampled_from(ends))] = data.draw(st.integers(0, 255))
    symbols_of(io.BytesIO(bytes(whole)))


def test_a_text_file_needs_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.so").write_text("/* GNU ld script */ GROUP ( libc.so.6 )\n" * 3)
    assert needs(tmp_path / "x.so") is None
    assert needs(tmp_path / "absent") is None
    assert needs(tmp_path) is None


@given(st.data())
def test_a_damaged_object_is_no_object_and_never_an_error(data: st.DataObject) -> None:
    whole = bytearray(elf_bytes(Elf(needed=["libc.so.6"], soname="libx.so.1", interp="/ld.so")))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(4, len(whole) - 1))] = data.draw(st.integers(0, 255))
    del whole[data.draw(st.integers(4, len(whole))) :]
    needs_from(bytes(whole))


def test_the_closure_is_transitive_and_real(machine: Machine) -> None:
    machine.lib(
        "/usr/lib/x86_64-linux-gnu/libssl.so.3.0", soname="libssl.so.3", needed=["libc.so.6"]
    )
    machine.link("/usr/lib/x86_64-linux-gnu/libssl.so.3", "libssl.so.3.0")
    machine.lib("/usr/lib/x86_64-linux-gnu/libc.so.6", soname="libc.so.6")
    machine.link("/lib", "usr/lib")
    ext = machine.lib("/env/_ssl.so", needed=["libssl.so.3"])
    scan = libraries([ext], root=machine.root)
    assert scan.system == {
        "/usr/lib/x86_64-linux-gnu/libssl.so.3.0",
        "/usr/lib/x86_64-linux-gnu/libc.so.6",
    }
    assert scan.missing == {}


def test_ld_so_conf_and_its_includes_are_searched(machine: Machine) -> None:
    machine.text("/etc/ld.so.conf", "include /etc/ld.so.conf.d/*.conf\n")
    machine.text("/etc/ld.so.conf.d/a.conf", "# comment\n/opt/vendor/lib\n")
    machine.lib("/opt/vendor/lib/libv.so.1")
    ext = machine.lib("/env/x.so", needed=["libv.so.1"])
    assert libraries([ext], root=machine.root).system == {"/opt/vendor/lib/libv.so.1"}


def test_ld_so_conf_that_includes_itself_ends(machine: Machine) -> None:
    machine.text("/etc/ld.so.conf", "include /etc/ld.so.conf\n")
    ext = machine.lib("/env/x.so", needed=["libv.so.1"])
    assert list(libraries([ext], root=machine.root).missing) == ["libv.so.1"]


@pytest.mark.parametrize("field", ["rpath", "runpath"])
def test_origin_leads_to_bundled_libraries(machine: Machine, field: str) -> None:
    bundled = machine.lib("/env/site/x.libs/libz-1.so", soname="libz-1.so")
    ext = machine.lib("/env/site/x/e.so", needed=["libz-1.so"], **{field: "$ORIGIN/../x.libs"})
    scan = libraries([ext, bundled], root=machine.root)
    assert (scan.system, scan.missing, scan.inside) == (frozenset(), {}, {})


def test_rpath_is_handed_down_and_runpath_is_not(machine: Machine) -> None:
    machine.lib("/opt/a/libone.so", needed=["libtwo.so"])
    machine.lib("/opt/a/libtwo.so")
    by_rpath = machine.lib("/env/r.so", needed=["libone.so"], rpath="/opt/a")
    assert libraries([by_rpath], root=machine.root).missing == {}
    by_runpath = machine.lib("/env/s.so", needed=["libone.so"], runpath="/opt/a")
    scan = libraries([by_runpath], root=machine.root)
    assert scan.missing == {"libtwo.so": ["/opt/a/libone.so"]}


def test_runpath_switches_the_objects_own_rpath_off(machine: Machine) -> None:
    machine.lib("/opt/a/libone.so")
    ext = machine.lib("/env/r.so", needed=["libone.so"], rpath="/opt/a", runpath="/opt/b")
    assert list(libraries([ext], root=machine.root).missing) == ["libone.so"]


def test_what_the_interpreter_loaded_is_there_for_extensions(machine: Machine) -> None:
    shared = machine.lib("/py/lib/libpython3.so.1.0", soname="libpython3.so.1.0")
    exe = machine.lib("/py/bin/python", needed=["libpython3.so.1.0"], runpath="$ORIGIN/../lib")
    ext = machine.lib("/env/x.so", needed=["libpython3.so.1.0"])
    scan = libraries([exe, shared, ext], root=machine.root, executable=exe)
    assert (scan.missing, scan.inside, scan.system) == ({}, {}, frozenset())


def test_the_rpath_of_the_executable_counts_for_extensions(machine: Machine) -> None:
    machine.lib("/py/lib/libssl.so.3")
    exe = machine.lib("/py/bin/python", rpath="$ORIGIN/../lib")
    ext = machine.lib("/env/_ssl.so", needed=["libssl.so.3"])
    scan = libraries([exe, ext], root=machine.root, executable=exe)
    assert scan.system == {"/py/lib/libssl.so.3"}


def test_the_program_interpreter_is_a_system_library(machine: Machine) -> None:
    machine.lib("/lib64/ld-linux-x86-64.so.2")
    exe = machine.lib("/py/bin/python", interp="/lib64/ld-linux-x86-64.so.2")
    scan = libraries([exe], root=machine.root, executable=exe)
    assert scan.system == {"/lib64/ld-linux-x86-64.so.2"}


def test_a_library_of_another_file_of_the_set_is_not_missing(machine: Machine) -> None:
    blas = machine.lib("/env/nvidia/cublas/lib/libcublas.so.12", soname="libcublas.so.12")
    ext = machine.lib("/env/torch/lib/libtorch.so", needed=["libcublas.so.12"])
    scan = libraries([ext, blas], root=machine.root)
    assert (scan.inside, scan.missing) == ({"libcublas.so.12": [ext]}, {})


def test_the_driver_is_neither_missing_nor_system(machine: Machine) -> None:
    machine.lib("/usr/lib/x86_64-linux-gnu/libcuda.so.1")
    ext = machine.lib("/env/torch/lib/libtorch.so", needed=["libcuda.so.1", "libnvidia-ml.so.1"])
    scan = libraries([ext], root=machine.root)
    assert list(scan.driver) == ["libcuda.so.1", "libnvidia-ml.so.1"]
    assert (scan.system, scan.missing) == (frozenset(), {})


def test_libraries_for_another_machine_do_not_satisfy(machine: Machine) -> None:
    machine.lib("/usr/lib/libx.so.1", bits=32, machine=3)
    ext = machine.lib("/env/x.so", needed=["libx.so.1"])
    arm = machine.lib("/env/arm.so", needed=["libnowhere.so"], machine=183)
    scan = libraries([ext, arm, ext], root=machine.root, executable=ext)
    assert (list(scan.missing), scan.foreign) == (["libx.so.1"], 1)


def test_links_are_followed_inside_the_root(machine: Machine) -> None:
    machine.lib("/opt/blas/libblas.so.3.11")
    machine.link("/etc/alternatives/libblas", "/opt/blas/libblas.so.3.11")
    machine.link("/usr/lib/libblas.so.3", "/etc/alternatives/libblas")
    ext = machine.lib("/env/x.so", needed=["libblas.so.3"])
    scan = libraries([ext], root=machine.root)
    assert scan.system == {"/opt/blas/libblas.so.3.11"}
    assert scan.found == {"/usr/lib/libblas.so.3"}


def test_a_circle_of_libraries_ends(machine: Machine) -> None:
    machine.lib("/usr/lib/liba.so", needed=["libb.so"])
    machine.lib("/usr/lib/libb.so", needed=["liba.so"])
    ext = machine.lib("/env/x.so", needed=["liba.so"])
    assert libraries([ext], root=machine.root).system == {"/usr/lib/liba.so", "/usr/lib/libb.so"}


def test_nothing_gives_nothing() -> None:
    scan = libraries([])
    assert (scan.system, scan.scanned) == (frozenset(), 0)


def test_which_libraries_are_here() -> None:
    names = ["libc.so.6", "libnowhere.so.99", "../lib/libc.so.6"]
    assert present(names, sys.executable) == {
        "libc.so.6": True,
        "libnowhere.so.99": False,
        "../lib/libc.so.6": False,
    }
    assert present(names, __file__) == {}
