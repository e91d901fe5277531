"""How the files of a source tree differ from what the repository's commit has.

Git itself would run filters to find out, and they are the repository's to name. So the names of
blobs are worked out here, from the bytes on the disk.
"""

import hashlib
import os

from . import git, trees

MAX_TEXT = 1 << 24  # Bytes of a file whose line endings are looked into.


class Changes(object):
    """Compares the rows of a tree with its commit."""

    def __init__(self, machine, tree, rows, names):
        """*names*: ``{path: name of the blob that has the content}``."""
        self.machine = machine
        self.tree = tree
        self.facts = tree.facts
        self.rows = {row[0]: row for row in rows}
        self.names = names

    def modified(self):
        """Paths that are not as the commit has them; deleted ones, and moved submodules, too."""
        found, other = list(self.facts.moved), []
        for path, (mode, name) in self.facts.tree.items():
            if mode == git.GITLINK or trees.is_skipped(path):
                continue
            row = self.rows.get(path)
            if row is None or (row[4] is not None and not self._is_link(path, mode, name)):
                found.append(path)
            elif row[4] is None and self.names.get(path) != name:
                other.append((path, name))
            elif row[4] is None and self._mode_differs(row, mode):
                found.append(path)
        try:
            return sorted(found + self._truly(other))
        except git.GitError:
            return sorted(found + [path for path, _ in other])

    def absent(self):
        """Paths of git-lfs pointers whose content is not there."""
        attributes = [p for p in self.tree.regular if p.rpartition("/")[2] == ".gitattributes"]
        if not any(b"filter=lfs" in self._read(path, 1 << 20) for path in attributes):
            return []
        return [
            path
            for path, st in sorted(self.tree.regular.items())
            if 100 < st.st_size <= git.POINTER_LIMIT
            and path in self.facts.tracked
            and git.absent_content(self._read(path, git.POINTER_LIMIT))
        ]

    def _read(self, path, limit):
        return self.machine.read(self.tree.root.real + "/" + path, limit) or b""

    def _is_link(self, path, mode, name):
        try:
            text = os.fsencode(os.readlink(self.tree.root.real + "/" + path))
        except OSError:
            return False
        return mode == git.LINK and _blob_name(text, name) == name

    def _mode_differs(self, row, mode):
        if mode == git.LINK:
            return self.facts.links
        return self.facts.modes and row[3] != (mode == "100755")

    def _truly(self, others):
        """Those of *others* that git-lfs or line endings do not explain: files as checked out."""
        found, groups = [], {}  # type: list, dict
        for path, name in others:
            groups.setdefault(self.facts.repository_of(path), []).append((path, name))
        for repository, items in groups.items():
            blobs = repository.blobs(sorted({name for _, name in items}))
            for path, name in items:
                wanted = git.absent_content(blobs.get(name, b""))
                if wanted is None or wanted != self.rows[path][1]:
                    data = self._read(path, MAX_TEXT)
                    unix = data.replace(b"\r\n", b"\n")
                    if unix == data or _blob_name(unix, name) != name:
                        found.append(path)
        return found


def _blob_name(data, like):
    """The name of a git object with the content *data*, made as the name *like* was."""
    try:
        name = hashlib.new("sha256" if len(like) == 64 else "sha1")
    except ValueError:  # No SHA-1 where FIPS rules.
        return None
    name.update(b"blob %d\0" % len(data))
    name.update(data)
    return name.hexdigest()
