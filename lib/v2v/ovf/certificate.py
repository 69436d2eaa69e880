# SPDX-License-Identifier: GPL-2.0-or-later
"""The signature of a package: NAME.cert, over its manifest (DSP0243 9.2).

Its first line is as one of a manifest, with the signature in place of a digest; the
signer's certificate and those that vouch for it follow, as PEM.  All that needs a
cryptographer is left to openssl(1).
"""

from __future__ import annotations

import hashlib
import re
import ssl
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from v2v import process
from v2v.document import Digest, Finding
from v2v.errors import SourceError, UsageError
from v2v.ovf import manifest
from v2v.ovf.package import MissingError, Package, RefusedError, whole

_MAX_SIZE = 2**18
_MAX_CERTIFICATES = 20
_PEM = re.compile(
    r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]{1,99999}-----END CERTIFICATE-----"
)
_FINGERPRINT = re.compile(r"(?:sha-?256[:=])?((?:[0-9a-f]{2}:?){31}[0-9a-f]{2})", re.I)
_SECONDS = 30
# A signer whom the user trusts without knowing him: his signature alone counts.
ANYBODY = "any"
_REMEDY = "do not use this package, and get it again from where it comes from"


@dataclass(frozen=True, kw_only=True)
class _Signed:
    """What a .cert says; ``certificates`` as PEM, the signer's first."""

    algorithm: str
    signature: bytes
    certificates: tuple[str, ...]


def unchecked(package: Package) -> Iterator[Finding]:
    """Yield a finding if *package* is signed, and nobody asked to verify that."""
    if found := package.certificate():
        yield Finding(
            code="certificate-unchecked",
            severity="info",
            message=f"the package is signed, and {found[0]} is not verified",
            remedy="name whom you trust: --verify-certificate CA.pem",
        )


def verify(
    package: Package, trust: str, digests: Iterable[Digest], hrefs: Iterable[str]
) -> Iterator[Finding]:
    """Verify the signature of *package*, of whose manifest *digests* are.

    *trust* is whose signature counts: a file of CA certificates, the SHA-256 of the
    signer's own, or ANYBODY.  *hrefs* are the files that the OVF names.  Raises
    SourceError if *package* is not signed by that one, or not as a whole.
    """
    listed, found = package.manifest(), package.certificate()
    if listed is None or found is None:
        lacking = "manifest (.mf)" if listed is None else "certificate (.cert)"
        raise SourceError(
            f"{package.name} has no {lacking}, so nobody has signed it",
            "leave --verify-certificate out, if you trust the package without",
        )
    _check_covered(package, digests, hrefs)
    name, part = found
    signed = _parsed(whole(part, name, _MAX_SIZE), name, listed[0])
    with tempfile.TemporaryDirectory() as folder:
        text = whole(listed[1], listed[0], manifest.MAX_SIZE)
        _check_signature(signed, text, Path(folder), name)
        yield from _trusted(signed, trust, Path(folder), name)


def _check_covered(
    package: Package, digests: Iterable[Digest], hrefs: Iterable[str]
) -> None:
    """Raise SourceError if a file has no digest in the manifest: it is not signed."""
    covered = {(digest.path, digest.offset) for digest in digests}
    for name in (package.name.rpartition("/")[2], *hrefs):
        try:
            parts = [package.find(name)]
        except RefusedError:
            continue  # such a file is not used
        except MissingError:
            parts = [piece.part for piece in package.pieces(name)]
        if any((str(part.path), part.offset) not in covered for part in parts):
            raise SourceError(
                f"{name:.300} has no digest in the manifest, so it is not signed",
                _REMEDY,
            )


def _parsed(data: bytes, name: str, signed: str) -> _Signed:
    """Return what the .cert *data*, called *name*, says of the manifest *signed*."""
    text = data.decode("utf-8-sig", "replace")
    head, _, _ = text.partition("-----BEGIN")
    entries, _ = manifest.parse(head.encode())
    own = [e for e in entries if e.name.lower() == signed.rpartition("/")[2].lower()]
    if len(own) != 1 or not own[0].algorithm or len(own[0].digest) % 2:
        raise SourceError(f"{name} has no signature of {signed}", _REMEDY)
    found = tuple(match[0] for match in _PEM.finditer(text))
    if not 0 < len(found) <= _MAX_CERTIFICATES:
        raise SourceError(f"{name} holds {len(found)} certificates", _REMEDY)
    return _Signed(
        algorithm=own[0].algorithm,
        signature=bytes.fromhex(own[0].digest),
        certificates=found,
    )


def _check_signature(signed: _Signed, text: bytes, folder: Path, name: str) -> None:
    """Raise SourceError if the signer has not signed *text*, which is the manifest."""
    for file, data in (
        ("signer.pem", signed.certificates[0].encode()),
        ("all.pem", "\n".join(signed.certificates).encode()),
        ("signature", signed.signature),
        ("manifest", text),
    ):
        (folder / file).write_bytes(data)
    try:
        key = _openssl("x509", "-in", str(folder / "signer.pem"), "-noout", "-pubkey")
        (folder / "key.pem").write_text(key)
        _openssl(
            *("dgst", f"-{signed.algorithm}", "-verify", str(folder / "key.pem")),
            *("-signature", str(folder / "signature"), str(folder / "manifest")),
        )
    except process.ToolError as e:
        raise SourceError(
            f"{name}: the signature is not that of its certificate over the manifest",
            _REMEDY,
        ) from e


def _trusted(signed: _Signed, trust: str, folder: Path, name: str) -> Iterator[Finding]:
    """Yield what is odd of the signer.  Raises SourceError if *trust* is not in him."""
    signer = folder / "signer.pem"
    shown = _subject(signer)
    if not _is_valid_now(signer):
        yield _odd(
            "certificate-expired", f"the certificate of {shown} is not valid today"
        )
    if trust == ANYBODY:
        text = f"the package is signed by {shown}, for whom nobody vouches here"
        yield _odd("certificate-untrusted", text)
        return
    if match := _FINGERPRINT.fullmatch(trust):
        own = fingerprint(signed.certificates[0])
        if own != match[1].replace(":", "").lower():
            raise _distrusted(name, shown, f"whose certificate has SHA-256 {own}")
        return
    try:
        # Its own time has been told; a CA's that has passed does not undo its word.
        _openssl(
            *("verify", "-no_check_time", "-partial_chain", "-purpose", "any"),
            *("-no-CApath", "-no-CAstore", "-CAfile", trust),
            *("-untrusted", str(folder / "all.pem")),
            str(signer),
        )
    except process.ToolError as e:
        raise _distrusted(name, shown, f"for whom nobody in {trust} vouches") from e


def _distrusted(name: str, signer: str, why: str) -> SourceError:
    return SourceError(
        f"{name}: the package is signed by {signer}, {why}",
        "if you trust this signer, name his certificate or its SHA-256 with "
        "--verify-certificate",
    )


def fingerprint(pem: str) -> str:
    """Return the SHA-256 of the certificate *pem*, in hexadecimal digits."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def _subject(certificate: Path) -> str:
    words = ("-noout", "-subject", "-nameopt", "RFC2253,utf8")
    said = _openssl("x509", "-in", str(certificate), *words)
    return said.strip().removeprefix("subject=").strip()[:200]


def _is_valid_now(certificate: Path) -> bool:
    try:
        words = ("-noout", "-checkend", "0")
        _openssl("x509", "-in", str(certificate), *words)
    except process.ToolError:
        return False
    # openssl looks at the end of its time only.
    started = _openssl("x509", "-in", str(certificate), "-noout", "-startdate")
    return ssl.cert_time_to_seconds(started.strip().partition("=")[2]) <= time.time()


def _openssl(*words: str) -> str:
    done = process.run(["openssl", *words], seconds=_SECONDS)
    return done.stdout.decode("utf-8", "replace")


def check_trust(trust: str) -> None:
    """Raise UsageError if *trust* is nothing that verify can go by."""
    if trust == ANYBODY or _FINGERPRINT.fullmatch(trust):
        return
    try:
        text = Path(trust).read_text("ascii")
    except (OSError, ValueError) as e:
        raise UsageError(
            f"--verify-certificate {trust}: no file of certificates: {e}",
            "name one (PEM), or the SHA-256 of the signer's certificate, or any",
        ) from e
    if "-----BEGIN" not in text:
        raise UsageError(
            f"--verify-certificate {trust} has no certificate in PEM",
            "convert it: openssl x509 -inform der -in FILE -out FILE.pem",
        )


def _odd(code: str, message: str) -> Finding:
    return Finding(
        code=code,
        severity="warn",
        message=message,
        remedy="compare with what the maker of the package tells of his certificate",
    )
