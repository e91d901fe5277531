"""What changes numbers beside versions: BLAS and OpenMP libraries, variables, settings in files.

A library is known by its file name, as threadpoolctl knows it, but nothing is loaded: version and
threading come from the text and the symbols in its file.
"""

import json
import os
import re
import struct

from . import sitepath
from .machine import ALLOWED, RECORDED, unfit, utf8

_NAME = re.compile(r"lib([A-Za-z0-9_]+?)(?:-[^/]*)?\.so(?:\.[0-9.]+)?$")
_OPENMP = {"gomp": "libgomp", "iomp5": "libiomp5", "omp": "libomp"}
_BLAS = {
    "atlas": "atlas",
    "blis": "blis",
    "flexiblas": "flexiblas",
    "mkl_rt": "mkl",
    "satlas": "atlas",
    "tatlas": "atlas",
}
_OPENBLAS = re.compile(r"(?:scipy_)?openblas(?:64_?)?[op]?(?:64)?_?$")
# Names that any implementation may have; which one it is, its place or its content tells.
_INTERFACES = frozenset(["blas", "cblas", "lapack"])
_BY_DIRECTORY = re.compile(r"/(openblas|blis|atlas|mkl)(?:-[^/]*)?/[^/]*$")
_BY_NEEDED = ("openblas", "atlas", "mkl", "blis", "flexiblas")

# Where a system keeps libraries, beside the directories of its multiarch triplets.
_DIRECTORIES = ("/usr/lib64", "/usr/lib", "/usr/local/lib64", "/usr/local/lib")
_SYSTEM = (
    "libblas.so.3",
    "liblapack.so.3",
    "libcblas.so.3",
    "libopenblas.so.0",
    "libopenblasp.so.0",
    "libopenblaso.so.0",
    "libblis.so.4",
    "libflexiblas.so.3",
    "libsatlas.so.3",
    "libtatlas.so.3",
    "libmkl_rt.so",
    "libgomp.so.1",
    "libiomp5.so",
    "libomp.so.5",
)
_SIBLINGS = ("libopenblas.so.0",)
_LINKS = 40

_VERSION = re.compile(rb"OpenBLAS ([0-9]+(?:\.[0-9]+)+[0-9A-Za-z.]*)([ -~]*)")
_FILE_VERSION = re.compile(r"(?:-r|\.so\.)([0-9]+(?:\.[0-9]+){2,})(?:\.so)?$")
_OPENMP_SYMBOLS = (b"\0GOMP_parallel\0", b"\0__kmpc_fork_call\0", b"\0omp_get_max_threads\0")
_SECTION = 1 << 24  # Bytes of a section that are looked at; OpenBLAS has 130 KB of such text.

_TEXT = 200  # Characters of a setting.
_FILE = 1 << 18  # Bytes of a file of settings.


def facts(machine, sites):
    """What ``envfreeze.model.host.Numerics`` holds.

    *sites*: ``[(path, names)]`` in the order of sys.path; names: the paths of the regular files
    below it, relative to it, as anything that can be iterated and asked.
    """
    variables = machine.variables()
    _tell(machine)
    return {
        "libraries": libraries(machine, sites),
        "variables": variables,
        "hash-randomization": hash_randomization(machine.environ.get("PYTHONHASHSEED")),
        "switches": switches(machine, sites),
    }


# --- variables -----------------------------------------------------------------------------


def _tell(machine):
    """A finding for each variable that is known and set, and not recorded."""
    said = {
        "secret": ("credentials", "it looks like a credential or a URL with a login; left out"),
        "unprintable": ("variable", "it is not plain printable text; left out"),
        "long": ("variable", "it is longer than 4096 characters; left out"),
    }
    for name in sorted(ALLOWED | RECORDED):
        problem = unfit(machine.environ.get(name, ""))
        if problem is not None:
            kind, detail = said[problem]
            machine.find(kind, name, detail, "look at it, and unset it if it is of no use")


def hash_randomization(value):
    """Whether str hashes differ from run to run under this PYTHONHASHSEED.

    None: Python would not start with it (docs.python.org "Command line and environment").
    """
    if not value or value == "random":
        return True
    fixed = re.match(r"[0-9]{1,10}$", value) and int(value) <= 4294967295
    return False if fixed else None


# --- libraries -----------------------------------------------------------------------------


def classify(filename):
    """``(kind, name)`` of a library by its file name; the name is None for a mere interface."""
    match = _NAME.match(filename)
    if match is None:
        return None
    stem = match.group(1)
    if stem in _OPENMP:
        return "openmp", _OPENMP[stem]
    if stem in _BLAS:
        return "blas", _BLAS[stem]
    if _OPENBLAS.match(stem):
        return "blas", "openblas"
    return ("blas", None) if stem in _INTERFACES else None


def libraries(machine, sites):
    """Those in the site directories, in ``lib`` of their prefixes, and in the system."""
    found = {}  # type: dict
    for site, names in sites:
        for name in [name for name in names if ".so" in name]:
            if classify(name.rpartition("/")[2]):
                _add(machine, found, site + "/" + name)
    for directory in _prefixes(sites):
        for name in _listed(machine, directory):
            if classify(name):
                _add(machine, found, real(machine, directory + "/" + name))
    for directory in _system_directories(machine):
        for name in _SYSTEM:
            _add_system(machine, found, directory + "/" + name)
    return [found[path] for path in sorted(found)]


def _prefixes(sites):
    """``lib`` of each prefix: conda keeps libraries there, and wheels that are no modules."""
    places = []
    for site, _ in sites:
        prefix = sitepath.prefix_of(site, None)
        if prefix and prefix != "/" and prefix + "/lib" not in places:
            places.append(prefix + "/lib")
    return places


def _system_directories(machine):
    triplets = [name for name in _listed(machine, "/usr/lib") if "-linux-" in name]
    return ["/usr/lib/" + name for name in sorted(triplets)] + list(_DIRECTORIES)


def _add_system(machine, found, path):
    if not os.path.lexists(machine.path(path)):
        return
    place = real(machine, path)
    _add(machine, found, place)
    if classify(path.rpartition("/")[2]) == ("blas", None):
        for name in _SIBLINGS:  # Debian's alternatives: the interface is beside what does the work.
            beside = place.rpartition("/")[0] + "/" + name
            if os.path.lexists(machine.path(beside)):
                _add(machine, found, real(machine, beside))


def _listed(machine, directory):
    try:
        return os.listdir(machine.path(directory))
    except (OSError, ValueError):
        return []


def real(machine, path):
    """*path* with its links followed below the machine's root, wherever that is."""
    for _ in range(_LINKS):
        done = ""
        parts = path.strip("/").split("/")
        for index, part in enumerate(parts):
            if part == "..":
                done = done.rpartition("/")[0]
                continue
            try:
                target = os.readlink(machine.path(done + "/" + part))
            except (OSError, ValueError):
                done += "/" + part
                continue
            base = target if target.startswith("/") else done + "/" + target
            path = "/".join([base, *parts[index + 1 :]])
            break
        else:
            return done
    return path


def _add(machine, found, path):
    if path not in found:
        entry = describe(machine, path)
        if entry is not None:
            found[path] = entry


def describe(machine, path):
    """What the file at *path* is, as ``Blas`` has it; None: none of ours, or not to be read."""
    chosen = classify(path.rpartition("/")[2])
    if chosen is None or not os.path.isfile(machine.path(path)):
        return None
    kind, name = chosen
    entry = {"kind": kind, "name": name, "path": utf8(path)}
    if kind == "blas":
        text, symbols = sections(machine, path)
        entry["name"] = name or _implementation(path, text, symbols)
        entry["version"] = _version(entry["name"], path, text)
        entry["threading"] = _threading(entry["name"], text, symbols)
    return {key: value for key, value in entry.items() if value is not None}


def _implementation(path, text, symbols):
    """Whose ``libblas`` or ``liblapack`` it is."""
    match = _BY_DIRECTORY.search(path)
    if match:
        return match.group(1)
    if _VERSION.search(text):
        return "openblas"
    for name in _BY_NEEDED:
        if b"\0lib" + name.encode("ascii") in symbols:
            return name
    return "reference"


def _version(name, path, text):
    match = _VERSION.search(text) if name == "openblas" else None
    if match:
        return match.group(1).decode("ascii")
    named = _FILE_VERSION.search(path)
    return named.group(1) if named else None


def _threading(name, text, symbols):
    """What its threads are made with: by its own text, else by what it calls."""
    match = _VERSION.search(text)
    # Without that text it is but an interface: the OpenBLAS that it calls has the threads.
    if not symbols or name not in ("openblas", "blis") or (name == "openblas" and not match):
        return None
    if (match and b"USE_OPENMP" in match.group(2)) or any(s in symbols for s in _OPENMP_SYMBOLS):
        return "openmp"
    return "pthreads" if b"\0pthread_create\0" in symbols else "sequential"


def sections(machine, path):
    """``(.rodata, .dynstr)`` of an ELF file of 64 bits; empty where it is none, or damaged.

    Read, not mapped: a file that shrinks meanwhile must not end us. System V gABI, "Sections".
    """
    try:
        with machine.open(path) as file:
            return _sections(file)
    except (OSError, ValueError, struct.error, IndexError, MemoryError):
        return b"", b""


def _sections(file):
    head = file.read(64)
    if head[:5] != b"\x7fELF\x02":
        return b"", b""
    order = "<" if head[5:6] == b"\1" else ">"
    table = struct.unpack_from(order + "Q", head, 40)[0]
    size, count, names = struct.unpack_from(order + "HHH", head, 58)
    file.seek(table)
    rows = file.read(min(size * count, 1 << 20))
    headers = [struct.unpack_from(order + "IIQQQQ", rows, size * n) for n in range(count)]
    texts = _cut(file, headers[names])
    found = {}
    for header in headers:
        name = texts[header[0] : header[0] + 9].partition(b"\0")[0]
        if name in (b".rodata", b".dynstr") and name not in found:
            found[name] = _cut(file, header)
    return found.get(b".rodata", b""), found.get(b".dynstr", b"")


def _cut(file, header):
    file.seek(header[4])
    return file.read(min(header[5], _SECTION))


# --- settings in files ---------------------------------------------------------------------


def switches(machine, sites):
    """What numpy, scipy and torch say they were built with, and keras.json."""
    found = {}  # type: dict
    readers = (
        ("numpy/__config__.py", "numpy.", build_config),
        ("scipy/__config__.py", "scipy.", build_config),
        ("torch/include/ATen/Config.h", "torch.", torch_config),
    )
    for name, head, parse in readers:
        text = _first(machine, sites, name)
        for key, value in (parse(text) if text else {}).items():
            _set(found, head + key, value)
    for name in ("keras/__init__.py", "tf_keras/__init__.py"):
        if any(name in names for _, names in sites):
            for key, value in keras_config(_keras_json(machine)).items():
                _set(found, "keras." + key, value)
            break
    return found


def _set(found, key, value):
    if value and len(value) <= _TEXT and value.isprintable():
        found[key] = value


def _first(machine, sites, name):
    """The text of the file of the first site directory that has it: that one is imported."""
    for site, names in sites:
        if name in names:
            return machine.text(site + "/" + name, _FILE)
    return None


def build_config(text):
    """``{"blas": "scipy-openblas 0.3.27", "lapack": ...}`` of a ``__config__.py``.

    Meson's has ``CONFIG``; before, numpy.distutils wrote ``blas_opt_info`` and its like. Of what
    is no literal nothing is known: it is not run.
    """
    import ast

    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    found = {}
    for name, value in _assigned(ast, tree):
        if name == "CONFIG":
            needs = _item(ast, value, "Build Dependencies")
            for key in ("blas", "lapack"):
                there = _item(ast, needs, key)
                words = [_literal(ast, _item(ast, there, word)) for word in ("name", "version")]
                found[key] = " ".join(word for word in words if word and _is_text(word))
        match = re.match(r"(blas|lapack)(?:_ilp64)?_opt_info$", name)
        if match:
            names = _literal(ast, _item(ast, value, "libraries"))
            names = names if isinstance(names, list) else []
            found.setdefault(match.group(1), " ".join(sorted({n for n in names if _is_text(n)})))
    return {key: value for key, value in found.items() if value}


def _is_text(value):
    return isinstance(value, str)


def _assigned(ast, tree):
    """``(name, dict)`` of what the module assigns; of ``f({...})`` the argument."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value = node.value
            if isinstance(value, ast.Call) and len(value.args) == 1:
                value = value.args[0]
            yield node.targets[0].id, value


def _item(ast, node, key):
    """The node under *key* of a dict's node; None: there is none."""
    if isinstance(node, ast.Dict):
        for name, value in zip(node.keys, node.values):  # noqa: B905
            if name is not None and _literal(ast, name) == key:
                return value
    return None


def _literal(ast, node):
    try:
        return None if node is None else ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError, MemoryError):
        return None


def torch_config(text):
    """How torch runs its threads, and whether MKL and oneDNN are built in: ``ATen/Config.h``."""
    told = dict(re.findall(r"^#define (AT_\w+)(?:\(\))? ([01])\s*$", text, re.MULTILINE))
    found = {}
    for name, word in (("OPENMP", "openmp"), ("NATIVE", "native"), ("NATIVE_TBB", "tbb")):
        if told.get("AT_PARALLEL_" + name) == "1":
            found["parallel"] = word
    for name, key in (("AT_MKL_ENABLED", "mkl"), ("AT_MKLDNN_ENABLED", "onednn")):
        if name in told:
            found[key] = "yes" if told[name] == "1" else "no"
    return found


def _keras_json(machine):
    """The text of the file of settings that Keras reads; keras: ``src/backend/config.py``."""
    home = machine.environ.get("KERAS_HOME")
    if not home:
        user = machine.environ.get("HOME")
        home = user + "/.keras" if user else None
    return machine.text(home + "/keras.json", _FILE) if home else None


def keras_config(text):
    """The four settings of keras.json that change numbers, as text."""
    try:
        config = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    found = {}
    for key in ("backend", "floatx", "epsilon", "image_data_format"):
        value = config.get(key) if isinstance(config, dict) else None
        if isinstance(value, (str, int, float)):
            found[key.replace("_", "-")] = str(value)
    return found
