# SPDX-License-Identifier: GPL-2.0-or-later
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from v2v import paths
from v2v.errors import SourceError
from v2v.formats import vmdk

SUBFORMATS = (
    "monolithicSparse",
    "streamOptimized",
    "twoGbMaxExtentSparse",
    "monolithicFlat",
    "twoGbMaxExtentFlat",
)
MIB = 2**20


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One disk of 32 MiB, 3 MiB of it random, in every subformat."""
    folder = tmp_path_factory.mktemp("vmdk")
    raw = folder / "raw"
    with raw.open("wb") as file:
        file.seek(5 * MIB)
        file.write(os.urandom(3 * MIB))
        file.truncate(32 * MIB)
    for kind in SUBFORMATS:
        command = f"qemu-img convert -f raw -O vmdk -o subformat={kind} raw {kind}.vmdk"
        subprocess.run(command.split(), cwd=folder, check=True)
    return folder


def within(folder: Path) -> Callable[[str | Path], Path]:
    return lambda path: paths.checked(path, (folder.resolve(),))


@pytest.mark.parametrize("kind", SUBFORMATS)
def test_every_subformat_is_accepted_with_its_size(images: Path, kind: str) -> None:
    found = vmdk.examine(images / f"{kind}.vmdk", within(images))
    assert (found.size, found.differencing) == (32 * MIB, False)


@pytest.mark.parametrize("kind", ["monolithicSparse", "streamOptimized"])
def test_a_file_cut_off_anywhere_is_refused(
    images: Path, kind: str, tmp_path: Path
) -> None:
    data = (images / f"{kind}.vmdk").read_bytes()
    short = tmp_path / "short.vmdk"
    # What follows the last grain of a stream is a marker, which carries no data.
    for length in [*range(0, len(data) - 1024, len(data) // 40), len(data) - 65000]:
        short.write_bytes(data[:length])
        with pytest.raises(SourceError):
            vmdk.examine(short, within(tmp_path))


def test_a_flat_extent_that_is_too_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.vmdk").write_text(text('RW 2048 FLAT "a-flat.vmdk" 0'))
    (tmp_path / "a-flat.vmdk").write_bytes(bytes(2047 * 512))
    with pytest.raises(SourceError, match="truncated"):
        vmdk.examine(tmp_path / "a.vmdk", within(tmp_path))


def text(
    *extents: str, cid: str = "1", parent: str = "ffffffff", hint: str = ""
) -> str:
    lines = ["# Disk DescriptorFile", "version=1", f"CID={cid}", f"parentCID={parent}"]
    named = [f'parentFileNameHint="{hint}"'] if hint else []
    return "\n".join([*lines, *named, 'createType="monolithicFlat"', *extents, ""])


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../secret",
        "sub/secret",
        "nbd:127.0.0.1:10809",
        "json:{}",
        "link",
        "fifo",
        "..",
        "",
    ],
)
def test_an_extent_must_be_a_plain_file_beside_it(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "vm"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(4096))
    (folder / "link").symlink_to("/etc/passwd")
    os.mkfifo(folder / "fifo")
    (folder / "a.vmdk").write_text(text(f'RW 1 FLAT "{name}" 0'))
    with pytest.raises(SourceError):
        vmdk.examine(folder / "a.vmdk", within(folder))


def test_a_raw_device_mapping_is_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "a.vmdk").write_text(text('RW 1 VMFSRDM "a-rdm.vmdk"'))
    with pytest.raises(SourceError, match="device") as e:
        vmdk.examine(tmp_path / "a.vmdk", within(tmp_path))
    assert "convert the raw device mapping" in e.value.remedy


def test_a_header_without_capacity_is_not_given_to_qemu(images: Path) -> None:
    """qemu would then open every extent that the embedded descriptor names."""
    data = bytearray((images / "monolithicSparse.vmdk").read_bytes())
    data[12:20] = bytes(8)
    bad = images / "nocapacity.vmdk"
    bad.write_bytes(data)
    with pytest.raises(SourceError, match="capacity"):
        vmdk.examine(bad, within(images))


def test_a_disk_larger_than_any_is_refused(images: Path, tmp_path: Path) -> None:
    data = bytearray((images / "monolithicSparse.vmdk").read_bytes())
    data[12:20] = (2**62).to_bytes(8, "little")
    (tmp_path / "huge.vmdk").write_bytes(data)
    (tmp_path / "zero.vmdk").write_text(text(f"RW {2**62} ZERO"))
    for name in ("huge.vmdk", "zero.vmdk"):
        with pytest.raises(SourceError, match="broken"):
            vmdk.examine(tmp_path / name, within(tmp_path))


def test_a_parent_that_was_changed_after_the_snapshot_is_found_out(
    tmp_path: Path,
) -> None:
    extent = 'RW 1 FLAT "d" 0'
    (tmp_path / "d").write_bytes(bytes(512))
    (tmp_path / "base.vmdk").write_text(text(extent, cid="aaaa"))
    child = tmp_path / "child.vmdk"
    child.write_text(text(extent, cid="b", parent="cccc", hint="base.vmdk"))
    with pytest.raises(SourceError, match="CID cccc"):
        vmdk.chain(child, within(tmp_path))


def test_a_chain_in_a_circle_ends(tmp_path: Path) -> None:
    for name, hint in (("a", "b.vmdk"), ("b", "a.vmdk")):
        (tmp_path / f"{name}.vmdk").write_text(
            text('RW 1 FLAT "d" 0', cid="1", parent="1", hint=hint)
        )
    with pytest.raises(SourceError, match="circle"):
        vmdk.chain(tmp_path / "a.vmdk", within(tmp_path))


def test_a_parent_outside_the_folder_is_not_opened(tmp_path: Path) -> None:
    folder = tmp_path / "vm"
    folder.mkdir()
    (tmp_path / "base.vmdk").write_text(text('RW 1 FLAT "d" 0', cid="1"))
    child = folder / "a.vmdk"
    child.write_text(text('RW 1 FLAT "d" 0', parent="1", hint="../base.vmdk"))
    with pytest.raises(SourceError, match="outside"):
        vmdk.chain(child, within(folder))


@pytest.mark.parametrize("name", ["undefined", "punycode", "zlib_codec", "no-such"])
def test_an_encoding_that_is_none_is_passed_over(tmp_path: Path, name: str) -> None:
    text = f'encoding="{name}"\nCID=1\nRW 8 ZERO\n'
    assert vmdk.parse(tmp_path, text.encode()).size == 4096
