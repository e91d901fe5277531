"""Prefixes that look like those of other makers.

Around a real interpreter of this machine the executable is copied, the standard library is
linked file by file; what tells the maker
(build-time configuration, marks, records) is written as that maker writes it.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import msgspec

from envfreeze.model.snapshot import Interpreter, Signs
from tests.support.locks import interpreter


def clone(python: Path, prefix: Path) -> Path:
    """A prefix of its own around the real interpreter *python*; its executable."""
    real = python.resolve()
    name = real.name
    source = next(iter(sorted(real.parents[1].glob(f"lib/{name}*"))))
    (prefix / "bin").mkdir(parents=True)
    made = prefix / "bin" / name
    shutil.copy2(real, made)
    library = prefix / "lib" / source.name
    library.mkdir(parents=True)
    for entry in source.iterdir():
        if entry.name not in {"site-packages", "__pycache__"}:
            (library / entry.name).symlink_to(entry)
    return made


def configure(python: Path, prefix: str, marks: str = "") -> None:
    """Rewrite the build-time configuration of a clone: its prefix, and *marks* of Python code."""
    library = next(iter(python.parents[1].glob("lib/python3*")))
    for path in library.glob("_sysconfigdata*.py"):
        text = path.read_text()
        path.unlink()
        before = re.findall(r"""^ +['"]prefix['"]: ['"]([^'"]*)['"]""", text, re.M)[0]
        path.write_text(text.replace(before, prefix) + marks)


def like_uv(python: Path, prefix: Path) -> Path:
    """As ``uv python install`` leaves it: patched configuration, BUILD, EXTERNALLY-MANAGED."""
    made = clone(python, prefix)
    configure(made, str(prefix), "build_time_vars['PYTHON_BUILD_STANDALONE'] = 1\n")
    library = next(iter(prefix.glob("lib/python3*")))
    (prefix / "BUILD").write_text("20240107")
    (library / "EXTERNALLY-MANAGED").write_text(
        "[externally-managed]\n"
        "Error=This Python installation is managed by uv and should not be modified.\n"
    )
    return made


# --- of a few small files, none of which runs ------------------------------------------------


def debian_facts() -> Interpreter:
    return interpreter(
        base_executable="/usr/bin/python3.11", base_prefix="/usr", stdlib="/usr/lib/python3.11"
    )


def own(tmp_path: Path) -> Interpreter:
    prefix = tmp_path / "py"
    for name in ("bin/python3.11", "lib/libpython3.11.so.1.0", "lib/python3.11/os.py"):
        (prefix / name).parent.mkdir(parents=True, exist_ok=True)
        (prefix / name).write_text(name)
    return interpreter(
        base_executable=f"{prefix}/bin/python3.11",
        base_prefix=str(prefix),
        stdlib=f"{prefix}/lib/python3.11",
        signs=Signs(libpython=f"{prefix}/lib/libpython3.11.so.1.0"),
    )


def conda(tmp_path: Path) -> Interpreter:
    """A prefix as conda leaves it: the record has each file's digest as it lies there."""
    facts = own(tmp_path)
    prefix = Path(facts.base_prefix)
    (prefix / "lib/python3.11/_sysconfigdata.py").write_text(f"prefix = {prefix}")
    (prefix / "lib/python3.11/links.py").symlink_to("os.py")

    def entry(name: str, **more: str) -> dict[str, str]:
        digest = hashlib.sha256((prefix / name).read_bytes()).hexdigest()
        return {"_path": name, "path_type": "hardlink", "sha256": digest, **more}

    config = entry("lib/python3.11/_sysconfigdata.py", prefix_placeholder="/placehold")
    config |= {"sha256_in_prefix": config["sha256"], "sha256": "0" * 64}
    paths = [
        *map(entry, ("bin/python3.11", "lib/libpython3.11.so.1.0", "lib/python3.11/os.py")),
        config,
        {"_path": "lib/python3.11/links.py", "path_type": "softlink", "sha256": "1" * 64},
        {"_path": "lib/python3.11/__pycache__/os.cpython-311.pyc", "sha256": "2" * 64},
    ]
    record = {"url": "https://u:p@mirror.example/t/tok-en/x.conda", "paths_data": {"paths": paths}}
    (prefix / "conda-meta").mkdir()
    (prefix / "conda-meta/python-3.11.7-0.json").write_text(json.dumps(record))
    signs = Signs(libpython=f"{prefix}/lib/libpython3.11.so.1.0", conda_record="python-3.11.7-0")
    return msgspec.structs.replace(facts, signs=signs)
