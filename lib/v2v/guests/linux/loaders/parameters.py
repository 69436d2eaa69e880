# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's parameters, wherever a loader keeps them: one function for all.

Devices get names that hold on any hardware; what was said for the old hypervisor's
sake is taken out.  All else, blanks included, stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Set

# A name of the device, or None if there is none that holds.
Stable = Callable[[str], str | None]

_KEYS = "root|resume|real_root|real_resume|boot|rootpartition"
_DEVICE = re.compile(
    rf"(?<![\w/.-])((?:{_KEYS})=)(/dev/[^\s\"'\\]+)"
    r"|(?<![\w/.-])(cryptdevice=)(/dev/[^\s\"'\\:]+)"
)
# Names that another machine does not give.
_HARDWARE = re.compile(
    rf"(?<![\w/.-])(?:{_KEYS}|cryptdevice)="
    r"(/dev/(?:(?:[hs]|xv)d[a-z]+\d*|nvme\d+n\d+(?:p\d+)?"
    r"|disk/by-(?:id|path)/(?!dm-|md-|lvm-|raid-)[^\s\"'\\]+))(?![\w/-])"
)
_GONE = (
    r"(?:earlyprintk=xen|xencons=\w+|xen_emul_unplug=[\w,-]+|clocksource=(?:xen|pit"
    r"|hyperv\w*)|ide_core\.prefer_ms_hyperv=\d|(?:ide\d|hd[a-z])=noprobe"
    r"|video=hyperv_fb:\w+)"
)
_AFTER_BLANK = re.compile(rf"[ \t]{_GONE}(?=[\s\"']|$)")
_AFTER_QUOTE = re.compile(rf"(?<=[\"'=]){_GONE}(?:[ \t]|(?=[\"']|$))", re.MULTILINE)
_FIRST = re.compile(rf"^{_GONE}(?:[ \t]|$)", re.MULTILINE)
_CONSOLE = re.compile(r"(?<![\w.-])console=(?:xvc|hvc|hvsi)\d+(?:,\w+)?(?![\w,])")
_OLD_CONSOLE = re.compile(r"[ \t]console=(?:xvc|hvc|hvsi)\d+(?:,\w+)?(?![\w,])")

# Which lines of a file hold parameters, by what its path ends in; None: all of them.
_GRUB2 = re.compile(
    r"^\s*(?:(?:linux|module|multiboot)\w*\s"
    r"|set\s+(?:kernelopts|default_kernelopts|rootpartition)=)"
)
_LINES: tuple[tuple[re.Pattern[str], re.Pattern[str] | None], ...] = (
    (re.compile(r"/grub\.cfg$"), _GRUB2),
    (re.compile(r"/grubenv$"), re.compile(r"^(?:kernelopts|tuned_params)=")),
    (re.compile(r"/loader/entries/[^/]+$"), re.compile(r"^\s*options\s")),
    (
        re.compile(r"/(?:menu\.lst|grub\.conf)$"),
        # Debian's update-grub takes what is behind "# kopt=" for its own.
        re.compile(r"^\s*(?:kernel|module)\s|^# (?:x?en)?(?:kopt|defoptions)\w*="),
    ),
    (
        re.compile(r"/(?:ext|sys)linux\.(?:conf|cfg)$"),
        re.compile(r"^\s*append\s", re.IGNORECASE),
    ),
    (
        re.compile(r"/update-extlinux\.conf$"),
        re.compile(r"^\s*(?:root|default_kernel_opts)="),
    ),
    (re.compile(r"^/boot/[^/]+\.cfg$"), re.compile(r"^(?:photon|systemd)_cmdline=")),
    (re.compile(r"/sysconfig/bootloader$"), re.compile(r"^\w*APPEND\w*=")),
    # ALT Linux has it in the folder of Red Hat's.
    (
        re.compile(r"^/etc/(?:default/grub|sysconfig/grub2$)"),
        re.compile(r"^\s*GRUB_CMDLINE_\w+\+?="),
    ),
    (re.compile(r"/cmdline$|/cmdline\.d/"), None),
)


def lines(path: str, text: str) -> list[tuple[int, str]]:
    """Return the lines of *text*, the file *path*, that hold parameters: by number."""
    there = enumerate(text.splitlines(keepends=True))
    for of, pattern in _LINES:
        if of.search(path):
            return [(n, s) for n, s in there if pattern is None or pattern.match(s)]
    return []


def cleaned(
    path: str, text: str, stable: Stable, by_partition: Stable, bare: Set[int]
) -> str:
    """Return *text*, the file *path*, with parameters that hold on KVM.

    A kernel without an initramfs knows no UUID= of a file system: lines with these
    numbers, *bare*, get what *by_partition* returns.
    """
    changed = text.splitlines(keepends=True)
    for number, line in lines(path, text):
        known = by_partition if number in bare else stable
        changed[number] = _without_hypervisor(renamed(line, known))
    return "".join(changed)


def renamed(line: str, stable: Stable) -> str:
    """Return *line* with the devices in it called by what *stable* returns."""

    def name(match: re.Match[str]) -> str:
        key, device = match[1] or match[3], match[2] or match[4]
        return key + (stable(device) or device)

    return _DEVICE.sub(name, line)


def _without_hypervisor(line: str) -> str:
    line = _AFTER_BLANK.sub("", line)
    line = _AFTER_QUOTE.sub("", line)
    line = _FIRST.sub("", line)
    if "console=ttyS" in line:
        line = _OLD_CONSOLE.sub("", line)
    line, made = _CONSOLE.subn("console=ttyS0", line, count=1)
    if made:
        line = _OLD_CONSOLE.sub("", line)  # of several one is left
    return _CONSOLE.sub("console=ttyS0", line)


def of_hardware(options: str) -> list[str]:
    """Return the devices that *options* name as no other machine does."""
    return _HARDWARE.findall(options)


def root_of_hardware(options: str) -> str | None:
    """Return the root that *options* name as no other machine does, if so."""
    for match in _HARDWARE.finditer(options):
        if match[0].startswith("root="):
            return match[1]
    return None
