# SPDX-License-Identifier: GPL-2.0-or-later
"""Registry hives for tests, made from what a test says is in them; and the real ones.

    file = hives.made(tmp_path / "SYSTEM", {
        "Select": {"Current": 1, "Default": 1},
        r"ControlSet001\\Services\\x": {"Start": 0, "ImagePath": hives.expand("…")},
    })

A value is a DWORD (int), SZ (str), MULTI_SZ (list), BINARY (bytes), or its type and its
bytes (a pair).  "" is the name of a key's default value.
"""

from __future__ import annotations

import lzma
import struct
from collections.abc import Mapping
from functools import reduce
from operator import xor
from pathlib import Path

import hivex

Content = int | str | bytes | list[str] | tuple[int, bytes]
Keys = Mapping[str, Mapping[str, Content]]

SZ, EXPAND_SZ, BINARY, DWORD, MULTI_SZ, QWORD = 1, 2, 3, 4, 7, 11
# As winnt.h has them: who may do what, SYSTEM and Administrators all, Everyone read.
_ALL, _READ = 0xF003F, 0x20019
_SYSTEM = b"\1\1\0\0\0\0\0\5" + struct.pack("<I", 18)
_ADMINISTRATORS = b"\1\2\0\0\0\0\0\5" + struct.pack("<II", 32, 544)
_EVERYONE = b"\1\1\0\0\0\0\0\1" + struct.pack("<I", 0)
_PAGE = 4096
_NONE = 0xFFFFFFFF

# What inspection asks of any Windows, for tests to add to: 10 22H2, and a server.
SYSTEM: Keys = {
    "Select": {"Current": 1, "Default": 1, "Failed": 0, "LastKnownGood": 1},
    r"ControlSet001\Services\Tcpip\Parameters": {"Hostname": "MADE"},
    r"ControlSet001\Control\ProductOptions": {"ProductType": "WinNT"},
    r"ControlSet001\Control\Session Manager\Environment": {
        "PROCESSOR_ARCHITECTURE": "AMD64"
    },
    "MountedDevices": {
        r"\DosDevices\C:": bytes.fromhex("3ea0be5c0000100000000000"),
    },
}
_VERSION = r"Microsoft\Windows NT\CurrentVersion"
SOFTWARE: Keys = {
    _VERSION: {
        "ProductName": "Windows 10 Pro",
        "EditionID": "Professional",
        "InstallationType": "Client",
        "CurrentVersion": "6.3",
        "CurrentMajorVersionNumber": 10,
        "CurrentMinorVersionNumber": 0,
        "CurrentBuildNumber": "19045",
        "UBR": 3803,
        "DisplayVersion": "22H2",
        "SystemRoot": r"C:\Windows",
        "PathName": r"C:\Windows",
    }
}
SERVER: Keys = {
    _VERSION: {
        **SOFTWARE[_VERSION],
        "ProductName": "Windows Server 2022 Standard",
        "EditionID": "ServerStandard",
        "InstallationType": "Server",
        "CurrentBuildNumber": "20348",
        "DisplayVersion": "21H2",
    }
}


def made(file: Path, keys: Keys) -> Path:
    """Write a hive with *keys* (``A\\B\\C`` -> its values) to *file*; return it.

    Several keys of one path but for case are one key, as they are in Windows.
    """
    file.write_bytes(empty())
    return extended(file, keys)


def extended(file: Path, keys: Keys) -> Path:
    """Add *keys* to the hive in *file*; return it."""
    hive = hivex.Hivex(str(file), write=True)
    for path, values in keys.items():
        node = hive.root()
        for name in filter(None, path.split("\\")):
            child = hive.node_get_child(node, name)
            node = hive.node_add_child(node, name) if child is None else child
        for name, content in values.items():
            type_, data = raw(content)
            hive.node_set_value(node, {"key": name, "t": type_, "value": data})
    hive.commit(None)
    return file


def with_keys(*all_: Keys) -> Keys:
    """Return the keys and values of *all_* in one; later values win."""
    merged: dict[str, dict[str, Content]] = {}
    for keys in all_:
        for path, values in keys.items():
            merged.setdefault(path, {}).update(values)
    return merged


def raw(content: Content) -> tuple[int, bytes]:
    """Return the type and bytes of a value."""
    if isinstance(content, tuple):
        return content
    if isinstance(content, int):
        return DWORD, struct.pack("<I", content)
    if isinstance(content, bytes):
        return BINARY, content
    if isinstance(content, str):
        return SZ, _text(content)
    return MULTI_SZ, b"".join(map(_text, content)) + b"\0\0"


def expand(text: str) -> Content:
    """Return an EXPAND_SZ, such as ``%SystemRoot%\\inf``."""
    return EXPAND_SZ, _text(text)


def qword(number: int) -> Content:
    """Return a QWORD."""
    return QWORD, struct.pack("<Q", number)


def dump(file: Path, key: str = "") -> dict[str, dict[str, tuple[int, bytes]]]:
    """Return all keys of the hive in *file*, from *key* on, with their values.

    A path starts at *key*; values are types and bytes.  For comparing hives.
    """
    hive = hivex.Hivex(str(file))
    node = hive.root()
    for name in filter(None, key.split("\\")):
        child = hive.node_get_child(node, name)
        if child is None:
            return {}
        node = child
    found: dict[str, dict[str, tuple[int, bytes]]] = {}
    todo = [(node, "")]
    while todo:
        node, path = todo.pop()
        found[path] = {}
        for value in hive.node_values(node):
            type_, data = hive.value_value(value)
            found[path][hive.value_key(value)] = type_, bytes(data)
        for child in hive.node_children(node):
            todo.append((child, f"{path}\\{hive.node_name(child)}".lstrip("\\")))
    return found


def real(shared: Path, name: str, folder: Path) -> Path:
    """Unpack the real hive *name* (…-SYSTEM, …-BCD) into *folder*; return the file."""
    file = folder / name
    file.write_bytes(content(shared, name))
    return file


def content(shared: Path, name: str) -> bytes:
    """Return the bytes of the real hive, or log, *name*."""
    return lzma.decompress((shared / "hives" / f"{name}.xz").read_bytes())


def empty() -> bytes:
    """Return a hive of nothing but its root: 8 KiB, of format 1.5."""
    security_at = 0x20 + len(_cell(_root(0)))
    root = _cell(_root(security_at))
    security = _cell(_security(security_at))
    used = 0x20 + len(root) + len(security)
    free = struct.pack("<i", _PAGE - used).ljust(_PAGE - used, b"\0")
    bin_ = struct.pack("<4sIIQQI", b"hbin", 0, _PAGE, 0, 0, 0)
    return base() + bin_ + root + security + free


def base(
    *, size: int = _PAGE, sequences: tuple[int, int] = (1, 1), kind: int = 0
) -> bytes:
    """Return the base block of a hive, or log, whose bins are *size* bytes."""
    head = struct.pack("<4sII", b"regf", *sequences)
    # Last written; format 1.5; kind (0: a hive); as it is in memory; the root's cell.
    head += struct.pack("<QIIIIIII", 0, 1, 5, kind, 1, 0x20, size, 1)
    head = head.ljust(508, b"\0")
    return (head + struct.pack("<I", checksum(head))).ljust(_PAGE, b"\0")


def checksum(head: bytes) -> int:
    """Return what belongs at 508 of a base block: of the 508 bytes before it."""
    sum_: int = reduce(xor, struct.unpack("<127I", head[:508]))
    return {0: 1, 0xFFFFFFFF: 0xFFFFFFFE}.get(sum_, sum_)


def _text(text: str) -> bytes:
    return text.encode("utf-16-le") + b"\0\0"


def _cell(data: bytes) -> bytes:
    """Return *data* as a cell in use: its size, negative, is a multiple of 8."""
    size = (len(data) + 4 + 7) & ~7
    return struct.pack("<i", -size) + data.ljust(size - 4, b"\0")


def _root(security_at: int) -> bytes:
    """Return the root's key node, which is 0x2C: a root, never deleted, named ASCII."""
    name = b"CMI-CreateHive{made}"
    node = struct.pack("<2sHQII", b"nk", 0x2C, 0, 0, _NONE)
    # No subkeys, of disk and of memory; no values; its security; no class.
    node += struct.pack("<IIII", 0, 0, _NONE, _NONE)
    node += struct.pack("<IIII", 0, _NONE, security_at, _NONE)
    node += struct.pack("<IIIIIHH", 0, 0, 0, 0, 0, len(name), 0)
    return node + name


def _security(at: int) -> bytes:
    """Return the descriptor all keys share; it is the only one of its list."""
    rights = ((_SYSTEM, _ALL), (_ADMINISTRATORS, _ALL), (_EVERYONE, _READ))
    entries = b"".join(
        # Allowed, and for the keys below as well.
        struct.pack("<BBHI", 0, 2, 8 + len(who), what) + who
        for who, what in rights
    )
    acl = struct.pack("<BBHHH", 2, 0, 8 + len(entries), len(rights), 0) + entries
    owner_at = 20 + len(acl)
    group_at = owner_at + len(_ADMINISTRATORS)
    # Self-relative, with a DACL.
    head = struct.pack("<BBHIIII", 1, 0, 0x8004, owner_at, group_at, 0, 20)
    descriptor = head + acl + _ADMINISTRATORS + _SYSTEM
    return struct.pack("<2sHIIII", b"sk", 0, at, at, 1, len(descriptor)) + descriptor
