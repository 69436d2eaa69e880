# SPDX-License-Identifier: GPL-2.0-or-later
"""Write pieces down as qcow2 tables over the file that holds the data.

Source: docs/interop/qcow2.txt of QEMU.  A data cluster must begin at a multiple of
its size, and the pieces of a container begin at any sector of it.  So there is a
layer for each remainder, in which the container is shifted into place, and each is
the backing file of the next.  What is no whole cluster goes to a layer whose
clusters are single sectors; of a disk too large for that, it is copied (copies).
Of a container that is made of large blocks, the clusters are as large (its grain).

An external data file (qcow2's own) would be simpler, but each cluster must lie at
its own place there.  Instead a descriptor of FLAT extents, as VMDK has them, strings
together a header of ours, the container, and the tables: one file to qemu.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

from v2v.errors import SourceError
from v2v.mapping.copies import Copies
from v2v.mapping.pieces import SECTOR, Mapped, Piece, merged, places, truncated

# Clusters of the layers, in bytes.  The size of a qcow2 image is limited by that of
# its level 1 table (32 MiB): clusters of n bytes are enough for n * n * 2**19.
_COARSE, _WIDE, _FINE = 4096, 16384, SECTOR
_MAX_LEVEL1 = 2**22
_MAX_CLUSTER = 2**21  # of qcow2
# The header and an empty refcount table, a cluster each.  Data begin behind them, well
# aligned.
_HEAD = 65536
# Bounds our tables: to 2 GiB.  No disk that is not made to harm has as many.
_MAX_CLUSTERS = 2**28
_ZERO = 1  # in an entry of level 2: reads as zeroes

Node = dict[str, Any]


@dataclass(frozen=True)
class _Kind:
    """A layer: the size of its clusters, and where the file begins, modulo that."""

    cluster: int
    shift: int

    @property
    def head(self) -> int:
        """The length of what is in front of the data."""
        return max(_HEAD, 2 * self.cluster)


class _Layer:
    """The files of one layer while they are written.  Pieces come in order."""

    def __init__(
        self, folder: Path, mapped: Mapped, kind: _Kind, starts: list[int]
    ) -> None:
        """Begin in *folder*; *starts* is where the data files begin, and the last
        ends, in bytes."""
        self.folder, self.kind, self.size = folder, kind, rounded(mapped.size)
        folder.mkdir()
        cluster = kind.cluster
        self.starts = starts
        data = rounded(max(0, starts[-1] - kind.shift), kind.head)
        self.base = kind.head + data  # of the tables, in what qemu sees
        self.per_table = cluster // 8
        self.level1 = array("Q", bytes(8 * -(-self.size // (cluster * self.per_table))))
        self.level2 = array("Q")
        self.number = -1
        self.tables: IO[bytes] = (folder / "tables").open("wb")
        self.tables.seek(rounded(len(self.level1) * 8, cluster))
        self._begin(mapped.files)

    def add(self, piece: Piece) -> None:
        """Enter *piece*, whose ends fit the clusters."""
        cluster = self.kind.cluster
        first, count = piece.at // cluster, -(-piece.length // cluster)
        entry = _ZERO
        if piece.where is not None:
            entry = self.kind.head + piece.where - self.kind.shift
        step = cluster if piece.where is not None else 0
        while count:
            number, index = divmod(first, self.per_table)
            if number != self.number:
                self._flush()
                self.number = number
                self.level2 = array("Q", bytes(cluster))
            some = min(count, self.per_table - index)
            entries = (
                range(entry, entry + some * step, step) if step else [entry] * some
            )
            self.level2[index : index + some] = array("Q", entries)
            first, count, entry = first + some, count - some, entry + some * step

    def close(self) -> None:
        """Finish the files."""
        self._flush()
        data, own = self.base - self.kind.head, rounded(self.tables.tell(), _HEAD)
        self._describe(data, own)
        self.tables.seek(0)
        _swapped(self.level1).tofile(self.tables)
        self.shut()

    def shut(self) -> None:
        """Let go of the files, finished or not."""
        self.tables.close()

    def _flush(self) -> None:
        if self.number >= 0:
            self.level1[self.number] = self.base + self.tables.tell()
            _swapped(self.level2).tofile(self.tables)

    def _begin(self, data: Sequence[Path]) -> None:
        """Write the header, and the links to the files *data*."""
        bits = self.kind.cluster.bit_length() - 1
        header = struct.pack(
            ">4sIQIIQIIQQIIQQQQII",
            *(b"QFI\xfb", 3, 0, 0, bits, self.size, 0, len(self.level1), self.base),
            *(self.kind.cluster, 1, 0, 0, 0, 0, 0, 4, 104),
        )
        with (self.folder / "head").open("wb") as file:
            file.write(header)
            file.truncate(self.kind.head)
        for number, path in enumerate(data):
            (self.folder / _data(number)).symlink_to(path)

    def _describe(self, data: int, own: int) -> None:
        """Write the descriptor that strings all together; lengths in bytes."""
        lines = [
            *("# Disk DescriptorFile", "version=1", "CID=fffffffe"),
            *("parentCID=ffffffff", 'createType="twoGbMaxExtentFlat"'),
            f'RW {self.kind.head // SECTOR} FLAT "head" 0',
            *self._extents(data),
            f'RW {own // SECTOR} FLAT "tables" 0',
        ]
        (self.folder / "descriptor").write_text("\n".join([*lines, ""]))

    def _extents(self, data: int) -> Iterator[str]:
        """Yield the extents of the files, of *data* bytes; the first begins shifted."""
        shift = self.kind.shift
        # Behind the end of a file qemu reads zeroes.
        ends = [*self.starts[1:-1], data + shift]
        for number, (start, end) in enumerate(zip(self.starts, ends, strict=False)):
            skipped = max(0, shift - start)
            count = (end - start - skipped) // SECTOR
            if count > 0:
                yield f'RW {count} FLAT "{_data(number)}" {skipped // SECTOR}'


def _data(number: int) -> str:
    return f"data{number or ''}"


def _swapped(numbers: array[int]) -> array[int]:
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


def rounded(size: int, unit: int = SECTOR) -> int:
    """Return *size* rounded up to a multiple of *unit*."""
    return -(-size // unit) * unit


def write(mapped: Mapped, folder: Path, *, parent: bool) -> None:
    """Write the layers for *mapped* into *folder*, which is new.

    ``parent``: whether something shows through where no piece is; if not, pieces of
    zeroes are left out.  Raises SourceError for a disk that cannot be mapped.
    """
    folder.mkdir(parents=True)
    starts = places([file.stat().st_size for file in mapped.files])
    layers: dict[_Kind, _Layer | Copies] = {}
    with ExitStack() as files:
        for kind, part in _bounded(mapped, starts[-1], parent=parent):
            if kind not in layers:
                layers[kind] = _begun(mapped, folder, kind, starts)
                files.callback(layers[kind].shut)
            layers[kind].add(part)
        if not layers:
            kind = _Kind(_coarse(mapped), 0)
            layers[kind] = _begun(mapped, folder, kind, starts)
        for layer in layers.values():
            layer.close()


def _bounded(
    mapped: Mapped, end: int, *, parent: bool
) -> Iterator[tuple[_Kind, Piece]]:
    """Yield the pieces of *mapped*, each with the layer that it belongs to.

    Raises SourceError if they are more than a file of *end* bytes can hold.
    """
    coarse = _coarse(mapped)
    clusters = data = 0
    for piece in merged(_ordered(mapped, end)):
        if piece.where is None and not parent:
            continue
        data += piece.length if piece.where is not None else 0
        for kind, part in _parts(piece, coarse, mapped.size):
            clusters += part.length // kind.cluster
            if clusters > _MAX_CLUSTERS or data > end + coarse:
                raise _too_much(mapped)
            yield kind, part


def _coarse(mapped: Mapped) -> int:
    for cluster in (max(_COARSE, min(mapped.grain, _MAX_CLUSTER)), _WIDE):
        if mapped.size <= cluster * (cluster // 8) * _MAX_LEVEL1:
            return cluster
    # formats.MAX_SIZE is half of that
    raise ValueError(f"a disk of {mapped.size} bytes")


def _begun(
    mapped: Mapped, folder: Path, kind: _Kind, starts: list[int]
) -> _Layer | Copies:
    """Return a new layer of *kind*: for small pieces of a very large disk, copies."""
    folder = folder / f"{kind.cluster}-{kind.shift}"
    if mapped.size > kind.cluster * (kind.cluster // 8) * _MAX_LEVEL1:
        return Copies(folder, mapped)
    return _Layer(folder, mapped, kind, starts)


def _too_much(mapped: Mapped) -> SourceError:
    return SourceError(
        f"{mapped.file} is broken: its tables place more than it can hold",
        "copy it again from the source, or check it there",
    )


def _ordered(mapped: Mapped, end: int) -> Iterator[Piece]:
    """Yield the pieces of *mapped*, checked.  Raises SourceError."""
    place = 0
    for piece in mapped.pieces():
        at, length, where = piece
        if at < place or length <= 0 or at >= mapped.size:
            raise _broken(mapped, f"a piece of {length} bytes at {at} of the disk")
        place = at + length
        if at % SECTOR or (length % SECTOR and place < mapped.size):
            raise _broken(mapped, f"no whole sectors at {at} of the disk")
        if place > mapped.size:
            piece = Piece(at, mapped.size - at, where)
        if where is not None:
            if where % SECTOR or where < 0:
                raise _broken(mapped, f"no whole sectors at {where} of the file")
            if where + piece.length > end:
                raise truncated(mapped.file)
        yield piece


def _broken(mapped: Mapped, reason: str) -> SourceError:
    return SourceError(
        f"{mapped.file} is broken: {reason}",
        "copy it again from the source, or check it there",
    )


def _parts(piece: Piece, cluster: int, size: int) -> Iterator[tuple[_Kind, Piece]]:
    """Yield *piece* cut into what fills whole clusters and what does not.

    The last cluster of a disk of *size* bytes counts as whole.
    """
    at, length, where = piece
    end = at + length
    start = min(rounded(at, cluster), end)
    stop = end if end == size else max(start, end // cluster * cluster)
    for first, last, fine in (
        (at, start, True),
        (start, stop, False),
        (stop, end, True),
    ):
        if first < last:
            place = None if where is None else where + first - at
            unit = _FINE if fine else cluster
            kind = _Kind(unit, (place or 0) % unit)
            yield kind, Piece(first, last - first, place)


def nodes(folder: Path) -> tuple[Node, Node]:
    """Return the graph of what write() put into *folder*: its top, and its bottom,
    which takes the parent as "backing" (None if there is none)."""
    # Those with large clusters first: most of the disk is found there.
    order = sorted(folder.iterdir(), key=lambda f: (f.name.startswith("512-"), f.name))
    made = [_node(layer) for layer in order]
    for upper, lower in pairwise(made):
        upper["backing"] = lower
    return made[0], made[-1]


def _node(folder: Path) -> Node:
    storage = {
        "driver": "file",
        "filename": str(folder / "descriptor"),
        "read-only": True,
    }
    if (folder / "image").exists():
        copies = {**storage, "filename": str(folder / "image")}
        return {"driver": "qcow2", "file": copies, "backing": None, "read-only": True}
    strung = {"driver": "vmdk", "file": storage, "backing": None, "read-only": True}
    return {"driver": "qcow2", "file": strung, "backing": None, "read-only": True}
