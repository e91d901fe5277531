"""Layouts on this machine: directories and archives, whole or refused."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from envfreeze.errors import ArtifactError, UsageError
from envfreeze.resolve import ociimage
from tests.support import ocis

PLATFORM = ("amd64", "")
LAYER = ocis.layer({"a": b"1"})


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return ocis.layout(tmp_path / "base", [LAYER], gzipped=True)


def archive(layout: Path) -> Path:
    path = layout.with_suffix(".tar")
    with tarfile.open(path, "w") as tar:
        for file in sorted(layout.rglob("*")):
            tar.add(file, f"./{file.relative_to(layout)}", recursive=False)
    return path


def test_a_directory_and_an_archive_are_one_image(layout: Path) -> None:
    one = ociimage.at(f"oci:{layout}", PLATFORM)
    other = ociimage.at(f"oci-archive:{archive(layout)}", PLATFORM)
    assert one is not None
    assert other is not None
    assert (one.digest, one.config, one.diff_ids) == (other.digest, other.config, other.diff_ids)
    with one.layers[0].open() as here, other.layers[0].open() as there:
        assert here.read() == there.read(-1)
        assert there.read(1) == b""
    assert one.diff_ids == [ocis.digest(LAYER)]


def test_a_name_of_a_registry_is_none_of_these() -> None:
    assert ociimage.at("mirror.example/base:1@sha256:" + "0" * 64, PLATFORM) is None
    assert ociimage.at("oci/base:1", PLATFORM) is None


def test_one_of_several_is_named(layout: Path) -> None:
    index = json.loads((layout / "index.json").read_text())
    second = ocis.layout(layout.parent / "second", [ocis.layer({"b": b""})])
    other = json.loads((second / "index.json").read_text())["manifests"][0]
    for blob in (second / "blobs/sha256").iterdir():
        (layout / "blobs/sha256" / blob.name).write_bytes(blob.read_bytes())
    other["annotations"] = {"org.opencontainers.image.ref.name": "second"}
    index["manifests"].append(other)
    (layout / "index.json").write_text(json.dumps(index))
    with pytest.raises(UsageError, match="2 images"):
        ociimage.at(f"oci:{layout}", PLATFORM)
    found = ociimage.at(f"oci:{layout}:second", PLATFORM)
    assert found is not None
    assert found.digest == other["digest"]
    with pytest.raises(UsageError, match="no images"):
        ociimage.at(f"oci:{layout}:third", PLATFORM)


def test_platforms(layout: Path) -> None:
    with pytest.raises(UsageError, match="linux/amd64"):
        ociimage.at(f"oci:{layout}", ("arm64", "v8"))


@pytest.mark.parametrize("text", ["oci:/nowhere", "oci-archive:/nowhere:x"])
def test_nothing_there(text: str) -> None:
    with pytest.raises(UsageError, match="no such"):
        ociimage.at(text, PLATFORM)


def test_no_archive(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"nothing" * 200)
    with pytest.raises(UsageError, match="cannot be read"):
        ociimage.at(f"oci-archive:{tmp_path}/x.tar", PLATFORM)


def test_a_manifest_with_other_bytes(layout: Path) -> None:
    entry = json.loads((layout / "index.json").read_text())["manifests"][0]
    blob = layout / "blobs" / entry["digest"].replace(":", "/")
    blob.write_bytes(blob.read_bytes().replace(b"2", b"3", 1))
    with pytest.raises(ArtifactError, match="other bytes"):
        ociimage.at(f"oci:{layout}", PLATFORM)


def test_a_layer_that_is_missing(layout: Path) -> None:
    image = ociimage.at(f"oci:{layout}", PLATFORM)
    assert image is not None
    image.layers[0].path.unlink()
    with pytest.raises(ArtifactError, match="lacks the blob"):
        ociimage.at(f"oci:{layout}", PLATFORM)


GOOD = {"digest": "sha256:" + "0" * 64, "size": 1, "mediaType": ocis.LAYER}


@pytest.mark.parametrize(
    "entry",
    [None, [], {}, GOOD | {"digest": "sha256:../../x"}, GOOD | {"digest": "md5:0"},
     GOOD | {"size": -1}, GOOD | {"size": True}, GOOD | {"size": "1"}, GOOD | {"mediaType": 1}],
)  # fmt: skip
def test_descriptors_of_an_enemy(entry: Any) -> None:
    with pytest.raises(ArtifactError):
        ociimage.descriptor(entry, "x")


def test_layers_of_another_kind() -> None:
    config = GOOD | {"mediaType": ocis.CONFIG}
    for change in ({"mediaType": f"{ocis.LAYER}+zstd"}, {"urls": ["https://mirror.example"]}):
        with pytest.raises(UsageError, match="of the kind"):
            ociimage.parts({"config": config, "layers": [GOOD | change]}, "x")
    docker = GOOD | {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip"}
    _, layers = ociimage.parts({"config": config, "layers": [docker]}, "x")
    assert layers[0].media_type == f"{ocis.LAYER}+gzip"


@pytest.mark.parametrize("ids", [None, [], ["sha256:0"], [1], ["sha256:" + "0" * 64] * 2])
def test_a_configuration_that_disagrees(ids: Any) -> None:
    with pytest.raises(ArtifactError):
        ociimage.diff_ids({"rootfs": {"diff_ids": ids}}, 1, "x")
