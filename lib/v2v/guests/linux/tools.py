# SPDX-License-Identifier: GPL-2.0-or-later
"""The old hypervisor's tools: seen by their units, and masked, not uninstalled.

To mask is instantaneous, runs no code of the guest and can be undone; uninstallers have
restored old configurations and rebuilt initramfs images behind our back.
"""

from __future__ import annotations

from collections.abc import Iterator

from v2v.document import VM, Guest
from v2v.guests.appliance import Appliance
from v2v.guests.linux.plan import Action, link

_UNITS = {
    "open-vm-tools": (
        "open-vm-tools",
        "vmtoolsd",
        "vgauth",
        "vgauthd",
        "vmware-vmblock-fuse",
    ),
    "vmware-tools": ("vmware-tools", "vmware-tools-thinprint"),
    "virtualbox": (
        "vboxadd",
        "vboxadd-service",
        "virtualbox-guest-utils",
        "vboxservice",
    ),
    "xen": ("xe-daemon", "xe-linux-distribution", "xen-guest-agent"),
    "hyperv": (
        "hv-kvp-daemon",
        "hv-vss-daemon",
        "hypervkvpd",
        "hypervvssd",
        "hypervfcopyd",
    ),
    "parallels": ("prltoolsd",),
}
_FOLDERS = ("/lib/systemd/system", "/usr/lib/systemd/system", "/etc/systemd/system")
_MASKS = "/etc/systemd/system"


def found(appliance: Appliance) -> tuple[str, ...]:
    """Return the kinds of tools that are installed."""
    return tuple(kind for kind in _UNITS if _present(appliance, kind))


def _present(appliance: Appliance, kind: str) -> list[str]:
    """Return the units of *kind* that the guest has."""
    g = appliance.g
    return [
        unit
        for unit in _UNITS[kind]
        if any(g.is_file(f"{folder}/{unit}.service") for folder in _FOLDERS)
        or g.is_file(f"/etc/init.d/{unit}")
    ]


def plan(appliance: Appliance, vm: VM, guest: Guest) -> Iterator[Action]:
    """Yield what keeps the tools from being started."""
    if guest.init != "systemd":
        return
    for kind in guest.tools:
        for unit in _present(appliance, kind):
            path = f"{_MASKS}/{unit}.service"
            if not appliance.g.is_symlink(path) and not appliance.g.is_file(path):
                yield link(path, "/dev/null", f"{kind} has nothing to serve on KVM")
