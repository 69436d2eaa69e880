# SPDX-License-Identifier: GPL-2.0-or-later
"""The removable path: what an empty NVRAM makes the firmware start."""

from pathlib import Path

import pytest

from guest_folder import Files, applied, guest, modules, ready, tree, unified
from v2v.document import Filesystem, Guest
from v2v.guests.linux import efi

ESP = "/boot/efi"
SYSTEM = Guest(
    type="linux",
    arch="x86_64",
    distro="debian",
    filesystems=(Filesystem(device="/dev/sda1", type="vfat", mountpoint=ESP),),
)
SIGNED = {
    f"{ESP}/EFI/debian/shimx64.efi": "shim",
    f"{ESP}/EFI/debian/grubx64.efi": "grub",
    f"{ESP}/EFI/debian/mmx64.efi": "mm",
    f"{ESP}/EFI/debian/fbx64.efi": "fb",
    f"{ESP}/EFI/debian/grub.cfg": "configfile x\n",
}


def fallback(root: Path) -> dict[str, str]:
    folder = root / "boot/efi/EFI/BOOT"
    return {p.name: p.read_text() for p in folder.iterdir()} if folder.exists() else {}


def fixed(root: Path, files: dict[str, str], system: Guest = SYSTEM) -> list[str]:
    there = guest(root, dict(files))
    changed = applied(there, efi.plan(there, system))
    assert list(efi.plan(there, system)) == []
    return changed


def test_shim_is_copied_with_all_that_it_starts(tmp_path: Path) -> None:
    changed = fixed(tmp_path, SIGNED)
    assert fallback(tmp_path) == {
        "BOOTX64.EFI": "shim",
        "grubx64.efi": "grub",
        "mmx64.efi": "mm",
        "fbx64.efi": "fb",
        "grub.cfg": "configfile x\n",
    }
    assert f"{ESP}/EFI/debian/BOOTX64.CSV" in changed
    text = (tmp_path / "boot/efi/EFI/debian/BOOTX64.CSV").read_bytes()
    assert text.decode("utf-16").startswith("shimx64.efi,debian,,")


CASES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "GRUB alone": (
        {f"{ESP}/EFI/arch/grubx64.efi": "grub"},
        {"BOOTX64.EFI": "grub"},
    ),
    "SUSE's names": (
        {
            f"{ESP}/EFI/opensuse/{n}": n
            for n in ("shim.efi", "grub.efi", "MokManager.efi")
        },
        {"BOOTX64.EFI": "shim.efi", "grub.efi": "grub.efi"}
        | {"MokManager.efi": "MokManager.efi"},
    ),
    "RHEL 6": (
        {f"{ESP}/EFI/redhat/grub.efi": "grub", f"{ESP}/EFI/redhat/grub.conf": "conf"},
        {"BOOTX64.EFI": "grub", "BOOTX64.conf": "conf"},
    ),
    "systemd-boot": (
        {f"{ESP}/EFI/systemd/systemd-bootx64.efi": "sd"},
        {"BOOTX64.EFI": "sd"},
    ),
    "an older system's folder": (
        {
            f"{ESP}/EFI/centos/shimx64.efi": "old",
            f"{ESP}/EFI/centos/grubx64.efi": "old",
            f"{ESP}/EFI/Debian/grubx64.efi": "own",
        },
        {"BOOTX64.EFI": "own"},
    ),
    "Windows beside it": (
        {f"{ESP}/EFI/Microsoft/Boot/bootmgfw.efi": "win", **SIGNED},
        {
            "BOOTX64.EFI": "shim",
            "grubx64.efi": "grub",
            "mmx64.efi": "mm",
            "fbx64.efi": "fb",
            "grub.cfg": "configfile x\n",
        },
    ),
    "no loader": ({f"{ESP}/EFI/tools/memtest.efi": "m"}, {}),
}


@pytest.mark.parametrize("name", CASES)
def test_what_the_guest_boots_by_is_copied(name: str, tmp_path: Path) -> None:
    files, after = CASES[name]
    fixed(tmp_path, files)
    assert fallback(tmp_path) == after


@pytest.mark.parametrize("name", ["BOOTX64.EFI", "bootx64.efi", "BootX64.efi"])
def test_what_is_there_is_never_replaced(name: str, tmp_path: Path) -> None:
    windows = {f"{ESP}/EFI/Microsoft/Boot/bootmgfw.efi": "win"}
    files = {**windows, **SIGNED, f"{ESP}/EFI/Boot/{name}": "win"}
    there = guest(tmp_path, dict(files))
    before = tree(tmp_path)
    assert applied(there, efi.plan(there, SYSTEM)) == []
    assert tree(tmp_path) == before
    [finding] = efi.findings(there, SYSTEM)
    assert finding.code == "efi-starts-windows" and finding.severity == "warn"


def test_a_fallback_of_its_own_is_no_finding(tmp_path: Path) -> None:
    files = {**SIGNED, f"{ESP}/EFI/BOOT/BOOTX64.EFI": "shim"}
    files[f"{ESP}/EFI/Microsoft/Boot/bootmgfw.efi"] = "windows"
    assert list(efi.findings(guest(tmp_path, dict(files)), SYSTEM)) == []


def test_a_unified_kernel_image_is_started_itself(tmp_path: Path) -> None:
    data = unified("6.1", ready("6.1"), "root=UUID=x")
    files: Files = {f"{ESP}/EFI/Linux/a.efi": data, **modules("6.1")}
    there = guest(tmp_path, files)
    assert applied(there, efi.plan(there, SYSTEM)) == [f"{ESP}/EFI/BOOT/BOOTX64.EFI"]
    assert (tmp_path / "boot/efi/EFI/BOOT/BOOTX64.EFI").read_bytes() == data


@pytest.mark.parametrize(
    "system", [SYSTEM.having(arch="riscv64"), SYSTEM.having(filesystems=())]
)
def test_a_guest_without_an_esp_is_left_alone(system: Guest, tmp_path: Path) -> None:
    assert fixed(tmp_path, SIGNED, system) == []
