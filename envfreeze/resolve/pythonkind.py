"""Which kind of interpreter it is, by evidence: a pure decision over what was seen of it.

Each kind is told by one function; the first that is sure decides. Sources of the signs: uv
``crates/uv-python/python/get_interpreter_info.py`` and ``managed.rs``; python-build-standalone
``docs/distributions.rst``; docker-library/python ``Dockerfile-linux.template``; pyenv
``plugins/python-build/bin/python-build``; CEP 32 for conda; deadsnakes/issues#268 for its
archive and versions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from envfreeze.errors import printable
from envfreeze.model.lock import Kind
from envfreeze.model.snapshot import Interpreter

_LINE = 300
"""Characters of evidence: it is one line for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The system package that owns the executable."""

    name: str
    version: str
    deadsnakes: str | None = None
    """What of apt's configuration names that archive: ``apt's lists offer this version from
    it``; None: nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """All that a verdict may rest on."""

    facts: Interpreter
    os_release: Mapping[str, str] = field(default_factory=dict)
    owner: Owner | None = None
    """None: dpkg owns it not, or there is no dpkg."""
    conda_url: str | None = None
    """The URL in its conda record, without credentials."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    kind: Kind
    evidence: str
    lead: str | None = None


def judge(seen: Seen) -> Verdict:
    """What kind of interpreter *seen* is."""
    for tell in _TELLERS:
        verdict = tell(seen)
        if verdict is not None:
            break
    else:
        verdict = Verdict(kind="unknown", evidence=_unknown(seen))
    return Verdict(
        kind=verdict.kind,
        evidence=printable(" ".join(verdict.evidence.split()))[:_LINE],
        lead=verdict.lead,
    )


def _unknown(seen: Seen) -> str:
    if seen.facts.implementation != "cpython":
        return f"no sign of who made this {seen.facts.implementation}"
    return "no sign of who made it, and no configure arguments"


# --- those that bring a record or a mark of their own -----------------------------------------


def _conda(seen: Seen) -> Verdict | None:
    signs = seen.facts.signs
    if signs.conda_record is None:
        return None
    said = f", sys.version says packaged by {signs.packaged_by}" if signs.packaged_by else ""
    return Verdict(
        kind="conda",
        evidence=f"conda-meta has {signs.conda_record}{said}",
        lead=seen.conda_url,
    )


def _standalone(seen: Seen) -> Verdict | None:
    """Built for ``/install``; uv puts the real prefix in its place, and a mark of its own."""
    signs = seen.facts.signs
    if signs.built_prefix == "/install":
        reasons = ["sysconfig prefix is /install"]
    elif signs.standalone:
        reasons = ["sysconfig has PYTHON_BUILD_STANDALONE"]
    else:
        return None
    if signs.standalone_build:
        reasons.append(f"BUILD says {signs.standalone_build}")
    if _by_uv(seen):
        reasons.append("EXTERNALLY-MANAGED says managed by uv")
    return Verdict(
        kind="python-build-standalone",
        evidence=" and ".join([", ".join(reasons[:-1]), reasons[-1]] if reasons[1:] else reasons),
        lead=_standalone_lead(seen),
    )


def _by_uv(seen: Seen) -> bool:
    return "managed by uv" in (seen.facts.signs.externally_managed or "")


_TRIPLES = {
    ("linux", "x86_64"): "x86_64{level}-unknown-linux-{libc}",
    ("linux", "aarch64"): "aarch64-unknown-linux-{libc}",
    ("linux", "ppc64le"): "ppc64le-unknown-linux-{libc}",
    ("linux", "s390x"): "s390x-unknown-linux-{libc}",
    ("linux", "riscv64"): "riscv64-unknown-linux-{libc}",
    ("macosx", "x86_64"): "x86_64-apple-darwin",
    ("macosx", "arm64"): "aarch64-apple-darwin",
}


def _standalone_lead(seen: Seen) -> str | None:
    """The name that the project's documentation gives to such a build; nothing was fetched."""
    facts = seen.facts
    build = facts.signs.standalone_build or ""
    system = facts.platform.partition("-")[0]
    triple = _TRIPLES.get((system, facts.machine))
    if not (re.fullmatch(r"20[0-9]{6}", build) and triple and _is_version(facts.version)):
        return None
    level = re.search(r"-march=x86-64-v([234])\b", facts.config_args or "")
    libc = "musl" if "musl" in (facts.libc or "") + (facts.signs.triplet or "") else "gnu"
    name = triple.format(level=f"_v{level[1]}" if level else "", libc=libc)
    flavour = ("-freethreaded" if facts.free_threaded else "") + "-install_only"
    flavour += "_stripped" if _by_uv(seen) else ""
    return (
        "https://github.com/astral-sh/python-build-standalone/releases/download/"
        f"{build}/cpython-{facts.version}%2B{build}-{name}{flavour}.tar.gz"
    )


def _is_version(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3}){2}((a|b|rc)[0-9]{1,3})?", text) is not None


# --- distributions ---------------------------------------------------------------------------


def _packaged(seen: Seen) -> Verdict | None:
    """A .deb brought it."""
    owner = seen.owner
    if owner is None:
        return None
    release = seen.os_release.get("PRETTY_NAME") or seen.os_release.get("ID") or "a Debian system"
    where = f"dpkg has {owner.name} {owner.version} on {release}"
    if owner.deadsnakes is not None:
        return Verdict(kind="deadsnakes", evidence=f"{where}; {owner.deadsnakes}")
    return Verdict(kind=_family(seen.os_release), evidence=where)


def _family(os_release: Mapping[str, str]) -> Kind:
    words = f"{os_release.get('ID', '')} {os_release.get('ID_LIKE', '')}".split()
    return "ubuntu" if "ubuntu" in words else "debian"


def _of_the_system(seen: Seen) -> Verdict | None:
    """In ``/usr``, where only the system's own may be; dpkg was not there to ask."""
    facts = seen.facts
    if facts.base_prefix != "/usr":
        return None
    scheme = next((name for name in facts.signs.schemes if name in _DISTRIBUTORS), None)
    release = seen.os_release.get("PRETTY_NAME") or seen.os_release.get("ID") or "this system"
    said = f", sysconfig has the scheme {scheme}" if scheme else ""
    evidence = f"its prefix is /usr on {release}{said}; what owns it was not looked up"
    kind: Kind = _family(seen.os_release) if scheme == "deb_system" else "system"
    return Verdict(kind=kind, evidence=evidence)


_DISTRIBUTORS = ("deb_system", "rpm_prefix")


# --- those that are told by where they are and how they were configured -----------------------


def _pypy(seen: Seen) -> Verdict | None:
    facts = seen.facts
    if facts.implementation != "pypy":
        return None
    own = facts.signs.implementation_version
    said = f"sys.implementation is pypy {own or 'of unknown version'}"
    match = re.search(r"/versions/(pypy[^/]*)\Z", facts.base_prefix)
    if match:
        said += f", in pyenv's directory of {match[1]}"
    return Verdict(kind="pypy", evidence=said, lead=_pypy_lead(facts))


_PYPY_PLATFORMS = {
    ("linux", "x86_64"): "linux64",
    ("linux", "aarch64"): "aarch64",
    ("macosx", "x86_64"): "macos_x86_64",
    ("macosx", "arm64"): "macos_arm64",
}


def _pypy_lead(facts: Interpreter) -> str | None:
    place = _PYPY_PLATFORMS.get((facts.platform.partition("-")[0], facts.machine))
    own = facts.signs.implementation_version or ""
    if place is None or not _is_version(own) or not _is_version(facts.version):
        return None
    language = ".".join(facts.version.split(".")[:2])
    return f"https://downloads.python.org/pypy/pypy{language}-v{own}-{place}.tar.gz"


def _homebrew(seen: Seen) -> Verdict | None:
    for path in (seen.facts.base_executable, seen.facts.base_prefix):
        match = re.search(r"/Cellar/(python(?:@[0-9.]+)?|pypy[0-9.]*)/([0-9][0-9a-z._]*)/", path)
        if match:
            return Verdict(
                kind="homebrew",
                evidence=f"it lies in Homebrew's Cellar/{match[1]}/{match[2]}",
                lead=f"formula {match[1]} {match[2]}",
            )
    return None


def _framework(seen: Seen) -> Verdict | None:
    signs = seen.facts.signs
    if not signs.framework:
        return None
    evidence = f"PYTHONFRAMEWORK is {signs.framework}, its prefix is {seen.facts.base_prefix}"
    if "osx_framework_library" in signs.schemes:
        evidence += "; sysconfig has Apple's scheme osx_framework_library"
    return Verdict(kind="framework", evidence=evidence)


_IMAGE_ARGUMENTS = {"--enable-loadable-sqlite-extensions", "--enable-shared"}
"""That the official image was always configured with."""
_IMAGE_MARK = "--enable-option-checking=fatal"
"""That hardly anybody else passes, and the older images did not."""


def _image(seen: Seen) -> Verdict | None:
    facts = seen.facts
    arguments = set(arguments_of(facts.config_args or ""))
    named = facts.signs.image_version == facts.version
    likely = facts.base_prefix == "/usr/local" and arguments >= _IMAGE_ARGUMENTS
    if not likely or not (named or _IMAGE_MARK in arguments):
        return None
    said = "its configure arguments are the official image's"
    if named:
        both = "PYTHON_VERSION and PYTHON_SHA256" if facts.signs.image_sha256 else "PYTHON_VERSION"
        said = f"{both} of the environment name it, and {said}"
    return Verdict(kind="docker-image", evidence=said, lead=_image_lead(seen))


def _image_lead(seen: Seen) -> str | None:
    """Names of the image; which build of it cannot be seen from inside."""
    version = seen.facts.version
    if not _is_version(version):
        return None
    if "musl" in (seen.facts.libc or ""):
        return f"image python:{version}-alpine"
    suite = seen.os_release.get("VERSION_CODENAME", "")
    if not re.fullmatch(r"[a-z]{1,20}", suite):
        return f"image python:{version}"
    return f"image python:{version}-{suite} or python:{version}-slim-{suite}"


def _pyenv(seen: Seen) -> Verdict | None:
    """``…/versions/NAME``, in a directory called pyenv or with the flags of its python-build."""
    prefix = seen.facts.base_prefix
    match = re.search(r"/versions/([^/]+)\Z", prefix)
    if match is None:
        return None
    built = _by_python_build(seen.facts)
    if re.search(r"/\.?pyenv/versions/", prefix):
        configured = "; configured as its python-build does" if built else ""
        return Verdict(kind="pyenv", evidence=f"it is pyenv's version {match[1]}{configured}")
    if built:
        said = f"its prefix is {prefix}, configured as pyenv's python-build does"
        return Verdict(kind="pyenv", evidence=said)
    return None


def _by_python_build(facts: Interpreter) -> bool:
    """python-build gives the compiler the prefix's own ``include``, and the linker its ``lib``."""
    prefix = facts.base_prefix
    arguments = arguments_of(facts.config_args or "")
    return {f"--prefix={prefix}", f"--libdir={prefix}/lib"} <= set(arguments) and any(
        argument.startswith("CPPFLAGS=") and f"-I{prefix}/include" in argument.split("=", 1)[1]
        for argument in arguments
    )


def _self_built(seen: Seen) -> Verdict | None:
    facts = seen.facts
    prefix = facts.signs.built_prefix
    if facts.implementation != "cpython" or (prefix is None and facts.config_args is None):
        return None
    if _by_python_build(facts):
        said = f"configured for {facts.base_prefix} as python-build does; no sign of pyenv itself"
    elif prefix in (None, facts.base_prefix):
        said = f"configured for {facts.base_prefix}; no sign of a distributor"
    else:
        said = f"configured for {prefix} and moved to {facts.base_prefix}; no sign of a distributor"
    return Verdict(kind="self-built", evidence=said)


def arguments_of(text: str) -> list[str]:
    """The single arguments of ``CONFIG_ARGS``: each in single quotes, as configure writes them."""
    return [quoted.replace("'\\''", "'") for quoted in re.findall(r"'((?:[^']|'\\'')*)'", text)]


_TELLERS = (
    _conda,
    _standalone,
    _packaged,
    _homebrew,
    _pypy,
    _framework,
    _image,
    _pyenv,
    _of_the_system,
    _self_built,
)
