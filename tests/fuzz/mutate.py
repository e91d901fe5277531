"""Bytes that are nearly right, drawn by hypothesis: real input with a few cuts and splices."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import strategies as st

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF)
COMMON = (
    b"\0",
    b"\n",
    b"\r",
    b'"',
    b"'",
    b"\\",
    b"/",
    b"../",
    b"/etc/passwd",
    b"$(id)",
    b"`id`",
    b"; rm -rf /",
    b"%s%n",
    b"\xff",
    b"\xe2\x80\xa8",
    b"\xc2\xb2",
    b"\xed\xa0\x80",
    b"9" * 5000,
    b" " * 999,
    b"-1",
    b"[" * 2000,
)
"""What has broken some parser at some time."""

LIMIT = 1 << 16


@st.composite
def mutants(draw: st.DrawFn, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    """One of *seeds* after a few changes, or anything."""
    words = st.sampled_from([*COMMON, *tokens])
    if not draw(st.integers(0, 9)):
        return draw(st.binary(max_size=300))
    data = bytearray(draw(st.sampled_from(list(seeds) or [b""])))
    for _ in range(draw(st.integers(0, 6))):
        kind = draw(st.integers(0, 6))
        at = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 32))
        if kind == 0:
            data[at : at + length] = draw(words)
        elif kind == 1:
            data[at:at] = draw(words)
        elif kind == 2:
            data[at : at + 1] = draw(st.binary(max_size=3))
        elif kind == 3:
            del data[at : at + draw(st.integers(0, 400))]
        elif kind == 4:
            data[at:at] = data[at : at + length * 16] * draw(st.integers(1, 20))
        elif kind == 5:
            size = draw(st.sampled_from((1, 2, 4, 8)))
            number = draw(st.sampled_from(NUMBERS)) & ((1 << 8 * size) - 1)
            data[at : at + size] = number.to_bytes(size, draw(st.sampled_from(("little", "big"))))
        else:
            other = draw(st.sampled_from(list(seeds) or [b""]))
            start = draw(st.integers(0, len(other)))
            data[at:] = other[start:]
    return bytes(data[:LIMIT])


def from_strategy(
    strategy: st.SearchStrategy[object], check: Callable[[object], None]
) -> Callable[[bytes], None]:
    """A harness of bytes for a check of drawn values: the bytes decide what is drawn."""
    from hypothesis import HealthCheck, given, settings

    @settings(suppress_health_check=list(HealthCheck), deadline=None, database=None)
    @given(strategy)
    def drawn(value: object) -> None:
        check(value)

    fuzz_one_input = drawn.hypothesis.fuzz_one_input  # type: ignore[attr-defined]
    return lambda data: (fuzz_one_input(data), None)[1]
