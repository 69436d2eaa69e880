# SPDX-License-Identifier: GPL-2.0-or-later
"""A libvirt: the VM becomes a domain of it, which bears the document's id.

Whatever a later start would stumble over is refused before any data moves: libvirt
itself defines domains whose networks there are not, and says so at the first start.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from lxml import etree

from v2v import kvm, names
from v2v.document import VM, Defined
from v2v.errors import NoTargetError, TargetError
from v2v.targets import Wish, domain, machine, networks
from v2v.targets.domain import Host
from v2v.targets.networks import Place, Plan

try:
    import libvirt

    _MISSING = ""
except ImportError as e:  # the other targets do without
    _MISSING = str(e)

log = logging.getLogger(__name__)

_SERVERS = ("QEMU", "TEST")


def default_uri() -> str:
    """Return the libvirt that is meant when none is named."""
    chosen = os.environ.get("LIBVIRT_DEFAULT_URI")
    return chosen or ("qemu:///system" if os.getuid() == 0 else "qemu:///session")


def answers(uri: str = "") -> bool:
    """Whether a libvirt that can run our VMs answers at *uri*."""
    try:
        with _connected(uri):
            return True
    except NoTargetError:
        return False


def check(wish: Wish) -> None:
    """See targets.Target."""
    networks.rules(wish.networks)
    domain.check_schema()
    with _connected(wish.uri):
        pass


def preflight(vm: VM, wish: Wish) -> None:
    """See targets.Target."""
    machine.refuse(vm)
    with _connected(wish.uri) as connection, _said(vm):
        _refuse_taken(connection, vm, wish)
        _refuse_firmware(connection, vm)
        _refuse_missing(connection, _networks(connection, vm, wish), wish)


def define(vm: VM, wish: Wish) -> Defined:
    """See targets.Target."""
    with _connected(wish.uri) as connection, _said(vm):
        _refuse_taken(connection, vm, wish)
        host = _host(connection)
        made = machine.of(vm, _networks(connection, vm, wish))
        element = domain.domain(made, host)
        domain.validate(element)
        xml = domain.written(element).decode()
        created = _replaced(connection, vm, xml, start=wish.start)
        _refresh_pools(connection, made)
        for text in (*domain.warnings(made, host), *_idle(connection, made.cards)):
            log.warning("%s: warning: %s", vm.name, text)
        return Defined(
            kind="libvirt",
            name=created.name(),
            location=f"{connection.getURI()} {created.name()}",
            uuid=created.UUIDString(),
        )


@contextmanager
def _connected(uri: str) -> Iterator[libvirt.virConnect]:
    """Yield a connection to *uri*.  Raises NoTargetError."""
    if _MISSING:
        raise NoTargetError(
            f"libvirt cannot be used from Python: {_MISSING}",
            "install python3-libvirt, or make plain files with -t local",
        )
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
        if connection.getType() not in _SERVERS:
            raise NoTargetError(
                f"{place} runs {connection.getType()} machines, and ours need QEMU",
                "name a libvirt of QEMU with -c, for instance qemu:///system",
            )
        yield connection
    finally:
        # A server that has gone since cannot be taken leave of.
        with contextlib.suppress(libvirt.libvirtError):
            connection.close()


@contextmanager
def _said(vm: VM) -> Iterator[None]:
    """Turn what libvirt refuses into the TargetError of *vm*."""
    try:
        yield
    except libvirt.libvirtError as e:
        reason = " ".join(e.get_error_message().split())
        raise TargetError(
            f"libvirt refused domain {names.safe(vm.name)}: {reason}",
            "put that right, then run the same again; the disks are not touched",
        ) from e


def _is_local(connection: libvirt.virConnect) -> bool:
    """Whether the libvirt is that of this host, so that our files are its files."""
    return not urlsplit(connection.getURI()).netloc


def _owner(known: libvirt.virDomain) -> str | None:
    # Another program may undefine it while we look.
    with contextlib.suppress(libvirt.libvirtError):
        return domain.owner(_xml(known).encode())
    return None


def _xml(known: libvirt.virDomain) -> str:
    """Return what it is defined as, to the last secret: to define it again."""
    flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
    return known.XMLDesc(flags)


def _in_the_way(connection: libvirt.virConnect, vm: VM) -> list[libvirt.virDomain]:
    """Return the domains that have the name or the UUID of *vm*."""
    found = {}
    uuid = machine.chosen_uuid(vm)
    looks: list[Callable[[], libvirt.virDomain]] = [
        lambda: connection.lookupByName(names.safe(vm.name))
    ]
    if uuid:
        looks.append(lambda: connection.lookupByUUIDString(uuid))
    for look in looks:
        try:
            known = look()
        except libvirt.libvirtError as e:
            if e.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
        else:
            found[known.UUIDString()] = known
    return list(found.values())


def _is_ours(known: libvirt.virDomain, vm: VM) -> bool:
    """Whether *known* is what an earlier define made of *vm*.

    One that was made from it under another name is not: it may be a copy that lives.
    """
    return known.name() == names.safe(vm.name) and _owner(known) == vm.id


def _refuse_taken(connection: libvirt.virConnect, vm: VM, wish: Wish) -> None:
    """Raise TargetError if a domain that is not ours to replace is in the way."""
    for known in _in_the_way(connection, vm):
        name = known.name()
        if known.isActive():
            raise TargetError(
                f"domain {name}, which would be replaced, is running",
                f"shut it down first (virsh shutdown {name})",
            )
        if known.hasManagedSaveImage():
            # It would go on with the memory of the old disks, on the new ones.
            raise TargetError(
                f"domain {name}, which would be replaced, is saved to be gone on with",
                f"start it and shut it down (or virsh managedsave-remove {name})",
            )
        if wish.force or _is_ours(known, vm):
            continue
        if name == names.safe(vm.name):
            raise TargetError(
                f"a domain {name} exists already and is not of this VM",
                "give the VM another name with --name, or replace it with --force",
            )
        raise TargetError(
            f"domain {name} has the UUID of this VM, {known.UUIDString()}",
            f"undefine it (virsh undefine {name}), or replace it with --force",
        )


def _networks(connection: libvirt.virConnect, vm: VM, wish: Wish) -> Plan:
    """Return where the cards go: where they were, if this libvirt has that too."""

    def known(place: Place) -> bool:
        return _has(connection, place) is True

    default = networks.DEFAULT if known(networks.DEFAULT) else networks.USER
    return networks.plan(vm, wish.networks, known, default)


def _has(connection: libvirt.virConnect, place: Place) -> bool | None:
    """Whether there is *place*; None if that cannot be seen from here."""
    if place.kind == "bridge":
        # The test driver has no host whose bridges there could be.
        if not _is_local(connection) or connection.getType() == "TEST":
            return None
        return Path("/sys/class/net", place.name or "").exists()
    if place.kind == "network":
        return _network(connection, place) is not None
    return True


def _network(connection: libvirt.virConnect, place: Place) -> libvirt.virNetwork | None:
    try:
        return connection.networkLookupByName(place.name or "")
    except libvirt.libvirtError as e:
        # qemu:///session of an old libvirt has no networks at all.
        if e.get_error_code() in (
            libvirt.VIR_ERR_NO_NETWORK,
            libvirt.VIR_ERR_NO_SUPPORT,
        ):
            return None
        raise


def _refuse_missing(connection: libvirt.virConnect, plan: Plan, wish: Wish) -> None:
    """Raise TargetError for a network or bridge that there is not."""
    for card in plan.cards:
        if _has(connection, card.place) is False:
            known = [network.name() for network in connection.listAllNetworks()]
            raise TargetError(
                f"card {card.nic.mac} shall be on {card.place}, and there is none",
                "make it first, or name another with -n: network="
                f"{'|'.join(sorted(known)) or 'NAME'}, bridge=NAME or user",
            )
    for text in _idle(connection, plan.cards) if wish.start else ():
        raise TargetError(
            f"the VM cannot be started: {text}", "start the network first"
        )


def _idle(
    connection: libvirt.virConnect, cards: tuple[networks.Card, ...]
) -> Iterator[str]:
    """Yield a line for each network that must be started before the VM can be."""
    wanted = {card.place for card in cards if card.place.kind == "network"}
    for place in sorted(wanted, key=str):
        network = _network(connection, place)
        if network and not network.isActive():
            yield f"network {place.name} is not active (virsh net-start {place.name})"


def _refuse_firmware(connection: libvirt.virConnect, vm: VM) -> None:
    """Raise TargetError if the libvirt has no UEFI firmware and *vm* needs one."""
    said = _capabilities(connection, "qemu")
    if said is None or not machine.is_efi(vm):
        return
    firmware = said.xpath("os/enum[@name='firmware']/value[text()='efi']")
    secure = said.xpath("os/loader/enum[@name='secure']/value[text()='yes']")
    if not firmware or (vm.secure_boot and not secure):
        kind = "UEFI with secure boot" if vm.secure_boot else "UEFI"
        raise TargetError(
            f"{vm.name} boots by {kind}, and the libvirt has no firmware for that",
            "install ovmf (edk2-ovmf) there",
        )


def _host(connection: libvirt.virConnect) -> Host:
    """Return what the domains of this libvirt can have."""
    works = _kvm_works(connection)
    said = _capabilities(connection, "kvm" if works else "qemu")
    if said is None:
        return Host(kvm=works)
    passthrough = said.xpath(
        "cpu/mode[@name='host-passthrough'][@supported='yes']"
        "/enum[@name='hostPassthroughMigratable']/value[text()='on']"
    )
    tpm = said.xpath("devices/tpm/enum[@name='backendModel']/value[text()='emulator']")
    # As virt-install does: all that the host has, if the domain can still migrate.
    cpu: Literal["host-model", "host-passthrough"] = (
        "host-passthrough" if passthrough else "host-model"
    )
    # Only of this host can it be told, and only root may use it.
    vsock = connection.getURI() == "qemu:///system" and domain.VSOCK.exists()
    return Host(kvm=works, cpu=cpu, tpm=bool(tpm), vsock=vsock)


def _capabilities(connection: libvirt.virConnect, kind: str) -> etree._Element | None:
    """Return what domains of *kind* can have; None from the test driver."""
    if connection.getType() == "TEST":
        return None
    said = connection.getDomainCapabilities(None, "x86_64", "q35", kind, 0)
    return etree.fromstring(said.encode())


def _kvm_works(connection: libvirt.virConnect) -> bool:
    """Whether this libvirt's KVM runs guests: tried here, believed of another host."""
    offers = "<domain type='kvm'" in connection.getCapabilities()
    # Who may not open /dev/kvm cannot try, but the daemon may open it.
    can_try = _is_local(connection) and os.access("/dev/kvm", os.R_OK | os.W_OK)
    return offers and (kvm.usable() if can_try else True)


def _replaced(
    connection: libvirt.virConnect, vm: VM, xml: str, *, start: bool
) -> libvirt.virDomain:
    """Return a new domain in place of those in its way; all or nothing.

    Raises libvirtError, with the old domains defined as before.
    """
    old = _in_the_way(connection, vm)
    before = [(_xml(known), known.autostart()) for known in old]
    foreign = not all(_is_ours(known, vm) for known in old)
    created = None
    try:
        for known in old:
            if not _is_same(known, vm):
                _undefine(known, keep_nvram=True)
        created = connection.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
        if foreign:  # its boot entries, found under the same name, are not ours
            _undefine(created, keep_nvram=False)
            created = connection.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
        if start:
            created.create()
    except libvirt.libvirtError:
        if created:
            _undefine(created, keep_nvram=bool(old))
        for text, autostart in before:
            connection.defineXML(text).setAutostart(autostart)
        raise
    return created


def _is_same(known: libvirt.virDomain, vm: VM) -> bool:
    """Whether *known* becomes the domain of *vm* by being defined again."""
    return (known.name(), known.UUIDString()) == (
        names.safe(vm.name),
        machine.chosen_uuid(vm),
    )


def _undefine(known: libvirt.virDomain, *, keep_nvram: bool) -> None:
    flags = (
        libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    )
    if keep_nvram:
        flags |= libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM
    else:
        flags |= libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    try:
        known.undefineFlags(flags)
    except libvirt.libvirtError as e:
        # The test driver knows few flags.
        if e.get_error_code() != libvirt.VIR_ERR_INVALID_ARG:
            raise
        known.undefine()


def _refresh_pools(connection: libvirt.virConnect, made: machine.Machine) -> None:
    """Let the pools that the disks lie in see them."""
    folders = {str(Path(drive.path).parent) for drive in made.drives if drive.path}
    for folder in sorted(folders):
        # No pool there, or one that is not active: nothing that must know.
        with contextlib.suppress(libvirt.libvirtError):
            connection.storagePoolLookupByTargetPath(folder).refresh(0)
