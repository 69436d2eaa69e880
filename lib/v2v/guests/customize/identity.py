# SPDX-License-Identifier: GPL-2.0-or-later
"""The host name and the time zone: in each file where this guest has them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from v2v.errors import GuestError, UsageError
from v2v.guests.appliance import Appliance
from v2v.guests.customize.work import Parsers, Place, Settings, Work, action
from v2v.guests.plan import Action

_HOSTNAME = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
    r"(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*"
)
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")
_FILE = "/etc/hostname"
_HOSTS = "/etc/hosts"
# Files that hold it besides, or instead: SUSE; Red Hat up to 6; Gentoo.
_OLD_FILE = "/etc/HOSTNAME"
_SETTINGS = {"/etc/sysconfig/network": "HOSTNAME", "/etc/conf.d/hostname": "hostname"}
_ZONES = "/usr/share/zoneinfo"
_LOCALTIME = "/etc/localtime"
_CLOCKS = {"/etc/sysconfig/clock": ("ZONE", "TIMEZONE")}
_LOOPBACK = re.compile(r"\s*(127\.|::1\s)")


def _hostname(value: str, _: Settings) -> Work:
    if not _HOSTNAME.fullmatch(value):
        raise UsageError(f"--hostname {value}: that is no host name", "see hostname(7)")
    return Work(actions=lambda place: _renamed(place, value))


def _renamed(place: Place, name: str) -> Iterator[Action]:
    g = place.appliance.g
    old = _FILE if g.exists(_FILE) or not g.exists(_OLD_FILE) else _OLD_FILE
    needs = place.guest.init != "sysv" or g.exists(_FILE)
    if needs or not any(g.exists(path) for path in (_OLD_FILE, *_SETTINGS)):
        yield _written(_FILE, name)
    if g.exists(_OLD_FILE) and not g.is_symlink(_OLD_FILE):
        yield _written(_OLD_FILE, name)
    for path, key in _SETTINGS.items():
        text = place.appliance.read(path)
        if text is not None and assigned(text, (key,), name) != text:
            yield _set("hostname", path, (key,), name)
    before = (place.appliance.read(old) or "").split()
    if before and before[0].partition(".")[0] != "localhost":
        apply = partial(_hosts, before[0], name)
        yield action("hostname", _HOSTS, "edit", apply, after=name)


def _written(path: str, name: str) -> Action:
    def apply(appliance: Appliance) -> None:
        appliance.write(path, f"{name}\n")

    return action("hostname", path, "create", apply, after=name)


def _hosts(before: str, name: str, appliance: Appliance) -> None:
    text = appliance.read(_HOSTS)
    if text is not None and (after := in_hosts(text, before, name)) != text:
        appliance.write(_HOSTS, after)


def in_hosts(text: str, before: str, name: str) -> str:
    """Return hosts(5) *text* in which the machine's own lines call it *name*.

    Those are the ones for 127.* and ::1; of them the names *before* had are changed.
    """
    short, _, own = before.partition(".")

    def renamed(word: str) -> str:
        head, dot, domain = word.partition(".")
        if head != short or (own and dot and domain != own):
            return word
        if not dot:
            return name.partition(".")[0]
        return name if "." in name else f"{name}.{domain}"

    def changed(line: str) -> str:
        if not _LOOPBACK.match(line):
            return line
        bare, mark, comment = line.partition("#")
        words = re.split(r"(\s+)", bare)
        return "".join(map(renamed, words)) + mark + comment

    return "".join(changed(line) for line in text.splitlines(keepends=True))


def assigned(text: str, keys: tuple[str, ...], value: str) -> str:
    """Return shell-like *text* where the lines that set one of *keys* set *value*."""

    def changed(line: str) -> str:
        key, equals, rest = line.partition("=")
        if not equals or key.strip() not in keys:
            return line
        end = rest[len(rest.rstrip("\r\n")) :]
        quote = rest[0] if rest[:1] in ("'", '"') else ""
        return f"{key}={quote}{value}{quote}{end}"

    return "".join(changed(line) for line in text.splitlines(keepends=True))


def _set(option: str, path: str, keys: tuple[str, ...], value: str) -> Action:
    def apply(appliance: Appliance) -> None:
        text = appliance.read(path) or ""
        appliance.write(path, assigned(text, keys, value))

    return action(option, path, "edit", apply, after=f"{'/'.join(keys)}={value}")


def _timezone(value: str, _: Settings) -> Work:
    if not _ZONE.fullmatch(value):
        raise UsageError(
            f"--timezone {value}: that is no time zone",
            "as Europe/Berlin; see tzset(3)",
        )
    return Work(actions=lambda place: _moved(place, value))


def _moved(place: Place, zone: str) -> Iterator[Action]:
    def apply(appliance: Appliance) -> None:
        if not appliance.g.is_file(f"{_ZONES}/{zone}", followsymlinks=True):
            raise GuestError(
                f"--timezone {zone}: the guest does not know it", f"see its {_ZONES}"
            )
        appliance.g.ln_sf(f"..{_ZONES}/{zone}", _LOCALTIME)

    yield action("timezone", _LOCALTIME, "link", apply, after=zone)
    if place.appliance.g.exists("/etc/timezone"):  # Debian's, and Alpine's
        yield action("timezone", "/etc/timezone", "edit", partial(_zone, zone))
    for path, keys in _CLOCKS.items():
        if place.appliance.g.exists(path):
            yield _set("timezone", path, keys, zone)


def _zone(zone: str, appliance: Appliance) -> None:
    appliance.write("/etc/timezone", f"{zone}\n")


PARSERS: Parsers = {"hostname": _hostname, "timezone": _timezone}
