# SPDX-License-Identifier: GPL-2.0-or-later
"""Write XVA and VMA archives of given disks."""

import hashlib
import io
import random
import struct
import tarfile
import uuid
from pathlib import Path

import xxhash

MIB = 2**20


def content(seed: int, size: int) -> bytes:
    """Return a disk with holes of every size."""
    dice = random.Random(seed)
    made = bytearray(size)
    for _ in range(40):
        at = dice.randrange(size // 4096) * 4096
        data = dice.randbytes(dice.choice([4096, 65536, 2 * MIB]))[: size - at]
        made[at : at + len(data)] = data
    made[20 * MIB : 25 * MIB] = bytes(5 * MIB)
    return bytes(made)


def xva(
    path: Path, description: bytes, disks: dict[str, bytes], *, keep_alive: int = 0
) -> None:
    """Write an XVA; *keep_alive*: after how many chunks one of length zero comes."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        _add(tar, "ova.xml", description)
        for index, (name, content) in enumerate(disks.items()):
            _chunks(
                tar, name, content, "checksum" if index % 2 else "xxhash", keep_alive
            )


def _chunks(
    tar: tarfile.TarFile, name: str, content: bytes, kind: str, keep: int
) -> None:
    starts = range(0, len(content), MIB)
    number = written = 0
    for start in starts:
        data = content[start : start + MIB]
        if any(data) or start in (starts[0], starts[-1]):
            _add(tar, f"{name}/{number:08d}", data)
            _add(tar, f"{name}/{number:08d}.{kind}", _sum(kind, data))
            written += 1
            if keep and written % keep == 0 and start != starts[-1]:
                number += 1
                _add(tar, f"{name}/{number:08d}", b"")
                _add(tar, f"{name}/{number:08d}.{kind}", _sum(kind, b""))
        number += 1


def _sum(kind: str, data: bytes) -> bytes:
    """As XenServer writes them: SHA-1 in small letters, XXH64 in capitals."""
    if kind == "checksum":
        return hashlib.sha1(data).hexdigest().encode()
    return xxhash.xxh64(data).hexdigest().upper().encode()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def vma(
    path: Path, files: dict[str, bytes], disks: dict[str, bytes], order: list[int]
) -> None:
    """Write a VMA; the clusters of each disk come in *order*, by their numbers."""
    uid = uuid.UUID(int=7).bytes
    blob = bytearray(1)

    def put(data: bytes) -> int:
        place = len(blob)
        blob.extend(struct.pack("<H", len(data)) + data)
        return place

    names, contents = [0] * 256, [0] * 256
    for index, (name, data) in enumerate(files.items()):
        names[index], contents[index] = put(name.encode() + b"\0"), put(data)
    devices = bytearray(256 * 32)
    for number, (name, content) in enumerate(disks.items(), 1):
        entry = (put(name.encode() + b"\0"), 0, len(content))
        struct.pack_into(">IIQ", devices, number * 32, *entry)
    length = -(-(12288 + len(blob)) // 512) * 512
    head = bytearray(length)
    struct.pack_into(
        ">4sI16sQ16sIII", head, 0, b"VMA\0", 1, uid, 0, b"", 12288, len(blob), length
    )
    struct.pack_into(">256I256I", head, 2044, *names, *contents)
    head[4096:12288] = devices
    head[12288 : 12288 + len(blob)] = blob
    head[32:48] = hashlib.md5(head).digest()
    clusters = [
        (number, cluster, content[cluster * 65536 : (cluster + 1) * 65536])
        for cluster in order
        for number, content in enumerate(disks.values(), 1)
        if cluster * 65536 < len(content)
    ]
    with path.open("wb") as file:
        file.write(head)
        for first in range(0, len(clusters), 59):
            file.write(_extent(uid, clusters[first : first + 59]))


def _extent(uid: bytes, clusters: list[tuple[int, int, bytes]]) -> bytes:
    infos, data = [0] * 59, b""
    for index, (device, cluster, content) in enumerate(clusters):
        mask = 0
        content = content.ljust(65536, b"\0")
        for bit in range(16):
            block = content[bit * 4096 : (bit + 1) * 4096]
            if any(block):
                mask |= 1 << bit
                data += block
        infos[index] = mask << 48 | device << 32 | cluster
    head = struct.pack(
        ">4sHH16s16s59Q", b"VMAE", 0, len(data) // 4096, uid, b"", *infos
    )
    return head[:24] + hashlib.md5(head).digest() + head[40:] + data


def xva_description(name: str, disk: str, size: int) -> bytes:
    """Return an ova.xml of a VM with one disk."""
    return xva_descriptions(name, {disk: size})


def xva_descriptions(name: str, disks: dict[str, int]) -> bytes:
    """Return an ova.xml of a VM with *disks*: their sizes by name."""
    from xmlrpc.client import dumps

    vbds = [f"VBD:{number}" for number in range(len(disks))]
    machine = {
        "name_label": name,
        "memory_static_max": "1073741824",
        "VCPUs_at_startup": "1",
        "VBDs": vbds,
        "power_state": "Halted",
    }
    objects: list[dict[str, object]] = [
        {"id": "Ref:0", "class": "VM", "snapshot": machine}
    ]
    for number, (disk, size) in enumerate(disks.items()):
        vbd = {"userdevice": str(number), "type": "Disk", "VDI": disk}
        objects.append({"id": vbds[number], "class": "VBD", "snapshot": vbd})
        vdi = {"virtual_size": str(size)}
        objects.append({"id": disk, "class": "VDI", "snapshot": vdi})
    text = dumps(({"version": {}, "objects": objects},))
    return text[text.index("<value>") : text.rindex("</param>")].encode()
