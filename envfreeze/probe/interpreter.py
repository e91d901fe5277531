"""The target's interpreter, from sys and sysconfig.

sysconfig fixes its prefix when it is imported, so it is imported where it is used: by then
the prefix of a venv has been set.
"""

import os
import platform
import struct
import sys


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
    return found
