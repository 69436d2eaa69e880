# SPDX-License-Identifier: GPL-2.0-or-later
"""A descriptor that lets everyone in is seen as such."""

import struct

import pytest

from v2v.errors import GuestError
from v2v.guests.windows import security
from windows_folder import OPEN


def test_what_ntfs_3g_makes_is_open_and_ours_is_not() -> None:
    assert security.is_open(bytes.fromhex(OPEN[2:]))
    assert not security.is_open(security.descriptor())
    assert not security.is_open(security.descriptor(users=True))


@pytest.mark.parametrize("length", range(0, 72, 4))
def test_what_cannot_be_read_counts_as_open(length: int) -> None:
    assert security.is_open(security.descriptor()[:length])


def test_a_descriptor_without_a_list_is_open() -> None:
    own = bytearray(security.descriptor())
    struct.pack_into("<H", own, 2, 0x8000)
    assert security.is_open(bytes(own))


def test_a_descriptor_that_does_not_stay_is_an_error() -> None:
    class Refusing:
        def debug(self, command: str, arguments: list[str]) -> str:
            return "none\n" if arguments[0].startswith("for") else ""

    class Guest:
        g = Refusing()

    with pytest.raises(GuestError, match="reads back as another"):
        security.give(Guest(), ["/x"], security.descriptor())  # type: ignore[arg-type]
