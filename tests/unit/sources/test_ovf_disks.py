# SPDX-License-Identifier: GPL-2.0-or-later
import io
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

import ovf_package as build
from ovf_package import (
    MIB,
    QCOW2,
    RAW,
    STREAM,
    VHD,
    VMDK,
    disk_item,
    disk_of,
    file_of,
    one_disk,
    ovf,
    system,
)
from v2v import access, document, layers, process
from v2v.document import VM, Disk, Finding
from v2v.errors import SourceError
from v2v.sources import Request
from v2v.sources import ovf as source


def read(path: Path, **settings: Any) -> VM:
    return next(iter(source.read(Request(location=str(path), **settings))))


def content(vm: VM, disk: Disk, folder: Path) -> bytes:
    """Return what *disk* of *vm* holds, read as every later stage reads it."""
    made = layers.graph(disk, access.of(vm))
    out = folder / "out.raw"
    command = ["qemu-img", "convert", "-O", "raw", layers.argument(made), str(out)]
    process.run(command, seconds=60)
    return out.read_bytes()


def finding(vm: VM, code: str) -> Finding:
    return next(f for f in vm.findings if f.code == code)


def put(folder: Path, text: str, name: str = "web01.ovf") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A streamOptimized VMDK, and what the disk holds."""
    path = tmp_path_factory.mktemp("stream") / "a.vmdk"
    held = build.image(path, *STREAM)
    return path.read_bytes(), held


@pytest.mark.parametrize(
    "format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
)
def test_a_disk_in_an_ova_is_read_where_it_lies(
    tmp_path: Path, stream: tuple[bytes, bytes], format: int
) -> None:
    name = "ü" * 60 + ".vmdk"
    members = {name: stream[0], "web01.ovf": one_disk(name).encode()}
    if format == tarfile.USTAR_FORMAT:
        members = {"a.vmdk": stream[0], "web01.ovf": one_disk("a.vmdk").encode()}
    vm = read(build.archive(tmp_path / "a.ova", members, format))
    layer = vm.disks[0].source
    assert layer and layer.offset and layer.length == len(stream[0])
    assert (vm.source.kind, vm.source.location) == ("ova", str(tmp_path / "a.ova"))
    assert content(vm, vm.disks[0], tmp_path) == stream[1]
    assert {p.name for p in tmp_path.iterdir()} == {"a.ova", "out.raw"}


@pytest.mark.parametrize(
    ("name", "format", "options"),
    [
        ("a.vmdk", VMDK, STREAM),
        ("a.vmdk", VMDK, ("-O", "vmdk", "-o", "subformat=monolithicFlat")),
        ("a.vhd", VHD, ("-O", "vpc", "-o", "force_size")),
        ("a.qcow2", QCOW2, ("-O", "qcow2")),
        ("a.img", RAW, ("-O", "raw")),
        ("a.vmdk", "", STREAM),
        ("a.img", "", ("-O", "raw")),
    ],
)
def test_a_disk_beside_a_lone_ovf_is_read_in_its_format(
    tmp_path: Path, name: str, format: str, options: tuple[str, ...]
) -> None:
    held = build.image(tmp_path / name, *options)
    vm = read(put(tmp_path, one_disk(name, format)))
    assert content(vm, vm.disks[0], tmp_path) == held
    assert vm.disks[0].size == 4 * MIB
    assert ("format-assumed" in {f.code for f in vm.findings}) is (not format)


def test_a_raw_disk_in_an_ova_is_read_where_it_lies(tmp_path: Path) -> None:
    held = build.image(tmp_path / "a.img", "-O", "raw")
    members = {"web01.ovf": one_disk("a.img", RAW).encode(), "a.img": held}
    vm = read(build.archive(tmp_path / "a.ova", members))
    layer = vm.disks[0].source
    assert layer and (layer.server, layer.format) == ("file", "raw")
    assert content(vm, vm.disks[0], tmp_path) == held


def test_a_raw_disk_that_looks_like_qcow2_stays_raw(tmp_path: Path) -> None:
    build.image(tmp_path / "a.img", "-O", "qcow2")
    vm = read(put(tmp_path, one_disk("a.img", RAW)))
    layer = vm.disks[0].source
    assert layer and (layer.server, layer.format) == ("file", "raw")


@pytest.mark.parametrize(
    ("name", "format", "said"),
    [
        ("a.vmdk", VHD, "says that it is vpc"),
        ("a.img", "", "does not say its format"),
        ("a.img", VHD, "bears the mark of vmdk"),
    ],
)
def test_a_file_that_is_not_of_the_stated_format_is_not_opened(
    tmp_path: Path, name: str, format: str, said: str
) -> None:
    build.image(tmp_path / name, *STREAM)
    with pytest.raises(SourceError, match=said) as e:
        read(put(tmp_path, one_disk(name, format)))
    assert e.value.remedy


def test_a_truncated_disk_is_refused(
    tmp_path: Path, stream: tuple[bytes, bytes]
) -> None:
    (tmp_path / "a.vmdk").write_bytes(stream[0][: len(stream[0]) // 2])
    with pytest.raises(SourceError, match="truncated"):
        read(put(tmp_path, one_disk("a.vmdk")))


def test_an_empty_disk_reads_as_zeroes(tmp_path: Path) -> None:
    capacity = "ovf:capacity='2' ovf:capacityAllocationUnits='MegaBytes'"
    text = ovf(
        disks=disk_of("", file="", more=capacity), systems=system(disk_item(4, "disk1"))
    )
    vm = read(put(tmp_path, text))
    assert content(vm, vm.disks[0], tmp_path) == bytes(2 * MIB)


def test_a_missing_disk_is_a_finding_and_all_else_is_described(tmp_path: Path) -> None:
    vm = read(put(tmp_path, one_disk("gone.vmdk")))
    assert (vm.memory, vm.disks[0].bus) == (512 * MIB, "scsi")
    found = finding(vm, "disk-missing")
    assert (found.severity, found.disk) == ("block", "sda")
    assert "gone.vmdk" in found.message and found.remedy


@pytest.mark.parametrize(
    ("href", "name"),
    [
        ("a%20b.vmdk", "a b.vmdk"),
        ("100%25.vmdk", "100%25.vmdk"),
        ("DISK.VMDK", "disk.vmdk"),
        ("./sub/a.vmdk", "sub/a.vmdk"),
        ("sub\\a.vmdk", "sub/a.vmdk"),
        ("$%24%a-.vmdk", "$%24%a-.vmdk"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_an_href_is_found_literal_encoded_or_in_another_case(
    tmp_path: Path, stream: tuple[bytes, bytes], href: str, name: str, packed: bool
) -> None:
    if packed:
        members = {"./web01.ovf": one_disk(href).encode(), name: stream[0]}
        vm = read(build.archive(tmp_path / "a.ova", members))
    else:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(stream[0])
        vm = read(put(tmp_path, one_disk(href)))
    assert document.blocking(vm) is None
    assert content(vm, vm.disks[0], tmp_path) == stream[1]


@pytest.mark.parametrize(
    "href",
    [
        "../a.vmdk",
        "sub/../../a.vmdk",
        "..%2fa.vmdk",
        "/etc/hostname",
        "\\\\server\\share\\a.vmdk",
        "C:\\a.vmdk",
        "file:///etc/hostname",
        "link.vmdk",
    ],
)
def test_an_href_that_leads_out_of_the_folder_is_refused_and_the_vm_described(
    tmp_path: Path, stream: tuple[bytes, bytes], href: str
) -> None:
    (tmp_path / "a.vmdk").write_bytes(stream[0])
    folder = tmp_path / "vm"
    folder.mkdir()
    (folder / "link.vmdk").symlink_to("../a.vmdk")
    vm = read(put(folder, one_disk(href)))
    found = finding(vm, "path-refused")
    assert (found.severity, found.disk, vm.disks[0].source) == ("block", "sda", None)
    assert vm.memory == 512 * MIB


def test_what_is_on_the_network_is_not_fetched(tmp_path: Path) -> None:
    vm = read(put(tmp_path, one_disk("http://127.0.0.1:1/a.vmdk")))
    assert "download it" in finding(vm, "path-refused").remedy


def test_a_disk_elsewhere_is_opened_if_the_user_allows_it(
    tmp_path: Path, stream: tuple[bytes, bytes]
) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "a.vmdk").write_bytes(stream[0])
    (tmp_path / "vm").mkdir()
    path = put(tmp_path / "vm", one_disk("../store/a.vmdk"))
    vm = read(path, allow=(tmp_path / "store",))
    layer = vm.disks[0].source
    assert layer and layer.path == str(tmp_path / "store" / "a.vmdk")


def test_a_grant_opens_the_folder_of_the_source_and_no_other(tmp_path: Path) -> None:
    vm = read(put(tmp_path, ovf()))
    assert [grant.folder for grant in vm.grants] == [str(tmp_path)]


def delta(folder: Path) -> tuple[str, bytes]:
    """Make a base disk and a delta on it; return the OVF, and what they hold."""
    held = bytearray(build.image(folder / "base.vmdk", "-O", "vmdk"))
    create = "qemu-img create -q -f vmdk -F vmdk -b base.vmdk delta.vmdk"
    write = ["qemu-io", "-f", "vmdk", "delta.vmdk", "-c"]
    subprocess.run(create.split(), cwd=folder, check=True)
    subprocess.run(
        [*write, "write -P 7 1M 64k"], cwd=folder, check=True, stdout=subprocess.PIPE
    )
    held[MIB : MIB + 65536] = b"\7" * 65536
    files = file_of("base.vmdk") + file_of("delta.vmdk", "file2")
    lies_on = "ovf:parentRef='disk1'"
    disks = disk_of() + disk_of(id="disk2", file="file2", more=lies_on)
    return ovf(files, disks, system(disk_item(4, "disk2"))), bytes(held)


def test_a_delta_disk_is_read_on_top_of_its_parent(tmp_path: Path) -> None:
    text, held = delta(tmp_path)
    vm = read(put(tmp_path, text))
    layer = vm.disks[0].source
    assert layer and [Path(f.path).name for f in layer.backing] == ["base.vmdk"]
    assert content(vm, vm.disks[0], tmp_path) == held


def test_a_delta_disk_in_an_ova_is_read_with_its_parent(tmp_path: Path) -> None:
    text, held = delta(tmp_path)
    members = {"web01.ovf": text.encode()}
    for name in ("base.vmdk", "delta.vmdk"):
        members[name] = (tmp_path / name).read_bytes()
    vm = read(build.archive(tmp_path / "a.ova", members))
    assert content(vm, vm.disks[-1], tmp_path) == held


def test_a_delta_on_what_qemu_lays_it_on_not_is_described_and_blocked(
    tmp_path: Path,
) -> None:
    text, held = delta(tmp_path)
    (tmp_path / "base.vmdk").write_bytes(held)
    text = text.replace(VMDK, RAW, 1)
    found = finding(read(put(tmp_path, text)), "disk-delta")
    assert found.severity == "block" and "consolidate" in found.remedy


def test_a_delta_disk_whose_parent_is_missing_is_described(tmp_path: Path) -> None:
    text, _ = delta(tmp_path)
    (tmp_path / "base.vmdk").unlink()
    assert finding(read(put(tmp_path, text)), "disk-missing").severity == "block"


def test_parents_in_a_circle_are_refused(
    tmp_path: Path, stream: tuple[bytes, bytes]
) -> None:
    (tmp_path / "a.vmdk").write_bytes(stream[0])
    disks = disk_of(more="ovf:parentRef='disk2'") + disk_of(
        id="disk2", more="ovf:parentRef='disk1'"
    )
    text = ovf(file_of("a.vmdk"), disks, system(disk_item(4, "disk1")))
    with pytest.raises(SourceError, match="circle"):
        read(put(tmp_path, text))


def test_a_differencing_disk_without_a_parent_is_refused(tmp_path: Path) -> None:
    text, _ = delta(tmp_path)
    members = {
        "web01.ovf": text.replace("ovf:parentRef='disk1'", "").encode(),
        "base.vmdk": (tmp_path / "base.vmdk").read_bytes(),
        "delta.vmdk": (tmp_path / "delta.vmdk").read_bytes(),
    }
    with pytest.raises(SourceError, match="differences"):
        read(build.archive(tmp_path / "a.ova", members))


def split(folder: Path, subformat: str) -> tuple[dict[str, bytes], bytes]:
    """Return the members of an OVA whose disk lists others, and what it holds."""
    made = folder / "made"
    made.mkdir()
    held = build.image(made / "a.vmdk", "-O", "vmdk", "-o", f"subformat={subformat}")
    members = {"x/web01.ovf": one_disk("x/a.vmdk").encode()}
    members |= {f"x/{file.name}": file.read_bytes() for file in made.iterdir()}
    return members, held


@pytest.mark.parametrize("subformat", ["monolithicFlat", "twoGbMaxExtentFlat"])
def test_a_descriptor_in_an_ova_is_read_with_its_flat_members(
    tmp_path: Path, subformat: str
) -> None:
    members, held = split(tmp_path, subformat)
    vm = read(build.archive(tmp_path / "a.ova", members))
    assert vm.disks[0].size == len(held)
    assert content(vm, vm.disks[0], tmp_path) == held
    flat = next(name for name in members if "-f" in name)
    members[flat] = members[flat][:-512]
    with pytest.raises(SourceError, match="the list of the disk's parts says"):
        read(build.archive(tmp_path / "a.ova", members))
    del members[flat]
    missing = read(build.archive(tmp_path / "a.ova", members))
    assert finding(missing, "disk-missing").severity == "block"


def test_a_descriptor_in_an_ova_opens_nothing_beside_it(tmp_path: Path) -> None:
    members, _ = split(tmp_path, "monolithicFlat")
    (tmp_path / "secret").write_bytes(members.pop("x/a-flat.vmdk"))
    for name, code in (
        ("../secret", "path-refused"),
        (str(tmp_path / "secret"), "disk-missing"),
        ("secret", "disk-missing"),
    ):
        text = members["x/a.vmdk"].replace(b"a-flat.vmdk", name.encode())
        vm = read(build.archive(tmp_path / "a.ova", members | {"x/a.vmdk": text}))
        assert finding(vm, code).severity == "block"
        layer = vm.disks[0].source
        assert layer is None or layer.path == "x/a.vmdk"


def test_a_descriptor_in_an_ova_names_files_that_cannot_be_read_there(
    tmp_path: Path,
) -> None:
    members, _ = split(tmp_path, "twoGbMaxExtentSparse")
    vm = read(build.archive(tmp_path / "a.ova", members))
    found = finding(vm, "disk-split")
    assert found.severity == "block" and "unpack the OVA" in found.remedy


def test_a_size_that_the_ovf_has_wrong_is_said(
    tmp_path: Path, stream: tuple[bytes, bytes]
) -> None:
    (tmp_path / "a.vmdk").write_bytes(stream[0])
    vm = read(put(tmp_path, one_disk("a.vmdk", of_file="ovf:size='1'")))
    assert finding(vm, "size-differs").severity == "warn"


def test_a_member_of_more_than_8_gib_is_found(tmp_path: Path) -> None:
    """Its size is in base 256 in the header, which broke several readers."""
    path = tmp_path / "a.ova"
    entry = build.entry("a.img", size=9 * 2**30)
    text = one_disk("a.img", RAW).encode()
    with path.open("wb") as file:
        file.write(entry.tobuf(tarfile.GNU_FORMAT))
        file.seek(9 * 2**30, io.SEEK_CUR)
        file.write(build.entry("a.ovf", size=len(text)).tobuf())
        file.write(text + bytes(-len(text) % 512 + 1024))
    assert read(path).disks[0].size == 9 * 2**30
