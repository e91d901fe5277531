"""The only HTTP: pages, byte ranges and whole files, of ``http:``, ``https:`` and ``file:`` URLs.

Credentials come from the settings' URLs, from netrc and, once a server has answered 401, from
keyring, as for pip ("Authentication"). They go to the origin they belong to and to nobody else,
and no message names them.
"""

from __future__ import annotations

import contextlib
import ipaddress
import netrc
import re
import ssl
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol, TypeVar
from urllib.parse import parse_qsl, unquote, urlencode, urljoin, urlsplit, urlunsplit
from urllib.request import (  # type: ignore[attr-defined]
    proxy_bypass_environment,
    url2pathname,
)

import urllib3
from urllib3.exceptions import HTTPError, InsecureRequestWarning, MaxRetryError
from urllib3.util import make_headers

from envfreeze.errors import ArtifactError, IndexUnavailableError
from envfreeze.probe import urls
from envfreeze.resolve.keyrings import Keyring, Login
from envfreeze.resolve.pipconf import IndexSettings, without_userinfo

PAGE_LIMIT = 256 << 20
CHUNK = 1 << 20
ACCEPT = (
    "application/vnd.pypi.simple.v1+json, "
    "application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"
)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NO_RANGES = frozenset({400, 403, 404, 405, 501})
"""Answers to HEAD that need not mean "no such file" (PyPICloud, Alibaba; uv ``error.rs``)."""
_RESUMES = 3
_PASSWORD = re.compile(r"[/\\]{2}[^/@\s]*:[^/@\s]*@")
_AT_ONCE = re.compile(r"^/?[^/@\s]*:[^/@\s]*@")


class RangesUnsupportedError(ArtifactError):
    """The server sends whole files only: download, then read from the copy."""


class UnreachableError(IndexUnavailableError):
    """The server does not answer, or not to us: asking it for the next name is a waste."""


class _BrokenError(IndexUnavailableError):
    """An answer began, and broke off."""


Body = bytes | Iterable[bytes]
"""What a request sends along."""


class Writer(Protocol):
    """Where a download goes (:class:`envfreeze.store.BlobWriter`)."""

    size: int

    def write(self, data: bytes, /) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One document."""

    body: bytes
    content_type: str
    """Lower case, without parameters."""
    url: str
    """Where it came from in the end: what its relative links are relative to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a server said to :meth:`Http.ask`, whatever the status."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    url: str


def strip_credentials(url: str) -> str:
    """*url* as a lock may hold it: no userinfo, no signature or token in path, query or fragment.

    An ordinary URL stays as it is spelt.
    """
    for _ in range(_ODD):
        known, url = url, _stripped_once(url)
        if url == known:
            return url
    return ""


_ODD = 8
"""Times that a URL is taken apart: one like ``https:://x`` reads otherwise when put together."""


def _stripped_once(url: str) -> str:
    url = urls.with_slashes(urls.bare_scp(url))
    try:
        known = urlsplit(url)
        parts = urlsplit(without_userinfo(url))
    except ValueError:
        return ""
    said = parts.fragment.split("&")
    fragment = "&".join(pair for pair in said if not is_secret(pair.partition("=")[0]))
    # Of what is no proper URL (https:://u:p@host) the userinfo is no userinfo, but a secret still.
    path = _PASSWORD.sub("//", urls.bare_path(parts.path))
    if not parts.netloc:
        path = _AT_ONCE.sub("/", path)
    parts = parts._replace(path=path, fragment=fragment, query=_bare_query(parts.query))
    return url if parts == known else urlunsplit(parts)


def _bare_query(query: str) -> str:
    pairs = parse_qsl(query, keep_blank_values=True)
    kept = [(key, value) for key, value in pairs if not is_secret(key)]
    return query if len(kept) == len(pairs) else urlencode(kept)


def is_secret(name: str) -> bool:
    """Whether what is called *name* is a token, a password or a part of a signature."""
    return bool(urls.is_secret(name))


def is_secure(url: str, trusted_hosts: tuple[str, ...]) -> bool:
    """Whether pip would look there: https, this machine, or a trusted host.

    (pip, ``SECURE_ORIGINS`` and ``is_secure_origin``.)
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "http" or _trusts(trusted_hosts, host, parts.port):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def redact(url: str) -> str:
    """*url* for a person to read: no credentials, no fragment."""
    return strip_credentials(url).partition("#")[0]


def local_path(url: str) -> Path | None:
    """The path of a ``file:`` URL on this machine, else None (RFC 8089)."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme != "file" or parts.netloc not in {"", "localhost"}:
        return None
    text = url2pathname(parts.path)
    return Path(text) if text and "\0" not in text else None


class _Retry(urllib3.Retry):
    """A server may ask us to wait, though not for as long as it likes."""

    def get_retry_after(self, response: urllib3.BaseHTTPResponse) -> float | None:
        try:
            wait = super().get_retry_after(response)
        except HTTPError:
            return None
        return None if wait is None else min(wait, 20.0)


class Http:
    """Connections, kept alive and shared by threads.

    :param connections: how many threads may ask the same host at once.
    """

    def __init__(self, settings: IndexSettings, *, connections: int = 16) -> None:
        self._settings = settings
        self._connections = connections
        self._lock = threading.Lock()
        self._managers: dict[tuple[str | None, bool], urllib3.PoolManager] = {}
        self._credentials = _Credentials(settings)
        self.requests = 0
        """How many requests were sent."""

    def close(self) -> None:
        """Drop the idle connections."""
        with self._lock:
            for manager in self._managers.values():
                manager.clear()

    # --- what callers ask for ------------------------------------------------------------

    def page(self, url: str) -> Page | None:
        """A document of an index; None: there is no such page.

        :raises IndexUnavailableError: no answer, or one that is not a page.
        """
        path = local_path(url)
        if path is not None:
            return _local_page(path, url)
        return _again(lambda: self._remote_page(url))

    def _remote_page(self, url: str) -> Page | None:
        headers = {"Accept": ACCEPT, "Accept-Encoding": "gzip"}
        with self._request("GET", url, headers) as (answer, final):
            if answer.status in {404, 410}:
                return None
            if answer.status != 200:
                raise self._refusal(url, answer.status)
            with _broken_answers(url):
                body = _read_page(answer, url)
            kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            return Page(body=body, content_type=kind, url=final)

    def read_range(self, url: str, start: int, end: int) -> bytes:
        """The bytes ``[start, end)`` of *url*.

        Absolute ranges only: suffix ranges fail on several servers in use.

        :raises RangesUnsupportedError: the server would send the whole file.
        """
        path = local_path(url)
        if path is not None:
            return _local_range(path, start, end)
        return _again(lambda: self._remote_range(url, start, end))

    def _remote_range(self, url: str, start: int, end: int) -> bytes:
        headers = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
        with self._request("GET", url, headers) as (answer, _):
            if answer.status == 200 or (answer.status != 206 and answer.status in {400, 501}):
                answer.close()
                raise RangesUnsupportedError(
                    f"{redact(url)}: the server does not serve byte ranges",
                    hint="The whole file is downloaded instead.",
                )
            if answer.status != 206:
                raise self._refusal(url, answer.status)
            _check_content_range(answer.headers.get("Content-Range", ""), (start, end), url)
            with _broken_answers(url):
                data = answer.read(end - start + 1, decode_content=False)
            if len(data) != end - start:
                raise ArtifactError(
                    f"{redact(url)}: {len(data)} bytes came where {end - start} were asked for",
                    hint="A proxy may have cut the answer short; try again.",
                )
            return data

    def size(self, url: str) -> int:
        """How many bytes *url* has."""
        path = local_path(url)
        if path is not None:
            with _local_errors(path):
                return path.stat().st_size
        with self._request("HEAD", url, {"Accept-Encoding": "identity"}) as (answer, _):
            status = answer.status
            length = answer.headers.get("Content-Length", "")
        if status == 200 and length.isascii() and length.isdigit():
            return int(length)
        if status == 200 or status in _NO_RANGES:
            return self._size_by_range(url)
        raise self._refusal(url, status)

    def _size_by_range(self, url: str) -> int:
        headers = {"Range": "bytes=0-0", "Accept-Encoding": "identity"}
        with self._request("GET", url, headers) as (answer, _):
            if answer.status in {200, 206}:
                answer.close()
            total = answer.headers.get("Content-Range", "").rpartition("/")[2]
            if answer.status == 206 and total.isascii() and total.isdigit():
                return int(total)
            if answer.status in {200, 206}:
                raise RangesUnsupportedError(f"{redact(url)}: the server does not tell its size")
            raise self._refusal(url, answer.status)

    def download(self, url: str, writer: Writer, expect_size: int | None = None) -> None:
        """Copy all of *url* into *writer*; goes on where a broken connection stopped."""
        path = local_path(url)
        if path is not None:
            _local_copy(path, writer)
        else:
            for attempt in range(_RESUMES + 1):
                try:
                    self._download_rest(url, writer, expect_size)
                    break
                except _BrokenError:
                    if attempt == _RESUMES:
                        raise
        if expect_size is not None and writer.size != expect_size:
            raise ArtifactError(
                f"{redact(url)} has {writer.size} bytes, expected {expect_size}",
                hint="The index and the file disagree; try again later or use another index.",
            )

    def _download_rest(self, url: str, writer: Writer, expect_size: int | None) -> None:
        done = writer.size
        headers = {"Accept-Encoding": "identity"}
        if done:
            headers["Range"] = f"bytes={done}-"
        with self._request("GET", url, headers) as (answer, _):
            if answer.status not in {200, 206} or (done and answer.status == 206) != bool(done):
                if answer.status in {200, 206}:
                    answer.close()
                    raise ArtifactError(
                        f"{redact(url)}: the connection broke after {done} bytes and the server"
                        " cannot go on from there",
                        hint="Try again.",
                    )
                raise self._refusal(url, answer.status)
            if done and not answer.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
                answer.close()
                raise ArtifactError(f"{redact(url)}: the server sent another range than asked")
            with _broken_answers(url):
                for chunk in answer.stream(CHUNK, decode_content=False):
                    writer.write(chunk)
                    if expect_size is not None and writer.size > expect_size:
                        answer.close()
                        return

    def ask(
        self, url: str, headers: Mapping[str, str], *, authorization: str = "", limit: int
    ) -> Answer:
        """What *url* answers to GET, of any status; for servers that are no package index.

        None of the index's logins go there. *authorization* is for the origin of *url* alone: a
        redirect to another one is followed without it.

        :param limit: bytes that the body may have.
        :raises IndexUnavailableError: no answer, or a longer one.
        """
        return _again(lambda: self._ask(url, headers, authorization, limit))

    def _ask(self, url: str, headers: Mapping[str, str], authorization: str, limit: int) -> Answer:
        answer, target = self._followed(url, headers, authorization)
        return _whole(answer, target, limit)

    def ask_file(
        self, url: str, headers: Mapping[str, str], writer: Writer, *, authorization: str, size: int
    ) -> int:
        """As :meth:`ask`, but the body of a 200 goes to *writer*; the status.

        :param size: bytes that it may have; what is more is not read.
        """
        answer, target = self._followed(url, headers, authorization)
        try:
            if answer.status == 200:
                with _broken_answers(target):
                    while writer.size < size and (
                        block := answer.read(min(CHUNK, size - writer.size), decode_content=False)
                    ):
                        writer.write(block)
            return int(answer.status)
        finally:
            _finish(answer)

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        body: Body = b"",
        authorization: str = "",
        limit: int,
    ) -> Answer:
        """What *url* answers to *method*, of any status; no redirect is followed, and nothing that
        has a body is sent twice.

        :param body: with ``Content-Length`` in *headers* where it is an iterable.
        """
        _check_scheme(url)
        own = {"Accept-Encoding": "identity", **headers}
        if authorization:
            own["Authorization"] = authorization
        return _whole(self._send(method, url, own, body or None), url, limit)

    def _followed(
        self, url: str, headers: Mapping[str, str], authorization: str
    ) -> tuple[urllib3.BaseHTTPResponse, str]:
        """The answer and where it came from, redirects followed; *authorization* stays here."""
        target = url
        for _ in range(6):
            _check_scheme(target)
            own = {"Accept-Encoding": "identity", **headers}
            if authorization and _place(target) == _place(url):
                own["Authorization"] = authorization
            answer = self._send("GET", target, own)
            place = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or not place:
                return answer, target
            _finish(answer)
            target = urljoin(target, place)
        raise IndexUnavailableError(f"{redact(url)} redirects in a circle")

    # --- requests ------------------------------------------------------------------------

    @contextlib.contextmanager
    def _request(
        self, method: str, url: str, headers: dict[str, str]
    ) -> Iterator[tuple[urllib3.BaseHTTPResponse, str]]:
        """The answer and the URL it came from, redirects followed.

        Each hop finds its own credentials, so none go along to another host.
        """
        target = url
        for _ in range(6):
            _check_scheme(target)
            login = self._credentials.find(target)
            answer = self._send(method, target, headers | _basic(login))
            if answer.status == 401 and (better := self._credentials.learn(target, login)):
                _finish(answer)
                answer = self._send(method, target, headers | _basic(better))
            place = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or not place:
                try:
                    yield answer, without_userinfo(target)
                finally:
                    _finish(answer)
                return
            _finish(answer)
            target = urljoin(target, place)
        raise IndexUnavailableError(
            f"{redact(url)} redirects in a circle", hint="Check the index URL in pip's settings."
        )

    def _refusal(self, url: str, status: int) -> IndexUnavailableError:
        return _refusal(url, status, self._credentials.refused(url) if status == 401 else "")

    def _send(
        self, method: str, url: str, headers: dict[str, str], body: Body | None = None
    ) -> urllib3.BaseHTTPResponse:
        with self._lock:
            self.requests += 1
        bare = without_userinfo(url).partition("#")[0]
        with _network_errors(url):
            return self._manager(bare).request(
                method,
                bare,
                body=body,
                headers=headers,
                preload_content=False,
                redirect=False,
            )

    def _manager(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        proxy = self._proxy(parts.scheme, parts.hostname or "")
        trusted = _trusts(self._settings.trusted_hosts, parts.hostname or "", parts.port)
        with self._lock:
            key = (proxy, trusted)
            if key not in self._managers:
                self._managers[key] = self._new_manager(proxy, trusted)
            return self._managers[key]

    def _new_manager(self, proxy: str | None, trusted: bool) -> urllib3.PoolManager:
        settings = self._settings
        attempts = settings.retries
        retries = _Retry(
            total=attempts,
            connect=min(attempts, 2),
            redirect=0,
            status_forcelist=(429, 500, 502, 503, 504),
            allowed_methods=("GET", "HEAD"),
            backoff_factor=0.2,
            backoff_max=8,
            raise_on_status=False,
        )
        timeout = urllib3.Timeout(connect=min(settings.timeout, 15.0), read=settings.timeout)
        context = _tls(settings, trusted)
        if proxy is None:
            return urllib3.PoolManager(
                num_pools=32,
                maxsize=self._connections,
                retries=retries,
                timeout=timeout,
                ssl_context=context,
            )
        login = _userinfo(proxy)
        return urllib3.ProxyManager(
            without_userinfo(proxy),
            num_pools=32,
            maxsize=self._connections,
            retries=retries,
            timeout=timeout,
            ssl_context=context,
            proxy_headers=_basic(login, "Proxy-Authorization"),
        )

    def _proxy(self, scheme: str, host: str) -> str | None:
        settings = self._settings
        found = settings.proxy
        if found is None:
            if not settings.environment_proxies or _bypasses(settings.no_proxy, host):
                return None
            proxies = dict(settings.environment_proxies)
            found = proxies.get(scheme) or proxies.get("all")
        if found is not None and "://" not in found:
            return f"http://{found}"
        return found


# --- credentials -------------------------------------------------------------------------


def _scheme(url: str) -> str:
    """The scheme of a URL that urllib can take apart, else nothing."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises ValueError for a port that is none
    except ValueError:
        return ""
    return parts.scheme


def _check_scheme(url: str) -> None:
    scheme = _scheme(url)
    if scheme not in {"http", "https"}:
        raise ArtifactError(
            f"{redact(url)}: {scheme or 'a path'} is not a scheme to fetch from",
            hint="Use an index that serves http, https or file.",
        )


_Place = tuple[str, str | None, int | None]
"""Scheme, host and port: what a login belongs to."""


def _place(url: str) -> _Place:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


class _Credentials:
    """Who to be, where: the URL's own userinfo, the index's, keyring once asked, netrc."""

    def __init__(self, settings: IndexSettings) -> None:
        self._settings = settings
        self._indexes = [
            (_place(url), url)
            for url in (*settings.index_urls, *settings.find_links)
            if _scheme(url) in {"http", "https"}
        ]
        self._netrc = _read_netrc(settings.netrc)
        self._keyring = Keyring(settings)
        self._learned: dict[_Place, Login] = {}

    def find(self, url: str) -> Login | None:
        configured = self._configured(url)
        if configured is not None and configured[1]:
            return configured
        learned = self._learned.get(_place(url))
        if learned is not None and (configured is None or configured[0] in {"", learned[0]}):
            return learned
        if configured is not None:
            return configured
        entry = self._netrc.authenticators(urlsplit(url).hostname or "") if self._netrc else None
        return (entry[0], entry[2] or "") if entry else None

    def learn(self, url: str, refused: Login | None) -> Login | None:
        """What keyring has for *url*, where 401 was the answer to *refused*."""
        configured = self._configured(url)
        if configured is not None and configured[1]:
            return None
        if not is_secure(url, self._settings.trusted_hosts):
            return None
        found = self._keyring.find(self._services(url), configured[0] if configured else None)
        if found is None or found == refused:
            return None
        self._learned[_place(url)] = found
        return found

    def refused(self, url: str) -> str:
        """What a person can do about a 401."""
        advice = "The index wants a login: put it into the index URL, netrc or keyring."
        configured = self._configured(url)
        if configured is not None and configured[1]:
            return "The index refuses the login in its URL."
        if self._learned.get(_place(url)) is not None:
            return "The index refuses the login that keyring has for it."
        return advice + (f" ({self._keyring.said})" if self._keyring.said else "")

    def _configured(self, url: str) -> Login | None:
        """The login in *url*, or in the index that it belongs to; the password may be empty."""
        own = _userinfo(url)
        if own is not None:
            return own
        logins = [(index, login) for index in self._near(url) if (login := _userinfo(index))]
        return logins[0][1] if logins else None

    def _near(self, url: str) -> list[str]:
        """The index URLs at the same place, those first that share the most of the path."""
        path = urlsplit(url).path
        here = [index for place, index in self._indexes if place == _place(url)]
        return sorted(here, key=lambda index: -_common(urlsplit(index).path, path))

    def _services(self, url: str) -> list[str]:
        """What keyring may know it by: the index, as pip spells it and as configured; the host."""
        near = [without_userinfo(index) for index in self._near(url)[:1]]
        names = [f"{index.rstrip('/')}/" for index in near] + near
        return list(dict.fromkeys([*names, urlsplit(without_userinfo(url)).netloc]))


def _read_netrc(path: str | None) -> netrc.netrc | None:
    try:
        return netrc.netrc(path) if path else None
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
        return None


def _common(one: str, other: str) -> int:
    """How many leading path segments two paths share."""
    count = 0
    for left, right in zip(one.split("/"), other.split("/"), strict=False):
        if left != right:
            break
        count += 1
    return count


def _userinfo(url: str) -> Login | None:
    parts = urlsplit(url)
    if parts.username is None:
        return None
    return unquote(parts.username), unquote(parts.password or "")


def _basic(login: Login | None, header: str = "Authorization") -> dict[str, str]:
    if login is None:
        return {}
    value = make_headers(basic_auth=":".join(login))["authorization"]
    return {header: value}


# --- TLS and proxies ---------------------------------------------------------------------


def _tls(settings: IndexSettings, trusted: bool) -> ssl.SSLContext:
    try:
        if settings.cert is None:
            context = ssl.create_default_context()
        else:
            chosen = Path(settings.cert)
            context = ssl.create_default_context(
                cafile=None if chosen.is_dir() else settings.cert,
                capath=settings.cert if chosen.is_dir() else None,
            )
        if settings.client_cert is not None:
            context.load_cert_chain(settings.client_cert)
    except (OSError, ssl.SSLError) as error:
        raise IndexUnavailableError(
            f"cannot use the certificates {settings.cert or settings.client_cert}: {error}",
            hint="Check cert and client-cert in pip's settings, REQUESTS_CA_BUNDLE, SSL_CERT_FILE.",
        ) from error
    if trusted:
        # The user said so in trusted-host: no warning for each request, as in pip.
        urllib3.disable_warnings(InsecureRequestWarning)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _trusts(trusted: tuple[str, ...], host: str, port: int | None) -> bool:
    """``trusted-host`` is a host, or a host and port (pip, ``add_trusted_host``)."""
    for entry in trusted:
        parts = urlsplit(entry if "://" in entry else f"//{entry}")
        try:
            wanted = parts.port
        except ValueError:
            continue
        if parts.hostname == host.lower() and wanted in {None, port}:
            return True
    return False


def _bypasses(no_proxy: str, host: str) -> bool:
    if not no_proxy:
        return False
    if proxy_bypass_environment(host, {"no": no_proxy}):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    for entry in no_proxy.replace(" ", "").split(","):
        with contextlib.suppress(ValueError):
            if "/" in entry and address in ipaddress.ip_network(entry, strict=False):
                return True
    return False


# --- answers -----------------------------------------------------------------------------


_Answered = TypeVar("_Answered")


def _again(ask: Callable[[], _Answered]) -> _Answered:
    """Ask up to three times while the answer breaks off; urllib3 retries only before that."""
    for _ in range(2):
        with contextlib.suppress(_BrokenError):
            return ask()
    return ask()


def _whole(answer: urllib3.BaseHTTPResponse, url: str, limit: int) -> Answer:
    blocks: list[bytes] = []
    try:
        with _broken_answers(url):
            while sum(map(len, blocks)) <= limit and (
                block := answer.read(CHUNK, decode_content=False)
            ):
                blocks.append(block)
    finally:
        _finish(answer)
    body = b"".join(blocks)
    if len(body) > limit:
        raise IndexUnavailableError(f"{redact(url)}: an answer of more than {limit} bytes")
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Answer(status=answer.status, headers=headers, body=body, url=without_userinfo(url))


def _finish(answer: urllib3.BaseHTTPResponse) -> None:
    """Give the connection back; a connection with much left on it is not worth keeping."""
    try:
        left = answer.read(1 << 16, decode_content=False) if not answer.closed else b""
    except (HTTPError, OSError, ValueError):
        left = b"?"
    if len(left) in range(1 << 16) and left != b"?":
        answer.release_conn()
    else:
        answer.close()


@contextlib.contextmanager
def _broken_answers(url: str) -> Iterator[None]:
    try:
        yield
    except (HTTPError, OSError) as error:
        raise _BrokenError(
            f"{redact(url)}: the answer broke off: {_cause(error)}",
            hint="Try again; a proxy or the network cut the connection.",
        ) from None


@contextlib.contextmanager
def _network_errors(url: str) -> Iterator[None]:
    try:
        yield
    except HTTPError as error:
        cause = error.reason if isinstance(error, MaxRetryError) and error.reason else error
        raise UnreachableError(
            f"{redact(url)} did not answer: {_cause(cause)}",
            hint="Check the network, proxy and certificates in pip's settings (pip config"
            " list), or use --offline.",
        ) from None
    except (OSError, ValueError) as error:
        raise UnreachableError(
            f"{redact(url)} cannot be asked: {type(error).__name__}",
            hint="Check the URL and the proxy in pip's settings (pip config list).",
        ) from None


def _cause(error: BaseException) -> str:
    """What went wrong, without the objects and URLs that urllib3 puts into its messages."""
    text = re.sub(r"<[^<>]*>|\(?Caused by.*|https?://\S+", "", str(error))
    text = re.sub(r"^[\s:]+|HTTPS?Connection\([^)]*\):?", "", text).strip(" :()'")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _refusal(url: str, status: int, login: str) -> IndexUnavailableError:
    hints = {
        401: login,
        403: "The index refuses this login, or has no such file.",
        404: "The index lists a file that is not there; try again later.",
        407: "The proxy wants a login: put it into the proxy setting of pip.",
        416: "The index and the file disagree about its size; try again later.",
        429: "The index wants fewer requests; try again later.",
    }
    kind = UnreachableError if status in {401, 407} else IndexUnavailableError
    return kind(
        f"{redact(url)} answered with HTTP status {status}",
        hint=hints.get(status, "Try again later, or use another index."),
    )


def _check_content_range(header: str, wanted: tuple[int, int], url: str) -> None:
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", header.strip())
    if found and (int(found[1]), int(found[2]) + 1) == wanted:
        return
    raise ArtifactError(
        f"{redact(url)}: asked for bytes {wanted[0]}-{wanted[1] - 1}, got {header!r}",
        hint="A proxy between here and the index may be changing answers.",
    )


def _read_page(answer: urllib3.BaseHTTPResponse, url: str) -> bytes:
    blocks = []
    total = 0
    while block := answer.read(CHUNK, decode_content=False):
        blocks.append(block)
        total += len(block)
        if total > PAGE_LIMIT:
            answer.close()
            _too_large(url)
    raw = b"".join(blocks)
    encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in {"identity", ""}:
        return raw
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        raise IndexUnavailableError(f"{redact(url)}: unknown Content-Encoding {encoding!r}")
    inflater = zlib.decompressobj(15 + 32)
    try:
        body = inflater.decompress(raw, PAGE_LIMIT + 1)
    except zlib.error as error:
        raise IndexUnavailableError(f"{redact(url)}: damaged {encoding} answer") from error
    if len(body) > PAGE_LIMIT:
        _too_large(url)
    if not inflater.eof:
        raise _BrokenError(f"{redact(url)}: the answer was cut short", hint="Try again.")
    return body


def _too_large(url: str) -> NoReturn:
    raise IndexUnavailableError(
        f"{redact(url)}: a page of more than {PAGE_LIMIT >> 20} MiB",
        hint="This does not look like a package index; check the index URL.",
    )


# --- file: -------------------------------------------------------------------------------


@contextlib.contextmanager
def _local_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArtifactError(
            f"cannot read {path}: {error.strerror}", hint="Check find-links and index-url."
        ) from error


def _local_page(path: Path, url: str) -> Page | None:
    """A directory of a ``file:`` index holds ``index.html`` (pip, ``_get_index_content``)."""
    if path.is_dir():
        path = path / "index.html"
        url = url.rstrip("/") + "/index.html"
    if not path.is_file():
        return None
    with _local_errors(path):
        kind = "application/json" if path.suffix == ".json" else "text/html"
        return Page(body=path.read_bytes(), content_type=kind, url=url)


def _local_range(path: Path, start: int, end: int) -> bytes:
    with _local_errors(path), path.open("rb") as file:
        file.seek(start)
        return file.read(end - start)


def _local_copy(path: Path, writer: Writer) -> None:
    with _local_errors(path), path.open("rb") as file:
        while chunk := file.read(CHUNK):
            writer.write(chunk)
