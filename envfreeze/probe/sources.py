"""Source trees outside the environment, as the parts of a snapshot that they are."""

import hashlib
import json
import os
import time

from . import changes, files, git, pointers, trees, treestate
from .dists import MEMORY
from .machine import is_utf8

if False:  # For type checkers; the probe has no time to import it.
    from typing import Any  # noqa: F401

SECONDS = 120  # For what git has to say of all trees together.
_BATCH = 500  # Files whose digests are remembered together.


class Trees(object):
    """All source trees of an environment."""

    def __init__(self, machine, hasher, finder):
        """*finder*: a :class:`roots.Finder`."""
        self.machine = machine
        self.finder = finder
        self.roots = []
        self.state = None  # type: Any  # treestate.State, of the trees before they were read
        self._hasher = hasher
        self._kept = []

    def look(self, entries, dists):
        """Find the trees, choose their files, and start to hash them."""
        self.roots = self.finder.find(entries, dists)
        program = git.program(os.environ)
        self.state = treestate.of(self.real(), program, os.environ)
        if program is None:
            self._without_git()
        end = time.monotonic() + SECONDS
        for root in self.roots:
            if root.problem:
                continue
            inner = [other.real for other in self.roots if other is not root]
            inside = [p for p in inner + self.finder.own if p != root.real and root.holds(p)]
            tree = trees.Tree(self.machine, root, {root.relative(path) for path in inside})
            tree.prefixes = self.finder.prefixes
            tree.look(program, end - time.monotonic())
            if not root.problem:
                if self.state is not None and not self._saw(tree):
                    self.state = None
                kept = Kept(self.machine, tree)
                kept.start(self._hasher)
                self._kept.append(kept)

    def real(self):
        """The directories that are trees."""
        return [root.real for root in self.roots if not root.problem]

    def _saw(self, tree):
        """Whether the state covers all that is kept of *tree*."""
        root = tree.root.real
        above = {path.rpartition("/")[0] for paths in (tree.regular, tree.links) for path in paths}
        return all(self.state.covers(root + "/" + path if path else root) for path in above)

    def _without_git(self):
        repositories = [root.path for root in self.roots if git.find(root.real)]
        if repositories:
            self.machine.find(
                "source-git",
                repositories[0],
                "no git on PATH: what it tracks and ignores here is not known, all is kept",
                "install git on the captured machine",
            )

    def finish(self):
        """After the hasher has run: the ``Source`` documents, and what to remember."""
        remember, documents = {}, {}
        for root in self.roots:
            documents[root.key] = _document(root)
        for kept in self._kept:
            documents[kept.root.key].update(kept.finish())
            remember.update(kept.remember())
        return [documents[key] for key in sorted(documents)], remember

    def neutralize(self, sites, dists):
        """Give the files that name a tree the digest of their neutral form."""
        if not self._kept:
            return
        neutral = _Neutral(self.machine, [kept.root for kept in self._kept])
        for dist in dists:
            head = dist["site"] + "/"
            for row in dist["rows"] or ():
                # Most rows are of neither kind: a cheap question first.
                if row[0] == "site" and ("/" not in row[1] or row[1].endswith("url.json")):
                    row[2] = neutral.digest(head, row[1], row[2], row[3])
            if dist.get("direct_url"):
                dist["direct_url"] = neutral.direct_url(dist["direct_url"])
        for site in sites:
            head = site["path"] + "/"
            for row in site["loose"]:
                if row[4] is not None:
                    row[4] = neutral.link(head + row[0], row[4])
                else:
                    row[1] = neutral.digest(head, row[0], row[1], row[2])


class _Neutral(object):
    """The neutral forms of files and links, for the trees of some roots."""

    def __init__(self, machine, roots):
        self.machine = machine
        self.spelt = [(text, root.key) for root in roots for text in root.spellings]
        self.via = {via for root in roots for via in root.via}

    def digest(self, head, path, sha256, size):
        """The digest of the neutral form of *path*; *sha256* where it is the same."""
        if sha256 is None or not pointers.is_pointer(path) or (size or 0) > pointers.LIMIT:
            return sha256
        data = self.machine.read(head + path, pointers.LIMIT)
        if data is None or hashlib.sha256(data).hexdigest() != sha256:
            return sha256  # A script's neutral digest, or a file that changes as we look.
        if pointers.keys(data):
            self._is_marked(head + path)
            return sha256
        changed = pointers.neutral(path, data, self.spelt)
        if changed == data:
            if head + path in self.via:
                self.machine.find(
                    "source-relative",
                    head + path,
                    "it names a source tree in a way that cannot follow it to another place",
                    "write the tree's absolute path",
                )
            return sha256
        return hashlib.sha256(changed).hexdigest()

    def _is_marked(self, place):
        self.machine.find(
            "source-placeholder",
            place,
            "it holds a text that stands for a source tree in locks: it may not come back as it is",
            "reinstall what it belongs to",
        )

    def direct_url(self, text):
        data = text.encode("utf-8", "surrogatepass")
        if pointers.keys(data):
            return text
        changed = pointers.neutral("x.dist-info/direct_url.json", data, self.spelt)
        return changed.decode("utf-8", "surrogatepass")

    def link(self, place, target):
        if pointers.keys(os.fsencode(target)):
            self._is_marked(place)
            return target
        full = os.path.normpath(os.path.join(os.path.dirname(place), target))
        changed = pointers.neutral_link(full, self.spelt)
        return target if changed == full else changed


class Kept(object):
    """A tree whose files are known: their digests, and how they differ from the commit."""

    def __init__(self, machine, tree):
        self.machine = machine
        self.tree = tree
        self.root = tree.root
        self.rows = []
        self._checks = []

    def start(self, hasher):
        """Rows for all files; their digests are recalled, or queued for hashing."""
        blob = self._blob()
        for path in sorted(self.tree.regular.keys() | self.tree.links.keys()):
            st = self.tree.regular.get(path)
            if st is None:
                self.rows.append([path, None, 0, False, self.tree.links[path]])
            else:
                self.rows.append([path, None, st.st_size, files.is_executable(st), None])
        group = [(row, self.tree.regular[row[0]]) for row in self.rows if row[4] is None]
        for index in range(0, len(group), _BATCH):
            check = Check(self.machine, self.root, group[index : index + _BATCH], blob)
            check.start(hasher)
            self._checks.append(check)

    def _blob(self):
        """The hash that names git's objects here; None: there is nothing to compare with."""
        for _, name in (self.tree.facts.tree if self.tree.facts else {}).values():
            return "sha256" if len(name) == 64 else "sha1"
        return None

    def finish(self):
        """After the hasher has run: what the document of the tree has besides its root's."""
        names = {}
        for check in self._checks:
            names.update(check.names_of())
        for row in self.rows:
            if row[1] is None and row[4] is None:
                self.tree.note("unreadable", "they cannot be read", row[0])
        found = {"files": self.rows}
        if self.tree.facts is not None:
            compared = changes.Changes(self.machine, self.tree, self.rows, names)
            for path in compared.absent():
                self.tree.note("source-lfs", "git-lfs pointers whose content is not here", path)
            found["repository"] = self._repository(compared.modified())
        self.tree.report()
        return found

    def _repository(self, modified):
        facts = self.tree.facts
        modules = [s for s in facts.submodules if is_utf8("".join(filter(None, s.values())))]
        found = {
            "commit": facts.commit,
            "pushed": facts.pushed,
            "subdirectory": facts.subdirectory,
            "modified": [path for path in modified if is_utf8(path)],
            "untracked": [row[0] for row in self.rows if row[0] not in facts.tree],
            "submodules": modules,
        }
        for name, value in (("branch", facts.branch), ("url", facts.url)):
            if value is not None and is_utf8(value):
                found[name] = value
        return found

    def remember(self):
        found = {}
        for check in self._checks:
            notable = check.notable()
            if notable is not None:
                found[check.fingerprint] = notable
        return found


class Check(object):
    """Hashes some files of a tree, or recalls their digests."""

    def __init__(self, machine, root, group, blob):
        self.root = root
        self.group = group  # [(row, lstat)]
        self.blob = blob
        self.names = [None] * len(group)  # type: list
        text = json.dumps([MEMORY, "source", blob, root.real, [row[0] for row, _ in group]])
        digest = hashlib.sha256(text.encode("ascii"))
        digest.update(files.stamps([st for _, st in group]))
        self.fingerprint = digest.hexdigest()
        known = None if machine.rehash else machine.known.get(self.fingerprint)
        self._known = known

    def start(self, hasher):
        for index, (row, _) in enumerate(self.group):
            if self._known is not None:
                sha256, _, name = (self._known.get(str(index)) or "").partition(":")
                row[1], self.names[index] = sha256 or None, name or None
            else:
                place = self.root.real + "/" + row[0]
                hasher.add(place, self._setter(index), size=row[2], blob=self.blob)

    def _setter(self, index):
        def done(sha256, name):
            self.group[index][0][1] = sha256
            self.names[index] = name

        return done

    def names_of(self):
        """``{path: name of the blob}``"""
        return {row[0]: name for (row, _), name in zip(self.group, self.names)}  # noqa: B905

    def notable(self):
        """What to remember, if anything."""
        whole = all(row[1] for row, _ in self.group)
        if self._known is not None or not whole:
            return None
        if not files.settled([st for _, st in self.group]):
            return None
        return {
            str(index): row[1] if name is None else row[1] + ":" + name
            for index, ((row, _), name) in enumerate(zip(self.group, self.names))  # noqa: B905
        }


def _document(root):
    document = {
        "key": root.key,
        "root": root.real,
        "spellings": root.spellings,
        "via": sorted(root.via),
        "imports": sorted(root.imports),
        "dists": sorted(root.dists),
        "files": [],
    }
    if root.problem:
        document["problem"] = root.problem
    return document
