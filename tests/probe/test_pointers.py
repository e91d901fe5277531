from __future__ import annotations

import pytest

from envfreeze.probe import pointers

ROOTS = [("/home/me/proj", "proj"), ("/home/me/proj/sub", "sub")]


@pytest.mark.parametrize(
    ("path", "is_one"),
    [
        ("easy-install.pth", True),
        ("proj.egg-link", True),
        ("__editable___proj_finder.py", True),
        ("_proj.py", True),
        ("proj-1.0.dist-info/direct_url.json", True),
        ("proj.py", False),
        ("proj/_impl.py", False),
        ("proj/data.pth", False),
        ("proj-1.0.dist-info/METADATA", False),
    ],
)
def test_what_may_name_a_tree(path: str, is_one: bool) -> None:
    assert pointers.is_pointer(path) is is_one


@pytest.mark.parametrize(
    ("path", "data", "neutral"),
    [
        ("a.pth", b"/home/me/proj/src\n", b"{envfreeze:source:proj}/src\n"),
        ("a.pth", b"/home/me/proj", b"{envfreeze:source:proj}"),
        ("a.pth", b"/home/me/proj/sub/src\r\n", b"{envfreeze:source:sub}/src\r\n"),
        ("a.pth", b"/home/me/proj-2\n/data/home/me/proj\n", None),
        ("a.pth", b"../../home/me/proj\n", None),
        ("a.egg-link", b"/home/me/proj/src\n../", b"{envfreeze:source:proj}/src\n../"),
        (
            "_f.py",
            b"MAPPING = {'proj': '/home/me/proj/src/proj'}",
            b"MAPPING = {'proj': '{envfreeze:source:proj}/src/proj'}",
        ),
        (
            "p.dist-info/direct_url.json",
            b'{"url": "file:///home/me/proj", "dir_info": {"editable": true}}',
            b'{"url": "file://{envfreeze:source:proj}", "dir_info": {"editable": true}}',
        ),
        ("p.dist-info/direct_url.json", b'{"url": "https://h/home/me/proj"}', None),
    ],
)
def test_the_neutral_form(path: str, data: bytes, neutral: bytes | None) -> None:
    assert pointers.neutral(path, data, ROOTS) == (data if neutral is None else neutral)


@pytest.mark.parametrize("root", ["/a b/it's", "/a%20b/\\x", "/é/+~", "/a", "/{x}/[y]"])
@pytest.mark.parametrize("path", ["a.pth", "_f.py", "p.dist-info/direct_url.json"])
def test_any_root_comes_back_as_it_was_spelt(path: str, root: str) -> None:
    template = {
        "a.pth": b"{envfreeze:source:p}/src\n",
        "_f.py": b"{'p': '{envfreeze:source:p}/src'}",
        "p.dist-info/direct_url.json": b'{"url": "file://{envfreeze:source:p}/src"}',
    }[path]
    written = pointers.placed(path, template, {"p": root})
    assert b"envfreeze:" not in written
    assert pointers.neutral(path, written, [(root, "p")]) == template


def test_python_reads_the_path_that_was_written() -> None:
    written = pointers.placed("_f.py", b"x = '{envfreeze:source:p}/s'", {"p": "/a'b\\n"})
    found: dict[str, str] = {}
    exec(written, found)
    assert found["x"] == "/a'b\\n/s"


def test_a_key_without_a_place_stays() -> None:
    data = b"{envfreeze:source:other}/src"
    assert pointers.placed("a.pth", data, {"p": "/x"}) == data
    assert pointers.keys(data + data) == ["other"]


def test_links() -> None:
    assert pointers.neutral_link("/home/me/proj/pkg", ROOTS) == "{envfreeze:source:proj}/pkg"
    assert pointers.neutral_link("/home/me/project", ROOTS) == "/home/me/project"
    assert pointers.placed_link("{envfreeze:source:proj}/pkg", {"proj": "/v/src"}) == "/v/src/pkg"
