"""A package index on the loopback interface, with faults to switch on, and small wheels.

The client under test is the real one; only the other side is ours.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import re
import threading
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

JSON = "application/vnd.pypi.simple.v1+json"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def record_hash(content: bytes) -> str:
    """The hash field of RECORD."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest())
    return "sha256=" + digest.rstrip(b"=").decode()


def make_wheel(
    directory: Path,
    name: str,
    version: str,
    files: Mapping[str, bytes | str] | None = None,
    *,
    scripts: Mapping[str, bytes | str] | None = None,
    data: Mapping[str, bytes | str] | None = None,
    headers: Mapping[str, bytes | str] | None = None,
    entry_points: str | None = None,
    tags: Sequence[str] = ("py3-none-any",),
    build: str | None = None,
    claims: Mapping[str, str | None] | None = None,
    metadata: str = "",
    modes: Mapping[str, int] | None = None,
) -> Path:
    """A small wheel, the same bytes each time.

    :param tags: expanded; the file name is their compressed set.
    :param claims: member to the hash field that RECORD is to state for it instead of the
        true one; None leaves the row out.
    :param modes: member to its mode, where that is not the usual one.
    """
    stem = f"{re.sub(r'[-.]+', '_', name)}-{version}"
    info = f"{stem}.dist-info"
    members = {path: _bytes(content) for path, content in (files or {}).items()}
    for scheme, group in (("scripts", scripts), ("data", data), ("headers", headers)):
        for path, content in (group or {}).items():
            members[f"{stem}.data/{scheme}/{path}"] = _bytes(content)
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}"
    members[f"{info}/METADATA"] = head.encode()
    members[f"{info}/WHEEL"] = _wheel_file(tags, build)
    if entry_points is not None:
        members[f"{info}/entry_points.txt"] = entry_points.encode()
    members[f"{info}/RECORD"] = _record(members, info, claims or {})
    middle = f"-{build}" if build else ""
    path = directory / f"{stem}{middle}-{compress_tags(tags)}.whl"
    directory.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            entry = zipfile.ZipInfo(member, _EPOCH)
            usual = 0o100755 if ".data/scripts/" in member else 0o100644
            entry.external_attr = (modes or {}).get(member, usual) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return path


def compress_tags(tags: Sequence[str]) -> str:
    """The compressed tag set of a file name (PEP 425)."""
    parts = zip(*(tag.split("-") for tag in tags), strict=True)
    return "-".join(".".join(dict.fromkeys(part)) for part in parts)


def _bytes(content: bytes | str) -> bytes:
    return content.encode() if isinstance(content, str) else content


def _wheel_file(tags: Sequence[str], build: str | None) -> bytes:
    lines = ["Wheel-Version: 1.0", "Generator: fakeindex", "Root-Is-Purelib: true"]
    lines += [f"Build: {build}"] if build else []
    lines += [f"Tag: {tag}" for tag in tags]
    return ("\n".join(lines) + "\n").encode()


def _record(members: Mapping[str, bytes], info: str, claims: Mapping[str, str | None]) -> bytes:
    rows = []
    for path, content in members.items():
        claim = claims.get(path, record_hash(content))
        if claim is not None:
            rows.append(f"{path},{claim},{len(content)}")
    rows.append(f"{info}/RECORD,,")
    return ("\n".join(rows) + "\n").encode()


@dataclass
class Faults:
    """What the index gets wrong. All off: a good index that speaks JSON."""

    no_ranges: bool = False
    """Ranges are ignored: status 200 and the whole file."""
    no_head: bool = False
    """HEAD is answered with 405."""
    wrong_hash: bool = False
    no_hash: bool = False
    no_size: bool = False
    wrong_size: int = 0
    """Added to every size in the JSON."""
    status: int = 0
    """For every request, this and nothing else."""
    status_times: int = -1
    """How many requests get :attr:`status`; -1: all."""
    slow: float = 0.0
    """Seconds before each answer."""
    truncate: int = 0
    """Bytes left out at the end of each body, the Content-Length being that of the whole."""
    truncate_times: int = -1
    gzip: bool = False
    html: bool = False
    yanked: bool = False
    """Every file is (PEP 592)."""
    login: tuple[str, str] | None = None
    relative: bool = False
    drop: bool = False
    """Connections are closed without an answer."""
    content_type: str = ""
    """In place of the page's true one."""
    wrong_range: bool = False
    """Another range than was asked for."""
    redirect: str = ""
    """Pages redirect to this base URL."""
    body: bytes | None = None
    """In place of each page."""


@dataclass
class FakeIndex:
    """Serves the wheels and sdists of a directory. Use it as a context manager."""

    directory: Path
    faults: Faults = field(default_factory=Faults)
    requests: list[tuple[str, str]] = field(default_factory=list)
    """``(method, path)`` of each."""
    headers: list[dict[str, str]] = field(default_factory=list)
    """The headers of each, names in lower case."""
    connections: int = 0

    def __enter__(self) -> FakeIndex:
        owner = self

        class Handler(_Handler):
            index = owner

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The index URL."""
        return f"{self.base}/simple"

    def files(self, name: str) -> list[Path]:
        """The files of a project, by normalised name."""
        return [
            path
            for path in sorted(self.directory.iterdir())
            if path.suffix != ".html"
            and re.sub(r"[-_.]+", "-", path.name.split("-")[0]).lower() == name
        ]

    def page(self, name: str) -> tuple[bytes, str] | None:
        """``(body, content type)`` of a project's page."""
        files = self.files(name)
        if not files:
            return None
        if self.faults.html:
            return self._html(files), "text/html; charset=utf-8"
        document = {
            "meta": {"api-version": "1.1"},
            "name": name,
            "files": [self._entry(path) for path in files],
        }
        return json.dumps(document).encode(), JSON

    def _url(self, path: Path) -> str:
        head = "../../files" if self.faults.relative else f"{self.base}/files"
        return f"{head}/{quote(path.name)}"

    def _sha256(self, path: Path) -> str:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return digest[::-1] if self.faults.wrong_hash else digest

    def _entry(self, path: Path) -> dict[str, object]:
        entry: dict[str, object] = {
            "filename": path.name,
            "url": self._url(path),
            "hashes": {} if self.faults.no_hash else {"sha256": self._sha256(path)},
            "yanked": self.faults.yanked,
        }
        if not self.faults.no_size:
            entry["size"] = path.stat().st_size + self.faults.wrong_size
        return entry

    def _html(self, files: list[Path]) -> bytes:
        lines = ["<!DOCTYPE html><html><body>"]
        for path in files:
            fragment = "" if self.faults.no_hash else f"#sha256={self._sha256(path)}"
            href = html.escape(self._url(path) + fragment)
            yanked = ' data-yanked=""' if self.faults.yanked else ""
            lines.append(f'<a href="{href}"{yanked}>{html.escape(path.name)}</a>')
        return "\n".join([*lines, "</body></html>"]).encode()


class _Handler(BaseHTTPRequestHandler):
    index: FakeIndex
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def setup(self) -> None:
        super().setup()
        self.index.connections += 1

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: pytest shows what matters."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        faults = self.index.faults
        self.index.requests.append((self.command, self.path))
        self.index.headers.append({key.lower(): value for key, value in self.headers.items()})
        if faults.slow:
            time.sleep(faults.slow)
        if faults.drop:
            self.close_connection = True
            return
        if faults.status and faults.status_times:
            faults.status_times -= 1
            self._send(faults.status, b"")
        elif not self._may():
            self._send(401, b"", {"WWW-Authenticate": 'Basic realm="index"'})
        else:
            self._route(unquote(urlsplit(self.path).path))

    def _may(self) -> bool:
        login = self.index.faults.login
        if login is None:
            return True
        wanted = base64.b64encode(":".join(login).encode()).decode()
        return self.headers.get("Authorization") == f"Basic {wanted}"

    def _route(self, path: str) -> None:
        parts = path.strip("/").split("/")
        if len(parts) == 2 and parts[0] == "simple":
            self._page(parts[1])
        elif len(parts) == 2 and parts[0] == "files":
            self._file(self.index.directory / Path(parts[1]).name)
        else:
            self._send(404, b"")

    def _page(self, name: str) -> None:
        faults = self.index.faults
        if faults.redirect:
            self._send(302, b"", {"Location": f"{faults.redirect}/simple/{name}/"})
            return
        page = self.index.page(name)
        if page is None:
            self._send(404, b"not here")
            return
        body, kind = page
        if faults.body is not None:
            body = faults.body
        headers = {"Content-Type": faults.content_type or kind}
        if faults.gzip and "gzip" in self.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body, mtime=0)
            headers["Content-Encoding"] = "gzip"
        self._send(200, body, headers)

    def _file(self, path: Path) -> None:
        faults = self.index.faults
        if not path.is_file():
            self._send(404, b"")
            return
        if self.command == "HEAD" and faults.no_head:
            self._send(405, b"")
            return
        content = path.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is None or faults.no_ranges:
            self._send(200, content)
            return
        start = int(wanted[1])
        end = min(int(wanted[2]) + 1 if wanted[2] else len(content), len(content))
        if start >= len(content):
            self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            return
        if faults.wrong_range:
            end = max(start + 1, end - 1)
        span = f"bytes {start}-{end - 1}/{len(content)}"
        self._send(206, content[start:end], {"Content-Range": span})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        faults = self.index.faults
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if faults.truncate and faults.truncate_times and len(body) > faults.truncate:
            faults.truncate_times -= 1
            body = body[: -faults.truncate]
            self.close_connection = True
        self.wfile.write(body)
