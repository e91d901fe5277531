"""``envfreeze doctor`` on this machine: a real probe of a real environment."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from envfreeze import workflow
from envfreeze.errors import LockError, UsageError
from envfreeze.model.lock import Lock, SystemLayer, dumps
from envfreeze.model.snapshot import Finding
from envfreeze.store import Cache
from envfreeze.targets import local
from tests.support import envs
from tests.support.cli import envfreeze, ok
from tests.support.fakeindex import make_wheel
from tests.support.locks import lock as small_lock
from tests.support.machines import sealed, within


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("doctor")
    wheel = make_wheel(place / "files", "demo", "1.0", {"demo.py": "1"})
    made = envs.make_venv(place / "env")
    envs.install(wheel, made, installer="pip\n")
    return made


@pytest.fixture
def context(env: Path, tmp_path: Path) -> workflow.Context:
    environ = {"VIRTUAL_ENV": str(env), "PATH": f"{env}/bin:/usr/bin:/bin", "HOME": str(tmp_path)}
    return workflow.Context(environ=environ, cache=Cache(tmp_path / "cache"))


def lock_here(env: Path, context: workflow.Context, **changes: object) -> Lock:
    """A lock whose interpreter and system are this machine's own."""
    target = local.find(str(env), context.environ)
    seen = local.observe(target, environ=context.environ, cache=None).snapshot
    layer = SystemLayer(kernel=seen.system.kernel, machine=seen.system.machine)
    return within(small_lock(facts=seen.interpreter, layer=layer), **changes)


def write(lock: Lock, path: Path) -> Path:
    path.write_text(dumps(sealed(lock)))
    return path


def verdicts(examined: workflow.Examined) -> dict[str, str]:
    return {check.name: check.verdict for check in reversed(examined.checks)}


def test_the_active_environment(env: Path, context: workflow.Context) -> None:
    examined = workflow.doctor(None, context)
    assert examined.subject == str(env)
    found = verdicts(examined)
    assert found["driver"] == "ok"
    assert "libraries" in found
    assert not {"disk", "python"} & set(found)


def test_its_own_environment_is_not_examined_unasked(tmp_path: Path) -> None:
    context = workflow.Context(environ={"VIRTUAL_ENV": sys.prefix}, cache=Cache(tmp_path / "cache"))
    with pytest.raises(UsageError, match="envfreeze itself") as caught:
        workflow.doctor(None, context)
    assert "capture" not in caught.value.hint


def test_a_lock_of_this_machine(env: Path, context: workflow.Context, tmp_path: Path) -> None:
    place = write(lock_here(env, context), tmp_path / "env.lock")
    examined = workflow.doctor(place, context)
    found = verdicts(examined)
    assert {found["architecture"], found["python"], found["disk"], found["libc"]} == {"ok"}
    assert examined.subject == str(place)


def test_a_library_is_looked_for_here(env: Path, context: workflow.Context, tmp_path: Path) -> None:
    findings = [
        Finding(kind="missing-library", place="libc.so.6"),
        Finding(kind="missing-library", place="libnowhere.so.99", detail="needed by x"),
    ]
    place = write(lock_here(env, context, findings=findings), tmp_path / "env.lock")
    said = {c.said: c.verdict for c in workflow.doctor(place, context).checks}
    assert said["libc.so.6 is here"] == "ok"
    (other,) = [text for text in said if text.startswith("libnowhere")]
    assert said[other] == "warning"


def test_without_an_active_environment_the_machine_is_looked_at(
    env: Path, context: workflow.Context, tmp_path: Path
) -> None:
    place = write(lock_here(env, context), tmp_path / "env.lock")
    bare = workflow.Context(environ={"HOME": str(tmp_path)}, cache=context.cache)
    assert verdicts(workflow.doctor(place, bare))["architecture"] == "ok"


def test_no_lock_there(context: workflow.Context, tmp_path: Path) -> None:
    with pytest.raises(LockError, match="no such file"):
        workflow.doctor(tmp_path / "none.lock", context)


def test_the_command(env: Path, context: workflow.Context, tmp_path: Path) -> None:
    environ = {"VIRTUAL_ENV": str(env), "ENVFREEZE_CACHE_DIR": str(tmp_path / "cache")}
    good = write(lock_here(env, context), tmp_path / "good.lock")
    done = ok(envfreeze("doctor", good, env=environ, cwd=tmp_path))
    assert done.stdout.splitlines()[-1].startswith(f"{good}: ")
    assert "problem" not in done.stdout
    foreign = SystemLayer(kernel="Linux", machine="vax")
    bad = write(lock_here(env, context, system=foreign), tmp_path / "bad.lock")
    failed = ok(envfreeze("doctor", bad, "--json", env=environ, cwd=tmp_path), 1)
    document = json.loads(failed.stdout)
    assert document["runs"] is False
    assert document["checks"][0]["name"] == "architecture"
