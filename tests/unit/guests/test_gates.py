# SPDX-License-Identifier: GPL-2.0-or-later
"""What must hold before anything is written into a guest."""

import pytest

from v2v.document import Change, Filesystem, Guest
from v2v.errors import GuestError
from v2v.guests import gates
from v2v.guests.plan import Action


def needing(path: str) -> Action:
    change = Change(path=path, kind="create", reason="a test")
    return Action(change=change, apply=lambda _: None, space=2**20)


@pytest.mark.parametrize(
    ("mountpoint", "named"), [("/boot", "/boot"), ("/.v2v-boot", "/dev/sda1")]
)
def test_a_file_system_without_room_is_named_as_people_know_it(
    mountpoint: str, named: str
) -> None:
    full = Filesystem(
        device="/dev/sda1", type="vfat", mountpoint=mountpoint, free=2**20
    )
    with pytest.raises(GuestError, match=f"^{named} in the guest has 1.0 MiB free"):
        gates.gate(Guest(filesystems=(full,)), [needing(f"{mountpoint}/x")])


def test_what_is_needed_is_told_by_file_system() -> None:
    there = Filesystem(device="/dev/sda1", type="ext4", mountpoint="/", free=2**30)
    guest = gates.gate(Guest(filesystems=(there,)), [needing("/x"), needing("/y/z")])
    assert guest.filesystems[0].needed == 2**21
