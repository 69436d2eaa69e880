# SPDX-License-Identifier: GPL-2.0-or-later
"""What users of other converters reported, and what becomes of such guests here.

The reports are those of section 11 of the facts on Linux guests (../shared/facts).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

import golden
import phony
from golden import Fixed
from guest_folder import Folder
from phony import Phony
from v2v.guests.linux import initramfs

report = pytest.mark.report


class Converted:
    """A phony guest after fixup: ``was`` and ``now`` are the texts of its files."""

    def __init__(self, guest: Phony, folder: Path) -> None:
        self.appliance = phony.opened(guest, folder)
        self.was = guest.spec["files"]
        self.made: Fixed = golden.fixed(self.appliance, guest)

    def now(self, path: str) -> str:
        return self.appliance.read(path) or ""

    @property
    def ran(self) -> list[list[str]]:
        return cast(Folder, self.appliance.g).ran

    @property
    def changed(self) -> list[str]:
        return [action.change.path for action in self.made.actions]

    def holds(self, image: str) -> set[str]:
        """Return the modules in the initramfs at *image*."""
        return initramfs.parse(self.appliance.bytes(image) or b"").modules()


Convert = Callable[..., Converted]


@pytest.fixture
def convert(tmp_path: Path) -> Iterator[Convert]:
    """Return what converts the phony guest of a name, after a change of its spec."""

    def converted(
        name: str, change: Callable[[Any], None] = lambda _: None
    ) -> Converted:
        guest = phony.load(name)
        change(guest.spec)
        folder = tmp_path / name
        folder.mkdir()
        return Converted(guest, folder)

    yield converted


@report(
    "https://github.com/libguestfs/virt-v2v/issues/54",
    "https://github.com/kubev2v/forklift/issues/1261",
)
@report("https://bugzilla.redhat.com/show_bug.cgi?id=2175703")
def test_kernels_are_found_without_any_package(convert: Convert) -> None:
    """No database of packages is there, and none owns /lib/modules."""
    done = convert("rhel9")
    [kernel] = done.made.guest.kernels
    assert kernel.default and kernel.version == "5.14.0-362.8.1.el9_3.x86_64"
    assert done.made.guest.package_format is None


@report("https://bugzilla.redhat.com/show_bug.cgi?id=2116811")
@pytest.mark.parametrize(
    ("name", "suffix"), [("arch", ".zst"), ("alpine", ".gz"), ("rhel8", ".xz")]
)
def test_modules_may_be_compressed_in_any_way(
    name: str, suffix: str, convert: Convert
) -> None:
    done = convert(name)
    assert "virtio_blk" in done.made.guest.kernels[0].drivers
    assert f"block/virtio_blk.ko{suffix}" in done.made.text


@report(
    "https://github.com/libguestfs/virt-v2v/issues/33",
    "https://github.com/kubev2v/forklift/issues/494",
)
def test_photon_is_converted_by_the_kernel_that_it_does_not_start(
    convert: Convert,
) -> None:
    done = convert("photon5")
    assert done.made.devices.block == "virtio"
    assert done.appliance.g.readlink("/boot/photon.cfg") == "linux-6.1.62-4.ph5.cfg"


@report("https://github.com/harvester/harvester/issues/7987")
def test_the_bus_is_what_the_kernel_has_drivers_for(convert: Convert) -> None:
    """Photon with its kernel for ESXi only, which has no virtio at all."""

    def without_the_other(spec: Any) -> None:
        del spec["kernels"][1]
        del spec["files"]["/boot/linux-6.1.62-4.ph5.cfg"]

    done = convert("photon5", without_the_other)
    assert done.made.devices.block == "sata" and done.made.devices.net == "e1000"


@report("https://github.com/libguestfs/virt-v2v/issues/15")
@pytest.mark.parametrize("name", ["rocky", "never-heard-of"])
def test_the_name_of_the_distribution_does_not_matter(
    name: str, convert: Convert, tmp_path: Path
) -> None:
    def renamed(spec: Any) -> None:
        text = spec["files"]["/usr/lib/os-release"]
        spec["files"]["/usr/lib/os-release"] = text.replace('"rhel"', f'"{name}"')

    done = convert("rhel9", renamed)
    assert done.made.guest.distro == name
    assert done.made.text == (phony.FOLDER / "rhel9.diff").read_text()


@report("https://github.com/libguestfs/virt-v2v/issues/91")
def test_no_tool_of_the_guest_is_needed_to_add_drivers(convert: Convert) -> None:
    """A SLES 15 with neither dracut nor mkinitrd."""
    done = convert("sles15")
    assert "virtio_blk" in done.holds("/boot/initrd-5.14.21-150500.55.7-default")
    assert done.ran == []


@report("https://github.com/kubevirt/kubevirt/issues/11133")
@report("https://github.com/harvester/harvester/issues/5143")
@report("https://github.com/vexxhost/migratekit/issues/18")
@pytest.mark.parametrize("name", ["rhel7", "openeuler", "sles12"])
def test_an_initramfs_made_for_vmware_alone_finds_its_disk(
    name: str, convert: Convert
) -> None:
    done = convert(name)
    [kernel] = [k for k in done.made.guest.kernels if k.default]
    assert {"virtio_blk", "virtio_pci"} <= set(kernel.initramfs_drivers)
    assert {"virtio_ring", "virtio_blk"} <= done.holds(kernel.initramfs or "")


@report("https://github.com/cloudbase/coriolis/pull/260")
def test_every_kernel_can_be_booted_and_not_only_the_default(convert: Convert) -> None:
    done = convert("rhel8")
    assert len(done.made.guest.kernels) == 2
    for kernel in done.made.guest.kernels:
        assert "virtio_blk" in done.holds(kernel.initramfs or "")


@report(
    "https://github.com/libguestfs/virt-v2v/pull/160",
    "https://issues.redhat.com/browse/RHEL-173538",
)
def test_the_menu_is_edited_and_never_made_anew(convert: Convert) -> None:
    done = convert("centos7-efi")
    path = "/boot/efi/EFI/centos/grub.cfg"
    uuid = "root=UUID=71000000-0000-4000-8000-000000000003"
    assert done.now(path) == done.was[path].replace("root=/dev/sda3", uuid)
    assert "linuxefi" in done.now(path) and "linux16" not in done.now(path)


@report(
    "https://github.com/libguestfs/virt-v2v/pull/195",
    "https://github.com/FuturFusion/migration-manager/issues/372",
)
@pytest.mark.parametrize("name", ["ubuntu14", "ubuntu24", "sles15", "centos7-efi"])
def test_a_uefi_guest_needs_no_nvram_and_keeps_what_starts_it(
    name: str, convert: Convert
) -> None:
    done = convert(name)
    fallback = "/boot/efi/EFI/BOOT/BOOTX64.EFI"
    assert done.now(fallback) == "signed shim"
    scripts = [done.now(path) for path in done.changed if "/v2v/" in path]
    assert not any("EFI" in script for script in scripts)


@report("https://github.com/libguestfs/virt-v2v/issues/52")
@pytest.mark.parametrize(
    ("name", "firmware"), [("arch", "efi"), ("ubuntu22", "efi"), ("rhel6", None)]
)
def test_the_firmware_is_told_from_the_disk(
    name: str, firmware: str | None, convert: Convert
) -> None:
    assert convert(name).made.guest.firmware == firmware


@report("https://github.com/libguestfs/virt-v2v/issues/80")
def test_nvme_names_become_names_that_hold(convert: Convert) -> None:
    done = convert("rhel10")
    assert done.now("/boot/grub2/device.map") == "(hd0)      /dev/vda\n"
    assert "nvme" not in done.now("/etc/kernel/cmdline")
    assert "\n/dev/nvme" not in done.now("/etc/fstab")


@report(
    "https://github.com/libguestfs/virt-v2v/issues/99",
    "https://github.com/libguestfs/libguestfs/issues/363",
)
@report("https://github.com/adminsyspro/proxcenter-ui/issues/554")
@report("https://github.com/apache/cloudstack/issues/13704")
@pytest.mark.parametrize("name", ["rhel7", "rhel9", "ubuntu22", "alt", "arch"])
def test_a_card_keeps_the_name_that_its_static_address_is_bound_to(
    name: str, convert: Convert
) -> None:
    """By its MAC and by VMware's slot, for each way to configure a network."""
    done = convert(name)
    [nic] = phony.load(name).vm.nics
    [interface] = [i for i in done.made.guest.interfaces if i.method == "static"]
    rules = done.now("/etc/udev/rules.d/70-v2v-names.rules")
    assert f'"{nic.mac}"' in rules and f'NAME="{interface.name}"' in rules


@report("https://github.com/kubev2v/forklift/issues/8562")
def test_a_card_that_is_brought_up_by_hotplug_keeps_its_address(
    convert: Convert,
) -> None:
    done = convert("debian9")
    assert 'NAME="enp0s3"' in done.now("/etc/udev/rules.d/70-v2v-names.rules")
    path = "/etc/network/interfaces"
    assert done.now(path) == done.was[path] and "allow-hotplug" in done.was[path]


@report("https://github.com/kubev2v/forklift/issues/1354")
def test_cloud_init_does_not_write_a_static_network_anew(convert: Convert) -> None:
    done = convert("ubuntu22")
    text = done.now("/etc/cloud/cloud.cfg.d/99-v2v-network.cfg")
    assert "network: {config: disabled}" in text
    path = "/etc/netplan/50-cloud-init.yaml"
    assert done.now(path) == done.was[path]


@report(
    "https://github.com/kubev2v/forklift/pull/3781",
    "https://github.com/kubev2v/forklift/pull/1358",
)
@pytest.mark.parametrize("order", [1, -1])
def test_two_cards_are_not_swapped_whatever_their_order(
    order: int, convert: Convert
) -> None:
    def reordered(spec: Any) -> None:
        spec["vm"]["nics"] = spec["vm"]["nics"][::order]

    done = convert("ubuntu16", reordered)
    lines = done.now("/etc/udev/rules.d/70-v2v-names.rules").splitlines()
    ties = {("04:01" in line, 'NAME="ens160"' in line) for line in lines}
    assert ties == {(True, True), (False, False)}


@report(
    "https://github.com/systemd/systemd/issues/11992",
    "https://github.com/canonical/netplan/pull/278",
)
def test_a_vlan_does_not_take_the_name_of_its_card(convert: Convert) -> None:
    done = convert("ubuntu16")
    for line in done.now("/etc/udev/rules.d/70-v2v-names.rules").splitlines():
        # Neither VLANs nor bridges have a driver.
        assert 'DRIVERS=="?*"' in line and 'ATTR{type}=="1"' in line


@report("https://github.com/systemd/systemd/issues/9807")
def test_a_card_that_was_named_in_the_initramfs_is_renamed_by_a_rule(
    convert: Convert,
) -> None:
    done = convert("rhel9")
    assert "/etc/systemd/network/10-v2v-ens192.link" in done.changed
    assert "/etc/udev/rules.d/70-v2v-names.rules" in done.changed


@report("https://github.com/kubev2v/forklift/pull/1518")
def test_the_guests_files_say_what_its_disks_were_and_not_the_metadata(
    convert: Convert,
) -> None:
    """As of a warm migration, whose XML calls the disks virtio already."""

    def claimed(spec: Any) -> None:
        spec["vm"]["disks"] = [{"bus": "virtio"}, {"bus": "virtio"}]

    done = convert("rhel6", claimed)
    assert "\n/dev/sdb1" not in done.now("/etc/fstab")
    assert "UUID=60000000-0000-4000-8000-000000000004" in done.now("/etc/fstab")


@report("https://github.com/platform9/vjailbreak/issues/2007")
@pytest.mark.parametrize("name", phony.names())
def test_comments_in_fstab_stay_comments(name: str, convert: Convert) -> None:
    done = convert(name)

    def comments(text: str) -> list[str]:
        return [line for line in text.splitlines() if line.lstrip().startswith("#")]

    found = comments(done.now("/etc/fstab"))
    assert found == comments(done.was["/etc/fstab"])


@report(
    "https://github.com/crc-org/crc/issues/3718",
    "https://bugzilla.redhat.com/show_bug.cgi?id=2112801",
)
def test_lvm_is_not_left_with_a_list_of_the_old_disks(convert: Convert) -> None:
    done = convert("rhel9")
    assert not done.appliance.g.exists("/etc/lvm/devices/system.devices")


@report(
    "https://github.com/libguestfs/virt-v2v/pull/180",
    "https://issues.redhat.com/browse/RHEL-233944",
)
def test_what_removes_the_tools_solves_no_dependencies(convert: Convert) -> None:
    done = convert("ubuntu16")
    script = done.now("/var/lib/v2v/firstboot/01-remove-tools/script")
    assert "dpkg --purge" in script
    assert not any(word in script for word in ("apt", "yum", "dnf", "autoremove"))


@report("https://github.com/libguestfs/libguestfs/issues/144")
def test_the_uninstaller_of_vmwares_tools_is_not_run(convert: Convert) -> None:
    def with_uninstaller(spec: Any) -> None:
        spec["files"]["/usr/bin/vmware-uninstall-tools.pl"] = "#!/usr/bin/perl\n"

    done = convert("rhel5", with_uninstaller)
    assert not any("vmware" in word for words in done.ran for word in words)
    assert not done.appliance.g.is_symlink("/etc/rc3.d/S03vmware-tools")


@report("https://github.com/libguestfs/virt-v2v/pull/152")
def test_an_encrypted_device_is_unlocked_by_its_uuid_in_the_initramfs_too(
    convert: Convert,
) -> None:
    done = convert("ubuntu24")
    line = "data UUID=24040000-0000-4000-8000-000000000003 none luks,initramfs\n"
    assert line in done.now("/etc/crypttab")
    image = done.appliance.bytes("/boot/initrd.img-6.8.0-31-generic") or b""
    assert initramfs.parse(image).texts["cryptroot/crypttab"] == line.encode()


@report("https://github.com/adminsyspro/proxcenter-ui/pull/740")
@report("https://github.com/kubev2v/forklift/pull/1446")
def test_snapshots_on_btrfs_are_no_systems_to_choose_from(convert: Convert) -> None:
    guest = convert("sles15").made.guest
    assert guest.roots == ("/dev/sda2",) and guest.root == "/dev/sda2"


@report(
    "https://github.com/kubev2v/forklift/pull/8382",
    "https://issues.redhat.com/browse/RHEL-222316",
    "https://issues.redhat.com/browse/RHEL-125116",
)
def test_only_what_was_touched_gets_a_label(convert: Convert) -> None:
    done = convert("rhel8")
    labels = cast(Folder, done.appliance.g).labels
    assert "/.autorelabel" not in done.changed
    files = [path for path in labels if done.appliance.g.is_file(path)]
    assert 0 < len(files) <= len(done.changed)
    assert not any("ifcfg" in path for path in labels)


@report(
    "https://github.com/apache/cloudstack/issues/8926",
    "https://github.com/kubev2v/forklift-documentation/pull/615",
    "https://github.com/harvester/harvester/issues/1749",
)
def test_the_agent_is_installed_by_a_step_that_waits_and_tries_again(
    convert: Convert,
) -> None:
    done = convert("sles15")
    folder = "/var/lib/v2v/firstboot"
    assert done.appliance.g.exists(f"{folder}/01-agent/network")
    assert "qemu-guest-agent" in done.now(f"{folder}/01-agent/script")
    driver = done.now(f"{folder}/run")
    assert "boots=${V2V_BOOTS:-5}" in driver and "status.json" in driver


@report("https://github.com/kubev2v/forklift-documentation/pull/647")
def test_a_stray_configuration_of_dracut_cannot_make_it_fail(convert: Convert) -> None:
    """RHEL 8 with network-legacy forced, which dracut does not have."""

    def forced(spec: Any) -> None:
        path = "/etc/dracut.conf.d/50-network-legacy.conf"
        spec["files"][path] = 'add_dracutmodules+=" network-legacy "\n'

    done = convert("rhel8", forced)
    assert done.ran == [] and done.made.devices.block == "virtio"


@report("https://libguestfs.org/virt-v2v.1.html#linux-notes")
@report("https://issues.redhat.com/browse/RHEL-178432")
@report("https://bugzilla.redhat.com/show_bug.cgi?id=2003503")
@pytest.mark.parametrize("name", ["rhel6", "rhel7", "debian9", "fedora"])
def test_nothing_of_the_guest_is_run(name: str, convert: Convert) -> None:
    """Not with an old glibc, a resolv.conf that leads nowhere, nor os-prober."""

    def dangling(spec: Any) -> None:
        spec.setdefault("links", {})["/etc/resolv.conf"] = "/run/nothing"
        spec["files"]["/etc/grub.d/30_os-prober"] = "#!/bin/sh\n"

    assert convert(name, dangling).ran == []


@report("https://github.com/platform9/vjailbreak/commit/b2e3e98e")
@pytest.mark.parametrize("name", ["sles11", "rhel5"])
def test_grubs_map_is_changed_after_the_initrd_was_made(
    name: str, convert: Convert
) -> None:
    changed = convert(name).changed
    [initrd] = [path for path in changed if "initrd" in path]
    assert changed.index(initrd) < changed.index("/boot/grub/device.map")
