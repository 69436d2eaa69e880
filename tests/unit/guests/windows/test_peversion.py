# SPDX-License-Identifier: GPL-2.0-or-later
"""A driver says its version."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

import virtio_win as made
from v2v.guests.windows import peversion


def test_the_version_is_read() -> None:
    assert peversion.version(made.program((62, 77, 104, 17600))) == (62, 77, 104, 17600)


def test_what_has_none_has_none() -> None:
    whole = made.program()
    assert peversion.version(b"") is None
    assert peversion.version(whole[1:]) is None
    assert peversion.version(whole[:512]) is None
    assert peversion.version(whole[:560]) is None
    assert peversion.version(whole.replace(b"\xbd\x04\xef\xfe", b"\0\0\0\0")) is None


@given(st.binary(max_size=40))
def test_nothing_that_follows_the_name_does_harm(data: bytes) -> None:
    name = "VS_VERSION_INFO\0".encode("utf-16-le")
    found = peversion.version(b"MZ" + name + data)
    assert found is None or b"\xbd\x04\xef\xfe" in data
