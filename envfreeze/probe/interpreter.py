"""The target's interpreter, from sys and sysconfig.

sysconfig fixes its prefix when it is imported, so it is imported where it is used: by then
the prefix of a venv has been set.
"""

import os
import platform
import re
import struct
import sys

from .machine import Machine

# Those of CPython itself, of any version.
_SCHEMES = frozenset(
    [
        "nt",
        "nt_user",
        "nt_venv",
        "osx_framework_user",
        "posix_home",
        "posix_prefix",
        "posix_user",
        "posix_venv",
        "venv",
    ]
)


def version():
    """``3.11.7``, ``3.13.0rc1``: the language version with its pre-release part."""
    info = sys.version_info
    text = "%d.%d.%d" % info[:3]
    if info.releaselevel != "final":
        text += {"alpha": "a", "beta": "b", "candidate": "rc"}[info.releaselevel] + str(info.serial)
    return text


def libc():
    """``glibc 2.36`` or ``musl``, as this process has it loaded; None where it cannot be told."""
    import sysconfig

    try:
        text = os.confstr("CS_GNU_LIBC_VERSION")
        if text:
            return text
    except (AttributeError, OSError, ValueError):
        pass
    triplet = sysconfig.get_config_var("HOST_GNU_TYPE") or ""
    return "musl" if "musl" in triplet else None


# --- what tells who made it ------------------------------------------------------------------


def word(value, limit=256):
    """*value* where it is one short printable line, else None."""
    value = str(value).strip() if value is not None else ""
    return value if value and len(value) <= limit and value.isprintable() else None


def refusal(text):
    """The first line of the message in EXTERNALLY-MANAGED (PEP 668), or None."""
    match = re.search(r"^Error[ \t]*=[ \t]*(.*)$", text, re.M)
    return word(match.group(1)) if match else None


def conda_record(names, version):
    """Python's own record among the names in conda-meta, that of *version* first; or None.

    ``NAME-VERSION-BUILD.json``: a name may hold dashes, the others hold none.
    """
    stems = [name[:-5] for name in names if name.endswith(".json")]
    own = sorted(s for s in stems if s.count("-") > 1 and s.rsplit("-", 2)[0] == "python")
    own.sort(key=lambda stem: stem.rsplit("-", 2)[1] != version)
    return word(own[0]) if own else None


def packaged_by(text):
    """``conda-forge`` out of ``3.11.7 | packaged by conda-forge | (main, ...)``, or None."""
    match = re.search(r"\| packaged by ([^|]+)\|", text)
    return word(match.group(1)) if match else None


def _built_prefix(sysconfig):
    """What the Makefile had: sysconfig itself may have put the real prefix in its place."""
    try:
        module = sys.modules[sysconfig._get_sysconfigdata_name()]
        return word(module.build_time_vars.get("prefix"))
    except (AttributeError, KeyError):
        return None


def _libpython(config):
    name = word(config.get("INSTSONAME")) or ""
    if not re.match(r"[A-Za-z0-9._-]+\Z", name) or name.endswith(".a"):
        return None
    for directory in (config.get("LIBDIR"), sys.base_prefix + "/lib"):
        path = "%s/%s" % (directory, name)
        if directory and os.path.isfile(path):
            return word(path)
    return None


def _implementation_version():
    info = sys.implementation.version
    return None if info[:3] == sys.version_info[:3] else "%d.%d.%d" % tuple(info[:3])


def _listed(directory):
    try:
        return os.listdir(directory)
    except OSError:
        return []


def signs(sysconfig, config, stdlib):
    """:class:`envfreeze.model.snapshot.Signs` as a dict, what is not there left out."""
    machine = Machine(environ={})
    version = os.environ.get("PYTHON_VERSION", "")
    sha256 = os.environ.get("PYTHON_SHA256", "")
    revision = " ".join(part for part in getattr(sys, "_git", ())[1:] if part)
    found = {
        "schemes": sorted(set(sysconfig.get_scheme_names()) - _SCHEMES),
        "built-prefix": _built_prefix(sysconfig),
        "triplet": word(config.get("HOST_GNU_TYPE")),
        "libpython": _libpython(config),
        "framework": word(config.get("PYTHONFRAMEWORK")),
        "revision": word(revision),
        "implementation-version": _implementation_version(),
        "standalone": bool(config.get("PYTHON_BUILD_STANDALONE")),
        "standalone-build": word(machine.text(sys.base_prefix + "/BUILD", 4096), 64),
        "externally-managed": refusal(machine.text(stdlib + "/EXTERNALLY-MANAGED", 1 << 16) or ""),
        "conda-record": conda_record(_listed(sys.base_prefix + "/conda-meta"), _plain_version()),
        "packaged-by": packaged_by(sys.version),
        "image-version": version if re.match(r"[0-9][0-9a-z.]{1,20}\Z", version) else None,
        "image-sha256": sha256 if re.match(r"[0-9a-f]{64}\Z", sha256) else None,
    }
    return {key: value for key, value in found.items() if value}


def _plain_version():
    return "%d.%d.%d" % sys.version_info[:3]


def facts(venv, base_executable):
    import sysconfig

    config = sysconfig.get_config_vars()
    paths = sysconfig.get_paths()
    found = {
        "implementation": sys.implementation.name,
        "version": version(),
        "abiflags": getattr(sys, "abiflags", ""),
        "free-threaded": bool(config.get("Py_GIL_DISABLED")),
        "debug": bool(config.get("Py_DEBUG")),
        "platform": sysconfig.get_platform(),
        "machine": platform.machine(),
        "bits": struct.calcsize("P") * 8,
        "compiler": platform.python_compiler(),
        "build": " ".join(platform.python_build()),
        "executable": sys.executable,
        "base-executable": os.path.realpath(base_executable),
        "prefix": sys.prefix,
        "base-prefix": sys.base_prefix,
        "stdlib": os.path.dirname(os.path.abspath(os.__file__)),
        "purelib": paths["purelib"],
        "platlib": paths["platlib"],
        "scripts": paths["scripts"],
        "venv": venv is not None,
        "system-site": bool(venv is not None and venv.system_site),
    }
    optional = {
        "cache-tag": sys.implementation.cache_tag,
        "soabi": config.get("SOABI"),
        "ext-suffix": config.get("EXT_SUFFIX"),
        "config-args": config.get("CONFIG_ARGS"),
        "libc": libc(),
    }
    found.update((key, value) for key, value in optional.items() if value)
    found["signs"] = signs(sysconfig, config, found["stdlib"])
    return found
