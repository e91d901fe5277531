"""CUDA toolkits: all that lie where they are usually put, each with the file that tells of it.

Places as NVIDIA's cuda-pathfinder, the HPC SDK, conda-forge and Debian have them.
"""

import re

from . import versions

SECONDS = 5
SCRIPT = 4096  # Bytes; a longer nvcc is not a script that calls another.
DEBIAN = "/usr/lib/nvidia-cuda-toolkit"

_TEXT = re.compile(r"CUDA Version (\d{1,3}(?:\.\d{1,9}){1,3})")
_CALLED = re.compile(r"(/[^\s\"';&|$]{1,400})/bin/nvcc\b")
_RELEASE = re.compile(r"\brelease (\d{1,3}\.\d{1,2}), V(\d{1,3}(?:\.\d{1,6}){1,3})")
_RUNTIME = re.compile(r"libcudart\.so\.((\d{1,3}\.\d{1,2})\.\d{1,6})$")


def facts(places, prefixes, sites, ask):
    """Toolkits as plain values, sorted by where they are.

    :param prefixes: prefixes of conda environments.
    :param sites: site directories; wheels bring toolkits too.
    :param ask: whether nvcc may be run, where no file tells.
    """
    chosen_ones = chosen(places)
    roots = chosen_ones + usual(places)
    spelt = list(prefixes)  # Where RECORD and conda-meta name files, links are not followed.
    for site in sites:
        spelt += places.matching(site + "/nvidia", "cu")
    named = {places.real(path) for path in chosen_ones}
    found = []
    for root in places.once(roots + spelt):
        active = places.real(root) in named
        root = root if root in spelt else places.real(root)
        toolkit = look(places, root, root in prefixes, ask)
        if toolkit is not None:
            toolkit.update(root=root, active=active)
            found.append(toolkit)
    return sorted(found, key=lambda toolkit: toolkit["root"])


def chosen(places):
    """Where CUDA_HOME, CUDA_PATH and PATH lead."""
    roots = [places.variable("CUDA_HOME"), places.variable("CUDA_PATH"), by_path(places)]
    return [root for root in roots if root]


def by_path(places):
    """The root of the toolkit that has PATH's nvcc, or None."""
    path = places.program("nvcc")
    if path is None:
        return None
    real = places.real(path)
    script = places.text(real, SCRIPT) or ""
    if script.startswith("#!"):
        match = _CALLED.search(script)
        real = places.real(match.group(0)) if match else real
    root = real.rpartition("/bin/")[0]
    return "/usr" if root == DEBIAN else root or "/"


def usual(places):
    """Where toolkits are put, as far as something lies there."""
    roots = places.matching("/usr/local", "cuda") + places.matching("/opt", "cuda")
    sdks = [
        release
        for system in places.matching("/opt/nvidia/hpc_sdk", "Linux_")
        for release in places.matching(system, "2")
    ]
    sdks.append(places.variable("NVHPC_ROOT"))
    for sdk in sdks:
        roots += places.matching(sdk + "/cuda", "1") if sdk else []
    if places.is_file(DEBIAN + "/bin/nvcc"):
        roots.append("/usr")
    return roots


def look(places, root, is_prefix, ask):
    """The toolkit at *root*, or None: there is none, or nothing tells its version."""
    compiler = (DEBIAN if root == "/usr" else root) + "/bin/nvcc"
    has_compiler = places.is_file(compiler)
    if not has_compiler and (is_prefix or root.rpartition("/")[0].endswith("/nvidia")):
        return None  # A part of one, without which no toolkit is.
    readers = (_by_json, _by_text, _by_records, _by_header, _by_runtime, _by_metadata)
    for read in readers:
        toolkit = read(places, root)
        if toolkit is not None:
            break
    else:
        toolkit = _by_asking(places, compiler) if has_compiler and ask else None
    if toolkit is not None and has_compiler and "nvcc" not in toolkit:
        version = _compiler(places, root)
        if version:
            toolkit["nvcc"] = version
    return toolkit


def _by_json(places, root):
    path = root + "/version.json"
    text = places.text(path, versions.JSON)
    return None if text is None else from_json(text, path)


def from_json(text, path):
    """``cuda`` of version.json; it may end in a date, ``12.6.20241114``."""
    parts = versions.document(text)

    def version(name):
        part = parts.get(name)
        return versions.plain(part.get("version")) if isinstance(part, dict) else None

    if version("cuda") is None:
        return None
    found = {"version": version("cuda"), "source": path}
    if version("cuda_nvcc"):
        found["nvcc"] = version("cuda_nvcc")
    return found


def _by_text(places, root):
    # Debian's package has its own directory for what the others have at the root.
    path = ("/usr/lib/cuda" if root == "/usr" else root) + "/version.txt"
    match = _TEXT.match(places.text(path, SCRIPT) or "")
    return {"version": match.group(1), "source": path} if match else None


def _by_records(places, root):
    version, name = versions.records(places.names(root + "/conda-meta")).get(
        "cuda-toolkit", (None, None)
    )
    if versions.plain(version) is None:
        return None
    source = root + "/conda-meta/" + name
    return {"version": version, "source": source, "owner": "conda cuda-toolkit"}


def _by_header(places, root):
    directories = [root + "/include"]
    directories += [path + "/include" for path in places.matching(root + "/targets", "")]
    for directory in directories:
        for name, macro in (("cuda.h", "CUDA_VERSION"), ("cuda_runtime_api.h", "CUDART_VERSION")):
            path = directory + "/" + name
            if name in places.names(directory):
                number = versions.macros(places.text(path, versions.LIMIT) or "", macro)
                if number and len(number[0]) < 8:
                    return {"version": versions.cuda(int(number[0])), "source": path}
    return None


def _by_runtime(places, root):
    """An image for running has no headers, but the runtime library in its full name."""
    directories = [root + "/lib64", root + "/lib"]
    directories += [path + "/lib" for path in places.matching(root + "/targets", "")]
    for directory in directories:
        for path in places.matching(directory, "libcudart.so.1"):
            match = _RUNTIME.search(path)
            if match:
                return {"version": match.group(2), "source": path}
    return None


def _by_metadata(places, root):
    """A compiler out of a wheel: the first two numbers of its version are the toolkit's."""
    directory = root.rpartition("/nvidia/")[0]
    if not directory:
        return None
    for name in sorted(places.names(directory)):
        if name.startswith("nvidia_cuda_nvcc") and name.endswith(".dist-info"):
            version = name[: -len(".dist-info")].rpartition("-")[2]
            if versions.plain(version):
                found = ".".join(version.split(".")[:2])
                return {"version": found, "nvcc": version, "source": directory + "/" + name}
    return None


def _by_asking(places, compiler):
    from . import programs  # Only here: files nearly always tell.

    real = places.here(places.real(compiler))
    if not programs.trusted(real):
        return None
    environ = programs.environ(places)
    status, output, _ = programs.Program([real, "--version"], environ, SECONDS).answer()
    found = release(output.decode("utf-8", "replace")) if status == 0 else None
    return found and {"version": found[0], "nvcc": found[1], "source": compiler + " --version"}


def release(output):
    """``(toolkit, compiler)`` of what ``nvcc --version`` prints, or None."""
    match = _RELEASE.search(output)
    return match.groups() if match else None


def _compiler(places, root):
    """The version of nvcc by the metadata that lies with it: conda's, or a wheel's."""
    for name in ("cuda-nvcc", "cuda-nvcc-impl", "cuda-nvcc-tools"):
        record = versions.records(places.names(root + "/conda-meta")).get(name)
        if record and versions.plain(record[0]):
            return record[0]
    above = root.rpartition("/nvidia/")[0]
    for directory in (root, root + "/dist-info", above):
        found = versions.distributions(places.names(directory)) if directory else {}
        told = [v for name, v in found.items() if re.match(r"nvidia-cuda-nvcc(-cu\d\d)?$", name)]
        if len(told) == 1 and versions.plain(told[0]):
            return told[0]
    return None
