# SPDX-License-Identifier: GPL-2.0-or-later
import os
import struct
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from differencing import whole_vhdx
from v2v import paths, sources
from v2v.document import VM, Format
from v2v.errors import SourceError, UsageError
from v2v.sources import Request

MIB = 2**20
NAMES = {
    "qcow2": "web01.qcow2",
    "vmdk": "web01.vmdk",
    "vpc": "web01.vhd",
    "vhdx": "web01.vhdx",
    "vdi": "web01.vdi",
}
ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
BIOS_BOOT = "21686148-6449-6e6f-744e-656564454649"


def qemu_img(folder: Path, arguments: str) -> None:
    subprocess.run(["qemu-img", *arguments.split()], cwd=folder, check=True)


def read(path: Path | str, format: Format | None = None) -> VM:
    (vm,) = sources.read(Request(location=str(path), format=format))
    return vm


def refusal(path: Path | str, format: Format | None = None) -> SourceError:
    with pytest.raises(SourceError) as e:
        read(path, format)
    assert e.value.status == 12
    assert "\n" not in e.value.message
    return e.value


def test_a_raw_disk_is_a_vm_of_usual_size(tmp_path: Path) -> None:
    (tmp_path / "web01.img").write_bytes(bytes(3 * MIB))
    vm = read(tmp_path / "web01.img")
    (disk,) = vm.disks
    (nic,) = vm.nics
    assert disk.source
    assert (vm.name, vm.memory, vm.vcpus) == ("web01", 2 * 2**30, 2)
    assert (vm.firmware, vm.firmware_known) == ("bios", False)
    assert (disk.id, disk.size, disk.boot) == ("sda", 3 * MIB, 1)
    assert (disk.source.server, disk.source.format) == ("file", "raw")
    assert (nic.type, nic.network, nic.mac_source) == ("network", "default", "made")
    assert vm.findings == ()


@pytest.mark.parametrize("format", NAMES)
def test_an_image_is_taken_if_name_and_header_agree(
    tmp_path: Path, format: Format
) -> None:
    qemu_img(tmp_path, f"create -q -f {format} {NAMES[format]} 8M")
    vm = read(tmp_path / NAMES[format])
    layer = vm.disks[0].source
    assert layer
    assert (layer.server, layer.format) == ("qemu", format)
    assert layer.path == str((tmp_path / NAMES[format]).resolve())
    assert (vm.disks[0].size or 0) >= 8 * MIB


@pytest.mark.parametrize("format", NAMES)
@pytest.mark.parametrize("name", ["web01.img", "web01.raw", "web01"])
def test_a_container_that_is_not_named_so_is_refused(
    tmp_path: Path, format: Format, name: str
) -> None:
    """Or a guest could make us read files of the host (CVE-2024-32498)."""
    qemu_img(tmp_path, f"create -q -f {format} {name} 8M")
    e = refusal(tmp_path / name)
    assert f"{format} image" in e.message
    assert "--input-format raw" in e.remedy
    assert f"--input-format {format}" in e.remedy


def test_the_users_format_holds_over_name_and_header(tmp_path: Path) -> None:
    qemu_img(tmp_path, "create -q -f qcow2 web01.img 8M")
    as_raw = read(tmp_path / "web01.img", "raw").disks[0]
    as_image = read(tmp_path / "web01.img", "qcow2").disks[0]
    assert as_raw.source
    assert as_image.source
    assert (as_raw.source.server, as_raw.source.format) == ("file", "raw")
    assert (as_image.source.format, as_image.size) == ("qcow2", 8 * MIB)


def test_a_disk_that_is_not_of_the_users_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "web01.img").write_bytes(bytes(MIB))
    assert "no qcow2 image" in refusal(tmp_path / "web01.img", "qcow2").message


def test_a_guest_in_a_fixed_vhd_cannot_change_its_format(tmp_path: Path) -> None:
    qemu_img(tmp_path, "create -q -f vpc -o subformat=fixed web01.vhd 8M")
    with (tmp_path / "web01.vhd").open("r+b") as file:
        file.write(b"QFI\xfb\0\0\0\3")
    layer = read(tmp_path / "web01.vhd").disks[0].source
    assert layer
    assert layer.format == "vpc"


@pytest.mark.parametrize("format", NAMES)
def test_a_name_that_the_header_contradicts_is_refused(
    tmp_path: Path, format: Format
) -> None:
    other = "vdi" if format == "qcow2" else "qcow2"
    qemu_img(tmp_path, f"create -q -f {other} {NAMES[format]} 8M")
    assert f"begins like {other}" in refusal(tmp_path / NAMES[format]).message


@pytest.mark.parametrize("format", NAMES)
def test_noise_in_the_name_of_an_image_is_refused(
    tmp_path: Path, format: Format
) -> None:
    (tmp_path / NAMES[format]).write_bytes(os.urandom(MIB))
    assert refusal(tmp_path / NAMES[format]).remedy


@pytest.mark.parametrize("name", ["web01.img", "web01.qcow2", "web01"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert "is empty" in refusal(tmp_path / name).message
    assert "is empty" in refusal(tmp_path / name, "raw").message


@pytest.mark.parametrize("name", ["a.iso", "a.qcow2.gz", "a.zip", "a.vmdk.xz"])
def test_what_is_no_disk_by_its_name_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(bytes(MIB))
    assert refusal(tmp_path / name).remedy
    assert read(tmp_path / name, "raw").disks


def test_what_does_not_exist_is_refused(tmp_path: Path) -> None:
    refusal(tmp_path / "no.img")
    refusal("/" + "a" * 5000)
    refusal("/" + "a/" * 5000)
    refusal(b"/tmp/\xff.img".decode("utf-8", "surrogateescape"))
    refusal("/dev/null")


def test_a_backing_file_is_refused_whatever_the_name(tmp_path: Path) -> None:
    qemu_img(tmp_path, "create -q -f qcow2 -u -b /etc/passwd -F raw web01.qcow2 1M")
    e = refusal(tmp_path / "web01.qcow2")
    assert "/etc/passwd" in e.message
    assert "qemu-img convert" in e.remedy


def test_a_vmdk_that_names_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "web01.vmdk").write_text(
        "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n"
        'createType="monolithicFlat"\nRW 1 FLAT "/etc/passwd" 0\n'
    )
    refusal(tmp_path / "web01.vmdk")


def test_internal_snapshots_are_told(tmp_path: Path) -> None:
    qemu_img(tmp_path, "create -q -f qcow2 web01.qcow2 1M")
    qemu_img(tmp_path, "snapshot -c clean web01.qcow2")
    assert [f.code for f in read(tmp_path / "web01.qcow2").findings] == [
        "snapshots-dropped"
    ]


def test_a_link_gives_its_name_and_its_target_is_read(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    (store / "0a1b2c").write_bytes(bytes(MIB))
    (tmp_path / "web01.img").symlink_to(store / "0a1b2c")
    vm = read(tmp_path / "web01.img")
    assert vm.name == "web01"
    assert vm.disks[0].source
    checked = paths.checked(vm.disks[0].source.path or "", paths.roots(vm))
    assert checked == (store / "0a1b2c").resolve()


def gpt(path: Path, *types: str, sector: int = 512) -> Path:
    """Write a disk with a partition table of *types*."""
    entries = b"".join(uuid.UUID(t).bytes_le + bytes(112) for t in types)
    header = b"EFI PART" + bytes(64) + struct.pack("<QII", 2, len(types), 128)
    mbr = bytes(450) + b"\xee" + bytes(59) + b"\x55\xaa"
    head = mbr.ljust(sector, b"\0") + header.ljust(sector, b"\0")
    path.write_bytes(head + entries.ljust(MIB, b"\0"))
    return path


@pytest.mark.parametrize(
    ("types", "firmware"),
    [((ESP,), "efi"), ((BIOS_BOOT, ESP), "bios"), ((BIOS_BOOT,), "bios"), ((), "bios")],
)
@pytest.mark.parametrize("sector", [512, 4096])
def test_the_partition_table_gives_a_first_guess_of_the_firmware(
    tmp_path: Path, types: tuple[str, ...], firmware: str, sector: int
) -> None:
    vm = read(gpt(tmp_path / "web01.img", *types, sector=sector))
    assert (vm.firmware, vm.firmware_known) == (firmware, False)
    assert vm.disks[0].logical_block_size == sector


def test_a_broken_partition_table_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "web01.img"
    for numbers in [(2**63, 2**31, 128), (2, 2**31, 0), (2**40, 1, 2**31)]:
        header = b"EFI PART" + bytes(64) + struct.pack("<QII", *numbers)
        path.write_bytes(bytes(512) + header)
        assert read(path).firmware == "bios"
        path.write_bytes(bytes(512) + header[:20])
        assert read(path).firmware == "bios"


# Folders


@pytest.mark.parametrize(
    ("files", "meant"),
    [
        ("web01.vmx web01.vmdk web01-flat.vmdk web01.vmxf web01.nvram", "web01.vmx"),
        ("web01.ovf web01-disk1.vmdk web01.mf", "web01.ovf"),
        ("web01.ova readme.txt", "web01.ova"),
        ("._web01.ova web01.ova", "web01.ova"),
        ("web01.xml notes.xml web01.img", "web01.xml"),
        ("web01.vmdk web01-flat.vmdk", "web01.vmdk"),
        ("disk.vmdk disk-s001.vmdk disk-s002.vmdk", "disk.vmdk"),
        ("WEB01.VHDX readme.txt", "WEB01.VHDX"),
        ("web01.img notes.xml", "web01.img"),
        ("web01.qcow2.gz readme.txt", "web01.qcow2.gz"),
        ("WEB01.IMG.XZ notes.xml", "WEB01.IMG.XZ"),
        ("web01.ova.xz web01.mf", "web01.ova.xz"),
        ("vzdump-qemu-100.vma.zst vzdump-qemu-100.log", "vzdump-qemu-100.vma.zst"),
        ("web01.xva.zst data.img", "web01.xva.zst"),
        ("web01.ovf web01-disk1.vmdk.gz", "web01.ovf"),
        ("web01.qcow2 web01.qcow2.gz", "web01.qcow2"),
        ("web01.vmdk.gz web01-flat.vmdk.gz", "web01.vmdk.gz"),
        ("web01.img.gz web01.txt.gz photos.tgz", "web01.img.gz"),
        ("web01.zip readme.txt", "web01.zip"),
        ("photos.zip web01.img", "web01.img"),
        ("web01.tar.gz readme.txt", "web01.tar.gz"),
    ],
)
def test_a_folder_means_the_one_vm_in_it(
    tmp_path: Path, files: str, meant: str
) -> None:
    for name in files.split():
        xml = "<domain type='kvm'>" if name == "web01.xml" else "<notes/>"
        (tmp_path / name).write_text(xml)
    assert sources.resolve(str(tmp_path)) == str(tmp_path / meant)


@pytest.mark.parametrize(
    "files",
    [
        "a.vmx b.vmx",
        "a.vmx a.ovf",
        "a.img b.img",
        "a.vmdk a-000001.vmdk",
        "a.xml b.xml",
        "a.qcow2.gz b.img.xz",
        "a.ova.gz b.xva.zst",
    ],
)
def test_several_vms_in_a_folder_are_listed(tmp_path: Path, files: str) -> None:
    for name in files.split():
        (tmp_path / name).write_text("<domain/>" if "xml" in name else "x")
    e = refusal(tmp_path)
    assert all(name in e.message for name in files.split())


def test_a_folder_without_a_vm_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sub.img").mkdir()
    (tmp_path / "readme.txt").touch()
    assert "holds no VM" in refusal(tmp_path).message


def test_the_vm_of_a_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "web01.raw").write_bytes(bytes(MIB))
    vm = read(tmp_path)
    assert (vm.name, vm.source.location) == ("web01", str(tmp_path / "web01.raw"))


def test_an_unknown_kind_of_source_is_a_mistake_of_usage() -> None:
    with pytest.raises(UsageError, match="floppynet"):
        list(sources.read(Request(location="x"), "floppynet"))


@pytest.mark.parametrize(
    ("places", "sector"),
    [((), 512), ((512,), 512), ((4096,), 4096), ((512, 4096), 512)],
)
def test_the_place_of_the_partition_table_tells_the_size_of_the_sectors(
    tmp_path: Path, places: tuple[int, ...], sector: int
) -> None:
    data = bytearray(4104)
    data[450], data[510:512] = 0xEE, b"\x55\xaa"
    for place in places:
        data[place : place + 8] = b"EFI PART"
    (tmp_path / "a.img").write_bytes(data)
    (vm,) = sources.read(Request(location=str(tmp_path / "a.img")))
    assert (vm.disks[0].logical_block_size, vm.findings) == (sector, ())


@pytest.mark.parametrize(("type", "signature"), [(7, b"\x55\xaa"), (0xEE, b"\0\0")])
def test_no_partition_table_is_seen_where_the_mbr_says_of_none(
    tmp_path: Path, type: int, signature: bytes
) -> None:
    data = bytearray(4104)
    data[4096:] = b"EFI PART"
    data[450], data[510:512] = type, signature
    (tmp_path / "a.img").write_bytes(data)
    assert read(tmp_path / "a.img").disks[0].logical_block_size == 512


@pytest.fixture
def large_sectors(tmp_path: Path) -> Iterator[Path]:
    """A block device with sectors of 4096 bytes and no partition table."""
    if os.geteuid() != 0 or not Path("/dev/loop-control").exists():
        pytest.skip("needs root and loop devices")
    (tmp_path / "raw").write_bytes(bytes(MIB))
    command = "losetup --find --show --sector-size 4096"
    made = subprocess.run(
        [*command.split(), tmp_path / "raw"], check=False, capture_output=True
    )
    if made.returncode:
        pytest.skip(f"no loop device: {made.stderr.decode()}")
    device = Path(made.stdout.decode().strip())
    yield device
    subprocess.run(["losetup", "--detach", str(device)], check=True)


def test_a_device_tells_its_sectors_but_its_partition_table_first(
    large_sectors: Path, tmp_path: Path
) -> None:
    assert read(large_sectors).disks[0].logical_block_size == 4096
    table = gpt(tmp_path / "table", ESP).read_bytes()[: 256 * 1024]
    with large_sectors.open("r+b") as device:
        device.write(table)
    assert read(large_sectors).disks[0].logical_block_size == 512


def test_a_vhdx_tells_its_sectors(tmp_path: Path) -> None:
    whole_vhdx(tmp_path / "a.vhdx", bytes(MIB), 4096)
    assert read(tmp_path / "a.vhdx").disks[0].logical_block_size == 4096


MAGICS = {
    "ext2": (1080, b"\x53\xef"),
    "XFS": (0, b"XFSB"),
    "btrfs": (65536 + 64, b"_BHRfS_M"),
    "NTFS": (3, b"NTFS    "),
    "LVM": (512, b"LABELONE"),
}
TABLE = b"\x80\0\0\0\x83\0\0\0\1\0\0\0\1\0\0\0".ljust(64, b"\0") + b"\x55\xaa"


@pytest.mark.parametrize("kind", MAGICS)
@pytest.mark.parametrize("table", [False, True])
def test_a_partition_that_is_given_as_a_disk_blocks(
    tmp_path: Path, kind: str, table: bool
) -> None:
    at, magic = MAGICS[kind]
    data = bytearray(MIB)
    data[at : at + len(magic)] = magic
    if table:  # of a disk that was once such a file system
        data[446:512] = TABLE
    (tmp_path / "sda1.img").write_bytes(data)
    found = [(f.code, f.severity) for f in read(tmp_path / "sda1.img").findings]
    assert found == ([] if table else [("disk-is-partition", "block")])


def test_a_boot_loader_may_start_a_file_system_without_a_table(tmp_path: Path) -> None:
    """As extlinux does, in the sector that ext4 leaves to it."""
    data = bytearray(MIB)
    data[1080:1082], data[510:512] = b"\x53\xef", b"\x55\xaa"
    (tmp_path / "a.img").write_bytes(data)
    assert read(tmp_path / "a.img").findings == ()
