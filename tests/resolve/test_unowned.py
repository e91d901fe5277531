"""What no system package owns: the links that lead to it, and the archive of it."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import pytest

from envfreeze.errors import ArtifactError
from envfreeze.resolve import unowned
from envfreeze.resolve.rootfs import Root
from envfreeze.store import Cache


@pytest.fixture
def root(tmp_path: Path) -> Root:
    """A merged /usr, a library of /opt behind two names of its directory, and one in /usr/local."""
    top = tmp_path / "root"
    for directory in ("usr/lib", "usr/local/lib", "opt/foo-1.2/lib", "etc/ld.so.conf.d"):
        (top / directory).mkdir(parents=True)
    (top / "lib").symlink_to("usr/lib")
    (top / "opt/foo").symlink_to("foo-1.2")
    (top / "opt/foo-1.2/lib/libfoo.so.1.2").write_bytes(b"foo")
    (top / "opt/foo-1.2/lib/libfoo.so.1").symlink_to("libfoo.so.1.2")
    (top / "usr/lib/libbar.so").symlink_to("/opt/foo/lib/libfoo.so.1")
    (top / "usr/local/lib/libown.so.3").write_bytes(b"own")
    (top / "usr/local/lib/libown.so.3").chmod(0o755)
    (top / "etc/ld.so.conf").write_text("include /etc/ld.so.conf.d/*.conf\n")
    (top / "etc/ld.so.conf.d/foo.conf").write_text("/opt/foo/lib\n")
    (top / "etc/ld.so.conf.d/local.conf").write_text("/usr/local/lib\n")
    return Root(top)


def test_every_link_on_the_way(root: Root) -> None:
    assert unowned.chain(root, "/lib/libbar.so") == [
        "/usr/lib/libbar.so",
        "/opt/foo",
        "/opt/foo-1.2/lib/libfoo.so.1",
        "/opt/foo-1.2/lib/libfoo.so.1.2",
    ]
    assert unowned.chain(root, "/usr/local/lib/libown.so.3") == ["/usr/local/lib/libown.so.3"]


def test_a_circle_of_links_ends(root: Root) -> None:
    (root.path / "opt/a").symlink_to("b")
    (root.path / "opt/b").symlink_to("a")
    assert set(unowned.chain(root, "/opt/a")) == {"/opt/a", "/opt/b"}


def test_the_same_files_give_the_same_bytes(root: Root, tmp_path: Path) -> None:
    paths = ["/lib/libbar.so", "/opt/foo/lib/libfoo.so.1", "/usr/local/lib/libown.so.3"]
    files = unowned.gather(root, paths)
    assert [file.path for file in files] == sorted({file.path for file in files})
    made = {unowned.pack(root, files, Cache(tmp_path / name)) for name in ("one", "two")}
    assert len(made) == 1
    archive = Cache(tmp_path / "one").find(made.pop())
    assert archive is not None
    with tarfile.open(archive) as tar:
        found = {m.name: (m.linkname, m.mode & 0o111 != 0, m.mtime) for m in tar}
    assert found == {
        "opt/foo": ("foo-1.2", False, 0),
        "opt/foo-1.2/lib/libfoo.so.1": ("libfoo.so.1.2", False, 0),
        "opt/foo-1.2/lib/libfoo.so.1.2": ("", False, 0),
        "usr/lib/libbar.so": ("/opt/foo/lib/libfoo.so.1", False, 0),
        "usr/local/lib/libown.so.3": ("", True, 0),
    }
    entries = {entry.path: entry for entry in unowned.entries(files)}
    assert entries["usr/local/lib/libown.so.3"].sha256 == hashlib.sha256(b"own").hexdigest()


def test_what_changes_meanwhile_is_not_packed(root: Root, tmp_path: Path) -> None:
    files = unowned.gather(root, ["/usr/local/lib/libown.so.3"])
    (root.path / "usr/local/lib/libown.so.3").write_bytes(b"new")
    with pytest.raises(ArtifactError, match="changed"):
        unowned.pack(root, files, Cache(tmp_path / "cache"))


def test_what_is_no_file_or_is_gone(root: Root) -> None:
    with pytest.raises(ArtifactError, match="not a plain file"):
        unowned.gather(root, ["/usr/local/lib"])
    with pytest.raises(ArtifactError, match="No such file"):
        unowned.gather(root, ["/usr/local/lib/gone.so"])


def test_the_configuration_that_leads_there(root: Root) -> None:
    found = unowned.configuration(root, ["/opt/foo/lib/libfoo.so.1"])
    assert found == {"/etc/ld.so.conf.d/foo.conf"}
    assert unowned.configuration(root, ["/srv/x/libx.so"]) == set()
