"""What of a container's files its image has."""

from __future__ import annotations

from pathlib import Path

import pytest

from envfreeze.model.lock import BaseImage
from envfreeze.resolve.based import ADDED, CHANGED, DELETED, BaseFiles, base_files
from envfreeze.resolve.rootfs import Root

IMAGE = BaseImage(image_id="sha256:" + "a" * 64)


@pytest.fixture
def base(tmp_path: Path) -> BaseFiles:
    for name in ("opt/venv/lib/a.py", "opt/venv/lib/b.py", "opt/new/c.py", "data/d.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "usr").symlink_to("opt")
    (tmp_path / "moved").symlink_to("opt/venv")
    changes = [
        ("/opt", CHANGED),
        ("/opt/venv/lib", CHANGED),
        ("/opt/venv/lib/b.py", CHANGED),
        ("/opt/venv/lib/gone.py", DELETED),
        ("/opt/new", ADDED),
        ("/moved", ADDED),
    ]
    return base_files(IMAGE, Root(tmp_path), changes, ("/data",))


@pytest.mark.parametrize(
    ("path", "has"),
    [
        ("/opt/venv/lib/a.py", True),
        ("/usr/venv/lib/a.py", True),
        ("/opt/venv/lib/b.py", False),
        ("/usr/venv/lib/b.py", False),
        ("/opt/venv/lib/gone.py", False),
        ("/opt/venv/lib/never.py", True),
        ("/opt/new/c.py", False),
        ("/data/d.py", False),
        ("/moved/lib/a.py", False),
    ],
)
def test_a_file_is_the_images_if_nothing_on_the_way_was_touched(
    base: BaseFiles, path: str, has: bool
) -> None:
    assert base.has(path) is has


def test_what_is_deleted_is_known(base: BaseFiles) -> None:
    assert base.deleted == ("/opt/venv/lib/gone.py",)


def test_an_image_has_all_of_itself(tmp_path: Path) -> None:
    base = base_files(IMAGE, Root(tmp_path), [], ())
    assert base.has_all(["/a", "/b/c"])
