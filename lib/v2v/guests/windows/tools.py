# SPDX-License-Identifier: GPL-2.0-or-later
"""The old hypervisor's tools and drivers: seen by their services, and disabled.

Nothing is uninstalled here: off their hypervisor the uninstallers refuse (one-swap 45).
A service that is disabled is inert, and its key stays for the uninstaller.  What was
there before is in the changes, for whoever goes back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from v2v.document import Finding
from v2v.guests.plan import Action
from v2v.guests.windows import filters
from v2v.guests.windows.hive import MULTI_SZ, Hive, dword, multi_sz
from v2v.guests.windows.place import Work
from v2v.guests.windows.registry import Registry

FINDINGS = frozenset({"tools-kept"})
DISABLED = 4  # SERVICE_DISABLED of winnt.h
_VISTA = 6000  # the first build of 6.0
_RUN = (
    r"Microsoft\Windows\CurrentVersion\Run",
    r"Wow6432Node\Microsoft\Windows\CurrentVersion\Run",
)
_CODE_INSTALLERS = r"Control\CoDeviceInstallers"
_TIME = r"Services\W32Time\TimeProviders"


@dataclass(frozen=True, kw_only=True)
class Tools:
    """One kind of tools; all names in lower case, as Windows compares them.

    ``services`` are services and drivers; one that ends in a star stands for all that
    start so.  ``disks`` are those of them that a boot disk may hang on.  ``run`` are
    values of the Run key, ``installers`` files of co-installers, ``clocks`` time
    providers.
    """

    services: tuple[str, ...]
    disks: tuple[str, ...] = ()
    run: tuple[str, ...] = ()
    installers: tuple[str, ...] = ()
    clocks: tuple[str, ...] = ()

    def has(self, service: str) -> bool:
        """Whether *service* is one of these tools."""
        name = service.lower()
        return any(
            name.startswith(known[:-1]) if known.endswith("*") else name == known
            for known in self.services
        )


# Hyper-V's own (vmbus, vmgid, vmgencounter, vmic*, vmstorfl, vms3cap …) are a part of
# Windows and harmless: they are in no list here, nor does a star reach them.  pvscsi
# stays too: a guest that was on it to the last had STOP 0x7B without (forklift).
KINDS = {
    # guest-windows.md §4.1; vmupgradehelper and vmdebug: the real Windows 7 hive.
    "vmware-tools": Tools(
        services=(
            *("vmtools", "vgauthservice", "vm3dservice", "vmvss", "gisvc"),
            *("vmwarecaf*", "cblauncher", "vmupgradehelper", "vmdebug"),
            *("vmci", "vsock", "vmhgfs", "vmmemctl", "vmrawdsk"),
            *("vmmouse", "vmusbmouse", "vm3dmp*", "vmaudio"),
            *("vmxnet3", "vmxnet3ndis6", "vmxnet", "vmx_svga", "efifw", "vmwefifw"),
            *("vnetwfp", "vnetflt", "vsepflt"),
        ),
        run=("vmware user process",),
        installers=("vm3dc003.dll",),
        clocks=("vmwtimeprovider",),
    ),
    # §4.2; the name of the video driver ends in the version of Windows that it is for.
    "virtualbox": Tools(
        services=(
            *("vboxguest", "vboxservice", "vboxsf", "vboxmouse"),
            *("vboxvideo*", "vboxwddm"),
        ),
        run=("vboxtray",),
    ),
    # §4.3: Citrix, XCP-ng, Red Hat's and GPLPV.
    "xen": Tools(
        services=(
            *("xenbus", "xenfilt", "xenvbd", "xendisk", "xenvif", "xennet"),
            *("xeniface", "xenbus_monitor", "xenagent", "xensvc", "xenpci", "xenlite"),
            *("rhelscsi", "rhelnet", "rhelfltr", "xenscsi", "xenusb", "xenstub"),
        ),
        disks=("xenvbd", "xendisk", "rhelscsi"),
    ),
    # §4.4.
    "parallels": Tools(
        services=(
            *("prl_boot", "prl_dd", "prl_eth5", "prl_fs", "prl_memdev", "prl_mouf"),
            *("prl_pv32", "prl_pv64", "prl_scsi", "prl_sound", "prl_strg", "prl_tg"),
            *("prl_time", "prl_uprof", "prl_va"),
        ),
        disks=("prl_scsi", "prl_strg"),
    ),
    # §4.5: its virtio drivers are what the guest needs here, and stay.
    "nutanix": Tools(services=("nutanix *",)),
}
# §4.5: STOP 0x7E on a processor, or AGP bridge, that is not theirs; mended in 6.0.
PROCESSORS = ("intelppm", "processor", "amdppm", "amdk8", "agp440")


def found(registry: Registry) -> tuple[str, ...]:
    """Return the kinds of tools that are installed, enabled or not."""
    services = registry.system.keys(rf"{registry.current}\Services")
    return tuple(
        kind
        for kind, tools in KINDS.items()
        if any(
            tools.has(service) and _start(registry, registry.current, service) >= 0
            for service in services
        )
    )


def plan(work: Work) -> Iterator[Action]:
    """Disable the tools, and what may crash off the old hardware, in the registry.

    It yields nothing: the hives are given back with all their edits.
    """
    kept = held(work.registry) if not _virtio_boots(work) else ()
    disable(work.registry, kept=kept)
    if work.guest.windows and work.guest.windows.build < _VISTA:
        disable_processors(work.registry)
    yield from ()


def findings(work: Work) -> Iterator[Finding]:
    """Yield what of the tools stays in use; see FINDINGS."""
    for kind in held(work.registry) if not _virtio_boots(work) else ():
        yield Finding(
            code="tools-kept",
            severity="warn",
            message=f"the guest's disk is driven by its {kind} drivers, and it has no "
            "virtio drivers to take their place: they stay enabled",
            remedy="give the virtio drivers with --virtio-win",
        )


def _virtio_boots(work: Work) -> bool:
    """Whether the guest can start from a virtio disk, now or after this run."""
    return any(
        verdict.boots and verdict.bus in ("virtio", "scsi")
        for verdict in work.guest.verdicts
    )


def held(registry: Registry) -> tuple[str, ...]:
    """Return the kinds of tools that a disk controller of the guest is bound to."""
    names = {name: kind for kind, tools in KINDS.items() for name in tools.disks}
    if not set(found(registry)) & set(names.values()):
        return ()
    hive = registry.system
    bound = {
        (hive.text(key, "Service") or "").lower()
        for key in filters.devices(hive, registry.current)
    }
    return tuple(dict.fromkeys(names[name] for name in sorted(bound & set(names))))


def disable(registry: Registry, *, kept: tuple[str, ...] = ()) -> None:
    """Disable all tools but those of the kinds *kept*, in every control set."""
    for kind, tools in KINDS.items():
        if kind in kept:
            continue
        reason = f"{kind}: of no use on KVM, where its drivers fail"
        for control_set in registry.control_sets:
            names = _names(registry.system, control_set, tools)
            filters.removed(registry.system, control_set, names, reason)
            _stop(registry, control_set, names, reason)
            _forget(registry.system, control_set, tools, reason)
            if kind == "parallels":
                # Its uninstaller leaves the driver as long as that counts users.
                key = rf"{control_set}\Services\prl_strg\DriverInfo"
                registry.system.unset(key, "RefCount", reason)
        for key in _RUN:
            for name in list(registry.software.values(key)):
                if name.lower() in tools.run:
                    registry.software.unset(key, name, reason)


def disable_processors(registry: Registry) -> None:
    """Disable the drivers of processors and AGP bridges, in every control set."""
    reason = "it crashes Windows 5.x on a processor or bridge that it is not for"
    for control_set in registry.control_sets:
        filters.removed(registry.system, control_set, PROCESSORS, reason)
        _stop(registry, control_set, PROCESSORS, reason)


def _names(hive: Hive, control_set: str, tools: Tools) -> frozenset[str]:
    """Return the names that may be listed: a filter may outlive its service."""
    there = hive.keys(rf"{control_set}\Services")
    plain = {name for name in tools.services if not name.endswith("*")}
    return frozenset(plain | {name.lower() for name in there if tools.has(name)})


def _stop(
    registry: Registry,
    control_set: str,
    names: frozenset[str] | tuple[str, ...],
    reason: str,
) -> None:
    for service in registry.system.keys(rf"{control_set}\Services"):
        # A service without Start is staged, not installed: it has no other values.
        if service.lower() in names and _start(registry, control_set, service) >= 0:
            key = rf"{control_set}\Services\{service}"
            registry.system.set(key, "Start", dword(DISABLED), reason)


def _forget(hive: Hive, control_set: str, tools: Tools, reason: str) -> None:
    """Take the tools out of what Windows asks while it runs."""
    for clock in hive.keys(rf"{control_set}\{_TIME}"):
        if clock.lower() in tools.clocks:
            hive.set(rf"{control_set}\{_TIME}\{clock}", "Enabled", dword(0), reason)
    key = rf"{control_set}\{_CODE_INSTALLERS}"
    for name, value in hive.values(key).items() if tools.installers else ():
        if value.type != MULTI_SZ:
            continue
        left = [t for t in value.texts if _file(t) not in tools.installers]
        if left and len(left) < len(value.texts):
            hive.set(key, name, multi_sz(left), reason)
        elif not left and value.texts:
            hive.unset(key, name, reason)


def _file(installer: str) -> str:
    """Return the file of a co-installer, which is followed by its function."""
    return installer.partition(",")[0].strip().lower()


def _start(registry: Registry, control_set: str, service: str) -> int:
    """Return how *service* is started; -1 if nothing says."""
    number = registry.system.number(rf"{control_set}\Services\{service}", "Start")
    return -1 if number is None else number
