# SPDX-License-Identifier: GPL-2.0-or-later
"""What NTFS, BitLocker and dynamic disks say in their first bytes."""

import random
import struct
import subprocess
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bitlocker
import ntfs
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


def with_flags(disk: bytearray, flags: int) -> bytearray:
    """Set the flags of $Volume, as chkdsk's marks are."""
    changed = bytearray(disk)
    struct.pack_into("<H", changed, ntfs.flags_at(reader(disk)), flags)
    return changed


def with_journal(disk: bytearray, *pages: tuple[int, ...]) -> bytearray:
    """Write restart pages into $LogFile."""
    changed = bytearray(disk)
    data = b"".join(ntfs.restart(*page) for page in pages)
    at = ntfs.journal_at(reader(disk))
    changed[at : at + len(data)] = data
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
        ([(5, 0xFFFF, 2, 2)], True),  # of Windows 8 and later, which has more in memory
    ],
)
@pytest.mark.report("https://github.com/os-migrate/vmware-migration-kit/issues/120")
def test_a_journal_that_was_not_closed_is_seen(
    made: bytearray, clients: list[tuple[int, ...]], open_: bool
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
    disk[ntfs.mft_at(reader(disk)) + 3 * 1024 + 510] ^= 0xFF
    assert volumes.ntfs(reader(disk)) == Ntfs()


@given(seed=st.integers(0, 2**32))
def test_any_bytes_are_read_within_bounds(made: bytearray, seed: int) -> None:
    chance = random.Random(seed)
    disk = with_journal(made, (5, 0, 0))
    areas = [
        (3, 80),
        (ntfs.mft_at(reader(disk)) + 2048, 2048),
        *((n, 4096) for n in (0, 4096)),
    ]
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


@pytest.mark.report("https://github.com/kubevirt/kubevirt/issues/15701")
@pytest.mark.parametrize("to_go", [False, True])
def test_bitlocker_says_what_opens_it(to_go: bool) -> None:
    disk = bitlocker.volume(0x0100, 0x0800, to_go=to_go)
    found = volumes.bitlocker(reader(disk))
    assert found == BitLocker(protectors=("TPM", "recovery password"))


def test_bitlocker_that_is_suspended_has_a_clear_key() -> None:
    found = volumes.bitlocker(reader(bitlocker.volume(0x0000, 0x0800, 0x0000)))
    assert found == BitLocker(protectors=("clear key", "recovery password"))


def test_bitlocker_may_be_on_its_way_or_unknown() -> None:
    found = volumes.bitlocker(reader(bitlocker.volume(0x7777, state=2)))
    assert found == BitLocker(protectors=("protector 0x7777",), partial=True)
    disk = bitlocker.volume(0x0100, lost=3)
    assert volumes.bitlocker(reader(disk)) == BitLocker()


@given(seed=st.integers(0, 2**32))
def test_any_metadata_of_bitlocker_is_read_within_bounds(seed: int) -> None:
    chance = random.Random(seed)
    disk = bitlocker.volume(0x0100, 0x0800)
    for _ in range(9):
        start, size = chance.choice([(160, 60), (0x20000, 250), (0x40000, 250)])
        disk[start + chance.randrange(size)] = chance.randrange(256)
    sizes = []

    def read(at: int, size: int) -> bytes:
        sizes.append(size)
        return bytes(disk[at : at + size])

    found = volumes.bitlocker(read)
    assert found is None or len(found.protectors) < 20
    assert sum(sizes) <= 512 + 3 * 2**16


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
    assert volumes.partitions(bytes(sector), 4096)[0] == (7, 2**23)
    assert volumes.signature(bytes(sector)) == 0x5CBEA03E
    sector[450] = 0x42
    assert volumes.is_dynamic(bytes(sector))
    assert not volumes.is_dynamic(bytes(sector[:511]))
