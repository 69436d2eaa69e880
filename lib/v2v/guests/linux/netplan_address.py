# SPDX-License-Identifier: GPL-2.0-or-later
"""A static address in a netplan file: netplan-yaml(5), edited line by line."""

from __future__ import annotations

import re

from v2v.guests.linux.addressing import CannotError, Static
from v2v.guests.linux.blocks import indent, under

_DEFAULT = {4: ("default", "0.0.0.0/0"), 6: ("default", "::/0")}
_OPEN = re.compile(r"[ \t]*(?:\"[^\"]*\"|'[^']*'|[^\s:#'\"]+):[ \t]*(?:#.*)?\r?\n?")


def edited(text: str, name: str, static: Static) -> str:
    """Return *text* with *static* for the card called *name*.

    Raises CannotError if that is not in block style.
    """
    lines = text.splitlines(keepends=True)
    card = _Card(lines, _head(lines, name), static)
    card.addresses()
    card.no_dhcp()
    if static.gateway:
        card.gateway(static.gateway)
    if static.dns:
        card.name_servers()
    return "".join(lines)


def _head(lines: list[str], name: str) -> int:
    """Return the line of the key of the card that is called *name*."""
    for i, line in enumerate(lines):
        if line.strip() == "ethernets:":
            for j in _keys(lines, i):
                inside = [lines[k].strip() for k in under(lines, j)]
                named = [
                    w.partition(":")[2] for w in inside if w.startswith("set-name:")
                ]
                if (named[0].strip(" \"'") if named else _key(lines[j])) == name:
                    if not _OPEN.fullmatch(lines[j]):
                        raise CannotError(f"{name} is not in block style")
                    return j
    raise CannotError(f"{name} is not in block style")


def _keys(lines: list[str], head: int) -> list[int]:
    """Return the lines of the keys right under *head*."""
    own = under(lines, head)
    return [i for i in own if indent(lines[i]) == indent(lines[own[0]])] if own else []


def _key(line: str) -> str:
    return line.strip().removeprefix("- ").partition(":")[0].strip("\"' ")


def _value(line: str) -> str:
    return line.partition(":")[2].partition(" #")[0].strip().strip("\"'")


class _Card:
    """The lines of one card, which its methods change in place."""

    def __init__(self, lines: list[str], head: int, static: Static) -> None:
        self.lines, self.head, self.static = lines, head, static
        keys = _keys(lines, head)
        more = indent(lines[head]) + 2
        self.blank = " " * (indent(lines[keys[0]]) if keys else more)

    def _find(self, name: str, head: int | None = None) -> int | None:
        keys = _keys(self.lines, self.head if head is None else head)
        return next((i for i in keys if _key(self.lines[i]) == name), None)

    def _add(self, text: str) -> None:
        """Add *text*, the lines of a key, as the card's first."""
        if not self.lines[self.head].endswith("\n"):
            self.lines[self.head] += "\n"
        made = [f"{self.blank}{line}\n" for line in text.splitlines()]
        self.lines[self.head + 1 : self.head + 1] = made

    def addresses(self) -> None:
        at = self._find("addresses")
        if at is None:
            self._add(f"addresses: [{_quoted(self.static.cidr)}]")
        else:
            old = self._items(at)
            kept = [word for word in old if not self.static.is_of_family(word)]
            self._set(at, [self.static.cidr, *kept])

    def _items(self, at: int) -> list[str]:
        """Return the items of the list at line *at*, of words only."""
        value = self.lines[at].partition(":")[2].partition(" #")[0].strip()
        if value:
            if not (value.startswith("[") and value.endswith("]")) or "{" in value:
                raise CannotError(f"line {at + 1} is no plain list")
            return [
                word.strip(" \"'") for word in value[1:-1].split(",") if word.strip()
            ]
        own = under(self.lines, at)
        items = [self.lines[i].partition(" #")[0].strip() for i in own]
        plain = [re.fullmatch(r"- *[\"']?([^\s\"']+?)[\"']?", item) for item in items]
        if not all(plain) or any(item.endswith(":") for item in items):
            raise CannotError(f"line {at + 1} is no plain list")
        return [match[1] for match in plain if match]

    def _set(self, at: int, words: list[str]) -> None:
        """Make *words* the list at line *at*, in the style that it has."""
        own = under(self.lines, at)
        if not own:
            before = self.lines[at].partition(":")[0]
            inside = ", ".join(map(_quoted, words))
            self.lines[at] = f"{before}: [{inside}]\n"
            return
        blank = " " * indent(self.lines[own[0]])
        for i in own[1:]:
            self.lines[i] = ""
        self.lines[own[0]] = "".join(f"{blank}- {_quoted(word)}\n" for word in words)
        # Lines are counted by index elsewhere, so each is one again.
        self.lines[:] = "".join(self.lines).splitlines(keepends=True)

    def no_dhcp(self) -> None:
        at = self._find(f"dhcp{self.static.family}")
        if at is not None and _value(self.lines[at]) not in ("false", "no", "off"):
            self.lines[at] = f"{self.blank}dhcp{self.static.family}: false\n"

    def gateway(self, gateway: str) -> None:
        at = self._find(f"gateway{self.static.family}")
        if at is not None:
            before = self.lines[at].partition(":")[0]
            self.lines[at] = f"{before}: {_quoted(gateway)}\n"
            return
        routes = self._find("routes")
        if routes is None:
            to = _quoted(_DEFAULT[self.static.family][1])
            self._add(f"routes:\n  - to: {to}\n    via: {_quoted(gateway)}")
        elif not self._via(routes, gateway):
            raise CannotError("it has routes, and none of them is the default")

    def _via(self, routes: int, gateway: str) -> bool:
        """Change the gateway of the default route; False if there is none."""
        wanted = False
        item: list[int] = []
        for i in [*under(self.lines, routes), -1]:
            if i < 0 or self.lines[i].lstrip().startswith("- "):
                vias = [j for j in item if _key(self.lines[j]) == "via"]
                if (
                    wanted
                    and vias
                    and self.static.is_of_family(_value(self.lines[vias[0]]))
                ):
                    before = self.lines[vias[0]].partition(":")[0]
                    self.lines[vias[0]] = f"{before}: {_quoted(gateway)}\n"
                    return True
                item, wanted = [], False
            if i >= 0:
                item.append(i)
                to = _value(self.lines[i]) if _key(self.lines[i]) == "to" else ""
                wanted = wanted or to in _DEFAULT[self.static.family]
        return False

    def name_servers(self) -> None:
        servers = list(self.static.dns)
        at = self._find("nameservers")
        if at is None:
            inside = ", ".join(map(_quoted, servers))
            self._add(f"nameservers:\n  addresses: [{inside}]")
            return
        inner = self._find("addresses", at)
        if inner is None:
            raise CannotError("nameservers is not in block style")
        self._items(inner)
        self._set(inner, servers)


def _quoted(word: str) -> str:
    """Return *word* as YAML: one with colons would be taken for a key."""
    return f'"{word}"' if ":" in word else word
