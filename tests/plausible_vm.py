# SPDX-License-Identifier: GPL-2.0-or-later
"""VMs as real hypervisors could have them: what round trips of descriptions start from.

document → a writer of the tests → the reader → document.  Each kind of description can
say only a part, so a test compares what ``said`` returns, less the keys that its kind
has no words for.
"""

import uuid
from collections.abc import Sequence
from typing import Any, Literal, get_args

from hypothesis import strategies as st

from v2v.document import VM, Bus, Cpu, Disk, Layer, Nic, Removable, Source, disk_id

MIB = 2**20
# As many controllers and units as VMware's machines have; unit 7 is the adapter's own.
_ROOM = {"scsi": (4, 16), "nvme": (4, 15), "sata": (4, 30), "ide": (2, 2)}
_ADAPTER = ("scsi", 7)
DEFAULT_BUSES: tuple[Bus, ...] = ("scsi", "nvme", "sata", "ide")
_CARDS = ("e1000", "e1000e", "vmxnet3", "vmxnet2", "virtio", "rtl8139")

# What people type: letters of any script, digits, marks; no blanks at the ends.
WORDS = st.text(
    st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=30
) | st.sampled_from(
    ["web 01", 'say "hi"', "a=b", "|22", "100%", "C:\\x", "<b>&amp;", "#1", "名前", "ü"]
)
FILES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9 _.()-]{0,20}[A-Za-z0-9]", fullmatch=True)
UUIDS = st.uuids().filter(lambda found: found.int).map(str)


@st.composite
def macs(draw: st.DrawFn) -> str:
    """Draw the address of a card: no group address, and not all zeros."""
    number = draw(st.integers(1, 2**48 - 1)) & ~(1 << 40)
    digits = f"{number or 2:012x}"
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2))


@st.composite
def cpus(draw: st.DrawFn) -> tuple[int, Cpu]:
    """Draw a number of processors and the sockets and cores that give it."""
    sockets, cores = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    nested = draw(st.booleans())
    shape = Cpu(sockets=sockets, cores=cores, threads=1, nested=nested)
    return sockets * cores, shape


@st.composite
def disks(
    draw: st.DrawFn, buses: Sequence[Bus] = DEFAULT_BUSES, suffix: str = ".vmdk"
) -> tuple[Disk, ...]:
    """Draw disks in slots like ``scsi0:1``: in the order of *buses*, then of slots.

    One of them is what the machine boots from, if there is any.
    """
    all_slots = [
        (bus, controller, unit)
        for bus in buses
        for controller in range(_ROOM[bus][0])
        for unit in range(_ROOM[bus][1])
        if (bus, unit) != _ADAPTER
    ]
    picked = draw(st.sets(st.integers(0, len(all_slots) - 1), max_size=6))
    names = draw(
        st.lists(
            FILES,
            min_size=len(picked),
            max_size=len(picked),
            unique_by=str.lower,
        )
    )
    boot = draw(st.integers(0, max(0, len(picked) - 1)))
    found = []
    for index, (number, name) in enumerate(zip(sorted(picked), names, strict=True)):
        bus, controller, unit = all_slots[number]
        found.append(
            Disk(
                id=disk_id(index),
                bus=bus,
                slot=f"{bus}{controller}:{unit}",
                boot=1 if index == boot else None,
                source=Layer(server="qemu", path=name + suffix, format="vmdk"),
            )
        )
    return tuple(found)


@st.composite
def nics(draw: st.DrawFn) -> tuple[Nic, ...]:
    """Draw network cards, each with an address of its own."""
    addresses = draw(st.lists(macs(), max_size=4, unique=True))
    return tuple(
        Nic(
            mac=address,
            mac_source=draw(st.sampled_from(["static", "generated"])),
            model=draw(st.sampled_from(_CARDS)),
            type="bridge",
            network=draw(WORDS),
            vlan=draw(st.none() | st.integers(1, 4094)),
            connected=draw(st.booleans()),
        )
        for address in addresses
    )


@st.composite
def drives(draw: st.DrawFn) -> tuple[Removable, ...]:
    """Draw CD drives with and without a medium, then at most two floppy drives."""
    cds = draw(st.lists(st.none() | FILES, max_size=2))
    floppies = draw(st.lists(st.none() | FILES, max_size=2))
    drawn = [("cdrom", name and f"{name}.iso") for name in cds]
    drawn += [("floppy", name and f"{name}.img") for name in floppies]
    return tuple(
        Removable.model_validate(
            {"type": kind, "path": path, "connected": draw(st.booleans())}
        )
        for kind, path in drawn
    )


@st.composite
def vms(
    draw: st.DrawFn, buses: Sequence[Bus] = DEFAULT_BUSES, suffix: str = ".vmdk"
) -> VM:
    """Draw a VM with disks on *buses* whose files end in *suffix*."""
    assert set(buses) <= set(get_args(Bus))
    vcpus, cpu = draw(cpus())
    firmware: Literal["bios", "efi"] = draw(st.sampled_from(["bios", "efi"]))
    return VM(
        id=str(uuid.uuid4()),
        name=draw(WORDS),
        uuid=draw(st.none() | UUIDS),
        genid=draw(st.none() | UUIDS),
        description=draw(st.none() | WORDS),
        memory=draw(st.integers(4, 2**20)) * MIB,
        vcpus=vcpus,
        cpu=cpu,
        firmware=firmware,
        secure_boot=firmware == "efi" and draw(st.booleans()),
        tpm=draw(st.booleans()),
        clock=draw(st.sampled_from(["utc", "localtime"])),
        disks=draw(disks(buses, suffix)),
        removable=draw(drives()),
        nics=draw(nics()),
        source=Source(kind="test", location="/plausible"),
    )


def said(vm: VM, *unsaid: str) -> dict[str, Any]:
    """Return what a description can say of *vm*, less the keys *unsaid*.

    A key is one of the result's or, for a part of each disk, drive or card, like
    ``disks.slot`` or ``nics.vlan``.
    """
    plain = {
        key: getattr(vm, key)
        for key in (
            *("name", "uuid", "genid", "description", "memory", "vcpus", "firmware"),
            *("secure_boot", "tpm", "clock"),
        )
    }
    cpu = (vm.cpu.sockets, vm.cpu.cores, vm.cpu.threads)
    lists = {
        "disks": [_disk(disk) for disk in vm.disks],
        "removable": [_fields(d, "type path connected") for d in vm.removable],
        "nics": [
            _fields(nic, "mac mac_source model type network vlan connected boot")
            for nic in vm.nics
        ],
    }
    told: dict[str, Any] = {**plain, "cpu": cpu, "nested": vm.cpu.nested, **lists}
    for key in unsaid:
        name, _, part = key.partition(".")
        if not part:
            del told[name]
        for item in told[name] if part else ():
            del item[part]
    return told


def _disk(disk: Disk) -> dict[str, Any]:
    path = disk.source.path if disk.source else None
    return {"file": path, **_fields(disk, "id bus slot boot")}


def _fields(value: object, names: str) -> dict[str, Any]:
    return {name: getattr(value, name) for name in names.split()}


# One that has a bit of everything: for tests of odd values in its description.
SAMPLE = VM(
    id="4b3c2d1e-0000-4000-8000-000000000003",
    name="web 01",
    uuid="564d1f2e-3c4b-5a69-7887-96a5b4c3d2e1",
    genid="9f47526f-7c91-13c6-f9b4-4b2edde4d6b0",
    description="a machine",
    memory=512 * MIB,
    vcpus=4,
    cpu=Cpu(sockets=2, cores=2, threads=1),
    firmware="efi",
    secure_boot=True,
    tpm=True,
    disks=(
        Disk(
            id="sda",
            bus="scsi",
            slot="scsi0:1",
            boot=1,
            source=Layer(server="qemu", path="a.vmdk", format="vmdk"),
        ),
        Disk(
            id="sdb",
            bus="ide",
            slot="ide0:0",
            source=Layer(server="qemu", path="b.vmdk", format="vmdk"),
        ),
    ),
    removable=(
        Removable(type="cdrom", path="tools.iso"),
        Removable(type="floppy"),
    ),
    nics=(
        Nic(mac="00:50:56:01:02:03", model="vmxnet3", network="VM Network"),
        Nic(mac="00:50:56:01:02:04", model="e1000", network="DMZ", vlan=7),
    ),
    source=Source(kind="test", location="/plausible"),
)
