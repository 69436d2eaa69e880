# SPDX-License-Identifier: GPL-2.0-or-later
"""Which name a card had, by what the guest noted while it ran: leases and logs.

Only where its configuration does not say: a name that nothing ties to a MAC.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

from v2v.document import Interface
from v2v.guests.appliance import Appliance

# A name in a log, and the MAC beside it; both bounded, so that reading stays linear.
_NAME = r"[\w.-]{1,15}"
_MAC = r"(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}"
_MAX_FILES = 100
_PIECE = 2**20  # of a file, from its end: bytes
_MAX_LINE = 1000
# dhclient says which card it asks by, and cloud-init shows a table at each boot.
_ASKING = re.compile(rf"\bLPF/({_NAME})/({_MAC})")
# e1000 says its address under the kernel's first name, which udev then changes.
_RENAMED = re.compile(rf"([0-9a-f:.]{{7,12}}) ({_NAME}): renamed from ({_NAME})")
_DRIVER = re.compile(rf"([0-9a-f:.]{{7,12}}) ({_NAME}): \([^)]{{1,60}}\) ({_MAC})")
# Hardware type 1 (Ethernet), then the address: RFC 2132, 9.14.
_CLIENT_ID = re.compile(
    r"(?i)client-?id(?:entifier)?\W{1,9}0?1:?((?:[0-9a-f]{1,2}:?){6})\b"
)
_ENTRY = re.compile(r"[ \t]*(?:- )?[ \t]*(name|mac_address):[ \t]+[\"']?([^\s\"']+)")
# Where the client's address is in what dhcpcd keeps: RFC 2131, chaddr.
_CHADDR = slice(28, 34)


def found(appliance: Appliance, wanted: set[str]) -> Iterator[Interface]:
    """Yield a name among *wanted* and its MAC, the surest source first.

    Nothing twice.  What is said of cards that other machines have is for the caller to
    tell: a copied guest keeps the old one's leases.
    """
    seen: set[tuple[str, str]] = set()
    patterns = ",".join(pattern for pattern, _ in _SOURCES)
    paths = appliance.glob("/{" + patterns + "}")
    for pattern, reader in _SOURCES:
        form = re.compile("/" + re.escape(pattern).replace(r"\*", "[^/]*"))
        for path in [p for p in paths if form.fullmatch(p)][:_MAX_FILES]:
            for name, mac in reader(path, _end(appliance, path)):
                if name in wanted and (name, mac.lower()) not in seen:
                    seen.add((name, mac.lower()))
                    yield Interface(name=name, config=path, mac=mac.lower())


def _end(appliance: Appliance, path: str) -> bytes:
    """Return the last piece of the file at *path*; nothing if it is no file."""
    if not appliance.g.is_file(path, followsymlinks=True):
        return b""
    start = max(0, appliance.g.filesize(path) - _PIECE)
    return bytes(appliance.g.pread(path, _PIECE, start))


def _lines(data: bytes) -> list[str]:
    """Return what is readable in *data*; a journal's entries lie among binary ones."""
    found_ = re.split(rb"[^\t\x20-\x7e]+", data)
    return [line.decode() for line in found_ if len(line) <= _MAX_LINE]


def lease(path: str, data: bytes) -> Iterator[tuple[str, str]]:
    """Read a lease whose client identifier is the card's address.

    dhclient's, NetworkManager's and wicked's; the name is in the file or in its name.
    """
    name = _in_file_name(path)
    for line in _lines(data):
        if match := re.search(rf'\binterface "({_NAME})"', line):
            name = match[1]
        elif name and (match := _CLIENT_ID.search(line)):
            mac = _octets(match[1])
            if mac:
                yield name, mac


def _in_file_name(path: str) -> str | None:
    """Return the card in lease-ens192-dhcp-ipv4.xml, internal-UUID-ens192.lease …"""
    name = path.rpartition("/")[2]
    for affix in (".xml", ".leases", ".lease", "-dhcp-ipv4", "-dhcp-ipv6"):
        name = name.removesuffix(affix)
    return re.split(r"[-.]", name)[-1] or None


def _octets(word: str) -> str | None:
    """Return the address that *word* spells: 0:50:56:1:2:3 or 005056010203."""
    parts = word.strip(":").split(":") if ":" in word else re.findall("..", word)
    return ":".join(part.zfill(2) for part in parts) if len(parts) == 6 else None


def dhcpcd(path: str, data: bytes) -> Iterator[tuple[str, str]]:
    """Read the packet that dhcpcd keeps as its lease."""
    name = path.rpartition("/")[2].removesuffix(".lease").removeprefix("dhcpcd-")
    if len(data) >= 236 and data[:3] == b"\x02\x01\x06":
        yield name, data[_CHADDR].hex(":")


def log(path: str, data: bytes) -> Iterator[tuple[str, str]]:
    """Read a log, the last entries first: the kernel's, dhclient's, cloud-init's."""
    said: list[tuple[str, str]] = []
    macs: dict[str, str] = {}  # by PCI address
    for line in _lines(data):
        if match := _ASKING.search(line):
            said.append((match[1], match[2]))
        elif "ci-info" in line and line.count("|") > 6:
            cells = [cell.strip() for cell in line.split("|")]
            said.append((cells[1], cells[-2]))
        elif match := _DRIVER.search(line):
            macs[match[1]] = match[3]
            said.append((match[2], match[3]))
        elif (match := _RENAMED.search(line)) and match[1] in macs:
            # What the driver said before was of the name that is gone now.
            said = [pair for pair in said if pair != (match[3], macs[match[1]])]
            said.append((match[2], macs[match[1]]))
    address = re.compile(_MAC)
    yield from (pair for pair in reversed(said) if address.fullmatch(pair[1]))


def cloud(path: str, data: bytes) -> Iterator[tuple[str, str]]:
    """Read a network configuration for cloud-init: cards as name and mac_address."""
    text = data.decode("utf-8", "replace")
    if path.endswith(".json"):
        yield from _in_json(text)
        return
    item: dict[str, str] = {}
    start = -1  # how far right the open item of a list stands
    for line in (*_lines(data), "end"):
        indent = len(line) - len(line.lstrip())
        is_item = line.lstrip().startswith("- ")
        if indent < start + (0 if is_item else 1) or (is_item and indent <= start):
            if item.keys() >= {"name", "mac_address"}:
                yield item["name"], item["mac_address"]
            item, start = {}, -1
        if is_item and start < 0:
            start = indent
        if entry := _ENTRY.match(line):
            item.setdefault(entry[1], entry[2])


def _in_json(text: str) -> Iterator[tuple[str, str]]:
    try:
        root = json.loads(text)
    except (ValueError, RecursionError):
        return
    items = root.get("config") if isinstance(root, dict) else None
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict):
            name, mac = item.get("name"), item.get("mac_address")
            if isinstance(name, str) and isinstance(mac, str):
                yield name, mac


_Reader = Callable[[str, bytes], Iterator[tuple[str, str]]]
# Without the leading slash, and the surest first.
_SOURCES: tuple[tuple[str, _Reader], ...] = (
    ("etc/cloud/cloud.cfg.d/*.cfg", cloud),
    ("var/lib/cloud/instance/network-config.json", cloud),
    ("var/lib/cloud/seed/*/network-config", cloud),
    ("var/lib/NetworkManager/*.lease", lease),
    ("var/lib/dhcp/*.leases", lease),
    ("var/lib/dhclient/*.lease*", lease),
    ("var/lib/dhcp3/*.leases", lease),
    ("var/lib/wicked/lease-*.xml", lease),
    ("var/lib/dhcpcd/*.lease", dhcpcd),
    ("var/log/messages", log),
    ("var/log/syslog", log),
    ("var/log/kern.log", log),
    ("var/log/dmesg", log),
    ("var/log/boot.log", log),
    ("var/log/cloud-init-output.log", log),
    ("var/log/journal/*/system.journal", log),
)
