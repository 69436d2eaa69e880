# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-guest-agent: installed offline from given packages, or by the guest itself.

Never a reason to fail, nor to hold up a boot: the guest tries at some boots, in the
background, and then gives up and says so in its log.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from v2v.document import Change, Guest
from v2v.guests.appliance import Appliance
from v2v.guests.linux.plan import Action, create, link

_UNITS = (
    "/lib/systemd/system/qemu-guest-agent.service",
    "/usr/lib/systemd/system/qemu-guest-agent.service",
)
_FOLDER = "/var/lib/v2v"
_UNIT = "/etc/systemd/system/v2v-agent.service"
_WANTED = "/etc/systemd/system/multi-user.target.wants/v2v-agent.service"
_BOOTS = 5
_INSTALL = {
    "deb": "{ apt-get -q update; apt-get -q -y -o DPkg::Lock::Timeout=60 install "
    "qemu-guest-agent; }",
    "rpm": "dnf -q -y install qemu-guest-agent || yum -q -y install qemu-guest-agent "
    "|| zypper -n install qemu-guest-agent",
}

log = logging.getLogger(__name__)


def is_there(appliance: Appliance) -> bool:
    """Whether the guest has the agent."""
    return any(appliance.g.exists(unit) for unit in _UNITS)


def plan(appliance: Appliance, guest: Guest, packages: Path | None) -> Iterator[Action]:
    """Yield what installs the agent, where it is not there yet."""
    if is_there(appliance) or guest.init != "systemd":
        return
    files = _fitting(guest, packages) if packages else []
    if files:
        yield _offline(guest, files)
    elif guest.package_format in _INSTALL and not appliance.g.exists(_UNIT):
        yield from _at_boot(guest)


def _fitting(guest: Guest, packages: Path) -> list[Path]:
    """Return the package files of the guest's kind in folder *packages*."""
    found = sorted(packages.glob(f"*.{guest.package_format}"))
    if not any(file.name.startswith("qemu-guest-agent") for file in found):
        log.warning(
            "warning: %s has no qemu-guest-agent for this guest (.%s); the guest will "
            "try to install it by itself",
            packages,
            guest.package_format,
        )
        return []
    return found


def _offline(guest: Guest, files: list[Path]) -> Action:
    def apply(appliance: Appliance) -> None:
        folder = "/var/tmp/v2v-packages"
        appliance.g.mkdir_p(folder)
        names = []
        for file in files:
            names.append(f"{folder}/{file.name}")
            appliance.g.upload(str(file), names[-1])
        command = ["dpkg", "-i"] if guest.package_format == "deb" else ["rpm", "-U"]
        try:
            appliance.g.command([*command, *names])
        except RuntimeError as e:
            log.warning("warning: the guest agent could not be installed: %s", e)
            _undo(appliance, guest)
        for name in names:
            appliance.g.rm_f(name)

    change = Change(
        path="/var/lib/dpkg" if guest.package_format == "deb" else "/var/lib/rpm",
        kind="run",
        reason="the host talks to the guest by qemu-guest-agent",
        after=" ".join(file.name for file in files),
    )
    size = sum(file.stat().st_size for file in files)
    return Action(change=change, apply=apply, space=4 * size)


def _undo(appliance: Appliance, guest: Guest) -> None:
    """Leave no half-installed package, over which the next update would stumble."""
    if guest.package_format != "deb":
        return  # rpm(8) installs all or nothing
    try:
        appliance.g.command(["dpkg", "--force-all", "--purge", "qemu-guest-agent"])
    except RuntimeError as e:
        log.warning("warning: qemu-guest-agent may be half installed: %s", e)


def _at_boot(guest: Guest) -> Iterator[Action]:
    reason = "the guest installs qemu-guest-agent at one of its first boots"
    script = _SCRIPT.format(
        boots=_BOOTS, folder=_FOLDER, install=_INSTALL[guest.package_format or "deb"]
    )
    yield create(f"{_FOLDER}/agent", script, reason, 0o755)
    yield create(_UNIT, _SERVICE.format(folder=_FOLDER), reason)
    yield link(_WANTED, _UNIT, reason)


# Type=simple: nothing waits for it, so a boot without network takes no longer.
_SERVICE = """\
# Made by v2v.  Removes itself once it has done its work, or has tried often enough.
[Unit]
Description=Install qemu-guest-agent
After=multi-user.target network-online.target

[Service]
Type=simple
ExecStart={folder}/agent
TimeoutStopSec=5

[Install]
WantedBy=multi-user.target
"""

_SCRIPT = """\
#!/bin/sh
# Made by v2v: install qemu-guest-agent, at most at {boots} boots.
log={folder}/agent.log
count=$(($(cat {folder}/agent.count 2>/dev/null || echo 0) + 1))
echo "$count" > {folder}/agent.count
export DEBIAN_FRONTEND=noninteractive
for try in 1 2 3; do
    if {install} >> "$log" 2>&1; then
        echo "installed" >> "$log"
        systemctl start qemu-guest-agent >> "$log" 2>&1
        count={boots}
        break
    fi
    sleep 60
done
if [ "$count" -ge {boots} ]; then
    systemctl disable v2v-agent.service >> "$log" 2>&1
    rm -f {unit} {folder}/agent {folder}/agent.count
fi
exit 0
""".replace("{unit}", _UNIT)
