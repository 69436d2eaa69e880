# SPDX-License-Identifier: GPL-2.0-or-later
"""The old hypervisor's tools and agents: seen by their services, and disabled.

Not uninstalled: uninstallers have restored old configurations, rebuilt initramfs images
behind our back and taken applications with them.  Whoever wants the packages gone asks
for it, and the guest removes them at its first boot.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from v2v.document import Finding, Guest
from v2v.guests.appliance import Appliance, printable
from v2v.guests.linux import leftovers, services
from v2v.guests.plan import Action


@dataclass(frozen=True, kw_only=True)
class Tools:
    """The services of one kind of tools, and files that show it is installed.

    ``inert``: its services see for themselves that they have nothing to do.
    ``packages``: what it may be installed from; a star stands for any rest.
    """

    services: tuple[str, ...]
    files: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    inert: bool = False


FINDINGS = frozenset({"tools-module"})
# depmod(8) prefers these folders; of VMware's modules it is vsock that others use.
_SHADOWS = "/lib/modules/*/{misc,extra,updates,updates/dkms}/vsock.ko*"
KINDS = {
    "open-vm-tools": Tools(
        services=(
            "open-vm-tools",
            "vmtoolsd",
            "vgauth",
            "vgauthd",
            "vmware-vmblock-fuse",
        ),
        files=("/usr/bin/vmtoolsd", "/var/lib/dpkg/info/open-vm-tools.list"),
        packages=("open-vm-tools*",),
    ),
    "vmware-tools": Tools(
        services=(
            *("vmware-tools", "vmware-tools-thinprint", "vmware-tools-services"),
            *("vmware-tools-vgauth", "vmware-guestd", "vmware-caf"),
        ),
        files=("/etc/vmware-tools/locations", "/usr/bin/vmware-uninstall-tools.pl"),
        packages=("vmware-tools*", "VMwareTools", "kmod-vmware-tools*"),
    ),
    "virtualbox": Tools(
        services=(
            *("vboxadd", "vboxadd-service", "vboxadd-x11", "virtualbox-guest-utils"),
            *("virtualbox-guest-additions", "vboxservice", "vboxclient"),
        ),
        files=("/var/lib/VBoxGuestAdditions/config", "/usr/sbin/VBoxService"),
        packages=("virtualbox-guest-*",),
    ),
    "xen": Tools(
        services=("xe-daemon", "xe-linux-distribution", "xen-guest-agent"),
        files=("/usr/sbin/xe-daemon",),
        packages=("xe-guest-utilities*", "xen-guest-agent"),
    ),
    "hyperv": Tools(
        services=(
            *("hv-kvp-daemon", "hv-vss-daemon", "hv-fcopy-daemon"),
            *("hypervkvpd", "hypervvssd", "hypervfcopyd"),
        ),
        files=("/usr/sbin/hv_kvp_daemon", "/usr/sbin/hypervkvpd"),
        packages=("hyperv-daemons*", "hyperv-tools", "linux-cloud-tools-*"),
        inert=True,
    ),
    # Microsoft's own drivers and daemons for old kernels.
    "hyperv-lis": Tools(
        services=("hv_kvp_daemon", "hv_vss_daemon", "hv_fcopy_daemon"),
        packages=("microsoft-hyper-v", "kmod-microsoft-hyper-v*"),
    ),
    "azure": Tools(
        services=("walinuxagent", "waagent", "ephemeral-disk-warning"),
        files=("/usr/sbin/waagent",),
        packages=("walinuxagent", "WALinuxAgent*", "python-azure-agent"),
    ),
    "aws": Tools(
        services=(
            *("amazon-ssm-agent", "hibinit-agent", "ec2net-scan", "ec2-ifup"),
            *("refresh-policy-routes@.timer", "policy-routes@"),
        ),
        files=("/usr/bin/amazon-ssm-agent",),
        packages=("amazon-ssm-agent", "ec2-net-utils", "amazon-ec2-net-utils"),
    ),
    "google": Tools(
        services=(
            *("google-guest-agent", "google-guest-agent-manager"),
            *("google-startup-scripts", "google-shutdown-scripts"),
            *("google-osconfig-agent", "google-accounts-daemon"),
            *("google-network-daemon", "google-clock-skew-daemon"),
            *("google-instance-setup", "gce-workload-cert-refresh.timer"),
        ),
        files=("/usr/bin/google_guest_agent",),
        packages=(
            "google-guest-agent",
            "google-osconfig-agent",
            "google-compute-engine*",
        ),
    ),
    "parallels": Tools(
        services=("prltoolsd", "prl-x11"), files=("/usr/lib/parallels-tools/install",)
    ),
    "nutanix": Tools(
        services=("ngt_guest_agent", "ngt_self_service_restore", "nutanix-guest-agent"),
        files=("/usr/local/nutanix/ngt",),
    ),
    "ovirt": Tools(
        services=("ovirt-guest-agent", "rhevm-guest-agent", "rhev-agentd"),
        packages=("ovirt-guest-agent*", "rhevm-guest-agent*"),
    ),
    # It would ask, on a console that nobody sees, what became of the old hardware.
    "kudzu": Tools(services=("kudzu",)),
}


def found(appliance: Appliance) -> tuple[str, ...]:
    """Return the kinds of tools that are installed."""
    files = [file for tools in KINDS.values() for file in tools.files]
    there = set(appliance.glob("/{" + ",".join(f.lstrip("/") for f in files) + "}"))
    present = services.present(appliance, _services())
    return tuple(
        kind
        for kind, tools in KINDS.items()
        if there & set(tools.files) or present & set(tools.services)
    )


def _services() -> list[str]:
    return [name for tools in KINDS.values() for name in tools.services]


def plan(appliance: Appliance, guest: Guest) -> Iterator[Action]:
    """Yield what keeps the tools from being started, and what they left from harm."""
    if guest.tools:
        present = services.present(appliance, _services())
        reasons = {
            name: f"{kind} has nothing to serve on KVM"
            for kind, tools in KINDS.items()
            for name in tools.services
            if name in present and not (tools.inert and guest.init == "systemd")
        }
        yield from services.off(appliance, guest.init, reasons)
    yield from leftovers.plan(appliance, guest)


def findings(appliance: Appliance) -> Iterator[Finding]:
    """Yield that modules of the tools take the place of the kernel's own."""
    there = appliance.glob(_SHADOWS)
    if there:
        yield Finding(
            code="tools-module",
            severity="warn",
            message=f"{printable(', '.join(there[:5]))}: a module of VMware's tools is "
            "loaded in place of the kernel's own, and does not work on KVM",
            remedy="run depmod in the guest after the tools are removed",
        )


def packages(appliance: Appliance, guest: Guest) -> tuple[str, ...]:
    """Return the packages that the tools of *guest* are from.

    For dpkg those that it knows, by their lists of files: its own file of them may be
    too large to be read.  For others names and patterns.  The guest compares them with
    what is installed at its first boot.
    """
    patterns = [name for kind in guest.tools for name in KINDS[kind].packages]
    if guest.package_format != "deb" or not patterns:
        return tuple(patterns)
    lists = ",".join(f"{p}.list,{p}:*.list" for p in patterns)
    names = (
        path.rpartition("/")[2].removesuffix(".list").partition(":")[0]
        for path in appliance.glob(f"/var/lib/dpkg/info/{{{lists}}}")
    )
    return tuple(sorted(set(names)))
