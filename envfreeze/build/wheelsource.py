"""A wheel as ``installer`` reads it (the first of its two ports)."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterator
from typing import IO, BinaryIO, cast

from installer.sources import WheelContentElement, WheelSource
from installer.utils import Scheme

from envfreeze.errors import ArtifactError
from envfreeze.model.identity import normalize
from envfreeze.model.lock import PackageFacts
from envfreeze.resolve import zips
from envfreeze.resolve.compare import gives_bit
from envfreeze.resolve.pack import is_made_up

_RESTORED = frozenset({"INSTALLER", "REQUESTED", "direct_url.json"})
"""What the lock says of a metadata directory: never taken from a wheel."""
_SMALL = 4 << 20
"""Bytes of WHEEL and entry_points.txt, which are read whole."""
RECORD_LIMIT = 64 << 20


class Source(WheelSource):
    """A wheel, its metadata directory called as it was where it was installed.

    Its RECORD is not needed: the wheel's own sha256 was checked, and what is placed is hashed.
    """

    def __init__(self, archive: zipfile.ZipFile, facts: PackageFacts) -> None:
        self._archive = archive
        self._names = set(archive.namelist())
        self._info = facts.info
        self._installer = facts.installer
        self._spelt = self._spelling()
        name, _, version = facts.info.removesuffix(".dist-info").rpartition("-")
        super().__init__(name, version)

    def _spelling(self) -> str:
        """The metadata directory as the wheel spells it: it need not be as it is installed."""
        if f"{self._info}/METADATA" in self._names:
            return self._info
        heads = {name.partition("/")[0] for name in self._names if name.count("/") == 1}
        wanted = normalize(self._info)
        found = [h for h in sorted(heads) if h.endswith(".dist-info") and normalize(h) == wanted]
        return found[0] if len(found) == 1 else self._info

    @property
    def dist_info_dir(self) -> str:
        return self._info

    @property
    def data_dir(self) -> str:
        return self._info.removesuffix(".dist-info") + ".data"

    @property
    def dist_info_filenames(self) -> list[str]:
        head = self._spelt + "/"
        return [name.removeprefix(head) for name in self._names if name.startswith(head)]

    def read_dist_info(self, filename: str) -> str:
        if filename == "WHEEL":
            return self._wheel()
        text = self._read(f"{self._spelt}/{filename}").decode("utf-8")
        return _scripts_only(text) if filename == "entry_points.txt" else text

    def _read(self, name: str, limit: int = _SMALL) -> bytes:
        return zips.read(self._archive, name, limit)

    def _wheel(self) -> str:
        """What ``installer`` asks of WHEEL. purelib and platlib are one directory here."""
        name = f"{self._spelt}/WHEEL"
        text = self._read(name).decode("utf-8", "replace") if name in self._names else ""
        version = re.search(r"^Wheel-Version:\s*(\d+)", text, re.MULTILINE | re.IGNORECASE)
        if version is not None and version[1] != "1":
            raise ArtifactError(f"it is a wheel of version {version[1]}; only 1 is known")
        return "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"

    def validate_record(self, *, validate_contents: bool = True) -> None:
        """Nothing to do: see the class."""

    def get_contents(self) -> Iterator[WheelContentElement]:
        """Without ``__pycache__``: some wheels carry it, and it is made anew at any time."""
        for member in self._archive.infolist():
            path = self._as_installed(member.filename)
            if path is None or "__pycache__" in path.split("/")[:-1]:
                continue
            if path.startswith(self.data_dir) and not re.match(
                re.escape(self.data_dir) + r"/[^/]+/+[^/]", path
            ):
                # ``installer`` looks for the scheme in it without end, or finds no file.
                raise ArtifactError(
                    f"{member.filename!r} is not contained in a valid scheme of data"
                )
            mode = member.external_attr >> 16
            with self._open(member) as stream:
                # Its size is known before it is read: zipfile reads no more than that.
                stream.whole_size = member.file_size  # type: ignore[attr-defined]
                script = path.startswith(f"{self.data_dir}/scripts/")
                executable = gives_bit(mode, script=script, installer=self._installer)
                yield (path, "", ""), cast("BinaryIO", stream), executable

    def _open(self, member: zipfile.ZipInfo) -> IO[bytes]:
        try:
            return self._archive.open(member)
        except OSError as error:
            raise ArtifactError(f"{member.filename!r} is damaged: {error}") from error

    def _as_installed(self, name: str) -> str | None:
        """Where a member goes, in the spelling of the installed metadata; None: nowhere."""
        head, mark, rest = name.partition("/")
        if name.endswith("/"):
            return None
        if head == self._spelt and mark:
            if rest in _RESTORED or (rest == "WHEEL" and is_made_up(self._read(name))):
                return None
            return f"{self._info}/{rest}"
        if head == self._spelt.removesuffix(".dist-info") + ".data" and mark:
            return f"{self.data_dir}/{rest}"
        return name

    def unheld(self) -> Iterator[tuple[Scheme, str, str]]:
        """What RECORD names, with a sha256, and the wheel does not hold: a packed wheel leaves
        out what another distribution overwrote."""
        name = f"{self._spelt}/RECORD"
        if name not in self._names:
            return
        content = io.BytesIO(self._read(name, RECORD_LIMIT))
        for row in csv.reader(io.TextIOWrapper(content, "utf-8", newline="")):
            if len(row) < 2 or row[0] in self._names or not row[1].startswith("sha256="):
                continue
            path = self._as_installed(row[0])
            head, _, rest = (path or "").partition("/")
            if head == self.data_dir:
                scheme, _, rest = rest.partition("/")
                if scheme in {"scripts", "headers", "data", "purelib", "platlib"}:
                    yield Scheme(scheme), rest, row[1].removeprefix("sha256=")
            elif path:
                yield Scheme("purelib"), path, row[1].removeprefix("sha256=")


def _scripts_only(text: str) -> str:
    """entry_points.txt as ``installer``'s parser takes it: importlib.metadata reads it more
    leniently (a name may come twice, ``%`` is a letter), and so do pip and uv."""
    found: dict[str, dict[str, str]] = {"console_scripts": {}, "gui_scripts": {}}
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].strip()
        elif section in found and "=" in line and line[0] not in "#;":
            name, _, value = line.partition("=")
            found[section][name.strip()] = value.strip().replace("%", "%%")
    return "".join(
        f"[{section}]\n" + "".join(f"{name} = {value}\n" for name, value in names.items())
        for section, names in found.items()
    )
