"""The probe as one ``python -c`` program, and its answer read back.

The program carries the probe's modules as compressed text, so nothing has to exist in the
target but an interpreter. It first cuts sys.path down to the standard library (a ``json.py``
in the working directory or on PYTHONPATH must not be imported), then runs.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import secrets
import zlib
from collections.abc import Mapping
from importlib import resources
from typing import Any

import msgspec

from envfreeze.errors import TargetError
from envfreeze.model.host import Host
from envfreeze.model.snapshot import SCHEMA, Finding, Snapshot

FLAGS = ("-S", "-B")
"""No ``site`` (no .pth line, no sitecustomize is run), no bytecode written."""

OLDEST = (3, 6)
_WORD = 100_000
"""Characters of a word of a command line; Linux takes 128 KiB."""

HELLO = "here"
"""What the program says, framed, before it starts to look: an interpreter is there."""

# Python 2 must be able to parse this, to say that it is Python 2.
_PROGRAM = """\
import sys
M = {marker!r}
if sys.version_info[:2] < {oldest!r}:
    V = "%d.%d.%d" % tuple(sys.version_info[:3])
    sys.stdout.write("\\n" + M + '{{"too_old": "' + V + '"}}' + M + "\\n")
    sys.exit(0)
P = list(sys.path)
sys.stdout.write("\\n" + M + {hello!r} + M + "\\n")
sys.stdout.flush()
E = sys.modules["encodings"].__file__.replace("\\\\", "/").rsplit("/", 2)[0]
Z = E.rsplit("/", 2)[0]
sys.path[:] = [p for p in P if p == E or p.startswith(E + "/") or p.endswith("/lib-dynload")
               or (p.endswith(".zip") and p.rsplit("/", 1)[0] in (E.rsplit("/", 1)[0], Z))]
F = ("BuiltinImporter", "FrozenImporter", "PathFinder")
sys.meta_path[:] = [f for f in sys.meta_path if getattr(f, "__name__", "") in F]
import base64, json, marshal, types, zlib
def unpack(text):
    return json.loads(zlib.decompress(base64.b64decode(text)).decode("utf-8"))
S = unpack({payload!r})
L = []
R = S.pop("request")
if R.pop("more", False):
    H, _, Q = sys.stdin.buffer.read().partition(b"\\n")
    R.update(json.loads(H.decode("utf-8")))
    R["known"] = Q
if len(sys.argv) > 1:
    R.update(unpack("".join(sys.argv[1:])))
T = R.pop("modules", {{}})
B = R.pop("first", None) or S["modules"]
K = [sys.version, base64.b64encode(sys.modules["_frozen_importlib_external"].MAGIC_NUMBER).decode()]
H = R.pop("code", None)
C, N = H["data"] if H and H["for"] == K and isinstance(H["data"], dict) else {{}}, {{}}
def code(name, text):
    if name in C:
        try:
            return marshal.loads(base64.b64decode(C[name]))
        except Exception:
            pass
    made = N[name] = compile(text, "<envfreeze probe%s>" % name, "exec")
    return made
class Text(object):
    def __init__(self, name, text):
        self.name, self.text = name, text
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        exec(code(self.name, self.text), module.__dict__)
class Texts(object):
    @staticmethod
    def find_spec(full, path=None, target=None):
        head, dot, name = full.partition(".")
        if head != "envfreeze_probe":
            return None
        name = dot + name
        text = T.get(name)
        if text is None and name in S["later"]:
            if not L:
                L.append(unpack({later!r}))
            text = L[0][name]
        if text is None:
            return None
        return sys.modules["_frozen_importlib"].ModuleSpec(full, Text(name, text))
sys.meta_path.insert(0, Texts)
def load(name, text):
    module = types.ModuleType("envfreeze_probe" + name)
    module.__package__ = "envfreeze_probe"
    if not name:
        module.__path__ = []
    sys.modules[module.__name__] = module
    exec(code(name, text), module.__dict__)
    if name:
        setattr(sys.modules["envfreeze_probe"], name[1:], module)
for name, text in B:
    load(name, text)
def compiled():
    made = dict((n, base64.b64encode(marshal.dumps(N[n])).decode("ascii")) for n in N)
    return {{"code": {{"for": K, "data": dict(C, **made)}}}} if N else None
sys.modules["envfreeze_probe.main"].run(R, P, compiled)
"""

MODULES = (
    "",
    ".machine",
    ".workers",
    ".files",
    ".walk",
    ".sitepath",
    ".interpreter",
    ".unchanged",
    ".main",
)
"""In the order in which they import one another."""

LATER = (
    ".changes",
    ".conda",
    ".condafiles",
    ".condarc",
    ".dists",
    ".git",
    ".links",
    ".metadata",
    ".pointers",
    ".roots",
    ".scripts",
    ".sources",
    ".system",
    ".trees",
    ".treestate",
    ".urls",
    ".whole",
)
"""Loaded when they are first imported: where nothing has changed, none is needed."""

HOST = (
    ".accelerator",
    ".frameworks",
    ".gpulibs",
    ".host",
    ".limits",
    ".numerics",
    ".nvidia",
    ".nvml",
    ".otheraccel",
    ".places",
    ".platform",
    ".processor",
    ".programs",
    ".smi",
    ".surroundings",
    ".toolkits",
    ".versions",
)
"""Loaded like these, where the machine below is asked for. They travel in the request, beside the
program: a command line's word has at most 128 KiB on Linux."""


@functools.cache
def _text(name: str) -> str:
    place = resources.files("envfreeze.probe") / f"{name[1:] or '__init__'}.py"
    return place.read_text("utf-8")


@functools.cache
def _modules() -> list[tuple[str, str]]:
    return [(name, _text(name)) for name in MODULES]


@functools.cache
def _later() -> str:
    return _packed({name: _text(name) for name in LATER})


def _packed(value: object) -> str:
    return base64.b64encode(zlib.compress(json.dumps(value).encode(), 9)).decode("ascii")


@functools.cache
def sources_digest() -> str:
    """Changes when the text of any module does: then what was compiled of it is of no use."""
    texts = [["program", _PROGRAM]]
    texts += [[name, _text(name)] for name in (*MODULES, *LATER, *HOST)]
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


@functools.cache
def host_modules() -> dict[str, str]:
    """What a request needs under ``modules`` when it has ``host``."""
    return {name: _text(name) for name in HOST}


def request_modules(*, host: bool) -> dict[str, object]:
    """All of the probe as request keys, for a question that has ``more``: packing it into a command
    line takes longer than most looks at an environment that has not changed."""
    later = {name: _text(name) for name in LATER}
    return {"first": _modules(), "modules": {**later, **(host_modules() if host else {})}}


class Question:
    """One probe to run: the program, and how to find its answer among other output."""

    def __init__(
        self,
        request: Mapping[str, Any] | None = None,
        *,
        more: bool = False,
        host: bool = False,
        words: Mapping[str, Any] | None = None,
    ) -> None:
        """
        :param request: what the probe is asked, beside the marker.
        :param host: the request asks for the machine below: that is a second answer.
        :param more: the program reads further request keys, as JSON in one line, from its standard
            input, :func:`request_modules` among them; what follows that line is the memory of
            earlier runs, which few have to read.
        :param words: further request keys that travel in words behind the program: where there is
            no standard input.
        """
        packed = "" if words is None else _packed(words)
        self._words = [packed[at : at + _WORD] for at in range(0, len(packed), _WORD)]
        self.marker = f"envfreeze-{secrets.token_hex(16)}"
        self._host = host
        asked = {**(request or {}), "marker": self.marker, "more": more}
        self.program = _PROGRAM.format(
            marker=self.marker,
            oldest=OLDEST,
            hello=HELLO,
            payload=_packed(
                {
                    "modules": [] if more else _modules(),
                    "later": [] if more else LATER,
                    "request": asked,
                }
            ),
            later="" if more else _later(),
        )

    def argv(self, python: str) -> list[str]:
        """The command line that asks it of the interpreter *python*."""
        return [python, *FLAGS, "-c", self.program, *self._words]

    def answer(self, output: bytes, place: str) -> Observation:
        """Read the answer out of everything that was printed.

        :raises TargetError: there is none, it is an error, or it is not a snapshot.
        """
        frame = self.marker.encode("ascii")
        parts = output.split(frame)
        # Every second part is framed; the last is a remainder, or an answer that was cut off.
        framed = [part for part in parts[1:-1:2] if part != HELLO.encode("ascii")]
        if not framed:
            raise TargetError(
                f"{place} gave no answer to the probe",
                hint="Check that it is a working Python: run it with -c 'print(1)'.",
            )
        others = framed[1:]
        below = others.pop(0) if self._host and others and others[0].startswith(_HOST) else None
        observation = _read(framed[0], place, below)
        if others and others[0].startswith(_CODE):
            observation.code = others[0][len(_CODE) : -1]
        return observation


_HOST, _CODE = b'{"host":', b'{"code":'
"""How the further answers begin: each is one JSON object of the probe's own making."""

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises at an answer that is none."""


class Last(msgspec.Struct, frozen=True):
    """What a later probe is told, so that it can say that nothing has changed."""

    fingerprint: str
    outside: list[str]
    trees: list[str] = []
    """The source trees that it rests on."""


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of an answer that are not the snapshot."""

    schema: int = 0
    same: str | None = None
    fingerprint: str | None = None
    outside: list[str] = msgspec.field(default_factory=list)
    trees: list[str] = msgspec.field(default_factory=list)
    remember: dict[str, dict[str, str | None]] = msgspec.field(default_factory=dict)


class HostSeen(msgspec.Struct, frozen=True, kw_only=True):
    """The machine below the environment: looked at anew each time, never remembered."""

    host: Host
    findings: list[Finding] = []


class Observation:
    """A snapshot, decoded when it is asked for, and what makes the next one faster."""

    def __init__(self, document: bytes, place: str, below: bytes | None = None) -> None:
        """
        :param below: what was seen of the machine below, where that was asked for.
        :raises TargetError: *document* is no answer.
        """
        self.document = document
        self.code: bytes | None = None
        """What the target made of the probe's text, as JSON: with it, the next probe has not to
        compile it again. None: nothing new."""
        self._below = below
        self._place = place
        try:
            head = msgspec.json.decode(document, type=_Head)
        except _UNREADABLE as error:
            raise _no_snapshot(place, error) from error
        self.same = head.same
        """The fingerprint of the earlier answer that still holds; then there is no snapshot."""
        self.remember = head.remember
        self.fingerprint = head.fingerprint
        self.last: Last | None = None
        """What to tell the next probe, where this answer can be recognised again."""
        if head.fingerprint is not None:
            self.last = Last(head.fingerprint, head.outside, head.trees)
        if self.same is None and head.schema != SCHEMA:
            raise TargetError(f"{place} answered in schema {head.schema}, not {SCHEMA}")

    @property
    def below_digest(self) -> str:
        """A digest of what was seen of the machine below; empty: nothing was."""
        return hashlib.sha256(self._below).hexdigest() if self._below else ""

    @functools.cached_property
    def below(self) -> HostSeen | None:
        """The machine below the environment; None: it was not asked for.

        :raises TargetError: the answer is none.
        """
        try:
            return msgspec.json.decode(self._below, type=HostSeen) if self._below else None
        except _UNREADABLE as error:
            raise _no_snapshot(self._place, error) from error

    @functools.cached_property
    def snapshot(self) -> Snapshot:
        """:raises TargetError: the answer is not a snapshot."""
        try:
            found = msgspec.json.decode(self.document, type=Snapshot)
        except _UNREADABLE as error:
            raise _no_snapshot(self._place, error) from error
        if self.below is None:
            return found
        findings = [*found.findings, *self.below.findings]
        return msgspec.structs.replace(found, host=self.below.host, findings=findings)

    def on(self, other: Observation) -> Observation:
        """This environment on the machine that was seen as *other*."""
        self._below = other._below
        return self


def _no_snapshot(place: str, error: Exception | str) -> TargetError:
    return TargetError(f"{place} gave an answer that is not a snapshot: {error}")


class _Failure(msgspec.Struct):
    too_old: str | None = None
    refused: str | None = None
    error: str | None = None
    traceback: str = ""


def _read(document: bytes, place: str, below: bytes | None) -> Observation:
    if not any(word in document[:64] for word in (b'"schema"', b'"same"')):
        try:
            _fail(msgspec.json.decode(document, type=_Failure), place)
        except _UNREADABLE as error:
            raise _no_snapshot(place, error) from error
        raise _no_snapshot(place, "it says neither what it saw nor what went wrong")
    observation = Observation(document, place, below)
    if observation.same is None:
        _ = observation.snapshot  # Decoded now: a target that answers nonsense is told at once.
    return observation


def _fail(failure: _Failure, place: str) -> None:
    if failure.too_old:
        raise TargetError(
            f"{place} is Python {failure.too_old}; envfreeze looks at Python 3.6 and later",
            hint="Name another interpreter.",
        )
    if failure.refused:
        raise TargetError(f"{place} cannot be captured: {failure.refused}")
    if failure.error:
        raise TargetError(
            f"the probe failed in {place}: {failure.error}",
            hint=f"This is a bug of envfreeze; please report it with:\n{failure.traceback}",
        )
