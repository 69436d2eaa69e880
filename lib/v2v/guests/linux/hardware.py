# SPDX-License-Identifier: GPL-2.0-or-later
"""Network configuration that holds on to the old hardware, loosened.

A card that is matched by its driver or its place on the PCI bus is not found on the new
machine, where it has another of both; its MAC stays.  Where a card is matched by more,
the old hardware is left out; where by nothing else, the MAC takes its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from v2v.document import VM
from v2v.guests.appliance import Appliance
from v2v.guests.linux.blocks import indent, is_blank, under

_DRIVER = "virtio_net"
_MAX_FILES = 100
_MAX_TEXT = 2**18  # characters
_MAX_MATCHES = 64  # in one file
REASON = "the card has another driver and another place on the bus on KVM"
_KEYFILES = "NetworkManager/system-connections"

# What a [Match] section may have besides, of systemd 197 and later.
_ENOUGH = {"name", "originalname", "macaddress", "permanentmacaddress"}
# Returns the MAC of the card that is called so; of the sole card, whatever its name.
MacOf = Callable[[str], str | None]


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A file that holds on to the old hardware, and cannot be told what to say."""

    path: str
    line: str


class _Unknown(Exception):  # noqa: N818 - an answer, not an error
    """Which card is meant cannot be told; the line that means it."""


def loosened(
    appliance: Appliance, vm: VM, known: Mapping[str, str]
) -> Iterator[tuple[str, str, str]]:
    """Yield path, text and loose text of what would not match on the new machine.

    *known* as names() returns it.
    """
    for path, before, loose in _files(appliance):
        try:
            after = loose(before, mac_of(vm, known))
        except _Unknown:
            continue  # said by bound()
        if after != before:
            yield path, before, after


def bound(appliance: Appliance, vm: VM, known: Mapping[str, str]) -> Iterator[Bound]:
    """Yield the files in which it cannot be told which card is meant."""
    for path, text, loose in _files(appliance):
        try:
            loose(text, mac_of(vm, known))
        except _Unknown as e:
            yield Bound(path=path, line=str(e))
    # SUSE 10 names a file by the place of the card.
    for path in appliance.glob("/etc/sysconfig/network/ifcfg-eth-bus-pci-*"):
        yield Bound(path=path, line=path.rpartition("ifcfg-")[2])


def mac_of(vm: VM, known: Mapping[str, str]) -> MacOf:
    """Return what tells the MAC of a card by its name."""
    macs = {name: mac for mac, name in known.items()}
    sole = vm.nics[0].mac if len(vm.nics) == 1 else None
    return lambda name: macs.get(name) or sole


def _files(
    appliance: Appliance,
) -> Iterator[tuple[str, str, Callable[[str, MacOf], str]]]:
    """Yield path, text and what loosens it, of all files that may have to be."""
    patterns = ",".join(pattern for pattern, _, _ in _STACKS)
    for path in appliance.glob("/etc/{" + patterns + "}")[:_MAX_FILES]:
        text = appliance.read(path)
        if text is None or len(text) > _MAX_TEXT:
            continue
        for pattern, word, loose in _STACKS:
            if fnmatchcase(path, f"/etc/{pattern}") and re.search(word, text):
                yield path, text, loose


def tuned(appliance: Appliance) -> list[str]:
    """Return the files that set rings or offloads of the old card."""
    found = []
    for path in appliance.glob("/etc/{" + ",".join(_TUNING) + "}")[:_MAX_FILES]:
        text = appliance.read(path) or ""
        if len(text) <= _MAX_TEXT and _TUNED.search(text):
            found.append(path)
    return found


def is_old(drivers: str) -> bool:
    """Whether none of *drivers*, names or patterns, is the new card's."""
    words = re.split(r"[\s,;]+", drivers.strip("[]\"' ;"))
    known = [word.strip("\"'") for word in words if word.strip("\"'")]
    if any(word.startswith("!") for word in known):
        return False
    return bool(known) and not any(fnmatchcase(_DRIVER, word) for word in known)


def sections(text: str, mac: MacOf) -> str:
    """Return *text* of systemd.network(5) or systemd.link(5) without old hardware."""
    lines = text.splitlines(keepends=True)
    own = [i for i, section in enumerate(_section_of(lines)) if section == "match"]
    if any(_is_negated(_key(lines[i])) for i in own):
        return text
    keys = {key for i in own if (key := _key(lines[i])[0])}
    names = re.findall(r"(?m)^[ \t]*Name[ \t]*=[ \t]*(\S+)", text)
    enough = bool(keys & _ENOUGH)
    for i in own:
        key, value = _key(lines[i])
        if key == "path" or (key == "driver" and is_old(value)):
            address = "" if enough else _address(mac, names[-1:], lines[i])
            made = f"MACAddress={address}{_ending(lines[i])}"
            lines[i] = "" if enough else made
            enough = True
    return "".join(lines)


def keyfile(text: str, mac: MacOf) -> str:
    """Return *text* of nm-settings-keyfile(5) without old hardware."""
    lines = text.splitlines(keepends=True)
    where = _section_of(lines)
    keys = {_key(line)[0] for line in lines}
    enough = bool(keys & {"interface-name", "mac-address"})
    for i, section in enumerate(where):
        key, value = _key(lines[i])
        if section != "match" or not (
            key == "path" or (key == "driver" and is_old(value))
        ):
            continue
        line, lines[i] = lines[i], ""
        if not enough:
            address = _address(mac, [], line)
            _add(lines, f"mac-address={address}{_ending(line)}")
            enough = True
    return "".join(lines)


def _add(lines: list[str], setting: str) -> None:
    """Add *setting* to the section [ethernet] of *lines*, made if it is not there."""
    for i, line in enumerate(lines):
        if line.strip().lower() in ("[ethernet]", "[802-3-ethernet]"):
            lines[i] = line + setting
            return
    blank = "" if "".join(lines[-2:]).endswith("\n") else "\n"
    lines[-1] += f"{blank}\n[ethernet]\n{setting}"


def _section_of(lines: list[str]) -> list[str]:
    """Return the section, in lower case, that each line is in; "" for its heading."""
    section = ""
    found = []
    for line in lines:
        word = line.strip()
        heading = word.startswith("[") and word.endswith("]")
        if heading:
            section = word[1:-1].lower()
        found.append("" if heading else section)
    return found


def _key(line: str) -> tuple[str, str]:
    """Return the key, in lower case, and the value of a line; "" for a comment."""
    key, equals, value = line.partition("=")
    if not equals or line.lstrip().startswith(("#", ";")):
        return "", ""
    return key.strip().lower(), value.strip()


def _address(mac: MacOf, names: list[str], line: str) -> str:
    found = mac(names[0] if names else "")
    if found is None:
        raise _Unknown(line.strip())
    return found


def _ending(line: str) -> str:
    return line[len(line.rstrip("\r\n")) :] or "\n"


def netplan(text: str, mac: MacOf) -> str:
    """Return *text* of netplan-yaml(5) without old drivers."""
    lines = text.splitlines(keepends=True)
    heads = [i for i, line in enumerate(lines) if re.match(r"[ \t]*match:", line)]
    for head in heads[:_MAX_MATCHES]:
        name = _label(lines, head)
        inline = re.match(r"([ \t]*match:[ \t]*\{)([^}\n]*)(\}.*)", lines[head], re.S)
        if inline:
            before, inside, rest = inline.groups()
            lines[head] = before + _inline(inside, mac, name) + rest
        else:
            _block(lines, head, mac, name)
    return "".join(lines)


def _label(lines: list[str], head: int) -> str:
    """Return what the card is called whose ``match`` is at *head*: set-name, or key."""
    depth = indent(lines[head])
    for i in range(head - 1, -1, -1):
        if not is_blank(lines[i]) and indent(lines[i]) < depth:
            own = [lines[j].strip() for j in under(lines, i)]
            names = [w.partition(":")[2] for w in own if w.startswith("set-name:")]
            return (names[0] if names else lines[i].strip().rstrip(":")).strip(" \"'")
    return ""


def _is_negated(setting: tuple[str, str]) -> bool:
    """Whether *setting*, key and value, matches all but some names.

    Without its driver it would match bridges and the loopback interface as well; so it
    stays, and matches nothing.  Azure has one for its second cards.
    """
    key, value = setting
    return key in ("name", "originalname") and value.startswith("!")


def _inline(inside: str, mac: MacOf, name: str) -> str:
    entries = [entry.strip() for entry in inside.split(",")]
    if any(_is_negated(_yaml(entry)) for entry in entries):
        return inside
    old = {e for e in entries if _yaml(e)[0] == "driver" and is_old(_yaml(e)[1])}
    if not old:
        return inside
    kept = [entry for entry in entries if entry not in old]
    if not any(_yaml(entry)[0] in ("macaddress", "name") for entry in kept):
        kept.append(f'macaddress: "{_address(mac, [name], inside)}"')
    return ", ".join(kept)


def _yaml(entry: str) -> tuple[str, str]:
    key, _, value = entry.strip().partition(":")
    return key.strip("\"' "), value.partition(" #")[0].strip("\"' \r\n")


def _block(lines: list[str], head: int, mac: MacOf, name: str) -> None:
    """Loosen the ``match`` whose keys are on the lines after *head*."""
    own = under(lines, head)
    if any(_is_negated(_yaml(lines[i])) for i in own):
        return
    keys = {_yaml(lines[i])[0] for i in own}
    for i in own:
        key, value = _yaml(lines[i])
        items = under(lines, i) if key == "driver" and not value else []
        value = value or " ".join(lines[j].strip().lstrip("- ") for j in items)
        if key != "driver" or not is_old(value):
            continue
        blank = lines[i][: indent(lines[i])]
        if keys & {"macaddress", "name"}:
            made = ""
        else:
            address = _address(mac, [name], lines[i])
            made = f'{blank}macaddress: "{address}"{_ending(lines[i])}'
        for j in (i, *items):
            lines[j] = ""
        lines[i] = made


# Where ethtool(8) is told what to set: rings, offloads, coalescing, speed.
_TUNING = (
    "sysconfig/network-scripts/ifcfg-*",
    "sysconfig/network/ifcfg-*",
    "network/interfaces",
    f"{_KEYFILES}/*",
)
_TUNED = re.compile(
    r"(?mi)^[ \t]*(?:ETHTOOL_(?:OPTS|OPTIONS)[ \t]*=[ \t]*[\"']?[^\s\"'].*|\[ethtool\]"
    r"|[a-z-]{2,9}[ \t]+[^\n]{0,200}\bethtool[ \t]+-[A-Z])"
)
# What a rule for udev may say of old hardware: a match of the card's parents.  One on
# USB (1-1.2:1.0) is no card of the VM's.
_OF_OLD = re.compile(
    r'(?<!\w)(?:KERNELS=="(?!\d+-\d)[^":-]{0,20}[:-][^"]*"'
    r'|(?:SUBSYSTEMS|BUS)=="(?!(?:pci|usb|virtio)")[^"]*"'
    r'|(?:ID|DEVPATH|ENV\{ID_PATH\})=="[^"]*")[ \t]*,?[ \t]*'
)
_DRIVERS = re.compile(r'(DRIVERS==)"([^"]*)"')
_MADE = re.compile(r'NAME:?="([^"]+)"')


def rules(text: str, mac: MacOf) -> str:
    """Return *text* of udev(7) rules, those for cards' names without old hardware."""
    return "".join(_rule(line, mac) for line in text.splitlines(keepends=True))


def _rule(line: str, mac: MacOf) -> str:
    name = _MADE.search(line)
    of_net = '"net"' in line or "{address}" in line
    if not name or not of_net or line.lstrip().startswith("#") or len(line) > 1000:
        return line
    old = _DRIVERS.search(line)
    after = line
    if old and old[2] != "?*" and is_old(old[2]):
        after = _DRIVERS.sub(r'\1"?*"', line)
    by_place = _OF_OLD.search(after)
    if after == line and not by_place:
        return line
    if "{address}" in line:
        return _OF_OLD.sub("", after)
    address = f'ATTR{{address}}=="{_address(mac, [name[1]], line)}", '
    start = by_place.start() if by_place else indent(after)
    return _OF_OLD.sub("", after[:start]) + address + _OF_OLD.sub("", after[start:])


# Pattern under /etc, what a file must have to be of interest, and what loosens it.
_STACKS: tuple[tuple[str, str, Callable[[str, MacOf], str]], ...] = (
    ("netplan/*.yaml", "driver", netplan),
    ("systemd/network/*.network", "(?i)driver|path", sections),
    ("systemd/network/*.link", "(?i)driver|path", sections),
    (f"{_KEYFILES}/*", "(?i)driver|path", keyfile),
    ("udev/rules.d/*.rules", "NAME", rules),
)
