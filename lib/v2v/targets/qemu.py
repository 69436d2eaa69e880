# SPDX-License-Identifier: GPL-2.0-or-later
"""A shell script that boots the VM with qemu, for those who need no libvirt.

NAME.sh lies beside the disks and can be moved with them; NAME_VARS.fd keeps the UEFI
variables, boot entries above all, from one run to the next.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

from v2v import kvm, names
from v2v.document import VM, Defined
from v2v.errors import TargetError
from v2v.targets import Wish, commandline, firmware, machine, networks
from v2v.targets.firmware import Firmware
from v2v.targets.local import content, foreign, place, write
from v2v.targets.machine import Machine
from v2v.targets.networks import Place, Plan

log = logging.getLogger(__name__)

_OWNER = re.compile(rb"^# v2v: document ([0-9a-zA-Z-]+)$", re.MULTILINE)


def check(wish: Wish) -> None:
    """See targets.Target."""
    networks.rules(wish.networks)


def preflight(vm: VM, wish: Wish) -> None:
    """See targets.Target."""
    machine.refuse(vm)
    _networks(vm, wish)
    _firmware(vm)
    _refuse_foreign(vm, wish)


def define(vm: VM, wish: Wish) -> Defined:
    """See targets.Target."""
    made = machine.of(vm, _networks(vm, wish))
    build = _firmware(vm)
    _refuse_foreign(vm, wish)
    script = place(vm, wish, ".sh")
    if build:
        _store(vm, wish, build)
    text = commandline.script(made, build, script.parent, kvm=kvm.usable())
    write(script, text.encode(), mode=0o755)
    for line in (*made.warnings, *_differences(made)):
        log.warning("%s: warning: %s", vm.name, line)
    return Defined(
        kind="qemu", name=names.safe(vm.name), location=str(script), uuid=made.uuid
    )


def _networks(vm: VM, wish: Wish) -> Plan:
    """Return where the cards go: qemu alone knows no networks, so as users do."""

    def known(place: Place) -> bool:
        return False

    return networks.plan(vm, wish.networks, known, networks.USER)


def _firmware(vm: VM) -> Firmware | None:
    """Return the UEFI firmware for *vm*, if it needs one.  Raises TargetError."""
    if not machine.is_efi(vm):
        return None
    kind = machine.kind(vm)
    return firmware.choose(kind, secure_boot=vm.secure_boot, arch="x86_64")


def _refuse_foreign(vm: VM, wish: Wish) -> None:
    """Raise TargetError if the script, or the variables, are of another VM."""
    if wish.force:
        return
    script, store = place(vm, wish, ".sh"), _variables(vm, wish)
    there = content(script)
    if there is not None:
        mark = _OWNER.search(there)
        if not mark or mark[1].decode() != vm.id:
            raise foreign(script)
    elif machine.is_efi(vm) and store.exists() and not _is_fresh(vm, store):
        raise foreign(store)


def _variables(vm: VM, wish: Wish) -> Path:
    return place(vm, wish, commandline.VARIABLES)


def _is_fresh(vm: VM, store: Path) -> bool:
    """Whether *store* is a copy that nothing ran with: of a define that broke off."""
    build = _firmware(vm)
    return build is not None and content(store) == content(build.vars.path)


def _store(vm: VM, wish: Wish, build: Firmware) -> None:
    """Make the store for the UEFI variables; the one that this VM had stays."""
    store = _variables(vm, wish)
    ours = content(place(vm, wish, ".sh"))
    mark = _OWNER.search(ours) if ours else None
    empty = content(build.vars.path)
    if empty is None:
        raise TargetError(f"{build.vars.path}: no such file", "install ovmf again")
    kept = content(store)
    # One of another size is of another build of the firmware, which would not start.
    if kept and len(kept) == len(empty) and mark and mark[1].decode() == vm.id:
        return
    write(store, empty)


def _differences(made: Machine) -> list[str]:
    """Return what the script cannot give that was asked for, or that the VM had."""
    found = [
        f"card {mac} goes behind qemu's own router, which does not reach {there}"
        for mac, there in ((card.nic.mac, card.place) for card in made.cards)
        if there.kind == "network"
    ]
    if made.tpm:
        found.append("the script has no TPM")
    return found
