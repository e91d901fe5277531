"""What the property tests draw from: texts of installers, snapshots and locks."""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import strategies as st

from envfreeze.model.lock import (
    SCHEMA,
    Artifact,
    InterpreterLayer,
    Lock,
    Loose,
    LooseEntry,
    LooseSite,
    Machine,
    NamedPackage,
    Need,
    Package,
    PackageFacts,
    PackageTool,
    SourceTree,
    SystemLayer,
    SystemPackage,
    Tool,
    UnownedFiles,
    Unproved,
)
from envfreeze.model.origin import Origin
from envfreeze.model.snapshot import (
    Dist,
    Finding,
    Interpreter,
    Licence,
    LooseFile,
    Repository,
    Row,
    Signs,
    Site,
    Snapshot,
    Submodule,
    System,
)

# Everything that UTF-8 can hold; much of it hostile to a terminal, a shell or a parser.
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
hostile = st.sampled_from(
    [
        '"; rm -rf /',
        "a\nb",
        "\x00",
        "\x1b[31m",
        "\u202etxt.exe",
        "\u2066x",
        "\ufeff",
        "\u2028",
        "\x85",
        "\x7f",
        "'''",
        '"""',
        "\\",
        "\\u0041",
        "${HOME}",
        "$(id)",
        "../../etc/passwd",
        "日本\U0001f600",
        "true",
        "1979-05-27",
        "",
    ]
)
words = st.one_of(text, hostile)
names = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,8}[A-Za-z0-9])?", fullmatch=True)
paths = st.lists(
    st.from_regex(r"[A-Za-z0-9_é][A-Za-z0-9_. é-]{0,8}", fullmatch=True), min_size=1, max_size=4
).map("/".join)
sha256s = st.binary(min_size=32, max_size=32).map(bytes.hex)
claims = st.binary(min_size=32, max_size=32).map(
    lambda raw: "sha256=" + base64.urlsafe_b64encode(raw).decode().rstrip("=")
)


@st.composite
def record_text(draw: st.DrawFn) -> str:
    """RECORD: mostly well formed, sometimes anything."""
    field = st.one_of(paths, st.text(max_size=8), st.sampled_from(["", "../../x", "/x", "a\\b"]))
    plain = st.tuples(paths, st.one_of(claims, st.just("")), st.sampled_from(["", "12"]))
    row = st.one_of(plain, st.lists(field, max_size=5).map(tuple))
    quoted = st.booleans()
    lines = []
    for fields in draw(st.lists(row, max_size=6)):
        cells = [f'"{cell}"' if draw(quoted) else cell for cell in fields]
        lines.append(",".join(cells) if draw(quoted) else ",".join(fields))
    end = draw(st.sampled_from(["\n", "\r\n", "\n\n", "\r"]))
    return end.join(lines) + draw(st.sampled_from(["", end]))


def metadata_text() -> st.SearchStrategy[str]:
    """METADATA, WHEEL or entry_points.txt, or nearly."""
    key = st.sampled_from(["Name", "Version", "Tag", "Build", "Root-Is-Purelib", " folded", "x"])
    line = st.one_of(
        st.builds("{}: {}".format, key, words),
        st.sampled_from(["[console_scripts]", "[gui_scripts]", "[", "a = b:c", "=", ""]),
        words,
    )
    return st.lists(line, max_size=8).map("\n".join)


def pth_text() -> st.SearchStrategy[str]:
    line = st.one_of(
        paths,
        words,
        st.sampled_from(["import os", "import\tos", "# comment", "", "  ", "/", "..", "./"]),
    )
    return st.lists(line, max_size=8).map("\n".join)


def direct_url_text() -> st.SearchStrategy[str]:
    """direct_url.json (PEP 610), or nearly."""
    info = st.one_of(
        st.fixed_dictionaries({"vcs_info": st.fixed_dictionaries({"vcs": words})}),
        st.fixed_dictionaries({"archive_info": st.dictionaries(words, words, max_size=2)}),
        st.fixed_dictionaries({"dir_info": st.fixed_dictionaries({"editable": st.booleans()})}),
    )
    return st.one_of(
        st.builds(lambda url, rest: json.dumps({"url": url, **rest}), words, info), words
    )


def _maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


rows = st.builds(
    Row,
    scheme=st.sampled_from(["site", "scripts", "headers", "data", "outside"]),
    path=paths,
    sha256=_maybe(sha256s),
    size=_maybe(st.integers(0, 1 << 40)),
    executable=st.booleans(),
    claim=_maybe(st.one_of(claims, st.just(""), words)),
)
loose_files = st.builds(
    LooseFile,
    path=paths,
    sha256=_maybe(sha256s),
    size=st.integers(0, 1 << 40),
    executable=st.booleans(),
    link=_maybe(words),
)
interpreters = st.builds(
    Interpreter,
    version=st.sampled_from(["3.6.15", "3.13.0", "3.14.0rc1"]),
    implementation=st.sampled_from(["cpython", "pypy"]),
    free_threaded=st.booleans(),
    config_args=_maybe(words),
    libc=_maybe(words),
    signs=st.builds(
        Signs,
        schemes=st.lists(words, max_size=2),
        built_prefix=_maybe(words),
        standalone=st.booleans(),
        conda_record=_maybe(words),
    ),
)
findings = st.builds(Finding, kind=names, place=words, detail=words, advice=words)

SITES = ("/v/lib/python3.11/site-packages", "/u/lib/python3.11/site-packages", "/p")


@st.composite
def dists(draw: st.DrawFn) -> Dist:
    site = draw(st.sampled_from([*SITES, "/v/lib/python3.11/site-packages/x.egg", "/elsewhere"]))
    name = draw(st.one_of(st.sampled_from(["a", "A", "b"]), names, words))
    return Dist(
        site=site,
        info=f"{draw(names)}-{draw(names)}.dist-info",
        name=name,
        version=draw(words),
        rows=draw(_maybe(st.lists(rows, max_size=4))),
        wrappers=draw(st.lists(names, max_size=2)),
        direct_url=draw(_maybe(direct_url_text())),
    )


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    kinds = ("site", "user", "pythonpath")
    return Snapshot(
        schema=1,
        interpreter=draw(interpreters),
        system=System(kernel="Linux", machine="x86_64", dpkg=draw(_maybe(st.just({"a:b": "1"})))),
        sites=[
            Site(path=path, kind=kind, loose=draw(st.lists(loose_files, max_size=2)))  # type: ignore[arg-type]
            for path, kind in zip(SITES, kinds, strict=True)
        ],
        dists=draw(st.lists(dists(), max_size=5)),
        findings=draw(st.lists(findings, max_size=2)),
    )


@st.composite
def artifacts(draw: st.DrawFn, suffix: str = ".whl") -> Artifact:
    name = draw(names) + suffix
    hashes = {"sha256": draw(sha256s)}
    size = draw(st.integers(0, 1 << 40))
    if draw(st.booleans()):
        return Artifact(name=name, url=f"https://example.invalid/{name}", size=size, hashes=hashes)
    return Artifact(path=f"env.lock.d/{hashes['sha256'][:2]}/{name}", size=size, hashes=hashes)


licences = st.builds(Licence, expression=_maybe(words), text=_maybe(words))
origins = st.builds(
    Origin,
    kind=st.sampled_from(["sdist", "archive", "wheel", "directory"]),
    name=_maybe(names),
    url=_maybe(st.sampled_from(["https://index.example/a.tar.gz", "file:///srv/a"])),
    hashes=st.builds(dict, sha256=sha256s),
    lead=st.booleans(),
    evidence=words,
)


@st.composite
def packages(draw: st.DrawFn) -> Package:
    facts = PackageFacts(
        proof=draw(st.sampled_from(["proved", "packed"])),
        evidence=draw(words),
        tree=draw(sha256s),
        version=draw(_maybe(words)),
        info=draw(names) + ".dist-info",
        site=draw(st.sampled_from(SITES)),
        installer=draw(_maybe(words)),
        requested=draw(st.booleans()),
        direct_url=draw(_maybe(direct_url_text())),
        wrapper_copies=draw(st.dictionaries(names, st.lists(names, max_size=2), max_size=2)),
        no_wrappers=draw(st.lists(names, max_size=2)),
        yields=draw(st.lists(words, max_size=2)),
        built_from=draw(st.lists(origins, max_size=2)),
        requires=draw(st.lists(st.one_of(words, names), max_size=2)),
        licence=draw(_maybe(licences)),
    )
    more: dict[str, Any] = (
        {"wheels": [draw(artifacts())]}
        if draw(st.booleans())
        else {"archive": draw(artifacts(".tar.gz"))}
    )
    return Package(
        name=draw(names), version=draw(_maybe(names)), tool=PackageTool(envfreeze=facts), **more
    )


system_packages = st.builds(
    SystemPackage,
    name=names,
    version=words,
    arch=names,
    proof=st.sampled_from(["proved", "packed"]),
    evidence=words,
    artifact=artifacts(".deb"),
    source=_maybe(words),
    origin=_maybe(words),
    depends=st.lists(names, max_size=2),
)
installed_lines = st.tuples(names, names, names, st.sampled_from(["", " manual", " auto"])).map(
    lambda parts: " ".join(parts[:3]) + parts[3]
)
named_packages = st.builds(
    NamedPackage,
    name=names,
    version=names,
    arch=names,
    identity=_maybe(words),
    source=_maybe(words),
    origin=_maybe(words),
    licence=_maybe(words),
)
needs = st.builds(Need, name=names, path=names.map("/usr/bin/{}".format), package=_maybe(words))
placed = st.builds(LooseEntry, path=paths, sha256=sha256s, executable=st.booleans())
linked = st.builds(LooseEntry, path=paths, link=words)
unowned_files = st.builds(
    UnownedFiles,
    archive=_maybe(artifacts(".tar")),
    files=st.lists(st.one_of(placed, linked), max_size=2),
)
loose_sites = st.builds(
    LooseSite,
    site=st.sampled_from(SITES),
    archive=_maybe(artifacts(".tar")),
    files=st.lists(
        st.builds(
            LooseEntry,
            path=paths,
            sha256=_maybe(sha256s),
            link=_maybe(words),
            executable=st.booleans(),
        ),
        max_size=2,
    ),
)
source_trees = st.builds(
    SourceTree,
    key=names,
    root=st.sampled_from(SITES),
    spellings=st.lists(st.sampled_from(SITES), max_size=1),
    imports=st.lists(paths, max_size=2),
    dists=st.lists(names, max_size=2),
    digest=sha256s,
    count=st.integers(0, 9),
    repository=_maybe(
        st.builds(
            Repository,
            commit=_maybe(words),
            url=_maybe(words),
            pushed=st.booleans(),
            modified=st.lists(words, max_size=2),
            submodules=st.lists(st.builds(Submodule, path=words), max_size=1),
        )
    ),
    archive=_maybe(artifacts(".tar")),
    problem=_maybe(words),
)
unproved = st.builds(Unproved, name=words, version=words, site=words, info=words, reason=words)


@st.composite
def locks(draw: st.DrawFn) -> Lock:
    machine = Machine(
        schema=SCHEMA,
        id=draw(sha256s),
        hermetic=draw(st.booleans()),
        layers=draw(
            st.fixed_dictionaries(
                dict.fromkeys(("files", "interpreter", "packages", "system"), sha256s)
            )
        ),
        interpreter=InterpreterLayer(
            facts=draw(interpreters),
            origin="packed",
            archive=draw(_maybe(artifacts(".tar"))),
            kind=draw(st.sampled_from(["debian", "pyenv", "unknown"])),
            evidence=draw(words),
            lead=draw(_maybe(words)),
            files=draw(_maybe(sha256s)),
            compared=draw(_maybe(words)),
            edited=draw(st.lists(words, max_size=2)),
        ),
        system=SystemLayer(
            kernel="Linux",
            machine="x86_64",
            os_release=draw(st.dictionaries(words, words, max_size=3)),
            manager=draw(st.sampled_from([None, "dpkg", "rpm", "apk"])),
            installed=draw(st.lists(installed_lines, max_size=3)),
            needs=draw(st.lists(needs, max_size=2)),
            named=draw(st.lists(named_packages, max_size=2)),
            unowned=draw(_maybe(unowned_files)),
            packages=draw(st.lists(system_packages, max_size=2)),
        ),
        environment=draw(st.dictionaries(names, words, max_size=2)),
        loose_dists=draw(
            st.lists(
                st.builds(Loose, name=words, version=words, site=words, info=words), max_size=2
            )
        ),
        loose=draw(st.lists(loose_sites, max_size=2)),
        shadowed=draw(st.lists(packages(), max_size=1)),
        sources=draw(st.lists(source_trees, max_size=2, unique_by=lambda tree: tree.key)),
        unproved=draw(st.lists(unproved, max_size=2)),
        findings=draw(st.lists(findings, max_size=2)),
    )
    return Lock(
        lock_version="1.0",
        created_by="envfreeze",
        requires_python=draw(_maybe(st.just("==3.11.*"))),
        packages=draw(st.lists(packages(), max_size=3)),
        tool=Tool(envfreeze=machine),
    )
