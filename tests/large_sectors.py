# SPDX-License-Identifier: GPL-2.0-or-later
"""Put the guest debian12-uefi-lvm onto a disk with sectors of 4096 bytes (4Kn)."""

import os
import subprocess
from pathlib import Path

MIB = 2**20
SIZE = 1400
# As the guest's builder has them: MiB, and what sfdisk calls the types.
_ESP, _BOOT, _LVM = (1, 40), (41, 160), (201, 1197)
_PARTITIONS = ((*_ESP, "uefi"), (*_BOOT, "linux"), (*_LVM, "lvm"))
_ESP_ID, _BOOT_ID = "D12BEF1A", "d12bef1a-0000-4000-8000-000000000001"


def moved(guest: Path, disk: Path) -> None:
    """Write to *disk*, raw, what is on *guest*.

    Linux mounts no file system whose blocks are smaller than the disk's sectors, so
    those of the ESP and of /boot are made anew.  Takes root and a loop device.
    """
    disk.touch()
    os.truncate(disk, SIZE * MIB)
    _partition(disk)
    _copy(guest, disk, (_LVM[0], *_LVM))
    for place, make in ((_ESP, _make_esp), (_BOOT, _make_boot)):
        made = disk.with_name("made")
        made.touch()
        os.truncate(made, place[1] * MIB)
        make(guest, made)
        _copy(made, disk, (0, *place))
        made.unlink()


def _run(*words: object, given: str = "") -> str:
    command = [str(word) for word in words]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=120, input=given
    )
    return done.stdout.strip()


def _partition(disk: Path) -> None:
    lines = [
        f"start={start}MiB, size={length}MiB, type={kind}"
        for start, length, kind in _PARTITIONS
    ]
    loop = _run("losetup", "--find", "--show", "--sector-size", 4096, disk)
    try:
        table = "\n".join(["label: gpt", *lines, ""])
        _run("sfdisk", "-q", "--no-reread", "--no-tell-kernel", loop, given=table)
    finally:
        _run("losetup", "--detach", loop)


def _copy(source: Path, target: Path, place: tuple[int, int, int]) -> None:
    """*place*: where from, where to, and how many, in MiB."""
    words = [f"{k}={v}" for k, v in zip(("skip", "seek", "count"), place, strict=True)]
    _run("dd", f"if={source}", f"of={target}", "bs=1M", "conv=notrunc,sparse", *words)


def _make_esp(guest: Path, esp: Path) -> None:
    _run("mkfs.vfat", "-S", 4096, "-F", 16, "-s", 1, "-i", _ESP_ID, esp)
    files = esp.with_name("esp.files")
    files.mkdir()
    _run("mcopy", "-s", "-i", f"{guest}@@{_ESP[0]}M", "::/EFI", files)
    _run("mcopy", "-s", "-i", esp, files / "EFI", "::/")


def _make_boot(guest: Path, boot: Path) -> None:
    place = boot.with_name("boot.files")
    place.mkdir()
    offset, size = (n * MIB for n in _BOOT)
    options = f"ro,noload,loop,offset={offset},sizelimit={size}"
    _run("mount", "-o", options, guest, place)
    try:
        _run("mkfs.ext4", "-q", "-b", 4096, "-U", _BOOT_ID, "-d", place, boot)
    finally:
        _run("umount", place)
