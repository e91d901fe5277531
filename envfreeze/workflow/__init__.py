"""The commands as functions: capture, build, verify, diff, doctor. No printing, no exit.

Each name is imported from its room when it is first used: a capture does not wait for the
modules of a build.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envfreeze.workflow.basing import Base, ImageOptions, choose_base
    from envfreeze.workflow.building import BuildOptions, Built, build_conda, build_venv
    from envfreeze.workflow.caching import (
        CacheVerified,
        Prunable,
        Pruned,
        cache_prune,
        cache_verify,
    )
    from envfreeze.workflow.capturing import STDOUT, Captured, CaptureOptions, capture
    from envfreeze.workflow.comparing import Comparison, compared, diff
    from envfreeze.workflow.context import Context, load
    from envfreeze.workflow.examining import Examined, doctor
    from envfreeze.workflow.exporting import FORMATS, SMALL, Exported, export
    from envfreeze.workflow.gitdriver import Shown, check, setup, shown, text
    from envfreeze.workflow.imaging import Archived, build_docker, build_oci, render_docker
    from envfreeze.workflow.judging import judged, write_text
    from envfreeze.workflow.pushing import Pulled, Pushed, pull
    from envfreeze.workflow.revisions import sides
    from envfreeze.workflow.templating import templates
    from envfreeze.workflow.verifying import Verified, verified, verify, write_report

_ROOMS = {
    "basing": ("Base", "ImageOptions", "choose_base"),
    "building": (
        "BuildOptions",
        "Built",
        "build_conda",
        "build_venv",
    ),
    "imaging": ("Archived", "build_docker", "build_oci", "render_docker"),
    "caching": ("CacheVerified", "Prunable", "Pruned", "cache_prune", "cache_verify"),
    "capturing": ("STDOUT", "CaptureOptions", "Captured", "capture"),
    "comparing": ("Comparison", "compared", "diff"),
    "verifying": ("Verified", "verified", "verify", "write_report"),
    "context": ("Context", "load"),
    "examining": ("Examined", "doctor"),
    "exporting": ("FORMATS", "SMALL", "Exported", "export"),
    "judging": ("judged", "write_text"),
    "gitdriver": ("Shown", "check", "setup", "shown", "text"),
    "revisions": ("sides",),
    "templating": ("templates",),
    "pushing": ("Pulled", "Pushed", "pull"),
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "FORMATS",
    "SMALL",
    "STDOUT",
    "Archived",
    "Base",
    "BuildOptions",
    "Built",
    "CacheVerified",
    "CaptureOptions",
    "Captured",
    "Comparison",
    "Context",
    "Examined",
    "Exported",
    "ImageOptions",
    "Prunable",
    "Pruned",
    "Pulled",
    "Pushed",
    "Shown",
    "Verified",
    "build_conda",
    "build_docker",
    "build_oci",
    "build_venv",
    "cache_prune",
    "cache_verify",
    "capture",
    "check",
    "choose_base",
    "compared",
    "diff",
    "doctor",
    "export",
    "judged",
    "load",
    "pull",
    "render_docker",
    "setup",
    "shown",
    "sides",
    "templates",
    "text",
    "verified",
    "verify",
    "write_report",
    "write_text",
]


def __getattr__(name: str) -> Any:
    room = _HOME.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{room}"), name)
