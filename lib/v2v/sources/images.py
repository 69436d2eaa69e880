# SPDX-License-Identifier: GPL-2.0-or-later
"""Turn an image file into a layer, after a look at its header.

The format is always stated: by the user, by a trusted description or by the file's
name.  A chain is taken from the description; else snapshots and checkpoints are
followed by their own hints, within what may be read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from v2v import formats
from v2v.document import Chunk, Disk, File, Finding, Format, Layer
from v2v.errors import SourceError
from v2v.formats import Checked, Image, Strung, qcow2, vdi, vhdx, vmdk, vpc
from v2v.sources.descriptions import caution

# Those whose headers name their parents in a way that can be checked.
_CHAINS: dict[Format, Callable[[Path, Checked], tuple[File, ...]]] = {
    "vmdk": vmdk.chain,
    "vpc": vpc.chain,
    "vhdx": vhdx.chain,
    "vdi": vdi.chain,
}

# Differencing images of these formats are read with their parents (servers.qemu).
CHAINED: tuple[Format, ...] = ("qcow2", "vmdk", "parallels")


# Those that lie on any parent, whatever their own header names (servers.qemu).
SEVERABLE: tuple[Format, ...] = ("qcow2", "vmdk")


@dataclass(frozen=True, kw_only=True)
class Part:
    """The stretch of a file that holds the image, in bytes."""

    offset: int
    length: int


def layer(
    place: Path | Strung,
    format: Format,
    checked: Checked,
    *,
    backing: Sequence[File] = (),
    part: Part | None = None,
) -> tuple[Layer, Image]:
    """Return the layer for the image at *place*, and what its header says.

    *backing* are the parents that the description names, nearest first.  Raises
    SourceError if one of them is broken or must not be opened, or one is lacking.
    """
    start, length = (part.offset, part.length) if part else (0, None)
    image = formats.load(format).examine(place, checked, start, length)
    file = place.path if isinstance(place, Strung) else place
    apart = image.differencing and not (backing and format in SEVERABLE)
    if isinstance(place, Strung) and (apart or image.mapped):
        raise SourceError(
            f"{file} is the first piece of a {format} image that is not read in pieces",
            "join the pieces with cat, in the order of their numbers",
        )
    if image.differencing and not backing and format in _CHAINS:
        backing = _CHAINS[format](file, checked)
    last, child, doubts = image, file, list(image.doubts)
    for parent in backing:
        below = formats.of(parent)
        last = formats.load(parent.format).examine(below, checked)
        doubts += [f"{Path(parent.path).name}: {doubt}" for doubt in last.doubts]
        if parent.format == "vdi":
            doubts += vdi.doubts(child, Path(parent.path))
        child = Path(parent.path)
    if last.differencing:
        raise _orphan(backing[-1].path if backing else file, last, format)
    made = Layer(
        server="file" if format == "raw" else "qemu",
        path=str(file),
        format=format,
        backing=tuple(backing),
        offset=part.offset if part else None,
        length=part.length if part else None,
        parts=chunks(place) if isinstance(place, Strung) else (),
    )
    return made, replace(image, doubts=tuple(doubts))


def chunks(image: Strung) -> tuple[Chunk, ...]:
    """Return the pieces of *image* as a document has them."""
    return tuple(
        Chunk(path=str(piece.path), offset=piece.offset, length=piece.length)
        for piece in image.pieces
    )


def held(disk: Disk, layer: Layer, image: Image) -> Disk:
    """Return *disk* with its *layer*, and with what the header of the *image* says."""
    return disk.having(
        source=layer,
        size=image.size,
        # Large sectors that only the description or only the image tells of are there.
        logical_block_size=max(disk.logical_block_size, image.logical_block_size),
    )


def _orphan(file: str | Path, image: Image, format: Format) -> SourceError:
    if format == "qcow2":
        return SourceError(
            f"{file} holds only what differs from a backing file, which its header "
            f"calls {image.parent!r}; that is not followed",
            "make it whole where you trust it: qemu-img convert -O qcow2 OLD NEW; or "
            "describe the chain in a libvirt XML with <backingStore>",
        )
    return SourceError(
        f"{file} holds only the differences to a parent disk",
        "merge the checkpoints or snapshots on the source, and take the merged disk",
    )


def doubtful(image: Image, file: Path, disk: str) -> list[Finding]:
    """Return a finding for all that is odd in *image*, which is read nevertheless."""
    found = [
        caution("image-doubtful", f"{disk}: {file}: {d}") for d in image.doubts[:8]
    ]
    if image.base:
        found.append(
            caution(
                "disk-is-base",
                f"{disk}: {file} says that it is only the base of others, which hold "
                "what was written since",
                "name the newest image of the chain, if that is the disk",
            )
        )
    return [finding.having(disk=disk) for finding in found]


def snapshots(file: Path | Strung, format: Format, disk: str) -> list[Finding]:
    """Return a finding if *file* holds snapshots, which are not taken over."""
    names = qcow2.snapshots(file) if format == "qcow2" else []
    if not names:
        return []
    shown = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
    return [
        Finding(
            code="snapshots-dropped",
            severity="warn",
            message=f"{disk}: its {len(names)} snapshots stay behind: {shown}",
            remedy="keep the source if you may want to go back to one of them",
            disk=disk,
        )
    ]


def _is_proved(layer: Layer, checked: Checked) -> bool:
    """Whether the headers of the files name the same chain as *layer* does."""
    if layer.format not in _CHAINS or layer.path is None:
        return False
    try:
        named = _CHAINS[layer.format](Path(layer.path), checked)
    except SourceError:
        return False  # it is told by the caller
    return [Path(f.path) for f in named] == [Path(f.path) for f in layer.backing]


def unserved(layer: Layer, disk: str, checked: Checked) -> list[Finding]:
    """Return a finding if the chain of *layer* would be misread, or not read at all.

    A differencing VHD, VHDX or VDI is read with the parents that its own header proves
    (v2v.mapping); of a chain that it does not name nothing is sure.
    """
    differing = {layer.format, *(file.format for file in layer.backing[:-1])}
    if not layer.backing or differing <= set(CHAINED) or _is_proved(layer, checked):
        return []
    length = len(layer.backing) + 1
    return [
        Finding(
            code="chain-unread",
            severity="block",
            message=f"{disk}: {layer.path} is a chain of {length} {layer.format} "
            "images, which cannot be read together",
            remedy="merge the snapshots or checkpoints on the source, or clone the "
            "disk there into one file",
            disk=disk,
        )
    ]
