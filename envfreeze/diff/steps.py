"""How far a version moved, as its own scheme counts. Pure."""

from __future__ import annotations

from typing import Literal

Step = Literal["epoch", "major", "minor", "patch", "pre", "post", "local", "build", "other"]
"""The first part of the version that differs (PEP 440). ``build``: a conda build string, or the
revision of a Debian version; ``other``: a version that follows no scheme we know."""
