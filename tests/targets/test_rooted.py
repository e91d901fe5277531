"""A program of an unpacked root, run where it can do no harm."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from envfreeze.errors import TargetError
from envfreeze.targets import rooted

needs_root = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root can change its root"
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A root with a shell and its libraries."""
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    shutil.copy("/bin/sh", root / "bin/sh")
    shown = subprocess.run(["ldd", "/bin/sh"], capture_output=True, text=True, check=True).stdout
    for library in re.findall(r"(/\S+) \(0x", shown):
        place = root / library.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, place)
    return root


@needs_root
def test_it_sees_the_root_and_its_own_variables_alone(tree: Path) -> None:
    (tree / "mark").write_text("inside\n")
    script = 'read x </mark; echo "$x $A"; test -e /proc/self || echo alone'
    said = rooted.run(str(tree), ["/bin/sh", "-c", script], {"A": "1"})
    assert said == b"inside 1\nalone\n"


@needs_root
def test_it_writes_nothing(tree: Path) -> None:
    said = rooted.run(str(tree), ["/bin/sh", "-c", "echo x >/new || echo no; echo end"], {})
    if (tree / "new").exists():
        pytest.skip("this kernel gives no namespaces: a changed root has to do")
    assert said == b"no\nend\n"


@needs_root
def test_what_does_not_run_says_why(tree: Path) -> None:
    with pytest.raises(TargetError, match=r"/bin/gone does not run in root:.*\n.*No such file"):
        rooted.run(str(tree), ["/bin/gone"], {})


def test_a_root_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="no such directory"):
        rooted.check_root(str(tmp_path / "gone"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may")
def test_only_root_changes_its_root(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="only root"):
        rooted.check_root(str(tmp_path))
