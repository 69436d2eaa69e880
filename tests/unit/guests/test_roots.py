# SPDX-License-Identifier: GPL-2.0-or-later
"""Of several systems the one that runs, if the evidence is clear."""

import pytest

from guest_files import guest_with
from v2v.guests.devices import Device
from v2v.guests.linux import roots, subvolumes
from v2v.guests.linux.fstab import Entry
from v2v.guests.linux.resolver import Resolver
from v2v.guests.linux.roots import Evidence, Root
from v2v.guests.linux.subvolumes import Subvolume

NOW, LONG_AGO = 1_700_000_000, 1_600_000_000
A, B = (Root(name=f"/dev/sd{x}1", device=f"/dev/sd{x}1") for x in "ab")
BTRFS = "/dev/sda2"


def subvolume(number: int, path: str, *, default: bool = False) -> Subvolume:
    return Subvolume(device=BTRFS, number=number, path=path, default=default)


TOP = subvolume(5, "")
AT = subvolume(256, "@")
HOME = subvolume(257, "@home")
# As on SLES: the default is itself one of snapper's.
SNAPPER = subvolume(270, "@/.snapshots/1/snapshot", default=True)
OLD = subvolume(271, "@/.snapshots/2/snapshot")


def test_the_loaders_default_decides() -> None:
    evidence = [
        Evidence(root=A, starts=(B.name,), used=NOW),
        Evidence(root=B, starts=(B.name,), used=NOW),
    ]
    assert roots.decided(evidence) == B


def test_a_system_that_was_not_used_for_long_is_not_the_one() -> None:
    evidence = [
        Evidence(root=A, starts=(A.name,), used=LONG_AGO),
        Evidence(root=B, starts=(B.name,), used=NOW),
        Evidence(root=A, starts=(A.name,), used=LONG_AGO),
    ]
    # Though it is on the first disk: that alone weighs less.
    assert roots.decided(evidence) is None
    assert roots.decided([Evidence(root=A, used=LONG_AGO), evidence[1]]) == B


def test_two_of_one_kind_are_not_decided_by_their_disk() -> None:
    evidence = [Evidence(root=r, starts=(r.name,), used=NOW) for r in (A, B)]
    assert roots.decided(evidence) is None


def test_what_btrfs_mounts_by_itself_goes_before_other_subvolumes() -> None:
    own = Root(name=BTRFS, device=BTRFS, subvolume=SNAPPER)
    other = Root(name=AT.name, device=BTRFS, subvolume=AT)
    evidence = [Evidence(root=r, used=NOW) for r in (other, own)]
    assert roots.decided(evidence) == own


def test_one_system_that_can_boot_is_taken_without_a_look_at_it() -> None:
    parts = [A, Root(name="/dev/sdb1", device="/dev/sdb1", boots=False)]
    assert roots.weighed(guest_with(), parts, []) == A
    assert roots.weighed(guest_with(), [], []) is None


@pytest.mark.parametrize(
    ("line", "started"),
    [
        (
            "linux /vmlinuz root=UUID=u-2 rootflags=subvol=@ ro",
            ["btrfsvol:/dev/sda2/@"],
        ),
        (
            "linux /vmlinuz root=UUID=u-2 rootflags=ro,subvol=/@",
            ["btrfsvol:/dev/sda2/@"],
        ),
        (
            "linux /vmlinuz root=UUID=u-2 rootflags=subvolid=256",
            ["btrfsvol:/dev/sda2/@"],
        ),
        ("linux /vmlinuz root=UUID=u-2", [BTRFS]),
        ("linux /vmlinuz root=/dev/sda2 rootflags=subvol=@x", []),
        ("linux /vmlinuz nfsroot=/dev/sda2", []),
        ('GRUB_CMDLINE_LINUX="quiet"\noptions root="UUID=u-1"', ["/dev/sda1"]),
        ("linux /a root=UUID=u-1\nlinux /b root=UUID=u-2", ["/dev/sda1"]),
    ],
)
def test_which_root_a_command_line_names(line: str, started: list[str]) -> None:
    there = [
        Device(name="/dev/sda1", type="ext4", uuid="u-1"),
        Device(name=BTRFS, type="btrfs", uuid="u-2"),
    ]
    all_ = [
        A,
        Root(name=AT.name, device=BTRFS, subvolume=AT),
        Root(name=SNAPPER.name, device=BTRFS, subvolume=SNAPPER),
    ]
    resolver = Resolver(guest_with(), there)
    assert list(roots._started(line, all_, resolver)) == started


def test_snapshots_are_no_systems_but_the_default_is() -> None:
    all_ = [TOP, AT, HOME, SNAPPER, OLD, subvolume(9, "timeshift-btrfs/snapshots/x/@")]
    assert [s.number for s in all_ if s.is_snapshot] == [271, 9]
    assert SNAPPER.name == BTRFS
    assert AT.name == "btrfsvol:/dev/sda2/@"


@pytest.mark.parametrize(
    ("options", "meant"),
    [
        (("defaults", "subvol=@home"), HOME),
        (("subvol=/@home", "compress=zstd"), HOME),
        (("subvolid=257",), HOME),
        (("subvolid=5",), TOP),
        (("subvolid=0",), TOP),
        (("defaults",), SNAPPER),
        (("subvol=@gone",), None),
        (("subvolid=x",), None),
    ],
)
def test_which_subvolume_is_mounted(
    options: tuple[str, ...], meant: Subvolume | None
) -> None:
    entry = Entry(spec="", point="/x", options=options)
    assert subvolumes.meant([TOP, AT, HOME, SNAPPER], entry) == meant


def test_subvolumes_are_listed_as_libguestfs_spells_them() -> None:
    listed = [
        {"btrfssubvolume_id": 256, "btrfssubvolume_path": "@"},
        {"btrfssubvolume_id": 257, "btrfssubvolume_path": "a,ro"},
        {"btrfssubvolume_id": 258, "btrfssubvolume_path": "<FS_TREE>/@home"},
    ]
    answers = {
        ("btrfs_subvolume_get_default", BTRFS): 5,
        ("btrfs_subvolume_list", BTRFS): listed,
    }
    found = subvolumes.found(guest_with(answers=answers), BTRFS)
    # One with a comma would be more than one mount option.
    assert [s.name for s in found] == [
        BTRFS,
        "btrfsvol:/dev/sda2/@",
        "btrfsvol:/dev/sda2/@home",
    ]


def test_the_device_of_a_subvolume_on_lvm() -> None:
    devices = ["/dev/vg/lv", "/dev/vg/lv2"]
    assert subvolumes.device_of("btrfsvol:/dev/vg/lv/@/x", devices) == "/dev/vg/lv"
    assert subvolumes.device_of("/dev/vg/lv2", devices) == "/dev/vg/lv2"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("open_ctree failed"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"),
    ],
)
def test_a_btrfs_that_is_broken_is_passed_over(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    running = guest_with(answers={("btrfs_subvolume_get_default", BTRFS): error})
    assert subvolumes.seen(running, BTRFS) == []
    assert BTRFS in caplog.text


SYSTEM = {"bin/": "", "etc/fstab": "", "boot/vmlinuz-5": ""}


@pytest.mark.report("https://github.com/adminsyspro/proxcenter-ui/pull/740")
def test_sles_has_one_system_and_no_sixteen() -> None:
    """virt-v2v asked at a prompt that nobody saw: proxcenter-ui's pull request 740."""
    paths = {256: "@", 257: "@/var"}
    paths |= {270 + n: f"@/.snapshots/{n}/snapshot" for n in range(1, 17)}
    answers = {
        ("btrfs_subvolume_get_default", BTRFS): 271,
        ("btrfs_subvolume_list", BTRFS): [
            {"btrfssubvolume_id": number, "btrfssubvolume_path": path}
            for number, path in paths.items()
        ],
    }
    snapshots = [path for path in paths.values() if "snapshot" in path]
    files = {f"/{path}/{file}": "" for path in snapshots for file in SYSTEM}
    device = Device(name=BTRFS, type="btrfs", uuid="u")
    [root] = roots.found(guest_with(files, answers=answers), [device])
    assert (root.name, root.boots) == (BTRFS, True)
    assert root.subvolume and root.subvolume.path == "@/.snapshots/1/snapshot"


@pytest.mark.parametrize(
    ("bin_", "is_root"),
    [("usr/bin", True), ("/usr/bin", True), ("elsewhere", False), ("", False)],
)
def test_a_root_whose_usr_is_on_another_device_is_one(bin_: str, is_root: bool) -> None:
    """libguestfs' pull request 187: Ubuntu 22 with /usr on a volume of its own."""
    files = {"/etc/fstab": "LABEL=boot /boot ext4\n"}
    there = guest_with(files, {"/bin": bin_} if bin_ else {})
    found = roots.found(there, [Device(name="/dev/sda1", type="ext4")])
    assert [root.name for root in found] == (["/dev/sda1"] if is_root else [])
    assert all(root.boots for root in found)
