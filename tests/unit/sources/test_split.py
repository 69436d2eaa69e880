# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks that were cut into files: by split(1), by imagers."""

import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from any_input import gives_a_document_or_one_line
from v2v import sources
from v2v.document import VM
from v2v.errors import SourceError
from v2v.sources import Request
from v2v.sources.disk import split

KIB = 1024
NUMBERED = "disk.img.001 disk.img.002 disk.img.003"
SCHEMES = [
    (NUMBERED, "disk"),
    ("disk.000 disk.001 disk.002", "disk"),
    ("disk.raw.00 disk.raw.01 disk.raw.02", "disk"),
    ("disk.img.part1 disk.img.part2 disk.img.part10", "disk"),
    ("disk.img.part-01 disk.img.part-02 disk.img.part-03", "disk"),
    ("web 01.img_PART_1 web 01.img_PART_2 web 01.img_PART_3", "web 01"),
    ("disk.img.aa disk.img.ab disk.img.ac", "disk"),
    ("disk.img.partaa disk.img.partab disk.img.partac", "disk"),
    ("disk.aaa disk.aab disk.aac", "disk"),
    ("xaa xab xac", "x"),
    ("disk.imgaa disk.imgab disk.imgac", "disk"),
]


def write(folder: Path, names: str, seed: int = 1) -> bytes:
    """Cut a disk into as many files; the last is shorter.  Return what it holds."""
    files = names.split(" ") if "\n" not in names else names.split("\n")
    data = random.Random(seed).randbytes((len(files) - 1) * 3 * KIB + KIB + 100)
    for number, name in enumerate(files):
        (folder / name).write_bytes(data[number * 3 * KIB :][: 3 * KIB])
    return data


def read(path: Path, **given: str) -> VM:
    request = Request(location=str(path), format=given.get("format"))  # type: ignore[arg-type]
    (vm,) = sources.read(request)
    return vm


def refusal(path: Path) -> SourceError:
    with pytest.raises(SourceError) as e:
        read(path)
    assert "\n" not in e.value.message
    assert e.value.remedy
    return e.value


def joined(vm: VM) -> bytes:
    layer = vm.disks[0].source
    assert layer
    assert layer.path == layer.parts[0].path
    return b"".join(Path(p.path).read_bytes()[: p.length] for p in layer.parts)


@pytest.mark.parametrize(("names", "called"), SCHEMES)
@pytest.mark.parametrize("which", ["first", "any", "folder"])
def test_the_pieces_of_a_disk_are_found_from_any_of_them(
    tmp_path: Path, names: str, called: str, which: str
) -> None:
    parts = names.split(" ")
    if "web 01" in names:
        parts = [f"web 01.img_PART_{n}" for n in (1, 2, 3)]
    elif "part10" in names:
        parts = [f"disk.img.part{n}" for n in range(1, 11)]
    data = write(tmp_path, "\n".join(parts))
    (tmp_path / "notes.txt").write_text("x")
    named = {"first": parts[0], "any": parts[1], "folder": ""}[which]
    vm = read(tmp_path / named)
    assert joined(vm) == data
    assert (vm.name, vm.source.location) == (called, str(tmp_path / parts[0]))
    assert vm.disks[0].size == len(data)
    assert [f.code for f in vm.findings] == ["disk-joined"]


@pytest.mark.parametrize("which", range(3))
def test_a_gap_is_told_by_name(tmp_path: Path, which: int) -> None:
    names = ["disk.img.001", "disk.img.002", "disk.img.003", "disk.img.004"]
    write(tmp_path, " ".join(names))
    (tmp_path / names[which]).unlink()
    for name in {*names} - {names[which]}:
        assert f"{names[which]} is missing" in refusal(tmp_path / name).message
    assert f"{names[which]} is missing" in refusal(tmp_path).message


@pytest.mark.parametrize("missing", ["aa", "ab"])
def test_a_gap_of_letters_is_told(tmp_path: Path, missing: str) -> None:
    write(tmp_path, "disk.img.aa disk.img.ab disk.img.ac")
    (tmp_path / f"disk.img.{missing}").unlink()
    told = refusal(tmp_path / "disk.img.ac").message
    assert f"disk.img.{missing} is missing" in told


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ((3000, 2000, 3000), "disk.002 has 2000 bytes"),
        ((3000, 3000, 3001), "disk.003 has 3001 bytes"),
        ((3000, 3000, 0), "disk.003 has 0 bytes"),
        ((0, 3000, 3000), "disk.001 has 0 bytes"),
    ],
)
def test_lengths_that_make_no_sense_are_told(
    tmp_path: Path, sizes: tuple[int, ...], said: str
) -> None:
    for number, size in enumerate(sizes, 1):
        (tmp_path / f"disk.{number:03}").write_bytes(b"x" * size)
    e = refusal(tmp_path / "disk.001")
    assert said in e.message or "is empty" in e.message


@pytest.mark.parametrize(
    "names",
    [
        "disk.001",
        "disk.img.aa",
        "disk.0 disk.1",
        "disk.20260101 disk.20260102",
        "disk.raw disk.rax",
        "ubuntu-22.04 debian-12.10",
        "web01.img web02.img",
        "disk.001 disk.003.txt",
    ],
)
def test_names_that_only_look_like_pieces_are_disks(tmp_path: Path, names: str) -> None:
    for name in names.split():
        (tmp_path / name).write_bytes(b"x" * 4096)
    for name in names.split():
        assert split.of(tmp_path / name) is None
        assert split.first(tmp_path / name) == tmp_path / name
    assert split.firsts(tmp_path.iterdir()) == []
    layer = read(tmp_path / names.split()[0]).disks[0].source
    assert layer
    assert layer.parts == ()


@pytest.mark.parametrize("kind", ["table", "gpt", "qcow2", "xfs"])
def test_numbered_disks_that_are_whole_are_not_joined(
    tmp_path: Path, kind: str
) -> None:
    head = bytearray(4096)
    if kind == "table":
        head[446:462] = b"\x80\0\0\0\x83\0\0\0\1\0\0\0\1\0\0\0"
        head[510:512] = b"\x55\xaa"
    elif kind == "gpt":
        head[512:520] = b"EFI PART"
    else:
        head[:4] = {"qcow2": b"QFI\xfb", "xfs": b"XFSB"}[kind]
    for number in range(3):
        (tmp_path / f"vm.{number:02}").write_bytes(head)
    assert split.of(tmp_path / "vm.00") is None


def test_two_names_for_one_piece_are_told(tmp_path: Path) -> None:
    for name in ("d.img.part1", "d.img.part01", "d.img.part2"):
        (tmp_path / name).write_bytes(b"x" * 100)
    assert "same piece" in refusal(tmp_path / "d.img.part1").message


def test_more_pieces_than_letters_can_count_are_told(tmp_path: Path) -> None:
    for name in ("xaa", "xab", "xzaaa"):
        (tmp_path / name).write_bytes(b"x" * 100)
    assert "more pieces" in refusal(tmp_path / "xaa").message


@pytest.mark.parametrize("name", ["a.img.gz", "a.ova", "a.7z", "a.tar"])
def test_pieces_of_what_is_packed_are_told(tmp_path: Path, name: str) -> None:
    write(tmp_path, f"{name}.001 {name}.002")
    assert "archive" in refusal(tmp_path / f"{name}.001").message


def test_a_whole_that_looks_like_an_image_is_not_trusted(tmp_path: Path) -> None:
    """As any raw disk: a guest may have written that."""
    write(tmp_path, NUMBERED)
    with (tmp_path / "disk.img.001").open("r+b") as file:
        file.write(b"QFI\xfb")
    e = refusal(tmp_path / "disk.img.001")
    assert "looks like a qcow2 image" in e.message
    raw = read(tmp_path / "disk.img.001", format="raw").disks[0].source
    assert raw
    assert (raw.format, len(raw.parts)) == ("raw", 3)


def test_a_piece_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "vm"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(b"x" * 100)
    (folder / "d.001").write_bytes(b"x" * 100)
    (folder / "d.002").symlink_to(tmp_path / "secret")
    assert "outside" in refusal(folder / "d.001").message


def test_a_folder_with_a_disk_and_pieces_asks(tmp_path: Path) -> None:
    write(tmp_path, NUMBERED)
    (tmp_path / "other.img").write_bytes(b"x")
    assert "several VMs: other.img, disk.img.001" in refusal(tmp_path).message


def test_a_folder_with_very_many_files_is_looked_through_at_once(
    tmp_path: Path,
) -> None:
    files = [tmp_path / f"{n % 97}.{n}.{n:05}" for n in range(20000)]
    files += [tmp_path / f"{n}aa" for n in range(20000)]
    assert split.firsts(files) == []


NAMES = st.sampled_from(
    ["d.001", "d.002", "d.003", "d.01", "d.aa", "d.ab", "d.part1", "d.part2", "xaa"]
)


@given(
    names=st.dictionaries(NAMES, st.integers(min_value=-1, max_value=2000), min_size=1)
)
def test_odd_sets_of_files_give_a_document_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, names: dict[str, int]
) -> None:
    folder = tmp_path_factory.mktemp("split")
    for name, size in names.items():
        if size < 0:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(os.urandom(size))
    for name in names:
        if names[name] >= 0:
            gives_a_document_or_one_line(lambda: read(folder / name))  # noqa: B023
