# SPDX-License-Identifier: GPL-2.0-or-later
"""LVM on LUKS, btrfs subvolumes and an mdadm array, in one appliance."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

import luks_image
from served_image import served
from v2v.errors import GuestError
from v2v.guests import appliance, inspection
from v2v.guests.appliance import Appliance
from v2v.guests.encryption import Key
from v2v.guests.inspection import Asked

MIB = 2**20
PASSPHRASE = "open sesame"
RIGHT = (Key(selector="all", secret=PASSPHRASE),)
WRONG = (Key(selector="/dev/sda", secret="x"),)
ON_LUKS, ON_BTRFS = "/dev/vg/root", "btrfsvol:/dev/sdb/@"
ROOT = {
    "/bin/": "",
    "/etc/os-release": "ID=made\n",
    "/boot/vmlinuz-1": "x",
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    """An appliance with four disks: sda LUKS, sdb btrfs, sdc and sdd a mirror."""
    folder = tmp_path_factory.mktemp("layouts")
    with ExitStack() as stack:
        uris = []
        for name, size in (("a", 96), ("b", 256), ("c", 32), ("d", 32)):
            image = folder / f"{name}.img"
            image.touch()
            os.truncate(image, size * MIB)
            if name == "a":
                luks_image.made(image, PASSPHRASE, size)
            uris.append(stack.enter_context(served(image, folder / f"{name}.sock")))
        made = stack.enter_context(appliance.opened(uris, write=True, unlocks=True))
        _make_encrypted(made.g)
        _make_btrfs(made.g)
        _make_mirror(made.g)
        yield made


def _make_encrypted(g: Any) -> None:
    g.cryptsetup_open("/dev/sda", PASSPHRASE, "making")
    g.pvcreate("/dev/mapper/making")
    g.vgcreate("vg", ["/dev/mapper/making"])
    g.lvcreate("root", "vg", 48)
    g.mkfs("ext4", ON_LUKS)
    crypttab = f"pv_crypt UUID={g.luks_uuid('/dev/sda')} none luks\n"
    fstab = f"{ON_LUKS} / ext4 defaults 0 1\n/dev/md7 /srv ext4 defaults 0 2\n"
    _fill(g, ON_LUKS, {**ROOT, "/etc/fstab": fstab, "/etc/crypttab": crypttab})
    close(g)


def close(g: Any) -> None:
    g.umount_all()
    opened = g.list_dm_devices()
    if "vg" in g.vgs():
        g.vg_activate_all(False)
    for name in opened:
        g.cryptsetup_close(name)


def _make_btrfs(g: Any) -> None:
    g.mkfs_btrfs(["/dev/sdb"])
    g.mount("/dev/sdb", "/")
    for path in ("/@", "/@home", "/@/.snapshots"):
        g.btrfs_subvolume_create(path)
    g.mkdir("/@/home")
    g.umount_all()
    uuid = g.vfs_uuid("/dev/sdb")
    fstab = (
        f"UUID={uuid} / btrfs subvol=@ 0 0\nUUID={uuid} /home btrfs subvol=@home 0 0\n"
    )
    _fill(g, ON_BTRFS, {**ROOT, "/etc/fstab": fstab, "/.snapshots/1/": ""})
    g.mount(ON_BTRFS, "/")
    g.btrfs_subvolume_snapshot("/", "/.snapshots/1/snapshot")
    g.umount_all()


def _make_mirror(g: Any) -> None:
    g.md_create("made", ["/dev/sdc", "/dev/sdd"], level="raid1")
    [array] = g.list_md_devices()
    g.mkfs("ext4", array)
    uuid = g.md_detail(array)["uuid"]
    g.mount(ON_BTRFS, "/")
    g.write("/etc/mdadm.conf", f"ARRAY /dev/md7 UUID={uuid}\n".encode())
    g.mkdir("/srv")
    g.write("/etc/fstab", g.read_file("/etc/fstab") + b"/dev/md7 /srv ext4\n")
    g.umount_all()


def _fill(g: Any, device: str, files: dict[str, str]) -> None:
    g.mount(device, "/")
    for path, text in files.items():
        g.mkdir_p(path.rpartition("/")[0])
        if text:
            g.write(path, text.encode())
    g.umount_all()


@pytest.fixture(autouse=True)
def closed(running: Appliance) -> Iterator[None]:
    yield
    running.known.clear()
    close(running.g)


def points(running: Appliance, asked: Asked) -> dict[str, str]:
    guest = inspection.inspect(running, asked)
    return {f.mountpoint: f.device for f in guest.filesystems if f.mountpoint}


@pytest.mark.parametrize("keys", [(), WRONG])
def test_without_its_key_a_disk_is_left_alone(
    running: Appliance, keys: tuple[Key, ...]
) -> None:
    guest, found = inspection.look(running, Asked(keys=keys))
    assert guest.roots == (ON_BTRFS,)
    assert [f.code for f in found] == ["guest-data-encrypted"]
    assert "/dev/sda" in found[0].message
    array = running.g.list_md_devices()[0]
    assert {f.mountpoint: f.device for f in guest.filesystems if f.mountpoint} == {
        "/": "/dev/sdb",
        "/home": "/dev/sdb",
        "/srv": array,
    }


def test_a_system_in_lvm_on_luks_is_found_and_named_as_crypttab_says(
    running: Appliance,
) -> None:
    guest = inspection.inspect(running, Asked(root=ON_LUKS, keys=RIGHT))
    assert guest.root == ON_LUKS
    assert guest.roots == (ON_LUKS, ON_BTRFS)
    inside = {f.device: f.container for f in guest.filesystems if f.container}
    assert inside == {"/dev/mapper/pv_crypt": "/dev/sda"}
    assert inspection.findings(running, guest) == []


def test_two_systems_of_which_none_is_clear_are_both_named(running: Appliance) -> None:
    with pytest.raises(GuestError, match="several systems") as caught:
        inspection.inspect(running, Asked(keys=RIGHT))
    assert ON_LUKS in caught.value.message and ON_BTRFS in caught.value.message


@pytest.mark.parametrize("name", [ON_BTRFS, "/dev/sdb"])
def test_a_subvolume_can_be_asked_for(running: Appliance, name: str) -> None:
    found = points(running, Asked(root=name, keys=RIGHT))
    assert (found["/"], found["/home"]) == ("/dev/sdb", "/dev/sdb")


def test_a_root_that_is_not_there_is_refused(running: Appliance) -> None:
    with pytest.raises(GuestError, match="there is no system on /dev/sdc"):
        inspection.inspect(running, Asked(root="/dev/sdc"))


def test_a_system_that_was_in_use_later_is_taken(running: Appliance) -> None:
    g: Any = running.g
    g.mount(ON_BTRFS, "/")
    g.mkdir_p("/var/log")
    g.write("/var/log/wtmp", b"x")
    g.umount_all()
    assert inspection.inspect(running, Asked(keys=RIGHT)).root == ON_BTRFS


def test_braces_find_each_file_once(running: Appliance) -> None:
    running.g.mount(ON_BTRFS, "/")
    found = running.glob("/{etc/os-release,etc/nothing,boot/{vmlinuz,initrd}-*}")
    assert found == ["/boot/vmlinuz-1", "/etc/os-release"]
