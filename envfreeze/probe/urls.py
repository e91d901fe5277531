"""Secrets in what is, or was meant to be, a URL: in its path, before an ``scp`` host, behind
backslashes. Userinfo, query and fragment are their readers' own business."""

import re

SECRET = re.compile(
    r"x-(amz|goog|ms)-|^(sig|signature|token|access_token|auth|key|password|secret"
    r"|awsaccesskeyid|googleaccessid|key-pair-id|policy|expires|se|sp|sv|sr|st|skoid|sktid"
    r"|private[_-]?token|job[_-]?token|auth[_-]?token|api[_-]?key|apikey|access[_-]?key|passwd"
    r"|client_secret|jsessionid)$",
    re.IGNORECASE,
)
"""What a parameter is called that holds a secret."""

_SCP = re.compile(r"^([^/\\:@\s]*):([^/\\\s]*)@([^/\\:@\s]+:)(?!//)")
_SLASHES = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*:)(?:[/\\]*\\[/\\]*)")
# What follows such a segment is a token, whatever it looks like.
_MARKS = frozenset("__token__ private-token private_token access-token access_token".split())
# And here if it looks like one: these are names of directories, too.
_WORDS = frozenset("t token tokens auth basic key apikey api-key secret".split())
# As their issuers write them, and no shorter: hf_xet-1.8.0-cp38-abi3-... is a wheel.
_ISSUED = re.compile(
    r"(gh[opsur]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{40,}|gl(pat|dt|cbt|ptt|rt)-[\w-]{20,}"
    r"|hf_[A-Za-z0-9]{30,}|pypi-Ag[\w-]{50,}|xox[abps]-[A-Za-z0-9-]{20,}|AKIA[A-Z0-9]{16}"
    r"|eyJ[\w-]{8,}\.[\w-]+\.[\w-]*)$"
)
_ARCHIVE = re.compile(
    r"\.(whl|egg|zip|tar|tgz|tar\.\w+|conda|u?deb|rpm|apk)(\.\w+)?$", re.IGNORECASE
)
_TOKEN = re.compile(r"(?=[^0-9]*[0-9])(?=[^A-Za-z]*[A-Za-z])[A-Za-z0-9_~%=-]{12,}$")
_BASIC = re.compile(r"(?=[^0-9]*[0-9])(?![^A-Za-z]*$)[A-Za-z0-9_~%=]{12,}$")


def is_secret(name):
    # type: (str) -> bool
    """Whether what is called *name* is a token, a password or a part of a signature."""
    return SECRET.search(name) is not None


def bare_path(path):
    # type: (str) -> str
    """*path* of a URL without ``;token=...``, and without tokens that are parts of it."""
    if "/" not in path:
        return _bare_segment(path)
    kept = []  # type: list[str]
    segments = path.split("/")
    for segment, following in zip(segments, [*segments[1:], ""]):  # noqa: B905
        before = kept[-1].lower() if kept else ""
        # A directory that is called like what is in it is no secret: pool/main/t/texlive2023/...
        is_name = following.startswith(segment)
        if _ARCHIVE.search(segment):
            kept.append(_bare_segment(segment))
        elif segment and not is_name and _is_token_after(before, segment):
            kept.pop()
        elif not _ISSUED.match(segment):
            kept.append(_bare_segment(segment))
    return "/".join(kept) or "/"


def _is_token_after(before, segment):
    # type: (str, str) -> bool
    if before in _MARKS:
        return True
    if before == "basic":
        return _BASIC.match(segment) is not None
    return before in _WORDS and _TOKEN.match(segment) is not None


def _bare_segment(segment):
    # type: (str) -> str
    if ";" not in segment:
        return segment
    first, *rest = segment.split(";")
    return ";".join([first] + [part for part in rest if not is_secret(part.partition("=")[0])])


def bare_scp(url):
    # type: (str) -> str
    """``user:password@host:path`` without the password; anything else as it is."""
    return _SCP.sub(r"\1@\3", url) if "://" not in url else url


def with_slashes(url):
    # type: (str) -> str
    r"""``https:\\host\path`` as browsers and clients read it; anything else as it is."""
    match = _SLASHES.match(url)
    if match is None:
        return url
    return match.group(1) + "//" + url[match.end() :].replace("\\", "/")
