# SPDX-License-Identifier: GPL-2.0-or-later
"""Hostile disk images: headers that lie about sizes, place too much, or name others."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path

from hostile.case import GIB, MIB, TIB, Case, Cases, Forbidden, Make, text

_EXTENTS = 100_000
_SECTOR = 512


Data = bytes | Callable[[], bytes]


def _sparse(name: str, size: int, *parts: tuple[int, Data]) -> Make:
    """Return what writes a file of *size* bytes with *parts* at their places."""

    def make(folder: Path, forbidden: Forbidden) -> Path:
        path = folder / name
        with path.open("wb") as file:
            file.truncate(size)
            for at, data in parts:
                file.seek(at)
                file.write(data if isinstance(data, bytes) else data())
        return path

    return make


def qcow2(**fields: int) -> bytes:
    """Return a header of version 3 of 64 MiB; *fields* may differ."""
    values = {
        "magic": 0x514649FB,
        "version": 3,
        "backing_at": 0,
        "backing_length": 0,
        "bits": 16,
        "size": 64 * MIB,
        "crypt": 0,
        "l1_size": 1,
        "l1_at": 65536,
        "refs_at": 131072,
        "refs": 1,
        "snapshots": 0,
        "snapshots_at": 0,
        "features": 0,
        "compatible": 0,
        "clear": 0,
        "order": 4,
        "length": 104,
    } | fields
    return struct.pack(">IIQIIQIIQQIIQQQQII", *values.values())


def _qcow2() -> Iterator[tuple[str, Case]]:
    def case(refused: str, **fields: int) -> Case:
        made = _sparse("a.qcow2", 4 * MIB, (0, qcow2(**fields)))
        return Case(make=made, refused=refused)

    odd = "is broken|is none"
    yield "qcow2-size", case(odd, size=2**64 - 1)
    yield "qcow2-negative", case(odd, size=2**63)
    yield "qcow2-empty", case(odd, size=0)
    yield "qcow2-l1", case(odd, l1_size=2**32 - 1)
    yield "qcow2-l1-at", case("truncated|broken", l1_at=2**63)
    yield "qcow2-bits", case(odd, bits=63)
    yield "qcow2-refs", case(odd, refs=2**32 - 1)
    yield "qcow2-refs-at", case("", refs_at=2**63)
    yield "qcow2-order", case(odd, order=2**31)
    yield "qcow2-length", case(odd, length=2**32 - 8 + 1)
    yield "qcow2-snapshots", case(odd, snapshots=2**32 - 1, snapshots_at=65536)
    yield "qcow2-shots", case("truncated", snapshots=65536, snapshots_at=2**63)
    yield "qcow2-crypt", case("encrypted", crypt=2)
    yield "qcow2-data-file", case("another file", features=4)
    yield "qcow2-feature", case("features", features=1 << 63)
    # Tables of the first level that all point at one of the second, or at random.
    tables = struct.pack(">Q", 2**63 | 2 * MIB) * 1024
    large = qcow2(size=512 * GIB, l1_size=1024)
    yield (
        "qcow2-shared",
        Case(make=_sparse("a.qcow2", 4 * MIB, (0, large), (65536, tables))),
    )

    def entries() -> bytes:
        return struct.pack(">4194304Q", *(n << 9 for n in range(1, 2**22 + 1)))

    small = qcow2(size=128 * GIB, bits=9, l1_size=2**22, l1_at=MIB, refs=0)
    yield (
        "qcow2-small",
        Case(make=_sparse("a.qcow2", 3 * GIB, (0, small), (MIB, entries))),
    )


def _backing() -> Iterator[tuple[str, Case]]:
    """Yield what a guest or a stranger may write to be given another file."""
    names = {
        "absolute": "@SECRET@",
        "parent": "../outside/secret",
        "json": 'json:{"driver":"raw","file":{"driver":"file","filename":"@SECRET@"}}',
        "nbd": "nbd://127.0.0.1:@PORT@/x",
        "http": "http://127.0.0.1:@PORT@/x",
        "unc": "\\\\127.0.0.1\\share\\x.vhdx",
        "fd": "/proc/self/fd/0",
    }
    for what, name in names.items():

        def make(folder: Path, forbidden: Forbidden, name: str = name) -> Path:
            said = name.replace("@SECRET@", str(forbidden.path)).encode()
            said = said.replace(b"@PORT@", str(forbidden.port).encode())
            head = qcow2(backing_at=104, backing_length=len(said))
            tables = (2 * MIB, bytes(65536))
            return _sparse("a.qcow2", 4 * MIB, (0, head + said), tables)(
                folder, forbidden
            )

        yield f"qcow2-backing-{what}", Case(make=make, refused="backing file")

        def guest(folder: Path, forbidden: Forbidden, name: str = name) -> Path:
            path = make(folder, forbidden, name)
            return path.rename(folder / "a.raw")

        yield f"raw-backing-{what}", Case(make=guest, refused="may have written")
        yield (
            f"raw-said-{what}",
            Case(make=guest, options=("--input-format", "raw")),
        )


def descriptor(*extents: str, parent: str = "", kind: str = "monolithicFlat") -> str:
    """Return the text of a VMDK."""
    above = (
        f'parentCID=1\nparentFileNameHint="{parent}"\n'
        if parent
        else ("parentCID=ffffffff\n")
    )
    return (
        f'# Disk DescriptorFile\nversion=1\nCID=1\n{above}createType="{kind}"\n'
        + "\n".join(extents)
        + "\n"
    )


def _vmdk_names() -> Iterator[tuple[str, Case]]:
    names = {
        "absolute": "@SECRET@",
        "parent": "../outside/secret",
        "json": "json:{'driver':'raw'}",
        "nbd": "nbd:127.0.0.1:@PORT@",
        "unc": "\\\\127.0.0.1\\share\\x.vmdk",
        "drive": "C:\\x.vmdk",
        "self": ".",
        "empty": "",
        "proc": "/proc/self/mem",
        "long": "x" * 5000,
        "zero": "a\0b",
    }
    for what, name in names.items():
        extent = f'RW 8 FLAT "{name}" 0'
        yield (
            f"vmdk-extent-{what}",
            Case(make=text("a.vmdk", descriptor(extent)), refused="a.vmdk|path"),
        )
        said = descriptor('RW 8 FLAT "b" 0', parent=name or "/")
        yield (
            f"vmdk-hint-{what}",
            Case(make=_with("b", text("a.vmdk", said)), refused="."),
        )
    for what, extent in {
        "device": 'RW 8 FLAT "/dev/zero" 0',
        "raw": 'RW 8 VMFSRDM "b"',
        "huge": f'RW {"9" * 40} FLAT "b" 0',
        "offset": f'RW 8 FLAT "b" {"9" * 40}',
        "digits": f'RW {"9" * 500_000} FLAT "b" 0',
        "zeroes": "RW 99999999999999999 ZERO",
        "negative": 'RW -8 FLAT "b" 0',
    }.items():
        make = _with("b", text("a.vmdk", descriptor(extent)))
        yield f"vmdk-{what}", Case(make=make, refused=".")


def _with(name: str, make: Make) -> Make:
    """Return what also writes an innocent file *name*."""

    def both(folder: Path, forbidden: Forbidden) -> Path:
        (folder / name).write_bytes(bytes(8 * _SECTOR))
        return make(folder, forbidden)

    return both


def _vmdk_extents() -> Iterator[tuple[str, Case]]:
    one, zero = 'RW 1 FLAT "b" 0', "RW 1 ZERO"
    for what, extents in {
        "extents": lambda: descriptor(*[one] * _EXTENTS),
        "extents-fit": lambda: descriptor(*[one] * 60_000),
        "extents-zero": lambda: descriptor(*[zero] * 90_000),
        "blanks": lambda: descriptor(" " * 500_000 + "RW", one),
    }.items():
        make = _with("b", text("a.vmdk", extents))
        yield f"vmdk-{what}", Case(make=make, refused="descriptor|extents|QEMU")
    own = text("a.vmdk", descriptor('RW 1 SPARSE "a.vmdk"'))
    yield "vmdk-itself", Case(make=own, refused="cannot be read")


def _sparse_vmdk(**fields: int) -> bytes:
    values = {
        "version": 1,
        "flags": 3,
        "capacity": 64 * MIB // _SECTOR,
        "grain": 128,
        "descriptor_at": 0,
        "descriptor": 0,
        "per_table": 512,
        "redundant": 0,
        "directory": 128,
        "overhead": 128,
    } | fields
    return b"KDMV" + struct.pack("<IIQQQQIQQQ", *values.values())


def _vmdk_sparse() -> Iterator[tuple[str, Case]]:
    def case(refused: str, **fields: int) -> Case:
        made = _sparse("a.vmdk", 4 * MIB, (0, _sparse_vmdk(**fields)))
        return Case(make=made, refused=refused)

    yield "vmdk-capacity", case("none|broken", capacity=2**64 - 1)
    yield "vmdk-capacity-0", case("capacity", capacity=0)
    yield "vmdk-grain", case("broken", grain=2**64 - 1)
    yield "vmdk-grain-0", case("broken", grain=0)
    yield "vmdk-per-table", case("broken", per_table=2**32 - 1)
    yield "vmdk-directory", case("truncated", directory=2**63)
    yield "vmdk-descriptor", case("", descriptor_at=2**63, descriptor=2**63)
    yield "vmdk-stream", case("truncated", directory=2**64 - 1)
    # Every table is one and the same, which is large.
    capacity = 64 * TIB // _SECTOR
    for what, per_table in (("tables", 512), ("wide", 65536)):
        head = _sparse_vmdk(capacity=capacity, grain=8, per_table=per_table)
        count = capacity // (8 * per_table)
        make = _sparse("a.vmdk", 2 * GIB, (0, head), (128 * _SECTOR, _places(count)))
        yield f"vmdk-{what}", Case(make=make, refused=".")


def _places(count: int) -> Callable[[], bytes]:
    """Return what makes a directory of *count* tables: a lot of sectors, ever again."""
    return lambda: struct.pack(
        f"<{count}I", *islice(cycle(range(300_000, 400_000)), count)
    )


def vhd(kind: int, size: int, header_at: int = 512, id: int = 0) -> bytes:
    """Return a footer."""
    data = bytearray(_SECTOR)
    values = (b"conectix", 2, 0x10000, header_at, 0, b"win ", 0, b"Wi2k", size, size)
    struct.pack_into(">8sIIQI4sI4sQQ", data, 0, *values)
    struct.pack_into(">HBBI", data, 56, 65535, 16, 255, kind)
    struct.pack_into(">QQ", data, 68, 1, id)
    struct.pack_into(">I", data, 64, ~sum(data) & 0xFFFF_FFFF)
    return bytes(data)


def vhd_header(
    table_at: int, entries: int, block: int, parent: str = "", of: int = 0
) -> bytes:
    """Return the second header of a dynamic or differencing VHD."""
    data = bytearray(1024)
    values = (b"cxsparse", 2**64 - 1, table_at, 0x10000, entries, block)
    struct.pack_into(">8sQQIII", data, 0, *values)
    struct.pack_into(">QQ", data, 40, 1, of)
    name = parent.encode("utf-16-be")
    data[64 : 64 + len(name)] = name
    struct.pack_into(">I", data, 36, ~sum(data) & 0xFFFF_FFFF)
    return bytes(data)


def tiny_vhd(kind: int) -> bytes:
    """Return the start of a VHD of nearly 2 TiB in blocks of a sector."""
    table = vhd_header(2048, 2**32 - 1, _SECTOR)
    return vhd(kind, 2 * TIB - GIB) + table


def _vhd() -> Iterator[tuple[str, Case]]:
    def case(
        refused: str, footer: bytes, *parts: tuple[int, bytes], size: int = 4 * MIB
    ) -> Case:
        made = _sparse("a.vhd", size, (0, footer), *parts)
        return Case(make=made, refused=refused)

    header = vhd_header(2048, 1024, 2 * MIB)
    yield "vhd-size", case("none", vhd(3, 2**64 - 1), (512, header))
    yield "vhd-header", case("truncated", vhd(3, GIB, 2**63), (512, header))
    yield (
        "vhd-table",
        case("truncated", vhd(3, GIB), (512, vhd_header(2**63, 1024, 2 * MIB))),
    )
    yield (
        "vhd-entries",
        case(
            "truncated|broken",
            vhd(3, 64 * TIB),
            (512, vhd_header(2048, 2**32 - 1, 2**16)),
        ),
    )
    yield (
        "vhd-block",
        case("broken", vhd(3, GIB), (512, vhd_header(2048, 1024, 2**31 + 1))),
    )
    yield "vhd-itself", case(".", vhd(4, GIB), (512, header))
    yield "vhd-tiny", case("a table of", tiny_vhd(3), size=17 * GIB)
    yield "vhd-tiny-child", case("a table of", tiny_vhd(4), size=17 * GIB)


def vdi(**fields: int) -> bytes:
    """Return the header of a VDI of 1 GiB; *fields* may differ."""
    values = {
        "kind": 1,
        "table": 512,
        "data": MIB,
        "size": GIB,
        "block": MIB,
        "extra": 0,
        "count": 1024,
    } | fields
    data = bytearray(512)
    data[64:68] = b"\x7f\x10\xda\xbe"
    struct.pack_into("<III", data, 68, 0x10001, 400, values["kind"])
    struct.pack_into("<II", data, 340, values["table"], values["data"])
    struct.pack_into("<Q", data, 368, values["size"])
    struct.pack_into(
        "<IIII", data, 376, values["block"], values["extra"], values["count"], 0
    )
    return bytes(data)


def _vdis() -> Iterator[tuple[str, Case]]:
    def case(refused: str, length: int = 4 * MIB, **fields: int) -> Case:
        return Case(make=_sparse("a.vdi", length, (0, vdi(**fields))), refused=refused)

    yield "vdi-size", case("none", size=2**64 - 1)
    yield "vdi-block", case("blocks|truncated", block=2**31)
    yield "vdi-count", case("truncated|broken", count=2**32 - 1, table=2**32 - 512)
    yield "vdi-child", case(".", kind=4)
    yield "vdi-tiny", case(".", 17 * GIB, kind=4, block=512, count=2**32 - 1)


def parallels(cluster: int, entries: int, sectors: int) -> bytes:
    """Return the header of an expanding disk."""
    numbers = (2, 16, 0, cluster, entries, sectors, 0, 0, 0)
    return b"WithouFreSpacExt" + struct.pack("<5IQIIQ", *numbers)


def _parallels() -> Iterator[tuple[str, Case]]:

    for what, values in {
        "size": (2048, 2**32 - 1, 2**64 - 1),
        "cluster": (0, 1, 2048),
        "entries": (1, 2**32 - 1, 2**32 - 1),
    }.items():
        yield (
            f"hds-{what}",
            Case(
                make=_sparse("a.hds", 4 * MIB, (0, parallels(*values))),
                refused=".",
                options=("--input-format", "parallels"),
            ),
        )
    yield (
        "hds-tiny",
        Case(
            make=_sparse("a.hds", 17 * GIB, (0, parallels(1, 2**32 - 1, 2**32 - 1))),
            refused=".",
            options=("--input-format", "parallels"),
        ),
    )


def _nothing(name: str, head: bytes) -> Case:
    return Case(make=_sparse(name, 4 * MIB, (0, head)), refused=".")


def cases() -> Cases:
    """Return the hostile images."""
    parts: tuple[Callable[[], Iterator[tuple[str, Case]]], ...] = (
        *(_qcow2, _backing, _vmdk_names, _vmdk_extents, _vmdk_sparse),
        *(_vhd, _vdis, _parallels),
    )
    found = {name: case for part in parts for name, case in part()}
    found["vhdx-empty"] = _nothing("a.vhdx", b"vhdxfile")
    found["elf"] = _nothing("a.vmx", b"\x7fELF\2\1\1\0")
    found["elf-ova"] = _nothing("a.ova", b"\x7fELF\2\1\1\0")
    return found
