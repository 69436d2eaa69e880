# SPDX-License-Identifier: GPL-2.0-or-later
"""What NTFS, BitLocker and dynamic disks say in their first bytes."""

import random
import struct
import subprocess
import uuid
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from v2v.guests.windows import volumes
from v2v.guests.windows.volumes import BitLocker, Ntfs, Read


def reader(data: bytes | bytearray) -> Read:
    return lambda at, size: bytes(data[at : at + size])


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, requires: Callable[..., None]
) -> bytearray:
    """A new NTFS of 8 MiB."""
    requires("mkntfs")
    file = tmp_path_factory.mktemp("ntfs") / "disk"
    file.write_bytes(b"")
    with file.open("r+b") as f:
        f.truncate(8 * 2**20)
    geometry = ("-s", "512", "-p", "0", "-H", "16", "-S", "63")
    subprocess.run(
        ["mkntfs", "-q", "-f", "-F", *geometry, str(file)],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return bytearray(file.read_bytes())


def mft(disk: bytearray) -> int:
    sectors, where = disk[0x0D], struct.unpack_from("<Q", disk, 0x30)[0]
    return int(where) * sectors * 512


def with_flags(disk: bytearray, flags: int) -> bytearray:
    """Set the flags of $Volume, as chkdsk's marks are."""
    changed = bytearray(disk)
    record = mft(disk) + 3 * 1024
    at = record + int.from_bytes(disk[record + 0x14 : record + 0x16], "little")
    while int.from_bytes(changed[at : at + 4], "little") != 0x70:
        at += int.from_bytes(changed[at + 4 : at + 8], "little")
    value = at + int.from_bytes(changed[at + 0x14 : at + 0x16], "little")
    struct.pack_into("<H", changed, value + 10, flags)
    return changed


def with_journal(disk: bytearray, *clients: tuple[int, int, int]) -> bytearray:
    """Write a restart page per (sequence number, client, flags) into $LogFile."""
    changed = bytearray(disk)
    record = mft(disk) + 2 * 1024
    at = record + int.from_bytes(disk[record + 0x14 : record + 0x16], "little")
    while int.from_bytes(changed[at : at + 4], "little") != 0x80:
        at += int.from_bytes(changed[at + 4 : at + 8], "little")
    runs = at + int.from_bytes(changed[at + 0x20 : at + 0x22], "little")
    size = changed[runs] & 15
    cluster = int.from_bytes(
        changed[runs + 1 + size : runs + 1 + size + (changed[runs] >> 4)], "little"
    )
    for number, (lsn, client, flags) in enumerate(clients):
        page = bytearray(4096)
        page[:8] = b"RSTR" + struct.pack("<HH", 0x1E, 9)
        struct.pack_into("<IIH", page, 0x10, 4096, 4096, 0x30)
        struct.pack_into("<QHHHH", page, 0x30, lsn, 1, 0xFFFF, client, flags)
        place = cluster * disk[0x0D] * 512 + number * 4096
        changed[place : place + 4096] = page
    return changed


def test_a_new_ntfs_is_clean(made: bytearray) -> None:
    assert volumes.ntfs(reader(made)) == Ntfs()


@pytest.mark.parametrize(
    ("flags", "dirty"),
    [(0x0001, True), (0x4001, True), (0x4000, True), (0x0010, False)],
)
def test_the_mark_for_chkdsk_is_seen(made: bytearray, flags: int, dirty: bool) -> None:
    assert volumes.ntfs(reader(with_flags(made, flags))) == Ntfs(dirty=dirty)


@pytest.mark.parametrize(
    ("clients", "open_"),
    [
        ([(5, 0, 0)], True),
        ([(5, 0, 2)], False),  # closed, by Windows' own flag
        ([(5, 0xFFFF, 0)], False),  # nobody is in it
        ([(5, 0, 0), (9, 0xFFFF, 0)], False),  # the newer counts
        ([(9, 0, 0), (5, 0xFFFF, 0)], True),
    ],
)
@pytest.mark.report("https://github.com/os-migrate/vmware-migration-kit/issues/120")
def test_a_journal_that_was_not_closed_is_seen(
    made: bytearray, clients: list[tuple[int, int, int]], open_: bool
) -> None:
    disk = with_journal(made, *clients)
    assert volumes.ntfs(reader(disk)) == Ntfs(open=open_)


def test_what_is_no_ntfs_is_none(made: bytearray) -> None:
    assert volumes.ntfs(reader(bytes(8192))) is None
    assert volumes.ntfs(reader(b"")) is None
    for at, value in ((0x0B, 3), (0x0D, 0), (0x40, 0x81), (0x37, 0xFF)):
        broken = bytearray(made)
        broken[at] = value
        assert volumes.ntfs(reader(broken)) is None


def test_a_record_that_was_half_written_says_nothing(made: bytearray) -> None:
    disk = with_flags(made, 1)
    disk[mft(disk) + 3 * 1024 + 510] ^= 0xFF
    assert volumes.ntfs(reader(disk)) == Ntfs()


@given(seed=st.integers(0, 2**32))
def test_any_bytes_are_read_within_bounds(made: bytearray, seed: int) -> None:
    chance = random.Random(seed)
    disk = with_journal(made, (5, 0, 0))
    areas = [(3, 80), (mft(disk) + 2048, 2048), *((n, 4096) for n in (0, 4096))]
    for _ in range(12):
        start, size = chance.choice(areas)
        disk[start + chance.randrange(size)] = chance.randrange(256)
    sizes = []

    def read(at: int, size: int) -> bytes:
        assert at >= 0
        sizes.append(size)
        return bytes(disk[at : at + size])

    found = volumes.ntfs(read)
    assert found is None or isinstance(found.dirty, bool)
    assert sum(sizes) < 2**20


def locked(*protections: int, state: int = 4, to_go: bool = False) -> bytearray:
    """Return a volume of BitLocker, whose key is protected in these ways."""
    disk = bytearray(2**20)
    disk[3:11] = b"MSWIN4.1" if to_go else b"-FVE-FS-"
    at = 424 if to_go else 160
    disk[at : at + 16] = uuid.UUID("4967d63b-2e29-4ad8-8399-f6a339e3d001").bytes_le
    struct.pack_into("<3Q", disk, at + 16, 0x1000, 0x20000, 0x40000)
    entries = b"".join(
        struct.pack("<HHHH", 44, 2, 8, 1) + bytes(26) + struct.pack("<H8x", how)
        for how in protections
    )
    other = struct.pack("<HHHH4x", 12, 7, 2, 1)
    block = b"-FVE-FS-" + struct.pack("<HHHH", 0, 2, state, state)
    block = block.ljust(64, b"\0") + struct.pack("<I", 48 + 12 + len(entries))
    block = block.ljust(112, b"\0") + other + entries
    for place in (0x20000, 0x40000):  # the first copy is lost
        disk[place : place + len(block)] = block
    return disk


@pytest.mark.report("https://github.com/kubevirt/kubevirt/issues/15701")
@pytest.mark.parametrize("to_go", [False, True])
def test_bitlocker_says_what_opens_it(to_go: bool) -> None:
    disk = locked(0x0100, 0x0800, to_go=to_go)
    found = volumes.bitlocker(reader(disk))
    assert found == BitLocker(protectors=("TPM", "recovery password"))


def test_bitlocker_that_is_suspended_has_a_clear_key() -> None:
    found = volumes.bitlocker(reader(locked(0x0000, 0x0800, 0x0000)))
    assert found == BitLocker(protectors=("clear key", "recovery password"))


def test_bitlocker_may_be_on_its_way_or_unknown() -> None:
    found = volumes.bitlocker(reader(locked(0x7777, state=2)))
    assert found == BitLocker(protectors=("protector 0x7777",), partial=True)
    disk = locked(0x0100)
    disk[0x20000] = disk[0x40000] = 0
    assert volumes.bitlocker(reader(disk)) == BitLocker()


def test_what_is_not_bitlockers_is_none(made: bytearray) -> None:
    assert volumes.bitlocker(reader(made)) is None
    fat = bytearray(512)
    fat[3:11] = b"MSWIN4.1"
    assert volumes.bitlocker(reader(fat)) is None
    assert volumes.bitlocker(reader(b"")) is None


def test_a_dynamic_disk_is_known_by_its_partition() -> None:
    sector = bytearray(512)
    sector[440:444] = bytes.fromhex("3ea0be5c")
    sector[450], sector[454:458] = 0x07, struct.pack("<I", 2048)
    sector[510:] = b"\x55\xaa"
    assert not volumes.is_dynamic(bytes(sector))
    assert volumes.partitions(bytes(sector))[0] == (7, 2**20)
    assert volumes.signature(bytes(sector)) == 0x5CBEA03E
    sector[450] = 0x42
    assert volumes.is_dynamic(bytes(sector))
    assert not volumes.is_dynamic(bytes(sector[:511]))
