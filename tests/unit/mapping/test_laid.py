# SPDX-License-Identifier: GPL-2.0-or-later
"""A delta of VMware gets a header that names no parent, and has the CID of one."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from v2v import formats
from v2v.errors import SourceError
from v2v.formats import Part
from v2v.mapping import laid

SECTOR = 512
PLAIN = (
    b'# Disk DescriptorFile\nversion=1\nCID=%s\nparentCID=%s\n%sRW 8 SPARSE "a.vmdk"\n'
)


def sparse(path: Path, text: bytes, at: int = 1, length: int = 4) -> Part:
    """Return a sparse VMDK as far as its descriptor."""
    head = struct.pack("<4sIIQQQQ", b"KDMV", 1, 3, 8, 8, at, length).ljust(
        SECTOR, b"\0"
    )
    body = head + bytes((at - 1) * SECTOR) + text.ljust(4 * SECTOR, b"\0")
    path.write_bytes(body + b"grains")
    return formats.part(path)


@pytest.fixture
def parent(tmp_path: Path) -> Part:
    return sparse(tmp_path / "base.vmdk", PLAIN % (b"1a2b3c", b"ffffffff", b""))


@pytest.mark.parametrize("said", [b"ffffffff", b"1", b" 99999999", b""])
@pytest.mark.parametrize(
    "hint", [b"", b'parentFileNameHint="/etc/passwd"\n', b"#parentFileNameHint=x\n"]
)
def test_the_header_names_the_parent_by_its_cid_alone(
    tmp_path: Path, parent: Part, said: bytes, hint: bytes
) -> None:
    image = sparse(tmp_path / "delta.vmdk", PLAIN % (b"77", said, hint), at=3)
    made = laid.start(image, parent)
    assert len(made) == 7 * SECTOR and made[: 3 * SECTOR] == image.read(0, 3 * SECTOR)
    assert b"parentCID=001a2b3c\n" in made and b"\nCID=77\n" in made
    assert b"parentFileNameHint" not in made
    assert b'RW 8 SPARSE "a.vmdk"' in made


def test_one_that_says_nothing_of_a_parent_gets_a_line(
    tmp_path: Path, parent: Part
) -> None:
    text = (PLAIN % (b"77", b"x", b"")).replace(b"parentCID=x\n", b"")
    made = laid.start(sparse(tmp_path / "delta.vmdk", text), parent)
    assert made.rstrip(b"\0").endswith(b"\nparentCID=001a2b3c\n")


def test_a_descriptor_without_room_is_told(tmp_path: Path, parent: Part) -> None:
    text = PLAIN % (b"77", b"1", b"#" * (4 * SECTOR - 73) + b"\n")
    assert 4 * SECTOR - 7 < len(text) <= 4 * SECTOR
    with pytest.raises(SourceError, match="no room"):
        laid.start(sparse(tmp_path / "delta.vmdk", text), parent)


@pytest.mark.parametrize(
    ("at", "length"), [(0, 4), (1, 0), (1, 2**55), (2**55, 1), (1, 2**12)]
)
def test_a_descriptor_elsewhere_is_told(
    tmp_path: Path, parent: Part, at: int, length: int
) -> None:
    image = sparse(tmp_path / "delta.vmdk", PLAIN % (b"77", b"1", b""))
    with image.path.open("r+b") as file:
        file.seek(28)
        file.write(struct.pack("<QQ", at, length))
    with pytest.raises(SourceError) as e:
        laid.start(image, parent)
    assert "\n" not in e.value.message


def test_one_that_is_cut_off_is_told(tmp_path: Path, parent: Part) -> None:
    short = tmp_path / "short.vmdk"
    for length in (4, 30, 511):
        short.write_bytes(parent.read(0, length))
        cut = formats.part(short)
        for upper, lower in ((cut, parent), (parent, cut)):
            with pytest.raises(SourceError):
                laid.start(upper, lower)


def test_a_text_alone_has_no_start(tmp_path: Path, parent: Part) -> None:
    (tmp_path / "a.vmdk").write_bytes(PLAIN % (b"77", b"1", b""))
    with pytest.raises(SourceError, match="cannot be read together"):
        laid.start(formats.part(tmp_path / "a.vmdk"), parent)


def test_a_parent_without_a_cid_takes_nothing(tmp_path: Path) -> None:
    parent = sparse(tmp_path / "base.vmdk", PLAIN % (b"none", b"ffffffff", b""))
    image = sparse(tmp_path / "delta.vmdk", PLAIN % (b"77", b"1", b""))
    with pytest.raises(SourceError, match="cannot be read together"):
        laid.start(image, parent)


@pytest.mark.parametrize("said", [b"ffffffff", b"1a2b3c", b"001A2B3C"])
def test_the_right_parent_is_no_matter(
    tmp_path: Path, parent: Part, said: bytes
) -> None:
    image = sparse(tmp_path / "delta.vmdk", PLAIN % (b"77", said, b""))
    laid.check_parent("delta.vmdk", image, parent)
    other = sparse(tmp_path / "other.vmdk", PLAIN % (b"9", b"5", b""))
    with pytest.raises(SourceError, match="CID 5, and the one below it has 1a2b3c"):
        laid.check_parent("x", other, parent)


@given(text=st.binary(max_size=2000), head=st.binary(max_size=60))
def test_any_bytes_give_sectors_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, text: bytes, head: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp()
    parent = sparse(folder / "base.vmdk", PLAIN % (b"1", b"ffffffff", b""))
    image = sparse(folder / "any.vmdk", text)
    data = image.path.read_bytes()
    image.path.write_bytes(data[:4] + head + data[4 + len(head) :])
    try:
        made = laid.start(formats.part(image.path), parent)
    except SourceError as e:
        assert "\n" not in e.message
    else:
        assert len(made) % SECTOR == 0 and b"parentFileNameHint" not in made
