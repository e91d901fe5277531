"""ROCm, Intel, Apple and TPU: their minimum facts on small roots."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from envfreeze.model.host import OtherAccelerator
from envfreeze.probe import otheraccel
from tests.support.trees import places

NODES = "/sys/class/kfd/kfd/topology/nodes"
SITE = "/v/site-packages"


def look(root: Path, files: dict[str, str], **environ: str) -> list[OtherAccelerator]:
    here = places(root, files, **environ)
    return msgspec.convert(otheraccel.facts(here, [SITE], False), list[OtherAccelerator])


def test_a_machine_without_any(tmp_path: Path) -> None:
    assert look(tmp_path, {"/sys/bus/pci/devices/0000:00:00.0/modalias": "pci:v00008086d0\n"}) == []


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("cpu_cores_count 0\nsimd_count 1216\ngfx_target_version 90402\n", "gfx942"),
        ("simd_count 440\ngfx_target_version 90010\n", "gfx90a"),
        ("simd_count 384\ngfx_target_version 110000\n", "gfx1100"),
        ("simd_count 120\ngfx_target_version 100300\n", "gfx1030"),
        ("simd_count 0\ngfx_target_version 0\n", None),
        ("simd_count 4\n", None),
        ("simd_count x\ngfx_target_version y\n", None),
        ("", None),
    ],
)
def test_targets_of_amds_devices(text: str, target: str | None) -> None:
    assert otheraccel.gfx(text) == target


def test_rocm(tmp_path: Path) -> None:
    files = {
        "/sw/rocm/.info/version": "6.2.0-66\n",
        f"{NODES}/0/properties": "simd_count 0\n",
        f"{NODES}/1/properties": "simd_count 1216\ngfx_target_version 90402\n",
    }
    assert look(tmp_path, files, ROCM_PATH="/sw/rocm") == [
        OtherAccelerator(
            kind="rocm",
            state="found",
            version="6.2.0-66",
            devices=["gfx942"],
            source="/sw/rocm/.info/version",
        )
    ]


def test_rocm_without_devices(tmp_path: Path) -> None:
    (found,) = look(tmp_path, {"/opt/rocm/.info/version": "7.0.2\n"})
    assert (found.state, found.version) == ("none", "7.0.2")
    (tmp_path / NODES.lstrip("/") / "0").mkdir(parents=True)
    (found,) = look(tmp_path, {})
    assert found.state == "no-answer"


def test_intel(tmp_path: Path) -> None:
    lib = "/usr/lib/x86_64-linux-gnu"
    files = {
        f"{lib}/libze_loader.so.1": "-> libze_loader.so.1.9.9",
        f"{lib}/libze_loader.so.1.9.9": "",
        "/sys/class/drm/renderD128/device/vendor": "0x8086\n",
        "/sys/class/drm/renderD128/device/device": "0x56c0\n",
        "/sys/class/drm/renderD129/device/vendor": "0x10de\n",
    }
    assert look(tmp_path, files) == [
        OtherAccelerator(
            kind="intel",
            state="found",
            version="1.9.9",
            devices=["8086:56c0"],
            source=f"{lib}/libze_loader.so.1",
        )
    ]


def test_apple_is_not_asked_on_a_recorded_machine(tmp_path: Path) -> None:
    text = "<dict><key>ProductVersion</key>\n\t<string>15.3.1</string></dict>"
    (found,) = look(tmp_path, {otheraccel.PLIST: text})
    assert (found.kind, found.state, found.version) == ("apple", "no-answer", "15.3.1")


def test_tpus_and_what_else_google_has_on_the_bus(tmp_path: Path) -> None:
    files = {
        "/sys/bus/pci/devices/0000:00:04.0/modalias": (
            "pci:v00001AE0d00000063sv00001AE0sd00000063bc12sc00i00\n"
        ),
        "/sys/bus/pci/devices/0000:00:05.0/modalias": (
            "pci:v00001AE0d00000042sv00001AE0sd00000058bc02sc00i00\n"
        ),
        f"{SITE}/libtpu/libtpu.so": "",
        f"{SITE}/libtpu-0.0.52.dist-info/METADATA": "",
    }
    (found,) = look(tmp_path, files)
    assert (found.kind, found.devices, found.version) == ("tpu", ["TPU v5e"], "0.0.52")


def test_the_library_for_tpus_alone(tmp_path: Path) -> None:
    (found,) = look(tmp_path, {f"{SITE}/libtpu/libtpu.so": ""})
    assert (found.kind, found.state, found.version) == ("tpu", "none", None)
