"""An image's tag into its digest, and a digest into the image, by asking a registry.

Source: the OCI distribution specification 1.1 ("Pulling manifests"), the image index of the OCI
image specification, and docker's token authentication (distribution/distribution
``docs/content/spec/auth/token.md``).
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urljoin, urlsplit

from envfreeze.errors import ArtifactError, IndexUnavailableError, UsageError
from envfreeze.resolve import ociimage
from envfreeze.resolve.http import Answer, Body, Http, is_secure
from envfreeze.resolve.ociimage import DIGEST as _DIGEST
from envfreeze.resolve.ociimage import INDEXES, LIMIT, MANIFESTS, Blob, Descriptor, Image, agree
from envfreeze.store import BlobWriter, Cache, hash_file

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_HOST = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::\d{1,5})?")
_PARAMETER = re.compile(r'([A-Za-z_]+)="((?:[^"\\]|\\.)*)"')

Login = tuple[str, str]
FindLogin = Callable[[str], "Login | None"]
"""The login for a registry's host; None: anonymous."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """An image's name, taken apart (distribution/reference ``normalize.go``)."""

    host: str | None
    """None: the public registry, of which docker leaves the name out."""
    repository: str
    """As the registry calls it: ``library/debian``."""
    tag: str
    shown: str
    """As it was written: ``debian:bookworm-slim``."""


def parse(text: str) -> Reference:
    """:raises UsageError: it is not an image's name with a tag."""
    name, colon, tag = text.rpartition(":")
    if not colon or "/" in tag:
        name, tag = text, "latest"
    first, slash, rest = name.partition("/")
    host = first if slash and (set(".:") & set(first) or first == "localhost") else None
    repository = rest if host else name if slash else f"library/{name}"
    fits = _REPOSITORY.fullmatch(repository) and _TAG.fullmatch(tag)
    if not fits or (host is not None and not _HOST.fullmatch(host)):
        raise UsageError(f"{text!r} is not the name of an image", hint="Write NAME:TAG.")
    return Reference(host=host, repository=repository, tag=tag, shown=text)


def at(reference: Reference, mirror: str) -> Reference:
    """The same image on *mirror*, ``HOST`` or ``HOST/PREFIX``."""
    host, _, prefix = mirror.removesuffix("/").partition("/")
    repository = "/".join(part for part in (prefix, reference.repository) if part)
    if not _HOST.fullmatch(host) or not _REPOSITORY.fullmatch(repository):
        raise UsageError(
            f"{mirror!r} is not a registry", hint="Write HOST, HOST:PORT or HOST/PREFIX."
        )
    shown = f"{host}/{repository}:{reference.tag}"
    return Reference(host=host, repository=repository, tag=reference.tag, shown=shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """A way to ask registries."""

    http: Http
    public: str
    """Host of the registry whose name docker leaves out."""
    login: FindLogin = lambda _host: None
    relaxed: Callable[[str], Http | None] = lambda _host: None
    """A way to ask a host that docker is told to take without a certificate that holds, or without
    TLS; None: it is no such host."""

    def pin(self, reference: Reference, platform: tuple[str, str]) -> str:
        """``NAME:TAG@sha256:...`` of the image for *platform* (architecture and variant).

        :raises ArtifactError: there is no such image, or not for that platform.
        :raises IndexUnavailableError: the registry does not answer.
        """
        asked = Asked(self, reference)
        body, kind = asked.manifest(reference.tag)
        if kind in INDEXES:
            digest = _of_platform(_json(body, reference), platform, reference)
        else:
            digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
            _check_platform(asked.config(_json(body, reference)), platform, reference)
        return f"{reference.shown}@{digest}"

    def image(
        self, reference: Reference, digest: str, platform: tuple[str, str], cache: Cache
    ) -> Image:
        """The image of that *digest*, its blobs brought into *cache*; what is there is not asked
        for again.

        :raises ArtifactError: there is no such image, or a blob of it has other bytes.
        :raises IndexUnavailableError: the registry does not answer.
        """
        return of_store(Asked(self, reference).store(cache), reference, digest, platform)


class Asked:
    """One repository of one registry; the token is asked for once.

    :param scopes: what a token shall allow beyond pulling, as ``repository:NAME:ACTIONS``.
    """

    def __init__(
        self, registry: Registry, reference: Reference, scopes: Sequence[str] = ()
    ) -> None:
        self._registry = registry
        self._reference = reference
        self._host = _api_host(reference.host, registry.public)
        self._scopes = scopes or (f"repository:{reference.repository}:pull",)
        self._authorization = ""

    @functools.cached_property
    def _relaxed(self) -> Http | None:
        on_this_machine = is_secure(f"http://{self._host}", ())
        return None if on_this_machine else self._registry.relaxed(self._host)

    @property
    def _http(self) -> Http:
        return self._relaxed or self._registry.http

    @functools.cached_property
    def _origin(self) -> str:
        """A registry on this machine may speak plain HTTP, as for docker. So may one that docker is
        told to take; it is asked for TLS first."""
        if self._relaxed is None:
            return f"{_scheme(self._host)}://{self._host}"
        try:
            self._relaxed.ask(f"https://{self._host}/v2/", {}, limit=LIMIT)
        except IndexUnavailableError:
            return f"http://{self._host}"
        return f"https://{self._host}"

    def _may_go(self, url: str) -> bool:
        """Whether what is meant for this registry alone may be sent to *url*."""
        return is_secure(url, (self._host,) if self._relaxed else ())

    @property
    def place(self) -> str:
        """The registry and the repository there."""
        return f"{self._host}/{self._reference.repository}"

    def find(self, path: str, accept: str) -> Answer | None:
        """What lies at *path* of the repository; None: nothing does.

        :raises ArtifactError: the registry refuses.
        """
        answer = self._authorized(lambda: self._ask(self._url(path), accept))
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise self.refusal(answer)
        return answer

    def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: Callable[[], Body] = lambda: b"",
    ) -> Answer:
        """The answer of any status, after a login where the registry wants one.

        :param path: of the repository, or a URL that the registry named. A place elsewhere is not
            sent the login.
        :param body: makes it; is called again after a login.
        """
        url = urljoin(self._url(path), path) if "://" in path or path[:1] == "/" else ""
        own = not url or urlsplit(url)[:2] == urlsplit(self._url(""))[:2]
        if not self._may_go(url):
            raise ArtifactError(f"the registry {self._host} sends to a place that is not https")
        return self._authorized(
            lambda: self._http.send(
                method,
                url or self._url(path),
                headers or {},
                body=body(),
                authorization=self._authorization if own else "",
                limit=LIMIT,
            )
        )

    def _authorized(self, ask: Callable[[], Answer]) -> Answer:
        answer = ask()
        if answer.status == 401:
            self._authorization = self._authorize(answer)
            answer = ask()
        return answer

    def manifest(self, tag: str) -> tuple[bytes, str]:
        """The manifest or index, and its media type."""
        answer = self._get(f"manifests/{tag}", ", ".join((*INDEXES, *MANIFESTS)))
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in {*INDEXES, *MANIFESTS}:
            raise ArtifactError(
                f"{self._reference.shown}: the registry {self._host} answered with {kind!r},"
                " which is no manifest"
            )
        _check_digest(answer, self._reference)
        return answer.body, kind

    def of_machine(self, name: str, platform: tuple[str, str]) -> tuple[bytes, str]:
        """The manifest of a tag or digest, of an index the one for *platform*; its media type."""
        body, kind = self._named(name)
        if kind in INDEXES:
            body, kind = self._named(
                _of_platform(_json(body, self._reference), platform, self._reference)
            )
        return body, kind

    def built(self, tag: str, image_id: str) -> Descriptor:
        """The manifest under *tag*, which must be of the image that an engine calls *image_id*.

        :raises ArtifactError: it is of another one.
        """
        body, kind = self.manifest(tag)
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        entry = _json(body, self._reference).get("config")
        config = entry.get("digest") if isinstance(entry, dict) else None
        wanted = f"sha256:{image_id.removeprefix('sha256:')}"
        if wanted not in {digest, config}:
            raise ArtifactError(
                f"{self._reference.shown} is another image in the registry than the one that was"
                f" pushed\nexpected {wanted}\n     got {config}",
                hint="Somebody else has pushed to that tag meanwhile; no lock was attached.",
            )
        return Descriptor(digest=digest, size=len(body), media_type=kind)

    def _named(self, name: str) -> tuple[bytes, str]:
        body, kind = self.manifest(name)
        if _DIGEST.fullmatch(name) and f"sha256:{hashlib.sha256(body).hexdigest()}" != name:
            raise ArtifactError(
                f"{self._reference.shown}: the registry sent another one than {name}"
            )
        return body, kind

    def store(self, cache: Cache) -> Store:
        """The blobs of the image, by way of *cache*."""
        return Store(cache=cache, fetch=self._fetch)

    def _fetch(self, path: str, size: int, cache: Cache, digest: str) -> None:
        """Bring what lies at *path* of the repository into *cache*; an answer that breaks off is
        asked for once more."""
        expect = digest.partition(":")[2]
        with contextlib.suppress(IndexUnavailableError):
            with cache.writing(expect=expect) as blob:
                self._copy(path, size, blob)
            return
        with cache.writing(expect=expect) as blob:
            self._copy(path, size, blob)

    def _copy(self, path: str, size: int, blob: BlobWriter) -> None:
        url = self._url(path)
        accept = {"Accept": ", ".join((*INDEXES, *MANIFESTS)) if "manifests" in path else "*/*"}
        http = self._http
        status = http.ask_file(url, accept, blob, authorization=self._authorization, size=size)
        if status == 401:
            self._authorization = self._authorize(self._ask(url, accept["Accept"]))
            status = http.ask_file(url, accept, blob, authorization=self._authorization, size=size)
        if status != 200:
            raise self._refusal(status)

    def _url(self, path: str) -> str:
        return f"{self._origin}/v2/{self._reference.repository}/{path}"

    def config(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """The configuration that a manifest names."""
        entry = manifest.get("config")
        digest = entry.get("digest") if isinstance(entry, dict) else None
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise ArtifactError(f"{self._reference.shown}: its manifest names no configuration")
        body = self._get(f"blobs/{digest}", "*/*").body
        if f"sha256:{hashlib.sha256(body).hexdigest()}" != digest:
            raise ArtifactError(f"{self._reference.shown}: its configuration has another digest")
        return _json(body, self._reference)

    def _get(self, path: str, accept: str) -> Answer:
        answer = self._authorized(lambda: self._ask(self._url(path), accept))
        if answer.status != 200:
            raise self._refusal(answer.status)
        return answer

    def _ask(self, url: str, accept: str) -> Answer:
        return self._http.ask(
            url, {"Accept": accept}, authorization=self._authorization, limit=LIMIT
        )

    def _authorize(self, answer: Answer) -> str:
        """What to send after a 401: a token where the registry names a place for it."""
        challenge = answer.headers.get("www-authenticate", "")
        scheme, _, rest = challenge.partition(" ")
        login = self._registry.login(self._host)
        if scheme.lower() == "basic" and login is not None:
            return _basic(login)
        if scheme.lower() != "bearer":
            raise self._refusal(401)
        return self._token(dict(_PARAMETER.findall(rest)), login)

    def _token(self, parameters: dict[str, str], login: Login | None) -> str:
        realm = parameters.get("realm", "")
        query = [("scope", scope) for scope in self._scopes]
        if "service" in parameters:
            query.append(("service", parameters["service"]))
        if not self._may_go(realm) or urlsplit(realm).scheme not in {"http", "https"}:
            raise ArtifactError(
                f"the registry {self._host} sends for a token to a place that is not https"
            )
        joint = "&" if urlsplit(realm).query else "?"
        answer = self._http.ask(
            f"{realm}{joint}{urlencode(query, quote_via=quote)}",
            {"Accept": "application/json"},
            authorization=_basic(login) if login else "",
            limit=LIMIT,
        )
        document = _json(answer.body, self._reference) if answer.status == 200 else {}
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise self._refusal(answer.status if answer.status != 200 else 401)
        return f"Bearer {token}"

    def refusal(self, answer: Answer) -> ArtifactError:
        """Why a push, or what belongs to it, did not go through, in the registry's words."""
        hints = {
            401: f"Log in first: docker login {self._host}",
            403: f"This login may not write there. Another one: docker login {self._host}",
            404: "The registry has no such repository: some want it to be made there first.",
            429: "The registry wants fewer requests: wait, and run it again.",
        }
        said = _said(answer)
        return ArtifactError(
            f"{self._reference.shown}: the registry {self._host} answered with HTTP status"
            f" {answer.status}" + (f": {said}" if said else ""),
            hint=hints.get(answer.status, "Try again later."),
        )

    def _refusal(self, status: int) -> ArtifactError:
        hints = {
            401: f"Log in first: docker login {self._host}",
            403: f"Log in first: docker login {self._host}",
            404: "The tag may have been deleted, or never been made.",
            429: "The registry wants fewer requests: log in with docker login, or wait.",
        }
        what = "has no such image" if status == 404 else f"answered with HTTP status {status}"
        return ArtifactError(
            f"{self._reference.shown}: the registry {self._host} {what}",
            hint=hints.get(status, "Try again later."),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """Blobs by digest: those of a cache, and by *fetch* what it has not."""

    cache: Cache
    fetch: Callable[[str, int, Cache, str], None] | None = None
    """None: there is no network."""

    def manifest(self, digest: str) -> bytes:
        """A manifest or an index."""
        return self.path(f"manifests/{digest}", digest, LIMIT).read_bytes()

    def small(self, blob: Descriptor) -> bytes:
        """A configuration."""
        if blob.size > LIMIT:
            raise ArtifactError(f"{blob.digest} is a configuration of {blob.size} bytes")
        return self.path(f"blobs/{blob.digest}", blob.digest, blob.size).read_bytes()

    def blob(self, blob: Descriptor) -> Blob:
        """A layer."""
        path = self.path(f"blobs/{blob.digest}", blob.digest, blob.size)
        return Blob(descriptor=blob, path=path)

    def path(self, place: str, digest: str, size: int) -> Path:
        """The file of a blob, its bytes checked."""
        sha256 = digest.partition(":")[2]
        for _ in range(2):
            found = self.cache.find(sha256)
            if found is not None:
                if hash_file(found)[0] == sha256:
                    return found
                self.cache.discard(sha256)
            if self.fetch is None:
                break
            self.fetch(place, size, self.cache, digest)
        raise ArtifactError(f"{digest} is not in the cache, and no registry may be asked")


def of_store(store: Store, reference: Reference, digest: str, platform: tuple[str, str]) -> Image:
    """The image of that digest of manifest or index.

    :raises ArtifactError: it cannot be had whole.
    """
    shown = reference.shown
    manifest = _json(store.manifest(digest), reference)
    if isinstance(manifest.get("manifests"), list):
        manifest = _json(store.manifest(_of_platform(manifest, platform, reference)), reference)
    config_at, layers = ociimage.parts(manifest, shown)
    config = _json(store.small(config_at), reference)
    ociimage.check_platform(config, platform, shown)
    return Image(
        name=shown,
        digest=digest,
        config=config,
        layers=[store.blob(layer) for layer in layers],
        diff_ids=ociimage.diff_ids(config, len(layers), shown),
    )


def _api_host(host: str | None, public: str) -> str:
    """Where the registry answers: people leave out the first part of the public one's name."""
    return public if host is None or public.endswith(f".{host}") else host


def _scheme(host: str) -> str:
    """A registry on this machine may speak plain HTTP, as for docker; no other one."""
    return "http" if is_secure(f"http://{host}", ()) else "https"


def _said(answer: Answer) -> str:
    """The first error of a registry's answer ("Error Codes"), cut short."""
    try:
        first = json.loads(answer.body)["errors"][0]
        parts = [str(first[key]) for key in ("code", "message") if first.get(key)]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ""
    return " ".join(": ".join(parts).split())[:300]


def _basic(login: Login) -> str:
    return "Basic " + base64.b64encode(":".join(login).encode()).decode("ascii")


def _json(body: bytes, reference: Reference) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise ArtifactError(f"{reference.shown}: the registry's answer is not a JSON document")
    return document


def _check_digest(answer: Answer, reference: Reference) -> None:
    stated = answer.headers.get("docker-content-digest", "")
    if stated.startswith("sha256:"):
        found = f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
        if found != stated:
            raise ArtifactError(
                f"{reference.shown}: the registry sent other bytes than it names\n"
                f"expected {stated}\n     got {found}",
                hint="A proxy between here and the registry may be changing answers.",
            )


def _of_platform(index: dict[str, Any], platform: tuple[str, str], reference: Reference) -> str:
    """The digest of the manifest for *platform*; attestations are of platform ``unknown``."""
    entries = index.get("manifests")
    seen = []
    for entry in entries if isinstance(entries, list) else []:
        own = entry.get("platform") if isinstance(entry, dict) else None
        if not isinstance(own, dict) or own.get("os") != "linux":
            continue
        name = str(own.get("architecture")), str(own.get("variant") or "")
        seen.append("/".join(part for part in name if part))
        digest = entry.get("digest")
        if agree(name, platform) and isinstance(digest, str) and _DIGEST.fullmatch(digest):
            return digest
    raise _no_platform(reference, platform, seen)


def _check_platform(
    config: dict[str, Any], platform: tuple[str, str], reference: Reference
) -> None:
    name = str(config.get("architecture")), str(config.get("variant") or "")
    if config.get("os") != "linux" or not agree(name, platform):
        raise _no_platform(reference, platform, ["/".join(part for part in name if part)])


def _no_platform(reference: Reference, platform: tuple[str, str], seen: list[str]) -> ArtifactError:
    wanted = "/".join(part for part in platform if part)
    return ArtifactError(
        f"{reference.shown}: there is none for {wanted}; it has"
        f" {', '.join(sorted(set(seen))) or 'no platform of Linux'}",
        hint="Give a base for that machine with --base NAME@sha256:DIGEST.",
    )
