"""Copies of a process that share its work, under every interpreter there is.

Each case is a program of its own: a copy is only made of a process with one thread, and pytest
may have more.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from textwrap import dedent

import pytest

import envfreeze
from tests.support.pythons import newest, parameters

HOME = Path(envfreeze.__file__).parent
"""The probe's package stands alone: it is found here without envfreeze."""


def run(python: Path, program: str) -> str:
    head = "import os, signal, sys, time\nfrom probe import workers\n"
    done = subprocess.run(
        [str(python), "-B", "-W", "error", "-c", head + dedent(program)],
        cwd=HOME,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("python", parameters())
def test_all_is_done_and_by_others(python: Path) -> None:
    said = run(
        python,
        """
        def work(number):
            time.sleep(0.001)
            return [number, os.getpid(), b"x" * 1000]
        done = workers.share(workers.MOST, work, 3)
        assert sorted(done) == list(range(workers.MOST))
        assert all(done[n][0] == n for n in done)
        pids = {item[1] for item in done.values()}
        print(len(pids), os.getpid() in pids)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            print("none is left")
        """,
    )
    assert said == "3 False\nnone is left\n"


@pytest.mark.parametrize(
    "end", ["os.kill(os.getpid(), signal.SIGKILL)", "raise ValueError", "os._exit(0)", "sys.exit()"]
)
def test_what_a_lost_copy_had_is_missing(end: str) -> None:
    said = run(
        newest(),
        f"""
        def work(number):
            time.sleep(0.002)
            if number == 7:
                {end}
            return number
        done = workers.share(100, work, 2)
        print(7 in done, 50 < len(done) < 100, all(done[n] == n for n in done))
        """,
    )
    assert said == "False True True\n"


def test_nothing_is_shared_by_a_process_with_threads() -> None:
    said = run(
        newest(),
        """
        import threading
        stop = threading.Event()
        other = threading.Thread(target=stop.wait)
        other.start()
        print(sorted(workers.share(4, abs, 4).items()))
        stop.set()
        other.join()
        print(sorted(workers.share(4, abs, 4).items()))
        """,
    )
    assert said == "[]\n[(0, 0), (1, 1), (2, 2), (3, 3)]\n"


def test_a_thread_that_is_ending_is_waited_for() -> None:
    said = run(
        newest(),
        """
        import threading
        threading.Timer(0.005, abs, (0,)).start()
        print(sorted(workers.share(2, abs, 2).items()))
        """,
    )
    assert said == "[(0, 0), (1, 1)]\n"


def test_no_process_is_to_be_had() -> None:
    said = run(
        newest(),
        """
        def refuse():
            raise OSError("no more processes")
        os.fork = refuse
        before = len(os.listdir("/dev/fd"))
        print(workers.share(4, abs, 4), len(os.listdir("/dev/fd")) - before)
        """,
    )
    assert said == "{} 0\n"


def test_children_that_the_system_reaps() -> None:
    said = run(
        newest(),
        """
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        print(sorted(workers.share(4, abs, 2).items()))
        """,
    )
    assert said == "[(0, 0), (1, 1), (2, 2), (3, 3)]\n"


@pytest.mark.parametrize(("count", "copies"), [(0, 4), (1, 4), (4, 1), (4, 0), (100_000, 4)])
def test_where_there_is_nothing_to_share(count: int, copies: int) -> None:
    assert run(newest(), f"print(workers.share({count}, abs, {copies}))") == "{}\n"


def test_there_is_a_processor() -> None:
    assert 1 <= int(run(newest(), "print(workers.processors())")) <= 8
