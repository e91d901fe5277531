"""A container engine for tests: the one that answers, else a private one that root starts.

The private engine has its own socket, data, exec root and pid file, no bridge and no firewall
rules: nothing that we test needs a container with a network. It is stopped by its pid.

The base image is a Debian of the smallest kind, made with mmdebstrap from the sources that
this machine is configured for, and pushed to a registry on the loopback interface: only a push
gives an image a digest. ``ENVFREEZE_TEST_CACHE`` keeps the base's tar between runs;
``ENVFREEZE_TEST_BASE`` names a base image by digest that the engine can already have.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SUITE = "bookworm"
_WAIT = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TestEngine:
    """An engine that answers, and a base image by digest in it."""

    __test__ = False

    host: str
    base_ref: str


class NoEngineError(Exception):
    """There is no engine, and none can be started; the reason."""


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[TestEngine]:
    """The engine for tests that are marked ``docker``; skips, or fails where CI promised one."""
    with contextlib.ExitStack() as stack:
        try:
            found = stack.enter_context(running_engine())
        except NoEngineError as error:
            if os.environ.get("CI", "").lower() in {"1", "true"}:
                pytest.fail(f"no container engine in CI: {error}")
            pytest.skip(f"no container engine: {error}")
        before = os.environ.get("DOCKER_HOST")
        os.environ["DOCKER_HOST"] = found.host
        stack.callback(_restore, "DOCKER_HOST", before)
        yield found


def _restore(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


@contextlib.contextmanager
def running_engine() -> Iterator[TestEngine]:
    """An engine and a base image for as long as the block runs.

    :raises NoEngineError: neither an engine nor what it takes to start one is here.
    """
    with contextlib.ExitStack() as stack:
        place = Path(tempfile.mkdtemp(prefix="envfreeze-engine."))
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        host = _answering()
        if host is None:
            host = stack.enter_context(_private_engine(place))
        base = os.environ.get("ENVFREEZE_TEST_BASE")
        if base is None:
            registry = stack.enter_context(running_registry(place))
            base = _push(host, registry, _base_tar(place))
        yield TestEngine(host=host, base_ref=base)


def _answering() -> str | None:
    from envfreeze.build.engine import connect
    from envfreeze.errors import EngineError

    try:
        engine = connect()
    except EngineError:
        return None
    engine.close()
    return engine.host


def _program(name: str) -> str:
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        raise NoEngineError(f"{name} is not installed")
    return found


# --- the engine --------------------------------------------------------------------------


@contextlib.contextmanager
def _private_engine(place: Path) -> Iterator[str]:
    if sys.platform != "linux" or os.geteuid() != 0:
        raise NoEngineError("none answers, and only root on Linux can start one")
    program = _program("dockerd")
    directory = place / "engine"
    directory.mkdir()
    host = f"unix://{directory}/docker.sock"
    command = [program, "--data-root", f"{directory}/data", "--exec-root", f"{directory}/exec"]
    command += ["--pidfile", f"{directory}/pid", "--host", host]
    command += ["--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait_for(lambda: _answers(host), process, directory / "log")
        yield host
    finally:
        _stop(process)
        _unmount(directory)


def _answers(host: str) -> bool:
    from envfreeze.build.engine import connect
    from envfreeze.errors import EngineError

    try:
        connect(host).close()
    except EngineError:
        return False
    return True


def _wait_for(ready: object, process: subprocess.Popen[bytes], log: Path) -> None:
    assert callable(ready)
    deadline = time.monotonic() + _WAIT
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            tail = log.read_text("utf-8", "replace").strip().splitlines()[-3:]
            raise NoEngineError(f"{process.args!r} did not come up: {' / '.join(tail)}")
        time.sleep(0.1)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that we started, by its own pid."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _unmount(directory: Path) -> None:
    """Detach what a killed engine may leave mounted, innermost first."""
    mounts = Path("/proc/self/mounts").read_text("utf-8", "replace").splitlines()
    places = [line.split()[1] for line in mounts]
    for place in sorted((p for p in places if p.startswith(f"{directory}/")), reverse=True):
        subprocess.run(["umount", "--lazy", place], check=False, capture_output=True)


# --- the base image ----------------------------------------------------------------------


@contextlib.contextmanager
def running_registry(place: Path) -> Iterator[str]:
    program = _program("docker-registry")
    directory = place / "registry"
    directory.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    settings = directory / "config.yml"
    settings.write_text(
        "version: 0.1\n"
        "log: {level: error}\n"
        f"storage: {{filesystem: {{rootdirectory: {directory}/data}}}}\n"
        f"http: {{addr: '{address}'}}\n"
    )
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "serve", str(settings)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait_for(lambda: _listens(address), process, directory / "log")
        yield address
    finally:
        _stop(process)


def _listens(address: str) -> bool:
    host, _, port = address.partition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
        return True
    return False


def _base_tar(place: Path) -> Path:
    """The base's tar, made once and kept where ``ENVFREEZE_TEST_CACHE`` says."""
    kept = os.environ.get("ENVFREEZE_TEST_CACHE")
    directory = Path(kept) if kept else place
    directory.mkdir(parents=True, exist_ok=True)
    tar = directory / f"base-{SUITE}.tar"
    with (directory / "base.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not tar.exists():
            if os.geteuid() != 0:
                raise NoEngineError("only root can make a base image with mmdebstrap")
            partial = tar.with_suffix(".partial.tar")
            done = subprocess.run(
                [_program("mmdebstrap"), "--variant=minbase", SUITE, str(partial)],
                capture_output=True,
                stdin=subprocess.DEVNULL,
                check=False,
            )
            if done.returncode != 0:
                tail = done.stderr.decode("utf-8", "replace").strip()[-400:]
                raise NoEngineError(f"mmdebstrap failed: {tail}")
            partial.replace(tar)
    return tar


def _push(host: str, registry: str, tar: Path) -> str:
    """Import *tar*, push it, and give its name by the digest that the registry made."""
    import docker

    api = docker.APIClient(base_url=host, version="auto", timeout=300)
    name = f"{registry}/base"
    try:
        api.import_image_from_file(str(tar), repository=name, tag="test")
        for event in api.push(name, tag="test", stream=True, decode=True):
            if "error" in event:
                raise NoEngineError(f"pushing the base failed: {event['error']}")
        digests = api.inspect_image(f"{name}:test")["RepoDigests"]
    finally:
        api.close()
    return next(d for d in digests if d.startswith(f"{name}@"))
