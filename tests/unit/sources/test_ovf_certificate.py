# SPDX-License-Identifier: GPL-2.0-or-later
"""Signed OVF packages: whose word counts, and what it covers."""

import hashlib
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import ovf_package as build
from ovf_package import RAW, one_disk
from v2v import sources
from v2v.document import VM, Finding
from v2v.errors import SourceError, UsageError
from v2v.ovf import certificate
from v2v.sources import Request
from v2v.sources import ovf as source

DISK = bytes(range(256)) * 64
EMPTY = b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"


@dataclass(frozen=True)
class Signer:
    """Somebody who signs: his key, his certificate and its SHA-256."""

    key: Path
    certificate: Path

    @property
    def fingerprint(self) -> str:
        return certificate.fingerprint(self.certificate.read_text())


def openssl(*words: str | Path) -> bytes:
    done = subprocess.run(
        ["openssl", *map(str, words)], check=True, capture_output=True
    )
    return done.stdout


def made(folder: Path, name: str, by: Signer | None = None) -> Signer:
    """Make a signer, for whom *by* vouches, or he himself."""
    key, request, made_ = (folder / f"{name}.{s}" for s in ("key", "csr", "pem"))
    words = ("req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-subj")
    openssl(*words, f"/CN={name}", "-out", request)
    signs = ("-CA", by.certificate, "-CAkey", by.key, "-CAcreateserial") if by else ()
    extensions = folder / "extensions"
    extensions.write_text("" if by else "basicConstraints=critical,CA:true\n")
    openssl(
        *("x509", "-req", "-in", request, "-days", "30", "-out", made_),
        *(signs or ("-signkey", key)),
        *("-extfile", extensions),
    )
    return Signer(key, made_)


def expired(folder: Path, name: str, by: Signer) -> Signer:
    """Make a signer for whom *by* vouched up to yesterday.

    openssl x509 takes no dates before its 3.4, and since then no negative days.
    """
    signer = made(folder, name, by)
    place = folder / name
    place.mkdir()
    (place / "index").touch()
    (place / "serial").write_text("01\n")
    (place / "config").write_text(
        f"[ca]\ndefault_ca=own\n[own]\ndatabase={place}/index\nserial={place}/serial\n"
        f"new_certs_dir={place}\ndefault_md=sha256\npolicy=any\n"
        "[any]\ncommonName=supplied\n"
    )
    days = (datetime.now(UTC) - timedelta(days=days) for days in (2, 1))
    start, end = (f"{day:%Y%m%d%H%M%SZ}" for day in days)
    openssl(
        *("ca", "-batch", "-notext", "-config", place / "config"),
        *("-cert", by.certificate, "-keyfile", by.key, "-in", folder / f"{name}.csr"),
        *("-startdate", start, "-enddate", end, "-out", signer.certificate),
    )
    return signer


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Signer]:
    folder = tmp_path_factory.mktemp("signers")
    root = made(folder, "root")
    return {
        "root": root,
        "vendor": made(folder, "vendor", root),
        "late": expired(folder, "late", root),
        "other": made(folder, "other"),
    }


def manifest(members: dict[str, bytes], algorithm: str = "sha256") -> bytes:
    return "".join(
        f"{algorithm.upper()}({name})= {hashlib.new(algorithm, data).hexdigest()}\n"
        for name, data in members.items()
    ).encode()


def signed(
    folder: Path,
    signer: Signer,
    algorithm: str = "sha256",
    members: dict[str, bytes] | None = None,
) -> dict[str, bytes]:
    """Return the members of a package that *signer* has signed."""
    all_ = members or {"web01.ovf": one_disk("a.img", RAW).encode(), "a.img": DISK}
    text = manifest(all_)
    (folder / "text").write_bytes(text)
    sign = ("dgst", f"-{algorithm}", "-sign", signer.key, folder / "text")
    line = f"{algorithm.upper()}(web01.mf)= {openssl(*sign).hex()}\n".encode()
    return {
        **all_,
        "web01.mf": text,
        "web01.cert": line + signer.certificate.read_bytes(),
    }


def package(folder: Path, members: dict[str, bytes], *, packed: bool = True) -> Path:
    return build.package(folder, members, packed=packed)


def read(path: Path, **settings: Any) -> VM:
    return next(iter(source.read(Request(location=str(path), **settings))))


def refused(path: Path, trust: str) -> str:
    with pytest.raises(SourceError) as e:
        read(path, trust=trust)
    assert e.value.remedy and "\n" not in e.value.message
    return e.value.message


def finding(vm: VM, code: str) -> Finding:
    return next(f for f in vm.findings if f.code == code)


def signs(vm: VM) -> set[str]:
    return {f.code for f in vm.findings if f.code.startswith("certificate")}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
def test_a_package_that_a_trusted_ca_vouches_for_leaves_nothing_to_say(
    tmp_path: Path, signers: dict[str, Signer], algorithm: str, packed: bool
) -> None:
    members = signed(tmp_path, signers["vendor"], algorithm)
    path = package(tmp_path, members, packed=packed)
    assert not signs(read(path, trust=str(signers["root"].certificate)))


@pytest.mark.parametrize("form", ["{}", "SHA256:{}", "sha-256={}"])
def test_a_signer_can_be_named_by_his_certificates_sha256(
    tmp_path: Path, signers: dict[str, Signer], form: str
) -> None:
    path = package(tmp_path, signed(tmp_path, signers["other"]))
    own = signers["other"].fingerprint.upper()
    assert not signs(read(path, trust=form.format(own)))
    pairs = ":".join(own[n : n + 2] for n in range(0, 64, 2))
    assert not signs(read(path, trust=form.format(pairs)))
    assert own.lower() in refused(path, signers["vendor"].fingerprint)


def test_a_signer_for_whom_nobody_trusted_vouches_is_refused(
    tmp_path: Path, signers: dict[str, Signer]
) -> None:
    path = package(tmp_path, signed(tmp_path, signers["other"]))
    message = refused(path, str(signers["root"].certificate))
    assert "CN=other" in message and "vouches" in message


def test_a_certificate_that_is_trusted_itself_needs_no_ca(
    tmp_path: Path, signers: dict[str, Signer]
) -> None:
    for name in ("other", "vendor"):
        (tmp_path / name).mkdir()
        path = package(tmp_path / name, signed(tmp_path, signers[name]))
        assert not signs(read(path, trust=str(signers[name].certificate)))


def test_any_signer_will_do_if_the_user_says_so_and_that_is_told(
    tmp_path: Path, signers: dict[str, Signer]
) -> None:
    vm = read(package(tmp_path, signed(tmp_path, signers["other"])), trust="any")
    found = finding(vm, "certificate-untrusted")
    assert found.severity == "warn" and "CN=other" in found.message


def test_a_certificate_that_has_expired_is_told(
    tmp_path: Path, signers: dict[str, Signer]
) -> None:
    path = package(tmp_path, signed(tmp_path, signers["late"]))
    vm = read(path, trust=str(signers["root"].certificate))
    assert finding(vm, "certificate-expired").severity == "warn"


@pytest.mark.parametrize("trust", ["any", "root", "fingerprint"])
@pytest.mark.parametrize("change", ["manifest", "signature", "certificate"])
def test_a_signature_that_does_not_hold_is_refused_whoever_is_trusted(
    tmp_path: Path, signers: dict[str, Signer], change: str, trust: str
) -> None:
    members = signed(tmp_path, signers["vendor"])
    if change == "manifest":
        members["web01.mf"] += b"\n"
    elif change == "signature":
        at = members["web01.cert"].index(b"= ") + 2
        bad = b"0" if members["web01.cert"][at : at + 1] != b"0" else b"1"
        cert = members["web01.cert"]
        members["web01.cert"] = cert[:at] + bad + cert[at + 1 :]
    else:
        line = members["web01.cert"].splitlines(keepends=True)[0]
        members["web01.cert"] = line + signers["other"].certificate.read_bytes()
    trusted = {
        "root": str(signers["root"].certificate),
        "fingerprint": signers["vendor"].fingerprint,
    }
    path = package(tmp_path, members)
    assert "is not that of" in refused(path, trusted.get(trust, trust))


def test_a_file_that_the_manifest_leaves_out_is_not_signed(
    tmp_path: Path, signers: dict[str, Signer]
) -> None:
    for left_out in ("web01.ovf", "a.img"):
        (tmp_path / left_out).mkdir()
        all_ = {"web01.ovf": one_disk("a.img", RAW).encode(), "a.img": DISK}
        data = all_.pop(left_out)
        members = {**signed(tmp_path, signers["vendor"], members=all_), left_out: data}
        path = package(tmp_path / left_out, members)
        assert f"{left_out} has no digest" in refused(path, "any")


def test_pieces_of_a_disk_are_signed_one_by_one(
    tmp_path: Path, signers: dict[str, Signer]
) -> None:
    text = one_disk("a.img", RAW, "ovf:chunkSize='8192'")
    all_ = {
        "web01.ovf": text.encode(),
        "a.img.000000000": DISK[:8192],
        "a.img.000000001": DISK[8192:],
    }
    members = signed(tmp_path, signers["vendor"], members=all_)
    vm = read(package(tmp_path, members), trust=str(signers["root"].certificate))
    layer = vm.disks[0].source
    assert layer and len(layer.digests) == 2 and not signs(vm)
    assert "manifest-incomplete" not in {f.code for f in vm.findings}


@pytest.mark.parametrize("lacking", ["web01.mf", "web01.cert"])
def test_a_package_that_nobody_signed_is_refused_if_a_signature_is_asked_for(
    tmp_path: Path, signers: dict[str, Signer], lacking: str
) -> None:
    members = signed(tmp_path, signers["vendor"])
    del members[lacking]
    assert "nobody has signed" in refused(package(tmp_path, members), "any")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"garbage\xff\0",
        b"SHA256(other.mf)= 00\n" + EMPTY,
        b"SHA256(web01.mf)= 000\n" + EMPTY,
        b"SHA256(web01.mf)= 00\n",
        b"SHA256(web01.mf)= 00\n" + EMPTY * 21,
        b"SHA256(web01.mf)= 00\n" + EMPTY,
        b"-----BEGIN CERTIFICATE-----" * 9000,
    ],
)
def test_a_cert_that_is_none_is_one_clear_line(
    tmp_path: Path, signers: dict[str, Signer], text: bytes
) -> None:
    members = {**signed(tmp_path, signers["vendor"]), "web01.cert": text}
    refused(package(tmp_path, members), "any")


def test_a_cert_of_gigabytes_is_not_read(
    tmp_path: Path, signers: dict[str, Signer]
) -> None:
    path = package(tmp_path, signed(tmp_path, signers["vendor"]), packed=False)
    with (tmp_path / "web01.cert").open("r+b") as file:
        file.truncate(2**33)
    assert "too large" in refused(path, "any")


def test_that_a_signature_was_not_verified_is_told(
    tmp_path: Path, signers: dict[str, Signer]
) -> None:
    vm = read(package(tmp_path, signed(tmp_path, signers["other"])))
    assert finding(vm, "certificate-unchecked").severity == "info"


def test_what_can_be_no_trust_is_a_mistake_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "der").write_bytes(b"0\x82")
    for word in (str(tmp_path / "none"), str(tmp_path / "der"), "anyone"):
        with pytest.raises(UsageError):
            certificate.check_trust(word)


def test_other_sources_are_signed_by_nobody(tmp_path: Path) -> None:
    (tmp_path / "a.img").write_bytes(bytes(4096))
    with pytest.raises(SourceError, match="no OVF"):
        list(sources.read(Request(location=str(tmp_path / "a.img"), trust="any")))
