"""YAML of strangers: texts, lists and tables, no references, no types, no depth."""

from __future__ import annotations

from typing import Any

from envfreeze.diff.foreign.document import wrong
from envfreeze.errors import MissingExtraError

_DEEPEST = 30


def load(text: str, source: str, kind: str) -> Any:
    """*text* as plain values; each scalar is the text that stands there, so that 1.10 stays that.

    :raises LockError: it is not YAML, refers back to a part of itself, or is nested too deep.
    :raises MissingExtraError: PyYAML is not installed.
    """
    try:
        import yaml as pyyaml
    except ImportError as error:
        raise MissingExtraError(
            f"{source} is YAML, and PyYAML is not installed", hint="pip install 'envfreeze[conda]'"
        ) from error
    yaml: Any = pyyaml
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        problem = _problem(yaml, text, loader)
        if problem is None:
            # The base loader makes texts, lists and tables, whatever a tag says.
            return yaml.load(text, Loader=loader)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise wrong(source, kind, f"it is not YAML: {said}") from error
    raise wrong(source, kind, problem)


def _problem(yaml: Any, text: str, loader: Any) -> str | None:
    """What there is not to be in it: an alias may stand for a million others."""
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.AliasEvent):
            return "it refers back to a part of itself (an alias)"
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                return f"it is nested more than {_DEEPEST} deep"
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return None
