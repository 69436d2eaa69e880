# SPDX-License-Identifier: GPL-2.0-or-later
"""Photon OS: grub.cfg takes its variables from /boot/photon.cfg.

That is a link to one of /boot/linux-VERSION.cfg; to choose a kernel is to set it.
"""

from __future__ import annotations

from v2v.guests.linux.loaders.menu import Entry, Files, Menu, inside

LINK = "/boot/photon.cfg"


def uses(text: str) -> bool:
    """Whether grub.cfg with this *text* takes the kernel from photon.cfg."""
    return "photon_linux" in text


def menu(files: Files) -> Menu | None:
    """Return the kernels that photon.cfg may name; None where there is none."""
    if LINK not in files.texts:
        return None
    paths = [p for p in files.texts if p.startswith("/boot/linux-")]
    found = [_entry(path, files.texts[path]) for path in paths]
    now = _entry(LINK, files.texts[LINK])
    default = next((e for e in found if e.kernel == now.kernel), now)
    return Menu(loader="grub2", entries=tuple(found or [now]), default=default)


def _entry(path: str, text: str) -> Entry:
    values: dict[str, str] = {}
    line = -1
    for number, row in enumerate(text.splitlines()):
        key, equals, value = row.partition("=")
        if equals and not key.startswith("#"):
            values[key.strip()] = value.strip()
            line = number if key.strip() == "photon_cmdline" else line
    kernel, image = values.get("photon_linux"), values.get("photon_initrd")
    return Entry(
        name=path.rpartition("/")[2],
        kernel=inside("/boot", kernel) if kernel else None,
        initramfs=inside("/boot", image) if image else None,
        options=values.get("photon_cmdline", ""),
        file=path,
        line=line,
    )
