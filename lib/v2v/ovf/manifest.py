# SPDX-License-Identifier: GPL-2.0-or-later
"""The manifest of a package: a digest of each file, to be checked against it.

The grammar is that of DSP0243 9.1, and of what OpenSSL and sha256sum --tag print.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from v2v.document import Finding
from v2v.errors import SourceError
from v2v.formats import Part, truncated
from v2v.ovf.package import MissingError, Package, RefusedError, whole

_MAX_SIZE = 4 * 2**20
_LINE = re.compile(r"\s*([A-Za-z0-9-]{3,12})\s*\((.{1,1000})\)\s*=\s*([0-9A-Fa-f]+)\s*")
_ALGORITHMS = {
    "SHA1": "sha1",
    "SHA224": "sha224",
    "SHA256": "sha256",
    "SHA384": "sha384",
    "SHA512": "sha512",
}
_BLOCK = 4 * 2**20


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A digest of a file; ``algorithm`` as hashlib calls it, None if not known."""

    name: str
    algorithm: str | None
    digest: str


def parse(data: bytes) -> tuple[list[Entry], list[str]]:
    """Return the entries of the manifest *data*, and the lines that are none."""
    entries = []
    odd = []
    for line in data.decode("utf-8-sig", "replace").splitlines():
        if match := _LINE.fullmatch(line):
            entries.append(_entry(*match.groups()))
        elif line.strip():
            odd.append(line.strip())
    return entries, odd


def verify(package: Package, hrefs: Iterable[str]) -> Iterator[Finding]:
    """Check the files of *package* against its manifest; yield what that leaves open.

    *hrefs* are the files that the OVF names.  Raises SourceError if a file is not the
    one that the manifest was made of.
    """
    listed = package.manifest()
    if listed is None:
        text = f"{package.name} has no manifest, so its files are not verified"
        yield Finding(code="manifest-missing", severity="info", message=text)
        return
    name, part = listed
    entries, odd = parse(whole(part, name, _MAX_SIZE))
    odd += [f"the digest of {e.name[:200]}" for e in entries if not e.algorithm]
    for line in odd[:10]:
        yield _doubt("manifest-unreadable", f"{name}: not understood: {line[:200]!r}")
    for entry in entries:
        try:
            check(entry, package.find(entry.name), name)
        except (MissingError, RefusedError) as e:
            yield _doubt("manifest-incomplete", f"{name}: {e.message}")
    known = {entry.name for entry in entries}
    own = package.name.rpartition("/")[2]
    for href in sorted({own, *hrefs} - known):
        yield _doubt("manifest-incomplete", f"{name} has no digest of {href[:200]}")


def _doubt(code: str, message: str) -> Finding:
    return Finding(
        code=code,
        severity="warn",
        message=message,
        remedy="compare with the package at the place where it comes from",
    )


def _entry(algorithm: str, name: str, digest: str) -> Entry:
    # SHA-256 and SHA2-256 are SHA256.
    plain = re.sub(r"^SHA2(?=\d{3}$)", "SHA", algorithm.upper().replace("-", ""))
    return Entry(
        name=name.strip().removeprefix("./"),
        algorithm=_ALGORITHMS.get(plain),
        digest=digest.lower(),
    )


def check(entry: Entry, part: Part, manifest: str) -> None:
    """Raise SourceError if *part* is not the file that *entry* was made of."""
    if entry.algorithm is None:
        return
    found = _digest(part, entry.algorithm)
    if found != entry.digest:
        raise SourceError(
            f"{entry.name}: its {entry.algorithm.upper()} is {found}, and the manifest "
            f"{manifest} says {entry.digest[:128]}",
            "download it again; or take it as it is: --no-verify-manifest",
        )


def _digest(part: Part, algorithm: str) -> str:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    for block in _blocks(part):
        digest.update(block)
    return digest.hexdigest()


def _blocks(part: Part) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(min(_BLOCK, part.length)))
    left = part.length
    try:
        with part.path.open("rb", buffering=0) as file:
            file.seek(part.offset)
            while left:
                count = file.readinto(buffer[:left])
                if not count:
                    raise truncated(part.path)
                yield buffer[:count]
                left -= count
    except OSError as e:
        raise SourceError(f"{part.path}: {e.strerror}", "check the file") from e
