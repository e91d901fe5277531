"""``Lock -> configuration`` of an image that is assembled without an engine, as a Dockerfile's
build would leave it. Pure.

Source: the OCI image specification 1.1, ``config.md``; and moby's classic builder for what ENV and
CMD do to the base's configuration (``builder/dockerfile/dispatchers.go``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from envfreeze.errors import ArtifactError, UsageError
from envfreeze.model.lock import Lock
from envfreeze.render import dockerfile, running
from envfreeze.render.running import Running

CREATED = "1980-01-01T00:00:00Z"
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""PATH of an image that sets none (moby: ``oci/defaults.go``, ``DefaultPathEnv``)."""
_KEPT = ("architecture", "variant", "os", "os.version", "os.features", "author")


def render(
    lock: Lock,
    base: Mapping[str, Any],
    labels: Mapping[str, str],
    layers: Sequence[tuple[str, str]],
    base_ids: Sequence[str],
    chosen: Running | None = None,
) -> dict[str, Any]:
    """The configuration of the image.

    :param base: the base image's.
    :param layers: ``(what it is, digest unpacked)`` of each layer on top.
    :param base_ids: the digests of the base's own.
    :param chosen: as whom it runs, and whether it asks for a GPU.
    :raises LockError: a value that no image can have.
    :raises ArtifactError: the base's configuration is none.
    :raises UsageError: the base wants something run at this point.
    """
    found: dict[str, Any] = {key: base[key] for key in _KEPT if key in base}
    found["created"] = CREATED
    found["config"] = _running(lock, _mapping(base, "config"), labels, chosen or Running())
    found["rootfs"] = {"type": "layers", "diff_ids": [*base_ids, *(own for _, own in layers)]}
    history = _history(base, len(base_ids))
    if history is not None:
        mine = [{"created": CREATED, "created_by": f"envfreeze: {what}"} for what, _ in layers]
        found["history"] = history + mine
    return found


def _mapping(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = values.get(key) or {}
    if not isinstance(found, dict):
        raise ArtifactError(f"the base image's configuration has no {key} that can be read")
    return found


def _running(
    lock: Lock, base: Mapping[str, Any], labels: Mapping[str, str], chosen: Running
) -> dict[str, Any]:
    """What a container is started with. ENTRYPOINT, WORKDIR and the like stay the base's."""
    if base.get("OnBuild"):
        raise UsageError(
            "the base image has ONBUILD instructions, which only an engine can carry out",
            hint="Build with --to docker, or choose another base.",
        )
    kept = {key: value for key, value in base.items() if key not in {"OnBuild", "Image"}}
    return {
        **kept,
        "Env": _environment(lock, base.get("Env"), chosen),
        "User": running.user(lock, chosen.user).name,
        "Labels": {**_mapping(base, "Labels"), **labels},
        "Cmd": [dockerfile.command(lock)],
    }


def _environment(lock: Lock, base: object, chosen: Running) -> list[str]:
    """``NAME=value`` of the base and of the lock, each name once, the base's order first."""
    rows = base if isinstance(base, list) else []
    found = dict(str(row).partition("=")[::2] for row in rows)
    path = found.get("PATH", _DEFAULT_PATH)
    values = {"PATH": f"{dockerfile.own_path(lock)}:{path}"}
    for name, value in dockerfile.variables(lock).items():
        dockerfile.dockerfile_string(value)  # The same values are refused as in a Dockerfile.
        values[name] = value
    ours = running.gpu_variables(chosen.gpu) | running.user(lock, chosen.user).variables
    values |= {name: value for name, value in ours.items() if name not in values}
    return [f"{name}={value}" for name, value in (found | values).items()]


def _history(base: Mapping[str, Any], layers: int) -> list[Any] | None:
    """The base's history; None where it does not tell of each of its layers."""
    rows = base.get("history")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return None if layers else []
    told = sum(not row.get("empty_layer") for row in rows)
    return rows if told == layers else None


def of_root(platform: tuple[str, str], what: str, diff_ids: Sequence[str]) -> dict[str, Any]:
    """The configuration of an image of one layer, that nobody has built before."""
    architecture, variant = platform
    return {
        "architecture": architecture,
        **({"variant": variant} if variant else {}),
        "os": "linux",
        "created": CREATED,
        "config": {"Env": [f"PATH={_DEFAULT_PATH}"], "Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
        "history": [{"created": CREATED, "created_by": f"envfreeze: {what}"}],
    }


def with_layer(base: Mapping[str, Any], count: int, what: str) -> dict[str, Any]:
    """The base's configuration with one more layer in its history.

    :param count: how many layers it has without that one.
    """
    found = dict(base)
    history = _history(base, count)
    found.pop("history", None)
    if history is not None:
        mine = {"created": CREATED, "created_by": f"envfreeze: {what}"}
        found["history"] = [*history, mine]
    return found
