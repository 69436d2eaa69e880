# SPDX-License-Identifier: GPL-2.0-or-later
"""What becomes of network and tools in guests of many kinds, as files alone.

Each says all paths that change, with the section of guest-linux.md that demands it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from guest_files import done, guest_with
from v2v.document import VM, Guest, Kernel, Nic, Source
from v2v.guests.appliance import Appliance
from v2v.guests.linux import interfaces, network, tools

A, B = "00:50:56:00:00:0a", "00:50:56:00:00:0b"
RULES = "/etc/udev/rules.d/70-v2v-names.rules"
PERSISTENT = "/etc/udev/rules.d/70-persistent-net.rules"
SCRIPTS = "/etc/sysconfig/network-scripts"
MASKS = "/etc/systemd/system"
NEW_SYSTEMD = {"/usr/lib/systemd/libsystemd-shared-252.so": ""}
OLD_SYSTEMD = {"/usr/lib/systemd/libsystemd-shared-239.so": ""}


def rule(mac: str, name: str, more: str = 'DRIVERS=="?*"') -> str:
    return (
        f'SUBSYSTEM=="net", ACTION=="add", {more}, ATTR{{address}}=="{mac}", '
        f'ATTR{{type}}=="1", NAME="{name}"\n'
    )


# What ties ens192 to the one card's MAC, where systemd is of today.
KEPT_NAME = {
    RULES: rule(A, "ens192"),
    "/etc/systemd/network/10-v2v-ens192.link": (
        "# Made by v2v: the name that this card had before.\n[Match]\n"
        f"PermanentMACAddress={A}\nType=ether\n\n[Link]\nName=ens192\n"
    ),
}


@dataclass(frozen=True, kw_only=True)
class Phony:
    """A guest's files, and what is expected of them."""

    files: Mapping[str, str]
    expected: Mapping[str, str | None]  # path -> text; None: removed, or a mask
    init: str = "systemd"
    links: Mapping[str, str] = field(default_factory=dict)
    nics: tuple[Nic, ...] = (Nic(mac=A),)


GUESTS = {
    # 8.5, 8.7, 6: the console, mkinitrd's aliases, and kudzu.
    "centos5-xen": Phony(
        init="sysv",
        files={
            "/etc/modprobe.conf": "alias eth0 xennet\nalias scsi_hostadapter xenblk\n",
            "/sbin/mkinitrd": "",
            "/etc/inittab": "co:2345:respawn:/sbin/agetty xvc0 9600 vt100-nav\n",
            "/etc/securetty": "console\nxvc0\ntty1\n",
            "/etc/init.d/kudzu": "#!/bin/sh\n",
            f"{SCRIPTS}/ifcfg-eth0": f"DEVICE=eth0\nBOOTPROTO=dhcp\nHWADDR={A}\n",
        },
        links={"/etc/rc.d/rc5.d/S05kudzu": "../init.d/kudzu"},
        expected={
            "/etc/rc.d/rc5.d/S05kudzu": None,
            "/etc/inittab": "co:2345:respawn:/sbin/agetty ttyS0 9600 vt100-nav\n",
            "/etc/modprobe.conf": "alias eth0 virtio_net\n"
            "alias scsi_hostadapter virtio_blk\n",
            "/etc/securetty": "console\nttyS0\ntty1\n",
        },
    ),
    # 7.2: udev before 197 has the names by MAC, here by the driver as well.
    "rhel6-vmware": Phony(
        init="sysv",
        files={
            PERSISTENT: rule(A, "eth1", 'DRIVERS=="vmxnet3"'),
            f"{SCRIPTS}/ifcfg-eth1": f'DEVICE="eth1"\nHWADDR="{A.upper()}"\n'
            'BOOTPROTO="static"\nIPADDR="192.0.2.20"\nNETMASK="255.255.255.0"\n',
            "/etc/init.d/vmware-tools": "#!/bin/sh\n",
            "/etc/yum.repos.d/vmware.repo": "[vmware-tools]\nname=VMware Tools\n"
            "baseurl=http://packages.vmware.com/tools/esx/6.0/rhel6/$basearch\n"
            "enabled=1\n",
        },
        links={"/etc/rc.d/rc3.d/S03vmware-tools": "../init.d/vmware-tools"},
        expected={
            PERSISTENT: rule(A, "eth1"),
            "/etc/rc.d/rc3.d/S03vmware-tools": None,
            "/etc/yum.repos.d/vmware.repo": "[vmware-tools]\nname=VMware Tools\n"
            "baseurl=http://packages.vmware.com/tools/esx/6.0/rhel6/$basearch\n"
            "enabled=0\n",
        },
    ),
    # 7.2: a systemd that cannot match a permanent MAC gets the rule alone.
    "rhel8-bond": Phony(
        files={
            **OLD_SYSTEMD,
            f"{SCRIPTS}/ifcfg-ens192": "DEVICE=ens192\nMASTER=bond0\nSLAVE=yes\n",
            f"{SCRIPTS}/ifcfg-ens224": "DEVICE=ens224\nMASTER=bond0\nSLAVE=yes\n",
            f"{SCRIPTS}/ifcfg-bond0": "DEVICE=bond0\nTYPE=Bond\nIPADDR=192.0.2.20\n",
            f"{SCRIPTS}/ifcfg-bond0.100": "DEVICE=bond0.100\nVLAN=yes\n",
        },
        nics=(Nic(mac=A, pci_slot=224), Nic(mac=B, pci_slot=192)),
        expected={RULES: rule(A, "ens224") + rule(B, "ens192")},
    ),
    # 7.2: by NetworkManager; its keyfile names the card.
    "rhel10": Phony(
        files={
            **NEW_SYSTEMD,
            "/etc/NetworkManager/system-connections/ens192.nmconnection": (
                "[connection]\ntype=ethernet\ninterface-name=ens192\n\n[ipv4]\n"
                "method=manual\naddress1=192.0.2.20/24,192.0.2.1\n"
            ),
            "/usr/lib/systemd/system/vmtoolsd.service": "[Unit]\n",
        },
        expected={
            f"{MASKS}/vmtoolsd.service": None,
            **KEPT_NAME,
        },
    ),
    # 7.2: names by MAC are kept; 6: the daemons of VMware's tarball.
    "sles11": Phony(
        init="sysv",
        files={
            PERSISTENT: rule(A, "eth0"),
            "/etc/sysconfig/network/ifcfg-eth0": "BOOTPROTO='static'\n"
            "IPADDR='192.0.2.20/24'\nSTARTMODE='auto'\n",
            "/etc/init.d/vmware-tools": "#!/bin/sh\n",
        },
        links={"/etc/init.d/rc3.d/S05vmware-tools": "../vmware-tools"},
        expected={"/etc/init.d/rc3.d/S05vmware-tools": None},
    ),
    # 6, 8.5: upstart.
    "ubuntu14-xenserver": Phony(
        init="sysv",
        files={
            "/etc/network/interfaces": "auto eth0\niface eth0 inet dhcp\n",
            "/etc/init/hvc0.conf": "start on runlevel [23]\nexec getty -8 38400 hvc0\n",
            "/etc/init.d/xe-linux-distribution": "#!/bin/sh\n",
        },
        links={"/etc/rc2.d/S14xe-linux-distribution": "../init.d/x"},
        expected={
            "/etc/rc2.d/S14xe-linux-distribution": None,
            "/etc/init/hvc0.conf": (
                "start on runlevel [23]\nexec getty -8 38400 ttyS0\n"
            ),
        },
    ),
    # 7.2: cloud-init's own file, by MAC; it may not be written anew (forklift 1354).
    "ubuntu22-cloud": Phony(
        files={
            **NEW_SYSTEMD,
            "/etc/cloud/cloud.cfg": "users: [default]\n",
            "/etc/cloud/cloud.cfg.d/90_dpkg.cfg": "datasource_list: [ VMware, None ]\n",
            "/etc/netplan/50-cloud-init.yaml": (
                "network:\n  ethernets:\n    ens192:\n      match:\n"
                f"        macaddress: {A}\n      set-name: ens192\n"
                "      addresses: [192.0.2.20/24]\n"
            ),
        },
        expected={
            "/etc/cloud/cloud.cfg.d/99-v2v-network.cfg": (
                "# Made by v2v: the network is configured already.\n"
                "network: {config: disabled}\n"
            ),
            "/etc/cloud/cloud.cfg.d/99-v2v-datasource.cfg": (
                "# Made by v2v: the cloud of before is not here.\n"
                "datasource_list: [NoCloud, ConfigDrive]\n"
            ),
            **KEPT_NAME,
        },
    ),
    # 7.2: Photon asks by DHCP on all that begins with e; its packages are VMware's.
    "photon5": Phony(
        files={
            **NEW_SYSTEMD,
            "/etc/systemd/network/99-dhcp-en.network": (
                "[Match]\nName=e*\n\n[Network]\nDHCP=yes\n"
            ),
            "/etc/yum.repos.d/photon.repo": (
                "[photon]\nbaseurl=https://packages.vmware.com/photon/5.0/\nenabled=1\n"
            ),
        },
        expected={},
    ),
    # 6: Amazon's scripts would rewrite routes.
    "amazon2": Phony(
        files={
            **OLD_SYSTEMD,
            "/boot/grub2/grub.cfg": "linux /boot/vmlinuz net.ifnames=0\n",
            f"{SCRIPTS}/ifcfg-eth0": "DEVICE=eth0\nBOOTPROTO=dhcp\n",
            "/etc/systemd/system/ec2net-scan.service": "[Unit]\n",
            "/usr/lib/systemd/system/amazon-ssm-agent.service": "[Unit]\n",
        },
        links={f"{MASKS}/multi-user.target.wants/ec2net-scan.service": "x"},
        expected={
            f"{MASKS}/amazon-ssm-agent.service": None,
            f"{MASKS}/multi-user.target.wants/ec2net-scan.service": None,
        },
    ),
    # 7.2: mdev and busybox call the first card eth0 on any machine.
    "alpine": Phony(
        init="openrc",
        files={
            "/etc/network/interfaces": "auto eth0\niface eth0 inet dhcp\n",
            "/etc/modules": "af_packet\nvmw_balloon\n",
            "/etc/init.d/open-vm-tools": "#!/sbin/openrc-run\n",
        },
        links={"/etc/runlevels/default/open-vm-tools": "/etc/init.d/open-vm-tools"},
        expected={
            "/etc/runlevels/default/open-vm-tools": None,
            "/etc/modules": "af_packet\n# not on KVM: vmw_balloon\n",
        },
    ),
}


def changed(guest: Appliance, phony: Phony) -> dict[str, str | None]:
    kernel = Kernel(version="1", path="/boot/vmlinuz", drivers=("virtio_blk",))
    described = Guest(
        type="linux",
        init=phony.init,
        tools=tools.found(guest),
        interfaces=interfaces.found(guest),
        kernels=(kernel,),
    )
    source = Source(kind="vmx", location="/x")
    vm = VM(id="x", name="x", memory=1, nics=phony.nics, source=source)
    plans = (tools.plan(guest, described), network.plan(guest, vm, described))
    actions = done(guest, (action for plan in plans for action in plan))
    return {a.change.path: guest.read(a.change.path) for a in actions}


@pytest.mark.parametrize("name", GUESTS)
def test_just_these_files_change_and_only_once(name: str) -> None:
    phony = GUESTS[name]
    guest = guest_with(phony.files, phony.links)
    assert changed(guest, phony) == phony.expected
    assert changed(guest, phony) == {}
