# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the bytes of an OVF's disks are.

What cannot be read in place is a finding of severity ``block``, which says what to do,
and the disk has no layer then.  A file that is not what the OVF says raises.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import PurePosixPath

from v2v import formats
from v2v.document import BlockSize, File, Finding, Format, Layer
from v2v.errors import SourceError
from v2v.formats import Part, Strung, vmdk
from v2v.mapping import laid
from v2v.ovf import chunks, flat, stored
from v2v.ovf.chunks import Whole
from v2v.ovf.envelope import DiskRef, Envelope, FileRef
from v2v.ovf.package import Archive, MissingError, Package, RefusedError
from v2v.sources import disks, images
from v2v.sources.disk import RAW_SUFFIXES, SUFFIXES

_SECTOR = 512
_BINARY_VMDK = (b"KDMV", b"COWD")
_MAX_PARENTS = 32
# Parts of the format's URI.  The longer of two goes first.
_URIS: tuple[tuple[str, Format], ...] = (
    ("vmdk", "vmdk"),
    ("vhdx", "vhdx"),
    ("vhd", "vpc"),
    ("qcow", "qcow2"),
    ("vdi", "vdi"),
    ("wiki/byte", "raw"),
)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was found of a disk; ``size`` in bytes."""

    layer: Layer | None = None
    size: int | None = None
    logical_block_size: BlockSize = 512
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """A disk that is looked for: its id in the document, and what the OVF says."""

    id: str
    ref: DiskRef
    file: FileRef
    package: Package
    capacity: int | None


def find(
    disk: str, ref: DiskRef, capacity: int | None, envelope: Envelope, package: Package
) -> Found:
    """Return where the bytes of *disk*, which *ref* describes, are.

    Raises SourceError if its file is broken, hostile or not of the stated format.
    """
    if ref.file is None:
        return _blank(disk, ref, capacity)
    wanted = _Wanted(
        id=disk, ref=ref, file=ref.file, package=package, capacity=capacity
    )
    try:
        whole = stored.find(wanted.file, package, _declared(ref))
        return _opened(wanted, whole, envelope)
    except RefusedError as e:
        return _blocked(wanted, "path-refused", e.message, e.remedy)
    except MissingError as e:
        return _missing(wanted, e)
    except chunks.UnclearError as e:
        return _unclear(wanted, e.message)
    except stored.PackedPiecesError as e:
        return _compressed(wanted, e.message)


def _blank(disk: str, ref: DiskRef, capacity: int | None) -> Found:
    if capacity:
        length = -(-capacity // _SECTOR) * _SECTOR
        return Found(layer=Layer(server="blank", length=length), size=length)
    finding = Finding(
        code="capacity-unknown",
        severity="block",
        message=f"{disk} is an empty disk of unknown size: {ref.capacity[:60]!r}",
        remedy="give a number and a unit in the OVF: ovf:capacity, and "
        "ovf:capacityAllocationUnits",
        disk=disk,
    )
    return Found(findings=(finding,))


def _blocked(wanted: _Wanted, code: str, message: str, remedy: str) -> Found:
    finding = Finding(
        code=code,
        severity="block",
        message=f"{wanted.id}: {message}",
        remedy=remedy,
        disk=wanted.id,
    )
    return Found(size=wanted.capacity, findings=(finding,))


def _missing(wanted: _Wanted, e: SourceError) -> Found:
    href = wanted.file.href
    format = _declared(wanted.ref) or SUFFIXES.get(_suffix(href), "raw")
    return Found(
        layer=Layer(
            server="file" if format == "raw" else "qemu", path=href, format=format
        ),
        size=wanted.capacity,
        findings=(disks.missing(wanted.id, href, e),),
    )


def _unclear(wanted: _Wanted, message: str) -> Found:
    href = wanted.file.href
    unpack = _unpack(wanted)
    return _blocked(
        wanted,
        "disk-chunked",
        message,
        f"{unpack}join them: cat {href}.[0-9]* >{href}; then remove chunkSize from the "
        "OVF" + (" and name that" if unpack else ""),
    )


def _unpack(wanted: _Wanted) -> str:
    """Return what to do first: if the package is an archive, unpack it."""
    package = wanted.package
    if isinstance(package, Archive):
        return f"unpack the OVA with {package.program}, "
    return ""


def _opened(wanted: _Wanted, whole: Whole, envelope: Envelope) -> Found:
    """Return the layer for the file *whole*, after a look into it."""
    part = whole.part
    format, more = _format(wanted, part)
    head, _ = formats.ends(part)
    is_apart = isinstance(part, Strung) or whole.stored is not None
    is_text = format == "vmdk" and not head.startswith(_BINARY_VMDK)
    if is_text and (isinstance(wanted.package, Archive) or is_apart):
        return _listed(wanted, whole, more)
    parents = tuple(_parents(wanted, envelope))
    chain = [(part, format), *parents]
    if not all(_can_lie(wanted, *pair) for pair in pairwise(chain)):
        return _delta(wanted)
    findings = (
        *(_named(wanted, finding) for finding in whole.findings),
        *more,
        *_sizes(wanted, whole),
    )
    return _layer(wanted, part, format, parents, findings)


def _listed(wanted: _Wanted, whole: Whole, findings: tuple[Finding, ...]) -> Found:
    """Return the layer for *whole*, which only lists other files of the package."""
    file, package = wanted.file, wanted.package
    disk = None if wanted.ref.parent else flat.joined(file, whole.part, package)
    if disk:
        return _layer(wanted, disk, "raw", (), findings)
    return _blocked(
        wanted,
        "disk-split",
        f"{file.href} only lists other files, which cannot be read in place",
        f"{_unpack(wanted)}and name the .ovf in it",
    )


def _named(wanted: _Wanted, finding: Finding) -> Finding:
    text = f"{wanted.id}: {finding.message}"
    return finding.having(message=text, disk=wanted.id)


def _layer(
    wanted: _Wanted,
    part: Part,
    format: Format,
    parents: tuple[tuple[Part, Format], ...],
    findings: tuple[Finding, ...],
) -> Found:
    layer, image = images.layer(
        part if isinstance(part, Strung) else part.path,
        format,
        wanted.package.checked,
        backing=[_file(*parent) for parent in parents],
        part=None if part.offset == 0 else _stretch(part, format),
    )
    findings = (*findings, *images.doubtful(image, part.path, wanted.id))
    if image.size and wanted.capacity and wanted.capacity > image.size:
        text = f"{wanted.id} holds {image.size} bytes and the OVF says "
        finding = _finding(
            "capacity-differs", "info", f"{text}{wanted.capacity}", wanted.id
        )
        findings = (*findings, finding)
    return Found(
        layer=layer,
        size=image.size,
        logical_block_size=image.logical_block_size,
        findings=findings,
    )


def _stretch(part: Part, format: Format) -> images.Part:
    length = part.length
    if format == "raw":
        # qemu wants whole sectors; tar pads to as much.
        length = -(-length // _SECTOR) * _SECTOR
    return images.Part(offset=part.offset, length=length)


def _file(part: Part, format: Format) -> File:
    """Return *part*, which an image lies on, as a document has it."""
    path = str(part.path)
    if isinstance(part, Strung):
        return File(path=path, format=format, parts=images.chunks(part))
    if _is_file(part):
        return File(path=path, format=format)
    stretch = _stretch(part, format)
    return File(path=path, format=format, offset=stretch.offset, length=stretch.length)


def _is_file(part: Part) -> bool:
    """Whether *part* is a file of its own: a member of an archive has a header."""
    return part.offset == 0 and not isinstance(part, Strung)


def _can_lie(
    wanted: _Wanted, upper: tuple[Part, Format], lower: tuple[Part, Format]
) -> bool:
    """Whether qemu can read *upper* on *lower* (servers.qemu).

    Raises SourceError if a VMDK says that it was made on another one.  Many say
    nothing; then the OVF's word counts.
    """
    (image, format), (below, format_below) = upper, lower
    if format != "vmdk":
        return True
    if format_below != "vmdk":
        return False
    laid.check_parent(wanted.file.href, image, below)
    try:
        # A text alone has no start of its own that could be given to it.
        by_name = _is_file(below) and vmdk.descriptor(image).parent_cid != vmdk.NONE
        return by_name or bool(laid.start(image, below))
    except SourceError:
        return False


def _compressed(wanted: _Wanted, message: str) -> Found:
    href = wanted.file.href
    unpack = _unpack(wanted)
    return _blocked(
        wanted,
        "disk-compressed",
        message,
        f"{unpack}unpack the disk: cat {href}.[0-9]* | gzip -dc >DISK; then name DISK "
        "in the OVF without ovf:compression and ovf:chunkSize"
        + (", and name that OVF" if unpack else ""),
    )


def _delta(wanted: _Wanted) -> Found:
    return _blocked(
        wanted,
        "disk-delta",
        f"{wanted.file.href} holds only what differs from disk {wanted.ref.parent}, "
        "and they cannot be read together",
        "consolidate the snapshots on the source, and export the VM again",
    )


def _parents(wanted: _Wanted, envelope: Envelope) -> Iterator[tuple[Part, Format]]:
    """Yield the disks that the delta lies on, nearest first.

    Raises SourceError if one is not there, or is not what the OVF says.
    """
    seen = {wanted.ref.id}
    name = wanted.ref.parent
    while name:
        ref = envelope.disks.get(name)
        if name in seen or len(seen) > _MAX_PARENTS:
            raise SourceError(
                f"the parents of disk {wanted.ref.id} run in a circle",
                "export the VM again, without its snapshots",
            )
        if ref is None or ref.file is None:
            raise SourceError(
                f"disk {wanted.ref.id} is a delta on {name!r:.100}, which is no disk "
                "with a file",
                "export the VM again, without its snapshots",
            )
        seen.add(name)
        part = stored.find(ref.file, wanted.package, _declared(ref)).part
        parent = replace(wanted, ref=ref, file=ref.file, capacity=None)
        yield part, _format(parent, part)[0]
        name = ref.parent


def _declared(ref: DiskRef) -> Format | None:
    """Return the format that the OVF states; None if none that we know."""
    if ref.volume_format:
        words: dict[str, Format] = {"RAW": "raw", "COW": "qcow2"}
        return words.get(ref.volume_format.upper())
    uri = ref.format.lower()
    return next((format for word, format in _URIS if word in uri), None)


def _format(wanted: _Wanted, part: Part) -> tuple[Format, tuple[Finding, ...]]:
    """Return the format of the disk: stated by the OVF, and borne out by the file.

    Raises SourceError if the two do not agree, or neither says enough.
    """
    declared = _declared(wanted.ref)
    if declared == "raw":
        return declared, ()
    href = wanted.file.href
    magic = formats.recognise(part)
    if declared and magic == declared:
        return declared, ()
    if declared:
        shown = f"bears the mark of {magic}" if magic else "bears no mark of that"
        raise SourceError(
            f"{href}: the OVF says that it is {declared}, and the file {shown}",
            "export the VM again, or correct ovf:format in the OVF",
        )
    suffix = _suffix(stored.name(wanted.file))
    assumed = magic or "raw"
    plain = magic is None and suffix in ("", *RAW_SUFFIXES)
    if not plain and (magic is None or SUFFIXES.get(suffix) != magic):
        raise SourceError(
            f"{href}: the OVF does not say its format, and its name and its first "
            "bytes do not agree on one",
            "give ovf:format in the OVF, as DSP0243 has it",
        )
    text = f"{wanted.id}: the OVF gives no format; {assumed} taken, by name and content"
    return assumed, (_finding("format-assumed", "info", text, wanted.id),)


def _suffix(href: str) -> str:
    return PurePosixPath(href.replace("\\", "/")).suffix.lower()


def _sizes(wanted: _Wanted, whole: Whole) -> Iterator[Finding]:
    given, length = wanted.file.size, whole.part.length
    # DSP0243 means the file as it is stored; some give what it holds.
    if given not in (None, length, whole.stored):
        length = length if whole.stored is None else whole.stored
        text = f"{wanted.file.href} has {length} bytes and the OVF says {given}"
        yield _finding("size-differs", "warn", f"{wanted.id}: {text}", wanted.id)


def _finding(code: str, severity: str, message: str, disk: str) -> Finding:
    return Finding(
        code=code,
        severity="warn" if severity == "warn" else "info",
        message=message,
        disk=disk,
    )
