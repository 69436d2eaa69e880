# SPDX-License-Identifier: GPL-2.0-or-later
"""A file of a package as it is stored: as it is, in pieces, or packed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

from v2v import formats, views
from v2v.document import Format
from v2v.errors import SourceError
from v2v.formats import Part, Strung
from v2v.ovf import chunks
from v2v.ovf.chunks import Whole
from v2v.ovf.envelope import FileRef
from v2v.ovf.package import Archive, MissingError, Package
from v2v.views.packings import PACKINGS, Packing


class PackedPiecesError(SourceError):
    """A packed file is in pieces, and is to be unpacked as one."""


def find(file: FileRef, package: Package, declared: Format | None) -> Whole:
    """Return *file* of *package*, unpacked; *declared* is the format that it has then.

    Raises MissingError if there is no such file, RefusedError if it must not be read,
    what chunks.whole raises, and SourceError if it cannot be unpacked.
    """
    whole = _whole(file, package)
    packing = _packing(file, whole.part, declared)
    if packing is None:
        return replace(whole, part=_apart(whole.part, package))
    if isinstance(whole.part, Strung):
        raise PackedPiecesError(
            f"{file.href} is packed with {packing.name} and cut into "
            f"{len(whole.part.pieces)} pieces"
        )
    if whole.part.offset == 0 and isinstance(package, Archive):
        raise SourceError(
            f"{package.path}: {file.href} is packed by {packing.name}, and then by zip",
            f"unpack it with {package.program}, and name the .ovf in it",
        )
    view = _view(file, whole.part, packing)
    return Whole(
        part=formats.part(view), stored=whole.part.length, findings=whole.findings
    )


def _view(file: FileRef, part: Part, packing: Packing) -> Path:
    """Return the view of *part*, which is *file* and packed by *packing*."""
    # A file that is named as packed is seen by that alone; views.source knows it then.
    if part.offset == 0 and part.path.suffix.lower() in packing.suffixes:
        return Path(views.source(str(part.path)))
    return views.member(part, PurePosixPath(name(file)).name)


def _apart(part: Part, package: Package) -> Part:
    """Return *part* in a way that qemu, which reads whole sectors, reads no more of.

    In a tar archive zeroes follow, in a zip the next member.
    """
    if not isinstance(package, Archive) or package.padded or part.length % 512 == 0:
        return part
    return formats.strung([part]) if part.path == package.path else part


def _whole(file: FileRef, package: Package) -> Whole:
    try:
        return Whole(part=package.find(file.href))
    except MissingError:
        pieces = package.pieces(file.href)
        if not pieces:
            raise
    return chunks.whole(file, pieces)


def _packing(file: FileRef, part: Part, declared: Format | None) -> Packing | None:
    """Return how *part*, which is *file*, is packed; None if it is not.

    The name and the attribute may be wrong or missing; but the bytes of a raw disk are
    the guest's, and prove nothing alone.
    """
    head, _ = formats.ends(part)
    found = next((p for p in PACKINGS if head.startswith(p.magics)), None)
    if found is None:
        return None
    said = file.compression not in ("", "identity") or _suffix(file) in found.suffixes
    return found if said or declared != "raw" else None


def name(file: FileRef) -> str:
    """Return the name of *file* without the suffix of what packed it."""
    href = file.href.replace("\\", "/")
    packed = any(_suffix(file) in packing.suffixes for packing in PACKINGS)
    return href.rpartition(".")[0] if packed else href


def _suffix(file: FileRef) -> str:
    return PurePosixPath(file.href.replace("\\", "/")).suffix.lower()
