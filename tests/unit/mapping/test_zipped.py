# SPDX-License-Identifier: GPL-2.0-or-later
"""The directory of a zip archive is believed only where the members bear it out."""

import io
import random
import stat
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from v2v.errors import SourceError
from v2v.mapping import zipped

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
NOISE = random.Random(3).randbytes(3000)
MEMBERS = {"a.ovf": b"<Envelope/>", "d/disk.img": NOISE, "e.img": bytes(9000)}


def archive(method: int = DEFLATED, members: dict[str, bytes] = MEMBERS) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, data in members.items():
            made.writestr(name, data)
    return out.getvalue()


def streamed() -> bytes:
    """Return an archive whose members have their sizes behind them."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            self.data += data  # type: ignore[arg-type]
            return len(data)  # type: ignore[arg-type]

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", DEFLATED) as made:
        for name, data in MEMBERS.items():
            made.writestr(name, data)
    return bytes(pipe.data)


def put(folder: Path, data: bytes) -> Path:
    path = folder / "a.zip"
    path.write_bytes(data)
    return path


def refused(path: Path) -> str:
    with pytest.raises(SourceError) as e:
        zipped.members(path)
    assert "\n" not in e.value.message and e.value.remedy
    return e.value.message


@pytest.mark.parametrize("method", [STORED, DEFLATED])
def test_each_member_is_found_where_it_lies(tmp_path: Path, method: int) -> None:
    path = put(tmp_path, archive(method))
    found = zipped.members(path)
    assert list(found) == list(MEMBERS)
    for name, data in MEMBERS.items():
        one = found[name]
        held = path.read_bytes()[one.data_at : one.data_at + one.packed]
        assert (one.size, one.end - one.packed) == (len(data), one.data_at)
        if method == STORED:
            assert held == data


def test_sizes_behind_the_data_are_part_of_the_member(tmp_path: Path) -> None:
    data = streamed()
    found = zipped.members(put(tmp_path, data))
    ends = [one.end for one in found.values()]
    assert [data[end : end + 2] for end in ends] == [b"PK"] * 3
    assert all(one.end == one.data_at + one.packed + 16 for one in found.values())
    behind = found["a.ovf"].end - 4
    broken = data[:behind] + b"\xff" + data[behind + 1 :]
    assert "not its sizes" in refused(put(tmp_path, broken))


def test_large_members_have_their_sizes_elsewhere(tmp_path: Path) -> None:
    out = io.BytesIO()
    with (
        zipfile.ZipFile(out, "w") as made,
        made.open("disk.img", "w", force_zip64=True) as file,
    ):
        file.write(NOISE)
    found = zipped.members(put(tmp_path, out.getvalue()))["disk.img"]
    assert out.getvalue()[found.data_at : found.data_at + found.size] == NOISE


def test_a_member_beyond_four_gib_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as made:
        with made.open("big.img", "w", force_zip64=True) as file:
            file.write(b"x")
        made.writestr("a.ovf", b"<Envelope/>")
    data = path.read_bytes()
    # As it would be with 5 GiB in front: sparse, so that the disk need not hold it.
    shift = 5 * 2**30
    at = data.index(b"PK\3\4", 4)
    directory = data.index(b"PK\1\2")
    second = data.index(b"PK\1\2", directory + 4)
    entry = bytearray(data[second : data.index(b"PK\5\6")])
    entry[42:46] = b"\xff" * 4
    entry[30:32] = struct.pack("<H", 12)
    entry += struct.pack("<HHQ", 1, 8, shift)
    start = shift + directory - at
    end = struct.pack(
        "<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(entry), start
    )
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, start + len(entry), 1)
    last = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, 2**32 - 1, 2**32 - 1, 0)
    with path.open("wb") as file:
        file.write(b"PK\3\4")
        file.seek(shift)
        file.write(data[at:directory] + entry + end + locator + last)
    found = zipped.members(path)["a.ovf"]
    assert found.start == shift
    with path.open("rb") as file:
        file.seek(found.data_at)
        assert file.read(found.size) == b"<Envelope/>"


@pytest.mark.parametrize("name", ["../a", "a/../../b", "/etc/passwd", "C:/a", "..\\a"])
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    assert "leads outside" in refused(put(tmp_path, archive(members={name: b""})))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    path = put(tmp_path, archive())
    with zipfile.ZipFile(path, "a") as made:
        made.writestr("a.ovf", b"another")
    assert "two members" in refused(path)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFBLK])
def test_a_link_or_a_device_is_refused(tmp_path: Path, kind: int) -> None:
    path = tmp_path / "a.zip"
    info = zipfile.ZipInfo("disk.img")
    info.external_attr = kind << 16
    with zipfile.ZipFile(path, "w") as made:
        made.writestr(info, b"/etc/passwd")
    assert "a link or a device" in refused(path)


def changed(at: str, offset: int, value: bytes) -> Callable[[bytes], bytes]:
    """Write *value* at *offset* of the first "local" or "central" header."""
    magic = {"local": b"PK\3\4", "central": b"PK\1\2"}[at]

    def change(data: bytes) -> bytes:
        place = data.index(magic) + offset
        return data[:place] + value + data[place + len(value) :]

    return change


@pytest.mark.parametrize(
    "change",
    [
        changed("local", 30, b"b"),  # the name
        changed("local", 8, b"\0"),  # how it is packed
        changed("local", 6, b"\1"),  # encrypted
        changed("local", 14, b"\0\0\0\0"),  # the checksum
        changed("local", 18, b"\1"),  # the sizes
        changed("local", 22, b"\1"),
        changed("central", 20, b"\1"),
        changed("central", 24, b"\1"),
        changed("central", 42, b"\1"),  # where it is
        changed("central", 42, b"\xfe\xff\xff\xff"),
        changed("central", 34, b"\1"),  # on which part
    ],
)
def test_a_directory_that_its_members_belie_is_refused(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    assert "broken zip archive" in refused(put(tmp_path, change(archive())))


def test_members_that_share_their_data_are_refused(tmp_path: Path) -> None:
    """As in a bomb: each name unpacks the same bytes."""
    data = archive(members={"a": bytes(10_000)})
    at, end = data.index(b"PK\1\2"), data.index(b"PK\5\6")
    entries = data[at:end] * 2
    record = bytearray(data[end:])
    struct.pack_into("<HHI", record, 8, 2, 2, len(entries))
    path = put(tmp_path, data[:at] + entries + bytes(record))
    assert "lies over something else" in refused(path)


def test_a_member_that_reaches_into_the_directory_is_refused(tmp_path: Path) -> None:
    data = archive(STORED, {"a": b"x" * 100})
    longer = struct.pack("<II", 120, 120)
    data = changed("local", 18, longer)(changed("central", 20, longer)(data))
    assert "lies over" in refused(put(tmp_path, data))


def test_more_members_than_any_package_has_are_refused(tmp_path: Path) -> None:
    members = {f"{number}": b"" for number in range(10_001)}
    start = time.process_time()
    assert "too many members" in refused(put(tmp_path, archive(members=members)))
    assert time.process_time() - start < 10


def test_a_directory_of_gigabytes_is_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    last = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, 2**31, 0, 0)
    with path.open("wb") as file:
        file.write(b"PK\3\4")
        file.seek(2**31)
        file.write(last)
    assert "larger than any" in refused(path)


def test_an_archive_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    data = archive()
    for length in range(4, len(data), 101):
        refused(put(tmp_path, data[:length]))


def test_what_macos_adds_is_passed_over(tmp_path: Path) -> None:
    members = {"a/": b"", "__MACOSX/a/._b": b"x", "a/._b": b"y", "a/b": b"z"}
    assert list(zipped.members(put(tmp_path, archive(members=members)))) == ["a/b"]


def test_names_are_utf_8_though_they_do_not_say_so(tmp_path: Path) -> None:
    data = archive(members={"disk-ü.img": b""})
    assert data.count(b"\0\x08") >= 2
    silent = changed("local", 6, b"\0\0")(changed("central", 8, b"\0\0")(data))
    assert list(zipped.members(put(tmp_path, silent))) == ["disk-ü.img"]


@settings(max_examples=300, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6),
    sized=st.booleans(),
)
def test_any_bytes_give_members_or_one_line(
    tmp_path_factory: pytest.TempPathFactory,
    changes: list[tuple[int, int]],
    sized: bool,
) -> None:
    data = bytearray(archive() if sized else streamed())
    for at, value in changes:
        data[at % len(data)] = value
    path = put(tmp_path_factory.getbasetemp(), bytes(data))
    try:
        found = list(zipped.members(path).values())
    except SourceError as e:
        assert "\n" not in e.message
    else:
        edges = [at for one in found for at in (one.start, one.data_at, one.end)]
        assert edges == sorted(edges) and edges[-1] <= len(data)
