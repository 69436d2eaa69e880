# SPDX-License-Identifier: GPL-2.0-or-later
"""VMs whose disks are in place, for tests of the targets; and a disk that boots."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lxml import etree

from v2v import sources
from v2v.document import VM, Disk, Layer, Nic, Source, disk_id
from v2v.errors import V2VError
from v2v.sources import Request
from v2v.targets import domain, machine, networks
from v2v.targets.domain import Host
from v2v.targets.machine import Machine

ID = "4b3c2d1e-0000-4000-8000-000000000001"
OTHER_ID = "4b3c2d1e-0000-4000-8000-000000000002"
MIB = 2**20
MARK = b"V2V-TARGET-BOOTED"


def make_vm(**changes: Any) -> VM:
    """Return a small VM of VMware with one disk in place and one card."""
    fields: dict[str, Any] = {
        "id": ID,
        "name": "web01",
        "memory": 512 * MIB,
        "disks": (disk(0),),
        "nics": (Nic(mac="00:50:56:01:02:03", network="VM Network"),),
        "source": Source(kind="vmx", location="/source/web01.vmx"),
    }
    return VM(**{**fields, **changes})


def disk(number: int, folder: Path | str = "/images", **changes: Any) -> Disk:
    """Return the disk of that number, a raw file in *folder*."""
    name = disk_id(number)
    fields: dict[str, Any] = {
        "id": name,
        "size": MIB,
        "target": Layer(server="file", path=f"{folder}/web01-{name}.raw", format="raw"),
    }
    return Disk(**{**fields, **changes})


def machine_of(vm: VM, *words: str) -> Machine:
    """Return the machine of *vm*, whose unmapped cards go to network=default."""
    plan = networks.plan(vm, words, lambda place: False, networks.DEFAULT)
    return machine.of(vm, plan)


def domain_of(vm: VM, *words: str, host: Host | None = None) -> etree._Element:
    """Return the domain of *vm*, which libvirt's schema accepts."""
    made = domain.domain(machine_of(vm, *words), host or Host())
    domain.validate(made)
    return made


def corpus(shared: Path) -> Iterator[VM]:
    """Yield the x86 machines of the corpus, as if their disks were in place."""
    for pattern in ("vmx/*.vmx", "ovf/*.ovf", "libvirt/*.xml"):
        for path in sorted(shared.glob(f"corpus/{pattern}")):
            for vm in _described(path):
                if vm.arch in ("x86_64", "i686") and vm.memory:
                    disks = (d.having(target=disk(0).target) for d in vm.disks)
                    yield vm.having(disks=tuple(disks))


def _described(path: Path) -> list[VM]:
    try:
        return list(sources.read(Request(location=str(path))))
    except V2VError:
        return []  # what can be read is the sources' own test


def boot_sector() -> bytes:
    """Return a disk of 1 MiB that says MARK on the serial port and ends qemu.

    It writes 0x31 to isa-debug-exit at 0xf4, so qemu's status is 0x63.
    """
    code = bytes.fromhex(
        "fa31c08ed8fc"  # cli; xor ax, ax; mov ds, ax; cld
        "be307c"  # mov si, 0x7c30
        "ac84c07411"  # next: lodsb; test al, al; jz done
        "88c3bafd03"  # mov bl, al; mov dx, 0x3fd
        "eca82074fb"  # wait: in al, dx; test al, 0x20; jz wait
        "b2f888d8ee"  # mov dl, 0xf8; mov al, bl; out dx, al
        "ebea"  # jmp next
        "b031e6f4f4"  # done: mov al, 0x31; out 0xf4, al; hlt
    )
    sector = code.ljust(0x30, b"\0") + MARK + b"\r\n"
    return (sector.ljust(510, b"\0") + b"\x55\xaa").ljust(MIB, b"\0")
