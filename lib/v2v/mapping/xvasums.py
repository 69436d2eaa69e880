# SPDX-License-Identifier: GPL-2.0-or-later
"""The checksums in an XVA: of each chunk of a disk one, in the member that follows it.

Source: ocaml/xapi/stream_vdi.ml of xapi.  SHA-1 in hexadecimal; since XCP-ng 8.1 and
Citrix Hypervisor 8.1 the XXH64, without a seed.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from threading import Event
from typing import Protocol

from v2v.errors import SourceError
from v2v.formats import read, truncated
from v2v.mapping import tar

_SUM = re.compile(r"(?:\./)?([^/]{1,60})/(\d{8,12})\.(checksum|xxhash)")
_CALLED = {"checksum": "SHA-1", "xxhash": "XXH64"}
_LONGEST = 64
_BLOCK = 2**20


class _Digest(Protocol):
    """What hashlib and xxhash have in common."""

    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


def verify(path: Path, disk: str, given_up: Event) -> tuple[int, int]:
    """Compare the chunks of *disk* in the archive *path* with their checksums.

    Return how many agree, and how many have none.  Ends early once *given_up* is set.
    Raises SourceError for the first chunk that differs.
    """
    agree = chunks = 0
    last: tar.Member | None = None
    for member in tar.members(path):
        if given_up.is_set():
            break
        match = _SUM.fullmatch(member.name)
        if match is None:
            last = member
            chunks += member.name.removeprefix("./").startswith(f"{disk}/")
        elif match[1] == disk and last and member.name == f"{last.name}.{match[3]}":
            agree += _agrees(path, last, member, given_up)
    return agree, chunks - agree


def _agrees(path: Path, chunk: tar.Member, sum_: tar.Member, given_up: Event) -> bool:
    """Whether *chunk* has the checksum that the member *sum_* says.

    False if it was not read to its end.  Raises SourceError if it has another.
    """
    kind = sum_.name.rpartition(".")[2]
    said = read(path, sum_.offset, min(sum_.size, _LONGEST)).decode("ascii", "replace")
    digest = _digest(kind)
    left = chunk.size
    with path.open("rb") as file:
        file.seek(chunk.offset)
        while left:
            if given_up.is_set():
                return False
            data = file.read(min(left, _BLOCK))
            if not data:
                raise truncated(path)
            digest.update(data)
            left -= len(data)
    found = digest.hexdigest()
    if found != said.strip().lower():
        raise SourceError(
            f"{path}: block {chunk.name} is damaged: its {_CALLED[kind]} is {found}, "
            f"and the export says {said.strip()[:48]!r}",
            "copy the export again from the source; or take it as it is: "
            "--no-verify-checksums",
        )
    return True


def _digest(kind: str) -> _Digest:
    if kind == "checksum":
        return hashlib.sha1(usedforsecurity=False)
    from xxhash import xxh64

    return xxh64()
