"""Package URLs: what a package is called everywhere. Pure.

Source: package-url/purl-spec, ``how-to-build.md`` and ``types/``. A name, version or URL of a lock
is untrusted: what it holds is percent-encoded, so that it can end neither its part nor the purl.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, urlsplit, urlunsplit

from envfreeze.model.conda import CondaPackage
from envfreeze.model.identity import normalize
from envfreeze.model.lines import utf8
from envfreeze.model.origin import VCS, Origin

_URL = re.compile(
    r"(https?|ssh|git|hg|svn|bzr)://[A-Za-z0-9._~@:-]+(/[A-Za-z0-9._~/?&()*+,=%:@!-]*)?"
)
_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SECRET = re.compile(r"sig|token|key|auth|pass|secret|cred", re.IGNORECASE)


def purl(
    kind: str,
    name: str,
    version: str = "",
    *,
    namespace: str = "",
    qualifiers: Mapping[str, str | None] | None = None,
) -> str:
    """The canonical spelling: qualifiers sorted, the empty ones left out."""
    middle = f"{_quoted(namespace)}/" if namespace else ""
    text = f"pkg:{kind}/{middle}{_quoted(name)}"
    text += f"@{_quoted(version)}" if version else ""
    given = sorted((key, value) for key, value in (qualifiers or {}).items() if value)
    query = "&".join(f"{key}={_quoted(value, ':/')}" for key, value in given if value)
    return f"{text}?{query}" if query else text


def _quoted(text: str, safe: str = ":") -> str:
    return quote(utf8(text), safe=safe)


def public_url(url: str | None) -> str | None:
    """*url* without credentials, for a document that is passed on; None where there is nothing
    that every reader takes for one URL, or its query may be a secret."""
    bare = (url or "").partition("#")[0]
    scheme, mark, rest = bare.partition("://")
    head, plus, scheme = scheme.rpartition("+")
    if not mark or head not in {"", *VCS}:
        return None
    try:
        parts = urlsplit(f"{scheme}://{rest}")
    except ValueError:
        return None
    user, _, host = parts.netloc.rpartition("@")
    if _SECRET.search(parts.query):
        return None
    kept = f"{user}@{host}" if user == "git" and scheme == "ssh" else host
    found = urlunsplit(parts._replace(netloc=kept))
    if not _URL.fullmatch(found) or _PERCENT.search(found):
        return None
    return f"{head}{plus}{found}"


def vcs_url(origin: Origin) -> str | None:
    """``git+https://git.example/x@COMMIT``."""
    found = public_url(origin.url)
    if origin.kind not in VCS or found is None:
        return None
    prefix = "" if found.startswith(f"{origin.kind}+") else f"{origin.kind}+"
    return f"{prefix}{found}@{origin.commit}" if origin.commit else f"{prefix}{found}"


def pypi(name: str, version: str, **qualifiers: str | None) -> str:
    return purl("pypi", normalize(name), version, qualifiers=qualifiers)


def conda(package: CondaPackage) -> str:
    channel = public_url(package.channel) if "://" in (package.channel or "") else package.channel
    return purl(
        "conda",
        package.name.lower(),
        package.version,
        qualifiers={
            "build": package.build,
            "channel": channel,
            "subdir": package.subdir,
            "type": "conda" if package.fn.endswith(".conda") else "tar.bz2",
        },
    )


_SYSTEM = {"dpkg": "deb", "rpm": "rpm", "apk": "apk"}


def system(
    manager: str | None, release: Mapping[str, str], package: tuple[str, str, str]
) -> str | None:
    """Of a system's package; None where it is not known whose it is.

    :param package: name, version and architecture.
    """
    name, version, arch = package
    vendor = release.get("ID", "").lower()
    if manager not in _SYSTEM or not vendor:
        return None
    number = release.get("VERSION_ID")
    qualifiers = {"arch": arch, "distro": f"{vendor}-{number}" if number else vendor}
    if manager == "rpm" and ":" in version:
        qualifiers["epoch"], _, version = version.partition(":")
    return purl(_SYSTEM[manager], name, version, namespace=vendor, qualifiers=qualifiers)


def oci(reference: str) -> str:
    """Of an image by digest, ``HOST/PATH[:TAG]@sha256:HEX``."""
    place, _, digest = reference.partition("@")
    head, slash, last = place.rpartition("/")
    name, _, tag = last.partition(":")
    repository = f"{head}{slash}{name}".lower() if head else None
    return purl("oci", name.lower(), digest, qualifiers={"repository_url": repository, "tag": tag})
