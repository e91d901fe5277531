"""Real inputs to start from: what installers, indexes and our own writers really made.

Nothing is recorded: the metadata is that of the distributions that run the tests, pages and
wheels come from the fake index, the rest from our own writers, so the corpus cannot grow stale.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import io
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from envfreeze.model.lock import Artifact, Edit, LooseEntry, LooseSite, Package, dumps
from envfreeze.resolve import debfile, patches
from envfreeze.store import Cache
from envfreeze.targets import local
from tests.support import envs, locks
from tests.support.elfmaker import Elf, elf_bytes
from tests.support.fakeindex import FakeIndex, make_wheel

SMALL = 6000
"""Bytes: mutations of larger inputs miss what matters in them."""

BEFORE = b"".join(b"line %d\n" % n for n in range(40))
AFTER = BEFORE.replace(b"line 7\n", b"line seven\n").replace(b"line 30\n", b"") + b"no end"
SPLIT = b"\n\0\n"
"""Between two parts of one input."""
WHOLE = b"\x7fELF whole"


@functools.cache
def metadata(filename: str) -> list[bytes]:
    """That file of the distributions that are installed here, the small ones, each text once."""
    found: dict[bytes, None] = {}
    for dist in importlib.metadata.distributions():
        text = dist.read_text(filename)
        if text and len(text) <= SMALL:
            found[text.encode()] = None
    return sorted(found, key=len)[:12]


@contextlib.contextmanager
def _files() -> Iterator[Path]:
    """Wheels of every kind of content, and an sdist, in a directory that an index can serve.

    Gone when the block ends: a worker of pytest-xdist does not live to its ``atexit``.
    """
    with tempfile.TemporaryDirectory(prefix="envfreeze-corpus-") as place:
        directory = Path(place)
        _fill(directory)
        yield directory


def _fill(directory: Path) -> None:
    make_wheel(
        directory,
        "demo",
        "1.0",
        {"demo/__init__.py": "x = 1\n", "demo/fast.so": b"\x7fELF\0", "a b/é.txt": "1"},
        scripts={"run": "#!python\nprint(1)\n", "sh": "#!/bin/sh\ntrue\n"},
        data={"share/demo.txt": "text", "bin/tool": "binary", "include/demo/api.h": "int a;"},
        headers={"demo.h": "int b;"},
        entry_points="[console_scripts]\ndemo = demo:main\npip = demo:main [x, y]\n",
    )
    make_wheel(directory, "demo", "1.1", {"demo.py": "y = 2\n"}, build="3")
    make_wheel(directory, "demo", "2.0", {"demo.py": ""}, tags=("cp311-cp311-manylinux_2_17",))
    with tarfile.open(directory / "demo-1.0.tar.gz", "w:gz"):
        pass


@functools.cache
def wheels() -> list[bytes]:
    with _files() as directory:
        return [path.read_bytes() for path in sorted(directory.glob("*.whl"))]


@functools.cache
def pages(html: bool) -> list[bytes]:
    with _files() as directory, FakeIndex(directory) as index:
        found = []
        for relative in (True, False):
            index.faults.html, index.faults.relative = html, relative
            page = index.page("demo")
            assert page is not None
            found.append(page[0])
    if html:
        found.append(
            b'<html><head><base href="../b/"></head><a data-yanked="x" href="demo-1.0.zip?q#sha256='
            + b"a" * 64
            + b'&amp;e=1">demo</a><!-- --><script>'
        )
    return found


@functools.cache
def lock_texts() -> list[bytes]:
    """Locks with everything in them that a lock can have."""
    edit = Edit(path="site/demo/__init__.py", kind="text", before="0" * 64, after="1" * 64)
    patch = Artifact(path="env.lock.d/p/x.zip", size=3, hashes={"sha256": "2" * 64})
    facts: dict[str, Any] = {
        "edits": [edit],
        "patch": patch,
        "wrapper_copies": {"pip": ["pip3"]},
        "direct_url": '{"url":""}',
    }
    with _files() as directory:
        wheel = sorted(directory.glob("*.whl"))[0]
        proved = envs.package_of(wheel, **facts)
        tool = envs.package_of(wheel, proof="packed").tool
    packed = Package(name="odd", version="1", archive=patch, tool=tool)
    loose = LooseSite(
        site="/home/u/env/lib/python3.11/site-packages",
        archive=patch,
        files=[LooseEntry(path="a.pth", sha256="3" * 64), LooseEntry(path="l", link="../x")],
    )
    whole = locks.lock(
        system=[locks.deb("libz", depends=["liba"]), locks.deb("liba")],
        os_release={"ID": "debian", "VERSION_ID": "12"},
        environment={"LANG": "C.UTF-8", "TZ": 'a "b" $c \\'},
        loose=[loose],
    )
    import msgspec

    filled = msgspec.structs.replace(whole, packages=[proved, packed])
    return [dumps(whole).encode(), dumps(filled).encode()]


@functools.cache
def answers() -> list[bytes]:
    """What the probe of this very interpreter says about a venv, without its longest lists."""
    with _files() as directory:
        into = envs.make_venv(directory / "v")
        envs.install(sorted(directory.glob("*.whl"))[0], into)
        (into / envs.SITE / "loose.pth").write_text("import os\n../x\n")
        target = local.LocalTarget(python=str(into / "bin/python"), described="", own=False)
        document = local.observe(target, environ={"PATH": "/usr/bin:/bin"}, cache=None).document
    import json

    answer = json.loads(document)
    answer["system"]["dpkg"] = {"a:amd64": "1"}
    return [
        json.dumps(answer).encode(),
        b'{"too_old": "2.7.18"}',
        b'{"refused": "no"}',
        b'{"error": "E", "traceback": "t"}',
        b'{"same": "x", "outside": ["/a"], "remember": {"a": {"b": null}}}',
    ]


def direct_urls() -> list[bytes]:
    """PEP 610's own examples in shape."""
    return [
        b'{"url": "https://u:p@x.example/demo-1.0-py3-none-any.whl", "archive_info":'
        b' {"hash": "sha256=' + b"a" * 64 + b'", "hashes": {"sha256": "' + b"a" * 64 + b'"}}}',
        b'{"url": "https://git@x.example/p.git", "vcs_info": {"vcs": "git",'
        b' "requested_revision": "main", "commit_id": "' + b"b" * 40 + b'"}, "subdirectory": "s"}',
        b'{"url": "file:///home/u/project", "dir_info": {"editable": true}}',
        b'{"url": "https://${USER}:${TOKEN}@x.example/a?token=abc#egg=a"}',
        *metadata("direct_url.json"),
    ]


def requires() -> list[bytes]:
    return [b"a>=1\n\n[more]\nb\n\n[:sys_platform == 'x']\nc\n\n[t:os_name == 'y']\nd\n# no\n"]


def pths() -> list[bytes]:
    return [
        b"there\n# comment\nimport os; os.system('id')\n/\n../x\n",
        b"\xef\xbb\xbfthere\n",
        b"import __editable___demo_finder; __editable___demo_finder.install()\n",
    ]


def editables() -> list[bytes]:
    """As setuptools leaves them, new and old; @TREE@ is where the project lies."""
    direct = b'{"url": "file://@TREE@", "dir_info": {"editable": true}}'
    finder = b"MAPPING = {'x': '@TREE@/src/x'}\nNAMESPACES = {}\nPATH = \"\\x2fetc\"\n"
    start = b"import __editable___x_finder; __editable___x_finder.install()\n"
    return [
        SPLIT.join([b"@TREE@/src\n", b"@TREE@/src\n../\n", b"", direct]),
        SPLIT.join([start, b"@TREE@\n.\n", finder, b"{}"]),
        SPLIT.join([b"import sys; sys.path.append('@TREE@/src')\n", b"/\n", finder, direct]),
    ]


def diffs() -> list[bytes]:
    one = patches.diff("site/a.py", BEFORE, AFTER)
    other = patches.diff("site/b.py", b"", b"new\n") + patches.diff("site/c.py", b"old", b"")
    return [
        BEFORE + SPLIT + one,
        SPLIT + one + other,
        b"old" + SPLIT + other,
        AFTER + SPLIT + AFTER,
    ]


def patch_archives() -> list[bytes]:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("patch", patches.diff("site/a.py", BEFORE, AFTER))
        archive.writestr(f"files/{hashlib.sha256(WHOLE).hexdigest()}", WHOLE)
    return [stream.getvalue()]


def tars() -> list[bytes]:
    """As pack_loose writes them, and in the other formats."""
    found = []
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
            for name, content, link in (
                ("a.pth", b"x\n", None),
                ("d/b", b"b" * 600, None),
                ("l", b"", "d/b"),
            ):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                if link:
                    member.type, member.linkname = tarfile.SYMTYPE, link
                if form == tarfile.PAX_FORMAT and name == "d/b":
                    member.pax_headers = {"comment": "c" * 90}
                tar.addfile(member, io.BytesIO(content))
        found.append(stream.getvalue())
    return found


def debs() -> list[bytes]:
    member = tarfile.TarInfo("./usr/lib/x.so")
    data, sums = debfile.data_archive([debfile.Entry(info=member, source=__file__)])
    rows = "".join(f"{digest}  {path}\n" for path, digest in sums.items())
    control = b"Package: x\nVersion: 1\nArchitecture: amd64\n"
    found = []
    for files in ([("control", control, 0o644), ("md5sums", rows.encode(), 0o644)], []):
        out = io.BytesIO()
        debfile.write_deb(out, files, data)
        found.append(out.getvalue())
    return found


def elves() -> list[bytes]:
    kinds = [
        Elf(needed=["libc.so.6", "libm.so.6"], soname="libx.so.1", runpath="$ORIGIN/../lib:/opt"),
        Elf(needed=["../y.so"], rpath="$LIB/${PLATFORM}", interp="/lib64/ld.so", bits=64),
        Elf(needed=["libc.so.6"], bits=32, machine=40),
        Elf(needed=["libc.so.6"], little=False, machine=22),
    ]
    return [elf_bytes(kind) for kind in kinds]


def statuses() -> list[bytes]:
    return [
        b"Package: dpkg\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.22\n"
        b"Essential: yes\n\nPackage: demo\nStatus: install ok installed\nArchitecture: amd64\n"
        b"Version: 1:1.0-1~rc1+b2\nDepends: libz (>= 1.2), a | dpkg:any (<< 2)\nProvides: v (= 3)\n"
        b"Conffiles:\n /etc/x 0123\n /etc/y 4567 obsolete\n"
        + SPLIT
        + b"/usr/bin/x\n/usr/bin/x.real\n:\n"
        + SPLIT
        + b"/.\n/usr\n/usr/lib/demo.so\n"
    ]


def apt() -> list[bytes]:
    stanza = (
        b"Package: demo\nArchitecture: amd64\nVersion: 1.0\nFilename: pool/d/demo_1.0_amd64.deb\n"
        b"Size: 12\nSHA256: " + b"a" * 64 + b"\n\n"
    )
    line = b"deb [arch=amd64 signed-by=/x] http://u:p@deb.example/debian stable main contrib\n"
    deb822 = (
        b"Types: deb deb-src\nURIs: http://deb.example/debian\nSuites: stable ./\nEnabled: yes\n"
    )
    return [line + SPLIT + stanza * 2, deb822 + SPLIT + stanza.replace(b"demo\n", b"other\n")]


def pyvenvs() -> list[bytes]:
    return [b"home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.11.2\n"]


def info_names() -> list[bytes]:
    return [b"demo-1.0.dist-info", b"a_b-1.0-py3.11.egg-info", b"a.egg-info"]


def cached(directory: Path) -> Cache:
    return Cache(directory / "cache")


PYTHON = "{}.{}".format(*sys.version_info)
