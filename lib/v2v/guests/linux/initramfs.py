# SPDX-License-Identifier: GPL-2.0-or-later
"""Read an initramfs on this host, and append to it.

The format is Documentation/driver-api/early-userspace/buffer-format.rst of Linux: any
number of cpio archives (newc), each plain or compressed, with zeroes in between; later
files replace earlier ones.  Reading one takes a second; to rebuild one in an emulated
appliance takes minutes.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from v2v import process
from v2v.errors import GuestError

MAX_SIZE = 2**30  # bytes, unpacked: a bomb is no initramfs
_LZ4 = b"\x02\x21\x4c\x18"  # the "legacy" frame, the only one that Linux reads
_HEADER = 110
_TRAILER = "TRAILER!!!"


@dataclass(kw_only=True)
class Initramfs:
    """What an image holds: paths without a leading slash, and what links point to.

    ``last`` is the compression of the last segment ("" for none).
    """

    names: set[str] = field(default_factory=set)
    links: dict[str, str] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    last: str = ""

    def resolved(self, path: str) -> str:
        """Return *path* with the links of the image in it followed."""
        for _ in range(40):
            parts = path.split("/")
            for depth in range(1, len(parts) + 1):
                link = self.links.get("/".join(parts[:depth]))
                if link is not None:
                    base = [] if link.startswith("/") else parts[: depth - 1]
                    path = _normal([*base, *link.split("/"), *parts[depth:]])
                    break
            else:
                return path
        raise GuestError("the initramfs has links in a circle")

    def modules(self) -> set[str]:
        """Return the names of the kernel modules in it, with _ for -."""
        return {module(name) for name in self.names if ".ko" in name.rpartition("/")[2]}


def _normal(parts: list[str]) -> str:
    found: list[str] = []
    for part in parts:
        if part == "..":
            del found[-1:]
        elif part not in ("", "."):
            found.append(part)
    return "/".join(found)


def module(path: str) -> str:
    """Return the module's name of a file like kernel/drivers/block/virtio_blk.ko.xz."""
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def parse(data: bytes) -> Initramfs:
    """Return what the image *data* holds.

    Raises GuestError if it is none, or of a compression that is not known.
    """
    found = Initramfs()
    rest = data
    while rest := rest.lstrip(b"\0"):
        if rest[:6] in (b"070701", b"070702"):
            rest = rest[_cpio(rest, found) :]
            found.last = ""
            continue
        kind, unpacked, rest = _unpacked(rest)
        found.last = kind
        while unpacked := unpacked.lstrip(b"\0"):
            unpacked = unpacked[_cpio(unpacked, found) :]
    if not found.names:
        raise GuestError("the initramfs is empty")
    return found


def _cpio(data: bytes, found: Initramfs) -> int:
    """Add the entries of the archive at the start of *data*; return its length."""
    at = 0
    while True:
        if data[at : at + 6] not in (b"070701", b"070702"):
            raise GuestError(
                "the initramfs is broken: no cpio header where one must be"
            )
        try:
            words = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        except ValueError as e:
            raise GuestError("the initramfs is broken: a bad cpio header") from e
        mode, size, length = words[1], words[6], words[11]
        start = at + _HEADER
        name = data[start : start + length - 1].decode("utf-8", "replace")
        body = _aligned(start + length)
        at = _aligned(body + size)
        if at > _aligned(len(data)):
            raise GuestError("the initramfs is truncated")
        if name == _TRAILER:
            return min(at, len(data))
        _note(
            found, name.removeprefix("./").lstrip("/"), mode, data[body : body + size]
        )


def _note(found: Initramfs, name: str, mode: int, body: bytes) -> None:
    found.names.add(name)
    kind = mode & 0o170000
    if kind == 0o120000:
        found.links[name] = body.decode("utf-8", "replace")
    elif kind == 0o040000:
        found.folders.add(name)


def _aligned(number: int) -> int:
    return (number + 3) & ~3


def _unpacked(data: bytes) -> tuple[str, bytes, bytes]:
    """Return the compression, the content of the segment at the start, and the rest."""
    for magic, kind, reader in _KINDS:
        if data.startswith(magic):
            content, rest = reader(data)
            if len(content) > MAX_SIZE:
                raise GuestError("the initramfs unpacks to more than 1 GiB")
            return kind, content, rest
    raise GuestError(f"the initramfs has an unknown compression ({data[:4].hex()})")


def _gzip(data: bytes) -> tuple[bytes, bytes]:
    unpacker = zlib.decompressobj(31)
    try:
        return unpacker.decompress(data, MAX_SIZE + 1), unpacker.unused_data
    except zlib.error as e:
        raise GuestError(f"the initramfs is broken: {e}") from e


def _by(
    make: Callable[[], lzma.LZMADecompressor | bz2.BZ2Decompressor],
) -> Callable[[bytes], tuple[bytes, bytes]]:
    def read(data: bytes) -> tuple[bytes, bytes]:
        unpacker = make()
        try:
            return unpacker.decompress(data, MAX_SIZE + 1), unpacker.unused_data
        except (lzma.LZMAError, OSError, EOFError) as e:
            raise GuestError(f"the initramfs is broken: {e}") from e

    return read


def _program(*command: str) -> Callable[[bytes], tuple[bytes, bytes]]:
    """Return a reader for what the standard library cannot unpack (to the end)."""

    def read(data: bytes) -> tuple[bytes, bytes]:
        try:
            return process.filtered(command, data, MAX_SIZE), b""
        except process.ToolError as e:
            raise GuestError(f"the initramfs is broken: {e.message}") from e

    return read


_KINDS: tuple[tuple[bytes, str, Callable[[bytes], tuple[bytes, bytes]]], ...] = (
    (b"\x1f\x8b", "gzip", _gzip),
    (b"\xfd7zXZ\0", "xz", _by(lambda: lzma.LZMADecompressor())),
    (b"\x5d\0\0", "lzma", _by(lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE))),
    (b"BZh", "bzip2", _by(lambda: bz2.BZ2Decompressor())),
    (_LZ4, "lz4", _program("lz4", "-d", "-c")),
    (b"\x28\xb5\x2f\xfd", "zstd", _program("zstd", "-d", "-c", "-q", "-M256MB")),
)


# What unpacks to the end of the file must find more of the same there.
_PACKERS = {"lz4": ["lz4", "-l", "-c"], "zstd": ["zstd", "-q", "-c"]}


def can_append(image: Initramfs) -> bool:
    """Whether files that are added to *image* will be used.

    It must load drivers by events (udev) and not by a fixed list, as nash and SUSE's
    linuxrc did.
    """
    udev = any(
        name.endswith(("/udevd", "/systemd-udevd", "/udevadm")) for name in image.names
    )
    return udev and "init" in image.names


def appended(data: bytes, image: Initramfs, files: Mapping[str, bytes]) -> bytes:
    """Return the image *data* (which is *image*) with *files* added.

    Paths are followed through the image's links: on a merged /usr an entry ``lib``
    that is a folder would make the kernel remove the link ``lib``, and with it all.
    """
    segment = _segment(image, files)
    if image.last in _PACKERS:
        # The kernel's lz4 reader takes a second frame right behind the first, and
        # chokes on zeroes there (fixed by 2c484419efc0 only).
        return data + process.filtered(_PACKERS[image.last], segment, MAX_SIZE)
    return data + bytes(-len(data) % 4) + segment


def _segment(image: Initramfs, files: Mapping[str, bytes]) -> bytes:
    entries: list[tuple[str, int, bytes]] = []
    known = set(image.folders)
    for path, content in files.items():
        name = image.resolved(path)
        for folder in _parents(name):
            if folder not in known:
                known.add(folder)
                entries.append((folder, 0o040755, b""))
        entries.append((name, 0o100644, content))
    entries.append((_TRAILER, 0, b""))
    return b"".join(_entry(i + 1, *entry) for i, entry in enumerate(entries))


def _parents(path: str) -> Iterator[str]:
    parts = path.split("/")[:-1]
    for depth in range(1, len(parts) + 1):
        yield "/".join(parts[:depth])


def _entry(inode: int, name: str, mode: int, content: bytes) -> bytes:
    encoded = name.encode() + b"\0"
    # inode mode uid gid nlink mtime size devmajor devminor rdev… namesize check
    words = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % word for word in words) + encoded
    padded = head + bytes(-len(head) % 4) + content
    return padded + bytes(-len(padded) % 4)
