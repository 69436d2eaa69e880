# SPDX-License-Identifier: GPL-2.0-or-later
"""The host name and the time zone, wherever a guest has them."""

from pathlib import Path

import pytest

import guest_folder
from v2v.document import Guest
from v2v.errors import GuestError, UsageError
from v2v.guests import customize
from v2v.guests.customize import Place, identity
from v2v.operations import Operation

SYSTEMD = Guest(type="linux", init="systemd")
SYSV = Guest(type="linux", init="sysv")
HOSTS = "127.0.0.1 localhost\n127.0.1.1\told.example.org old # old\n10.0.0.1 old\n"
RED_HAT = "NETWORKING=yes\nHOSTNAME=old.example.org\nGATEWAY=10.0.0.1\n"


def done(
    root: Path, guest: Guest, files: dict[str, str], option: str, value: str
) -> dict[str, str]:
    """Customise a guest of *files*; return those that differ then."""
    appliance = guest_folder.guest(root, files)
    [work] = customize.parsed([Operation(name=option, value=value)])
    place = Place(appliance=appliance, guest=guest, folder=None)
    for action in list(work.actions(place)):
        action.apply(appliance)
    after = guest_folder.texts(root)
    return {path: text for path, text in after.items() if files.get(path) != text}


def test_a_new_name_is_in_hosts_as_well(tmp_path: Path) -> None:
    files = {"/etc/hostname": "old.example.org\n", "/etc/hosts": HOSTS}
    assert done(tmp_path, SYSTEMD, files, "hostname", "new.example.net") == {
        "/etc/hostname": "new.example.net\n",
        "/etc/hosts": "127.0.0.1 localhost\n"
        "127.0.1.1\tnew.example.net new # old\n10.0.0.1 old\n",
    }


@pytest.mark.parametrize(
    ("files", "after"),
    [
        (
            {"/etc/sysconfig/network": RED_HAT},
            {"/etc/sysconfig/network": RED_HAT.replace("old.example.org", "new")},
        ),
        ({"/etc/HOSTNAME": "old\n"}, {"/etc/HOSTNAME": "new\n"}),
        (
            {"/etc/conf.d/hostname": '# x\nhostname="old"\r\n', "/etc/hostname": "old"},
            {
                "/etc/conf.d/hostname": '# x\nhostname="new"\r\n',
                "/etc/hostname": "new\n",
            },
        ),
        ({"/etc/": ""}, {"/etc/hostname": "new\n"}),
    ],
)
def test_older_systems_have_it_elsewhere(
    tmp_path: Path, files: dict[str, str], after: dict[str, str]
) -> None:
    assert done(tmp_path, SYSV, files, "hostname", "new") == after


def test_the_name_localhost_is_left_where_it_was_the_old_one(tmp_path: Path) -> None:
    """What a template is called; and all of 127.0.0.1 would go with it."""
    files = {"/etc/hostname": "localhost\n", "/etc/hosts": HOSTS}
    assert done(tmp_path, SYSTEMD, files, "hostname", "new") == {
        "/etc/hostname": "new\n"
    }


@pytest.mark.parametrize("name", ["", "-a", "a_b", "a..b", "a b", "a\n", "x" * 254])
def test_what_is_no_host_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        customize.parsed([Operation(name="hostname", value=name)])


def test_the_time_zone_is_a_link_and_a_word(tmp_path: Path) -> None:
    files = {
        "/usr/share/zoneinfo/Europe/Berlin": "TZif",
        "/etc/localtime": "TZif",
        "/etc/timezone": "Etc/UTC\n",
        "/etc/sysconfig/clock": 'ZONE="UTC"\nUTC=true\n',
    }
    assert done(tmp_path, SYSTEMD, files, "timezone", "Europe/Berlin") == {
        "/etc/localtime": "-> ../usr/share/zoneinfo/Europe/Berlin",
        "/etc/timezone": "Europe/Berlin\n",
        "/etc/sysconfig/clock": 'ZONE="Europe/Berlin"\nUTC=true\n',
    }


def test_a_zone_that_the_guest_does_not_know_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(GuestError, match="does not know"):
        done(tmp_path, SYSTEMD, {"/etc/": ""}, "timezone", "Mars/Base")
    with pytest.raises(UsageError):
        customize.parsed([Operation(name="timezone", value="../../etc/shadow")])


def test_only_whole_words_of_hosts_are_the_name() -> None:
    text = "127.0.1.1 older old-x old\n"
    assert identity.in_hosts(text, "old", "new") == "127.0.1.1 older old-x new\n"


def test_the_full_name_in_hosts_changes_with_the_short_one() -> None:
    """Debian has the short one alone in /etc/hostname, and both in hosts."""
    text = "127.0.1.1 old.example.org old\n127.0.0.2 older.example.org\n"
    made = identity.in_hosts(text, "old", "new")
    assert made == "127.0.1.1 new.example.org new\n127.0.0.2 older.example.org\n"
    made = identity.in_hosts(text, "old", "new.example.net")
    assert made.startswith("127.0.1.1 new.example.net new\n")
