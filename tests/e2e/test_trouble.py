"""Bad input and bad luck: a clear error, its own exit code, nothing half-written."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.cli import envfreeze, ok, run, site
from tests.support.fakeindex import FakeIndex, Faults
from tests.support.pythons import available

pytestmark = pytest.mark.network


def _is_alone(directory: Path, *names: str) -> None:
    assert sorted(entry.name for entry in directory.iterdir()) == sorted(names)


def test_a_target_that_is_not_there(tmp_path: Path) -> None:
    done = ok(envfreeze("capture", tmp_path / "none", "-o", tmp_path / "x.lock"), 3)
    assert str(tmp_path / "none") in done.stderr


def test_a_truncated_lock(lock: Path, tmp_path: Path) -> None:
    text = lock.read_text()
    for share in (0.05, 0.5, 0.9, 0.99):
        (tmp_path / "cut.lock").write_text(text[: int(len(text) * share)])
        ok(envfreeze("build", tmp_path / "cut.lock", "--into", tmp_path / "v"), 5)
    _is_alone(tmp_path, "cut.lock")


def test_a_lock_of_the_future(lock: Path, tmp_path: Path) -> None:
    for old, new in (
        ('lock-version = "1.0"', 'lock-version = "2.0"'),
        ("\nschema = 1\n", "\nschema = 2\n"),
    ):
        text = lock.read_text()
        assert old in text
        (tmp_path / "new.lock").write_text(text.replace(old, new))
        done = ok(envfreeze("verify", tmp_path / "new.lock", sys.prefix), 5)
        assert "upgrade" in done.stderr


def test_a_lock_with_a_wrong_hash(lock: Path, tmp_path: Path) -> None:
    text = lock.read_text()
    start = text.index("sha256 = ") + len('sha256 = "')
    (tmp_path / "w.lock").write_text(text[:start] + "0" * 64 + text[start + 64 :])
    kept = lock.with_name(lock.name + ".d")
    if kept.exists():
        shutil.copytree(kept, tmp_path / kept.name)
    done = ok(envfreeze("build", tmp_path / "w.lock", "--into", tmp_path / "v"), 8)
    assert "0" * 64 in done.stderr
    assert not (tmp_path / "v").exists()


def test_a_packed_file_that_was_altered(lock: Path, tmp_path: Path) -> None:
    shutil.copyfile(lock, tmp_path / lock.name)
    kept = lock.with_name(lock.name + ".d")
    shutil.copytree(kept, tmp_path / kept.name)
    for path in (tmp_path / kept.name).rglob("*.whl"):
        path.write_bytes(path.read_bytes() + b"x")
        done = ok(envfreeze("build", tmp_path / lock.name, "--into", tmp_path / "v"), 8)
        assert path.name in done.stderr
        break
    else:
        shutil.rmtree(tmp_path / kept.name)
        ok(
            envfreeze(
                "build", tmp_path / lock.name, "--to", "docker",
                "--base", "b@sha256:" + "0" * 64, "--render-only", tmp_path / "r",
            ),
            8,
        )  # fmt: skip
    assert not (tmp_path / "v").exists()


def test_a_place_that_is_taken(lock: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").write_text("precious")
    ok(envfreeze("build", lock, "--into", tmp_path / "mine"), 2)
    assert (tmp_path / "mine/file").read_text() == "precious"


def test_an_interpreter_that_this_machine_lacks(lock: Path, tmp_path: Path) -> None:
    done = envfreeze("build", lock, "--into", tmp_path / "v", "--python", "/bin/true")
    ok(done, 3)
    assert "python" in done.stderr
    assert not (tmp_path / "v").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a small file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk(env: Path, lock: Path, small_disk: Path, tmp_path: Path) -> None:
    done = ok(envfreeze("capture", env, "-o", small_disk / "env.lock"), 9)
    assert "No space left" in done.stderr
    _is_alone(small_disk)
    ok(envfreeze("build", lock, "--into", small_disk / "v"), 9)
    _is_alone(small_disk)
    full = {"ENVFREEZE_CACHE_DIR": str(small_disk / "cache")}
    done = ok(envfreeze("capture", env, "-o", tmp_path / "x.lock", env=full))
    assert "done without the cache" in done.stdout + done.stderr
    assert (tmp_path / "x.lock").exists()


def _interrupt(
    arguments: list[str | Path], env: dict[str, str], begun: Callable[[], bool], after: float
) -> int | None:
    """The exit code of a command that got Ctrl-C *after* seconds of work; None: it was faster."""
    process = subprocess.Popen(
        [sys.executable, "-m", "envfreeze", *map(str, arguments)],
        env={**os.environ, **env},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # A suite that was started in the background may have been told to ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not begun() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(after)
    ended = process.poll() is not None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert b"Traceback" not in said, said.decode()
    if ended:
        assert process.returncode == 0, said.decode()
        return None
    return process.returncode


def test_control_c_in_a_capture_leaves_the_old_lock(env: Path, tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "env.lock").write_text("the old one")
    with FakeIndex(tmp_path / "wheels") as index:
        index.faults = Faults(slow=60)
        nowhere = {
            "PIP_INDEX_URL": index.url,
            "PIP_CONFIG_FILE": "/dev/null",
            "PIP_FIND_LINKS": "",
            "ENVFREEZE_CACHE_DIR": str(tmp_path / "cache"),
        }
        arguments: list[str | Path] = ["capture", env, "-o", tmp_path / "env.lock"]
        code = _interrupt(arguments, nowhere, lambda: bool(index.requests), 0.2)
    assert code == 130
    assert (tmp_path / "env.lock").read_text() == "the old one"
    _is_alone(tmp_path, "wheels", "env.lock", "cache")


def test_control_c_in_a_build_leaves_nothing(lock: Path, tmp_path: Path) -> None:
    into = tmp_path / "v"
    codes = set()
    for after in (0.0, 0.3, 0.8):
        code = _interrupt(["build", lock, "--into", into], {}, into.exists, after)
        if into.exists():  # It came after the verification, at the last word at the latest.
            ok(envfreeze("verify", lock, into))
            shutil.rmtree(into)
        codes.add(code)
    assert 130 in codes
    assert codes <= {130, None}


@pytest.mark.long
def test_a_killed_build_is_made_again(lock: Path, tmp_path: Path) -> None:
    into = tmp_path / "v"
    ok(envfreeze("build", lock, "--into", into))
    # What a kill leaves: some files and the mark of a build that did not end.
    (into / ".envfreeze-incomplete").touch()
    (site(into) / "six.py").unlink()
    done = ok(envfreeze("build", lock, "--into", into))
    assert "verified" in done.stdout
    assert not (into / ".envfreeze-incomplete").exists()


def test_the_active_environment_is_captured_not_our_own(env: Path, tmp_path: Path) -> None:
    lock = tmp_path / "env.lock"
    ok(envfreeze("capture", "-o", lock, env={"VIRTUAL_ENV": str(env)}))
    assert str(env) in lock.read_text()
    assert 'name = "envfreeze"' not in lock.read_text()


@pytest.mark.long
def test_our_own_environment_only_when_asked_for(tmp_path: Path) -> None:
    if sys.prefix == sys.base_prefix:
        pytest.skip("envfreeze does not run from a venv here")
    done = envfreeze("capture", "-o", tmp_path / "x.lock", env={"VIRTUAL_ENV": sys.prefix})
    ok(done, 2)
    assert sys.prefix in done.stderr
    done = ok(envfreeze("capture", sys.prefix, "-o", tmp_path / "own.lock", "--offline"))
    assert "envfreeze itself" in done.stderr


@pytest.mark.long
def test_old_pythons_loop(tmp_path: Path) -> None:
    found = available()
    if not found:
        pytest.skip("no other CPython here")
    # The ends and the middle: each is packed anew, which takes its seconds.
    minors = list(found)
    for minor in dict.fromkeys((minors[0], minors[len(minors) // 2], minors[-1])):
        python = found[minor]
        prefix = tmp_path / f"v{minor}"
        run(python, "-m", "venv", prefix)
        lock = tmp_path / f"{minor}.lock"
        ok(envfreeze("capture", prefix, "-o", lock))
        done = envfreeze("build", lock, "--into", tmp_path / f"r{minor}")
        assert "verified" in ok(done).stdout
        pip = ("-m", "pip", "--version")
        out = run(tmp_path / f"r{minor}" / "bin/python", *pip)
        assert out.split()[1] == run(prefix / "bin/python", *pip).split()[1]
