# SPDX-License-Identifier: GPL-2.0-or-later
"""Take drivers out of the lists that load them beside others' drivers.

A filter that is listed and cannot load keeps every device of its class from starting:
STOP 0x7B for disks, Code 39 for mice (Qubes 1078).  So the lists come first, and the
driver is disabled after.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from v2v.guests.windows.hive import EXPAND_SZ, MULTI_SZ, SZ, Hive, Value, multi_sz

_PROVIDERS = ("Order", "HwOrder")
# Real guests have some hundred devices; what has more was made to take long.
_DEVICES = 20_000


def removed(hive: Hive, control_set: str, names: Collection[str], reason: str) -> None:
    """Take *names*, in lower case, out of every list of filters and providers.

    Of device classes, of single devices, and of network providers.  A list that is
    left empty is deleted.
    """
    for key in _keys(hive, control_set):
        for name, value in hive.values(key).items():
            if name.lower() in ("upperfilters", "lowerfilters"):
                _shorten(hive, key, name, value, names, reason)
    for order in _PROVIDERS:
        key = rf"{control_set}\Control\NetworkProvider\{order}"
        _without_provider(hive, key, names, reason)


def _keys(hive: Hive, control_set: str) -> Iterator[str]:
    """Yield the keys of device classes, and of devices."""
    classes = rf"{control_set}\Control\Class"
    yield from (rf"{classes}\{class_}" for class_ in hive.keys(classes))
    yield from devices(hive, control_set)


def devices(hive: Hive, control_set: str) -> Iterator[str]:
    r"""Yield the key of every device that Windows has met, ``Enum\BUS\DEVICE\ID``."""
    root = rf"{control_set}\Enum"
    left = _DEVICES
    for bus in hive.keys(root):
        for device in hive.keys(rf"{root}\{bus}"):
            for instance in hive.keys(rf"{root}\{bus}\{device}"):
                left -= 1
                if left < 0:
                    return
                yield rf"{root}\{bus}\{device}\{instance}"


def _shorten(
    hive: Hive,
    key: str,
    name: str,
    value: Value,
    names: Collection[str],
    reason: str,
) -> None:
    if value.type not in (SZ, EXPAND_SZ, MULTI_SZ):
        return
    # Some installers write a single filter as a mere string.
    listed = value.texts if value.type == MULTI_SZ else (value.text,)
    left = [word for word in listed if word.strip().lower() not in names]
    if len(left) == len(listed):
        return
    if any(left):
        hive.set(key, name, multi_sz(left), reason)
    else:
        hive.unset(key, name, reason)


def _without_provider(
    hive: Hive, key: str, names: Collection[str], reason: str
) -> None:
    value = hive.value(key, "ProviderOrder")
    if value is None or value.type not in (SZ, EXPAND_SZ):
        return
    listed = value.text.split(",")
    left = [word for word in listed if word.strip().lower() not in names]
    if len(left) < len(listed):
        data = f"{','.join(left)}\0".encode("utf-16-le", "surrogatepass")
        hive.set(key, "ProviderOrder", Value(value.type, data), reason)
