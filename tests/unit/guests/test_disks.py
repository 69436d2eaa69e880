# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of disks in a guest's files, and what they become."""

from pathlib import Path

import pytest

import guest_folder
from guest_files import guest_with
from v2v.document import Disk, Filesystem, Guest
from v2v.errors import GuestError
from v2v.guests.appliance import MAX_TEXT
from v2v.guests.linux import debconf, stable
from v2v.guests.linux.stable import Names

GUEST = Guest(
    filesystems=(
        Filesystem(device="/dev/sda1", type="ext4", uuid="u-a1"),
        Filesystem(device="/dev/sda2", type="swap", uuid="u-a2"),
        Filesystem(device="/dev/sdb1", type="ext4", uuid="u-b1"),
    )
)
ONE = Names(GUEST, (Disk(id="sda", bus="scsi"),))
NVME = Names(
    GUEST,
    (Disk(id="sda", bus="nvme", slot="nvme0:0"), Disk(id="sdb", bus="scsi")),
)
TWO = Names(
    GUEST,
    (
        Disk(id="sda", bus="scsi", slot="scsi0:0", serial="first"),
        Disk(id="sdb", bus="scsi", slot="scsi0:2", serial="0123456789012345678901234"),
    ),
)


@pytest.mark.parametrize(
    ("names", "name", "meant"),
    [
        (ONE, "/dev/sda1", "UUID=u-a1"),
        (ONE, "/dev/hda1", "UUID=u-a1"),
        (ONE, "/dev/xvda1", "UUID=u-a1"),
        (ONE, "/dev/sdb1", None),  # the VM has one disk
        (ONE, "/dev/disk/by-id/scsi-36000c29abc-part1", "UUID=u-a1"),
        (ONE, "/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:0:0-part2", "UUID=u-a2"),
        (ONE, "/dev/disk/by-id/dm-name-vg-root", None),
        (ONE, "/dev/disk/by-uuid/1234", None),
        (ONE, "/dev/mapper/vg-root", None),
        # A disk on NVMe has no letter, so the first that has is the VM's second.
        (NVME, "/dev/nvme0n1p1", "UUID=u-a1"),
        (NVME, "/dev/sda1", "UUID=u-b1"),
        (NVME, "/dev/disk/by-id/scsi-1-part1", None),  # of which disk?
        (TWO, "/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:0:0-part1", "UUID=u-a1"),
        (TWO, "/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:2:0-part1", "UUID=u-b1"),
        (TWO, "/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:1:0-part1", None),
        (TWO, "/dev/disk/by-id/ata-QEMU_HARDDISK_first-part1", "UUID=u-a1"),
        (TWO, "/dev/disk/by-id/virtio-01234567890123456789-part1", "UUID=u-b1"),
        (TWO, "/dev/disk/by-id/virtio-0123456789-part1", None),
    ],
)
def test_a_name_means_what_the_machine_had_there(
    names: Names, name: str, meant: str | None
) -> None:
    assert names.stable(name) == meant


TWO_OF_SUSE = Guest(
    filesystems=(
        Filesystem(device="/dev/sda1", type="ext4", uuid="u-a1"),
        Filesystem(device="/dev/sdb1", type="swap", uuid="u-b1"),
        Filesystem(device="/dev/sdb2", type="ext4", uuid="u-b2", mountpoint="/"),
    )
)
BY_ID = "/dev/disk/by-id/scsi-36000c29"
BY_PATH = "/dev/disk/by-path/pci-0000:00:10.0-scsi-0:0:0:0"


@pytest.mark.parametrize("link", [f"{BY_ID}aaaa", BY_PATH])
def test_a_link_to_the_root_tells_the_disk_of_several(link: str) -> None:
    """SLES 10 to 12 write such links, for swap and the kernel's root= as well."""
    names = Names(TWO_OF_SUSE, (Disk(id="sda"), Disk(id="sdb")))
    names.learn(f"{link}-part2 / ext4 acl 1 1\n")
    assert names.stable(f"{link}-part2") == "UUID=u-b2"
    assert names.stable(f"{link}-part1") == "UUID=u-b1"
    assert names.virtio(link) == "/dev/vdb"
    other = link.replace("c29aaaa", "c29bbbb").replace("0:0:0:0", "0:0:1:0")
    assert names.stable(f"{other}-part1") == "UUID=u-a1"
    assert names.stable(f"{other}-part2") is None
    # Whose these are nobody said.
    assert names.stable("/dev/disk/by-id/scsi-SVMware_x-part1") is None
    assert names.stable("/dev/disk/by-id/wwn-0x6000c29b-part1") is None
    assert names.stable("/dev/sda1") == "UUID=u-a1"


def test_of_three_disks_a_link_does_not_tell_the_other() -> None:
    names = Names(TWO_OF_SUSE, (Disk(id="sda"), Disk(id="sdb"), Disk(id="sdc")))
    names.learn(f"{BY_ID}aaaa-part2 / ext4 acl 1 1\n")
    assert names.stable(f"{BY_ID}aaaa-part1") == "UUID=u-b1"
    assert names.stable(f"{BY_ID}bbbb-part1") is None


def test_a_link_to_another_partition_than_the_roots_tells_nothing() -> None:
    names = Names(TWO_OF_SUSE, (Disk(id="sda"), Disk(id="sdb")))
    names.learn(f"{BY_ID}aaaa-part1 / ext4 acl 1 1\n")
    assert names.stable(f"{BY_ID}aaaa-part1") is None


def test_comments_stay_and_only_whole_names_are_replaced() -> None:
    text = (
        "# RESUME=/dev/sda2 was here\n"
        "RESUME=/dev/sda2\n"
        "x /dev/sda1,/dev/sda2 /dev/sda22 /x/dev/sda1 /dev/sda1-old\n"
    )
    assert ONE.replaced(text) == (
        "# RESUME=/dev/sda2 was here\n"
        "RESUME=UUID=u-a2\n"
        "x UUID=u-a1,UUID=u-a2 /dev/sda22 /x/dev/sda1 /dev/sda1-old\n"
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "/dev/sdq1 /srv ext4 defaults 0 2\n",
            "/dev/sdq1 /srv ext4 defaults,nofail,x-systemd.device-timeout=10 0 2\n",
        ),
        (
            "/dev/disk/by-id/wwn-0 no swap sw 0 0\n",
            "/dev/disk/by-id/wwn-0 no swap sw,nofail,x-systemd.device-timeout=10 0 0\n",
        ),
        (
            ".host:/ /mnt/hgfs fuse.vmhgfs-fuse allow_other 0 0\n",
            ".host:/ /mnt/hgfs fuse.vmhgfs-fuse allow_other,nofail 0 0\n",
        ),
        ("/dev/sdq1 / ext4 defaults 0 1\n", None),
        ("/dev/sdq1 /srv ext4 nofail 0 2\n", None),
        ("/dev/sdq1 /srv ext4 noauto,user 0 2\n", None),
        ("#/dev/sdq1 /srv ext4 defaults 0 2\n", None),
        ("UUID=1 /srv ext4 defaults 0 2\n", None),
        ("/dev/mapper/vg-srv /srv ext4 defaults 0 2\n", None),
        ("/dev/disk/by-id/dm-name-vg-srv /srv ext4 defaults 0 2\n", None),
    ],
)
def test_a_disk_that_cannot_be_told_must_not_hold_up_the_boot(
    before: str, after: str | None
) -> None:
    assert stable._guarded(before) == (after or before)


@pytest.mark.parametrize(
    ("init", "files", "after"),
    [
        ("systemd", {}, "defaults,nofail,x-systemd.device-timeout=10 1 2\n"),
        # RHEL 6: mount(8) would give the kernel what only systemd's knows.
        ("sysv", {}, "defaults,nofail 1 0\n"),
        ("openrc", {}, "defaults,nofail 1 0\n"),
        # Ubuntu 14.04 waits for a key otherwise.
        ("sysv", {"/sbin/mountall": ""}, "defaults,nobootwait,nofail 1 2\n"),
    ],
)
def test_what_mounts_at_boot_is_told_in_its_own_words(
    init: str, files: dict[str, str], after: str
) -> None:
    fstab = "/dev/sdq1 /srv ext4 defaults 1 2\n"
    there = guest_with({"/etc/fstab": fstab, **files})
    [action] = stable.plan(there, Names(GUEST.having(init=init)))
    action.apply(there)
    assert there.read("/etc/fstab") == f"/dev/sdq1 /srv ext4 {after}"
    assert list(stable.plan(there, Names(GUEST.having(init=init)))) == []


def test_ext3_in_fstab_may_be_ext4_on_the_disk() -> None:
    line = "/dev/sda1 / ext3 defaults 0 1\n"
    assert stable._fstab_line(line, ONE).startswith("UUID=u-a1 / ext3")


def test_grubs_records_follow_the_disk_to_virtio() -> None:
    assert ONE.virtio("/dev/sda") == "/dev/vda"
    assert ONE.virtio("/dev/disk/by-id/ata-VBOX_HARDDISK_1") == "/dev/vda"
    assert NVME.virtio("/dev/sda") == "/dev/vdb"
    assert ONE.virtio("/dev/sdc") == "/dev/sdc"


DEBCONF = """\
Name: grub-pc/install_devices
Template: grub-pc/install_devices
Value: /dev/sda
Owners: grub-pc
Flags: seen

Name: grub2/force_efi_extra_removable
Template: grub2/force_efi_extra_removable
Owners: grub-efi-amd64

Name: other
Template: other
Value: /dev/sda
"""


def test_an_answer_is_changed_and_no_other() -> None:
    after = debconf.changed(DEBCONF, "grub-pc/install_devices", ONE.virtio)
    assert after == DEBCONF.replace(
        "Value: /dev/sda\nOwners", "Value: /dev/vda\nOwners"
    )


def test_a_question_without_an_answer_gets_one() -> None:
    name = "grub2/force_efi_extra_removable"
    after = debconf.changed(DEBCONF, name, lambda _: "true")
    assert f"Template: {name}\nValue: true\nOwners: grub-efi-amd64\n" in after
    assert debconf.changed(after, name, lambda _: "true") == after


def test_answers_that_are_too_many_refuse_no_guest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    there = guest_folder.guest(tmp_path, {debconf.PATH: DEBCONF + " " * MAX_TEXT})
    assert list(debconf.plan(there, "grub-pc/install_devices", str.upper, "")) == []
    assert "grub-pc/install_devices is not answered" in caplog.text
    with pytest.raises(GuestError, match="8 MiB of at most 8") as e:
        there.read(debconf.PATH)
    assert "move it away" in (e.value.remedy or "")
