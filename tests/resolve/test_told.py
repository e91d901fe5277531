"""What metadata says goes into the lock, and not into the id."""

from __future__ import annotations

import msgspec

from envfreeze.model import identity
from envfreeze.model.conda import CondaLayer, CondaPackage
from envfreeze.model.lock import (
    Artifact,
    Lock,
    Loose,
    Package,
    PackageFacts,
    PackageTool,
    Unproved,
    dumps,
    loads,
)
from envfreeze.model.snapshot import CondaPrefix, CondaRecord, Dist, Licence, Snapshot, System
from envfreeze.resolve.told import told
from tests.support import locks

SITE = locks.interpreter().purelib
MIT = Licence(expression="MIT")


def dist(name: str, *requires: str, info: str = "", conda: str | None = None) -> Dist:
    info = info or f"{name}-1.dist-info"
    return Dist(
        site=SITE,
        info=info,
        name=name,
        version="1",
        rows=[],
        requires=list(requires),
        licence=MIT,
        conda=conda,
    )


def package(name: str) -> Package:
    facts = PackageFacts(proof="proved", evidence="", tree="0" * 64, info=f"{name}-1.dist-info")
    wheel = Artifact(
        url=f"https://index.example/{name}-1-py3-none-any.whl", size=1, hashes={"sha256": "1" * 64}
    )
    return Package(name=name, version="1", wheels=[wheel], tool=PackageTool(envfreeze=facts))


def snapshot(*dists: Dist, conda: CondaPrefix | None = None) -> Snapshot:
    return Snapshot(
        schema=1,
        interpreter=locks.interpreter(),
        system=System(kernel="Linux", machine="x86_64"),
        sites=[],
        dists=list(dists),
        findings=[],
        conda=conda,
    )


def before(**machine: object) -> Lock:
    made = locks.lock(**machine)
    return msgspec.structs.replace(made, packages=[package("a"), package("b")])


def test_requirements_and_licences_are_told_and_the_id_is_the_same() -> None:
    lock = before(
        loose_dists=[Loose(name="C", version="1", site=SITE, info="C.egg-info")],
        unproved=[Unproved(name="d", version="1", site=SITE, info="d", reason="no RECORD")],
        shadowed=[package("e")],
    )
    seen = [dist("a", "B>=1; extra == 'x'", "zz; extra == 'x'"), dist("b", "c", "gone")]
    seen += [dist("C", "a", info="C.egg-info"), dist("d", "a", info="d"), dist("e", "a")]
    after = told(lock, snapshot(*seen))
    assert [p.facts.requires for p in after.packages] == [["B>=1; extra == 'x'"], ["c", "gone"]]
    machine = after.machine
    others = [*machine.loose_dists, *machine.unproved, machine.shadowed[0].facts]
    assert [one.requires for one in others] == [["a"], ["a"], ["a"]]
    assert all(one.licence == MIT for one in [*others, after.packages[0].facts])
    assert identity.lock_layers(after) == identity.lock_layers(lock)
    assert loads(dumps(after)) == after
    assert 'licence = { expression = "MIT" }' in dumps(after)


def test_one_that_the_snapshot_does_not_have_stays_as_it_is() -> None:
    assert told(before(), snapshot()) == before()


def test_a_conda_package_is_known_by_its_distributions() -> None:
    def conda(name: str) -> CondaPackage:
        return CondaPackage(
            name=name,
            version="1",
            build="0",
            subdir="linux-64",
            fn=f"{name}-1-0.conda",
            proof="unproved",
            evidence="",
            count=1,
            tree="0" * 64,
        )

    layer = CondaLayer(
        prefix="/c", platform="linux-64", packages=[conda("numpy"), conda("pytorch"), conda("zlib")]
    )
    records = [
        CondaRecord(file=f"{n}-1-0.json", name=n, version="1", build="0", count=1, tree="0" * 64)
        for n in ("numpy", "pytorch", "zlib")
    ]
    seen = [dist("numpy", conda="numpy-1-0.json"), dist("Torch", conda="pytorch-1-0.json")]
    prefix = CondaPrefix(prefix="/c", records=records)
    lock = told(before(conda=layer), snapshot(*seen, dist("a", "torch"), conda=prefix))
    assert lock.machine.conda is not None
    assert [package.dists for package in lock.machine.conda.packages] == [[], ["torch"], []]
    assert lock.packages[0].facts.requires == ["torch"]
