"""What the probe of an environment does not look at and the verdict on an image needs: the
interpreter's own files, files of the system, the variables of a process there, and where PATH
leads. A program of its own: it is run as one, with the file of its request in the last argument.
"""

import hashlib
import json
import os
import shutil
import stat
import sys

_NOT_OURS = ("site-packages", "dist-packages", "__pycache__")
_BLOCK = 1 << 18


def word(path):
    """What stands for a file in a digest: where a link leads, or the sha256; None: not read."""
    try:
        if os.path.islink(path):
            return "-> " + os.readlink(path)
        digest = hashlib.sha256()
        with open(path, "rb", buffering=0) as file:
            for block in iter(lambda: file.read(_BLOCK), b""):
                digest.update(block)
        return digest.hexdigest()
    except OSError:
        return None


def standard(directory):
    """Files and links below the standard library, without packages and bytecode."""
    for here, directories, names in os.walk(directory):
        linked = [name for name in directories if os.path.islink(os.path.join(here, name))]
        directories[:] = [d for d in directories if d not in _NOT_OURS and d not in linked]
        linked = [name for name in linked if name not in _NOT_OURS]
        for name in names + linked:
            path = os.path.join(here, name)
            mode = os.lstat(path).st_mode
            kept = stat.S_ISREG(mode) or stat.S_ISLNK(mode)
            if kept and not name.endswith((".pyc", ".pyo")):
                yield path


def own_files(facts):
    """The files of the interpreter itself, as a capture lists them."""
    found = set(standard(os.path.realpath(facts["stdlib"])))
    for path in (facts["base_executable"], facts["libpython"]):
        if path is not None and os.path.exists(path):
            found.add(os.path.realpath(path))
    return found


def rows(paths, prefix):
    """``[path, word]``, a path below the prefix without it."""
    start = os.path.realpath(prefix).rstrip("/") + "/"
    return [[p[len(start) :] if p.startswith(start) else p, word(p)] for p in sorted(paths)]


def configuration(stdlib):
    """What Debian keeps of it in /etc: the file that a link of the standard library leads to."""
    return set(standard("/etc/" + os.path.basename(os.path.realpath(stdlib))))


def look(request):
    facts = request["interpreter"]
    own = own_files(facts)
    return {
        "own": rows(own, facts["base_prefix"]),
        "configuration": rows(configuration(facts["stdlib"]) - own, facts["base_prefix"]),
        "files": {path: word(path) for path in request["files"]},
        "environment": {name: os.environ.get(name) for name in request["environment"]},
        "python": shutil.which("python"),
        "real": os.path.realpath(shutil.which("python") or "/"),
        "wanted": os.path.realpath(facts["executable"]),
    }


def main(path):
    with open(path, "rb") as file:
        request = json.loads(file.read().decode("utf-8"))
    answer = json.dumps(look(request))
    sys.stdout.write("\n%s%s\n" % (request["marker"], answer))


if __name__ == "__main__":
    main(sys.argv[1])
