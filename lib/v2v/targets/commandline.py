# SPDX-License-Identifier: GPL-2.0-or-later
"""The qemu command line of a machine, as a shell script: pure, no I/O.

Drives are -blockdev nodes, whose format is said and whose backing is none, and
bootindex= is on devices: -drive does not take it (virt-v2v issue 154).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from v2v import names
from v2v.targets.firmware import Firmware
from v2v.targets.machine import IDE_DRIVES, Drive, Machine
from v2v.targets.networks import Card

VARIABLES = "_VARS.fd"

_AHCI_PORTS = 6
_SCSI_TARGETS = 256
# Virtio disks are functions of PCI slots 0x10 and up: 8 in each, so that there is
# room for 96 of them.
_FIRST_SLOT, _FUNCTIONS = 0x10, 8
_NETS = {"e1000e": "e1000e", "e1000": "e1000", "rtl8139": "rtl8139"}
_VIDEO = {"virtio": "virtio-vga", "vga": "VGA", "bochs": "bochs-display"}

# The same as a domain of libvirt has.
_ENLIGHTENMENTS = (
    *("hv_relaxed", "hv_vapic", "hv_spinlocks=0x1fff", "hv_vpindex", "hv_runtime"),
    *("hv_time", "hv_synic", "hv_stimer", "hv_stimer_direct", "hv_reset"),
    *("hv_frequencies", "hv_tlbflush", "hv_ipi"),
)

_SCRIPT = """\
#!/bin/sh
# Boots {name} with qemu.  Its console is this terminal; what is given to the script
# goes to qemu, for instance -display gtk.  ACCEL=tcg does without KVM.
# v2v: document {id}
set -eu
cd -- "$(dirname -- "$0")"
{zone}accel=${{ACCEL:-{accel}}}
{kvm}case $accel in
    kvm*) cpu={kvm_cpu} ;;
    *) cpu=max ;;
esac
exec "${{QEMU:-qemu-system-x86_64}}" \\
{arguments} \\
    "$@"
"""

# KVM has worked where the VM was converted; the script may run elsewhere.
_TRY_KVM = """\
if [ "$accel" = auto ]; then
    if [ -w /dev/kvm ]; then accel=kvm; else accel=tcg; fi
fi
"""


def script(machine: Machine, build: Firmware | None, folder: Path, *, kvm: bool) -> str:
    """Return the script that boots *machine*, to be put into *folder*.

    ``build`` is the firmware of a machine that boots by UEFI; ``kvm``: whether KVM is
    to be used where there is one.
    """
    lines = [shlex.join(words) for words in _arguments(machine, build, folder)]
    lines[1:1] = ['-accel "$accel" -cpu "$cpu"']
    return _SCRIPT.format(
        name=names.safe(machine.vm.name),
        id=machine.vm.id,
        zone=f"export TZ={machine.zone}\n" if machine.zone else "",
        accel="auto" if kvm else "tcg",
        kvm=_TRY_KVM if kvm else "",
        kvm_cpu=_kvm_cpu(machine),
        arguments=" \\\n".join(f"    {line}" for line in lines),
    )


def _kvm_cpu(machine: Machine) -> str:
    return ",".join(["host", *_ENLIGHTENMENTS]) if machine.hyperv else "host"


def _arguments(
    machine: Machine, build: Firmware | None, folder: Path
) -> Iterator[list[str]]:
    """Yield the arguments in groups, one for each line."""
    vm = machine.vm
    yield [
        "-name",
        f"guest={_value(names.safe(vm.name))}",
        "-nodefaults",
        "-no-user-config",
    ]
    yield ["-machine", ",".join(_machine(machine, build))]
    yield ["-m", f"{-(-vm.memory // 1024)}K", "-smp", _smp(machine)]
    if machine.uuid:
        yield ["-uuid", machine.uuid]
    yield ["-rtc", _clock(machine)]
    if build:
        yield from _flash(machine, build)
    yield from _drives(machine, folder)
    for number, card in enumerate(machine.cards):
        yield from _card(machine, card, number)
    yield from _others(machine)


def _clock(machine: Machine) -> str:
    # Windows counts ticks: those that it missed are made up for, as in a domain.
    made_up = ",driftfix=slew" if machine.windows else ""
    return f"base={machine.clock}{made_up}"


def _machine(machine: Machine, build: Firmware | None) -> Iterator[str]:
    yield machine.kind
    yield "vmport=off"
    if machine.windows:
        yield "hpet=off"
    if build:
        yield "pflash0=code"
        yield "pflash1=vars"
    if build and build.smm:
        yield "smm=on"


def _smp(machine: Machine) -> str:
    shape = machine.topology
    dies = f",dies={shape.dies}" if shape.dies > 1 else ""
    return (
        f"{machine.vm.vcpus},sockets={shape.sockets}{dies},cores={shape.cores},"
        f"threads={shape.threads}"
    )


def _flash(machine: Machine, build: Firmware) -> Iterator[list[str]]:
    store = f"./{names.safe(machine.vm.name)}{VARIABLES}"
    yield _node("code", build.code.path, build.code.format, readonly=True)
    yield _node("vars", store, build.vars.format)
    if build.smm:
        # The guest must not write the variables but through the firmware.
        yield ["-global", "driver=cfi.pflash01,property=secure,value=on"]


def _node(
    name: str, path: Path | str, format_: str, *, readonly: bool = False, **more: Any
) -> list[str]:
    """Return the -blockdev of an image file, as JSON: so no comma ends a name."""
    file: dict[str, Any] = {"driver": "file", "filename": str(path)}
    node: dict[str, Any] = {"node-name": name, "driver": format_}
    if readonly:
        node["read-only"] = file["read-only"] = True
        node["auto-read-only"] = file["auto-read-only"] = False
    if format_ == "qcow2":
        node["backing"] = None
    if more.get("discard"):
        file["discard"] = "unmap"
    return ["-blockdev", json.dumps({**node, **more, "file": file})]


def _drives(machine: Machine, folder: Path) -> Iterator[list[str]]:
    yield from _controllers(machine)
    for bus in ("virtio", "scsi", "sata", "ide"):
        for number, drive in enumerate(machine.drives_on(bus)):
            if drive.image:
                discard = {"discard": "unmap"} if drive.sparse else {}
                yield _node(
                    drive.name,
                    _beside(drive.path, folder),
                    drive.image.format,
                    readonly=drive.readonly,
                    **discard,
                )
            yield ["-device", _drive(machine, drive, number)]


def _beside(path: str, folder: Path) -> str:
    """Return *path* as seen from *folder*, if it is in that: both can be moved."""
    file = PurePosixPath(path)
    return f"./{file.name}" if file.parent == PurePosixPath(folder) else path


def _controllers(machine: Machine) -> Iterator[list[str]]:
    if machine.drives_on("scsi"):
        yield ["-device", f"{_virtio(machine, 'virtio-scsi-pci')},id=scsi0"]
    ports = len(machine.drives_on("sata"))
    built_in = 1 if machine.kind == "q35" else 0
    for number in range(built_in, -(-ports // _AHCI_PORTS)):
        yield ["-device", f"ich9-ahci,id=ahci{number}"]


def _drive(machine: Machine, drive: Drive, number: int) -> str:
    """Return the device of *drive*, the *number*-th on its bus."""
    words = [_place(machine, drive, number)]
    if drive.image:
        words.append(f"drive={drive.name}")
    if drive.logical_block_size != 512:
        size = drive.logical_block_size
        words += [f"logical_block_size={size}", f"physical_block_size={size}"]
    if drive.boot:
        words.append(f"bootindex={drive.boot}")
    if drive.serial:
        words.append(f"serial={drive.serial}")
    if drive.shared:
        words.append("share-rw=on")
    return ",".join(words)


def _place(machine: Machine, drive: Drive, number: int) -> str:
    """Return the device's model and where it is plugged in."""
    kind = "hd" if drive.image else "cd"
    if drive.bus == "virtio":
        slot, function = divmod(number, _FUNCTIONS)
        where = f"addr={_FIRST_SLOT + slot:#x}.{function},multifunction=on"
        return f"{_virtio(machine, 'virtio-blk-pci')},{where}"
    if drive.bus == "scsi":
        lun, target = divmod(number, _SCSI_TARGETS)
        return f"scsi-{kind},bus=scsi0.0,scsi-id={target},lun={lun}"
    if drive.bus == "ide":
        channel, unit = divmod(number, IDE_DRIVES // 2)
        return f"ide-{kind},bus=ide.{channel},unit={unit}"
    controller, port = divmod(number, _AHCI_PORTS)
    built_in = machine.kind == "q35" and controller == 0
    return f"ide-{kind},bus={'ide' if built_in else f'ahci{controller}'}.{port}"


def _virtio(machine: Machine, model: str) -> str:
    old = machine.devices.transitional and machine.kind == "q35"
    return f"{model}-transitional" if old else model


def _card(machine: Machine, card: Card, number: int) -> Iterator[list[str]]:
    model = _NETS.get(machine.devices.net) or _virtio(machine, "virtio-net-pci")
    device = [model, f"mac={card.nic.mac}"]
    # A card that was not plugged in has no peer, which qemu shows as no link.
    if card.nic.connected:
        bridge = (
            f"bridge,br={card.place.name}" if card.place.kind == "bridge" else "user"
        )
        yield ["-netdev", f"{bridge},id=net{number}"]
        device.append(f"netdev=net{number}")
    if order := machine.boots.get(card.nic.mac):
        device.append(f"bootindex={order}")
    yield ["-device", ",".join(device)]


def _others(machine: Machine) -> Iterator[list[str]]:
    devices = machine.devices
    yield from _usb(machine)
    yield ["-device", "usb-tablet,bus=usb.0"]
    yield ["-device", _VIDEO[devices.video], "-display", "none"]
    if devices.rng:
        yield ["-object", "rng-random,id=rng0,filename=/dev/urandom"]
        yield ["-device", f"{_virtio(machine, 'virtio-rng-pci')},rng=rng0"]
    if devices.balloon:
        yield ["-device", _virtio(machine, "virtio-balloon-pci")]
    if devices.pvpanic:
        yield ["-device", "pvpanic"]
    if devices.agent:
        # Short, and not after the VM: a socket's path has 108 bytes.
        path = f"{machine.vm.id[:8]}.agent"
        yield ["-chardev", f"socket,id=agent,path={path},server=on,wait=off"]
        yield ["-device", _virtio(machine, "virtio-serial-pci")]
        port = "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"
        yield ["-device", port]
    yield ["-serial", "stdio"]


def _usb(machine: Machine) -> Iterator[list[str]]:
    if machine.kind != "q35":
        yield ["-device", "piix3-usb-uhci,id=usb"]
    elif machine.devices.usb == "xhci":
        yield ["-device", "qemu-xhci,id=usb"]
    else:
        # Functions of one PCI device, as in the chip: those of USB 1 share its ports.
        yield ["-device", "ich9-usb-ehci1,id=usb,addr=0x1d.7,multifunction=on"]
        for number in range(3):
            words = f"masterbus=usb.0,firstport={2 * number},addr=0x1d.{number}"
            shared = ",multifunction=on" if number == 0 else ""
            yield ["-device", f"ich9-usb-uhci{number + 1},{words}{shared}"]


def _value(text: str) -> str:
    """Return *text* as a value in an option of qemu: a comma would end it."""
    return text.replace(",", ",,")
