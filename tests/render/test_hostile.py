"""Whatever stands in a lock: it is refused, or the files say what was meant and nothing more.

Thousands of locks with hostile text in every field are rendered, in both styles, and read back by
the strict reader of :mod:`tests.support.dockerfiles`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from dockerfile_parse import DockerfileParser
from hypothesis import event, given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement

from envfreeze.data.templates import template_text
from envfreeze.errors import LockError, UsageError
from envfreeze.model.lock import (
    Artifact,
    Edit,
    InterpreterLayer,
    Lock,
    LooseEntry,
    LooseSite,
    Package,
    PackageFacts,
    PackageTool,
    SourceTree,
    SystemLayer,
    UnownedFiles,
)
from envfreeze.render import dockerfile, imageconfig, portable
from envfreeze.render.dockerfile import DockerOptions, render
from envfreeze.render.running import Gpu, Running
from tests.support.dockerfiles import instructions, parse
from tests.support.locks import BASE, deb, interpreter, lock

SHARDS, EXAMPLES = 4, 500

PLAIN = {
    "id": "a" * 64,
    "lock_sha256": "e" * 64,
    "base": BASE,
    "tag": "me/env:1",
    "user": "1000",
    "gpu": "torch 2.3 is built for CUDA 12.1",
    "implementation": "cpython",
    "version": "3.11.7",
    "platform": "linux-x86_64",
    "executable": "/opt/e/bin/python",
    "base_executable": "/opt/py/bin/python3.11",
    "prefix": "/opt/e",
    "scripts": "/opt/e/bin",
    "stdlib": "/opt/py/lib/python3.11",
    "variable": "LANG",
    "value": "C.UTF-8",
    "pythonpath": "/opt/more",
    "library_path": "/opt/lib",
    "name": "demo",
    "package_version": "1.0",
    "evidence": "3 files equal the RECORD",
    "url": "https://index.example/demo-1.0-py3-none-any.whl",
    "filename": "demo-1.0-py3-none-any.whl",
    "sha256": "1" * 64,
    "path": "env.lock.d/x/other-1.0-py3-none-any.whl",
    "packed_name": "other",
    "edit": "site/other.py",
    "deb": "libz",
    "deb_version": "1:1.2-3",
    "arch": "amd64",
    "depends": "libc6",
    "deb_url": "http://mirror.example/pool/libz_1.2-3_amd64.deb",
    "deb_sha256": "c" * 64,
    "os": "debian",
    "os_version": "12",
    "site": "/opt/e/lib/python3.11/site-packages",
    "loose": "loose.py",
    "unowned": "usr/local/lib/libx.so.1",
    "source": "/opt/src",
    "summary": "rebuilt",
}
"""Every field that a lock (or a person) fills and that any renderer reads."""

HOSTILE = st.text(
    st.sampled_from(list("ab/.:$\"'\\`#{}%&;|<>()=@!-~ \t\n\r\x00\x0b\x0c\x1b\x85\u2028\ud800é"))
    | st.characters(),
    max_size=14,
) | st.sampled_from(
    [
        "x\nRUN evil",
        "x\\\nRUN evil",
        '"\nRUN evil',
        '" EVIL="1',
        "$(evil)",
        "${PATH}",
        "`evil`",
        "{{ 7 * 7 }}",
        "{% raw %}",
        "#syntax=evil",
        "# escape=`",
        "x --hash=sha256:0 --index-url=http://evil",
        "<<EOF",
        "../../etc/passwd",
        "-e evil",
        "\tx\t",
        "'; evil; '",
        "/root" + "/x",
    ]
)
POISON = st.dictionaries(st.sampled_from(sorted(PLAIN)), HOSTILE, min_size=1, max_size=4)
PREFIXED = {"executable", "base_executable", "prefix", "scripts", "stdlib", "source", "url"}
"""Where hostile text after a good beginning comes farther than without one."""


@st.composite
def poisoned(draw: st.DrawFn) -> dict[str, str]:
    found = dict(PLAIN)
    for field, text in draw(POISON).items():
        good = field in PREFIXED or draw(st.booleans())
        found[field] = PLAIN[field] + text if good else text
    return found


def package(values: Mapping[str, str]) -> Package:
    facts = PackageFacts(
        proof="proved", evidence=values["evidence"], tree="0" * 64, info="demo.dist-info"
    )
    wheel = Artifact(
        name=values["filename"], url=values["url"], size=1, hashes={"sha256": values["sha256"]}
    )
    version = values["package_version"]
    tool = PackageTool(envfreeze=facts)
    return Package(name=values["name"], version=version, wheels=[wheel], tool=tool)


def packed(values: Mapping[str, str]) -> Package:
    facts = PackageFacts(
        proof="packed",
        evidence=values["summary"],
        tree="0" * 64,
        info="other.dist-info",
        edits=[Edit(path=values["edit"], kind="deleted")],
    )
    archive = Artifact(path=values["path"], size=1, hashes={"sha256": values["sha256"]})
    tool = PackageTool(envfreeze=facts)
    return Package(name=values["packed_name"], version="1", archive=archive, tool=tool)


def of(values: Mapping[str, str], venv: bool) -> Lock:
    names = ("implementation", "version", "platform", "executable", "base_executable", "prefix")
    named = {name: values[name] for name in (*names, "scripts", "stdlib")}
    facts = interpreter(**named, venv=venv, purelib=PLAIN["site"])
    kept = Artifact(path="env.lock.d/z/z.tar.gz", size=1, hashes={"sha256": "2" * 64})
    url = Artifact(url=values["deb_url"], size=1, hashes={"sha256": values["deb_sha256"]})
    entry = LooseEntry(path=values["unowned"], sha256="3" * 64)
    layer = SystemLayer(
        kernel="Linux",
        machine="x86_64",
        os_release={"ID": values["os"], "VERSION_ID": values["os_version"]},
        packages=[
            deb(
                values["deb"],
                values["deb_version"],
                arch=values["arch"],
                depends=[values["depends"]],
                artifact=url,
            )
        ],
        library_path=[values["library_path"]],
        unowned=UnownedFiles(archive=kept, files=[entry]),
    )
    made = lock(
        interpreter=InterpreterLayer(facts=facts, origin="packed", archive=kept),
        layer=layer,
        id=values["id"],
        environment={values["variable"]: values["value"]},
        pythonpath=[values["pythonpath"]],
        loose=[
            LooseSite(site=values["site"], archive=kept, files=[LooseEntry(path=values["loose"])])
        ],
        sources=[SourceTree(key="k", root=values["source"], digest="4" * 64, archive=kept)],
    )
    return msgspec.structs.replace(made, packages=[package(values), packed(values)])


def options(values: Mapping[str, str]) -> DockerOptions:
    return DockerOptions(
        base=values["base"],
        lock_sha256=values["lock_sha256"],
        tag=values["tag"],
        running=Running(
            user=values["user"], gpu=Gpu(cuda="12.0", reason=f"{values['gpu']} {values['name']}")
        ),
    )


# --- what has to come out ------------------------------------------------------------------

FETCH = "sh /tmp/envfreeze-system/fetch.sh && "
DEBS = "sh /tmp/envfreeze-system/install.sh && rm -rf /tmp/envfreeze-system"
LDCONFIG = (
    "if command -v ldconfig >/dev/null; then ldconfig; fi; rm -f /var/cache/ldconfig/aux-cache"
)
PIP = "sh /tmp/envfreeze-packages/install.sh && rm -rf /tmp/envfreeze-packages"


def variables(values: Mapping[str, str], venv: bool) -> list[str]:
    """The pairs of the first ENV."""
    own = values["scripts"] if venv else f"/usr/lib/envfreeze/bin:{values['scripts']}"
    # A search path that is empty is not set.
    searched = {"LD_LIBRARY_PATH": values["library_path"], "PYTHONPATH": values["pythonpath"]}
    locked = {values["variable"]: values["value"]} | {n: t for n, t in searched.items() if t}
    return [f"PATH={own}:$PATH", *(f"{name}={text}" for name, text in locked.items())]


def expected(values: Mapping[str, str], venv: bool, *, style: str) -> list[tuple[str, Any]]:
    """The instructions, from the values themselves; None: any value (checked apart)."""
    by_hand = style == "portable"
    pip = by_hand and bool(portable.by_pip(of(values, venv)))
    first = [
        ("FROM", [values["base"]]),
        ("USER", ["0:0"]),
        ("COPY", ["system/ /tmp/envfreeze-system/"]),
        ("RUN", [FETCH + DEBS if by_hand else DEBS]),
        ("ADD", ["interpreter.tar.gz /"]),
        ("ADD", ["environment.tar /" if by_hand else "packages.tar /"]),
        ("RUN", [LDCONFIG]),
        ("ENV", variables(values, venv)),
    ]
    if pip:
        first += [("COPY", ["packages/ /tmp/envfreeze-packages/"]), ("RUN", [PIP])]
    return [
        *first,
        ("ENV", None),
        ("COPY", ["env.lock /usr/share/envfreeze/env.lock"]),
        ("LABEL", None),
    ]


def check_instructions(text: str, values: Mapping[str, str], venv: bool, style: str) -> None:
    found = parse(text)
    wanted = expected(values, venv, style=style)
    for (word, value), (right, meant) in zip(found, wanted, strict=False):
        assert word == right
        if word == "RUN":  # Lines that go on bring their indentation.
            value = [re.sub(r" +", " ", value[0])]
        assert meant is None or sorted(value) == sorted(meant)
    rest = found[len(wanted) :]
    assert [word for word, _ in rest] in (["USER", "CMD"], ["ENV", "USER", "CMD"])
    assert len(rest[-1][1]) == 1
    name = rest[-2][1][0]
    assert name in {values["user"], "root"}
    assert re.fullmatch(r"[a-z0-9_:-]+", name)
    labels = dict(row.split("=", 1) for row in found[len(wanted) - 1][1])
    assert labels["io.envfreeze.id"] == values["id"]
    described = labels["org.opencontainers.image.description"]
    assert described.startswith(f"{values['implementation']} {values['version']} with 2 ")
    own = {"LOGNAME=python", "HOME=/tmp"}
    if rest[0][0] == "ENV":
        assert set(rest[0][1]) <= own


def check_by_another_reader(text: str, values: Mapping[str, str]) -> None:
    """dockerfile-parse finds the same instructions, base and labels."""
    reader = DockerfileParser(fileobj=io.BytesIO(text.encode()), env_replace=False)
    found = parse(text)
    structure = [one for one in reader.structure if one["instruction"] != "COMMENT"]
    assert [one["instruction"] for one in structure] == [word for word, _ in found]
    assert reader.baseimage == values["base"]
    labels = {row.partition("=")[0] for word, rows in found if word == "LABEL" for row in rows}
    assert reader.labels.keys() == labels
    assert reader.labels["io.envfreeze.id"] == values["id"]


def check_texts(files: Mapping[str, str], values: Mapping[str, str]) -> None:
    """The inputs of the scripts, each line as the script will read it."""
    for name, text in files.items():
        assert re.fullmatch(r"[A-Za-z0-9._/-]+", name)
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029]", text), name
        text.encode("utf-8")
    assert files["system/install.sh"] == template_text("install-system.sh")
    (row,) = files["system/packages.tsv"].splitlines()
    file = f"{values['deb']}_{values['deb_version'].replace(':', '%3a')}_{values['arch']}.deb"
    assert row.split("\t") == [values["deb"], values["arch"], values["deb_version"], file]
    assert re.fullmatch(r"[A-Za-z0-9.+:~%_-]+", "".join(row.split("\t")))
    assert files["system/SHA256SUMS"] == f"{values['deb_sha256']}  {file}\n"
    for line in files["system/os-release"].splitlines():
        assert re.fullmatch(r"(ID|VERSION_ID)=[A-Za-z0-9._-]+", line)
    for line in files.get("SHA256SUMS", "").splitlines():
        assert re.fullmatch(r"[0-9a-f]{64}  [A-Za-z0-9.+~%_/-]+", line)


def check_portable(files: Mapping[str, str], values: Mapping[str, str]) -> None:
    assert files["system/fetch.sh"] == template_text("fetch-system.sh")
    ((file, sha256, url),) = (row.split("\t") for row in files["system/urls.tsv"].splitlines())
    assert f"{sha256}  {file}\n" == files["system/SHA256SUMS"]
    assert url == values["deb_url"].partition("#")[0]
    if portable.REQUIREMENTS in files:
        assert files["packages/install.sh"] == template_text("install-packages.sh")
        (line,) = files[portable.REQUIREMENTS].splitlines()
        check_requirement(line, values)


def check_requirement(line: str, values: Mapping[str, str]) -> None:
    """As packaging reads it, and as pip splits off what it takes for options."""
    what, mark, sha256 = line.partition(" --hash=sha256:")
    assert mark
    assert sha256 == values["sha256"]
    read = Requirement(what)
    assert (read.name, read.marker, read.extras) == (values["name"], None, set())
    assert read.url == values["url"].partition("#")[0]
    assert not re.search(r"[\s$#;\\]", read.url)


@pytest.mark.parametrize("shard", range(SHARDS))
def test_no_lock_says_more_than_was_meant(shard: int) -> None:
    del shard

    @settings(max_examples=EXAMPLES, deadline=None)
    @given(poisoned(), st.booleans())
    def holds(values: dict[str, str], venv: bool) -> None:
        made, chosen = of(values, venv), options(values)
        for style, renders in (("docker", render), ("portable", portable.render)):
            try:
                files = renders(made, chosen)
            except (LockError, UsageError):
                event(f"{style}: refused")
                continue
            event(f"{style}: rendered")
            check_instructions(files["Dockerfile"], values, venv, style)
            check_by_another_reader(files["Dockerfile"], values)
            check_texts(files, values)
            if style == "portable":
                check_portable(files, values)

    holds()


@settings(max_examples=EXAMPLES, deadline=None)
@given(poisoned(), st.booleans())
def test_the_archive_is_configured_alike(values: dict[str, str], venv: bool) -> None:
    made, chosen = of(values, venv), options(values)
    try:
        text = render(made, chosen)["Dockerfile"]
    except (LockError, UsageError):
        return
    marks = dockerfile.labels(made, dockerfile.split_base(chosen.base), chosen.lock_sha256)
    base = {"config": {"Env": ["PATH=/b"]}}
    config = imageconfig.render(made, base, marks, [], [], chosen.running)["config"]
    found = parse(text)
    pairs = [row for word, rows in found if word == "ENV" for row in rows]
    assert sorted(config["Env"]) == sorted(row.replace("$PATH", "/b", 1) if row.startswith("PATH=")
                                           else row for row in pairs)  # fmt: skip
    assert config["User"] == [rows for word, rows in found if word == "USER"][-1][0]
    assert config["Cmd"] == found[-1][1]
    assert config["Labels"] == dict(
        row.split("=", 1) for word, rows in found if word == "LABEL" for row in rows
    )


@settings(max_examples=EXAMPLES, deadline=None)
@given(poisoned())
def test_requirements_are_lines_of_their_own(values: dict[str, str]) -> None:
    try:
        text = portable.requirements(of(values, True), ".")
    except LockError:
        return
    lines = text.split("\n")
    assert text.splitlines() == lines[:-1]
    rest = [line for line in lines[3:-1] if not line.startswith("#")]
    assert len(rest) == 2
    for line in rest:
        if line.startswith("./"):
            pattern = r"\./[A-Za-z0-9._+%/@=-]+\.whl --hash=sha256:[0-9a-f]{64}"
            assert re.fullmatch(pattern, line)
            assert "/../" not in line
        else:
            check_requirement(line, values)


def test_the_reader_is_not_fooled(tmp_path: Path) -> None:
    """The reader sees what a lock must not do: otherwise the tests above could not fail."""
    assert instructions("FROM x\n# c\nRUN a \\\n  b\n") == ["FROM x", "RUN a   b"]
    for text in (
        "# syntax=evil\nFROM x\n",
        "FROM x\nEVIL y\n",
        'FROM x\nENV A="b" C\n',
        'FROM x\nENV A="$HOME"\n',
        'FROM x\nENV A="$PATH"\n',
        'FROM x\nENV A="\\n"\n',
        "FROM x\nCOPY <<EOF /x\n",
        'FROM x\nCMD "a"\n',
    ):
        with pytest.raises((AssertionError, ValueError, IndexError)):
            parse(text)
    assert parse('FROM x\nENV PATH="/a:$PATH" B="c \\" \\$d \\\\"\n')[1] == (
        "ENV",
        ["PATH=/a:$PATH", 'B=c " $d \\'],
    )
