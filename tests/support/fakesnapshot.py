"""An archive that keeps every version, on the loopback: as much of one as is asked of it."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from tests.support.dpkgroot import Pkg

TIME = "20240102T030405Z"


@dataclass
class FakeSnapshot:
    """Use it as a context manager."""

    files: dict[str, bytes] = field(default_factory=dict)
    """Path to content."""
    requests: list[str] = field(default_factory=list)

    def keep(self, package: Pkg, deb: bytes, *, sha1: str | None = None) -> str:
        """Keep *deb*; its URL."""
        sha1 = sha1 or hashlib.sha1(deb).hexdigest()
        name = f"{package.name}_{package.version.rpartition(':')[2]}_{package.arch}.deb"
        info = {
            "name": name,
            "archive_name": "debian",
            "path": f"/pool/main/{package.name[0]}/{package.name}",
            "size": len(deb),
            "first_seen": TIME,
        }
        answer = {
            "result": [{"architecture": package.arch, "hash": sha1}],
            "fileinfo": {sha1: [info]},
        }
        path = f"/archive/debian/{TIME}{info['path']}/{name}"
        self.files[f"/mr/binary/{package.name}/{package.version}/binfiles"] = json.dumps(
            answer
        ).encode()
        self.files[path] = deb
        return self.base + path

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FakeSnapshot:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                path = unquote(urlsplit(self.path).path)
                owner.requests.append(path)
                body = owner.files.get(path, b"")
                self.send_response(200 if path in owner.files else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: pytest shows what matters."""

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
