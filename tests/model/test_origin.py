"""An origin in a lock is anybody's text: plain, without a secret, and nothing to act on."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from envfreeze.errors import LockError
from envfreeze.model import toml
from envfreeze.model.lock import INLINE, loads
from envfreeze.model.origin import Origin, origin_problem
from tests.model.test_lock import document

__all__ = ["document"]


def origin(**facts: Any) -> Origin:
    return Origin(**({"kind": "sdist", "evidence": "told"} | facts))


SOUND = [
    origin(),
    origin(name="a-1.tar.gz", url="https://index.example/a-1.tar.gz", hashes={"sha256": "0" * 64}),
    origin(url="file:///srv/a%20b/a-1.tar.gz", hashes={"sha512": "0" * 128, "blake2b": "0" * 64}),
    origin(kind="git", url="ssh://git@git.example/a.git", commit="0" * 40, requested_revision="v1"),
    origin(kind="git", url="https://${USER}:${TOKEN}@git.example/a", subdirectory="x/y z"),
    origin(kind="svn", url="svn+https://svn.example/trunk", commit="1234"),
    origin(kind="directory", url="file:///srv/src"),
]


@pytest.mark.parametrize("sound", SOUND)
def test_a_sound_origin(sound: Origin) -> None:
    assert origin_problem(sound) is None


UNSOUND: dict[str, tuple[dict[str, Any], str]] = {
    "a password": ({"url": "https://u:p@index.example/a"}, "credentials"),
    "a token": ({"url": "https://token@index.example/a"}, "credentials"),
    "git with a password": ({"url": "ssh://git:x@git.example/a"}, "credentials"),
    "no scheme": ({"url": "/etc/passwd"}, "plain URL"),
    "another scheme": ({"url": "javascript://x/y"}, "plain URL"),
    "a transport that runs": ({"url": "ext::sh -c id://x"}, "plain URL"),
    "a line's end": ({"url": "https://index.example/a\nRUN id"}, "plain URL"),
    "a space": ({"url": "https://index.example/a b"}, "plain URL"),
    "no port": ({"url": "https://index.example:x/a"}, "not a URL"),
    "an open bracket": ({"url": "https://[::1/a"}, "not a URL"),
    "a name that leads out": ({"name": "../a.tar.gz"}, "file name"),
    "a name that is a directory": ({"name": ".."}, "file name"),
    "a short digest": ({"hashes": {"sha256": "12"}}, "hashes"),
    "a digest of another length": ({"hashes": {"sha256": "0" * 40}}, "hashes"),
    "upper case": ({"hashes": {"sha256": "A" * 64}}, "hashes"),
    "no algorithm": ({"hashes": {"$(id)": "0" * 64}}, "hashes"),
    "a commit that is an option": ({"kind": "git", "commit": "--upload-pack=id"}, "commit"),
    "half a commit": ({"kind": "git", "commit": "abc"}, "commit"),
    "a revision that is an option": ({"requested_revision": "--exec=id"}, "requested-revision"),
    "a revision of two lines": ({"requested_revision": "a\nb"}, "requested-revision"),
    "a subdirectory that leads out": ({"subdirectory": "a/../../b"}, "subdirectory"),
    "an absolute subdirectory": ({"subdirectory": "/etc"}, "subdirectory"),
}


@pytest.mark.parametrize("case", UNSOUND)
def test_a_lock_with_an_unsound_origin_is_refused(case: str, document: dict[str, Any]) -> None:
    facts, said = UNSOUND[case]
    unsound = origin(**facts)
    assert said in (origin_problem(unsound) or "")
    broken = msgspec.json.decode(msgspec.json.encode(document))
    table = broken["packages"][0]["tool"]["envfreeze"]
    table["built-from"] = [msgspec.to_builtins(origin()), msgspec.to_builtins(unsound)]
    place = r"packages\[0\]\.tool\.envfreeze\.built-from\[1\]"
    with pytest.raises(LockError, match=place):
        loads(toml.dump(broken, INLINE))


def test_a_sound_one_is_read(document: dict[str, Any]) -> None:
    whole = msgspec.json.decode(msgspec.json.encode(document))
    whole["packages"][0]["tool"]["envfreeze"]["built-from"] = msgspec.to_builtins(SOUND)
    read = loads(toml.dump(whole, INLINE))
    assert read.packages[0].facts.built_from == SOUND
    assert read.packages[0].built_here


def test_what_it_is_called() -> None:
    assert origin(name="a-1.tar.gz").title == "a-1.tar.gz"
    assert origin(kind="git", commit="0123456789" * 4).title == "git commit 012345678901"
    assert origin(kind="directory", url="file:///srv/src").title == "a local directory"
    assert origin(hashes={"sha256": "0" * 64}).title == "a sdist"
