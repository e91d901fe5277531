"""Logins out of a keyring: asked after a 401, by pip's rules, and never told to anybody."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from envfreeze.errors import IndexUnavailableError
from envfreeze.resolve import keyrings
from envfreeze.resolve.http import Http, UnreachableError
from envfreeze.resolve.keyrings import Keyring
from envfreeze.resolve.pipconf import IndexSettings
from tests.support.fakeindex import FakeIndex, make_wheel
from tests.support.keyrings import KeyringProgram

SECRET = "ge:heim@42"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FakeIndex]:
    make_wheel(tmp_path / "files", "demo", "1.0", {"demo.py": "1"})
    with FakeIndex(tmp_path / "files") as index:
        index.faults.login = ("me", SECRET)
        yield index


def client(program: KeyringProgram | None, **settings: Any) -> Http:
    path = str(program.directory) if program is not None else ""
    facts = {"retries": 0, "timeout": 5, "keyring_provider": "subprocess", "keyring_path": path}
    return Http(IndexSettings(**(facts | settings)))


def netloc(server: FakeIndex) -> str:
    return f"127.0.0.1:{server.port}"


def test_the_index_first_then_the_host(server: FakeIndex, tmp_path: Path) -> None:
    program = KeyringProgram(tmp_path / "bin", (netloc(server), "me", SECRET))
    http = client(program, index_url=server.url)
    assert http.page(f"{server.url}/demo/") is not None
    assert program.services == [f"{server.url}/", server.url, netloc(server)]
    assert program.asked[0] == ["--mode=creds", "--output=json", "get", f"{server.url}/"]
    # What was learned is used at once from now on.
    wheel = f"{server.base}/files/demo-1.0-py3-none-any.whl"
    assert http.size(wheel) > 0
    assert http.read_range(wheel, 0, 2) == b"PK"
    assert len(program.asked) == 3
    assert [status for status in server.headers if "authorization" not in status] == [
        server.headers[0]
    ]


def test_a_login_kept_under_the_index(server: FakeIndex, tmp_path: Path) -> None:
    program = KeyringProgram(tmp_path / "bin", (f"{server.url}/", "me", SECRET))
    assert client(program, index_url=server.url).page(f"{server.url}/demo/") is not None
    assert program.services == [f"{server.url}/"]


def test_the_user_name_of_the_url_counts(server: FakeIndex, tmp_path: Path) -> None:
    other = (netloc(server), "other", "wrong")
    program = KeyringProgram(tmp_path / "bin", other, (netloc(server), "me", SECRET))
    index = server.url.replace("//", "//me@")
    assert client(program, index_url=index).page(f"{server.url}/demo/") is not None
    assert all(words[-1] == "me" for words in program.asked)


@pytest.mark.parametrize("user", ["me@", ""])
def test_an_old_keyring_needs_a_user_name(server: FakeIndex, tmp_path: Path, user: str) -> None:
    program = KeyringProgram(tmp_path / "bin", (netloc(server), "me", SECRET), old=True)
    http = client(program, index_url=server.url.replace("//", f"//{user}"))
    if user:
        assert http.page(f"{server.url}/demo/") is not None
        assert program.asked[-1] == ["get", netloc(server), "me"]
    else:
        with pytest.raises(UnreachableError) as caught:
            http.page(f"{server.url}/demo/")
        assert "needs a user name" in (caught.value.hint or "")
        assert len(program.asked) == 1


def test_nobody_is_asked_before_a_401(server: FakeIndex, tmp_path: Path) -> None:
    server.faults.login = None
    program = KeyringProgram(tmp_path / "bin", (netloc(server), "me", SECRET))
    assert client(program, index_url=server.url).page(f"{server.url}/demo/") is not None
    assert program.asked == []


def test_a_password_in_the_url_is_the_last_word(server: FakeIndex, tmp_path: Path) -> None:
    program = KeyringProgram(tmp_path / "bin", (netloc(server), "me", SECRET))
    http = client(program, index_url=server.url.replace("//", "//me:wrong@"))
    with pytest.raises(UnreachableError) as caught:
        http.page(f"{server.url}/demo/")
    assert program.asked == []
    assert "refuses the login in its URL" in (caught.value.hint or "")


def test_after_netrc(server: FakeIndex, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password wrong\n")
    program = KeyringProgram(tmp_path / "bin", (netloc(server), "me", SECRET))
    http = client(program, index_url=server.url, netrc=str(netrc))
    assert http.page(f"{server.url}/demo/") is not None
    netrc.write_text(f"machine 127.0.0.1 login me password {SECRET}\n")
    asked = len(program.asked)
    again = client(program, index_url=server.url, netrc=str(netrc))
    assert again.page(f"{server.url}/demo/") is not None
    assert len(program.asked) == asked


def test_a_login_that_is_refused_is_tried_once(server: FakeIndex, tmp_path: Path) -> None:
    program = KeyringProgram(tmp_path / "bin", (netloc(server), "me", "wrong"))
    http = client(program, index_url=server.url)
    for _ in range(2):
        with pytest.raises(UnreachableError) as caught:
            http.page(f"{server.url}/demo/")
        assert "refuses the login that keyring has" in (caught.value.hint or "")
        assert "wrong" not in f"{caught.value} {caught.value.hint}"
    assert len(server.requests) == 3
    assert len(program.asked) == 3


def test_a_keyring_without_it(server: FakeIndex, tmp_path: Path) -> None:
    program = KeyringProgram(tmp_path / "bin", ("index.example", "me", SECRET))
    http = client(program, index_url=server.url)
    for _ in range(2):
        with pytest.raises(UnreachableError) as caught:
            http.page(f"{server.url}/demo/")
        assert "(keyring has no login for it)" in (caught.value.hint or "")
    assert len(program.asked) == 3


def test_another_host_gets_its_own(server: FakeIndex, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    with FakeIndex(tmp_path / "files") as other:
        other.faults.login = ("you", "hers")
        program = KeyringProgram(
            tmp_path / "bin", (netloc(server), "me", SECRET), (netloc(other), "you", "hers")
        )
        server.faults.redirect = other.base
        assert client(program, index_url=server.url).page(f"{server.url}/demo/") is not None
        sent = {headers.get("authorization") for headers in other.headers}
        assert not sent & {h["authorization"] for h in server.headers if "authorization" in h}
        assert len(sent) == 2  # none, then its own


def test_no_keyring_over_an_open_line(tmp_path: Path) -> None:
    program = KeyringProgram(tmp_path / "bin", ("index.example", "me", SECRET))
    http = client(program, index_url="http://index.example/simple")
    assert http._credentials.learn("http://index.example/simple/demo/", None) is None
    assert program.asked == []
    trusting = client(program, trusted_hosts=("index.example",))
    assert trusting._credentials.learn("http://index.example/x", None) == ("me", SECRET)


def test_many_threads_ask_once(server: FakeIndex, tmp_path: Path) -> None:
    program = KeyringProgram(tmp_path / "bin", (f"{server.url}/", "me", SECRET))
    http = client(program, index_url=server.url)
    pages: list[object] = []
    threads = [
        threading.Thread(target=lambda: pages.append(http.page(f"{server.url}/demo/")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pages) == 8
    assert None not in pages
    assert len(program.asked) == 1


# --- keyrings that do not work -------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("print('[1]'); sys.exit(0)", "not a login in JSON"),
        ("print('geheim'); sys.exit(0)", "not a login in JSON"),
        ("import time; time.sleep(60)", "did not answer within"),
    ],
)
def test_a_keyring_that_fails_is_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str, said: str
) -> None:
    monkeypatch.setattr(keyrings, "TIMEOUT", 1.0)
    program = KeyringProgram(tmp_path / "bin", ("x", "me", SECRET), more=more)
    settings = IndexSettings(keyring_provider="subprocess", keyring_path=str(tmp_path / "bin"))
    keyring = Keyring(settings)
    assert keyring.find(["x", "y"], None) is None
    assert keyring.find(["z"], None) is None
    assert len(program.asked) == 1
    assert said in keyring.said
    assert "geheim" not in keyring.said


@pytest.mark.parametrize(
    ("provider", "no_input", "asked"),
    [
        ("subprocess", True, True),
        ("auto", False, True),
        ("auto", True, False),
        ("disabled", False, False),
        ("import", False, False),
    ],
)
def test_which_provider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: str, no_input: bool, asked: bool
) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)  # Whether one is installed here or not.
    program = KeyringProgram(tmp_path / "bin", ("x", "me", SECRET))
    keyring = Keyring(
        IndexSettings(
            keyring_provider=provider, keyring_path=str(program.directory), no_input=no_input
        )
    )
    assert (keyring.find(["x"], None) == ("me", SECRET)) == asked
    assert bool(program.asked) == asked
    assert bool(keyring.said)


def test_a_service_is_no_option(tmp_path: Path) -> None:
    program = KeyringProgram(tmp_path / "bin", ("x", "me", SECRET))
    settings = IndexSettings(keyring_provider="subprocess", keyring_path=str(tmp_path / "bin"))
    assert Keyring(settings).find(["--list-backends", ""], None) is None
    assert program.asked == []


# --- the module ----------------------------------------------------------------------------

MODULE = f"""
from types import SimpleNamespace

def get_credential(service, username):
    if service == "boom":
        raise RuntimeError("the secret is {SECRET}")
    found = SimpleNamespace(username=username or "me", password="{SECRET}")
    return found if service == "x" else None
"""
OLD_MODULE = f"""
def get_password(service, username):
    return "{SECRET}" if (service, username) == ("x", "me") else None
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    (tmp_path / "modules").mkdir()
    before = sys.modules.pop("keyring", None)
    yield tmp_path / "modules/keyring.py"
    sys.modules.pop("keyring", None)
    if before is not None:  # A real one, with modules below it.
        sys.modules["keyring"] = before


@pytest.mark.parametrize("provider", ["auto", "import"])
def test_the_module(module: Path, provider: str) -> None:
    module.write_text(MODULE)
    keyring = Keyring(IndexSettings(keyring_provider=provider))
    assert keyring.find(["w", "x"], None) == ("me", SECRET)
    assert keyring.find(["x"], "you") == ("you", SECRET)
    assert keyring.find(["boom"], None) is None
    assert keyring.said == "keyring failed (RuntimeError)"


def test_an_old_module(module: Path) -> None:
    module.write_text(OLD_MODULE)
    keyring = Keyring(IndexSettings(keyring_provider="import"))
    assert keyring.find(["x"], None) is None
    assert keyring.find(["x"], "me") == ("me", SECRET)


def test_a_damaged_module_is_no_keyring(module: Path, tmp_path: Path) -> None:
    module.write_text("raise RuntimeError('no backend')")
    assert Keyring(IndexSettings(keyring_provider="import")).find(["x"], None) is None
    program = KeyringProgram(tmp_path / "bin", ("x", "me", SECRET))
    keyring = Keyring(IndexSettings(keyring_path=str(program.directory)))
    assert keyring.find(["x"], None) == ("me", SECRET)


def test_the_secret_is_in_no_repr(server: FakeIndex, tmp_path: Path) -> None:
    program = KeyringProgram(tmp_path / "bin", (netloc(server), "me", SECRET))
    http = client(program, index_url=server.url)
    http.page(f"{server.url}/demo/")
    server.faults.login = ("me", "changed")
    with pytest.raises(IndexUnavailableError) as caught:
        http.page(f"{server.url}/demo/")
    for shown in (repr(http), str(caught.value), caught.value.hint or ""):
        assert SECRET not in shown
