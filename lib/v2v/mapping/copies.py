# SPDX-License-Identifier: GPL-2.0-or-later
"""The small pieces of a very large disk, copied into a qcow2 image of their own.

Of a disk above 128 GiB single sectors cannot be clusters (v2v.mapping.tables).  Its
pieces that are smaller than 4 KiB, as the first sector with the partition table is,
are few: they go into an image with subclusters of a sector (extended L2 entries).
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_right
from pathlib import Path
from typing import IO

from v2v.errors import SourceError
from v2v.mapping.pieces import SECTOR, Mapped, Piece, places

CLUSTER = 16384
_ENTRIES = CLUSTER // 16
_EXTENDED = 1 << 4
# So much may be copied of a disk: 1 GiB, with what is empty in the clusters.
_MAX_CLUSTERS = 2**16


class Copies:
    """The image while it is written.  Pieces come in order."""

    def __init__(self, folder: Path, mapped: Mapped) -> None:
        """Begin in *folder*, which is new."""
        folder.mkdir()
        self.mapped = mapped
        self.image: IO[bytes] = (folder / "image").open("wb")
        lengths = [file.stat().st_size for file in mapped.files]
        self.places = places(lengths)
        self.number = 0
        self.source: IO[bytes] = mapped.file.open("rb")
        size = -(-mapped.size // SECTOR) * SECTOR
        self.level1 = array("Q", bytes(8 * -(-size // (CLUSTER * _ENTRIES))))
        header = struct.pack(
            ">4sIQIIQIIQQIIQQQQII",
            *(b"QFI\xfb", 3, 0, 0, 14, size, 0, len(self.level1), 2 * CLUSTER),
            *(CLUSTER, 1, 0, 0, _EXTENDED, 0, 0, 4, 104),
        )
        self.image.write(header)
        self.free = (2 + -(-len(self.level1) * 8 // CLUSTER)) * CLUSTER
        self.table, self.level2 = -1, array("Q")
        self.cluster, self.data, self.bits = -1, bytearray(), 0
        self.count = 0

    def add(self, piece: Piece) -> None:
        """Copy *piece*.  Raises SourceError if there are too many."""
        at, length, where = piece
        while length > 0:
            cluster, inside = divmod(at, CLUSTER)
            some = min(length, CLUSTER - inside)
            self._select(cluster)
            mask = ((1 << -(-some // SECTOR)) - 1) << inside // SECTOR
            if where is None:
                self.bits |= mask << 32
            else:
                self.data[inside : inside + some] = self._read(where, some)
                self.bits |= mask
                where += some
            at, length = at + some, length - some

    def close(self) -> None:
        """Finish the image."""
        self._flush()
        self._flush_table()
        self.image.seek(2 * CLUSTER)
        self.image.write(_big(self.level1))
        self.image.truncate(self.free)
        self.shut()

    def shut(self) -> None:
        """Let go of the files, finished or not."""
        self.image.close()
        self.source.close()

    def _read(self, where: int, count: int) -> bytes:
        """Return *count* bytes at *where* of the files, with zeroes between them."""
        made = b""
        while len(made) < count:
            at = where + len(made)
            number = bisect_right(self.places, at, hi=len(self.mapped.files)) - 1
            if number != self.number:
                self.source.close()
                self.source = self.mapped.files[number].open("rb")
                self.number = number
            some = count - len(made)
            if number + 1 < len(self.mapped.files):
                some = min(some, self.places[number + 1] - at)
            self.source.seek(at - self.places[number])
            made += self.source.read(some).ljust(some, b"\0")
        return made

    def _select(self, cluster: int) -> None:
        if cluster == self.cluster:
            return
        self._flush()
        self.count += 1
        if self.count > _MAX_CLUSTERS:
            raise SourceError(
                f"{self.mapped.file} has too many changes smaller than 4 KiB for a "
                "disk larger than 128 GiB",
                "merge the snapshots or checkpoints on the source",
            )
        if cluster // _ENTRIES != self.table:
            self._flush_table()
            self.table = cluster // _ENTRIES
            self.level2 = array("Q", bytes(CLUSTER))
        self.cluster, self.data, self.bits = cluster, bytearray(CLUSTER), 0

    def _flush(self) -> None:
        if self.cluster < 0:
            return
        index = self.cluster % _ENTRIES * 2
        self.level2[index : index + 2] = array("Q", (self.free, self.bits))
        self._append(bytes(self.data))

    def _flush_table(self) -> None:
        if self.table >= 0:
            self.level1[self.table] = self.free
            self._append(_big(self.level2))

    def _append(self, data: bytes) -> None:
        self.image.seek(self.free)
        self.image.write(data)
        self.free += CLUSTER


def _big(numbers: array[int]) -> bytes:
    found = array("Q", numbers)
    if sys.byteorder == "little":
        found.byteswap()
    return found.tobytes()
