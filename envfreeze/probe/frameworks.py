"""What frameworks were built for, out of files that they leave: none is imported, nothing is run.

What torch's device code is for no file of it tells but the libraries themselves.
"""

import re

from . import versions

LIMIT = 1 << 16  # Bytes of a file that tells a version.
TEXT = 200  # Characters of a value.

_ARCHITECTURE = re.compile(r"(?:sm|compute)_\d{2,3}[af]?$")
# "0.4.13+cuda12.cudnn89"
_LOCAL = re.compile(r"\+cuda(\d\d)(?:\.cudnn(\d)(\d{1,2}))?$")
_PLUGIN = re.compile(r"jax-cuda(\d\d)-plugin$")
_TENSORFLOW = re.compile(
    r"(?:tensorflow(?:-cpu|-gpu|-intel|-macos|-rocm|-aarch64|-cpu-aws)?|tf-nightly(?:-cpu|-gpu)?)$"
)


def facts(places, sites):
    """Frameworks as plain values: of each the first on sys.path, which is what is imported.

    :param sites: ``[(site directory, names)]``; names, relative paths of all files below it.
    """
    found = []
    for name, source, read in READERS:
        for site, names in sites:
            if source not in names:
                continue
            framework = read(_Tree(places, site, names, source))
            if framework.get("version"):
                framework.update(name=name, source=source)
                found.append({k: v for k, v in framework.items() if v})
            else:
                places.machine.find(
                    "framework",
                    site + "/" + source,
                    "it does not tell the version of " + name,
                    "reinstall it, if it is used",
                )
            break
    return found


class _Tree(object):
    """One framework's files in a site directory."""

    def __init__(self, places, site, names, source):
        self.places = places
        self.site = site
        self.names = names
        self.source = source

    def values(self):
        return literals(self.text(self.source))

    def text(self, name):
        if name not in self.names:
            return ""
        return self.places.text(self.site + "/" + name, LIMIT) or ""

    def distributions(self):
        return versions.distributions(self.places.names(self.site))


def literals(text):
    """``{name: value}`` of a module's assignments at its top, those whose value is a literal.

    Also ``NAME = collections.OrderedDict([...])`` of one.
    """
    import ast  # Only here: it takes a while to load.
    import warnings

    found = {}  # type: dict
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(text).body
    # What a hostile file can raise: it may nest without end, or hold a NUL.
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return found
    for node in body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
        elif isinstance(node, ast.AnnAssign):
            target = node.target
        else:
            continue
        value = node.value
        if isinstance(value, ast.Call) and len(value.args) == 1 and not value.keywords:
            value = value.args[0] if _is_ordered_dict(value.func) else None
        if isinstance(target, ast.Name) and value is not None:
            try:
                found[target.id] = ast.literal_eval(value)
            except (ValueError, TypeError, MemoryError, RecursionError, SyntaxError):
                continue
    return found


def _is_ordered_dict(function):
    return "OrderedDict" in (getattr(function, "attr", None), getattr(function, "id", None))


def word(value):
    """*value* if it is a short line of printable text, else None."""
    if isinstance(value, str) and value.isprintable() and len(value) <= TEXT:
        return value
    return None


def torch(tree):
    values = tree.values()
    return {
        "version": word(values.get("__version__")),
        "cuda": word(values.get("cuda")),
        "hip": word(values.get("hip")),
    }


def tensorflow(tree):
    return {
        "version": _tensorflow_version(tree),
        **from_build_info(tree.values().get("build_info")),
    }


def from_build_info(pairs):
    """TensorFlow's ``build_info``, pairs or a dict; a build for the CPU has no CUDA in it."""
    try:
        values = dict(pairs or ())
    except (TypeError, ValueError):
        return {}
    told = values.get("cuda_compute_capabilities")
    architectures = [item for item in told if word(item)] if isinstance(told, list) else []
    return {
        "cuda": word(values.get("cuda_version")),
        "cudnn": word(values.get("cudnn_version")),
        "architectures": sorted({item for item in architectures if _ARCHITECTURE.match(item)}),
    }


def _tensorflow_version(tree):
    told = {v for name, v in tree.distributions().items() if v and _TENSORFLOW.match(name)}
    if len(told) == 1:
        return told.pop()
    for name in ("release_version.h", "version.h"):
        text = tree.text("tensorflow/include/tensorflow/core/public/" + name)
        numbers = versions.macros(text, "TF_MAJOR_VERSION", "TF_MINOR_VERSION", "TF_PATCH_VERSION")
        if numbers:
            return ".".join(numbers)
    return None


def jax(tree):
    found = {"version": _jax_version(tree)}
    plugins = {m.group(1) for m in map(_PLUGIN.match, tree.distributions()) if m}
    if len(plugins) == 1:
        found["cuda"] = plugins.pop()
    return found


def jaxlib(tree):
    """Releases without plugins tell CUDA and cuDNN in the local part of their version."""
    found = {"version": tree.distributions().get("jaxlib") or _jax_version(tree)}
    match = _LOCAL.search(found["version"] or "")
    if match:
        found["cuda"] = match.group(1)
        if match.group(2):
            found["cudnn"] = "%s.%s" % match.group(2, 3)
    return found


def _jax_version(tree):
    values = tree.values()
    return word(values.get("_release_version")) or word(
        values.get("__version__") or values.get("_version")
    )


def cupy(tree):
    wheel = versions.document(tree.text("cupy/.data/_wheel.json"))
    cudnn = wheel.get("cudnn")
    return {
        "version": word(tree.values().get("__version__")),
        "cuda": word(wheel.get("cuda")),
        "cudnn": word(cudnn.get("version")) if isinstance(cudnn, dict) else None,
    }


def onnxruntime(tree):
    values = tree.values()
    return {
        "version": word(values.get("__version__")),
        "cuda": word(values.get("cuda_version")),
        "cudnn": word(values.get("cudnn_version")),
    }


# (name, the file that tells, relative to its site directory, what reads it)
READERS = (
    ("cupy", "cupy/_version.py", cupy),
    ("jax", "jax/version.py", jax),
    ("jaxlib", "jaxlib/version.py", jaxlib),
    ("onnxruntime", "onnxruntime/capi/build_and_package_info.py", onnxruntime),
    ("tensorflow", "tensorflow/python/platform/build_info.py", tensorflow),
    ("torch", "torch/version.py", torch),
)
