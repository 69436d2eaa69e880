# SPDX-License-Identifier: GPL-2.0-or-later
"""Each loader's files: what they start, and how another kernel becomes the default."""

import pytest

from v2v.errors import GuestError
from v2v.guests.linux import boot
from v2v.guests.linux.loaders import (
    extlinux,
    grub2,
    grub_legacy,
    grubenv,
    photon,
    systemd_boot,
)
from v2v.guests.linux.loaders.menu import Entry, Files, Menu, inside, newness

GRUB = """\
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
else
   set default="0"
fi
function load_video {
  insmod all_video
}
menuentry 'Debian' --class debian $menuentry_id_option 'gnulinux-simple' {
    search --no-floppy --fs-uuid --set=root u-a1
    if [ x$grub_platform = xxen ]; then insmod xzio; fi
    linux   /boot/vmlinuz-6.1 root=/dev/sda1 ro resume=/dev/sda2 quiet
    initrd  /boot/intel-ucode.img /boot/initrd.img-6.1
}
submenu 'Advanced' $menuentry_id_option 'advanced' {
    menuentry 'Debian, with Linux 5.10' --id 'old' {
        linux16 ($root)/vmlinuz-5.10 root=/dev/sda1
        initrd16 /initrd.img-5.10
    }
    menuentry "btrfs" {
        linux (hd0,gpt2)/@/boot/vmlinuz-btrfs root=UUID=x rootflags=subvol=@
    }
}
menuentry 'Xen' {
    multiboot2 /boot/xen-4.17.gz placeholder
    module2 /boot/vmlinuz-6.1 placeholder root=/dev/sda1
    module2 --nounzip /boot/initrd.img-6.1
}
menuentry 'Firmware' {
    fwsetup
}
# linux /boot/vmlinuz-comment root=/dev/sda1
"""
ENV = "# GRUB Environment Block\nsaved_entry={}\nkernelopts=root=/dev/sda2 ro\n"


def of(texts: dict[str, str], *more: str) -> Files:
    return Files(paths=[*texts, *more], texts=texts)


def block(saved: str) -> str:
    text = ENV.format(saved)
    return text + "#" * (1024 - len(text))


def kernels(menu: Menu | None) -> list[tuple[str | None, str | None]]:
    assert menu
    return [(entry.kernel, entry.initramfs) for entry in menu.entries]


def default(menu: Menu | None) -> str | None:
    assert menu and menu.default
    return menu.default.kernel


CFG = "/boot/grub/grub.cfg"


def test_what_grub_starts() -> None:
    menu = grub2.menu(of({CFG: GRUB}))
    assert kernels(menu) == [
        ("/boot/vmlinuz-6.1", "/boot/initrd.img-6.1"),
        ("/boot/vmlinuz-5.10", "/boot/initrd.img-5.10"),
        ("/boot/vmlinuz-btrfs", None),
        ("/boot/vmlinuz-6.1", "/boot/initrd.img-6.1"),
    ]
    assert menu
    assert [entry.xen for entry in menu.entries] == [False, False, False, True]
    assert menu.entries[0].options == "root=/dev/sda1 ro resume=/dev/sda2 quiet"


@pytest.mark.parametrize(
    ("said", "kernel"),
    [
        ("0", "/boot/vmlinuz-6.1"),
        ("1>0", "/boot/vmlinuz-5.10"),
        ("1", "/boot/vmlinuz-5.10"),
        ("advanced>old", "/boot/vmlinuz-5.10"),
        ("Advanced>btrfs", "/boot/vmlinuz-btrfs"),
        ("1>Debian, with Linux 5.10", "/boot/vmlinuz-5.10"),
        ("7", "/boot/vmlinuz-6.1"),
        ("gone>old", "/boot/vmlinuz-6.1"),
        ("9" * 5000, "/boot/vmlinuz-6.1"),
        ("${saved_entry}", "/boot/vmlinuz-btrfs"),
    ],
)
def test_grubs_default_is_a_number_an_id_or_a_title(said: str, kernel: str) -> None:
    texts = {
        CFG: GRUB.replace('default="0"', f'default="{said}"'),
        "/boot/grub/grubenv": block("1>1"),
    }
    assert default(grub2.menu(of(texts))) == kernel


def test_another_default_is_written_where_grub_takes_it_from() -> None:
    texts = {CFG: GRUB, "/etc/default/grub": "GRUB_DEFAULT=0\nGRUB_TIMEOUT=5\n"}
    menu = grub2.menu(of(texts))
    assert menu
    changed = grub2.chosen(of(texts), menu.entries[1])
    assert changed == {
        CFG: GRUB.replace('default="0"', 'default="advanced>old"'),
        "/etc/default/grub": 'GRUB_DEFAULT="advanced>old"\nGRUB_TIMEOUT=5\n',
    }
    assert default(grub2.menu(of({**texts, **changed}))) == "/boot/vmlinuz-5.10"


def test_a_saved_default_is_changed_in_the_block_whose_size_stays() -> None:
    env = "/boot/grub/grubenv"
    texts = {CFG: GRUB.replace('"0"', '"${saved_entry}"'), env: block("0")}
    menu = grub2.menu(of(texts))
    assert menu
    changed = grub2.chosen(of(texts), menu.entries[2])
    assert list(changed) == [env] and len(changed[env]) == 1024
    assert "saved_entry=advanced>btrfs\n" in changed[env]
    assert default(grub2.menu(of({**texts, **changed}))) == "/boot/vmlinuz-btrfs"


def test_a_default_that_nothing_says_is_not_changed_silently() -> None:
    with pytest.raises(GuestError) as e:
        grub2.chosen(of({CFG: "menuentry 'a' {\nlinux /a\n}\n"}), Entry(name="0"))
    assert e.value.remedy


def test_a_block_that_is_full_is_not_made_longer() -> None:
    with pytest.raises(GuestError, match="full"):
        grubenv.with_value(block("0"), "saved_entry", "x" * 1000)
    assert grubenv.resized("no block", "x") == "x"
    text = grubenv.with_value(block("0"), "other", "a\\b")
    assert len(text) == 1024 and grubenv.value(text, "other") == "a\\b"


MID = "0123456789abcdef"
BLS_CFG = 'set default="${saved_entry}"\ninsmod blscfg\nblscfg\n'


def bls(version: str, options: str = "$kernelopts $tuned_params") -> dict[str, str]:
    return {
        f"/boot/loader/entries/{MID}-{version}.conf": (
            f"# made\ntitle Rocky ({version})\nversion {version}\n"
            f"linux /vmlinuz-{version}\ninitrd /initramfs-{version}.img $tuned_initrd\n"
            f"options {options}\ngrub_users $grub_users\n"
        )
    }


@pytest.mark.parametrize(
    ("saved", "version"),
    [
        (f"{MID}-5.9", "5.9"),
        ("", "5.14"),
        ("1", "5.9"),
        (f"{MID}-gone", "5.14"),
    ],
)
def test_entries_by_the_specification_are_the_newest_first(
    saved: str, version: str
) -> None:
    texts = {
        "/boot/grub2/grub.cfg": BLS_CFG,
        "/boot/grub2/grubenv": block(saved),
        **bls("5.9"),
        **bls("5.14", "root=LABEL=x"),
        **bls("0-rescue"),
    }
    menu = boot.in_use(of(texts))
    assert menu and menu.loader == "grub2" and menu.default
    assert menu.default.kernel == f"/boot/vmlinuz-{version}"
    assert menu.default.initramfs == f"/boot/initramfs-{version}.img"
    options = {e.kernel: e.options for e in menu.entries}
    assert options["/boot/vmlinuz-5.9"] == "root=/dev/sda2 ro $tuned_params"
    changed = grub2.chosen(of(texts), menu.entries[-1])
    assert f"saved_entry={MID}-0-rescue\n" in changed["/boot/grub2/grubenv"]


def test_the_menu_may_be_on_the_esp_or_lead_from_there() -> None:
    """RHEL 7 has it there; since RHEL 9 there is a stub."""
    esp = "/boot/efi/EFI/redhat/grub.cfg"
    main = "/boot/grub2/grub.cfg"
    whole = "menuentry 'a' {\n linuxefi /vmlinuz-a root=x\n initrdefi /a.img\n}\n"
    assert grub2.config(of({main: GRUB, esp: "configfile $prefix/grub.cfg\n"})) == main
    assert grub2.config(of({main: GRUB, esp: whole})) == esp
    assert kernels(grub2.menu(of({esp: whole}))) == [("/boot/vmlinuz-a", "/boot/a.img")]


LEGACY = """\
# kopt=root=/dev/sda1 ro
default=1
timeout=5
title Xen
\troot (hd0,0)
\tkernel /xen.gz-2.6.18 dom0_mem=1G
\tmodule /vmlinuz-2.6.18-8.el5xen ro root=/dev/sda2
\tmodule /initrd-2.6.18-8.el5xen.img
title CentOS (2.6.18-8.el5)
\troot (hd0,0)
\tkernel --no-mem-option (hd0,0)/vmlinuz-2.6.18-8.el5 ro root=LABEL=/ console=xvc0
\tinitrd /initrd-2.6.18-8.el5.img
title Windows
\tchainloader +1
"""
CONF = "/boot/grub/grub.conf"


@pytest.mark.parametrize(
    ("said", "kernel"),
    [
        ("default=1", "/boot/vmlinuz-2.6.18-8.el5"),
        ("default 0", "/boot/vmlinuz-2.6.18-8.el5xen"),
        ("default\t= 0", "/boot/vmlinuz-2.6.18-8.el5xen"),
        ("default saved", "/boot/vmlinuz-2.6.18-8.el5"),
        ("default 9", "/boot/vmlinuz-2.6.18-8.el5xen"),
        ("", "/boot/vmlinuz-2.6.18-8.el5xen"),
    ],
)
def test_grub_legacy_counts_its_entries(said: str, kernel: str) -> None:
    texts = {CONF: LEGACY.replace("default=1", said), "/boot/grub/default": "1\n#\n"}
    menu = grub_legacy.menu(of(texts))
    assert default(menu) == kernel
    assert kernels(menu)[1][1] == "/boot/initrd-2.6.18-8.el5.img"
    assert menu and [e.xen for e in menu.entries] == [True, False, False]


def test_grub_legacys_default_is_changed_and_nothing_else() -> None:
    link = "/boot/grub/menu.lst"
    menu = grub_legacy.menu(of({CONF: LEGACY}))
    assert menu
    changed = grub_legacy.chosen(of({CONF: LEGACY, link: LEGACY}), menu.entries[0])
    after = LEGACY.replace("default=1", "default=0")
    assert changed == {CONF: after, link: after}
    with pytest.raises(GuestError):
        grub_legacy.chosen(of({CONF: "title a\nkernel /a\n"}), Entry(name="1"))


@pytest.mark.parametrize("said", ["default = 1", "default\t=1", "default= 1"])
def test_grub_legacys_default_may_have_blanks_around_its_sign(said: str) -> None:
    changed = grub_legacy.chosen(
        of({CONF: LEGACY.replace("default=1", said)}), Entry(name="0")
    )
    assert changed[CONF] == LEGACY.replace("default=1", said.replace("1", "0"))


def test_extlinux_with_a_default_that_says_nothing_cannot_be_told_another() -> None:
    texts = {"/boot/extlinux.conf": "default\nlabel a\nkernel /a\n"}
    with pytest.raises(GuestError, match="cannot be changed"):
        extlinux.chosen(of(texts), Entry(name="a"))


def test_the_end_of_a_line_of_extlinux_stays() -> None:
    path = "/boot/syslinux/syslinux.cfg"
    text = "DEFAULT a\r\nLABEL a\r\nKERNEL /a\r\nLABEL b\r\nKERNEL /b\r\n"
    changed = extlinux.chosen(of({path: text}), Entry(name="b"))
    assert changed[path] == text.replace("DEFAULT a", "DEFAULT b")
    menu = extlinux.menu(of(changed))
    assert default(menu) == "/boot/b"


EXT = """\
DEFAULT menu.c32
PROMPT 0
MENU TITLE Alpine
LABEL lts
  MENU DEFAULT
  MENU LABEL Linux lts
  LINUX vmlinuz-lts
  INITRD initramfs-lts
  APPEND root=/dev/sda3 modules=sd-mod,ext4 quiet
LABEL virt
  kernel /boot/vmlinuz-virt
  append initrd=/boot/initramfs-virt root=/dev/sda3
"""


def test_extlinux_and_alpines_source_of_it() -> None:
    path, source = "/boot/extlinux.conf", "/etc/update-extlinux.conf"
    texts = {path: EXT, source: "modules=ext4\ndefault=lts\n"}
    menu = boot.in_use(of(texts))
    assert menu and menu.loader == "extlinux"
    assert kernels(menu) == [
        ("/boot/vmlinuz-lts", "/boot/initramfs-lts"),
        ("/boot/vmlinuz-virt", "/boot/initramfs-virt"),
    ]
    assert default(menu) == "/boot/vmlinuz-lts"
    changed = extlinux.chosen(of(texts), menu.entries[1])
    assert changed == {
        path: EXT.replace("DEFAULT menu.c32", "DEFAULT virt").replace(
            "  MENU DEFAULT\n", ""
        ),
        source: "modules=ext4\ndefault=virt\n",
    }
    assert default(extlinux.menu(of({**texts, **changed}))) == "/boot/vmlinuz-virt"


def test_extlinux_paths_are_from_its_folder() -> None:
    text = "default a\nlabel a\n kernel ../vmlinuz-a\n initrd /initrd-a,b\n"
    menu = extlinux.menu(of({"/boot/extlinux/extlinux.conf": text}))
    assert kernels(menu) == [("/boot/vmlinuz-a", "/boot/extlinux/b")]


ESP = "/boot/efi/loader"


def entry(version: str) -> dict[str, str]:
    text = f"options root=/dev/sda2\nlinux /m/{version}/linux\ninitrd /m/{version}/i\n"
    return {f"{ESP}/entries/m-{version}+2-1.conf": text}


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("default m-6.1.conf", "6.1"),
        ("default M-6.1", "6.1"),
        ("default m-*", "6.12"),
        ("default @saved", "6.12"),
        ("default nothing", "6.12"),
        ("default " + "*a" * 9000, "6.12"),
        ("timeout 3", "6.12"),
    ],
)
def test_systemd_boots_default_is_a_pattern(said: str, version: str) -> None:
    texts = {f"{ESP}/loader.conf": f"{said}\n", **entry("6.1"), **entry("6.12")}
    menu = boot.in_use(of(texts))
    assert menu and menu.loader == "systemd-boot"
    assert default(menu) == f"/boot/efi/m/{version}/linux"
    changed = systemd_boot.chosen(of(texts), menu.entries[1])
    assert "default m-6.1.conf\n" in changed[f"{ESP}/loader.conf"]
    assert default(systemd_boot.menu(of({**texts, **changed}))) == (
        "/boot/efi/m/6.1/linux"
    )


def test_systemd_boot_without_a_configuration_gets_one() -> None:
    menu = systemd_boot.menu(of({**entry("6.1"), **entry("6.2")}))
    assert menu
    changed = systemd_boot.chosen(of(entry("6.1")), menu.entries[1])
    assert changed == {f"{ESP}/loader.conf": "default m-6.1.conf\n"}


def test_unified_kernel_images_are_entries() -> None:
    there = of({}, "/efi/EFI/Linux/arch-6.9.efi", "/efi/EFI/Linux/arch-6.10.efi")
    menu = boot.in_use(there)
    assert menu and menu.loader == "uki"
    assert menu.default == menu.entries[0]
    assert menu.entries[0].kernel == "/efi/EFI/Linux/arch-6.10.efi"
    assert menu.entries[0].sealed


def test_what_is_installed_on_the_esp_decides_between_two_loaders() -> None:
    """Debian leaves grub.cfg behind."""
    texts = {CFG: GRUB, f"{ESP}/loader.conf": "timeout 3\n", **entry("6.1")}
    binary = "/boot/efi/EFI/systemd/systemd-bootx64.efi"
    both = boot.in_use(of(texts, binary, "/boot/efi/EFI/debian/grubx64.efi"))
    alone = boot.in_use(of(texts, binary))
    assert both and both.loader == "grub2"
    assert alone and alone.loader == "systemd-boot"


def test_a_loader_with_nothing_to_start_is_not_in_use() -> None:
    menu = boot.in_use(of({"/boot/grub/grub.cfg": "# empty\n", CONF: LEGACY}))
    assert menu and menu.loader == "grub-legacy"


PHOTON = {
    "/boot/grub2/grub.cfg": "set default=0\nload_env -f /boot/photon.cfg\n"
    'menuentry "Photon" {\nlinux /boot/$photon_linux root=$rootpartition\n}\n',
    "/boot/photon.cfg": "photon_linux=vmlinuz-6.1-esx\nphoton_initrd=i-esx\n",
    "/boot/linux-6.1-esx.cfg": "photon_linux=vmlinuz-6.1-esx\nphoton_initrd=i-esx\n",
    "/boot/linux-6.1.cfg": "# GRUB Environment Block\nphoton_cmdline=ro quiet\n"
    "photon_linux=vmlinuz-6.1\nphoton_initrd=initrd.img-6.1\n",
}


def test_photons_kernel_is_what_its_link_says() -> None:
    menu = boot.in_use(of(PHOTON))
    assert menu and menu.loader == "grub2"
    assert default(menu) == "/boot/vmlinuz-6.1-esx"
    assert kernels(menu) == [
        ("/boot/vmlinuz-6.1-esx", "/boot/i-esx"),
        ("/boot/vmlinuz-6.1", "/boot/initrd.img-6.1"),
    ]
    assert menu.entries[1].options == "ro quiet"
    assert photon.menu(of({})) is None


@pytest.mark.parametrize(
    ("place", "name", "path"),
    [
        ("/boot", "(hd0,0)/vmlinuz", "/boot/vmlinuz"),
        ("/boot", "/@/.snapshots/1/snapshot/boot/vmlinuz", "/boot/vmlinuz"),
        ("/boot", "/@boot/vmlinuz", "/boot/vmlinuz"),
        ("/boot", "$kernel", None),
        ("/boot", "($root)/vmlinuz", "/boot/vmlinuz"),
        ("/boot", "'/vmlinuz'", "/boot/vmlinuz"),
        ("/boot", "", None),
        ("/efi", "/m/6.1/linux", "/efi/m/6.1/linux"),
        ("/boot", "/../../../etc/shadow", "/etc/shadow"),
    ],
)
def test_paths_of_a_loader_become_the_guests(
    place: str, name: str, path: str | None
) -> None:
    assert inside(place, name) == path


def test_versions_are_in_the_order_of_their_numbers() -> None:
    names = ["5.14.0-70", "5.9", "5.14.0-362.8", "6.1~rc2", "6.1", "6.1" + "9" * 9000]
    assert sorted(names, key=newness) == [
        *("5.9", "5.14.0-70", "5.14.0-362.8", "6.1~rc2", "6.1", "6.1" + "9" * 9000)
    ]
