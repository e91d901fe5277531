"""Where loaders look, held against this machine's own: programs compiled here and run."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envfreeze.resolve import ldso
from envfreeze.resolve.elf import libraries
from envfreeze.resolve.rootfs import Root
from tests.support.elfmaker import Elf, write_elf
from tests.support.roots import ROOTS

GCC = shutil.which("gcc")
MUSL = shutil.which("musl-gcc")


class Bench:
    """Compiles libraries and programs in one directory."""

    def __init__(self, path: Path, compiler: str | None) -> None:
        if compiler is None or os.uname().machine != "x86_64":
            pytest.skip("no such compiler here")
        self.path = path
        self.compiler = compiler

    def lib(self, place: str, *needed: str, flags: str = "") -> str:
        """A library at *place*, called by its last part, that needs other ones of this bench."""
        out = self.path / place
        out.parent.mkdir(parents=True, exist_ok=True)
        soname = f"-Wl,-soname,{out.name}"
        self._compile(
            "int x(void) { return 1; }", out, ["-shared", soname, *self._all(needed, flags)]
        )
        return str(out)

    def program(self, *needed: str, flags: str = "") -> str:
        out = self.path / "bin/program"
        out.parent.mkdir(exist_ok=True)
        self._compile("int main(void) { return 0; }", out, self._all(needed, flags))
        return str(out)

    def _all(self, needed: tuple[str, ...], flags: str) -> list[str]:
        files = [str(self.path / name) for name in needed]
        loose = [
            "-Wl,--no-as-needed",
            "-Wl,--allow-shlib-undefined",
            "-Wl,--unresolved-symbols=ignore-all",
        ]
        return [*loose, *files, *flags.replace("@", str(self.path)).split()]

    def _compile(self, source: str, out: Path, arguments: list[str]) -> None:
        command = [self.compiler, "-fPIC", "-x", "c", "-", "-x", "none", "-o", str(out), *arguments]
        subprocess.run(command, input=source, text=True, check=True)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, GCC)


def told(program: str, library_path: str = "") -> tuple[set[str], set[str]]:
    """``(paths, names that are not found)`` as ld.so itself says for our own *program*."""
    environ = {"LD_TRACE_LOADED_OBJECTS": "1", "LD_LIBRARY_PATH": library_path}
    done = subprocess.run([program], env=environ, capture_output=True, text=True, check=False)
    found, missing = set(), set()
    for line in done.stdout.splitlines():
        match = re.match(r"\s*(?:(\S+) => )?(?:(/\S+) \(0x|not found)", line)
        if match:
            found |= {match[2]} if match[2] else set()
            missing |= {match[1]} if not match[2] else set()
    return found, missing


def same(program: str, library_path: str = "") -> set[str]:
    """What ld.so loads of the bench, after seeing that we say the same of everything."""
    found, missing = told(program, library_path)
    scan = libraries([program], executable=program, library_path=library_path)
    assert (set(scan.found), set(scan.missing)) == (found, missing)
    return {path for path in found if path.startswith(str(Path(program).parents[1]))}


def test_plain(bench: Bench) -> None:
    assert (
        same(bench.program(flags="-lm -lz" if Path("/usr/include/zlib.h").exists() else "-lm"))
        == set()
    )


OLD = "-Wl,--disable-new-dtags"
NEW = "-Wl,--enable-new-dtags"


def test_rpath_is_handed_down_and_runpath_is_not(bench: Bench) -> None:
    bench.lib("a/libtwo.so")
    bench.lib("a/libone.so", "a/libtwo.so")
    program = bench.program("a/libone.so", flags=f"{OLD} -Wl,-rpath,@/a")
    assert len(same(program)) == 2
    program = bench.program("a/libone.so", flags=f"{NEW} -Wl,-rpath,@/a")
    assert len(same(program)) == 1


@pytest.mark.parametrize(("tags", "wins"), [(OLD, "a"), (NEW, "b")])
def test_the_library_path_stands_between_the_two(bench: Bench, tags: str, wins: str) -> None:
    bench.lib("a/libone.so")
    other = bench.lib("b/libone.so")
    program = bench.program("a/libone.so", flags=f"{tags} -Wl,-rpath,@/a")
    [found] = same(program, library_path=str(Path(other).parent))
    assert Path(found).parent.name == wins


def test_a_runpath_in_between_switches_rpath_off(bench: Bench) -> None:
    bench.lib("a/libtwo.so")
    bench.lib("a/libone.so", "a/libtwo.so", flags=f"{NEW} -Wl,-rpath,/nowhere")
    same(bench.program("a/libone.so", flags=f"{OLD} -Wl,-rpath,@/a"))


@pytest.mark.parametrize(
    ("token", "place"),
    [
        ("$ORIGIN/../x", "x"),
        ("${ORIGIN}/../x", "x"),
        ("$ORIGIN/../$LIB/x", "lib/x86_64-linux-gnu/x"),
        ("$ORIGIN/../$LIB/x", "lib64/x"),
        ("$ORIGIN/../${PLATFORM}", "haswell"),
        ("$ORIGIN/../${PLATFORM}", "x86_64"),
    ],
)
def test_tokens(bench: Bench, token: str, place: str) -> None:
    """Whether this loader takes the place or not: we say what it says. ``$PLATFORM`` alone may
    mean one of two things to us, so there we may find what it would not."""
    bench.lib(f"{place}/libone.so")
    program = bench.program(f"{place}/libone.so", flags=f"{NEW} -Wl,-rpath,{token}")
    if "PLATFORM" in token and told(program)[1]:
        assert "libone.so" not in libraries([program], executable=program).missing
    else:
        same(program)


def test_directories_for_better_processors(bench: Bench) -> None:
    bench.lib("a/libone.so")
    for level in ("x86-64-v2", "x86-64-v3", "x86-64-v4", "x86-64-v9"):
        bench.lib(f"a/glibc-hwcaps/{level}/libone.so")
    [found] = same(bench.program("a/libone.so", flags="-Wl,-rpath,$ORIGIN/../a"))
    assert not found.endswith("v9/libone.so")


def test_no_default_directories(bench: Bench) -> None:
    bench.lib("a/libone.so", flags="-lm -Wl,-z,nodefaultlib")
    same(bench.program("a/libone.so", flags="-Wl,-rpath,$ORIGIN/../a"))


def test_a_name_with_a_slash_is_a_path(bench: Bench) -> None:
    one = bench.path / "a/libone.so"
    one.parent.mkdir()
    bench._compile("int x(void) { return 1; }", one, ["-shared"])  # No soname: the path is it.
    assert same(bench.program("a/libone.so")) == {str(one)}


def test_the_index_is_read_as_ldconfig_prints_it() -> None:
    cache = Path("/etc/ld.so.cache")
    if not cache.exists() or shutil.which("ldconfig") is None:
        pytest.skip("no ldconfig here")
    printed = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    rows = re.findall(r"^\t(\S+) \(.*\) => (/.*)$", printed, re.MULTILINE)
    found = ldso.parse_index(cache.read_bytes())
    assert [(name, path) for name, paths in found.items() for path in paths] == rows


def test_a_recorded_index() -> None:
    """Debian's (tests/roots/make_debian.py)."""
    found = ldso.parse_index((ROOTS / "debian/etc/ld.so.cache").read_bytes())
    assert found["libcom_err.so.2"] == ("/lib/x86_64-linux-gnu/libcom_err.so.2",)


@given(st.data())
def test_a_damaged_index_is_bounded(data: st.DataObject) -> None:
    whole = bytearray((ROOTS / "debian/etc/ld.so.cache").read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    del whole[data.draw(st.integers(0, len(whole))) :]
    for name, paths in ldso.parse_index(bytes(whole)).items():
        assert name
        assert all(path.startswith("/") for path in paths)


def test_what_the_index_does_not_have_is_not_found(tmp_path: Path) -> None:
    """ld.so reads the index alone: until ldconfig ran, a library is not there."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/ld.so.conf").write_text("/opt/vendor\n")
    write_elf(tmp_path / "opt/vendor/libv.so.1", Elf())
    ext = write_elf(tmp_path / "env/x.so", Elf(needed=["libv.so.1"]))
    root = Root(tmp_path)
    path = f"/{ext.relative_to(tmp_path)}"
    assert libraries([path], root=root).found == {"/opt/vendor/libv.so.1"}
    shutil.copyfile(ROOTS / "debian/etc/ld.so.cache", tmp_path / "etc/ld.so.cache")
    assert list(libraries([path], root=root).missing) == ["libv.so.1"]
    name = b"libv.so.1\0/opt/vendor/libv.so.1\0"
    head = b"glibc-ld.so.cache1.1" + struct.pack("<IIB3xI12x", 1, len(name), 2, 0)
    row = struct.pack("<iIIIQ", 0x303, 72, 82, 0, 0)
    (tmp_path / "etc/ld.so.cache").write_bytes(b"ld.so-1.7.0\0" + bytes(4) + head + row + name)
    assert libraries([path], root=root).found == {"/opt/vendor/libv.so.1"}


# --- musl ----------------------------------------------------------------------------------


@pytest.fixture
def musl(tmp_path: Path) -> Bench:
    return Bench(tmp_path, MUSL)


def told_by_musl(program: str, library_path: str = "") -> set[str]:
    """musl's loader lists what it loaded; what it names without a path is itself."""
    command = ["/lib/ld-musl-x86_64.so.1", "--list", program]
    environ = {"LD_LIBRARY_PATH": library_path} if library_path else {}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(re.findall(r"=> (/\S+)", done.stdout))


@pytest.mark.parametrize("tags", [OLD, NEW])
@pytest.mark.parametrize("by_variable", [False, True])
def test_musl_hands_down_both_and_asks_the_variable_first(
    musl: Bench, tags: str, by_variable: bool
) -> None:
    musl.lib("a/libtwo.so")
    musl.lib("b/libtwo.so")
    musl.lib("a/libone.so", "a/libtwo.so")
    program = musl.program("a/libone.so", flags=f"{tags} -Wl,-rpath,$ORIGIN/../a")
    library_path = str(musl.path / "b") if by_variable else ""
    scan = libraries([program], executable=program, library_path=library_path)
    ours = {os.path.realpath(p) for p in scan.found if p.startswith(str(musl.path))}
    said = told_by_musl(program, library_path)
    theirs = {os.path.realpath(p) for p in said if p.startswith(str(musl.path))}
    assert ours == theirs
    assert {Path(path).parent.name for path in ours} == ({"a", "b"} if by_variable else {"a"})
    assert scan.missing == {}


def test_a_process_of_glibc_does_not_look_where_musl_does(tmp_path: Path) -> None:
    write_elf(tmp_path / "lib/ld-musl-x86_64.so.1", Elf())
    write_elf(tmp_path / "lib64/ld-linux-x86-64.so.2", Elf())
    write_elf(tmp_path / "usr/local/lib/libx.so", Elf())
    for name, interp in (("g", "/lib64/ld-linux-x86-64.so.2"), ("m", "/lib/ld-musl-x86_64.so.1")):
        write_elf(tmp_path / name, Elf(needed=["libx.so", "libc.so"], interp=interp))
    by_glibc = libraries(["/g"], root=Root(tmp_path), executable="/g")
    assert set(by_glibc.missing) == {"libx.so", "libc.so"}
    by_musl = libraries(["/m"], root=Root(tmp_path), executable="/m")
    assert by_musl.found == {"/usr/local/lib/libx.so", "/lib/ld-musl-x86_64.so.1"}


def test_musls_own_list_of_directories(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/ld-musl-x86_64.path").write_text("/opt/a:/opt/b\n/opt/c\n")
    interp = "/lib/ld-musl-x86_64.so.1"
    places = ldso.places(Root(tmp_path), "x86_64", 64, interp)
    assert (places.musl, places.trusted) == (True, ("/opt/a", "/opt/b", "/opt/c"))
    assert ldso.places(Root(ROOTS / "alpine"), "x86_64", 64, None).trusted == (
        "/lib",
        "/usr/local/lib",
        "/usr/lib",
    )
