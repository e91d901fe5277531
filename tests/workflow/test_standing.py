"""``diff --files`` of what pip did not bring: the interpreter, conda's packages, the system's."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pytest

from envfreeze.diff.compare import Change, Difference
from envfreeze.diff.deep import FileDifference
from envfreeze.model.lock import InterpreterLayer
from envfreeze.model.snapshot import CondaPrefix, CondaRecord, Snapshot
from envfreeze.resolve.rootfs import Root
from envfreeze.workflow import deepening, unpacking
from envfreeze.workflow.deepening import Holder, Live, Locked
from tests.support import condas, envs, locks
from tests.support.channel import PLACEHOLDER, Channel, Recipe
from tests.support.dpkgroot import DpkgRoot, Pkg, deb_bytes
from tests.support.fakeindex import make_wheel
from tests.workflow.test_deepening import beside, held, paths, tar

PREFIX = "/opt/lab"


def deepen(before: Holder, after: Holder, *changes: Change) -> list[FileDifference]:
    return deepening.deepen(Difference(before="a", after="b", changes=[*changes]), before, after)


def other(layer: Any, name: str) -> Change:
    return Change(layer=layer, kind="changed", name=name, before="1", after="2")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    return envs.look(envs.make_venv(tmp_path_factory.mktemp("seen") / "venv"))


def live(seen: Snapshot, root: Path, **facts: Any) -> Live:
    """An environment in *root*: nothing of it but what *facts* say."""
    return Live(msgspec.structs.replace(seen, **facts), Root(root))


# --- the interpreter -----------------------------------------------------------------------


def python(tmp_path: Path, version: str, files: dict[str, bytes | str]) -> Locked:
    minor = version.rpartition(".")[0]
    whole = {f"opt/py/{path.format(minor)}": data for path, data in files.items()}
    archive = beside(tmp_path, "interpreter.tar.gz", tar(whole))
    facts = locks.interpreter(version=version, stdlib=f"/opt/py/lib/python{minor}")
    layer = InterpreterLayer(facts=facts, origin="packed", archive=archive)
    return held(tmp_path, interpreter=layer)


STDLIB = {"lib/python{}/os.py": b"x = 1\n", "bin/python{}": b"same", "bin/python": "python3"}


def test_the_files_of_two_interpreters_of_other_versions(tmp_path: Path) -> None:
    one = python(tmp_path, "3.11.7", STDLIB | {"lib/python{}/json.py": b"same\n"})
    two = python(tmp_path, "3.12.1", STDLIB | {"lib/python{}/os.py": b"x = 2\n"})
    changes = [other("interpreter", name) for name in ("soabi", "version")]
    found = deepen(one, two, *changes)
    assert paths(found) == ["lib/pythonX.Y/json.py", "lib/pythonX.Y/os.py"]
    assert {(file.layer, file.name) for file in found} == {("interpreter", "Python")}
    assert "-x = 1\n+x = 2\n" in found[1].diff


def test_a_packed_interpreter_against_one_that_stands_here(tmp_path: Path, seen: Snapshot) -> None:
    place = tmp_path / "root/opt/other"
    (place / "lib/python3.11").mkdir(parents=True)
    (place / "bin").mkdir()
    (place / "lib/python3.11/os.py").write_text("x = 2\n")
    (place / "bin/python3.11").write_bytes(b"same")
    (place / "bin/python").symlink_to("python3")
    facts = locks.interpreter(
        base_prefix="/opt/other",
        base_executable="/opt/other/bin/python3.11",
        stdlib="/opt/other/lib/python3.11",
    )
    here = live(seen, tmp_path / "root", interpreter=facts)
    found = deepen(python(tmp_path, "3.11.7", STDLIB), here, other("interpreter", "version"))
    assert [(file.path, file.problem) for file in found if file.kind == "text"] == [
        ("lib/pythonX.Y/os.py", None)
    ]


@pytest.mark.parametrize(
    ("origin", "said"),
    [
        ("system", "the system's packages bring it"),
        ("conda", "a conda package brings it"),
        ("base", "the base image has it"),
        ("unpacked", "--no-pack"),
    ],
)
def test_where_an_interpreter_is_instead(tmp_path: Path, origin: Any, said: str) -> None:
    layer = InterpreterLayer(facts=locks.interpreter(), origin=origin)
    side = held(tmp_path, interpreter=layer)
    [found] = deepen(side, python(tmp_path, "3.11.7", STDLIB), other("interpreter", "version"))
    assert found.kind == "unread"
    assert found.problem and said in found.problem


def test_what_was_copied_out_of_an_image_is_read_there_and_nowhere_else(tmp_path: Path) -> None:
    venv = envs.make_venv(tmp_path / "venv")
    for name in ("one", "two"):
        wheel = make_wheel(tmp_path, name, "1.0", {f"{name}.py": "x = 1\n"})
        envs.install(wheel, venv)
    snapshot = envs.look(venv)
    root = tmp_path / "root"
    copy = root / str(venv).lstrip("/")
    shutil.copytree(venv, copy, symlinks=True)
    secret = tmp_path / "secret"
    secret.write_text("x = 1\n")
    (copy / envs.SITE / "two.py").unlink()
    (copy / envs.SITE / "two.py").symlink_to(secret)
    shutil.rmtree(venv)
    side = Live(snapshot, Root(root))
    listed = {name: side.listing(other("packages", name)) for name in ("one", "two")}
    assert listed["one"]["site/one.py"].read().data == b"x = 1\n"
    assert listed["two"]["site/two.py"].read().data is None


# --- conda's packages ----------------------------------------------------------------------


def conda_side(tmp_path: Path, recipe: Recipe) -> Locked:
    path = Channel(tmp_path / f"channel-{recipe.version}").add(recipe)
    artifact = beside(tmp_path, path.name, path.read_bytes())
    package = condas.package("lib", version=recipe.version, fn=path.name, artifact=artifact)
    return held(tmp_path, conda=condas.layer(package))


def recipe(version: str, kind: str, files: dict[str, bytes], **more: Any) -> Recipe:
    facts: dict[str, Any] = {"name": "lib", "version": version, "build": "h0_0", "files": files}
    return Recipe(**(facts | {"kind": kind} | more))


@pytest.mark.parametrize(("one", "two"), [("conda", "conda"), ("tar.bz2", "conda")])
def test_the_files_of_two_conda_packages(tmp_path: Path, one: str, two: str) -> None:
    pytest.importorskip("zstandard")
    text = f"{PLACEHOLDER}/bin/x\n".encode()
    before = {"etc/x": text + b"1\n", "lib/same": b"\0", "etc/rc": text, "site-packages/m.py": b""}
    after = {
        "etc/x": text + b"2\n",
        "lib/same": b"\0",
        "etc/rc": text,
        "lib/python3.12/site-packages/m.py": b"",
        "lib/python3.12/site-packages/__pycache__/m.cpython-312.pyc": b"\0",
    }
    sides = (
        conda_side(tmp_path, recipe("1.0", one, before, links={"lib/l": "a"})),
        conda_side(tmp_path, recipe("2.0", two, after, links={"lib/l": "b"})),
    )
    found = deepen(*sides, other("conda", "lib"))
    assert paths(found) == ["etc/x", "lib/l"]
    assert " $PREFIX/bin/x\n-1\n+2\n" in found[0].diff


def test_a_conda_package_against_a_prefix(tmp_path: Path, seen: Snapshot) -> None:
    pytest.importorskip("zstandard")
    text = f"{PLACEHOLDER}/bin/x\n".encode()
    made = recipe("1.0", "conda", {"etc/x": text, "lib/a": b"\0\1", "lib/b": b"\0b"})
    packed = conda_side(tmp_path, made)
    there = tmp_path / "root/opt/lab"
    files = {"etc/x": text.replace(PLACEHOLDER.encode(), PREFIX.encode()), "lib/a": b"\0\1"}
    files["lib/b"] = b"\0other"
    for path, data in files.items():
        (there / path).parent.mkdir(parents=True, exist_ok=True)
        (there / path).write_bytes(data)
    entries = json.loads(_paths(made))["paths"]
    document = {"paths_data": {"paths": entries}, "files": [one["_path"] for one in entries]}
    (there / "conda-meta").mkdir()
    (there / "conda-meta/lib-1.0-h0_0.json").write_text(json.dumps(document))
    record = CondaRecord(
        file="lib-1.0-h0_0.json",
        name="lib",
        version="1.0",
        build="h0_0",
        count=3,
        tree="",
        odd=[("lib/b", "changed")],
    )
    prefix = CondaPrefix(prefix=PREFIX, records=[record])
    here = live(seen, tmp_path / "root", conda=prefix)
    found = deepen(packed, here, other("conda", "lib"))
    assert [(file.path, file.size_before, file.size_after) for file in found] == [("lib/b", 2, 6)]


def _paths(made: Recipe) -> bytes:
    from tests.support.channel import _members

    return _members(made)["info/paths.json"]


def test_a_conda_package_that_is_not_kept(tmp_path: Path) -> None:
    lost = condas.package("lib", proof="unproved", artifact=None)
    side = held(tmp_path, conda=condas.layer(lost))
    [found] = deepen(side, side, other("conda", "lib"))
    assert found.problem == "lib is not kept by the lock: no bytes of it are here"


# --- the system's packages -----------------------------------------------------------------


def system_side(tmp_path: Path, package: Pkg) -> Locked:
    artifact = beside(tmp_path, f"{package.name}.deb", deb_bytes(package))
    deb = locks.deb(package.name, package.version, artifact=artifact)
    return held(tmp_path, system=[deb])


def test_the_files_of_two_system_packages(tmp_path: Path) -> None:
    one = system_side(tmp_path, Pkg(name="a", files={"/usr/lib/a": b"1\n", "/etc/same": b"x"}))
    two = system_side(tmp_path, Pkg(name="a", files={"/usr/lib/a": b"2\n", "/etc/same": b"x"}))
    [found] = deepen(one, two, other("system", "a:amd64"))
    assert (found.path, found.kind) == ("usr/lib/a", "text")
    assert "-1\n+2\n" in found.diff


def test_a_system_package_against_the_one_that_is_installed(tmp_path: Path, seen: Snapshot) -> None:
    there = DpkgRoot(tmp_path / "root")
    there.install(Pkg(name="a", version="2", files={"/usr/lib/a": b"2\n", "/usr/lib/b": b"b"}))
    lock = system_side(tmp_path, Pkg(name="a", files={"/usr/lib/a": b"1\n"}))
    found = deepen(lock, live(seen, there.path), other("system", "a:amd64"))
    assert [(file.path, file.size_before, file.size_after) for file in found] == [
        ("usr/lib/a", 2, 2),
        ("usr/lib/b", None, 1),
    ]


def test_a_system_package_that_nobody_has(tmp_path: Path, seen: Snapshot) -> None:
    lock = system_side(tmp_path, Pkg(name="a", files={"/usr/lib/a": b"1\n"}))
    [found] = deepen(lock, live(seen, tmp_path / "nothing"), other("system", "a:amd64"))
    assert found.problem == "dpkg has no list of the files of a:amd64 any more"
    [found] = deepen(held(tmp_path), lock, other("system", "a:amd64"))
    assert found.problem == "a:amd64 is not kept by the lock: the base image has it"


# --- archives of an enemy ------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["conda", "tar.bz2"])
@pytest.mark.parametrize("data", [b"", b"nonsense" * 99, b"PK\5\6" + b"\0" * 18])
def test_what_is_no_conda_package(tmp_path: Path, kind: str, data: bytes) -> None:
    path = f"lib-1.0-h0_0.{kind}"
    artifact = beside(tmp_path, path, data)
    side = held(tmp_path, conda=condas.layer(condas.package("lib", fn=path, artifact=artifact)))
    [found] = deepen(side, side, other("conda", "lib"))
    assert found.problem and "cannot be read" in found.problem


def test_a_part_that_is_damaged(tmp_path: Path) -> None:
    pytest.importorskip("zstandard")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("pkg-lib.tar.zst", b"\x28\xb5\x2f\xfd" + b"\xff" * 50)
    artifact = beside(tmp_path, "lib-1.0-h0_0.conda", out.getvalue())
    side = held(tmp_path, conda=condas.layer(condas.package("lib", artifact=artifact)))
    [found] = deepen(side, side, other("conda", "lib"))
    assert found.problem and "is damaged" in found.problem


def test_an_archive_is_not_unpacked_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "WHOLE", 1000)
    side = python(tmp_path, "3.11.7", STDLIB | {"lib/python{}/big": b"\0" * 2000})
    [found] = deepen(side, side, other("interpreter", "version"))
    assert found.problem and "more than anybody packs" in found.problem


def test_of_a_large_archive_not_all_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "KEPT", 20)
    one = python(tmp_path, "3.11.7", {"lib/python{}/os.py": b"x" * 100})
    two = python(tmp_path, "3.11.8", {"lib/python{}/os.py": b"y" * 100})
    [found] = deepen(one, two, other("interpreter", "version"))
    assert found.kind == "unread"
    assert (found.size_before, found.size_after) == (100, 100)


def test_a_hard_link_is_what_it_leads_to(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        first = tarfile.TarInfo("a")
        first.size = 2
        archive.addfile(first, io.BytesIO(b"1\n"))
        for name, target in (("b", "a"), ("c", "nowhere")):
            again = tarfile.TarInfo(name)
            again.type, again.linkname = tarfile.LNKTYPE, target
            archive.addfile(again)
    path = tmp_path / "x.tar.gz"
    path.write_bytes(out.getvalue())
    listed = unpacking.archive(path).listing()
    assert sorted(listed) == ["a", "b"]
    assert listed["a"].word == listed["b"].word
