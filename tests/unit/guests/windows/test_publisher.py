# SPDX-License-Identifier: GPL-2.0-or-later
"""The certificate of who signed a driver, and Windows' trust in it."""

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hives
import virtio_win as made
from v2v.guests.windows import publisher
from v2v.guests.windows.hive import Hive

STORE = r"Microsoft\SystemCertificates\TrustedPublisher\Certificates"


def test_the_certificate_is_the_signer_s_and_not_its_issuer_s() -> None:
    own, other = made.certificate(b"issuer", 7), made.certificate(b"root", 7)
    assert publisher.signer(made.catalogue(own, other)) == own
    assert publisher.signer(made.catalogue(own, other, order=-1)) == own
    without = made.catalogue(own, other).replace(own, made.certificate(b"issuer", 8))
    assert publisher.signer(without) is None


def test_openssl_makes_them_as_well(
    tmp_path: Path, requires: Callable[..., None]
) -> None:
    requires("openssl")
    text = tmp_path / "text"
    text.write_text("a driver")

    def run(*words: str) -> None:
        subprocess.run(
            ["openssl", *words], cwd=tmp_path, check=True, capture_output=True
        )

    subject = "/O=Tests/CN=Publisher"
    run(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", subject),
        *("-keyout", "key", "-out", "pem"),
    )
    run("x509", "-in", "pem", "-outform", "DER", "-out", "der")
    run(
        *("smime", "-sign", "-binary", "-nodetach", "-in", "text", "-signer", "pem"),
        *("-inkey", "key", "-outform", "DER", "-out", "cat"),
    )
    found = publisher.signer((tmp_path / "cat").read_bytes())
    assert found == (tmp_path / "der").read_bytes()


@given(st.binary(max_size=200))
def test_what_is_no_catalogue_has_no_signer(data: bytes) -> None:
    whole = made.catalogue(made.certificate(b"issuer", 7))
    assert publisher.signer(data) is None
    assert publisher.signer(data + whole) in (None, made.certificate(b"issuer", 7))
    assert publisher.signer(whole[: len(data)]) in (None, whole)


@pytest.mark.parametrize("at", range(60))
def test_a_broken_one_has_none_or_the_same(at: int) -> None:
    own = made.certificate(b"issuer", 7)
    whole = bytearray(made.catalogue(own))
    whole[at % len(whole)] ^= 0xFF
    found = publisher.signer(bytes(whole))
    assert found is None or found in bytes(whole)


def test_windows_trusts_it_by_its_thumbprint(tmp_path: Path) -> None:
    file = tmp_path / "SOFTWARE"
    file.write_bytes(hives.empty())
    hive = Hive("SOFTWARE", file)
    own = made.certificate(b"issuer", 7)
    publisher.trust(hive, own)
    publisher.trust(hive, own)
    assert len(hive.changes) == 1
    name = hashlib.sha1(own).hexdigest().upper()
    value = hive.value(rf"{STORE}\{name}", "Blob")
    assert value
    head = bytes.fromhex("20000000 01000000") + len(own).to_bytes(4, "little")
    assert value.data == head + own
    publisher.trust(hive, bytes(20_000))
    assert len(hive.changes) == 1
