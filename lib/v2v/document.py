# SPDX-License-Identifier: GPL-2.0-or-later
"""The VM document: all that the stages know of one VM.

The one place that defines it; the JSON Schema (schema/vm.json) is generated from
here and v2v-document(5) is checked against it.  Sizes are bytes.  Names and values
are libvirt's words where libvirt has one.  A field that this version does not know
is kept and written back, so that an old stage may stand between two newer ones.

pydantic was chosen over msgspec (drops unknown fields) and bare dataclasses (no
schema, hand-made errors); typer requires it anyway and both load in under 0.2 s.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from v2v.errors import StreamError

VERSION = 1

Firmware = Literal["bios", "efi"]
Bus = Literal["ide", "scsi", "sata", "nvme", "virtio", "usb", "xen", "unknown"]
Severity = Literal["block", "warn", "info"]
LayerName = Literal["source", "overlay", "endpoint", "target"]
Format = Literal["raw", "qcow2", "vmdk", "vpc", "vhdx", "vdi", "parallels"]
Mac = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{2}:){5}[0-9a-f]{2}$")]
DiskId = Annotated[str, StringConstraints(pattern=r"^sd[a-z]+$")]
# Used as a file name by --state and the work folder, so no separators and no dots.
VmId = Annotated[str, StringConstraints(pattern=r"^[0-9a-zA-Z][0-9a-zA-Z-]{0,63}$")]
# Ends up in file names, XML and logs: no control characters, no NUL.
Name = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Size = Annotated[int, Field(ge=0)]
# Of a disk, in bytes: no guest has been seen with others, nor can they be looked into.
BlockSize = Literal[512, 4096]


class Record(BaseModel):
    """A value of the document; unknown fields stay, and nothing changes in place."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    def having(self, **changes: Any) -> Self:
        """Return a copy in which *changes* hold; the fields are not checked again."""
        return self.model_copy(update=changes)


class Stretch(Record):
    """A part of a file; bytes."""

    offset: Size
    length: Size


class Chunk(Record):
    """A piece of an image that is stored in several: ``length`` bytes of a file.

    Of a disk in several images (server ``split``) it is an image of ``format``, which
    holds ``length`` bytes at ``at`` of the disk.  Of two with the same ``at``, the
    first lies over the other: it holds only what differs.
    """

    path: str
    format: Format = "raw"
    at: Size | None = None
    # What ``path`` is v2v's own view of, see Layer.
    origin: str | None = None
    stretch: Stretch | None = None
    offset: Size = 0
    length: Size


class File(Record):
    """One file of a chain of disk images."""

    path: str
    format: Format
    # What ``path`` is v2v's own view of, see Layer.
    origin: str | None = None
    stretch: Stretch | None = None
    # A part of the file, or an image in pieces, as of a Layer.
    offset: Size | None = None
    length: Size | None = None
    parts: tuple[Chunk, ...] = ()


class Digest(Record):
    """What a package says of a file in it: ``length`` bytes at ``offset`` of ``path``.

    ``value`` is in lower-case hexadecimal digits; ``name`` and ``said_by`` are what the
    package calls the file and its list of digests.
    """

    path: str
    # What ``path`` is v2v's own view of, see Layer.
    origin: str | None = None
    stretch: Stretch | None = None
    offset: Size = 0
    length: Size
    algorithm: Literal["sha1", "sha224", "sha256", "sha384", "sha512"]
    value: str
    name: str
    said_by: str


class Layer(Record):
    """A place where a disk's bytes are, as an address and not a path.

    ``server`` names a module of v2v.servers.  The topmost layer, the one that no
    other lies over, is where the bytes are.
    """

    server: Literal["file", "qemu", "nbd", "blank", "xva", "vma", "split"]
    path: str | None = None
    format: Format = "raw"
    over: LayerName | None = None
    # Parents of a differencing image (VMDK snapshots), nearest first.
    backing: tuple[File, ...] = ()
    # A part of a file, for members of an OVA: bytes.
    offset: Size | None = None
    length: Size | None = None
    # In place of the file at ``path``, which is the first one's: the image in pieces.
    parts: tuple[Chunk, ...] = ()
    # The disk's name in a container of several, in which ``length`` is its size; as it
    # is of a disk in several images.
    member: str | None = None
    # What ``path`` is v2v's own view of: a packed file, or a URL (without secrets);
    # of its content that was a member of an archive, the stretch.
    origin: str | None = None
    stretch: Stretch | None = None
    uri: str | None = None
    host: str | None = None
    readonly: bool = True
    tls: Literal["psk", "x509"] | None = None
    tls_user: str | None = None
    # Which generation of the disk's bytes this is; see LogEntry.
    generation: int = 0
    allocated: Size | None = None
    verified: bool | None = None
    # Compared while the layer is copied.
    digests: tuple[Digest, ...] = ()


class Disk(Record):
    """One hard disk, and the layers in which its content can be found.

    ``id`` is sda, sdb … sdz, sdaa in the guest's order; ``slot`` keeps the source's
    own spelling (scsi0:1).
    """

    id: DiskId
    bus: Bus = "unknown"
    model: str | None = None
    slot: str | None = None
    boot: int | None = None
    size: Size | None = None
    # Of how many bytes the guest's sectors are: partition tables count them.
    logical_block_size: BlockSize = 512
    serial: str | None = None
    readonly: bool = False
    shared: bool = False
    source: Layer | None = None
    overlay: Layer | None = None
    endpoint: Layer | None = None
    target: Layer | None = None


class Nic(Record):
    """One network card.  Every one has a MAC address from inspect on."""

    mac: Mac
    mac_source: Literal["static", "generated", "made"] = "static"
    model: str | None = None
    type: Literal["bridge", "network", "user", "direct", "internal", "none"] = "bridge"
    network: str | None = None
    slot: str | None = None
    pci_slot: int | None = None
    vlan: int | None = None
    connected: bool = True
    boot: int | None = None


class Removable(Record):
    """A CD or floppy drive; ``path`` is the medium in it, if any."""

    type: Literal["cdrom", "floppy"]
    bus: Bus = "unknown"
    slot: str | None = None
    path: str | None = None
    connected: bool = True


class Display(Record):
    """How a person sees the machine.  Passwords are never taken over."""

    type: Literal["vnc", "spice", "sdl", "none"] = "vnc"
    keymap: str | None = None


class Cpu(Record):
    """The processor's topology and model."""

    sockets: int | None = None
    dies: int | None = None
    cores: int | None = None
    threads: int | None = None
    model: str | None = None
    nested: bool = False


class Source(Record):
    """Where the description came from: for people and messages."""

    kind: str
    location: str
    host: str | None = None
    producer: str | None = None
    hw_version: str | None = None
    os_hint: str | None = None
    # Changes whenever a file of the source does: size and time of each.
    fingerprint: str | None = None


class Finding(Record):
    """What blocks, endangers or changes the move, with what to do about it."""

    code: str
    severity: Severity
    message: str
    remedy: str = ""
    disk: str | None = None


class Kernel(Record):
    """A kernel installed in the guest, and which drivers it has for KVM."""

    version: str
    path: str
    initramfs: str | None = None
    # Driver names: in the kernel or its modules; and reachable while booting.
    drivers: tuple[str, ...] = ()
    initramfs_drivers: tuple[str, ...] = ()
    # Whether the boot loader starts it, if asked; and if nobody chooses.
    offered: bool = False
    default: bool = False


class Filesystem(Record):
    """A file system, swap area or other content of a guest's block device.

    ``container`` is the encrypted device that was opened to reach it; ``partuuid`` the
    UUID of the partition that it fills; ``needed`` the bytes that fixup writes there.
    """

    device: str
    type: str
    uuid: str | None = None
    partuuid: str | None = None
    label: str | None = None
    size: Size | None = None
    free: Size | None = None
    needed: Size | None = None
    mountpoint: str | None = None
    container: str | None = None


class Interface(Record):
    """What the guest's own configuration says of one network interface."""

    name: str
    config: str
    method: Literal["static", "dhcp", "manual", "unknown"] = "unknown"
    addresses: tuple[str, ...] = ()
    mac: str | None = None
    gateways: tuple[str, ...] = ()
    nameservers: tuple[str, ...] = ()


class Verdict(Record):
    """Whether a Windows guest finds its disk on a bus, and why (not)."""

    bus: Literal["virtio", "scsi", "sata", "ide", "nvme"]
    boots: bool
    reason: str = ""


class Drive(Record):
    """A volume that Windows has a ``letter`` for (C:), by what that hangs on.

    The GUID of a GPT's partition, or the MBR's ``signature`` and the ``offset`` of the
    volume in bytes.
    """

    letter: str
    partition: str | None = None
    signature: int | None = None
    offset: int | None = None


class Windows(Record):
    """What only Windows has.

    ``id`` tells the versions apart (win7, win2k22), by the ``build``; ``control_set``
    is the one in use; ``system_root`` is as Windows names it (C:\\Windows).
    ``timezone`` is in the words of IANA; ``machine`` the UUID (SMBIOS) of the machine
    that it ran on last.
    """

    id: str
    build: int
    # As Windows writes them behind each other: 22H2, and 19045.3324.
    release: str | None = None
    patch: int | None = None
    edition: str | None = None
    installation: Literal["client", "server", "server-core", "nano"] = "client"
    control_set: str = "ControlSet001"
    system_root: str = "C:\\Windows"
    timezone: str | None = None
    machine: str | None = None
    drives: tuple[Drive, ...] = ()


class Guest(Record):
    """What is installed on the disks."""

    type: str = "unknown"
    distro: str | None = None
    product: str | None = None
    version: str | None = None
    arch: str | None = None
    hostname: str | None = None
    root: str | None = None
    roots: tuple[str, ...] = ()
    package_format: str | None = None
    init: str | None = None
    firmware: Firmware | None = None
    bootloader: str | None = None
    filesystems: tuple[Filesystem, ...] = ()
    kernels: tuple[Kernel, ...] = ()
    tools: tuple[str, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    serial_console: bool = False
    windows: Windows | None = None
    # Of Windows: by bus, from what its registry says; none where it was not read.
    verdicts: tuple[Verdict, ...] = ()


class Devices(Record):
    """The hardware that the guest can drive after fixup: define builds this."""

    block: Literal["virtio", "scsi", "sata", "ide", "nvme"] = "sata"
    net: Literal["virtio", "e1000e", "e1000", "rtl8139"] = "e1000e"
    video: Literal["virtio", "vga", "bochs"] = "vga"
    machine: Literal["q35", "pc"] = "q35"
    transitional: bool = False
    rng: bool = False
    balloon: bool = False
    pvpanic: bool = False
    vsock: bool = False
    serial: bool = True
    agent: bool = False
    clock: Literal["utc", "localtime"] = "utc"
    # Of the USB controller on q35; what is older than Windows 8 has no driver for xhci.
    usb: Literal["xhci", "ehci"] = "xhci"
    # Whether a Windows may be told that it runs on a hypervisor.
    hyperv: bool = True
    # Whether it needs a TPM, though its old machine had none.
    tpm: bool = False
    # The most sockets that the guest uses; None: any number.
    sockets: Annotated[int, Field(ge=1)] | None = None
    # The target that they were chosen for (v2v-fixup --for).
    made_for: str = "libvirt"


class Change(Record):
    """One thing that fixup did to the guest, or (in a plan) would do."""

    path: str
    kind: Literal["edit", "create", "delete", "link", "run"]
    reason: str
    before: str | None = None
    after: str | None = None


class Defined(Record):
    """The VM that define has created."""

    kind: str
    name: str
    location: str
    uuid: str | None = None


class LogEntry(Record):
    """That a stage has done its work on this VM.

    ``took`` is the generation of the disks' bytes that it worked on and ``made``
    the one that it left; they differ for a stage that wrote new bytes.
    """

    stage: str
    version: str
    host: str
    started: str
    ended: str
    took: int = 0
    made: int = 0
    bytes: int | None = None
    warnings: tuple[str, ...] = ()


class Failure(Record):
    """Why a VM went no further.  ``code`` is the exit status of its class."""

    stage: str
    code: int
    message: str
    remedy: str = ""


class Grant(Record):
    """A folder whose files the stages may open, vouched for by the one who granted it.

    ``seal`` can be made only with this user's key on this host (see v2v.paths), so a
    document from elsewhere cannot widen what may be opened.
    """

    folder: str
    seal: str


class Busy(Record):
    """Who works on this VM now, in a --metadata or --state file."""

    stage: str
    host: str
    pid: int
    since: str


class VM(Record):
    """One virtual machine."""

    id: VmId
    name: Name
    uuid: str | None = None
    genid: str | None = None
    description: str | None = None
    arch: str = "x86_64"
    memory: Size
    vcpus: Annotated[int, Field(ge=1)] = 1
    cpu: Cpu = Cpu()
    firmware: Firmware = "bios"
    # False where the source did not say: the disks then decide.
    firmware_known: bool = True
    secure_boot: bool = False
    tpm: bool = False
    clock: Literal["utc", "localtime"] = "utc"
    display: Display = Display()
    video: str | None = None
    sound: str | None = None
    disks: tuple[Disk, ...] = ()
    removable: tuple[Removable, ...] = ()
    nics: tuple[Nic, ...] = ()
    passthrough: tuple[str, ...] = ()
    source: Source
    grants: tuple[Grant, ...] = ()
    findings: tuple[Finding, ...] = ()
    guest: Guest | None = None
    devices: Devices | None = None
    changes: tuple[Change, ...] = ()
    target: Defined | None = None
    generation: int = 0
    log: tuple[LogEntry, ...] = ()
    error: Failure | None = None
    busy: Busy | None = None

    @model_validator(mode="after")
    def _disks_are_distinct(self) -> Self:
        ids = [disk.id for disk in self.disks]
        if len(ids) != len(set(ids)):
            raise ValueError(f"two disks have the same id: {', '.join(ids)}")
        return self


class EndError(Record):
    """Why a stage gave up, in its ``end`` record."""

    stage: str
    code: int
    message: str
    remedy: str = ""


class End(Record):
    """The counts that close a stream."""

    vms: int = 0
    failed: int = 0
    error: EndError | None = None


def encode(value: Record) -> dict[str, Any]:
    """Return the JSON form of *value*; a field that has its default is left out."""
    data: dict[str, Any] = value.model_dump(mode="json", exclude_defaults=True)
    return data


def encode_vm(vm: VM) -> dict[str, Any]:
    """Return the JSON form of *vm*, with the fields that jq users rely on present."""
    always = {"vcpus": vm.vcpus, "firmware": vm.firmware}
    lists: dict[str, Any] = {"disks": [], "nics": []}
    return always | lists | encode(vm)


def decode(data: Any) -> VM:
    """Return *data*, as read by json.loads, as a VM.

    Raises StreamError, which names the place in the document.
    """
    try:
        # "Lax" only in that JSON's lists become tuples; types stay strict.
        return VM.model_validate_json(_json(data))
    except ValidationError as e:
        raise StreamError(_first_mistake(e)) from e


def decode_end(data: Any) -> End:
    """Return *data* as the record that closes a stream.  Raises StreamError."""
    try:
        return End.model_validate_json(_json(data))
    except ValidationError as e:
        raise StreamError(_first_mistake(e)) from e


def _json(data: Any) -> str:
    import json

    return json.dumps(data)


def _first_mistake(e: ValidationError) -> str:
    """Return ``$.disks[0].bus: 'floppy' …`` for the first error of *e*."""
    error = e.errors(include_url=False)[0]
    place = "$" + "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]
    )
    given = error["input"]
    shown = f"{given!r:.60}: " if not isinstance(given, dict | list) else ""
    return f"{place}: {shown}{error['msg']}"


def disk_id(index: int) -> str:
    """Return the id of the *index*-th disk: sda, sdb … sdz, sdaa."""
    letters = ""
    index += 1
    while index:
        index, digit = divmod(index - 1, 26)
        letters = chr(ord("a") + digit) + letters
    return f"sd{letters}"


def top(disk: Disk) -> LayerName | None:
    """Return the name of the topmost layer of *disk*: where its bytes are.

    Raises StreamError if the layers of the document do not form one stack.
    """
    layers = stack(disk)
    return layers[-1] if layers else None


def stack(disk: Disk) -> list[LayerName]:
    """Return the names of the layers of *disk*, lowest first."""
    names: tuple[LayerName, ...] = ("source", "overlay", "endpoint", "target")
    over: dict[LayerName | None, LayerName] = {}
    for name in names:
        layer = layer_of(disk, name)
        if layer is None:
            continue
        if layer.over in over:
            raise StreamError(
                f"disk {disk.id}: {name} and {over[layer.over]} both lie over "
                f"{layer.over or 'nothing'}"
            )
        over[layer.over] = name
    found: list[LayerName] = []
    place: LayerName | None = None
    while place in over and len(found) < len(over):
        place = over[place]
        found.append(place)
    if len(found) != len(over):
        raise StreamError(f"disk {disk.id}: a layer lies over one that is not there")
    return found


def boot_disk(vm: VM) -> Disk | None:
    """Return the disk that *vm* starts from, if it has any: by order, or the first."""
    named = [disk for disk in vm.disks if disk.boot is not None]
    if named:
        return min(named, key=lambda disk: disk.boot or 0)
    return vm.disks[0] if vm.disks else None


def layer_of(disk: Disk, name: LayerName) -> Layer | None:
    """Return the layer of *disk* called *name*."""
    layer: Layer | None = getattr(disk, name)
    return layer


def next_generation(vm: VM) -> int:
    """Return the number for the bytes that a stage is about to write."""
    return 1 + max((vm.generation, *(entry.made for entry in vm.log)))


def ancestry(vm: VM) -> set[int]:
    """Return the generations whose work the present bytes of *vm* contain."""
    parents = {e.made: e.took for e in vm.log if e.made != e.took}
    found = {vm.generation}
    generation = vm.generation
    while generation in parents and parents[generation] not in found:
        generation = parents[generation]
        found.add(generation)
    return found


def is_live(vm: VM) -> bool:
    """Whether some endpoint of *vm* is still needed: no target lies over it."""
    for disk in vm.disks:
        names = stack(disk)
        if "endpoint" in names and "target" not in names[names.index("endpoint") :]:
            return True
    return False


def blocking(vm: VM, allowed: tuple[str, ...] = ()) -> Finding | None:
    """Return the first finding that forbids to go on, but for codes in *allowed*."""
    for finding in vm.findings:
        if finding.severity == "block" and finding.code not in allowed:
            return finding
    return None
