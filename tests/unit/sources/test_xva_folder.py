# SPDX-License-Identifier: GPL-2.0-or-later
"""Exports of the first XenServers: a folder with pieces of disks, and no archive."""

import gzip
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from any_input import gives_a_document_or_one_line
from v2v import paths, views
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


@pytest.mark.usefixtures("own_views")
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


CUT = OVA.replace("8589934592", "11")


@pytest.mark.usefixtures("own_views")
def test_the_pieces_are_unpacked_and_read_as_one(tmp_path: Path) -> None:
    vm = described(export(tmp_path, CUT))
    first, second = vm.disks
    assert first.source
    assert (first.size, first.source.server, first.source.format) == (11, "file", "raw")
    read_ = [Path(p.path).read_bytes()[: p.length] for p in first.source.parts]
    assert read_ == [b"first", b"second"]
    # A name that leads elsewhere is not followed.
    assert second.source is None
    assert [(f.code, f.severity, f.disk) for f in vm.findings] == [
        ("disk-missing", "block", "sdb"),
        ("disk-is-partition", "block", "sdb"),
    ]


@pytest.mark.usefixtures("own_views")
def test_the_document_names_the_pieces_and_not_their_views(tmp_path: Path) -> None:
    vm = views.marked(described(export(tmp_path, CUT)))
    layer = vm.disks[0].source
    assert layer
    origins = [part.origin for part in layer.parts]
    names = ("chunk-000000000.gz", "chunk-000000001.gz")
    assert origins == [str(tmp_path / "xvda" / name) for name in names]
    assert [f.code for f in vm.findings].count("unpacked") == 2
    views.leave()
    checked = partial(paths.checked, allowed=(tmp_path,))
    again, _ = views.placed(layer, checked)
    assert Path(again.parts[1].path).read_bytes() == b"second"


@pytest.mark.usefixtures("own_views")
def test_of_many_pieces_not_each_is_told(tmp_path: Path) -> None:
    export(tmp_path, CUT)
    for number in range(2, 30):
        name = f"chunk-{number:09}.gz"
        (tmp_path / "xvda" / name).write_bytes(gzip.compress(b"x"))
    vm = views.marked(described(tmp_path))
    told = [f for f in vm.findings if f.code == "unpacked"]
    assert len(told) == 9
    assert told[-1].message == "22 more files are read in the same way"
    assert "capacity-differs" in [f.code for f in vm.findings]


def _gap(folder: Path) -> None:
    (folder / "chunk-000000000.gz").unlink()


def _none(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def _short(folder: Path) -> None:
    (folder / "chunk-000000001.gz").unlink()


def _damaged(folder: Path) -> None:
    data = gzip.compress(bytes(10000))
    (folder / "chunk-000000001.gz").write_bytes(data[:-9])


def _noise(folder: Path) -> None:
    (folder / "chunk-000000001.gz").write_bytes(b"second")


def _away(folder: Path) -> None:
    (folder / "chunk-000000001.gz").unlink()
    (folder / "chunk-000000001.gz").symlink_to("/etc/hostname")


def _folder(folder: Path) -> None:
    (folder / "chunk-000000001.gz").unlink()
    (folder / "chunk-000000001.gz").mkdir()


@pytest.mark.usefixtures("own_views")
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_gap, "chunk-000000000.gz is missing"),
        (_none, "there are no pieces"),
        (_short, "its 1 pieces hold 5 of 11 bytes"),
        (_damaged, "cut off"),
        (_noise, "does not begin like that"),
        (_away, "outside the folders"),
        (_folder, "chunk-000000001.gz"),
    ],
)
def test_pieces_that_are_not_the_disk_are_a_finding(
    tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(export(tmp_path, CUT) / "xvda")
    vm = described(tmp_path)
    finding = vm.findings[0]
    assert (finding.code, finding.severity) == ("disk-missing", "block")
    assert said in finding.message
    assert finding.remedy
    assert "\n" not in finding.message


@pytest.mark.usefixtures("own_views")
def test_all_pieces_together_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views.limits, "most", 9)
    vm = described(export(tmp_path, CUT))
    assert "more than 9 bytes" in vm.findings[0].message
    assert "--max-size" in vm.findings[0].remedy


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
