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
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from v2v import process, sandbox
from v2v.errors import GuestError

# Bytes, unpacked, of all segments; files; and segments: more is no initramfs, but meant
# to keep us busy.
MAX_SIZE = 2**30
_MAX_FILES = 300_000
_MAX_SEGMENTS = 64
# What may hold names of the old machine's disks, and what says which modules there are.
_TEXTS = re.compile(
    r"conf/conf\.d/[^/]+|cryptroot/crypttab|etc/(?:fstab|crypttab|cmdline\.d/[^/]+)"
    r"|etc/(?:lvm/(?:lvm\.conf|devices/[^/]+)|mdadm(?:/mdadm)?\.conf)"
    r"|(?:usr/)?lib/dracut/(?:modules\.txt|hooks/initqueue/finished/[^/]+\.sh)"
    r"|(?:usr/)?lib/modules/[^/]+/modules\.dep|init"
)
# Red Hat's until RHEL 5, and SUSE's until SLES 11: modules are loaded from a list.
_NASH = ("bin/nash", "sbin/nash")
_LISTED = (*_NASH, "run_all.sh", "linuxrc")
# What loads modules as the kernel reports devices: udev, and Alpine's own.
_BY_EVENTS = ("/udevd", "/systemd-udevd", "/udevadm", "/nlplug-findfs")
_LOADED = re.compile(r"^[ \t]*(?:insmod|modprobe)[ \t]+(?:-\w+[ \t]+)?(\S+)", re.M)
_MAX_TEXT = 4 * 2**20
# What is kept of an image, of up to 32 that a guest has: bytes of texts, characters of
# names; and the longest name, for the kernel and so for links (PATH_MAX).
_MAX_TEXTS, _MAX_NAMES, _LONGEST = 2**25, 2**25, 4096
_LZ4 = b"\x02\x21\x4c\x18"  # the "legacy" frame, the only one that Linux reads
_MAGICS = (b"070701", b"070702")
_ZEROES = re.compile(rb"\0+")
_HEADER = 110
_DIGITS = re.compile(rb"[0-9a-fA-F]{104}")
_TRAILER = "TRAILER!!!"


# Packed data and the most bytes wanted -> what is unpacked, and what follows it.
Reader = Callable[[bytes, int], tuple[bytes, bytes]]


@dataclass(kw_only=True)
class Initramfs:
    """What an image holds: paths without a leading slash, and what links point to.

    ``texts`` has the content of the files that may name disks or modules; ``last`` is
    the compression of the last segment ("" for none).
    """

    names: set[str] = field(default_factory=set)
    links: dict[str, str] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    texts: dict[str, bytes] = field(default_factory=dict)
    last: str = ""
    room: int = MAX_SIZE
    room_for_names: int = _MAX_NAMES
    room_for_texts: int = _MAX_TEXTS

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

    def modules(self, version: str = "") -> set[str]:
        """Return the names of the kernel modules in it, with _ for -.

        With *version* those that this kernel can load: in its folder, and named by
        the index there (modprobe(8) and udev know no others).
        """
        there = {name for name in self.names if ".ko" in name.rpartition("/")[2]}
        if not version:
            return {module(name) for name in there}
        if not self.names.isdisjoint(_NASH):
            script = self.texts.get("init", b"").decode("utf-8", "replace")
            loaded = {module(name) for name in _LOADED.findall(script)}
            return loaded & {module(name) for name in there}
        folder = self.resolved(f"lib/modules/{version}")
        found = {module(name) for name in there if name.startswith(f"{folder}/")}
        index = self.texts.get(f"{folder}/modules.dep")
        if index is None:
            return found
        lines = index.decode("utf-8", "replace").splitlines()
        return found & {module(line.partition(":")[0]) for line in lines}


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
    at = 0
    for _ in range(_MAX_SEGMENTS):
        at = _after_zeroes(data, at)
        if at == len(data):
            break
        if data.startswith(_MAGICS, at):
            at = _cpio(data, at, found)
            found.last = ""
        else:
            at = _packed(data, at, found)
    else:
        raise GuestError("the initramfs has too many segments")
    if not found.names:
        raise GuestError("the initramfs is empty")
    return found


def _after_zeroes(data: bytes, at: int) -> int:
    """Return where the zeroes at *at* end."""
    match = _ZEROES.match(data, at)
    return match.end() if match else at


def _packed(data: bytes, at: int, found: Initramfs) -> int:
    """Add the archives in the compressed segment at *at*; return where it ends."""
    kind, unpacked, rest = _unpacked(data[at:], found.room)
    found.last = kind
    found.room -= len(unpacked)
    inner = 0
    while (inner := _after_zeroes(unpacked, inner)) < len(unpacked):
        inner = _cpio(unpacked, inner, found)
    return len(data) - len(rest)


def _cpio(data: bytes, at: int, found: Initramfs) -> int:
    """Add the entries of the archive at *at* of *data*; return where it ends.

    Entries are aligned from the start of the archive.
    """
    base = at
    while True:
        mode, size, length = _header(data, at)
        start = at + _HEADER
        if length > _LONGEST:
            raise GuestError("the initramfs is broken: too long a name")
        name = data[start : start + length - 1].decode("utf-8", "replace")
        body = base + _aligned(start + length - base)
        end = body + size
        at = base + _aligned(end - base)
        if end > len(data):
            raise GuestError("the initramfs is truncated")
        if name == _TRAILER:
            return min(at, len(data))
        _note(found, name.removeprefix("./").lstrip("/"), mode, data, (body, end))


def _header(data: bytes, at: int) -> tuple[int, int, int]:
    """Return mode, size, and length of the name of the entry at *at*."""
    if not data.startswith(_MAGICS, at):
        raise GuestError("the initramfs is broken: no cpio header where one must be")
    digits = data[at + 6 : at + _HEADER]
    # int() would take signs, and an entry of negative size would never end.
    if not _DIGITS.fullmatch(digits):
        raise GuestError("the initramfs is broken: a bad cpio header")
    words = struct.unpack(">13I", bytes.fromhex(digits.decode()))
    return words[1], words[6], words[11]


def _note(
    found: Initramfs, name: str, mode: int, data: bytes, place: tuple[int, int]
) -> None:
    # What came before under this name is replaced, whatever it was.
    found.links.pop(name, None)
    found.texts.pop(name, None)
    found.folders.discard(name)
    found.names.add(name)
    found.room_for_names -= len(name)
    if len(found.names) > _MAX_FILES:
        raise GuestError("the initramfs has too many files")
    if found.room_for_names < 0:
        raise GuestError("the initramfs has too many names")
    kind = mode & 0o170000
    size = place[1] - place[0]
    if kind == 0o120000:
        if size <= _LONGEST:
            found.links[name] = data[slice(*place)].decode("utf-8", "replace")
    elif kind == 0o040000:
        found.folders.add(name)
    elif _TEXTS.fullmatch(name) and size <= _MAX_TEXT:
        found.room_for_texts -= size
        if found.room_for_texts < 0:
            raise GuestError("the initramfs has too much configuration")
        found.texts[name] = data[slice(*place)]


def _aligned(number: int) -> int:
    return (number + 3) & ~3


def _unpacked(data: bytes, most: int) -> tuple[str, bytes, bytes]:
    """Return the compression, the content of the segment at the start, and the rest."""
    for magic, kind, reader in _KINDS:
        if data.startswith(magic):
            content, rest = reader(data, most + 1)
            if len(content) > most:
                raise GuestError("the initramfs unpacks to more than 1 GiB")
            return kind, content, rest
    raise GuestError(f"the initramfs has an unknown compression ({data[:4].hex()})")


def _gzip(data: bytes, most: int) -> tuple[bytes, bytes]:
    unpacker = zlib.decompressobj(31)
    try:
        return unpacker.decompress(data, most), unpacker.unused_data
    except zlib.error as e:
        raise GuestError(f"the initramfs is broken: {e}") from e


def _by(
    make: Callable[[], lzma.LZMADecompressor | bz2.BZ2Decompressor],
) -> Reader:
    def read(data: bytes, most: int) -> tuple[bytes, bytes]:
        unpacker = make()
        try:
            return unpacker.decompress(data, most), unpacker.unused_data
        except (lzma.LZMAError, OSError, EOFError) as e:
            raise GuestError(f"the initramfs is broken: {e}") from e

    return read


def _lzma(form: int) -> lzma.LZMADecompressor:
    # The header says how much memory it takes, and may say 4 GiB.
    return lzma.LZMADecompressor(form, memlimit=2**28)


def _program(*command: str) -> Reader:
    """Return a reader for what the standard library cannot unpack (to the end)."""

    def read(data: bytes, most: int) -> tuple[bytes, bytes]:
        try:
            within = sandbox.helper(command[0], most=most)
            return process.filtered(command, data, most, within=within), b""
        except process.ToolError as e:
            raise GuestError(f"the initramfs is broken: {e.message}") from e

    return read


_KINDS: tuple[tuple[bytes, str, Reader], ...] = (
    (b"\x1f\x8b", "gzip", _gzip),
    (b"\xfd7zXZ\0", "xz", _by(lambda: _lzma(lzma.FORMAT_XZ))),
    (b"\x5d\0\0", "lzma", _by(lambda: _lzma(lzma.FORMAT_ALONE))),
    (b"BZh", "bzip2", _by(lambda: bz2.BZ2Decompressor())),
    (_LZ4, "lz4", _program("lz4", "-d", "-c")),
    (b"\x28\xb5\x2f\xfd", "zstd", _program("zstd", "-d", "-c", "-q", "-M256MB")),
)


# What unpacks to the end of the file must find more of the same there.
_PACKERS = {"lz4": ["lz4", "-l", "-c"], "zstd": ["zstd", "-q", "-c"]}


def can_append(image: Initramfs) -> bool:
    """Whether files that are added to *image* will be used.

    It must load drivers by events and not by a fixed list.
    """
    if "init" not in image.names or not image.names.isdisjoint(_LISTED):
        return False
    return any(name.endswith(_BY_EVENTS) for name in image.names)


def same_suffix(image: Initramfs, files: Iterable[str]) -> bool:
    """Whether modules are stored in *image* as they are among *files*.

    The indexes name files with their suffix: .ko.xz in them would hide a .ko.
    """

    def suffixes(names: Iterable[str]) -> set[str]:
        parts = (name.rpartition("/")[2].partition(".ko") for name in names)
        return {end for _, dot, end in parts if dot}

    inside, added = suffixes(image.names), suffixes(files)
    return not inside or added <= inside


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
