"""Members of a zip read by ranges, and zips that lie."""

from __future__ import annotations

import io
import random
import struct
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envfreeze.resolve import zipremote
from envfreeze.resolve.zipremote import TAIL, BadZip, RemoteZip


class Remote:
    """Bytes that count how they are read."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked: list[tuple[int, int]] = []

    def read(self, start: int, end: int) -> bytes:
        assert 0 <= start < end <= len(self.data)
        self.asked.append((start, end))
        return self.data[start:end]

    def open(self, tail: int = TAIL) -> RemoteZip:
        return RemoteZip(len(self.data), self.read, tail=tail)


def build(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, comment: bytes = b""):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
        archive.comment = comment
    return stream.getvalue()


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


MEMBERS = {"a.py": b"x = 1\n" * 50, "big.bin": noise(100_000), "x-1.dist-info/RECORD": b"a,b,c\n"}


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
@pytest.mark.parametrize("comment", [b"", b"PK\x05\x06 a comment", b"c" * 65535])
def test_every_member_comes_back(method, comment):
    remote = Remote(build(MEMBERS, method, comment))
    archive = remote.open()
    assert archive.names == list(MEMBERS)
    for name, content in MEMBERS.items():
        assert archive.read(name, 1 << 20) == content
        assert archive.size_of(name) == len(content)


def test_a_record_at_the_end_costs_one_request():
    remote = Remote(build(MEMBERS))
    remote.open().read("x-1.dist-info/RECORD", 100)
    assert len(remote.asked) == 1
    assert remote.asked[0][0] == len(remote.data) - TAIL


def test_a_member_far_from_the_end_costs_one_more():
    remote = Remote(build({"first": b"1", "filler": noise(100_000)}))
    assert remote.open().read("first", 10) == b"1"
    assert len(remote.asked) == 2


def test_a_directory_that_outgrows_the_tail():
    members = {f"package/module_{n:05}.py": b"" for n in range(2000)}
    assert Remote(build(members)).open().names == list(members)


def test_prepended_bytes_are_stepped_over():
    data = b"#!/bin/sh\n" * 30 + build(MEMBERS)
    assert Remote(data).open().read("a.py", 1 << 20) == MEMBERS["a.py"]


def test_a_local_header_with_an_extra_field_of_its_own():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, archive.open("a", "w", force_zip64=True) as file:
        file.write(b"content")
    assert Remote(stream.getvalue()).open().read("a", 100) == b"content"


def test_more_members_than_sixteen_bits_count():
    members = {str(n): b"" for n in range(65_600)}
    remote = Remote(build(members, zipfile.ZIP_STORED))
    assert len(remote.open().names) == 65_600


def test_sizes_and_offsets_of_64_bits():
    """A file of 5 GB that exists only as far as it is read."""
    content = b"the end"
    shift = 5 << 30
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 45, 0, 0, 0, 0, 0, 7, 7, 1, 0) + b"a" + content
    extra = struct.pack("<2HQ", 1, 8, shift)
    crc = zipfile.crc32(content)
    central = struct.pack(
        "<4s6H3L5H2L",
        b"PK\1\2",
        45,
        45,
        0,
        0,
        0,
        0,
        crc,
        7,
        7,
        1,
        len(extra),
        0,
        0,
        0,
        0,
        2**32 - 1,
    )
    central += b"a" + extra
    start = shift + len(local)
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(central), start)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, start + len(central), 1)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(central), 2**32 - 1, 0)
    tail = local + central + end64 + locator + end

    def read(first: int, last: int) -> bytes:
        head = b"\0" * max(0, min(last, shift) - first)
        return head + tail[max(0, first - shift) : max(0, last - shift)]

    assert RemoteZip(shift + len(tail), read).read("a", 100) == content


def patched(data: bytes, signature: bytes, offset: int, fmt: str, value: int) -> bytes:
    place = data.rfind(signature) + offset
    return data[:place] + struct.pack(fmt, value) + data[place + struct.calcsize(fmt) :]


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("empty", b""),
        ("short", b"PK\x05\x06"),
        ("no end", b"x" * 100),
        ("a page", b"<html>not here</html>" * 10_000),
        ("count", patched(build(MEMBERS), b"PK\5\6", 10, "<H", 60_000)),
        ("size", patched(build(MEMBERS), b"PK\5\6", 12, "<L", 2**31)),
        ("offset", patched(build(MEMBERS), b"PK\5\6", 16, "<L", 2**31)),
        ("zip64 without a locator", patched(build(MEMBERS), b"PK\5\6", 16, "<L", 2**32 - 1)),
        ("name length", patched(build(MEMBERS), b"PK\1\2", 28, "<H", 65_535)),
        ("signature", patched(build(MEMBERS), b"PK\1\2", 0, "<L", 0)),
    ],
)
def test_archives_that_cannot_be_read(what, data):
    with pytest.raises(BadZip):
        RemoteZip(len(data), lambda a, b: data[a:b])


@pytest.mark.parametrize(
    ("what", "signature", "offset", "fmt", "value"),
    [
        ("method", b"PK\1\2", 10, "<H", 99),
        ("encrypted", b"PK\1\2", 8, "<H", 1),
        ("crc", b"PK\1\2", 16, "<L", 7),
        ("packed size", b"PK\1\2", 20, "<L", 2**31),
        ("size", b"PK\1\2", 24, "<L", 3),
        ("header offset", b"PK\1\2", 42, "<L", 1),
        ("local signature", b"PK\3\4", 0, "<L", 0),
    ],
)
def test_members_that_lie(what, signature, offset, fmt, value):
    data = patched(build({"a": b"some content" * 20}), signature, offset, fmt, value)
    with pytest.raises(BadZip):
        Remote(data).open().read("a", 1 << 20)


def test_a_bomb_is_not_unpacked():
    data = build({"bomb": b"\0" * (8 << 20)})
    with pytest.raises(BadZip, match="too large"):
        Remote(data).open().read("bomb", 1 << 20)
    small = patched(data, b"PK\1\2", 24, "<L", 100)
    with pytest.raises(BadZip, match="damaged"):
        Remote(small).open().read("bomb", 1 << 20)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_not_chosen_from():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("RECORD", b"one")
        archive.writestr("RECORD", b"two")
    with pytest.raises(BadZip, match="twice"):
        Remote(stream.getvalue()).open().read("RECORD", 100)


def test_a_short_answer_is_noticed():
    data = build(MEMBERS)
    with pytest.raises(BadZip, match="bytes came"):
        RemoteZip(len(data), lambda a, b: data[a : b - 1])


def test_a_missing_member_is_named():
    with pytest.raises(BadZip, match="'nothing' is not in there"):
        Remote(build(MEMBERS)).open().read("nothing", 10)


def read_all(data: bytes) -> None:
    """Everything that can be read, or the module's own error."""
    try:
        archive = RemoteZip(len(data), lambda a, b: data[a:b])
    except BadZip:
        return
    for name in archive.names:
        try:
            assert len(archive.read(name, 10_000)) <= 10_000
        except BadZip:
            continue


@given(st.binary(max_size=400))
def test_any_bytes_give_bad_zip_at_worst(data):
    read_all(data)


WHOLE = build({"a.py": b"x = 1\n" * 9, "b": noise(50), "x-1.dist-info/RECORD": b"a,b,c\n"})


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=6),
    st.integers(0, len(WHOLE)),
)
def test_a_damaged_archive_gives_bad_zip_at_worst(changes, cut):
    data = bytearray(WHOLE)
    for place, value in changes:
        data[place] = value
    read_all(bytes(data))
    read_all(bytes(data[cut:]))


def test_too_many_members_are_refused_unread(monkeypatch):
    monkeypatch.setattr(zipremote, "MAX_ENTRIES", 2)
    with pytest.raises(BadZip, match="claims 3 members"):
        Remote(build(MEMBERS)).open()


@pytest.mark.parametrize("name", ["ü.py", "日本/x.py", "a.py"])
def test_a_name_in_either_encoding(name):
    """zipfile sets bit 11 for what is not ASCII; without it a name is in code page 437."""
    archive = Remote(build({name: b"1", "b": b"2"})).open()
    assert archive.names == [name, "b"]
    assert archive.read(name, 10) == b"1"
    data = build({"x": b"1"}).replace(b"x", b"\x81")  # in both headers
    assert Remote(data).open().names == ["ü"]


def test_a_damaged_size_spoils_its_own_member_alone():
    """Entries are taken apart when they are asked for."""
    data = bytearray(build({"a": b"1", "b": b"2"}))
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = b"\xff" * 4  # "see the zip64 field", and there is none
    archive = Remote(bytes(data)).open()
    assert archive.read("b", 10) == b"2"
    with pytest.raises(BadZip):
        archive.read("a", 10)
