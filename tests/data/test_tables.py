"""The tables: read, each row with its source, and in agreement with one another."""

from __future__ import annotations

import importlib.resources

import pytest

from envfreeze.data import tables

READERS = {
    "cuda.toml": tables.cuda,
    "torch.toml": tables.torch,
    "frameworks.toml": tables.frameworks,
    "nvidia-images.toml": tables.nvidia_images,
    "os-releases.toml": tables.os_releases,
}


def minimum(cuda: str) -> str:
    return next(row.driver for row in tables.cuda().minimum if row.major == int(cuda.split(".")[0]))


@pytest.mark.parametrize("name", READERS)
def test_every_table_reads_and_has_rows(name: str) -> None:
    table = READERS[name]()
    for field in table.__struct_fields__:
        assert getattr(table, field), field


def test_every_file_has_its_reader() -> None:
    files = importlib.resources.files("envfreeze.data").iterdir()
    ours = {file.name for file in files if file.name.endswith(".toml")}
    assert ours >= set(READERS)


ROW = '[[release]]\nid = "x"\nversion = "1"\nlibc = "glibc 2.1"\npackages = "dpkg"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ROW, "source"),
        (ROW + 'source = " "\n', r"release\[0\] has no source"),
        (ROW + 'source = "s"\nkind = "y"\n', "kind"),
        (ROW.replace('"dpkg"', '"zip"') + 'source = "s"\n', "zip"),
        ("[[release]\n", "Expected"),
    ],
)
def test_what_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        tables.parse(text, tables.OsReleases)


def test_a_sound_row_is_read() -> None:
    table = tables.parse(ROW + 'source = "s"\n', tables.OsReleases)
    assert table.release[0].libc == "glibc 2.1"


# --- CUDA ---------------------------------------------------------------------------------


def test_a_toolkit_came_with_a_driver_that_runs_it() -> None:
    for row in tables.cuda().shipped:
        drivers = [tables.numbers(driver) for driver in row.drivers]
        assert drivers == sorted(drivers), row.cuda
        # 11.0 itself came with 450.51; minor-version compatibility begins at 450.80.02.
        if row.cuda != "11.0":
            assert drivers[0] >= tables.numbers(minimum(row.cuda)), row.cuda


def test_newer_toolkits_came_with_newer_drivers() -> None:
    rows = sorted(tables.cuda().shipped, key=lambda row: tables.numbers(row.cuda))
    drivers = [tables.numbers(row.drivers[0]) for row in rows]
    assert drivers == sorted(drivers)
    assert "12.7" not in {row.cuda for row in rows}


def test_what_cuda_13_dropped() -> None:
    targets = {row.cuda: set(row.architectures) for row in tables.cuda().targets}
    assert {"sm_50", "sm_61", "sm_70"} <= targets["12.9"]
    assert not {"sm_50", "sm_61", "sm_70", "sm_72"} & targets["13.0"]
    assert "sm_101" not in targets["13.0"]


def test_an_official_build_holds_what_its_toolkit_can_make() -> None:
    targets = {row.cuda: set(row.architectures) for row in tables.cuda().targets}
    checked = 0
    for row in tables.torch().architectures:
        able = targets.get(row.cuda)
        for name in row.holds if able else []:
            checked += 1
            assert able is not None and name.replace("compute_", "sm_") in able
    assert checked > 20


def test_capabilities_are_named_once_and_their_architectures_exist() -> None:
    rows = tables.cuda().capability
    assert len({row.capability for row in rows}) == len(rows)
    known = {name for row in tables.cuda().targets for name in row.architectures}
    for row in rows:
        assert f"sm_{row.capability.replace('.', '')}" in known
    names = {row.name for row in rows}
    assert {row.name for row in tables.cuda().last_driver} <= names


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("NVIDIA A100-SXM4-80GB", "data-center"),
        ("Tesla V100-SXM2-16GB", "data-center"),
        ("NVIDIA L4", "data-center"),
        ("NVIDIA L40S", "data-center"),
        ("NVIDIA H100 80GB HBM3", "data-center"),
        ("NVIDIA GeForce RTX 3090", "consumer"),
        ("NVIDIA GeForce RTX 5090 Laptop GPU", "consumer"),
        ("NVIDIA RTX A6000", "workstation"),
        ("Quadro RTX 8000", "workstation"),
        ("Orin (nvgpu)", "jetson"),
        ("NVIDIA L400", None),
        ("", None),
    ],
)
def test_what_a_gpu_is_sold_as(name: str, kind: str | None) -> None:
    assert tables.product_kind(name) == kind


# --- torch --------------------------------------------------------------------------------


def test_the_default_wheel_is_one_of_the_official_builds() -> None:
    builds = {(row.line, row.cuda) for row in tables.torch().build}
    lines = {line for line, _ in builds}
    for row in tables.torch().default:
        if tables.line(row.release) in lines:
            assert (tables.line(row.release), row.cuda) in builds, row.release


def test_every_build_is_of_a_cuda_that_exists() -> None:
    known = {row.cuda for row in tables.cuda().shipped}
    assert {row.cuda for row in tables.torch().build} <= known
    assert {row.cuda for row in tables.torch().default} <= known


# --- images and systems -------------------------------------------------------------------


def test_the_word_for_cudnn_in_a_tag() -> None:
    for row in tables.nvidia_images().image:
        version = tables.numbers(row.cuda)
        word = "cudnn8" if version <= (12, 2, 2) else "cudnn9" if version < (12, 4) else "cudnn"
        assert row.cudnn == word, row.cuda


def test_no_image_is_in_two_lists_and_none_is_debian() -> None:
    for row in tables.nvidia_images().image:
        every = [*row.with_cudnn, *row.without_cudnn, *row.unknown]
        assert len(every) == len(set(every))
        assert not any(name.startswith("debian") for name in every)


def test_12_5_1_on_noble_has_no_cudnn() -> None:
    row = next(row for row in tables.nvidia_images().image if row.cuda == "12.5.1")
    assert "ubuntu24.04" in row.without_cudnn
    assert "ubuntu22.04" in row.with_cudnn


def test_a_later_release_has_no_older_libc() -> None:
    for own in ("debian", "ubuntu", "rocky", "rhel", "alpine"):
        rows = [row for row in tables.os_releases().release if row.id == own]
        rows.sort(key=lambda row: tables.numbers(row.version))
        versions = [tables.numbers(row.libc.split()[1]) for row in rows]
        assert versions == sorted(versions), own


@pytest.mark.parametrize(
    ("values", "libc"),
    [
        ({"ID": "debian", "VERSION_ID": "12"}, "glibc 2.36"),
        ({"ID": "ubuntu", "VERSION_ID": "22.04"}, "glibc 2.35"),
        ({"ID": "rocky", "VERSION_ID": "9.4"}, "glibc 2.34"),
        ({"ID": "rhel", "VERSION_ID": "7.9"}, "glibc 2.17"),
        ({"ID": "alpine", "VERSION_ID": "3.19.1"}, "musl 1.2.4"),
        ({"ID": "debian", "VERSION_ID": "1"}, None),
        ({"ID": "nixos", "VERSION_ID": "24.05"}, None),
        ({}, None),
    ],
)
def test_the_release_of_a_machine(values: dict[str, str], libc: str | None) -> None:
    found = tables.os_release(values)
    assert (found and found.libc) == libc


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("580.95.05", (580, 95, 5)),
        ("570.26", (570, 26)),
        ("13.0.88-1", (13, 0, 88)),
        ("", ()),
        ("N/A", ()),
    ],
)
def test_numbers(text: str, numbers: tuple[int, ...]) -> None:
    assert tables.numbers(text) == numbers


def test_versions_are_compared_as_integers() -> None:
    assert tables.numbers("570.26") < tables.numbers("570.124.06")
    assert tables.capability("12.1") == (12, 1)
    assert tables.capability("gfx942") is None
    assert tables.line("2.11.0+cu130") == "2.11"
