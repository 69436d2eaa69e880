# SPDX-License-Identifier: GPL-2.0-or-later
"""Keys are named as virt-v2v names them, but are only ever in files."""

import os
from pathlib import Path
from typing import cast

import pytest

from v2v.errors import HostError, UsageError
from v2v.guests import encryption
from v2v.guests.appliance import Appliance
from v2v.guests.devices import Device
from v2v.guests.encryption import Key
from v2v.steps import inside, inspect

LOCKED = Device(name="/dev/sda2", type="crypto_LUKS", uuid="C0FFEE-1")


@pytest.mark.parametrize(
    ("selector", "fits"),
    [
        ("all", True),
        ("/dev/sda2", True),
        ("c0ffee-1", True),
        ("C0FFEE-1", True),
        ("/dev/sda1", False),
        ("c0ffee-2", False),
    ],
)
def test_what_a_key_is_for(selector: str, fits: bool) -> None:
    assert Key(selector=selector, secret="x").fits(LOCKED) == fits


def test_the_first_line_of_the_file_is_the_passphrase(tmp_path: Path) -> None:
    file = tmp_path / "pass:word"
    file.write_text("open sesame\nand more\n")
    [key] = encryption.keys((f"/dev/sda2:file:{file}",))
    assert (key.selector, key.secret) == ("/dev/sda2", "open sesame")
    assert "sesame" not in repr(key)


def test_a_pipe_is_read_once() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"secret\n")
    os.close(writing)
    words = (f"all:file:/dev/fd/{reading}",)
    assert encryption.keys(words) == encryption.keys(words)
    assert encryption.keys(words)[0].secret == "secret"
    os.close(reading)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("all:key:hunter2", "command line"),
        ("all:clevis", "Tang"),
        ("all", "SELECTOR:file:FILE"),
        ("hunter2:", "SELECTOR:file:FILE"),
    ],
)
def test_other_forms_are_refused_and_never_repeat_a_secret(
    word: str, says: str
) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        encryption.keys((word,))
    assert "hunter2" not in caught.value.message + caught.value.remedy


@pytest.mark.parametrize("content", [None, b"", b"\n", b"a\0b\n", b"\xff\xfe\n"])
def test_a_file_without_a_passphrase_is_said_to_be_one(
    tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(HostError, match="--key"):
        encryption.keys((f"all:file:{file}",))


def test_only_what_no_key_opened_is_locked() -> None:
    inside = Device(name="/dev/mapper/x", type="ext4", container="/dev/sda2")
    other = Device(name="/dev/sdb", type="crypto_LUKS")
    assert encryption.locked([LOCKED, inside, other]) == [other]


def test_the_commands_refuse_a_bad_key_before_any_work() -> None:
    words = ("all:key:hunter2",)
    with pytest.raises(UsageError):
        inside.check(inside.Fixup(keys=words))
    with pytest.raises(UsageError):
        inspect.check(inspect.Wanted(keys=words))


class Opening:
    """An appliance that opens everything, and notes as what."""

    def __init__(self) -> None:
        self.g = self
        self.names: list[str] = []

    def cryptsetup_open(self, device: str, key: str, name: str) -> None:
        self.names.append(name)


def test_a_header_does_not_choose_the_name_that_it_is_opened_by() -> None:
    uuid = "d12b1045-0000-4000-8000-000000000003"
    texts = {
        "/dev/sda1": uuid,
        "/dev/vg/a": ";reboot",
        "/dev/sdb": "x",
        "/dev/sdc": "x",
    }
    there = [Device(name=n, type="crypto_LUKS", uuid=u) for n, u in texts.items()]
    running = Opening()
    key = Key(selector="all", secret="x")
    found = dict(encryption._unlocked(cast(Appliance, running), there, [key]))
    assert running.names == [
        *(f"luks-{uuid}", "luks-_dev_vg_a", "luks-_dev_sdb", "luks-_dev_sdc"),
    ]
    assert found[f"/dev/mapper/luks-{uuid}"] == "/dev/sda1"
