"""How a target that is not a path is named."""

from __future__ import annotations

import pytest

from envfreeze.errors import UsageError
from envfreeze.targets import naming
from envfreeze.targets.naming import Named


@pytest.mark.parametrize(
    ("text", "kind", "name", "python"),
    [
        ("docker:web", "docker:", "web", None),
        ("docker:web:/opt/venv", "docker:", "web", "/opt/venv"),
        ("image:mirror.example:5000/a/b:1.2", "image:", "mirror.example:5000/a/b:1.2", None),
        ("image:a:1:/opt/../opt/py/bin/python", "image:", "a:1", "/opt/py/bin/python"),
        ("root:/srv/tree", "root:", "/srv/tree", None),
        ("root:tree:/usr/bin/python3", "root:", "tree", "/usr/bin/python3"),
    ],
)
def test_what_is_named(text: str, kind: str, name: str, python: str | None) -> None:
    assert naming.is_inside(text)
    assert naming.named(text) == Named(kind=kind, name=name, python=python)


@pytest.mark.parametrize("text", ["docker:", "image:", "root:", "image:--privileged"])
def test_nothing_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="is named"):
        naming.named(text)


def test_other_targets_are_not_inside() -> None:
    assert not any(map(naming.is_inside, ["/opt/venv", "pid:1", "env.lock"]))
