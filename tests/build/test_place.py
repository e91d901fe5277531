"""Placing wheels: the same tree by every way, and never outside it."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest

from envfreeze.build import loosefiles, place, sinks
from envfreeze.build.layout import Schemes
from envfreeze.errors import ArtifactError, DiskError, LockError
from envfreeze.model.lock import Artifact, Edit, LooseEntry, LooseSite, Package
from tests.support import envs
from tests.support.cli import unpack
from tests.support.fakeindex import make_wheel, record_hash

FILES = {
    "demo/__init__.py": "import sys\n\ndef main():\n    print('hello', *sys.argv[1:])\n",
    "demo/fast.so": "elf",
    "demo/__pycache__/x.cpython-311.pyc": "not wanted",
    "demo-1.0.data/purelib/demo/pure.py": "pure",
    "demo-1.0.data/platlib/demo/plat.py": "plat",
}
SCRIPTS = {
    "run": "#!python\nprint('ran')\n",
    "flags": "#!python -E\r\nprint(1)\n",
    "window": "#!pythonw -E\nprint(1)\n",
    "sh": "#!/bin/sh\necho sh\n",
    "demo": "#!python\nshadowed\n",
}
ENTRY_POINTS = """
# a comment
[console_scripts]
demo = demo:main
pip = demo:main [x, y]
[gui_scripts]
win = demo:main
[other]
percent = %(x)s
"""


@pytest.fixture
def env(tmp_path: Path) -> Path:
    return envs.make_venv(tmp_path / "env")


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return a_wheel(tmp_path)


def a_wheel(tmp_path: Path, **changes: Any) -> Path:
    given: dict[str, Any] = {
        "scripts": SCRIPTS,
        "data": {"share/demo.txt": "data"},
        "headers": {"demo.h": "int a;"},
        "entry_points": ENTRY_POINTS,
    }
    return make_wheel(tmp_path / "files", "demo", "1.0", FILES, **(given | changes))


def zipped(path: Path, members: dict[str, bytes | str], **info: str) -> Path:
    """A wheel from raw members, however wrong."""
    path.parent.mkdir(exist_ok=True, parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return path


META = {"x-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: x\nVersion: 1\n"}
PLAIN = {**META, "x-1.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"}


def files(top: Path) -> dict[str, tuple[bytes | str, bool]]:
    """Everything below *top* but the venv's own, with content and whether it can be run."""
    found: dict[str, tuple[bytes | str, bool]] = {}
    for path in sorted(top.rglob("*")):
        name = path.relative_to(top).as_posix()
        if path.is_symlink():
            found[name] = (str(path.readlink()), False)
        elif path.is_file():
            found[name] = (path.read_bytes(), os.access(path, os.X_OK))
    return found


def rows(site: Path, info: str = "demo-1.0.dist-info") -> dict[str, tuple[str, str]]:
    text = (site / info / "RECORD").read_text()
    return {row[0]: (row[1], row[2]) for row in csv.reader(io.StringIO(text))}


# --- where everything goes -----------------------------------------------------------------


def test_a_script_that_was_not_there_is_not_made(wheel: Path, env: Path) -> None:
    envs.install(wheel, env, no_wrappers=["pip"], wrapper_copies={"pip": ["pip3"]})
    made = {path.name for path in (env / "bin").iterdir()}
    assert "pip" not in made
    assert {"pip3", "run"} <= made  # ensurepip makes pip3 alone.
    assert not any(path.endswith("bin/pip") for path in rows(env / envs.SITE))


def test_every_kind_of_file(wheel: Path, env: Path) -> None:
    before = set(files(env))
    copies = {"pip": ["pip3", "pip3.11"]}
    envs.install(wheel, env, wrapper_copies=copies)
    made = {k: v for k, v in files(env).items() if k not in before}
    site, info = envs.SITE, f"{envs.SITE}/demo-1.0.dist-info"
    header = "include/site/python{}.{}/demo/demo.h".format(*sys.version_info)
    assert set(made) == {
        f"{site}/demo/__init__.py",
        f"{site}/demo/fast.so",
        f"{site}/demo/pure.py",
        f"{site}/demo/plat.py",
        f"{info}/METADATA",
        f"{info}/WHEEL",
        f"{info}/RECORD",
        f"{info}/entry_points.txt",
        "share/demo.txt",
        header,
        *(f"bin/{name}" for name in (*SCRIPTS, "pip", "pip3", "pip3.11", "win")),
    }
    assert {name for name, (_, executable) in made.items() if executable} == {
        name for name in made if name.startswith("bin/")
    }
    python = str(env / "bin/python").encode()
    assert made["bin/run"][0] == b"#!" + python + b"\nprint('ran')\n"
    assert made["bin/flags"][0] == b"#!" + python + b"\nprint(1)\n"
    assert made["bin/sh"][0] == b"#!/bin/sh\necho sh\n"
    assert b"shadowed" not in made["bin/demo"][0]  # type: ignore[operator]
    assert made["bin/pip"] == made["bin/pip3"] == made["bin/pip3.11"]


def test_a_directory_and_a_tar_get_the_same(wheel: Path, env: Path, tmp_path: Path) -> None:
    facts = {"installer": "uv", "requested": True, "wrapper_copies": {"pip": ["pip3"]}}
    before = set(files(env))
    envs.install(wheel, env, **facts)
    with (tmp_path / "t.tar").open("wb") as file:
        sink = sinks.TarSink(file, str(env))
        place.place_package(envs.package_of(wheel, **facts), wheel, sink, envs.schemes(env))
        sink.close()
    with tarfile.open(tmp_path / "t.tar") as tar:
        unpack(tar, tmp_path / "root")
    out = files((tmp_path / "root").joinpath(*env.parts[1:]))
    assert out == {name: what for name, what in files(env).items() if name not in before}


def test_record_is_what_lies_there(wheel: Path, env: Path) -> None:
    before = set(files(env))
    envs.install(wheel, env, installer="pip", wrapper_copies={"pip": ["pip3.11"]})
    site = env / envs.SITE
    found = rows(site)
    assert found.pop("demo-1.0.dist-info/RECORD") == ("", "")
    for path, (digest, size) in found.items():
        content = (site / path).read_bytes()
        assert (digest, size) == (record_hash(content), str(len(content))), path
    named = {(site / path).resolve() for path in found} | {site / "demo-1.0.dist-info/RECORD"}
    assert named == {env / name for name in files(env) if name not in before}
    assert "../../../bin/pip3.11" in found
    assert "../../../share/demo.txt" in found


def test_pip_can_check_and_uninstall_it(wheel: Path, env: Path) -> None:
    before = set(files(env))
    envs.install(wheel, env, installer="pip\n", wrapper_copies={"pip": ["pip3.11"]})
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    pip += ["--python", str(env / "bin/python")]
    subprocess.run([*pip, "check"], check=True, capture_output=True)
    subprocess.run([*pip, "uninstall", "-y", "-q", "demo"], check=True, capture_output=True)
    assert {name for name in files(env) if "__pycache__" not in name} == before


def test_what_the_installer_left_comes_back(tmp_path: Path, env: Path) -> None:
    members = {
        **PLAIN,
        "x-1.dist-info/INSTALLER": "the wheel's own",
        "x-1.dist-info/direct_url.json": "the wheel's own",
    }
    wheel = zipped(tmp_path / "x-1-py3-none-any.whl", members)
    url = '{"url": "https://index.example/x", "archive_info": {}}  \n'
    envs.install(wheel, env, installer="pip\n", requested=True, direct_url=url)
    info = env / envs.SITE / "x-1.dist-info"
    assert (info / "INSTALLER").read_bytes() == b"pip\n"
    assert (info / "REQUESTED").read_bytes() == b""
    assert (info / "direct_url.json").read_text() == url

    other = envs.make_venv(tmp_path / "other")
    envs.install(wheel, other)
    left = {path.name for path in (other / envs.SITE / "x-1.dist-info").iterdir()}
    assert left == {"METADATA", "WHEEL", "RECORD"}


def test_yields_are_not_placed_but_recorded(tmp_path: Path, env: Path) -> None:
    wheel = a_wheel(tmp_path)
    yields = ["site/demo/plat.py", "scripts/sh", "data/share/demo.txt", "headers/demo.h"]
    envs.install(wheel, env, yields=yields)
    site = env / envs.SITE
    assert not (site / "demo/plat.py").exists()
    assert not (env / "bin/sh").exists()
    assert not (env / "share").exists()
    assert rows(site)["demo/plat.py"] == (record_hash(b"plat"), "4")
    assert rows(site)["../../../bin/sh"][0] == record_hash(SCRIPTS["sh"].encode())


def test_a_member_twice(tmp_path: Path, env: Path) -> None:
    path = tmp_path / "x-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        for name, content in [*PLAIN.items(), ("a.py", "one"), ("a.py", "two")]:
            archive.writestr(name, content)
    envs.install(path, env)
    site = env / envs.SITE
    assert (site / "a.py").read_text() == "two"
    text = (site / "x-1.dist-info/RECORD").read_text()
    assert text.count("a.py") == 1
    assert rows(site, "x-1.dist-info")["a.py"][0] == record_hash(b"two")


def test_executable_members(tmp_path: Path, env: Path) -> None:
    path = tmp_path / "x-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in PLAIN.items():
            archive.writestr(name, content)
        for name, mode in (("a", 0o100755), ("b", 0o100644), ("c", 0)):
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, "x")
    envs.install(path, env)
    modes = {name: os.access(env / envs.SITE / name, os.X_OK) for name in "abc"}
    assert modes == {"a": True, "b": False, "c": False}


def test_the_metadata_directory_keeps_its_installed_name(tmp_path: Path, env: Path) -> None:
    members = {name.replace("x-1", "X_y-1"): content for name, content in PLAIN.items()}
    members |= {"X_y-1.data/scripts/go": "#!python\n", "X_y-1.data/data/d": "1", "a.py": ""}
    wheel = zipped(tmp_path / "blob", members)
    package = envs.package_of(zipped(tmp_path / "x_y-1-py3-none-any.whl", members))
    facts = place_facts(package, info="x.Y-1.dist-info")
    sink = sinks.DirectorySink(env)
    place.place_package(facts, wheel, sink, envs.schemes(env))
    found = rows(env / envs.SITE, "x.Y-1.dist-info")
    assert {"../../../bin/go", "../../../d", "a.py"} < set(found)
    assert not (env / envs.SITE / "X_y-1.dist-info").exists()
    assert not (env / envs.SITE / "X_y-1.data").exists()


def place_facts(package: Package, **changes: Any) -> Package:
    import msgspec

    facts = msgspec.structs.replace(package.facts, **changes)
    tool = msgspec.structs.replace(package.tool, envfreeze=facts)
    return msgspec.structs.replace(package, tool=tool)


# --- scripts -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("installer", "first"),
    [
        ("pip\n", b"#!PYTHON\n"),
        ("Poetry 2.0", b"#!PYTHON\n"),
        ("uv", b"#!PYTHON -E\r\n"),
    ],
)
def test_the_first_line_of_a_script(wheel: Path, env: Path, installer: str, first: bytes) -> None:
    envs.install(wheel, env, installer=installer)
    python = str(env / "bin/python").encode()
    script = (env / "bin/flags").read_bytes()
    assert script == first.replace(b"PYTHON", python) + b"print(1)\n"


PLACES = ["plain", "a space", "it's", 'q"uote', "nÄme", "l" * 120, "$HOME `x` ; &", "tab\there"]


@pytest.mark.parametrize("name", PLACES)
def test_scripts_run_wherever_they_lie(tmp_path: Path, wheel: Path, name: str) -> None:
    env = envs.make_venv(tmp_path / name)
    envs.install(wheel, env, installer="uv")
    for script, printed in (("run", "ran\n"), ("demo", "hello 1 2 3\n"), ("win", "hello 1 2 3\n")):
        argv = [env / "bin" / script, "1", "2 3"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, printed), done.stderr
    first = envs.look(env)
    assert not envs.seen(first, "demo").edited


def test_a_long_first_line_is_no_interpreter(tmp_path: Path, env: Path) -> None:
    long = "#!python" + "x" * 10_000 + "\nrest\n"
    wheel = a_wheel(tmp_path, scripts={"long": long, "bare": "#!python"}, entry_points=None)
    envs.install(wheel, env)
    assert (env / "bin/long").read_text() == long
    assert (env / "bin/bare").read_text() == f"#!{env}/bin/python"


def test_entry_points_are_read_as_pip_reads_them(tmp_path: Path, env: Path) -> None:
    text = "[console_scripts]\n  a = demo:main\na = demo:main\n; c\nb=demo : main\nno pair\n"
    text += "[x]\n%broken = %(x\n[gui_scripts]\n"
    envs.install(a_wheel(tmp_path, entry_points=text), env)
    assert (env / "bin/a").exists()
    assert (env / "bin/b").exists()


@pytest.mark.parametrize("value", ["demo", "demo:", "a b:c", "demo:main; import os", "%s:x", ""])
def test_malformed_entry_points(tmp_path: Path, env: Path, value: str) -> None:
    wheel = a_wheel(tmp_path, entry_points=f"[console_scripts]\nbad = {value}\n")
    with pytest.raises(ArtifactError, match=r"demo-1\.0-py3-none-any\.whl cannot be placed"):
        envs.install(wheel, env)


# --- wheels that are none ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "members", "said"),
    [
        ("no metadata", {"a.py": ""}, None),
        ("version 2", {**META, "x-1.dist-info/WHEEL": "Wheel-Version: 2.0\n"}, "version 2"),
        ("bad scheme", {**PLAIN, "x-1.data/evil/a": ""}, "not contained in a valid"),
        ("no scheme", {**PLAIN, "x-1.data/a": ""}, "not contained in a valid"),
        ("absolute", {**PLAIN, "/etc/a": ""}, "mix absolute"),
        ("latin entry points", {**PLAIN, "x-1.dist-info/entry_points.txt": b"\xff"}, "Unicode"),
        ("latin record", {**PLAIN, "x-1.dist-info/RECORD": b"\xff"}, "Unicode"),
    ],
)
def test_wheels_that_are_none(
    tmp_path: Path, env: Path, name: str, members: dict[str, Any], said: str | None
) -> None:
    wheel = zipped(tmp_path / "x-1-py3-none-any.whl", members)
    if said is None:
        envs.install(wheel, env)  # Nothing of it is asked for that is not there.
        return
    with pytest.raises(ArtifactError, match=said):
        envs.install(wheel, env)


def test_two_metadata_directories(tmp_path: Path, env: Path) -> None:
    members = {**PLAIN, "y-2.dist-info/METADATA": "Name: y\nVersion: 2\n"}
    envs.install(zipped(tmp_path / "x-1-py3-none-any.whl", members), env, info="x-1.dist-info")
    assert (env / envs.SITE / "y-2.dist-info/METADATA").exists()
    assert "y-2.dist-info/METADATA" in rows(env / envs.SITE, "x-1.dist-info")


def test_a_name_that_is_no_wheel_name(tmp_path: Path, env: Path) -> None:
    wheel = zipped(tmp_path / "x-1-py3-none-any.whl", {**PLAIN, "a.py": ""})
    package = envs.package_of(wheel)
    odd = wheel.rename(tmp_path / "0123abcd")
    place.place_package(package, odd, sinks.DirectorySink(env), envs.schemes(env))
    assert (env / envs.SITE / "a.py").exists()


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "no zip"])
def test_damaged_wheels(tmp_path: Path, env: Path, damage: str) -> None:
    wheel = a_wheel(tmp_path)
    package = envs.package_of(wheel)
    content = bytearray(wheel.read_bytes())
    if damage == "flipped":
        content[60:90] = bytes(30)
    bad = {"cut": content[:-40], "flipped": content, "empty": b"", "no zip": b"x" * 99}[damage]
    wheel.write_bytes(bad)
    with pytest.raises(ArtifactError, match="cannot be placed"):
        place.place_package(package, wheel, sinks.DirectorySink(env), envs.schemes(env))


# --- hostile locks -------------------------------------------------------------------------


@pytest.fixture(params=["directory", "tar"])
def sink(request: pytest.FixtureRequest, env: Path) -> Any:
    if request.param == "directory":
        return sinks.DirectorySink(env)
    return sinks.TarSink(io.BytesIO(), str(env))


@pytest.mark.parametrize(
    "member",
    [
        "../../../../outside",
        "x-1.data/data/../../outside",
        "x-1.data/scripts/../outside",
        "x-1.data/headers/../../../../../outside",
        "x-1.data/purelib/../../../../outside",
        "x/../../../../outside",
        "x-1.data/data/..",
        "x-1.data/data/.",
    ],
)
def test_members_that_lead_out(tmp_path: Path, env: Path, sink: Any, member: str) -> None:
    wheel = zipped(tmp_path / "x-1-py3-none-any.whl", {**PLAIN, member: "evil"})
    before = set(files(tmp_path))
    with pytest.raises((LockError, ArtifactError)):
        place.place_package(envs.package_of(wheel), wheel, sink, envs.schemes(env))
    outside = {name for name in files(tmp_path) if not name.startswith("env/")}
    assert outside <= before


@pytest.mark.parametrize(
    "info",
    ["../x-1.dist-info", "/etc-1.dist-info", "x-1.egg-info", "a/b.dist-info", "a\nb.dist-info", ""],
)
def test_metadata_directories_that_lead_out(
    tmp_path: Path, env: Path, sink: Any, info: str
) -> None:
    members = {f"{info}/{name}": "Wheel-Version: 1.0\n" for name in ("WHEEL", "METADATA")}
    data = info.removesuffix(".dist-info") + ".data"
    wheel = zipped(tmp_path / "x-1-py3-none-any.whl", {**members, f"{data}/headers/a": ""})
    package = place_facts(envs.package_of(wheel), info=info)
    with pytest.raises(LockError, match="not the name of a metadata directory"):
        place.place_package(package, wheel, sink, envs.schemes(env))


@pytest.mark.parametrize("name", ["../evil", "/bin/evil", "a/../../evil", ".."])
def test_scripts_that_lead_out(tmp_path: Path, env: Path, sink: Any, name: str) -> None:
    wheel = a_wheel(tmp_path, entry_points=f"[console_scripts]\n{name} = demo:main\n")
    with pytest.raises(LockError, match="leads out of"):
        place.place_package(envs.package_of(wheel), wheel, sink, envs.schemes(env))
    wheel = a_wheel(tmp_path)
    package = envs.package_of(wheel, wrapper_copies={"demo": [name]})
    with pytest.raises(LockError, match="leads out of"):
        place.place_package(package, wheel, sink, envs.schemes(env))


def test_a_link_in_the_place_is_replaced_not_followed(tmp_path: Path, env: Path) -> None:
    """``bin/python`` of a venv is a link to the machine's own interpreter."""
    base = tmp_path / "base-python"
    base.write_text("the interpreter of the machine")
    (env / "bin/python").unlink()
    (env / "bin/python").symlink_to(base)
    envs.install(a_wheel(tmp_path, scripts={"python": "evil"}), env)
    assert base.read_text() == "the interpreter of the machine"
    assert not (env / "bin/python").is_symlink()
    assert (env / "bin/python").read_text() == "evil"


def test_a_directory_that_is_a_link(tmp_path: Path, env: Path) -> None:
    (tmp_path / "outside").mkdir()
    (env / "share").symlink_to(tmp_path / "outside")
    with pytest.raises(LockError, match="outside"):
        envs.install(a_wheel(tmp_path), env)
    assert not list((tmp_path / "outside").iterdir())


def test_lib64_leads_to_lib(tmp_path: Path, env: Path) -> None:
    if not (env / "lib64").is_symlink():
        (env / "lib64").symlink_to("lib")
    path = envs.SITE.replace("lib/", "lib64/", 1) + "/sixty.py"
    envs.install(a_wheel(tmp_path, data={path: "64"}), env)
    assert (env / envs.SITE / "sixty.py").read_text() == "64"
    assert (env / "lib64").is_symlink()


def test_a_file_where_a_directory_is(tmp_path: Path, env: Path) -> None:
    members = {**PLAIN, "a": "", "a/b": ""}
    wheel = zipped(tmp_path / "x-1-py3-none-any.whl", members)
    with pytest.raises((LockError, DiskError)):
        envs.install(wheel, env)


def test_a_full_disk(wheel: Path, env: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sinks, "copy_hashed", full)
    with pytest.raises(DiskError, match="No space left"):
        envs.install(wheel, env)


# --- unowned files -------------------------------------------------------------------------


def loose(path: Path, entries: list[tuple[str, bytes | None, str | None]]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content, link in entries:
            member = tarfile.TarInfo(name)
            if link is not None:
                member.type, member.linkname = tarfile.SYMTYPE, link
            member.size = len(content or b"")
            tar.addfile(member, io.BytesIO(content or b""))
    return path


def site_of(entries: list[tuple[str, bytes | None, str | None]]) -> LooseSite:
    return LooseSite(
        site="/s",
        archive=Artifact(path="x", size=1, hashes={"sha256": "0" * 64}),
        files=[
            LooseEntry(path=name, sha256=None if link else envs.sha256(content or b""), link=link)
            for name, content, link in entries
        ],
    )


def put(tmp_path: Path, sink: Any, env: Path, entries: Any, held: Any = None) -> None:
    archive = loose(tmp_path / "loose.tar.gz", entries if held is None else held)
    loosefiles.place_loose(site_of(entries), archive, sink, envs.schemes(env))


def test_unowned_files_and_links(tmp_path: Path, env: Path) -> None:
    entries = [("a.pth", b"x\n", None), ("d/b", b"b", None), ("l", None, "d/b"), ("e", b"", None)]
    put(tmp_path, sinks.DirectorySink(env), env, entries)
    assert (env / envs.SITE / "l").read_text() == "b"


@pytest.mark.parametrize(
    ("entries", "held"),
    [
        ([("../x", b"x", None)], None),
        ([("/etc/x", b"x", None)], None),
        ([("a/../../x", b"x", None)], None),
        ([("a/./x", b"x", None)], None),
        ([("../x", None, "y")], None),
        ([("l", None, "/etc"), ("l/x", b"x", None)], None),
        ([("l", None, "/etc"), ("l/m/x", None, "y")], None),
        ([("a", b"a", None)], [("a", b"a", None), ("b", b"b", None)]),
        ([("a", b"a", None)], [("a", None, "/etc/passwd")]),
        ([("a", b"a", None)], [("a", b"a", None), ("a", b"a", None)]),
    ],
)
def test_hostile_unowned_files(
    tmp_path: Path, env: Path, sink: Any, entries: Any, held: Any
) -> None:
    with pytest.raises(LockError):
        put(tmp_path, sink, env, entries, held)


def test_a_link_is_never_written_through(tmp_path: Path, env: Path, sink: Any) -> None:
    """One site directory's link must not carry another's file out."""
    (tmp_path / "outside").mkdir()
    put(tmp_path, sink, env, [("l", None, str(tmp_path / "outside"))])
    with pytest.raises(LockError):
        put(tmp_path, sink, env, [("l/evil", b"x", None)])
    assert not list((tmp_path / "outside").iterdir())


def test_a_link_where_a_directory_is(tmp_path: Path, env: Path, sink: Any) -> None:
    put(tmp_path, sink, env, [("d/x", b"x", None)])
    with pytest.raises(LockError, match="in the same place"):
        put(tmp_path, sink, env, [("d", None, "/etc")])


def test_unowned_files_that_are_not_as_locked(tmp_path: Path, env: Path, sink: Any) -> None:
    with pytest.raises(ArtifactError, match=r"expected sha256 .*\n +got sha256"):
        put(tmp_path, sink, env, [("a", b"a", None)], [("a", b"b", None)])
    with pytest.raises(ArtifactError, match="lacks 'b'"):
        put(tmp_path, sink, env, [("a", b"a", None), ("b", b"b", None)], [("a", b"a", None)])


def test_an_archive_that_is_none(tmp_path: Path, env: Path, sink: Any) -> None:
    archive = loose(tmp_path / "x.tar.gz", [("a", os.urandom(5000), None)])
    whole = archive.read_bytes()
    for content in (b"", b"nothing", whole[:-3000], whole[:200]):
        archive.write_bytes(content)
        with pytest.raises(ArtifactError):
            loosefiles.place_loose(site_of([("a", b"a", None)]), archive, sink, envs.schemes(env))


# --- in parallel ---------------------------------------------------------------------------


def many(tmp_path: Path, count: int) -> tuple[list[Package], dict[str, Path]]:
    made = [
        make_wheel(tmp_path / "files", f"p{n}", "1", {f"p{n}.py": f"{n}"}) for n in range(count)
    ]
    packages = [envs.package_of(wheel) for wheel in made]
    return packages, {
        package.artifact.sha256: wheel for package, wheel in zip(packages, made, strict=True)
    }


def homed(packages: list[Package], env: Path) -> list[tuple[Package, Schemes]]:
    return [(package, envs.schemes(env)) for package in packages]


def test_many_at_once(tmp_path: Path, env: Path) -> None:
    packages, wheels = many(tmp_path, 30)
    done: list[int] = []
    sink = sinks.DirectorySink(env)
    place.place_parallel(homed(packages, env), wheels, sink, done.append)
    assert sum(done) == 30
    assert all((env / envs.SITE / f"p{n}.py").read_text() == f"{n}" for n in range(30))


def test_one_that_fails_stops_the_rest(
    tmp_path: Path, env: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(threading.enumerate())
    packages, wheels = many(tmp_path, 40)
    started: list[str] = []
    both = threading.Barrier(2, timeout=20)
    real = place.place_package

    def watched(package: Package, *rest: Any) -> None:
        started.append(package.name)
        if len(started) <= 2:
            both.wait()
        if package.name == started[0]:
            raise ArtifactError("this one is bad")
        threading.Event().wait(0.05)
        real(package, *rest)

    monkeypatch.setattr(place, "place_package", watched)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    sink = sinks.DirectorySink(env)
    with pytest.raises(ArtifactError, match="this one is bad"):
        place.place_parallel(homed(packages, env), wheels, sink, lambda _n: None)
    assert len(started) <= 4
    assert set(threading.enumerate()) <= before


def test_ctrl_c(tmp_path: Path, env: Path) -> None:
    before = set(threading.enumerate())
    packages, wheels = many(tmp_path, 20)

    def interrupt(_count: int) -> None:
        raise KeyboardInterrupt

    sink = sinks.DirectorySink(env)
    with pytest.raises(KeyboardInterrupt):
        place.place_parallel(homed(packages, env), wheels, sink, interrupt)
    assert set(threading.enumerate()) <= before


def test_the_hash_of_a_record_row() -> None:
    digest = hashlib.sha256(b"x")
    entry = place._entry("a", digest.hexdigest(), 1)
    wanted = base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()
    assert entry.to_row() == ("a", f"sha256={wanted}", "1")


def test_another_mode_than_the_wheels(tmp_path: Path) -> None:
    entry = "[console_scripts]\nhello = demo:main\n"
    wheel = make_wheel(tmp_path, "demo", "1.0", {"demo/a.txt": "a\n"}, entry_points=entry)
    env = envs.make_venv(tmp_path / "env")
    edits = [
        Edit(path="scripts/hello", kind="mode"),
        Edit(path="site/demo/a.txt", kind="mode", executable=True),
    ]
    envs.install(wheel, env, edits=edits)
    assert (env / envs.SITE / "demo/a.txt").stat().st_mode & 0o777 == 0o755
    assert (env / "bin/hello").stat().st_mode & 0o111 == 0
    missing = [Edit(path="site/demo/b.txt", kind="mode", executable=True)]
    with pytest.raises(ArtifactError, match=r"site/demo/b\.txt is edited"):
        envs.install(wheel, envs.make_venv(tmp_path / "other"), edits=missing)
