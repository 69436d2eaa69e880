# SPDX-License-Identifier: GPL-2.0-or-later
"""Write images that QEMU refuses or misreads, as their makers write them."""

import os
import random
import struct
import uuid

MIB = 2**20
SECTOR = 512


def summed(data: bytearray, at: int, length: int, place: int) -> None:
    data[at + place : at + place + 4] = bytes(4)
    total = ~sum(data[at : at + length]) & 0xFFFFFFFF
    struct.pack_into(">I", data, at + place, total)


def xenserver(disk: bytes, written: set[int]) -> bytes:
    """Return *disk* as a VHD of XenServer, of which the sectors *written* were written.

    Between its table and its blocks is a map of the blocks that are whole; and what
    was never written is whatever the storage held.
    """
    block = 2 * MIB
    count = -(-len(disk) // block)
    table_at = 1536
    batmap_at = table_at + -(-count * 4 // SECTOR) * SECTOR
    at = batmap_at + 2 * SECTOR
    table, body = [], bytearray()
    per = block // SECTOR
    for number in range(count):
        some = [s for s in range(number * per, (number + 1) * per) if s in written]
        table.append((at + len(body)) // SECTOR if some else 0xFFFFFFFF)
        if not some:
            continue
        bits = bytearray(SECTOR)
        data = bytearray(random.Random(number).randbytes(block))
        for sector in some:
            inside = sector % per
            bits[inside // 8] |= 0x80 >> inside % 8
            piece = disk[sector * SECTOR : (sector + 1) * SECTOR]
            data[inside * SECTOR : inside * SECTOR + len(piece)] = piece
        body += bits + data
    footer = bytearray(512)
    fields = (b"conectix", 2, 0x10000, 512, 0, b"tap\0", 0x10003, 0)
    struct.pack_into(">8sIIQI4sII", footer, 0, *fields)
    struct.pack_into(">QQHBBI", footer, 40, len(disk), len(disk), 100, 4, 17, 3)
    footer[68:84] = uuid.uuid4().bytes
    summed(footer, 0, 512, 64)
    header = bytearray(1024)
    struct.pack_into(
        ">8sQQIII", header, 0, b"cxsparse", 2**64 - 1, table_at, 0x10000, count, block
    )
    summed(header, 0, 1024, 36)
    places = struct.pack(f">{count}I", *table)
    batmap = struct.pack(">8sQII", b"tdbatmap", batmap_at + SECTOR, 1, 0x10002)
    data = footer + header + places.ljust(batmap_at - table_at, b"\xff")
    data += batmap.ljust(2 * SECTOR, b"\0")
    return bytes(data + body + footer)


def repacked(data: bytes | bytearray, disk: bytes, block: int, extra: int) -> bytes:
    """Return *disk* as a VDI with the header of *data*, in blocks of *block* bytes
    with *extra* in front of each; blocks of zeroes are not there."""
    head = bytearray(data[:512])
    count = -(-len(disk) // block)
    data_at = 512 + -(-count * 4 // 512) * 512
    struct.pack_into("<II", head, 340, 512, data_at)
    struct.pack_into("<III", head, 376, block, extra, count)
    table, body = [], bytearray()
    for number in reversed(range(count)):
        piece = disk[number * block : (number + 1) * block]
        if any(piece):
            table.append(len(body) // (block + extra))
            body += os.urandom(extra) + piece.ljust(block, b"\0")
        else:
            table.append(0xFFFFFFFE if number % 2 else 0xFFFFFFFF)
    places = struct.pack(f"<{count}I", *reversed(table))
    return bytes(head) + places.ljust(data_at - 512, b"\0") + body
