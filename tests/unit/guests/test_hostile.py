# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest has made to hurt: it is refused, or read in time and in bounds."""

import gzip
import lzma
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import folder_guest
from v2v.document import Guest, Interface
from v2v.errors import GuestError
from v2v.guests.appliance import printable
from v2v.guests.linux import (
    addressing,
    boot,
    debconf,
    hardware,
    initramfs,
    interfaces,
    netplan,
    plan,
    stable,
)
from v2v.guests.linux.initramfs import Initramfs
from v2v.guests.linux.loaders import parameters
from v2v.guests.linux.loaders.menu import Files


def entry(name: str, size: bytes = b"%08X" % 0, body: bytes = b"") -> bytes:
    """Return a cpio entry whose header says *size*, whatever its body is."""
    made = initramfs._entry(1, name, 0o100644, body)
    return made[:54] + size + made[62:]


END = initramfs._entry(2, "TRAILER!!!", 0, b"")


@pytest.mark.parametrize("size", [b"-0000080", b"+0000004", b"0x000001", b" 1 2 3 4"])
def test_a_size_with_a_sign_does_not_go_round_for_ever(size: bytes) -> None:
    with pytest.raises(GuestError, match="bad cpio header"):
        initramfs.parse(entry("a", size) + END)


def test_thousands_of_segments_are_refused() -> None:
    with pytest.raises(GuestError, match="segments"):
        initramfs.parse((entry("a") + END) * 5000)


def test_too_many_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(initramfs, "_MAX_FILES", 10)
    with pytest.raises(GuestError, match="too many files"):
        initramfs.parse(b"".join(entry(f"f{i}") for i in range(12)) + END)


def test_a_bomb_in_several_parts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is on the sum, and each part alone is within it."""
    monkeypatch.setattr(Initramfs.__dataclass_fields__["room"], "default", 2**20)
    part = gzip.compress(initramfs._entry(1, "a", 0o100644, bytes(600_000)) + END)
    image = Initramfs(room=2**20)
    assert initramfs._packed(part, 0, image) == len(part)
    with pytest.raises(GuestError, match="more than 1 GiB"):
        initramfs._packed(part, 0, image)


def test_an_xz_header_that_asks_for_gigabytes_is_refused() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2**30}]
    data = lzma.compress(b"", lzma.FORMAT_XZ, lzma.CHECK_CRC32, filters=filters)
    with pytest.raises(GuestError):
        initramfs.parse(data)


def test_a_file_that_replaces_a_link_is_no_link_any_more() -> None:
    link = initramfs._entry(1, "lib", 0o120777, b"usr/lib")
    folder = initramfs._entry(2, "lib", 0o040755, b"")
    image = initramfs.parse(link + folder + END)
    assert image.resolved("lib/modules") == "lib/modules"


LOADERS = (
    *("/boot/grub/grub.cfg", "/boot/grub/menu.lst", "/boot/extlinux.conf"),
    *("/efi/loader/entries/a.conf", "/efi/loader/loader.conf", "/boot/grub/grubenv"),
    *("/etc/kernel/cmdline", "/etc/default/grub", "/boot/photon.cfg"),
)
SLOW = {
    "open menus": "submenu 'a' {\n" * 100_000,
    "parameters": "linux /boot/x " + "root=/dev/sda1 earlyprintk=xen " * 50_000,
    "quotes": "linux /x " + "\"'" * 200_000 + "\nset default=" + "a>" * 200_000,
    "labels": "title a\nlabel a\nmenuentry 'a' {\nlinux /a\n}\n" * 20_000,
    "initrds": "menuentry a {\nlinux /a\ninitrd " + "(hd0)/a " * 200_000,
    "blank lines": "\n" * 2**18,
    "one line of blanks": "a" + " " * 2**20 + "b",
    "open stanzas": "iface\n" * 100_000,
    "sections": "[Match]\nName=\n" * 16_000,
    "questions": "Name: grub-pc/install_devices\n" * 40_000,
    "brackets": "network: [" * 50_000,
}


@pytest.mark.parametrize("name", SLOW)
def test_a_text_that_is_hard_to_read_takes_no_time(name: str) -> None:
    text = SLOW[name]
    began = time.monotonic()
    for _, reader in interfaces._READERS:
        short = [line for line in text.splitlines() if len(line) < 1000]
        list(reader("/x", "\n".join(short)))
    for path in LOADERS:
        files = Files(paths=[path], texts={path: text})
        boot.in_use(files)
        parameters.cleaned(path, text, lambda _: None, lambda _: None, set())
    debconf.changed(text, "grub-pc/install_devices", lambda _: "x")
    stable.Names(Guest()).replaced(text)
    stable._guarded(text)
    list(plan.edit("/x", text, text + "x", "why"))
    list(plan.edit("/x", text, text.swapcase(), "why"))
    assert time.monotonic() - began < 10


def test_what_is_no_utf8_can_be_written_to_a_document() -> None:
    name = b"web\xff01".decode("utf-8", "surrogateescape")
    assert printable(name).encode() == b"web?01"
    assert len(printable("x" * 10**6)) == 200


@pytest.mark.parametrize("text", ["a:\n" * 200, "- " * 500, "{{{{", "k: {a: [b}"])
def test_odd_yaml_is_passed_over(text: str) -> None:
    assert list(netplan.read("/x", text)) == []


@pytest.mark.parametrize(
    "read", [interfaces.networkd, interfaces.links, interfaces.keyfile]
)
def test_a_key_without_a_value_that_goes_on_is_passed_over(
    read: Callable[[str, str], Iterator[Interface]],
) -> None:
    """Python's configparser dies of it."""
    assert list(read("/etc/x", "[Match]\nName\n more\n")) == []


def test_long_lines_of_a_network_configuration_are_edited_in_no_time() -> None:
    before = time.monotonic()
    drivers = ",".join(f"driver:a{i}" for i in range(18_000))
    made = hardware.netplan(f"  match: {{{drivers}}}\n", lambda name: "x")
    assert made == '  match: {macaddress: "x"}\n'
    static = addressing.Static(family=4, address="192.0.2.2", prefix=24)
    text = f"iface eth0 inet {'a' * 250_000} b\n"
    assert " static\n" in addressing.ifupdown(text, "eth0", static)
    assert time.monotonic() - before < 2


def test_nothing_is_written_into_a_fifo(tmp_path: Path) -> None:
    """Nobody reads from it: the write would never end."""
    guest = folder_guest.made(tmp_path, {"/etc/": ""})
    os.mkfifo(tmp_path / "etc/x")
    with pytest.raises(GuestError, match="is no file"):
        plan.create("/etc/x", "text", "why").apply(guest)
