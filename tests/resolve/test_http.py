"""Pages, ranges and downloads from a server that misbehaves; what is never shown."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envfreeze.errors import ArtifactError, IndexUnavailableError
from envfreeze.resolve import http as http_module
from envfreeze.resolve.http import (
    Http,
    RangesUnsupportedError,
    UnreachableError,
    is_secure,
    local_path,
    redact,
    strip_credentials,
)
from envfreeze.resolve.pipconf import IndexSettings
from envfreeze.store import Cache
from tests.support.fakeindex import JSON, FakeIndex, make_wheel


@pytest.fixture
def server(tmp_path: Path):
    make_wheel(tmp_path / "files", "demo", "1.0", {"demo.py": "x = 1\n" * 2000})
    with FakeIndex(tmp_path / "files") as index:
        yield index


@pytest.fixture
def wheel(server: FakeIndex) -> bytes:
    return next(server.directory.iterdir()).read_bytes()


def client(retries: int = 0, **settings: object) -> Http:
    return Http(IndexSettings(retries=retries, timeout=5, **settings))  # type: ignore[arg-type]


def file_url(server: FakeIndex) -> str:
    return f"{server.base}/files/demo-1.0-py3-none-any.whl"


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- pages ---------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
def test_a_page(server, packed):
    server.faults.gzip = packed
    page = client().page(f"{server.url}/demo/")
    assert page is not None
    assert page.content_type == JSON
    assert b"demo-1.0" in page.body
    assert page.url == f"{server.url}/demo/"
    assert server.headers[0]["accept"].startswith(JSON)


def test_no_page(server):
    assert client().page(f"{server.url}/other/") is None


@pytest.mark.parametrize("status", [403, 500, 418])
def test_an_error_status_is_told_with_the_url(server, status):
    server.faults.status = status
    with pytest.raises(IndexUnavailableError, match=f"/simple/demo/ .*{status}") as caught:
        client().page(f"{server.url}/demo/")
    assert caught.value.hint


def test_a_passing_error_is_tried_again(server):
    server.faults.status, server.faults.status_times = 503, 2
    assert client(retries=3).page(f"{server.url}/demo/") is not None
    assert len(server.requests) == 3


def test_an_answer_that_breaks_off_is_asked_for_again(server):
    server.faults.truncate, server.faults.truncate_times = 10, 1
    assert client().page(f"{server.url}/demo/") is not None
    server.faults.truncate_times = -1
    with pytest.raises(IndexUnavailableError, match="broke off"):
        client().page(f"{server.url}/demo/")


def test_gzip_that_ends_early_is_noticed(server, monkeypatch):
    server.faults.gzip, server.faults.body = True, b"x" * 1000
    monkeypatch.setattr("tests.support.fakeindex.gzip.compress", lambda b, mtime: _cut(b))
    with pytest.raises(IndexUnavailableError, match="cut short"):
        client().page(f"{server.url}/demo/")


def _cut(body: bytes) -> bytes:
    import zlib

    packer = zlib.compressobj(wbits=31)
    return (packer.compress(body) + packer.flush())[:-4]


@pytest.mark.parametrize("packed", [False, True])
def test_an_endless_page_is_given_up(server, monkeypatch, packed):
    monkeypatch.setattr(http_module, "PAGE_LIMIT", 1 << 20)
    server.faults.body, server.faults.gzip = b"\0" * (2 << 20), packed
    with pytest.raises(IndexUnavailableError, match="more than 1 MiB"):
        client().page(f"{server.url}/demo/")


def test_nobody_there():
    with pytest.raises(UnreachableError, match="did not answer") as caught:
        client().page(f"http://127.0.0.1:{closed_port()}/simple/demo/")
    assert "0x" not in str(caught.value)
    assert "pip config" in caught.value.hint


def test_a_dropped_connection(server):
    server.faults.drop = True
    with pytest.raises(UnreachableError):
        client().page(f"{server.url}/demo/")


@pytest.mark.parametrize("url", ["ftp://index.example/x", "http://[::1/", "http://a:x/", "nope"])
def test_urls_that_cannot_be_asked(url):
    with pytest.raises(ArtifactError):
        client().page(url)


def test_connections_are_kept(server):
    http = client()
    for _ in range(20):
        http.page(f"{server.url}/demo/")
        http.read_range(file_url(server), 0, 10)
        http.size(file_url(server))
    assert server.connections == 1
    assert http.requests == len(server.requests) == 60
    http.close()


def test_threads_share_a_client(server):
    http = client()
    results: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: results.append(http.read_range(file_url(server), 0, 4)))
        for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [b"PK\3\4"] * 12


# --- ranges, sizes, downloads --------------------------------------------------------------


def test_a_range(server, wheel):
    assert client().read_range(file_url(server), 10, 30) == wheel[10:30]
    assert server.headers[0]["range"] == "bytes=10-29"
    assert server.headers[0]["accept-encoding"] == "identity"


def test_a_server_without_ranges_is_told_apart(server):
    server.faults.no_ranges = True
    with pytest.raises(RangesUnsupportedError):
        client().read_range(file_url(server), 0, 10)


def test_another_range_than_asked_for_is_refused(server):
    server.faults.wrong_range = True
    with pytest.raises(ArtifactError, match="asked for bytes 10-19"):
        client().read_range(file_url(server), 10, 20)


def test_a_range_beyond_the_end(server):
    with pytest.raises(ArtifactError, match="416"):
        client().read_range(file_url(server), 1 << 30, 1 << 31)


@pytest.mark.parametrize("no_head", [False, True])
def test_sizes(server, wheel, no_head):
    server.faults.no_head = no_head
    assert client().size(file_url(server)) == len(wheel)


def test_no_size_without_head_and_ranges(server):
    server.faults.no_head = server.faults.no_ranges = True
    with pytest.raises(RangesUnsupportedError):
        client().size(file_url(server))


def test_the_size_of_nothing(server):
    with pytest.raises(IndexUnavailableError, match="404"):
        client().size(f"{server.base}/files/none.whl")


def test_a_download(server, wheel, tmp_path):
    with Cache(tmp_path / "cache").writing() as blob:
        client().download(file_url(server), blob, len(wheel))
    assert blob.size == len(wheel)


def test_a_download_goes_on_where_it_broke_off(server, wheel, tmp_path):
    server.faults.truncate, server.faults.truncate_times = 100, 1
    cache = Cache(tmp_path / "cache")
    with cache.writing() as blob:
        client().download(file_url(server), blob, len(wheel))
    assert cache.find(blob.sha256).read_bytes() == wheel
    assert server.headers[1]["range"] == f"bytes={len(wheel) - 100}-"


def test_a_broken_download_without_ranges_fails(server, tmp_path):
    server.faults.truncate, server.faults.no_ranges = 100, True
    cache = Cache(tmp_path / "cache")
    with pytest.raises(ArtifactError, match="cannot go on"), cache.writing() as blob:
        client().download(file_url(server), blob)
    assert not [path for path in cache.root.rglob("*") if path.is_file()]


@pytest.mark.parametrize("difference", [-1, 1])
def test_a_download_of_another_size(server, wheel, tmp_path, difference):
    with pytest.raises(ArtifactError, match="expected"), Cache(tmp_path).writing() as blob:
        client().download(file_url(server), blob, len(wheel) + difference)


# --- credentials ---------------------------------------------------------------------------


def with_login(url: str, login: str = "me:geheim") -> str:
    return url.replace("http://", f"http://{login}@")


def test_the_login_of_the_url(server):
    server.faults.login = ("me", "ge:heim@")
    page = client().page(with_login(f"{server.url}/demo/", "me:ge%3Aheim%40"))
    assert page is not None
    assert "me" not in page.url.split("//")[1].split("/")[0]


def test_the_login_of_the_index_serves_its_files(server):
    server.faults.login = ("me", "geheim")
    http = client(index_url=with_login(server.url))
    assert http.size(file_url(server)) > 0


def test_the_login_of_netrc(server, tmp_path):
    server.faults.login = ("me", "geheim")
    path = tmp_path / "netrc"
    path.write_text("machine 127.0.0.1 login me password geheim\n")
    assert client(netrc=str(path)).page(f"{server.url}/demo/") is not None
    path.write_text("machine\n\n[broken")
    with pytest.raises(UnreachableError, match="401"):
        client(netrc=str(path)).page(f"{server.url}/demo/")


def test_no_login_goes_to_another_origin(server, tmp_path):
    with FakeIndex(server.directory) as other:
        server.faults.redirect = other.base
        page = client(index_url=with_login(server.url)).page(f"{server.url}/demo/")
        assert page is not None
        assert page.url.startswith(other.base)
        assert "authorization" in server.headers[0]
        assert "authorization" not in other.headers[0]


def test_a_circle_of_redirects(server):
    server.faults.redirect = server.base
    with pytest.raises(IndexUnavailableError, match="circle"):
        client().page(f"{server.url}/demo/")


@pytest.mark.parametrize("fault", ["status", "drop", "truncate"])
def test_no_error_names_a_secret(server, fault):
    setattr(server.faults, fault, 500 if fault == "status" else 50)
    url = with_login(f"{server.url}/demo/") + "?X-Amz-Signature=geheim&token=geheim"
    with pytest.raises(ArtifactError) as caught:
        client().page(url)
    error: BaseException | None = caught.value
    while error is not None:
        assert "geheim" not in str(error)
        error = error.__cause__


@pytest.mark.parametrize(
    ("url", "bare"),
    [
        ("https://u:p@a.example/x?a=1", "https://a.example/x?a=1"),
        ("https://u:p@a.example:8/x", "https://a.example:8/x"),
        ("https://a.example/x?X-Amz-Date=1&b=2", "https://a.example/x?b=2"),
        ("https://a.example/x?sig=1", "https://a.example/x"),
        ("https://a.example/t/ab-0123-4567/me/simple", "https://a.example/me/simple"),
        ("file:///a/b.whl", "file:///a/b.whl"),
        ("http://[::1/", ""),
        ("https://a.example/x;token=hunter2/y;v=1", "https://a.example/x/y;v=1"),
        ("https://a.example/t/hunter2-hunter2", "https://a.example/"),
        ("https://a.example/basic/hunter2hunter2/simple/", "https://a.example/simple/"),
        (
            "https://a.example/basic/acme/tools/simple/",
            "https://a.example/basic/acme/tools/simple/",
        ),
        ("https://a.example/__token__/hunter2/x", "https://a.example/x"),
        ("https://a.example/glpat-0123456789abcdefghij/x", "https://a.example/x"),
        ("https://a.example/hf_0123456789abcdefghij0123456789ABCD/x", "https://a.example/x"),
        ("u:hunter2@a.example:x/y.git", "u@a.example:x/y.git"),
        ("git@a.example:x/y.git", "git@a.example:x/y.git"),
        ("https:\\\\u:hunter2@a.example\\x", "https://a.example/x"),
        ("https:/\\/u:hunter2@a.example/x", "https://a.example/x"),
        ("https://a.example/x\\\\u:hunter2@b", "https://a.example/x//b"),
    ],
)
def test_what_is_stripped(url, bare):
    assert strip_credentials(url) == bare
    assert redact(url + "#sha256=0") in {bare, ""}


_WORD = st.from_regex(r"[a-z]{1,7}(-[0-9.]{1,5})?", fullmatch=True)
_ORDINARY = st.builds(
    "{}://{}{}/{}{}{}".format,
    st.sampled_from(["https", "http", "git+https", "file"]),
    st.sampled_from(["a.example", "[::1]", "b-c.example"]),
    st.sampled_from(["", ":8080"]),
    st.lists(
        _WORD | st.from_regex(r"[0-9a-f]{2}|[0-9a-f]{60}|%5B[a-z]+%5D", fullmatch=True), max_size=6
    ).map("/".join),
    st.sampled_from(["", "?a=1&b=%20c", "?", "?flag"]),
    st.sampled_from(["", "#sha256=0&egg=a", "#subdirectory=a%2Fb"]),
)
_SECRET = "0hunter2HUNTER2"
_HIDDEN = st.sampled_from(
    [
        "https://u:{}@a.example/x",
        "https://{}@a.example/x",
        "https://a.example/;token={}",
        "https://a.example/x;Password={};v=1/y",
        "https://a.example/t/{}/x",
        "https://a.example/basic/{}/simple",
        "https://a.example/__token__/{}",
        "https://a.example/x?sig={}",
        "https://a.example/x#token={}",
        "u:{}@a.example:x",
        "https:\\\\u:{}@a.example\\x",
        "https:://u:{}@a.example",
        "https:////u:{}@a.example",
    ]
)


@pytest.mark.parametrize(
    "name",
    [
        "hf_xet-1.8.0-cp38-abi3-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "hf_transfer-0.1.9.tar.gz",
        "gho_st-1.0-py3-none-any.whl.metadata",
        "eyJson-1.0.0.post1-py2.py3-none-any.whl",
        "glpat-1.0.0.20210101-h0123456789abcdef_0.conda",
        "xoxb-2.0-1build1_amd64.deb",
    ],
)
def test_a_file_that_begins_as_tokens_do(name):
    """The lock names the wheel of hf-xet by its whole URL."""
    url = f"https://a.example/packages/f8/1e/{'1e8ecc05' * 7}/{name}"
    assert strip_credentials(url) == url


@given(_ORDINARY)
def test_an_ordinary_url_stays(url):
    assert strip_credentials(url) == url


@given(_HIDDEN, st.text("0aZ:/\\@;?#&=t_.", max_size=6))
def test_no_secret_survives(template, more):
    bare = strip_credentials(template.format(_SECRET))
    assert _SECRET not in bare
    odd = strip_credentials(template.format(_SECRET) + more)
    assert strip_credentials(odd) == odd


@given(st.text("0aZ:/\\@;?#&=t_.[]%", max_size=40))
def test_stripping_twice_is_stripping_once(url):
    bare = strip_credentials(url)
    assert strip_credentials(bare) == bare


@pytest.mark.parametrize(
    ("fragment", "kept"),
    [
        ("#sha256=0&token=hunter2", "#sha256=0"),
        ("#access_token=hunter2", ""),
        ("#egg=demo&subdirectory=a%20b", "#egg=demo&subdirectory=a%20b"),
        ("#section", "#section"),
    ],
)
def test_a_token_in_the_fragment(fragment, kept):
    assert strip_credentials("https://x.example/a" + fragment) == "https://x.example/a" + kept


# --- TLS, proxies --------------------------------------------------------------------------


def test_certificates_that_are_not_there_are_named(server):
    with pytest.raises(IndexUnavailableError, match=r"none\.pem"):
        client(cert="/nowhere/none.pem").page("https://127.0.0.1:1/")


def test_a_proxy_is_asked_instead(server):
    http = client(environment_proxies=(("http", server.base.replace("//", "//u:p@")),))
    http.page("http://index.example/simple/demo/")
    assert server.requests[0][1] == "http://index.example/simple/demo/"
    assert "proxy-authorization" in server.headers[0]


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "*", "127.0.0.0/8"])
def test_no_proxy(server, no_proxy):
    proxy = f"127.0.0.1:{closed_port()}"
    http = client(environment_proxies=(("all", proxy),), no_proxy=no_proxy)
    assert http.page(f"{server.url}/demo/") is not None
    with pytest.raises(UnreachableError):
        client(proxy=proxy).page(f"{server.url}/demo/")


@pytest.mark.parametrize(
    ("url", "trusted", "secure"),
    [
        ("https://a.example/", (), True),
        ("http://a.example/", (), False),
        ("http://a.example/", ("a.example",), True),
        ("http://a.example:81/", ("a.example:80",), False),
        ("http://a.example:81/", ("a.example:81",), True),
        ("http://127.0.0.9/", (), True),
        ("http://[::1]:8/", (), True),
        ("http://localhost:3141/", (), True),
        ("file:///x", (), True),
    ],
)
def test_where_pip_would_look(url, trusted, secure):
    assert is_secure(url, trusted) == secure


# --- file: ---------------------------------------------------------------------------------


def test_files_of_this_machine(tmp_path, wheel):
    path = tmp_path / "a b+c.whl"
    path.write_bytes(wheel)
    url = path.as_uri()
    http = client()
    assert http.size(url) == len(wheel)
    assert http.read_range(url, 3, 9) == wheel[3:9]
    with Cache(tmp_path / "cache").writing() as blob:
        http.download(url, blob, len(wheel))
    assert http.page((tmp_path / "none").as_uri()) is None
    with pytest.raises(ArtifactError, match="cannot read"):
        http.size((tmp_path / "none").as_uri())
    assert http.requests == 0


def test_a_directory_is_its_index_page(tmp_path):
    (tmp_path / "index.html").write_text("hello")
    page = client().page(tmp_path.as_uri() + "/")
    assert page is not None
    assert (page.body, page.content_type) == (b"hello", "text/html")
    assert page.url.endswith("/index.html")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///a/b%20c", Path("/a/b c")),
        ("file://localhost/a", Path("/a")),
        ("file://elsewhere/a", None),
        ("file:///a%00b", None),
        ("https://a.example/", None),
        ("/a", None),
    ],
)
def test_paths_of_file_urls(url, path):
    assert local_path(url) == path
