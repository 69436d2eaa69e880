# SPDX-License-Identifier: GPL-2.0-or-later
"""The files in an OVF package that is a zip archive.

A member that is only stored is read in place; one that is deflated, once it is asked
for, from a view (v2v.views).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from v2v import formats, views
from v2v.formats import Part
from v2v.mapping import zipped
from v2v.mapping.zipped import DEFLATED, STORED, Member


class Members(Mapping[str, Part]):
    """The files of the archive ``path``, by name.

    Asking for one raises SourceError if it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        """Read the directory.  Raises SourceError, see mapping.zipped."""
        self._path = path
        self._found = zipped.members(path)

    def __getitem__(self, name: str) -> Part:
        """Return where the file *name* lies, unpacked now if need be."""
        member = self._found[name]
        if member.encrypted or member.method not in (STORED, DEFLATED):
            raise zipped.unreadable(self._path, member)
        if member.method == STORED:
            return Part(path=self._path, offset=member.data_at, length=member.size)
        return self._unpacked(member)

    def _unpacked(self, member: Member) -> Part:
        length = member.end - member.start
        packed = Part(path=self._path, offset=member.start, length=length)
        views.check_size(self._path, member.size)
        view = formats.part(views.member(packed, PurePosixPath(member.name).name))
        if view.length != member.size:
            raise zipped.wrong_size(self._path, member.name, view.length, member.size)
        return view

    def __iter__(self) -> Iterator[str]:
        """Yield the names in the order of the members."""
        return iter(self._found)

    def __len__(self) -> int:
        """Return how many files there are."""
        return len(self._found)
