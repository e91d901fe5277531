"""Image registries on the loopback interface: things to put into a real one, and one of our own
that asks for tokens and has faults to switch on."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

INDEX = "application/vnd.oci.image.index.v1+json"
LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.oci.image.config.v1+json"


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Image:
    """A small image without layers."""

    architecture: str
    variant: str = ""
    kind: str = MANIFEST

    @property
    def config(self) -> bytes:
        values = {"os": "linux", "architecture": self.architecture}
        values |= {"variant": self.variant} if self.variant else {}
        values |= {"rootfs": {"type": "layers", "diff_ids": []}, "config": {}}  # type: ignore[dict-item]
        return json.dumps(values).encode()

    @property
    def manifest(self) -> bytes:
        entry = {"mediaType": CONFIG, "size": len(self.config), "digest": digest(self.config)}
        document = {"schemaVersion": 2, "mediaType": self.kind, "config": entry, "layers": []}
        return json.dumps(document).encode()

    @property
    def platform(self) -> dict[str, str]:
        found = {"os": "linux", "architecture": self.architecture}
        return found | ({"variant": self.variant} if self.variant else {})


def index(*images: Image, kind: str = INDEX, attested: bool = True) -> bytes:
    """An index over images, with an attestation as BuildKit adds it."""
    entries: list[dict[str, Any]] = [
        {
            "mediaType": image.kind,
            "size": len(image.manifest),
            "digest": digest(image.manifest),
            "platform": image.platform,
        }
        for image in images
    ]
    if attested and images:
        unknown = {"os": "unknown", "architecture": "unknown"}
        entries.insert(0, {**entries[0], "platform": unknown})
    return json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": entries}).encode()


# --- a real registry ----------------------------------------------------------------------


def push(host: str, repository: str, tag: str, *images: Image, document: bytes = b"") -> None:
    """Put images, and their index where there is one, into a registry at *host*."""
    for image in images:
        _blob(host, repository, image.config)
        _put(host, repository, digest(image.manifest), image.manifest, image.kind)
    if document:
        _put(host, repository, tag, document, json.loads(document)["mediaType"])
    else:
        _put(host, repository, tag, images[0].manifest, images[0].kind)


def _blob(host: str, repository: str, content: bytes) -> None:
    start = urllib.request.Request(
        f"http://{host}/v2/{repository}/blobs/uploads/", data=b"", method="POST"
    )
    with urllib.request.urlopen(start) as answer:
        place = answer.headers["Location"]
    joint = "&" if "?" in place else "?"
    url = f"{place}{joint}digest={digest(content)}"
    put = urllib.request.Request(url, data=content, method="PUT")
    put.add_header("Content-Type", "application/octet-stream")
    urllib.request.urlopen(put).close()


def _put(host: str, repository: str, name: str, content: bytes, kind: str) -> None:
    url = f"http://{host}/v2/{repository}/manifests/{name}"
    put = urllib.request.Request(url, data=content, method="PUT")
    put.add_header("Content-Type", kind)
    urllib.request.urlopen(put).close()


# --- one of our own -----------------------------------------------------------------------


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def say(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class _Served:
    """On the loopback interface, for as long as the block runs."""

    def _serve(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"


@dataclass
class FakeRegistry(_Served):
    """Serves one document under every name. Use it as a context manager."""

    body: bytes
    content_type: str = INDEX
    token: str = ""
    """Ask for this token (Bearer); where ``basic`` is set, for that login instead."""
    login: tuple[str, str] | None = None
    """Whoever wants a token must be this one; None: anybody may have it."""
    basic: tuple[str, str] | None = None
    realm: str = ""
    """In place of our own place for tokens."""
    token_key: str = "token"
    status: int = 200
    stated_digest: str = ""
    redirect: str = ""
    blobs: dict[str, bytes] = field(default_factory=dict)
    seen: list[tuple[str, str]] = field(default_factory=list)
    """Path with query, and Authorization, of each request."""

    def __enter__(self) -> FakeRegistry:
        outer = self

        class Handler(_Handler):
            def do_GET(self) -> None:
                outer.seen.append((self.path, self.headers.get("Authorization", "")))
                status, headers, body = outer.answer(
                    self.path, self.headers.get("Authorization", "")
                )
                self.say(status, headers, body)

        self._serve(Handler)
        return self

    def answer(self, path: str, authorization: str) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(path)
        if parts.path == "/token":
            return self._give_token(parse_qs(parts.query), authorization)
        if self.basic and authorization != _basic(self.basic):
            return 401, {"WWW-Authenticate": 'Basic realm="here"'}, b""
        if self.token and authorization != f"Bearer {self.token}":
            realm = self.realm or f"http://{self.host}/token"
            challenge = f'Bearer realm="{realm}",service="registry.example",error="none"'
            return 401, {"WWW-Authenticate": challenge}, b"{}"
        if self.redirect:
            return 307, {"Location": self.redirect}, b""
        name = parts.path.rpartition("/")[2]
        if "/blobs/" in parts.path:
            blob = self.blobs.get(name)
            return (404, {}, b"") if blob is None else (200, {}, blob)
        headers = {"Content-Type": self.content_type}
        if self.stated_digest:
            headers["Docker-Content-Digest"] = self.stated_digest
        return self.status, headers, self.body

    def _give_token(
        self, query: dict[str, list[str]], authorization: str
    ) -> tuple[int, dict[str, str], bytes]:
        if query.get("service") != ["registry.example"] or "scope" not in query:
            return 400, {}, b"{}"
        if self.login and authorization != _basic(self.login):
            return 401, {}, b"{}"
        return 200, {}, json.dumps({self.token_key: self.token}).encode()


def _basic(login: tuple[str, str]) -> str:
    return "Basic " + base64.b64encode(":".join(login).encode()).decode()


# --- one that takes images ----------------------------------------------------------------


@dataclass
class Shelf(_Served):
    """A registry that can be pushed to. Use it as a context manager.

    :param referrers: whether it knows the referrers API.
    """

    referrers: bool = True
    token: str = ""
    """Whoever pushes must have asked for a token with the scope to push."""
    denied: int = 0
    """The status that every write gets."""
    broken: bool = False
    """The connection ends in the middle of a blob."""
    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    """Method and path of each request."""
    scopes: list[str] = field(default_factory=list)

    def __enter__(self) -> Shelf:
        outer = self

        class Handler(_Handler):
            def _do(self) -> None:
                outer.seen.append(f"{self.command} {self.path}")
                if outer.broken and self.command == "PUT":
                    self.rfile.read(10)
                    self.close_connection = True
                    self.connection.shutdown(2)
                    return
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, headers, said = outer.answer(self, body)
                self.say(status, headers, said)

            do_GET = do_HEAD = do_POST = do_PUT = _do  # noqa: N815 - what http.server calls

        self._serve(Handler)
        return self

    def writes(self) -> list[str]:
        return [one for one in self.seen if one.startswith(("POST", "PUT"))]

    def answer(
        self, request: BaseHTTPRequestHandler, body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        parts, query = urlsplit(request.path), parse_qs(urlsplit(request.path).query)
        if parts.path == "/token":
            self.scopes = query["scope"]
            return 200, {}, json.dumps({"token": self.token}).encode()
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return 401, {"WWW-Authenticate": f'Bearer realm="http://{self.host}/token"'}, b"{}"
        if self.denied and request.command in {"POST", "PUT"}:
            said = {"errors": [{"code": "DENIED", "message": "not for\nyou"}]}
            return self.denied, {}, json.dumps(said).encode()
        repository, kind, name = self._taken_apart(parts.path)
        if kind == "uploads":
            return self._upload(request.command, repository, query, body)
        if kind == "blobs":
            blob = self.blobs.get((repository, name))
            return (404, {}, b"{}") if blob is None else (200, {}, blob)
        if kind == "referrers":
            return self._list(repository, name) if self.referrers else (404, {}, b"")
        if request.command == "PUT":
            return self._keep(repository, name, request.headers["Content-Type"], body)
        found = self.manifests.get((repository, name))
        if found is None:
            return 404, {}, b"{}"
        return 200, {"Content-Type": found[0], "Docker-Content-Digest": digest(found[1])}, found[1]

    def _taken_apart(self, path: str) -> tuple[str, str, str]:
        place = path.removeprefix("/v2/")
        for kind in ("/blobs/uploads/", "/blobs/", "/referrers/", "/manifests/"):
            repository, found, name = place.partition(kind)
            if found:
                return repository, kind.strip("/").rpartition("/")[2], name
        return place, "", ""

    def _upload(
        self, method: str, repository: str, query: dict[str, list[str]], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        if method == "POST":
            mounted = self.blobs.get((query.get("from", [""])[0], query.get("mount", [""])[0]))
            if mounted is not None:
                self.blobs[repository, digest(mounted)] = mounted
                return 201, {}, b""
            return 202, {"Location": f"/v2/{repository}/blobs/uploads/1?state=x"}, b""
        if query["digest"] != [digest(body)]:
            return 400, {}, b"{}"
        self.blobs[repository, digest(body)] = body
        return 201, {}, b""

    def _keep(
        self, repository: str, name: str, kind: str, body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        document = json.loads(body)
        named = [*document.get("layers", []), document["config"]] if "config" in document else []
        if any((repository, one["digest"]) not in self.blobs for one in named):
            return 400, {}, b"{}"
        for key in (name, digest(body)):
            self.manifests[repository, key] = (kind, body)
        subject = document.get("subject")
        known = self.referrers and subject is not None
        return 201, {"OCI-Subject": subject["digest"]} if known else {}, b""

    def _list(self, repository: str, subject: str) -> tuple[int, dict[str, str], bytes]:
        entries = []
        for (place, name), (kind, body) in self.manifests.items():
            document = json.loads(body)
            own = document.get("subject") or {}
            if place == repository and own.get("digest") == subject and name == digest(body):
                entry = {"mediaType": kind, "digest": name, "size": len(body)}
                entries.append({**entry, "artifactType": document["artifactType"]})
        listed = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
        return 200, {"Content-Type": INDEX}, json.dumps(listed).encode()
