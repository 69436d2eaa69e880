# SPDX-License-Identifier: GPL-2.0-or-later
"""Where disks with sectors of 4096 bytes cannot be."""

from typing import Any

import pytest

from target_vm import disk, make_vm
from v2v.document import Devices, Guest
from v2v.steps import sectors

LINUX = Guest(type="linux")
LARGE = disk(0, logical_block_size=4096)


def codes(**fields: Any) -> list[str]:
    chosen = {"guest": LINUX, "firmware": "efi", "disks": (LARGE,), **fields}
    found = list(sectors.findings(make_vm(**chosen)))
    assert all(finding.remedy and finding.severity == "block" for finding in found)
    return [finding.code for finding in found]


def test_a_bios_starts_from_no_large_sectors() -> None:
    assert codes(firmware="bios") == ["disk-sectors-bios"]
    assert codes() == []
    assert codes(firmware="bios", disks=(disk(0), LARGE.having(id="sdb"))) == []
    assert codes(firmware="bios", guest=Guest()) == []


@pytest.mark.parametrize(
    ("block", "told"),
    [("virtio", False), ("scsi", False), ("sata", True), ("ide", True)],
)
def test_only_virtio_and_scsi_have_large_sectors(block: Any, told: bool) -> None:
    assert codes(devices=Devices(block=block)) == ["disk-sectors-bus"] * told
    assert codes(devices=Devices(block=block), disks=(disk(0),)) == []
