"""Lock to Dockerfile: what it says, and that nothing hostile gets a word in."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envfreeze.errors import EnvfreezeError, LockError, NotHermeticError, UsageError
from envfreeze.model.lock import (
    Artifact,
    InterpreterLayer,
    Lock,
    LooseEntry,
    SystemLayer,
    UnownedFiles,
)
from envfreeze.render import imageconfig, portable
from envfreeze.render.dockerfile import (
    DockerOptions,
    comment,
    deb_files,
    dockerfile_string,
    render,
    split_base,
)
from envfreeze.render.running import Gpu, Running
from tests.support.dockerfiles import instructions, parse
from tests.support.locks import BASE, deb, interpreter, lock

OPTIONS = DockerOptions(base=BASE, lock_sha256="e" * 64, tag="me/env:1")


def words(text: str) -> list[str]:
    return [line.split(None, 1)[0] for line in instructions(text)]


ALL = ["FROM", "USER", "COPY", "RUN", "ADD", "ADD", "ENV", "COPY", "LABEL", "ENV", "USER", "CMD"]


def test_the_whole_text() -> None:
    made = lock(system=[deb("libz")], environment={"LANG": "C.UTF-8", "X": 'a "b" $c \\'})
    assert (
        render(made, OPTIONS)["Dockerfile"]
        == f'''\
# A Python environment, rebuilt from its lock.
#
#   environment   {"a" * 64}
#   interpreter   cpython 3.11.7 (linux-x86_64)
#   packages      0 Python distributions, 1 system packages
#
# Everything that this file needs lies beside it, and SHA256SUMS names it. Nothing is fetched
# during the build, so it runs with the network switched off (see README.md):
#
#   docker build --network none .

FROM {BASE}

# A base may name another user, who could not install anything.
USER 0:0

# The shared libraries that the interpreter and the packages load, as the very .deb files of
# the machine where the lock was captured. The script checks their digests, installs those
# that the base does not have in this version, and asserts the versions afterwards.
COPY system/ /tmp/envfreeze-system/
RUN sh /tmp/envfreeze-system/install.sh && rm -rf /tmp/envfreeze-system

# The interpreter. No public archive has this build, so it travels as it was.
ADD interpreter.tar.gz /

# The environment: every file of every distribution, placed where it was.
ADD packages.tar /

# `python` is this environment's own, whatever the base has under that name;
# the rest was set when the environment was captured, and can change results.
ENV PATH="/home/u/env/bin:$PATH" \\
    LANG="C.UTF-8" \\
    X="a \\"b\\" \\$c \\\\"

# The lock itself, so that the image can say what it is: envfreeze verify, envfreeze diff.
COPY env.lock /usr/share/envfreeze/env.lock
LABEL org.opencontainers.image.title="Python environment" \\
      org.opencontainers.image.description="cpython 3.11.7 with 0 distributions, rebuilt from \
its lock by envfreeze" \\
      org.opencontainers.image.base.name="mirror.example/base:12" \\
      org.opencontainers.image.base.digest="sha256:{"b" * 64}" \\
      io.envfreeze.id="{"a" * 64}" \\
      io.envfreeze.lock-sha256="{"e" * 64}"

# Nobody has to be root to run it. The number has no entry in /etc/passwd: that file is the
# base's, and a new entry would write the day of the build into /etc/shadow. So what an entry
# would have told stands here.
ENV HOME="/tmp" \\
    LOGNAME="python"
USER 1000:1000

# What runs without a command. ENTRYPOINT, WORKDIR and STOPSIGNAL are the base's.
CMD ["python"]
'''
    )


def test_what_is_not_needed_is_not_there() -> None:
    facts = interpreter()
    made = lock(interpreter=InterpreterLayer(facts=facts, origin="system"))
    files = render(made, OPTIONS)
    assert words(files["Dockerfile"]) == [
        *("FROM", "ADD", "ENV", "COPY", "LABEL", "ENV", "USER", "CMD")
    ]
    assert sorted(files) == [".dockerignore", "Dockerfile", "README.md", "SHA256SUMS"]
    assert files["SHA256SUMS"] == ""


def test_unowned_libraries_are_made_known_to_the_loader() -> None:
    entry = LooseEntry(path="usr/local/lib/libfoo.so.1", sha256="f" * 64)
    archive = Artifact(path="env.lock.d/z/unowned.tar.gz", size=1, hashes={"sha256": "c" * 64})
    layer = SystemLayer(
        kernel="Linux", machine="x86_64", unowned=UnownedFiles(archive=archive, files=[entry])
    )
    text = render(lock(layer=layer), OPTIONS)["Dockerfile"]
    steps = instructions(text)
    assert words(text) == [
        *("FROM", "USER", "ADD", "ADD", "RUN", "ENV", "COPY", "LABEL", "ENV", "USER", "CMD")
    ]
    assert steps[3] == "ADD packages.tar /"
    assert "ldconfig" in steps[4]
    layer = msgspec.structs.replace(layer, unowned=UnownedFiles(files=[entry]))
    with pytest.raises(NotHermeticError, match="1 files that no system package owns"):
        render(lock(layer=layer), OPTIONS)


def test_libraries_that_were_found_by_a_variable_are_found_by_it_again() -> None:
    layer = SystemLayer(kernel="Linux", machine="x86_64", library_path=["/srv/lib", "/opt/b lib"])
    text = render(lock(layer=layer), OPTIONS)["Dockerfile"]
    assert 'LD_LIBRARY_PATH="/srv/lib:/opt/b lib"' in text


def test_system_files() -> None:
    packages = [deb("b", "1:2", depends=["c"]), deb("c", "3", arch="all", depends=["b", "gone"])]
    made = lock(system=packages, os_release={"ID": "debian", "VERSION_ID": "12", "X": "y"})
    files = render(made, OPTIONS)
    assert files["system/packages.tsv"] == (
        "c\tall\t3\tc_3_all.deb\nb\tamd64\t1:2\tb_1%3a2_amd64.deb\n"
    )
    assert files["system/SHA256SUMS"] == (
        f"{'c' * 64}  c_3_all.deb\n{'c' * 64}  b_1%3a2_amd64.deb\n"
    )
    assert files["system/os-release"] == "ID=debian\nVERSION_ID=12\n"
    assert files["SHA256SUMS"].splitlines() == [
        f"{'d' * 64}  interpreter.tar.gz",
        f"{'c' * 64}  system/b_1%3a2_amd64.deb",
        f"{'c' * 64}  system/c_3_all.deb",
    ]
    assert set(deb_files(made)) == {"system/b_1%3a2_amd64.deb", "system/c_3_all.deb"}


def test_dependencies_come_first_however_deep() -> None:
    chain = [deb(f"p{i:04}", depends=[f"p{i + 1:04}"]) for i in range(3000)]
    files = render(lock(system=chain), OPTIONS)
    names = [line.split("\t")[0] for line in files["system/packages.tsv"].splitlines()]
    assert names == sorted(names, reverse=True)


def test_render_does_not_depend_on_the_order_of_packages() -> None:
    packages = [deb("a"), deb("b", depends=["a"]), deb("c", depends=["b"])]
    assert render(lock(system=packages), OPTIONS) == render(lock(system=packages[::-1]), OPTIONS)


@pytest.mark.parametrize(
    ("executable", "command"),
    [
        ("/home/u/env/bin/python", ["python"]),
        ("/opt/py/bin/python3.11", ["/opt/py/bin/python3.11"]),
        ('/home/u/env/bin/a "b', ['/home/u/env/bin/a "b']),
    ],
)
def test_the_command(executable: str, command: list[str]) -> None:
    text = render(lock(facts=interpreter(executable=executable)), OPTIONS)["Dockerfile"]
    assert json.loads(instructions(text)[-1].removeprefix("CMD ")) == command


# --- whom it runs as, what it asks of the machine -----------------------------------------


PRIVATE = "/root"
PROVED = Artifact(
    name="libx_1.0-1_amd64.deb",
    url="https://mirror.example/libx_1.0-1_amd64.deb",
    size=1,
    hashes={"sha256": "c" * 64},
)


def told(made: Lock, **chosen: Any) -> tuple[str, dict[str, str]]:
    """The last USER of the Dockerfile, and all variables; the archive's say the same."""
    options = DockerOptions(base=BASE, lock_sha256="e" * 64, running=Running(**chosen))
    text = render(made, options)["Dockerfile"]
    found = parse(text)
    user = [values for word, values in found if word == "USER"][-1][0]
    pairs = [row for word, values in found if word == "ENV" for row in values]
    variables = dict(row.split("=", 1) for row in pairs)
    config = imageconfig.render(made, {"config": {"Env": ["PATH=/b"]}}, {}, [], [], options.running)
    rows = dict(row.split("=", 1) for row in config["config"]["Env"])
    assert config["config"]["User"] == user
    assert rows == variables | {"PATH": variables["PATH"].replace("$PATH", "/b")}
    return user, variables


@pytest.mark.parametrize("style", [render, portable.render])
@pytest.mark.parametrize(
    "made",
    [
        lock(system=[deb("libx", proof="proved", artifact=PROVED)]),
        lock(facts=interpreter(prefix=f"{PRIVATE}/x"), os_release={"ID": "debian"}),
    ],
    ids=["with a package", "as root"],
)
def test_hadolint_has_nothing_to_say(style: Callable[..., dict[str, str]], made: Lock) -> None:
    program = Path(sys.executable).with_name("hadolint")
    if not program.exists():
        pytest.skip("there is no hadolint for this machine")
    running = Running(gpu=Gpu(cuda="12.0", reason="torch is built for CUDA 12.1"))
    text = style(made, DockerOptions(base=BASE, lock_sha256="e" * 64, running=running))
    done = subprocess.run(
        [program, "--no-color", "--failure-threshold=style", "-"],
        input=text["Dockerfile"], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_it_is_not_run_as_root() -> None:
    user, variables = told(lock())
    assert user == "1000:1000"
    assert variables == {"PATH": "/home/u/env/bin:$PATH", "HOME": "/tmp", "LOGNAME": "python"}


@pytest.mark.parametrize("field", ["prefix", "base_executable", "scripts", "stdlib"])
def test_what_only_root_can_reach_is_run_as_root(field: str) -> None:
    made = lock(facts=interpreter(**{field: f"{PRIVATE}/py\nRUN x"}))
    if field == "scripts":  # That one stands in the file itself.
        made = lock(facts=interpreter(scripts=f"{PRIVATE}/py/bin"))
    user, variables = told(made)
    assert user == "root"
    assert "HOME" not in variables
    text = render(made, OPTIONS)["Dockerfile"]
    assert f"# It stays root: /root is root's alone in most bases, and {PRIVATE}/py" in text
    assert "# hadolint ignore=DL3002,DL3066\nUSER root" in text
    assert told(lock(facts=interpreter(prefix="/rooted")))[0] == "1000:1000"


@pytest.mark.parametrize(
    ("wanted", "user", "home"),
    [
        ("root", "root", None),
        ("0:0", "root", None),
        ("1234", "1234", "/tmp"),
        ("1234:99", "1234:99", "/tmp"),
        ("jovyan", "jovyan", None),
    ],
)
def test_a_person_chooses_the_user(wanted: str, user: str, home: str | None) -> None:
    found, variables = told(lock(facts=interpreter(prefix=f"{PRIVATE}/x")), user=wanted)
    assert found == user
    assert variables.get("HOME") == home


@pytest.mark.parametrize("wanted", ["", "a b", "1:", "x\nRUN y", "$HOME", "-1", "Root", "1:a"])
def test_a_user_that_is_none_is_refused(wanted: str) -> None:
    with pytest.raises(UsageError, match="--user"):
        told(lock(), user=wanted)


def test_a_gpu_is_asked_for_where_one_is_needed() -> None:
    gpu = Gpu(cuda="12.0", reason="torch 2.3.0\nRUN x is built for CUDA 12.1")
    _, variables = told(lock(), gpu=gpu)
    assert variables["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert variables["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"
    assert variables["NVIDIA_REQUIRE_CUDA"] == "cuda>=12.0"
    assert not any(name.startswith("NVIDIA") for name in told(lock())[1])


def test_a_variable_of_the_lock_stays_the_locks() -> None:
    made = lock(environment={"HOME": "/h", "NVIDIA_VISIBLE_DEVICES": "none", "LOGNAME": "me"})
    _, variables = told(made, gpu=Gpu(cuda="12.0", reason="x"))
    assert variables["HOME"] == "/h"
    assert variables["NVIDIA_VISIBLE_DEVICES"] == "none"
    assert variables["LOGNAME"] == "me"


def test_python_on_path_is_the_environments_own() -> None:
    plain = interpreter(venv=False, executable="/usr/bin/python3.11", scripts="/usr/local/bin")
    _, variables = told(lock(facts=plain))
    assert variables["PATH"] == "/usr/lib/envfreeze/bin:/usr/local/bin:$PATH"
    text = render(lock(facts=plain), OPTIONS)["Dockerfile"]
    assert instructions(text)[-1] == 'CMD ["python"]'


def test_an_interpreter_that_is_not_there_is_not_hermetic() -> None:
    layer = InterpreterLayer(facts=interpreter(), origin="unpacked")
    with pytest.raises(NotHermeticError, match="no-pack"):
        render(lock(interpreter=layer), OPTIONS)


@pytest.mark.parametrize(
    ("base", "name"),
    [
        ("debian@sha256:" + "0" * 64, "debian"),
        ("localhost:5000/a/b:1.2@sha256:" + "0" * 64, "localhost:5000/a/b:1.2"),
    ],
)
def test_a_base_by_digest(base: str, name: str) -> None:
    assert split_base(base) == (name, "sha256:" + "0" * 64)


@pytest.mark.parametrize(
    "base",
    ["debian:12", "", "x@sha256:12", "a b@sha256:" + "0" * 64, "a@sha256:" + "0" * 64 + "\nRUN x"],
)
def test_a_base_without_a_digest_is_refused(base: str) -> None:
    with pytest.raises(UsageError, match="not an image by digest"):
        render(lock(), DockerOptions(base=base, lock_sha256="e" * 64))


HOSTILE = ["x\nRUN evil", "x\r\nRUN evil", "x\\", '"; RUN evil', "$(evil)", "`evil`", "x\u2028RUN"]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("field", ["name", "version", "arch"])
def test_a_hostile_system_package_is_refused(field: str, text: str) -> None:
    package = deb(**({"name": "a"} | {field: text}))
    with pytest.raises(LockError, match="system package"):
        render(lock(system=[package]), OPTIONS)


@pytest.mark.parametrize("name", ["A B", "A=B", "A\nRUN x", "", "1A", "PATH", "É"])
def test_a_hostile_variable_name_is_refused(name: str) -> None:
    with pytest.raises(LockError, match="environment variable"):
        render(lock(environment={name: "x"}), OPTIONS)


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "\x00", "\x1b[0m", "a\u2028b", "\udc80"])
def test_a_value_that_no_dockerfile_can_hold_is_refused(value: str) -> None:
    with pytest.raises(LockError):
        render(lock(environment={"A": value}), OPTIONS)


@pytest.mark.parametrize("tag", ["a b", "A", "x;evil", "x\ny", "", "a`b`"])
def test_a_hostile_tag_is_refused(tag: str) -> None:
    with pytest.raises(UsageError, match="--tag"):
        render(lock(), DockerOptions(base=BASE, lock_sha256="e" * 64, tag=tag))


_nasty = st.text(
    st.sampled_from(list("ab/.:$\"'\\`#{}%&;|<>()= \t\n\r\x0b\x0c\x85\u2028\u2029\ud800é"))
    | st.characters(),
    max_size=12,
)


@st.composite
def _locks(draw: st.DrawFn) -> Lock:
    facts = interpreter(
        version=draw(_nasty),
        implementation=draw(_nasty),
        platform=draw(_nasty),
        scripts="/" + draw(_nasty),
        executable="/" + draw(_nasty),
    )
    packages = [
        deb(draw(st.just("a") | _nasty), draw(st.just("1") | _nasty), depends=[draw(_nasty)])
    ]
    return lock(
        facts=facts,
        system=packages,
        os_release={"ID": draw(_nasty), "VERSION_ID": draw(_nasty)},
        environment=draw(st.dictionaries(st.just("A") | _nasty, _nasty, max_size=2)),
    )


@settings(max_examples=400)
@given(_locks())
def test_no_lock_adds_an_instruction(hostile: Lock) -> None:
    try:
        files = render(hostile, OPTIONS)
    except EnvfreezeError:
        return
    assert words(files["Dockerfile"]) == ALL
    static = [
        line for line in instructions(files["Dockerfile"]) if line[:3] in {"COP", "RUN", "ADD"}
    ]
    assert static == [
        "COPY system/ /tmp/envfreeze-system/",
        "RUN sh /tmp/envfreeze-system/install.sh && rm -rf /tmp/envfreeze-system",
        "ADD interpreter.tar.gz /",
        "ADD packages.tar /",
        "COPY env.lock /usr/share/envfreeze/env.lock",
    ]
    assert all("/../" not in f"/{name}/" and not name.startswith("/") for name in files)
    for line in files["system/packages.tsv"].splitlines():
        assert re.fullmatch(r"[a-z0-9.+-]+\t[a-z0-9-]+\t[\w.+:~-]+\t[\w.+%~-]+\.deb", line)
    assert (
        files["system/install.sh"] == render(lock(system=[deb("a")]), OPTIONS)["system/install.sh"]
    )


def docker_unquote(text: str) -> str:
    """What the engine makes of a double-quoted word (``shell/lex.go``,
    ``processDoubleQuote``)."""
    assert text[0] == text[-1] == '"'
    out, index, inner = "", 0, text[1:-1]
    while index < len(inner):
        char = inner[index]
        assert char not in '"$', "an unescaped quote or variable"
        if char == "\\":
            index += 1
            assert inner[index] in '"$\\'
            char = inner[index]
        out += char
        index += 1
    return out


@given(st.text(max_size=30))
def test_a_quoted_value_comes_back_as_it_was(text: str) -> None:
    try:
        quoted = dockerfile_string(text)
    except LockError:
        return
    assert docker_unquote(quoted) == text


@given(_nasty)
def test_a_comment_stays_on_its_line(text: str) -> None:
    assert re.fullmatch(r"[ -\[\]-~]*", comment(text))


# --- templates ---------------------------------------------------------------------------


def test_a_changed_template_cannot_leak_a_raw_value(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile.j2").write_text("FROM {{ base }}\n# {{ packages }}\n")
    options = DockerOptions(base=BASE, lock_sha256="e" * 64, templates=tmp_path)
    with pytest.raises(UsageError, match="without a filter"):
        render(lock(), options)


def test_a_changed_template_is_used(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile.j2").write_text("FROM {{ base }}\n# {{ 'x\ny' | comment }}\n")
    options = DockerOptions(base=BASE, lock_sha256="e" * 64, templates=tmp_path)
    assert render(lock(), options)["Dockerfile"] == f"FROM {BASE}\n# x?y\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ nothing }}", "'nothing' is undefined"),
        ("{% if base.nothing.more %}{% endif %}", "has no attribute 'nothing'"),
        ("{% if %}", "Expected an expression"),
        ("{{ packages }}", "without a filter"),
        ("{{ 1 // 0 }}", "division"),
        ("{{ id | nothing }}", "No filter named 'nothing'"),
    ],
)
def test_an_error_of_a_template_names_file_line_and_variable(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "Dockerfile.j2").write_text(f"FROM {{{{ base }}}}\n\n{text}\n")
    options = DockerOptions(base=BASE, lock_sha256="e" * 64, templates=tmp_path)
    with pytest.raises(UsageError) as caught:
        render(lock(), options)
    assert str(caught.value).startswith(f"{tmp_path}/Dockerfile.j2, line 3: ")
    assert said in str(caught.value)
    assert "base, command, debs, environment" in (caught.value.hint or "")


# --- the script --------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["sh", "dash", "bash", "busybox"])
def test_the_script_is_posix_shell(tmp_path: Path, shell: str) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"no {shell}")
    script = tmp_path / "install.sh"
    script.write_text(render(lock(system=[deb("a")]), OPTIONS)["system/install.sh"])
    command = [program, "sh"] if shell == "busybox" else [program]
    subprocess.run([*command, "-n", str(script)], check=True)


def test_the_script_refuses_another_release(tmp_path: Path) -> None:
    made = lock(system=[deb("a")], os_release={"ID": "no-such-os"})
    for name, text in render(made, OPTIONS).items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    done = subprocess.run(
        ["sh", str(tmp_path / "system/install.sh")], capture_output=True, check=False
    )
    assert done.returncode == 1
    assert b"the environment was captured on no-such-os" in done.stderr
