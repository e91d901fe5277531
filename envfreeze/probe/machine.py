"""What a probe may look at: a root directory, an environment, and a place for findings."""

import os
import stat

# Variables that change results or what is loaded; nothing else of the environment is recorded.
ALLOWED = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_DEVICE_ORDER",
    "LANG",
    "LC_ALL",
    "MKL_CBWR",
    "MKL_NUM_THREADS",
    "NPY_DISABLE_CPU_FEATURES",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
    "PYTHONHASHSEED",
    "TZ",
)


# What to do about a finding, where the place of finding has nothing better to say.
ADVICE = {
    "not-utf8": "rename it",
    "outside-row": "reinstall it, if those files are still needed",
    "unreadable": "capture as a user who may read it",
}


class Machine(object):
    """The machine as a probe sees it; a recorded one has another root and environment."""

    def __init__(self, root="/", environ=None, known=None, rehash=False):
        self.root = root
        self.environ = dict(os.environ if environ is None else environ)
        # Results of earlier runs by fingerprint: spares hashing what has not changed.
        self.known = known or {}
        self.rehash = rehash
        self.findings = []

    def allowed(self):
        """The allow-listed variables that are set, where they are plain printable text."""
        return {
            name: self.environ[name]
            for name in ALLOWED
            if name in self.environ and self.environ[name].isprintable()
        }

    def path(self, path):
        """*path* below this machine's root."""
        if self.root == "/":
            return path
        return os.path.join(self.root, path.lstrip("/"))

    def read(self, path, limit=1 << 26):
        """Bytes of a regular file, or None when it cannot be read or is larger than *limit*."""
        try:
            with open(self.path(path), "rb", opener=_open) as file:
                # Asked for a size, read() would set so much memory aside for every small file.
                large = os.fstat(file.fileno()).st_size > limit
                return None if large else file.read()
        except (OSError, ValueError):
            return None

    def text(self, path, limit=1 << 26):
        """Text of a file as UTF-8, undecodable bytes replaced, or None."""
        data = self.read(path, limit)
        return None if data is None else data.decode("utf-8", "replace")

    def find(self, kind, place, detail="it could not be read", advice=""):
        """Record something that a person should know."""
        finding = {"kind": kind, "place": utf8(place), "detail": utf8(detail)}
        finding["advice"] = advice or ADVICE[kind]
        self.findings.append(finding)


def _open(path, flags):
    """Refuse what is not a regular file, without hanging at a FIFO."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError("not a regular file")
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def utf8(text):
    """*text* with what UTF-8 cannot hold (lone surrogates) shown as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def is_utf8(text):
    try:
        text.encode("utf-8")
    except UnicodeError:
        return False
    return True
