# SPDX-License-Identifier: GPL-2.0-or-later
"""Exports of the first XenServers: a folder with pieces of disks, and no archive."""

import gzip
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from any_input import gives_a_document_or_one_line
from v2v.document import VM
from v2v.errors import SourceError
from v2v.sources import Request, detect, read

OVA = """<?xml version="1.0" ?>
<appliance version="0.1">
  <vm name="vm">
    <label>web01</label><shortdesc>a web server</shortdesc>
    <config mem_set="268435456" vcpus="2"/>
    <hacks is_hvm="false" kernel_boot_cmdline="root=/dev/sda1 ro"/>
    <vbd device="xvda" function="root" mode="w" vdi="first"/>
    <vbd device="sda2" function="other" mode="r" vdi="second"/>
  </vm>
  <vdi name="first" size="8589934592" source="file://xvda" type="dir-gzipped-chunks"/>
  <vdi name="second" size="4096" source="file://../../etc" type="dir-gzipped-chunks"/>
</appliance>"""


def export(folder: Path, text: str = OVA) -> Path:
    (folder / "ova.xml").write_text(text)
    (folder / "xvda").mkdir()
    for number, content in enumerate((b"first", b"second")):
        name = f"chunk-{number:09}.gz"
        (folder / "xvda" / name).write_bytes(gzip.compress(content))
    return folder


def described(location: Path) -> VM:
    (vm,) = read(Request(location=str(location)))
    return vm


@pytest.mark.parametrize("name", ["", "ova.xml"])
def test_the_machine_is_described_by_folder_or_file(tmp_path: Path, name: str) -> None:
    location = export(tmp_path) / name
    assert detect(str(location)) == "xva"
    vm = described(location)
    assert (vm.name, vm.description, vm.memory, vm.vcpus) == (
        "web01",
        "a web server",
        2**28,
        2,
    )
    assert not vm.firmware_known
    assert [(d.slot, d.bus, d.size, d.boot, d.readonly) for d in vm.disks] == [
        ("xvda", "xen", 8 * 2**30, 1, False),
        ("sda2", "xen", 4096, None, True),
    ]


def test_each_disk_says_how_its_pieces_become_one_file(tmp_path: Path) -> None:
    vm = described(export(tmp_path))
    assert [(f.code, f.severity, f.disk) for f in vm.findings] == [
        ("disk-missing", "block", "sda"),
        ("disk-missing", "block", "sdb"),
        ("disk-is-partition", "block", "sdb"),
    ]
    command = vm.findings[0].remedy.removeprefix("join them: ").partition(";")[0]
    subprocess.run(["sh", "-c", command], check=True, cwd=tmp_path)
    assert (tmp_path / "sda.img").read_bytes() == b"firstsecond"
    # A name that leads elsewhere does not become a part of a command.
    assert "etc" not in vm.findings[1].remedy


def test_the_description_out_of_an_archive_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "ova.xml").write_text("<value><struct/></value>")
    with pytest.raises(SourceError, match=r"description of an \.xva") as e:
        described(tmp_path)
    assert ".xva itself" in e.value.remedy


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<appliance/>", "no VM"),
        ("<appliance><vm>" + "<vbd/>" * 600 + "</vm></appliance>", "600 disks"),
        ("<appliance><vm></appliance>", "XML"),
        (
            "<!DOCTYPE appliance [<!ENTITY a SYSTEM '/etc/passwd'>]><appliance/>",
            "document type",
        ),
    ],
)
def test_what_is_no_export_is_said_in_one_line(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "ova.xml").write_text(text)
    with pytest.raises(SourceError) as e:
        list(read(Request(location=str(tmp_path / "ova.xml"))))
    assert "\n" not in e.value.message
    assert said in e.value.message


WORDS = st.sampled_from(
    ["", "-1", "9" * 500, "x" * 400, "0x10", "/dev/xvdz9", "é", "a b"]
)


@given(words=st.lists(WORDS, min_size=8, max_size=8))
def test_odd_values_give_a_document_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, words: list[str]
) -> None:
    names = ["web01", "268435456", "xvda", "sda2", "first", "8589934592", "root", "vm"]
    text = OVA
    for name, word in zip(names, words, strict=True):
        text = text.replace(f'"{name}"', f'"{word}"').replace(f">{name}<", f">{word}<")
    path = tmp_path_factory.mktemp("xva") / "ova.xml"
    path.write_text(text)
    gives_a_document_or_one_line(lambda: described(path))
