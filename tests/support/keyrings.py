"""A small ``keyring`` program that answers as the real one does, and notes what it was asked.

Its options and answers are those of keyring 25.2.1 and later (``keyring --mode=creds
--output=json get SERVICE [USERNAME]``), and of older ones, which know neither option.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

_PROGRAM = """#!{python}
import json, sys
with open({log!r}, "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
arguments = sys.argv[1:]
if {old} and "--mode=creds" in arguments:
    sys.stderr.write("usage: keyring\\nkeyring: error: unrecognized arguments: --mode=creds\\n")
    sys.exit(2)
{more}
words = [word for word in arguments if not word.startswith("--")]
assert words.pop(0) == "get"
for service, user, password in {logins!r}:
    if words[0] == service and words[1:] in ([], [user]):
        print(password if {old} else json.dumps({{"username": user, "password": password}}))
        sys.exit(0)
sys.exit(1)
"""


class KeyringProgram:
    """``keyring`` in a directory of its own, to be put on PATH."""

    def __init__(
        self,
        directory: Path,
        *logins: tuple[str, str, str],
        old: bool = False,
        more: str = "",
    ) -> None:
        self.directory = directory
        self._log = directory / "asked"
        directory.mkdir(parents=True, exist_ok=True)
        program = directory / "keyring"
        program.write_text(
            _PROGRAM.format(
                python=sys.executable, log=str(self._log), old=old, logins=logins, more=more
            )
        )
        program.chmod(0o755)

    @property
    def asked(self) -> list[list[str]]:
        """The arguments of each call."""
        if not self._log.exists():
            return []
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    @property
    def services(self) -> list[str]:
        """What was looked up."""
        return [words[words.index("get") + 1] for words in self.asked]
