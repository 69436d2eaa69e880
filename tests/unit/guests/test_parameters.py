# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's parameters in each loader's files, and nothing else in them."""

import pytest

from v2v.guests.linux.loaders import parameters

NAMES = {
    "/dev/sda1": "UUID=u-a1",
    "/dev/sda2": "UUID=u-a2",
    "/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:0:0-part1": "UUID=u-a1",
}


def cleaned(path: str, text: str, bare: set[int] | None = None) -> str:
    return parameters.cleaned(
        path, text, NAMES.get, lambda _: "PARTUUID=p", bare or set()
    )


GRUB = """\
\tlinux   /vmlinuz root={}
\tlinux16 /v root={}
\tlinuxefi /v root={}
\tmodule2 /v root={}
  set kernelopts="root={} ro"
set rootpartition=/dev/sda1
"""
# path -> a text with lines that hold parameters ("A") and those that do not ("B")
PLACES = {
    "/boot/grub/grub.cfg": (
        GRUB,
        "# linux /v root=/dev/sda1\nsearch --set=root /dev/sda1\n",
    ),
    "/boot/efi/EFI/redhat/grub.cfg": (" linuxefi /v root={}\n", "set root='hd0'\n"),
    "/boot/loader/entries/a.conf": ("options root={} ro\n", "title root=/dev/sda1\n"),
    "/efi/loader/entries/a.conf": ("options\troot={}\n", "#options root=/dev/sda1\n"),
    "/boot/grub2/grubenv": ("kernelopts=root={} ro\n", "saved_entry=root=/dev/sda1\n"),
    "/boot/grub/menu.lst": (
        "\tkernel /v root={}\n\tmodule /v root={}\n# kopt=root={} ro\n",
        "## kopt=root=/dev/sda1\ntitle root=/dev/sda1\n",
    ),
    "/boot/grub/grub.conf": ("kernel /v root={}\n", "#boot=/dev/sda\n"),
    "/boot/extlinux.conf": ("  APPEND root={} ro\n", "  MENU LABEL root=/dev/sda1\n"),
    "/boot/syslinux/syslinux.cfg": ("append root={}\n", "# append root=/dev/sda1\n"),
    "/etc/update-extlinux.conf": (
        'root={}\ndefault_kernel_opts="resume={}"\n',
        "#root=/dev/sda1\n",
    ),
    "/boot/linux-6.1.cfg": ("photon_cmdline=ro root={}\n", "photon_linux=/dev/sda1\n"),
    "/etc/sysconfig/bootloader": ('DEFAULT_APPEND="resume={}"\n', "BOOT=/dev/sda1\n"),
    "/etc/default/grub": (
        "GRUB_CMDLINE_LINUX=\"resume={}\"\nGRUB_CMDLINE_LINUX_DEFAULT='root={} a'\n",
        "GRUB_DEVICE=/dev/sda1\n# GRUB_CMDLINE_LINUX=root=/dev/sda1\n",
    ),
    "/etc/default/grub.d/50.cfg": ('GRUB_CMDLINE_LINUX+=" root={}"\n', "A=1\n"),
    "/etc/kernel/cmdline": ("root={} ro\n", ""),
}


@pytest.mark.parametrize("path", PLACES)
def test_devices_are_named_by_uuid_where_parameters_are_and_nowhere_else(
    path: str,
) -> None:
    changed, kept = PLACES[path]
    before = changed.replace("{}", "/dev/sda1") + kept
    after = changed.replace("{}", "UUID=u-a1").replace(
        "rootpartition=/dev/sda1", "rootpartition=UUID=u-a1"
    )
    assert cleaned(path, before) == after + kept
    assert cleaned(path, after + kept) == after + kept


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("root=/dev/sda1 resume=/dev/sda2", "root=UUID=u-a1 resume=UUID=u-a2"),
        ("real_root=/dev/sda1", "real_root=UUID=u-a1"),
        ("boot=/dev/sda1 fips=1", "boot=UUID=u-a1 fips=1"),
        ("cryptdevice=/dev/sda2:root:x", "cryptdevice=UUID=u-a2:root:x"),
        ("root=/dev/sdz9 x", "root=/dev/sdz9 x"),
        ("root=/dev/mapper/vg-root", "root=/dev/mapper/vg-root"),
        ("notroot=/dev/sda1 a.root=/dev/sda1", "notroot=/dev/sda1 a.root=/dev/sda1"),
        (
            "root=/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:0:0-part1 ro",
            "root=UUID=u-a1 ro",
        ),
        ("ro console=xvc0 quiet", "ro console=ttyS0 quiet"),
        ("ro console=hvc0,115200n8", "ro console=ttyS0"),
        ("ro console=hvc0 console=xvc0 quiet", "ro console=ttyS0 quiet"),
        ("console=hvc0 console=ttyS0,115200", "console=ttyS0 console=ttyS0,115200"),
        ("ro console=tty0 console=hvc0 console=ttyS0", "ro console=tty0 console=ttyS0"),
        ("console=tty0 netconsole=hvc0", "console=tty0 netconsole=hvc0"),
        ("ro earlyprintk=xen quiet", "ro quiet"),
        ("earlyprintk=xen quiet", "quiet"),
        ("earlyprintk=vga quiet", "earlyprintk=vga quiet"),
        ("ro clocksource=xen", "ro"),
        ("ro clocksource=hyperv_clocksource_tsc_page x", "ro x"),
        ("ro clocksource=tsc", "ro clocksource=tsc"),
        ("ro xencons=tty xen_emul_unplug=never", "ro"),
        ("ro ide_core.prefer_ms_hyperv=0 hda=noprobe", "ro"),
        ("video=hyperv_fb:1024x768 a", "a"),
        ("net.ifnames=0 biosdevname=0", "net.ifnames=0 biosdevname=0"),
    ],
)
def test_what_the_old_machine_needed_is_gone_and_all_else_is_there(
    before: str, after: str
) -> None:
    assert cleaned("/etc/kernel/cmdline", f"{before}\n") == f"{after}\n"
    assert cleaned("/etc/kernel/cmdline", f"{after}\n") == (
        f"{after}\n"
        if "console=ttyS0 console" not in after
        else "console=ttyS0 console=ttyS0,115200\n"
    )


@pytest.mark.parametrize("quote", ['"', "'"])
def test_quotes_stay_in_pairs(quote: str) -> None:
    for inner in ("clocksource=xen", "clocksource=xen a", "a clocksource=xen"):
        text = f"GRUB_CMDLINE_LINUX={quote}{inner}{quote}\n"
        after = inner.replace("clocksource=xen", "").strip()
        assert cleaned("/etc/default/grub", text) == (
            f"GRUB_CMDLINE_LINUX={quote}{after}{quote}\n"
        )


def test_the_ends_of_lines_and_odd_bytes_stay() -> None:
    text = "options root=/dev/sda1\r\ntitle caf\udce9\r\noptions x\udcff"
    after = cleaned("/boot/loader/entries/a.conf", text)
    assert after == text.replace("/dev/sda1", "UUID=u-a1")


def test_a_kernel_without_an_initramfs_is_told_the_partition() -> None:
    """It knows no file system before it has mounted one."""
    text = "linux /a root=/dev/sda1\nlinux /b root=/dev/sda1\n"
    assert cleaned("/boot/grub/grub.cfg", text, {1}) == (
        "linux /a root=UUID=u-a1\nlinux /b root=PARTUUID=p\n"
    )


def test_devices_of_hardware_are_seen() -> None:
    options = "root=/dev/sda2 resume=/dev/mapper/x boot=/dev/vda1 resume=/dev/nvme0n1p2"
    assert parameters.of_hardware(options) == ["/dev/sda2", "/dev/nvme0n1p2"]
    assert parameters.root_of_hardware(options) == "/dev/sda2"
    assert parameters.root_of_hardware("resume=/dev/sda2 root=UUID=x") is None
