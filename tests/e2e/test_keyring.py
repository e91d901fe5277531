"""An index behind a login that only the keyring knows: captured and rebuilt, and never told."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support import envs
from tests.support.cli import envfreeze, ok
from tests.support.fakeindex import FakeIndex, make_wheel
from tests.support.keyrings import KeyringProgram

SECRET = "hunter2-in-the-keyring"


def test_capture_and_build_with_a_keyring(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "files", "demo", "1.0", {"demo.py": "1"})
    env = envs.make_venv(tmp_path / "env")
    envs.install(wheel, env)
    with FakeIndex(tmp_path / "files") as server:
        server.faults.login = ("me", SECRET)
        program = KeyringProgram(tmp_path / "bin", (f"127.0.0.1:{server.port}", "me", SECRET))
        environ = {
            "PATH": f"{program.directory}{os.pathsep}{os.environ['PATH']}",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": server.url,
            "PIP_FIND_LINKS": "",
            "PIP_KEYRING_PROVIDER": "subprocess",
            "ENVFREEZE_CACHE_DIR": str(tmp_path / "cache"),
        }
        lock = tmp_path / "env.lock"
        done = ok(envfreeze("capture", env, "-o", lock, env=environ))
        assert "1 proved" in done.stdout
        assert program.asked
        fresh = {**environ, "ENVFREEZE_CACHE_DIR": str(tmp_path / "cache2")}
        built = ok(
            envfreeze("build", lock, "--to", "venv", "--into", tmp_path / "rebuilt", env=fresh)
        )
        switched_off = {**environ, "PIP_KEYRING_PROVIDER": "disabled"}
        switched_off["ENVFREEZE_CACHE_DIR"] = str(tmp_path / "cache3")
        refused = envfreeze("build", lock, "--into", tmp_path / "no", env=switched_off)
        ok(refused, 8)
        assert "keyring is switched off in pip's settings" in refused.stderr
    said = "".join(each.stdout + each.stderr for each in (done, built, refused))
    assert SECRET not in said
    written = [tmp_path / name for name in ("cache", "cache2", "env.lock.d", "rebuilt")]
    files = [path for place in written for path in place.rglob("*") if path.is_file()]
    assert len(files) > 3
    assert all(SECRET.encode() not in path.read_bytes() for path in (lock, *files))
