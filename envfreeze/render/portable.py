"""``Lock -> files`` that need only public URLs: for those who commit a Dockerfile to git.

pip fetches the wheels and apt's own helper the .deb files, each by URL and sha256. What nobody can
fetch lies beside the Dockerfile: :func:`beside` names it. The same rules as in
:mod:`envfreeze.render.dockerfile` hold for what a lock may say where.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from envfreeze.data.templates import template_text
from envfreeze.errors import LockError
from envfreeze.model.lock import Artifact, Lock, Package
from envfreeze.render import dockerfile
from envfreeze.render.dockerfile import DockerOptions

ENVIRONMENT = "environment.tar"
REQUIREMENTS = "packages/requirements.txt"
PIP = "packages/pip"

_URL = re.compile(r"https?://[A-Za-z0-9][A-Za-z0-9._:@-]*/[A-Za-z0-9._~/?&'()*+,=%:@!\[\]-]*")
"""No ``$``, which pip would replace; no blank, ``;`` or ``#``, where its line would go on."""
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_PATH = re.compile(r"[A-Za-z0-9._+%/@=-]+\.whl")
_WHEEL = re.compile(r"[A-Za-z0-9._+!-]+\.whl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Something that has no public URL."""

    what: str
    """For a person; untrusted text."""
    size: int
    file: str
    """Where it lies, relative to the Dockerfile."""


def render(lock: Lock, options: DockerOptions) -> dict[str, str]:
    """The files that are text, by path.

    :raises LockError: a value that no such file can hold safely.
    :raises NotHermeticError: the lock does not hold its interpreter.
    """
    dockerfile.check_held(lock)
    files = {
        "Dockerfile": dockerfile.fill(
            "Dockerfile.portable.j2",
            options,
            dockerfile.values(lock, options) | {"pip_packages": by_pip(lock)},
        ),
        ".dockerignore": "README.md\n",
        "README.md": dockerfile.fill(
            "portable-README.md.j2", options, dockerfile.readme_values(lock, options)
        ),
    }
    if by_pip(lock):
        files[REQUIREMENTS] = "".join(f"{line}\n" for line in map(requirement, by_pip(lock)))
        files["packages/install.sh"] = template_text("install-packages.sh", options.templates)
    if lock.machine.system.packages:
        files |= dockerfile.system_files(lock, options.templates)
        files["system/urls.tsv"] = "".join(_deb_rows(lock))
        files["system/fetch.sh"] = template_text("fetch-system.sh", options.templates)
    return files


def _deb_rows(lock: Lock) -> Iterator[str]:
    """File, sha256 and URL of every .deb that has one."""
    names = {sha256: name for name, sha256 in dockerfile.deb_files(lock).items()}
    for package in lock.machine.system.packages:
        if package.artifact.url is not None:
            sha256 = package.artifact.sha256
            file = names[sha256].removeprefix("system/")
            yield f"{file}\t{sha256}\t{url(package.artifact)}\n"


# --- what pip can install ------------------------------------------------------------------


def by_pip(lock: Lock) -> list[Package]:
    """The packages that pip makes as they were: proved wheels of an index, nothing changed since,
    in the interpreter's own site directory."""
    purelib = lock.machine.interpreter.facts.purelib
    return [p for p in lock.packages if _is_plain(p) and lock.site_of(p) == purelib]


def _is_plain(package: Package) -> bool:
    facts = package.facts
    special = facts.edits or facts.yields or facts.no_wrappers or facts.pointers or facts.apart
    plain = not special and facts.patch is None and facts.owner is None
    return plain and facts.proof == "proved" and package.artifact.url is not None


def requirement(package: Package) -> str:
    """A line of requirements.txt.

    :raises LockError: a name or URL that would be more than that.
    """
    if not _NAME.fullmatch(package.name):
        raise LockError(f"{package.name!r} is not a name that a distribution can have")
    found = package.artifact
    return f"{package.name} @ {url(found)} --hash=sha256:{_sha256(found)}"


def url(artifact: Artifact) -> str:
    """Where *artifact* is, for a file that other programs read.

    :raises LockError: its URL could be read as more than one.
    """
    found = (artifact.url or "").partition("#")[0]
    if not _URL.fullmatch(found):
        raise LockError(
            f"the URL {artifact.url!r} cannot stand in a file that pip and apt read",
            hint="envfreeze build LOCK --to docker fetches it here, and needs no such file.",
        )
    return found


def _sha256(artifact: Artifact) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", artifact.sha256):
        raise LockError(f"a digest is not 64 hexadecimal digits: {artifact.sha256!r}")
    return artifact.sha256


def pip_wheel(lock: Lock) -> Artifact | None:
    """The wheel of the lock's own pip, which runs as it is; None: the interpreter's is used."""
    found = next((p.artifact for p in lock.packages if p.name == "pip"), None)
    return found if found is not None and _WHEEL.fullmatch(found.filename) else None


# --- what lies beside ----------------------------------------------------------------------


def beside(lock: Lock) -> list[Beside]:
    """What has no public URL, and so has to travel with the Dockerfile."""
    return [*_single_files(lock), *_in_environment(lock)]


def _single_files(lock: Lock) -> Iterator[Beside]:
    machine = lock.machine
    archive = machine.interpreter.archive
    if machine.interpreter.origin == "packed" and archive is not None:
        facts = machine.interpreter.facts
        what = f"the interpreter, {facts.implementation} {facts.version}"
        yield Beside(what=what, size=archive.size, file=dockerfile.INTERPRETER)
    names = {sha256: name for name, sha256 in dockerfile.deb_files(lock).items()}
    for package in machine.system.packages:
        if package.artifact.url is None:
            what = f"the system package {package.name} {package.version}"
            file = names[package.artifact.sha256]
            yield Beside(what=what, size=package.artifact.size, file=file)


def _in_environment(lock: Lock) -> Iterator[Beside]:
    machine = lock.machine
    plain = {id(package) for package in by_pip(lock)}
    for package in [*lock.packages, *machine.shadowed]:
        if id(package) not in plain:
            size = sum(artifact.size for artifact in package.artifacts)
            version = package.version or package.facts.version or ""
            yield Beside(what=f"{package.name} {version}".strip(), size=size, file=ENVIRONMENT)
    named = [(f"unowned files of {site.site}", site.archive) for site in machine.loose]
    named += [(f"the source tree {source.root}", source.archive) for source in machine.sources]
    if machine.system.unowned is not None:
        named.append(("files that no system package owns", machine.system.unowned.archive))
    for what, archive in named:
        if archive is not None:
            yield Beside(what=what, size=archive.size, file=ENVIRONMENT)


# --- requirements alone --------------------------------------------------------------------


def requirements(lock: Lock, directory: str) -> str:
    """A requirements.txt of the whole lock, as far as pip can install it.

    :param directory: where the packed wheels' paths begin, relative to where pip will run.
    :raises LockError: a name, URL or path that would be more than that.
    """
    head = [
        "# Every Python package of an environment, by URL and sha256. Install it with",
        "#   pip install --no-deps --require-hashes -r requirements.txt",
        "# It holds neither system packages nor files that no package owns: the lock does.",
    ]
    packages = sorted(lock.packages, key=lambda package: package.name)
    lines = [line for package in packages for line in _lines(package, directory)]
    return "".join(f"{line}\n" for line in [*head, *lines])


def _lines(package: Package, directory: str) -> Iterator[str]:
    facts = package.facts
    if facts.edits:
        count = len(facts.edits)
        yield f"# {_name(package)}: without the changes to {count} of its files"
    if package.artifact.url is not None:
        yield requirement(package)
    elif facts.pointers:
        yield f"# {_name(package)}: installed from a source tree, which the lock keeps"
    else:
        own = package.artifact.path or ""
        path = f"{directory}/{own}"
        if not _PATH.fullmatch(path) or ".." in own.split("/"):
            raise LockError(
                f"the path {path!r} cannot stand in a file that pip reads",
                hint="Move the lock to a directory with a plain name.",
            )
        yield f"{path} --hash=sha256:{_sha256(package.artifact)}"


def _name(package: Package) -> str:
    return str(dockerfile.comment(package.name))


def left_out(lock: Lock) -> Mapping[str, str]:
    """What pip cannot install of the lock as it was: name and reason."""
    found = {}
    for package in lock.packages:
        if package.facts.pointers:
            found[package.name] = "installed from a source tree"
        elif package.facts.edits:
            found[package.name] = "its edited files come back as they were before"
    return found
