"""What a lock says of its interpreter beside the facts."""

from __future__ import annotations

from pathlib import Path

import pytest

from envfreeze.model.lock import InterpreterLayer
from envfreeze.model.snapshot import Signs
from envfreeze.resolve.dpkg import Dpkg
from envfreeze.resolve.interpreter import origin
from envfreeze.resolve.provenance import Place, _public, describe
from envfreeze.resolve.rootfs import Root
from envfreeze.store import Cache
from tests.support.dpkgroot import DpkgRoot, Pkg, deb_bytes
from tests.support.locks import interpreter
from tests.support.prefixes import conda, debian_facts

JAMMY = {"ID": "ubuntu", "VERSION_CODENAME": "jammy", "PRETTY_NAME": "Ubuntu 22.04.4 LTS"}
ARCHIVE = "https://ppa.launchpadcontent.net/deadsnakes/ppa/ubuntu"


def ubuntu(tmp_path: Path, version: str) -> tuple[DpkgRoot, Pkg]:
    machine = DpkgRoot(tmp_path / "root")
    package = machine.install(
        Pkg(
            name="python3.11-minimal",
            version=version,
            files={"/usr/bin/python3.11": b"exe", "/usr/lib/python3.11/os.py": b"os"},
        )
    )
    return machine, package


def ask(machine: DpkgRoot, tmp_path: Path) -> InterpreterLayer:
    root = Root(machine.path)
    dpkg = Dpkg.read(root)
    facts = debian_facts()
    layer = InterpreterLayer(facts=facts, origin="system")
    place = Place(root=root, dpkg=dpkg, os_release=JAMMY)
    return describe(layer, origin(facts, dpkg), place, Cache(tmp_path / "cache"))


def test_the_package_that_has_the_executable(tmp_path: Path) -> None:
    machine, _ = ubuntu(tmp_path, "3.11.0~rc1-1~22.04")
    found = ask(machine, tmp_path)
    assert found.kind == "ubuntu"
    assert found.evidence == (
        "dpkg has python3.11-minimal 3.11.0~rc1-1~22.04 on Ubuntu 22.04.4 LTS"
    )
    assert found.compared == "dpkg's md5sums of 1 package"
    assert found.edited == []
    (machine.path / "usr/lib/python3.11/os.py").write_bytes(b"edited")
    assert ask(machine, tmp_path).edited == ["edited /usr/lib/python3.11/os.py"]


def test_deadsnakes_by_the_list_that_offers_it(tmp_path: Path) -> None:
    machine, package = ubuntu(tmp_path, "3.11.9-1+jammy1")
    machine.offer(deb_bytes(package), package, ARCHIVE)
    found = ask(machine, tmp_path)
    assert found.kind == "deadsnakes"
    assert found.evidence.endswith("apt's lists offer this version from the archive of deadsnakes")


def test_deadsnakes_by_its_sources_where_the_lists_are_gone(tmp_path: Path) -> None:
    machine, _ = ubuntu(tmp_path, "3.11.9-1+jammy1")
    assert ask(machine, tmp_path).kind == "ubuntu"
    machine.write("/etc/apt/sources.list.d/deadsnakes-ubuntu-ppa-jammy.list", "")
    found = ask(machine, tmp_path)
    assert found.kind == "deadsnakes"
    assert "sources name deadsnakes" in found.evidence


def test_the_distributions_own_beside_deadsnakes(tmp_path: Path) -> None:
    machine, package = ubuntu(tmp_path, "3.11.0~rc1-1~22.04")
    machine.offer(deb_bytes(package), package, "https://mirror.example/ubuntu")
    machine.write("/etc/apt/sources.list.d/deadsnakes-ubuntu-ppa-jammy.list", "")
    assert ask(machine, tmp_path).kind == "ubuntu"


def test_conda(tmp_path: Path) -> None:
    facts = conda(tmp_path)
    layer = InterpreterLayer(facts=facts, origin="unpacked")
    place = Place(root=Root(), dpkg=None)
    found = describe(layer, origin(facts, None), place, Cache(tmp_path / "cache"))
    assert (found.kind, found.lead) == ("conda", "https://mirror.example/x.conda")
    assert found.compared == "the digests in conda-meta's python-3.11.7-0"
    assert found.edited == []
    assert found.files is not None
    Path(facts.stdlib, "os.py").write_text("edited")
    found = describe(layer, origin(facts, None), place, Cache(tmp_path / "cache"))
    assert found.edited == [f"edited {facts.stdlib}/os.py"]


def test_one_that_came_with_no_list(tmp_path: Path) -> None:
    facts = interpreter(signs=Signs(built_prefix="/home/u/py"))
    layer = InterpreterLayer(facts=facts, origin="unpacked")
    place = Place(root=Root(tmp_path), dpkg=None)
    found = describe(layer, origin(facts, None), place, Cache(tmp_path / "cache"))
    assert (found.kind, found.compared, found.edited) == ("self-built", None, [])


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("https://mirror.example/c/linux-64/x.conda", "https://mirror.example/c/linux-64/x.conda"),
        (
            "https://u:p@mirror.example:8443/t/tok/c/x.conda?a=b#c",
            "https://mirror.example:8443/c/x.conda",
        ),
        ("file:///home/u/x.conda", None),
        ("", None),
        ("https://[", None),
        ("https://mirror.example/\x1b", None),
    ],
)
def test_urls_are_without_secrets(url: str, public: str | None) -> None:
    assert _public(url) == public
