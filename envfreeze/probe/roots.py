"""The directories outside the environment that it imports from: what points where.

Editable installs name their tree in as many ways as there are build back ends; all are read as
text, nothing is run. The styles and the files that they leave:

- setuptools: ``__editable__.NAME.pth`` with a line, or with an ``import`` of
  ``__editable___NAME_finder.py`` (``MAPPING``, ``NAMESPACES``), or a line that names a directory
  of links; before version 64 ``NAME.egg-link`` and ``easy-install.pth``;
- hatchling, pdm-backend: ``_editable_impl_NAME.pth`` with a line, or an ``import`` of a ``.py``
  beside it that calls ``map_module``; flit, poetry-core, uv: a ``.pth`` with a line;
- flit with ``--symlink``: links;
- meson-python ``_NAME_editable_loader.py``, scikit-build-core ``_editable_skbc_NAME.py``.
"""

import ast
import json
import os
import re

from . import pointers, sitepath
from .machine import is_utf8

MARKERS = ("pyproject.toml", "setup.py", "setup.cfg")
_TELLING = (*MARKERS, ".git", "pyvenv.cfg", "conda-meta")
LEVELS = 3
MOST = 2000  # Paths that are looked at; who names more means harm.
LONGEST = 4096  # Linux's PATH_MAX, in bytes; nothing can lie at a longer path.

_IMPORT = re.compile(r"import[ \t]")
_IMPORTED = re.compile(r"\bimport[ \t]+(_\w*)")
# One that is not closed ends with its line, so that no text is looked at twice.
_LITERAL = re.compile(r"'(?:[^'\\\n]|\\.)*'?|\"(?:[^\"\\\n]|\\.)*\"?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BACK_END = re.compile(r"__editable__|_editable_|_\w+_editable_loader\.py$")
_NORMAL = re.compile(r"[-_.]+")
_SAFE = re.compile(r"[^A-Za-z0-9._-]+")

# Nobody's project: as a tree they would hold the machine, or a person's whole life.
_WIDE = frozenset(
    "/ /bin /boot /dev /etc /home /lib /lib64 /proc /root /run /sbin /sys /tmp /usr /usr/bin"
    " /usr/include /usr/lib /usr/lib64 /usr/local /usr/local/bin /usr/local/lib /usr/sbin"
    " /usr/share /usr/src /var /var/lib /var/tmp".split()
)
_NOT_FILES = ("/dev/", "/proc/", "/sys/")
# Where links of the system's own packages lead.
_SYSTEM = ("/bin/", "/etc/", "/lib/", "/lib64/", "/usr/", "/var/lib/")


class Mention(object):
    """A path that some file (*via*) names, as it is spelt there."""

    def __init__(self, via, spelt, kind, owner=None):
        self.via = via
        self.spelt = spelt
        self.kind = kind  # entry: of sys.path; tree: a project; code: a package or module; link
        self.owner = owner  # Name of the distribution whose metadata this is.
        self.real = os.path.realpath(spelt)


class Root(object):
    """A directory that is kept as a whole."""

    def __init__(self, path):
        self.path = path
        self.real = os.path.realpath(path)
        self.key = ""
        self.spellings = [path]
        self.via = set()
        self.imports = set()  # Of directories, relative to the root, as are the next two.
        self.packages = set()  # Directories that a finder names.
        self.modules = set()  # Files that a finder names.
        self.dists = set()
        self.problem = None

    def relative(self, real):
        return "" if real == self.real else real[len(self.real.rstrip("/")) + 1 :]

    def holds(self, real):
        return is_below(real, self.real)


def _may_be_path(text):
    return "\0" not in text and len(text) < LONGEST


def is_below(path, directory):
    return path == directory or path.startswith(directory.rstrip("/") + "/")


class Finder(object):
    """Collects the mentions of one environment, and makes roots of them."""

    def __init__(self, machine, facts, sites):
        self.machine = machine
        self.sites = sites  # [Site]: the walked directories
        self.prefixes = [
            os.path.realpath(path) for path in {facts["prefix"], facts["base-prefix"]} if path
        ]
        self.own = [os.path.realpath(site.path) for site in sites]
        self.own += [os.path.realpath(facts[k]) for k in ("stdlib", "purelib", "platlib")]
        home = machine.environ.get("HOME") or os.path.expanduser("~")
        self.homes = {home.rstrip("/"), os.path.realpath(home)}
        self.mentions = []
        self.looked_at = set()  # Paths that the answer depends on, whether there or not.
        self.too_many = False
        self.roots = {}  # By real path.

    def find(self, entries, dists):
        """The roots. *entries*: ``[(path, kind)]`` of sys.path; *dists*: of the snapshot."""
        self._editables(dists)
        self._entries(entries)
        for site in self.sites:
            self._pointers(site)
        for mention in self.mentions:
            self._root_for(mention)
        roots = self._merged()
        for mention in self.mentions:
            self._attach(roots, mention)
        self._name(roots, dists)
        return roots

    # --- who names what ---

    def _mention(self, mention):
        """Take note of *mention*, where its paths can be written down."""
        for path in (mention.via, mention.spelt, mention.real):
            if not is_utf8(path) or _CONTROL.search(path):
                self.machine.find(
                    "not-utf8", mention.via, "the path of a source tree cannot be written down"
                )
                return False
        if len(self.mentions) >= MOST:
            if not self.too_many:
                detail = "there are more than %d names of source trees: the rest is left out" % MOST
                self.machine.find("source-many", mention.via, detail, "look who wrote them there")
            self.too_many = True
            return False
        self.mentions.append(mention)
        return True

    def _editables(self, dists):
        for dist in dists:
            path = editable_path(dist.get("direct_url"))
            if path is None:
                continue
            place = dist["site"] + "/" + dist["info"] + "/direct_url.json"
            if not os.path.isabs(path) or not _may_be_path(path):
                detail = "%r is no directory's path" % path[:LONGEST]
                self.machine.find("source-missing", place, detail, "uninstall it")
                continue
            mention = Mention(place, os.path.normpath(path), "tree", dist["name"])
            self.looked_at.add(path)
            if self._mention(mention) and not os.path.isdir(path):
                self._missing(mention)

    def _missing(self, mention):
        root = self.roots.setdefault(mention.real, Root(mention.spelt))
        root.problem = "it is not there"
        self.machine.find(
            "source-missing",
            mention.via,
            "%s is an editable install of %s, which is not there" % (mention.owner, mention.spelt),
            "uninstall it, or bring its source tree back",
        )

    def _entries(self, entries):
        listed = self.machine.environ.get("PYTHONPATH", "").split(os.pathsep)
        named = {os.path.abspath(path) for path in listed if path}
        for path, kind in entries:
            if kind in ("pth", "pythonpath"):
                self.looked_at.add(path)
            if kind not in ("pth", "pythonpath") or not os.path.exists(path):
                continue  # What is not there is passed over by the interpreter, too.
            if os.path.isfile(path):
                if not self._is_own(os.path.realpath(path)):
                    self.machine.find(
                        "source-file",
                        path,
                        "sys.path has this file: it is not kept",
                        "unpack it into a directory",
                    )
            elif path in named or kind == "pythonpath":  # Or a wrapper script's own.
                self._mention(Mention("PYTHONPATH", path, "entry"))

    def _pointers(self, site):
        imported = set()
        for name in site.names:
            place = site.path + "/" + name
            if name.endswith(".pth"):
                imported |= self._pth(site, name)
            elif name.endswith(".egg-link"):
                self._egg_link(place, name)
            elif name in site.links:
                self._link(place)
        for path in site.links:
            if "/" in path:
                self._link(site.path + "/" + path)
        for name in sorted(imported & set(site.names)):
            known = _BACK_END.match(name) is not None
            self._literals(site.path + "/" + name, known)
            if name.endswith("_editable_loader.py"):
                self.machine.find(
                    "source-build",
                    site.path + "/" + name,
                    "meson-python's editable installs are built when they are imported: "
                    "elsewhere that needs the same tools, and may fail",
                    "install it without -e",
                )

    def _pth(self, site, name):
        """Mentions of its lines. Returns the names of the modules beside it that it imports."""
        imported, seen = set(), set()  # type: set, set
        place = site.path + "/" + name
        data = self.machine.read(place, pointers.LIMIT)
        for line in sitepath.decode(data or b"").splitlines():
            if line.startswith("#") or not line.strip() or line in seen:
                continue
            seen.add(line)
            if _IMPORT.match(line):
                imported.update(word + ".py" for word in _IMPORTED.findall(line))
                if "/" in line:
                    self._in_literals(place, line, True)
                continue
            line = line.rstrip()
            if "\0" in line:
                break
            if not _may_be_path(line):
                continue
            path = os.path.abspath(os.path.join(site.path, line))
            self.looked_at.add(path)
            if os.path.isdir(path):
                spelt = line if os.path.isabs(line) else path
                self._mention(Mention(place, spelt, "entry"))
        return imported

    def _egg_link(self, place, name):
        text = self.machine.text(place, pointers.LIMIT) or ""
        lines = text.splitlines()
        if not lines or not os.path.isabs(lines[0]) or not _may_be_path(lines[0]):
            return
        owner = name[: -len(".egg-link")]
        self.looked_at.add(lines[0])
        if not os.path.isdir(lines[0]):
            mention = Mention(place, lines[0], "tree", owner)
            if self._mention(mention):
                self._missing(mention)
            return
        second = lines[1].strip() if len(lines) > 1 else ""
        project = os.path.normpath(os.path.join(lines[0], second))
        if not second or os.path.isabs(second) or not is_below(lines[0].rstrip("/"), project):
            project = lines[0]
        self.looked_at.add(project)
        if project.count("/") >= lines[0].rstrip("/").count("/") - LEVELS:
            self._mention(Mention(place, project, "tree", owner))
        self._mention(Mention(place, lines[0], "entry", owner))

    def _link(self, place):
        try:
            target = os.readlink(place)
        except OSError:
            return
        full = os.path.normpath(os.path.join(os.path.dirname(place), target))
        self.looked_at.add(full)
        if os.path.exists(full):
            self._mention(Mention(place, full, "link"))

    def _literals(self, place, known):
        data = self.machine.read(place, pointers.LIMIT)
        self._in_literals(place, (data or b"").decode("utf-8", "replace"), known)

    def _in_literals(self, place, text, known):
        """What the string literals of some code name. *known*: the code of a build back end."""
        literals = {text for text in _LITERAL.findall(text) if text[1:2] == "/"}
        for literal in sorted(literals):
            try:
                path = ast.literal_eval(literal)
            except (ValueError, SyntaxError):
                continue
            # setuptools names a module by its path without the suffix.
            for found in (path, path + ".py"):
                if not _may_be_path(path):
                    continue
                self.looked_at.add(found)
                if not os.path.exists(found):
                    continue
                if self._is_wide(os.path.realpath(found)):
                    break  # Surely not what is imported.
                if os.path.isdir(found) or found.endswith((".py", ".so", ".pyi")):
                    mention = Mention(place, path, "code" if known else "maybe")
                    mention.real = os.path.realpath(found)
                    self._mention(mention)
                    break

    # --- what becomes a root ---

    def _is_own(self, real):
        """Whether the environment itself has it: it is kept, or the interpreter's, anyway."""
        return any(is_below(real, own) for own in self.own)

    def _root_for(self, mention):
        if mention.real in self.roots or self._is_own(mention.real):
            return
        if mention.kind == "tree":
            self._add(mention, mention.spelt)
            return
        if any(root.holds(mention.real) for root in self.roots.values() if not root.problem):
            return
        if mention.kind == "link" and self._is_systems(mention):
            return
        directory = mention.spelt.rstrip("/") or "/"
        if not os.path.isdir(directory):
            directory = os.path.dirname(directory)
        found = self._project(directory)
        if found is None:
            if mention.kind == "maybe":
                return
            if not os.path.isdir(mention.real):
                self.machine.find(
                    "source-outside",
                    mention.via,
                    "it names %s, which is not kept" % mention.spelt,
                    "move that into a directory with a pyproject.toml",
                )
                return
            found = directory
        self._add(mention, found)

    def _is_systems(self, mention):
        """A link into the prefix, or to where the system's packages put data.

        Not into its ``src``: there pip checks projects out, and rebuilds put source trees.
        """
        for prefix in self.prefixes:
            if is_below(mention.real, prefix) and not is_below(mention.real, prefix + "/src"):
                return True
        return mention.real.startswith(_SYSTEM) and not mention.real.startswith("/usr/src/")

    def _project(self, directory):
        """The nearest directory, itself or above, that looks like a project's; or None."""
        place = directory
        for level in range(LEVELS + 1):
            if self._is_wide(os.path.realpath(place)):
                return None
            self.looked_at.update(place + "/" + name for name in _TELLING)
            try:
                names = set(os.listdir(place))
            except OSError:
                return None
            if level and ("pyvenv.cfg" in names or "conda-meta" in names):
                return None
            if names.intersection(MARKERS):
                return place
            if ".git" in names:
                return None
            place = os.path.dirname(place)
        return None

    def _is_wide(self, real):
        return real in _WIDE or real in self.homes or (real + "/").startswith(_NOT_FILES)

    def _add(self, mention, path):
        root = Root(path)
        if root.real in self.roots:
            return
        self.roots[root.real] = root
        if self._is_wide(root.real):
            root.problem = "it is no project's directory but the machine's, or a person's home"
            self.machine.find(
                "source-large",
                path,
                "%s imports from here: %s; it is not kept" % (mention.via, root.problem),
                "move the modules into a directory of their own",
            )

    def _merged(self):
        """The roots without those that lie in another and have no repository of their own."""
        kept = []  # type: list
        for root in sorted(self.roots.values(), key=lambda root: (len(root.real), root.real)):
            outer = [other for other in kept if other.holds(root.real) and not other.problem]
            if root.problem or not outer or os.path.isdir(root.real + "/.git"):
                kept.append(root)
        return sorted(kept, key=lambda root: root.real)

    def _attach(self, roots, mention):
        holding = [root for root in roots if root.holds(mention.real)]
        if not holding:
            return
        root = max(holding, key=lambda root: len(root.real))
        root.via.add(mention.via)
        if mention.owner:
            root.dists.add(normalize(mention.owner))
        self._spelling(root, mention)
        relative = root.relative(mention.real)
        if mention.kind == "entry":
            root.imports.add(relative)
        elif mention.kind in ("code", "maybe", "link"):
            if not os.path.isdir(mention.real):
                if os.path.basename(relative) != "__init__.py":
                    root.modules.add(relative)
                    root.imports.add(os.path.dirname(relative))
                    return
                relative = os.path.dirname(relative)
            root.packages.add(relative)
            has_init = os.path.isfile(mention.real + "/__init__.py") or relative != ""
            is_package = has_init and os.path.isfile(
                os.path.join(root.real, relative, "__init__.py")
            )
            root.imports.add(os.path.dirname(relative) if is_package else relative)

    @staticmethod
    def _spelling(root, mention):
        """How *mention* spells the root, where what follows is what lies in it."""
        spelt = mention.spelt.rstrip("/") or "/"
        real = mention.real
        if real.endswith(".py") and not spelt.endswith(".py"):
            real = real[:-3]
        relative = root.relative(real)
        if relative:
            if not spelt.endswith("/" + relative):
                return
            spelt = spelt[: -len(relative)].rstrip("/")
        if spelt and os.path.realpath(spelt) == root.real and spelt not in root.spellings:
            root.spellings.append(spelt)

    # --- names ---

    def _name(self, roots, dists):
        """Give each its distributions, and a key that it would get at ``VENV/src/KEY``, too."""
        owners = self._owners(dists)
        for root in roots:
            root.dists.update(owners[via] for via in root.via if via in owners)
            imports = {os.path.join(root.real, path).rstrip("/") for path in root.imports}
            for dist in dists:
                if os.path.realpath(dist["site"]) in imports:
                    root.dists.add(normalize(dist["name"]))
            if root.real not in root.spellings:
                root.spellings.append(root.real)
        taken = set()
        for natural, root in sorted(
            ((natural_key(root), root) for root in roots), key=lambda item: (item[0], item[1].real)
        ):
            number, key = 1, natural
            while key in taken:
                number += 1
                key = "%s-%d" % (natural, number)
            taken.add(key)
            root.key = key

    def _owners(self, dists):
        """``{full path of a pointer: name of the distribution whose RECORD has it}``."""
        wanted = {mention.via for mention in self.mentions}
        owners = {}
        for dist in dists:
            head = dist["site"] + "/"
            for row in dist["rows"] or ():
                if row[0] == "site" and head + row[1] in wanted:
                    owners[head + row[1]] = normalize(dist["name"])
        return owners


class Site(object):
    """A walked site directory."""

    def __init__(self, path, names, links):
        self.path = path
        self.names = names  # Of the entries in it.
        self.links = links  # Unowned links, relative paths.


def editable_path(direct_url):
    """The project directory of an editable install by its direct_url.json (PEP 610), or None."""
    if not direct_url or "editable" not in direct_url:
        return None
    try:
        document = json.loads(direct_url)
    except (ValueError, RecursionError):
        return None
    about = document.get("dir_info") if isinstance(document, dict) else None
    url = document.get("url") if isinstance(about, dict) else None
    if not isinstance(url, str) or not isinstance(about, dict) or about.get("editable") is not True:
        return None
    from urllib.parse import unquote_to_bytes

    for head in ("file:///", "file://localhost/"):
        if url.lower().startswith(head):
            path = url[len(head) - 1 :].partition("#")[0].partition("?")[0]
            # A lone surrogate is no character: a path with one is nowhere.
            return os.fsdecode(unquote_to_bytes(path.encode("utf-8", "surrogatepass")))
    return url


def normalize(name):
    """PEP 503."""
    return _NORMAL.sub("-", name).lower()


def natural_key(root):
    """The distribution's name; that of the directory, where there is none, or more than one."""
    name = min(root.dists) if len(root.dists) == 1 else os.path.basename(root.real)
    return _SAFE.sub("-", name).strip("-._") or "source"
