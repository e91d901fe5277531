"""Paths inside a root never lead out of it."""

from __future__ import annotations

from pathlib import Path

from envfreeze.resolve.rootfs import Root


def test_absolute_and_climbing_links_stay_inside(tmp_path: Path) -> None:
    inside = tmp_path / "root"
    (inside / "etc").mkdir(parents=True)
    (inside / "etc/passwd").write_text("inside")
    (inside / "a").symlink_to("/etc/passwd")
    (inside / "b").symlink_to("../../../../etc/passwd")
    (inside / "c").symlink_to("b")
    root = Root(inside)
    for name in ("/a", "/b", "/c", "/../etc/passwd", "/etc/./passwd"):
        assert Path(root.at(name)).read_text() == "inside"
        assert root.real(name) == "/etc/passwd"


def test_entry_does_not_follow_the_last_link(tmp_path: Path) -> None:
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "lib").symlink_to("usr/lib")
    (tmp_path / "usr/lib/x").symlink_to("y")
    root = Root(tmp_path)
    assert root.entry("/lib/x") == "/usr/lib/x"
    assert root.real("/lib/x") == "/usr/lib/y"


def test_a_circle_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert Root(tmp_path).real("/a") in {"/a", "/b"}
    (tmp_path / "d").symlink_to("d/e")
    Root(tmp_path).real("/d/x")
