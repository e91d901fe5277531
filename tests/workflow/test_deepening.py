"""``diff --files``: where the bytes come from, and what is said when they are not here."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pytest

from envfreeze.diff.compare import Change, Difference
from envfreeze.diff.deep import FileDifference
from envfreeze.model.artifact import Artifact, LooseEntry
from envfreeze.model.lock import Edit, Lock, LooseSite, Package, SourceTree
from envfreeze.resolve import patches, trees
from envfreeze.store import Cache
from envfreeze.workflow import deepening
from envfreeze.workflow.deepening import Holder, Live, Locked
from tests.support import envs
from tests.support.elfmaker import Elf, elf_bytes
from tests.support.fakeindex import make_wheel
from tests.support.locks import lock

OLD, NEW = "a = 1\nb = 2\n", "a = 1\nb = 3\n"


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def beside(place: Path, name: str, data: bytes) -> Artifact:
    """Bytes in the store beside ``env.lock`` of *place*."""
    path = place / f"env.lock.d/{sha(data)}/{name}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    relative = path.relative_to(place).as_posix()
    return Artifact(path=relative, size=len(data), hashes={"sha256": sha(data)})


def packed(place: Path, wheel: Path, **facts: Any) -> Package:
    package = envs.package_of(wheel, proof="packed", **facts)
    return msgspec.structs.replace(
        package, wheels=[], archive=beside(place, wheel.name, wheel.read_bytes())
    )


def held(place: Path, *packages: Package, **machine: Any) -> Locked:
    made: Lock = msgspec.structs.replace(lock(**machine), packages=list(packages))
    return Locked(made, place / "env.lock", Cache(place / "cache"))


def deepen(before: Holder, after: Holder, change: Change) -> list[FileDifference]:
    return deepening.deepen(Difference(before="a", after="b", changes=[change]), before, after)


def changed(name: str = "alpha", **more: Any) -> Change:
    return Change(**({"layer": "packages", "kind": "changed", "name": name} | more))


def tar(files: dict[str, bytes | str]) -> bytes:
    """A tar.gz: text is a link to there."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            if isinstance(data, str):
                member.type, member.linkname = tarfile.SYMTYPE, data
                archive.addfile(member)
            else:
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def paths(found: list[FileDifference]) -> list[str]:
    return [file.path for file in found]


def test_two_wheels_are_compared_member_by_member(tmp_path: Path) -> None:
    files = {"alpha/same.py": "s = 1\n", "alpha/x.so": elf_bytes(Elf(soname="x.1"))}
    one = make_wheel(tmp_path, "alpha", "1.0", {**files, "alpha/m.py": OLD})
    files["alpha/x.so"] = elf_bytes(Elf(soname="x.2"))
    two = make_wheel(tmp_path, "alpha", "1.1", {**files, "alpha/m.py": NEW, "alpha/n.py": ""})
    found = deepen(
        held(tmp_path, packed(tmp_path, one)), held(tmp_path, packed(tmp_path, two)), changed()
    )
    assert paths(found) == [
        "site/alpha.dist-info/METADATA",  # In one place, whatever the version is.
        "site/alpha/m.py",
        "site/alpha/n.py",
        "site/alpha/x.so",
    ]
    assert "-b = 2\n+b = 3\n" in found[1].diff
    assert found[3].library is not None
    assert found[3].library.soname_after == "x.2"


def test_equal_digests_are_never_opened(tmp_path: Path) -> None:
    wheel = packed(tmp_path, make_wheel(tmp_path, "alpha", "1.0", {"alpha.py": OLD}))

    class Closed:
        def listing(self, change: Change) -> deepening.Listing:
            real = held(tmp_path, wheel).listing(change)
            return {path: deepening.Entry(e.word, self.read) for path, e in real.items()}

        def read(self) -> Any:
            raise AssertionError("it was opened")

    assert deepen(Closed(), Closed(), changed()) == []


def test_a_live_environment_is_read_from_its_disk(tmp_path: Path) -> None:
    scripts = {"tool": "#!python\nprint(1)\n"}
    wheel = make_wheel(tmp_path, "alpha", "1.0", {"alpha.py": OLD}, scripts=scripts)
    venv = envs.make_venv(tmp_path / "venv")
    envs.install(wheel, venv)
    (venv / envs.SITE / "alpha.py").write_text(NEW)
    found = deepen(held(tmp_path, packed(tmp_path, wheel)), Live(envs.look(venv)), changed())
    assert paths(found) == ["site/alpha.py"]  # The script names this venv, and is the same.
    assert "-b = 2\n+b = 3\n" in found[0].diff


def test_a_file_that_changes_meanwhile_is_not_taken_for_what_was_seen(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "alpha", "1.0", {"alpha.py": OLD})
    venv = envs.make_venv(tmp_path / "venv")
    envs.install(wheel, venv)
    (venv / envs.SITE / "alpha.py").write_text(NEW)
    live = Live(envs.look(venv))
    (venv / envs.SITE / "alpha.py").write_text("secret = 1\n")
    (found,) = deepen(held(tmp_path, packed(tmp_path, wheel)), live, changed())
    assert found.kind == "unread"
    assert "no longer what was looked at" in str(found.problem)


def test_a_link_out_of_the_environment_is_not_read(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "alpha", "1.0", {"alpha.py": OLD})
    venv = envs.make_venv(tmp_path / "venv")
    envs.install(wheel, venv)
    module = venv / envs.SITE / "alpha.py"
    module.write_text(NEW)
    live = Live(envs.look(venv))
    (tmp_path / "outside").write_text(NEW)
    module.unlink()
    module.symlink_to(tmp_path / "outside")
    (found,) = deepen(held(tmp_path, packed(tmp_path, wheel)), live, changed())
    assert "leads out of the environment" in str(found.problem)
    assert not found.diff


def test_edits_of_a_lock_lie_over_its_wheel(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "alpha", "1.0", {"alpha.py": OLD, "gone.py": "", "whole.bin": "x"})
    patch = io.BytesIO()
    with zipfile.ZipFile(patch, "w") as archive:
        archive.writestr("patch", patches.diff("site/alpha.py", OLD.encode(), NEW.encode()))
        archive.writestr(f"files/{sha(b'other')}", b"other")
    edits = [
        Edit(path="site/alpha.py", kind="text", before=sha(OLD.encode()), after=sha(NEW.encode())),
        Edit(path="site/gone.py", kind="deleted"),
        Edit(path="site/whole.bin", kind="file", before=sha(b"x"), after=sha(b"other")),
    ]
    kept = beside(tmp_path, "edits.zip", patch.getvalue())
    edited = packed(tmp_path, wheel, edits=edits, patch=kept)
    found = deepen(
        held(tmp_path, packed(tmp_path, wheel)), held(tmp_path, edited), changed(kind="content")
    )
    assert paths(found) == ["site/alpha.py", "site/gone.py", "site/whole.bin"]
    assert "-b = 2\n+b = 3\n" in found[0].diff
    assert found[1].sha256_after is None
    assert "+other\n" in found[2].diff


def test_a_wheel_that_is_not_here_is_not_fetched(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "alpha", "1.0", {"alpha.py": OLD})
    proved = envs.package_of(wheel)
    there = held(tmp_path, proved)
    (found,) = deepen(there, held(tmp_path, proved), changed())
    assert (found.path, found.kind) == ("", "unread")
    assert "alpha-1.0-py3-none-any.whl is not in the cache" in str(found.problem)
    there.cache.add(wheel)
    assert deepen(there, there, changed()) == []


def test_files_of_a_wheel_that_was_seen_here_are_named_without_its_bytes(tmp_path: Path) -> None:
    files = {"alpha.py": OLD, "same.py": "s = 1\n"}
    wheel = make_wheel(tmp_path, "alpha", "1.0", files, scripts={"tool": "#!python\n"})
    venv = envs.make_venv(tmp_path / "venv")
    envs.install(wheel, venv)
    cache = Cache(tmp_path / "cache")
    item = envs.seen(envs.look(venv), "alpha")
    trees.remember([item], cache)
    (venv / envs.SITE / "alpha.py").write_text(NEW)
    there = held(tmp_path, envs.package_of(wheel, tree=item.tree))
    (found,) = deepen(there, Live(envs.look(venv)), changed(kind="content"))
    assert (found.path, found.kind) == ("site/alpha.py", "unread")
    assert (found.sha256_before, found.size_after) == (sha(OLD.encode()), len(NEW))
    assert str(found.problem).startswith("bytes not here: alpha-1.0-py3-none-any.whl")


@pytest.mark.parametrize("damage", [b"no zip", None])
def test_a_store_that_is_not_what_the_lock_names_is_said(
    tmp_path: Path, damage: bytes | None
) -> None:
    package = packed(tmp_path, make_wheel(tmp_path, "alpha", "1.0", {"alpha.py": OLD}))
    path = tmp_path / str(package.artifact.path)
    path.unlink() if damage is None else path.write_bytes(damage)
    (found,) = deepen(held(tmp_path, package), held(tmp_path, package), changed())
    assert str(found.problem).startswith("bytes not here: ")


def test_unowned_files_and_links(tmp_path: Path) -> None:
    def side(data: bytes, link: str) -> Locked:
        files = [
            LooseEntry(path="link", link=link),
            LooseEntry(path="loose.py", sha256=sha(data)),
        ]
        archive = beside(tmp_path, "files.tar.gz", tar({"link": link, "loose.py": data}))
        return held(tmp_path, loose=[LooseSite(site="/s", archive=archive, files=files)])

    one, two = side(OLD.encode(), "a"), side(NEW.encode(), "b")
    (found,) = deepen(one, two, changed("loose.py", layer="files", kind="content"))
    assert "-b = 2\n+b = 3\n" in found.diff
    (found,) = deepen(one, two, changed("link", layer="files", kind="content"))
    assert found.diff == "--> a\n+-> b\n"
    (found,) = deepen(one, held(tmp_path), changed("loose.py", layer="files", kind="removed"))
    assert found.sha256_after is None


def test_source_trees_of_a_lock(tmp_path: Path) -> None:
    def side(files: dict[str, bytes | str]) -> Locked:
        archive = beside(tmp_path, "source.tar.gz", tar(files))
        tree = SourceTree(key="proj", root="/src/proj", digest="0" * 64, archive=archive)
        return held(tmp_path, sources=[tree])

    one = side({"a.py": OLD.encode(), "same": b"x", "l": "a"})
    two = side({"a.py": NEW.encode(), "same": b"x", "l": "b"})
    found = deepen(one, two, changed("proj", layer="sources", kind="content"))
    assert paths(found) == ["a.py", "l"]
