# SPDX-License-Identifier: GPL-2.0-or-later
"""What an initramfs holds and lacks, and whether its kernel would boot."""

import pytest

from some_kernel import VIRTIO, kernel
from v2v.document import Guest
from v2v.errors import GuestError
from v2v.guests.linux import drivers, initramfs, kernels
from v2v.guests.linux.initramfs import Initramfs
from v2v.guests.linux.stable import Names


def test_a_guest_without_virtio_is_said_to_be_one() -> None:
    guest = Guest(type="linux", kernels=(kernel("ahci", default=True),))
    [finding] = drivers.findings(guest)
    assert (finding.code, finding.severity) == ("kernel-without-virtio", "warn")


def test_what_would_not_boot_is_no_success() -> None:
    guest = Guest(type="linux", kernels=(kernel(*VIRTIO, early=("virtio_pci",)),))
    with pytest.raises(GuestError, match="virtio_blk"):
        drivers.verify(guest)


def test_a_second_kernel_that_would_not_boot_is_only_said() -> None:
    good = kernel(*VIRTIO, early=VIRTIO, default=True)
    bad = kernel(*VIRTIO, "ahci")
    guest = Guest(type="linux", kernels=(good, bad))
    drivers.verify(guest)
    assert [f.code for f in drivers.findings(guest)] == ["initramfs-without-virtio"]


def test_old_names_that_were_built_into_the_initramfs_are_found() -> None:
    from v2v.document import Filesystem

    guest = Guest(filesystems=(Filesystem(device="/dev/sda2", type="swap", uuid="s"),))
    there = Initramfs(
        texts={
            "conf/conf.d/resume": b"RESUME=/dev/sda2\n",
            "conf/conf.d/other": b"\xffBINARY=1\n",
            "lib/modules/6.1/modules.dep": b"/dev/sda2",
        }
    )
    assert dict(drivers._stale(there, Names(guest))) == {
        "conf/conf.d/resume": b"RESUME=UUID=s\n"
    }


def test_a_module_that_the_index_does_not_name_cannot_be_loaded() -> None:
    """libkmod and udev go by modules.dep: a copied .ko alone is nothing."""
    folder = "usr/lib/modules/6.1"
    there = Initramfs(
        names={f"{folder}/kernel/virtio_blk.ko", f"{folder}/kernel/virtio_pci.ko"},
        links={"lib": "usr/lib"},
        texts={f"{folder}/modules.dep": b"kernel/virtio_pci.ko:\n"},
    )
    assert there.modules("6.1") == {"virtio_pci"}


def test_modules_of_another_kernel_do_not_count() -> None:
    there = Initramfs(names={"lib/modules/5.10/kernel/virtio_blk.ko"})
    assert there.modules("6.1") == set()
    assert there.modules() == {"virtio_blk"}


def test_a_broken_index_of_modules_does_no_harm() -> None:
    dep = {"virtio_blk": "kernel/virtio_blk.ko: kernel/gone.ko kernel/virtio_blk.ko"}
    assert kernels.lacking(["virtio_blk"], set(), dep, {"virtio_blk"}) == {"gone"}


def test_the_texts_of_an_image_are_kept() -> None:
    data = initramfs._entry(1, "conf/conf.d/resume", 0o100644, b"RESUME=x")
    data += initramfs._entry(2, "TRAILER!!!", 0, b"")
    assert initramfs.parse(data).texts == {"conf/conf.d/resume": b"RESUME=x"}
