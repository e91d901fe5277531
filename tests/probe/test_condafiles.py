"""A prefix written into files by py-rattler's rules, and taken out again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from envfreeze.probe import condafiles

LONG = "/build/" + "_placehold" * 10
PREFIX = "/opt/här"


def write(data: bytes, prefix: str, placeholder: str, binary: bool) -> bytes:
    """What linking does: in a binary, each C string keeps its length."""
    old, new = placeholder.encode(), prefix.encode()
    if not binary:
        return data.replace(old, new)
    parts = data.split(b"\0")
    for place, part in enumerate(parts[:-1]):
        fill = part.count(old) * (len(old) - len(new))
        parts[place] = part.replace(old, new) + b"\0" * fill
    return b"\0".join(parts)


PIECES = st.lists(
    st.sampled_from([LONG.encode(), b"\0", b"/bin", b":", b"\x7fELF", b"a", b"\n"]), max_size=20
)


@given(PIECES, st.booleans())
def test_what_linking_wrote_is_undone(pieces: list[bytes], binary: bool) -> None:
    data = b"".join(pieces) + b"\0"
    linked = write(data, PREFIX, LONG, binary)
    assert condafiles.undo(linked, PREFIX, LONG, binary) == data


def test_a_string_without_room_for_the_placeholder_is_not_undone() -> None:
    assert condafiles.undo(b"/opt/x/lib\0next\0", "/opt/x", LONG, True) is None
    assert condafiles.undo(b"/opt/x/lib", "/opt/x", LONG, True) is None
    assert condafiles.undo(b"/opt/x\0", "/opt/x", "/o", True) is None


def test_a_binary_without_a_placeholder_gets_one_of_the_same_length() -> None:
    data = b"\x7fELF /opt/x/lib:/opt/x/b\0next\0"
    bare, placeholder, binary = condafiles.unbound(data, "/opt/x", None)
    assert len(placeholder) == len("/opt/x") and binary
    assert len(bare) == len(data) and b"/opt/x" not in bare
    assert write(bare, "/opt/x", placeholder, True) == data


def test_a_file_that_does_not_name_the_prefix_stays_as_it_is() -> None:
    assert condafiles.unbound(b"plain", "/opt/x", LONG) == (b"plain", None, False)
