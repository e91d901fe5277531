"""sys.path as the interpreter would build it, without running what builds it.

The probe starts with ``-S``, so :mod:`site` has not run: no ``.pth`` line was executed and
no ``sitecustomize`` imported. This module does what ``site.main()`` does (cpython
``Lib/site.py``), reading ``.pth`` files instead of running them. The directories come from
the target's own ``site.getsitepackages``, so a distribution's patches to it count.
"""

import locale
import os
import re
import site
import sys

_PREFIX = re.compile(
    r"^(.*)/(?:local/)?(?:lib|lib64)/(?:python[^/]*|pypy[^/]*)/(?:site|dist)-packages$"
)
_DEBIAN = re.compile(r"^(.*)/lib/python3/dist-packages$")

SITE_KINDS = ("site", "user", "system")

# A rebuilt venv with more than one site directory has this file in the first, a line for each of
# the others. It is no part of the environment, as pyvenv.cfg is none.
APART = "_envfreeze_sites.pth"
_APART_LINE = re.compile(
    r"import os, site, sys; site\.addsitedir\(os\.path\.join\(sys\.prefix, "
    r"'(apart-[1-9][0-9]{0,3})', 'lib', '([a-z]+[0-9.]+t?)', 'site-packages'\)\)"
)

# Newer interpreters skip hidden .pth files (cpython#113659, also in security releases).
_SKIPS_HIDDEN = "UF_HIDDEN" in site.addpackage.__code__.co_names


class Venv(object):
    def __init__(self, prefix, system_site):
        self.prefix = prefix
        self.system_site = system_site


def find_venv(executable):
    """The virtual environment that *executable* stands in, or None (PEP 405)."""
    directory = os.path.dirname(os.path.abspath(executable))
    for candidate in (directory, os.path.dirname(directory)):
        path = os.path.join(candidate, "pyvenv.cfg")
        if not os.path.isfile(path):
            continue
        system_site = True
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                key, mark, value = line.partition("=")
                if mark and key.strip().lower() == "include-system-site-packages":
                    system_site = value.strip().lower() == "true"
        return Venv(os.path.dirname(directory), system_site)
    return None


def apart_line(directory, tag):
    """A line of :data:`APART` for the site directory of *tag* below *directory* of the venv."""
    return (
        "import os, site, sys; site.addsitedir(os.path.join(sys.prefix, "
        "'%s', 'lib', '%s', 'site-packages'))" % (directory, tag)
    )


def apart(text):
    """The directories of an :data:`APART` file, relative to the venv; None: it is no such file."""
    lines = text.splitlines()
    matches = [_APART_LINE.match(line) for line in lines]
    whole = [m for m, line in zip(matches, lines) if m and m.end() == len(line)]  # noqa: B905
    if not lines or len(whole) < len(lines):
        return None
    return ["/".join((m.group(1), "lib", m.group(2), "site-packages")) for m in whole]


class PathBuilder(object):
    """sys.path in the making; remembers where each entry came from."""

    def __init__(self, machine):
        self.machine = machine
        self.order = []
        self.kinds = {}

    @property
    def entries(self):
        """``[(path, kind)]``"""
        return [(path, self.kinds[path]) for path in self.order]

    def add(self, path, kind):
        path = os.path.normcase(os.path.abspath(path))
        if path not in self.kinds:
            self.order.append(path)
            self.kinds[path] = kind
        elif kind in SITE_KINDS and self.kinds[path] not in SITE_KINDS:
            # PYTHONPATH or a .pth line named a site directory: it keeps its place in the order.
            self.kinds[path] = kind

    def add_site(self, directory, kind):
        """``site.addsitedir``: the directory, then what its ``.pth`` files name."""
        if not os.path.isdir(directory):
            return
        self.add(directory, kind)
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            return
        for name in names:
            if name.endswith(".pth") and not (_SKIPS_HIDDEN and name.startswith(".")):
                self._add_pth(directory, name)

    def _add_pth(self, directory, name):
        data = self.machine.read(os.path.join(directory, name), 1 << 20)
        if data is None:
            return
        others = apart(decode(data)) if name == APART else None
        if others is not None:
            for path in others:
                self.add_site(os.path.join(sys.prefix, path), "site")
            return
        for line in decode(data).splitlines():
            if line.startswith("#") or not line.strip():
                continue
            if line.startswith(("import ", "import\t")):
                continue  # Read, never run: the file itself is kept with its bytes.
            try:
                path = os.path.abspath(os.path.join(directory, line.rstrip()))
                exists = os.path.exists(path)
            except ValueError:
                return  # site drops the rest of such a file, too.
            if exists:
                self.add(path, "pth")


def decode(data):
    """Decode a ``.pth`` file as ``site`` does: UTF-8, else the locale's encoding."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode(locale.getpreferredencoding(False), "replace")


def enter_venv(venv):
    """Set the prefixes as ``site.venv()`` would; later look-ups depend on them."""
    if venv is not None:
        sys.prefix = sys.exec_prefix = venv.prefix


def build(machine, initial, venv):
    """``[(path, kind)]`` of sys.path. *initial* is sys.path as it stood before ``site``.

    PYTHONPATH is taken from the machine's environment: the probe may have been started
    without it, so that nothing there could take the place of a standard module. A python
    that is a wrapper script may have set its own.
    """
    extra = [
        path
        for environ in (os.environ, machine.environ)
        for path in environ.get("PYTHONPATH", "").split(os.pathsep)
        if path
    ]
    named = {os.path.abspath(p) for p in extra}
    builder = PathBuilder(machine)
    if not sys.flags.ignore_environment:
        for path in extra:
            builder.add(path, "pythonpath")
    for path in initial:
        if path and os.path.abspath(path) not in named:
            builder.add(path, "stdlib")
    prefixes = [sys.prefix, sys.exec_prefix]
    if venv is not None:
        for directory in site.getsitepackages([venv.prefix]):
            builder.add_site(directory, "site")
        prefixes = [venv.prefix]
        if venv.system_site:
            prefixes = [venv.prefix, sys.base_prefix, sys.base_exec_prefix]
    if (venv is None or venv.system_site) and _user_site_enabled(machine):
        builder.add_site(site.getusersitepackages(), "user")
    for directory in site.getsitepackages(prefixes):
        inherited = venv is not None and not directory.startswith(venv.prefix + os.sep)
        builder.add_site(directory, "system" if inherited else "site")
    return builder.entries


def _user_site_enabled(machine):
    if machine.environ.get("PYTHONNOUSERSITE") or sys.flags.no_user_site:
        return False
    return bool(site.check_enableusersite())


def prefix_of(path, default):
    """What ``bin``, ``share`` and ``include`` of the distributions in *path* are relative to."""
    match = _DEBIAN.match(path) or _PREFIX.match(path)
    if match is None:
        return default
    prefix = match.group(1)
    return (
        prefix + "/local"
        if "/local/lib/" in path and not prefix.endswith("/local")
        else prefix or "/"
    )
