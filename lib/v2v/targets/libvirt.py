# SPDX-License-Identifier: GPL-2.0-or-later
"""A libvirt: the VM becomes a domain of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import libvirt

from v2v import kvm, names
from v2v.document import VM, Defined
from v2v.errors import NoTargetError, TargetError
from v2v.targets import Wish
from v2v.targets import domain as domains
from v2v.targets import networks

# virDomainUndefineFlags: managed save, snapshots' metadata, NVRAM, checkpoints.
_UNDEFINE = 1 | 2 | 4 | 16


def default_uri() -> str:
    """Return the libvirt that is meant when none is named."""
    chosen = os.environ.get("LIBVIRT_DEFAULT_URI")
    return chosen or ("qemu:///system" if os.getuid() == 0 else "qemu:///session")


def answers(uri: str = "") -> bool:
    """Whether the libvirt at *uri* can be reached."""
    try:
        with _connected(uri):
            return True
    except NoTargetError:
        return False


@contextmanager
def _connected(uri: str) -> Iterator[libvirt.virConnect]:
    # What libvirt prints on its own would come twice, and without the VM's name.
    libvirt.registerErrorHandler(lambda context, error: None, None)
    place = uri or default_uri()
    try:
        connection = libvirt.open(place)
    except libvirt.libvirtError as e:
        raise NoTargetError(
            f"no libvirt answers at {place}: {e.get_error_message()}",
            "start it (systemctl start libvirtd), name another with -c URI, or make "
            "plain files with -t local",
        ) from e
    try:
        yield connection
    finally:
        connection.close()


def check(wish: Wish) -> None:
    """See targets.Target."""
    networks.rules(wish.networks)
    with _connected(wish.uri):
        pass


def preflight(vm: VM, wish: Wish) -> None:
    """See targets.Target."""
    networks.check(vm, wish.networks)
    with _connected(wish.uri) as connection:
        _refuse_taken(connection, vm, wish)
        _refuse_missing(connection, vm, wish)


def _refuse_taken(connection: libvirt.virConnect, vm: VM, wish: Wish) -> None:
    """Raise TargetError if the name or UUID is another VM's."""
    for known in _known(connection, vm):
        if domains.owner(known.XMLDesc(0)) == vm.id:
            if known.isActive():
                raise TargetError(
                    f"domain {known.name()} was made from this VM and is running",
                    "shut it down first, or give the VM another name with --name",
                )
        elif not wish.force or known.isActive():
            raise TargetError(
                f"a domain {known.name()} ({known.UUIDString()}) exists already",
                "give the VM another name with --name, or replace that one with "
                "--force once it is shut down",
            )


def _known(connection: libvirt.virConnect, vm: VM) -> list[libvirt.virDomain]:
    """Return the domains that have the name or the UUID of *vm*."""
    found: dict[str, libvirt.virDomain] = {}
    for look, key in (
        (connection.lookupByName, names.safe(vm.name)),
        (connection.lookupByUUIDString, domains.valid_uuid(vm)),
    ):
        try:
            known = look(key)
        except libvirt.libvirtError as e:
            if e.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise _refused(vm, e) from e
            continue
        found[known.UUIDString()] = known
    return list(found.values())


def _refuse_missing(connection: libvirt.virConnect, vm: VM, wish: Wish) -> None:
    """Raise TargetError for a network or bridge that the host does not have.

    libvirt would define such a domain, and fail to start it.
    """
    rules = networks.rules(wish.networks)
    local = "+" not in connection.getURI().partition(":")[0]
    for nic in vm.nics:
        where = networks.place(nic, rules)
        if where.kind == "network":
            try:
                connection.networkLookupByName(where.name or "")
            except libvirt.libvirtError as e:
                raise TargetError(
                    f"the libvirt has no network {where.name} (for card {nic.mac})",
                    "name one that it has: -n bridge=br0, -n network=NAME, -n user",
                ) from e
        elif where.kind == "bridge" and local and "test" not in connection.getType():
            if not Path("/sys/class/net", where.name or "").exists():
                raise TargetError(
                    f"this host has no bridge {where.name} (for card {nic.mac})",
                    "make the bridge first, or name another with -n bridge=NAME",
                )


def define(vm: VM, wish: Wish) -> Defined:
    """See targets.Target."""
    with _connected(wish.uri) as connection:
        usable = kvm.usable() or "+" in connection.getURI().partition(":")[0]
        root = domains.domain(vm, networks.rules(wish.networks), kvm=usable)
        domains.validate(root)
        before = [
            (d, d.XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE))
            for d in _known(connection, vm)
        ]
        try:
            for old, _ in before:
                _undefine(old, keep_nvram=True)
            made = connection.defineXMLFlags(
                domains.text(root), libvirt.VIR_DOMAIN_DEFINE_VALIDATE
            )
        except libvirt.libvirtError as e:
            for _, xml in before:
                connection.defineXML(xml)
            raise _refused(vm, e) from e
        _refresh_pools(connection, vm)
        if wish.start:
            _start(made, vm)
        return Defined(
            kind="libvirt",
            name=made.name(),
            location=f"{connection.getURI()} {made.name()}",
            uuid=made.UUIDString(),
        )


def _start(made: libvirt.virDomain, vm: VM) -> None:
    try:
        made.create()
    except libvirt.libvirtError as e:
        # Undone: the VM is not what was asked for.
        _undefine(made, keep_nvram=False)
        raise _refused(vm, e) from e


def _undefine(old: libvirt.virDomain, *, keep_nvram: bool) -> None:
    flags = _UNDEFINE & ~4 | 8 if keep_nvram else _UNDEFINE
    try:
        old.undefineFlags(flags)
    except libvirt.libvirtError as e:
        # Older and foreign drivers (test:///) know no flags.
        if e.get_error_code() not in (
            libvirt.VIR_ERR_INVALID_ARG,
            libvirt.VIR_ERR_NO_SUPPORT,
        ):
            raise
        old.undefine()


def _refresh_pools(connection: libvirt.virConnect, vm: VM) -> None:
    """Let libvirt's pools see the new files in them."""
    for disk in vm.disks:
        folder = (
            Path(disk.target.path).parent if disk.target and disk.target.path else None
        )
        try:
            if folder:
                connection.storagePoolLookupByTargetPath(str(folder)).refresh(0)
        except libvirt.libvirtError:
            continue  # no pool there, or one that is not active: nothing to refresh


def _refused(vm: VM, e: libvirt.libvirtError) -> TargetError:
    return TargetError(
        f"libvirt refused {vm.name}: {e.get_error_message()}",
        "see the libvirt's log; the disks are in place, so correct it and run "
        "v2v-define again",
    )
