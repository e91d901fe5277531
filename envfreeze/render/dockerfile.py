"""``Lock -> files``: a readable Dockerfile and the small files of its build context.

A lock is untrusted. Nothing of it reaches an output except through a function here that
either checks it against a narrow pattern or quotes it for the place where it will stand; the
template engine refuses to print anything else (:class:`Quoted`).

Source of the quoting: BuildKit's ``frontend/dockerfile/docs/reference.md`` and the word
lexer behind it (``shell/lex.go``): in double quotes a backslash, a double quote and ``$`` are
escaped with a backslash, and no line can end inside.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from envfreeze.data.templates import template_path, template_text
from envfreeze.errors import LockError, NotHermeticError, UsageError, printable
from envfreeze.model.lock import Lock, SystemPackage
from envfreeze.render import running
from envfreeze.render.running import Running

INTERPRETER = "interpreter.tar.gz"
PACKAGES = "packages.tar"
LOCK = "env.lock"
LOCK_LABEL = "io.envfreeze.lock-sha256"
"""The label by which an image names the digest of its lock."""
REMOVED = "removed.txt"
"""What the base image has and the environment had not, each path with a NUL behind it."""

_BASE = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9._/:-]{0,254}?)(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"@(?P<digest>sha256:[0-9a-f]{64})"
)
_IMAGE_ID = re.compile(r"sha256:[0-9a-f]{64}")
_TAG = re.compile(r"[a-z0-9][a-z0-9._/:-]{0,254}(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DEB_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*")
_DEB_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+:~-]*")
_DEB_ARCH = re.compile(r"[a-z0-9][a-z0-9-]*")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_RELEASE = re.compile(r"[A-Za-z0-9._-]+")
_SIMPLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_OURS = frozenset({"PATH"})


class Quoted(str):
    """Text that may stand in an output as it is."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerOptions:
    """What a person chooses about the image."""

    base: str
    """The base image, by digest: ``NAME[:TAG]@sha256:...``."""
    lock_sha256: str
    """sha256 of the lock file that travels in the image."""
    tag: str = "envfreeze"
    templates: Path | None = None
    """A directory whose templates replace ours."""
    running: Running = field(default_factory=Running)


@dataclass(frozen=True, slots=True)
class _Deb:
    name: str
    version: str
    arch: str
    sha256: str

    @property
    def file(self) -> str:
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.arch}.deb"


def split_base(base: str) -> tuple[str, str]:
    """``(name with tag, digest)`` of a base image reference.

    :raises UsageError: it names no digest, or is not a reference at all.
    """
    if _IMAGE_ID.fullmatch(base):
        return "", base  # An image that one engine alone knows.
    match = _BASE.fullmatch(base)
    if match is None:
        raise UsageError(
            f"--base {base!r} is not an image by digest",
            hint="Write NAME@sha256:DIGEST; docker buildx imagetools inspect NAME, or"
            " docker inspect --format '{{.RepoDigests}}' NAME, shows the digest.",
        )
    return base.partition("@")[0], match["digest"]


def check_tag(tag: str) -> str:
    """*tag*, if it can be an image's name.

    :raises UsageError: it cannot.
    """
    if not _TAG.fullmatch(tag):
        raise UsageError(
            f"--tag {tag!r} is not an image name",
            hint="Lower-case letters, digits and . _ - / are allowed, and a :TAG at the end.",
        )
    return tag


def render(lock: Lock, options: DockerOptions) -> dict[str, str]:
    """The files of the build context that are text, by path relative to it.

    :raises LockError: a value that no Dockerfile can hold safely.
    :raises NotHermeticError: the lock does not hold its interpreter.
    """
    check_held(lock)
    debs = [_deb(package) for package in _in_order(lock.machine.system.packages)]
    files = {
        "Dockerfile": fill("Dockerfile.j2", options, values(lock, options)),
        "README.md": fill("docker-README.md.j2", options, readme_values(lock, options)),
        ".dockerignore": "README.md\nSHA256SUMS\n",
        "SHA256SUMS": _sums(lock, debs),
    }
    if _removed(lock):
        files[REMOVED] = _removed(lock)
    return files | system_files(lock, options.templates)


def deb_files(lock: Lock) -> dict[str, str]:
    """Path in the context to sha256 of every .deb."""
    debs = [_deb(package) for package in lock.machine.system.packages]
    return {f"system/{deb.file}": deb.sha256 for deb in debs}


# --- what any image of a lock says of itself -----------------------------------------------


def labels(lock: Lock, base: tuple[str, str], lock_sha256: str) -> dict[str, str]:
    """The labels of an image.

    :param base: name and digest of the base image; a name that is empty is not told.
    :raises LockError: an id that is none.
    """
    facts = lock.machine.interpreter.facts
    count = len(lock.packages) + len(lock.machine.held)
    name, digest = base
    told = {"org.opencontainers.image.base.name": name} if name else {}
    return {
        "org.opencontainers.image.title": "Python environment",
        "org.opencontainers.image.description": (
            f"{facts.implementation} {facts.version} with {count} distributions,"
            " rebuilt from its lock by envfreeze"
        ),
        **told,
        "org.opencontainers.image.base.digest": digest,
        "io.envfreeze.id": _hex(lock.machine.id, "the environment's id"),
        LOCK_LABEL: _hex(lock_sha256, "the lock's digest"),
    }


def variables(lock: Lock) -> dict[str, str]:
    """The environment variables that the lock brings but PATH, by name.

    :raises LockError: one that no image can have.
    """
    found = dict(sorted((lock.machine.environment | _paths(lock)).items()))
    for name in found:
        if not _VARIABLE.fullmatch(name) or name in _OURS:
            raise LockError(f"{name!r} cannot be the name of an environment variable here")
    return found


def own_path(lock: Lock) -> str:
    """What comes first on an image's PATH, so that ``python`` is the environment's own.

    :raises LockError: it is no absolute path.
    """
    facts = lock.machine.interpreter.facts
    scripts = _absolute(facts.scripts, "the scripts directory")
    return scripts if facts.venv else f"{running.LINKS}:{scripts}"


def command(lock: Lock) -> str:
    """What an image runs: ``python`` where PATH leads to it, else the whole path."""
    facts = lock.machine.interpreter.facts
    path = PurePosixPath(_absolute(facts.executable, "the interpreter"))
    if not facts.venv:
        return "python"
    if str(path.parent) == own_path(lock) and _SIMPLE.fullmatch(path.name):
        return path.name
    return str(path)


def check_held(lock: Lock) -> None:
    """:raises NotHermeticError: the lock does not hold its interpreter, or what nobody owns."""
    if lock.machine.interpreter.origin == "unpacked":
        raise NotHermeticError(
            "the lock names its interpreter but does not hold it (captured with --no-pack)",
            hint="Capture again without --no-pack.",
        )
    unowned = lock.machine.system.unowned
    if unowned is not None and unowned.lost:
        raise NotHermeticError(
            f"the lock names {len(unowned.files)} files that no system package owns, but does not"
            " hold them (captured with --no-pack)",
            hint="Capture again without --no-pack.",
        )


# --- the texts ---------------------------------------------------------------------------


def values(lock: Lock, options: DockerOptions) -> dict[str, object]:
    """What the template of a Dockerfile can use."""
    machine = lock.machine
    facts = machine.interpreter.facts
    marks = labels(lock, split_base(options.base), options.lock_sha256)
    return {
        "base": Quoted(options.base),
        "id": Quoted(_hex(machine.id, "the environment's id")),
        "python": comment(f"{facts.implementation} {facts.version}"),
        "platform": comment(facts.platform),
        "removed": bool(_removed(lock)),
        "debs": [_deb(package) for package in _in_order(machine.system.packages)],
        "packed": machine.interpreter.origin == "packed",
        "unowned": machine.system.unowned is not None,
        "packages": lock.packages,
        "path": Quoted(f'"{_escape(own_path(lock))}:$PATH"'),
        "environment": _pairs(variables(lock)),
        "labels": _pairs(marks),
        "command": dockerfile_json([command(lock)]),
    } | _running(lock, options.running)


def _running(lock: Lock, chosen: Running) -> dict[str, object]:
    """What a template may say of user and GPU. A variable that the lock has stays the lock's."""
    user = running.user(lock, chosen.user)
    locked = variables(lock)

    def unset(found: Mapping[str, str]) -> list[tuple[Quoted, Quoted]]:
        return _pairs({name: value for name, value in found.items() if name not in locked})

    return {
        "user": Quoted(user.name),
        "user_variables": unset(user.variables),
        "user_reason": comment(user.reason),
        "gpu": comment(chosen.gpu.reason) if chosen.gpu else None,
        "gpu_variables": unset(running.gpu_variables(chosen.gpu)),
    }


def _pairs(found: Mapping[str, str]) -> list[tuple[Quoted, Quoted]]:
    return [(Quoted(name), dockerfile_string(value)) for name, value in found.items()]


def _removed(lock: Lock) -> str:
    base = lock.machine.base
    return "" if base is None else "".join(f"{path}\0" for path in base.removed)


def readme_values(lock: Lock, options: DockerOptions) -> dict[str, object]:
    """What the template of its README can use."""
    return {
        "id": Quoted(_hex(lock.machine.id, "the environment's id")),
        "base": Quoted(options.base),
        "tag": Quoted(shlex.quote(check_tag(options.tag))),
    }


def system_files(lock: Lock, templates: Path | None = None) -> dict[str, str]:
    """What ``system/install.sh`` reads: which .deb is which, their digests, and for what OS; and
    itself. Nothing, where the lock has none.

    :raises LockError: a package that is none of Debian's.
    """
    debs = [_deb(package) for package in _in_order(lock.machine.system.packages)]
    if not debs:
        return {}
    release = lock.machine.system.os_release
    rows = [f"{deb.name}\t{deb.arch}\t{deb.version}\t{deb.file}\n" for deb in debs]
    wanted = [
        f"{key}={value}\n"
        for key in ("ID", "VERSION_ID")
        if _RELEASE.fullmatch(value := release.get(key, ""))
    ]
    return {
        "system/install.sh": template_text("install-system.sh", templates),
        "system/packages.tsv": "".join(rows),
        "system/SHA256SUMS": "".join(f"{deb.sha256}  {deb.file}\n" for deb in debs),
        "system/os-release": "".join(wanted),
    }


def _sums(lock: Lock, debs: Iterable[_Deb]) -> str:
    rows = [(f"system/{deb.file}", deb.sha256) for deb in debs]
    if removed := _removed(lock):
        rows.append((REMOVED, hashlib.sha256(removed.encode()).hexdigest()))
    archive = lock.machine.interpreter.archive
    if archive is not None and lock.machine.interpreter.origin == "packed":
        rows.append((INTERPRETER, _hex(archive.sha256, "the interpreter's digest")))
    return "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(rows))


def fill(name: str, options: DockerOptions, values: Mapping[str, object]) -> str:
    """The text of a template.

    :raises UsageError: the template is wrong; file, line and variable are named.
    """
    import jinja2

    path = template_path(name, options.templates)
    try:
        return str(_compiled(template_text(name, options.templates)).render(values))
    except jinja2.TemplateSyntaxError as error:
        raise _wrong(path, error.lineno, str(error.message), values) from error
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError) as error:
        raise _wrong(path, _line(error), str(error), values) from error


@functools.lru_cache(maxsize=16)
def _compiled(text: str) -> Any:
    import jinja2

    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_only_quoted,
        autoescape=False,  # noqa: S701 - a Dockerfile, not HTML; finalize guards what is printed
    )
    environment.filters["comment"] = comment
    environment.filters["dockerfile_string"] = dockerfile_string
    environment.filters["dockerfile_json"] = dockerfile_json
    return environment.from_string(text)


def _line(error: BaseException) -> int | None:
    """The line of the template that *error* came from: jinja puts it into the traceback."""
    found, step = None, error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == "<template>":
            found = step.tb_lineno
        step = step.tb_next
    return found


def _wrong(path: Path, line: int | None, said: str, values: Mapping[str, object]) -> UsageError:
    place = str(path) if line is None else f"{path}, line {line}"
    return UsageError(
        f"{place}: {printable(said)}",
        hint=f"Correct the template. It can use: {', '.join(sorted(values))}.",
    )


def _only_quoted(value: object) -> object:
    if isinstance(value, (Quoted, int)):
        return value
    import jinja2

    raise jinja2.TemplateRuntimeError(
        f"a value is printed without a filter: use comment, dockerfile_string or dockerfile_json"
        f" ({printable(str(value))[:40]!r})"
    )


# --- checks and quotes -------------------------------------------------------------------


def comment(text: object) -> Quoted:
    """*text* for the rest of a comment line: printable ASCII only, never the end of the line."""
    return Quoted(re.sub(r"[^\x20-\x7e]", "?", str(text)).replace("\\", "/"))


def dockerfile_string(text: str) -> Quoted:
    """*text* in double quotes, for the value of ENV and LABEL.

    :raises LockError: it holds a control character: no instruction can carry that.
    """
    return Quoted(f'"{_escape(text)}"')


def dockerfile_json(words: list[str]) -> Quoted:
    """The exec form of CMD: a JSON array on one line, which no shell reads."""
    return Quoted(json.dumps(words, ensure_ascii=True))


def _escape(text: str) -> str:
    if printable(text) != text or "\n" in text or "\t" in text:
        raise LockError(
            f"{text!r} holds control characters, which no Dockerfile can carry",
            hint="Unset or correct that variable or path where the lock was captured.",
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise LockError(f"{text!r} is not valid Unicode") from error
    return re.sub(r'([\\"$])', r"\\\1", text)


def _hex(text: str, what: str) -> str:
    if not _DIGEST.fullmatch(text):
        raise LockError(f"{what} is not 64 hexadecimal digits: {text!r}")
    return text


def _absolute(path: str, what: str) -> str:
    if not path.startswith("/") or ".." in path.split("/") or ":" in path:
        raise LockError(f"{what} is not an absolute path: {path!r}")
    return path


def _paths(lock: Lock) -> dict[str, str]:
    """Where Python and the loader look besides, where the environment needs that."""
    text = lock.python_path({source.key: source.root for source in lock.machine.sources})
    found = {"PYTHONPATH": text, "LD_LIBRARY_PATH": ":".join(lock.machine.system.library_path)}
    return {name: value for name, value in found.items() if value}


def _deb(package: SystemPackage) -> _Deb:
    fits = (
        _DEB_NAME.fullmatch(package.name)
        and _DEB_VERSION.fullmatch(package.version)
        and _DEB_ARCH.fullmatch(package.arch)
    )
    if not fits:
        raise LockError(
            f"system package {package.name!r} {package.version!r} ({package.arch!r}): not a name,"
            " version and architecture of Debian",
            hint="Do not build from this lock; capture again or ask where it came from.",
        )
    sha256 = _hex(package.artifact.sha256, "a .deb's digest")
    return _Deb(package.name, package.version, package.arch, sha256)


def _in_order(packages: list[SystemPackage]) -> list[SystemPackage]:
    """What a package depends on first; by name otherwise, and where they depend in a circle."""
    by_name: dict[str, list[SystemPackage]] = {}
    for package in sorted(packages, key=lambda p: (p.name, p.arch)):
        by_name.setdefault(package.name, []).append(package)
    done: dict[str, None] = {}
    for first in by_name:
        stack = [(first, iter(_wanted(by_name, first)))]
        entered = {first}
        while stack:
            name, rest = stack[-1]
            following = next((n for n in rest if n not in done and n not in entered), None)
            if following is None:
                done[name] = None
                stack.pop()
            else:
                entered.add(following)
                stack.append((following, iter(_wanted(by_name, following))))
    return [package for name in done for package in by_name[name]]


def _wanted(by_name: dict[str, list[SystemPackage]], name: str) -> list[str]:
    found = {wanted for package in by_name[name] for wanted in package.depends}
    return sorted(found & by_name.keys())
