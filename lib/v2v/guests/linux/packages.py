# SPDX-License-Identifier: GPL-2.0-or-later
"""Packages: installed offline from given files, or by the guest itself at a boot."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from v2v.document import Change, Guest
from v2v.errors import GuestError
from v2v.guests.appliance import Appliance, printable
from v2v.guests.plan import Action

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._:~=@-]*")
_PLACE = "/var/tmp/v2v-packages"
# Debian's maintainer scripts ask it before they start a service (invoke-rc.d(8)).
_POLICY = "/usr/sbin/policy-rc.d"
_DATABASES = {
    "deb": "/var/lib/dpkg",
    "rpm": "/var/lib/rpm",
    "apk": "/lib/apk/db",
    "pacman": "/var/lib/pacman",
}
_INSTALL = {
    "deb": ["dpkg", "-i"],
    "rpm": ["rpm", "-U"],
    "apk": ["apk", "add", "--no-network", "--allow-untrusted"],
    "pacman": ["pacman", "-U", "--noconfirm"],
}
_REMOVE = {
    "deb": ["dpkg", "--remove"],
    "rpm": ["rpm", "-e"],
    "apk": ["apk", "del", "--no-network"],
    "pacman": ["pacman", "-R", "--noconfirm"],
}
# What a file's name says of the machine it is for; apk's says nothing.
_ARCHES = {
    "x86_64": ("amd64", "x86_64"),
    "i386": ("i386", "i486", "i586", "i686"),
    "aarch64": ("arm64", "aarch64"),
    "ppc64le": ("ppc64el", "ppc64le"),
    "s390x": ("s390x",),
}
# Nobody is there to be asked about files that its owner has changed: they stay.
_APT = (
    "apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confdef "
    "-o Dpkg::Options::=--force-confold"
)
# If the boot before ended while dpkg was at it: apt-get would refuse to do anything.
_DPKG = "dpkg --force-confdef --force-confold --configure -a"
# {0} are the names; what is there decides, and not what the distribution is called.
_TOOLS = {
    "apt-get": (
        f"{_DPKG}; apt-get -q update; {_APT} install {{0}}",
        f"{_DPKG}; apt-get -q update && {_APT} upgrade",
    ),
    "dnf": ("dnf -q -y install {0}", "dnf -q -y upgrade"),
    "yum": ("yum -q -y install {0}", "yum -q -y update"),
    "zypper": ("zypper -n install {0}", "zypper -n update"),
    "apk": ("apk add {0}", "apk upgrade --update-cache"),
    "pacman": ("pacman -S --noconfirm {0}", "pacman -Syu --noconfirm"),
}


def is_name(name: str) -> bool:
    """Whether *name* may be a package's."""
    return bool(_NAME.fullmatch(name))


def installing(names: Iterable[str]) -> str:
    """Return the script by which a guest installs *names* itself."""
    words = " ".join(map(shlex.quote, names))
    return _script(f"install {words}", [(t, c[0]) for t, c in _TOOLS.items()], words)


def updating() -> str:
    """Return the script by which a guest updates all of its packages."""
    return _script("update all packages", [(t, c[1]) for t, c in _TOOLS.items()])


def _script(what: str, commands: Iterable[tuple[str, str]], words: str = "") -> str:
    lines = ["#!/bin/sh", f"# Made by v2v: {what}.", "export DEBIAN_FRONTEND"]
    lines += ["DEBIAN_FRONTEND=noninteractive"]
    word = "if"
    for tool, command in commands:
        lines += [f"{word} command -v {tool}; then", f"    {command.format(words)}"]
        word = "elif"
    lines += ["else", "    echo 'no package manager that is known'", "    false", "fi"]
    return "\n".join([*lines, ""])


def fitting(guest: Guest, folder: Path) -> list[Path]:
    """Return the package files in *folder* that are of the guest's kind and machine.

    A folder in it that is called as the guest's distribution, with or without its
    version (``debian12``, ``rhel``), goes before it.
    """
    distro, version = guest.distro or "", (guest.version or "").partition(".")[0]
    for name in dict.fromkeys((f"{distro}{version}", distro, "")):
        # What a guest calls itself must not lead to another folder of this host.
        if name and not is_name(name):
            continue
        files = sorted((folder / name).glob(f"*.{guest.package_format}"))
        files = [file for file in files if _for_machine(file.name, guest.arch)]
        if files:
            return files
    return []


def _for_machine(name: str, arch: str | None) -> bool:
    words = set(re.split(r"[._]", name))
    others = {w for each in _ARCHES.values() for w in each if w in words}
    if "x86_64" in name:
        others.add("x86_64")
    return not others or not arch or bool(others & set(_ARCHES.get(arch, ())))


def offline(guest: Guest, files: Sequence[Path], reason: str) -> Action:
    """Return the action that installs *files* in the appliance, by the guest's tool.

    Raises GuestError, when it is done, if the tool fails.
    """
    kind = guest.package_format or "deb"

    def apply(appliance: Appliance) -> None:
        # Anybody in the guest may have left a link there.
        appliance.g.rm_rf(_PLACE)
        appliance.g.mkdir_p(_PLACE)
        names = [f"{_PLACE}/{file.name}" for file in files]
        try:
            for file, name in zip(files, names, strict=True):
                appliance.g.upload(str(file), name)
            _ran(appliance, [*_INSTALL[kind], *names])
        finally:
            appliance.g.rm_rf(_PLACE)

    change = Change(
        path=_DATABASES[kind],
        kind="run",
        reason=reason,
        after=" ".join(file.name for file in files),
    )
    return Action(
        change=change, apply=apply, space=4 * sum(file.stat().st_size for file in files)
    )


def removed(guest: Guest, names: Sequence[str], reason: str) -> Action:
    """Return the action that removes just *names*: no dependency is solved.

    Raises GuestError, when it is done, if the tool fails.
    """
    kind = guest.package_format or "deb"
    command = [*_REMOVE[kind], *names]
    change = Change(
        path=_DATABASES[kind], kind="run", reason=reason, after=shlex.join(command)
    )
    return Action(change=change, apply=lambda a: _ran(a, command), space=2**20)


def _ran(appliance: Appliance, command: list[str]) -> None:
    """Run *command* in the guest; none of its services is started meanwhile."""
    ours = command[0] == "dpkg" and not appliance.g.exists(_POLICY)
    if ours:
        appliance.write(_POLICY, "#!/bin/sh\nexit 101\n", 0o755)
    try:
        appliance.g.command(command)
    except RuntimeError as e:
        raise GuestError(
            f"{command[0]} failed in the guest: {printable(str(e))}",
            "see that they are for this system, and that all they need is there",
        ) from e
    finally:
        if ours:
            appliance.g.rm_f(_POLICY)
