# SPDX-License-Identifier: GPL-2.0-or-later
"""A file of a package that is stored in pieces: HREF.000000000, HREF.000000001 …

DSP0243 7.1 wants chunkSize then, and nine digits; both are missing in some packages,
and without chunkSize the numbers may be those of snapshots (virt-v2v:
test-i-ova-snapshots).  The first bytes of the pieces tell which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from v2v import formats
from v2v.document import Finding
from v2v.errors import SourceError
from v2v.formats import Part
from v2v.mapping import strung
from v2v.ovf.envelope import FileRef
from v2v.ovf.package import MissingError, Piece


class UnclearError(SourceError):
    """The pieces can be put together in more than one way, or are too many."""


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A file of a package, and what is odd of it.

    ``stored`` is how many bytes it takes in the package, if it was packed.
    """

    part: Part
    stored: int | None = None
    findings: tuple[Finding, ...] = ()


def whole(file: FileRef, pieces: Sequence[Piece]) -> Whole:
    """Return what *pieces*, at least one, of *file* are together.

    Raises MissingError if one is not there, UnclearError if it is not sure what they
    are, SourceError if one is not whole.
    """
    if len(pieces) == 1 and (not file.chunked or pieces[0].number == 0):
        return Whole(part=pieces[0].part)
    if len(pieces) > strung.MAX_PIECES:
        raise UnclearError(
            f"{file.href} is cut into {len(pieces)} pieces, and at most "
            f"{strung.MAX_PIECES} can be read in place"
        )
    if file.chunked:
        return _joined(file, pieces, ())
    images = [_is_image(piece.part) for piece in pieces]
    if all(images):
        text = f"of {len(pieces)} whole images of {file.href} the last is taken"
        finding = Finding(code="disk-snapshots", severity="warn", message=text)
        return Whole(part=pieces[-1].part, findings=(finding,))
    if not images[0] or any(images[1:]):
        raise UnclearError(
            f"{file.href} is there as {len(pieces)} numbered files, and neither "
            "chunkSize nor their first bytes tell whether they are pieces of it"
        )
    text = f"{len(pieces)} numbered files are read as pieces of {file.href}"
    finding = Finding(code="disk-joined", severity="info", message=text)
    return _joined(file, pieces, (finding,))


def _is_image(part: Part) -> bool:
    return formats.recognise(part) is not None


def _joined(
    file: FileRef, pieces: Sequence[Piece], findings: tuple[Finding, ...]
) -> Whole:
    first = 0 if file.chunked else pieces[0].number
    for wanted, piece in enumerate(pieces, first):
        if piece.number > wanted:
            raise _missing(file, wanted)
        if piece.number < wanted:
            raise UnclearError(f"{file.href} has two pieces of number {piece.number}")
    usual = _usual_length(file, pieces)
    joined = formats.strung([piece.part for piece in pieces])
    size = file.size
    if size is not None and size > joined.length and pieces[-1].part.length == usual:
        raise _missing(file, first + len(pieces))
    if usual != file.chunk_size and file.chunk_size:
        text = f"{file.href} is in pieces of {usual} bytes, and chunkSize says "
        finding = Finding(
            code="size-differs", severity="warn", message=f"{text}{file.chunk_size}"
        )
        findings = (*findings, finding)
    return Whole(part=joined, findings=findings)


def _usual_length(file: FileRef, pieces: Sequence[Piece]) -> int:
    """Return the length of every piece but the last, in bytes.

    Raises SourceError if one is longer or shorter, or the last is longer.
    """
    usual = pieces[0].part.length
    for piece in pieces[1:]:
        length = piece.part.length
        if length > usual or (length < usual and piece is not pieces[-1]):
            raise SourceError(
                f"{file.href} is cut into pieces of {usual} bytes, and its piece "
                f"{piece.number} has {length}",
                "copy the pieces again: one of them is not whole",
            )
    return usual


def _missing(file: FileRef, number: int) -> MissingError:
    return MissingError(
        f"piece {file.href}.{number:09} is missing",
        "copy or export the package again: it is not whole",
    )
