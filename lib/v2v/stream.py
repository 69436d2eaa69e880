# SPDX-License-Identifier: GPL-2.0-or-later
"""The stream between two stages; v2v-stream(7) is its specification.

One JSON object a line: ``vm`` records, ``alive`` records between them, one ``end``
record last.  A pipe that ends before its end record was cut off.  A regular file may
lack the end record, and may be one bare VM object.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from v2v.document import VERSION, VM, End, decode, decode_end, encode, encode_vm
from v2v.errors import CutOffError, StreamError

ALIVE = json.dumps({"v2v": VERSION, "kind": "alive"}) + "\n"
# A record of many disks is some 10 KiB; without a bound a broken writer fills memory.
_MAX_RECORD = 64 * 2**20
_MAX_FILE = 16 * _MAX_RECORD

Wait = Callable[[int], None]


class Reader:
    """Reads a stream from a file descriptor.

    ``end`` is the end record, once it was read.  ``wait`` is called with the
    descriptor before each read that might block.
    """

    def __init__(self, fd: int, wait: Wait = lambda fd: None) -> None:
        """Read from *fd*, which is not closed."""
        self.fd = fd
        self.wait = wait
        self.end: End | None = None
        self.is_file = stat.S_ISREG(os.fstat(fd).st_mode)

    def vms(self) -> Iterator[VM]:
        """Yield the VMs, up to the end record.

        Raises StreamError if the stream is cut off, or is no stream of ours.
        """
        lines = self._file() if self.is_file else self._pipe()
        for line in lines:
            record = parse(line)
            kind = record.pop("kind", "vm" if self.is_file else None)
            if kind == "end":
                self.end = decode_end(record)
                return
            if kind == "vm":
                yield decode(record)
            elif kind != "alive":
                raise StreamError(f"a record of unknown kind: {kind!r:.40}")
        if not self.is_file:
            raise CutOffError(
                "the input was cut off: the stage before this one has died",
                "see what that stage said; then run the same command again",
            )

    def _pipe(self) -> Iterator[str]:
        rest: list[bytes] = []
        length = 0
        while chunk := self._chunk():
            *lines, last = chunk.split(b"\n")
            if lines:
                lines[0] = b"".join([*rest, lines[0]])
                rest, length = [], 0
            rest.append(last)
            length += len(last)
            if length > _MAX_RECORD:
                raise StreamError("a record without an end; the input is no stream")
            yield from (_text(line) for line in lines if line.strip())
        if b"".join(rest).strip():
            # Half a record: never taken for a whole one.
            raise CutOffError("the input was cut off in the middle of a record")

    def _chunk(self) -> bytes:
        self.wait(self.fd)
        return os.read(self.fd, 65536)

    def _file(self) -> Iterator[str]:
        if os.fstat(self.fd).st_size > _MAX_FILE:
            raise StreamError(f"the input has more than {_MAX_FILE} bytes")
        text = _text(b"".join(iter(lambda: os.read(self.fd, 2**20), b"")))
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            yield from (line for line in text.splitlines() if line.strip())
        else:
            yield text  # one object, on one line or on many


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as e:
        raise StreamError("the input is not UTF-8 text") from e


def parse(line: str) -> dict[str, Any]:
    """Return the record on *line*, without its version.

    Raises StreamError if it is none, or of a newer major version.
    """
    try:
        record = json.loads(line)
        version = record.pop("v2v", VERSION)
    except (ValueError, AttributeError, TypeError, RecursionError) as e:
        raise StreamError(
            f"not a VM document: {line.strip()[:60]!r}",
            "the input must come from a v2v command (see v2v-stream(7))",
        ) from e
    if version != VERSION:
        raise StreamError(
            f"the input is of document version {version!r:.20}; this is {VERSION}",
            "use the same release of v2v on both sides of the pipe",
        )
    checked: dict[str, Any] = record
    return checked


class Sink(Protocol):
    """What a stream is written to: a text file, or what looks like one."""

    def write(self, text: str, /) -> object:
        """Take *text*."""
        ...

    def flush(self) -> object:
        """Let it go on its way."""
        ...


class Writer:
    """Writes a stream, each record whole and at once."""

    def __init__(self, out: Sink) -> None:
        """Write to *out*."""
        self.out = out

    def vm(self, vm: VM) -> None:
        """Write one VM."""
        self._record({"kind": "vm", **encode_vm(vm)})

    def end(self, end: End) -> None:
        """Close the stream: nothing was lost."""
        counts = {"vms": end.vms, "failed": end.failed}
        self._record({"kind": "end", **counts, **encode(end)})

    def _record(self, record: dict[str, Any]) -> None:
        self.out.write(json.dumps({"v2v": VERSION, **record}) + "\n")
        self.out.flush()
