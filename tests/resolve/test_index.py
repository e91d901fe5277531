"""What indexes and find-links offer, in every form, from servers that lie or fall over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from envfreeze.errors import IndexUnavailableError
from envfreeze.resolve.http import Http
from envfreeze.resolve.index import Candidates, Index, split_wheel_name
from envfreeze.resolve.pipconf import IndexSettings
from tests.support.fakeindex import JSON, FakeIndex, make_wheel


@pytest.fixture
def files(tmp_path: Path) -> Path:
    directory = tmp_path / "files"
    for version in ("1.0", "1.0.1", "2.0+cpu"):
        make_wheel(directory, "demo", version)
    make_wheel(directory, "demo_extra", "1.0")
    make_wheel(directory, "demo", "1.0", tags=["cp311-cp311-manylinux_2_17_x86_64"], build="2")
    (directory / "demo-1.0.tar.gz").write_bytes(b"source")
    (directory / "demo-1.0.1.zip").write_bytes(b"source")
    return directory


@pytest.fixture
def server(files: Path):
    with FakeIndex(files) as index:
        yield index


def index(**settings: object) -> Index:
    made = IndexSettings(retries=0, timeout=5, **settings)  # type: ignore[arg-type]
    return Index(made, Http(made))


def names(found: Candidates) -> list[str]:
    return sorted(c.filename for c in (*found.wheels, *found.sdists))


RELEASE = [
    "demo-1.0-2-cp311-cp311-manylinux_2_17_x86_64.whl",
    "demo-1.0-py3-none-any.whl",
    "demo-1.0.tar.gz",
]


@pytest.mark.parametrize("html", [False, True])
@pytest.mark.parametrize("relative", [False, True])
def test_the_files_of_a_release(server, html, relative):
    server.faults.html, server.faults.relative = html, relative
    found = index(index_url=server.url).candidates("Demo", "1.0")
    assert names(found) == RELEASE
    (wheel,) = [c for c in found.wheels if c.filename.endswith("any.whl")]
    assert wheel.url == f"{server.base}/files/demo-1.0-py3-none-any.whl"
    assert wheel.index == server.url
    assert len(wheel.sha256 or "") == 64
    assert (wheel.size is None) == html
    assert not wheel.local


@pytest.mark.parametrize("spelled", ["1.0", "1.0.0", "v1", "01.0"])
def test_a_version_is_compared_as_a_version(server, spelled):
    assert names(index(index_url=server.url).candidates("demo", spelled)) == RELEASE


def test_a_local_version_is_its_own(server):
    found = index(index_url=server.url)
    assert names(found.candidates("demo", "2.0+cpu")) == ["demo-2.0+cpu-py3-none-any.whl"]
    assert "%2B" in found.candidates("demo", "2.0+CPU").wheels[0].url
    assert names(found.candidates("demo", "2.0")) == []


def test_a_version_that_is_none_is_compared_as_text(tmp_path):
    (tmp_path / "demo-2004d_x-py2-none-any.whl").write_bytes(b"")
    (tmp_path / "demo-2004d_x.tar.gz").write_bytes(b"")
    found = index(find_links=(str(tmp_path),)).candidates("demo", "2004d x")
    assert len(found.wheels) == len(found.sdists) == 1


@pytest.mark.parametrize("name", ["../x", "a/b", "", "-", "a b", "\x00"])
def test_a_name_that_is_none_is_not_asked_for(server, name):
    assert index(index_url=server.url).candidates(name, "1.0") == Candidates()
    assert server.requests == []


def test_indexes_and_find_links_are_one(server, files, tmp_path):
    make_wheel(tmp_path / "more", "demo", "1.0", tags=["cp312-cp312-linux_x86_64"])
    found = index(
        index_url=server.url,
        find_links=(str(files), (tmp_path / "more").as_uri()),
    ).candidates("demo", "1.0")
    assert names(found) == sorted(
        # A directory states no hash: its files cannot be known to be the index's.
        [*RELEASE, *RELEASE, "demo-1.0-cp312-cp312-linux_x86_64.whl"]
    )
    assert [c.local for c in found.wheels] == [False, False, True, True, True]


def test_the_same_file_is_taken_from_the_network(server, files, tmp_path):
    page = tmp_path / "simple/demo"
    page.mkdir(parents=True)
    server.faults.relative = True
    body = server._html(server.files("demo")).decode()
    (page / "index.html").write_text(body)
    local = (tmp_path / "simple").as_uri()
    assert len(index(index_url=local).candidates("demo", "1.0").wheels) == 2
    both = index(index_url=local, extra_index_urls=(server.url,)).candidates("demo", "1.0")
    assert [c.index for c in both.wheels] == [server.url, server.url]


def test_a_file_index_resolves_its_links(files, tmp_path):
    page = tmp_path / "simple/demo"
    page.mkdir(parents=True)
    link = "../../files/demo-1.0-py3-none-any.whl"
    (page / "index.html").write_text(f'<a href="{link}#sha256={"AB" * 32}">x</a>')
    (wheel,) = index(index_url=str(tmp_path / "simple")).candidates("demo", "1.0").wheels
    assert wheel.url == (files / "demo-1.0-py3-none-any.whl").as_uri()
    assert wheel.sha256 == "ab" * 32
    assert wheel.local


def test_find_links_of_every_kind(server, files, tmp_path):
    wheel = "demo-1.0-py3-none-any.whl"
    page = tmp_path / "links.html"
    page.write_text(f'<base href="{server.base}/files/"><a href="{wheel}">x</a>')
    for place in (page.as_uri(), f"{server.base}/files/{wheel}", (files / wheel).as_uri()):
        found = index(find_links=(place,)).candidates("demo", "1.0")
        assert names(found) == [wheel], place
        assert found.wheels[0].index == place


def test_a_page_in_a_directory_counts(server, tmp_path):
    (tmp_path / "more.html").write_text(f'<a href="{server.base}/files/demo-1.0.tar.gz">x</a>')
    assert names(index(find_links=(str(tmp_path),)).candidates("demo", "1.0")) == [
        "demo-1.0.tar.gz"
    ]


# --- hostile and odd pages -----------------------------------------------------------------


def page_of(*files: dict[str, object]) -> bytes:
    return json.dumps({"meta": {"api-version": "1.1"}, "files": list(files)}).encode()


GOOD: dict[str, object] = {"filename": "demo-1.0-py3-none-any.whl", "url": "x.whl", "hashes": {}}


def test_a_bad_entry_costs_only_itself(server):
    server.faults.body = page_of(
        {"filename": 3},
        {**GOOD, "size": "big"},
        {**GOOD, "filename": "demo-1.0-py2-none-any.whl", "hashes": {"sha256": "zz"}},
        {**GOOD, "size": -4, "yanked": "broken", "hashes": {"sha256": "AB" * 32}},
    )
    one, other = index(index_url=server.url).candidates("demo", "1.0").wheels
    assert (one.sha256, one.size, one.yanked) == ("ab" * 32, None, True)
    assert (other.sha256, other.yanked) == (None, False)


@pytest.mark.parametrize("html", [False, True])
def test_links_that_lead_here_or_nowhere_are_dropped(server, html):
    urls = ["file:///etc/passwd", "ftp://a.example/", "http://[::1/", "http://a:b/", "data:x"]
    names_ = [f"demo-1.0-{n}-py3-none-any.whl" for n in range(len(urls))]
    server.faults.html = html
    if html:
        anchors = [f'<a href="{url}{name}">x</a>' for url, name in zip(urls, names_, strict=True)]
        server.faults.body = "".join(anchors).encode()
    else:
        server.faults.body = page_of(
            *({"filename": n, "url": u, "hashes": {}} for n, u in zip(names_, urls, strict=True))
        )
    assert names(index(index_url=server.url).candidates("demo", "1.0")) == []


@pytest.mark.parametrize("name", ["demo-1.0/../x.whl", "demo-1.0-\n-a-b-c.whl", "demo-1.0-a\\.whl"])
def test_file_names_are_never_paths(server, name):
    server.faults.body = page_of({"filename": name, "url": "x.whl", "hashes": {}})
    assert names(index(index_url=server.url).candidates("demo", "1.0")) == []


@pytest.mark.parametrize("mark", ["data-yanked", 'data-yanked=""', 'data-yanked="broken"'])
def test_yanked_in_html(server, mark):
    server.faults.html = True
    server.faults.body = f'<a href="demo-1.0-py3-none-any.whl" {mark}>x</a>'.encode()
    assert index(index_url=server.url).candidates("demo", "1.0").wheels[0].yanked


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"files": 3}', b"[" * 100_000])
def test_json_that_is_none(server, body):
    server.faults.body = body
    with pytest.raises(IndexUnavailableError, match="not JSON"):
        index(index_url=server.url).candidates("demo", "1.0")


@pytest.mark.parametrize("body", [b"", b"<![x", b"\xff\xfe<a href=>", b"<a" * 1000, b"<base href>"])
def test_html_that_is_none_holds_nothing(server, body):
    server.faults.html, server.faults.body = True, body
    try:
        assert names(index(index_url=server.url).candidates("demo", "1.0")) == []
    except IndexUnavailableError as error:
        assert "HTML" in str(error)


def test_the_content_type_decides(server):
    server.faults.content_type = "text/plain"
    with pytest.raises(IndexUnavailableError, match="'text/plain', not a page"):
        index(index_url=server.url).candidates("demo", "1.0")
    server.faults.html, server.faults.content_type = True, "application/json; charset=utf-8"
    with pytest.raises(IndexUnavailableError, match="not JSON"):
        index(index_url=server.url).candidates("demo", "1.0")


# --- places that are down ------------------------------------------------------------------


def test_a_dead_index_is_asked_once(server, tmp_path):
    with FakeIndex(tmp_path) as dead:
        dead.faults.drop = True
        both = index(index_url=dead.url, extra_index_urls=(server.url,))
        for _ in range(30):
            assert names(both.candidates("demo", "1.0")) == RELEASE
        assert len(dead.requests) == 1
        (problem,) = both.problems
        assert dead.url in problem


def test_nothing_answers(tmp_path):
    with FakeIndex(tmp_path) as dead:
        dead.faults.drop = True
        lonely = index(index_url=dead.url)
        for _ in range(30):
            with pytest.raises(IndexUnavailableError, match="did not answer"):
                lonely.candidates("demo", "1.0")
        assert len(dead.requests) == 1


@pytest.mark.parametrize(("status", "asked"), [(401, 1), (500, 3), (403, 3)])
def test_an_index_that_only_refuses_is_left_alone(server, status, asked):
    server.faults.status = status
    down = index(index_url=server.url)
    for _ in range(10):
        with pytest.raises(IndexUnavailableError, match=str(status)):
            down.candidates("demo", "1.0")
    assert len(server.requests) == asked


def test_a_place_that_is_not_there_is_reported(server, tmp_path):
    gone = (str(tmp_path / "gone"), f"{server.base}/gone.html", (tmp_path / "x.whl").as_uri())
    one = index(index_url=server.url, extra_index_urls=gone[:1], find_links=gone)
    assert names(one.candidates("demo", "1.0")) == RELEASE
    assert len(one.problems) == 3
    assert all("is not there" in problem for problem in one.problems)


def test_plain_http_to_another_machine_is_not_looked_at():
    one = index(index_url="http://index.example/simple")
    assert one.candidates("demo", "1.0") == Candidates()
    assert "trusted-host" in one.problems[0]


def test_no_place_at_all():
    assert index().candidates("demo", "1.0") == Candidates()


def test_problems_and_candidates_hold_no_credentials(server):
    server.faults.login = ("me", "geheim")
    url = server.url.replace("//", "//me:geheim@")
    (wheel, *_) = index(index_url=url).candidates("demo", "1.0").wheels
    assert "geheim" not in repr(wheel)
    server.faults.login = ("me", "anders")
    refused = index(index_url=url)
    with pytest.raises(IndexUnavailableError):
        refused.candidates("demo", "1.0")
    assert "geheim" not in str(refused.problems)


# --- names ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("a-1-py3-none-any.whl", ("a", "1", None)),
        ("a-1-2b-py3-none-any.whl", ("a", "1", "2b")),
        ("a-b-1-py3-none-any.whl", ("a-b", "1", None)),
        ("a-b-1-1-py3-none-any.whl", ("a-b", "1", "1")),
    ],
)
def test_wheel_names(filename, expected):
    name = split_wheel_name(filename)
    assert name is not None
    assert (name.name, name.version, name.build) == expected
    assert name.tags == {"py3-none-any"}


def test_tags_are_expanded():
    name = split_wheel_name("a-1-py2.py3-none-any.linux_x86_64.whl")
    assert name is not None
    assert name.tags == {
        "py2-none-any",
        "py3-none-any",
        "py2-none-linux_x86_64",
        "py3-none-linux_x86_64",
    }


@pytest.mark.parametrize("filename", ["a.whl", "a-1-py3-none.whl", "a-1.tar.gz", ""])
def test_names_that_are_no_wheels(filename):
    assert split_wheel_name(filename) is None


def test_json_is_asked_for(server):
    index(index_url=server.url).candidates("demo", "1.0")
    assert server.headers[0]["accept"].startswith(JSON)
