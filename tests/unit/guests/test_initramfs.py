# SPDX-License-Identifier: GPL-2.0-or-later
import bz2
import gzip
import lzma
import subprocess
from collections.abc import Callable

import pytest

from v2v.errors import GuestError
from v2v.guests.linux import initramfs
from v2v.guests.linux.initramfs import Initramfs

KO = "usr/lib/modules/6.1/kernel/a/virtio-blk.ko"


def archive(**files: bytes) -> bytes:
    """Return a cpio archive with udev, /init and a merged /usr, and *files*."""
    entries = [
        ("usr", 0o040755, b""),
        ("usr/lib", 0o040755, b""),
        ("lib", 0o120777, b"usr/lib"),
        ("init", 0o100755, b"#!/bin/sh\n"),
        ("usr/lib/systemd/systemd-udevd", 0o100755, b""),
        *((name, 0o100644, content) for name, content in files.items()),
        ("TRAILER!!!", 0, b""),
    ]
    return b"".join(initramfs._entry(i, *entry) for i, entry in enumerate(entries, 1))


def program(*command: str) -> Callable[[bytes], bytes]:
    return lambda data: (
        subprocess.run(command, input=data, capture_output=True, check=True).stdout
    )


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "xz": lambda data: lzma.compress(data, check=lzma.CHECK_CRC32),
    "bzip2": bz2.compress,
    "lz4": program("lz4", "-l", "-c"),
    "zstd": program("zstd", "-q", "-c"),
}


@pytest.mark.parametrize("kind", PACKERS)
def test_every_compression_is_read_behind_a_microcode_prefix(kind: str) -> None:
    prefix = archive(**{"kernel/x86/microcode/GenuineIntel.bin": b"x" * 77})
    image = initramfs.parse(prefix + bytes(512) + PACKERS[kind](archive(**{KO: b"ko"})))
    assert "virtio_blk" in image.modules()
    assert "kernel/x86/microcode/GenuineIntel.bin" in image.names


@pytest.mark.parametrize("kind", PACKERS)
def test_what_is_appended_is_read_back_and_keeps_the_links(kind: str) -> None:
    data = PACKERS[kind](archive())
    image = initramfs.parse(data)
    more = {"lib/modules/6.1/kernel/b/new.ko": b"module"}
    result = initramfs.parse(initramfs.appended(data, image, more))
    assert result.names - image.names == {
        "usr/lib/modules",
        "usr/lib/modules/6.1",
        "usr/lib/modules/6.1/kernel",
        "usr/lib/modules/6.1/kernel/b",
        "usr/lib/modules/6.1/kernel/b/new.ko",
    }
    assert result.links["lib"] == "usr/lib"


def test_an_uncompressed_segment_is_aligned() -> None:
    data = gzip.compress(archive())
    data += b"" if len(data) % 4 else b"\0"
    result = initramfs.appended(data, initramfs.parse(data), {"x": b"1"})
    assert result.index(b"070701", len(data)) % 4 == 0


@pytest.mark.parametrize("cut", [10, 111, 300, 700])
def test_a_truncated_image_is_an_error_and_no_crash(cut: int) -> None:
    with pytest.raises(GuestError):
        initramfs.parse(archive(**{KO: b"k" * 500})[:cut])


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 64, b"garbage", b"\x1f\x8bnothing", b"070701" + b"zz" * 80]
)
def test_what_is_no_image_is_an_error_and_no_crash(data: bytes) -> None:
    with pytest.raises(GuestError):
        initramfs.parse(data)


def test_links_in_a_circle_end() -> None:
    image = Initramfs(names={"a", "b"}, links={"a": "b", "b": "a"})
    with pytest.raises(GuestError, match="circle"):
        image.resolved("a/x")


def test_nothing_is_appended_where_drivers_are_loaded_by_a_list() -> None:
    image = Initramfs(names={"init", "bin/nash", "lib/sd_mod.ko"})
    assert not initramfs.can_append(image)
