# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest agent: enabled, installed from files, or left to the first boots."""

import logging
from pathlib import Path

import pytest

import guest_folder
from guest_folder import handle
from v2v.document import Guest
from v2v.guests.appliance import Appliance
from v2v.guests.linux import agent, packages
from v2v.guests.plan import Action

UNIT = "/usr/lib/systemd/system/qemu-guest-agent.service"
TEXT = "[Install]\nWantedBy=dev-virtio\\x2dports-org.qemu.guest_agent.0.device\n"
WANTED = (
    "/etc/systemd/system/dev-virtio\\x2dports-org.qemu.guest_agent.0.device.wants/"
    "qemu-guest-agent.service"
)
DEBIAN = Guest(
    type="linux",
    distro="debian",
    version="12",
    init="systemd",
    arch="x86_64",
    package_format="deb",
)


def planned(
    appliance: Appliance, guest: Guest = DEBIAN, folder: Path | None = None
) -> list[Action]:
    return list(agent.plan(appliance, guest, folder))


def test_an_agent_that_nothing_starts_is_enabled_as_its_unit_says(
    tmp_path: Path,
) -> None:
    appliance = guest_folder.guest(tmp_path, {UNIT: TEXT})
    [action] = planned(appliance)
    assert (action.change.path, action.change.after) == (WANTED, UNIT)
    action.apply(appliance)
    assert planned(appliance) == []
    assert list(agent.steps(appliance, DEBIAN, None)) == []


@pytest.mark.parametrize(
    "more",
    [
        {"/lib/udev/rules.d/60-qemu-guest-agent.rules": ""},
        {"/etc/systemd/system/multi-user.target.wants/qemu-guest-agent.service": "x"},
        {"/etc/systemd/system/qemu-guest-agent.service": "-> /dev/null"},
        {UNIT: "[Service]\nExecStart=x\n"},
        {UNIT: "[Install]\nWantedBy=../../../../etc\n"},
    ],
)
def test_an_agent_that_is_started_or_masked_is_left_alone(
    tmp_path: Path, more: dict[str, str]
) -> None:
    assert planned(guest_folder.guest(tmp_path, {UNIT: TEXT, **more})) == []


@pytest.mark.parametrize(
    ("init", "files", "links"),
    [
        (
            "sysv",
            {
                "/etc/init.d/qemu-ga": "x",
                "/etc/rc.d/rc3.d/": "",
                "/etc/rc.d/rc6.d/": "",
            },
            {"/etc/rc.d/rc3.d/S99qemu-ga": "-> /etc/init.d/qemu-ga"},
        ),
        (
            "sysv",
            {"/etc/init.d/qemu-ga": "x", "/etc/rc3.d/S20qemu-ga": "x"},
            {},
        ),
        (
            "openrc",
            {"/etc/init.d/qemu-guest-agent": "x"},
            {
                "/etc/runlevels/default/qemu-guest-agent": "-> /etc/init.d/qemu-guest-"
                "agent"
            },
        ),
    ],
)
def test_other_inits_have_links_of_their_own(
    tmp_path: Path, init: str, files: dict[str, str], links: dict[str, str]
) -> None:
    appliance = guest_folder.guest(tmp_path, files)
    guest = DEBIAN.having(init=init)
    for action in planned(appliance, guest):
        action.apply(appliance)
    tree = guest_folder.texts(tmp_path)
    assert {p: t for p, t in tree.items() if t.startswith("-> ")} == links
    assert planned(appliance, guest) == []


def test_without_packages_the_guest_installs_it_itself(tmp_path: Path) -> None:
    appliance = guest_folder.guest(tmp_path, {})
    assert planned(appliance) == []
    [step] = agent.steps(appliance, DEBIAN, None)
    assert step.network
    assert "apk add qemu-guest-agent" in step.script


@pytest.fixture
def offered(tmp_path: Path) -> Path:
    folder = tmp_path / "packages"
    for name in (
        "qemu-guest-agent_7_amd64.deb",
        "qemu-guest-agent_7_arm64.deb",
        "liburing2_2_amd64.deb",
        "rhel9/qemu-guest-agent-9-1.el9.x86_64.rpm",
        "rhel8/qemu-guest-agent-8-1.el8.x86_64.rpm",
        "qemu-guest-agent-9.1-r0.apk",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


@pytest.mark.parametrize(
    ("guest", "tool", "files"),
    [
        (
            DEBIAN,
            ["dpkg", "-i"],
            ["liburing2_2_amd64.deb", "qemu-guest-agent_7_amd64.deb"],
        ),
        (
            DEBIAN.having(distro="rhel", version="9.4", package_format="rpm"),
            ["rpm", "-U"],
            ["qemu-guest-agent-9-1.el9.x86_64.rpm"],
        ),
        (
            DEBIAN.having(distro="alpine", package_format="apk"),
            ["apk", "add", "--no-network", "--allow-untrusted"],
            ["qemu-guest-agent-9.1-r0.apk"],
        ),
    ],
)
def test_packages_of_the_guests_kind_are_installed_in_the_appliance(
    tmp_path: Path, offered: Path, guest: Guest, tool: list[str], files: list[str]
) -> None:
    root = tmp_path / "guest"
    appliance = guest_folder.guest(root, {"/var/tmp/": "", "/usr/sbin/": ""})
    assert list(agent.steps(appliance, guest, offered)) == []
    [action] = planned(appliance, guest, offered)
    assert action.change.after == " ".join(files)
    action.apply(appliance)
    paths = [f"/var/tmp/v2v-packages/{name}" for name in files]
    assert handle(appliance).ran == [[*tool, *paths]]
    assert guest_folder.texts(root) == {}  # nothing is left behind


@pytest.mark.parametrize(
    "guest",
    [
        DEBIAN.having(arch="s390x"),
        DEBIAN.having(package_format="rpm", distro="../../etc"),
        DEBIAN.having(package_format=None),
    ],
)
def test_packages_for_other_systems_are_not_tried(
    tmp_path: Path, offered: Path, guest: Guest, caplog: pytest.LogCaptureFixture
) -> None:
    appliance = guest_folder.guest(tmp_path / "guest", {"/etc/": ""})
    assert planned(appliance, guest, offered) == []
    with caplog.at_level(logging.WARNING):
        assert len(list(agent.steps(appliance, guest, offered))) == 1
    assert "has no qemu-guest-agent for this guest" in caplog.text


def test_packages_that_cannot_be_installed_are_a_warning(
    tmp_path: Path,
    offered: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    appliance = guest_folder.guest(tmp_path / "g", {"/var/tmp/": "", "/usr/sbin/": ""})
    ran: list[list[str]] = []

    def command(words: list[str]) -> str:
        ran.append(words)
        if "-i" in words:
            raise RuntimeError("dependency problems")
        return ""

    monkeypatch.setattr(appliance.g, "command", command)
    [action] = planned(appliance, DEBIAN, offered)
    action.apply(appliance)
    assert "dependency problems" in caplog.text
    assert ran[-1] == ["dpkg", "--force-all", "--purge", "qemu-guest-agent"]


@pytest.mark.parametrize("name", ["-y", "a;b", "a b", "$(x)", ""])
def test_what_is_no_name_of_a_package(name: str) -> None:
    assert not packages.is_name(name)
