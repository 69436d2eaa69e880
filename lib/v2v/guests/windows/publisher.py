# SPDX-License-Identifier: GPL-2.0-or-later
"""Who signed a driver: the certificate in its catalogue, and how Windows trusts it.

A catalogue is PKCS #7 in DER (RFC 2315).  Of it only where things are is read here; no
signature is verified: Windows does, when it installs the driver.  For a publisher that
is not Microsoft it asks, and at a first boot nobody is there to answer.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from v2v.guests.windows.hive import MAX_WRITTEN, Hive, binary

_STORE = r"Microsoft\SystemCertificates\TrustedPublisher\Certificates"
_REASON = "Windows asks nobody whether to trust who signed the drivers"
_SEQUENCE, _SET, _INTEGER, _CONTEXT = 0x30, 0x31, 0x02, 0xA0  # [0], constructed
_CERTIFICATE = 0x20  # CERT_CERT_PROP_ID of wincrypt.h
_MOST = 64  # certificates of a catalogue


@dataclass(frozen=True)
class _Part:
    """An element of DER: its tag, all its bytes, and those within."""

    tag: int
    whole: bytes
    content: bytes


def signer(catalogue: bytes) -> bytes | None:
    """Return the certificate of who signed *catalogue*, in DER.

    None if there is none, or it is no catalogue.
    """
    try:
        return _signer(catalogue)
    except (IndexError, StopIteration, ValueError):
        return None


def trust(software: Hive, certificate: bytes) -> None:
    """Make Windows take drivers that the owner of *certificate* signed."""
    # A property: what it is, 1, its length, and itself.
    blob = struct.pack("<III", _CERTIFICATE, 1, len(certificate)) + certificate
    if len(blob) <= MAX_WRITTEN:
        name = hashlib.sha1(certificate, usedforsecurity=False).hexdigest().upper()
        software.set(rf"{_STORE}\{name}", "Blob", binary(blob), _REASON)


def _signer(catalogue: bytes) -> bytes | None:
    # What it is, and itself: version, digests, content, certificates, signers.
    _, explicit = _parts(next(_read(catalogue)).content)
    signed = list(_parts(next(_read(explicit.content)).content))
    certificates = next(part for part in signed if part.tag == _CONTEXT)
    signers = [part for part in signed if part.tag == _SET][-1]
    # Version, then the issuer and the serial number of the certificate.
    wanted = _parts(next(_read(signers.content)).content)[1]
    for certificate in _parts(certificates.content)[:_MOST]:
        if _name(certificate) == wanted.content:
            return certificate.whole
    return None


def _name(certificate: _Part) -> bytes:
    """Return the issuer and the serial number, which name *certificate*, in DER."""
    fields = _parts(_parts(certificate.content)[0].content)
    start = 1 if fields[0].tag == _CONTEXT else 0  # the version
    serial, issuer = fields[start], fields[start + 2]
    if serial.tag != _INTEGER or issuer.tag != _SEQUENCE:
        raise ValueError("no certificate")
    return issuer.whole + serial.whole


def _parts(data: bytes) -> list[_Part]:
    return list(_read(data))


def _read(data: bytes) -> Iterator[_Part]:
    """Yield the elements of *data*.  Raises ValueError or IndexError for others."""
    at = 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        start = at + 2
        if length & 0x80:
            count = length & 0x7F
            if not 0 < count <= 4 or len(data) < start + count:
                raise ValueError("no length that DER knows")
            length = int.from_bytes(data[start : start + count], "big")
            start += count
        end = start + length
        if end > len(data):
            raise ValueError("it ends too early")
        yield _Part(tag, data[at:end], data[start:end])
        at = end
