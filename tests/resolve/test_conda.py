"""Which conda packages are proved, which are kept, which are packed, and what packing gives."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from envfreeze.errors import ArtifactError
from envfreeze.model.conda import CondaLayer, CondaPackage
from envfreeze.model.snapshot import Snapshot
from envfreeze.progress import Progress
from envfreeze.resolve import conda
from envfreeze.resolve.http import Http
from envfreeze.resolve.index import IndexSettings
from envfreeze.resolve.rootfs import Root
from envfreeze.store import Cache, Sidecar
from tests.support import channel


class Scene:
    """A channel of two packages, a prefix linked from it, and what is locked of that."""

    def __init__(self, place: Path, url: str, home: channel.Channel) -> None:
        self.place = place
        self.url = url
        self.channel = home
        self.prefix = channel.link(place / "prefix", url, ("libfoo", "poster"))
        self.http: Http | None = Http(IndexSettings(retries=0, timeout=5))
        self.cache = Cache(place / "cache")
        self.pack = True
        self.root = Root()

    def change(self, name: str, **changes: Any) -> None:
        """Rewrite the record of a package; None takes a field away."""
        (path,) = (self.prefix / "conda-meta").glob(f"{name}-*.json")
        record = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({k: v for k, v in record.items() if v is not None}))

    def look(self) -> Snapshot:
        return channel.look(self.prefix)

    def lock(self, snapshot: Snapshot | None = None) -> CondaLayer:
        means = conda.Means(
            cache=self.cache,
            sidecar=Sidecar(self.place / "env.lock"),
            progress=Progress(),
            http=self.http,
            pack=self.pack,
            root=self.root,
        )
        found = conda.lock_conda(snapshot or self.look(), means)
        assert found is not None
        self.findings = {(one.kind, one.detail.partition(" ")[0]) for one in found.findings}
        return found.layer

    def one(self, name: str) -> CondaPackage:
        return {package.name: package for package in self.lock().packages}[name]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    home = channel.Channel(tmp_path / "channel")
    home.add(channel.library_recipe())
    home.add(channel.post_link_recipe())
    home.write()
    with channel.served(home.root) as url:
        yield Scene(tmp_path, url, home)


def test_a_whole_package_whose_url_answers_is_proved(scene: Scene) -> None:
    layer = scene.lock()
    assert [(p.name, p.proof, p.subdir) for p in layer.packages] == [
        ("libfoo", "proved", "linux-64"),
        ("poster", "proved", "linux-64"),
    ]
    found = layer.packages[0]
    assert found.artifact is not None
    assert found.artifact.url == f"{scene.url}/linux-64/libfoo-1.2-h1_1.tar.bz2"
    assert found.requested == ["libfoo"]
    assert layer.channels == [scene.url]
    assert layer.loose is None


def test_without_a_network_what_answered_before_is_known(scene: Scene) -> None:
    scene.http = None
    assert scene.one("libfoo").proof == "packed"
    assert "--offline" in scene.one("libfoo").evidence
    scene.http = Http(IndexSettings(retries=0, timeout=5))
    scene.lock()
    scene.http = None
    assert scene.one("libfoo").proof == "proved"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"url": "http://127.0.0.1:9/linux-64/x.conda"}, "does not answer"),
        ({"url": None}, "names no URL"),
        ({"size": 3}, "bytes, and its record says 3"),
        ({"sha256": None, "md5": None}, "no digest of the package"),
        ({"sha256": None, "md5": "0" * 32}, "other bytes"),
    ],
)
def test_what_the_channel_does_not_prove_is_packed(
    scene: Scene, changes: dict[str, Any], reason: str
) -> None:
    scene.change("libfoo", **changes)
    found = scene.one("libfoo")
    assert found.proof == "packed"
    assert reason in found.evidence
    scene.pack = False
    lost = scene.one("libfoo")
    assert (lost.proof, lost.artifact) == ("unproved", None)


def test_an_old_record_is_proved_by_its_md5(scene: Scene) -> None:
    right = scene.one("libfoo")
    scene.change("libfoo", sha256=None, subdir=None)
    found = scene.one("libfoo")
    assert (found.proof, found.artifact, found.subdir) == ("proved", right.artifact, "linux-64")


def test_a_package_file_of_this_machine_is_kept(scene: Scene) -> None:
    path = scene.channel.root / "linux-64/libfoo-1.2-h1_1.tar.bz2"
    scene.change("libfoo", url=path.as_uri())
    found = scene.one("libfoo")
    assert found.proof == "packed" and found.evidence.startswith("kept")
    assert found.artifact is not None
    assert found.artifact.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(b"other bytes")
    scene.cache = Cache(scene.place / "another")
    assert scene.one("libfoo").evidence.startswith("packed from the installed files")


def test_packing_gives_the_same_bytes_each_time(scene: Scene) -> None:
    (scene.prefix / "lib/pkgconfig/foo.pc").write_text(f"edited in {scene.prefix}\n")
    first = scene.one("libfoo").artifact
    scene.cache = Cache(scene.place / "another")
    assert scene.one("libfoo").artifact == first
    assert ("edited-files", "1") in scene.findings


def test_a_packed_package_links_elsewhere_to_the_same_files(scene: Scene) -> None:
    (scene.prefix / "lib/pkgconfig/foo.pc").write_text(f"edited in {scene.prefix}\n")
    (scene.prefix / "share/foo/empty").unlink()
    packed = scene.one("libfoo")
    again = channel.Channel(scene.place / "again")
    assert packed.artifact is not None
    blob = scene.cache.find(packed.artifact.sha256)
    assert blob is not None
    path = again.root / "linux-64" / packed.artifact.filename
    path.parent.mkdir(parents=True)
    shutil.copyfile(blob, path)
    again.records[path.name] = {
        "name": "libfoo",
        "version": "1.2",
        "build": "h1_1",
        "build_number": 1,
        "depends": [],
        "subdir": "linux-64",
        "sha256": packed.artifact.sha256,
        "size": packed.artifact.size,
    }
    again.write()
    scene.prefix = channel.link(scene.place / "elsewhere", again.root.as_uri(), ("libfoo",))
    (record,) = scene.look().conda.records  # type: ignore[union-attr]
    assert record.odd == []
    assert (record.tree, record.count) == (packed.tree, packed.count)


def test_a_file_that_changes_meanwhile_is_noticed(scene: Scene) -> None:
    (scene.prefix / "share/stray").write_text("x")
    snapshot = scene.look()
    (scene.prefix / "share/stray").write_text("y")
    with pytest.raises(ArtifactError, match="changed while"):
        scene.lock(snapshot)


def test_files_are_read_below_another_root(scene: Scene, tmp_path: Path) -> None:
    (scene.prefix / "share/stray").write_text(f"{scene.prefix}\n")
    snapshot = scene.look()
    root = tmp_path / "root"
    (root / str(scene.prefix).lstrip("/")).parent.mkdir(parents=True)
    shutil.move(scene.prefix, f"{root}{scene.prefix}")
    scene.root, scene.http = Root(root), None
    layer = scene.lock(snapshot)
    assert layer.loose is not None and layer.loose.archive is not None
    assert {package.proof for package in layer.packages} == {"packed"}


def test_a_channel_of_the_configuration_is_the_one_that_packages_are_from(scene: Scene) -> None:
    scene.change("libfoo", channel="https://c.example/forge/")
    scene.change("poster", channel="https://c.example/main")
    (scene.prefix / ".condarc").write_text("channels: [main, forge, elsewhere]\n")
    assert scene.lock().channels == [
        "https://c.example/main",
        "https://c.example/forge",
        "elsewhere",
    ]
