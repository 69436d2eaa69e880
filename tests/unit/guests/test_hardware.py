# SPDX-License-Identifier: GPL-2.0-or-later
"""Configuration that holds on to the old hardware (guest-linux.md, 7.2)."""

import time
from collections.abc import Callable

import pytest

from guest_files import done, guest_with, paths
from v2v.document import VM, Guest, Interface, Nic, Source
from v2v.guests.linux import cloudinit, hardware, network

A, B = "00:50:56:00:00:0a", "00:50:56:00:00:0b"
KNOWN = {"ens192": A, "ens224": B}


def mac(name: str) -> str | None:
    return KNOWN.get(name)


NETPLAN = f"""\
network:
  version: 2
  ethernets:
    ens192:
      match:
        driver: vmxnet3   # as on ESXi
      addresses: [192.0.2.20/24]
    lan:
      match: {{driver: "vmxnet3"}}
      set-name: ens224
      dhcp4: true
    both:
      match:
        macaddress: "{A}"
        driver:
        - vmxnet3
        - e1000
      dhcp4: true
    kept:
      match:
        driver: virtio_*
"""
NETPLAN_AFTER = f"""\
network:
  version: 2
  ethernets:
    ens192:
      match:
        macaddress: "{A}"
      addresses: [192.0.2.20/24]
    lan:
      match: {{macaddress: "{B}"}}
      set-name: ens224
      dhcp4: true
    both:
      match:
        macaddress: "{A}"
      dhcp4: true
    kept:
      match:
        driver: virtio_*
"""


def test_netplan_matches_macs_instead_of_old_drivers() -> None:
    assert hardware.netplan(NETPLAN, mac) == NETPLAN_AFTER
    assert hardware.netplan(NETPLAN_AFTER, mac) == NETPLAN_AFTER


def test_windows_line_ends_stay() -> None:
    text = NETPLAN.replace("\n", "\r\n")
    assert hardware.netplan(text, mac) == NETPLAN_AFTER.replace("\n", "\r\n")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "[Match]\nDriver=vmxnet3\nName=ens192\n[Network]\nDHCP=yes\n",
            "[Match]\nName=ens192\n[Network]\nDHCP=yes\n",
        ),
        (
            "# first\n[Match]\nPath=pci-0000:0b:00.0\n\n[Link]\nName=ens192\n",
            f"# first\n[Match]\nMACAddress={A}\n\n[Link]\nName=ens192\n",
        ),
        (
            "[Match]\nDriver=vmxnet3\nPath=pci-0000:*\n[Link]\nName=ens224\n",
            f"[Match]\nMACAddress={B}\n[Link]\nName=ens224\n",
        ),
        ("[Match]\nDriver=!virtio_net\n[Link]\nMTUBytes=9000\n", None),
        ("[Match]\nDriver=vmxnet3 virtio_net\n[Link]\nMTUBytes=9000\n", None),
        ("[Match]\n#Driver=vmxnet3\nName=ens192\n", None),
        ("[Match]\nName=ens192\n[Link]\nDriver=vmxnet3\n", None),
    ],
)
def test_networkd(before: str, after: str | None) -> None:
    found = hardware.sections(before, mac)
    assert found == (before if after is None else after)
    assert hardware.sections(found, mac) == found


def test_keyfiles() -> None:
    before = (
        "[connection]\nid=x\ntype=ethernet\n\n[match]\ndriver=vmxnet3;\n\n"
        "[ethernet]\nmtu=9000\n"
    )
    after = (
        "[connection]\nid=x\ntype=ethernet\n\n[match]\n\n"
        f"[ethernet]\nmac-address={A}\nmtu=9000\n"
    )
    assert hardware.keyfile(before, lambda _: A) == after
    named = before.replace("id=x", "id=x\ninterface-name=ens192")
    expected = named.replace("driver=vmxnet3;\n", "")
    assert hardware.keyfile(named, mac) == expected
    without = "[match]\npath=pci-0000:0b:00.0"
    made = f"[match]\n\n[ethernet]\nmac-address={A}\n"
    assert hardware.keyfile(without, lambda _: A) == made


ADDRESS = f'ATTR{{address}}=="{A}"'
RULES = [
    (
        f'SUBSYSTEM=="net", DRIVERS=="vmxnet3", {ADDRESS}, NAME="eth0"\n',
        f'SUBSYSTEM=="net", DRIVERS=="?*", {ADDRESS}, NAME="eth0"\n',
    ),
    (
        f'SUBSYSTEM=="net", {ADDRESS}, ID=="pci-0000:0b:00.0", NAME="eth0"\n',
        f'SUBSYSTEM=="net", {ADDRESS}, NAME="eth0"\n',
    ),
    (
        'ACTION=="add", SUBSYSTEM=="net", KERNELS=="0000:0b:00.0", NAME="ens192"\n',
        f'ACTION=="add", SUBSYSTEM=="net", {ADDRESS}, NAME="ens192"\n',
    ),
    (
        f'SUBSYSTEM=="net", SUBSYSTEMS=="xen", {ADDRESS}, NAME="eth0"\n',
        f'SUBSYSTEM=="net", {ADDRESS}, NAME="eth0"\n',
    ),
    (f'SUBSYSTEM=="net", SUBSYSTEMS=="pci", {ADDRESS}, NAME="eth0"\n', None),
    (f'SUBSYSTEM=="net", DRIVERS=="?*", {ADDRESS}, NAME="eth0"\n', None),
    ('# SUBSYSTEM=="net", KERNELS=="0000:0b:00.0", NAME="ens192"\n', None),
    ('SUBSYSTEM=="block", KERNELS=="0000:0b:00.0", NAME="x"\n', None),
    ('SUBSYSTEM=="net", ENV{ID_PATH}="x", NAME="ens192"\n', None),
]


@pytest.mark.parametrize(("before", "after"), RULES)
def test_rules_of_udev(before: str, after: str | None) -> None:
    found = hardware.rules(before, mac)
    assert found == (before if after is None else after)
    assert hardware.rules(found, mac) == found


def machine(*nics: Nic) -> VM:
    source = Source(kind="vmx", location="/x")
    return VM(id="x", name="x", memory=1, nics=nics, source=source)


def test_what_cannot_be_told_is_left_and_said() -> None:
    path = "/etc/systemd/network/10-all.network"
    guest = guest_with({path: "[Match]\nDriver=vmxnet3\n[Network]\nDHCP=yes\n"})
    vm = machine(Nic(mac=A), Nic(mac=B))
    assert list(hardware.loosened(guest, vm, {})) == []
    [finding] = network.findings(guest, vm, Guest())
    assert finding.code == "nic-hardware-match"
    assert path in finding.message and "Driver=vmxnet3" in finding.message


def test_a_file_that_is_named_by_a_place_on_the_bus_is_said() -> None:
    path = "/etc/sysconfig/network/ifcfg-eth-bus-pci-0000:00:11.0"
    guest = guest_with({path: "BOOTPROTO='dhcp'\n"})
    [finding] = network.findings(guest, machine(Nic(mac=A)), Guest())
    assert finding.code == "nic-hardware-match" and path in finding.message


def test_the_only_card_is_the_one_that_is_meant() -> None:
    path = "/etc/systemd/network/10-all.network"
    guest = guest_with({path: "[Match]\nDriver=vmxnet3\n[Network]\nDHCP=yes\n"})
    vm = machine(Nic(mac=A))
    assert paths(done(guest, network.plan(guest, vm, Guest()))) == [path]
    assert f"MACAddress={A}" in (guest.read(path) or "")
    assert list(hardware.loosened(guest, vm, {})) == []
    assert list(network.findings(guest, vm, Guest())) == []


@pytest.mark.parametrize(
    "text",
    [
        "match:\n" * 40000,
        " match: {driver: x,\n" * 10000,
        "[match]\ndriver=\n" * 9000,
        'NAME="net" ID==' * 15000,
        "driver:\n- a\n" * 20000,
        "Path=" * 50000,
    ],
)
def test_hostile_texts_take_no_time(text: str) -> None:
    began = time.process_time()
    for _, _, loose in hardware._STACKS:
        loose(text, lambda _: A)
    hardware._TUNED.search(text)
    cloudinit.datasources(text)
    assert time.process_time() - began < 10


STATIC = Guest(
    interfaces=(
        Interface(
            name="ens192", config="/etc/netplan/50-cloud-init.yaml", method="static"
        ),
    )
)
CLOUD = {"/etc/cloud/cloud.cfg": "users:\n- default\n"}
PIN = "/etc/cloud/cloud.cfg.d/99-v2v-network.cfg"
SOURCES = "/etc/cloud/cloud.cfg.d/99-v2v-datasource.cfg"


def test_cloud_init_may_not_write_a_static_configuration_anew() -> None:
    """Forklift 1354: static IP lost when cloud-init manages the network."""
    guest = guest_with(CLOUD)
    assert paths(done(guest, cloudinit.plan(guest, STATIC))) == [PIN]
    assert paths(cloudinit.plan(guest, STATIC)) == []
    dhcp = Interface(name="ens192", config="/x", method="dhcp")
    assert paths(cloudinit.plan(guest_with(CLOUD), Guest(interfaces=(dhcp,)))) == []


@pytest.mark.parametrize(
    "files",
    [
        {"/etc/cloud/cloud-init.disabled": ""},
        {"/etc/cloud/cloud.cfg.d/9.cfg": "network:\n  config: disabled\n"},
        {"/etc/default/grub": 'GRUB_CMDLINE_LINUX="cloud-init=disabled"\n'},
    ],
)
def test_cloud_init_that_is_off_is_left_alone(files: dict[str, str]) -> None:
    assert paths(cloudinit.plan(guest_with({**CLOUD, **files}), STATIC)) == []


@pytest.mark.parametrize(
    ("line", "made"),
    [
        ("datasource_list: [ Azure ]\n", True),
        ("datasource_list: [VMware, OVF, None]\n", True),
        ("datasource_list:\n  - Ec2\n  - None\n", True),
        ("datasource_list: [ NoCloud, Azure, None ]\n", False),
        ("# datasource_list: [ Azure ]\n", False),
    ],
)
def test_cloud_init_does_not_wait_for_the_cloud_of_before(
    line: str, made: bool
) -> None:
    guest = guest_with({**CLOUD, "/etc/cloud/cloud.cfg.d/90_dpkg.cfg": line})
    done_ = paths(done(guest, cloudinit.plan(guest, Guest())))
    assert done_ == ([SOURCES] if made else [])
    assert paths(cloudinit.plan(guest, Guest())) == []


@pytest.mark.parametrize(
    "line",
    [
        'SUBSYSTEM=="net", KERNELS=="1-1.2:1.0", NAME="usb0"\n',
        'SUBSYSTEM=="net", SUBSYSTEMS=="usb", NAME="usb0"\n',
        'SUBSYSTEM=="net", PHYSDEVPATH=="/devices/x", NAME="lan0"\n',
    ],
)
def test_the_sole_card_is_not_taken_for_one_that_rules_name_elsewhere(
    line: str,
) -> None:
    assert hardware.rules(line, lambda name: "00:50:56:00:00:0a") == line


AZURE = """\
network:
  version: 2
  ethernets:
    ephemeral:
      dhcp4: true
      match:
        driver: hv_netvsc
        name: "!eth0"
      optional: true
"""


@pytest.mark.parametrize(
    ("loose", "text"),
    [
        (hardware.netplan, AZURE),
        (hardware.netplan, '    match: {driver: hv_netvsc, name: "!eth0"}\n'),
        (hardware.sections, "[Match]\nDriver=hv_netvsc\nName=!eth0\n"),
    ],
)
def test_what_is_for_all_other_names_does_not_become_for_all_that_there_is(
    loose: Callable[[str, hardware.MacOf], str], text: str
) -> None:
    """As Azure's 90-hotplug-azure.yaml: it would take docker's bridges, too."""
    assert loose(text, lambda name: "00:50:56:00:00:0a") == text


def test_a_list_of_clouds_that_is_read_after_ours_is_outdone() -> None:
    guest = guest_with(
        {**CLOUD, f"{SOURCES[:22]}/99_ec2.cfg": "datasource_list: [Ec2]"}
    )
    [path] = paths(done(guest, cloudinit.plan(guest, Guest())))
    assert path == "/etc/cloud/cloud.cfg.d/99_ec2_v2v.cfg"
    assert paths(cloudinit.plan(guest, Guest())) == []
