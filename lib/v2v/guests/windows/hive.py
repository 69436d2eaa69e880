# SPDX-License-Identifier: GPL-2.0-or-later
"""A registry hive: read, edited in memory, and saved as a whole.

Keys are named as Windows does, by their path from the hive's root with backslashes, in
any case; "" is the root.  Every edit is recorded as a Change that people can read.

hivex works on a copy on this host.  What it cannot read is a broken hive: GuestError.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hivex

from v2v.document import Change
from v2v.errors import GuestError

# As winnt.h numbers them.
SZ, EXPAND_SZ, BINARY, DWORD, MULTI_SZ, QWORD = 1, 2, 3, 4, 7, 11
# hivex puts more into one cell, where Windows wants several: it is never written.
MAX_WRITTEN = 16344  # bytes
MAX_SIZE = 512 * 2**20  # bytes of a hive
_SHOWN = 300  # characters of a value
# hivex deletes by recursion: a tree that was made to be deep would end this process.
_MAX_REMOVED = 10_000  # keys
_MAX_READ = 16  # keys whose values are remembered
_REMEDY = "see that the guest starts on the source, and shut it down there"


@dataclass(frozen=True)
class Value:
    """A value as the hive has it: ``type`` of winnt.h, ``data`` in little endian.

    Types above 11 exist (device properties), and are kept as they are.
    """

    type: int
    data: bytes

    @property
    def text(self) -> str:
        """The text up to its NUL: behind it there may be remnants of other data."""
        even = self.data[: len(self.data) & ~1]
        return even.decode("utf-16-le", "replace").partition("\0")[0]

    @property
    def texts(self) -> tuple[str, ...]:
        """The strings of a MULTI_SZ; empty ones within it are meant to be there."""
        even = self.data[: len(self.data) & ~1]
        text = even.decode("utf-16-le", "replace").rstrip("\0")
        return tuple(text.split("\0")) if text else ()

    @property
    def number(self) -> int | None:
        """The number of a DWORD or QWORD; None if it is neither."""
        size = {DWORD: 4, QWORD: 8}.get(self.type)
        if size is None or len(self.data) < size:
            return None
        return int.from_bytes(self.data[:size], "little")

    def __str__(self) -> str:
        """Return the value as people read it."""
        if self.type in (SZ, EXPAND_SZ):
            shown = f'"{self.text}"'
        elif self.type == MULTI_SZ:
            shown = f"[{', '.join(self.texts)}]"
        elif self.number is not None:
            shown = f"{self.number:#x}"
        else:
            shown = f"hex({self.type:x}):{self.data[: _SHOWN // 2].hex()}"
        return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"


def sz(text: str) -> Value:
    """Return *text* as a REG_SZ."""
    return Value(SZ, _utf16(text))


def expand_sz(text: str) -> Value:
    """Return *text* as a REG_EXPAND_SZ: Windows fills in %variables%."""
    return Value(EXPAND_SZ, _utf16(text))


def multi_sz(texts: Sequence[str]) -> Value:
    """Return *texts* as a REG_MULTI_SZ."""
    return Value(MULTI_SZ, b"".join(map(_utf16, texts)) + b"\0\0")


def dword(number: int) -> Value:
    """Return *number* as a REG_DWORD."""
    return Value(DWORD, number.to_bytes(4, "little"))


def qword(number: int) -> Value:
    """Return *number* as a REG_QWORD."""
    return Value(QWORD, number.to_bytes(8, "little"))


def binary(data: bytes) -> Value:
    """Return *data* as a REG_BINARY."""
    return Value(BINARY, data)


def _utf16(text: str) -> bytes:
    return f"{text}\0".encode("utf-16-le", "surrogatepass")


class Hive:
    """One hive: ``name`` ("SYSTEM") is what its changes are shown under."""

    def __init__(self, name: str, file: Path) -> None:
        """Open the hive in *file*, which is not written.

        Raises GuestError if it is none, or broken.
        """
        self.name = name
        self._changes: dict[str, Change] = {}
        # hivex looks through all names for each: that takes its time where there are
        # many, so they are remembered.
        self._children: dict[int, dict[str, int]] = {}
        self._read: dict[int, tuple[tuple[str, Value], ...]] = {}
        if file.stat().st_size > MAX_SIZE:
            raise GuestError(
                f"the guest's {name} hive is too large: "
                f"{file.stat().st_size / 2**20:.0f} MiB of at most {MAX_SIZE // 2**20}",
                _REMEDY,
            )
        with self._reading():
            self._hivex = _Hivex(str(file), write=True)
            self._root = self._hivex.root()

    @property
    def changes(self) -> list[Change]:
        """What was edited, each value or key once."""
        return list(self._changes.values())

    def exists(self, key: str) -> bool:
        """Whether there is a key *key*."""
        with self._reading():
            return self._node(key) is not None

    def keys(self, key: str) -> list[str]:
        """Return the names of the keys in *key*; none if it is not there."""
        with self._reading():
            node = self._node(key)
            if node is None:
                return []
            names = map(self._hivex.node_name, self._hivex.node_children(node))
            return [name for name in names if name]

    def values(self, key: str) -> dict[str, Value]:
        """Return the values of *key* by name, "" being the default value."""
        with self._reading():
            node = self._node(key)
            return {} if node is None else dict(self._values(node))

    def value(self, key: str, name: str) -> Value | None:
        """Return the value *name* (in any case) of *key*."""
        with self._reading():
            node = self._node(key)
            return None if node is None else self._value(node, name)

    def text(self, key: str, name: str) -> str | None:
        """Return the text of the value *name* of *key*; None if it is no text."""
        value = self.value(key, name)
        return value.text if value and value.type in (SZ, EXPAND_SZ) else None

    def texts(self, key: str, name: str) -> tuple[str, ...]:
        """Return the strings of the MULTI_SZ *name* of *key*; none if it is none."""
        value = self.value(key, name)
        return value.texts if value and value.type == MULTI_SZ else ()

    def number(self, key: str, name: str) -> int | None:
        """Return the number *name* of *key*; None if it is no DWORD or QWORD."""
        value = self.value(key, name)
        return value.number if value else None

    def set(self, key: str, name: str, value: Value, reason: str) -> None:
        """Set *name* of *key* to *value*; the key is made if it is not there."""
        if len(value.data) > MAX_WRITTEN:
            raise GuestError(
                f"{self.name}\\{key}\\{name} would have {len(value.data)} bytes, "
                f"of at most {MAX_WRITTEN}",
                "shorten the lists that it is made of on the source",
            )
        with self._reading():
            node = self._made(key)
            before = self._value(node, name)
            if before == value:
                return
            spelled = next(
                (n for n, _ in self._values(node) if n.lower() == name.lower()), name
            )
            self._read.pop(node, None)
            self._hivex.node_set_value(
                node, {"key": spelled, "t": value.type, "value": value.data}
            )
        self._record(f"{key}\\{name or '(default)'}", reason, before, value)

    def unset(self, key: str, name: str, reason: str) -> None:
        """Delete the value *name* of *key*, if there is one."""
        with self._reading():
            node = self._node(key)
            before = None if node is None else self._value(node, name)
            if node is None or before is None:
                return
            kept: list[dict[str, object]] = [
                {"key": n, "t": v.type, "value": v.data}
                for n, v in self._values(node)
                if n.lower() != name.lower()
            ]
            self._read.pop(node, None)
            self._hivex.node_set_values(node, kept)
        self._record(f"{key}\\{name or '(default)'}", reason, before, None)

    def remove(self, key: str, reason: str) -> None:
        """Delete *key* with all that is in it, if there is one."""
        with self._reading():
            node = self._node(key)
            if node is None:
                return
            if node == self._root:
                raise ValueError("the root of a hive cannot be removed")
            values = "; ".join(f"{n or '(default)'}={v}" for n, v in self._values(node))
            self._prove_small(node, key)
            self._children.clear()
            self._read.clear()
            self._hivex.node_delete_child(node)
        path = f"{self.name}\\{key}"
        self._changes[path] = Change(
            path=path, kind="delete", reason=reason, before=values[:_SHOWN] or None
        )

    def save(self, file: Path) -> None:
        """Write the hive, with its edits, to *file*, and prove that it can be read."""
        with self._reading():
            self._hivex.commit(str(file))
        Hive(self.name, file)

    def _record(
        self, where: str, reason: str, before: Value | None, after: Value | None
    ) -> None:
        path = f"{self.name}\\{where}"
        was = str(before) if before else None
        if path in self._changes:
            was = self._changes[path].before
        kind: Any = "edit" if was is not None and after else "create"
        change = Change(
            path=path,
            kind=kind if after else "delete",
            reason=reason,
            before=was,
            after=str(after) if after else None,
        )
        if change.before == change.after:
            self._changes.pop(path, None)
        else:
            self._changes[path] = change

    def _prove_small(self, node: int, key: str) -> None:
        """Raise GuestError if there is more in *node* than Windows puts anywhere."""
        left, count = [node], 0
        while left:
            left += self._hivex.node_children(left.pop())
            count += 1
            if count > _MAX_REMOVED:
                raise GuestError(
                    f"{self.name}\\{key} has more than {_MAX_REMOVED} keys",
                    "see on the source what fills it, and remove it there",
                )

    def _node(self, key: str) -> int | None:
        node: int | None = self._root
        for name in filter(None, key.split("\\")):
            if node is None:
                return None
            node = self._within(node).get(name.lower())
        return node

    def _made(self, key: str) -> int:
        node = self._root
        for name in filter(None, key.split("\\")):
            children = self._within(node)
            child = children.get(name.lower())
            if child is None:
                child = self._hivex.node_add_child(node, name)
                children[name.lower()] = child
            node = child
        return node

    def _within(self, node: int) -> dict[str, int]:
        """Return the keys in *node* by their names in lower case; of two the first."""
        known = self._children.get(node)
        if known is None:
            known = self._children[node] = {}
            for child in self._hivex.node_children(node):
                known.setdefault(self._hivex.node_name(child).lower(), child)
        return known

    def _values(self, node: int) -> tuple[tuple[str, Value], ...]:
        known = self._read.get(node)
        if known is None:
            known = tuple(self._values_of(node))
            if len(self._read) >= _MAX_READ:
                self._read.clear()
            self._read[node] = known
        return known

    def _values_of(self, node: int) -> Iterator[tuple[str, Value]]:
        for value in self._hivex.node_values(node):
            kind, data = self._hivex.value_value(value)
            yield self._hivex.value_key(value), Value(kind, data)

    def _value(self, node: int, name: str) -> Value | None:
        # node_get_value raises an error that says "Success" for what is not there.
        wanted = name.lower()
        return next((v for n, v in self._values(node) if n.lower() == wanted), None)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, UnicodeError) as e:
            # The bindings raise nothing else for what they cannot read.
            raise GuestError(
                f"the guest's {self.name} hive is broken: {e}", _REMEDY
            ) from e


class _Hivex(hivex.Hivex):
    """The binding, that may be thrown away when it could not be opened."""

    def __del__(self) -> None:
        if hasattr(self, "_o"):
            super().__del__()  # type: ignore[misc]
