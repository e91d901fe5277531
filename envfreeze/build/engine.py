"""The container engine: the only place that speaks to Docker.

Images are built by the engine's classic builder over its API: docker-py has no BuildKit
(its ``api/build.py``), and a Dockerfile that needs nothing but FROM, COPY, ADD, RUN, ENV,
LABEL and CMD does not want one.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import io
import json
import os
import re
import socket
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from envfreeze.build import whereabouts
from envfreeze.build.said import Last, OnLine
from envfreeze.build.whereabouts import Place, Tls
from envfreeze.errors import EngineError, UsageError, printable
from envfreeze.resolve import dockerlogin

_BY_DIGEST = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")
_IMAGE_ID = re.compile(r"sha256:[0-9a-f]{64}")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
"""The classic builder paints what a step writes to its standard error."""
_CHUNK = 1 << 20
_AGAIN = "See that the engine runs, and build again: all that was fetched is kept."
_TEMPORARY = "io.envfreeze.temporary"
"""The label of a container that lives for a moment: the process and the machine it is for."""
_START = "Start Docker, or set DOCKER_HOST to an engine that runs."
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
_PING_SECONDS = 20
_CALL_SECONDS = 600
_CLEANING_SECONDS = 10


class Writable(Protocol):
    """Where an image is saved to."""

    def write(self, data: bytes, /) -> object: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """One image to build."""

    context: Path
    tag: str
    labels: Mapping[str, str] = field(default_factory=dict)
    """Beyond those that the Dockerfile sets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is run in a container of an image, as root and without a network."""

    image: str
    command: str
    """For ``sh -c``: words of ours."""
    environment: Mapping[str, str] = field(default_factory=dict)


class Engine:
    """A connection to an engine that answered."""

    def __init__(self, api: Any, host: str) -> None:
        self._api = api
        self.host = host
        self._is_tidy = False

    def close(self) -> None:
        self._api.close()

    def exists(self, image: str) -> bool:
        """Whether the engine has *image*."""
        return self.inspect(image) is not None

    def inspect(self, image: str) -> dict[str, Any] | None:
        """What the engine knows about *image*; None: it has none of that name."""
        with self._errors(f"cannot inspect the image {image}"):
            from docker.errors import ImageNotFound, NotFound

            try:
                found: dict[str, Any] = self._api.inspect_image(image)
            except (ImageNotFound, NotFound):
                return None
            return found

    def layers_of(self, image: str) -> list[str]:
        """The DiffIDs of an image; none where there is no such image."""
        found = (self.inspect(image) or {}).get("RootFS") or {}
        return [str(each) for each in found.get("Layers") or []]

    def base_by_digest(self, reference: str) -> str:
        """Have the base image *reference* at hand; its image id.

        :raises UsageError: it is not named by digest.
        :raises EngineError: it is not there and cannot be pulled.
        """
        if _IMAGE_ID.fullmatch(reference):
            return self._local_base(reference)
        if not _BY_DIGEST.fullmatch(reference):
            raise UsageError(
                f"--base {reference!r} names no digest, so it may be another image tomorrow",
                hint=self._digest_hint(reference),
            )
        found = self.inspect(reference)
        if found is None:
            self._pull(reference)
            found = self.inspect(reference)
        if found is None:
            raise EngineError(f"{reference} was pulled, but the engine does not have it")
        return str(found["Id"])

    def _local_base(self, image_id: str) -> str:
        if not self.exists(image_id):
            raise EngineError(
                f"the base image {image_id} is not on the engine at {self.host}, and no registry"
                " knows it: it was on one engine alone",
                hint="Bring it from there (docker save, docker load), or capture again with"
                " --pack-base.",
            )
        return image_id

    def pinned(self, image: str, architecture: str, *, ask: bool) -> str | None:
        """``NAME:TAG@sha256:...`` of *image*, as the engine has it or can find it.

        :param architecture: as Go calls it, ``amd64``; an image of another one does not count.
        :param ask: whether the engine may ask the registry about an image that it has not.
        """
        found = self.inspect(image)
        if found is not None and found.get("Architecture") == architecture:
            name = image.rpartition(":")[0]
            for digest in found.get("RepoDigests") or []:
                if str(digest).startswith(f"{name}@sha256:"):
                    return f"{image}@{str(digest).partition('@')[2]}"
        if not ask:
            return None
        with self._errors(f"cannot ask for {image}"):
            answer = self._api.inspect_distribution(image)
        platforms = [p for p in answer.get("Platforms") or [] if p.get("os") == "linux"]
        if not any(p.get("architecture") == architecture for p in platforms):
            return None
        pinned = f"{image}@{(answer.get('Descriptor') or {}).get('digest', '')}"
        return pinned if _BY_DIGEST.fullmatch(pinned) else None

    def _digest_hint(self, reference: str) -> str:
        known = None
        if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/:-]*", reference):
            with contextlib.suppress(EngineError):
                known = self.inspect(reference)
        digests = (known or {}).get("RepoDigests") or []
        if digests:
            return f"That image is here as {digests[0]}"
        return f"docker pull {printable(reference)} shows the digest; write NAME@sha256:DIGEST."

    def _pull(self, reference: str) -> None:
        with self._errors(f"cannot pull {reference}", hint="Check the name, login and network."):
            name, _, digest = reference.partition("@")
            for event in self._api.pull(name, tag=digest, stream=True, decode=True):
                _check_event(event, f"cannot pull {reference}")

    def build(self, request: BuildRequest, on_line: OnLine = lambda _line: None) -> str:
        """Build an image with the network switched off; its image id.

        :raises EngineError: a step failed; the message ends with what the step said last.
        """
        last: list[str] = []
        with (
            self._errors(f"cannot build {request.tag}"),
            self._without_leavings() as steps,
            self._cut_off(),
        ):
            events = self._api.build(
                fileobj=_Chunks(context_chunks(request.context)),
                custom_context=True,
                dockerfile="Dockerfile",
                tag=request.tag,
                labels=dict(request.labels),
                network_mode="none",
                pull=False,
                rm=True,
                forcerm=True,
                decode=True,
            )
            for event in events:
                for line in _COLOUR.sub("", str(event.get("stream", ""))).splitlines():
                    if line.strip():
                        steps.append(line.strip())
                        last = [*last[-7:], line.rstrip()]
                        on_line(printable(line.rstrip()))
                _check_event(event, f"cannot build {request.tag}", last)
        found = self.inspect(request.tag)
        if found is None:
            raise EngineError(f"the engine built {request.tag}, and does not have it")
        return str(found["Id"])

    @contextlib.contextmanager
    def _cut_off(self) -> Iterator[None]:
        """When the block ends badly, close the connection that it works on: the engine then stops
        what it does there."""
        answers: list[Any] = []
        self._api.hooks["response"] = [lambda answer, *_, **__: answers.append(answer)]
        try:
            yield
        except BaseException:
            for answer in answers:
                with contextlib.suppress(Exception):
                    answer.close()
            raise
        finally:
            self._api.hooks["response"] = []

    @contextlib.contextmanager
    def _without_leavings(self) -> Iterator[list[str]]:
        """When the block ends badly, remove the images of the steps that went well: the engine
        keeps those, without a name.

        Yields the list for the lines that the builder says.
        """
        said: list[str] = []
        try:
            yield said
        except BaseException:
            deadline = time.monotonic() + _CLEANING_SECONDS
            with contextlib.suppress(EngineError):
                for image in reversed(made(said)):
                    if not self._removed(image, deadline):
                        break
            raise

    def _removed(self, image: str, deadline: float) -> bool:
        """Remove an image without a name. Its container may still be on its way out."""
        found = self.inspect(image) or {}
        if found.get("RepoTags") or found.get("RepoDigests"):
            return False
        while True:
            refusal = self._refused(image)
            if "container" not in refusal or time.monotonic() > deadline:
                return not refusal
            time.sleep(0.1)

    def _refused(self, image: str) -> str:
        """Remove an image; why not, or nothing."""
        try:
            with self._errors("cannot remove it"):
                self._api.remove_image(image, noprune=True)
        except EngineError as error:
            return str(error)
        return ""

    @contextlib.contextmanager
    def tag_kept(self, tag: str) -> Iterator[None]:
        """When somebody interrupts the block, *tag* is again what it was before: what nobody has
        verified should not be taken for a finished image."""
        before = self.inspect(tag)
        try:
            yield
        except KeyboardInterrupt:
            now = self.inspect(tag)
            if now is not None and (before is None or now["Id"] != before["Id"]):
                self.remove(tag)
                if before is not None:
                    self._name(str(before["Id"]), tag)
            raise

    def _name(self, image: str, tag: str) -> None:
        repository, _, word = tag.rpartition(":")
        with contextlib.suppress(EngineError), self._errors(f"cannot name {tag}"):
            if repository and "/" not in word:
                self._api.tag(image, repository, word)
            else:
                self._api.tag(image, tag)

    def save(self, image: str, out: Writable) -> None:
        """Write *image* as ``docker save`` does."""
        with self._errors(f"cannot save {image}"):
            stream = self._api.get_image(image, chunk_size=_CHUNK)
            for chunk in stream:
                out.write(chunk)

    def load(self, archive: Path) -> None:
        """Take in the images of an archive, as ``docker load`` does.

        :raises EngineError: the engine does not like it.
        """
        what = f"cannot load {archive}"
        with self._errors(what), self._cut_off(), archive.open("rb") as file:
            for event in self._api.load_image(file) or ():
                _check_event(event, what)

    def push(self, name: str) -> None:
        """Push an image to the registry that its *name* begins with, with docker's own login.

        :raises EngineError: the registry refuses, or does not answer.
        """
        what = f"cannot push {name}"
        host = name.partition("/")[0]
        repository, _, tag = name.rpartition(":") if ":" in name.rpartition("/")[2] else (name,) * 3
        hint = f"Check the name and the network, and log in: docker login {host}"
        with self._errors(what, hint=hint):
            events = self._api.push(
                repository, tag="latest" if tag == name else tag, stream=True, decode=True
            )
            for event in events:
                _check_event(event, what, hint=hint)

    def run_probe(
        self,
        image: str,
        argv: Sequence[str],
        files: Mapping[str, bytes] | None = None,
        environment: Mapping[str, str] | None = None,
        *,
        user: str | None = None,
    ) -> bytes:
        """Run one command in a fresh container without a network; its standard output.

        The container can write nothing but a scratch of memory, and is removed afterwards,
        whatever happens.

        :param files: absolute path to content, put into the container before it starts; it can
            write then.
        :param environment: variables over those of the image.
        :param user: instead of the image's own.
        :raises EngineError: it did not start, or ended with another status than 0.
        """
        with self.created(image, argv, environment, writable=bool(files), user=user) as container:
            if files:
                with self._errors(f"cannot put files into a container of {image}"):
                    self._api.put_archive(container, "/", _archive(files))
            with self._errors(f"cannot run {argv[0]} in {image}"):
                return self._run(container, f"{argv[0]} in {image}")

    @contextlib.contextmanager
    def created(
        self,
        image: str,
        argv: Sequence[str] = ("/",),
        environment: Mapping[str, str] | None = None,
        *,
        writable: bool = False,
        user: str | None = None,
    ) -> Iterator[str]:
        """A container of *image* that was not started, for as long as the block runs; its id."""
        closed: dict[str, Any] = {} if writable else {"read_only": True}
        self._remove_left_behind()
        with self._errors(f"cannot make a container of {image}"):
            container = self._api.create_container(
                image,
                command=list(argv[1:]),
                entrypoint=[argv[0]],
                user=user,
                environment=dict(environment or {}),
                network_disabled=True,
                labels={_TEMPORARY: f"{os.getpid()} {_here()}"},
                host_config=self._api.create_host_config(network_mode="none", **closed),
            )["Id"]
        try:
            yield str(container)
        finally:
            with contextlib.suppress(Exception):
                self._api.remove_container(container, force=True, v=True)

    def _remove_left_behind(self) -> None:
        """What we made for a moment and whose process is no more: it is left where the engine, or
        we, were killed."""
        if self._is_tidy:
            return
        self._is_tidy = True
        with contextlib.suppress(Exception):  # Whatever it is, it stands in nobody's way.
            for one in self._api.containers(all=True, filters={"label": _TEMPORARY}):
                if _is_left_behind(one):
                    self._api.remove_container(one["Id"], force=True, v=True)
            # A container that becomes an image gives it its labels.
            for one in self._api.images(filters={"label": _TEMPORARY, "dangling": True}):
                if _is_left_behind(one):
                    self._api.remove_image(one["Id"], noprune=False)

    def changed(
        self,
        step: Step,
        files: Iterator[bytes],
        out: Writable,
        on_line: OnLine = lambda _line: None,
    ) -> int:
        """Run *step* in a fresh container, and write the image that it becomes to *out*, as
        ``docker save`` does; neither stays in the engine. When it was made, by the engine's clock,
        in seconds since 1970.

        :param files: a tar that is unpacked at ``/`` first.
        :raises EngineError: the step failed; the message ends with what it said last.
        """
        what = f"cannot prepare {step.image}"
        argv = ["/bin/sh", "-c", step.command]
        with (
            self.created(
                step.image, argv, step.environment, writable=True, user="0:0"
            ) as container,
            self._errors(what, hint=_AGAIN),
        ):
            began = _seconds(self._api.inspect_container(container)["Created"])
            self._api.put_archive(container, "/", _Chunks(files))
            self._follow(container, what, on_line)
            image = str(self._api.commit(container)["Id"])
            try:
                self.save(image, out)
            finally:
                self.remove(image)
        return began

    def _follow(self, container: str, what: str, on_line: OnLine) -> None:
        """Start *container* and pass on what it says, a line at a time, until it ends."""
        last = Last(on_line)
        stream = self._api.attach(container, stdout=True, stderr=True, stream=True)
        with _closing(stream):
            self._api.start(container)
            last.hear(stream)
        status = self._api.wait(container)["StatusCode"]
        if status != 0:
            raise EngineError(f"{what}: it ended with status {status}{last.text}")

    def _run(self, container: str, what: str) -> bytes:
        stream = self._api.attach(container, stdout=True, stderr=True, stream=True, demux=True)
        out, err = io.BytesIO(), io.BytesIO()
        with _closing(stream):
            self._api.start(container)
            for stdout, stderr in stream:
                out.write(stdout or b"")
                err.write(stderr or b"")
        status = self._api.wait(container)["StatusCode"]
        if status != 0:
            said = err.getvalue().decode("utf-8", "replace").strip()[-2000:]
            raise EngineError(f"{what} ended with status {status}" + (f"\n{said}" if said else ""))
        return out.getvalue()

    # --- containers that somebody else made: looked at, never changed ---

    def platform(self) -> str:
        """The architecture that the engine runs on, as Go calls it; empty: it does not say."""
        with self._errors("cannot ask what the engine is"):
            return str(self._api.version().get("Arch") or "")

    @property
    def is_podman(self) -> bool:
        with self._errors("cannot ask what the engine is"):
            parts = self._api.version().get("Components") or []
        return any("podman" in str(part.get("Name", "")).lower() for part in parts)

    def info(self) -> dict[str, Any]:
        """What the engine says of itself and of its settings."""
        with self._errors("cannot ask how the engine is set up"):
            found: dict[str, Any] = self._api.info()
            return found

    def container(self, name: str) -> dict[str, Any] | None:
        """What the engine knows about a container; None: it has none of that name or id."""
        with self._errors(f"cannot inspect the container {name}"):
            from docker.errors import NotFound

            try:
                found: dict[str, Any] = self._api.inspect_container(name)
            except NotFound:
                return None
            return found

    def container_names(self) -> list[str]:
        """The names of all containers, running or not."""
        with self._errors("cannot list the containers"):
            found = self._api.containers(all=True)
        return sorted(n.lstrip("/") for each in found for n in each.get("Names") or [])

    def image_names(self) -> list[str]:
        """The names of all images that have one."""
        with self._errors("cannot list the images"):
            found = self._api.images()
        names = {name for each in found for name in each.get("RepoTags") or []}
        return sorted(names - {"<none>:<none>"})

    def execute(self, container: str, argv: Sequence[str], environment: Mapping[str, str]) -> bytes:
        """Run one command in a running container, as its own user; its standard output.

        :raises EngineError: it did not start, or ended with another status than 0.
        """
        what = f"{argv[0]} in the container {container}"
        with self._errors(f"cannot run {what}"):
            made = self._api.exec_create(
                container, list(argv), environment=dict(environment), stdin=False, tty=False
            )
            out, err = self._api.exec_start(made["Id"], demux=True)
            status = self._api.exec_inspect(made["Id"])["ExitCode"]
        if status != 0:
            said = (err or out or b"").decode("utf-8", "replace").strip()[-2000:]
            raise EngineError(f"{what} ended with status {status}" + (f"\n{said}" if said else ""))
        return out or b""

    def stat(self, container: str, path: str) -> dict[str, Any] | None:
        """``mode`` (Go's), ``size`` and ``linkTarget`` of what lies at *path*; None: nothing."""
        with self._errors(f"cannot look at {path} in the container {container}"):
            # docker-py has no call that asks for this alone.
            url = self._api._url("/containers/{0}/archive", container)
            answer = self._api.head(url, params={"path": path}, timeout=_CALL_SECONDS)
        said = answer.headers.get("X-Docker-Container-Path-Stat")
        if answer.status_code != 200 or not said:
            return None  # 404, or a file stands where a directory is asked for.
        found: dict[str, Any] = json.loads(base64.b64decode(said))
        return found

    def changes(self, container: str) -> list[tuple[str, int]]:
        """``(path, kind)`` of what differs from the image: 0 changed, 1 added, 2 deleted."""
        with self._errors(f"cannot compare the container {container} with its image"):
            found = self._api.diff(container) or []
        return [(str(each["Path"]), int(each["Kind"])) for each in found]

    def files(self, container: str, path: str | None = None) -> Iterator[bytes]:
        """The files of a container as a tar: all but what is mounted, or those below *path*."""
        with self._errors(f"cannot read the files of the container {container}"):
            if path is None:
                yield from self._api.export(container, chunk_size=_CHUNK)
            else:
                yield from self._api.get_archive(container, path, chunk_size=_CHUNK)[0]

    def remove(self, image: str) -> None:
        """Remove an image that was made on the way; one that is in use stays."""
        with contextlib.suppress(EngineError), self._errors(f"cannot remove {image}"):
            self._api.remove_image(image, noprune=False)

    @contextlib.contextmanager
    def _errors(self, what: str, hint: str = _START) -> Iterator[None]:
        from docker.errors import APIError, DockerException
        from requests.exceptions import RequestException
        from urllib3.exceptions import HTTPError  # docker reads streams below requests

        try:
            yield
        except APIError as error:
            said = error.explanation or str(error)
            raise EngineError(
                f"{what}: {said}", hint=hint if hint not in {_START, _AGAIN} else ""
            ) from error
        except (DockerException, RequestException, HTTPError, OSError) as error:
            if getattr(error, "errno", None) in _FULL:
                raise  # It is this machine's disk that is full: an image was being saved to it.
            said = f"{what} on the engine at {self.host}: {_cause(error)}"
            raise EngineError(said, hint=hint) from error


def _here() -> str:
    """The machine, as far as a process id goes."""
    with contextlib.suppress(OSError):
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115
    return socket.gethostname()


def _is_left_behind(found: Mapping[str, Any]) -> bool:
    pid, _, here = str(found["Labels"][_TEMPORARY]).partition(" ")
    return here == _here() and pid.isdecimal() and not _is_alive(int(pid))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # It is another user's.
    return True


def has_no_such_program(error: EngineError) -> bool:
    """Whether a container did not start since what it was to run is not in the image."""
    return "no such file" in str(error) or "not found" in str(error)


def public_registry() -> tuple[str, str]:
    """Host of the registry whose name docker leaves out, and what its login is stored under;
    docker-py knows both."""
    auth: Any = import_module("docker.auth")
    return str(urlsplit(auth.INDEX_URL).hostname), str(auth.INDEX_URL)


def connect(host: str | None = None) -> Engine:
    """Connect to the engine that the docker CLI would use, else to Podman's.

    :param host: this one and no other.
    :raises EngineError: nothing answers there.
    """
    tried = [Place(host=host)] if host else whereabouts.places(os.environ)
    causes: list[str] = []
    for place in tried:
        try:
            return _answering(place)
        except _Silent as silence:  # noqa: PERF203 - there are five at most
            causes.append(str(silence))
    said = whereabouts.described(tried, causes)
    raise EngineError(f"no container engine answers at {said}", hint=_START)


class _Silent(Exception):  # noqa: N818 - it never leaves this module
    """Nothing answers in a place; the plain reason."""


def _answering(place: Place) -> Engine:
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    docker: Any = import_module("docker")  # neither docker nor its stubs export what is public
    try:
        _try_socket(place.host)
        api = docker.APIClient(
            base_url=place.host,
            version="auto",
            timeout=_PING_SECONDS,
            use_ssh_client=place.host.startswith("ssh://"),
            tls=_tls(place.tls) if place.tls else False,
        )
    except (DockerException, RequestException, OSError) as error:
        raise _Silent(_cause(error)) from error
    api.timeout = _CALL_SECONDS
    api._auth_configs = logins()
    return Engine(api, place.host)


def logins() -> Any:
    """The logins as the docker CLI finds them. docker-py gives up where a helper is not there or
    fails, even for what needs no login, and sends a build all of them, which needs none."""
    auth: Any = import_module("docker.auth")

    class Logins(auth.AuthConfig):  # type: ignore[misc]
        is_empty = False

        def resolve_authconfig(self, registry: str | None = None) -> dict[str, str] | None:
            public = registry in {None, "", auth.INDEX_NAME}
            keys = [auth.INDEX_URL, auth.INDEX_NAME] if public else [str(registry)]
            found = dockerlogin.credentials(keys, os.environ)
            if found is None:
                return None
            if found[0] == dockerlogin.TOKEN_USER:
                return {"ServerAddress": keys[0], "IdentityToken": found[1]}
            return {"ServerAddress": keys[0], "Username": found[0], "Password": found[1]}

        def get_all_credentials(self) -> dict[str, object]:
            return {}

    return Logins({})


def _tls(files: Tls) -> Any:
    docker: Any = import_module("docker.tls")
    pair = (str(files.cert), str(files.key)) if files.cert and files.key else None
    return docker.TLSConfig(
        client_cert=pair, ca_cert=str(files.ca) if files.ca else None, verify=files.verify
    )


@contextlib.contextmanager
def _closing(stream: Any) -> Iterator[None]:
    """Close an attached stream: its connection was upgraded, so nobody else does.

    docker-py's own ``close`` leaves the response open, and with it the socket.
    """
    try:
        yield
    finally:
        with contextlib.suppress(Exception):
            stream.close()
        response = getattr(stream, "_response", None)
        if response is not None:
            with contextlib.suppress(Exception):
                response.close()


def _try_socket(host: str) -> None:
    """Fail early, and with the plain reason, where a Unix socket does not answer.

    docker-py would wrap it three times, and leave its own socket open.
    """
    if host.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_PING_SECONDS)
            probe.connect("/" + host.removeprefix("unix://").lstrip("/"))


def _cause(error: BaseException) -> str:
    """The reason at the bottom, without the wrappings of three libraries."""
    seen: BaseException = error
    while (inner := seen.__cause__ or seen.__context__) is not None:
        seen = inner
    if isinstance(seen, OSError) and seen.strerror:
        return seen.strerror
    return str(seen) or type(seen).__name__


def made(said: Sequence[str]) -> list[str]:
    """The images that a build has made, oldest first, by what Docker's classic builder or Podman
    says; what a FROM led to is not among them."""
    found = []
    step = ""
    for line in said:
        step = line if line[:5].lower() == "step " else step
        image = re.fullmatch(r"-{2,3}> ([0-9a-f]{10,64})", line)
        if image is not None and not re.match(r"(?i)step \d+/\d+ ?: FROM\b", step):
            found.append(image[1])
    return found


def _check_event(
    event: Mapping[str, Any], what: str, last: Sequence[str] = (), hint: str = ""
) -> None:
    """The engine reports a failed step in the stream, not by status.

    API 1.48 deprecates ``error`` for ``errorDetail``; either may be there alone.
    """
    detail = event.get("errorDetail")
    message = event.get("error") or (detail.get("message") if isinstance(detail, dict) else None)
    if message:
        said = "".join(f"\n  {line}" for line in last)
        raise EngineError(f"{what}: {str(message).strip()}{said}", hint=hint)


def _seconds(moment: str) -> int:
    """Seconds since 1970 of what an engine writes, ``2026-01-31T10:00:00.123456789Z``."""
    return int(datetime.fromisoformat(f"{moment[:19]}+00:00").timestamp())


# --- archives ----------------------------------------------------------------------------


class _Chunks:
    """An iterator that requests sends in chunks: it has no length and cannot be sought."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks


def context_chunks(directory: Path) -> Iterator[bytes]:
    """A directory as a tar, a piece at a time: a context may be larger than memory."""
    for path in sorted(directory.rglob("*")):
        info = tarfile.TarInfo(path.relative_to(directory).as_posix())
        info.mode = 0o644
        if path.is_dir():
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            yield info.tobuf(tarfile.PAX_FORMAT)
        elif path.is_file():
            yield from _file_chunks(path, info)
    yield b"\0" * (2 * tarfile.BLOCKSIZE)


def _file_chunks(path: Path, info: tarfile.TarInfo) -> Iterator[bytes]:
    with path.open("rb") as file:
        info.size = left = os.fstat(file.fileno()).st_size
        yield info.tobuf(tarfile.PAX_FORMAT)
        while left:
            block = file.read(min(_CHUNK, left))
            if not block:
                raise EngineError(f"{path} became shorter while it was sent to the engine")
            left -= len(block)
            yield block
    if info.size % tarfile.BLOCKSIZE:
        yield b"\0" * (tarfile.BLOCKSIZE - info.size % tarfile.BLOCKSIZE)


def _archive(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in sorted(files.items()):
            info = tarfile.TarInfo(name.lstrip("/"))
            info.size = len(content)
            info.mode = 0o644
            archive.addfile(info, io.BytesIO(content))
        end = archive.offset + 2 * tarfile.BLOCKSIZE
    # Podman's unpacking stops at the two empty blocks, and then nobody reads the padding.
    return buffer.getvalue()[:end]
