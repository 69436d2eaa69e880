# SPDX-License-Identifier: GPL-2.0-or-later
"""Find the device that a name in a guest's files means: all that udev has links for.

What is known from the devices is asked first; mdadm.conf, crypttab and LVM only when a
name calls for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from v2v.document import Disk
from v2v.guests.appliance import Appliance
from v2v.guests.devices import Device
from v2v.guests.linux import order
from v2v.guests.linux.fstab import unquoted

MDADM = ("/etc/mdadm/mdadm.conf", "/etc/mdadm.conf")
CRYPTTAB = "/etc/crypttab"
_TAGS = {
    "UUID": "uuid",
    "LABEL": "label",
    "PARTUUID": "partition_uuid",
    "PARTLABEL": "partition_label",
}
_LINKS = {f"/dev/disk/by-{tag.lower()}": tag for tag in _TAGS}
_BY_ID = "/dev/disk/by-id/"
_HEX = re.compile(r"\\x([0-9a-fA-F]{2})")
_LVM_UUID = re.compile(r"dm-uuid-LVM-(\w{32})(\w{32})")
_CRYPT_UUID = re.compile(r"dm-uuid-CRYPT-\w+?-([0-9a-f]{32})-.*")
_ARRAY = re.compile(r"/dev/(md/?[\w.:-]+?)(p\d+)?")
_MAX_LINES = 1000


class Resolver:
    """What names mean in the guest whose root is mounted in the appliance."""

    def __init__(
        self,
        appliance: Appliance,
        devices: Sequence[Device],
        disks: Sequence[Disk] = (),
    ) -> None:
        """Take what is there as *devices*, and the VM's *disks*, in its order."""
        self.appliance = appliance
        self.devices = devices
        self.disks = disks
        self._learned: dict[str, str] = {}
        # What was asked once: a guest's files may ask a thousand times.
        self._asked: dict[tuple[str, str], str | dict[str, str]] = {}
        self.by_name = {device.name: device for device in devices}
        self.by_name |= {
            mapper(device.name): device
            for device in devices
            if device.name.count("/") == 3
            and not device.name.startswith(("/dev/mapper/", "/dev/md/"))
        }

    def device(self, spec: str) -> Device | None:
        """Return the device that *spec* means, if it is there and no other is meant."""
        kind, equals, value = unquoted(spec).partition("=")
        if equals:
            return self._tagged(kind, value)
        folder, _, name = spec.rpartition("/")
        if folder in _LINKS:
            return self._tagged(_LINKS[folder], unescaped(name))
        if spec.startswith("/dev/mapper/"):
            return self.by_name.get(spec) or self._unlocked(name)
        if spec.startswith(_BY_ID) and (found := self._identified(name)):
            return found
        if match := _ARRAY.fullmatch(spec):
            array = self._array(match[1])
            return self.by_name.get(f"{array}{match[2] or ''}") if array else None
        meant = order.device(spec, self.disks, self._learned)
        return self.by_name.get(meant or spec)

    def learn(self, spec: str, root: str) -> None:
        """Take it that *spec* means the device *root*, whatever the order says."""
        self._learned = order.learned(spec, root, self.disks)

    def _tagged(self, tag: str, value: str) -> Device | None:
        field = _TAGS.get(tag)
        if field is None or not value:
            return None
        found = [
            device
            for device in self.devices
            if (own := getattr(device, field))
            and (own == value or (tag.endswith("UUID") and _same(own, value)))
        ]
        return _one(found)

    def _identified(self, name: str) -> Device | None:
        """Return what the link *name* in by-id means, of those that software gives."""
        if match := _LVM_UUID.fullmatch(name):
            return self._volume(match[1], match[2])
        if match := _CRYPT_UUID.fullmatch(name):
            return self._opened(match[1])
        kind, _, rest = name.partition("-name-")
        if kind == "dm" and rest:
            return self.by_name.get(f"/dev/mapper/{rest}") or self._unlocked(rest)
        if kind == "md" and rest:
            return self._with_array("name", rest)
        if name.startswith("md-uuid-"):
            return self._with_array("uuid", name.removeprefix("md-uuid-"))
        return None

    def _volume(self, group: str, volume: str) -> Device | None:
        for name, device in self.by_name.items():
            if name.count("/") != 3 or name.startswith(("/dev/mapper/", "/dev/md/")):
                continue
            if self._uuid("lv", name) == volume:
                own = self._uuid("vg", name.split("/")[2])
                return device if own == group else None
        return None

    def _uuid(self, kind: str, name: str) -> str:
        """Return the UUID, without hyphens, of a volume (lv) or a group (vg)."""
        if (kind, name) not in self._asked:
            g = self.appliance.g
            uuid = g.lvuuid(name) if kind == "lv" else g.vguuid(name)
            self._asked[kind, name] = _plain(uuid)
        return str(self._asked[kind, name])

    def _text(self, path: str) -> str:
        if ("file", path) not in self._asked:
            self._asked["file", path] = self.appliance.read(path) or ""
        return str(self._asked["file", path])

    def _unlocked(self, name: str) -> Device | None:
        """Return what crypttab opens as *name*, if it is opened here."""
        for fields in self._crypttab():
            if fields[0] == name:
                device = self.device(fields[1])
                return self._opened(device.uuid) if device and device.uuid else None
        return None

    def _crypttab(self) -> Iterator[list[str]]:
        for line in self._text(CRYPTTAB).splitlines()[:_MAX_LINES]:
            fields = line.split()
            # A source that is itself a mapper name may lead round in a circle.
            odd = len(fields) < 2 or "mapper" in fields[1] or "dm-name" in fields[1]
            if not odd and fields[0][0] != "#":
                yield fields

    def _opened(self, uuid: str) -> Device | None:
        """Return what the encrypted device with *uuid* was opened as."""
        locked = {d.name for d in self.devices if d.uuid and _same(d.uuid, uuid)}
        return _one([d for d in self.devices if d.container in locked])

    def _array(self, name: str) -> str | None:
        """Return the array that the guest calls *name*: md0, md/0, md/home.

        By mdadm.conf, else by the name that the array itself bears.
        """
        short = name.removeprefix("md/")
        alike = {f"/dev/{name}", f"/dev/md/{short}", f"/dev/md{short}"}
        if short.startswith("md"):
            alike |= {f"/dev/{short}", f"/dev/md/{short[2:]}"}
        for words in self._arrays():
            if words[1] in alike or f"/dev/{words[1]}" in alike:
                for word in words[2:]:
                    key, _, value = word.partition("=")
                    if key.lower() in ("uuid", "name"):
                        found = self._with_array(key.lower(), value)
                        return found.name if found else None
        number = short.removeprefix("md")
        for own in (short, number):
            if found := self._with_array("name", own):
                return found.name
        return None

    def _arrays(self) -> Iterator[list[str]]:
        for path in MDADM:
            # A line that starts with a blank goes on with the one before.
            text = re.sub(r"\n[ \t]+", " ", self._text(path))
            for line in text.splitlines()[:_MAX_LINES]:
                words = line.split()
                if len(words) > 2 and words[0].upper() == "ARRAY":
                    yield words

    def _with_array(self, key: str, value: str) -> Device | None:
        """Return the array whose uuid or name is *value*; its name may have a host."""
        for device in self.devices:
            if not device.name.startswith("/dev/md"):
                continue
            own = self._detail(device.name).get(key, "")
            if key == "uuid" and _same(own, value):
                return device
            if key == "name" and value in (own, own.partition(":")[2]):
                return device
        return None

    def _detail(self, name: str) -> dict[str, str]:
        if ("md", name) not in self._asked:
            try:
                self._asked["md", name] = self.appliance.g.md_detail(name)
            except RuntimeError:
                # A partition on an array, or one that is not running.
                self._asked["md", name] = {}
        found = self._asked["md", name]
        return found if isinstance(found, dict) else {}


def mapper(name: str) -> str:
    """Return /dev/mapper/VG-LV for the logical volume /dev/VG/LV."""
    _, _, group, volume = name.split("/")
    return f"/dev/mapper/{group.replace('-', '--')}-{volume.replace('-', '--')}"


def unescaped(name: str) -> str:
    r"""Return what udev writes as *name* in a link: a blank is ``\x20`` there."""
    octets = _HEX.sub(lambda match: chr(int(match[1], 16)), name)
    try:
        return octets.encode("latin-1").decode()
    except UnicodeError:
        return octets


def _one(found: list[Device]) -> Device | None:
    """Return the one device of *found*.

    The devices of one btrfs are as good as one another.
    """
    if len(found) == 1 or (found and {d.type for d in found} == {"btrfs"}):
        return found[0]
    return None


def _same(one: str, other: str) -> bool:
    """Whether two UUIDs are the same, whatever is between their digits."""
    return bool(one) and _plain(one).lower() == _plain(other).lower()


def _plain(uuid: str) -> str:
    # LVM's are of letters of either case.
    return uuid.replace("-", "").replace(":", "")
