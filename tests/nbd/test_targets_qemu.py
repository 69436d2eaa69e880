# SPDX-License-Identifier: GPL-2.0-or-later
"""The script of -t qemu: the file, and what really happens when it is run."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from target_vm import ID, MARK, MIB, OTHER_ID, boot_sector, disk, make_vm
from v2v import kvm
from v2v.document import VM, Devices, Guest, Layer, Removable, disk_id
from v2v.errors import TargetError
from v2v.targets import Wish, firmware, qemu

# Nothing but the sector's own write to the port gives this: (0x31 << 1) | 1.
ENDED_BY_GUEST = 0x63
DEBUG_EXIT = ("-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-no-reboot")

needs_ovmf = pytest.mark.skipif(
    not Path("/usr/share/qemu/firmware").is_dir(), reason="ovmf is not installed"
)


@pytest.fixture(autouse=True)
def no_kvm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kvm, "usable", lambda: False)


@pytest.fixture
def vm(tmp_path: Path) -> VM:
    """A VM that boots, in a folder whose name needs quoting."""
    folder = tmp_path / "it's a, $HOME"
    folder.mkdir()
    (folder / "web01-sda.raw").write_bytes(boot_sector())
    return make_vm(disks=(disk(0, folder),), nics=make_vm().nics, memory=128 * MIB)


def image(vm: VM, number: int = 0) -> Path:
    """Return the file of the VM's disk of that number, made or not."""
    first = vm.disks[0].target
    assert first
    assert first.path
    return Path(first.path).with_name(f"web01-{disk_id(number)}.raw")


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [script, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=90,
        cwd="/",
    )


@pytest.mark.parametrize(
    "devices",
    [
        {"block": "virtio", "net": "virtio", "rng": True, "balloon": True},
        {"block": "virtio", "net": "virtio", "transitional": True, "agent": True},
        {"block": "scsi", "net": "e1000e", "video": "virtio"},
        {"block": "sata", "net": "e1000", "video": "vga"},
        {"block": "ide", "net": "rtl8139", "machine": "pc", "rng": True},
        {"block": "scsi", "machine": "pc"},
        {"block": "sata", "machine": "pc"},
    ],
    ids=lambda chosen: "-".join(map(str, chosen.values())),
)
def test_the_script_boots_the_disk_from_every_bus(
    vm: VM, devices: dict[str, Any], requires: Callable[..., None]
) -> None:
    requires("qemu-system-x86_64")
    vm = vm.having(devices=Devices(**devices), removable=(Removable(type="cdrom"),))
    done = run(qemu.define(vm, Wish()).location, *DEBUG_EXIT)
    assert MARK in done.stdout, done.stderr
    assert done.returncode == ENDED_BY_GUEST


@pytest.mark.report("https://github.com/apache/cloudstack/issues/13241")
@pytest.mark.parametrize(
    "devices",
    [
        {"block": "sata", "usb": "ehci", "clock": "localtime"},
        {"block": "ide", "net": "rtl8139", "machine": "pc", "hyperv": False},
    ],
    ids=["7", "xp"],
)
def test_the_machine_for_windows_starts(
    vm: VM, devices: dict[str, Any], requires: Callable[..., None]
) -> None:
    requires("qemu-system-x86_64")
    guest = Guest(type="windows")
    vm = vm.having(guest=guest, devices=Devices(**devices))
    done = run(qemu.define(vm, Wish()).location, *DEBUG_EXIT)
    assert MARK in done.stdout, done.stderr
    assert done.returncode == ENDED_BY_GUEST


def test_the_boot_disk_may_be_the_last_of_many(
    vm: VM, requires: Callable[..., None]
) -> None:
    requires("qemu-system-x86_64")
    folder = image(vm).parent
    image(vm).rename(folder / "web01-sdi.raw")
    for number in range(8):
        image(vm, number).write_bytes(bytes(MIB))
    disks = (*(disk(i, folder) for i in range(8)), disk(8, folder, boot=1))
    vm = vm.having(disks=disks, devices=Devices(block="virtio"))
    done = run(qemu.define(vm, Wish()).location, *DEBUG_EXIT)
    assert MARK in done.stdout, done.stderr


def test_a_qcow2_disk_boots(vm: VM, requires: Callable[..., None]) -> None:
    requires("qemu-system-x86_64", "qemu-img")
    raw = str(image(vm))
    qcow2 = raw.replace(".raw", ".qcow2")
    convert = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow2]
    subprocess.run(convert, check=True)
    layer = Layer(server="qemu", path=qcow2, format="qcow2")
    vm = vm.having(disks=(vm.disks[0].having(target=layer),), devices=Devices())
    done = run(qemu.define(vm, Wish()).location, *DEBUG_EXIT)
    assert MARK in done.stdout, done.stderr


def test_the_folder_can_be_moved(
    vm: VM, tmp_path: Path, requires: Callable[..., None]
) -> None:
    requires("qemu-system-x86_64")
    script = Path(qemu.define(vm, Wish()).location)
    moved = script.parent.rename(tmp_path / "elsewhere")
    done = run(str(moved / script.name), *DEBUG_EXIT)
    assert MARK in done.stdout, done.stderr


def test_the_script_can_be_run_and_is_found_to_be_sound(vm: VM) -> None:
    path = Path(qemu.define(vm, Wish()).location)
    assert path.name == "web01.sh"
    assert path.stat().st_mode & 0o777 == 0o755
    subprocess.run(["sh", "-n", path], check=True)


def test_a_script_of_another_vm_is_refused_and_kept(vm: VM) -> None:
    first = Path(qemu.define(vm.having(id=OTHER_ID), Wish()).location)
    before = first.read_text()
    for step in (qemu.preflight, qemu.define):
        with pytest.raises(TargetError, match="is not of this VM"):
            step(vm, Wish())
    assert first.read_text() == before


def test_our_own_script_is_replaced(vm: VM) -> None:
    qemu.define(vm, Wish())
    made = qemu.define(vm.having(vcpus=2), Wish())
    assert "cores=2" in Path(made.location).read_text()


def test_force_replaces_a_script_of_another_vm(vm: VM) -> None:
    qemu.define(vm.having(id=OTHER_ID), Wish())
    made = qemu.define(vm, Wish(force=True))
    assert ID in Path(made.location).read_text()


def efi(vm: VM, **changes: Any) -> VM:
    return vm.having(firmware="efi", **changes)


def store(script: str) -> Path:
    return Path(script).with_name("web01_VARS.fd")


@needs_ovmf
def test_the_uefi_variables_are_the_pair_of_the_code(vm: VM) -> None:
    made = qemu.define(efi(vm, secure_boot=True), Wish())
    pair = firmware.choose("q35", secure_boot=True)
    assert store(made.location).read_bytes() == pair.vars.path.read_bytes()


@needs_ovmf
def test_the_uefi_variables_outlive_a_second_define(vm: VM) -> None:
    path = store(qemu.define(efi(vm), Wish()).location)
    with path.open("r+b") as file:
        file.write(b"a boot entry")
    qemu.define(efi(vm), Wish())
    assert path.read_bytes().startswith(b"a boot entry")


@needs_ovmf
def test_uefi_variables_of_another_vm_are_refused_and_kept(vm: VM) -> None:
    made = qemu.define(efi(vm, id=OTHER_ID), Wish())
    path = store(made.location)
    with path.open("r+b") as file:
        file.write(b"theirs")
    Path(made.location).unlink()
    with pytest.raises(TargetError, match=r"web01_VARS\.fd exists already"):
        qemu.preflight(efi(vm), Wish())
    assert path.read_bytes().startswith(b"theirs")


@needs_ovmf
def test_a_define_that_broke_off_before_the_script_can_be_done_again(vm: VM) -> None:
    made = qemu.define(efi(vm), Wish())
    Path(made.location).unlink()
    assert qemu.define(efi(vm), Wish()).location == made.location


@needs_ovmf
def test_forced_in_place_of_another_vm_the_variables_are_fresh(vm: VM) -> None:
    path = store(qemu.define(efi(vm, id=OTHER_ID), Wish()).location)
    fresh = path.read_bytes()
    with path.open("r+b") as file:
        file.write(b"theirs")
    qemu.define(efi(vm), Wish(force=True))
    assert path.read_bytes() == fresh


def test_no_uefi_firmware_is_found_out_before_data_moves(
    vm: VM, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(firmware, "_PLACES", (str(tmp_path),))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(TargetError, match="no UEFI firmware"):
        qemu.preflight(efi(vm), Wish())


@contextmanager
def started(script: str) -> Iterator[IO[bytes]]:
    """Run *script*; yield its console, and end it on leaving."""
    child = subprocess.Popen([script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert child.stdout
    try:
        yield child.stdout
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def seen(console: IO[bytes], text: bytes, seconds: float) -> bool:
    """Whether *text* comes on *console* within so many seconds."""
    os.set_blocking(console.fileno(), False)
    said = b""
    end = time.monotonic() + seconds
    while time.monotonic() < end and text not in said:
        said += console.read() or b""
        time.sleep(0.1)
    return text in said


@needs_ovmf
@pytest.mark.boot
@pytest.mark.parametrize("secure_boot", [False, True])
def test_uefi_starts_and_tries_the_disk_first(
    vm: VM, secure_boot: bool, requires: Callable[..., None]
) -> None:
    requires("qemu-system-x86_64")
    vm = efi(vm, secure_boot=secure_boot, devices=Devices(block="virtio"))
    script = qemu.define(vm, Wish()).location
    with started(script) as console:
        # "failed to load Boot0001 … from PciRoot(0x0)/Pci(0x10,0x0)": it is no EFI disk
        assert seen(console, b"/Pci(0x10,0x0)", 90)
