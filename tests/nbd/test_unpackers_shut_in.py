# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that unpack for us see nothing of this host: what they read is hostile."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from v2v import formats, sandbox
from v2v.errors import GuestError, SourceError
from v2v.guests.linux import initramfs
from v2v.views import packings, unpacking

_FRAME = b"\x28\xb5\x2f\xfd"
_SPY = """#!/bin/sh
seen=nothing
test -e {secret} && seen="a secret"
test -e /etc/passwd && seen="$seen, users"
test -e /home && seen="$seen, homes"
echo "zstd: it saw $seen" >&2
exit 1
"""


@pytest.fixture
def spy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A program that was taken over by what it reads, in the place of zstd."""
    monkeypatch.setenv("V2V_SANDBOX", "require")
    sandbox.usable.cache_clear()
    sandbox.usable()
    folder = tmp_path / "bin"
    folder.mkdir()
    secret = tmp_path / "secret"
    secret.touch()
    program = folder / "zstd"
    program.write_text(_SPY.format(secret=secret))
    program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    yield secret
    sandbox.usable.cache_clear()


def test_one_that_unpacks_a_source_sees_nothing(spy: Path, tmp_path: Path) -> None:
    packed = tmp_path / "a.raw.zst"
    packed.write_bytes(_FRAME + bytes(100))
    packing = packings.of(packed)
    assert packing and packing.name == "zstd"
    into = tmp_path / "views" / "made" / "a.raw"
    into.parent.mkdir(parents=True)
    with pytest.raises(SourceError, match=r"saw nothing$"):
        unpacking.unpack(formats.part(packed), packing, into, 2**20)


def test_nor_does_one_that_unpacks_an_initramfs(spy: Path) -> None:
    with pytest.raises(GuestError, match=r"saw nothing$"):
        initramfs.parse(_FRAME + bytes(100))
