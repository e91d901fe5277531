"""Where placed files go, and how they are removed again."""

from __future__ import annotations

from pathlib import Path

from envfreeze.build import sinks


def test_removing_keeps_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "d/e").mkdir(parents=True)
    (tmp_path / "d/f").touch()
    (tmp_path / "l").symlink_to("d")
    sinks.remove_tree(tmp_path / "l")
    assert (tmp_path / "l").is_symlink()
    assert not list((tmp_path / "d").iterdir())
    sinks.remove_tree(tmp_path / "d", keep=True)
    assert (tmp_path / "d").is_dir()
    sinks.remove_tree(tmp_path / "d")
    assert not (tmp_path / "d").exists()
    sinks.remove_tree(tmp_path / "absent")
