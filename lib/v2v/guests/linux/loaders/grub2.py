# SPDX-License-Identifier: GPL-2.0-or-later
"""GRUB 2: grub.cfg, with or without boot loader specification entries, and Photon's.

grub.cfg is a script.  What is read are the lines that grub-mkconfig writes; what is
changed are tokens in them and in what the next grub-mkconfig goes by.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from v2v.errors import GuestError
from v2v.guests.linux.loaders import bls, grubenv, photon
from v2v.guests.linux.loaders.menu import MAX_ENTRIES, Entry, Files, Menu, inside

_MAIN = ("/boot/grub2/grub.cfg", "/boot/grub/grub.cfg")
_DEFAULTS = "/etc/default/grub"
_TITLE = re.compile(r"^(menuentry|submenu)\s+(?:'([^'\n]*)'|\"([^\"\n]*)\"|(\S+))")
_ID = re.compile(
    r"(?:\$\{?menuentry_id_option\}?|--id)[ =]+(?:'([^']*)'|\"([^\"]*)\"|(\S+))"
)
_COMMAND = re.compile(r"^(linux|initrd|module|multiboot)\w*\s+(\S.*)")
_SET = re.compile(
    r"^([ \t]*set[ \t]+default=)(\"[^\"\n]*\"|'[^'\n]*'|\S*)", re.MULTILINE
)
_GRUB_DEFAULT = re.compile(r"^([ \t]*GRUB_DEFAULT=).*$", re.MULTILINE)
_SAVED = re.compile(r"\$\{?saved_entry\}?")
_STEP = re.compile(r"(?<!>)>(?!>)")
_DEEPEST = 20  # of submenus in submenus
# Each entry's name has the titles of all submenus around it.
_MAX_ITEMS, _LONGEST = 2000, 300
_REMEDY = "set the default in the guest on the source: grub-set-default"


@dataclass(kw_only=True)
class _Node:
    """An item of the menu: an entry, or a submenu with ``inner`` items."""

    title: str
    id: str = ""
    entry: Entry | None = None
    inner: list[_Node] = field(default_factory=list)

    @property
    def step(self) -> str:
        """What names the item among its neighbours; ">" parts the steps of a path."""
        return (self.id or self.title).replace(">", ">>")


def config(files: Files) -> str | None:
    """Return the path of the grub.cfg that has the menu.

    Of several on the ESP and in /boot one may only lead to the other.
    """
    there = [path for path in files.texts if path.endswith("/grub.cfg")]
    # RHEL 7 and 8 have the menu on the ESP.
    ranked = sorted(there, key=lambda path: (path in _MAIN, path == _MAIN[1]))
    for path in ranked:
        if "menuentry" in files.texts[path] or "blscfg" in files.texts[path]:
            return path
    return next((path for path in _MAIN if path in there), None)


def menu(files: Files) -> Menu | None:
    """Return GRUB's menu; None if there is no grub.cfg."""
    path = config(files)
    if path is None:
        return None
    nodes = _tree(files, path)
    named = list(_named(nodes, ""))
    wanted = _default(files, path)
    return Menu(
        loader="grub2",
        entries=tuple(entry for _, entry in named)[:MAX_ENTRIES],
        default=_at(nodes, named, wanted),
    )


def _tree(files: Files, path: str) -> list[_Node]:
    """Return the items that the script at *path* shows, in its order."""
    top: list[_Node] = []
    stack: list[_Node | None] = []
    count = 0
    loose = _Node(title="")
    specified = _specified(files, path)
    for number, raw in enumerate(files.texts[path].splitlines()):
        line = raw.strip()
        if line == "}":
            del stack[-1:]
        elif len(stack) == _DEEPEST:
            continue
        elif line.endswith("{"):
            node = _shown(line, _around(stack, top)) if count < _MAX_ITEMS else None
            count += node is not None
            stack.append(node)
        elif line == "blscfg":
            top += specified
            specified = []
        elif match := _COMMAND.match(line):
            inner = next((node for node in reversed(stack) if node), loose)
            _note(inner, match[1], match[2], (path, number))
    # What is started without a menu.
    return [*top, loose] if loose.entry else top


def _shown(line: str, around: list[_Node]) -> _Node | None:
    """Return the item that *line* opens, added to those *around*; None for a block."""
    match = _TITLE.match(line)
    if not match:
        return None
    title = match[2] or match[3] or match[4] or ""
    node = _Node(title=title[:_LONGEST], id=_id(line)[:_LONGEST])
    around.append(node)
    return node


def _around(stack: list[_Node | None], top: list[_Node]) -> list[_Node]:
    """Return the list that an item at this place of the script is in."""
    return next((node.inner for node in reversed(stack) if node), top)


def _id(line: str) -> str:
    match = _ID.search(line)
    return (match[1] or match[2] or match[3] or "") if match else ""


def _specified(files: Files, path: str) -> list[_Node]:
    """Return the items for /boot/loader/entries."""
    known = {}
    env = _environment(files, path)
    if env:
        for name in ("kernelopts", "tuned_params"):
            known[name] = grubenv.value(files.texts[env], name) or ""
    found = bls.entries(files, ("/boot",), {k: v for k, v in known.items() if v})
    return [_Node(title=entry.name, id=entry.name, entry=entry) for entry in found]


def _note(node: _Node, word: str, rest: str, place: tuple[str, int]) -> None:
    """Add to *node* what the command *word* with *rest* starts."""
    words = rest.split()
    before = node.entry or Entry(name="")
    if word == "multiboot":
        node.entry = replace(before, xen=True)
    elif word == "initrd" or (word == "module" and before.kernel):
        # The last of several initramfs images; those before hold microcode.
        found = [p for w in words if (p := inside("/boot", w))]
        node.entry = replace(before, initramfs=found[-1] if found else None)
    else:
        node.entry = replace(
            before,
            kernel=inside("/boot", words[0]),
            options=" ".join(words[1:]),
            file=place[0],
            line=place[1],
        )


def _named(nodes: list[_Node], before: str) -> Iterator[tuple[str, Entry]]:
    """Yield the entries under *nodes*, each with its path, which is its name."""
    for node in nodes:
        path = f"{before}{node.step}"
        if node.entry:
            node.entry = replace(node.entry, name=path)
            yield path, node.entry
        yield from _named(node.inner, f"{path}>")


def _default(files: Files, path: str) -> str:
    """Return what GRUB's variable "default" is set to when the menu is shown."""
    match = _setting(files.texts[path])
    value = match[2].strip("\"'") if match else "0"
    if _SAVED.search(value):
        env = _environment(files, path)
        return (grubenv.value(files.texts[env], "saved_entry") if env else "") or "0"
    return value


def _setting(text: str) -> re.Match[str] | None:
    """Return the line that sets the default, but for a single boot."""
    found = [m for m in _SET.finditer(text) if "next_entry" not in m[2]]
    return found[-1] if found else None


def _environment(files: Files, path: str) -> str | None:
    """Return the path of the grubenv that the script at *path* loads."""
    beside = f"{path.rpartition('/')[0]}/grubenv"
    there = [p for p in files.texts if p.endswith("/grubenv")]
    return beside if beside in there else next(iter(there), None)


def _at(
    nodes: list[_Node], named: list[tuple[str, Entry]], wanted: str
) -> Entry | None:
    """Return the entry that *wanted* means: number, id or title, by ">" in submenus."""
    level, found = nodes, None
    for step in _STEP.split(wanted):
        found = _one(level, step)
        if found is None:
            break
        level = found.inner
    while found and not found.entry and found.inner:
        found = found.inner[0]
    if found and found.entry:
        return found.entry
    # What is not there makes GRUB start the first.
    return named[0][1] if named else None


def _one(nodes: list[_Node], step: str) -> _Node | None:
    if step.isascii() and step.isdigit() and len(step) < 6:
        number = int(step)
        return nodes[number] if number < len(nodes) else None
    plain = step.replace(">>", ">")
    return next((n for n in nodes if plain and plain in (n.id, n.title)), None)


def chosen(files: Files, entry: Entry) -> dict[str, str]:
    """Return the texts that make *entry* the default, by path.

    Raises GuestError if GRUB's files have no place to say it.
    """
    path = config(files)
    text = files.texts[path] if path else ""
    match = _setting(text)
    if path is None or match is None:
        raise GuestError(
            "GRUB's default cannot be changed: grub.cfg sets none", _REMEDY
        )
    if photon.uses(text):
        return {}
    if _SAVED.search(match[2]):
        env = _environment(files, path)
        if env is None:
            raise GuestError("GRUB's default cannot be changed: no grubenv", _REMEDY)
        return {env: grubenv.with_value(files.texts[env], "saved_entry", entry.name)}
    quoted = f'"{entry.name}"'
    changed = {path: text[: match.start(2)] + quoted + text[match.end(2) :]}
    if _DEFAULTS in files.texts:
        before = files.texts[_DEFAULTS]
        changed[_DEFAULTS] = _GRUB_DEFAULT.sub(lambda m: f"{m[1]}{quoted}", before)
    return changed
