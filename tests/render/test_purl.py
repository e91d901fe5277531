"""Package URLs, read back by the specification's own library."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packageurl import PackageURL

from envfreeze.model.lines import utf8
from envfreeze.model.origin import Origin
from envfreeze.render import purl
from tests.support import condas

DEBIAN = {"ID": "debian", "VERSION_ID": "12"}


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (purl.pypi("Foo_Bar", "1.0+cu12.1"), "pkg:pypi/foo-bar@1.0%2Bcu12.1"),
        (
            purl.pypi("a", "1!2", repository_url="https://index.example/simple"),
            "pkg:pypi/a@1%212?repository_url=https://index.example/simple",
        ),
        (purl.pypi("a", "1", repository_url=None), "pkg:pypi/a@1"),
        (
            purl.conda(condas.package("x")),
            "pkg:conda/x@1.0?build=h0_0&channel=https://channel.example/main"
            "&subdir=linux-64&type=conda",
        ),
        (
            purl.system("dpkg", DEBIAN, ("libstdc++6", "1:12.2+b1~1", "amd64")),
            "pkg:deb/debian/libstdc%2B%2B6@1:12.2%2Bb1~1?arch=amd64&distro=debian-12",
        ),
        (
            purl.system("rpm", {"ID": "rocky"}, ("tzdata", "1:2.0-3.el9", "noarch")),
            "pkg:rpm/rocky/tzdata@2.0-3.el9?arch=noarch&distro=rocky&epoch=1",
        ),
        (
            purl.system("apk", {"ID": "alpine", "VERSION_ID": "3.20"}, ("musl", "1-r2", "x86_64")),
            "pkg:apk/alpine/musl@1-r2?arch=x86_64&distro=alpine-3.20",
        ),
        (purl.system(None, DEBIAN, ("a", "1", "b")), None),
        (purl.system("dpkg", {}, ("a", "1", "b")), None),
        (
            purl.oci("reg.example:5000/Base/py:3.12@sha256:ab"),
            "pkg:oci/py@sha256:ab?repository_url=reg.example:5000/base/py&tag=3.12",
        ),
    ],
)
def test_each_kind_is_spelled_as_its_type_says(made: str | None, text: str | None) -> None:
    assert made == text
    if made is not None:
        assert PackageURL.from_string(made).to_string() == made


QUALIFIERS = st.dictionaries(st.sampled_from(["arch", "build", "download_url"]), st.text())


@given(st.text(min_size=1), st.text(), QUALIFIERS)
def test_hostile_text_ends_neither_its_part_nor_the_purl(
    name: str, version: str, qualifiers: dict[str, Any]
) -> None:
    made = purl.purl("generic", f"n{name}n", version and f"v{version}v", qualifiers=qualifiers)
    assert made.isascii()
    assert not set(made) & set(' \n\t"<>#')
    found = PackageURL.from_string(made)
    assert found.name == utf8(f"n{name}n")
    assert (found.version or "") == (version and utf8(f"v{version}v"))
    kept = {key: utf8(value) for key, value in qualifiers.items() if value.strip()}
    told = found.qualifiers if isinstance(found.qualifiers, dict) else {}
    assert {key: told[key] for key in kept} == kept


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://u:secret@index.example/a-1.whl#sha256=0", "https://index.example/a-1.whl"),
        ("https://index.example/a-1.whl?x=1", "https://index.example/a-1.whl?x=1"),
        ("https://index.example/a.whl?X-Signature=abc", None),
        ("https://index.example/a.whl?access_token=abc", None),
        ("ssh://git@git.example/a.git", "ssh://git@git.example/a.git"),
        ("git+https://me:pw@git.example/a.git", "git+https://git.example/a.git"),
        ("https://git:pw@git.example/a.git", "https://git.example/a.git"),
        ("file:///home/me/a.whl", None),
        ("evil+https://a.example/", None),
        ("https://index.example/a b", None),
        ("https://index.example/\u202e", None),
        ("https://index.example/%zz", None),
        ("https://[::1/x", None),
        (None, None),
    ],
)
def test_a_url_is_passed_on_without_credentials(url: str | None, kept: str | None) -> None:
    assert purl.public_url(url) == kept


def test_a_commit_is_named_behind_its_repository() -> None:
    facts: dict[str, Any] = {"kind": "git", "commit": "a" * 40, "evidence": ""}
    place = "git.example/x.git"
    for scheme in ("https", "git+https"):
        origin = Origin(url=f"{scheme}://{place}", **facts)
        assert purl.vcs_url(origin) == f"git+https://{place}@{'a' * 40}"
    assert purl.vcs_url(Origin(kind="sdist", url=f"https://{place}", evidence="")) is None
