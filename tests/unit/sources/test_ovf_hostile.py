# SPDX-License-Identifier: GPL-2.0-or-later
"""OVF packages that somebody made to do harm, or that a copy cut off."""

import random
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

import ovf_package as build
from ovf_package import (
    MIB,
    QCOW2,
    STREAM,
    disk_item,
    disk_of,
    entry,
    file_of,
    one_disk,
    ovf,
    system,
)
from v2v import document
from v2v.document import VM
from v2v.errors import SOURCE, SourceError
from v2v.ovf import text
from v2v.sources import Request
from v2v.sources import ovf as source


def read(path: Path, **settings: Any) -> list[VM]:
    return list(source.read(Request(location=str(path), **settings)))


def refused(path: Path) -> SourceError:
    """Return why *path* is refused: one line, and what to do."""
    with pytest.raises(SourceError) as e:
        read(path)
    assert e.value.status == SOURCE
    assert "\n" not in e.value.message and e.value.remedy
    return e.value


def put(folder: Path, text: str) -> Path:
    path = folder / "web01.ovf"
    path.write_text(text)
    return path


ENTITIES = [
    '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]>',
    '<!DOCTYPE x SYSTEM "file:///etc/passwd">',
    '<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd">',
    '<!DOCTYPE x [<!ENTITY a "&b;&b;"><!ENTITY b "&c;&c;"><!ENTITY c "lol">]>',
    "<!-- a comment --><?and this?>\n<!DOCTYPE x>",
]


@pytest.mark.parametrize("declaration", ENTITIES)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_document_type_is_refused(
    tmp_path: Path, declaration: str, encoding: str
) -> None:
    name = "<Name>&e;</Name>" if "ENTITY e" in declaration else ""
    plain = ovf(systems=system(before=name)).partition("?>")
    path = tmp_path / "web01.ovf"
    path.write_bytes(f"{plain[0]}?>{declaration}{plain[2]}".encode(encoding))
    assert "document type" in refused(path).message


def test_an_entity_that_nothing_declares_is_refused(tmp_path: Path) -> None:
    named = ovf(systems=system(before="<Name>&e;</Name>"))
    assert "broken XML" in refused(put(tmp_path, named)).message


def test_a_cut_off_ovf_is_not_read_in_part(tmp_path: Path) -> None:
    whole = ovf(systems=system(disk_item(4, "a")))
    refused(put(tmp_path, whole[: len(whole) * 3 // 4]))


def test_a_cut_off_ovf_with_undeclared_prefixes_is_not_repaired(tmp_path: Path) -> None:
    whole = ovf(systems=system(disk_item(4, "a"))).replace("xmlns:vmw", "xmlns:x")
    odd = whole.replace("<VirtualSystem ", "<VirtualSystem vmw:y='' ")
    refused(put(tmp_path, odd[: len(odd) * 3 // 4]))


def test_an_ovf_of_gigabytes_is_not_read_into_memory(tmp_path: Path) -> None:
    path = put(tmp_path, "<Envelope>")
    with path.open("r+b") as file:
        file.truncate(8 * 2**30)
    assert "too large" in refused(path).message


def test_an_ovf_of_very_deep_nesting_is_refused(tmp_path: Path) -> None:
    refused(put(tmp_path, "<Envelope>" + "<a>" * 10_000))


def test_attributes_without_end_are_refused(tmp_path: Path) -> None:
    many = " ".join(f"a{n}='x'" for n in range(500_000))
    refused(put(tmp_path, f"<Envelope {many}/>"))


def test_a_million_devices_are_refused_at_once(tmp_path: Path) -> None:
    items = "<Item/>" * 1_000_000
    start = time.process_time()
    assert "devices" in refused(put(tmp_path, ovf(systems=system(items)))).message
    assert time.process_time() - start < 20


def test_ever_so_many_disks_or_vms_are_refused(tmp_path: Path) -> None:
    disks = "".join(disk_of(id=f"d{n}") for n in range(10_001))
    refused(put(tmp_path, ovf(disks=disks)))
    refused(put(tmp_path, ovf(systems="<VirtualSystem/>" * 1001)))


@pytest.mark.parametrize(
    "capacity", ["9" * 30, "9" * 400_000, "-5", str(2**63), "1.5", "0x10"]
)
def test_an_absurd_capacity_of_an_empty_disk_blocks(
    tmp_path: Path, capacity: str
) -> None:
    unit = "ovf:capacityAllocationUnits='byte * 2^30'"
    disk = disk_of("", file="", more=f"ovf:capacity='{capacity}' {unit}")
    vm = read(put(tmp_path, ovf(disks=disk, systems=system(disk_item(4, "disk1")))))[0]
    found = document.blocking(vm)
    assert found and found.code == "capacity-unknown" and len(found.message) < 200


def test_an_absurd_memory_and_number_of_cpus_are_not_taken(tmp_path: Path) -> None:
    odd = (
        ovf().replace(">512<", f">{'9' * 20}<").replace(">2</rasd:V", ">999999</rasd:V")
    )
    vm = read(put(tmp_path, odd))[0]
    assert (vm.memory, vm.vcpus) == (2**30, 1)


@pytest.mark.parametrize("href", ["x" * 300, "x/" * 3000, "a%00b", "%", "sub/", "."])
def test_an_href_that_is_no_file_name_is_a_finding(tmp_path: Path, href: str) -> None:
    (tmp_path / "sub").mkdir()
    vm = read(put(tmp_path, one_disk(href)))[0]
    found = document.blocking(vm)
    assert found and found.code in ("disk-missing", "path-refused")


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "a.vmdk")
    os.mkfifo(tmp_path / "x.ovf")
    vm = read(put(tmp_path, one_disk("a.vmdk")))[0]
    assert {f.code for f in vm.findings} >= {"disk-missing"}
    assert not source.claims(str(tmp_path / "x.ovf"))


OVF = ("web01.ovf", ovf().encode())


@pytest.mark.parametrize(
    "name",
    ["../a.vmdk", "/etc/a.vmdk", "a/../../b", "a\\..\\..\\b", "C:\\a", "\\\\s\\a"],
)
@pytest.mark.parametrize(
    "format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
)
def test_a_member_whose_name_leads_outside_is_refused(
    tmp_path: Path, name: str, format: int
) -> None:
    members = dict([OVF, (name, b"x")])
    path = build.archive(tmp_path / "a.ova", members, format)
    assert "leads outside" in refused(path).message


@pytest.mark.parametrize(
    "type",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        b"V",
    ],
)
def test_a_member_that_is_no_file_is_refused(tmp_path: Path, type: bytes) -> None:
    odd = entry("a.vmdk", type=type, linkname="/etc/passwd")
    path = build.archive_of(tmp_path / "a.ova", [entry(OVF[0]), odd], [OVF[1], b""])
    assert "link or a device" in refused(path).message


def test_a_sparse_member_is_refused(tmp_path: Path) -> None:
    headers = {
        "GNU.sparse.map": "0,1",
        "GNU.sparse.size": "1",
        "GNU.sparse.numblocks": "1",
    }
    odd = entry("a.vmdk", pax_headers=headers)
    entries = [entry(OVF[0]), odd]
    path = build.archive_of(
        tmp_path / "a.ova", entries, [OVF[1], b"x"], tarfile.PAX_FORMAT
    )
    assert "sparse" in refused(path).message


@pytest.mark.parametrize("second", ["a.vmdk", "./a.vmdk"])
def test_two_members_of_one_name_are_refused(tmp_path: Path, second: str) -> None:
    entries = [entry(OVF[0]), entry("a.vmdk"), entry(second)]
    path = build.archive_of(tmp_path / "a.ova", entries, [OVF[1], b"1", b"2"])
    assert "two members" in refused(path).message


def test_a_second_ovf_is_refused(tmp_path: Path) -> None:
    members = dict([OVF, ("evil.ovf", OVF[1])])
    assert "several OVFs" in refused(build.archive(tmp_path / "a.ova", members)).message


def test_an_archive_without_an_ovf_is_refused(tmp_path: Path) -> None:
    path = build.archive(tmp_path / "a.ova", {"a.vmdk": b"x"})
    assert "no OVF" in refused(path).message


def test_what_macos_adds_to_an_archive_is_passed_over(tmp_path: Path) -> None:
    members = dict([("._web01.ovf", b"\0\5\x16\7"), OVF])
    assert read(build.archive(tmp_path / "a.ova", members))[0].name == "web01"


def header(name: str, size: int, type: bytes = tarfile.REGTYPE) -> bytes:
    """Return a header with any *size*, and a checksum that fits."""
    data = bytearray(entry(name, type=type).tobuf(tarfile.GNU_FORMAT))
    data[124:136] = (
        size.to_bytes(12, "big", signed=True)
        if size < 0
        else b"\x80" + size.to_bytes(11, "big")
    )
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data)
    return bytes(data)


def with_headers(path: Path, *headers: bytes) -> Path:
    """Make an OVA of the OVF and whatever *headers* are."""
    start = build.archive(path, dict([OVF])).read_bytes().rstrip(b"\0")
    start += bytes(-len(start) % 512)
    path.write_bytes(start + b"".join(headers) + bytes(1024))
    return path


@pytest.mark.parametrize("size", [-512, -1024, -(2**60), 2**62, 2**85, 100_000])
@pytest.mark.parametrize("type", [tarfile.REGTYPE, b"x", b"L", b"g", b"S"])
def test_a_member_that_overlaps_another_or_the_end_is_refused(
    tmp_path: Path, size: int, type: bytes
) -> None:
    """A negative size leads tarfile back to members that it has read: CVE-2025-8194."""
    refused(with_headers(tmp_path / "a.ova", header("a.vmdk", size, type)))


def test_a_name_of_gigabytes_is_not_read_into_memory(tmp_path: Path) -> None:
    path = with_headers(tmp_path / "a.ova", header("././@LongLink", 2**33, b"L"))
    with path.open("r+b") as file:
        file.truncate(9 * 2**30)
    assert "larger than any name" in refused(path).message


def test_headers_on_headers_without_end_are_refused(tmp_path: Path) -> None:
    nested = [header("x", 0, b"L") for _ in range(20_000)]
    refused(with_headers(tmp_path / "a.ova", *nested))


def test_ever_so_many_members_are_refused(tmp_path: Path) -> None:
    many = [header(f"f{n}", 0) for n in range(10_001)]
    path = with_headers(tmp_path / "a.ova", *many)
    assert "too many members" in refused(path).message


def test_a_broken_header_is_not_the_end_of_an_archive(tmp_path: Path) -> None:
    path = with_headers(tmp_path / "a.ova", b"garbage" + bytes(505))
    assert "broken or cut off" in refused(path).message


def test_an_archive_that_is_cut_off_anywhere_is_refused_or_lacks_a_disk(
    tmp_path: Path,
) -> None:
    build.image(tmp_path / "a.vmdk", *STREAM)
    data = (tmp_path / "a.vmdk").read_bytes()
    members = {"web01.ovf": one_disk("a.vmdk").encode(), "a.vmdk": data}
    whole = build.archive(tmp_path / "whole.ova", members).read_bytes()
    end = 512 * 3 + len(data)
    cut = tmp_path / "cut.ova"
    for length in range(0, end - 512, 1000):
        cut.write_bytes(whole[:length])
        try:
            vms = read(cut)
        except SourceError:
            continue
        assert document.blocking(vms[0]), length


def test_bytes_changed_at_random_give_no_traceback(tmp_path: Path) -> None:
    build.image(tmp_path / "a.vmdk", *STREAM, size=MIB)
    data = (tmp_path / "a.vmdk").read_bytes()
    members = {"web01.ovf": one_disk("a.vmdk").encode(), "a.vmdk": data}
    path = tmp_path / "a.ova"
    whole = build.archive(path, members, tarfile.PAX_FORMAT).read_bytes()
    chance = random.Random(1)
    for _ in range(300):
        odd = bytearray(whole)
        for _ in range(chance.randint(1, 20)):
            odd[chance.randrange(4096)] = chance.randrange(256)
        path.write_bytes(odd)
        try:
            for vm in read(path):
                document.decode(document.encode(vm))
        except SourceError:
            continue


@pytest.mark.parametrize("start", [b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"(\xb5/\xfd"])
def test_a_compressed_ova_is_refused_with_the_command_that_unpacks_it(
    tmp_path: Path, start: bytes
) -> None:
    path = tmp_path / "a.ova"
    path.write_bytes(start + bytes(600))
    assert source.claims(str(path))
    assert "unpack it first" in refused(path).remedy


def test_an_ova_that_is_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ova"
    path.write_bytes(bytes(4096))
    assert "no tar archive" in refused(path).message


def test_a_qcow2_in_an_ova_that_names_a_file_of_the_host_is_refused(
    tmp_path: Path,
) -> None:
    import subprocess

    (tmp_path / "secret").write_bytes(bytes(MIB))
    create = "qemu-img create -q -f qcow2 -F raw -b secret a.qcow2"
    subprocess.run(create.split(), cwd=tmp_path, check=True)
    data = (tmp_path / "a.qcow2").read_bytes()
    members = {"web01.ovf": one_disk("a.qcow2", QCOW2).encode(), "a.qcow2": data}
    refused(build.archive(tmp_path / "a.ova", members))


def test_names_with_broken_characters_can_be_told(tmp_path: Path) -> None:
    members = {"web01.ovf": ovf(file_of("b\ufffd")).encode(), "b\udcff": b"x"}
    vm = read(build.archive(tmp_path / "a.ova", members, tarfile.GNU_FORMAT))[0]
    document.decode(document.encode(vm))


def test_comments_of_any_length_are_passed_in_linear_time() -> None:
    start = time.process_time()
    assert text.root_name(b"<!-- x -->" * 100_000 + b"<!--" * 100_000) == ""
    assert time.process_time() - start < 5
