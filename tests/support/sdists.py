"""Small sdists that pip and uv really build, without an index: their backend lies in them."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

_PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "{name}"
version = "{version}"
"""

_BACKEND = """
import base64, hashlib, os, zipfile

NAME, VERSION = "{name}", "{version}"


def build_wheel(directory, config_settings=None, metadata_directory=None):
    stem = NAME.replace("-", "_") + "-" + VERSION
    info = stem + ".dist-info"
    members = {{}}
    for base, _, names in os.walk("src"):
        for name in names:
            path = os.path.join(base, name)
            with open(path, "rb") as file:
                members[os.path.relpath(path, "src")] = file.read()
    members[info + "/METADATA"] = "Metadata-Version: 2.1\\nName: {{}}\\nVersion: {{}}\\n".format(
        NAME, VERSION
    ).encode()
    members[info + "/WHEEL"] = (
        b"Wheel-Version: 1.0\\nGenerator: here\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    )
    rows = []
    for path, content in sorted(members.items()):
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        rows.append("{{}},sha256={{}},{{}}".format(path, digest, len(content)))
    members[info + "/RECORD"] = ("\\n".join(rows) + "\\n" + info + "/RECORD,,\\n").encode()
    filename = stem + "-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, filename), "w") as archive:
        for path, content in members.items():
            archive.writestr(path, content)
    return filename
"""


def sources(name: str, version: str, files: Mapping[str, str]) -> dict[str, str]:
    """The files of a source tree: path to content. *files* lie below ``src``."""
    return {
        "pyproject.toml": _PYPROJECT.format(name=name, version=version),
        "backend.py": _BACKEND.format(name=name, version=version),
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        **{f"src/{path}": content for path, content in files.items()},
    }


def make_sdist(directory: Path, name: str, version: str, files: Mapping[str, str]) -> Path:
    """A sdist, the same bytes each time."""
    stem = f"{name.replace('-', '_')}-{version}"
    out = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=out, mode="wb", mtime=0, filename="") as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path, content in sources(name, version, files).items():
            info = tarfile.TarInfo(f"{stem}/{path}")
            info.size = len(content.encode())
            tar.addfile(info, io.BytesIO(content.encode()))
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / f"{stem}.tar.gz"
    target.write_bytes(out.getvalue())
    return target
