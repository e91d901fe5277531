"""The tables beside this module, typed. What a table does not have is unknown, and stays so.

Every row says where it is from; :func:`load` refuses one that does not.
"""

from __future__ import annotations

import functools
import importlib.resources
import re
from typing import Literal, TypeVar

import msgspec

from envfreeze.model import toml


class Row(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    """One fact."""

    source: str
    """The document, file or measurement that it is from."""


class Table(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    """One file."""


class Shipped(Row, frozen=True, kw_only=True):
    cuda: str
    drivers: list[str]
    """Of its first release and of its updates, in order."""


class Minimum(Row, frozen=True, kw_only=True):
    major: int
    driver: str


Kind = Literal["data-center", "workstation", "consumer", "jetson"]


class Forward(Row, frozen=True, kw_only=True):
    kind: Kind
    allowed: Literal["yes", "some", "no"]


class Targets(Row, frozen=True, kw_only=True):
    cuda: str
    architectures: list[str]


class Capability(Row, frozen=True, kw_only=True):
    capability: str
    name: str
    """Of the architecture: ``Volta``."""
    data_center: list[str]
    workstation: list[str]
    consumer: list[str]
    jetson: list[str]

    @property
    def jetson_only(self) -> bool:
        return bool(self.jetson) and not (self.data_center or self.consumer)


class Brand(Row, frozen=True, kw_only=True):
    word: str
    kind: Kind


class LastDriver(Row, frozen=True, kw_only=True):
    name: str
    branch: int


class Cuda(Table, frozen=True, kw_only=True):
    """``cuda.toml``."""

    shipped: list[Shipped]
    minimum: list[Minimum]
    forward: list[Forward]
    targets: list[Targets]
    capability: list[Capability]
    brand: list[Brand]
    last_driver: list[LastDriver]


class TorchDefault(Row, frozen=True, kw_only=True):
    release: str
    cuda: str
    cudnn: str


class TorchBuild(Row, frozen=True, kw_only=True):
    line: str
    cuda: str
    cudnn: str | None = None


class TorchArchitectures(Row, frozen=True, kw_only=True):
    line: str
    cuda: str
    machine: str
    holds: list[str]


class Torch(Table, frozen=True, kw_only=True):
    """``torch.toml``."""

    default: list[TorchDefault]
    build: list[TorchBuild]
    architectures: list[TorchArchitectures]


class FrameworkRow(Row, frozen=True, kw_only=True):
    name: str
    distributions: list[str]
    without_gpu: bool
    """Whether it runs on a machine without one."""


class TensorflowRow(Row, frozen=True, kw_only=True):
    line: str
    cuda: str
    cudnn: str


class Frameworks(Table, frozen=True, kw_only=True):
    """``frameworks.toml``."""

    framework: list[FrameworkRow]
    tensorflow: list[TensorflowRow]


class NvidiaImage(Row, frozen=True, kw_only=True):
    cuda: str
    cudnn: str
    """The word in the tag of those that have it."""
    with_cudnn: list[str] = []
    without_cudnn: list[str] = []
    unknown: list[str] = []
    """Operating systems of which only the images without cuDNN were seen."""


class NvidiaImages(Table, frozen=True, kw_only=True):
    """``nvidia-images.toml``."""

    image: list[NvidiaImage]


class Release(Row, frozen=True, kw_only=True):
    id: str
    version: str
    codename: str | None = None
    libc: str
    image: str | None = None
    """The smallest official one, with its tag; None: not looked up."""
    packages: Literal["dpkg", "rpm", "apk"]


class OsReleases(Table, frozen=True, kw_only=True):
    """``os-releases.toml``."""

    release: list[Release]


_T = TypeVar("_T", bound=Table)


def parse(text: str, kind: type[_T], name: str = "table") -> _T:
    """The table in *text*.

    :raises ValueError: a row without a source, an unknown key, a wrong type.
    """
    try:
        table = msgspec.convert(toml.load(text), kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"{name}: {error}") from error
    for field in table.__struct_fields__:
        for position, row in enumerate(getattr(table, field)):
            if not row.source.strip():
                raise ValueError(f"{name}: {field}[{position}] has no source")
    return table


def _read(name: str, kind: type[_T]) -> _T:
    place = importlib.resources.files(__package__) / name
    return parse(place.read_text("utf-8"), kind, name)


@functools.cache
def cuda() -> Cuda:
    return _read("cuda.toml", Cuda)


@functools.cache
def torch() -> Torch:
    return _read("torch.toml", Torch)


@functools.cache
def frameworks() -> Frameworks:
    return _read("frameworks.toml", Frameworks)


@functools.cache
def nvidia_images() -> NvidiaImages:
    return _read("nvidia-images.toml", NvidiaImages)


@functools.cache
def os_releases() -> OsReleases:
    return _read("os-releases.toml", OsReleases)


# --- versions -----------------------------------------------------------------------------


def numbers(version: str) -> tuple[int, ...]:
    """A version as integers, ``570.26`` below ``570.124.06``; empty: it does not begin with one."""
    match = re.match(r"\d{1,9}(?:\.\d{1,9}){0,7}", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def line(version: str) -> str:
    """``2.11.0+cu130`` is of the line ``2.11``."""
    return ".".join(version.split("+")[0].split(".")[:2])


def capability(text: str) -> tuple[int, int] | None:
    """``9.0`` as two integers: 12.1 is not a number."""
    match = re.fullmatch(r"(\d{1,3})\.(\d{1,3})", text)
    return (int(match[1]), int(match[2])) if match else None


def os_release(values: dict[str, str]) -> Release | None:
    """The release that os-release names; None: the table does not have it."""
    own, version = values.get("ID", ""), values.get("VERSION_ID", "")
    parts = {"rpm": 1, "apk": 2, "dpkg": 9}
    for row in os_releases().release:
        if row.id == own and row.version == ".".join(version.split(".")[: parts[row.packages]]):
            return row
    return None


def product_kind(name: str) -> Kind | None:
    """What NVIDIA sells a GPU of this *name* as; None: the table does not know it."""
    for row in cuda().capability:
        groups: tuple[tuple[Kind, list[str]], ...] = (
            ("consumer", row.consumer),
            ("workstation", row.workstation),
            ("jetson", row.jetson),
            ("data-center", row.data_center),
        )
        for kind, products in groups:
            if any(_is_product(product, name) for product in products):
                return kind
    words = name.split()
    return next((row.kind for row in cuda().brand if row.word in words), None)


def _is_product(product: str, name: str) -> bool:
    """``GeForce RTX 30`` stands for the series; others are whole words: ``L4`` is no ``L40``."""
    end = r"\d\d\b" if re.search(r"RTX \d\d$", product) else r"(?![A-Za-z0-9])"
    return bool(re.search(rf"(?<![A-Za-z0-9]){re.escape(product)}{end}", name))
