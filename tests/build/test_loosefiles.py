"""A source tree comes back whole, and never beyond its directory."""

from __future__ import annotations

import gzip
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from envfreeze.build import loosefiles, place, sinks
from envfreeze.errors import ArtifactError, LockError
from envfreeze.model.identity import source_digest, source_files
from envfreeze.model.lock import Artifact, LooseEntry, LooseSite, Package, SourceTree
from envfreeze.model.snapshot import Source, SourceFile
from envfreeze.resolve import pack
from envfreeze.store import Cache
from tests.support import envs
from tests.support.fakeindex import make_wheel


def look(root: Path) -> list[SourceFile]:
    """The files of a tree as the probe tells of them."""
    found = []
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found.append(SourceFile(name, None, 0, False, str(path.readlink())))
        elif path.is_file():
            data = path.read_bytes()
            executable = bool(path.stat().st_mode & 0o111)
            found.append(SourceFile(name, envs.sha256(data), len(data), executable, None))
    return found


def a_tree(root: Path) -> Path:
    (root / "src/pkg").mkdir(parents=True)
    (root / "src/pkg/__init__.py").write_text("X = 1\n")
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "latest").symlink_to("src/pkg")
    (root / "empty").touch()
    return root


def packed(root: Path, tmp_path: Path) -> tuple[SourceTree, Path]:
    files = look(root)
    source = Source(
        key="proj", root=str(root), spellings=[str(root)], via=[], imports=[""], files=files
    )
    cache = Cache(tmp_path / "cache")
    sha256, size = pack.pack_source(source, cache)
    path = cache.find(sha256)
    assert path is not None
    tree = SourceTree(
        key="proj",
        root=str(root),
        digest=source_digest(source_files(files)),
        archive=Artifact(path="x", size=size, hashes={"sha256": sha256}),
    )
    return tree, path


def test_a_tree_comes_back_with_links_and_modes(tmp_path: Path) -> None:
    root = a_tree(tmp_path / "proj")
    tree, archive = packed(root, tmp_path)
    back = tmp_path / "venv/src/proj"
    loosefiles.place_source(
        tree, archive, sinks.DirectorySink(tmp_path / "venv"), {"proj": str(back)}
    )
    assert look(back) == look(root)


def test_a_tree_without_files_is_a_directory(tmp_path: Path) -> None:
    """A ``.pth`` line or an editable install leads there: without it, the tree would be lost."""
    root = tmp_path / "proj"
    root.mkdir()
    tree, archive = packed(root, tmp_path)
    back = tmp_path / "venv/src/proj"
    loosefiles.place_source(
        tree, archive, sinks.DirectorySink(tmp_path / "venv"), {"proj": str(back)}
    )
    assert back.is_dir()
    out = io.BytesIO()
    with sinks.TarSink(out, "/") as sink:
        loosefiles.place_source(tree, archive, sink, {"proj": "/srv/proj"})
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as made:
        assert made.getmember("srv/proj").isdir()


def test_a_link_that_spells_the_tree_follows_it(tmp_path: Path) -> None:
    """setuptools' strict editables are directories of absolute links."""
    mark = "{envfreeze:source:proj}/src/a.py"
    files = [("build/a.py", f"-> {mark}")]
    tree = SourceTree(key="proj", root="/p", digest=source_digest(files))
    archive = tar(tmp_path / "x.tar.gz", ("build/a.py", f"->{mark}"))
    loosefiles.place_source(tree, archive, sinks.DirectorySink(tmp_path), {"proj": f"{tmp_path}/b"})
    assert str((tmp_path / "b/build/a.py").readlink()) == f"{tmp_path}/b/src/a.py"


def test_packing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    one = packed(a_tree(tmp_path / "one"), tmp_path)
    two = packed(a_tree(tmp_path / "two"), tmp_path)
    assert one[1] == two[1]


def test_a_file_that_changed_is_not_packed(tmp_path: Path) -> None:
    root = a_tree(tmp_path / "proj")
    files = look(root)
    (root / "src/pkg/__init__.py").write_text("X = 2\n")
    source = Source(key="p", root=str(root), spellings=[], via=[], imports=[], files=files)
    with pytest.raises(ArtifactError, match="changed while"):
        pack.pack_source(source, Cache(tmp_path / "cache"))


def tar(path: Path, *members: tuple[str, str]) -> Path:
    """``(name, content)``; a content that begins with ``->`` is a link, ``!`` a device."""
    with gzip.open(path, "wb") as zipped, tarfile.open(fileobj=zipped, mode="w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if content.startswith("->"):
                member.type, member.linkname = tarfile.SYMTYPE, content[2:]
            elif content == "!":
                member.type = tarfile.CHRTYPE
            else:
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content.encode()))
    return path


@pytest.mark.parametrize(
    "members",
    [
        [("../x", "")],
        [("/etc/x", "")],
        [("a/../../x", "")],
        [("a//b", "")],
        [("a\nb", "")],
        [("a", ""), ("a", "")],
        [("null", "!")],
        [("a", "->/etc"), ("a/passwd", "x")],
        [("a/b", "x"), ("a", "->/etc")],
    ],
)
def test_no_member_leads_out(members: list[tuple[str, str]], tmp_path: Path) -> None:
    tree = SourceTree(key="p", root="/p", digest="0" * 64)
    archive = tar(tmp_path / "x.tar.gz", *members)
    venv = tmp_path / "venv"
    with pytest.raises(LockError):
        loosefiles.place_source(
            tree, archive, sinks.DirectorySink(venv), {"p": str(venv / "src/p")}
        )
    assert not [p for p in venv.rglob("*") if p.is_symlink()]


def test_other_files_than_the_digest_is_of(tmp_path: Path) -> None:
    tree, archive = packed(a_tree(tmp_path / "proj"), tmp_path)
    wrong = msgspec.structs.replace(tree, digest="0" * 64)
    with pytest.raises(ArtifactError, match="does not hold the files"):
        loosefiles.place_source(
            wrong, archive, sinks.DirectorySink(tmp_path), {"proj": str(tmp_path / "back")}
        )


def test_a_damaged_archive(tmp_path: Path) -> None:
    tree, archive = packed(a_tree(tmp_path / "proj"), tmp_path)
    short = tmp_path / "short.tar.gz"
    short.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(ArtifactError, match="not a whole tar"):
        loosefiles.place_source(
            tree, short, sinks.DirectorySink(tmp_path), {"proj": str(tmp_path / "back")}
        )


# --- files that name a tree ----------------------------------------------------------------


def package(tmp_path: Path, **facts: object) -> tuple[Package, Path]:
    wheel = make_wheel(
        tmp_path / "files", "proj", "1.0", {"proj.pth": "{envfreeze:source:proj}/src\n"}
    )
    return envs.package_of(wheel, **facts), wheel


def test_a_pointer_gets_the_new_place(tmp_path: Path) -> None:
    env = envs.make_venv(tmp_path / "env")
    direct = '{"url": "file://{envfreeze:source:proj}", "dir_info": {"editable": true}}'
    one, wheel = package(tmp_path, pointers=["site/proj.pth"], direct_url=direct)
    schemes = replace(envs.schemes(env), sources={"proj": str(env / "src/a b")})
    place.place_package(one, wheel, sinks.DirectorySink(env), schemes)
    site = env / envs.SITE
    assert (site / "proj.pth").read_text() == f"{env}/src/a b/src\n"
    written = (site / "proj-1.0.dist-info/direct_url.json").read_text()
    assert f'"file://{env}/src/a%20b"' in written
    found = envs.seen(envs.look(env), "proj")
    assert not found.edited, "RECORD has the digest of what was written"


def test_a_wheel_from_elsewhere_is_not_rewritten(tmp_path: Path) -> None:
    env = envs.make_venv(tmp_path / "env")
    one, wheel = package(tmp_path)
    schemes = replace(envs.schemes(env), sources={"proj": "/x"})
    place.place_package(one, wheel, sinks.DirectorySink(env), schemes)
    assert "envfreeze:source" in (env / envs.SITE / "proj.pth").read_text()


def test_unowned_pointers(tmp_path: Path) -> None:
    text = "{envfreeze:source:proj}/src\n"
    entries = [
        LooseEntry(path="dev.pth", sha256=envs.sha256(text.encode())),
        LooseEntry(path="linked", link="{envfreeze:source:proj}/src/pkg"),
        LooseEntry(path="notes.txt", sha256=envs.sha256(text.encode())),
    ]
    archive = tar(tmp_path / "x.tar.gz", ("dev.pth", text), ("notes.txt", text))
    site = LooseSite(site="/s", files=entries)
    sink = sinks.DirectorySink(tmp_path)
    schemes = replace(envs.schemes(tmp_path), site=str(tmp_path / "site"))
    schemes = replace(schemes, sources={"proj": "/there"})
    loosefiles.place_loose(site, archive, sink, schemes)
    assert (tmp_path / "site/dev.pth").read_text() == "/there/src\n"
    assert str((tmp_path / "site/linked").readlink()) == "/there/src/pkg"
    assert (tmp_path / "site/notes.txt").read_text() == text
