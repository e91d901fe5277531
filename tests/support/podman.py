"""A Podman for tests: its Docker-compatible API on a socket of its own, with a store of its own.

Nothing of the machine's own Podman is read or written, and no container gets a network.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from envfreeze.build.push import Pusher
from envfreeze.progress import Progress
from envfreeze.resolve import registry
from envfreeze.resolve.http import Http
from envfreeze.resolve.pipconf import IndexSettings
from tests.support import ocis
from tests.support.engine import NoEngineError, _answers, _stop, _unmount, _wait_for


@contextmanager
def running_podman(place: Path, insecure: str) -> Iterator[str]:
    """Its address for as long as the block runs.

    :param insecure: a registry that speaks plain HTTP.
    :raises NoEngineError: it is not installed, or does not come up.
    """
    program = shutil.which("podman")
    if program is None or os.geteuid() != 0:
        raise NoEngineError("podman is not installed, or this is not root")
    directory = place / "podman"
    directory.mkdir()
    texts = {
        "STORAGE": '[storage]\ndriver = "overlay"\n'
        f'runroot = "{directory}/run"\ngraphroot = "{directory}/data"\n',
        "REGISTRIES": f'[[registry]]\nlocation = "{insecure}"\ninsecure = true\n',
        "": f"[containers]\ndefault_ulimits = {_limits()}\n"
        '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n',
    }
    environ = dict(os.environ)
    for name, text in texts.items():
        path = directory / f"{name.lower() or 'containers'}.conf"
        path.write_text(text)
        environ[f"CONTAINERS_{name}_CONF" if name else "CONTAINERS_CONF"] = str(path)
    host = f"unix://{directory}/podman.sock"
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "system", "service", "--time=0", host],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ, start_new_session=True,
        )  # fmt: skip
    try:
        _wait_for(lambda: _answers(host), process, directory / "log")
        yield host
    finally:
        _stop(process)
        _unmount(directory)


def _limits() -> str:
    """Podman raises them to its own defaults, which a container that we run in may not allow."""
    found = []
    for name, limit in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC)):
        most = min(resource.getrlimit(limit)[1], 4096)
        found.append(f'"{name}={most}:{most}"')
    return f"[{', '.join(found)}]"


def put(host: str, name: str, layer: Path, place: Path) -> str:
    """Push a root directory's tar as an image, with our own client; its name by digest."""
    layout = ocis.layout(place / "put", [layer.read_bytes()], {"Cmd": ["sh"]})
    archive = place / "put.tar"
    with tarfile.open(archive, "w") as tar:
        for file in sorted(layout.rglob("*")):
            tar.add(file, file.relative_to(layout).as_posix(), recursive=False)
    reference = registry.parse(f"{host}/{name}:1")
    own = registry.Registry(
        http=Http(IndexSettings(index_url="http://127.0.0.1:9/")), public="none.example"
    )
    pushed = Pusher(registry.Asked(own, reference), Progress()).image(archive, "1")
    return f"{host}/{name}@{pushed.digest}"
