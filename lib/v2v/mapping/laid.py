# SPDX-License-Identifier: GPL-2.0-or-later
"""Lay a delta of VMware on any parent, whatever its own header says of that.

Source: block.c and block/vmdk.c of QEMU.  Another parent than the one which a header
names is taken only if it is a plain file; and only a VMDK that has the CID which the
header gives.  So the delta gets a header that names no file, and has that CID.
"""

from __future__ import annotations

import re
import struct

from v2v.errors import SourceError
from v2v.formats import Part, ends, vmdk
from v2v.mapping.pieces import SECTOR

_PARENT_CID = re.compile(rb"parentCID[ \t]{0,9}=[ \t]{0,9}[0-9A-Fa-f]{0,8}")
_LONGEST = 2**20
_REMEDY = "consolidate the snapshots on the source, and copy or export again"


def start(image: Part, parent: Part) -> bytes:
    """Return how *image* begins if it is to name no file, but the CID of *parent*.

    Whole sectors.  Raises SourceError if it is no sparse VMDK, or the parent has no
    CID: qemu lays nothing on such a one.
    """
    head, _ = ends(image)
    below = vmdk.descriptor(parent).cid
    at, length = (n * SECTOR for n in struct.unpack("<QQ", head[28:44].ljust(16)))
    is_plain = re.fullmatch("[0-9a-f]{1,8}", below) and at + length <= _LONGEST
    if head[:4] != b"KDMV" or not at or not is_plain:
        raise SourceError(
            f"{image.path} holds what differs from another disk, and they cannot be "
            "read together",
            _REMEDY,
        )
    data = image.read(0, at + length)
    # As qemu looks for both: anywhere in the text, and in this case.
    text = data[at:].rstrip(b"\0").replace(b"parentFileNameHint", b"#arentFileNameHint")
    parent_cid = b"parentCID=%08x" % int(below, 16)
    text, count = _PARENT_CID.subn(parent_cid, text)
    text += b"" if count else b"\n" + parent_cid + b"\n"
    if len(text) > length:
        raise SourceError(
            f"{image.path}: its descriptor has no room for a parent", _REMEDY
        )
    return data[:at] + text.ljust(length, b"\0")


def check_parent(name: str, image: Part, parent: Part) -> None:
    """Raise SourceError if *image*, called *name*, says that it lies on another one.

    Nothing is said by one without a CID of a parent, or without a descriptor.
    """
    try:
        upper, lower = vmdk.descriptor(image), vmdk.descriptor(parent)
    except SourceError:
        return  # a sparse extent has none; whoever examines it tells what is broken
    named = upper.parent_cid
    if named != vmdk.NONE and named.lstrip("0") != lower.cid.lstrip("0"):
        raise SourceError(
            f"{name} was made on a disk with CID {named:.8}, and the one "
            f"below it has {lower.cid:.8}: the parent was changed after the snapshot",
            "consolidate the snapshots on the source, and export again",
        )
