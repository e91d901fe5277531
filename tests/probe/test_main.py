"""The probe runs nothing of its target, imports nothing of it, and changes nothing there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from envfreeze.model.snapshot import Snapshot
from envfreeze.targets.bundle import Question
from tests.support.environments import Environment, plain_environ, tree
from tests.support.pythons import newest, parameters

SHADOWED = ("json", "os", "site", "zlib", "base64", "types", "hashlib", "csv", "re", "platform")


def trap(directory: Path, marker: Path) -> None:
    """Modules that would betray that they were imported."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in (*SHADOWED, "sitecustomize", "usercustomize"):
        (directory / f"{name}.py").write_text(
            f"open({str(marker)!r}, 'a').write({name!r} + '\\n')\nprint('noise of {name}')\n"
        )


@pytest.mark.parametrize("python", parameters())
def test_nothing_is_run_and_nothing_is_written(
    python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "marker"
    env = Environment.make(python, tmp_path / "env")
    env.install("pure", files={"pure/__init__.py": b"raise SystemExit('imported')\n"})
    expected = env.snapshot()
    trap(env.site / "trapped", marker)
    for name in ("sitecustomize", "usercustomize"):
        (env.site / "trapped" / f"{name}.py").rename(env.site / f"{name}.py")
    (env.site / "trap.pth").write_text(f"import os; open({str(marker)!r}, 'a').write('pth')\n")
    trap(tmp_path / "here", marker)
    trap(tmp_path / "path", marker)
    (tmp_path / "path" / "encodings").mkdir()
    (tmp_path / "path" / "encodings" / "__init__.py").write_text("raise SystemExit('shadowed')")
    env.environ["PYTHONPATH"] = str(tmp_path / "path")
    monkeypatch.chdir(tmp_path / "here")
    before = tree(tmp_path)
    snapshot = env.snapshot()
    assert tree(tmp_path) == before
    assert not marker.exists()
    assert [dist.name for dist in snapshot.dists] == ["pure"]
    assert snapshot.interpreter == expected.interpreter
    loose = {entry.path for site in snapshot.sites for entry in site.loose}
    assert {"sitecustomize.py", "trap.pth"} <= loose


@pytest.mark.parametrize("python", parameters())
def test_it_survives_isolation_and_noise(python: Path, tmp_path: Path) -> None:
    env = Environment.make(python, tmp_path / "env")
    env.install("pure")
    (env.site / "sitecustomize.py").write_text(
        "import atexit, sys\nprint('before')\natexit.register(print, 'after')\n"
    )
    question = Question()
    argv = question.argv(str(env.python))
    isolated = [argv[0], "-I", *argv[1:]]
    done = subprocess.run(isolated, env=plain_environ(), capture_output=True, check=True)
    assert [d.name for d in question.answer(done.stdout, "here").snapshot.dists] == ["pure"]
    noisy = [argv[0], "-B", "-c", argv[-1]]  # with site, so sitecustomize runs
    done = subprocess.run(noisy, env=plain_environ(), capture_output=True, check=True)
    assert done.stdout.startswith(b"before")
    assert [d.name for d in question.answer(done.stdout, "here").snapshot.dists] == ["pure"]


def test_a_read_only_environment(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("a read-only bind mount needs root, and root ignores modes")
    env = Environment.make(newest(), tmp_path / "env")
    env.install("pure")
    expected = env.snapshot()
    script = (
        f'mount --bind "{env.prefix}" "{env.prefix}" && '
        f'mount -o remount,ro,bind "{env.prefix}" && ! touch "{env.prefix}/x" 2>/dev/null && '
        'exec "$@"'
    )
    question = Question()
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *question.argv(str(env.python))],
        env=env.environ,
        capture_output=True,
        check=False,
    )
    if done.returncode != 0 and b"not permitted" in done.stderr:
        pytest.skip("mounting is not permitted here")
    observed = question.answer(done.stdout, "here").snapshot
    assert observed.dists == expected.dists
    assert observed.sites == expected.sites


@pytest.mark.parametrize("python", parameters())
def test_the_interpreters_facts(python: Path, tmp_path: Path) -> None:
    env = Environment.make(python, tmp_path / "env")
    facts = env.snapshot().interpreter
    said = env.run(
        "import sys, sysconfig as s, platform as p\n"
        "print([sys.version.split()[0], s.get_config_var('SOABI'), s.get_platform(), "
        "p.python_compiler(), sys.prefix, sys.base_prefix, s.get_paths()['purelib'], "
        "s.get_paths()['scripts'], sys.implementation.cache_tag])"
    )
    assert said.strip() == str(
        [
            facts.version,
            facts.soabi,
            facts.platform,
            facts.compiler,
            facts.prefix,
            facts.base_prefix,
            facts.purelib,
            facts.scripts,
            facts.cache_tag,
        ]
    )
    assert facts.venv and not facts.system_site
    assert facts.executable == str(env.python)
    assert Path(facts.base_executable).samefile(env.python)
    assert Path(facts.stdlib).is_dir()
    assert not facts.free_threaded and not facts.debug


def test_two_probes_say_the_same(tmp_path: Path) -> None:
    env = Environment.make(newest(), tmp_path / "env")
    for name in ("b", "a", "c"):
        env.install(name)
    first, second = env.snapshot(), env.snapshot()
    assert isinstance(first, Snapshot)
    assert first == second


def test_a_path_that_is_not_utf8_is_refused_in_words(tmp_path: Path) -> None:
    from envfreeze.errors import TargetError

    env = Environment.make(newest(), tmp_path / "env")
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/od\xffd"))
    env.prefix.rename(odd)
    with pytest.raises(TargetError, match=r"its path is not UTF-8: .*od\\x?u?d?c?ff"):
        Environment(prefix=odd).snapshot()
    other = Environment.make(newest(), tmp_path / "other")
    (other.site / "x.pth").write_bytes(os.fsencode(odd) + b"\n")
    other.environ["PYTHONPATH"] = str(odd)
    assert "not-utf8" in other.kinds()
