"""The platform below an environment: kernel, libc, processor, limits, surroundings, locale.

Everything is read from files below the machine's root and from its environment; where the
machine is this one, a few facts that no file has are asked of the process itself. What
cannot be told is left out.
"""

import os
import re
import sys

from . import limits, processor, surroundings
from .machine import _open

_PREFIX = 1 << 15  # Bytes of /proc/cpuinfo: many processors, and each is slow to write itself.
_LIBRARIES = ("/usr/lib", "/lib", "/usr/lib64", "/lib64")
_ZONEINFO = "/zoneinfo/"


def head(machine, path, size=_PREFIX):
    """The first *size* bytes of a file as text; empty where there is none."""
    try:
        with open(machine.path(path), "rb", opener=_open) as file:
            return file.read(size).decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""


# --- libc ----------------------------------------------------------------------------------


def musl_version(data):
    """The version in the bytes of musl's loader (musl: ``src/internal/version.c``), or None.

    It is a text of its own there, between the NULs of its neighbours.
    """
    if b"musl libc" not in data:
        return None
    match = re.search(rb"\0([0-9]\.[0-9]{1,3}\.[0-9]{1,3})(?:-git-[0-9]+-g[0-9a-f]+)?\0", data)
    return match.group(1).decode("ascii") if match else None


def glibc_version(data):
    """The version in the bytes of libc.so.6 (glibc: ``csu/version.c``), or None."""
    match = re.search(rb"GNU C Library [^\0\n]{0,200}? release version ([0-9]+\.[0-9]+)", data)
    return match.group(1).decode("ascii") if match else None


def libc(machine):
    """``glibc 2.36``, ``musl 1.2.4``; of this machine that of the process, else by the files."""
    if machine.root == "/":
        try:
            text = os.confstr("CS_GNU_LIBC_VERSION")
        except (AttributeError, OSError, ValueError):
            text = None
        if text:
            return text
    else:
        found = _glibc(machine)
        if found:
            return found
    return _musl(machine)


def _names(machine, directory):
    try:
        return sorted(os.listdir(machine.path(directory)))
    except (OSError, ValueError):
        return []


def _glibc(machine):
    for directory in _LIBRARIES:
        triplets = [name for name in _names(machine, directory) if "-linux-gnu" in name]
        for name in [*triplets[:8], "."]:
            path = "%s/%s/libc.so.6" % (directory, name)
            version = glibc_version(machine.read(path, 1 << 24) or b"")
            if version:
                return "glibc " + version
    return None


def _musl(machine):
    for directory in _LIBRARIES:
        for name in _names(machine, directory):
            if re.match(r"ld-musl-[a-z0-9_.-]+\.so\.1\Z", name):
                version = musl_version(machine.read(directory + "/" + name, 1 << 23) or b"")
                return "musl " + version if version else "musl"
    return None


# --- locale and time zone ------------------------------------------------------------------


def locale_variables(environ, coerced=frozenset()):
    """LANG and LC_* as they are set, where they are short printable text."""
    found = {}
    for name in sorted(environ):
        if name == "LANG" or re.match(r"LC_[A-Z]{1,20}\Z", name):
            value = processor.word(environ[name])
            if value is not None and name not in coerced:
                found[name] = value
    return found


def _coerced(machine):
    """LC_CTYPE where this interpreter set it itself (PEP 538): the kernel knows what was given."""
    given = machine.text("/proc/self/environ", 1 << 22) if machine.root == "/" else None
    if not given or machine.environ.get("LC_CTYPE") not in ("C.UTF-8", "C.utf8", "UTF-8"):
        return frozenset()
    started = any(row.startswith("LC_CTYPE=") for row in given.split("\0"))
    return frozenset() if started else frozenset(["LC_CTYPE"])


def locale(machine):
    found = locale_variables(machine.environ, _coerced(machine))
    encoding = _encoding() if machine.root == "/" else None
    if encoding:
        found["encoding"] = encoding
    return found


def _encoding():
    """What the C library calls the encoding of this process's locale."""
    try:
        import _locale

        return processor.word(_locale.nl_langinfo(_locale.CODESET), 64)
    except (AttributeError, ImportError, ValueError):
        return None


def utf8_mode(machine):
    """PEP 540: by the interpreter's own flag, of a recorded machine by the variable."""
    if machine.root == "/":
        return bool(getattr(sys.flags, "utf8_mode", 0))
    return machine.environ.get("PYTHONUTF8") == "1"


def zone_name(text):
    """``Europe/Lisbon`` out of a name, ``:name``, or a path into a zoneinfo directory."""
    text = text.strip()
    text = text[1:] if text.startswith(":") else text
    if _ZONEINFO in text:
        text = text.rsplit(_ZONEINFO, 1)[1]
        text = re.sub(r"^(posix|right)/", "", text)
    return processor.word(text, 64) if not text.startswith("/") else None


def timezone(machine):
    """By TZ (empty means UTC, tzset(3)), else /etc/timezone, else where /etc/localtime leads."""
    given = machine.environ.get("TZ")
    if given is not None:
        return "UTC" if given in ("", ":") else zone_name(given)
    for line in (machine.text("/etc/timezone", 4096) or "").splitlines():
        if line.strip() and not line.startswith("#"):
            return zone_name(line)
    try:
        return _linked_zone(os.readlink(machine.path("/etc/localtime")))
    except (OSError, ValueError, AttributeError):
        return None


def _linked_zone(target):
    return zone_name(target) if _ZONEINFO in target else None


# --- all of it -----------------------------------------------------------------------------


def kernel_release(machine):
    text = machine.text("/proc/sys/kernel/osrelease", 4096)
    if text is None and machine.root == "/":
        try:
            text = os.uname().release
        except AttributeError:
            text = None
    return processor.word(text) if text else None


def facts(machine, process="self"):
    """:class:`envfreeze.model.host.Platform` as a dict.

    *process*: ``self``, or the number of the process whose affinity and control group count.
    """
    cpuinfo = head(machine, "/proc/cpuinfo")
    found = {
        "kernel-release": kernel_release(machine),
        "libc": libc(machine),
        "cpu": processor.cpu(cpuinfo),
        "limits": limits.facts(machine, process),
        "container": surroundings.container(machine, process),
        "virtualization": surroundings.virtualization(machine, cpuinfo),
        "locale": locale(machine),
        "utf8-mode": utf8_mode(machine),
        "timezone": timezone(machine),
    }
    return {key: value for key, value in found.items() if value is not None}
