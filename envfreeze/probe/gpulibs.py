"""Libraries of NVIDIA's that an environment has or could load, by their files; none is loaded.

cuDNN 8 can end the process that asks it, and a library that is asked need not be the one that a
program loads: its name, its header and its package's metadata tell as much.
"""

import re

from . import versions
from .places import WSL

# The library's name before ".so": what it is.
STEMS = {
    "libcublas": "cublas",
    "libcudart": "cudart",
    "libcudnn": "cudnn",
    "libcufft": "cufft",
    "libcufile": "cufile",
    "libcurand": "curand",
    "libcusolver": "cusolver",
    "libcusparse": "cusparse",
    "libcusparseLt": "cusparselt",
    "libcutensor": "cutensor",
    "libnccl": "nccl",
    "libnvJitLink": "nvjitlink",
    "libnvToolsExt": "nvtx",
    "libnvinfer": "tensorrt",
    "libnvrtc": "nvrtc",
    "libnvshmem_host": "nvshmem",
    "libnvtx3interop": "nvtx",
}
# The wheel that brings it, without "-cu12", where that is not "nvidia-NAME".
WHEELS = {
    "cudart": "nvidia-cuda-runtime",
    "cutensor": "cutensor",
    "nvrtc": "nvidia-cuda-nvrtc",
    "tensorrt": "tensorrt-libs",
}
_WHEEL = re.compile(r"(.+?)(?:-cu(\d\d))?(-libs)?$")
_SONAME = re.compile(r"\.so\.(\d+)")
_SHARED = re.compile(r"/nvidia/cu(\d\d)/")
CONDA = {
    "cublas": ("libcublas",),
    "cudart": ("cuda-cudart", "cudatoolkit"),
    "cudnn": ("cudnn", "libcudnn"),
    "cufft": ("libcufft",),
    "cufile": ("libcufile",),
    "curand": ("libcurand",),
    "cusolver": ("libcusolver",),
    "cusparse": ("libcusparse",),
    "cusparselt": ("cusparselt", "libcusparselt"),
    "cutensor": ("cutensor", "libcutensor"),
    "nccl": ("nccl",),
    "nvjitlink": ("libnvjitlink",),
    "nvrtc": ("cuda-nvrtc",),
    "nvshmem": ("libnvshmem", "libnvshmem3"),
    "nvtx": ("cuda-nvtx",),
    "tensorrt": ("libtensorrt", "tensorrt"),
}
# (headers, macros of the parts of its version)
HEADERS = {
    "cudnn": (
        ("cudnn_version.h", "cudnn_version_v9.h", "cudnn_version_v8.h", "cudnn.h"),
        ("CUDNN_MAJOR", "CUDNN_MINOR", "CUDNN_PATCHLEVEL"),
    ),
    "cusparselt": (
        ("cusparseLt.h",),
        ("CUSPARSELT_VER_MAJOR", "CUSPARSELT_VER_MINOR", "CUSPARSELT_VER_PATCH"),
    ),
    "nccl": (("nccl.h",), ("NCCL_MAJOR", "NCCL_MINOR", "NCCL_PATCH")),
    "tensorrt": (
        ("NvInferVersion.h",),
        ("NV_TENSORRT_MAJOR", "NV_TENSORRT_MINOR", "NV_TENSORRT_PATCH", "NV_TENSORRT_BUILD"),
    ),
}
RECORD = 1 << 24  # Bytes of a record in conda-meta.

# auditwheel puts eight digits of a hash into the name of a library that it copies into a wheel.
_NAME = re.compile(r"(lib[A-Za-z0-9_]+)(-[0-9a-f]{8})?\.so((?:\.\d{1,9}){0,5})$")
_BEGIN = ("libcu", "libnccl", "libnv")  # All of the above; most of a directory is something else.
# Their files are numbered otherwise than their releases.
_APART = ("cufile", "nvtx")


def facts(places, prefixes, sites, toolkits):
    """Libraries as plain values, each file once, sorted by name and path.

    :param prefixes: prefixes of conda environments.
    :param toolkits: the roots of toolkits.
    """
    found, seen = [], set()  # type: list, set
    for site in sites:
        wheels = Wheels(places.names(site))
        for directory in of_site(places, site):
            bundled = not directory.startswith(
                (site + "/nvidia/", site + "/tensorrt", site + "/cut")
            )
            found += look(places, directory, None if bundled else wheels, seen)
    for prefix in prefixes:
        found += look(places, prefix + "/lib", Conda(places, prefix), seen)
    for root in toolkits:
        wheels = Wheels(places.names(root) | places.names(root + "/dist-info"))
        for directory in of_toolkit(places, root):
            found += look(places, directory, wheels, seen)
    for directory in of_system(places):
        found += look(places, directory, None, seen)
    return sorted(found, key=lambda library: (library["name"], library["path"]))


def of_site(places, site):
    """Where wheels put libraries of NVIDIA's, their own and copies of them."""
    names = places.names(site)
    found = (
        [path + "/lib" for path in places.matching(site + "/nvidia", "")]
        if "nvidia" in names
        else []
    )
    for name, below in (
        ("cutensor", "/lib"),
        ("tensorrt", ""),
        ("tensorrt_libs", ""),
        ("torch", "/lib"),
    ):
        if name in names:
            found.append(site + "/" + name + below)
    return found + places.matching(site, "", ".libs")


def of_toolkit(places, root):
    found = [root + "/lib64", root + "/lib"] if root != "/usr" else []
    found += [path + "/lib" for path in places.matching(root + "/targets", "")]
    return [places.real(path) for path in found]


def of_system(places):
    found = [path for path in places.loaded_from() if path != WSL]
    for path in ["/usr/local", *places.matching("/usr/local", "")]:
        found += [path + "/lib64", path + "/lib"]
    return [places.real(path) for path in found]


def look(places, directory, told, seen):
    """The libraries in one directory that are not among *seen* (real paths).

    *told*: who knows versions and owners of what lies there, or None.
    """
    found = []
    for real, names in sorted(files(places, directory).items()):
        if real in seen:
            continue
        seen.add(real)
        name = STEMS[_parts(names[0])[0]]
        inside = real.rpartition("/")[0] == places.real(directory)
        library = {
            "name": name,
            "path": directory + "/" + real.rpartition("/")[2] if inside else real,
        }
        soname = soname_of(names, real.rpartition("/")[2])
        if soname:
            library["soname"] = soname
        version, owner = told.of(library) if told else (None, None)
        version = version or by_name(name, real) or by_header(places, directory, library)
        if version:
            library["version"] = version
        if owner:
            library["owner"] = owner
        found.append(library)
    return found


def files(places, directory):
    """``{real path: names}``: the libraries that the names in *directory* lead to."""
    found = {}  # type: dict
    for name in sorted(places.names(directory)):
        if name.startswith(_BEGIN):
            if _parts(name)[0] in STEMS and places.is_file(directory + "/" + name):
                found.setdefault(places.real(directory + "/" + name), []).append(name)
    return found


def _parts(name):
    """``(libcudart, -d0da41ae, .11.0)`` of ``libcudart-d0da41ae.so.11.0``; empty: another name."""
    match = _NAME.match(name)
    return (match.group(1), match.group(2) or "", match.group(3)) if match else ("", "", "")


def soname_of(names, real):
    """The name that programs ask for: the shortest with a number that leads to the file.

    A file that only lies there under its full name does not tell; auditwheel's names are whole.
    """
    numbered = [name for name in names if _parts(name)[2]]
    if not numbered:
        return None
    shortest = min(numbered, key=len)
    _, mark, numbers = _parts(shortest)
    whole = shortest != real or numbers.count(".") < 3 or mark
    return shortest if whole else None


def by_name(name, path):
    """The version at the end of a file's name, where it is a whole one."""
    numbers = _parts(path.rpartition("/")[2])[2][1:]
    return numbers if numbers.count(".") >= 2 and name != "nvtx" else None


def by_header(places, directory, library):
    """The version in the header beside a library, if it is of the same generation."""
    if library["name"] not in HEADERS:
        return None
    headers, macros = HEADERS[library["name"]]
    above = directory.rpartition("/")[0]
    includes = [above + "/include"]
    if above in ("/usr/lib", "/lib"):
        includes = ["/usr/include" + directory[len(above) :], "/usr/include"]
    for include in includes:
        for header in headers:
            if header in places.names(include):
                text = places.text(include + "/" + header, versions.LIMIT) or ""
                numbers = versions.macros(text, *macros) or versions.macros(text, *macros[:3])
                if numbers and same_generation(library, numbers[0]):
                    return ".".join(numbers)
    return None


def same_generation(library, version):
    """Whether *version* can be of the file: its soname's first number is that of its release."""
    match = _SONAME.search(library.get("soname", ""))
    return library["name"] in _APART or not match or version.split(".")[0] == match.group(1)


class Wheels(object):
    """Versions by the names of the metadata directories of wheels that lie together."""

    def __init__(self, names):
        self.versions = {}  # type: dict
        for name, version in versions.distributions(names).items():
            match = _WHEEL.match(name)
            if match and version:
                base = match.group(1) + (match.group(3) or "")
                self.versions.setdefault(base, {})[match.group(2)] = version

    def of(self, library):
        """``(version, None)``: the wheel that has the file is told by RECORD, not by its name."""
        base = WHEELS.get(library["name"], "nvidia-" + library["name"])
        found = self.versions.get(base, {})
        shared = _SHARED.search(library["path"])
        if shared:  # The wheels of CUDA 13 share one directory; most have no suffix.
            found = {k: v for k, v in found.items() if k in (None, shared.group(1))}
        elif len(found) > 1:  # Those of CUDA 11 and 12 share one for each component.
            soname = _SONAME.search(library.get("soname", ""))
            wanted = soname.group(1) if soname and library["name"] == "cudart" else ""
            found = {k: v for k, v in found.items() if k == wanted}
        told = [version for version in found.values() if same_generation(library, version)]
        return (told[0] if len(told) == 1 else None), None


class Conda(object):
    """Versions and owners by a conda environment's records, which name every file."""

    def __init__(self, places, prefix):
        self.places = places
        self.prefix = prefix
        self.records = versions.records(places.names(prefix + "/conda-meta"))

    def of(self, library):
        path = library["path"][len(self.prefix) + 1 :]
        for name in CONDA[library["name"]]:
            version, record = self.records.get(name, (None, None))
            if record is None:
                continue
            text = self.places.text(self.prefix + "/conda-meta/" + record, RECORD)
            files = versions.document(text).get("files")
            if isinstance(files, list) and path in files:
                return versions.plain(version), "conda " + name
        return None, None
