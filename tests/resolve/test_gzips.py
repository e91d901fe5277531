"""Gzip by blocks: what is written is what any reader reads."""

import gzip
import io
import random
import subprocess
import threading
import tracemalloc

import pytest

from envfreeze.resolve import gzips

BLOCK = gzips.BLOCK
NOISE = random.Random(1).randbytes(2 * BLOCK)


def packed(data: bytes, step: int = 10_000) -> bytes:
    out = io.BytesIO()
    with gzips.Writer(out) as file:
        for at in range(0, len(data), step):
            file.write(data[at : at + step])
    return out.getvalue()


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"text " * 300_000, b"a" * BLOCK, b"a" * (BLOCK + 1), NOISE, NOISE + b"b" * BLOCK],
    ids=["nothing", "a byte", "text", "a block", "one more", "noise", "both"],
)
def test_what_goes_in_comes_out(data: bytes) -> None:
    content = packed(data)
    assert gzip.decompress(content) == data
    unpacked = subprocess.run(["gzip", "-dc"], input=content, capture_output=True, check=True)
    assert unpacked.stdout == data
    assert not unpacked.stderr


def test_the_bytes_depend_on_the_content_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    data = NOISE + b"line\n" * BLOCK
    first = packed(data, 777_777)
    for processors in (1, 3):
        monkeypatch.setattr("os.cpu_count", lambda processors=processors: processors)
        assert packed(data, 1 << 16) == first


def test_noise_is_stored_and_the_rest_is_not() -> None:
    assert len(NOISE) < len(packed(NOISE)) < len(NOISE) + 1000
    assert len(packed(b"line\n" * BLOCK)) < BLOCK // 10
    assert gzips.is_dense(NOISE[:BLOCK])
    assert not gzips.is_dense(NOISE[: BLOCK // 2] + bytes(BLOCK // 2))
    assert not gzips.is_dense(bytes(300))


def test_few_blocks_are_in_memory() -> None:
    class Nowhere:
        def write(self, data: bytes) -> int:
            return len(data)

    block = NOISE[:BLOCK]
    tracemalloc.start()
    with gzips.Writer(Nowhere()) as file:
        for _ in range(64):
            file.write(block)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 48 * BLOCK


def test_an_error_on_the_way_ends_the_threads() -> None:
    class Full:
        def write(self, data: bytes) -> int:
            if len(data) > 100:
                raise OSError("full")
            return len(data)

    with pytest.raises(OSError, match="full"), gzips.Writer(Full()) as file:
        file.write(NOISE * 20)
    assert not [t for t in threading.enumerate() if "ThreadPool" in t.name]
