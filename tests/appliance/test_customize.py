# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest with a few real programs is customised in a real appliance."""

import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import programs
from pipelines import Pipeline, command, vms
from v2v.document import Filesystem, Guest
from v2v.errors import GuestError
from v2v.guests import customize
from v2v.guests.appliance import Appliance
from v2v.guests.customize import Place
from v2v.guests.linux import fixes
from v2v.operations import Operation

pytestmark = pytest.mark.smoke

GUEST = Guest(
    type="linux",
    init="systemd",
    filesystems=(Filesystem(device="/dev/sda", type="ext4", mountpoint="/"),),
)
FILES = {
    "etc/shadow": "root:*:19000:0:99999:7:::\n",
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/config": "a = 1\nb = 2\n",
    "srv/a/big": "x" * 100_000,
    "tmp/x": "",
    "var/tmp/x": "",
    "root/x": "",
}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    folder = tmp_path_factory.mktemp("custom")
    with programs.opened(folder, FILES, "sh", "perl", "cat") as running:
        yield running


def customise(running: Appliance, *options: tuple[str, str]) -> None:
    place = Place(appliance=running, guest=GUEST, folder=None)
    works = customize.parsed(Operation(name=n, value=v) for n, v in options)
    actions = [action for work in works for action in work.actions(place)]
    fixes.apply(running, GUEST, actions)


def test_everything_that_virt_customize_does_with_files(
    opened: Appliance, tmp_path: Path
) -> None:
    """What the stand-in for libguestfs in the unit tests only claims to do."""
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "tree/sub/file").write_text("in\n")
    for name, mode in (("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.tar.xz", "w:xz")):
        with tarfile.open(tmp_path / name, mode) as tar:  # type: ignore[call-overload]
            tar.add(tmp_path / "tree/sub/file", name)
    customise(
        opened,
        ("copy-in", f"{tmp_path}/tree:/"),
        ("mkdir", "/opt/t"),
        *(("tar-in", f"{tmp_path}/{n}:/opt/t") for n in ("a.tar", "a.tar.gz")),
        ("tar-in", f"{tmp_path}/a.tar.xz:/opt/t"),
        ("upload", f"{tmp_path}/tree/sub/file:/opt"),
        ("copy", "/tree:/opt/tree"),
        ("move", "/tree:/moved"),
        ("write", "/opt/w:text"),
        ("chmod", "0600:/opt/w"),
        ("chown", "7:8:/opt/w"),
        ("link", "w:/opt/l"),
        ("append-line", "/opt/l:more"),
        ("truncate-recursive", "/moved"),
        ("scrub", "/srv/a/big"),
        ("delete", "/srv/*"),
        ("touch", "/srv/t"),
    )
    assert opened.glob("/opt/t/*") == [f"/opt/t/a.tar{e}" for e in ("", ".gz", ".xz")]
    assert opened.read("/opt/t/a.tar.xz") == "in\n"
    assert opened.read("/opt/file") == opened.read("/opt/tree/sub/file") == "in\n"
    assert opened.read("/moved/sub/file") == ""
    assert (
        opened.read("/opt/w") == "textmore\n" or opened.read("/opt/w") == "text\nmore\n"
    )
    g: Any = opened.g
    facts = g.lstatns("/opt/w")
    assert facts["st_mode"] & 0o7777 == 0o600
    assert (facts["st_uid"], facts["st_gid"]) == (7, 8)
    assert opened.glob("/srv/*") == ["/srv/t"]


def test_the_guests_own_perl_edits(opened: Appliance) -> None:
    customise(opened, ("edit", "/etc/config:s/= (\\d)/'= ' . ($1 + $lineno)/e"))
    assert opened.read("/etc/config") == "a = 2\nb = 4\n"
    assert opened.glob("/etc/config?*") == []
    with pytest.raises(GuestError, match="--edit /etc/config"):
        customise(opened, ("edit", "/etc/config:s/"))


def test_programs_run_in_the_guest_and_their_failure_is_an_error(
    opened: Appliance, tmp_path: Path
) -> None:
    script = tmp_path / "script"
    script.write_text("#!/usr/bin/perl\nopen F, '>', '/made'; print F 'by perl';\n")
    (tmp_path / "sh").write_text("echo said; echo at last >&2; exit 3\n")
    opened.g.mkdir_p("/usr/bin")
    opened.g.ln_sf("/bin/perl", "/usr/bin/perl")
    customise(opened, ("run-script", str(script)), ("run-command", "cat /made > /m2"))
    assert opened.read("/m2") == "by perl"
    with pytest.raises(
        GuestError, match="--run-script sh failed in the guest: at last"
    ):
        customise(opened, ("run-script", str(tmp_path / "sh")))
    assert opened.glob("/var/tmp/v2v*") == []


def test_a_password_and_a_key(opened: Appliance, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("geheim\n")
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPw x"
    customise(
        opened,
        ("root-password", f"file:{tmp_path}/secret"),
        ("ssh-inject", f"root:string:{key}"),
    )
    assert (opened.read("/etc/shadow") or "").startswith("root:$6$")
    assert opened.read("/root/.ssh/authorized_keys") == f"{key}\n"


@pytest.mark.parametrize(
    "option",
    [
        ("--write", "/etc/motd:hello"),
        ("--mac", "00:50:56:01:02:03:ip:192.0.2.20,192.0.2.1,24"),
    ],
)
def test_a_disk_without_a_system_cannot_be_customised(
    option: tuple[str, str], vmx_of: Callable[..., Path], tmp_path: Path
) -> None:
    """Then it is an error: what was asked for would not be there."""
    disk = tmp_path / "empty.img"
    disk.touch()
    os.truncate(disk, 64 * 2**20)
    job = Pipeline(
        [
            command("v2v-inspect", "--no-guest", "--json", vmx_of(disk)),
            command("v2v-fixup", *option),
        ]
    ).start(tmp_path / "said")
    [vm] = vms(job.finish(300))
    assert job.statuses == [0, 11]
    assert "cannot be customised" in vm["error"]["message"]
