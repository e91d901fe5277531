"""What of several site directories cannot lie in one."""

from __future__ import annotations

from envfreeze.model.apart import hidden
from envfreeze.model.snapshot import Dist, LooseFile, Row, Site

ONE, TWO, THREE = "/v/lib/python3.11/site-packages", "/u/site", "/usr/site"


def dist(name: str, site: str, *files: str, **contents: str) -> Dist:
    """A distribution; *contents*: files by name without ``.py``, with their digests."""
    rows = [Row("site", path, "0" * 64, 1, False, None) for path in files]
    rows += [Row("site", f"{path}.py", sha, 1, False, None) for path, sha in contents.items()]
    rows.append(Row("site", f"{name}-1.dist-info/METADATA", name * 8, 1, False, None))
    return Dist(site=site, info=f"{name}-1.dist-info", name=name, version="1", rows=rows)


def site(path: str, *loose: str) -> Site:
    files = [LooseFile(name, "1" * 64, 1, False, None) for name in loose]
    return Site(path=path, kind="site", loose=files)


def test_nothing_is_hidden_in_one_directory() -> None:
    dists = [dist("a", ONE, m="x"), dist("b", ONE, m="y")]
    assert hidden([site(ONE, "m.py")], dists) == (set(), set())


def test_what_has_no_path_in_common_comes_together() -> None:
    dists = [dist("a", ONE, "a.py"), dist("b", TWO, "b.py"), dist("c", THREE, "ns/c.py")]
    assert hidden([site(ONE, "x.pth"), site(TWO, "y.pth"), site(THREE)], dists) == (set(), set())


def test_other_content_at_one_path_lies_apart() -> None:
    dists = [dist("a", ONE, m="x"), dist("b", TWO, m="y"), dist("c", THREE, m="x")]
    apart, _ = hidden([site(ONE), site(TWO), site(THREE)], dists)
    assert apart == {(TWO, "b-1.dist-info")}


def test_what_is_apart_hides_as_well() -> None:
    """b is behind a; what collides with b alone must not come before it."""
    dists = [dist("a", ONE, m="x"), dist("b", TWO, m="y", n="1"), dist("c", THREE, n="2")]
    apart, _ = hidden([site(ONE), site(TWO), site(THREE)], dists)
    assert apart == {(TWO, "b-1.dist-info"), (THREE, "c-1.dist-info")}


def test_a_file_in_a_package_of_an_earlier_directory_lies_apart() -> None:
    dists = [dist("a", ONE, "p/__init__.py"), dist("b", TWO, "p/more.py"), dist("c", TWO, "q/x.py")]
    apart, files = hidden([site(ONE), site(TWO, "p/data.txt", "q/data.txt")], dists)
    assert apart == {(TWO, "b-1.dist-info")}
    assert files == {(TWO, "p/data.txt")}


def test_unowned_files_never_share_a_path() -> None:
    """Not even with the same content: one of two would be lost."""
    dists = [dist("a", ONE, "m.py"), dist("b", TWO, x="1" * 64)]
    apart, files = hidden(
        [site(ONE, "x.py"), site(TWO, "m.py", "y.py"), site(THREE, "y.py")], dists
    )
    assert apart == {(TWO, "b-1.dist-info")}
    assert files == {(TWO, "m.py"), (THREE, "y.py")}


def test_missing_files_hide_nothing() -> None:
    gone = dist("a", ONE)
    rows = [*(gone.rows or ()), Row("site", "m.py", None, None, False, "")]
    lost = Dist(site=ONE, info=gone.info, name="a", version="1", rows=rows)
    assert hidden([site(ONE), site(TWO, "m.py")], [lost]) == (set(), set())
