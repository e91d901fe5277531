"""Programs that answer, fail, hang, say too much, or cannot be run."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from envfreeze.probe import programs
from envfreeze.probe.machine import Machine
from envfreeze.probe.places import Places


def ask(script: str, seconds: float = 5) -> tuple[int | None, bytes, str | None]:
    answer: tuple[int | None, bytes, str | None]
    environ = {"PATH": os.environ["PATH"]}
    answer = programs.Program(["/bin/sh", "-c", script], environ, seconds).answer()
    return answer


def test_what_it_says_and_how_it_ends() -> None:
    assert ask("echo yes; echo no >&2; exit 3") == (3, b"yes\n", None)


def test_a_signal() -> None:
    assert ask("kill -9 $$") == (None, b"", "it was killed by signal 9")


@pytest.mark.parametrize("script", ["sleep 60", "sleep 60 & wait", "exec 1>&-; sleep 60"])
def test_the_time_is_limited(script: str) -> None:
    start = time.monotonic()
    assert ask(script, 0.3) == (None, b"", "it did not answer within 0.3 s")
    assert time.monotonic() - start < 30


def test_what_it_started_ends_with_it(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    ask(f"(sleep 1; echo > {mark}) & exit 0", 0.2)
    time.sleep(1.2)
    assert not mark.exists()


def test_the_output_is_limited() -> None:
    status, output, problem = ask("yes", 3)
    assert len(output) == programs.OUTPUT
    assert (status, problem) == (None, "it says too much")


def test_it_runs_while_others_work(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    program = programs.Program(["/bin/sh", "-c", f"echo > {mark}; echo x"], {}, 60)
    end = time.monotonic() + 50
    while not mark.exists() and time.monotonic() < end:
        time.sleep(0.02)
    assert mark.exists(), "it does not wait to be asked for its answer"
    assert program.answer()[:2] == (0, b"x\n")


@pytest.mark.parametrize("path", ["/gone/program", "", "a\0b", "/etc"])
def test_what_cannot_be_run(path: str) -> None:
    status, output, problem = programs.Program([path], {}, 5).answer()
    assert (status, output) == (None, b"")
    assert problem is not None and problem.startswith("it cannot be run: ")


def test_what_of_the_environment_is_passed_on(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "anybodys").mkdir()
    (tmp_path / "anybodys").chmod(0o777)
    given = {
        "PATH": "/own:/anybodys:/gone:relative:",
        "LD_LIBRARY_PATH": "/anybodys",
        "LD_PRELOAD": "/own/x.so",
        "BASH_ENV": "/own/x",
        "SECRET": "x",
        "NVIDIA_VISIBLE_DEVICES": "all",
    }
    here = Places(Machine(root=str(tmp_path), environ=given))
    assert programs.environ(here) == {
        "PATH": f"{tmp_path}/own",
        "NVIDIA_VISIBLE_DEVICES": "all",
        "LC_ALL": "C",
    }


def test_who_is_trusted(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("")
    program.chmod(0o755)
    assert programs.trusted(str(program))
    program.chmod(0o777)
    assert not programs.trusted(str(program))
    program.chmod(0o755)
    tmp_path.chmod(0o777)
    assert not programs.trusted(str(program))
    tmp_path.chmod(0o700)
    assert not programs.trusted(str(tmp_path / "gone"))
    if os.geteuid() == 0:
        os.chown(program, 12345, 12345)
        assert not programs.trusted(str(program))
