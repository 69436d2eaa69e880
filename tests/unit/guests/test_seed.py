# SPDX-License-Identifier: GPL-2.0-or-later
from pathlib import Path

import guest_folder
from v2v.guests.linux import seed

MACHINE = {"/etc/machine-id": "0123\n"}


def test_each_seed_that_is_there_is_a_new_one(tmp_path: Path) -> None:
    files = {
        "/var/lib/systemd/random-seed": "x" * 32,
        "/var/lib/random-seed": "y" * 100_000,
        "/etc/random-seed": "-> /etc/machine-id",
        **MACHINE,
    }
    appliance = guest_folder.guest(tmp_path, files)
    actions = list(seed.plan(appliance))
    assert [a.change.after for a in actions] == [
        "8192 random bytes",
        "512 random bytes",
    ]
    for action in actions:
        action.apply(appliance)
    after = guest_folder.texts(tmp_path)
    changed = {path for path in after if after[path] != files[path]}
    assert changed == {"/var/lib/systemd/random-seed", "/var/lib/random-seed"}


def test_there_is_none_where_none_was_and_the_machine_keeps_its_id(
    tmp_path: Path,
) -> None:
    appliance = guest_folder.guest(tmp_path, {"/var/lib/systemd/": "", **MACHINE})
    assert list(seed.plan(appliance)) == []
