# SPDX-License-Identifier: GPL-2.0-or-later
"""Raw bytes in a local file or block device, or in a part of one."""

from __future__ import annotations

import resource
from functools import partial
from pathlib import Path

from v2v import __version__, formats
from v2v.document import File, Layer
from v2v.formats import Part, Strung
from v2v.mapping import kept, strung
from v2v.servers import Access, Graph, Node
from v2v.views import store


def graph(address: Layer, access: Access, *, write: bool) -> Graph:
    """See servers.Server."""
    if address.parts:
        _, below = joined(address, access)
        return Graph(node={"driver": "raw", "file": below, "read-only": True})
    path = access.checked(address.path or "")
    part: Node = {}
    if address.offset or address.length is not None:
        part = {"offset": address.offset or 0}
        if address.length is not None:
            part["size"] = sectors(address.length)
    return Graph(node={"driver": "raw", **part, "file": storage(path, write=write)})


def sectors(length: int) -> int:
    """Return *length* in whole sectors, as qemu wants a stretch of a file.

    The last one may reach into a tar archive's padding.
    """
    return -(-length // 512) * 512


def storage(path: object, *, write: bool) -> Node:
    """Return the protocol node of the file or block device at *path*."""
    driver = "host_device" if Path(str(path)).is_block_device() else "file"
    node: Node = {"driver": driver, "filename": str(path), "read-only": not write}
    if write:
        node["discard"] = "unmap"
    return node


def joined(address: Layer | File, access: Access) -> tuple[Strung, Node]:
    """Return the image whose parts *address* names, and the protocol node of it.

    Raises SourceError if one must not be opened or ends before, or they are too many.
    """
    strung.check_count(Path(address.path or ""), len(address.parts))
    checked = {path: access.checked(path) for path in {p.path for p in address.parts}}
    pieces = [
        formats.part(checked[part.path], part.offset, part.length)
        for part in address.parts
    ]
    image = formats.strung(pieces)
    return image, _string(image)


def with_start(place: Part, head: bytes) -> Node:
    """Return the protocol node of *place* with *head*, sectors, as its start.

    Raises SourceError as joined does.
    """
    image = place if isinstance(place, Strung) else formats.strung([place])
    return _string(image, head)


def _string(image: Strung, head: bytes = b"") -> Node:
    """Return the protocol node of *image*, which begins with *head* instead."""
    strung.check_count(image.path, len(image.pieces))
    allow_open(len(image.pieces))
    marks = [f"{p.path}\0{p.offset}\0{p.length}" for p in image.pieces]
    for path in sorted({piece.path for piece in image.pieces}):
        facts = path.stat()
        marks.append(f"{path}\0{facts.st_size}\0{facts.st_mtime_ns}")
    name = store.key("strung", __version__, head.hex(), *marks)
    folder = kept.once(name, image.path, partial(strung.write, image, head=head))
    return strung.node(folder)


def allow_open(count: int) -> None:
    """Let qemu, our child, open *count* files besides its own.

    A limit that may not be raised so far shows when it opens them.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + 200
    if resource.RLIM_INFINITY not in (soft, hard) and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(needed, hard), hard))
