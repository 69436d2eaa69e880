# SPDX-License-Identifier: GPL-2.0-or-later
"""The old hypervisor's tools: seen by their units, and masked, not uninstalled.

To mask is instantaneous, runs no code of the guest and can be undone; uninstallers have
restored old configurations and rebuilt initramfs images behind our back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from v2v.document import Guest
from v2v.guests.appliance import Appliance
from v2v.guests.linux.plan import Action, link


@dataclass(frozen=True, kw_only=True)
class Tools:
    """The services of one kind of tools, and files that show it is installed."""

    units: tuple[str, ...]
    files: tuple[str, ...] = ()


_KINDS = {
    "open-vm-tools": Tools(
        units=("open-vm-tools", "vmtoolsd", "vgauth", "vgauthd", "vmware-vmblock-fuse"),
        files=("/usr/bin/vmtoolsd", "/var/lib/dpkg/info/open-vm-tools.list"),
    ),
    "vmware-tools": Tools(
        units=("vmware-tools", "vmware-tools-thinprint"),
        files=("/etc/vmware-tools/locations", "/usr/bin/vmware-uninstall-tools.pl"),
    ),
    "virtualbox": Tools(
        units=("vboxadd", "vboxadd-service", "virtualbox-guest-utils", "vboxservice"),
        files=("/var/lib/VBoxGuestAdditions/config", "/usr/sbin/VBoxService"),
    ),
    "xen": Tools(
        units=("xe-daemon", "xe-linux-distribution", "xen-guest-agent"),
        files=("/usr/sbin/xe-daemon",),
    ),
    "hyperv": Tools(
        units=(
            *("hv-kvp-daemon", "hv-vss-daemon", "hv-fcopy-daemon"),
            *("hypervkvpd", "hypervvssd", "hypervfcopyd"),
        ),
        files=("/usr/sbin/hv_kvp_daemon", "/usr/sbin/hypervkvpd"),
    ),
    "parallels": Tools(
        units=("prltoolsd",), files=("/usr/lib/parallels-tools/install",)
    ),
}
_UNITS = "/{{lib,usr/lib,etc}}/systemd/system/{{{}}}.service"
_SCRIPTS = "/etc/init.d/{{{}}}"
_MASKS = "/etc/systemd/system"


def found(appliance: Appliance) -> tuple[str, ...]:
    """Return the kinds of tools that are installed."""
    files = [file for tools in _KINDS.values() for file in tools.files]
    there = set(appliance.glob("/{" + ",".join(f.lstrip("/") for f in files) + "}"))
    units = _present(appliance)
    return tuple(
        kind
        for kind, tools in _KINDS.items()
        if there & set(tools.files) or units & set(tools.units)
    )


def _present(appliance: Appliance) -> set[str]:
    """Return the units of any tools that the guest has; init scripts count.

    One question for all: each takes a while in an emulated appliance.  Links are other
    names of a unit.
    """
    names = ",".join(unit for tools in _KINDS.values() for unit in tools.units)
    paths = [
        path
        for form in (_UNITS, _SCRIPTS)
        for path in appliance.glob(form.format(names))
        if appliance.g.is_file(path)
    ]
    return {path.rpartition("/")[2].removesuffix(".service") for path in paths}


def plan(appliance: Appliance, guest: Guest) -> Iterator[Action]:
    """Yield what keeps the tools from being started."""
    if guest.init != "systemd" or not guest.tools:
        return
    units = _present(appliance)
    for kind, tools in _KINDS.items():
        for unit in tools.units:
            path = f"{_MASKS}/{unit}.service"
            if (
                unit in units
                and not appliance.g.is_symlink(path)
                and not appliance.g.is_file(path)
            ):
                yield link(path, "/dev/null", f"{kind} has nothing to serve on KVM")
