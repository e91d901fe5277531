"""Bills of materials, held against the validators of those who made the formats, and read back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cyclonedx.model.bom import Bom as CdxBom
from cyclonedx.model.component import Component as CdxComponent
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import Phase, given, settings
from packageurl import PackageURL
from spdx_tools.spdx.model import Document
from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from envfreeze.model.lock import (
    Artifact,
    BaseImage,
    Edit,
    Lock,
    Loose,
    NamedPackage,
    SourceTree,
    SystemLayer,
    Unproved,
)
from envfreeze.model.origin import Origin
from envfreeze.model.snapshot import Licence, Repository
from envfreeze.render import cyclonedx, sbom, spdx
from tests.strategies import locks as any_locks
from tests.support import condas, needs
from tests.support.locks import BASE, deb

CDX = JsonStrictValidator(SchemaVersion.V1_6)
INDEX = "https://index.example/simple"
COMMIT = "e" * 40


def cdx(bom: sbom.Bom) -> tuple[dict[str, Any], CdxBom]:
    """The document as it is, and as CycloneDX's library reads it."""
    text = cyclonedx.document(bom).decode("utf-8")
    assert CDX.validate_str(text) is None
    document = json.loads(text)
    found = CdxBom.from_json(document)  # type: ignore[attr-defined]
    assert isinstance(found, CdxBom)
    return document, found


def spdx_of(bom: sbom.Bom) -> tuple[dict[str, Any], Document]:
    """The document as it is, and as SPDX's library reads it."""
    document = json.loads(spdx.document(bom))
    found = JsonLikeDictParser().parse(document)
    problems = validate_full_spdx_document(found)
    assert not [problem.validation_message for problem in problems]
    return document, found


def whole() -> Lock:
    """A lock with something of every kind."""
    git = Origin(kind="git", url="https://git.test/g.git", commit=COMMIT, evidence="")
    edit = Edit(path="site/a.py", kind="deleted")
    system = SystemLayer(
        kernel="Linux",
        machine="x86_64",
        os_release={"ID": "debian", "VERSION_ID": "12"},
        manager="dpkg",
        packages=[deb("libssl3", depends=["libc6"]), deb("libc6"), deb("libc6", arch="i386")],
        others=[deb("vim")],
        held=[NamedPackage(name="tar", version="1", arch="amd64", licence="GPLv3+")],
    )
    return needs.lock(
        needs.package("a", "b>=1", licence=Licence(expression="MIT or 0bsd"), edits=[edit]),
        needs.package("b", licence=Licence(text="BSD"), version="2.0+cu1"),
        needs.package("g", proof="packed", built_from=[git]),
        layer=system,
        shadowed=[needs.package("b", "a", version="1.9")],
        loose_dists=[Loose(name="Egg", version="1", site="/s", info="Egg.egg-info")],
        unproved=[Unproved(name="u", version="1", site="/s", info="u", reason="nobody has it")],
        base=BaseImage(image_id=f"sha256:{'b' * 64}", reference=BASE),
        conda=condas.layer(
            condas.package("python", depends=["zlib"], license="PSF-2.0"), condas.packed("zlib")
        ),
        sources=[
            SourceTree(
                key="t",
                root="/home/me/t",
                digest="4" * 64,
                repository=Repository(
                    commit=COMMIT, url="https://me:pw@git.test/t.git", modified=["x"]
                ),
                archive=Artifact(path="env.lock.d/t.tar.gz", size=1, hashes={"sha256": "5" * 64}),
            )
        ],
    )


def component(bom: CdxBom, ref: str) -> CdxComponent:
    return next(one for one in bom.components if one.bom_ref.value == ref)


def properties(bom: CdxBom, ref: str) -> dict[str, str | None]:
    return {one.name: one.value for one in component(bom, ref).properties}


def test_everything_is_in_both_with_its_purl() -> None:
    made = sbom.bom(whole(), "env")
    _, read = cdx(made)
    _, also = spdx_of(made)
    expected = {
        "pkg:conda/python@1.0?build=h0_0&channel=https://channel.example/main"
        "&subdir=linux-64&type=conda",
        "pkg:conda/zlib@1.0?build=h0_0&channel=https://channel.example/main"
        "&subdir=linux-64&type=conda",
        "pkg:deb/debian/libc6@1.0-1?arch=amd64&distro=debian-12",
        "pkg:deb/debian/libc6@1.0-1?arch=i386&distro=debian-12",
        "pkg:deb/debian/libssl3@1.0-1?arch=amd64&distro=debian-12",
        "pkg:deb/debian/tar@1?arch=amd64&distro=debian-12",
        "pkg:deb/debian/vim@1.0-1?arch=amd64&distro=debian-12",
        "pkg:generic/python@3.11.7",
        f"pkg:oci/base@sha256:{'b' * 64}?repository_url=mirror.example/base&tag=12",
        "pkg:pypi/a@1.0?download_url=https://index.example/a-1.0-py3-none-any.whl",
        "pkg:pypi/b@1.9?download_url=https://index.example/b-1.9-py3-none-any.whl",
        "pkg:pypi/b@2.0%2Bcu1",
        "pkg:pypi/egg@1",
        f"pkg:pypi/g@1.0?download_url=https://index.example/g-1.0-py3-none-any.whl"
        f"&vcs_url=git%2Bhttps://git.test/g.git%40{COMMIT}",
        "pkg:pypi/u@1",
    }
    found = {str(one.purl) for one in read.components if one.purl}
    # A plus is no letter of a URL that nobody could read otherwise, so the file is not named.
    expected.remove("pkg:pypi/b@2.0%2Bcu1")
    expected.add(
        "pkg:pypi/b@2.0%2Bcu1?download_url=https://index.example/b-2.0%2Bcu1-py3-none-any.whl"
    )
    assert found == expected
    assert expected == {
        reference.locator
        for package in also.packages
        for reference in package.external_references
        if reference.reference_type == "purl"
    }
    names = sorted(f"{one.name} {one.version or ''}" for one in read.components)
    spelled = [f"{one.name} {one.version or ''}" for one in also.packages[1:]]
    assert names == sorted(spelled)


def test_hashes_licences_and_proofs_are_told() -> None:
    document, read = cdx(sbom.bom(whole(), "env"))
    assert [(h.alg.value, h.content) for h in component(read, "conda/python").hashes] == [
        ("MD5", "a" * 32),
        ("SHA-256", "c" * 64),
    ]
    # The record's md5 is that of the channel's file, not of the one packed here.
    assert [h.alg.value for h in component(read, "conda/zlib").hashes] == ["SHA-256"]
    licences = {
        one["bom-ref"]: one["licenses"][0] for one in document["components"] if "licenses" in one
    }
    declared = {"acknowledgement": "declared"}
    assert licences == {
        "python/a": {"expression": "MIT OR 0BSD"} | declared,
        "python/b": {"license": {"name": "BSD"} | declared},
        "conda/python": {"expression": "PSF-2.0"} | declared,
        "system/tar": {"license": {"name": "GPLv3+"} | declared},
    }
    assert properties(read, "python/a")["envfreeze:proof"] == "proved"
    assert component(read, "python/a").evidence is not None
    assert component(read, "python/g").evidence is None
    assert properties(read, "python/u")["envfreeze:proof"] == "unproved"
    assert properties(read, "python/u")["envfreeze:evidence"] == "nobody has it"
    assert properties(read, "python/b~2")["envfreeze:shadowed"] == "true"
    assert properties(read, "system/vim")["envfreeze:needed"] == "false"


def test_spdx_says_the_same() -> None:
    document, _ = spdx_of(sbom.bom(whole(), "env"))
    found = {(one["name"], one["versionInfo"]): one for one in document["packages"]}
    assert found["a", "1.0"]["licenseDeclared"] == "MIT OR 0BSD"
    assert found["b", "2.0+cu1"]["licenseDeclared"] == "NOASSERTION"
    assert found["b", "2.0+cu1"]["licenseComments"] == "its metadata says: BSD"
    assert found["a", "1.0"]["comment"].startswith("envfreeze:proof=proved; ")
    assert "1 file changed since it was installed: site/a.py" in found["a", "1.0"]["comment"]
    assert found["python", "1.0"]["checksums"] == [
        {"algorithm": "MD5", "checksumValue": "a" * 32},
        {"algorithm": "SHA256", "checksumValue": "c" * 64},
    ]
    assert found["t", COMMIT]["downloadLocation"] == f"git+https://git.test/t.git@{COMMIT}"


def test_a_patched_package_has_a_pedigree() -> None:
    _, read = cdx(sbom.bom(whole(), "env"))
    pedigree = component(read, "python/a").pedigree
    assert pedigree is not None
    assert len(pedigree.patches) == 1
    assert pedigree.notes == "1 file changed since it was installed: site/a.py"


def test_what_needs_what_is_in_both() -> None:
    made = sbom.bom(whole(), "env")
    document, _ = cdx(made)
    depends = {one["ref"]: one["dependsOn"] for one in document["dependencies"]}
    assert depends["python/a"] == ["python/b"]
    assert depends["system/libssl3"] == ["system/libc6", "system/libc6~2"]
    assert depends["conda/python"] == ["conda/zlib"]
    below = {other for ref, others in depends.items() if ref != "environment" for other in others}
    assert {*depends["environment"]} | below == {one["bom-ref"] for one in document["components"]}
    assert not {*depends["environment"]} & below
    told, read = spdx_of(made)
    names = {one["SPDXID"]: one["name"] for one in told["packages"]}
    found = [
        (names[one.spdx_element_id], names[str(one.related_spdx_element_id)])
        for one in read.relationships
        if one.relationship_type.name == "DEPENDS_ON"
    ]
    assert sorted(found) == [
        ("a", "b"),
        ("libssl3", "libc6"),
        ("libssl3", "libc6"),
        ("python", "zlib"),
    ]


def test_no_credentials_and_no_place_of_the_machine() -> None:
    made = sbom.bom(whole(), "env")
    for text in (cyclonedx.document(made), spdx.document(made)):
        assert b"me:pw" not in text
        assert b"/home/me" not in text


def test_only_another_index_is_named() -> None:
    assert sbom.public_index(f"{INDEX}/", INDEX) is None
    assert sbom.public_index(None, INDEX) is None
    assert sbom.public_index("https://u:p@other.example/simple", INDEX) == (
        "https://other.example/simple"
    )
    assert sbom.public_index(INDEX, None) == INDEX


def test_it_is_the_same_each_time_and_has_no_clock() -> None:
    made = sbom.bom(whole(), "env")
    document, _ = cdx(made)
    assert "timestamp" not in document["metadata"]
    told, _ = spdx_of(made)
    assert told["creationInfo"]["created"] == "1970-01-01T00:00:00Z"
    assert told["documentNamespace"] == document["serialNumber"]
    again = sbom.bom(whole(), "env")
    assert cyclonedx.document(again) == cyclonedx.document(made)
    assert spdx.document(again) == spdx.document(made)
    other = sbom.bom(whole().with_machine(id="f" * 64), "env")
    assert other.serial != made.serial


@pytest.mark.parametrize(
    ("text", "epoch"), [("1700000000", 1_700_000_000), ("-1", None), ("9" * 12, None), ("²", None)]
)
def test_the_time_is_the_environments_own(text: str, epoch: int | None) -> None:
    made = sbom.bom(needs.lock(environment={"SOURCE_DATE_EPOCH": text}), "env")
    assert made.epoch == epoch
    document, _ = cdx(made)
    assert document["metadata"].get("timestamp") == ("2023-11-14T22:13:20Z" if epoch else None)
    spdx_of(made)


EVIL = "1\n\x00\x1b[31m\u202e\ud800<a href='x'>\"; DROP ~2"


def test_hostile_words_stay_words() -> None:
    evil = Unproved(name=EVIL, version=EVIL, site=EVIL, info="x", reason=EVIL)
    packages = [
        needs.package("a", EVIL, version=EVIL, evidence=EVIL, owner=EVIL, licence=licence)
        for licence in (
            Licence(expression=EVIL),
            Licence(text="MIT AND (("),
            Licence(expression="LicenseRef-Mine"),
            Licence(expression="MIT WITH Nothing"),
            Licence(text="(" * 500),
        )
    ]
    machine: dict[str, Any] = {"unproved": [evil, evil]}
    machine["layer"] = SystemLayer(kernel="Linux", machine="x86_64", os_release={"ID": EVIL})
    made = sbom.bom(needs.lock(*packages, **machine), EVIL)
    _, read = cdx(made)
    _, also = spdx_of(made)
    assert len(read.components) == 9
    assert len(also.packages) == 10


@settings(max_examples=8, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(any_locks())
def test_any_lock_makes_documents_that_are_valid(lock: Lock) -> None:
    made = sbom.bom(lock, "env", INDEX)
    document, read = cdx(made)
    _, also = spdx_of(made)
    assert len({one.ref for one in made.components}) == len(made.components)
    assert len(document["components"]) == len(made.components) == len(also.packages) - 1
    # The library writes what is escaped its own way: blanks stripped, small letters in a name.
    written = [str(PackageURL.from_string(one.purl)) for one in made.components if one.purl]
    assert sorted(str(one.purl) for one in read.components if one.purl) == sorted(written)
