# SPDX-License-Identifier: GPL-2.0-or-later
"""Read the network cards of a netplan file: netplan-yaml(5).

As much of YAML as such files are written in: block mappings and lists, lists in
brackets, quoted words and comments.  What is beyond that is passed over; a YAML
library would be a dependency for this alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from v2v.document import Interface

# The keys of a line's folders, the outermost first: network, ethernets, ens192 …
_Place = tuple[str, ...]
_ENTRY = re.compile(r"""([^\s:#"'][^:#]*|"[^"]*"|'[^']*')\s*:(?:\s+(.*))?""")
_DEEP = 20


def read(path: str, text: str) -> Iterator[Interface]:
    """Yield the cards that the netplan file *text*, found at *path*, configures."""
    cards: dict[str, dict[_Place, list[str]]] = {}
    ports: set[str] = set()
    for place, value in _values(text):
        if place[1:2] in (("bonds",), ("bridges",)) and place[3:] == ("interfaces",):
            ports.add(value)
        if place[:2] == ("network", "ethernets") and len(place) > 2:
            found = cards.setdefault(place[2], {})
            found.setdefault(place[3:], []).append(value)
    for key, values in cards.items():
        card = _card(path, key, values)
        is_port = key in ports and card.method == "unknown"
        yield card.having(method="manual") if is_port else card


def _card(path: str, key: str, values: dict[_Place, list[str]]) -> Interface:
    def one(*place: str) -> str:
        return next(iter(values.get(place, ())), "")

    addresses = [value for value in values.get(("addresses",), ()) if value]
    method: Literal["static", "dhcp", "unknown"] = "static" if addresses else "unknown"
    if one("dhcp4") in ("true", "yes", "on"):
        method = "dhcp"
    mac = one("match", "macaddress").lower()
    # With a match the key is only a label: the name is what set-name says.
    name = one("set-name") or one("match", "name") or ("" if mac else key)
    return Interface(
        name=name,
        config=path,
        method=method,
        addresses=tuple(addresses),
        mac=mac or None,
    )


def _values(text: str) -> Iterator[tuple[_Place, str]]:
    """Yield each value and the keys that lead to it; "" for a key that only leads."""
    open_: list[tuple[int, str]] = []
    for line in text.splitlines():
        line = _uncommented(line)
        words = line.strip()
        if not words or words in ("---", "..."):
            continue
        indent = len(line) - len(line.lstrip())
        item = words.startswith("- ")
        # A list's items may stand as far left as their key.
        while open_ and (
            open_[-1][0] > indent or (open_[-1][0] == indent and not item)
        ):
            open_.pop()
        place = tuple(key for _, key in open_)
        if item:
            yield place, _plain(words[2:].rstrip(":"))
        elif (match := _ENTRY.fullmatch(words)) and len(open_) < _DEEP:
            key, value = _plain(match[1]), (match[2] or "").strip()
            open_.append((indent, key))
            yield from _of_value((*place, key), value)


def _uncommented(line: str) -> str:
    return re.split(r"(?:^|\s)#", line, maxsplit=1)[0].rstrip()


def _of_value(place: _Place, value: str) -> Iterator[tuple[_Place, str]]:
    """Yield what the rest of a line holds: a value, or some in brackets."""
    inside = [word for word in value[1:-1].split(",") if word.strip()]
    if value.startswith("[") and value.endswith("]"):
        for word in inside:
            yield place, _plain(word)
    elif value.startswith("{") and value.endswith("}"):
        yield place, ""
        for word in inside:
            key, _, rest = word.partition(":")
            yield (*place, _plain(key)), _plain(rest)
    else:
        yield place, _plain(value)


def _plain(word: str) -> str:
    return word.strip().strip("\"'")
