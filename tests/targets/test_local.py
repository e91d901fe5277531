"""Finding a target on this machine, and what happens when it is not one."""

from __future__ import annotations

import json
import os
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import pytest

from envfreeze.errors import TargetError, UsageError
from envfreeze.store import Cache
from envfreeze.targets import local
from envfreeze.targets.local import LocalTarget, find, observe
from tests.support.environments import Environment, plain_environ
from tests.support.pythons import newest, python2

OWN = Path(sys.prefix)


@pytest.fixture
def env(tmp_path: Path) -> Environment:
    return Environment.make(newest(), tmp_path / "env")


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def ask(python: Path) -> None:
    target = LocalTarget(python=str(python), described="x", own=False)
    observe(target, environ=plain_environ(), cache=None)


# --- which interpreter --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "bin/python", "bin/python3"])
def test_a_path(name: str, env: Environment) -> None:
    found = find(str(env.prefix / name), {})
    assert Path(found.python).parent == env.prefix / "bin"
    assert not found.own


def test_a_conda_environment_without_python(tmp_path: Path) -> None:
    meta = tmp_path / "conda-meta"
    meta.mkdir()
    (meta / "history").touch()
    with pytest.raises(TargetError, match="there is no bin/python"):
        find(str(tmp_path), {})
    (meta / "r-base-4.3-0.json").write_text("{}")
    with pytest.raises(TargetError, match="conda environment of 1 package, and python") as caught:
        find(None, {"CONDA_PREFIX": str(tmp_path)})
    assert f"conda install --prefix {tmp_path} python\n" in caught.value.hint


def test_a_prefix_with_nothing_but_a_versioned_python(tmp_path: Path) -> None:
    for name in ("python3.9", "python3.13t", "python3.12", "python3.12-config", "python3.99x"):
        script(tmp_path / "bin" / name, "")
    (tmp_path / "bin" / "python3.14").write_text("")  # cannot be executed
    assert find(str(tmp_path), {}).python == str(tmp_path / "bin" / "python3.13t")


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("gone", "no such file or directory"),
        ("empty", "holds no Python"),
        ("plain.txt", "cannot be executed"),
    ],
)
def test_a_path_that_is_none(place: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "plain.txt").write_text("x")
    with pytest.raises(TargetError, match=said):
        find(str(tmp_path / place), {})


def test_a_venv_whose_base_is_gone(tmp_path: Path) -> None:
    """It has a bin/python: to say that there is none would send people the wrong way."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to("python3")
    (tmp_path / "bin/python3").symlink_to("/opt/gone/bin/python3.9")
    with pytest.raises(TargetError, match=r"bin/python is a link to /opt/gone/bin/python3\.9, whi"):
        find(str(tmp_path), {})
    with pytest.raises(TargetError, match="a link to /opt/gone/bin/python3"):
        find(str(tmp_path / "bin/python"), {})


def test_what_repeats_the_question_is_cut_short(tmp_path: Path) -> None:
    """``ls`` says the whole of the probe in its error."""
    with pytest.raises(TargetError, match="does not run") as caught:
        ask(script(tmp_path / "python", '#!/bin/sh\necho "no such file: $*" >&2; exit 2\n'))
    assert len(str(caught.value)) < 2000


def test_the_active_environment(env: Environment, tmp_path: Path) -> None:
    prefix = str(env.prefix)
    conda = script(tmp_path / "conda" / "bin" / "python", "").parent.parent
    assert find(None, {"VIRTUAL_ENV": prefix}).described == prefix
    assert find(None, {"CONDA_PREFIX": prefix}).described == prefix
    assert find(None, {"VIRTUAL_ENV": "", "PATH": f"{prefix}/bin"}).described == "PATH"
    both = {"VIRTUAL_ENV": prefix, "CONDA_PREFIX": str(conda)}
    assert find(None, both).described == prefix
    # Whichever was activated last stands first on PATH.
    assert find(None, {**both, "PATH": f"{conda}/bin:{prefix}/bin"}).described == str(conda)
    assert find(None, {**both, "PATH": f"{prefix}/bin:{conda}/bin"}).described == prefix


@pytest.mark.parametrize("name", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_an_active_environment_that_is_gone_is_said(name: str, env: Environment) -> None:
    environ = {name: "/nowhere/at/all", "PATH": f"{env.prefix}/bin"}
    with pytest.raises(TargetError, match=f"{name}=/nowhere/at/all: no such") as caught:
        find(None, environ)
    assert f"unset {name}" in caught.value.hint


def test_a_stale_conda_prefix_does_not_stop_a_venv(env: Environment) -> None:
    environ = {"VIRTUAL_ENV": str(env.prefix), "CONDA_PREFIX": "/nowhere"}
    assert find(None, environ).described == str(env.prefix)


def test_path_entries_that_are_files_or_gone(env: Environment, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = os.pathsep.join([str(tmp_path / "file"), "", "/gone", f"{env.prefix}/bin"])
    assert find(None, {"PATH": path}).python == str(env.prefix / "bin" / "python3")


def test_no_environment_at_all() -> None:
    with pytest.raises(TargetError, match="no active Python environment"):
        find(None, {"PATH": "/gone"})


# --- envfreeze's own ----------------------------------------------------------------------


def test_envfreezes_own_is_passed_over_on_path(env: Environment) -> None:
    path = f"{OWN}/bin{os.pathsep}{env.prefix}/bin"
    assert find(None, {"PATH": path}).python == str(env.prefix / "bin" / "python3")


def test_run_from_its_own_venv_the_active_one_is_captured(env: Environment) -> None:
    environ = {"VIRTUAL_ENV": str(env.prefix), "PATH": f"{OWN}/bin"}
    assert find(None, environ).described == str(env.prefix)


def test_its_own_active_is_refused_and_asked_for_is_said() -> None:
    with pytest.raises(UsageError, match="the one envfreeze itself runs from") as caught:
        find(None, {"VIRTUAL_ENV": str(OWN)})
    assert str(OWN) in caught.value.hint
    assert find(str(OWN), {}).own
    assert find(sys.executable, {}).own


def test_a_shim_that_leads_to_its_own_is_passed_over(env: Environment, tmp_path: Path) -> None:
    shim = script(tmp_path / "shims" / "python3", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    path = f"{shim.parent}{os.pathsep}{env.prefix}/bin"
    assert find(None, {"PATH": path}).python == str(env.prefix / "bin" / "python3")
    other = script(tmp_path / "other" / "python3", f'#!/bin/sh\nexec "{env.python}" "$@"\n')
    assert find(None, {"PATH": str(other.parent)}).python == str(other)
    broken = script(tmp_path / "broken" / "python3", "#!/bin/sh\nexit 3\n")
    assert find(None, {"PATH": str(broken.parent)}).python == str(broken)


# --- what answers -------------------------------------------------------------------------


def test_python_2(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"is Python 2\.7"):
        ask(python2())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("#!/bin/sh\nexit 0\n", "gave no answer to the probe"),
        ("#!/bin/sh\necho garbage\n", "gave no answer to the probe"),
        ("#!/bin/sh\necho broken >&2; exit 3\n", r"does not run \(exit status 3\):\nbroken"),
        ("#!/bin/sh\nkill -SEGV $$\n", "gave no answer|does not run"),
        ("#!/no/such/interpreter\n", "cannot be run: No such file"),
        ("not a program", "cannot be run: Exec format error"),
        # A forged answer: the marker can be read off the command line, a snapshot not made up.
        (
            '#!/bin/sh\nM=$(printf %s "$4" | sed -n "s/^M = \'\\(.*\\)\'/\\1/p")\n'
            'echo "$M{\\"schema\\": 1}$M"\n',
            "gave an answer that is not a snapshot",
        ),
        ("#!/bin/sh\nhead -c 10000000 /dev/zero\n", "gave no answer"),
    ],
)
def test_what_is_not_a_python(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=said):
        ask(script(tmp_path / "python", text))


def test_a_program_that_hangs_is_ended_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "ANSWER_WITHIN", 0.5)
    pids = tmp_path / "pids"
    hang = script(tmp_path / "python", f"#!/bin/sh\nsleep 600 &\necho $! $$ > '{pids}'\nwait\n")
    start = time.monotonic()
    with pytest.raises(TargetError, match=r"did not answer within 0\.5 seconds"):
        ask(hang)
    assert time.monotonic() - start < 20
    for pid in pids.read_text().split():
        assert not _runs(int(pid))


def _runs(pid: int) -> bool:
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state == "Z":
            return False
        time.sleep(0.02)
    return True


def test_a_slow_look_is_not_ended(
    env: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "ANSWER_WITHIN", 3.0)
    text = f'#!/bin/sh\n"{env.python}" "$@"\nsleep 4\n'
    ask(script(tmp_path / "python", text))


def test_a_wrapper_that_sets_its_own_pythonpath(env: Environment, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    wrapper = script(
        tmp_path / "python",
        f'#!/bin/sh\nPYTHONPATH="{tmp_path}/more" exec "{env.python}" "$@"\n',
    )
    target = LocalTarget(python=str(wrapper), described="x", own=False)
    snapshot = observe(target, environ=plain_environ(), cache=None).snapshot
    first = snapshot.sites[0]
    assert (first.path, first.kind) == (str(tmp_path / "more"), "pythonpath")


def test_variables_that_make_an_interpreter_act_are_not_passed_on(
    env: Environment, tmp_path: Path
) -> None:
    startup = tmp_path / "startup.py"
    startup.write_text("raise SystemExit(9)")
    env.environ.update(
        PYTHONINSPECT="1",
        PYTHONVERBOSE="1",
        PYTHONSTARTUP=str(startup),
        PYTHONDEVMODE="1",
        PYTHONWARNINGS="error",
        PYTHONIOENCODING="utf-16",
        PYTHONPERFSUPPORT="1",
    )
    assert env.snapshot().interpreter.venv


def test_the_memory_does_not_grow_without_end(env: Environment, tmp_path: Path) -> None:
    import json

    from envfreeze.store import Cache

    cache = Cache(tmp_path / "cache")
    key = local._memory_key(str(env.python))
    old: local.Memory = {f"{n:064x}": {} for n in range(10_000)}
    cache.write_note("stats", key, json.dumps(old).encode())
    env.install("new")
    time.sleep(2.1)
    assert env.observe(cache).remember
    kept = local._known(cache.read_note("stats", key) or b"")
    assert len(kept) <= 4096
    assert env.observe(cache).remember == {}


@pytest.mark.parametrize(
    "damage",
    [b"\xff", b"[]", b"[" * 100_000, b'{"a": 1}', b'{"a": {"0": 1}}', b"{}\n{}", b'{"a": {"0"'],
    ids=["no UTF-8", "a list", "nested", "no digests", "no text", "two lines", "cut off"],
)
def test_a_damaged_memory_is_none(env: Environment, tmp_path: Path, damage: bytes) -> None:
    from envfreeze.store import Cache

    cache = Cache(tmp_path / "cache")
    env.install("one")
    cache.write_note("stats", local._memory_key(str(env.python)), damage)
    assert env.observe(cache).snapshot == env.observe(None).snapshot


def test_what_is_asked_comes_without_memfd_too(
    env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_name: str) -> int:
        raise OSError(38, "Function not implemented")

    env.install("one")
    monkeypatch.setattr(os, "memfd_create", refused, raising=False)
    assert [dist.name for dist in env.observe(None).snapshot.dists] == ["one"]


# --- what was compiled once ----------------------------------------------------------------


def note_of(cache: Cache) -> Path:
    (found,) = (cache.root / "code").rglob("*.json")
    return found


@pytest.fixture
def compiled(env: Environment, tmp_path: Path) -> Cache:
    """A cache that has the probe as the interpreter of *env* compiled it."""
    cache = Cache(tmp_path / "cache")
    assert env.observe(cache).code is not None
    return cache


def damaged(data: dict[str, str]) -> dict[str, object]:
    return {name: ["bm8gY29kZQ==", "?", 5][place % 3] for place, name in enumerate(data)}


def test_the_probe_is_compiled_once(env: Environment, compiled: Cache) -> None:
    before = note_of(compiled).read_bytes()
    assert env.observe(compiled).code is None
    assert note_of(compiled).read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        lambda note: {**note, "code": {**note["code"], "for": ["3.4", "AAAA"]}},
        lambda note: {**note, "code": {**note["code"], "data": "bm8gY29kZQ=="}},
        lambda note: {**note, "code": {**note["code"], "data": damaged(note["code"]["data"])}},
        lambda note: {**note, "sources": "0" * 64},
        lambda note: {"code": []},
    ],
    ids=["of another interpreter", "none", "damaged", "of another version of envfreeze", "no note"],
)
def test_what_was_compiled_for_something_else_is_made_anew(
    env: Environment, compiled: Cache, change: Any
) -> None:
    path = note_of(compiled)
    good = zlib.decompress(path.read_bytes())
    path.write_bytes(zlib.compress(json.dumps(change(json.loads(good))).encode()))
    (env.prefix / "lib").touch()
    again = env.observe(compiled)
    assert again.snapshot.dists == env.snapshot().dists
    assert json.loads(zlib.decompress(note_of(compiled).read_bytes())) == json.loads(good)


def test_what_another_users_process_says_is_not_remembered(
    env: Environment, tmp_path: Path
) -> None:
    from envfreeze.model.host import Process
    from envfreeze.targets.process import Running

    if os.geteuid() != 0:
        pytest.skip("only root may look at another user's process")
    tmp_path.chmod(0o755)
    running = Running(
        python=str(env.python),
        environ=plain_environ(),
        cwd="/",
        uid=65534,
        gid=65534,
        groups=(),
        process=Process(pid=1),
    )
    cache = Cache(tmp_path / "cache")
    target = LocalTarget(python=str(env.python), described="pid:1", own=False, running=running)
    seen = []

    def ask(*given: Any, **named: Any) -> Any:
        seen.append(given[2]["keep-code"])
        raise TargetError("not run here")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "_ask", ask)
        with pytest.raises(TargetError):
            observe(target, environ=plain_environ(), cache=cache)
    assert seen == [False]
    assert not list(cache.root.rglob("*.json"))
