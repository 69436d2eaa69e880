# SPDX-License-Identifier: GPL-2.0-or-later
"""Every kind of container is served with the bytes that its disk has, uncopied."""

import subprocess
from pathlib import Path

import pytest

import container_kinds
import nbd
from container_kinds import KINDS, MIB, content
from containers import access, no_file_above, served
from v2v import layers
from v2v.document import Disk
from v2v.sources import images

# Whole MiB; whole sectors, and neither 4 KiB nor MiB; no whole sector.
SIZES = {"MiB": 33 * MIB, "sectors": 33 * MIB + 1536, "bytes": 33 * MIB + 1536 + 77}
EMPTY = 5 * MIB + 512


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        (name, size)
        for name, made in KINDS.items()
        for size in SIZES
        if SIZES[size] % made.unit == 0
    ],
)
def test_the_bytes_served_are_those_of_the_disk(
    tmp_path: Path, kind: str, size: str
) -> None:
    made = KINDS[kind]
    data = content(1, SIZES[size])
    folder = tmp_path / "source"
    folder.mkdir()
    reach = access(folder, tmp_path / "private")
    layer = made.make(folder, data, reach.checked)
    # NBD and qemu count whole sectors: the last is filled up with zeroes.
    assert served(layer, reach) == data.ljust(-(-len(data) // 512) * 512, b"\0")


@pytest.mark.parametrize("kind", [name for name, made in KINDS.items() if made.whole])
def test_an_empty_disk_is_served_as_zeroes(tmp_path: Path, kind: str) -> None:
    reach = access(tmp_path, tmp_path / "private")
    data = bytes(EMPTY - EMPTY % KINDS[kind].unit)
    layer = KINDS[kind].make(tmp_path, data, reach.checked)
    assert served(layer, reach) == data


@pytest.mark.parametrize("kind", [name for name, made in KINDS.items() if made.sparse])
def test_holes_are_told_so_that_a_copy_stays_sparse(tmp_path: Path, kind: str) -> None:
    reach = access(tmp_path, tmp_path / "private")
    size = SIZES["sectors"]
    data = content(1, size - size % KINDS[kind].unit)
    layer = KINDS[kind].make(tmp_path, data, reach.checked)
    with layers.served(Disk(id="sda", source=layer), reach) as uri:
        connection = nbd.NBD()
        connection.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
        connection.connect_uri(uri)
        assert zeroes(connection, 5 * MIB, 16 * MIB) > 10 * MIB
        connection.shutdown()


def zeroes(connection: nbd.NBD, start: int, end: int) -> int:
    """Return how many bytes from *start* to *end* are said to be zeroes."""
    found = 0
    while start < end:
        extents: list[int] = []

        def heard(context: str, at: int, entries: list[int], error: int) -> None:
            extents.extend(entries)  # noqa: B023 - called at once

        connection.block_status(end - start, start, heard)
        for length, flags in zip(extents[::2], extents[1::2], strict=True):
            some = min(length, end - start)
            found += some if flags & nbd.STATE_ZERO else 0
            start += some
    return found


@pytest.mark.parametrize("kind", ["twoGbMaxExtentSparse", "twoGbMaxExtentFlat"])
def test_a_disk_split_into_files_of_two_gigabytes(tmp_path: Path, kind: str) -> None:
    raw = tmp_path / "raw"
    size = 2 * 2**31 + 7 * MIB + 512
    with raw.open("wb") as file:
        for at in (0, 2**31 - 70000, 2 * 2**31 - 70000, size - 4096):
            file.seek(at)
            file.write(content(at % 97, 30 * MIB)[: min(140000, size - at)])
        file.truncate(size)
    container_kinds.run(
        f"qemu-img convert -f raw -O vmdk -o subformat={kind} raw disk.vmdk", tmp_path
    )
    reach = access(tmp_path, tmp_path / "private")
    layer, image = images.layer(tmp_path / "disk.vmdk", "vmdk", reach.checked)
    assert image.size == size
    assert len(list(tmp_path.glob("disk-*"))) == 3
    with (
        no_file_above(4 * MIB),
        layers.served(Disk(id="sda", source=layer), reach) as uri,
    ):
        command = ["qemu-img", "compare", "-f", "raw", "-F", "raw", str(raw), uri]
        subprocess.run(command, check=True, timeout=120)


def test_a_file_above_the_limit_would_be_seen(tmp_path: Path) -> None:
    """That the watch in containers.served() sees anything at all."""
    big = f"truncate -s 5M {tmp_path / 'copy'}"
    with no_file_above(4 * MIB):
        done = subprocess.run(big.split(), check=False, capture_output=True)
    assert done.returncode
    subprocess.run(big.split(), check=True)
