# SPDX-License-Identifier: GPL-2.0-or-later
"""Every domain that a test makes goes through libvirt's schema: see domain_of."""

from itertools import product
from pathlib import Path
from typing import Any, cast

import pytest
from lxml import etree

from target_vm import ID, MIB, disk, domain_of, machine_of, make_vm
from v2v.document import (
    VM,
    Cpu,
    Devices,
    Display,
    Guest,
    Layer,
    Nic,
    Removable,
    Windows,
)
from v2v.errors import HostError, TargetError
from v2v.targets import domain
from v2v.targets.domain import Host

KVM = Host(kvm=True)
MAC = "00:50:56:01:02:03"
WINDOWS = Guest(type="windows")

if not Path("/usr/share/libvirt/schemas/domain.rng").exists():
    pytest.skip("libvirt's schemas are not installed", allow_module_level=True)


def found(vm: VM, path: str, host: Host | None = None) -> list[Any]:
    """Return what XPath *path* finds in the domain of *vm*."""
    return cast(list[Any], domain_of(vm, host=host).xpath(path))


def with_devices(**devices: Any) -> VM:
    return make_vm(devices=Devices(**devices))


GOLDEN = """\
<domain type="kvm">
  <name>web01</name>
  <uuid>4b3c2d1e-0000-4000-8000-000000000001</uuid>
  <description>the shop</description>
  <metadata>
    <v2v:document xmlns:v2v="urn:v2v:document:1" \
id="4b3c2d1e-0000-4000-8000-000000000001"/>
  </metadata>
  <memory unit="bytes">536870912</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch="x86_64" machine="pc">hvm</type>
  </os>
  <features>
    <acpi/>
    <apic/>
    <vmport state="off"/>
  </features>
  <cpu mode="host-model">
    <topology sockets="1" dies="1" cores="1" threads="1"/>
  </cpu>
  <clock offset="utc">
    <timer name="rtc" tickpolicy="catchup"/>
    <timer name="pit" tickpolicy="delay"/>
    <timer name="hpet" present="no"/>
  </clock>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>restart</on_crash>
  <pm>
    <suspend-to-mem enabled="no"/>
    <suspend-to-disk enabled="no"/>
  </pm>
  <devices>
    <disk type="file" device="disk">
      <driver name="qemu" type="raw" discard="unmap"/>
      <source file="/images/web01-sda.raw"/>
      <target dev="vda" bus="virtio"/>
      <boot order="1"/>
    </disk>
    <controller type="virtio-serial" index="0"/>
    <interface type="bridge">
      <mac address="00:50:56:01:02:03"/>
      <source bridge="br0"/>
      <model type="virtio"/>
    </interface>
    <serial type="pty">
      <target type="isa-serial" port="0"/>
    </serial>
    <console type="pty">
      <target type="serial" port="0"/>
    </console>
    <channel type="unix">
      <target type="virtio" name="org.qemu.guest_agent.0"/>
    </channel>
    <input type="tablet" bus="usb"/>
    <graphics type="vnc" port="-1" autoport="yes">
      <listen type="address" address="127.0.0.1"/>
    </graphics>
    <video>
      <model type="vga" heads="1" primary="yes"/>
    </video>
    <memballoon model="none"/>
  </devices>
</domain>
"""


def test_a_small_machine_is_written_like_this() -> None:
    devices = Devices(block="virtio", net="virtio", machine="pc")
    vm = make_vm(devices=devices, description="the shop")
    made = domain_of(vm, "bridge=br0", host=KVM)
    assert domain.written(made).decode() == GOLDEN


@pytest.mark.parametrize(
    ("block", "net", "machine", "transitional", "efi"),
    tuple(
        product(
            ("virtio", "scsi", "sata", "ide"),
            ("virtio", "e1000e", "e1000", "rtl8139"),
            ("q35", "pc"),
            (False, True),
            ("bios", "efi"),
        )
    ),
)
def test_every_choice_of_devices_passes_the_schema(
    block: str, net: str, machine: str, transitional: bool, efi: str
) -> None:
    devices = Devices.model_validate(
        {
            "block": block,
            "net": net,
            "machine": machine,
            "transitional": transitional,
            "rng": True,
            "balloon": True,
            "pvpanic": True,
            "vsock": True,
        }
    )
    vm = make_vm(
        devices=devices,
        firmware=efi,
        disks=tuple(disk(i) for i in range(9)),
        removable=(Removable(type="cdrom"),),
        guest=WINDOWS,
        tpm=True,
        sound="hda",
    )
    domain_of(vm, host=Host(kvm=True, tpm=True, vsock=True))


def test_names_are_unique_across_buses() -> None:
    vm = make_vm(
        devices=Devices(block="scsi"),
        disks=(disk(0), disk(1)),
        removable=(Removable(type="cdrom"), Removable(type="cdrom")),
    )
    names = found(vm, "devices/disk/target/@dev")
    assert len(names) == len(set(names)) == 4


def test_scsi_disks_always_have_a_virtio_scsi_controller_each_seven() -> None:
    vm = make_vm(devices=Devices(block="scsi"), disks=tuple(disk(i) for i in range(8)))
    models = found(vm, "devices/controller[@type='scsi']/@model")
    assert models == ["virtio-scsi", "virtio-scsi"]


def test_emulated_processors_are_the_best_that_tcg_has() -> None:
    assert found(make_vm(), "@type | cpu/@mode", Host()) == ["qemu", "maximum"]


def test_kvm_gets_the_cpu_mode_that_the_host_offers() -> None:
    host = Host(kvm=True, cpu="host-passthrough")
    assert found(make_vm(), "@type | cpu/@mode", host) == ["kvm", "host-passthrough"]


@pytest.mark.parametrize(
    ("secure", "enabled", "names"),
    [
        (False, ["no"], ["secure-boot"]),
        (True, ["yes", "yes"], ["secure-boot", "enrolled-keys"]),
    ],
)
def test_uefi_leaves_the_files_to_libvirt_but_says_what_it_needs(
    secure: bool, enabled: list[str], names: list[str]
) -> None:
    os = domain_of(make_vm(firmware="efi", secure_boot=secure)).find("os")
    assert os is not None
    assert os.get("firmware") == "efi"
    assert os.xpath("firmware/feature/@enabled") == enabled
    assert os.xpath("firmware/feature/@name") == names
    assert not os.xpath("loader | nvram")


def test_the_document_is_named_in_a_namespace_of_its_own() -> None:
    assert domain.owner(domain.written(domain_of(make_vm()))) == ID


@pytest.mark.parametrize(
    "xml",
    [
        b"",
        b"no xml",
        b"<domain/>",
        b"<domain><metadata><document id='x'/></metadata></domain>",
        b'<!DOCTYPE d [<!ENTITY e SYSTEM "file:///etc/passwd">]><domain>&e;</domain>',
    ],
)
def test_a_file_of_somebody_else_has_no_owner(xml: bytes) -> None:
    assert domain.owner(xml) is None


def test_a_name_that_libvirt_refuses_is_kept_as_the_title() -> None:
    vm = make_vm(name="web/01\n")
    assert found(vm, "name/text() | title/text()") == ["web_01_", "web/01"]


def test_the_clock_of_windows_is_as_the_guest_keeps_it() -> None:
    vm = make_vm(guest=WINDOWS, devices=Devices(clock="localtime"))
    assert found(vm, "clock/@offset") == ["localtime"]


@pytest.mark.report("https://github.com/kubevirt/kubevirt/issues/8507")
def test_local_time_is_the_guests_and_not_the_hosts() -> None:
    own = Windows(id="win10", build=19045, timezone="Europe/Berlin")
    guest = Guest(type="windows", windows=own)
    vm = make_vm(guest=guest, devices=Devices(clock="localtime"))
    assert found(vm, "clock/@offset | clock/@timezone") == ["timezone", "Europe/Berlin"]
    in_utc = make_vm(guest=guest, devices=Devices(clock="utc"))
    assert found(in_utc, "clock/@offset | clock/@timezone") == ["utc"]


def test_windows_is_told_that_it_runs_on_kvm() -> None:
    flags = [
        element.tag for element in found(make_vm(guest=WINDOWS), "//hyperv/*", KVM)
    ]
    assert {"relaxed", "vapic", "spinlocks", "synic", "stimer"} <= set(flags)


def test_emulated_windows_gets_only_what_tcg_can_start() -> None:
    flags = [element.tag for element in found(make_vm(guest=WINDOWS), "//hyperv/*")]
    assert flags == ["relaxed", "vapic", "spinlocks"]


@pytest.mark.report("https://github.com/kubevirt/kubevirt/issues/8507")
def test_windows_counts_its_time_as_on_its_old_machine() -> None:
    vm = make_vm(guest=WINDOWS, devices=Devices(clock="localtime"))
    timers = {t.get("name"): dict(t.attrib) for t in found(vm, "clock/timer", KVM)}
    assert timers["rtc"]["tickpolicy"] == "catchup"
    assert timers["pit"]["tickpolicy"] == "delay"
    assert timers["hpet"]["present"] == "no"
    assert timers["hypervclock"]["present"] == "yes"


def test_a_windows_that_knows_no_hypervisor_is_told_of_none() -> None:
    vm = make_vm(guest=WINDOWS, devices=Devices(hyperv=False))
    assert not found(vm, "//hyperv | //timer[@name='hypervclock']", KVM)


def test_windows_that_needs_a_tpm_gets_one_that_lasts() -> None:
    vm = make_vm(guest=WINDOWS, devices=Devices(tpm=True))
    (tpm,) = found(vm, "//tpm", Host(tpm=True))
    assert tpm.get("model") == "tpm-crb"
    assert tpm[0].get("version") == "2.0"
    assert tpm[0].get("persistent_state") == "yes"
    assert list(domain.warnings(machine_of(vm), Host()))[-1].startswith("the TPM is")


def test_the_usb_of_what_has_no_driver_for_xhci_is_of_its_time() -> None:
    vm = with_devices(usb="ehci", machine="q35")
    models = found(vm, "//controller[@type='usb']/@model")
    assert models == ["ich9-ehci1", "ich9-uhci1", "ich9-uhci2", "ich9-uhci3"]
    assert found(vm, "//controller/master/@startport") == ["0", "2", "4"]


def test_disks_on_scsi_have_the_controller_that_the_driver_is_for() -> None:
    vm = make_vm(guest=WINDOWS, devices=Devices(block="scsi"))
    assert found(vm, "//controller[@type='scsi']/@model") == ["virtio-scsi"]


def test_linux_has_no_hyperv_features() -> None:
    assert not found(make_vm(), "//hyperv", KVM)


def test_every_card_keeps_its_address() -> None:
    cards = tuple(Nic(mac=f"00:50:56:01:02:0{i}") for i in range(3))
    macs = found(make_vm(nics=cards), "devices/interface/mac/@address")
    assert macs == [card.mac for card in cards]


def test_a_card_that_was_not_connected_has_its_link_down() -> None:
    vm = make_vm(nics=(Nic(mac=MAC, connected=False),))
    assert found(vm, "devices/interface/link/@state") == ["down"]


@pytest.mark.parametrize(
    ("word", "kind", "source"),
    [
        ("bridge=br0", "bridge", {"bridge": "br0"}),
        ("network=lab", "network", {"network": "lab"}),
        ("user", "user", None),
    ],
)
def test_a_card_is_plugged_in_where_it_was_sent(
    word: str, kind: str, source: dict[str, str] | None
) -> None:
    card = domain_of(make_vm(), word).find("devices/interface")
    assert card is not None
    assert card.get("type") == kind
    plug = card.find("source")
    assert (plug if plug is None else dict(plug.items())) == source


def test_old_guests_get_virtio_devices_that_old_drivers_know() -> None:
    devices = Devices(
        block="virtio", net="virtio", transitional=True, rng=True, balloon=True
    )
    vm = make_vm(devices=devices)
    assert found(vm, "devices/disk/@model") == ["virtio-transitional"]
    assert found(vm, "devices/interface/model/@type") == ["virtio-transitional"]
    assert found(vm, "devices/rng/@model") == ["virtio-transitional"]


def test_on_pc_plain_virtio_is_what_old_drivers_know() -> None:
    devices = Devices(block="virtio", net="virtio", transitional=True, machine="pc")
    assert not found(make_vm(devices=devices), "//@model[.='virtio-transitional']")


def test_an_empty_cd_drive_is_kept() -> None:
    vm = make_vm(removable=(Removable(type="cdrom", path="/iso/secret.iso"),))
    (drive,) = found(vm, "devices/disk[@device='cdrom']")
    assert drive.find("readonly") is not None
    assert drive.find("source") is None


def test_the_boot_disk_is_first_and_boot_dev_is_not_used() -> None:
    vm = make_vm(disks=(disk(0), disk(1, boot=1)))
    assert found(vm, "devices/disk/boot/@order") == ["2", "1"]
    assert not found(vm, "os/boot")


def test_blocks_that_the_guest_frees_are_freed() -> None:
    assert found(make_vm(), "devices/disk/driver/@discard") == ["unmap"]


@pytest.mark.parametrize("block", ["virtio", "scsi"])
def test_large_sectors_stay_as_large(block: Any) -> None:
    disks = (disk(0), disk(1, logical_block_size=4096))
    vm = make_vm(disks=disks, devices=Devices(block=block))
    assert found(vm, "devices/disk[2]/blockio/@*") == ["4096", "4096"]
    assert len(found(vm, "//blockio")) == 1


def test_a_preallocated_disk_is_not_punched() -> None:
    layer = Layer(server="file", path="/images/a.raw", allocated=MIB)
    vm = make_vm(disks=(disk(0, target=layer),))
    assert not found(vm, "devices/disk/driver/@discard")


def test_there_is_always_a_serial_console_and_an_agent_channel() -> None:
    vm = make_vm(devices=Devices(serial=False, agent=False))
    assert found(vm, "devices/serial/@type | devices/console/@type") == ["pty", "pty"]
    assert found(vm, "devices/channel/target/@name") == ["org.qemu.guest_agent.0"]


def test_the_display_listens_on_this_host_only_and_knows_no_password() -> None:
    vm = make_vm(display=Display.model_validate({"type": "spice", "passwd": "secret"}))
    made = domain_of(vm)
    assert made.xpath("devices/graphics/listen/@address") == ["127.0.0.1"]
    assert b"secret" not in etree.tostring(made)


def test_a_keymap_that_is_none_is_left_out() -> None:
    vm = make_vm(display=Display(keymap="de'/>"))
    assert not found(vm, "devices/graphics/@keymap")


def test_disks_and_cards_can_be_added_to_a_running_q35() -> None:
    vm = with_devices(block="virtio", net="virtio", rng=True, balloon=True)
    ports = found(vm, "devices/controller[@model='pcie-root-port']")
    taken = 7  # disk, card, USB, virtio-serial, balloon, RNG, perhaps vsock
    assert len(ports) - taken >= 4


def test_a_guest_that_reports_its_panic_is_started_again() -> None:
    vm = with_devices(block="virtio", pvpanic=True)
    assert found(vm, "devices/panic/@model") == ["isa"]
    assert found(vm, "on_crash/text()") == ["restart"]
    assert not found(with_devices(block="virtio"), "devices/panic")


def test_sockets_to_the_host_are_made_where_the_host_has_them() -> None:
    vm = with_devices(block="virtio", vsock=True)
    assert found(vm, "devices/vsock/cid/@auto", Host(vsock=True)) == ["yes"]
    assert not found(vm, "devices/vsock")
    assert not found(with_devices(block="virtio"), "devices/vsock", Host(vsock=True))


def test_a_tpm_is_made_only_where_one_can_be_emulated() -> None:
    vm = make_vm(tpm=True)
    assert found(vm, "devices/tpm", Host(tpm=True))
    assert not found(vm, "devices/tpm")


def test_a_topology_that_does_not_fit_is_put_right() -> None:
    vm = make_vm(vcpus=6, cpu=Cpu(sockets=4, cores=2))
    assert found(vm, "cpu/topology/@sockets | cpu/topology/@cores") == ["1", "6"]


def test_a_generation_id_is_kept() -> None:
    vm = make_vm(genid="8A2B8E8C-0000-4000-8000-000000000001")
    assert found(vm, "genid/text()") == ["8a2b8e8c-0000-4000-8000-000000000001"]


def test_a_hostile_description_stays_text() -> None:
    vm = make_vm(description="</description><os/>\x00\x1b" + "x" * 9000)
    (text,) = found(vm, "description/text()")
    assert text.startswith("</description><os/>")
    assert len(text) < 5000


def test_a_refusal_of_the_schema_shows_the_part_at_fault() -> None:
    with pytest.raises(TargetError, match=r"<interface>.*01:00:5e:00:00:01"):
        domain_of(make_vm(nics=(Nic(mac="01:00:5e:00:00:01"),)))


def test_a_missing_schema_is_this_hosts_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domain, "_SCHEMA", tmp_path / "domain.rng")
    domain._schema.cache_clear()
    try:
        with pytest.raises(HostError) as e:
            domain.check_schema()
    finally:
        domain._schema.cache_clear()
    assert "libvirt-common" in e.value.remedy
