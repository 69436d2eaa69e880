# SPDX-License-Identifier: GPL-2.0-or-later
"""Every form in which a guest's files name a device, and where it is mounted."""

import pytest

from guest_files import guest_with
from v2v.document import Disk
from v2v.guests.devices import Device
from v2v.guests.linux import crypttab, fstab, mounts
from v2v.guests.linux.fstab import Entry
from v2v.guests.linux.resolver import Resolver

ROOT, BOOT, SWAP = "/dev/sda1", "/dev/sda2", "/dev/sdb1"
LV, MD, PLAIN = "/dev/vg-0/root_1", "/dev/md127", "/dev/mapper/sda3_crypt"
ARRAY = "d12b4a1d:00004000:80000000:000000aa"
ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
DEVICES = [
    Device(
        name=ROOT,
        type="ext4",
        uuid="AB12-0001",
        label="my root",
        partition_uuid="0001aaaa-01",
        partition_label="Linux root",
    ),
    Device(name=BOOT, type="xfs", uuid="u-2", label="boot"),
    Device(name=SWAP, type="swap", uuid="u-3"),
    Device(name="/dev/sda3", type="crypto_LUKS", uuid="c0ffee00-1111"),
    Device(name="/dev/sda4", type="ext4", uuid="twice"),
    Device(name="/dev/sda5", type="ext4", uuid="twice", label="my"),
    Device(name=LV, type="ext4", uuid="u-lv"),
    Device(name=MD, type="ext4", uuid="u-md"),
    Device(name=PLAIN, type="ext4", uuid="u-in", container="/dev/sda3"),
]
VG_UUID, LV_UUID = "Vg" + "x" * 30, "Lv" + "Y" * 30
ANSWERS = {
    ("lvuuid", LV): f"{LV_UUID[:6]}-{LV_UUID[6:10]}-{LV_UUID[10:]}",
    ("vguuid", "vg-0"): f"{VG_UUID[:6]}-{VG_UUID[6:]}",
    ("md_detail", MD): {"uuid": ARRAY, "name": "web:0"},
}
FILES = {
    "/etc/mdadm/mdadm.conf": f"# ARRAY /dev/md9\nARRAY /dev/md7\n  UUID={ARRAY}\n",
    "/etc/crypttab": "# x\nhome UUID=c0ffee00-1111 none\nloop /dev/mapper/loop -\n",
}


def resolver(*disks: Disk) -> Resolver:
    return Resolver(guest_with(FILES, answers=ANSWERS), DEVICES, disks)


@pytest.mark.parametrize(
    ("spec", "meant"),
    [
        ("UUID=AB12-0001", ROOT),
        ("UUID=ab12-0001", ROOT),
        ('UUID="AB12-0001"', ROOT),
        ("UUID=twice", None),
        ("UUID=", None),
        ("LABEL='my root'", ROOT),
        ("LABEL=boot", BOOT),
        ("LABEL=BOOT", None),
        ("PARTUUID=0001aaaa-01", ROOT),
        ('PARTLABEL="Linux root"', ROOT),
        ("ID=x", None),
        ("/dev/disk/by-uuid/u-2", BOOT),
        (r"/dev/disk/by-label/my\x20root", ROOT),
        ("/dev/disk/by-partuuid/0001aaaa-01", ROOT),
        (r"/dev/disk/by-partlabel/Linux\x20root", ROOT),
        ("/dev/sda2", BOOT),
        ("/dev/hda2", BOOT),
        ("/dev/xvda2", BOOT),
        ("/dev/vdb1", SWAP),
        ("/dev/nvme0n1p2", BOOT),
        ("/dev/cciss/c0d1p1", SWAP),
        (LV, LV),
        ("/dev/mapper/vg--0-root_1", LV),
        ("/dev/disk/by-id/dm-name-vg--0-root_1", LV),
        (f"/dev/disk/by-id/dm-uuid-LVM-{VG_UUID}{LV_UUID}", LV),
        (f"/dev/disk/by-id/dm-uuid-LVM-{LV_UUID}{LV_UUID}", None),
        (PLAIN, PLAIN),
        ("/dev/mapper/home", PLAIN),  # by crypttab, whatever it is called here
        ("/dev/disk/by-id/dm-name-home", PLAIN),
        ("/dev/mapper/loop", None),
        ("/dev/md7", MD),  # by mdadm.conf
        ("/dev/md/7", MD),
        ("/dev/md0", MD),  # by the array's own name
        ("/dev/md/0", MD),
        ("/dev/md5", None),
        (f"/dev/disk/by-id/md-uuid-{ARRAY}", MD),
        ("/dev/disk/by-id/md-name-web:0", MD),
        ("/dev/root", None),
        ("/dev/dm-0", None),
        ("tmpfs", None),
        ("//server/share", None),
        ("", None),
    ],
)
@pytest.mark.report("https://github.com/libguestfs/libguestfs/pull/187")
def test_what_a_name_means(spec: str, meant: str | None) -> None:
    found = resolver().device(spec)
    assert (found and found.name) == meant


def test_an_encrypted_device_is_known_by_dms_own_link() -> None:
    uuid = "c0ffee00111122223333444455556666"
    devices = [
        Device(name="/dev/sda3", type="crypto_LUKS", uuid=uuid),
        Device(name=PLAIN, type="ext4", container="/dev/sda3"),
    ]
    spec = f"/dev/disk/by-id/dm-uuid-CRYPT-LUKS2-{uuid}-home"
    found = Resolver(guest_with(), devices).device(spec)
    assert found and found.name == PLAIN


def test_links_of_hardware_are_clear_where_there_is_one_disk() -> None:
    spec = "/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:0:0-part2"
    found = resolver(Disk(id="sda")).device(spec)
    assert found and found.name == BOOT
    assert resolver(Disk(id="sda"), Disk(id="sdb")).device(spec) is None


def test_an_old_ide_drivers_letter_is_the_place_on_the_cable() -> None:
    disks = (Disk(id="sda", bus="scsi"), Disk(id="sdb", bus="ide", slot="ide1:0"))
    assert resolver(*disks).device("/dev/hdc1").name == SWAP  # type: ignore[union-attr]
    assert resolver(*disks).device("/dev/hda1") is None


FSTAB = r"""
# /dev/sda9 /none ext4
UUID=AB12-0001	/	ext4	errors=remount-ro	0 1
/dev/sda2 / xfs
LABEL=boot /boot xfs defaults,noauto 0 2
/dev/md0 /srv/my\040files ext4
/dev/vg-0/root_1 /data ext4 noauto 0 0
/srv/my\040files /mnt none bind 0 0
UUID=u-3 none swap sw 0 0
/dev/hda1 /again ext4
/dev/sda2 /../etc xfs
/dev/sda2 /proc/x xfs
/dev/fd0 /media/floppy auto
x
"""


def test_fstab_is_read_as_mount_reads_it() -> None:
    entries = list(fstab.parsed(FSTAB))
    assert [e.point for e in entries] == [
        *("/", "/", "/boot", "/srv/my files", "/data", "/mnt", "/again"),
        "/media/floppy",
    ]
    assert entries[0] == Entry(
        spec="UUID=AB12-0001", point="/", type="ext4", options=("errors=remount-ro",)
    )
    assert entries[5].is_bind and not entries[0].is_bind


def test_where_file_systems_belong() -> None:
    unit = "[Mount]\n#What=x\nWhat=/dev/disk/by-uuid/u-in\nWhere=/home\nType=ext4\n"
    files = {**FILES, "/etc/fstab": FSTAB, "/etc/systemd/system/home.mount": unit}
    running = guest_with(files, answers=ANSWERS)
    points = mounts.points(running, ROOT, DEVICES, Resolver(running, DEVICES))
    assert points == {
        "/": ROOT,
        "/boot": BOOT,
        "/srv/my files": MD,
        "/home": PLAIN,
    }


@pytest.mark.parametrize("folder", ["/efi", "/boot"])
def test_without_any_fstab_partition_types_say_it(folder: str) -> None:
    devices = [
        Device(name="/dev/sda1", type="vfat", partition_type=ESP),
        Device(name="/dev/sda2", type="ext4"),
        Device(
            name="/dev/sda3",
            type="ext4",
            partition_type="933ac7e1-2eb4-4f13-b844-0e14e2aef915",
        ),
        Device(name="/dev/sdb1", type="vfat", partition_type=ESP),
    ]
    running = guest_with({f"{folder}/": "", "/home/": "", "/etc/os-release": ""})
    points = mounts.points(running, "/dev/sda2", devices, Resolver(running, devices))
    assert points == {"/": "/dev/sda2", "/home": "/dev/sda3", folder: "/dev/sda1"}


def test_what_v2v_opened_is_called_as_the_guest_calls_it() -> None:
    text = (
        "# a UUID=c0ffee00-1111\nsda3_crypt /dev/sda3 none luks\n"
        "a;reboot UUID=c0ffee00-1111\nx UUID=u-2\n"
    )
    assert crypttab.names(text, resolver()) == [("/dev/sda3", "sda3_crypt")]


def test_a_key_in_the_tpm_is_said_to_stay_behind() -> None:
    text = (
        "# a UUID=1 - tpm2-device=auto\nroot UUID=1 none luks,tpm2-device=auto\n"
        "home UUID=2 /key luks\nshort UUID=3\n"
    )
    assert crypttab.sealed(guest_with({"/etc/crypttab": text})) == ["root"]
    line = "linux /vmlinuz root=/dev/mapper/x rd.luks.options=tpm2-device=auto\n"
    assert crypttab.sealed(guest_with({"/boot/grub/grub.cfg": line})) == [
        "the kernel's command line"
    ]


def test_a_link_to_the_root_tells_where_boot_is() -> None:
    asked = resolver(Disk(id="sda"), Disk(id="sdb"))
    link = "/dev/disk/by-id/scsi-36000c29aaaa-part"
    assert asked.device(f"{link}2") is None
    asked.learn(f"{link}1", ROOT)
    assert asked.device(f"{link}2") == DEVICES[1]
