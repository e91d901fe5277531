"""Distributions that the system's own packages brought."""

from __future__ import annotations

from pathlib import Path

import pytest

from envfreeze.model.snapshot import Dist, Row
from envfreeze.resolve.databases import Database
from envfreeze.resolve.distowners import SystemDists
from envfreeze.resolve.rootfs import Root
from tests.support.dpkgroot import DpkgRoot, Pkg

SITE = "/usr/lib/python3/dist-packages"


def dist(name: str, site: str = SITE, info: str = "") -> Dist:
    rows = [Row("site", f"{name}.py", "0" * 64, 1, False, "sha256=x")]
    info = info or f"{name}-1.dist-info"
    return Dist(site=site, info=info, name=name, version="1", rows=rows)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    """Debian's yaml and an old egg-info, somebody's pip in /usr/local."""
    made = DpkgRoot(tmp_path)
    yaml = {f"{SITE}/yaml.py": b"as packaged", f"{SITE}/yaml-1.dist-info/METADATA": b"Name: yaml"}
    made.install(Pkg(name="python3-yaml", version="6.0-3+b2", files=yaml))
    made.install(Pkg(name="python3-old", files={f"{SITE}/old-1.egg-info": b"Name: old"}))
    local = "/usr/local/lib/python3/dist-packages/pip-1.dist-info/METADATA"
    made.install(Pkg(name="odd", files={local: b"Name: pip"}))
    return Root(str(tmp_path))


def test_who_brought_it(root: Root) -> None:
    dists = [dist("yaml"), dist("old", info="old-1.egg-info"), dist("other")]
    dists.append(dist("pip", "/usr/local/lib/python3/dist-packages"))
    dists.append(dist("yaml", "/home/u/env/lib/python3/site-packages"))
    found = SystemDists(dists, Database(root))
    assert [found.owner(each) for each in dists] == [
        "dpkg python3-yaml 6.0-3+b2",
        "dpkg python3-old 1.0-1",
        None,
        None,
        None,
    ]


def test_what_is_as_it_was_packaged_is_not_edited(root: Root) -> None:
    """Whatever a RECORD of upstream says."""
    found = SystemDists([dist("yaml")], Database(root))
    assert found.changed(dist("yaml"), ["site/yaml.py"]) == []
    Path(root.host(f"{SITE}/yaml.py")).write_bytes(b"by hand")
    assert found.changed(dist("yaml"), ["site/yaml.py", "data/x"]) == ["site/yaml.py"]


def test_a_file_that_no_package_brought_is_changed(root: Root) -> None:
    Path(root.host(f"{SITE}/more.py")).write_bytes(b"x")
    found = SystemDists([dist("yaml")], Database(root))
    assert found.changed(dist("yaml"), ["site/more.py", "site/gone.py"]) == [
        "site/gone.py",
        "site/more.py",
    ]


def test_no_database_no_owner(tmp_path: Path) -> None:
    found = SystemDists([dist("yaml")], Database(Root(str(tmp_path))))
    assert found.owner(dist("yaml")) is None
    assert found.changed(dist("yaml"), ["site/yaml.py"]) == []


def test_where_no_system_package_puts_any_nobody_is_asked(tmp_path: Path) -> None:
    """A database that cannot be read is not even opened."""
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").mkdir()
    found = SystemDists([dist("yaml", "/home/u/site")], Database(Root(str(tmp_path))))
    assert found.owner(dist("yaml", "/home/u/site")) is None
