# SPDX-License-Identifier: GPL-2.0-or-later
"""Partitions on disks with sectors of 4096 bytes are found, and where they are."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from served_image import served
from v2v.formats import raw
from v2v.guests import appliance
from v2v.guests.devices import found
from v2v.guests.windows import roots

MIB = 2**20


def test_each_disk_has_sectors_of_its_own(tmp_path: Path) -> None:
    sizes = (512, 4096, 4096)
    with ExitStack() as stack:
        uris = []
        for name in "abc":
            image = tmp_path / f"{name}.img"
            image.touch()
            os.truncate(image, 32 * MIB)
            uris.append(stack.enter_context(served(image, tmp_path / f"{name}.sock")))
        made = stack.enter_context(
            appliance.opened(uris, write=True, block_sizes=sizes)
        )
        g: Any = made.g
        disks = g.list_devices()
        assert tuple(g.blockdev_getss(disk) for disk in disks) == sizes
        for disk, kind in zip(disks, ("gpt", "gpt", "mbr"), strict=True):
            g.part_disk(disk, kind)
            g.mkfs("ext4", f"{disk}1")
        g.sync()
        devices = found(made)
        assert [d.name for d in devices] == ["/dev/sda1", "/dev/sdb1", "/dev/sdc1"]
        [partition] = g.part_list("/dev/sdc")
        place = roots.places(made, devices)["/dev/sdc1"]
        assert place.offset == partition["part_start"]
    heads = [(tmp_path / f"{name}.img").read_bytes()[: raw.HEAD] for name in "abc"]
    assert [raw.block_size(head) for head in heads] == [512, 4096, None]
