"""Settings as pip reads them: files, their order, the environment, the default index."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from envfreeze.errors import UsageError
from envfreeze.resolve import pipconf
from envfreeze.resolve.pipconf import IndexSettings, default_index, parse_default_index

SOURCE = b"""
class PackageIndex: ...
PyPI = PackageIndex("https://index.example/", file_storage_domain="files.index.example")
TestPyPI = PackageIndex("https://test.index.example/", file_storage_domain="x")
"""


@pytest.fixture
def read(tmp_path: Path):
    """``read(environ, prefix=...)`` on a machine that has nothing but what a test writes."""

    def run(environ: dict[str, str] | None = None, prefix: Path | None = None) -> IndexSettings:
        return pipconf.read_settings(
            environ=environ or {},
            prefix=prefix,
            pip_sources=[tmp_path / "site"],
            home=tmp_path / "home",
            root=tmp_path,
        )

    write(tmp_path / "site/pip/_internal/models/index.py", SOURCE.decode())
    (tmp_path / "home").mkdir()
    return run


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def conf(path: Path, value: str, section: str = "global") -> Path:
    return write(path, f"[{section}]\nindex-url = https://{value}.example/simple\n")


def test_the_default_is_what_pip_itself_says(read):
    settings = read()
    assert settings.index_url == "https://index.example/simple"
    assert settings.notes == ()


def test_each_file_overrides_the_one_before(tmp_path, read):
    prefix = tmp_path / "venv"
    places = [
        tmp_path / "etc/xdg/pip/pip.conf",
        tmp_path / "etc/pip.conf",
        tmp_path / "home/.pip/pip.conf",
        tmp_path / "home/.config/pip/pip.conf",
        prefix / "pip.conf",
        tmp_path / "chosen.conf",
    ]
    for number, place in enumerate(places):
        conf(place, f"i{number}")
        environ = {"PIP_CONFIG_FILE": str(place)} if number == 5 else {}
        assert read(environ, prefix).index_url == f"https://i{number}.example/simple"
    environ = {"PIP_CONFIG_FILE": str(places[5]), "PIP_INDEX_URL": "https://env.example/simple"}
    assert read(environ, prefix).index_url == "https://env.example/simple"


def test_a_chosen_file_replaces_the_users_only(tmp_path, read):
    write(tmp_path / "etc/pip.conf", "[global]\ntimeout = 3\n")
    write(tmp_path / "home/.pip/pip.conf", "[global]\nretries = 9\n")
    chosen = write(tmp_path / "chosen.conf", "[global]\nproxy = proxy.example:3128\n")
    settings = read({"PIP_CONFIG_FILE": str(chosen)})
    assert (settings.timeout, settings.retries) == (3.0, 5)
    assert settings.proxy == "proxy.example:3128"


def test_a_chosen_file_that_is_not_there_leaves_the_users(tmp_path, read):
    write(tmp_path / "home/.pip/pip.conf", "[global]\nretries = 9\n")
    assert read({"PIP_CONFIG_FILE": str(tmp_path / "no")}).retries == 9


def test_the_null_device_switches_all_files_off(tmp_path, read):
    conf(tmp_path / "etc/pip.conf", "etc")
    assert read({"PIP_CONFIG_FILE": os.devnull}).index_url == "https://index.example/simple"


def test_xdg_variables_move_the_places(tmp_path, read):
    conf(tmp_path / "a/pip/pip.conf", "a")
    conf(tmp_path / "b/pip/pip.conf", "b")
    assert read({"XDG_CONFIG_DIRS": "/a:/b"}).index_url == "https://b.example/simple"
    conf(tmp_path / "mine/pip/pip.conf", "mine")
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "mine")}
    assert read(environ).index_url == "https://mine.example/simple"


def test_install_beats_global_even_from_an_earlier_file(tmp_path, read):
    conf(tmp_path / "etc/pip.conf", "install", "install")
    conf(tmp_path / "home/.pip/pip.conf", "global", "global")
    assert read().index_url == "https://install.example/simple"


def test_sections_of_other_commands_do_not_count(tmp_path, read):
    conf(tmp_path / "etc/pip.conf", "download", "download")
    assert read().index_url == "https://index.example/simple"


def test_an_empty_value_uncovers_the_default(tmp_path, read):
    conf(tmp_path / "etc/pip.conf", "etc")
    write(tmp_path / "home/.pip/pip.conf", "[global]\nindex-url =\n")
    assert read().index_url == "https://index.example/simple"


@pytest.mark.parametrize("key", ["extra-index-url", "extra_index_url", "EXTRA_INDEX_URL"])
def test_lists_are_split_and_keys_are_spelled_freely(tmp_path, read, key):
    write(tmp_path / "etc/pip.conf", f"[global]\n{key} =\n  https://a.example\n  file:///b\n")
    assert read().extra_index_urls == ("https://a.example", "file:///b")


def test_the_environment_replaces_a_list(tmp_path, read):
    write(tmp_path / "etc/pip.conf", "[global]\nfind-links = /a /b\n")
    assert read({"PIP_FIND_LINKS": "/c"}).find_links == ("/c",)


def test_aliases_of_options(read):
    settings = read({"PIP_PYPI_URL": "https://old.example/simple", "PIP_DEFAULT_TIMEOUT": "180"})
    assert settings.index_url == "https://old.example/simple"
    assert settings.timeout == 180.0


def test_find_links_expand_the_home_that_exists(tmp_path, read):
    (tmp_path / "home/wheels").mkdir()
    settings = read({"PIP_FIND_LINKS": "~/wheels ~/none ${HOME}/x"})
    assert settings.find_links == (str(tmp_path / "home/wheels"), "~/none", "${HOME}/x")


def test_no_index_leaves_find_links(read):
    settings = read({"PIP_NO_INDEX": "yes", "PIP_EXTRA_INDEX_URL": "x", "PIP_FIND_LINKS": "/w"})
    assert settings.index_urls == ()
    assert settings.find_links == ("/w",)
    assert settings.no_index
    assert settings.notes == ()


@pytest.mark.parametrize(
    ("key", "value"),
    [("PIP_NO_INDEX", "perhaps"), ("PIP_TIMEOUT", "long"), ("PIP_RETRIES", "-1")],
)
def test_what_pip_refuses_is_refused(read, key, value):
    with pytest.raises(UsageError, match=key[4:].lower().replace("_", "-")) as caught:
        read({key: value})
    assert caught.value.hint


@pytest.mark.parametrize("text", ["index-url = https://u:geheim@x.example\n", "[global\n", "\xff"])
def test_a_broken_file_is_named_and_not_quoted(tmp_path, read, text):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/pip.conf").write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=r"pip\.conf") as caught:
        read()
    assert "geheim" not in str(caught.value)
    assert caught.value.__cause__ is None or "geheim" not in str(caught.value.__cause__)


def test_a_directory_in_place_of_a_file_is_noted(tmp_path, read):
    (tmp_path / "etc/pip.conf").mkdir(parents=True)
    assert "pip.conf" in read().notes[0]


def test_certificates_in_their_order(read):
    environ = {"SSL_CERT_FILE": "/ssl"}
    assert read({}).cert is None
    assert read(environ).cert == "/ssl"
    environ["CURL_CA_BUNDLE"] = "/curl"
    assert read(environ).cert == "/curl"
    environ["REQUESTS_CA_BUNDLE"] = "/requests"
    assert read(environ).cert == "/requests"
    environ["PIP_CERT"] = "/pip"
    assert read(environ).cert == "/pip"
    assert read({"PIP_CLIENT_CERT": "/me.pem"}).client_cert == "/me.pem"


def test_proxies_of_the_environment_give_way_to_pips(read):
    environ = {"HTTPS_PROXY": "http://a.example:1", "http_proxy": "http://b.example:2"}
    environ["NO_PROXY"] = "localhost"
    settings = read(environ)
    assert dict(settings.environment_proxies) == {
        "https": "http://a.example:1",
        "http": "http://b.example:2",
    }
    assert settings.no_proxy == "localhost"
    settings = read(environ | {"PIP_PROXY": "http://p.example:3"})
    assert settings.environment_proxies == ()
    assert settings.proxy == "http://p.example:3"


def test_netrc_is_found(tmp_path, read):
    assert read().netrc is None
    write(tmp_path / "home/.netrc", "")
    assert read().netrc == str(tmp_path / "home/.netrc")
    assert read({"NETRC": "/elsewhere"}).netrc == "/elsewhere"


def test_repr_and_fingerprint_hold_no_credentials(read):
    settings = read({"PIP_INDEX_URL": "https://user:geheim@a.example/simple"})
    other = read({"PIP_INDEX_URL": "https://other:anders@a.example/simple"})
    assert "geheim" not in repr(settings)
    assert settings.fingerprint == other.fingerprint
    assert settings.fingerprint != read({"PIP_INDEX_URL": "https://b.example"}).fingerprint


# --- the default index ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        b"PyPI = Index('https://index.example/')",
        b"import os\nPyPI = PackageIndex('https://index.example/', 'x')\n",
    ],
)
def test_older_spellings_of_the_source(source):
    assert parse_default_index(source) == "https://index.example/simple"


@pytest.mark.parametrize(
    "source",
    [
        b"",
        b"PyPI = (",
        b"\x00",
        b"PyPI = PackageIndex(url)",
        b"PyPI = PackageIndex(3)",
        b"PyPI = PackageIndex('file:///etc/')",
        b"Other = PackageIndex('https://index.example/')",
        b"PyPI = " + b"(" * 5000,
    ],
)
def test_sources_that_say_nothing(source):
    assert parse_default_index(source) is None


def test_without_any_pip_there_is_a_note(tmp_path, monkeypatch):
    monkeypatch.setattr(pipconf, "_packages", lambda name: [])
    settings = pipconf.read_settings(
        environ={}, prefix=None, pip_sources=[], home=tmp_path, root=tmp_path
    )
    assert settings.index_url is None
    assert "index-url" in settings.notes[0]


def test_a_bundled_wheel_of_pip_serves_too(tmp_path, monkeypatch):
    monkeypatch.setattr(pipconf, "_packages", lambda name: [])
    wheels = tmp_path / "usr/share/python-wheels"
    wheels.mkdir(parents=True)
    (wheels / "pip-0-py3-none-any.whl").write_bytes(b"no zip")
    with zipfile.ZipFile(wheels / "pip-1-py3-none-any.whl", "w") as archive:
        archive.writestr("pip/_internal/models/index.py", SOURCE)
    assert default_index([], root=tmp_path) == "https://index.example/simple"


def test_the_pip_beside_us_is_read_and_not_imported(tmp_path):
    url = default_index([], root=tmp_path)
    assert url is not None
    assert url.endswith("/simple")


def test_the_caches(tmp_path, read):
    assert read().cache_dir == str(tmp_path / "home/.cache/pip")
    assert read().uv_cache_dir == str(tmp_path / "home/.cache/uv")
    xdg = read({"XDG_CACHE_HOME": "/xdg"})
    assert (xdg.cache_dir, xdg.uv_cache_dir) == ("/xdg/pip", "/xdg/uv")
    assert read({"PIP_CACHE_DIR": "/c", "UV_CACHE_DIR": "/u"}).cache_dir == "/c"
    assert read({"UV_CACHE_DIR": "/u"}).uv_cache_dir == "/u"
    write(tmp_path / "etc/pip.conf", "[global]\ncache-dir = ~/mine\n")
    (tmp_path / "home/mine").mkdir()
    assert read().cache_dir == str(tmp_path / "home/mine")


@pytest.mark.parametrize("value", ["1", "off", "false"])
def test_no_cache_means_none_whatever_its_value(read, value):
    assert read({"PIP_NO_CACHE_DIR": value}).cache_dir is None


def test_the_keyring(tmp_path, read):
    assert read().keyring_provider == "auto"
    assert not read().no_input
    assert read({"PIP_KEYRING_PROVIDER": "subprocess"}).keyring_provider == "subprocess"
    assert read({"PIP_NO_INPUT": "1"}).no_input
    write(tmp_path / "etc/pip.conf", "[global]\nkeyring_provider = disabled\n")
    assert read().keyring_provider == "disabled"
    with pytest.raises(UsageError, match="keyring-provider is 'magic'; there are auto"):
        read({"PIP_KEYRING_PROVIDER": "magic"})


def test_the_targets_own_keyring_is_not_run(tmp_path, read):
    prefix = tmp_path / "env"
    (prefix / "bin").mkdir(parents=True)
    (tmp_path / "link").symlink_to(prefix / "bin")
    path = os.pathsep.join([f"{prefix}/bin", str(tmp_path / "link"), "", "bin", "/usr/bin"])
    assert read({"PATH": path}, prefix=prefix).keyring_path == "/usr/bin"
    assert read({"PATH": path}, prefix=tmp_path / "en").keyring_path.count(os.pathsep) == 2
