# SPDX-License-Identifier: GPL-2.0-or-later
"""The old hypervisor's tools, and what they leave (guest-linux.md, 6 and 8.5-8.7)."""

import time
from pathlib import Path

import pytest

import guest_folder
from guest_files import done, guest_with, paths
from v2v.document import Guest, Kernel
from v2v.guests.appliance import Appliance
from v2v.guests.linux import console, modprobe, repositories, tools, xorg
from v2v.guests.plan import Action

UNITS = "/lib/systemd/system"
MASKS = "/etc/systemd/system"


def fixed(guest: Appliance, init: str = "systemd", **facts: object) -> list[Action]:
    """Do what is planned; a second look must find nothing to do."""
    described = Guest(init=init, tools=tools.found(guest)).having(**facts)
    actions = done(guest, tools.plan(guest, described))
    assert paths(tools.plan(guest, described)) == []
    return actions


@pytest.mark.parametrize(
    ("unit", "kind"),
    [
        ("vgauthd", "open-vm-tools"),
        ("vmware-tools", "vmware-tools"),
        ("vboxadd-service", "virtualbox"),
        ("xe-daemon", "xen"),
        ("hv_kvp_daemon", "hyperv-lis"),
        ("walinuxagent", "azure"),
        ("amazon-ssm-agent", "aws"),
        ("google-guest-agent", "google"),
        ("prltoolsd", "parallels"),
        ("ngt_guest_agent", "nutanix"),
        ("ovirt-guest-agent", "ovirt"),
    ],
)
def test_units_are_masked(unit: str, kind: str) -> None:
    guest = guest_with({f"{UNITS}/{unit}.service": "[Unit]\n"})
    [action] = fixed(guest)
    assert tools.found(guest) == (kind,)
    assert action.change.path == f"{MASKS}/{unit}.service"
    assert action.change.after == "/dev/null"
    assert guest.g.is_symlink(action.change.path)


def test_hyper_vs_daemons_see_for_themselves_that_there_is_no_hyper_v() -> None:
    guest = guest_with({f"{UNITS}/hypervkvpd.service": "[Unit]\n"})
    assert tools.found(guest) == ("hyperv",)
    assert fixed(guest) == []


def test_vmwares_uninstaller_is_not_run() -> None:
    """libguestfs 144: a file system was damaged while it ran."""
    uninstaller = "/usr/bin/vmware-uninstall-tools.pl"
    guest = guest_with({uninstaller: "#!/usr/bin/perl\n"})
    assert tools.found(guest) == ("vmware-tools",)
    assert [action.change.kind for action in fixed(guest)] == []


def test_a_unit_of_the_administrators_folder_is_not_wanted_any_more() -> None:
    """There VMware's installer puts it; a mask would take its place."""
    wanted = f"{MASKS}/multi-user.target.wants/vmware-tools.service"
    other = f"{MASKS}/multi-user.target.wants/ssh.service"
    guest = guest_with(
        {f"{MASKS}/vmware-tools.service": "[Unit]\n"}, {wanted: "x", other: "x"}
    )
    assert paths(fixed(guest)) == [wanted]


def test_sysv_services_lose_the_links_that_start_them() -> None:
    folder = "/etc/rc.d/rc3.d"
    links = [f"{folder}/{n}" for n in ("S03vmware-tools", "K08vmware-tools", "S55sshd")]
    guest = guest_with(
        {"/etc/init.d/vmware-tools": "#!/bin/sh\n"}, dict.fromkeys(links, "x")
    )
    assert paths(fixed(guest, "sysv")) == [links[0]]


def test_kudzu_is_not_started_for_it_would_ask() -> None:
    link = "/etc/rc.d/rc5.d/S05kudzu"
    guest = guest_with({"/etc/init.d/kudzu": ""}, {link: "../init.d/kudzu"})
    assert paths(fixed(guest, "sysv")) == [link]


def test_openrc_and_upstart() -> None:
    link = "/etc/runlevels/default/open-vm-tools"
    guest = guest_with({"/etc/init.d/open-vm-tools": ""}, {link: "x"})
    assert paths(fixed(guest, "openrc")) == [link]
    guest = guest_with({"/etc/init/vmware-tools.conf": "start on runlevel 2\n"})
    assert paths(fixed(guest, "sysv")) == ["/etc/init/vmware-tools.override"]
    assert guest.read("/etc/init/vmware-tools.override") == "manual\n"


def test_packages_of_the_tools_by_their_exact_names() -> None:
    names = ("open-vm-tools", "open-vm-tools-desktop:amd64", "my-open-vm-tools")
    guest = guest_with({f"/var/lib/dpkg/info/{name}.list": "" for name in names})
    there = Guest(tools=("open-vm-tools",), package_format="deb")
    assert tools.packages(guest, there) == ("open-vm-tools", "open-vm-tools-desktop")
    assert tools.packages(guest, there.having(tools=())) == ()
    rpm = there.having(package_format="rpm", tools=("azure",))
    assert "WALinuxAgent*" in tools.packages(guest, rpm)


def test_modules_of_the_old_hardware_are_not_loaded() -> None:
    """A failed one leaves systemd degraded."""
    path = "/etc/modules-load.d/vm.conf"
    text = (
        "# ours\nvmw_balloon\nvmxnet3\nloop\nvmw-vsock-vmci-transport\nbr_netfilter\n"
    )
    guest = guest_with({path: text, "/etc/modules": "loop\n"})
    assert paths(fixed(guest)) == [path]
    assert guest.read(path) == (
        "# ours\n# not on KVM: vmw_balloon\n# not on KVM: vmxnet3\nloop\n"
        "# not on KVM: vmw-vsock-vmci-transport\nbr_netfilter\n"
    )


def test_a_module_in_place_of_the_kernels_own_is_said() -> None:
    path = "/lib/modules/2.6.32/misc/vsock.ko"
    own = "/lib/modules/2.6.32/kernel/net/vmw_vsock/vsock.ko"
    [found] = tools.findings(guest_with({path: "", own: ""}))
    assert path in found.message and own not in found.message
    assert {found.code} == tools.FINDINGS
    assert list(tools.findings(guest_with({own: ""}))) == []


MODPROBE = (
    "alias eth0 vmxnet\nalias eth1 tg3\nalias scsi_hostadapter mptbase\n"
    "alias scsi_hostadapter1 mptspi\noptions bonding mode=1\n"
)
MODPROBE_AFTER = (
    "alias eth0 virtio_net\nalias eth1 tg3\nalias scsi_hostadapter virtio_blk\n"
    "# not on KVM: alias scsi_hostadapter1 mptspi\noptions bonding mode=1\n"
)


def test_aliases_are_changed_only_where_a_mkinitrd_reads_them() -> None:
    kernels = (Kernel(version="2.6.18", path="/boot/v", drivers=("virtio_blk",)),)
    files = {"/etc/modprobe.conf": MODPROBE, "/sbin/mkinitrd": ""}
    guest = guest_with(files)
    fixed(guest, "sysv", kernels=kernels)
    assert guest.read("/etc/modprobe.conf") == MODPROBE_AFTER
    assert modprobe.aliases(MODPROBE_AFTER) == MODPROBE_AFTER
    assert fixed(guest_with({**files, "/sbin/dracut": ""}), kernels=kernels) == []
    assert fixed(guest_with(files), kernels=()) == []


def test_without_a_disk_alias_one_is_added() -> None:
    assert modprobe.aliases("a") == "a\nalias scsi_hostadapter virtio_blk\n"


XORG = """\
Section "Device"
    Identifier "Card0"
    Driver     "vmware"
    BusID      "PCI:0:15:0"
EndSection
Section "InputDevice"
    Driver "vmmouse"
EndSection
Section "Device"
    Driver "nvidia"
    BusID  "PCI:3:0:0"
EndSection
"""
XORG_AFTER = """\
Section "Device"
    Identifier "Card0"
    Driver     "{}"
# not on KVM:     BusID      "PCI:0:15:0"
EndSection
Section "InputDevice"
    Driver "mouse"
EndSection
Section "Device"
    Driver "nvidia"
    BusID  "PCI:3:0:0"
EndSection
"""


@pytest.mark.parametrize("driver", ["modesetting", "vesa"])
def test_x_is_given_a_display_driver_that_it_has(driver: str) -> None:
    path = "/etc/X11/xorg.conf"
    folder = "/usr/lib64/xorg/modules/drivers"
    guest = guest_with({path: XORG, f"{folder}/{driver}_drv.so": ""})
    assert paths(fixed(guest)) == [path]
    assert guest.read(path) == XORG_AFTER.format(driver)


def test_logins_on_xens_console_are_on_the_serial_port() -> None:
    before = "id:3:initdefault:\nco:2345:respawn:/sbin/agetty xvc0 9600 vt100-nav\n"
    after = "id:3:initdefault:\nco:2345:respawn:/sbin/agetty ttyS0 9600 vt100-nav\n"
    assert console.inittab(before) == after == console.inittab(after)
    both = before + "S0:2345:respawn:/sbin/agetty ttyS0\n"
    assert console.inittab(both) == both.replace("co:", "#co:")
    assert console.securetty("tty1\nhvc0\n") == "tty1\nttyS0\n"
    assert console.securetty("ttyS0\nhvc0\n") == "ttyS0\nhvc0\n"
    job = "# hvc0 - getty\nstart on runlevel [2345]\nexec /sbin/getty -L hvc0 9600\n"
    moved = job.replace("-L hvc0", "-L ttyS0")
    assert console.job(job) == moved == console.job(moved)


def test_what_xenservers_tools_put_out_is_there_again() -> None:
    text = "#1:2345:respawn:/sbin/mingetty tty1\n#x:3:once:/bin/true\n"
    assert console.inittab(text) == text
    assert console.inittab(text, xenserver=True) == text[1:]


REPO = """\
[base]
baseurl=http://mirror.example.com/
enabled=1
[vmware-tools]
baseurl=https://packages.vmware.com/tools/esx/6.5latest/rhel6/$basearch
enabled = 1
gpgcheck=1
[more]
baseurl=http://packages.vmware.com/tools/x
"""
REPO_AFTER = """\
[base]
baseurl=http://mirror.example.com/
enabled=1
[vmware-tools]
baseurl=https://packages.vmware.com/tools/esx/6.5latest/rhel6/$basearch
enabled = 0
gpgcheck=1
[more]
enabled=0
baseurl=http://packages.vmware.com/tools/x
"""


def test_repositories_with_vmwares_tools_are_put_out_of_use() -> None:
    path = "/etc/yum.repos.d/all.repo"
    guest = guest_with({path: REPO})
    assert paths(fixed(guest)) == [path]
    assert guest.read(path) == REPO_AFTER


def test_photons_own_packages_stay() -> None:
    text = "[photon]\nbaseurl=https://packages.vmware.com/photon/5.0/x\nenabled=1\n"
    assert repositories.ini(text) == text


def test_apt_sources() -> None:
    line = "deb http://packages.vmware.com/tools/esx/latest/ubuntu precise main\n"
    other = "deb http://deb.debian.org/debian bookworm main\n"
    assert repositories.apt_list(other + line) == f"{other}# {line}"
    ours = "Types: deb\nURIs: http://packages.vmware.com/tools/esx\n"
    theirs = "Types: deb\nURIs: http://deb.debian.org/debian\n"
    after = repositories.apt_sources(f"{theirs}\n{ours}")
    assert after == f"{theirs}\nEnabled: no\n{ours}"
    assert repositories.apt_sources(after) == after


EDITS = (
    *(modprobe.loaded, modprobe.aliases, console.inittab, console.securetty),
    *(console.job, repositories.ini, repositories.apt_list, repositories.apt_sources),
    lambda text: xorg.edited(text, "vesa"),
)


@pytest.mark.parametrize(
    "text",
    [
        "[\n" * 2**18,
        "Section\n" * 2**16,
        "EndSection\n" * 2**16,
        "\n" * 2**19,
        "a:" * 2**18,
        "alias eth0 " * 2**16,
        "http://" * 2**16,
        " " * 2**19 + "x",
        "URIs: http://packages.vmware.com/tools\n" * 2**14,
        "#1:2345:respawn:" * 2**15,
    ],
)
def test_hostile_texts_are_edited_in_no_time_and_once(text: str) -> None:
    began = time.process_time()
    for edited in EDITS:
        once = edited(text)
        assert edited(once) == once
    assert time.process_time() - began < 10


def test_a_file_with_two_names_is_edited_once(tmp_path: Path) -> None:
    """Debian's modules-load.d/modules.conf is a link to /etc/modules."""
    other = "/etc/modules-load.d/modules.conf"
    files = {"/etc/modules": "vmxnet3\nloop\n", other: "-> ../modules"}
    guest = guest_folder.guest(tmp_path, files)
    fixed(guest)
    assert guest.read("/etc/modules") == "# not on KVM: vmxnet3\nloop\n"
    assert guest.g.is_symlink(other)


def test_kvms_own_vsock_is_loaded_as_before() -> None:
    text = "vmw_vsock_virtio_transport\nvmw_vsock_vmci_transport\n"
    after = "vmw_vsock_virtio_transport\n# not on KVM: vmw_vsock_vmci_transport\n"
    assert modprobe.loaded(text) == after


def test_dpkgs_own_file_may_be_of_any_size() -> None:
    """With 7000 packages it is larger than what is read of a guest."""
    files = {"/var/lib/dpkg/status": "x" * 9_000_000}
    guest = guest_with({**files, "/var/lib/dpkg/info/walinuxagent.list": ""})
    there = Guest(tools=("azure",), package_format="deb")
    assert tools.packages(guest, there) == ("walinuxagent",)
