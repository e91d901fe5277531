"""Capture, build, verify, diff: the whole way on real environments."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from envfreeze import workflow
from tests.support.cli import digests, envfreeze, ok, run, site

pytestmark = pytest.mark.network


def test_every_package_is_proved_and_counted(lock: Path) -> None:
    machine = workflow.load(lock).machine
    assert not machine.unproved
    proofs = {p.name: p.facts.proof for p in workflow.load(lock).packages}
    # pip and setuptools come from ensurepip: the same wheels as on the index.
    assert {n: p for n, p in proofs.items() if n not in {"pip", "setuptools"}} == {
        name: "proved" for name in proofs if name not in {"pip", "setuptools"}
    }
    assert len(proofs) > 25


def test_two_captures_are_the_same_bytes(env: Path, lock: Path, tmp_path: Path) -> None:
    again = tmp_path / lock.name
    ok(envfreeze("capture", env, "-o", again, "--rehash"))
    assert again.read_bytes() == lock.read_bytes()
    kept = lock.with_name(lock.name + ".d")
    assert digests(kept) == digests(again.with_name(again.name + ".d"))


def test_a_cold_cache_gives_the_same_lock(env: Path, lock: Path, tmp_path: Path) -> None:
    again = tmp_path / lock.name
    ok(envfreeze("capture", env, "-o", again, env={"ENVFREEZE_CACHE_DIR": str(tmp_path / "c")}))
    assert again.read_bytes() == lock.read_bytes()


@pytest.fixture(scope="module")
def rebuilt(lock: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("out") / "rébuilt 'n' \"quoted\""
    done = ok(envfreeze("build", lock, "--into", into, env={"ENVFREEZE_CACHE_DIR": str(cache)}))
    assert "verified" in done.stdout
    return into


def test_every_file_comes_back(env: Path, rebuilt: Path) -> None:
    before, after = digests(site(env)), digests(site(rebuilt))
    assert after == before
    assert digests(rebuilt / "share") == digests(env / "share")
    assert digests(rebuilt / "include") == digests(env / "include")


def test_scripts_come_back_and_run(env: Path, rebuilt: Path) -> None:
    here = {path.name for path in (env / "bin").iterdir()}
    there = {path.name for path in (rebuilt / "bin").iterdir()}
    assert there == here - {"__pycache__"}
    assert run(rebuilt / "bin/pip", "--version").split()[1] in run(env / "bin/pip", "--version")
    assert "usage" in run(rebuilt / "bin/jp.py", "--help").lower()


def test_pip_freeze_prints_the_same_lines(env: Path, rebuilt: Path) -> None:
    freeze = ("-m", "pip", "freeze", "--all")
    assert run(rebuilt / "bin/python", *freeze) == run(env / "bin/python", *freeze)
    listed = ("-m", "pip", "list", "--not-required", "--format=json")
    assert run(rebuilt / "bin/python", *listed) == run(env / "bin/python", *listed)


def test_original_and_rebuilt_do_not_differ(env: Path, rebuilt: Path, lock: Path) -> None:
    ok(envfreeze("diff", env, rebuilt))
    ok(envfreeze("diff", lock, rebuilt))
    ok(envfreeze("verify", lock, env))


def test_the_rebuilt_one_has_the_same_id(rebuilt: Path, lock: Path, tmp_path: Path) -> None:
    ok(envfreeze("capture", rebuilt, "-o", tmp_path / "env.lock"))
    assert workflow.load(tmp_path / "env.lock").machine.id == workflow.load(lock).machine.id


def test_one_changed_byte_is_named(rebuilt: Path, lock: Path) -> None:
    file = site(rebuilt) / "six.py"
    original = file.read_bytes()
    try:
        file.write_bytes(original[:-1] + b"#")
        done = ok(envfreeze("verify", lock, rebuilt), 1)
        assert "six.py" in done.stdout
        report = json.loads(ok(envfreeze("verify", lock, rebuilt, "--json"), 1).stdout)
        assert report["changes"][0]["files"] == ["site/six.py"]
    finally:
        file.write_bytes(original)
    ok(envfreeze("verify", lock, rebuilt))


def test_an_edited_package_is_packed_and_rebuilt(env: Path, lock: Path, tmp_path: Path) -> None:
    edited = tmp_path / "env"
    ok(envfreeze("build", lock, "--into", edited))
    (site(edited) / "six.py").write_text("edited = True\n")
    (site(edited) / "loose.pth").write_text("# nobody owns this\n")
    (site(edited) / "__pycache__").mkdir(exist_ok=True)
    done = ok(envfreeze("capture", edited, "-o", tmp_path / "e.lock"))
    assert "patched   six: 1 file changed since it was installed: site/six.py" in done.stdout
    assert "1 file that no distribution owns" in done.stdout
    ok(envfreeze("build", tmp_path / "e.lock", "--into", tmp_path / "again", "--offline"))
    assert digests(site(tmp_path / "again")) == digests(site(edited))
    changed = ok(envfreeze("diff", lock, tmp_path / "e.lock"), 1).stdout
    assert "six" in changed
    assert "loose.pth" in changed


def test_offline_uses_what_the_cache_proved(env: Path, lock: Path, tmp_path: Path) -> None:
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_CONFIG_FILE": "/dev/null"}
    ok(envfreeze("capture", env, "-o", tmp_path / "env.lock", "--offline"))
    assert (tmp_path / "env.lock").read_bytes() == lock.read_bytes()
    done = ok(envfreeze("capture", env, "-o", tmp_path / "down.lock", "--no-pack", env=nowhere))
    assert "did not answer" in done.stderr


@pytest.mark.long
def test_an_index_that_is_down_means_packed(env: Path, lock: Path, tmp_path: Path) -> None:
    nowhere = {
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_FIND_LINKS": "",
        "ENVFREEZE_CACHE_DIR": str(tmp_path / "cache"),
    }
    done = ok(envfreeze("capture", env, "-o", tmp_path / "p.lock", "--strict", env=nowhere))
    assert "did not answer" in done.stderr
    packed = workflow.load(tmp_path / "p.lock")
    assert {p.facts.proof for p in packed.packages} == {"packed"}
    assert packed.machine.id == workflow.load(lock).machine.id
    ok(envfreeze("build", tmp_path / "p.lock", "--into", tmp_path / "v", "--offline"))
    assert digests(site(tmp_path / "v")) == digests(site(env))


def test_strict_refuses_what_it_cannot_keep(env: Path, tmp_path: Path) -> None:
    done = envfreeze(
        "capture", env, "-o", tmp_path / "x.lock", "--strict", "--no-pack", "--offline",
        env={"ENVFREEZE_CACHE_DIR": str(tmp_path / "cache")},
    )  # fmt: skip
    ok(done, 4)
    assert "requests" in done.stderr
    assert not (tmp_path / "x.lock").exists()


def test_pip_and_uv_install_the_lock(env: Path, lock: Path, tmp_path: Path) -> None:
    """A copy named pylock.toml is an ordinary PEP 751 lock."""
    directory = tmp_path / "copy"
    directory.mkdir()
    shutil.copyfile(lock, directory / "pylock.toml")
    kept = lock.with_name(lock.name + ".d")
    shutil.copytree(kept, directory / kept.name)
    by_pip, by_uv = tmp_path / "pip", tmp_path / "uv"
    run(sys.executable, "-m", "venv", "--without-pip", by_pip)
    pip = ("-m", "pip", "--python", by_pip / "bin/python", "install", "--quiet")
    run(sys.executable, *pip, "-r", directory / "pylock.toml")
    run(sys.executable, "-m", "venv", "--without-pip", by_uv)
    uv = Path(sys.executable).with_name("uv")
    run(uv, "pip", "sync", "--python", by_uv / "bin/python", directory / "pylock.toml")
    for prefix in (by_pip, by_uv):
        done = ok(envfreeze("diff", lock, prefix, "--json"))
        assert json.loads(done.stdout)["equal"]


@pytest.mark.long
def test_legacy_metadata_is_rebuilt(tmp_path: Path) -> None:
    """mlflow 1.27.0: today's pip refuses to install it by name."""
    old, lock = tmp_path / "old", tmp_path / "old.lock"
    run(sys.executable, "-m", "venv", old)
    pip = (old / "bin/python", "-m", "pip", "install", "--quiet")
    run(*pip, "pip<24.1")
    run(*pip, "--no-deps", "mlflow==1.27.0")
    ok(envfreeze("capture", old, "-o", lock))
    mlflow = {p.name: p for p in workflow.load(lock).packages}["mlflow"]
    assert mlflow.facts.proof == "proved"
    ok(envfreeze("build", lock, "--into", tmp_path / "new"))
    assert digests(site(tmp_path / "new")) == digests(site(old))
    freeze = ("-m", "pip", "freeze", "--all")
    assert run(tmp_path / "new/bin/python", *freeze) == run(old / "bin/python", *freeze)


def test_direct_urls_and_uv_environments_come_back(lock: Path, tmp_path: Path) -> None:
    """uv's scripts, REQUESTED for all, INSTALLER without a newline, a wheel by path and by URL."""
    prefix = tmp_path / "uv env"
    uv = Path(sys.executable).with_name("uv")
    six = {p.name: p for p in workflow.load(lock).packages}["six"].artifact
    wheels = tmp_path / "wheels"
    run(
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", wheels,
        "jmespath",
    )  # fmt: skip
    wheel = next(wheels.glob("jmespath-*.whl"))
    run(sys.executable, "-m", "venv", "--without-pip", prefix)
    python = prefix / "bin/python"
    run(uv, "pip", "install", "--quiet", "--python", python, f"six @ {six.url}", "markupsafe")
    run(uv, "pip", "install", "--quiet", "--python", python, "--no-deps", wheel)
    ok(envfreeze("capture", prefix, "-o", tmp_path / "uv.lock", "--strict"))
    locked = {p.name: p for p in workflow.load(tmp_path / "uv.lock").packages}
    assert locked["six"].archive is not None
    assert locked["six"].archive.sha256 == six.sha256
    assert locked["markupsafe"].facts.installer == "uv"
    ok(envfreeze("build", tmp_path / "uv.lock", "--into", tmp_path / "new"))
    assert digests(site(tmp_path / "new")) == digests(site(prefix))
    assert "usage" in run(tmp_path / "new/bin/jp.py", "--help").lower()


@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="no system Python")
def test_the_system_python_is_captured_and_rebuilt(tmp_path: Path) -> None:
    done = ok(envfreeze("capture", "/usr/bin/python3", "-o", tmp_path / "sys.lock"))
    machine = workflow.load(tmp_path / "sys.lock").machine
    assert machine.interpreter.origin in {"system", "packed"}
    built = envfreeze("build", tmp_path / "sys.lock", "--into", tmp_path / "sys")
    ok(built)
    assert "verified" in built.stdout, done.stdout
