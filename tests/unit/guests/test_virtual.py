# SPDX-License-Identifier: GPL-2.0-or-later
"""Which hardware a guest gets, by the drivers of the kernel that is booted."""

from pathlib import Path

import pytest

from guest_folder import (
    BASE,
    DISK,
    Files,
    applied,
    guest,
    image,
    modules,
    put,
    vmlinuz,
)
from some_kernel import VIRTIO, kernel
from v2v.document import Guest, Kernel
from v2v.guests.linux import drivers, initramfs, kernels, system, virtual
from v2v.guests.linux.stable import Names

VERSION = "5.4.0"


def devices(*all_: Kernel) -> tuple[str, str, str]:
    guest = Guest(type="linux", kernels=all_)
    found = virtual.devices(guest, "libvirt", agent=True)
    return found.block, found.net, found.machine


def test_virtio_is_taken_where_the_kernel_has_it_even_if_its_initramfs_does_not() -> (
    None
):
    assert devices(kernel(*VIRTIO)) == ("virtio", "virtio", "q35")


def test_an_old_kernel_that_is_not_booted_does_not_decide() -> None:
    assert devices(kernel(*VIRTIO, default=True), kernel("ahci")) == (
        *("virtio", "virtio"),
        "q35",
    )


def test_without_a_known_default_all_kernels_decide() -> None:
    assert devices(kernel(*VIRTIO), kernel("ahci", early=("ahci",)))[0] == "sata"


def test_without_virtio_the_drivers_in_the_initramfs_choose_the_bus() -> None:
    assert devices(kernel("ahci", "e1000", early=("ahci",))) == ("sata", "e1000", "q35")
    old = kernel("ata_piix", "e1000", early=("ata_piix",))
    assert devices(old) == ("ide", "e1000", "pc")


@pytest.mark.parametrize(
    ("version", "old"),
    [
        ("3.16.0-4-amd64", True),
        ("2.6.32-754.el6.x86_64", True),
        ("3.10.0-1160.el7.x86_64", False),
        ("4.9.0-19-amd64", False),
        ("6.1.0-56-cloud-amd64", False),
    ],
)
def test_a_kernel_of_before_virtio_1_gets_transitional_devices(
    version: str, old: bool
) -> None:
    there = kernel(*VIRTIO).having(version=version)
    guest = Guest(type="linux", kernels=(there,))
    assert virtual.devices(guest, "libvirt", agent=True).transitional is old


def given(*there: str, disks: int = 1) -> dict[str, object]:
    made = Guest(type="linux", kernels=(kernel(*there),))
    return virtual.devices(made, "libvirt", agent=True, disks=disks).model_dump()


def test_more_than_twenty_disks_go_on_one_scsi_controller() -> None:
    able = (*VIRTIO, "virtio_scsi", "sd_mod")
    assert given(*able, disks=20)["block"] == "virtio"
    assert given(*able, disks=21)["block"] == "scsi"
    assert given(*VIRTIO, "virtio_scsi", disks=21)["block"] == "virtio"


@pytest.mark.parametrize(
    ("there", "card"),
    [
        (("e1000", "e1000e"), "e1000e"),
        (("e1000", "8139cp"), "e1000"),
        (("8139too",), "rtl8139"),
        ((), "e1000e"),
    ],
)
def test_without_virtio_the_card_is_one_that_the_kernel_drives(
    there: tuple[str, ...], card: str
) -> None:
    assert given("virtio_blk", "virtio_pci", *there)["net"] == card
    assert given("ahci", *there)["net"] == card


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        (("pvpanic",), True),  # before Linux 5.14
        (("pvpanic", "pvpanic_mmio", "pvpanic_pci"), True),
        (("pvpanic", "pvpanic_pci"), False),
        ((), False),
    ],
)
def test_a_panic_is_reported_where_the_kernel_has_the_isa_driver(
    there: tuple[str, ...], wanted: bool
) -> None:
    assert given(*VIRTIO, *there)["pvpanic"] is wanted


def test_sockets_to_the_host_want_the_guests_own_driver() -> None:
    assert given(*VIRTIO)["vsock"] is False
    assert given(*VIRTIO, "vmw_vsock_virtio_transport")["vsock"] is True


def test_a_kernel_without_virtio_gets_the_driver_of_the_emulated_disk(
    tmp_path: Path,
) -> None:
    """Installed on pvscsi, its initramfs has no ahci; its kernel has."""
    folder = f"/lib/modules/{VERSION}"
    there = guest(
        tmp_path,
        {
            f"/boot/vmlinuz-{VERSION}": vmlinuz(VERSION),
            f"/boot/initrd.img-{VERSION}": image(BASE),
            f"{folder}/modules.dep": "kernel/ahci.ko: kernel/libahci.ko\n"
            "kernel/libahci.ko:\nkernel/sd_mod.ko:\n",
            **{f"{folder}/kernel/{n}.ko": n for n in ("ahci", "libahci", "sd_mod")},
        },
    )
    found = Guest(type="linux", kernels=kernels.found(there))
    made = virtual.devices(found, "libvirt", agent=False)
    assert made.block == "sata"
    needed = virtual.needed(made)
    paths = applied(there, drivers.plan(there, found, Names(found), needed))
    assert paths == [f"/boot/initrd.img-{VERSION}"]
    [now] = kernels.again(there, found.kernels)
    assert set(needed) <= set(now.initramfs_drivers)
    drivers.verify(found.having(kernels=(now,)), needed)


def test_many_disks_are_found_by_an_initramfs_that_had_only_virtio_blk(
    tmp_path: Path,
) -> None:
    files: Files = modules(VERSION)
    folder = f"/lib/modules/{VERSION}"
    early = {k.lstrip("/"): v for k, v in files.items() if "virtio_net" not in k}
    there = guest(
        tmp_path,
        {
            **files,
            f"/boot/vmlinuz-{VERSION}": vmlinuz(VERSION),
            f"/boot/initrd.img-{VERSION}": image({**BASE, **early}),
        },
    )
    put(tmp_path, f"{folder}/kernel/virtio_scsi.ko", "x")
    put(tmp_path, f"{folder}/kernel/sd_mod.ko", "x")
    with (tmp_path / folder.lstrip("/") / "modules.dep").open("a") as file:
        file.write("kernel/virtio_scsi.ko: kernel/virtio.ko\nkernel/sd_mod.ko:\n")
    found = Guest(type="linux", kernels=kernels.found(there))
    assert set(DISK) <= set(found.kernels[0].drivers) | {"virtio", "virtio_ring"}
    made = virtual.devices(found, "libvirt", agent=False, disks=24)
    assert made.block == "scsi"
    needed = virtual.needed(made)
    applied(there, drivers.plan(there, found, Names(found), needed))
    data = (tmp_path / f"boot/initrd.img-{VERSION}").read_bytes()
    assert {"virtio_scsi", "sd_mod"} <= initramfs.parse(data).modules(VERSION)


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({"/etc/adjtime": "0.0 0 0.0\n0\nUTC\n"}, "utc"),
        ({"/etc/adjtime": "0.0 0 0.0\n0\nLOCAL\n"}, "localtime"),
        ({"/etc/sysconfig/clock": 'ZONE="Europe/Berlin"\nUTC=false\n'}, "localtime"),
        ({"/etc/sysconfig/clock": 'HWCLOCK="--localtime"\n'}, "localtime"),
        ({"/etc/sysconfig/clock": 'HWCLOCK="-u"\n'}, None),
        ({"/etc/default/rcS": "#UTC=no\nUTC=no\n"}, "localtime"),
        ({"/etc/default/rcS": "#UTC=no\nUTC=yes\n"}, None),
        ({}, None),
    ],
)
def test_the_clock_is_what_the_guest_takes_it_for(
    files: Files, wanted: str | None, tmp_path: Path
) -> None:
    assert system.clock(guest(tmp_path, files)) == wanted
