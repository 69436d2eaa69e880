# SPDX-License-Identifier: GPL-2.0-or-later
"""Hostile archives: OVAs, XVAs and VMAs that lie, and packed files that never end."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import struct
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from archives import xva_description
from hostile.case import GIB, MIB, Case, Cases, Forbidden, Make

_OVF = (
    '<Envelope xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"><References><File '
    "ovf:id='f' ovf:href='{href}' {more}/></References><DiskSection><Info/><Disk "
    "ovf:diskId='d' ovf:capacity='1' ovf:capacityAllocationUnits='byte * 2^30' "
    "ovf:fileRef='f'/></DiskSection><VirtualSystem ovf:id='a'><Info/>"
    "<VirtualHardwareSection><Info/><Item><ElementName/><InstanceID>1</InstanceID>"
    "<ResourceType>6</ResourceType></Item><Item><ElementName/><InstanceID>2"
    "</InstanceID><Parent>1</Parent><ResourceType>17</ResourceType><HostResource>"
    "ovf:/disk/d</HostResource></Item></VirtualHardwareSection></VirtualSystem>"
    "</Envelope>"
)


def ovf(href: str, more: str = "") -> bytes:
    """Return an OVF of one disk in the file *href*."""
    return _OVF.format(href=href, more=more).encode()


def _header(name: str, size: int, kind: bytes = b"0") -> bytes:
    """Return the header of a member, with any *size*."""
    info = tarfile.TarInfo(name)
    info.type = kind
    head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    head[124:136] = b"\x80" + (size % 2**88).to_bytes(11, "big")
    if size < 0:
        head[124:136] = b"\xff" * 4 + (size % 2**64).to_bytes(8, "big")
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head)


Data = bytes | Callable[[], bytes]


def _written(name: str, *pieces: Data, size: int = 0) -> Make:
    def make(folder: Path, forbidden: Forbidden) -> Path:
        path = folder / name
        with path.open("wb") as file:
            for piece in pieces:
                file.write(piece if isinstance(piece, bytes) else piece())
            file.truncate(max(size, file.tell()))
        return path

    return make


_ODD = {"2^62": 2**62, "2^63": 2**63, "2^87": 2**87, "negative": -512, "low": -(2**62)}


def _sizes() -> Iterator[tuple[str, Case]]:
    """Yield archives with a member that says to have an odd size."""
    firsts = {"ova": _member("a.ovf", ovf("d")), "xva": _XVA}
    for what, size in _ODD.items():
        tail = _header("Ref:1/00000000", size) + bytes(1024)
        for name, first in firsts.items():
            made = _written(f"a.{name}", first, tail)
            yield f"{name}-member-{what}", Case(make=made, refused="broken|truncated")
        made = _written("a.ova", _header("a.ovf", size), bytes(1024))
        yield f"ova-first-{what}", Case(make=made, refused="broken")
        for kind in (b"L", b"x", b"K", b"g"):
            made = _written("a.ova", _header("a", size, kind), bytes(4096))
            yield f"ova-{kind.decode()}-{what}", Case(make=made, refused="broken")


def _member(name: str, data: bytes) -> bytes:
    made = _header(name, len(data)) + data
    return made.ljust(-(-len(made) // 512) * 512, b"\0")


_END = bytes(1024)
_FIRST = "a.ovf"


def _kinds() -> Iterator[tuple[str, Case]]:
    """Yield archives with members that are no files, or have no plain names."""
    first = _member(_FIRST, ovf("d.vmdk"))
    for what, kind in {
        "hard": tarfile.LNKTYPE,
        "link": tarfile.SYMTYPE,
        "char": tarfile.CHRTYPE,
        "block": tarfile.BLKTYPE,
        "fifo": tarfile.FIFOTYPE,
        "sparse": tarfile.GNUTYPE_SPARSE,
    }.items():
        yield f"ova-{what}", Case(make=_linked(first, kind), refused="a link|sparse")
    for what, name in {
        "up": "../../outside/secret",
        "root": "/etc/x",
        "drive": "C:\\x",
    }.items():
        made = _written("a.ova", first, _member(name, b"x"), _END)
        yield f"ova-name-{what}", Case(make=made, refused="outside")
    made = _written("a.ova", first, _member("a\x1b]0;x\x07", b"x"), _END)
    yield "ova-name-escape", Case(make=made, found="disk-missing")


def _linked(first: bytes, kind: bytes) -> Make:
    def make(folder: Path, forbidden: Forbidden) -> Path:
        info = tarfile.TarInfo("d.vmdk")
        info.type, info.linkname = kind, str(forbidden.path)
        data = first + info.tobuf(tarfile.GNU_FORMAT) + _END
        return _written("a.ova", data)(folder, forbidden)

    return make


def _empty(names: Iterable[str]) -> bytes:
    return b"".join(_member(name, b"") for name in names)


def _numbers() -> Iterator[tuple[str, Case]]:
    """Yield archives with very many members, or very large ones."""
    first, disk = _member(_FIRST, ovf("d.vmdk")), _member("d.vmdk", b"x")

    def many() -> bytes:
        return _empty(f"m{n}" for n in range(100_000))

    def disks() -> bytes:
        return _empty(f"Ref:{n}/00000000" for n in range(10_000))

    made: dict[str, tuple[Make, str]] = {
        "ova-twice": (_written("a.ova", first, first, _END), "two members"),
        "ova-many": (_written("a.ova", first, many, _END), "too many"),
        "xva-many": (_written("a.xva", _XVA, many, _END), ""),
        "xva-disks": (_written("a.xva", _XVA, disks, _END), "more disks"),
        "xva-large": (
            _written("a.xva", _header("ova.xml", GIB), size=GIB + 2048),
            "bytes is none",
        ),
        "ova-large": (
            _written("a.ova", _header(_FIRST, GIB), size=GIB + 2048),
            "too large",
        ),
        "ova-deep": (
            _written("a.ova", lambda: _member(_FIRST, b"<Envelope>" + b"<a>" * 10**6)),
            "broken",
        ),
    }
    made["ovf-mf-many"] = _listing(200_000), "more than any package"
    yield "ovf-mf-missing", Case(make=_listing(15_000), found="more files")
    for what, data in {
        "mf": lambda: b"SHA256(" + b")" * 10**6 + b" " * 10**6 + b"\n",
        "mf-lines": lambda: b"SHA256(d.vmdk)= 00\n" * 100_000,
        "mf-large": lambda: bytes(GIB // 64),
    }.items():
        member = partial(_manifest, data)
        made[f"ova-{what}"] = (
            _written("a.ova", first, member, disk, _END),
            "d.vmdk|large|any package",
        )
    for name, (make, refused) in made.items():
        yield name, Case(make=make, refused=refused)


def _listing(count: int) -> Make:
    """An OVF among many files, with a manifest of *count* others that are missing."""

    def make(folder: Path, forbidden: Forbidden) -> Path:
        for number in range(1000):
            (folder / f"{number}.txt").touch()
        lines = (f"SHA256(no{n})= 00\n" for n in range(count))
        (folder / "a.mf").write_text("".join(lines))
        (folder / _FIRST).write_bytes(ovf("d.vmdk"))
        return folder / _FIRST

    return make


def _manifest(data: Callable[[], bytes]) -> bytes:
    return _member("a.mf", data())


_XVA = _member("ova.xml", xva_description("a", "Ref:1", MIB))


def _hrefs() -> Iterator[tuple[str, Case]]:
    """Yield OVFs whose files lead elsewhere."""
    for what, href in {
        "absolute": "@SECRET@",
        "parent": "../outside/secret",
        "encoded": "%2e%2e/outside/secret",
        "file": "file://@SECRET@",
        "http": "http://127.0.0.1:@PORT@/x",
        "ssh": "ssh://127.0.0.1:@PORT@/x",
        "unc": "\\\\127.0.0.1\\share\\x",
        "json": "json:{}",
        "link": "link",
        "zero": "a%00b",
        "long": "a" * 10_000,
        "deep": "a/" * 5000,
    }.items():

        def make(folder: Path, forbidden: Forbidden, href: str = href) -> Path:
            (folder / "link").symlink_to(forbidden.path)
            said = href.replace("@SECRET@", str(forbidden.path))
            said = said.replace("@PORT@", str(forbidden.port))
            path = folder / "a.ovf"
            path.write_bytes(ovf(said))
            return path

        yield f"ovf-href-{what}", Case(make=make, found="path-refused|disk-missing")


def _bomb(packing: str) -> bytes:
    """Return 2 GiB of zeroes, packed, or what says to be so."""
    piece = bytes(16 * MIB)
    count = 2 * GIB // len(piece)
    if packing == "gz":
        return gzip.compress(piece, 9) * count
    if packing == "xz":
        return lzma.compress(piece) * count
    if packing == "bz2":
        return bz2.compress(piece) * count
    program = [_PROGRAMS[packing], "-cq"]
    made = subprocess.run(program, input=piece, capture_output=True, check=True)
    return made.stdout * count


_PROGRAMS = {"zst": "zstd", "lz4": "lz4"}


def _packed() -> Iterator[tuple[str, Case]]:
    limit = ("--max-size", "100M")
    for packing in ("gz", "xz", "bz2", "zst", "lz4"):
        if shutil.which(_PROGRAMS.get(packing, "sh")):
            name = f"a.raw.{packing}"
            bomb = _written(name, partial(_bomb, packing))
            yield f"bomb-{packing}", Case(make=bomb, refused="max-size", options=limit)
            cut = _written(name, partial(_cut, packing))
            yield f"cut-{packing}", Case(make=cut, refused="damaged")
    member = partial(_member_of, "gz")
    ova = _written("a.ova", member, _END)
    yield "ova-bomb", Case(make=ova, refused="max-size", options=limit)
    for name, (file, data, refused) in {
        "nested-gz": ("a.raw.gz.gz", _nested, "packed file"),
        # A frame that says to hold 2^63 bytes, and wants a window of 2^41.
        "zst-said": (
            "a.raw.zst",
            lambda: b"\x28\xb5\x2f\xfd\xc4\xf8" + struct.pack("<Q", 2**63) + bytes(99),
            "damaged",
        ),
        "xz-none": ("a.raw.xz", lambda: b"\xfd7zXZ\0" + bytes(100), "damaged"),
        "xz-padded": ("a.raw.xz", lambda: lzma.compress(b"x" * 512) + bytes(MIB), ""),
    }.items():
        yield name, Case(make=_written(file, data), refused=refused)


def _cut(packing: str) -> bytes:
    data = _bomb(packing)
    return data[: len(data) // 64 + 7]


def _member_of(packing: str) -> bytes:
    first = ovf("d.raw.gz", "ovf:compression='gzip'")
    return _member(_FIRST, first) + _member("d.raw.gz", _bomb(packing))


def _nested() -> bytes:
    return gzip.compress(gzip.compress(bytes(64 * MIB)))


def _vmas() -> Iterator[tuple[str, Case]]:
    for what, head in {
        "length": struct.pack(
            ">4sI16sQ16sIII", b"VMA\0", 1, bytes(16), 0, bytes(16), 0, 0, 2**32 - 1
        ),
        "blob": struct.pack(
            ">4sI16sQ16sIII",
            b"VMA\0",
            1,
            bytes(16),
            0,
            bytes(16),
            2**32 - 1,
            2**32 - 1,
            12288,
        ),
    }.items():
        make = _written("a.vma", head, size=16 * MIB)
        yield f"vma-{what}", Case(make=make, refused="a.vma")


def cases() -> Cases:
    """Return the hostile archives."""
    parts = (_sizes, _kinds, _numbers, _hrefs, _packed, _vmas)
    return {name: case for part in parts for name, case in part()}
