"""apt's lists and sources: which archive offers which .deb."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from envfreeze.resolve.aptlists import Offer, file_name, offers
from envfreeze.resolve.dpkg import Installed
from envfreeze.resolve.rootfs import Root

SHA = "ab" * 32
STANZA = f"""\
Package: libx
Version: 1:1.0~rc1+b-1
Architecture: amd64
Description: something
 of two lines
Filename: pool/libx_1.0~rc1+b-1_amd64.deb
Size: 42
MD5sum: 0
SHA256: {SHA}

"""
LIBX = Installed(name="libx", version="1:1.0~rc1+b-1", arch="amd64", fields={})
BASE = "http://mirror.example/debian"
LIST = "mirror.example_debian_dists_stable_main_binary-amd64_Packages"


def root_with(tmp_path: Path, sources: dict[str, str], lists: dict[str, bytes]) -> Root:
    for name, text in sources.items():
        path = tmp_path / "etc/apt" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    directory = tmp_path / "var/lib/apt/lists"
    directory.mkdir(parents=True)
    for name, data in lists.items():
        (directory / name).write_bytes(data)
    return Root(tmp_path)


def url_of(root: Root) -> str | None:
    found = offers(root, [LIBX]).get(LIBX.key)
    return found[0].url if found else None


ONE_LINE = {"sources.list": f"deb [signed-by=/x.gpg arch=amd64] {BASE} stable main\n"}


def _tool(*command: str) -> Callable[[bytes], bytes]:
    def pack(data: bytes) -> bytes:
        if shutil.which(command[0]) is None:
            pytest.skip(f"no {command[0]}")
        return subprocess.run(command, input=data, capture_output=True, check=True).stdout

    return pack


@pytest.mark.parametrize(
    ("ending", "pack"),
    [
        ("", bytes),
        (".gz", gzip.compress),
        (".xz", lzma.compress),
        (".bz2", bz2.compress),
        (".lz4", _tool("lz4", "-c")),
        (".zst", _tool("zstd", "-c")),
    ],
)
def test_every_packing_that_apt_uses(
    tmp_path: Path, ending: str, pack: Callable[[bytes], bytes]
) -> None:
    other = STANZA.replace("libx\n", "liby\n", 1)
    root = root_with(tmp_path, ONE_LINE, {LIST + ending: pack((other + STANZA).encode())})
    assert offers(root, [LIBX]) == {
        "libx:amd64": [Offer(url=f"{BASE}/pool/libx_1.0~rc1+b-1_amd64.deb", size=42, sha256=SHA)]
    }


@pytest.mark.parametrize(
    "change",
    [
        ("1:1.0~rc1+b-1\n", "1:1.0~rc1+b-2\n"),
        ("amd64\n", "i386\n"),
        (SHA, "ab"),
        ("Size: 42", "Size: x"),
        ("pool/", "../"),
    ],
)
def test_only_the_very_package_with_a_whole_record(tmp_path: Path, change: tuple[str, str]) -> None:
    text = STANZA.replace(*change).encode()
    assert url_of(root_with(tmp_path, ONE_LINE, {LIST: text})) is None


def test_deb822_sources(tmp_path: Path) -> None:
    text = (
        "# a comment\nTypes: deb deb-src\nURIs: http://other.example/x\n# in between\n"
        f" {BASE}\nSuites: unstable\n stable\nComponents: main\n"
    )
    root = root_with(tmp_path, {"sources.list.d/a.sources": text}, {LIST: STANZA.encode()})
    assert url_of(root) == f"{BASE}/pool/libx_1.0~rc1+b-1_amd64.deb"


@pytest.mark.parametrize(
    "text",
    [
        f"Types: deb\nEnabled: no\nURIs: {BASE}\nSuites: stable\nComponents: main\n",
        f"Types: deb-src\nURIs: {BASE}\nSuites: stable\nComponents: main\n",
        "Types: deb\nURIs: file:/srv/debian\nSuites: stable\nComponents: main\n",
    ],
)
def test_sources_that_do_not_count(tmp_path: Path, text: str) -> None:
    root = root_with(tmp_path, {"sources.list.d/a.sources": text}, {LIST: STANZA.encode()})
    assert url_of(root) is None


def test_a_source_that_is_gone_gives_no_guess(tmp_path: Path) -> None:
    assert url_of(root_with(tmp_path, {}, {LIST: STANZA.encode()})) is None


def test_no_credentials_in_a_url(tmp_path: Path) -> None:
    line = "deb https://user:secret@mirror.example/debian stable main\n"
    root = root_with(tmp_path, {"sources.list": line}, {LIST: STANZA.encode()})
    assert url_of(root) == "https://mirror.example/debian/pool/libx_1.0~rc1+b-1_amd64.deb"


def test_a_flat_archive(tmp_path: Path) -> None:
    text = STANZA.replace("pool/", "./").encode()
    root = root_with(
        tmp_path,
        {"sources.list": "deb http://mirror.example/flat amd64/\n"},
        {"mirror.example_flat_amd64_Packages": text},
    )
    assert url_of(root) == "http://mirror.example/flat/amd64/libx_1.0~rc1+b-1_amd64.deb"


def test_the_name_of_a_list() -> None:
    assert file_name("http://u:p@mirror.example:80/a_b/~c/") == "mirror.example:80_a%5fb_%7ec_"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nOrigin: Debian\n"
            "Label: Debian-Security\nSuite: oldstable-security\nCodename: bookworm-security\n",
            "Debian bookworm-security",
        ),
        ("Origin: X Inc. \nSuite: stable\n", "X Inc. stable"),
        ("Label: nothing\n", None),
        ("Origin: \x1b[31m\nCodename: noble\n", "noble"),
    ],
)
def test_what_an_archive_calls_itself(tmp_path: Path, text: str, name: str | None) -> None:
    lists = {LIST: STANZA.encode(), "mirror.example_debian_dists_stable_InRelease": text.encode()}
    [offer] = offers(root_with(tmp_path, ONE_LINE, lists), [LIBX])[LIBX.key]
    assert offer.origin == name


def test_a_damaged_list_is_passed_over(tmp_path: Path) -> None:
    assert url_of(root_with(tmp_path, ONE_LINE, {LIST + ".gz": b"no gzip"})) is None
