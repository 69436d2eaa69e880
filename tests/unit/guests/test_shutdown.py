# SPDX-License-Identifier: GPL-2.0-or-later
"""What the disks say of how the system ended."""

from typing import Any, cast

import pytest

from v2v.guests import shutdown
from v2v.guests.appliance import Appliance
from v2v.guests.devices import Device


class Disk:
    """A device with *data* at *place*."""

    def __init__(self, place: int, data: bytes, size: int = 8192) -> None:
        self.content = bytearray(size)
        self.content[place : place + len(data)] = data
        self.g = self

    def pread_device(self, device: str, count: int, offset: int) -> bytes:
        return bytes(self.content[offset : offset + count])


def seen(disk: Disk) -> Appliance:
    return cast(Appliance, cast(Any, disk))


@pytest.mark.parametrize(
    ("place", "data", "dirty"),
    [
        (1024 + 0x3A, b"\x01\0", False),  # valid
        (1024 + 0x3A, b"\x03\0", True),  # errors were found
        (1024 + 0x60, b"\xc2\x02\0\0", False),
        (1024 + 0x60, b"\xc6\x02\0\0", True),  # the journal has to be replayed
    ],
)
def test_an_ext4_that_was_in_use_is_known(place: int, data: bytes, dirty: bool) -> None:
    device = Device(name="/dev/sda1", type="ext4")
    found = shutdown.dirty(seen(Disk(place, data)), [device])
    assert found == (["/dev/sda1"] if dirty else [])


def test_a_device_that_is_cut_off_is_not_read_beyond_its_end() -> None:
    device = Device(name="/dev/sda1", type="ext4")
    assert shutdown.dirty(seen(Disk(0, b"", size=1030)), [device]) == []


@pytest.mark.parametrize("magic", [b"S1SUSPEND", b"ULSUSPEND", b"LINHIB0001"])
def test_a_memory_on_the_swap_area_is_known(magic: bytes) -> None:
    device = Device(name="/dev/sda2", type="swap")
    assert shutdown.hibernated(seen(Disk(4086, magic)), [device]) == "/dev/sda2"
    assert shutdown.hibernated(seen(Disk(4086, b"SWAPSPACE2")), [device]) is None
