# SPDX-License-Identifier: GPL-2.0-or-later
"""The ways to pack a file that we know: by its name and by its first bytes.

A guest writes what it likes into its raw disk.  So a disk counts as packed only if
its name says so too; an archive of a VM (.ova, .xva, .vma), which no guest writes, by
its first bytes alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from v2v import formats
from v2v.errors import SourceError
from v2v.formats import Part


@dataclass(frozen=True, kw_only=True)
class Packing:
    """One way to pack: names end and files begin so.

    ``command`` unpacks stdin to stdout; it is empty where Python can.
    """

    name: str
    suffixes: tuple[str, ...]
    magics: tuple[bytes, ...]
    command: tuple[str, ...] = ()


# zstd may begin with a frame to be skipped (pzstd): 0x184D2A50 to 5F.
_SKIPPED = tuple(bytes([byte]) + b"\x2a\x4d\x18" for byte in range(0x50, 0x60))
PACKINGS = (
    Packing(name="gzip", suffixes=(".gz",), magics=(b"\x1f\x8b",)),
    Packing(name="bzip2", suffixes=(".bz2",), magics=(b"BZh",)),
    Packing(name="xz", suffixes=(".xz",), magics=(b"\xfd7zXZ\0",)),
    Packing(
        name="zstd",
        suffixes=(".zst", ".zstd"),
        magics=(b"(\xb5/\xfd", *_SKIPPED),
        command=("zstd", "-dcq", "--memory=1024MB"),
    ),
    Packing(
        name="lz4",
        suffixes=(".lz4",),
        magics=(b"\x04\x22\x4d\x18",),
        command=("lz4", "-dcq"),
    ),
    Packing(
        name="lzop",
        suffixes=(".lzo",),
        magics=(b"\x89LZO\0\r\n\x1a\n",),
        command=("lzop", "-dcq"),
    ),
)
# Members of archives, which are no packing of a file of their own: one that is as it
# is, and one of a zip with its header.
PLAIN = Packing(name="nothing", suffixes=(), magics=())
MEMBER = Packing(name="zip", suffixes=(), magics=(b"PK\x03\x04",))
_ARCHIVES = (".ova", ".xva", ".vma")
_TAR = {".tgz": ".gz", ".tbz2": ".bz2", ".txz": ".xz", ".tzst": ".zst"}


def of(path: Path) -> Packing | None:
    """Return how the file *path* is packed, or None.

    Raises SourceError if its name says one thing and its first bytes another.
    """
    if not path.is_file():
        return None
    suffix = path.suffix.lower()
    suffix = _TAR.get(suffix, suffix)
    named = next((p for p in PACKINGS if suffix in p.suffixes), None)
    if named is None and suffix not in _ARCHIVES:
        return None
    head, _ = formats.ends(path, 0, None)
    found = next((p for p in PACKINGS if head.startswith(p.magics)), None)
    if named and found is not named:
        shown = f"begins like {found.name}" if found else "does not begin like that"
        raise SourceError(
            f"{path} is named as packed by {named.name} but {shown}",
            "rename it to what it is, or copy it again from the source",
        )
    return found


def of_member(part: Part) -> Packing:
    """Return how *part*, a member of an archive, is packed: by gzip, bzip2, xz or zip.

    Raises SourceError if it is not.
    """
    head, _ = formats.ends(part.path, part.offset, part.length)
    for packing in (*PACKINGS, MEMBER):
        if head.startswith(packing.magics) and not packing.command:
            return packing
    raise SourceError(
        f"what is at {part.offset} of {part.path} is not packed by gzip, bzip2, xz or "
        "zip",
        "export the VM again",
    )


def inner(path: Path) -> str:
    """Return the name of what is packed in *path*, or what it is without."""
    suffix = path.suffix.lower()
    if suffix in _TAR:
        return f"{path.stem}.tar"
    if any(suffix in packing.suffixes for packing in PACKINGS):
        return path.stem
    return path.name
