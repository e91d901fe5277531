"""``pid:`` targets: real processes that the tests start and end, and recorded /proc entries."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from envfreeze import workflow
from envfreeze.diff import view
from envfreeze.errors import TargetError, UsageError
from envfreeze.model.host import Blas, Host, Mapped, Numerics, Process
from envfreeze.store import Cache
from envfreeze.targets import local, process
from envfreeze.targets.loaded import described, strays, with_loaded
from envfreeze.targets.process import Running, look
from tests.support.environments import Environment, plain_environ
from tests.support.pythons import newest, parameters

pytestmark = pytest.mark.skipif(not Path("/proc/self/exe").exists(), reason="no /proc")

SLEEP = "import sys, time\nprint('ready', flush=True)\ntime.sleep(600)\n"


@pytest.fixture
def env(tmp_path: Path) -> Environment:
    return Environment.make(newest(), tmp_path / "env")


@contextlib.contextmanager
def running(*argv: str | Path, **options: object) -> Iterator[int]:
    """A process that has said ``ready``; it is ended on leaving."""
    options.setdefault("env", plain_environ())
    child = subprocess.Popen(list(map(str, argv)), stdout=subprocess.PIPE, **options)  # type: ignore[call-overload]
    try:
        assert child.stdout.readline() == b"ready\n"
        yield child.pid
    finally:
        child.kill()
        child.stdout.close()
        child.wait()


def sleeper(place: Path) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(SLEEP)
    return place


# --- which interpreter ---------------------------------------------------------------------


@pytest.mark.parametrize("base", parameters())
@pytest.mark.parametrize("copies", ["--symlinks", "--copies"])
def test_the_venv_and_not_what_is_behind_it(base: Path, copies: str, tmp_path: Path) -> None:
    env = Environment.make(base, tmp_path / "env", copies)
    with running(env.python, "-c", SLEEP) as pid:
        found = look(f"pid:{pid}")
    assert found.python == str(env.python)
    assert found.process.pid == pid
    assert found.process.command[:2] == [str(env.python), "-c"]
    assert found.uid == os.geteuid()


def test_no_venv_at_all() -> None:
    with running(newest(), "-c", SLEEP) as pid:
        assert look(f"pid:{pid}").python == str(newest())


@pytest.mark.parametrize("word", ["bin/python", "./bin/python", "../env/bin/python"])
def test_started_by_a_relative_path(word: str, env: Environment) -> None:
    with running(word, "-c", SLEEP, cwd=env.prefix) as pid:
        assert local.find(f"pid:{pid}", {}).python == str(env.prefix / "bin/python")
    # It went elsewhere; its shell was where it started.
    moved = "import os\nos.chdir('/')\n" + SLEEP
    environ = plain_environ(PWD=str(env.prefix))
    with running(word, "-c", moved, cwd=env.prefix, env=environ) as pid:
        found = look(f"pid:{pid}")
        assert found.cwd == "/"
        target = local.find(f"pid:{pid}", {})
        observation = local.observe(target, environ={}, cache=None)
    assert observation.snapshot.interpreter.prefix == str(env.prefix)


def test_started_by_its_name_on_path(env: Environment) -> None:
    environ = plain_environ(PATH=f"/gone:{env.prefix}/bin:/usr/bin")
    with running("python3", "-c", SLEEP, env=environ) as pid:
        assert look(f"pid:{pid}").python == f"{env.prefix}/bin/python3"


def test_a_script_with_a_first_line(env: Environment, tmp_path: Path) -> None:
    script = tmp_path / "tool"
    script.write_text(f"#!{env.python} -u\n{SLEEP}")
    script.chmod(0o755)
    with running(script) as pid:
        found = look(f"pid:{pid}")
    assert found.python == str(env.python)
    assert found.process.command == [str(env.python), "-u", str(script)]


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_workers_of_multiprocessing(method: str, env: Environment, tmp_path: Path) -> None:
    program = tmp_path / "work.py"
    program.write_text(
        "import multiprocessing, time\n"
        "def work(queue):\n    queue.put(1)\n    time.sleep(600)\n"
        "if __name__ == '__main__':\n"
        f"    context = multiprocessing.get_context({method!r})\n"
        "    queue = context.Queue()\n"
        "    child = context.Process(target=work, args=(queue,), daemon=True)\n"
        "    child.start()\n    queue.get()\n    print('ready', flush=True)\n"
        "    print(child.pid, flush=True)\n    time.sleep(600)\n"
    )
    child = subprocess.Popen(
        [env.python, program],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=plain_environ(),
        start_new_session=True,
    )
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == b"ready\n"
        worker = int(child.stdout.readline())
        assert look(f"pid:{worker}").python == str(env.python)
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.stdout.close()
        child.wait()


# --- what its environment is ---------------------------------------------------------------


def observed(pid: int) -> local.LocalTarget:
    return local.find(f"pid:{pid}", {})


def test_it_is_seen_with_its_own_variables(env: Environment, tmp_path: Path) -> None:
    env.install("inside", "1.0")
    more = Environment.make(newest(), tmp_path / "more")
    more.install("along", "2.0")
    environ = plain_environ(
        PYTHONPATH=os.path.relpath(more.site, env.prefix),
        OMP_NUM_THREADS="3",
        API_TOKEN="hidden",
        LD_PRELOAD="",
    )
    with running(env.python, "-c", SLEEP, env=environ, cwd=env.prefix) as pid:
        target = observed(pid)
        snapshot = local.observe(target, environ={"OMP_NUM_THREADS": "9"}, cache=None).snapshot
    names = {dist.name: dist.version for dist in snapshot.dists}
    assert names["inside"] == "1.0" and names["along"] == "2.0"
    assert snapshot.environment["OMP_NUM_THREADS"] == "3"
    assert target.running is not None
    assert "API_TOKEN" not in target.running.environ
    assert "hidden" not in repr(target) + repr(snapshot)


@pytest.mark.parametrize(
    ("flags", "path", "user"),
    [([], "/p", None), (["-E"], None, None), (["-s"], "/p", "1"), (["-I"], None, "1")],
)
def test_options_that_turn_variables_off(
    flags: list[str], path: str | None, user: str | None, env: Environment
) -> None:
    environ = plain_environ(PYTHONPATH="/p")
    with running(env.python, *flags, "-c", SLEEP, env=environ) as pid:
        found = look(f"pid:{pid}").environ
    assert found.get("PYTHONPATH") == path
    assert found.get("PYTHONNOUSERSITE") == user


def test_distributions_beside_the_script(env: Environment, tmp_path: Path) -> None:
    script = sleeper(tmp_path / "app" / "main.py")
    with running(env.python, "app/main.py", cwd=tmp_path) as pid:
        assert "PYTHONPATH" not in look(f"pid:{pid}").environ  # The program, no environment.
    vendored = Environment.make(newest(), tmp_path / "w").install("vendored", "3.0")
    shutil.copytree(vendored, script.parent / vendored.name)
    with running(env.python, "app/main.py", cwd=tmp_path) as pid:
        snapshot = local.observe(observed(pid), environ={}, cache=None).snapshot
    assert "vendored" in {dist.name for dist in snapshot.dists}
    with running(env.python, "-I", "app/main.py", cwd=tmp_path) as pid:
        assert "PYTHONPATH" not in look(f"pid:{pid}").environ


def test_a_zipapp(env: Environment, tmp_path: Path) -> None:
    app = tmp_path / "app.pyz"
    with zipfile.ZipFile(app, "w") as archive:
        archive.writestr("__main__.py", SLEEP)
        archive.writestr("inner-4.0.dist-info/METADATA", "Name: inner\nVersion: 4.0\n")
    with running(env.python, app) as pid:
        target = observed(pid)
        assert target.running is not None
        assert target.running.environ["PYTHONPATH"] == str(app)
        snapshot = local.observe(target, environ={}, cache=None).snapshot
    assert snapshot.interpreter.venv


def test_it_compares_as_what_it_runs_in(env: Environment) -> None:
    env.install("inside", "1.0")
    with running(env.python, "-c", SLEEP) as pid:
        target = observed(pid)
        snapshot = local.seen(target, local.observe(target, environ={}, cache=None))
    assert snapshot.host is not None and snapshot.host.process is not None
    assert snapshot.host.process.pid == pid
    there = env.snapshot()
    assert view.of_snapshot(snapshot, "x") == view.of_snapshot(there, "x")
    assert there.host is None or there.host.process is None


def test_a_link_in_the_way_is_not_tidied_away(env: Environment, tmp_path: Path) -> None:
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "link").symlink_to("deep/er")
    word = "link/../../env/bin/python"  # By its text it would be below the directory above.
    with running(word, "-c", SLEEP, cwd=tmp_path) as pid:
        assert look(f"pid:{pid}").python == f"{tmp_path}/{word}"


@pytest.mark.parametrize("without", [(), ("inside",)])
def test_the_commands_take_it(without: tuple[str, ...], env: Environment, tmp_path: Path) -> None:
    env.install("inside", "1.0")
    context = workflow.Context(environ=plain_environ(), cache=Cache(tmp_path / "cache"))
    options = workflow.CaptureOptions(offline=True, pack=False, without=without)
    lock = tmp_path / "env.lock"
    with running(env.python, "-c", SLEEP) as pid:
        target = f"pid:{pid}"
        captured = workflow.capture(target, lock, options, context)
        verified = workflow.verify(lock, target, rehash=False, context=context)
        compared = workflow.diff(target, str(env.prefix), context)
        again = workflow.diff(str(lock), target, context)
    assert captured.target.described == target
    names = [item.name for item in captured.lock.machine.unproved]
    assert names == ([] if without else ["inside"])
    assert verified.equal == again.equal == (not without)
    assert compared.equal


# --- what cannot be looked at --------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["pid:", "pid:x", "pid:-1", "pid:1/../2", "pid:12345678901", "pid:²"]
)
def test_not_a_number(text: str) -> None:
    with pytest.raises(UsageError, match="not a process id"):
        look(text)


def test_none_of_that_number() -> None:
    with pytest.raises(TargetError, match="no such process") as caught:
        look("pid:4294967290")
    assert caught.value.hint


def test_no_proc_here(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="on this machine"):
        look("pid:1", tmp_path / "proc")


def test_one_that_has_ended() -> None:
    child = subprocess.Popen(["true"])
    try:
        for _ in range(500):
            if Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                break
            time.sleep(0.01)
        with pytest.raises(TargetError, match="has ended"):
            look(f"pid:{child.pid}")
    finally:
        child.wait()


def test_not_a_python_but_the_parent_of_one(env: Environment) -> None:
    with running("sh", "-c", f"'{env.python}' -c \"$1\"; true", "sh", SLEEP) as pid:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        try:
            with pytest.raises(TargetError, match=r"not Python") as caught:
                look(f"pid:{pid}")
            assert f"pid:{children[0]}" in caught.value.hint
        finally:
            os.kill(int(children[0]), signal.SIGKILL)


def test_an_interpreter_that_was_replaced(tmp_path: Path) -> None:
    env = Environment.make(newest(), tmp_path / "env", "--copies")
    real = env.python.resolve()
    with running(env.python, "-c", SLEEP) as pid:
        copy = real.with_name("new")
        shutil.copy2(real, copy)
        copy.replace(real)
        with pytest.raises(TargetError, match="replaced or removed since") as caught:
            look(f"pid:{pid}")
    assert str(real) in str(caught.value) and "anew" in caught.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start another user's process")
def test_another_users() -> None:
    program = (
        "import os, sys\nfrom envfreeze.targets.process import look\n"
        "from envfreeze.errors import TargetError\nos.setuid(65534)\n"
        "try:\n    look(sys.argv[1])\nexcept TargetError as error:\n    print(error, error.hint)\n"
    )
    with running(sys.executable, "-c", SLEEP) as pid:
        argv = [sys.executable, "-c", program, f"pid:{pid}"]
        said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"pid:{pid} may not be looked at: it belongs to user 0 Run envfreeze as")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_root_looks_as_the_user_of_the_process() -> None:
    system = shutil.which("python3", path="/usr/bin")
    if system is None:
        pytest.skip("no python3 in /usr/bin that another user may run")
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        (Path(place) / "witness.pth").write_text("x\n")
        options = {"user": 65534, "group": 65534, "extra_groups": [], "cwd": place}
        environ = {"PATH": "/usr/bin:/bin", "HOME": place}
        with running(system, "-c", SLEEP, env=environ, **options) as pid:
            target = observed(pid)
            assert target.running is not None
            assert (target.running.uid, target.running.gid) == (65534, 65534)
            asked = local._Start({}, "", target.running).options()
            snapshot = local.observe(target, environ={}, cache=None).snapshot
    assert (asked["user"], asked["group"]) == (65534, 65534)
    assert snapshot.interpreter.executable == system


# --- recorded entries ----------------------------------------------------------------------

STAT = b"7 (py (x) y) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1\n"
STATUS = b"Name:\tpython\nUid:\t1000\t1001\t1000\t1000\nGid:\t100\t101\t100\t100\nGroups:\t4 24 \n"


def entry(
    place: Path,
    exe: Path,
    *,
    argv: bytes = b"",
    maps: str = "",
    environ: Mapping[str, str] | None = None,
    root: str = "/",
    cgroup: str = "0::/\n",
) -> Path:
    """A directory that looks like /proc with one process, 7, in it."""
    one = place / "7"
    one.mkdir(parents=True)
    (one / "exe").symlink_to(exe)
    (one / "root").symlink_to(root)
    (one / "cwd").symlink_to("/")
    variables = [f"{key}={value}".encode() for key, value in (environ or {}).items()]
    contents = {
        "stat": STAT,
        "status": STATUS,
        "cmdline": argv,
        "maps": maps.encode(),
        "environ": b"".join(line + b"\0" for line in variables),
        "cgroup": cgroup.encode(),
    }
    for name, content in contents.items():
        (one / name).write_bytes(content)
    return place


def line(path: str) -> str:
    return f"7f0000000000-7f0000001000 r-xp 00000000 fd:00 42                         {path}\n"


def test_a_title_hides_the_name_and_its_modules_tell(env: Environment, tmp_path: Path) -> None:
    maps = line(f"{env.site}/setproctitle.cpython-312-x86_64-linux-gnu.so") + line("/lib/libc.so.6")
    title = b"gunicorn: master [app]\0\0\0"
    proc = entry(tmp_path / "proc", env.python.resolve(), argv=title, maps=maps)
    found = look("pid:7", proc)
    assert Path(found.python).parent == env.prefix / "bin"
    assert (found.uid, found.gid, found.groups) == (1001, 101, (4, 24))
    assert found.process.command == ["gunicorn: master [app]"]


def test_a_title_and_modules_of_two_environments(env: Environment, tmp_path: Path) -> None:
    other = Environment.make(newest(), tmp_path / "other")
    maps = line(f"{env.site}/a.so") + line(f"{other.site}/b.so")
    proc = entry(tmp_path / "proc", env.python.resolve(), argv=b"title", maps=maps)
    with pytest.raises(TargetError, match="several environments"):
        look("pid:7", proc)


def test_a_title_and_nothing_but_a_variable(env: Environment, tmp_path: Path) -> None:
    real = env.python.resolve()
    environ = {"VIRTUAL_ENV": str(env.prefix)}
    proc = entry(tmp_path / "proc", real, argv=b"title", environ=environ)
    assert Path(look("pid:7", proc).python).parent == env.prefix / "bin"
    proc = entry(tmp_path / "bare", real, argv=b"title", environ={"VIRTUAL_ENV": "/gone"})
    assert look("pid:7", proc).python == str(real)


def test_a_name_that_leads_elsewhere_is_not_believed(env: Environment, tmp_path: Path) -> None:
    other = Environment.make(newest(), tmp_path / "other", "--copies")
    argv = f"{other.python}\0-c\0pass\0".encode()
    proc = entry(tmp_path / "proc", env.python.resolve(), argv=argv)
    assert look("pid:7", proc).python == str(env.python.resolve())


def embedding(prefix: Path) -> Path:
    """A program that is no Python; what it has loaded says that there is one in it."""
    program = prefix / "bin" / "uwsgi"
    shutil.copy2(shutil.which("sleep") or "/bin/sleep", program)
    return program


def test_a_program_with_python_in_it(env: Environment, tmp_path: Path) -> None:
    minor = newest().resolve().name.rpartition(".")[2]
    program = embedding(env.prefix)
    maps = line(f"/usr/lib/libpython3.{minor}.so.1.0") + line(f"{env.site}/greenlet/x.so")
    found = look("pid:7", entry(tmp_path / "proc", program, argv=b"uwsgi\0-H\0x\0", maps=maps))
    assert found.python == f"{env.prefix}/bin/python3.{minor}"
    # Elsewhere, with no module of an environment loaded, it does not show.
    (tmp_path / "opt/bin").mkdir(parents=True)
    alone = embedding(tmp_path / "opt")
    proc = entry(tmp_path / "two", alone, maps=line(f"/usr/lib/libpython3.{minor}.so.1.0"))
    with pytest.raises(TargetError, match=rf"uwsgi, which has Python 3.{minor} in it") as caught:
        look("pid:7", proc)
    assert "path" in caught.value.hint


@pytest.mark.parametrize(
    ("cgroup", "said", "hint"),
    [
        (
            "0::/system.slice/docker-" + "ab12" * 16 + ".scope\n",
            "ab12ab12ab12 (docker)",
            "docker:ab",
        ),
        ("12:cpu:/docker/" + "cd34" * 16 + "\n1:x:/\n", "cd34cd34cd34 (docker)", "docker:cd"),
        ("0::/user.slice/libpod-" + "0f" * 32 + ".scope/container\n", "(podman)", "inside it"),
        (
            "0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-" + "9e" * 32 + ".scope\n",
            "(kubernetes)",
            "inside it",
        ),
        ("0::/lxc.payload.web/system.slice/x\n", "container web (lxc)", "inside it"),
        ("0::/machine.slice/machine-deb.scope/payload\n", "deb (systemd-nspawn)", "inside it"),
        ("0::/user.slice\n", "a container or chroot", "Run envfreeze inside it"),
        ("", "a container or chroot", "inside it"),
    ],
)
def test_another_root(cgroup: str, said: str, hint: str, env: Environment, tmp_path: Path) -> None:
    proc = entry(tmp_path / "proc", env.python.resolve(), root=str(tmp_path), cgroup=cgroup)
    with pytest.raises(TargetError) as caught:
        look("pid:7", proc)
    assert said in str(caught.value) and hint in caught.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its root directory")
def test_a_real_chroot(tmp_path: Path) -> None:
    code = f"import os, sys, time\nos.chroot({str(tmp_path)!r})\n" + SLEEP
    with (
        running(newest(), "-c", code) as pid,
        pytest.raises(TargetError, match="its files are not those"),
    ):
        look(f"pid:{pid}")


def test_the_same_root_and_other_files_there(tmp_path: Path) -> None:
    proc = entry(tmp_path / "proc", Path("/gone/bin/python3.11"))
    with pytest.raises(TargetError, match="its files are not those"):
        look("pid:7", proc)


def test_a_thread_of_the_kernel(env: Environment, tmp_path: Path) -> None:
    proc = entry(tmp_path / "proc", env.python)
    (proc / "7/exe").unlink()
    with pytest.raises(TargetError, match="thread of the kernel"):
        look("pid:7", proc)


# As Linux 6.1 wrote it for a Python with NumPy, shortened.
MAPS = """\
55d0c3a00000-55d0c3a01000 r--p 00000000 fe:01 1835049                    /usr/bin/python3.11
55d0c4e3b000-55d0c4f9f000 rw-p 00000000 00:00 0                          [heap]
7f2f40000000-7f2f40001000 r--p 00000000 fe:01 11                         /v/numpy.libs/libscipy_openblas64_-32a4b2a6.so
7f2f40001000-7f2f40002000 r-xp 00001000 fe:01 11                         /v/numpy.libs/libscipy_openblas64_-32a4b2a6.so
7f2f50000000-7f2f50001000 r-xp 00000000 fe:01 12                         /usr/lib/x86_64-linux-gnu/libssl.so.3 (deleted)
7f2f51000000-7f2f51001000 r-xp 00000000 fe:01 13                         /usr/lib/x86_64-linux-gnu/libssl.so.3
7f2f60000000-7f2f60001000 r-xp 00000000 fe:01 14                         /with blank/a b.so.1
7f2f60000000-7f2f60001000 r--p 00000000 fe:01 15                         /usr/lib/locale/C.utf8/LC_CTYPE
7f2f70000000-7f2f70001000 rw-s 00000000 00:01 16                         /dev/shm/x.so.lock
7f2f80000000-7f2f80001000 r-xp 00000000 00:00 0                          /anon.so
7ffd1c7f5000-7ffd1c816000 rw-p 00000000 00:00 0                          [stack]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
"""  # noqa: E501


def test_recorded_maps() -> None:
    assert process.mapped(MAPS.encode()) == [
        Mapped(path="/usr/lib/x86_64-linux-gnu/libssl.so.3"),
        Mapped(path="/usr/lib/x86_64-linux-gnu/libssl.so.3", deleted=True),
        Mapped(path="/v/numpy.libs/libscipy_openblas64_-32a4b2a6.so"),
        Mapped(path="/with blank/a b.so.1"),
    ]


def test_hostile_maps() -> None:
    many = "".join(line(f"/x/{number:06}.so") for number in range(9000))
    assert len(process.mapped(many.encode())) == process.MOST_LIBRARIES
    found = process.mapped(
        b"\n\0\n 1 2 3\n" + line("/a\\012b.so").encode() + b"1 2 3 4 5 /\xff.so\n"
    )
    assert [item.path for item in found] == ["/\\xff.so", "/a\\012b.so"]
    assert process.mapped(b"") == []
    start = time.monotonic()
    process.mapped(b"1 2 3 4 5 /" + b"a.so/" * 400_000)
    assert time.monotonic() - start < 5


def test_hostile_variables_and_words() -> None:
    data = b"A=1\0A=2\0=x\0B\0PYTHONPATH=/a\n/b\0C D=1\0PWD=\xff\0" + b"x" * 100_000
    found = process.environment(data)
    assert found == {"A": "1", "PYTHONPATH": "/a\n/b", "PWD": "\udcff"}
    assert process.arguments(b"") == []
    assert process.arguments(b"a\0\0b\xff\0") == ["a", "", "b\udcff"]


def test_a_hostile_environment_is_survived(env: Environment, tmp_path: Path) -> None:
    code = tmp_path / "x.py"
    code.write_text(SLEEP)
    environ: dict[str, str] = {
        **plain_environ(),
        "PWD": "/\udcff",
        "TZ": "a\nb",
        "PYTHONPATH": "/\udcff:/a\nb",
        "OMP_NUM_THREADS": "9" * 60_000,
    }
    with running(env.python, code, "\udcff\n", env=environ) as pid:
        target = observed(pid)
        snapshot = local.observe(target, environ={}, cache=None).snapshot
    assert target.running is not None
    assert target.running.process.command[-1] == "\\xff\n"
    assert "TZ" not in snapshot.environment and "OMP_NUM_THREADS" not in snapshot.environment


@pytest.mark.parametrize(
    ("words", "kind", "name", "flags"),
    [
        ("x.py -c y", "script", "x.py", ""),
        ("-m pkg.mod --flag", "module", "pkg.mod", ""),
        ("-mpkg", "module", "pkg", ""),
        ("-Im pkg", "module", "pkg", "I"),
        ("-bBuc code", "command", "code", "bBu"),
        ("-W error -X dev -Xutf8 -Werror -E x.py", "script", "x.py", "E"),
        ("-uWerror x.py", "script", "x.py", "u"),
        ("--check-hash-based-pycs never x.py", "script", "x.py", ""),
        ("-", "none", "-", ""),
        ("-i", "none", "", "i"),
        ("-m", "module", "", ""),
        ("-W", "none", "", ""),
        ("", "none", "", ""),
    ],
)
def test_how_it_was_started(words: str, kind: str, name: str, flags: str) -> None:
    found = process.started(["python", *words.split()])
    assert (found.kind, found.name, found.flags) == (kind, name, frozenset(flags))


# --- what is loaded ------------------------------------------------------------------------


def blas(path: str, name: str = "openblas", **more: object) -> Blas:
    return Blas(kind="blas", name=name, path=path, **more)  # type: ignore[arg-type]


def test_what_is_loaded_is_marked_and_added() -> None:
    host = Host(numerics=Numerics(libraries=[blas("/link/a.so"), blas("/b.so"), blas("/c.so")]))
    loaded = Process(
        pid=1,
        libraries=[
            Mapped(path="/real/a.so"),
            Mapped(path="/c.so", deleted=True),
            Mapped(path="/d/libmkl_rt.so.2"),
            Mapped(path="/d/libmkl_tbb_thread.so.2"),
            Mapped(path="/lib/libz.so.1"),
        ],
    )

    def describe(path: str) -> Blas | None:
        return blas(path, "mkl") if "mkl_rt" in path else None

    def real(path: str) -> str:
        return path.replace("/link/", "/real/")

    found = with_loaded(host, loaded, real=real, describe=describe)
    assert found.process == loaded and found.numerics is not None
    assert found.numerics.libraries == [
        blas("/b.so"),
        blas("/c.so"),
        blas("/d/libmkl_rt.so.2", "mkl", threading="tbb", loaded=True),
        blas("/link/a.so", loaded=True),
    ]
    # A part that was not looked at stays so.
    assert with_loaded(Host(), loaded) == Host(process=loaded)
    assert described("/gone/libgomp.so.1") is None


def test_which_of_two_cudarts_is_loaded() -> None:
    from envfreeze.model.host import Accelerator, Driver, Library

    wheel = "/v/site-packages/nvidia"
    known = [
        Library(
            name="cudart", path=f"{wheel}/cuda_runtime/lib/libcudart.so.12", version="12.4.127"
        ),
        Library(name="cudart", path="/usr/local/cuda/lib64/libcudart.so.13", version="13.0.88"),
        Library(name="cudnn", path=f"{wheel}/cudnn/lib", version="9.10.2.21"),
        Library(name="nccl", path=f"{wheel}/nccl/lib"),
    ]
    host = Host(accelerator=Accelerator(driver=Driver(state="none"), libraries=known))
    loaded = Process(
        pid=1,
        libraries=[
            Mapped(path=f"{wheel}/cuda_runtime/lib/libcudart.so.12"),
            Mapped(path=f"{wheel}/cudnn/lib/libcudnn.so.9"),
            Mapped(path=f"{wheel}/cudnn/lib/libcudnn_ops.so.9"),
            Mapped(path="/v/cupy.libs/libcudart-a1b2c3d4.so.11.8.89"),
            Mapped(path="/opt/trt/lib/libnvinfer.so.10"),
        ],
    )
    found = with_loaded(host, loaded, real=str).accelerator
    assert found is not None
    assert [(item.name, item.version, item.loaded) for item in found.libraries] == [
        ("cudart", "12.4.127", True),
        ("cudart", "13.0.88", False),
        ("cudnn", "9.10.2.21", True),
        ("nccl", None, False),
        ("tensorrt", None, True),
        ("cudart", "11.8.89", True),
    ]


def test_modules_from_elsewhere_are_said() -> None:
    loaded = Process(
        pid=5,
        libraries=[
            Mapped(path="/v/lib/python3.11/site-packages/numpy/x.so"),
            Mapped(path="/home/u/.pex/installed/numpy/site-packages/numpy/x.so"),
            Mapped(path="/home/u/.pex/installed/numpy/site-packages/numpy/y.so"),
            Mapped(path="/lib/libc.so.6"),
        ],
    )
    (finding,) = strays(loaded, ["/v/lib/python3.11/site-packages"], str)
    assert (finding.kind, finding.place) == (
        "process-path",
        "/home/u/.pex/installed/numpy/site-packages",
    )
    assert "2 libraries" in finding.detail


def test_it_agrees_with_threadpoolctl() -> None:
    """An independent reader, inside the process, of what is loaded and what it is."""
    for name in ("numpy", "threadpoolctl"):
        pytest.importorskip(name)
    code = (
        "import json, time\nimport numpy\nnumpy.ones((9, 9)) @ numpy.ones((9, 9))\n"
        "import threadpoolctl\nprint('ready', flush=True)\n"
        "print(json.dumps(threadpoolctl.threadpool_info()), flush=True)\ntime.sleep(600)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == b"ready\n"
        told = json.loads(child.stdout.readline())
        seen: Running = look(f"pid:{child.pid}")
    finally:
        child.kill()
        child.stdout.close()
        child.wait()
    found = with_loaded(Host(numerics=Numerics()), seen.process).numerics
    assert found is not None and told
    assert {(x.path, x.kind, x.version, x.threading) for x in found.libraries} == {
        (os.path.realpath(x["filepath"]), x["user_api"], x["version"], x.get("threading_layer"))
        for x in told
    }
