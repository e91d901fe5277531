"""Where packages come from, as pip would answer: its configuration files and environment.

Source: pip's documentation, "Configuration", and its ``_internal/configuration.py`` and
``cli/parser.py``. Nothing of pip is imported; the default index is read out of pip's source.
"""

from __future__ import annotations

import ast
import configparser
import hashlib
import importlib.machinery
import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urljoin, urlsplit, urlunsplit

from envfreeze.errors import UsageError

_MODELS_INDEX = "pip/_internal/models/index.py"
_DEFAULT_TIMEOUT = 15.0
_DEFAULT_RETRIES = 5
_ALIASES = {"pypi-url": "index-url", "default-timeout": "timeout"}
_TRUE = frozenset({"y", "yes", "t", "true", "on", "1"})
_FALSE = frozenset({"n", "no", "f", "false", "off", "0"})
_KEYRINGS = ("auto", "disabled", "import", "subprocess")
_IGNORED = frozenset({"version", "help"})
"""``PIP_VERSION`` and ``PIP_HELP`` are not options (pip, ``ENV_NAMES_IGNORED``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSettings:
    """Where to look for packages and how to reach it. URLs may hold credentials: not in repr."""

    index_url: str | None = field(default=None, repr=False)
    """None: ``no-index``, or no default could be found (then :attr:`notes` says so)."""
    extra_index_urls: tuple[str, ...] = field(default=(), repr=False)
    find_links: tuple[str, ...] = field(default=(), repr=False)
    no_index: bool = False
    cert: str | None = None
    """A bundle or directory of certificates; None: the system's own."""
    client_cert: str | None = None
    proxy: str | None = field(default=None, repr=False)
    """pip's own setting; for every scheme and host."""
    environment_proxies: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """``(scheme, URL)`` of ``HTTP_PROXY`` and the like; ``all`` stands for the rest."""
    no_proxy: str = ""
    trusted_hosts: tuple[str, ...] = ()
    timeout: float = _DEFAULT_TIMEOUT
    retries: int = _DEFAULT_RETRIES
    netrc: str | None = None
    cache_dir: str | None = None
    """pip's cache; None: switched off."""
    uv_cache_dir: str | None = None
    keyring_provider: str = "auto"
    """``auto``, ``import``, ``subprocess`` or ``disabled``."""
    keyring_path: str = ""
    """Where a ``keyring`` is looked for: PATH without the target's own directories."""
    no_input: bool = False
    """Nobody is there to unlock a keyring: ``auto`` then asks none."""
    notes: tuple[str, ...] = ()
    """What was set aside while reading, one line each."""

    @property
    def index_urls(self) -> tuple[str, ...]:
        """Every index, the main one first."""
        main = (self.index_url,) if self.index_url else ()
        return main + self.extra_index_urls

    @property
    def fingerprint(self) -> str:
        """sha256 over the places that are searched, credentials left out."""
        places = [
            [without_userinfo(url) for url in self.index_urls],
            [without_userinfo(url) for url in self.find_links],
        ]
        return hashlib.sha256(json.dumps(places).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Machine:
    """Where configuration is looked for."""

    environ: Mapping[str, str]
    prefix: Path | None
    home: Path
    root: Path


def read_settings(
    *,
    environ: Mapping[str, str],
    prefix: Path | None,
    pip_sources: Sequence[Path] = (),
    home: Path | None = None,
    root: Path = Path("/"),
) -> IndexSettings:
    """pip's settings for an environment with this *prefix*.

    :param pip_sources: directories that may hold pip (the target's site directories); its
        default index counts before that of any other pip.
    :param root: where ``/etc`` and ``/usr`` are looked for.
    :raises UsageError: a configuration file or value that pip would refuse, too.
    """
    machine = _Machine(environ=environ, prefix=prefix, home=_home(environ, home), root=root)
    options, notes = _read_options(machine)
    no_index = _flag(options, "no-index")
    index_url = None
    if not no_index:
        index_url = options.get("index-url") or default_index(pip_sources, root=root)
        if index_url is None:
            notes.append(
                "No default package index: no pip was found to read it from, and index-url"
                " is not set in pip's configuration."
            )
    proxy = options.get("proxy")
    return IndexSettings(
        index_url=index_url,
        extra_index_urls=() if no_index else _words(options, "extra-index-url"),
        find_links=tuple(_expand(link, machine) for link in _words(options, "find-links")),
        no_index=no_index,
        cert=_cert(options, machine),
        client_cert=options.get("client-cert"),
        proxy=proxy,
        environment_proxies=() if proxy else _environment_proxies(environ),
        no_proxy=environ.get("no_proxy") or environ.get("NO_PROXY") or "",
        trusted_hosts=_words(options, "trusted-host"),
        timeout=_number(options, "timeout", _DEFAULT_TIMEOUT),
        retries=int(_number(options, "retries", _DEFAULT_RETRIES)),
        netrc=_netrc(machine),
        cache_dir=_cache_dir(options, machine),
        keyring_provider=_keyring_provider(options),
        keyring_path=_keyring_path(machine),
        no_input=_flag(options, "no-input"),
        uv_cache_dir=machine.environ.get("UV_CACHE_DIR") or str(_user_cache(machine) / "uv"),
        notes=tuple(notes),
    )


def without_userinfo(url: str) -> str:
    """*url* without ``user:password@``; paths stay as they are."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    if "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _home(environ: Mapping[str, str], home: Path | None) -> Path:
    if home is not None:
        return home
    return Path(environ["HOME"]) if environ.get("HOME") else Path.home()


# --- configuration files -----------------------------------------------------------------


def _read_options(machine: _Machine) -> tuple[dict[str, str], list[str]]:
    """Option to value: ``[global]``, over it ``[install]``, over it ``PIP_*``.

    Within a section a later file wins; a value that ends up empty counts as not set
    (``_get_ordered_configuration_items``).
    """
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    notes: list[str] = []
    for path in _config_files(machine):
        for section, items in _parse_file(path, notes).items():
            if section in sections:
                sections[section].update(items)
    for name, value in machine.environ.items():
        if name.startswith("PIP_") and name[4:].lower() not in _IGNORED:
            sections[":env:"][_key(name[4:])] = value
    merged: dict[str, str] = {}
    for section in ("global", "install", ":env:"):
        merged.update((key, value) for key, value in sections[section].items() if value)
    return merged, notes


def _key(name: str) -> str:
    key = name.lower().replace("_", "-").removeprefix("--")
    return _ALIASES.get(key, key)


def _config_files(machine: _Machine) -> Iterator[Path]:
    """The files in pip's order, the least important first.

    ``PIP_CONFIG_FILE`` names one more, which replaces the user's; as the null device it
    switches all of them off (``_load_config_files``, ``iter_config_files``).
    """
    chosen = machine.environ.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return
    environ = machine.environ
    for place in (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep):
        if place:
            yield _below(machine.root, Path(place)) / "pip" / "pip.conf"
    yield _below(machine.root, Path("/etc")) / "pip.conf"
    if not (chosen and Path(chosen).exists()):
        yield machine.home / ".pip" / "pip.conf"
        yield Path(environ.get("XDG_CONFIG_HOME") or machine.home / ".config") / "pip" / "pip.conf"
    if machine.prefix is not None:
        yield machine.prefix / "pip.conf"
    if chosen:
        yield Path(chosen)


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to(path.anchor)


class _Parser(configparser.RawConfigParser):
    """pip's dialect: ``-`` and ``_`` mean the same in keys."""

    def optionxform(self, optionstr: str) -> str:
        return _key(optionstr)


def _parse_file(path: Path, notes: list[str]) -> dict[str, dict[str, str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        notes.append(f"{path} was not read: {error.strerror}")
        return {}
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8", hint="pip cannot read it either.") from error
    parser = _Parser()
    try:
        parser.read_string(text, source=str(path))
    except configparser.Error as error:
        # The parser's own message quotes lines, and a line may hold a password.
        raise UsageError(
            f"{path} is not a configuration file of pip ({type(error).__name__})",
            hint="pip config debug shows which files pip reads.",
        ) from None
    return {section: dict(parser.items(section)) for section in parser.sections()}


# --- values ------------------------------------------------------------------------------


def _words(options: dict[str, str], key: str) -> tuple[str, ...]:
    """A list option: a later place replaces the earlier list, as in pip."""
    return tuple(dict.fromkeys(options.get(key, "").split()))


def _flag(options: dict[str, str], key: str) -> bool:
    value = options.get(key, "no").lower()
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise UsageError(
        f"pip's setting {key} is {value!r}, which is neither yes nor no",
        hint="pip config debug shows where it is set.",
    )


def _number(options: dict[str, str], key: str, default: float) -> float:
    text = options.get(key)
    if text is None:
        return default
    try:
        value = float(text)
        if not 0 <= value < 1e6:
            raise ValueError(text)
    except ValueError:
        raise UsageError(
            f"pip's setting {key} is {text!r}, which is not a number",
            hint="pip config debug shows where it is set.",
        ) from None
    return value


def _expand(link: str, machine: _Machine) -> str:
    """``~`` counts as the home directory where that exists (``SearchScope.create``)."""
    if link == "~" or link.startswith("~/"):
        path = machine.home / link[2:]
        if path.exists():
            return str(path)
    return link


def _cert(options: dict[str, str], machine: _Machine) -> str | None:
    if chosen := options.get("cert"):
        return _expand(chosen, machine)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        if value := machine.environ.get(name):
            return value
    return None


def _environment_proxies(environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The lower-case name wins, as for curl and the standard library."""
    found = []
    for scheme in ("http", "https", "all"):
        value = environ.get(f"{scheme}_proxy") or environ.get(f"{scheme.upper()}_PROXY")
        if value:
            found.append((scheme, value))
    return tuple(found)


def _netrc(machine: _Machine) -> str | None:
    if chosen := machine.environ.get("NETRC"):
        return str(_expand(chosen, machine))
    for name in (".netrc", "_netrc"):
        if (machine.home / name).is_file():
            return str(machine.home / name)
    return None


def _cache_dir(options: dict[str, str], machine: _Machine) -> str | None:
    """``no-cache-dir`` switches it off, whatever its value (``_handle_no_cache_dir``)."""
    if "no-cache-dir" in options:
        return None
    chosen = options.get("cache-dir")
    return _expand(chosen, machine) if chosen else str(_user_cache(machine) / "pip")


def _user_cache(machine: _Machine) -> Path:
    return Path(machine.environ.get("XDG_CACHE_HOME") or machine.home / ".cache")


def _keyring_provider(options: dict[str, str]) -> str:
    chosen = options.get("keyring-provider", "auto")
    if chosen not in _KEYRINGS:
        raise UsageError(
            f"pip's setting keyring-provider is {chosen!r}; there are {', '.join(_KEYRINGS)}",
            hint="pip config debug shows where it is set.",
        )
    return chosen


def _keyring_path(machine: _Machine) -> str:
    """PATH without what lies in the target: a capture runs none of its packages."""
    places = [place for place in machine.environ.get("PATH", "").split(os.pathsep) if place]
    if machine.prefix is None:
        return os.pathsep.join(places)
    own = os.path.realpath(machine.prefix)
    return os.pathsep.join(
        place
        for place in places
        if Path(place).is_absolute() and not f"{os.path.realpath(place)}/".startswith(f"{own}/")
    )


# --- the default index -------------------------------------------------------------------


def default_index(pip_sources: Sequence[Path], *, root: Path = Path("/")) -> str | None:
    """The index that pip uses when nothing is configured, as pip's own source states it."""
    for source in _pip_source_texts(pip_sources, root):
        if url := parse_default_index(source):
            return url
    return None


def _pip_source_texts(pip_sources: Sequence[Path], root: Path) -> Iterator[bytes]:
    for directory in (*pip_sources, *_own_pip()):
        try:
            yield (directory / _MODELS_INDEX).read_bytes()
        except OSError:  # noqa: PERF203
            continue
    wheels: list[Path] = []
    for directory in (*_bundled(), root / "usr/share/python-wheels"):
        wheels += sorted(directory.glob("pip-*.whl"))
    for wheel in wheels:
        try:
            with zipfile.ZipFile(wheel) as archive:
                yield archive.read(_MODELS_INDEX)
        except (OSError, zipfile.BadZipFile, KeyError):  # noqa: PERF203
            continue


def _own_pip() -> list[Path]:
    return [directory.parent for directory in _packages("pip")]


def _bundled() -> list[Path]:
    return [directory / "_bundled" for directory in _packages("ensurepip")]


def _packages(name: str) -> list[Path]:
    spec = importlib.machinery.PathFinder.find_spec(name)
    locations = spec.submodule_search_locations if spec else None
    return [Path(location) for location in locations or ()]


def parse_default_index(source: bytes) -> str | None:
    """``PyPI = PackageIndex("URL", ...)`` in pip's ``models/index.py``, plus ``simple``."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    for node in tree.body:
        if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)):
            continue
        names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        arguments = node.value.args
        if "PyPI" in names and arguments and isinstance(arguments[0], ast.Constant):
            url = arguments[0].value
            if isinstance(url, str) and urlsplit(url).scheme in {"https", "http"}:
                return urljoin(url, "simple")
    return None
