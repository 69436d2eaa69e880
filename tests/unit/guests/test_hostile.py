# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest has made to hurt: it is refused, or read in time and in bounds."""

import gzip
import lzma
import os
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import guest_folder
from guest_files import guest_with
from v2v.document import Filesystem, Guest, Interface
from v2v.errors import GuestError
from v2v.guests import plan
from v2v.guests.appliance import printable
from v2v.guests.linux import (
    addressing,
    boot,
    debconf,
    diskfiles,
    hardware,
    initramfs,
    interfaces,
    kernels,
    netplan,
    roots,
    stable,
    system,
)
from v2v.guests.linux.initramfs import Initramfs
from v2v.guests.linux.loaders import parameters
from v2v.guests.linux.loaders.menu import Files
from v2v.guests.linux.roots import Root


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
    began = time.process_time()
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
    assert time.process_time() - began < 10


def test_what_is_no_utf8_can_be_written_to_a_document() -> None:
    name = b"web\xff01".decode("utf-8", "surrogateescape")
    assert printable(name).encode() == b"web?01"
    assert len(printable("x" * 10**6)) == 200


@pytest.mark.parametrize("text", ["a:\n" * 200, "- " * 500, "{{{{", "k: {a: [b}"])
def test_odd_yaml_is_passed_over(text: str) -> None:
    assert list(netplan.read("/x", text)) == []


def peak(act: Callable[[], object]) -> int:
    """Return how many bytes *act* takes at most."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


GRUB = "/boot/grub2/grub.cfg"
ENTRY = "menuentry 'b' {\nlinux /vmlinuz root=x\n}\n"
BOMBS = {
    "a long title around many": {
        GRUB: "submenu '" + "a" * 2**18 + "' {\n" + ENTRY * 5000 + "}\n"
    },
    "titles around titles": {
        GRUB: ("submenu '" + "a" * 2**15 + "' {\n") * 19 + ENTRY * 5000
    },
    "variables of variables": {
        GRUB: "blscfg\n",
        "/boot/grub2/grubenv": "kernelopts=" + "x" * 2**18 + "\n",
        "/boot/loader/entries/a.conf": "linux /v\noptions " + "$kernelopts " * 5000,
    },
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_menu_does_not_grow_by_being_read(name: str) -> None:
    there = Files(paths=list(BOMBS[name]), texts=BOMBS[name])
    assert peak(lambda: boot.in_use(there)) < 2**26


def test_thousands_of_large_menus_are_refused() -> None:
    names = [f"/boot/loader/entries/{i}.conf" for i in range(40)]
    there = guest_with(dict.fromkeys(names, "#" * 2**20))
    with pytest.raises(GuestError, match="too large"):
        boot.files(there)


def test_a_version_that_is_a_pattern_is_no_version(tmp_path: Path) -> None:
    """glob(3) makes 2 to the 40th paths of it."""
    version = "{a,b}" * 40
    files = {f"/boot/vmlinuz-{version}": "x", f"/lib/modules/{version}/modules.dep": ""}
    assert kernels.found(guest_folder.guest(tmp_path, files)) == ()


def test_of_a_boot_full_of_kernels_some_are_looked_at(tmp_path: Path) -> None:
    there = guest_folder.guest(tmp_path, {f"/boot/vmlinuz-{i}": "" for i in range(900)})
    asked: list[str] = []
    real = there.g.realpath

    def noted(path: str) -> str:
        asked.append(path)
        return real(path)

    there.g.realpath = noted  # type: ignore[method-assign]
    kernels.found(there)
    assert 0 < len(asked) <= 300


def test_of_a_thousand_journals_some_are_looked_at() -> None:
    paths = [f"/var/log/journal/{i}/system.journal" for i in range(1000)]
    known = {("lstatns", path): {"st_mtime_sec": 7} for path in sorted(paths)[:200]}
    there = guest_with(dict.fromkeys(paths, ""), answers=known)
    root = Root(name="/dev/sda1", device="/dev/sda1")
    assert roots._evidence(there, root, [root], [], ()).used == 7


def test_an_endless_word_in_os_release_takes_no_time() -> None:
    """shlex takes an hour for 8 MiB."""
    text = "ID=debian\nNAME='" + "a" * 2**21 + "'\n"
    began = time.process_time()
    found = system._release(guest_with({"/etc/os-release": text}))
    assert found == {"ID": "debian"}
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([("a" * 5000, 0o100644, b"")], "too long a name"),
        ([(f"{i}/" + "a" * 4000, 0o100644, b"") for i in range(20_000)], "names"),
        (
            [(f"conf/conf.d/{i}", 0o100644, bytes(2**22)) for i in range(20)],
            "configuration",
        ),
    ],
)
def test_what_is_kept_of_an_image_is_bounded(
    entries: list[tuple[str, int, bytes]], message: str
) -> None:
    """A guest has 32 kernels, each with such an image."""
    made = b"".join(initramfs._entry(1, *one) for one in entries)
    with pytest.raises(GuestError, match=message):
        initramfs.parse(gzip.compress(made + END, 1))


def test_a_link_of_a_megabyte_is_none() -> None:
    image = initramfs.parse(initramfs._entry(1, "lib", 0o120777, b"a/" * 2**19) + END)
    assert image.links == {}


def test_a_table_of_disks_that_is_none_is_left_alone() -> None:
    text = "/dev/sda1 x\n" * 100_000
    names = stable.Names(
        Guest(filesystems=(Filesystem(device="/dev/sda1", type="ext4", uuid="u"),))
    )
    there = guest_with({"/etc/auto.home": text})
    assert list(diskfiles.plan(there, names)) == []
    assert (
        len(list(diskfiles.plan(guest_with({"/etc/auto.home": text[:240]}), names)))
        == 1
    )


@pytest.mark.parametrize(
    "read", [interfaces.networkd, interfaces.links, interfaces.keyfile]
)
def test_a_key_without_a_value_that_goes_on_is_passed_over(
    read: Callable[[str, str], Iterator[Interface]],
) -> None:
    """Python's configparser dies of it."""
    assert list(read("/etc/x", "[Match]\nName\n more\n")) == []


def test_long_lines_of_a_network_configuration_are_edited_in_no_time() -> None:
    before = time.process_time()
    drivers = ",".join(f"driver:a{i}" for i in range(18_000))
    made = hardware.netplan(f"  match: {{{drivers}}}\n", lambda name: "x")
    assert made == '  match: {macaddress: "x"}\n'
    static = addressing.Static(family=4, address="192.0.2.2", prefix=24)
    text = f"iface eth0 inet {'a' * 250_000} b\n"
    assert " static\n" in addressing.ifupdown(text, "eth0", static)
    assert time.process_time() - before < 2


def test_nothing_is_written_into_a_fifo(tmp_path: Path) -> None:
    """Nobody reads from it: the write would never end."""
    guest = guest_folder.guest(tmp_path, {"/etc/hosts": ""})
    os.mkfifo(tmp_path / "etc/x")
    with pytest.raises(GuestError, match="is no file"):
        plan.create("/etc/x", "text", "why").apply(guest)
