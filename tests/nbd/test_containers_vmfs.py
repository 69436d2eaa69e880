# SPDX-License-Identifier: GPL-2.0-or-later
"""Snapshots of ESXi are served fast, and as qemu reads them."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import nbd
import vmfs_delta
from containers import access, allocated, converted, node, served
from v2v import layers, server
from v2v.errors import SourceError
from v2v.mapping import tables, vmfs
from v2v.servers import Graph
from v2v.sources import images

SECTOR = 512
SECTORS = 40 * 2048 + 3  # not a multiple of anything


@pytest.fixture
def base(tmp_path: Path) -> bytearray:
    """A flat disk with data here and there, in base.vmdk."""
    content = bytearray(SECTORS * SECTOR)
    dice = random.Random(1)
    for _ in range(50):
        at = dice.randrange(SECTORS - 200) * SECTOR
        content[at : at + 100 * SECTOR] = dice.randbytes(100 * SECTOR)
    (tmp_path / "base-flat.vmdk").write_bytes(content)
    vmfs_delta.flat(tmp_path / "base.vmdk", "base-flat.vmdk", SECTORS)
    return content


def cowd(folder: Path, content: bytearray, dice: random.Random) -> None:
    """Write runs of any length, whole blocks, and the first and last sector."""
    starts = [0, 1, 4096, 8192, SECTORS - 1]
    starts += [dice.randrange(1, SECTORS // 100) * 100 for _ in range(300)]
    runs = []
    for start in dict.fromkeys(starts):
        length = min(dice.choice([1, 8, 16, 99]), SECTORS - start)
        if start < 100:
            length = 1
        data = dice.randbytes(length * SECTOR)
        runs.append((start, data))
    written: dict[int, bytes] = {}
    for start, data in runs:
        if all(start + n not in written for n in range(len(data) // SECTOR)):
            written |= {start + n: b"" for n in range(len(data) // SECTOR)}
            content[start * SECTOR : start * SECTOR + len(data)] = data
        else:
            runs = [run for run in runs if run[0] != start]
    dice.shuffle(runs)
    vmfs_delta.cowd(folder / "a-delta.vmdk", SECTORS, runs)
    vmfs_delta.descriptor(
        folder / "a.vmdk", "VMFSSPARSE", "a-delta.vmdk", SECTORS, "base.vmdk"
    )


def sesparse(folder: Path, content: bytearray, dice: random.Random) -> None:
    grains: dict[int, bytes | None] = {}
    last = SECTORS // 8
    for number in [0, last, *dice.sample(range(1, last), 400)]:
        grains[number] = dice.choice([None, dice.randbytes(4096), dice.randbytes(4096)])
        at = number * 4096
        some = min(4096, len(content) - at)
        content[at : at + some] = (grains[number] or bytes(4096))[:some]
    vmfs_delta.sesparse(folder / "a-sesparse.vmdk", SECTORS, grains)
    vmfs_delta.descriptor(
        folder / "a.vmdk", "SESPARSE", "a-sesparse.vmdk", SECTORS, "base.vmdk"
    )


@pytest.mark.report("https://github.com/vatesfr/xen-orchestra/pull/6909")
@pytest.mark.parametrize("make", [cowd, sesparse])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_delta_reads_as_qemu_reads_it_and_as_it_was_made(
    tmp_path: Path,
    base: bytearray,
    make: Callable[[Path, bytearray, random.Random], None],
    seed: int,
) -> None:
    make(tmp_path, base, random.Random(seed))
    reach = access(tmp_path, tmp_path / "private")
    layer, image = images.layer(tmp_path / "a.vmdk", "vmdk", reach.checked)
    assert image.mapped
    made = node(layer, reach)
    assert made.node["driver"] == "qcow2"
    assert converted(made) == base
    assert served(layer, reach) == base
    assert converted(plain(tmp_path)) == base


def plain(folder: Path) -> Graph:
    """Return the graph in which qemu reads the delta by itself."""

    def file(name: str) -> dict[str, object]:
        return {"driver": "file", "filename": str(folder / name)}

    below = {"driver": "vmdk", "file": file("base.vmdk"), "backing": None}
    return Graph(node={"driver": "vmdk", "file": file("a.vmdk"), "backing": below})


def test_no_byte_of_a_delta_is_copied(tmp_path: Path) -> None:
    sectors = 64 * 2048
    data = random.Random(1).randbytes(16 * 2**20)
    vmfs_delta.cowd(tmp_path / "a-delta.vmdk", sectors, [(2048, data)])
    mapped = vmfs.mapped(tmp_path / "a-delta.vmdk")
    assert mapped
    tables.write(mapped, tmp_path / "map", parent=True)
    assert allocated(tmp_path / "map") < 2**18


def test_a_delta_that_was_not_closed_is_refused(tmp_path: Path) -> None:
    vmfs_delta.sesparse(tmp_path / "a", 2048, {0: bytes(4096)}, replay=1)
    with pytest.raises(SourceError, match="journal"):
        vmfs.mapped(tmp_path / "a")


def test_a_table_used_twice_is_refused_before_it_grows(tmp_path: Path) -> None:
    file = tmp_path / "a"
    vmfs_delta.cowd(file, 2**22, [(0, b"x" * 512)])
    data = bytearray(file.read_bytes())
    table = data[4 * 512 : 4 * 512 + 4]
    for number in range(1024):
        data[4 * 512 + number * 4 : 4 * 512 + number * 4 + 4] = table
    file.write_bytes(data)
    mapped = vmfs.mapped(file)
    assert mapped
    with pytest.raises(SourceError, match="share"):
        tables.write(mapped, tmp_path / "map", parent=True)


def test_a_grain_behind_the_end_of_the_file_is_told(tmp_path: Path) -> None:
    file = tmp_path / "a"
    vmfs_delta.cowd(file, 2**12, [(0, b"x" * 5120)])
    file.write_bytes(file.read_bytes()[:-512])
    mapped = vmfs.mapped(file)
    assert mapped
    with pytest.raises(SourceError, match="truncated"):
        tables.write(mapped, tmp_path / "map", parent=True)


def test_a_hundred_thousand_pieces_are_soon_written_down(tmp_path: Path) -> None:
    """Every other sector of 100 MiB; the pieces of one table are a third of that."""
    sectors = 2**18
    file = tmp_path / "a"
    data = [
        (sector, bytes([sector % 251 + 1]) * 512) for sector in range(0, sectors, 2)
    ]
    vmfs_delta.cowd(file, sectors, data)
    mapped = vmfs.mapped(file)
    assert mapped
    began = time.monotonic()
    tables.write(mapped, tmp_path / "map", parent=False)
    assert time.monotonic() - began < 20
    top, _ = tables.nodes(tmp_path / "map")
    made = converted(Graph(node=top))
    wanted = bytearray(sectors * 512)
    for sector, content in data:
        wanted[sector * 512 : sector * 512 + 512] = content
    assert made == wanted


def test_small_changes_to_a_very_large_disk_are_read(tmp_path: Path) -> None:
    sectors, dice = 2**29, random.Random(3)
    places = [0, 1, 40, 2**20, 2**20 + 31, 2**20 + 33, sectors - 1]
    data = [(place, dice.randbytes(512)) for place in places]
    vmfs_delta.cowd(tmp_path / "a", sectors, [*data, (4096, b"z" * 8192)])
    mapped = vmfs.mapped(tmp_path / "a")
    assert mapped
    tables.write(mapped, tmp_path / "map", parent=True)
    top, bottom = tables.nodes(tmp_path / "map")
    (tmp_path / "base").write_bytes(b"p" * 2**20)
    base = {"driver": "file", "filename": str(tmp_path / "base")}
    bottom["backing"] = {"driver": "raw", "file": base}
    with server.serve(layers.command(Graph(node=top))) as uri:
        connection = nbd.NBD()
        connection.connect_uri(uri)
        for place, content in data:
            assert connection.pread(512, place * 512) == content
        assert connection.pread(8192, 4096 * 512) == b"z" * 8192
        assert connection.pread(512, 2 * 512) == b"p" * 512
        assert connection.pread(512, (2**20 + 32) * 512) == bytes(512)


def test_large_changes_to_a_very_large_disk_are_read(tmp_path: Path) -> None:
    sectors = 2**31
    vmfs_delta.sesparse(tmp_path / "a", sectors, {sectors // 8 - 1: b"y" * 4096})
    mapped = vmfs.mapped(tmp_path / "a")
    assert mapped
    tables.write(mapped, tmp_path / "map", parent=False)
    top, _ = tables.nodes(tmp_path / "map")
    with server.serve(layers.command(Graph(node=top))) as uri:
        connection = nbd.NBD()
        connection.connect_uri(uri)
        assert connection.get_size() == sectors * 512
        assert connection.pread(4096, sectors * 512 - 4096) == b"y" * 4096
        assert connection.pread(4096, 2**39) == bytes(4096)
