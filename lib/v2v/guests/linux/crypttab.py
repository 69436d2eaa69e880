# SPDX-License-Identifier: GPL-2.0-or-later
"""The names that a system gives to the encrypted devices that it opens: crypttab(5).

What v2v opened gets the name that the guest gives it, so that fstab's /dev/mapper/NAME
is the same thing here, and programs of the guest that build an initramfs find what they
look for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from v2v.guests.appliance import Appliance, printable
from v2v.guests.devices import Device
from v2v.guests.linux import boot
from v2v.guests.linux.resolver import CRYPTTAB, Resolver
from v2v.guests.linux.roots import Root

# The only ones that are put into a command: no sign that a shell knows.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
# systemd's option (crypttab(5)), and rd.luks.options=; clevis has no sign there.
_TPM = re.compile(r"(?<![\w-])tpm2-device=")
_MAX_LINES = 1000


def fitted(
    appliance: Appliance, devices: Sequence[Device], roots: Sequence[Root]
) -> list[Device] | None:
    """Rename what was opened as the crypttab of one of *roots* says.

    Return the *devices* with their new names; None if nothing was renamed.
    """
    if not any(device.container for device in devices):
        return None
    renamed: dict[str, str] = {}
    for root in roots:
        appliance.g.mount_ro(root.name, "/")
        text = appliance.read(CRYPTTAB) or ""
        resolver = Resolver(appliance, devices)
        wanted = dict(names(text, resolver))
        appliance.g.umount_all()
        for device in devices:
            name = wanted.get(device.container or "")
            if name and device.name not in renamed:
                renamed[device.name] = f"/dev/mapper/{name}"
    uses = Counter([*(device.name for device in devices), *renamed.values()])
    renamed = {old: new for old, new in renamed.items() if uses[new] == 1}
    for old, new in renamed.items():
        # libguestfs has no call for it, and to close and open again takes a minute.
        words = ["dmsetup", "rename", old.rpartition("/")[2], new.rpartition("/")[2]]
        appliance.g.debug("sh", words)
    if not renamed:
        return None
    return [replace(d, name=renamed.get(d.name, d.name)) for d in devices]


def sealed(appliance: Appliance) -> list[str]:
    """Return what is opened with a key in the TPM: that is the old machine's own.

    Names of crypttab, and "the kernel's command line" if it says so.
    """
    found = []
    for line in (appliance.read(CRYPTTAB) or "").splitlines()[:_MAX_LINES]:
        fields = line.split()
        if len(fields) > 3 and fields[0][0] != "#" and _TPM.search(fields[3]):
            found.append(printable(fields[0]))
    if _TPM.search(boot.command_lines(appliance)):
        found.append("the kernel's command line")
    return found


def names(text: str, resolver: Resolver) -> list[tuple[str, str]]:
    """Return the encrypted devices of crypttab's *text*, each with its name."""
    found = []
    for line in text.splitlines()[:_MAX_LINES]:
        fields = line.split()
        if len(fields) < 2 or not _NAME.fullmatch(fields[0]):
            continue
        device = resolver.device(fields[1])
        if device and device.type == "crypto_LUKS":
            found.append((device.name, fields[0]))
    return found
