"""What a built distribution came from: told where it is known, called a lead where it is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envfreeze.model.origin import Origin, origin_problem
from envfreeze.model.snapshot import Dist
from envfreeze.resolve import origins
from envfreeze.resolve.index import Candidate
from envfreeze.resolve.origins import Tracer, merge, of_direct_url
from envfreeze.resolve.pipconf import IndexSettings
from envfreeze.store import Cache
from tests import strategies
from tests.support import envs
from tests.support.fakeindex import make_wheel

TOKEN = "hunter2"
HEX = "ba67a9fd4b5f47a3e0e63c747d189817ea3b07de3672e608021f499047f83c55"


def dist(direct_url: Any = None, name: str = "demo") -> Dist:
    text = direct_url if isinstance(direct_url, str) else json.dumps(direct_url)
    return Dist(
        site="/s",
        info=f"{name}-1.0.dist-info",
        name=name,
        version="1.0",
        rows=[],
        direct_url=None if direct_url is None else text,
    )


def recorded(url: str, **more: Any) -> Origin:
    found = of_direct_url(dist({"url": url, **more}))
    assert found is not None
    return found


# --- direct_url.json -----------------------------------------------------------------------


def test_a_sdist_by_url() -> None:
    url = f"https://u:{TOKEN}@index.example/demo-1.0.tar.gz?token={TOKEN}"
    found = recorded(url, archive_info={"hash": f"sha256={HEX}", "hashes": {"sha256": HEX}})
    assert found.kind == "sdist"
    assert found.url == "https://index.example/demo-1.0.tar.gz"
    assert found.name == "demo-1.0.tar.gz"
    assert found.hashes == {"sha256": HEX}
    assert not found.lead
    assert TOKEN not in repr(found)


def test_what_pip_21_wrote() -> None:
    found = recorded("https://x.example/v1.zip", archive_info={"hash": f"sha256={HEX}"})
    assert (found.kind, found.hashes) == ("archive", {"sha256": HEX})


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("demo-1.0.tar.gz", "sdist"),
        ("Demo-1.0.zip", "sdist"),
        ("demo-1.0-2.tar.gz", "sdist"),
        ("master.tar.gz", "archive"),
        ("demo.tar.gz", "archive"),
        ("demo-1.0-py3-none-any.whl", "wheel"),
        ("", "archive"),
    ],
)
def test_kinds_of_archives(name: str, kind: str) -> None:
    assert recorded(f"https://x.example/{name}", archive_info={}).kind == kind


def test_a_commit() -> None:
    found = recorded(
        f"https://{TOKEN}@git.example/demo.git",
        vcs_info={"vcs": "git", "commit_id": "a" * 40, "requested_revision": "v1.0"},
        subdirectory="python",
    )
    assert found.kind == "git"
    assert found.url == "https://git.example/demo.git"
    assert (found.commit, found.requested_revision) == ("a" * 40, "v1.0")
    assert found.subdirectory == "python"


def test_a_directory() -> None:
    assert recorded("file:///srv/demo", dir_info={}).kind == "directory"


@pytest.mark.parametrize(
    "document",
    [
        {"url": "file:///srv/demo", "dir_info": {"editable": True}},
        {"url": "https://x.example/demo"},
        {"url": 5, "archive_info": {}},
        {"archive_info": {}},
        {"url": "https://x.example/demo", "vcs_info": {"vcs": "rcs"}},
        # What may not stand in a lock is not written into one.
        {"url": "https://g.example/d", "vcs_info": {"vcs": "git", "commit_id": "--exec=id"}},
        {"url": "https://x.example/a", "archive_info": {"hashes": {"sha256": "x"}}},
        {"url": "https://x.example/a", "archive_info": {}, "subdirectory": "../.."},
        {"url": "x\ny", "archive_info": {}},
        "no json",
        "[" * 5000,
        "[1]",
    ],
)
def test_nothing_to_tell(document: Any) -> None:
    assert of_direct_url(dist(document)) is None


@given(strategies.direct_url_text() | st.text())
def test_any_text_is_sound_or_nothing(text: str) -> None:
    found = of_direct_url(dist(text))
    assert found is None or origin_problem(found) is None


# --- what the caches and the index say -----------------------------------------------------


def offered(name: str = "demo-1.0.tar.gz", sha256: str | None = HEX, **more: Any) -> Candidate:
    facts = {"url": f"https://u:{TOKEN}@index.example/{name}", "index": "https://index.example/s"}
    return Candidate(filename=name, sha256=sha256, size=1, **{**facts, **more})


def traced(tmp_path: Path, found: Dist, cache: Path | None = None, **more: Any) -> origins.Traced:
    settings = IndexSettings(cache_dir=str(cache) if cache else None)
    return Tracer(settings, Cache(tmp_path / "cache")).trace(found, **more)


def test_a_lead_is_called_one(tmp_path: Path) -> None:
    found = traced(tmp_path, dist(), offered=[offered()])
    assert found.wheel is None
    [lead] = found.origins
    assert lead.lead
    assert (lead.url, lead.hashes) == ("https://index.example/demo-1.0.tar.gz", {"sha256": HEX})
    assert lead.evidence.startswith("offered for this release by index.example; not compared")


def test_a_local_lead_has_no_path(tmp_path: Path) -> None:
    local = offered(url="file:///srv/links/demo-1.0.tar.gz", index="file:///srv/links", local=True)
    [lead] = traced(tmp_path, dist(), offered=[local]).origins
    assert (lead.name, lead.url) == ("demo-1.0.tar.gz", None)
    assert "/srv" not in repr(lead)


def test_nothing_is_known(tmp_path: Path) -> None:
    assert traced(tmp_path, dist()) == origins.Traced(origins=[])


@pytest.fixture
def built(tmp_path: Path) -> tuple[Path, Dist]:
    """pip's cache with a wheel, and that wheel installed."""
    place = tmp_path / "pip/wheels/dd/36/70/3e64"
    wheel = make_wheel(place, "demo", "1.0", {"demo.py": "1"})
    origin = {
        "url": f"https://u:{TOKEN}@index.example/demo-1.0.tar.gz",
        "archive_info": {"hash": f"sha256={HEX}", "hashes": {"sha256": HEX}},
    }
    (place / "origin.json").write_text(json.dumps(origin))
    env = envs.make_venv(tmp_path / "env")
    envs.install(wheel, env)
    return wheel, envs.dist(envs.look(env), "demo")


def test_the_wheel_that_pip_built(tmp_path: Path, built: tuple[Path, Dist]) -> None:
    wheel, installed = built
    found = traced(
        tmp_path, installed, tmp_path / "pip", offered=[offered(), offered("x.zip", "0" * 64)]
    )
    assert found.wheel is not None
    assert found.wheel.sha256 == envs.sha256(wheel.read_bytes())
    assert found.wheel.evidence == (
        "3 files equal the RECORD of demo-1.0-py3-none-any.whl, which pip built here from"
        " demo-1.0.tar.gz"
    )
    # The other archive of that name is no lead: it is known which one was built.
    [origin] = found.origins
    assert (origin.url, origin.hashes) == (
        "https://index.example/demo-1.0.tar.gz",
        {"sha256": HEX},
    )
    assert not origin.lead
    assert "pip's cache" in origin.evidence
    assert TOKEN not in repr(found)


def test_a_cached_wheel_with_other_bytes_says_nothing(
    tmp_path: Path, built: tuple[Path, Dist]
) -> None:
    wheel, installed = built
    make_wheel(wheel.parent, "demo", "1.0", {"demo.py": "2"})
    assert traced(tmp_path, installed, tmp_path / "pip") == origins.Traced(origins=[])


def test_a_cached_wheel_of_another_version_says_nothing(
    tmp_path: Path, built: tuple[Path, Dist]
) -> None:
    wheel, installed = built
    wheel.unlink()
    make_wheel(wheel.parent, "demo", "2.0", {"demo.py": "1"})
    assert traced(tmp_path, installed, tmp_path / "pip").wheel is None


@pytest.mark.parametrize("content", [b"", b"PK\5\6" + b"\0" * 18, b"x" * 3000])
def test_a_damaged_wheel_says_nothing(
    tmp_path: Path, built: tuple[Path, Dist], content: bytes
) -> None:
    wheel, installed = built
    wheel.write_bytes(content)
    assert traced(tmp_path, installed, tmp_path / "pip").wheel is None


def test_an_old_cache_without_origin(tmp_path: Path, built: tuple[Path, Dist]) -> None:
    wheel, installed = built
    (wheel.parent / "origin.json").unlink()
    found = traced(tmp_path, installed, tmp_path / "pip")
    assert found.origins == []
    assert found.wheel is not None
    assert found.wheel.evidence.endswith("which pip built here")


def test_an_origin_on_this_machine_keeps_no_path(tmp_path: Path, built: tuple[Path, Dist]) -> None:
    wheel, installed = built
    origin = {"url": "file:///srv/links/demo-1.0.tar.gz", "archive_info": {"hashes": {}}}
    (wheel.parent / "origin.json").write_text(json.dumps(origin))
    [found] = traced(tmp_path, installed, tmp_path / "pip").origins
    assert (found.name, found.url) == ("demo-1.0.tar.gz", None)


# --- together ------------------------------------------------------------------------------


def sdist(**facts: Any) -> Origin:
    return Origin(**({"kind": "sdist", "evidence": "x", "hashes": {"sha256": HEX}} | facts))


def test_what_uv_knows_gets_its_name_from_the_index() -> None:
    lead = sdist(name="demo-1.0.tar.gz", url="https://index.example/d", lead=True, evidence="y")
    assert merge([sdist(), lead]) == [
        sdist(name="demo-1.0.tar.gz", url="https://index.example/d", evidence="x")
    ]


def test_two_witnesses_of_one_archive() -> None:
    [found] = merge([sdist(evidence="x"), sdist(evidence="y", url="file:///d")])
    assert (found.evidence, found.url) == ("x; y", "file:///d")


def test_leads_stand_where_nothing_is_known() -> None:
    leads = [sdist(lead=True), sdist(lead=True, hashes={"sha256": "0" * 64})]
    assert merge(leads) == leads
    assert merge([sdist(kind="directory", hashes={}, url="file:///d"), *leads]) == [
        sdist(kind="directory", hashes={}, url="file:///d")
    ]
