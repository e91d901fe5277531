"""Packing: what comes out is the installed distribution, whole, the same each time."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import parse_wheel_filename

from envfreeze.build import loosefiles, sinks
from envfreeze.errors import ArtifactError
from envfreeze.model.lock import Artifact, LooseSite
from envfreeze.model.snapshot import Dist, Interpreter, LooseFile, Row, Site
from envfreeze.model.survey import as_loose
from envfreeze.resolve import pack
from envfreeze.store import Cache
from tests.support import envs, locks
from tests.support.fakeindex import make_wheel, record_hash

FILES = {
    "demo/__init__.py": "def main():\n    print('hello')\n",
    "demo/sub/nÀme.txt": "é",
    "demo/empty.py": "",
    "demo/__pycache__/x.cpython-311.pyc": "bytecode",
}
SCRIPTS = {
    "run": "#!python\nprint('ran')\n",
    "flags": "#!python -E\nprint(1)\n",
    "sh": "#!/bin/sh\necho sh\n",
    "binary": b"\x7fELF\x00\xff" * 50,
}
ENTRY_POINTS = "[console_scripts]\ndemo = demo:main\n[gui_scripts]\nwindow = demo:main [x]\n"


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def env(tmp_path: Path) -> Path:
    return envs.make_venv(tmp_path / "env")


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return make_wheel(
        tmp_path / "files",
        "Demo.Pkg",
        "1.0",
        FILES,
        scripts=SCRIPTS,
        data={"share/demo.txt": "data", "etc/x/y.cfg": "z"},
        headers={"demo.h": "int a;", "sub/b.h": "int b;"},
        entry_points=ENTRY_POINTS,
    )


def members(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def a_dist(**changes: Any) -> Dist:
    facts: dict[str, Any] = {
        "site": "/s",
        "info": "demo-1.0.dist-info",
        "name": "demo",
        "version": "1.0",
        "rows": [],
    }
    return Dist(**(facts | changes))


def a_row(path: str, content: bytes, scheme: Any = "site", **changes: Any) -> Row:
    known = {"executable": False, "claim": None} | changes
    return Row(scheme, path, envs.sha256(content), len(content), known["executable"], None)


# --- wheels --------------------------------------------------------------------------------


@pytest.mark.parametrize("installer", ["pip", "uv", None])
def test_packed_and_placed_again_it_is_the_same(
    wheel: Path, env: Path, cache: Cache, tmp_path: Path, installer: str | None
) -> None:
    envs.install(wheel, env, installer=installer, requested=True, direct_url='{"url": "x"}')
    first = envs.seen(envs.look(env), "demo-pkg")
    packed = envs.packed(envs.look(env), "demo-pkg", cache)

    again = envs.make_venv(tmp_path / "a 'strange' päth")
    envs.install(packed, again, proof="packed", installer=installer)
    second = envs.seen(envs.look(again), "demo-pkg")
    assert second.tree == first.tree
    assert not second.edited
    assert not second.missing


def test_packed_twice_it_is_the_same_bytes(wheel: Path, env: Path, tmp_path: Path) -> None:
    envs.install(wheel, env)
    snapshot = envs.look(env)
    one, two = (
        envs.packed(snapshot, "demo-pkg", Cache(tmp_path / name / "cache")).read_bytes()
        for name in ("a", "b")
        if not (tmp_path / name).mkdir()  # type: ignore[func-returns-value]
    )
    assert one == two


def test_what_a_packed_wheel_holds(wheel: Path, env: Path, cache: Cache) -> None:
    envs.install(wheel, env, installer="uv", requested=True, direct_url="{}")
    found = members(envs.packed(envs.look(env), "demo-pkg", cache))
    info, data = "Demo_Pkg-1.0.dist-info", "Demo_Pkg-1.0.data"
    assert set(found) == {
        "demo/__init__.py",
        "demo/sub/nÀme.txt",
        "demo/empty.py",
        f"{data}/scripts/run",
        f"{data}/scripts/flags",
        f"{data}/scripts/sh",
        f"{data}/scripts/binary",
        f"{data}/data/share/demo.txt",
        f"{data}/data/etc/x/y.cfg",
        f"{data}/headers/demo.h",
        f"{data}/headers/sub/b.h",
        f"{info}/METADATA",
        f"{info}/WHEEL",
        f"{info}/entry_points.txt",
        f"{info}/RECORD",
    }
    assert found[f"{data}/scripts/run"] == b"#!python\nprint('ran')\n"
    assert found[f"{data}/scripts/flags"] == b"#!python -E\nprint(1)\n"
    assert found[f"{data}/scripts/sh"] == b"#!/bin/sh\necho sh\n"
    assert found[f"{data}/scripts/binary"] == SCRIPTS["binary"]
    record = found[f"{info}/RECORD"].decode().splitlines()
    rows = {row.rsplit(",", 2)[0]: row.rsplit(",", 2)[1] for row in record}
    assert rows == {
        name: "" if name.endswith("RECORD") else record_hash(content)
        for name, content in found.items()
    }


def test_metadata_comes_last(wheel: Path, env: Path, cache: Cache) -> None:
    envs.install(wheel, env)
    packed = envs.packed(envs.look(env), "demo-pkg", cache)
    order = [".dist-info/" in name for name in members(packed)]
    assert order == sorted(order)


def test_installer_pip_and_uv_take_it(wheel: Path, env: Path, cache: Cache, tmp_path: Path) -> None:
    from installer.sources import WheelFile

    envs.install(wheel, env)
    packed = envs.packed(envs.look(env), "demo-pkg", cache)
    with WheelFile.open(packed) as source:
        source.validate_record()
    argv = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet"]
    argv += ["--disable-pip-version-check", "--target", str(tmp_path / "pip"), str(packed)]
    subprocess.run(argv, check=True, capture_output=True)
    assert (tmp_path / "pip/demo/__init__.py").read_text() == FILES["demo/__init__.py"]
    other = envs.make_venv(tmp_path / "uv")
    argv = [sys.executable, "-m", "uv", "--no-config", "pip", "install", "--no-deps"]
    argv += ["--offline", "--no-index", "--quiet", "--no-cache"]
    argv += ["--python", str(other / "bin/python"), str(packed)]
    subprocess.run(argv, check=True, capture_output=True)
    done = subprocess.run([other / "bin/run"], check=True, capture_output=True, text=True)
    assert done.stdout == "ran\n"
    assert (
        envs.seen(envs.look(other), "demo-pkg").tree == envs.seen(envs.look(env), "demo-pkg").tree
    )


def test_a_distribution_that_lost_its_wheel_file(
    wheel: Path, env: Path, cache: Cache, tmp_path: Path
) -> None:
    envs.install(wheel, env)
    (env / envs.SITE / "Demo_Pkg-1.0.dist-info/WHEEL").unlink()
    first = envs.seen(envs.look(env), "demo-pkg")
    packed = envs.packed(envs.look(env), "demo-pkg", cache)
    assert pack.is_made_up(members(packed)["Demo_Pkg-1.0.dist-info/WHEEL"])
    again = envs.make_venv(tmp_path / "again")
    envs.install(packed, again, proof="packed")
    assert not (again / envs.SITE / "Demo_Pkg-1.0.dist-info/WHEEL").exists()
    assert envs.seen(envs.look(again), "demo-pkg").tree == first.tree


def test_missing_and_edited_files_stay_missing_and_edited(
    wheel: Path, env: Path, cache: Cache, tmp_path: Path
) -> None:
    envs.install(wheel, env)
    (env / envs.SITE / "demo/empty.py").unlink()
    (env / envs.SITE / "demo/__init__.py").write_text("edited = True\n")
    first = envs.seen(envs.look(env), "demo-pkg")
    packed = envs.packed(envs.look(env), "demo-pkg", cache)
    again = envs.make_venv(tmp_path / "again")
    envs.install(packed, again, proof="packed")
    assert (again / envs.SITE / "demo/__init__.py").read_text() == "edited = True\n"
    assert not (again / envs.SITE / "demo/empty.py").exists()
    assert envs.seen(envs.look(again), "demo-pkg").tree == first.tree


def test_what_another_overwrote_is_named_and_not_held(
    env: Path, cache: Cache, tmp_path: Path
) -> None:
    loser = make_wheel(tmp_path / "w", "loser", "1.0", {"shared.py": "mine", "own.py": "1"})
    winner = make_wheel(tmp_path / "w", "winner", "1.0", {"shared.py": "theirs"})
    envs.install(loser, env)
    envs.install(winner, env)
    snapshot = envs.look(env)
    first = envs.seen(snapshot, "loser")
    assert first.yields == ("site/shared.py",)
    packed = envs.packed(snapshot, "loser", cache)
    assert "shared.py" not in members(packed)
    again = envs.make_venv(tmp_path / "again")
    envs.install(winner, again)
    envs.install(packed, again, proof="packed", yields=["site/shared.py"])
    assert (again / envs.SITE / "shared.py").read_text() == "theirs"
    second = envs.look(again)
    assert envs.seen(second, "loser").tree == first.tree
    assert envs.seen(second, "winner").tree == envs.seen(snapshot, "winner").tree


def test_a_file_that_changed_meanwhile(wheel: Path, env: Path, cache: Cache) -> None:
    envs.install(wheel, env)
    snapshot = envs.look(env)
    (env / envs.SITE / "demo/__init__.py").write_text("other")
    with pytest.raises(ArtifactError, match=r"__init__\.py changed while it was being captured"):
        envs.packed(snapshot, "demo-pkg", cache)
    (env / envs.SITE / "demo/__init__.py").unlink()
    with pytest.raises(ArtifactError, match=r"cannot read .*__init__\.py: No such file"):
        envs.packed(snapshot, "demo-pkg", cache)
    assert not list(cache.root.rglob(".new.*"))


def test_big_files_are_streamed(tmp_path: Path, cache: Cache) -> None:
    size = 24 << 20
    (tmp_path / "site").mkdir()
    (tmp_path / "bin").mkdir()
    for name in ("site/big.so", "bin/big"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    digest = envs.sha256(bytes(size))
    rows = [
        Row("site", "big.so", digest, size, False, None),
        Row("scripts", "big", digest, size, True, None),
    ]
    place = pack.Layout(
        site=tmp_path / "site", prefix=tmp_path, headers=None, interpreters=frozenset({"/x"})
    )
    tracemalloc.start()
    pack.pack_wheel(a_dist(rows=rows), place, cache)
    site = Site(
        path=str(tmp_path / "site"),
        kind="site",
        loose=[LooseFile("big.so", digest, size, False, None)],
    )
    pack.pack_loose(site, place, cache)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size / 2


@pytest.mark.parametrize("path", ["../x", "/etc/hostname", "a/../../x"])
def test_a_path_outside_is_not_read(tmp_path: Path, cache: Cache, path: str) -> None:
    place = pack.Layout(site=tmp_path, prefix=tmp_path, headers=None, interpreters=frozenset())
    with pytest.raises(ArtifactError, match="has no place on this machine"):
        pack.pack_wheel(a_dist(rows=[a_row(path, b"")]), place, cache)


def test_a_scheme_without_a_directory(tmp_path: Path, cache: Cache) -> None:
    place = pack.Layout(site=tmp_path, prefix=None, headers=None, interpreters=frozenset())
    for scheme in ("scripts", "data", "headers"):
        with pytest.raises(ArtifactError, match="has no place"):
            pack.pack_wheel(a_dist(rows=[a_row("x", b"", scheme)]), place, cache)


def test_only_dist_info_makes_a_wheel(tmp_path: Path, cache: Cache) -> None:
    place = pack.Layout(site=tmp_path, prefix=None, headers=None, interpreters=frozenset())
    with pytest.raises(ArtifactError, match="not the metadata directory of a wheel"):
        pack.pack_wheel(a_dist(info="demo.egg-info"), place, cache)


def test_a_place_named_twice_is_packed_once(tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "a.py").write_bytes(b"a")
    place = pack.Layout(site=tmp_path, prefix=None, headers=None, interpreters=frozenset())
    sha256, _ = pack.pack_wheel(a_dist(rows=[a_row("a.py", b"a")] * 2), place, cache)
    blob = cache.find(sha256)
    assert blob is not None
    assert list(members(blob)).count("a.py") == 1


FACTS = locks.interpreter(abiflags="d", platform="linux-x86_64")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "demo-1.0-py3-none-any.whl"),
        ({"name": "Foo.-Bar"}, "foo_bar-1.0-py3-none-any.whl"),
        ({"version": "1.0-1"}, "demo-1.0.post1-py3-none-any.whl"),
        ({"version": "1!2.0+abc-1"}, "demo-1!2.0+abc.1-py3-none-any.whl"),
        ({"version": "2004d"}, "demo-0+2004d-py3-none-any.whl"),
        ({"version": "1.0-dev-7/../x"}, "demo-0+1.0.dev.7.x-py3-none-any.whl"),
        ({"version": "???"}, "demo-0+unknown-py3-none-any.whl"),
        ({"build": "7abc"}, "demo-1.0-7abc-py3-none-any.whl"),
        ({"build": "x"}, "demo-1.0-py3-none-any.whl"),
        ({"build": "1-2/.."}, "demo-1.0-py3-none-any.whl"),
        (
            {"tags": ["py2-none-any", "py3-none-any"]},
            "demo-1.0-py2.py3-none-any.whl",
        ),
        (
            {"tags": ["cp311-cp311-manylinux_2_17_x86_64", "cp311-cp311-manylinux2014_x86_64"]},
            "demo-1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        ),
        ({"tags": ["../x", "a-b", "py3-none-any"]}, "demo-1.0-py3-none-any.whl"),
        ({"rows": [a_row("x.so", b"")]}, "demo-1.0-cp311-cp311d-linux_x86_64.whl"),
    ],
)
def test_the_file_name(changes: dict[str, Any], name: str) -> None:
    found = pack.wheel_name(a_dist(**changes), FACTS)
    assert found == name
    parse_wheel_filename(found)


# --- unowned files -------------------------------------------------------------------------


def loose_site(root: Path) -> Site:
    (root / "d").mkdir(parents=True)
    (root / "d/x.txt").write_bytes(b"text")
    (root / "tool").write_bytes(b"#!/bin/sh\n")
    (root / "tool").chmod(0o755)
    (root / "link").symlink_to("d/x.txt")
    entries = [
        LooseFile("tool", envs.sha256(b"#!/bin/sh\n"), 10, True, None),
        LooseFile("link", None, 0, False, "d/x.txt"),
        LooseFile("d/x.txt", envs.sha256(b"text"), 4, False, None),
        LooseFile("secret", None, 5, False, None),
    ]
    return Site(path=str(root), kind="site", loose=entries)


def here(site: Site) -> pack.Layout:
    return pack.Layout(
        site=Path(site.path), prefix=None, headers=None, interpreters=frozenset({"/x/bin"})
    )


def blob(cache: Cache, packed: tuple[str, int]) -> Path:
    found = cache.find(*packed)
    assert found is not None
    return found


def test_unowned_files(tmp_path: Path, cache: Cache) -> None:
    site = loose_site(tmp_path / "site")
    path = blob(cache, pack.pack_loose(site, here(site), cache))
    with tarfile.open(path) as tar:
        found = [(m.name, m.isfile(), m.mode, m.linkname, m.mtime, m.uid) for m in tar]
        text = tar.extractfile("d/x.txt")
        assert text is not None
        assert text.read() == b"text"
    assert found == [
        ("d/x.txt", True, 0o644, "", 0, 0),
        ("link", False, 0o644, "d/x.txt", 0, 0),
        ("tool", True, 0o755, "", 0, 0),
    ]


def test_unowned_files_twice(tmp_path: Path, cache: Cache) -> None:
    site = loose_site(tmp_path / "site")
    first = pack.pack_loose(site, here(site), cache)
    os.utime(tmp_path / "site/tool", (5, 5))
    turned = Site(path=site.path, kind="site", loose=site.loose[::-1])
    assert pack.pack_loose(turned, here(turned), cache) == first
    assert gzip.decompress(blob(cache, first).read_bytes())[:7] == b"d/x.txt"


def test_an_unowned_script_is_kept_without_its_interpreter(tmp_path: Path, cache: Cache) -> None:
    """It comes back naming the interpreter of wherever it comes back to."""
    scripts = tmp_path / "bin"
    scripts.mkdir()
    (scripts / "tool").write_text("#!/x/bin/python3 -E\nprint(1)\n")
    digest = envs.sha256(b"#!python -E\nprint(1)\n")
    entry = LooseFile("tool", digest, 30, True, None)
    site = Site(path=str(scripts), kind="scripts", loose=[entry])
    path = blob(cache, pack.pack_loose(site, here(site), cache))
    into = envs.make_venv(tmp_path / "venv")
    loosefiles.place_loose(as_loose(site), path, sinks.DirectorySink(into), envs.schemes(into))
    assert (into / "bin/tool").read_text() == f"#!{into}/bin/python -E\nprint(1)\n"
    assert os.access(into / "bin/tool", os.X_OK)


def test_unowned_files_come_back(tmp_path: Path, cache: Cache) -> None:
    site = loose_site(tmp_path / "site")
    path = blob(cache, pack.pack_loose(site, here(site), cache))
    artifact = Artifact(path="x", size=1, hashes={})
    named = LooseSite(site=site.path, archive=artifact, files=as_loose(site).files)
    into = tmp_path / "into"
    loosefiles.place_loose(
        named, path, sinks.DirectorySink(into), replace(envs.schemes(into), site=str(into))
    )
    assert (into / "link").read_text() == "text"
    assert (into / "link").readlink() == Path("d/x.txt")
    assert os.access(into / "tool", os.X_OK)
    assert not os.access(into / "d/x.txt", os.X_OK)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"TEXT", "changed while"),
        (b"t", "cannot read .*unexpected end of data"),
        (None, "cannot read .*No such file"),
    ],
)
def test_an_unowned_file_that_changed(
    tmp_path: Path, cache: Cache, content: bytes | None, said: str
) -> None:
    site = loose_site(tmp_path / "site")
    if content is None:
        (tmp_path / "site/d/x.txt").unlink()
    else:
        (tmp_path / "site/d/x.txt").write_bytes(content)
    with pytest.raises(ArtifactError, match=said):
        pack.pack_loose(site, here(site), cache)
    assert not list(cache.root.rglob(".new.*"))


# --- the layout ----------------------------------------------------------------------------


def facts(**changes: Any) -> Interpreter:
    return locks.interpreter(**changes)


@pytest.mark.parametrize(
    ("changes", "prefix", "headers"),
    [
        ({}, "/home/u/env", "/home/u/env/include/site/python3.11"),
        ({}, "/usr", "/usr/include/python3.11"),
        ({"venv": False, "abiflags": "t"}, "/home/u/env", "/home/u/env/include/python3.11t"),
        ({}, None, "None"),
    ],
)
def test_headers_lie_where_installers_put_them(
    changes: dict[str, Any], prefix: str | None, headers: str
) -> None:
    site = Site(path="/home/u/env/lib/python3.11/site-packages", kind="site", prefix=prefix)
    assert str(pack.layout(site, facts(**changes)).headers) == headers


def test_the_headers_of_a_name_spelt_otherwise(tmp_path: Path) -> None:
    (tmp_path / "Foo.Bar").mkdir()
    (tmp_path / "Foo.Bar/x.h").touch()
    place = pack.Layout(site=tmp_path, prefix=tmp_path, headers=tmp_path, interpreters=frozenset())
    row = a_row("x.h", b"", "headers")
    assert place.full(row, "foo-bar") == f"{tmp_path}/Foo.Bar/x.h"
    assert place.full(row, "other") == f"{tmp_path}/other/x.h"


def test_a_stream_that_cannot_seek_is_a_whole_zip(cache: Cache) -> None:
    with cache.writing() as blob, zipfile.ZipFile(pack.Seekless(blob), "w") as archive:
        archive.writestr("x", b"y")
    found = cache.find(blob.sha256)
    assert found is not None
    with zipfile.ZipFile(io.BytesIO(found.read_bytes())) as archive:
        assert archive.read("x") == b"y"
