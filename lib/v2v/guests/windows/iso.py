# SPDX-License-Identifier: GPL-2.0-or-later
"""virtio-win as an ISO 9660 image, read without an appliance."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pycdlib
from pycdlib.pycdlibexception import PyCdlibException

from v2v.guests.windows.virtio_win import MAX_FILES, Entry, Media, unusable

_SECTOR = 2048
# What pycdlib raises for an image that is none, or broken.
_BROKEN = (
    PyCdlibException,
    struct.error,
    IndexError,
    KeyError,
    ValueError,
    AttributeError,
    TypeError,
)


def media(path: Path) -> Media:
    """Return what is in the ISO at *path*; its files are read when they are needed.

    Raises HostError if it is none, is broken or is cut off.
    """
    iso = pycdlib.PyCdlib()
    try:
        with path.open("rb") as file:
            iso.open_fp(file)
            try:
                label = iso.pvd.volume_identifier.decode("ascii", "replace").strip()
                entries = dict(_listed(path, iso))
            finally:
                iso.close()
    except _BROKEN as e:
        raise unusable(path, "it is no ISO image that can be read") from e
    return Media(where=path, label=label, entries=entries)


def _listed(path: Path, iso: pycdlib.PyCdlib) -> Iterator[tuple[str, Entry]]:
    """Yield the files of *iso* by their best names: Rock Ridge, Joliet, its own."""
    kind = "iso_path"
    if iso.has_rock_ridge():
        kind = "rr_path"
    elif iso.has_joliet():
        kind = "joliet_path"
    size = path.stat().st_size if path.is_file() else None
    # pycdlib makes files shorter that reach beyond the end, without a word.
    if size is not None and iso.pvd.space_size * _SECTOR > size:
        raise unusable(path, "it is cut off")
    count = 0
    for folder, _, names in iso.walk(**{kind: "/"}):
        for name in names:
            count += 1
            if count > MAX_FILES:
                raise unusable(path, f"it has more than {MAX_FILES} files")
            own = f"{folder.rstrip('/')}/{name}"
            record = iso.get_record(**{kind: own})
            start = record.extent_location() * _SECTOR
            length = record.get_data_length()
            if size is not None and start + length > size:
                raise unusable(path, f"{own} is cut off")
            key = own.lstrip("/").partition(";")[0].lower()
            yield key, Entry(file=path, offset=start, size=length)
