# SPDX-License-Identifier: GPL-2.0-or-later
"""Encrypt a plain image into the data area of a LUKS volume, without dm-crypt.

    luks_encrypt.py PLAIN DEVICE OFFSET KEYFILE

aes-xts-plain64, 512-byte sectors.  Pieces that are holes in the plain image are left
as holes: they decrypt to noise, as blocks never written do.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_SECTOR = 512
_UNIT = 4096
_PIECE = 2**20


def main() -> None:
    plain, device, offset, key_file = sys.argv[1:]
    key = Path(key_file).read_bytes()
    with Path(plain).open("rb") as source, Path(device).open("r+b") as target:
        for position, piece in _pieces(source):
            target.seek(int(offset) + position)
            target.write(_encrypted(piece, position // _SECTOR, key))


def _pieces(source: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield what of *source* holds data, as position and content."""
    size = os.fstat(source.fileno()).st_size
    end = 0
    while end < size:
        try:
            position = os.lseek(source.fileno(), end, os.SEEK_DATA)
        except OSError:
            return  # ENXIO: only a hole is left
        end = os.lseek(source.fileno(), position, os.SEEK_HOLE)
        position -= position % _UNIT
        while position < end:
            source.seek(position)
            piece = source.read(min(_PIECE, size - position))
            yield position, piece
            position += len(piece)


def _encrypted(piece: bytes, sector: int, key: bytes) -> bytes:
    # Debian's, and only where guests are built.
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    algorithm = algorithms.AES(key)
    out = bytearray()
    for start in range(0, len(piece), _SECTOR):
        tweak = struct.pack("<QQ", sector + start // _SECTOR, 0)
        encryptor = Cipher(algorithm, modes.XTS(tweak)).encryptor()
        out += encryptor.update(piece[start : start + _SECTOR])
    return bytes(out)


if __name__ == "__main__":
    main()
