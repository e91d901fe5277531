"""A tag into a digest: against a real registry, and one of our own that asks for tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from envfreeze.errors import ArtifactError, IndexUnavailableError, UsageError
from envfreeze.resolve import ociimage
from envfreeze.resolve.http import Http
from envfreeze.resolve.pipconf import IndexSettings
from envfreeze.resolve.registry import Registry, Store, at, of_store, parse
from envfreeze.store import Cache
from tests.support.engine import NoEngineError, running_registry
from tests.support.registry import (
    DOCKER_MANIFEST,
    LIST,
    MANIFEST,
    FakeRegistry,
    Image,
    digest,
    index,
    push,
)

AMD64, ARM64, ARMV7 = Image("amd64"), Image("arm64", "v8"), Image("arm", "v7")
LOGIN = ("user", "s3cret")


def pin(host: str, name: str = "library/debian:bookworm-slim", **more: Any) -> str:
    platform = more.pop("platform", ("amd64", ""))
    settings = IndexSettings(timeout=10, retries=0)
    registry = Registry(http=Http(settings), public=host, **more)
    return registry.pin(parse(name), platform)


def through(proxy: str, *trusted: str) -> Http:
    """So that the registry has a name that is not this machine's."""
    return Http(
        IndexSettings(timeout=10, retries=0, proxy=f"http://{proxy}", trusted_hosts=trusted)
    )


def test_a_registry_that_docker_takes_without_tls() -> None:
    """TLS is asked for first; the proxy, which is the registry, knows none."""
    host = "registry.example:5000"
    with FakeRegistry(index(AMD64), token="t", realm=f"http://{host}/token") as served:
        registry = Registry(
            http=through(served.host),
            public="public.example",
            relaxed=lambda name: through(served.host, name) if name == host else None,
        )
        found = registry.pin(parse(f"{host}/a:1"), ("amd64", ""))
        assert found == f"{host}/a:1@{digest(AMD64.manifest)}"
        assert all(path.startswith(f"http://{host}/") for path, _ in served.seen)
        with pytest.raises(IndexUnavailableError):
            registry.pin(parse("other.example:5000/a:1"), ("amd64", ""))
        assert not any("other.example" in path for path, _ in served.seen)


def test_its_token_comes_from_no_other_place_without_tls() -> None:
    host = "registry.example:5000"
    with FakeRegistry(index(AMD64), token="t", realm="http://evil.example/token") as served:
        registry = Registry(
            http=through(served.host),
            public="public.example",
            relaxed=lambda name: through(served.host, name),
        )
        with pytest.raises(ArtifactError, match="place that is not https"):
            registry.pin(parse(f"{host}/a:1"), ("amd64", ""))


# --- names --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "host", "repository", "tag"),
    [
        ("debian:bookworm-slim", None, "library/debian", "bookworm-slim"),
        ("debian", None, "library/debian", "latest"),
        ("nvidia/cuda:12.4.1-base-ubuntu22.04", None, "nvidia/cuda", "12.4.1-base-ubuntu22.04"),
        ("mirror.example/a/b:1", "mirror.example", "a/b", "1"),
        ("mirror.example:5000/a", "mirror.example:5000", "a", "latest"),
        ("localhost/a:1", "localhost", "a", "1"),
    ],
)
def test_a_name_is_taken_apart(text: str, host: str | None, repository: str, tag: str) -> None:
    found = parse(text)
    assert (found.host, found.repository, found.tag) == (host, repository, tag)


@pytest.mark.parametrize("text", ["", "A:1", "a b", "a:b c", "a/../b:1", "ex ample.org/a:1", "a:"])
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(UsageError, match="not the name of an image"):
        parse(text)


def test_a_mirror() -> None:
    found = at(parse("debian:12"), "mirror.example:5000/public")
    assert found.shown == "mirror.example:5000/public/library/debian:12"
    assert found.host == "mirror.example:5000"
    assert at(parse("debian:12"), "mirror.example/").repository == "library/debian"
    with pytest.raises(UsageError, match="not a registry"):
        at(parse("debian:12"), "https://mirror.example")


# --- a real registry ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    try:
        with running_registry(tmp_path_factory.mktemp("registry")) as host:
            yield host
    except NoEngineError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("kind", [MANIFEST, DOCKER_MANIFEST])
def test_an_image_of_one_platform(real: str, kind: str) -> None:
    image = Image("amd64", kind=kind)
    push(real, "library/debian", "bookworm-slim", image)
    found = pin(real)
    assert found == f"library/debian:bookworm-slim@{digest(image.manifest)}"


def test_the_platform_is_chosen_from_an_index(real: str) -> None:
    images = [AMD64, ARM64, ARMV7]
    push(real, "many", "1", *images, document=index(*images))
    name = f"{real}/many:1"
    for platform, image in (
        (("amd64", ""), AMD64),
        (("arm64", ""), ARM64),
        (("arm", "v7"), ARMV7),
    ):
        assert pin(real, name, platform=platform) == f"{name}@{digest(image.manifest)}"


def test_a_list_of_dockers_own_kind(real: str) -> None:
    image = Image("amd64", kind=DOCKER_MANIFEST)
    push(real, "old", "1", image, document=index(image, kind=LIST, attested=False))
    assert pin(real, f"{real}/old:1").endswith(digest(image.manifest))


@pytest.mark.parametrize("document", [b"", index(AMD64)])
def test_no_image_for_that_platform(real: str, document: bytes) -> None:
    push(real, "one", "1", AMD64, document=document)
    with pytest.raises(ArtifactError, match="none for s390x; it has amd64"):
        pin(real, f"{real}/one:1", platform=("s390x", ""))


def test_no_such_tag(real: str) -> None:
    with pytest.raises(ArtifactError, match="has no such image"):
        pin(real, f"{real}/none:1")


# --- tokens -------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["token", "access_token"])
def test_an_anonymous_token(key: str) -> None:
    with FakeRegistry(index(AMD64), token="t0k", token_key=key) as registry:
        assert pin(registry.host).endswith(digest(AMD64.manifest))
        first, token, second = registry.seen
    assert first[1] == ""
    assert parse_qs(urlsplit(token[0]).query) == {
        "scope": ["repository:library/debian:pull"],
        "service": ["registry.example"],
    }
    assert token[1] == ""
    assert second[1] == "Bearer t0k"


def test_a_login_buys_the_token() -> None:
    with FakeRegistry(index(AMD64), token="t0k", login=LOGIN) as registry:
        asked: list[str] = []

        def login(host: str) -> tuple[str, str]:
            asked.append(host)
            return LOGIN

        assert pin(registry.host, login=login).endswith(digest(AMD64.manifest))
        assert asked == [registry.host]
        with pytest.raises(ArtifactError, match="401") as caught:
            pin(registry.host)
    assert "docker login" in caught.value.hint
    assert "s3cret" not in f"{caught.value} {caught.value.hint}"


def test_basic_authentication() -> None:
    with FakeRegistry(index(AMD64), basic=LOGIN) as registry:
        assert pin(registry.host, login=lambda _: LOGIN).endswith(digest(AMD64.manifest))
        with pytest.raises(ArtifactError, match="401"):
            pin(registry.host)
        with pytest.raises(ArtifactError, match="401"):
            pin(registry.host, login=lambda _: ("user", "wrong"))


@pytest.mark.parametrize(
    "realm", ["http://auth.example/token", "file:///etc/passwd", "ftp://x", "x"]
)
def test_no_login_goes_to_a_place_that_is_not_https(realm: str) -> None:
    registry = FakeRegistry(index(AMD64), token="t", realm=realm)
    with registry, pytest.raises(ArtifactError, match="not https"):
        pin(registry.host, login=lambda _: LOGIN)


def test_a_redirect_to_another_origin_gets_no_token() -> None:
    with FakeRegistry(index(AMD64)) as other:
        place = f"http://{other.host}/v2/x/manifests/1"
        with FakeRegistry(b"", token="t0k", redirect=place) as registry:
            assert pin(registry.host).endswith(digest(AMD64.manifest))
        assert [authorization for _, authorization in other.seen] == [""]


# --- what is wrong ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ({"status": 500}, "HTTP status 500"),
        ({"status": 403}, "HTTP status 403"),
        ({"status": 429}, "HTTP status 429"),
        ({"content_type": "text/html"}, "no manifest"),
        ({"content_type": "application/vnd.docker.distribution.manifest.v1+prettyjws"}, "manifest"),
        ({"body": b"{"}, "not a JSON document"),
        ({"body": b"[" * 100_000}, "not a JSON document"),
        ({"body": b"[]"}, "not a JSON document"),
        ({"body": b"{}"}, "no platform of Linux"),
        ({"body": b'{"manifests": [1, {"platform": 2}, {"digest": "x"}]}'}, "no platform"),
        ({"body": b" " * (5 << 20)}, "more than"),
        ({"stated_digest": "sha256:" + "0" * 64}, "other bytes"),
        ({"content_type": MANIFEST, "body": b"{}"}, "names no configuration"),
        ({"content_type": MANIFEST, "body": AMD64.manifest}, "no such image"),
        (
            {
                "content_type": MANIFEST,
                "body": AMD64.manifest,
                "blobs": {digest(AMD64.config): b"{}"},
            },
            "another digest",
        ),
    ],
)
def test_faults(faults: dict[str, Any], said: str) -> None:
    registry = FakeRegistry(**({"body": index(AMD64)} | faults))
    with registry, pytest.raises(ArtifactError, match=said):
        pin(registry.host)


def test_a_digest_of_the_index_that_is_none_is_passed_over() -> None:
    body = index(AMD64, attested=False).replace(b"sha256:", b"md5:")
    with FakeRegistry(body) as registry, pytest.raises(ArtifactError, match="none for amd64"):
        pin(registry.host)


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(IndexUnavailableError, match="did not answer"):
        pin("127.0.0.1:9")


def test_a_circle_of_redirects() -> None:
    registry = FakeRegistry(b"", redirect="/v2/again")
    with registry, pytest.raises(IndexUnavailableError, match="circle"):
        pin(registry.host)


# --- a digest into an image ---------------------------------------------------------------


LAYER = b"not really a layer, which nobody reads here"


def layered(kind: str = MANIFEST) -> tuple[bytes, dict[str, bytes]]:
    """A manifest with one layer, and its blobs."""
    config = json.dumps(
        {
            "os": "linux",
            "architecture": "amd64",
            "rootfs": {"type": "layers", "diff_ids": [digest(LAYER)]},
        }
    ).encode()
    layer = "application/vnd.docker.image.rootfs.diff.tar"
    manifest = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": {"mediaType": "x", "size": len(config), "digest": digest(config)},
        "layers": [{"mediaType": layer, "size": len(LAYER), "digest": digest(LAYER)}],
    }
    return json.dumps(manifest).encode(), {digest(config): config, digest(LAYER): LAYER}


def bring(host: str, wanted: str, cache: Cache, **more: Any) -> ociimage.Image:
    registry = Registry(http=Http(IndexSettings(timeout=10, retries=0)), public=host, **more)
    return registry.image(parse("debian:12"), wanted, ("amd64", ""), cache)


def test_an_image_is_brought_once(tmp_path: Path) -> None:
    manifest, blobs = layered()
    with FakeRegistry(manifest, MANIFEST, token="t0ken", blobs=blobs) as registry:
        cache = Cache(tmp_path)
        found = bring(registry.host, digest(manifest), cache)
        with found.layers[0].open() as layer:
            assert layer.read() == LAYER
        assert found.layers[0].descriptor.media_type == ociimage.LAYER
        assert (found.name, found.digest) == ("debian:12", digest(manifest))
        asked = len(registry.seen)
        assert bring(registry.host, digest(manifest), cache) == found
        assert len(registry.seen) == asked
    store = Store(cache=cache)
    assert of_store(store, parse("debian:12"), digest(manifest), ("amd64", "")) == found
    with pytest.raises(ArtifactError, match="no registry may be asked"):
        of_store(store, parse("debian:12"), "sha256:" + "0" * 64, ("amd64", ""))


def test_an_image_with_other_bytes(tmp_path: Path) -> None:
    manifest, blobs = layered()
    for wrong in (LAYER[:-1], LAYER[:-1] + b"!", LAYER + b"!"):
        changed = blobs | {digest(LAYER): wrong}
        with FakeRegistry(manifest, MANIFEST, blobs=changed) as registry:
            if wrong.startswith(LAYER):
                # What is more than the manifest tells is not read.
                bring(registry.host, digest(manifest), Cache(tmp_path / "more"))
                continue
            with pytest.raises(ArtifactError, match="expected sha256"):
                bring(registry.host, digest(manifest), Cache(tmp_path / "other"))
    with (
        FakeRegistry(manifest, MANIFEST, blobs=blobs) as registry,
        pytest.raises(ArtifactError, match="expected sha256"),
    ):
        bring(registry.host, "sha256:" + "0" * 64, Cache(tmp_path / "manifest"))


def test_a_damaged_blob_of_the_cache_is_brought_again(tmp_path: Path) -> None:
    manifest, blobs = layered()
    cache = Cache(tmp_path)
    with FakeRegistry(manifest, MANIFEST, blobs=blobs) as registry:
        found = bring(registry.host, digest(manifest), cache)
        found.layers[0].path.write_bytes(b"damage")
        with bring(registry.host, digest(manifest), cache).layers[0].open() as layer:
            assert layer.read() == LAYER


def test_an_index_leads_to_the_platform(tmp_path: Path) -> None:
    manifest, blobs = layered()
    entry = {"mediaType": MANIFEST, "size": len(manifest), "digest": digest(manifest)}
    own = {"platform": {"os": "linux", "architecture": "amd64"}}
    document = json.dumps({"schemaVersion": 2, "manifests": [{**entry, **own}]}).encode()
    cache = Cache(tmp_path)
    with FakeRegistry(manifest, MANIFEST, blobs=blobs) as registry:
        with cache.writing() as blob:
            blob.write(document)
        found = bring(registry.host, digest(document), cache)
    assert found.digest == digest(document)
    assert found.diff_ids == [digest(LAYER)]


def test_an_image_that_is_gone(tmp_path: Path) -> None:
    manifest, _ = layered()
    with (
        FakeRegistry(manifest, MANIFEST, blobs={}) as registry,
        pytest.raises(ArtifactError, match="no such image"),
    ):
        bring(registry.host, digest(manifest), Cache(tmp_path))
