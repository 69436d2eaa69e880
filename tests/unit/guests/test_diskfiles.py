# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of disks in all the files that have them; section 5.2 of the facts."""

import time

import pytest

from guest_files import done, guest_with, texts
from v2v.document import Disk, Filesystem, Guest
from v2v.guests.linux import diskfiles, stable
from v2v.guests.linux.stable import Names

GUEST = Guest(
    filesystems=(
        Filesystem(device="/dev/sda1", type="ext4", uuid="u1", partuuid="p1"),
        Filesystem(device="/dev/sda2", type="swap", uuid="u2"),
        Filesystem(device="/dev/sda3", type="LVM2_member", uuid="pv", partuuid="p3"),
        Filesystem(device="/dev/sda4", type="unknown", partuuid="p4"),
        Filesystem(device="/dev/sda5", type="crypto_LUKS", uuid="u5"),
        Filesystem(device="/dev/sda6", type="ext4", uuid="twice", partuuid="p6"),
        Filesystem(device="/dev/sda7", type="ext4", uuid="twice", partuuid="p7"),
        Filesystem(device="/dev/sdb", type="btrfs", uuid="b", mountpoint="/"),
        Filesystem(device="/dev/sdb", type="btrfs", uuid="b", mountpoint="/home"),
        Filesystem(device="/dev/sdc", type="btrfs", uuid="b"),
    )
)
NAMES = Names(GUEST, tuple(Disk(id=f"sd{x}") for x in "abc"))

TABLE = [
    # crypttab(5): a source by its UUID, all else by path.
    (
        "/etc/crypttab",
        (
            "# x /dev/sda5 none\nx /dev/sda5 /dev/sda1:/key luks,header=/dev/sda1\n"
            "swap /dev/sda4 /dev/urandom swap\n"
        ),
        (
            "# x /dev/sda5 none\nx UUID=u5 /dev/disk/by-uuid/u1:/key "
            "luks,header=/dev/disk/by-uuid/u1\nswap {p4} /dev/urandom swap\n"
        ),
    ),
    (
        "/etc/initramfs-tools/conf.d/resume",
        "RESUME=/dev/sda2\n",
        "RESUME=UUID=u2\n",
    ),
    (
        "/etc/systemd/system/srv.mount",
        "# What=/dev/sda1\n[Unit]\nAfter=x-/dev/sda1\n[Mount]\nWhat = /dev/sda1\n",
        (
            "# What=/dev/sda1\n[Unit]\nAfter=x-/dev/sda1\n[Mount]\n"
            "What = /dev/disk/by-uuid/u1\n"
        ),
    ),
    (
        "/etc/mdadm/mdadm.conf",
        (
            "# DEVICE /dev/sda9\nDEVICE /dev/sda1 /dev/sdb1\r\n"
            "ARRAY /dev/md0 UUID=1:2:3:4 devices=/dev/sda1,/dev/sdb1 name=x\n"
            "ARRAY /dev/md1 devices=/dev/sda1\n"
        ),
        (
            "# DEVICE /dev/sda9\nDEVICE partitions\r\n"
            "ARRAY /dev/md0 UUID=1:2:3:4 name=x\nARRAY /dev/md1 devices=/dev/sda1\n"
        ),
    ),
    ("/etc/mdadm.conf", "DEVICE /dev/sd*[0-9] x\n", "DEVICE partitions\n"),
    ("/etc/mdadm.conf", "DEVICE partitions containers\n", None),
    (
        "/etc/multipath/wwids",
        "# Valid WWIDs:\n/36000c29f1c4a9d0b6e0d3a1b2c3d4e5f/\n/3600a098000/\n",
        "# Valid WWIDs:\n/3600a098000/\n",
    ),
    ("/etc/uswsusp.conf", "resume device = /dev/sda2\n", "resume device = {u2}\n"),
    (
        "/etc/kdump.conf",
        "#ext4 /dev/sda1\next4 /dev/sda1\n",
        "#ext4 /dev/sda1\next4 {u1}\n",
    ),
    ("/etc/kdump.conf", "raw /dev/sda4\n", "raw /dev/disk/by-partuuid/p4\n"),
    (
        "/etc/default/kdump-tools",
        'KDUMP_CMDLINE="root=/dev/sda1 irqpoll"\n',
        'KDUMP_CMDLINE="root={u1} irqpoll"\n',
    ),
    ("/etc/sysconfig/rawdevices", "/dev/raw/raw1 /dev/sda4\n", "/dev/raw/raw1 {p4}\n"),
    ("/etc/auto.misc", "data -fstype=ext4 :/dev/sda1\n", "data -fstype=ext4 :{u1}\n"),
    # Only looked at: what they mean cannot be said in another way.
    ("/etc/smartd.conf", "/dev/sda -a\n", None),
    ("/etc/udev/rules.d/60-raw.rules", 'KERNEL=="sdb1", RUN+="raw"\n', None),
]
PATHS = {
    "u1": "/dev/disk/by-uuid/u1",
    "u2": "/dev/disk/by-uuid/u2",
    "p4": "/dev/disk/by-partuuid/p4",
}


@pytest.mark.parametrize(("path", "before", "after"), TABLE)
def test_names_become_identities_and_all_else_stays(
    path: str, before: str, after: str | None
) -> None:
    wanted = before if after is None else after
    for word, name in PATHS.items():
        wanted = wanted.replace(f"{{{word}}}", name)
    running = guest_with({path: before})
    done(running, diskfiles.plan(running, NAMES))
    assert texts(running) == {path: wanted}
    assert list(diskfiles.plan(running, NAMES)) == []


@pytest.mark.parametrize(
    ("name", "stable_name"),
    [
        ("/dev/sda3", "PARTUUID=p3"),  # udev has no by-uuid link for a member
        ("/dev/sda4", "PARTUUID=p4"),
        ("/dev/sda6", "PARTUUID=p6"),  # a copy of another one's file system
        ("/dev/sdb", "UUID=b"),
        ("/dev/sdc", "UUID=b"),  # of the same btrfs
    ],
)
def test_what_is_stable_of_a_device(name: str, stable_name: str) -> None:
    assert NAMES.stable(name) == stable_name


LVM = [
    (
        'filter = [ "a|^/dev/sda3$|", "r|.*|" ]',
        'filter = [ {v}, "a|^/dev/sda3$|", "r|.*|" ]',
    ),
    ('\tglobal_filter=["a/sda/","r/.*/"]', '\tglobal_filter=[ {v}, "a/sda/","r/.*/"]'),
    (
        'filter = [\n\t# "x"\n\t"a|/dev/disk/by-id/scsi-3600.*|",\n\t"r|.*|" ]',
        'filter = [ {v}, \n\t# "x"\n\t"a|/dev/disk/by-id/scsi-3600.*|",\n\t"r|.*|" ]',
    ),
    ('filter = [ "r|/dev/cdrom|" ]', None),
    ('filter = [ "a|.*|" ]', None),
    ('# filter = [ "a|^/dev/sda3$|", "r|.*|" ]', None),
    ('filter = [ "a|/dev/mapper/mpath.*|", "r|.*|" ]', None),
]


@pytest.mark.parametrize(("before", "after"), LVM)
def test_lvm_is_let_see_the_disks_of_virtio(before: str, after: str | None) -> None:
    text = f"devices {{\n{before}\n}}\n"
    wanted = text
    if after:
        wanted = text.replace(before, after.replace("{v}", diskfiles._ACCEPTED))
    assert diskfiles.lvm(text) == wanted
    assert diskfiles.lvm(wanted) == wanted


def test_lists_of_the_old_disks_are_removed() -> None:
    files = {
        "/etc/blkid/blkid.tab": "x",
        "/etc/lvm/cache/.cache": "x",
        "/etc/lvm/devices/system.devices": "IDTYPE=sys_wwid IDNAME=naa.6 PVID=1\n",
        "/etc/lvm/backup/vg": "x",
    }
    running = guest_with(files)
    done(running, diskfiles.plan(running, NAMES))
    assert texts(running) == {"/etc/lvm/backup/vg": "x"}


def test_a_devices_file_that_names_no_hardware_stays() -> None:
    text = "# x\nIDTYPE=crypt_uuid IDNAME=CRYPT-1 DEVNAME=/dev/mapper/x PVID=1\n"
    running = guest_with({"/etc/lvm/devices/system.devices": text})
    assert list(diskfiles.plan(running, NAMES)) == []


def test_grubs_and_suses_records_follow_to_virtio() -> None:
    files = {
        "/boot/grub/device.map": "# (hd0) /dev/sda\n(hd0)\t/dev/sda\n(hd1) /dev/sdb\n",
        "/etc/default/grub_installdevice": "/dev/sda1\nactivate\ngeneric_mbr\n",
        "/etc/sysconfig/grub": "boot=/dev/sda\nforcelba=0\n",
    }
    running = guest_with(files)
    done(running, stable.renames(running, NAMES))
    assert texts(running) == {
        "/boot/grub/device.map": "# (hd0) /dev/sda\n(hd0)\t/dev/vda\n(hd1) /dev/vdb\n",
        "/etc/default/grub_installdevice": "/dev/vda1\nactivate\ngeneric_mbr\n",
        "/etc/sysconfig/grub": "boot=/dev/vda\nforcelba=0\n",
    }


def test_what_is_left_is_said_with_file_and_line() -> None:
    files = {
        "/etc/fstab": "# /dev/sdx1\nUUID=u1 / ext4\n/dev/sdx1 /srv ext4\n",
        "/etc/smartd.conf": "DEVICESCAN\n/dev/sda -a\n",
        "/etc/udev/rules.d/99-oracle-asmdevices.rules": (
            '# KERNEL=="sdb"\nKERNEL=="sd?1", PROGRAM=="/lib/udev/scsi_id -g"\n'
        ),
        "/etc/sysconfig/oracleasm": 'X=1\nORACLEASM_SCANORDER="sd"\n',
        "/etc/crypttab": "x /dev/vda5 none\n",
    }
    found = list(stable.findings(guest_with(files)))
    assert [(f.code, f.message.split()[0]) for f in found] == [
        ("fstab-device-name", "/etc/fstab:3"),
        ("disk-name-left", "/etc/smartd.conf:2"),
        ("disk-name-left", "/etc/sysconfig/oracleasm:2"),
        ("disk-name-left", "/etc/udev/rules.d/99-oracle-asmdevices.rules:2"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "ARRAY UUID=" + " " * 10**6,
        "ARRAY UUID=1" + " devices=" * 10**5,
        'filter = ["a|sda|"\n' * 10**5,
        "DEVICE " + "/dev/sd" * 10**5,
        " " * 10**6 + "x",
        "What=" + "/dev/disk/by-id/" * 10**5,
    ],
)
def test_no_text_takes_long(text: str) -> None:
    start = time.process_time()
    for path in ("/etc/mdadm.conf", "/etc/crypttab", "/etc/lvm/lvm.conf", "/etc/x"):
        diskfiles.corrected(path, text, NAMES)
    diskfiles.unit(text, NAMES)
    diskfiles.multipath(text, NAMES)
    assert time.process_time() - start < 5


def test_the_root_says_in_which_order_the_kernel_met_the_disks() -> None:
    """virt-v2v's users end in a rescue shell there: forklift's pull request 1518."""
    on = (
        Filesystem(device="/dev/sda1", type="ext4", uuid="root", mountpoint="/"),
        Filesystem(device="/dev/sdb1", type="ext4", uuid="data"),
    )
    disks = (Disk(id="sda"), Disk(id="sdb"))
    before = "/dev/sdb1 / ext4 x 0 1\n/dev/sda1 /data ext4 nofail 0 2\n"
    running = guest_with({"/etc/fstab": before})
    names = Names(Guest(filesystems=on), disks)
    done(running, stable.plan(running, names))
    assert texts(running) == {
        "/etc/fstab": "UUID=root / ext4 x 0 1\nUUID=data /data ext4 nofail 0 2\n"
    }
    assert names.stable("/dev/sdb1") == "UUID=root"  # for the boot loader as well
    assert names.virtio("/dev/sdb") == "/dev/vda"


def test_of_three_disks_only_the_roots_is_known_then() -> None:
    on = (
        Filesystem(device="/dev/sda1", type="ext4", uuid="root", mountpoint="/"),
        Filesystem(device="/dev/sdb1", type="ext4", uuid="b"),
        Filesystem(device="/dev/sdc1", type="ext4", uuid="c"),
    )
    names = Names(Guest(filesystems=on), tuple(Disk(id=f"sd{x}") for x in "abc"))
    names.learn("/dev/sdb1 / ext4\n")
    assert names.stable("/dev/sdb1") == "UUID=root"
    assert names.stable("/dev/sda1") is None


def test_grubs_record_of_an_nvme_disk_is_followed() -> None:
    """virt-v2v warned and the guest crashed: its issue 80."""
    on = (Filesystem(device="/dev/sda1", type="ext4", uuid="u1", mountpoint="/"),)
    disks = (Disk(id="sda", bus="nvme", slot="nvme0:0"), Disk(id="sdb", bus="scsi"))
    names = Names(Guest(filesystems=on), disks)
    files = {"/boot/grub2/device.map": "(hd0)   /dev/nvme0n1\n(hd1) /dev/sda\n"}
    running = guest_with(files)
    done(running, stable.renames(running, names))
    assert texts(running) == {
        "/boot/grub2/device.map": "(hd0)   /dev/vda\n(hd1) /dev/vdb\n"
    }
    assert list(stable.renames(running, names)) == []


def test_the_root_on_a_btrfs_with_other_places_says_the_order_as_well() -> None:
    on = (
        Filesystem(device="/dev/sda1", type="btrfs", uuid="u", mountpoint="/"),
        Filesystem(device="/dev/sda1", type="btrfs", uuid="u", mountpoint="/home"),
    )
    names = Names(Guest(filesystems=on), (Disk(id="sda"), Disk(id="sdb")))
    names.learn("/dev/sdb1 / btrfs subvol=@\n")
    assert names.stable("/dev/sdb1") == "UUID=u"


def test_the_roots_own_device_is_no_other_ones_whatever_its_name() -> None:
    """So that a second run does not take a name that the first could not explain."""
    on = (Filesystem(device="/dev/sda1", type="ext4", uuid="root", mountpoint="/"),)
    names = Names(Guest(filesystems=on), tuple(Disk(id=f"sd{x}") for x in "abc"))
    text = "/dev/sdb1 / ext4 x 0 1\n/dev/sda1 /data ext4 nofail 0 2\n"
    running = guest_with({"/etc/fstab": text})
    after = {"/etc/fstab": text.replace("/dev/sdb1", "UUID=root")}
    done(running, stable.plan(running, names))
    assert texts(running) == after
    again = Names(Guest(filesystems=on), names.disks)
    assert list(stable.plan(running, again)) == []


@pytest.mark.parametrize(
    ("options", "after"),
    [
        ("device=/dev/sdb,device=/dev/sdc", "defaults"),
        ("noatime,device=/dev/sdb,subvol=@", "noatime,subvol=@"),
        ("device=/dev/mapper/x,ro", None),
        ("journal_path=/dev/sda2,ro", "journal_path=/dev/disk/by-uuid/u2,ro"),
        ("logdev=/dev/sda4", "logdev=/dev/disk/by-partuuid/p4"),
        ("logdev=/dev/sdq4", None),
    ],
)
def test_devices_in_the_options_of_fstab_are_found_as_well(
    options: str, after: str | None
) -> None:
    """A btrfs that cannot open a device is not mounted: emergency mode."""
    kind = "btrfs" if "device=" in options else "ext4"
    line = f"UUID=b /srv {kind} {{}} 0 2\r\n# {options}\n"
    running = guest_with({"/etc/fstab": line.format(options)})
    done(running, list(stable.plan(running, NAMES)))
    assert running.read("/etc/fstab") == line.format(after or options)
    assert list(stable.plan(running, NAMES)) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x /dev/sdq5 none luks\n", "x /dev/sdq5 none luks,nofail\n"),
        ("x /dev/sdq5 none luks,noauto\n", None),
        ("x /dev/sdq5 none\r\n", "x /dev/sdq5 none nofail\r\n"),
        ("x\t/dev/sdq5", "x\t/dev/sdq5 none nofail"),
        ("x /dev/sda5 none luks\n", "x UUID=u5 none luks\n"),
        ("x UUID=9 none luks # y\n", None),
        ("x /dev/mapper/a none luks\n", None),
        ("# x /dev/sdq5 none luks\n", None),
    ],
)
def test_a_source_that_cannot_be_told_does_not_hold_up_the_boot(
    before: str, after: str | None
) -> None:
    wanted = before if after is None else after
    assert diskfiles.crypttab(before, NAMES) == wanted
    assert diskfiles.crypttab(wanted, NAMES) == wanted


def test_ntfs_has_three_drivers() -> None:
    names = Names(
        Guest(filesystems=(Filesystem(device="/dev/sda1", type="ntfs", uuid="n"),))
    )
    for kind in ("ntfs", "ntfs-3g", "ntfs3", "fuseblk"):
        line = stable._fstab_line(f"/dev/sda1 /mnt {kind} ro 0 0\n", names)
        assert line == f"UUID=n /mnt {kind} ro 0 0\n"
