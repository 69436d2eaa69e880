# SPDX-License-Identifier: GPL-2.0-or-later
"""The manifest of a package: a digest of each file, to be checked against it.

The grammar is that of DSP0243 9.1, and of what OpenSSL and sha256sum --tag print.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from v2v.document import Digest, Finding
from v2v.errors import SourceError
from v2v.formats import Part
from v2v.ovf.package import MissingError, Package, RefusedError, whole

MAX_SIZE = 4 * 2**20
_MAX_ENTRIES = 20_000
_MOST_TOLD = 50
_LINE = re.compile(r"\s*([A-Za-z0-9-]{3,12})\s*\((.{1,1000})\)\s*=\s*([0-9A-Fa-f]+)\s*")
Algorithm = Literal["sha1", "sha224", "sha256", "sha384", "sha512"]
_PIECE = re.compile(r"\.[0-9]{1,9}$")
_ALGORITHMS: dict[str, Algorithm] = {
    "SHA1": "sha1",
    "SHA224": "sha224",
    "SHA256": "sha256",
    "SHA384": "sha384",
    "SHA512": "sha512",
}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A digest of a file; ``algorithm`` as hashlib calls it, None if not known."""

    name: str
    algorithm: Algorithm | None
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


def listed(
    package: Package, hrefs: Iterable[str]
) -> tuple[list[Digest], list[Finding]]:
    """Return the digests that the manifest of *package* gives, and what is odd of it.

    *hrefs* are the files that the OVF names.  Raises SourceError if the manifest is too
    large.
    """
    found = package.manifest()
    if found is None:
        text = f"{package.name} has no manifest, so its files are not verified"
        return [], [Finding(code="manifest-missing", severity="info", message=text)]
    name, part = found
    entries, odd = parse(whole(part, name, MAX_SIZE))
    if len(entries) > _MAX_ENTRIES:
        raise SourceError(
            f"{name} lists {len(entries)} files, more than any package has",
            "do not trust this package; export the VM again",
        )
    odd += [f"the digest of {e.name[:200]}" for e in entries if not e.algorithm]
    findings = [
        _doubt("manifest-unreadable", f"{name}: not understood: {line[:200]!r}")
        for line in odd[:10]
    ]
    digests: list[Digest] = []
    incomplete: list[str] = []
    for entry in entries:
        try:
            digests += _digest(entry, package.find(entry.name), name)
        except (MissingError, RefusedError) as e:
            incomplete.append(f"{name}: {e.message}")
    own = package.name.rpartition("/")[2]
    known = {entry.name for entry in entries}
    # Of a file in pieces each of these has its digest.
    known |= {_PIECE.sub("", name) for name in known}
    for href in sorted({own, *hrefs} - known):
        incomplete.append(f"{name} has no digest of {href[:200]}")
    return digests, [*findings, *_incomplete(incomplete, name)]


def _incomplete(texts: list[str], name: str) -> Iterator[Finding]:
    """Yield a finding for each of *texts*; of very many, how many more there are."""
    for text in texts[:_MOST_TOLD]:
        yield _doubt("manifest-incomplete", text)
    if more := len(texts[_MOST_TOLD:]):
        text = f"{name}: the same is true of {more} more files"
        yield _doubt("manifest-incomplete", text)


def _digest(entry: Entry, part: Part, manifest: str) -> Iterator[Digest]:
    if entry.algorithm:
        yield Digest(
            path=str(part.path),
            offset=part.offset,
            length=part.length,
            algorithm=entry.algorithm,
            value=entry.digest[:128],
            name=entry.name,
            said_by=f"the manifest {manifest}",
        )


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
