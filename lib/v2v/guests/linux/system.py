# SPDX-License-Identifier: GPL-2.0-or-later
"""What a Linux system says of itself."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Literal

from v2v.document import Guest
from v2v.guests.appliance import Appliance, printable

# e_machine of elf(5), little-endian.
_MACHINES = {3: "i386", 62: "x86_64", 183: "aarch64", 21: "ppc64le", 22: "s390x"}
_PACKAGES = {
    "deb": "/var/lib/dpkg/status",
    "rpm": "/var/lib/rpm",
    "apk": "/lib/apk/db/installed",
    "pacman": "/var/lib/pacman/local",
}
_MAX_LINES = 1000
# shlex takes the square of a word's length.
_LONGEST = 1000
# Red Hat's and SUSE's, and Debian's until 7.
_CLOCKS = ("/etc/sysconfig/clock", "/etc/default/rcS")
_LOCAL_CLOCK = re.compile(
    r"^(?:UTC=[\"']?(?:no|false)\b|HWCLOCK=[\"']?(?:-l|--localtime)\b)", re.MULTILINE
)


def described(appliance: Appliance, root: str) -> Guest:
    """Return what the system that is mounted says of itself."""
    release = _release(appliance)
    hostname = (appliance.read("/etc/hostname") or "").split()
    packages = (kind for kind, path in _PACKAGES.items() if appliance.g.exists(path))
    return Guest(
        type="linux",
        distro=release.get("ID"),
        product=release.get("PRETTY_NAME"),
        version=release.get("VERSION_ID"),
        arch=_arch(appliance),
        hostname=printable(hostname[0]) if hostname else None,
        root=root,
        package_format=next(packages, None),
    )


def clock(appliance: Appliance) -> Literal["utc", "localtime"] | None:
    """Return what the system takes its hardware clock for.

    By hwclock(8)'s file; older systems say it in a setting of their init scripts.
    """
    words = (appliance.read("/etc/adjtime") or "").split()
    if "LOCAL" in words:
        return "localtime"
    for path in _CLOCKS:
        if _LOCAL_CLOCK.search(appliance.read(path) or ""):
            return "localtime"
    return "utc" if "UTC" in words else None


def _release(appliance: Appliance) -> Mapping[str, str]:
    """os-release(5)."""
    text = appliance.read("/etc/os-release") or appliance.read("/usr/lib/os-release")
    found = {}
    for line in (text or "").splitlines()[:_MAX_LINES]:
        key, equals, value = line.partition("=")
        if equals and not key.startswith("#") and len(line) <= _LONGEST:
            try:
                found[key.strip()] = " ".join(shlex.split(value))
            except ValueError:
                continue  # an unclosed quote
    return {key: printable(value) for key, value in found.items()}


def _arch(appliance: Appliance) -> str | None:
    for path in ("/bin/sh", "/usr/bin/env", "/sbin/init"):
        if appliance.g.is_file(path, followsymlinks=True):
            head = bytes(appliance.g.pread(path, 20, 0))
            if head[:4] == b"\x7fELF" and len(head) == 20:
                return _MACHINES.get(int.from_bytes(head[18:20], "little"))
    return None
