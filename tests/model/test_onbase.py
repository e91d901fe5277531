"""A lock that rests on its base image: what it says, what is placed, what is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from envfreeze.errors import LockError
from envfreeze.model import lock as locks
from envfreeze.model.identity import environment_id, lock_layers
from envfreeze.model.lock import (
    Artifact,
    BaseImage,
    Lock,
    LooseEntry,
    LooseSite,
    NamedPackage,
    Package,
    PackageFacts,
    PackageTool,
    SystemLayer,
    Tool,
)
from envfreeze.model.onbase import off_base, on_base
from tests.support.locks import deb, interpreter
from tests.support.locks import lock as made

ID = "sha256:" + "a" * 64
BASE = BaseImage(image_id=ID, reference="mirror.example/v:1@sha256:" + "b" * 64)
SITE = interpreter().purelib


def package(name: str, *, wheel: bool = True, **facts: Any) -> Package:
    values = {
        "proof": "proved" if wheel else "base",
        "evidence": "e",
        "tree": "t" * 64,
        "info": f"{name}-1.dist-info",
    }
    url = f"https://index.example/{name}-1-py3-none-any.whl"
    wheels = [Artifact(url=url, size=1, hashes={"sha256": "e" * 64})] if wheel else []
    return Package(
        name=name,
        version="1",
        wheels=wheels,
        tool=PackageTool(envfreeze=PackageFacts(**(values | facts))),
    )


def based(**changes: Any) -> Lock:
    files = [
        LooseEntry(path="a.py", sha256="1" * 64, in_base=True),
        LooseEntry(path="b.py", sha256="2" * 64),
    ]
    archive = Artifact(path="env.lock.d/x/u.tar.gz", size=1, hashes={"sha256": "3" * 64})
    lock = made(
        **{
            "base": BASE,
            "held": [package("vendor", wheel=False, in_base=True)],
            "loose": [LooseSite(site=SITE, archive=archive, files=files)],
            "layer": SystemLayer(
                kernel="Linux",
                machine="x86_64",
                packages=[deb("libb")],
                held=[NamedPackage(name="liba", version="1", arch="amd64")],
            ),
            **changes,
        }
    )
    return msgspec.structs.replace(lock, packages=[package("old", in_base=True), package("new")])


def signed(lock: Lock) -> Lock:
    layers = lock_layers(lock)
    machine = msgspec.structs.replace(lock.machine, layers=layers, id=environment_id(layers))
    return msgspec.structs.replace(lock, tool=Tool(envfreeze=machine))


def test_it_is_written_and_read_back() -> None:
    lock = signed(based())
    assert locks.loads(locks.dumps(lock)) == lock
    assert lock.rests_on_base


def test_on_its_base_the_rest_is_placed() -> None:
    placed = on_base(based())
    assert [one.name for one in placed.packages] == ["new"]
    assert [one.name for one in placed.machine.held] == ["vendor", "old"]
    assert [entry.path for entry in placed.machine.loose[0].files] == ["b.py"]
    names = {artifact.filename for artifact in locks.artifacts(placed)}
    assert names == {"new-1-py3-none-any.whl", "u.tar.gz", "x.deb", "interpreter.tar.gz"}


def test_a_site_that_the_base_has_whole_is_gone() -> None:
    files = [LooseEntry(path="a.py", sha256="1" * 64, in_base=True)]
    site = LooseSite(site=SITE, files=files)
    assert not site.lost
    assert on_base(based(loose=[site])).machine.loose == []


def test_off_its_base_all_with_an_artifact_is_placed() -> None:
    assert [one.name for one in off_base(based()).packages] == ["old", "new"]
    assert off_base(based()).machine.base is None


def test_the_same_environment_has_the_same_layers_however_it_is_kept() -> None:
    lock = based()
    system = SystemLayer(kernel="L", machine="m", packages=[deb("libb"), deb("liba", "1")])
    archive = lock.machine.loose[0].archive
    files = [LooseEntry(path=e.path, sha256=e.sha256) for e in lock.machine.loose[0].files]
    whole = made(layer=system, loose=[LooseSite(site=SITE, archive=archive, files=files)])
    packages = [package("old"), package("new"), package("vendor")]
    assert lock_layers(msgspec.structs.replace(whole, packages=packages)) == lock_layers(lock)


def test_a_lock_without_a_base_reads_as_before() -> None:
    lock = signed(made())
    text = locks.dumps(lock)
    assert "in-base" not in text
    assert "envfreeze.base" not in text
    assert "held" not in text
    assert not locks.loads(text).rests_on_base


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"base": None}, "does not name"),
        ({"base": BaseImage(image_id="latest")}, "image-id"),
        ({"base": BaseImage(image_id=ID, reference="v:1")}, "not an image by digest"),
        ({"base": BaseImage(image_id=ID, reference="a\nRUN x@sha256:" + "b" * 64)}, "by digest"),
        *(
            ({"base": BaseImage(image_id=ID, removed=[path])}, "may be removed")
            for path in ("/", "/etc", "/etc/passwd", "/a/b/../../etc/x", "a/b/c/d", "/a/b/c\nd")
        ),
        ({"held": [package("v")]}, "has no file of its own"),
    ],
)
def test_what_no_lock_may_say_of_its_base(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(LockError, match=said):
        locks.loads(locks.dumps(based(**changes)))


def test_a_dockerfile_repeats_what_was_deleted_by_a_list_that_no_shell_reads() -> None:
    from envfreeze.render import dockerfile

    path = "/opt/venv/lib/$(touch x) 'y.py"
    base = BaseImage(image_id=ID, removed=[path])
    options = dockerfile.DockerOptions(base=BASE.pinned, lock_sha256="f" * 64)
    files = dockerfile.render(on_base(based(base=base)), options)
    assert files[dockerfile.REMOVED] == f"{path}\0"
    assert "touch" not in files["Dockerfile"]
    assert "xargs -0 rm -rf -- </tmp/envfreeze-removed" in files["Dockerfile"]
    assert dockerfile.REMOVED in files["SHA256SUMS"]
    without = dockerfile.render(on_base(based()), options)
    assert dockerfile.REMOVED not in without
    assert "removed" not in without["Dockerfile"]


def test_a_base_that_one_engine_alone_knows_can_be_named() -> None:
    from envfreeze.render import dockerfile

    assert dockerfile.split_base(ID) == ("", ID)
