"""A container's files, laid out: an honest tar, and what an enemy would send."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from envfreeze.errors import ArtifactError
from envfreeze.resolve.laidout import lay_out

File = tuple[str, bytes | str, bytes]
"""Name, content or where a link leads, type."""


def tar(*files: File, mode: int = 0o644) -> list[bytes]:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content, kind in files:
            member = tarfile.TarInfo(name)
            member.type, member.mode = kind, mode
            if isinstance(content, str):
                member.linkname = content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    data = out.getvalue()
    return [data[at : at + 100] for at in range(0, len(data), 100)]


REG, DIR, SYM, LNK = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


def test_files_directories_and_links(tmp_path: Path) -> None:
    lay_out(
        tar(
            ("etc/", "", DIR),
            ("./etc/a", b"one", REG),
            ("etc/b", "/etc/a", SYM),
            ("etc/c", "etc/a", LNK),
            ("new/deep/d", b"two", REG),
            mode=0o755,
        ),
        tmp_path,
    )
    assert (tmp_path / "etc/a").read_bytes() == (tmp_path / "etc/c").read_bytes() == b"one"
    assert os.readlink(tmp_path / "etc/b") == "/etc/a"  # noqa: PTH115
    assert (tmp_path / "new/deep/d").read_bytes() == b"two"
    assert (tmp_path / "etc/a").stat().st_mode & 0o777 == 0o755


def test_what_nobody_may_read_we_may(tmp_path: Path) -> None:
    lay_out(tar(("a", b"x", REG), mode=0), tmp_path)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "files",
    [
        [("../out", b"x", REG)],
        [("a/../../out", b"x", REG)],
        [("link", "..", SYM), ("link/out", b"x", REG)],
        [("link", "{above}", SYM), ("link/out", b"x", REG)],
        [("d/", "", DIR), ("d", "..", SYM), ("d/out", b"x", REG)],
        [("link", "..", SYM), ("link/out/", "", DIR)],
        [("link", "{above}/secret", SYM), ("link", b"x", REG)],
        [("hard", "../secret", LNK)],
        [("link", "..", SYM), ("hard", "link/secret", LNK)],
    ],
)
def test_nothing_leaves_the_directory(tmp_path: Path, files: list[File]) -> None:
    into = tmp_path / "into"
    into.mkdir()
    (tmp_path / "secret").write_text("mine")
    given = [
        (name, content.format(above=tmp_path) if isinstance(content, str) else content, kind)
        for name, content, kind in files
    ]
    lay_out(tar(*given), into)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["into", "secret"]
    assert (tmp_path / "secret").read_text() == "mine"
    assert (tmp_path / "secret").stat().st_nlink == 1


def test_devices_and_the_kernels_directories_are_left_out(tmp_path: Path) -> None:
    lay_out(
        tar(
            ("pipe", "", tarfile.FIFOTYPE),
            ("zero", "", tarfile.CHRTYPE),
            ("proc/1/environ", b"x", REG),
            ("dev/x", b"x", REG),
        ),
        tmp_path,
    )
    assert list(tmp_path.iterdir()) == []


def test_a_later_member_replaces_an_earlier_one(tmp_path: Path) -> None:
    lay_out(tar(("a/b", b"1", REG), ("a", b"2", REG), ("a/c", b"3", REG)), tmp_path)
    assert (tmp_path / "a/c").read_bytes() == b"3"
    assert not (tmp_path / "a/b").exists()


def test_a_mount_hides_what_lay_there(tmp_path: Path) -> None:
    lay_out(tar(("srv/app/old", b"1", REG), ("srv/other", b"1", REG)), tmp_path)
    lay_out(tar(("app/", "", DIR), ("app/new", b"2", REG), mode=0o755), tmp_path, "/srv/app")
    found = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert found == ["srv/app/new", "srv/other"]


def test_what_is_no_tar(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot be read"):
        lay_out([b"x" * 2000], tmp_path)


def test_set_user_id_stays_as_packages_are_packed_with_it(tmp_path: Path) -> None:
    lay_out(tar(("su", b"x", REG), mode=0o4755), tmp_path)
    assert stat.S_IMODE((tmp_path / "su").stat().st_mode) == 0o4755
