# SPDX-License-Identifier: GPL-2.0-or-later
"""What of the disks could not be seen is said."""

from typing import Any, cast

import pytest

from guest_files import Files
from v2v.document import Filesystem, Guest
from v2v.guests import inspection
from v2v.guests.appliance import Appliance

LUKS = Filesystem(device="/dev/sdb", type="crypto_LUKS", uuid="u")
INSIDE = Filesystem(device="/dev/mapper/x", type="ext4", container="/dev/sdb")
BTRFS = Filesystem(device="/dev/sda1", type="btrfs")
FILES = {"/etc/crypttab": "x UUID=u none luks,tpm2-device=auto\n"}


class Able(Files):
    """An appliance whose kernel has some features."""

    def __init__(self, *features: str, files: dict[str, str] | None = None) -> None:
        super().__init__(files or {}, {}, {})
        self.features = features

    def feature_available(self, groups: list[str]) -> bool:
        return set(groups) <= set(self.features)


def codes(running: Able, *there: Filesystem) -> list[str]:
    guest = Guest(type="linux", roots=("/dev/sda1",), filesystems=there)
    seen = Appliance(cast(Any, running))
    return [finding.code for finding in inspection.findings(seen, guest)]


@pytest.mark.report("https://github.com/kubev2v/forklift/pull/1446")
def test_an_appliance_without_btrfs_says_so() -> None:
    """As on hosts of Red Hat's, where others fail without a word of it."""
    assert codes(Able("luks"), BTRFS) == ["filesystem-unsupported"]
    assert codes(Able("luks", "btrfs"), BTRFS) == []


def test_a_data_disk_without_its_key_is_named_and_an_opened_one_is_not() -> None:
    assert codes(Able("luks"), LUKS) == ["guest-data-encrypted"]
    assert codes(Able("luks"), LUKS, INSIDE) == []


def test_a_key_in_the_old_tpm_is_named() -> None:
    running = Able("luks", files=FILES)
    assert codes(running, LUKS, INSIDE) == ["disk-key-in-tpm"]


@pytest.mark.parametrize(("roots", "is_locked"), [((), True), (("/dev/sda1",), False)])
def test_only_a_vm_without_any_system_is_locked(
    roots: tuple[str, ...], is_locked: bool
) -> None:
    found = inspection.locked(Guest(roots=roots, filesystems=(LUKS,)))
    assert bool(found) == is_locked
    assert found is None or "--key all:file:FILE" in found.remedy
