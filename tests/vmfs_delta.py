# SPDX-License-Identifier: GPL-2.0-or-later
"""Write the deltas of ESXi: COWD and seSparse, with given runs of the disk in them."""

import struct
from collections.abc import Iterable
from pathlib import Path

SECTOR = 512


def descriptor(path: Path, kind: str, delta: str, sectors: int, parent: str) -> None:
    """Write the descriptor *path* of a snapshot on *parent*, whose CID is 1."""
    lines = [
        *("# Disk DescriptorFile", "version=1", "CID=00000002", "parentCID=00000001"),
        f'createType="{"vmfsSparse" if kind == "VMFSSPARSE" else "seSparse"}"',
        f'parentFileNameHint="{parent}"',
        f'RW {sectors} {kind} "{delta}"',
    ]
    path.write_text("\n".join([*lines, ""]))


def flat(path: Path, data: str, sectors: int) -> None:
    """Write the descriptor *path* of a base disk whose bytes are in *data*."""
    lines = [
        *("# Disk DescriptorFile", "version=1", "CID=00000001", "parentCID=ffffffff"),
        *('createType="vmfs"', f'RW {sectors} VMFS "{data}"'),
    ]
    path.write_text("\n".join([*lines, ""]))


def cowd(path: Path, sectors: int, runs: Iterable[tuple[int, bytes]]) -> None:
    """Write a COWD delta of a disk of *sectors* with *runs*: (sector, data).

    Grains are sectors, in the order of *runs*; each table is where it is first needed.
    """
    tables: dict[int, int] = {}
    entries: dict[int, dict[int, int]] = {}
    directory = -(-sectors // 4096)
    free = 4 + -(-directory * 4 // SECTOR)
    with path.open("wb") as file:
        for sector, data in runs:
            for number in range(len(data) // SECTOR):
                table, index = divmod(sector + number, 4096)
                if table not in tables:
                    tables[table], free = free, free + 32
                entries.setdefault(table, {})[index] = free
                file.seek(free * SECTOR)
                file.write(data[number * SECTOR : (number + 1) * SECTOR])
                free += 1
        header = (1, 3, sectors, 1, 4, directory, free)
        file.seek(0)
        file.write(struct.pack("<4s7I", b"COWD", *header).ljust(4 * SECTOR, b"\0"))
        for table, place in tables.items():
            file.seek(4 * SECTOR + table * 4)
            file.write(struct.pack("<I", place))
            file.seek(place * SECTOR)
            numbers = [entries[table].get(i, 0) for i in range(4096)]
            file.write(struct.pack("<4096I", *numbers))
        file.truncate(free * SECTOR)


def sesparse(
    path: Path, sectors: int, grains: dict[int, bytes | None], *, replay: int = 0
) -> None:
    """Write a seSparse delta with *grains* of 4 KiB by number; None is a zero grain."""
    per_table = 4096
    needed = -(-sectors // (per_table * 8))
    directory_sectors = -(-needed * 8 // SECTOR)
    used = sorted({grain // per_table for grain in grains})
    tables_at = 4 + directory_sectors
    grains_at = -(-(tables_at + 64 * len(used)) // 8) * 8
    directory = [0] * needed
    tables = {table: [0] * per_table for table in used}
    data = b""
    for grain, content in grains.items():
        number = len(data) // 4096
        entry = 2 << 60
        if content is not None:
            entry = 3 << 60 | (number & 0xFFF) << 48 | number >> 12
            data += content
        tables[grain // per_table][grain % per_table] = entry
    for index, table in enumerate(used):
        directory[table] = 1 << 60 | index
    header = [0] * 26
    header[:5] = [0xCAFEBABE, 0x200000001, sectors, 8, 64]
    header[10:12] = [1, 1]
    header[12:16] = [2, 1, 3, 1]
    header[16:20] = [4, directory_sectors, tables_at, 64 * len(used)]
    header[24:26] = [grains_at, len(data) // SECTOR]
    with path.open("wb") as file:
        file.write(struct.pack("<26Q", *header).ljust(SECTOR, b"\0"))
        file.write(struct.pack("<4Q", 0xCAFECAFE, 0, 0, replay).ljust(SECTOR, b"\0"))
        file.seek(4 * SECTOR)
        file.write(struct.pack(f"<{needed}Q", *directory))
        for index, table in enumerate(used):
            file.seek((tables_at + 64 * index) * SECTOR)
            file.write(struct.pack("<4096Q", *tables[table]))
        file.seek(grains_at * SECTOR)
        file.write(data)
