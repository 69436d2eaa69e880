# SPDX-License-Identifier: GPL-2.0-or-later
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from target_vm import ID, disk, machine_of, make_vm
from v2v.document import VM, Devices, Guest, Layer, Nic, Removable, Windows
from v2v.targets import commandline
from v2v.targets.firmware import Firmware, Image

FOLDER = Path("/images")
UEFI = Firmware(
    code=Image(path=Path("/fw/CODE.fd"), format="raw"),
    vars=Image(path=Path("/fw/VARS.fd"), format="raw"),
    smm=True,
)
HOSTILE = "a'b\"c,d $(touch /tmp/x) `id` \\ {name} %s"


def script(
    vm: VM, *words: str, build: Firmware | None = None, kvm: bool = False
) -> str:
    return commandline.script(machine_of(vm, *words), build, FOLDER, kvm=kvm)


def arguments(vm: VM, *words: str, build: Firmware | None = None) -> list[str]:
    """Return the arguments that the shell gives to qemu."""
    text = script(vm, *words, build=build).partition("exec ")[2]
    return shlex.split(text.replace("\\\n", " "))[1:-1]


def values(
    option: str, vm: VM, *words: str, build: Firmware | None = None
) -> list[str]:
    """Return what *option* is given, each time."""
    given = arguments(vm, *words, build=build)
    return [given[i + 1] for i, word in enumerate(given) if word == option]


def nodes(vm: VM, build: Firmware | None = None) -> dict[str, dict[str, Any]]:
    found = [json.loads(text) for text in values("-blockdev", vm, build=build)]
    return {node["node-name"]: node for node in found}


def devices(vm: VM, *words: str) -> list[str]:
    return values("-device", vm, *words)


def of(**chosen: Any) -> VM:
    return make_vm(devices=Devices(**chosen))


@pytest.mark.parametrize("kvm", [False, True])
@pytest.mark.parametrize(
    # SC2016 warns that nothing in a hostile name will be expanded: just so.
    ("name", "excluded"),
    [("web01", "SC0000"), (HOSTILE, "SC2016")],
)
def test_the_script_is_sound(
    kvm: bool, name: str, excluded: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.sh"
    vm = of(block="virtio", net="virtio", agent=True, rng=True, balloon=True)
    path.write_text(script(vm.having(name=name), kvm=kvm, build=UEFI))
    subprocess.run(["sh", "-n", path], check=True)
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    command = ["shellcheck", f"--exclude={excluded}", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_a_hostile_name_is_one_word_to_the_shell_and_one_value_to_qemu() -> None:
    (name,) = values("-name", make_vm(name=HOSTILE))
    assert name == "guest=" + re.sub(r"[/\\]", "_", HOSTILE).replace(",", ",,")


def test_a_name_cannot_break_out_of_the_comment() -> None:
    text = script(make_vm(name="x\nrm -rf /\n"))
    assert "\nrm" not in text


def test_what_the_user_adds_goes_to_qemu_last() -> None:
    assert script(make_vm()).endswith('"$@"\n')


def test_the_script_names_its_document() -> None:
    assert f"\n# v2v: document {ID}\n" in script(make_vm())


def test_kvm_is_not_the_default_where_it_did_not_work() -> None:
    text = script(make_vm(), kvm=False)
    assert "accel=${ACCEL:-tcg}" in text
    assert "/dev/kvm" not in text


def test_where_kvm_worked_the_script_still_looks_for_it() -> None:
    text = script(make_vm(), kvm=True)
    assert "accel=${ACCEL:-auto}" in text
    assert "-w /dev/kvm" in text


def test_a_disk_beside_the_script_can_move_with_it() -> None:
    assert nodes(make_vm())["sda"]["file"]["filename"] == "./web01-sda.raw"


def test_a_disk_elsewhere_is_named_in_full() -> None:
    vm = make_vm(disks=(disk(0, "/other"),))
    assert nodes(vm)["sda"]["file"]["filename"] == "/other/web01-sda.raw"


def test_a_disks_format_is_said_and_its_header_names_no_other_file() -> None:
    layer = Layer(server="qemu", path="/images/a,b.qcow2", format="qcow2")
    node = nodes(make_vm(disks=(disk(0, target=layer),)))["sda"]
    assert node["driver"] == "qcow2"
    assert node["backing"] is None
    assert node["file"]["filename"] == "./a,b.qcow2"


@pytest.mark.parametrize(
    ("chosen", "device"),
    [
        ({"block": "virtio"}, "virtio-blk-pci,addr=0x10.0"),
        ({"block": "virtio", "transitional": True}, "virtio-blk-pci-transitional,"),
        (
            {"block": "virtio", "transitional": True, "machine": "pc"},
            "virtio-blk-pci,addr",
        ),
        ({"block": "scsi"}, "scsi-hd,bus=scsi0.0,scsi-id=0,lun=0,"),
        ({"block": "sata"}, "ide-hd,bus=ide.0,"),
        ({"block": "sata", "machine": "pc"}, "ide-hd,bus=ahci0.0,"),
        ({"block": "ide", "machine": "pc"}, "ide-hd,bus=ide.0,unit=0,"),
    ],
)
def test_a_disk_is_on_the_bus_that_the_guest_can_drive(
    chosen: dict[str, Any], device: str
) -> None:
    (found,) = [text for text in devices(of(**chosen)) if "drive=" in text]
    assert found.startswith(device)
    assert "bootindex=1" in found


def test_the_seventh_sata_disk_is_on_another_controller() -> None:
    vm = make_vm(disks=tuple(disk(i) for i in range(7)), devices=Devices())
    assert "ich9-ahci,id=ahci1" in devices(vm)
    assert "ide-hd,bus=ahci1.0,drive=sdg,bootindex=7" in devices(vm)


def test_no_two_virtio_disks_share_a_place() -> None:
    many = tuple(disk(i) for i in range(40))
    vm = make_vm(disks=many, devices=Devices(block="virtio"))
    places = [text.split(",")[1] for text in devices(vm) if "virtio-blk" in text]
    assert len(set(places)) == 40


@pytest.mark.parametrize("block", ["virtio", "scsi"])
def test_large_sectors_stay_as_large(block: Any) -> None:
    disks = (disk(0), disk(1, logical_block_size=4096))
    vm = make_vm(disks=disks, devices=Devices(block=block))
    first, second = (device for device in devices(vm) if "drive=" in device)
    assert "block_size" not in first
    assert "logical_block_size=4096,physical_block_size=4096" in second


def test_an_empty_cd_drive_is_there() -> None:
    vm = make_vm(devices=Devices(), removable=(Removable(type="cdrom"),))
    assert "ide-cd,bus=ide.1" in devices(vm)


@pytest.mark.parametrize(
    ("word", "netdev"),
    [("bridge=br0", "bridge,br=br0,id=net0"), ("user", "user,id=net0")],
)
def test_a_card_is_plugged_in_and_has_its_address(word: str, netdev: str) -> None:
    vm = of(net="virtio")
    assert values("-netdev", vm, word) == [netdev]
    assert "virtio-net-pci,mac=00:50:56:01:02:03,netdev=net0" in devices(vm, word)


def test_a_card_that_was_not_connected_has_no_peer() -> None:
    vm = make_vm(
        devices=Devices(net="e1000"),
        nics=(Nic(mac="00:50:56:01:02:03", connected=False),),
    )
    assert not values("-netdev", vm)
    assert "e1000,mac=00:50:56:01:02:03" in devices(vm)


def test_uefi_has_its_code_read_only_and_its_variables_beside_the_disk() -> None:
    found = nodes(make_vm(firmware="efi"), build=UEFI)
    assert found["code"]["read-only"]
    assert found["vars"]["file"]["filename"] == "./web01_VARS.fd"


def test_secure_firmware_gets_the_machine_that_it_needs() -> None:
    vm = make_vm(firmware="efi", secure_boot=True)
    (machine,) = values("-machine", vm, build=UEFI)
    assert "smm=on" in machine
    assert "driver=cfi.pflash01,property=secure,value=on" in values(
        "-global", vm, build=UEFI
    )


def test_windows_under_kvm_is_told_so() -> None:
    vm = make_vm(guest=Guest(type="windows"))
    assert "cpu=host,hv_relaxed" in script(vm, kvm=True)


def test_a_windows_of_before_hypervisors_is_told_of_none() -> None:
    vm = make_vm(guest=Guest(type="windows"), devices=Devices(hyperv=False))
    assert "cpu=host ;;" in script(vm, kvm=True)


@pytest.mark.report("https://github.com/vexxhost/migratekit/issues/62")
def test_windows_finds_its_own_time_in_the_clock() -> None:
    vm = make_vm(guest=Guest(type="windows"), devices=Devices(clock="localtime"))
    assert values("-rtc", vm) == ["base=localtime,driftfix=slew"]
    assert "hpet=off" in values("-machine", vm)[0].split(",")
    assert values("-rtc", make_vm()) == ["base=utc"]


@pytest.mark.parametrize(
    ("zone", "line"),
    [("Europe/Berlin", "export TZ=Europe/Berlin\n"), ("x; reboot", ""), (None, "")],
)
def test_local_time_is_the_guests(zone: str | None, line: str) -> None:
    own = Windows(id="win10", build=19045, timezone=zone)
    guest = Guest(type="windows", windows=own)
    vm = make_vm(guest=guest, devices=Devices(clock="localtime"))
    text = script(vm)
    assert line in text
    assert ("TZ" in text) is bool(line)


def test_the_usb_of_before_xhci_is_one_chip() -> None:
    usb = [d for d in devices(of(usb="ehci")) if "usb" in d]
    assert [d.split(",")[0] for d in usb] == [
        "ich9-usb-ehci1",
        *("ich9-usb-uhci1", "ich9-usb-uhci2", "ich9-usb-uhci3"),
        "usb-tablet",
    ]
    places = re.findall(r"addr=0x1d\.(\d)", " ".join(usb))
    assert sorted(places) == ["0", "1", "2", "7"]


def test_the_console_is_the_terminal() -> None:
    assert values("-serial", make_vm()) == ["stdio"]
