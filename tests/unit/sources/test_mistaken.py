# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that users name, and that are no source: each gets the one right line."""

import random
import struct
import subprocess
import uuid
from pathlib import Path

import pytest

import differencing
from v2v.document import VM, Format
from v2v.errors import SourceError
from v2v.sources import Request, read

MIB = 2**20
GUID = "11111111-1111-4111-8111-111111111111"
DESCRIPTOR = (
    "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n"
    'createType="vmfs"\n{extents}'
)


def described(path: Path, format: Format | None = None) -> VM:
    (vm,) = read(Request(location=str(path), format=format))
    return vm


def refusal(path: Path) -> str:
    with pytest.raises(SourceError) as e:
        described(path)
    assert "\n" not in f"{e.value.message}{e.value.remedy}"
    assert e.value.remedy
    return f"{e.value.message}; {e.value.remedy}"


@pytest.mark.parametrize(
    ("name", "what", "files", "instead"),
    [
        ("web01.vmsd", "list of snapshots", "web01.vmx", "name {}/web01.vmx"),
        ("web01-Snapshot1.vmsn", "running VM", "web01.vmx", "name {}/web01.vmx"),
        ("web01-1a2b.vmss", "running VM", "", "name the .vmx or .vmtx that"),
        ("web01.vmem", "memory", "a.vmx web01.vmx b.vmx", "name {}/web01.vmx"),
        ("x.nvram", "firmware", "a.vmx b.vmx c.vmx", "name the .vmx"),
        ("web01.vmxf", "adds to a .vmx", "web01.vmx", "web01.vmx"),
        ("web01.vhdx.rct", "changed blocks", "web01.vhdx", "name {}/web01.vhdx"),
        ("web01.vhdx.mrt", "changed blocks", "b.vhdx web01.vhdx", "{}/web01.vhdx"),
        (f"{GUID}.vmrs", "kept by Hyper-V", f"{GUID}.vmcx", f"{{}}/{GUID}.vmcx"),
        (f"{GUID}.VSV", "kept by Hyper-V", "", ".vmcx"),
        (f"{GUID}.bin", "memory", f"{GUID}.vmcx", f"{{}}/{GUID}.vmcx"),
        ("web01.vmgs", "TPM", "", ".vmcx"),
        ("{1}.sav", "suspended", "web01.vbox", "{}/web01.vbox"),
        ("web01.mf", "OVF package", "web01.ovf", "name {}/web01.ovf"),
        ("drive-scsi0.img.fidx", "Proxmox Backup", "", "proxmox-backup-client"),
        ("web01.vbk", "Veeam", "", "export its disks"),
        ("install.wim", "backup of files", "", "restore"),
        ("data.vhds", "VHD set", "", "Convert-VHD"),
    ],
)
def test_a_file_beside_a_vm_is_told_and_which_to_name(
    tmp_path: Path, name: str, what: str, files: str, instead: str
) -> None:
    (tmp_path / name).write_bytes(b"x" * 5000)
    for file in files.split():
        (tmp_path / file).write_bytes(b"x")
    said = refusal(tmp_path / name)
    assert said.startswith(f"{tmp_path / name} is ")
    assert what in said
    assert instead.replace("{}/", f"{tmp_path}/") in said
    if "vhds" not in name:
        # Nobody is kept from a disk that has such a name.
        assert described(tmp_path / name, "raw").disks[0].source


def test_a_disk_with_such_a_name_is_a_disk(tmp_path: Path) -> None:
    data = bytearray(MIB)
    data[446:462] = b"\x80\0\0\0\x83\0\0\0\1\0\0\0\1\0\0\0"
    data[510:512] = b"\x55\xaa"
    (tmp_path / "web01.mem").write_bytes(data)
    (tmp_path / "firmware.bin").write_bytes(bytes(MIB))
    assert described(tmp_path / "web01.mem").disks[0].source
    assert described(tmp_path / "firmware.bin").disks[0].source


@pytest.mark.parametrize("name", ["a.ovf", "a.ova", "a.qcow2", "a.vmdk", "a.img"])
@pytest.mark.parametrize(
    "text", ["<!DOCTYPE html>\n<html>", "\n  <HTML lang='en'>", "<!doctype  HTML x>"]
)
def test_a_saved_web_page_is_told(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert "web page (HTML)" in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["a.ovf", "a.ova", "a.vmx", "a.xva", "a.xml", "a.vhd"])
def test_an_empty_file_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert f"{name} is empty" in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["disk.E01", "disk.img", "disk.Ex01"])
def test_a_forensic_image_is_told(tmp_path: Path, name: str) -> None:
    magic = b"EVF2\r\n\x81\0" if "x" in name else b"EVF\t\r\n\xff\0"
    (tmp_path / name).write_bytes(magic.ljust(5000, b"\1"))
    assert "ewfmount" in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["disk.img", "disk", "disk.raw"])
def test_a_cd_is_told_by_its_content(tmp_path: Path, name: str) -> None:
    data = bytearray(2**17)
    data[2**15 + 1 : 2**15 + 6] = b"CD001"
    (tmp_path / name).write_bytes(data)
    assert "ISO 9660" in refusal(tmp_path / name)
    assert described(tmp_path / name, "raw").disks[0].source


@pytest.mark.parametrize(
    ("name", "start", "said"),
    [
        ("disk.img", b"\x1f\x8b\x08", "packed by gzip"),
        ("disk", b"\xfd7zXZ\0", "packed by xz"),
        ("disk.raw", b"(\xb5/\xfd", "packed by zstd"),
        ("disk.img", b"PK\3\4", "an archive"),
        ("vmware.log", b"2026-01-01 vmx| Log for VMware", "is text"),
        ("notes.json", b"{}", "is text"),
        ("disk.img", b"QED\0", "qemu-img convert -f qed"),
        ("bochs", b"Bochs Virtual HD Image", "qemu-img convert -f bochs"),
    ],
)
def test_what_is_hardly_a_raw_disk_is_told(
    tmp_path: Path, name: str, start: bytes, said: str
) -> None:
    filler = b"\n" if said == "is text" else b"\1"
    (tmp_path / name).write_bytes(start.ljust(5000, filler))
    assert said in refusal(tmp_path / name)
    assert described(tmp_path / name, "raw").disks[0].source


def test_an_image_of_macos_is_told(tmp_path: Path) -> None:
    (tmp_path / "disk.dmg").write_bytes(bytes(4096) + b"koly".ljust(512, b"\0"))
    assert "qemu-img convert -f dmg" in refusal(tmp_path / "disk.dmg")


def test_a_descriptor_of_a_disk_is_no_vmx(tmp_path: Path) -> None:
    (tmp_path / "a.vmx").write_text(DESCRIPTOR.format(extents="RW 1 ZERO\n"))
    assert "no VMX" in refusal(tmp_path / "a.vmx")


@pytest.mark.parametrize(
    ("part", "type"),
    [
        ("web01-flat.vmdk", "VMFS"),
        ("web01-s001.vmdk", "SPARSE"),
        ("web01-f001.vmdk", "FLAT"),
        ("web01-000001-delta.vmdk", "VMFSSPARSE"),
        ("web01-000001-sesparse.vmdk", "SESPARSE"),
    ],
)
@pytest.mark.parametrize("descriptor", ["web01.vmdk", "renamed.VMDK"])
def test_a_part_of_a_vmdk_names_its_descriptor(
    tmp_path: Path, part: str, type: str, descriptor: str
) -> None:
    (tmp_path / part).write_bytes(bytes(5 * 512))
    extent = f'RW 5 {type} "{part}" 0\n'
    (tmp_path / descriptor).write_text(DESCRIPTOR.format(extents=extent))
    (tmp_path / "other.vmdk").write_text(DESCRIPTOR.format(extents='RW 5 FLAT "x" 0\n'))
    said = refusal(tmp_path / part)
    assert f"is a part of the disk {tmp_path / descriptor}; name {descriptor}" in said


@pytest.mark.parametrize(
    "part", ["web01-s001.vmdk", "web01-delta.vmdk", "web01-ctk.vmdk", "a-rdmp.vmdk"]
)
def test_a_part_without_a_descriptor_is_told(tmp_path: Path, part: str) -> None:
    (tmp_path / part).write_bytes(b"KDMV".ljust(5000, b"\1"))
    said = refusal(tmp_path / part)
    assert "descriptor is not beside it" in said
    assert f"{part.rpartition('-')[0]}.vmdk" in said


@pytest.mark.parametrize("name", ["web01-flat.vmdk", ""])
def test_flat_data_alone_are_a_raw_disk(tmp_path: Path, name: str) -> None:
    (tmp_path / "web01-flat.vmdk").write_bytes(bytes(MIB))
    vm = described(tmp_path / name)
    layer = vm.disks[0].source
    assert layer
    assert (layer.server, layer.format, vm.disks[0].size) == ("file", "raw", MIB)
    assert [(f.code, f.severity) for f in vm.findings] == [("format-assumed", "info")]
    assert described(tmp_path / name, "raw").findings == ()


@pytest.mark.parametrize("start", [b"KDMV", b"QFI\xfb", b"# Disk DescriptorFile\n"])
def test_a_guest_cannot_make_its_flat_data_an_image(
    tmp_path: Path, start: bytes
) -> None:
    (tmp_path / "web01-flat.vmdk").write_bytes(start.ljust(MIB, b"\0"))
    assert "a guest may have written that" in refusal(tmp_path / "web01-flat.vmdk")


def test_a_descriptor_that_a_guest_has_written_does_not_own_anything(
    tmp_path: Path,
) -> None:
    """A flat file is no descriptor, and a broken one names nothing."""
    text = DESCRIPTOR.format(extents='RW 5 FLAT "web01-flat.vmdk" 0\n')
    (tmp_path / "evil-flat.vmdk").write_text(text)
    (tmp_path / "broken.vmdk").write_text("# Disk DescriptorFile\n")
    (tmp_path / "folder.vmdk").mkdir()
    (tmp_path / "web01-flat.vmdk").write_bytes(bytes(MIB))
    assert described(tmp_path / "web01-flat.vmdk").disks[0].source


def test_an_image_of_a_parallels_disk_names_the_disk(tmp_path: Path) -> None:
    folder = tmp_path / "web01.hdd"
    folder.mkdir()
    (folder / "DiskDescriptor.xml").write_text("<x/>")
    (folder / "web01.0.hds").write_bytes(b"WithouFreSpacExt".ljust(5000, b"\0"))
    assert str(folder) in refusal(folder / "web01.0.hds")


@pytest.mark.parametrize("files", [".chunks/", "drive-scsi0.img.fidx index.json.blob"])
def test_a_store_of_proxmox_backup_server_is_told(tmp_path: Path, files: str) -> None:
    for name in files.split():
        if name.endswith("/"):
            (tmp_path / name).mkdir()
        else:
            (tmp_path / name).write_bytes(b"x")
    assert "proxmox-backup-client" in refusal(tmp_path)


def test_a_container_of_luks_is_left_to_who_has_the_key(tmp_path: Path) -> None:
    (tmp_path / "web01.img").write_bytes(b"LUKS\xba\xbe\0\2".ljust(MIB, b"\0"))
    assert described(tmp_path / "web01.img").findings == ()


# Cut off: said at once, and not in the middle of the copy.

CONTAINERS: dict[str, tuple[Format, str]] = {
    "qcow2": ("qcow2", ""),
    "qcow2 compressed": ("qcow2", "-c"),
    "vmdk": ("vmdk", ""),
    "vmdk stream": ("vmdk", "-o subformat=streamOptimized"),
    "vmdk split": ("vmdk", "-o subformat=twoGbMaxExtentSparse"),
    "vmdk flat": ("vmdk", "-o subformat=monolithicFlat"),
    "vhd": ("vpc", "-o force_size=on"),
    "vhd fixed": ("vpc", "-o force_size=on,subformat=fixed"),
    "vhdx": ("vhdx", ""),
    "vhdx fixed": ("vhdx", "-o subformat=fixed"),
    "vdi": ("vdi", ""),
    "vdi fixed": ("vdi", "-o static=on"),
}
SUFFIX = {"vpc": "vhd"}


@pytest.mark.parametrize("kind", CONTAINERS)
@pytest.mark.parametrize("lost", ["half", "a MiB", "nearly all"])
def test_an_image_that_is_cut_off_is_told_when_it_is_described(
    tmp_path: Path, kind: str, lost: str
) -> None:
    format, options = CONTAINERS[kind]
    path = tmp_path / f"web01.{SUFFIX.get(format, format)}"
    data = random.Random(1).randbytes(8 * MIB)
    differencing.image(path, data, format, options)
    assert described(path).disks[0].size == len(data)
    largest = max(tmp_path.iterdir(), key=lambda file: file.stat().st_size)
    size = largest.stat().st_size
    with largest.open("r+b") as file:
        left = {"half": size // 2, "a MiB": size - MIB, "nearly all": 700}[lost]
        file.truncate(left)
    assert str(tmp_path) in refusal(path)


def table(kind: str, sectors: int) -> bytes:
    """Return the start of a disk with one partition that ends at *sectors*."""
    if kind == "mbr":
        entry = struct.pack("<4xB3xII", 0x83, 2048, sectors - 2048)
        return bytes(446) + entry.ljust(64, b"\0") + b"\x55\xaa"
    protective = struct.pack("<4xB3xII", 0xEE, 1, 2**32 - 1)
    first = bytes(446) + protective.ljust(64, b"\0") + b"\x55\xaa"
    header = b"EFI PART" + bytes(64) + struct.pack("<QII", 2, 128, 128)
    entry = uuid.uuid4().bytes + bytes(16) + struct.pack("<QQ", 2048, sectors - 1)
    return first + header.ljust(512, b"\0") + entry.ljust(128 * 128, b"\0")


@pytest.mark.parametrize("kind", ["mbr", "gpt"])
def test_a_raw_disk_that_is_cut_off_is_told_by_its_partitions(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "web01.img"
    path.write_bytes(table(kind, 8192).ljust(4 * MIB, b"\0"))
    assert described(path).findings == ()
    with path.open("r+b") as file:
        file.truncate(4 * MIB - 512)
    (finding,) = described(path).findings
    assert (finding.code, finding.severity) == ("disk-cut-off", "block")
    assert str(4 * MIB) in finding.message


def test_a_real_partition_table_fits_its_disk(tmp_path: Path) -> None:
    for label in ("dos", "gpt"):
        path = tmp_path / f"{label}.img"
        path.write_bytes(bytes(8 * MIB))
        script = f"label: {label}\nsize=2MiB\n\n".encode()
        subprocess.run(["sfdisk", "-q", path], input=script, check=True)
        assert described(path).findings == ()
