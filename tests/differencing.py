# SPDX-License-Identifier: GPL-2.0-or-later
"""Make differencing disks of the whole ones that qemu-img writes."""

import struct
import subprocess
import uuid
from collections.abc import Iterable
from pathlib import Path

MIB = 2**20
SECTOR = 512


def image(path: Path, content: bytes, format: str, options: str = "") -> bytearray:
    """Write *content* as a disk of *format* to *path*; return the bytes of the file."""
    raw = path.with_name("raw")
    raw.write_bytes(content)
    command = f"qemu-img convert -f raw -O {format} {options} {raw} {path}"
    subprocess.run(command.split(), check=True, timeout=60)
    raw.unlink()
    return bytearray(path.read_bytes())


def vhd(
    path: Path, content: bytes, changed: Iterable[int], parent: Path, name: str
) -> None:
    """Write a child of *parent* that has the sectors *changed* of *content*.

    *name* is what its locator calls the parent, as Windows does.
    """
    size = "-o force_size=on"
    data = image(path, content, "vpc", size)
    uid = parent.read_bytes()[-512:][68:84]
    struct.pack_into(">I", data, 60, 4)
    place = len(data) - 512
    where = data[16:24]
    header = int.from_bytes(where, "big")
    data[header + 40 : header + 56] = uid
    locator = name.encode("utf-16-le")
    entry = (b"W2ru", 1, len(locator), 0, place)
    struct.pack_into(">4sIIIQ", data, header + 576, *entry)
    table, entries, block = struct.unpack_from(">Q4xII", data, header + 16)
    _mark(data, changed, (table, entries, block))
    _sum(data, header, 1024, 36)
    footer = data[:512]
    _sum(footer, 0, 512, 64)
    data[:512] = footer
    path.write_bytes(data[:place] + locator.ljust(SECTOR, b"\0") + footer)


def _mark(data: bytearray, changed: Iterable[int], table: tuple[int, int, int]) -> None:
    at, entries, block = table
    places = struct.unpack_from(f">{entries}I", data, at)
    per_block = block // SECTOR
    for place in places:
        if place != 0xFFFFFFFF:
            data[place * SECTOR : place * SECTOR + per_block // 8] = bytes(
                per_block // 8
            )
    for sector in changed:
        number, bit = divmod(sector, per_block)
        byte = places[number] * SECTOR + bit // 8
        data[byte] |= 0x80 >> bit % 8


def _sum(data: bytearray, at: int, length: int, place: int) -> None:
    data[at + place : at + place + 4] = bytes(4)
    total = ~sum(data[at : at + length]) & 0xFFFFFFFF
    struct.pack_into(">I", data, at + place, total)


_PARAMETERS = uuid.UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b").bytes_le
_PAGE83 = uuid.UUID("beca12ab-b2e6-4523-93ef-c309e000c746").bytes_le
BLOCK_TABLE = uuid.UUID("2dc27766-f623-4200-9d64-115e9bfd4a08").bytes_le
_LOGICAL = uuid.UUID("8141bf1d-a96f-4709-ba47-f233a8faab5f").bytes_le
_LOCATOR = uuid.UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c").bytes_le


def whole_vhdx(path: Path, content: bytes, sector: int = SECTOR) -> bytearray:
    """Write a dynamic VHDX with blocks of 1 MiB and the *sector* size, in bytes.

    qemu-img writes none but with sectors of 512 bytes.  Of a disk within one chunk
    (4096 blocks) nothing but the item that says so differs.
    """
    image(path, content, "vhdx", "-o block_size=1M,subformat=dynamic")
    give_sectors(path, sector)
    return bytearray(path.read_bytes())


def give_sectors(path: Path, sector: int) -> None:
    """Make the VHDX at *path*, that qemu-img wrote, one with the *sector* size."""
    with path.open("r+b") as file:
        data = file.read(8 * MIB)
        metadata = data.index(b"metadata", MIB)
        (start,) = struct.unpack_from("<I", data, data.index(_LOGICAL, metadata) + 16)
        file.seek(metadata + start)
        file.write(struct.pack("<I", sector))


def vhdx(
    path: Path,
    content: bytes,
    changed: Iterable[int],
    parent: Path,
    name: str,
    sector: int = SECTOR,
    *,
    link: str = "parent_linkage",
) -> None:
    """Write a child of *parent* that has the sectors *changed* of *content*.

    Every block that has some is marked as partly there.
    """
    data = whole_vhdx(path, content, sector)
    newest = parent.read_bytes()[64 * 1024 : 132 * 1024]
    headers = (newest[:4096], newest[64 * 1024 :])
    linkage = max(headers, key=lambda h: struct.unpack_from("<Q", h, 8))[32:48]
    metadata = data.index(b"metadata", MIB)
    item = data.index(_PARAMETERS, metadata)
    start = struct.unpack_from("<I", data, item + 16)[0]
    struct.pack_into("<I", data, metadata + start + 4, 2)
    locator = _locator(
        {link: f"{{{uuid.UUID(bytes_le=linkage)}}}", "relative_path": name}
    )
    at = 65536 + 4096
    item = data.index(_PAGE83, metadata)
    entry = _LOCATOR + struct.pack("<III", at, len(locator), 0)
    data[item : item + len(entry)] = entry
    data[metadata + at : metadata + at + len(locator)] = locator
    table = _region(data, BLOCK_TABLE)
    # So many blocks' bits are in one bitmap.
    entry_at = table + 2**23 * sector // MIB * 8
    _mark_vhdx(data, changed, (table, entry_at), -(-len(content) // MIB))
    path.write_bytes(data)


def _region(data: bytearray, name: bytes) -> int:
    place = data.index(name, 192 * 1024)
    return int(struct.unpack_from("<Q", data, place + 16)[0])


def _locator(values: dict[str, str]) -> bytes:
    head = bytes(18) + struct.pack("<H", len(values))
    at = 20 + 12 * len(values)
    entries, words = b"", b""
    for key, value in values.items():
        pair = key.encode("utf-16-le"), value.encode("utf-16-le")
        places = at + len(words), at + len(words) + len(pair[0])
        entries += struct.pack("<IIHH", *places, len(pair[0]), len(pair[1]))
        words += pair[0] + pair[1]
    return head + entries + words


def _mark_vhdx(
    data: bytearray, changed: Iterable[int], places: tuple[int, int], blocks: int
) -> None:
    """*places*: of the block table, and of the first bitmap's entry in it.

    Blocks are of 1 MiB, so a chunk has 4096 of them or more: more than the disks here.
    """
    table, entry_at = places
    bitmap = -(-len(data) // MIB) * MIB
    data.extend(bytes(bitmap + MIB - len(data)))
    struct.pack_into("<Q", data, entry_at, bitmap | 6)
    for number in range(blocks):
        (entry,) = struct.unpack_from("<Q", data, table + number * 8)
        if entry & 7 == 6:
            struct.pack_into("<Q", data, table + number * 8, entry | 7)
        else:
            struct.pack_into("<Q", data, table + number * 8, 0)
    for sector in changed:
        data[bitmap + sector // 8] |= 1 << sector % 8


def vdi(path: Path, content: bytes, parent: Path) -> None:
    """Write a child of *parent* that has the blocks of 1 MiB that are in *content*."""
    data = image(path, content, "vdi")
    struct.pack_into("<I", data, 76, 4)
    data[424:440] = parent.read_bytes()[392:408]
    path.write_bytes(data)
