"""A venv made equal to a lock in place: what differs, nothing else, and never halfway."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from envfreeze import workflow
from envfreeze.build import place, sinks, sync
from envfreeze.cli.asking import sync_text
from envfreeze.errors import LockError, TargetError, UsageError
from envfreeze.model.lock import Lock
from envfreeze.probe import sitepath
from envfreeze.progress import Progress
from tests.support import envs
from tests.support.cli import digests, envfreeze, ok
from tests.support.environments import claim
from tests.support.fakeindex import FakeIndex, make_wheel

SHARED = b"# whose is this?\n"


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    """No setting of whoever runs the tests, and a cache of our own."""
    return {
        "PIP_CONFIG_FILE": os.devnull,
        "ENVFREEZE_CACHE_DIR": str(tmp_path / "cache"),
        "HOME": str(tmp_path / "home"),
        "PYTHONPATH": "",
    }


def wheels(directory: Path) -> dict[str, Path]:
    entry_points = "[console_scripts]\ndemo = demo:main\n"
    return {
        "demo": make_wheel(
            directory, "demo", "1.0", {"demo.py": "def main(): print('demo')\n"},
            entry_points=entry_points, data={"share/demo/x.txt": "x"},
        ),
        "old-1": make_wheel(directory, "old", "1.0", {"old/__init__.py": "V = 1\n"}),
        "old-2": make_wheel(
            directory, "old", "2.0", {"old/__init__.py": "V = 2\n", "old/two.py": ""}
        ),
        "edited": make_wheel(directory, "edited", "1.0", {"edited.py": "E = 1\n"}),
        "gone": make_wheel(directory, "gone", "1.0", {"gone.py": "G = 1\n"}),
        "one": make_wheel(directory, "one", "1.0", {"ns/one.py": "", "ns/shared.py": SHARED}),
        "two": make_wheel(
            directory, "two", "1.0",
            {"ns/two.py": "", "ns/shared.py": SHARED, "ns/deep/er/x.py": ""},
            data={"share/two/y.txt": "y"},
        ),
    }  # fmt: skip


@pytest.fixture
def made(tmp_path: Path, settings: dict[str, str]) -> Iterator[tuple[Path, Path, dict[str, str]]]:
    """``(venv, its lock, settings)``; the venv has drifted in every way since."""
    files = wheels(tmp_path / "files")
    env = envs.make_venv(tmp_path / "env")
    for name in ("demo", "old-1", "edited", "gone", "one"):
        envs.install(files[name], env, installer="pip\n", requested=True)
    (env / envs.SITE / "loose.txt").write_text("loose\n")
    (env / envs.SITE / "kept.pth").write_text("# kept\n")
    with FakeIndex(tmp_path / "files") as index:
        env_vars = {**settings, "PIP_INDEX_URL": index.url}
        lock = tmp_path / "env.lock"
        ok(envfreeze("capture", env, "-o", lock, env=env_vars))
        shutil.copytree(env, tmp_path / "was", symlinks=True)
        drift(env, files)
        yield env, lock, env_vars


def drift(env: Path, files: dict[str, Path]) -> None:
    site = env / envs.SITE
    remove(env, "gone")
    remove(env, "old")
    envs.install(files["old-2"], env, installer="pip\n")
    envs.install(files["two"], env, installer="pip\n")
    (site / "edited.py").write_text("E = 2\n")
    (site / "loose.txt").write_text("other\n")
    (site / "more.txt").write_text("more\n")
    (site / "kept.pth").unlink()
    subprocess.run(
        [env / "bin/python", "-c", "import old, old.two, ns.two, ns.shared, demo"], check=True
    )


def remove(env: Path, name: str) -> None:
    """As an uninstaller does."""
    for dist in (env / envs.SITE).glob(f"{name}-*.dist-info"):
        for row in (dist / "RECORD").read_text().splitlines():
            (env / envs.SITE / row.partition(",")[0]).unlink(missing_ok=True)
        dist.rmdir()


def todo_of(env: Path, lock: Path) -> sync.SyncPlan:
    return sync.plan(workflow.load(lock), envs.look(env))


Made = tuple[Path, Path, dict[str, str]]

# --- the plan ------------------------------------------------------------------------------


def test_the_plan_names_what_differs(made: Made) -> None:
    env, lock, _ = made
    todo = todo_of(env, lock)
    assert [package.name for package in todo.add] == ["gone"]
    assert [dist.name for dist in todo.remove] == ["two"]
    assert {item.package.name: item.why for item in todo.replace} == {
        "old": "2.0 -> 1.0",
        "edited": "1.0: edited.py differs",
    }
    assert [Path(path).name for path in todo.files_add] == ["kept.pth", "loose.txt"]
    assert [Path(path).name for path in todo.files_remove] == ["loose.txt", "more.txt"]
    assert sorted(dist.name for dist in todo.keep) == ["demo", "one"]
    assert sync_text(todo).splitlines() == [
        "  - two 1.0",
        "  ~ edited  1.0: edited.py differs",
        "  ~ old  2.0 -> 1.0",
        "  + gone 1.0",
        "  files that no distribution owns:",
        f"    ~ {env / envs.SITE}/loose.txt",
        f"    - {env / envs.SITE}/more.txt",
        f"    + {env / envs.SITE}/kept.pth",
    ]


def test_an_equal_venv_needs_nothing(made: Made, tmp_path: Path) -> None:
    _, lock, _ = made
    todo = todo_of(tmp_path / "was", lock)
    assert todo.empty
    assert not todo.removes
    assert len(todo.keep) == 5


def test_another_interpreter_is_named(made: Made) -> None:
    env, path, _ = made
    lock = workflow.load(path)
    snapshot = envs.look(env)
    facts = msgspec.structs.replace(snapshot.interpreter, version="3.7.1", soabi="cpython-37m")
    with pytest.raises(TargetError, match=r"has cpython 3\.7\.1, and the lock is of cpython") as e:
        sync.plan(lock, msgspec.structs.replace(snapshot, interpreter=facts))
    assert str(env) in str(e.value)
    assert envs.VERSION in str(e.value)


def test_a_venv_that_sees_more_than_itself_is_refused(made: Made) -> None:
    env, path, _ = made
    snapshot = envs.look(env)
    facts = msgspec.structs.replace(snapshot.interpreter, system_site=True)
    with pytest.raises(UsageError, match="base interpreter"):
        sync.plan(workflow.load(path), msgspec.structs.replace(snapshot, interpreter=facts))


def test_a_missing_script_counts(made: Made, tmp_path: Path) -> None:
    _, lock, _ = made
    env = tmp_path / "was"
    (env / "bin/demo").unlink()
    assert [i.why for i in todo_of(env, lock).replace] == ["1.0: its script demo is missing"]


# --- the command ---------------------------------------------------------------------------


def test_a_drifted_venv_is_made_equal(made: Made, tmp_path: Path) -> None:
    env, lock, settings = made
    kept = (env / envs.SITE / "demo.py").stat()
    done = ok(envfreeze("build", lock, "--into", env, "--yes", env=settings))
    assert "verified: 5 packages and 2 files that none owns equal to the lock" in done.stdout
    assert "- two 1.0" in done.stderr
    site, was = env / envs.SITE, tmp_path / "was"
    assert digests(site) == digests(was / envs.SITE)
    assert digests(env / "share") == digests(was / "share")
    assert {p.name for p in (env / "bin").iterdir()} == {p.name for p in (was / "bin").iterdir()}
    assert (site / "demo.py").stat() == kept
    assert (site / "ns/shared.py").read_bytes() == SHARED
    assert not (site / "ns/deep").exists()
    assert not (env / "share/two").exists()
    assert not (env / sync.WORK).exists()
    assert not list(site.glob("old/__pycache__/two.*"))
    ok(envfreeze("verify", lock, env, env=settings))
    ok(envfreeze("build", lock, "--into", env, env=settings))
    pip = (sys.executable, "-m", "pip", "--python", env / "bin/python", "list", "--format=json")
    listed = json.loads(subprocess.run(pip, capture_output=True, check=True).stdout)
    assert {entry["name"]: entry["version"] for entry in listed} == dict.fromkeys(
        ("demo", "edited", "gone", "old", "one"), "1.0"
    )


def test_without_yes_it_is_refused_and_named(made: Made) -> None:
    env, lock, settings = made
    before = digests(env)
    done = ok(envfreeze("build", lock, "--into", env, env=settings), 2)
    for said in ("- two 1.0", "~ old  2.0 -> 1.0", "more.txt", "--yes"):
        assert said in done.stderr
    assert digests(env) == before


def test_what_only_adds_asks_nobody(made: Made, tmp_path: Path) -> None:
    _, lock, settings = made
    env = tmp_path / "was"
    remove(env, "gone")
    ok(envfreeze("build", lock, "--into", env, env=settings))
    assert (env / envs.SITE / "gone.py").exists()


def test_a_failed_fetch_leaves_the_venv_as_it_was(made: Made, tmp_path: Path) -> None:
    env, lock, settings = made
    shutil.rmtree(tmp_path / "cache/blobs")
    before = digests(env)
    done = ok(envfreeze("build", lock, "--into", env, "--yes", "--offline", env=settings), 8)
    assert "--offline" in done.stderr
    assert digests(env) == before


def test_a_directory_that_is_no_venv_is_refused(made: Made, tmp_path: Path) -> None:
    _, lock, settings = made
    (tmp_path / "other").mkdir()
    (tmp_path / "other/x").touch()
    done = ok(envfreeze("build", lock, "--into", tmp_path / "other", "-y", env=settings), 2)
    assert "not empty" in done.stderr


def test_its_own_interpreter_is_the_one(made: Made) -> None:
    env, lock, settings = made
    done = envfreeze("build", lock, "--into", env, "--python", sys.executable, env=settings)
    assert "--python" in ok(done, 2).stderr


def test_the_environment_of_envfreeze_itself_is_refused(made: Made) -> None:
    _, lock, settings = made
    if sys.prefix == sys.base_prefix:
        pytest.skip("it runs from no venv")
    done = ok(envfreeze("build", lock, "--into", sys.prefix, "--yes", env=settings), 2)
    assert "runs from" in done.stderr


def test_a_lock_without_a_package_takes_it_out_of_the_venv(made: Made, tmp_path: Path) -> None:
    _, _, settings = made
    env, less = tmp_path / "was", tmp_path / "less.lock"
    done = ok(envfreeze("capture", env, "-o", less, "--without", "Demo", env=settings))
    assert "left out: demo" in done.stderr
    assert [p.name for p in workflow.load(less).packages] == ["edited", "gone", "old", "one"]
    whole = tmp_path / "whole.lock"
    ok(envfreeze("capture", env, "-o", whole, env=settings))
    assert len(workflow.load(whole).packages) == 5
    ok(envfreeze("build", less, "--into", env, "--yes", env=settings))
    assert not (env / "bin/demo").exists()
    assert not (env / "share").exists()
    assert (
        "no such distribution"
        in ok(envfreeze("capture", env, "-o", less, "--without", "dmo", env=settings), 2).stderr
    )


# --- site directories behind the first ------------------------------------------------------


@pytest.fixture
def behind(tmp_path: Path, settings: dict[str, str]) -> Iterator[Made]:
    """``(venv, its lock, settings)``: old 1.0 lies behind old 2.0, and files behind files."""
    files = wheels(tmp_path / "files")
    env = envs.make_venv(tmp_path / "behind")
    envs.install(files["old-2"], env)
    (env / envs.SITE / "loose.txt").write_text("first\n")
    tag = Path(envs.SITE).parent.name
    inner = replace(
        envs.schemes(env),
        data=str(env / "apart-1"),
        site=str(env / "apart-1" / envs.SITE),
        scripts=str(env / "apart-1/bin"),
        headers=str(env / "apart-1/include" / tag),
    )
    for name in ("old-1", "one", "demo"):
        package = envs.package_of(files[name])
        place.place_package(package, files[name], sinks.DirectorySink(env), inner)
    (env / "apart-1" / envs.SITE / "loose.txt").write_text("second\n")
    line = sitepath.apart_line("apart-1", tag)
    (env / envs.SITE / sitepath.APART).write_text(line + "\n")
    with FakeIndex(tmp_path / "files") as index:
        env_vars = {**settings, "PIP_INDEX_URL": index.url}
        ok(envfreeze("capture", env, "-o", tmp_path / "behind.lock", env=env_vars))
        yield env, tmp_path / "behind.lock", env_vars


def test_what_lies_behind_is_told_from_what_comes_first(behind: Made) -> None:
    lock = workflow.load(behind[1])
    assert {p.name: p.version for p in lock.packages} == {"old": "2.0", "one": "1.0", "demo": "1.0"}
    assert [(p.name, p.version) for p in lock.machine.shadowed] == [("old", "1.0")]
    loose = {(Path(s.site).parts[-4], e.path): e.apart for s in lock.machine.loose for e in s.files}
    assert loose == {("behind", "loose.txt"): False, ("apart-1", "loose.txt"): True}
    assert not any(sitepath.APART in entry.path for s in lock.machine.loose for entry in s.files)


def test_a_venv_is_made_equal_to_one_with_more_directories(behind: Made, tmp_path: Path) -> None:
    _, lock, settings = behind
    env = envs.make_venv(tmp_path / "env")
    ok(envfreeze("build", lock, "--into", env, "--yes", env=settings))
    assert (env / envs.SITE / "loose.txt").read_text() == "first\n"
    assert (env / "apart-1" / envs.SITE / "loose.txt").read_text() == "second\n"
    # What hides nothing comes into the first one, with its script.
    assert (env / envs.SITE / "demo.py").exists()
    said = subprocess.run(
        [env / "bin/python", "-c", "import old, importlib.metadata as m; "
         "print(old.V, sorted(d.version for d in m.distributions(name='old')))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout == "2 ['1.0', '2.0']\n"
    assert todo_of(env, lock).empty
    again = tmp_path / "again.lock"
    ok(envfreeze("capture", env, "-o", again, env=settings))
    assert workflow.load(again).machine.id == workflow.load(lock).machine.id


def test_and_back_to_one_with_one_directory(behind: Made, made: Made, tmp_path: Path) -> None:
    _, lock, settings = behind
    env = envs.make_venv(tmp_path / "env2")
    ok(envfreeze("build", lock, "--into", env, "--yes", env=settings))
    _, other, settings = made
    ok(envfreeze("build", other, "--into", env, "--yes", env=settings))
    assert not (env / "apart-1").exists()
    assert not (env / envs.SITE / sitepath.APART).exists()
    ok(envfreeze("verify", other, env, env=settings))


# --- doing it ------------------------------------------------------------------------------


def means(env: Path, lock: Lock, files: Path, todo: sync.SyncPlan) -> sync.Means:
    known = {envs.sha256(path.read_bytes()): path for path in files.rglob("*") if path.is_file()}
    return sync.Means(
        lock=lock,
        artifacts={a.sha256: known[a.sha256] for a in sync.wanted(lock, todo)},
        into=env,
        facts=envs.look(env).interpreter,
        progress=Progress(),
    )


def apply(env: Path, lock: Path, tmp_path: Path) -> None:
    todo = todo_of(env, lock)
    sync.apply(todo, means(env, workflow.load(lock), tmp_path, todo))


@pytest.mark.parametrize("after", [0, 9, 24])
def test_a_killed_sync_is_recognised_and_finished(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Killed for real: not even the handlers of the process run."""
    env, lock, settings = made
    todo = todo_of(env, lock)
    plan = means(env, workflow.load(lock), tmp_path, todo)
    child = os.fork()
    if child == 0:
        count = 0

        def dying(name: str) -> Any:
            original = getattr(os, name)

            def call(*given: Any, **named: Any) -> Any:
                nonlocal count
                if (env / sync.WORK / "journal.json").exists():
                    count += 1
                    if count > after:
                        os._exit(9)
                return original(*given, **named)

            return call

        for name in ("unlink", "replace"):
            setattr(os, name, dying(name))
        sync.apply(todo, plan)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert sync.was_interrupted(env)
    ok(envfreeze("verify", lock, env, env=settings), 1)
    ok(envfreeze("build", lock, "--into", env, "--yes", env=settings))
    was = tmp_path / "was"
    assert digests(env / envs.SITE) == digests(was / envs.SITE)
    assert digests(env / "share") == digests(was / "share")
    assert {p.name for p in (env / "bin").iterdir()} == {p.name for p in (was / "bin").iterdir()}
    assert not sync.was_interrupted(env)


def test_an_interrupt_says_what_to_do(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env, lock, _ = made

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sync, "_move", interrupted)
    with pytest.raises(KeyboardInterrupt, match="run the same command again"):
        apply(env, lock, tmp_path)
    assert sync.was_interrupted(env)
    monkeypatch.undo()
    apply(env, lock, tmp_path)
    assert todo_of(env, lock).empty


def test_what_a_killed_sync_placed_and_nobody_owns_goes(made: Made, tmp_path: Path) -> None:
    env, lock, _ = made
    (env / "bin/orphan").write_text("")
    (env / sync.WORK).mkdir()
    noted = ["bin/orphan", "bin/python", "bin/demo", "../outside", "pyvenv.cfg", 3, "a\0b"]
    (env / sync.WORK / "journal.json").write_text(json.dumps(noted))
    (tmp_path / "outside").touch()
    apply(env, lock, tmp_path)
    assert not (env / "bin/orphan").exists()
    assert (env / "bin/python").exists()
    assert (env / "bin/demo").exists()
    assert (env / "pyvenv.cfg").exists()
    assert (tmp_path / "outside").exists()


def test_a_bad_wheel_is_met_before_anything_is_removed(made: Made, tmp_path: Path) -> None:
    env, lock, _ = made
    todo = todo_of(env, lock)
    given = means(env, workflow.load(lock), tmp_path, todo)
    bad = tmp_path / "bad"
    bad.write_bytes(b"no wheel")
    before = digests(env)
    broken = sync.Means(
        lock=given.lock, artifacts=dict.fromkeys(given.artifacts, bad), into=env,
        facts=given.facts, progress=Progress(),
    )  # fmt: skip
    with pytest.raises(Exception, match="cannot be placed"):
        sync.apply(todo, broken)
    assert digests(env) == before


def test_two_at_once(made: Made, tmp_path: Path) -> None:
    import fcntl

    env, lock, _ = made
    (env / sync.WORK).mkdir()
    handle = os.open(env / sync.WORK, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(UsageError, match="another process"):
        apply(env, lock, tmp_path)
    os.close(handle)


# --- what a RECORD may not do --------------------------------------------------------------


def hostile(env: Path, rows: list[str]) -> None:
    site = env / envs.SITE
    info = site / "evil-1.0.dist-info"
    info.mkdir()
    text = b"Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n"
    (info / "METADATA").write_bytes(text)
    lines = [f"evil-1.0.dist-info/METADATA,{claim(text)},{len(text)}", *rows]
    (info / "RECORD").write_text("\n".join([*lines, "evil-1.0.dist-info/RECORD,,", ""]))


def test_nothing_outside_and_nothing_through_a_link_is_removed(made: Made, tmp_path: Path) -> None:
    env, lock, settings = made
    site = env / envs.SITE
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.py").touch()
    (site / "linked").symlink_to(outside)
    (site / "inner").symlink_to("ns")
    hostile(
        env,
        [
            "linked/precious.py,,",
            "inner/one.py,,",
            "../../../bin/python,,",
            "../../../pyvenv.cfg,,",
            "../../../bin/activate,,",
            f"{outside}/precious.py,,",
            "../../../../outside/precious.py,,",
            "demo.py,,",
        ],
    )
    ok(envfreeze("build", lock, "--into", env, "--yes", env=settings))
    assert (outside / "precious.py").exists()
    assert (site / "ns/one.py").exists()
    assert (env / "bin/activate").exists()
    assert (site / "demo.py").exists()
    assert not (site / "linked").is_symlink()
    assert digests(site) == digests(tmp_path / "was" / envs.SITE)


def test_a_file_that_uv_linked_from_its_cache_keeps_its_bytes(made: Made, tmp_path: Path) -> None:
    env, lock, _ = made
    place = env / envs.SITE / "loose.txt"
    os.link(place, tmp_path / "in-cache")
    apply(env, lock, tmp_path)
    assert (tmp_path / "in-cache").read_text() == "other\n"
    assert place.read_text() == "loose\n"


def test_what_is_in_the_way_is_named_before_anything_is_removed(made: Made, tmp_path: Path) -> None:
    env, lock, _ = made
    site = env / envs.SITE
    (site / "gone.py").mkdir()
    os.mkfifo(site / "gone.py/fifo")
    before = set(env.rglob("*"))
    with pytest.raises(UsageError, match=r"gone\.py/fifo is in the way"):
        apply(env, lock, tmp_path)
    assert set(env.rglob("*")) == before


def test_the_interpreter_of_the_venv_is_not_replaced(made: Made, tmp_path: Path) -> None:
    env, path, _ = made
    wheel = make_wheel(tmp_path / "x", "evil", "1.0", {}, scripts={"python": "#!python\n"})
    lock = workflow.load(path)
    lock = msgspec.structs.replace(lock, packages=[*lock.packages, envs.package_of(wheel)])
    todo = sync.plan(lock, envs.look(env))
    with pytest.raises(LockError, match="the venv's own"):
        sync.apply(todo, means(env, lock, tmp_path, todo))


def test_a_site_directory_behind_a_link_is_refused(made: Made, tmp_path: Path) -> None:
    env, lock, _ = made
    (env / "lib").rename(tmp_path / "elsewhere")
    (env / "lib").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="through a link"):
        apply(env, lock, tmp_path)


# --- files with two owners, and stale metadata -----------------------------------------------


def test_an_overwritten_file_comes_back_with_its_owner(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    """``two`` has overwritten a file of ``one``: the lock has ``one`` alone, whole."""
    files = tmp_path / "files"
    one = make_wheel(files, "one", "1.0", {"ns/shared.py": "one\n", "ns/one.py": ""})
    two = make_wheel(files, "two", "1.0", {"ns/shared.py": "two\n", "ns/two.py": ""})
    env = envs.make_venv(tmp_path / "env")
    envs.install(one, env, installer="pip\n")
    with FakeIndex(files) as index:
        settings = {**settings, "PIP_INDEX_URL": index.url}
        ok(envfreeze("capture", env, "-o", tmp_path / "one.lock", env=settings))
        envs.install(two, env, installer="pip\n")
        ok(envfreeze("capture", env, "-o", tmp_path / "both.lock", env=settings))
        for name, content in (("one", "one\n"), ("both", "two\n")):
            lock = tmp_path / f"{name}.lock"
            ok(envfreeze("build", lock, "--into", env, "--yes", env=settings))
            assert (env / envs.SITE / "ns/shared.py").read_text() == content
            ok(envfreeze("verify", lock, env, env=settings))


def test_stale_metadata_goes_and_comes(made: Made, tmp_path: Path) -> None:
    env, lock, settings = made
    site = env / envs.SITE
    ok(envfreeze("build", lock, "--into", env, "--yes", env=settings))
    stale = site / "old-0.9.dist-info"
    shutil.copytree(site / "old-1.0.dist-info", stale)
    (stale / "METADATA").write_text("Metadata-Version: 2.1\nName: old\nVersion: 0.9\n")
    (stale / "RECORD").write_text(
        "old/__init__.py,sha256=AAAA,1\nold/left.py,,\nold-0.9.dist-info/METADATA,,\n"
        "old-0.9.dist-info/WHEEL,,\nold-0.9.dist-info/INSTALLER,,\n"
        "old-0.9.dist-info/REQUESTED,,\nold-0.9.dist-info/RECORD,,\n"
    )
    (site / "old/left.py").touch()
    ok(envfreeze("capture", env, "-o", tmp_path / "stale.lock", env=settings))
    ok(envfreeze("build", lock, "--into", env, "--yes", env=settings))
    assert not stale.exists()
    assert not (site / "old/left.py").exists()
    assert (site / "old/__init__.py").exists()
    ok(envfreeze("build", tmp_path / "stale.lock", "--into", env, "--yes", env=settings))
    assert stale.exists()
    assert (site / "old/left.py").exists(), "what it alone owns comes with it"
    assert todo_of(env, tmp_path / "stale.lock").empty
