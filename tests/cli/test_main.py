"""The commands: exit codes, what goes where, and what a script can rely on."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from envfreeze import errors, workflow
from envfreeze.cli import main
from envfreeze.cli.guard import guarded
from envfreeze.errors import EnvfreezeError, Exit
from envfreeze.model.lock import InterpreterLayer, SystemLayer
from envfreeze.resolve import freeze
from envfreeze.resolve.machine import MachineLayers
from tests.support import envs
from tests.support.cli import envfreeze
from tests.support.fakeindex import FakeIndex, make_wheel

COMMANDS = ("capture", "build", "verify", "diff")


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of whoever runs the tests, and a cache of our own."""
    for name in [n for n in os.environ if n.startswith(("PIP_", "ENVFREEZE_", "UV_"))]:
        monkeypatch.delenv(name)
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("ENVFREEZE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An environment with one package, the index that offers it, and no machine below."""

    def lock_machine(snapshot: Any, *_: object) -> MachineLayers:
        return MachineLayers(
            interpreter=InterpreterLayer(facts=snapshot.interpreter, origin="system"),
            system=SystemLayer(kernel="Linux", machine="x86_64"),
        )

    monkeypatch.setattr(freeze, "lock_machine", lock_machine)
    wheel = make_wheel(tmp_path / "files", "demo", "1.0", {"demo.py": "1"})
    made = envs.make_venv(tmp_path / "env")
    envs.install(wheel, made, installer="pip\n")
    with FakeIndex(tmp_path / "files") as server:
        monkeypatch.setenv("PIP_INDEX_URL", server.url)
        yield made


def call(*arguments: object) -> int:
    """Run the command line in this process; its exit code."""
    with pytest.raises(SystemExit) as caught:
        main.run([str(a) for a in arguments])
    return int(caught.value.code or 0)


# --- errors --------------------------------------------------------------------------------

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, EnvfreezeError)
]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_said_on_stderr(
    kind: type[EnvfreezeError], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise kind("what \x1b[31mhappened\nand why", hint="do this\nor that")

    assert guarded(fail) == kind.exit_code
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "envfreeze: what \\x1b[31mhappened\nand why\n  do this\n  or that\n"


def test_without_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise errors.LockError("bad")

    assert guarded(fail) == 5
    assert capsys.readouterr().err == "envfreeze: bad\n"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "envfreeze: interrupted; nothing was left half-written\n"),
        (
            PermissionError(13, "Permission denied", "/p\x1b"),
            9,
            "envfreeze: the file system refused /p\\x1b: Permission denied\n",
        ),
        (OSError(28, "No space"), 9, "envfreeze: the file system refused: No space\n"),
    ],
)
def test_other_failures(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    assert guarded(fail) == code
    assert capsys.readouterr() == ("", said)


def test_a_bug_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: 1 // 0)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["nonsense"], 2),
        (["build"], 2),
        (["capture", "--nonsense"], 2),
        (["capture", "absent"], 3),
        (["capture", "--output", ".", "env"], 2),
        (["build", "absent.lock", "--into", "x"], 5),
        (["build", "absent.lock"], 2),
        (["build", "absent.lock", "--to", "moon"], 2),
        (["build", "absent.lock", "--to", "docker", "--into", "x"], 2),
        (["build", "absent.lock", "--to", "venv", "--into", "x", "--tag", "t"], 2),
        (["verify", "absent.lock"], 5),
        (["diff", "absent.lock", "absent"], 5),
        (["diff", "absent.txt", "absent"], 5),
        (["diff", "absent", "absent"], 3),
        (["diff", "absent", "absent", "--only", "kitchen"], 2),
        (["diff", "absent", "absent", "--fail-on", "x"], 2),
        (["diff", "absent", "absent", "--format", "pdf"], 2),
        (["verify", "absent.lock", "--satisfies", "--fail-on", "changes"], 2),
    ],
)
def test_bad_calls(
    arguments: list[str], code: int, env: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*arguments) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err


def test_ctrl_c_in_a_command(
    env: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(workflow, "capture", interrupted)
    assert call("capture", env) == Exit.INTERRUPTED
    assert capsys.readouterr().out == ""


# --- the commands --------------------------------------------------------------------------


def test_capture_verify_build_diff(
    env: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("capture", env, "-o", "env.lock") == 0
    out, err = capsys.readouterr()
    assert "1 distribution   1 proved" in out
    assert "next: envfreeze build env.lock --into rebuilt" in out
    assert err == ""
    assert call("build", "env.lock", "--into", "rebuilt") == 0
    assert capsys.readouterr().out.startswith("  rebuilt  verified: 1 package equal to the lock\n")
    assert call("verify", "env.lock", "rebuilt") == 0
    assert capsys.readouterr().out.startswith("verified: equal: ")
    assert call("diff", "env.lock", "rebuilt") == 0
    (tmp_path / "rebuilt" / envs.SITE / "demo.py").write_text("2")
    assert call("verify", "env.lock", "rebuilt") == 1
    assert call("diff", env, "rebuilt") == 1
    out, err = capsys.readouterr()
    assert "demo.py" in out
    assert err == ""


def test_what_may_be_let_pass(
    env: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("capture", env, "-o", "env.lock") == 0
    assert call("build", "env.lock", "--into", "rebuilt") == 0
    (tmp_path / "rebuilt" / envs.SITE / "NOTES.md").write_text("read me")
    capsys.readouterr()
    assert call("verify", "env.lock", "rebuilt") == 1
    out = capsys.readouterr().out
    assert out.startswith("Nothing that changes results: 1 difference")
    assert call("verify", "env.lock", "rebuilt", "--satisfies") == 0
    assert capsys.readouterr().out == f"satisfied: {out}"
    assert call("verify", "env.lock", "rebuilt", "--only", "packages") == 0
    assert call("diff", "env.lock", "rebuilt", "--fail-on", "may-change", "-o", "report.txt") == 0
    capsys.readouterr()
    assert call("diff", "env.lock", "rebuilt", "--explain", "-o", "report.txt") == 1
    assert capsys.readouterr().out == ""
    assert "why: only documentation" in (tmp_path / "report.txt").read_text()


def test_diff_with_documents_of_other_tools(
    env: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("capture", env, "-o", "env.lock", "-q") == 0
    sha256 = hashlib.sha256(next((tmp_path / "files").iterdir()).read_bytes()).hexdigest()
    pinned = f"demo==1.0.0 --hash=sha256:{sha256}\n"
    Path("requirements.txt").write_text(pinned)
    assert call("diff", "env.lock", "requirements.txt") == 0
    out, _ = capsys.readouterr()
    assert out.startswith("equal: env.lock and requirements.txt (but see below)\n")
    assert "demo" not in out
    assert call("export", "env.lock", "--format", "requirements", "-o", "ours.txt") == 0
    assert call("diff", "ours.txt", env, "-q") == 0
    capsys.readouterr()
    Path("requirements.txt").write_text(pinned.replace(sha256, "0" * 64) + "more==2\n")
    assert call("diff", "requirements.txt", "env.lock", "--json") == 1
    found = {c["name"]: c["kind"] for c in json.loads(capsys.readouterr().out)["changes"]}
    assert found == {"interpreter": "unknown", "demo": "content", "more": "removed"}
    assert call("diff", "requirements.txt", env, "-q") == 1
    assert call("verify", "requirements.txt", env) == Exit.BAD_LOCK
    assert "is no lock of envfreeze, but another tool's requirements.txt" in capsys.readouterr().err
    Path("notes.json").write_text("{}")
    assert call("diff", "notes.json", env) == Exit.BAD_LOCK
    assert "neither a lock nor another document" in capsys.readouterr().err


def test_json(env: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("capture", env, "-o", "env.lock", "--json") == 0
    assert json.loads(capsys.readouterr().out)["counts"]["proved"] == 1
    assert call("build", "env.lock", "--into", "rebuilt", "--json") == 0
    assert json.loads(capsys.readouterr().out)["equal"] is True
    for command in (("verify", "env.lock", env), ("diff", "env.lock", env)):
        assert call(*command, "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["schema"], found["equal"], found["before"]) == (1, True, "env.lock")


def test_quiet(env: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("capture", env, "-o", "env.lock", "-q") == 0
    assert call("build", "env.lock", "--into", "rebuilt", "-q") == 0
    assert call("verify", "env.lock", "rebuilt", "-q") == 0
    assert call("diff", "env.lock", "rebuilt", "-q") == 0
    assert capsys.readouterr() == ("", "")


def test_flags_from_the_environment(
    env: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {
        "ENVFREEZE_CAPTURE_OUTPUT": "from-env.lock",
        "ENVFREEZE_CAPTURE_OFFLINE": "1",
        "ENVFREEZE_CAPTURE_JSON": "true",
        "ENVFREEZE_BUILD_INTO": "from-env",
        "ENVFREEZE_BUILD_QUIET": "1",
    }.items():
        monkeypatch.setenv(name, value)
    assert call("capture", env) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["lock"], report["counts"]["packed"]) == ("from-env.lock", 1)
    assert call("build", "from-env.lock") == 0
    assert (tmp_path / "from-env/bin/python").exists()
    assert capsys.readouterr().out == ""


def test_strict(env: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--offline", "--no-pack", "--strict", "-o", "env.lock")
    assert call("capture", env, *options) == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert "demo 1.0" in err
    assert not (tmp_path / "env.lock").exists()


def test_what_cannot_be_rebuilt_is_said(env: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("capture", env, "--offline", "--no-pack") == 0
    assert "it cannot be rebuilt" in capsys.readouterr().out
    assert call("build", "env.lock", "--into", "x") == 5
    assert "demo 1.0" in capsys.readouterr().err


def test_an_index_that_is_down_is_a_warning(
    env: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://user:hunter2@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    assert call("capture", env) == 0
    out, err = capsys.readouterr()
    assert "1 packed" in out
    assert err.startswith("warning: ")
    assert "hunter2" not in out + err


# --- for scripts and terminals -------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    for flag in ("--help", "-h"):
        assert call(command, flag) == 0
        out, err = capsys.readouterr()
        assert f" {command} " in out.splitlines()[0]
        assert err == ""


def test_the_help_names_every_command_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--help") == 0
    out = " ".join(capsys.readouterr().out.split())
    for command in COMMANDS:
        assert f" {command} " in out
    for code in Exit:
        assert f" {int(code)} " in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from envfreeze import __version__

    assert call("--version") == 0
    assert capsys.readouterr().out == f"envfreeze {__version__}\n"


def test_no_escapes_where_nobody_looks() -> None:
    for arguments in (["--help"], ["nonsense"], ["capture", "absent"]):
        done = envfreeze(*arguments, env={"FORCE_COLOR": "", "TERM": "xterm-256color"})
        assert "\x1b" not in done.stdout + done.stderr


def on_terminal(env: dict[str, str], *arguments: str) -> str:
    """What a terminal gets on both streams."""
    import pty

    leader, follower = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "envfreeze", *arguments],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**os.environ, "TERM": "xterm-256color", **env},
    ) as process:
        os.close(follower)
        found = b""
        while True:
            try:
                data = os.read(leader, 65536)
            except OSError:
                break
            if not data:
                break
            found += data
        process.wait()
    os.close(leader)
    return found.decode()


def test_no_color() -> None:
    for arguments in (["--help"], ["capture", "absent"], ["nonsense"]):
        assert "\x1b[3" not in on_terminal({"NO_COLOR": "1"}, *arguments)


def test_a_reader_that_went_away() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "envfreeze", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        process.wait()


def test_python_m_envfreeze() -> None:
    done = envfreeze("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("envfreeze ")
