# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest's boot loader as a whole: found, changed, proved, and not changed again."""

from pathlib import Path

import pytest

from guest_folder import (
    Files,
    applied,
    guest,
    image,
    modules,
    ready,
    tree,
    unified,
    vmlinuz,
)
from v2v.document import Filesystem, Guest
from v2v.errors import GuestError
from v2v.guests.appliance import Appliance
from v2v.guests.linux import boot, drivers, kernels, virtual
from v2v.guests.linux.stable import Names

SYSTEM = Guest(
    type="linux",
    root="/dev/sda2",
    filesystems=(
        Filesystem(device="/dev/sda1", type="ext4", uuid="u1", mountpoint="/boot"),
        Filesystem(device="/dev/sda2", type="ext4", uuid="u2", partuuid="p2"),
        Filesystem(device="/dev/sda3", type="swap", uuid="u3"),
    ),
)
NEW, OLD = "6.1.0", "5.10.0"
CFG = """\
set default="0"
menuentry 'new' --id new {{
  linux /vmlinuz-{new} root={root} ro
  initrd /initrd.img-{new}
}}
menuentry 'old' --id old {{
  linux /vmlinuz-{old} root={root} ro
  initrd /initrd.img-{old}
}}
"""


def kernel(version: str, *, virtio: bool = True) -> Files:
    """Return the files of a kernel whose initramfs is ready for virtio, or not."""
    there = modules(version) if virtio else {f"/lib/modules/{version}/modules.dep": ""}
    return {
        f"/boot/vmlinuz-{version}": vmlinuz(version),
        f"/boot/initrd.img-{version}": ready(version)
        if virtio
        else image({"init": ""}),
        **there,
    }


def fixed(there: Appliance, system: Guest = SYSTEM) -> list[str]:
    """Do what boot and drivers have planned; return the paths that changed."""
    found = system.having(kernels=kernels.found(there))
    names = Names(found)
    actions = [
        *boot.plan(there, names.stable, found),
        *drivers.plan(there, found, names),
    ]
    return applied(there, actions)


def now(there: Appliance) -> Guest:
    found = SYSTEM.having(kernels=kernels.found(there))
    boot.verify(there, renamed=True)
    drivers.verify(found)
    return found


def default(there: Appliance) -> str:
    [found] = [k.version for k in kernels.found(there) if k.default]
    return found


def grub(**said: str) -> Files:
    text = CFG.format(**{"new": NEW, "old": OLD, "root": "UUID=u2", **said})
    return {"/boot/grub/grub.cfg": text}


def test_a_default_without_virtio_gives_way_to_a_kernel_that_has_it(
    tmp_path: Path,
) -> None:
    files = {**grub(), **kernel(NEW, virtio=False), **kernel(OLD)}
    there = guest(tmp_path, files)
    found = SYSTEM.having(kernels=kernels.found(there))
    assert virtual.devices(found, "libvirt", agent=False).block == "virtio"
    [finding] = [
        f for f in boot.findings(there, found) if f.code == "boot-default-unfit"
    ]
    assert OLD in finding.message
    assert fixed(there) == ["/boot/grub/grub.cfg"]
    assert 'set default="old"' in (tmp_path / "boot/grub/grub.cfg").read_text()
    again = kernels.again(there, found.kernels)
    assert [k.version for k in again if k.default] == [OLD]
    drivers.verify(now(there))
    assert fixed(there) == []


def test_a_kernel_that_no_entry_starts_cannot_become_the_default(
    tmp_path: Path,
) -> None:
    files = {**grub(old="gone"), **kernel(NEW, virtio=False), **kernel(OLD)}
    there = guest(tmp_path, files)
    found = SYSTEM.having(kernels=kernels.found(there))
    assert virtual.devices(found, "libvirt", agent=False).block == "sata"
    assert fixed(there) == []


@pytest.mark.parametrize("version", ["5.10.0-rt", "5.10.0-xen", "5.10.0.debug"])
def test_a_special_kernel_is_not_preferred_for_its_drivers(
    version: str, tmp_path: Path
) -> None:
    files = {**grub(old=version), **kernel(NEW, virtio=False), **kernel(version)}
    there = guest(tmp_path, files)
    assert fixed(there) == [] and default(there) == NEW


def test_a_kernel_for_xen_only_is_never_booted_on_kvm(tmp_path: Path) -> None:
    """RHEL 5 with its kernel-xen as the default."""
    xen = "2.6.18-8.el5xen"
    plain = "2.6.18-8.el5"
    menu = f"""\
default=0
title Xen
\tkernel /xen.gz-2.6.18
\tmodule /vmlinuz-{xen} ro root=/dev/sda2 console=xvc0
\tmodule /initrd.img-{xen}
title Plain
\tkernel /vmlinuz-{plain} ro root=/dev/sda2
\tinitrd /initrd.img-{plain}
"""
    config = f"/boot/config-{xen}"
    files = {**kernel(xen), **kernel(plain), config: "CONFIG_X86_64_XEN=y\n"}
    files |= {"/boot/grub/grub.conf": menu, "/boot/grub/menu.lst": "-> ./grub.conf"}
    there = guest(tmp_path, files)
    assert fixed(there) == ["/boot/grub/grub.conf"] * 2
    text = (tmp_path / "boot/grub/grub.conf").read_text()
    assert text == menu.replace("default=0", "default=1").replace(
        "/dev/sda2", "UUID=u2"
    ).replace("xvc0", "ttyS0")
    assert default(there) == plain
    now(there)
    assert fixed(there) == []


def test_a_guest_with_nothing_but_xen_kernels_gets_hardware_of_before(
    tmp_path: Path,
) -> None:
    xen = "3.0.101-xen"
    files = {**grub(new=xen, old="none"), **kernel(xen)}
    found = SYSTEM.having(kernels=kernels.found(guest(tmp_path, files)))
    [kernel_] = found.kernels
    assert kernel_.drivers == ()
    assert virtual.devices(found, "libvirt", agent=False).block == "sata"


def test_the_same_kernel_is_started_without_xen(tmp_path: Path) -> None:
    """As a dom0 of Debian's: its kernel runs on the bare machine as well."""
    text = f"""\
set default="xen"
menuentry 'Debian' --id plain {{
  linux /vmlinuz-{NEW} root=UUID=u2
  initrd /initrd.img-{NEW}
}}
menuentry 'Xen' --id xen {{
  multiboot2 /xen.gz
  module2 /vmlinuz-{NEW} root=UUID=u2
  module2 /initrd.img-{NEW}
}}
"""
    there = guest(tmp_path, {"/boot/grub/grub.cfg": text, **kernel(NEW)})
    found = now(there)
    assert [f.code for f in boot.findings(there, found)] == ["boot-xen-only"]
    assert fixed(there) == ["/boot/grub/grub.cfg"]
    assert 'default="plain"' in (tmp_path / "boot/grub/grub.cfg").read_text()
    assert fixed(there) == [] and list(boot.findings(there, now(there))) == []


def test_photons_link_leads_to_the_kernel_with_virtio(tmp_path: Path) -> None:
    """Its kernel for ESXi has no virtio at all."""
    esx, plain = "6.1-esx", "6.1"
    files = {**kernel(esx, virtio=False), **kernel(plain)}
    for version in (esx, plain):
        files[f"/boot/linux-{version}.cfg"] = (
            f"photon_cmdline=ro root=/dev/sda2\nphoton_linux=vmlinuz-{version}\n"
            f"photon_initrd=initrd.img-{version}\n"
        )
    files["/boot/photon.cfg"] = f"-> linux-{esx}.cfg"
    files["/boot/grub2/grub.cfg"] = (
        "set default=0\nset rootpartition=/dev/sda2\nload_env -f /boot/photon.cfg\n"
        'menuentry "Photon" {\n linux /boot/$photon_linux root=$rootpartition\n}\n'
    )
    there = guest(tmp_path, files)
    changed = fixed(there)
    assert changed[-1] == "/boot/photon.cfg" and len(changed) == 4
    assert (tmp_path / "boot/photon.cfg").readlink().name == f"linux-{plain}.cfg"
    assert "rootpartition=UUID=u2" in (tmp_path / "boot/grub2/grub.cfg").read_text()
    now(there)
    assert fixed(there) == []


def unified_guest(
    tmp_path: Path, initrd: bytes, options: str = "root=UUID=u2 ro"
) -> Appliance:
    data = unified(NEW, initrd, options)
    files: Files = {"/efi/EFI/Linux/arch.efi": data, **modules(NEW)}
    return guest(tmp_path, files)


def test_a_unified_kernel_image_that_is_ready_gets_virtio_and_stays_as_it_is(
    tmp_path: Path,
) -> None:
    there = unified_guest(tmp_path, ready(NEW))
    before = tree(tmp_path)
    found = now(there)
    assert boot.loader(there) == "uki"
    [kernel_] = found.kernels
    assert kernel_.version == NEW and kernel_.default
    assert kernel_.path == kernel_.initramfs == "/efi/EFI/Linux/arch.efi"
    assert virtual.devices(found, "libvirt", agent=False).block == "virtio"
    assert fixed(there) == [] and tree(tmp_path) == before


def test_a_unified_kernel_image_that_is_not_is_never_touched_and_gets_sata(
    tmp_path: Path,
) -> None:
    there = unified_guest(tmp_path, image({"init": "", "usr/bin/udevadm": ""}))
    found = SYSTEM.having(kernels=kernels.found(there))
    assert virtual.devices(found, "libvirt", agent=False).block == "sata"
    [finding] = drivers.findings(found)
    assert "sealed" in finding.message and "anew" in (finding.remedy or "")
    assert fixed(there) == []


def test_a_unified_kernel_image_that_calls_its_root_sda2_stays_where_it_is_sda2(
    tmp_path: Path,
) -> None:
    there = unified_guest(tmp_path, ready(NEW), "root=/dev/sda2 ro")
    found = SYSTEM.having(kernels=kernels.found(there))
    assert virtual.devices(found, "libvirt", agent=False).block == "sata"


@pytest.mark.parametrize(
    "data", [b"MZ", b"MZ" + b"\xff" * 5000, b"MZ" + bytes(58) + b"\x40" + bytes(9000)]
)
def test_what_is_no_unified_kernel_image_is_no_kernel(
    data: bytes, tmp_path: Path
) -> None:
    files: Files = {"/efi/EFI/Linux/a.efi": data, **modules(NEW)}
    assert kernels.found(guest(tmp_path, files)) == ()


def test_a_kernel_alone_is_told_the_uuid_of_its_partition(tmp_path: Path) -> None:
    text = "menuentry 'a' {\n linux /vmlinuz-6.1.0 root=/dev/sda2\n}\n"
    there = guest(tmp_path, {"/boot/grub/grub.cfg": text, **kernel(NEW)})
    assert fixed(there) == ["/boot/grub/grub.cfg"]
    assert "root=PARTUUID=p2" in (tmp_path / "boot/grub/grub.cfg").read_text()


def test_every_file_says_the_same_and_no_other_byte_changes(tmp_path: Path) -> None:
    """Rows 10 and 14 of the users' reports: nothing is generated anew."""
    linux16 = CFG.replace("linux ", "linuxefi ").replace("initrd ", "initrdefi ")
    text = linux16.format(new=NEW, old=OLD, root="/dev/nvme0n1p2")
    files = {
        "/boot/grub/grub.cfg": text,
        "/etc/default/grub": 'GRUB_CMDLINE_LINUX="resume=/dev/sda3"\r\n',
        **kernel(NEW),
        **kernel(OLD),
    }
    there = guest(tmp_path, files)
    from v2v.document import Disk

    nvme = Names(SYSTEM, (Disk(id="sda", bus="nvme", slot="nvme0:0"),))
    found = SYSTEM.having(kernels=kernels.found(there))
    changed = applied(there, boot.plan(there, nvme.stable, found))
    assert changed == ["/boot/grub/grub.cfg"]
    after = (tmp_path / "boot/grub/grub.cfg").read_text()
    assert after == text.replace("/dev/nvme0n1p2", "UUID=u2")


def test_a_root_that_cannot_be_told_is_no_success(tmp_path: Path) -> None:
    there = guest(tmp_path, {**grub(root="/dev/sdq9"), **kernel(NEW), **kernel(OLD)})
    assert fixed(there) == []
    boot.verify(there, renamed=False)
    with pytest.raises(GuestError, match="/dev/sdq9") as e:
        boot.verify(there, renamed=True)
    assert "root=UUID" in (e.value.remedy or "")
    codes = [f.code for f in boot.findings(there, SYSTEM)]
    assert codes == ["boot-device-name"]


@pytest.mark.parametrize("gone", [f"vmlinuz-{NEW}", f"initrd.img-{NEW}"])
def test_a_default_whose_files_are_gone_is_no_success(
    gone: str, tmp_path: Path
) -> None:
    there = guest(tmp_path, {**grub(), **kernel(NEW), **kernel(OLD)})
    (tmp_path / "boot" / gone).unlink()
    with pytest.raises(GuestError, match=gone):
        boot.verify(there, renamed=True)


@pytest.mark.parametrize("name", ["lilo", "zipl"])
def test_a_loader_that_must_be_run_is_left_alone_and_said(
    name: str, tmp_path: Path
) -> None:
    files = {f"/etc/{name}.conf": 'append = "root=/dev/sda2"\n', **kernel(NEW)}
    there = guest(tmp_path, files)
    assert boot.loader(there) == name
    assert fixed(there) == []
    [finding] = boot.findings(there, now(there))
    assert finding.code == "boot-loader-untouched" and name in finding.message


def test_the_files_of_a_loader_may_be_folders_links_or_no_text(tmp_path: Path) -> None:
    text = b"initrd /i\noptions \xff root=/dev/sda2\n"
    files: Files = {
        "/boot/grub/grub.cfg/folder": "",
        "/boot/grub2/grub.cfg": "-> ../../../../../../etc/passwd",
        "/boot/loader/entries/a.conf": b"linux /\xff\n" + text,
        "/boot/extlinux.conf": "-> nowhere.conf",
        **kernel(NEW),
    }
    there = guest(tmp_path, files)
    assert fixed(there) == ["/boot/loader/entries/a.conf"]
    assert (tmp_path / "boot/loader/entries/a.conf").read_bytes() == (
        b"linux /\xff\n" + text.replace(b"/dev/sda2", b"UUID=u2")
    )


def test_kernels_on_the_esp_are_named_by_their_folder(tmp_path: Path) -> None:
    mid = "0123456789abcdef0123456789abcdef"
    files = {
        f"/boot/efi/{mid}/{NEW}/linux": "no x86 kernel",
        f"/boot/efi/{mid}/{NEW}/initrd": ready(NEW),
        f"/boot/efi/loader/entries/{mid}-{NEW}.conf": (
            f"options root=/dev/sda2\nlinux /{mid}/{NEW}/linux\n"
            f"initrd /{mid}/{NEW}/initrd\n"
        ),
        **modules(NEW),
    }
    there = guest(tmp_path, files)
    assert boot.loader(there) == "systemd-boot"
    assert fixed(there) == [f"/boot/efi/loader/entries/{mid}-{NEW}.conf"]
    [found] = now(there).kernels
    assert found.version == NEW and found.default and found.offered


def test_the_loaders_files_are_read_once(tmp_path: Path) -> None:
    there = guest(tmp_path, {**grub(), **kernel(NEW), **kernel(OLD)})
    reads: list[str] = []
    real = there.read
    there.read = lambda path: reads.append(path) or real(path)  # type: ignore
    fixed(there)
    boot.verify(there, renamed=True)
    assert reads.count("/boot/grub/grub.cfg") == 1
